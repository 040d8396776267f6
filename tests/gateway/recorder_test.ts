/**
 * The recorder: each call is written down once, with who and what, and with nothing secret.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { JsonObject } from "../../src/core/model.ts";
import { Recorder } from "../../src/gateway/recorder.ts";
import { ProxyError } from "../../src/core/errors.ts";
import type { CallReport } from "../../src/gateway/caller.ts";
import type { Activity, ActivityEntry, ActivityRow } from "../../src/state/activity.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { ask, openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway, ToolUpstream } from "./fixtures.ts";

const READ = { annotations: { readOnlyHint: true } };
let gateway: Gateway;
let upstream: ToolUpstream;

beforeAll(async () => {
  const tools = [
    makeDefinition("look", READ),
    makeDefinition("fails", READ),
    makeDefinition("erase", { annotations: { destructiveHint: true } }),
  ];
  upstream = serveTools(tools, {
    call: (name) =>
      name === "fails"
        ? {
            content: [{ type: "text", text: "no entry for header-canary-1234 or tok-canary-5678" }],
            isError: true,
          }
        : undefined,
  });
  gateway = await openGateway([
    upstream.server({ headers: new Map([["X-Api-Key", "header-canary-1234"]]) }),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ]);
  await settle(gateway);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

interface Noted extends ActivityRow {
  readonly told: { readonly arguments?: JsonObject; readonly metadata?: JsonObject };
}

/** Calls, and gives what was written down of it. */
async function noted(name: string, args: JsonObject): Promise<Noted> {
  const last = await newest();
  await ask(gateway, name, args);
  const found = await waitFor("the call is written down", async () => {
    const row = await newest();
    return row && row.id !== last?.id
      ? { ...row, told: JSON.parse(row.detail ?? "{}") as Noted["told"] }
      : undefined;
  });
  return found as Noted;
}

async function newest(): Promise<ActivityRow | undefined> {
  for await (const [row] of gateway.activity.read({}, { pageRows: 1 })) return row;
  return undefined;
}

test("a call is written down with server, tool, intent, arguments, duration and an id", async () => {
  const row = await noted("call_tool_read", { name: "s:look", args: { id: 7 }, reason: "to see it" });
  expect(row).toMatchObject({
    type: "tool_call",
    source: "mcp",
    status: "success",
    server: "s",
    tool: "look",
    intent: "read",
    told: {
      arguments: { id: 7 },
      metadata: { tool_variant: "call_tool_read", intent: { operation_type: "read", reason: "to see it" } },
    },
  });
  expect(row.durationMs).toBeGreaterThan(0);
  expect(row.requestId?.length).toBeGreaterThan(10);
  expect(row.message).toBeUndefined();
});

test("a result that is an error is written down as one, with its text, secrets of server and call hidden", async () => {
  const row = await noted("call_tool_read", { name: "s:fails", args: { token: "tok-canary-5678" } });
  expect(row).toMatchObject({ type: "tool_call", status: "error", message: "no entry for *** or ***" });
  expect(row.told.arguments).toEqual({ token: "***" });
});

test.each([
  ["a call of the wrong kind", "call_tool_read", "s:erase", "policy_decision", "blocked", "TOOL_REFUSED"],
  ["a call of a server that is off", "call_tool_read", "off:x", "policy_decision", "blocked", "SERVER_OFF"],
  ["a call of an unknown tool", "call_tool_read", "s:nothing", "tool_call", "error", "TOOL_UNKNOWN"],
  ["a call of an unknown server", "call_tool", "nobody:x", "tool_call", "error", "SERVER_UNKNOWN"],
  ["a call of what is no id", "call_tool", "nothing", "tool_call", "error", "TOOL_UNKNOWN"],
])("%s is written down with its reason", async (_name, variant, id, type, status, code) => {
  const row = await noted(variant, { name: id, args: {} });
  expect(row).toMatchObject({ type, status, told: { metadata: { code } } });
  expect(row.message?.length).toBeGreaterThan(5);
});

test("a name of any length is cut", async () => {
  const row = await noted("call_tool", { name: `${"s".repeat(5_000)}:${"t".repeat(5_000)}`, args: {} });
  expect((row.server ?? "").length + (row.tool ?? "").length).toBeLessThan(600);
});

test("a large call costs what a small one does", async () => {
  const row = await noted("call_tool_read", {
    name: "s:look",
    args: { text: "word ".repeat(1_000_000), n: 1 },
  });
  expect((row.detail ?? "").length).toBeLessThan(3_000);
  expect(row.detail).toContain('"arguments_truncated":true');
});

test("a search is written down as a call of our own", async () => {
  const row = await noted("retrieve_tools", { query: "look" });
  expect(row).toMatchObject({
    type: "internal_tool_call",
    status: "success",
    tool: "retrieve_tools",
    told: { arguments: { query: "look" } },
  });
  const failed = await noted("read_cache", { key: "nothing" });
  expect(failed).toMatchObject({ type: "internal_tool_call", status: "error", tool: "read_cache" });
});

