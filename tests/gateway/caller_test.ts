/**
 * The one path of a call: what is refused before it travels, who waits for whom, and what comes back.
 */
import { afterEach, expect, test } from "bun:test";
import type { CallVariant, JsonObject, ToolDefinition } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import { makeServer, stdioServer } from "../fixtures/upstreams.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { ODD_RESULT, RICH_RESULT } from "../fixtures/wire.ts";
import { verifies } from "../requirements.ts";
import { ask, openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway, ToolUpstream, ToolUpstreamOptions } from "./fixtures.ts";

const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const resource of open.splice(0).toReversed()) await resource[Symbol.asyncDispose]();
});

const TOOLS: readonly ToolDefinition[] = [
  {
    name: "read_note",
    inputSchema: { type: "object", properties: { id: { type: "integer" } }, required: ["id"] },
    annotations: { readOnlyHint: true },
  },
  makeDefinition("save_note", { annotations: { readOnlyHint: false, destructiveHint: false } }),
  makeDefinition("erase_notes", { annotations: { destructiveHint: true } }),
  makeDefinition("both", { annotations: { readOnlyHint: true, destructiveHint: true } }),
  makeDefinition("silent"),
];
const FITTING: Readonly<Record<string, JsonObject>> = { read_note: { id: 1 } };

interface Opened {
  readonly gateway: Gateway;
  readonly upstream: ToolUpstream;
}

async function openOne(
  options: ToolUpstreamOptions & Parameters<typeof openGateway>[1] = {},
): Promise<Opened> {
  const upstream = serveTools(TOOLS, options);
  open.push(upstream);
  const gateway = await openGateway([upstream.server()], options);
  open.push(gateway);
  await settle(gateway);
  return { gateway, upstream };
}

const VARIANTS: readonly CallVariant[] = ["call_tool_read", "call_tool_write", "call_tool_destructive"];
/** The weakest variant each tool takes; a stronger one is always good enough. */
const WEAKEST: Readonly<Record<"write" | "read", Readonly<Record<string, number>>>> = {
  write: { read_note: 0, save_note: 1, erase_notes: 2, both: 2, silent: 1 },
  read: { read_note: 0, save_note: 1, erase_notes: 2, both: 2, silent: 0 },
};

test.each(["write", "read"] as const)(
  "Caller.call() lets each tool through the meta tools that fit, unannotated counting as %s",
  async (unannotatedTools) => {
    verifies("CALL-DESTRUCTIVE-GATE", "CALL-UNANNOTATED-IS-WRITE");
    const { gateway, upstream } = await openOne({ settings: { unannotatedTools } });
    let arrived = 0;
    for (const [name, weakest] of Object.entries(WEAKEST[unannotatedTools])) {
      for (const [rank, variant] of VARIANTS.entries()) {
        const answer = await ask(gateway, variant, { name: `s:${name}`, args: FITTING[name] ?? {} });
        expect([name, variant, answer.isError]).toEqual([name, variant, rank < weakest]);
        if (rank >= weakest) arrived += 1;
        else {
          expect(answer.json).toMatchObject({ code: "TOOL_REFUSED", call_with: VARIANTS[weakest] });
          expect(answer.json["hint"]).toContain(VARIANTS[weakest] ?? "");
        }
        expect(upstream.count("tools/call")).toBe(arrived);
      }
    }
  },
);

test("Caller.call() lets only reading tools through in read-only mode, by every meta tool", async () => {
  const { gateway, upstream } = await openOne({ settings: { readOnlyMode: true } });
  for (const variant of [...VARIANTS, "call_tool"]) {
    for (const { name } of TOOLS) {
      const answer = await ask(gateway, variant, { name: `s:${name}`, args: FITTING[name] ?? {} });
      expect([variant, name, answer.isError]).toEqual([variant, name, name !== "read_note"]);
      if (name !== "read_note") expect(answer.json["code"]).toBe("TOOL_REFUSED");
    }
  }
  expect(upstream.count("tools/call")).toBe(4);
});

test("Caller.call() takes every tool through call_tool, listed or not", async () => {
  const { gateway } = await openOne();
  for (const { name } of TOOLS) {
    expect((await ask(gateway, "call_tool", { name: `s:${name}`, args: FITTING[name] ?? {} })).isError).toBe(
      false,
    );
  }
});

test("Caller.call() takes arguments as args, as args_json and not at all, beside fields of older proxies", async () => {
  const { gateway, upstream } = await openOne();
  const name = "s:save_note";
  const sent: [object, JsonObject][] = [
    [{ args: { text: "a", deep: { n: [1, null] } } }, { text: "a", deep: { n: [1, null] } }],
    [{ args_json: '{"text":"b"}' }, { text: "b" }],
    [{ args_json: "" }, {}],
    [{ args_json: "  " }, {}],
    [{}, {}],
    [{ args: {}, reason: "why" }, {}],
    [
      {
        args: { text: "c" },
        intent_data_sensitivity: "internal",
        intent_reason: "contract",
        intent: { operation_type: "write" },
      },
      { text: "c" },
    ],
    [
      { args: JSON.parse('{"__proto__":{"a":1},"constructor":2}') as JsonObject },
      JSON.parse('{"__proto__":{"a":1},"constructor":2}') as JsonObject,
    ],
  ];
  for (const [extra] of sent)
    expect((await ask(gateway, "call_tool_write", { name, ...extra })).isError).toBe(false);
  expect(JSON.stringify(upstream.calls())).toBe(JSON.stringify(sent.map(([, args]) => args)));
});

