/**
 * What is asked for twice, and the id by which a request is found again.
 */
import { statSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { makeDefinition } from "../catalog/fixtures.ts";
import { API_KEY, openGateway, serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

let upstream: ToolUpstream;
let live: LiveProxy;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("read", { annotations: { readOnlyHint: true } })]);
  const { url } = upstream;
  live = await openLiveProxy({
    groups: [{ id: 1, name: "tools" }],
    mcpServers: [
      { name: "on", url, protocol: "http", groups: [1] },
      { name: "lazy", url, protocol: "http", startup_mode: "lazy_loading" },
      { name: "off", url, protocol: "http", startup_mode: "disabled" },
      { name: "held", url, protocol: "http", startup_mode: "quarantined" },
    ],
  });
  await live.untilReady("on");
});

afterAll(async () => {
  await live[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

async function stateOf() {
  const { data } = await live.ask("GET /config/history");
  const { ino, mtimeMs } = statSync(live.path);
  return { revision: data["revision"], text: live.text(), ino, mtimeMs };
}

test.each<[ask: string, body: unknown]>([
  ["POST /servers/on/enable", undefined],
  ["POST /servers/on/approve", undefined],
  ["POST /servers/on/connect", undefined],
  ["POST /servers/lazy/make_lazy", undefined],
  ["POST /servers/off/disable", undefined],
  ["POST /servers/lazy/disconnect", undefined],
  ["POST /servers/held/quarantine", undefined],
  ["PATCH /servers/on", { protocol: "http" }],
  ["PATCH /servers/on", {}],
  ["POST /groups/1/enable", undefined],
  ["POST /groups/1/assign", { servers: ["on"] }],
  ["POST /servers/batch", { action: "disable", names: ["off"] }],
  ["POST /config/apply", { operations: [{ op: "enable", name: "on" }] }],
])("%s of what is so already answers 200 and writes nothing", async (ask, body) => {
  verifies("VERBS-IDEMPOTENT");
  const before = await stateOf();
  for (const time of ["once", "twice"]) {
    const { status, text } = await live.ask(ask, body);
    expect({ time, status, text }).toMatchObject({ status: 200 });
  }
  expect(await stateOf()).toEqual(before);
});

test("DELETE of a server answers 404 the second time, and writes nothing then", async () => {
  verifies("VERBS-IDEMPOTENT");
  const body = { name: "brief", url: upstream.url, protocol: "http", startup_mode: "disabled" };
  expect((await live.ask("POST /servers", body)).status).toBe(201);
  expect((await live.ask("DELETE /servers/brief")).status).toBe(200);
  const before = await stateOf();
  const { status, json } = await live.ask("DELETE /servers/brief");
  expect({ status, json }).toMatchObject({ status: 404, json: { code: "SERVER_UNKNOWN" } });
  expect(await stateOf()).toEqual(before);
});

test("the request id of an answer is in its error and in the activity", async () => {
  verifies("REQUEST-ID-EVERYWHERE");
  const asked = async (id: string, ask: string, body?: unknown): Promise<Readonly<Record<string, unknown>>> =>
    (await live.ask(ask, body, { "x-request-id": id })).json;
  const call = (name: string) => ({ tool_name: "call_tool_read", arguments: { name, args: {} } });
  expect(await asked("id-of-a-refusal", "POST /servers/nobody/enable")).toMatchObject({
    request_id: "id-of-a-refusal",
  });
  expect(await asked("id-of-a-failed-call", "POST /tools/call", call("on:nothing"))).toMatchObject({
    request_id: "id-of-a-failed-call",
  });
  await asked("id-of-a-call", "POST /tools/call", call("on:read"));
  await asked("id-of-a-change", "PATCH /servers/off", { description: "changed" });
  const ids = ["id-of-a-refusal", "id-of-a-failed-call", "id-of-a-call", "id-of-a-change"];
  await waitFor("all are written down", async () => {
    const { text } = await live.ask("GET /activity?limit=100");
    return ids.every((id) => text.includes(`"${id}"`));
  });
  for (const id of ids) {
    const { data } = await live.ask(`GET /activity?request_id=${id}`);
    expect(JSON.stringify(data).split(`"${id}"`).length - 1).toBeGreaterThanOrEqual(1);
  }
});

test("the log line of a request that failed here has the request id of the answer", async () => {
  verifies("REQUEST-ID-EVERYWHERE");
  await using gateway = await openGateway([]);
  const doctor = {
    examine: () => Promise.reject(new Error("the cause of it")),
  };
  const response = await gateway.app({ doctor }).request("/api/v1/doctor", {
    headers: { host: "localhost", "x-api-key": API_KEY },
  });
  const body = (await response.json()) as { readonly request_id: string; readonly error: string };
  expect(response.status).toBe(500);
  expect(body.request_id).toBe(response.headers.get("x-request-id") ?? "");
  expect(body.error).not.toContain("the cause of it");
  const line = gateway.lines.find((one) => one.includes("the cause of it"));
  expect(line).toContain(`request_id=${body.request_id}`);
});
