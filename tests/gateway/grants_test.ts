/**
 * What a token for a group means when groups come and go, and what lists tell an agent of groups that are not its own.
 */
import { expect, test } from "bun:test";

import { outwardNameOf } from "../../src/gateway/direct_tools.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { verifies } from "../requirements.ts";
import { serveTools } from "./fixtures.ts";
import { openLiveProxy } from "./live_proxy.ts";
import type { LiveProxy } from "./live_proxy.ts";

const off = (name: string, groups: readonly (string | number)[]) => ({
  name,
  url: "http://127.0.0.1:1/",
  startup_mode: "disabled",
  groups,
});

async function tokenFor(proxy: LiveProxy, grant: object): Promise<Record<string, string>> {
  const { data } = await proxy.ask("POST /tokens", { name: "bot", ...grant });
  return { "x-api-key": data["token"] as string };
}

async function serversOf(proxy: LiveProxy, headers: Record<string, string>): Promise<readonly string[]> {
  const { data } = await proxy.ask("GET /servers", undefined, headers);
  return (data["servers"] as readonly { readonly name: string }[]).map(({ name }) => name);
}

test("a group that takes the number of one that is gone is not what the token was for", async () => {
  verifies("TOKEN-SCOPE");
  await using proxy = await openLiveProxy({
    groups: [
      { id: 1, name: "team" },
      { id: 2, name: "guests" },
    ],
    mcpServers: [off("open", ["guests"]), off("vault", ["team"])],
  });
  const bot = await tokenFor(proxy, { allowed_groups: ["guests"] });
  expect(await serversOf(proxy, bot)).toEqual(["open"]);
  await proxy.ask("DELETE /groups/guests");
  const { data } = await proxy.ask("POST /groups", { name: "payroll" });
  await proxy.ask("POST /groups/payroll/assign", { servers: ["vault"] });
  expect((data["group"] as { readonly id: number }).id).toBe(2);
  expect(await serversOf(proxy, bot)).toEqual([]);
  await proxy.restart();
  expect(await serversOf(proxy, bot)).toEqual([]);
  const { data: shown } = await proxy.ask("GET /tokens/bot");
  expect(shown["allowed_groups"]).toEqual([]);
});

test("nor is one that takes it within one change", async () => {
  verifies("TOKEN-SCOPE");
  await using proxy = await openLiveProxy({
    groups: [
      { id: 1, name: "team" },
      { id: 2, name: "guests" },
    ],
    mcpServers: [off("open", ["guests"]), off("vault", ["team"])],
  });
  const bot = await tokenFor(proxy, { allowed_groups: ["guests"] });
  const operations = [
    { op: "remove_group", group: 2 },
    { op: "add_group", group: { name: "payroll" } },
    { op: "assign", name: "vault", group: "payroll" },
  ];
  expect((await proxy.ask("POST /config/apply", { operations })).status).toBe(200);
  expect(await serversOf(proxy, bot)).toEqual([]);
});

test("a group whose number another one takes by an edit is followed by its name", async () => {
  verifies("TOKEN-SCOPE");
  const servers = [off("open", ["guests"]), off("vault", ["team"])];
  const file = (...names: readonly string[]): string =>
    JSON.stringify({ groups: names.map((name) => ({ name })), mcpServers: servers });
  await using proxy = await openLiveProxy(file("guests", "team"));
  const bot = await tokenFor(proxy, { allowed_groups: ["guests"] });
  expect(await serversOf(proxy, bot)).toEqual(["open"]);
  await proxy.edit(file("team", "guests"));
  expect(await serversOf(proxy, bot)).toEqual(["open"]);
  await proxy.edit(file("team"));
  expect(await serversOf(proxy, bot)).toEqual([]);
});

test("a group that gets another name stays what the token was for", async () => {
  verifies("TOKEN-SCOPE");
  await using proxy = await openLiveProxy({
    groups: [{ id: 4, name: "guests" }],
    mcpServers: [off("open", [4]), off("vault", [])],
  });
  const bot = await tokenFor(proxy, { allowed_groups: ["guests"] });
  await proxy.ask("PATCH /groups/4", { name: "visitors" });
  expect(await serversOf(proxy, bot)).toEqual(["open"]);
  await proxy.edit(proxy.text().replace("visitors", "friends"));
  expect(await serversOf(proxy, bot)).toEqual(["open"]);
  await proxy.restart();
  expect(await serversOf(proxy, bot)).toEqual(["open"]);
});