test.each<[string, object, RegExp]>([
  ["a missing one", { args: {} }, /id/],
  ["one of a wrong type", { args: { id: "x" } }, /arguments\.id/],
  ["JSON that is none", { args_json: "{" }, /args_json/],
  ["JSON that is a list", { args_json: "[1]" }, /object/],
  ["JSON that is null", { args_json: "null" }, /id/],
  ["JSON that is text", { args_json: '"a"' }, /object/],
])("Caller.call() refuses wrong arguments before they travel: %s", async (_, extra, message) => {
  verifies("CALL-ARGS-CHECKED");
  const { gateway, upstream } = await openOne();
  const answer = await ask(gateway, "call_tool_read", { name: "s:read_note", ...extra });
  expect(answer).toMatchObject({ isError: true, json: { code: "ARGUMENTS_INVALID" } });
  expect(answer.json["error"]).toMatch(message);
  expect(upstream.count("tools/call")).toBe(0);
  if (!JSON.stringify(extra).includes("args_json")) {
    expect(answer.json["inputSchema"]).toEqual(TOOLS[0]?.inputSchema);
    expect(answer.json["faults"]).toHaveLength(1);
  }
});

test.each<[string, string]>([
  ["s:nothing", "TOOL_UNKNOWN"],
  ["nobody:x", "SERVER_UNKNOWN"],
  ["nonsense", "TOOL_UNKNOWN"],
  ["", "TOOL_UNKNOWN"],
  ["__proto__:x", "SERVER_UNKNOWN"],
])("Caller.call() answers the unknown id '%s' with %s and a way out", async (name, code) => {
  verifies("CALL-UNKNOWN-TOOL");
  const { gateway, upstream } = await openOne();
  const answer = await ask(gateway, "call_tool_read", { name, args: {} });
  expect(answer).toMatchObject({ isError: true, json: { code } });
  expect(answer.json["hint"]).toBeString();
  expect(upstream.count("tools/call")).toBe(0);
});

test("Caller.call() wakes a lazy server once for ten calls at the same time", async () => {
  verifies("UPSTREAM-MODES");
  const upstream = serveTools(TOOLS);
  open.push(upstream);
  const gateway = await openGateway([upstream.server({ startupMode: "lazy_loading" })]);
  open.push(gateway);
  await settle(gateway);
  expect(upstream.requests).toEqual([]);
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, id) =>
      ask(gateway, "call_tool_read", { name: "s:read_note", args: { id } }),
    ),
  );
  expect(answers.map(({ json }) => json)).toEqual(
    answers.map((_, id) => ({ name: "read_note", args: { id } })),
  );
  expect(upstream.count("initialize")).toBe(1);
  expect(upstream.count("tools/list")).toBe(1);
});

test("Caller.call() waits for a server that is connecting, and gives up when the caller's time or patience ends", async () => {
  verifies("CALL-ENDS-IN-TIME");
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const upstream = serveTools(TOOLS, { held });
  open.push(upstream);
  const servers = [upstream.server(), upstream.server({ name: "brief", callTimeoutMs: 30 })];
  const gateway = await openGateway(servers, { known: { s: TOOLS, brief: TOOLS } });
  open.push(gateway);
  gateway.upstreams.start();
  await waitFor("the handshake is under way", () => upstream.count("initialize") === 2);
  const waiting = ask(gateway, "call_tool_read", { name: "s:read_note", args: { id: 5 } });
  const startedAt = performance.now();
  const late = await ask(gateway, "call_tool_read", { name: "brief:read_note", args: { id: 1 } });
  expect(performance.now() - startedAt).toBeLessThan(280);
  expect(late).toMatchObject({ isError: true, json: { code: "SERVER_NOT_READY" } });
  const abort = new AbortController();
  const leaving = failureOf(() =>
    gateway.caller.call({ id: "s:read_note", args: { id: 1 }, signal: abort.signal }),
  );
  abort.abort();
  expect((await leaving)["code"]).toBe("CALL_CANCELLED");
  expect(upstream.count("tools/call")).toBe(0);
  release();
  expect((await waiting).json).toEqual({ name: "read_note", args: { id: 5 } });
});

