/**
 * Secrets of the keyring in a whole proxy: they reach the upstream and the API's door, and nothing else.
 */
import { expect, test } from "bun:test";
import { SYSTEM_KEYRING } from "../../src/state/keyring.ts";
import type { Keyring } from "../../src/state/keyring.ts";
import { fakeKeyring } from "../fixtures/keyring.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openLiveProxy } from "./live_proxy.ts";

const VALUE = "canary-of-the-keyring";
const KEY = "key-of-the-keyring-0123456789-0123456789";

test("a secret of the keyring reaches the upstream and the door, and is shown nowhere", async () => {
  verifies("KEYRING-RESOLVED", "SECRETS-MASKED");
  await using upstream = serveHttp();
  const keyring = fakeKeyring({ "web token": VALUE, door: KEY });
  await using proxy = await openLiveProxy(
    {
      api_key: "${keyring:door}",
      mcpServers: [
        { name: "web", url: upstream.url, headers: { Authorization: "Bearer ${keyring:web token}" } },
        { name: "plain", url: upstream.url },
      ],
    },
    { keyring },
  );
  await proxy.untilReady("web", "plain");
  const sent = new Set(upstream.seen.map(({ headers }) => headers.get("authorization")));
  expect(sent).toEqual(new Set([`Bearer ${VALUE}`, null]));
  expect(new Set(keyring.asked)).toEqual(new Set(["door", "web token"]));
  const shown: string[] = [];
  for (const path of ["/config", "/servers", "/servers/web", "/activity", "/doctor", "/config/history"])
    shown.push((await proxy.ask(`GET ${path}`)).text);
  for (const text of [...shown, ...proxy.lines, proxy.text()]) {
    expect(text).not.toContain(VALUE);
    expect(text).not.toContain(KEY);
  }
  expect(shown[0]).toContain("${keyring:door}");
  expect((await proxy.ask("GET /status", undefined, { "x-api-key": KEY })).status).toBe(200);
});

test("a secret the keyring does not have is named with the way to set it, and found once it is set", async () => {
  verifies("KEYRING-RESOLVED");
  await using upstream = serveHttp();
  const keyring = fakeKeyring();
  await using proxy = await openLiveProxy(
    {
      mcpServers: [
        { name: "web", url: `${upstream.url}?k=\${keyring:late}`, startup_mode: "active" },
        { name: "plain", url: upstream.url },
      ],
    },
    { keyring },
  );
  await proxy.untilReady("plain");
  const failed = await waitFor("the attempt failed", async () => {
    const server = await proxy.server("web");
    return server["status"] === "error" ? server : undefined;
  });
  expect(failed).toMatchObject({
    failure_class: "config",
    last_error: expect.stringMatching(/\$\{keyring:late\}.*no entry of this name/) as string,
  });
  expect(JSON.stringify(failed)).toContain("mcpproxy secrets set late");
  const { data } = await proxy.ask("GET /doctor");
  expect(data["missing_secrets"]).toMatchObject([{ secret_name: "keyring:late", used_by: ["web"] }]);
  keyring.values.set("late", VALUE);
  await proxy.ask("POST /servers/web/restart");
  await proxy.untilReady("web");
});

test("a keyring that is out of reach stops the servers that need it, with a hint, and no other", async () => {
  verifies("KEYRING-RESOLVED");
  await using upstream = serveHttp();
  const unreachable: Keyring = {
    ...SYSTEM_KEYRING,
    get: () => Promise.reject(new Error("locked")),
  };
  await using proxy = await openLiveProxy(
    {
      mcpServers: [
        { name: "web", url: upstream.url, headers: { A: "${keyring:x}" } },
        { name: "plain", url: upstream.url },
      ],
    },
    { keyring: unreachable },
  );
  await proxy.untilReady("plain");
  await waitFor("the attempt failed", async () => (await proxy.server("web"))["status"] === "error");
});