test("lists tell an agent neither the names nor the sizes of other groups", async () => {
  verifies("TOKEN-SCOPE");
  await using proxy = await openLiveProxy({
    groups: [
      { id: 1, name: "team" },
      { id: 2, name: "payroll" },
    ],
    mcpServers: [off("open", ["team"]), off("vault", ["team", "payroll"])],
  });
  const bot = await tokenFor(proxy, { allowed_servers: ["open"] });
  for (const group of ["none", "payroll", "2"]) {
    for (const route of ["servers", "tools"]) {
      const { status, text } = await proxy.ask(`GET /${route}?group=${group}`, undefined, bot);
      expect([route, group, status]).toEqual([route, group, 404]);
      expect(text.replaceAll(`'${group}'`, "").replaceAll(`"${group}"`, "")).not.toContain("payroll");
    }
  }
  const { data } = await proxy.ask("GET /groups", undefined, bot);
  expect(data["groups"]).toMatchObject([{ name: "team", own_count: 1, server_count: 1 }]);
});

test("of two servers that swap their names a token reaches the one it was for", async () => {
  verifies("TOKEN-SCOPE");
  const at = (port: number) => ({ url: `http://127.0.0.1:${port}/`, startup_mode: "disabled" });
  await using proxy = await openLiveProxy({
    mcpServers: [
      { name: "open", ...at(1) },
      { name: "vault", ...at(2) },
    ],
  });
  const bot = await tokenFor(proxy, { allowed_servers: ["open"] });
  const operations = [
    { op: "rename", name: "open", to: "between" },
    { op: "rename", name: "vault", to: "open" },
    { op: "rename", name: "between", to: "vault" },
  ];
  expect((await proxy.ask("POST /config/apply", { operations })).status).toBe(200);
  expect(await serversOf(proxy, bot)).toEqual(["vault"]);
  const { data } = await proxy.ask("GET /servers/vault", undefined, bot);
  expect(data["url"]).toBe("http://127.0.0.1:1/");
  await proxy.restart();
  expect(await serversOf(proxy, bot)).toEqual(["vault"]);
});

test("of two servers that swap their names each keeps its tools", async () => {
  verifies("TOKEN-SCOPE");
  await using first = serveTools([makeDefinition("alpha")]);
  await using second = serveTools([makeDefinition("beta")]);
  await using proxy = await openLiveProxy({
    mcpServers: [
      { name: "a", url: first.url },
      { name: "b", url: second.url },
    ],
  });
  await proxy.untilReady("a", "b");
  const operations = [
    { op: "rename", name: "a", to: "between" },
    { op: "rename", name: "b", to: "a" },
    { op: "rename", name: "between", to: "b" },
  ];
  await proxy.ask("POST /config/apply", { operations });
  const idsNow = async (): Promise<readonly string[]> => {
    const { data } = await proxy.ask("GET /tools");
    return (data["tools"] as readonly { readonly id: string }[]).map(({ id }) => id).toSorted();
  };
  expect(await idsNow()).toEqual(["a:beta", "b:alpha"]);
});

test("a tool whose outward name is taken does not tell an agent by which tool it cannot reach", async () => {
  verifies("TOKEN-SCOPE");
  const own = outwardNameOf("vault_", "t").slice("vault__".length);
  await using hidden = serveTools([makeDefinition("t")]);
  await using seen = serveTools([makeDefinition(own)]);
  await using proxy = await openLiveProxy({
    mcpServers: [
      { name: "vault_", url: hidden.url },
      { name: "vault", url: seen.url },
    ],
  });
  await proxy.untilReady("vault_", "vault");
  const bot = await tokenFor(proxy, { allowed_servers: ["vault"] });
  const asked = `GET /tools/explain?id=${encodeURIComponent(`vault:${own}`)}`;
  const { text } = await proxy.ask(asked, undefined, bot);
  expect(text).toContain("DIRECT_NAME_TAKEN");
  expect(text).not.toContain("vault_:t");
  expect((await proxy.ask(asked)).text).toContain("vault_:t");
});