test("Caller.call() ends a call that is never answered by its timeout, and tells the upstream", async () => {
  verifies("CALL-ENDS-IN-TIME");
  const { promise: never, resolve } = Promise.withResolvers<unknown>();
  const { gateway, upstream } = await openOne({ call: () => never, settings: { callToolTimeoutMs: 60 } });
  const startedAt = performance.now();
  const answer = await ask(gateway, "call_tool_read", { name: "s:read_note", args: { id: 1 } });
  expect(performance.now() - startedAt).toBeLessThan(60 + 250);
  expect(answer).toMatchObject({ isError: true, json: { code: "CALL_TIMEOUT" } });
  await waitFor("the upstream knows", () => upstream.count("notifications/cancelled") === 1);
  resolve({ content: [] });
});

test("Caller.call() tells the upstream when the caller gives up", async () => {
  const { promise: never, resolve } = Promise.withResolvers<unknown>();
  const { gateway, upstream } = await openOne({ call: () => never });
  const abort = new AbortController();
  const leaving = failureOf(() =>
    gateway.caller.call({ id: "s:read_note", args: { id: 1 }, signal: abort.signal }),
  );
  await waitFor("the call is there", () => upstream.count("tools/call") === 1);
  abort.abort();
  expect((await leaving)["code"]).toBe("CALL_CANCELLED");
  await waitFor("the upstream knows", () => upstream.count("notifications/cancelled") === 1);
  resolve({ content: [] });
});

test("Caller.call() says why a dead server cannot be called: the cause, a hint, its last words", async () => {
  verifies("CALL-DEAD-SERVER");
  const servers = [
    stdioServer(["--exit-with", "3", "--stderr", "the license is missing"], { name: "exits" }),
    makeServer({ name: "absent", command: "no-such-command-of-mcpproxy", args: [] }),
    makeServer({ name: "refused", url: "http://127.0.0.1:9/mcp" }),
  ];
  const known = Object.fromEntries(servers.map(({ name }) => [name, TOOLS]));
  const gateway = await openGateway(servers, { known });
  open.push(gateway);
  await settle(gateway);
  const causes: [string, RegExp][] = [
    ["exits", /code 3[\s\S]*the license is missing/],
    ["absent", /no-such-command-of-mcpproxy/],
    ["refused", /connect/i],
  ];
  for (const [server, cause] of causes) {
    const answer = await ask(gateway, "call_tool_read", { name: `${server}:read_note`, args: { id: 1 } });
    expect(answer).toMatchObject({ isError: true, json: { code: "UPSTREAM_FAILED" } });
    expect(answer.text).toMatch(cause);
    expect(answer.json["hint"]).toBeString();
  }
});

test("Caller.drain() waits for calls in flight, and no longer than it may", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<unknown>();
  const { gateway, upstream } = await openOne({ call: () => held });
  const call = ask(gateway, "call_tool_read", { name: "s:read_note", args: { id: 1 } });
  await waitFor("the call is there", () => upstream.count("tools/call") === 1);
  await gateway.caller.drain(20);
  let isDrained = false;
  const draining = gateway.caller.drain(5_000).then(() => {
    isDrained = true;
  });
  expect(isDrained).toBe(false);
  release({ content: [] });
  await draining;
  expect((await call).isError).toBe(false);
});
test.each(["streamable", "modern"] as const)(
  "Caller.call() gives the result of a %s upstream as it came",
  async (kind) => {
    verifies("CALL-RESULT-UNCHANGED");
    await using upstream = serveHttp({ kind });
    await using gateway = await openGateway([makeServer({ name: "u", url: upstream.url })]);
    await settle(gateway);
    const call = (name: string) => gateway.caller.call({ id: `u:${name}`, args: {} });
    expect(await call("rich")).toEqual(RICH_RESULT as unknown as JsonObject);
    expect(await call("odd")).toEqual(ODD_RESULT as unknown as JsonObject);
    expect(await call("fails")).toEqual({ content: [{ type: "text", text: '"it failed"' }], isError: true });
  },
);

test("Caller.call() cuts a long result and gives the key to the rest", async () => {
  verifies("CACHE-READ-WHOLE");
  const whole = JSON.stringify({ rows: Array.from({ length: 900 }, (_, n) => ({ n, label: `row ${n}` })) });
  const call = (): JsonObject => ({ content: [{ type: "text", text: whole }], _meta: { kept: true } });
  const { gateway } = await openOne({ call, settings: { toolResponseLimit: 1_000 } });
  const cut = await ask(gateway, "call_tool_read", { name: "s:read_note", args: { id: 1 } });
  expect(cut.result["_meta"]).toEqual({ kept: true });
  const text = JSON.stringify(cut.result["content"]);
  expect(text.length).toBeLessThan(1_600);
  const key = /read_cache key=\\"([^"\\]+)\\"/.exec(text)?.[1];
  const rows: unknown[] = [];
  for (let offset: number | undefined = 0; offset !== undefined;) {
    const { json } = await ask(gateway, "read_cache", { key, offset, limit: 100 });
    rows.push(...(json["records"] as unknown[]));
    offset = json["next_offset"] as number | undefined;
  }
  expect({ rows }).toEqual(JSON.parse(whole) as { rows: unknown[] });
});