/** A recorder that writes into a list. */
function recording(isOn = true) {
  const entries: ActivityEntry[] = [];
  const losses: unknown[] = [];
  const activity = {
    isOn,
    add: (entry: ActivityEntry) => void entries.push(entry),
    reportLoss: (error: unknown) => void losses.push(error),
  } as unknown as Activity;
  return { recorder: new Recorder({ activity }), entries, losses };
}

function report(parts: Partial<CallReport> = {}): CallReport {
  const request = { id: "s:t", args: {} };
  return { server: "s", tool: "s:t", durationMs: 1, isError: false, request, ...parts };
}

test("Recorder.noteCalls() fails for nothing, and says that an entry was lost", () => {
  const { recorder, entries, losses } = recording();
  const args = Object.defineProperty({}, "x", {
    enumerable: true,
    get: () => {
      throw new Error("a hostile getter");
    },
  }) as JsonObject;
  recorder.noteCalls([report({ request: { id: "s:t", args } }), report()]);
  expect(entries).toHaveLength(1);
  expect(losses).toHaveLength(1);
});

test("Recorder does no work when nothing is kept", () => {
  const { recorder, entries } = recording(false);
  const args = new Proxy({}, { ownKeys: () => expect.unreachable() });
  recorder.noteCalls([report({ request: { id: "s:t", args } })]);
  recorder.noteSystem("system_start", {});
  expect(entries).toEqual([]);
});

test("Recorder.noteCalls() keeps who asked, and the trace it belongs to", () => {
  const { recorder, entries } = recording();
  const origin = {
    source: "api",
    requestId: "r",
    session: "12345678",
    client: "c 1",
    principal: "api_key",
  } as const;
  const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
  recorder.noteCalls([report({ request: { id: "s:t", args: {}, origin, trace } })]);
  const { client, ...who } = origin;
  expect(entries[0]).toMatchObject(who);
  expect(JSON.parse(entries[0]?.detail ?? "")).toMatchObject({ metadata: { client, ...trace } });
});

const change = {
  type: "server_change",
  action: "restart",
  server: "s",
  origin: { source: "api", principal: "api_key", requestId: "r" },
  durationMs: 2,
  facts: { method: "POST", names: ["a", "b"] },
} as const;

test("Recorder.noteChange() keeps who did what, and why it was refused", () => {
  const { recorder, entries } = recording();
  recorder.noteChange(change);
  recorder.noteChange({
    ...change,
    error: new ProxyError("QUARANTINED", "Cannot start 's': token=abcdefgh"),
  });
  recorder.noteChange({ ...change, error: new Error("raw cause") });
  expect(entries.map(({ status, message }) => ({ status, message }))).toEqual([
    { status: "success", message: undefined },
    { status: "blocked", message: "Cannot start 's': token=***" },
    { status: "error", message: expect.not.stringContaining("raw cause") as string },
  ]);
  expect(entries[0]).toMatchObject({
    type: "server_change",
    server: "s",
    principal: "api_key",
    requestId: "r",
  });
  expect(JSON.parse(entries[0]?.detail ?? "")).toEqual({
    metadata: { action: "restart", method: "POST", names: ["a", "b"] },
  });
});

test("moves of the proxy's own are written down, each once", () => {
  const { recorder, entries } = recording();
  const at = { time: 5, id: 1 };
  const events = [
    {
      type: "config_reloaded",
      data: { added: ["a"], removed: [], changed: [], settings: [], restartRequired: [] },
    },
    { type: "config_invalid", data: { message: "it is no JSON", faults: [] } },
    { type: "server_auto_disabled", server: "s", data: { reason: "3 failures", failures: 3, cause: 1 } },
    { type: "server_recovered", server: "s", data: { mode: "active", cause: 1 } },
    { type: "quarantine_changed", server: "s", data: { isQuarantined: true, reason: "added", cause: 1 } },
    { type: "auto_disable_suspended", data: { isSuspended: true, reason: "many", servers: ["s"] } },
    { type: "server_removed", server: "s", data: { reason: "gone" } },
  ] as const;
  for (const event of events) recorder.noteEvent({ ...at, ...event });
  expect(entries.map(({ type, status, server, message }) => [type, status, server, message])).toEqual([
    ["config_change", "success", undefined, undefined],
    ["config_change", "error", undefined, "it is no JSON"],
    ["server_change", "error", "s", "3 failures"],
    ["server_change", "success", "s", undefined],
    ["quarantine_change", "success", "s", undefined],
    ["server_change", "success", undefined, undefined],
  ]);
  for (const { at: time, source } of entries) expect({ time, source }).toEqual({ time: 5, source: "proxy" });
});
