/**
 * `/mcp` as clients of both eras see it: SDK v2, SDK v1, and messages by hand.
 */
import { afterAll, afterEach, beforeAll, expect, jest, setSystemTime, test } from "bun:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as HttpTransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { Hono } from "hono";
import type { JsonObject, ToolDefinition } from "../../src/core/model.ts";
import { OPEN } from "../../src/core/principal.ts";
import type { Principal } from "../../src/core/principal.ts";
import { Semaphore } from "../../src/lib/semaphore.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { AGENT_TOOLS, openGateway, openProxy, serveTools } from "../gateway/fixtures.ts";
import type { Gateway, OpenProxy, ToolUpstream, UpstreamRequest } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";

/** What no schema of any revision foresees must come through as well. */
const RESULTS: Readonly<Record<string, JsonObject>> = {
  rich: {
    content: [
      {
        type: "text",
        text: "plain ünïcode \u{1f600} \u0000",
        annotations: { audience: ["user"], priority: 0.5 },
        x_text: 1,
      },
      { type: "image", data: "iVBORw0KGgo=", mimeType: "image/png", x_image: { deep: [1, null] } },
      { type: "audio", data: "UklGRg==", mimeType: "audio/wav", _meta: { a: 1 } },
      { type: "resource_link", uri: "file:///a", name: "a", x_link: true },
      { type: "resource", resource: { uri: "file:///b", text: "inside", x_resource: 1 } },
      {
        type: "resource",
        resource: { uri: "file:///c", blob: "AAAA", mimeType: "application/octet-stream" },
      },
    ],
    structuredContent: { n: 1, list: [{ a: null }], "key with space": "v", big: 9_007_199_254_740_991 },
    isError: false,
    _meta: { "example.com/trace": { id: 7 }, progressToken: 0 },
    x_unknown: { kept: [1, 2, 3] },
  },
  odd: { content: [{ type: "hologram", beams: 3, nested: { a: [1] } }], x_unknown: null },
  failed: { content: [{ type: "text", text: "it failed" }], isError: true, structuredContent: { why: "so" } },
  empty: { content: [] },
  bare: { structuredContent: { only: true } },
  list: { content: [{ type: "text", text: "x" }], structuredContent: [1, { a: 2 }] },
};
const RPC_ERROR = "rpc_error";

const TOOLS: readonly ToolDefinition[] = [...Object.keys(RESULTS), RPC_ERROR, "echo", "hang", "progress"].map(
  (name) => makeDefinition(name, { annotations: { readOnlyHint: true } }),
);

let upstream: ToolUpstream;
let opened: OpenProxy;
const closing: (() => Promise<unknown>)[] = [];
const neverAnswered = Promise.withResolvers<unknown>();

beforeAll(async () => {
  upstream = serveTools(TOOLS, { call: callTool });
  opened = await openProxy([upstream.server()]);
});

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

afterAll(async () => {
  neverAnswered.resolve({ content: [] });
  await opened[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

function callTool(name: string, _: JsonObject, request: UpstreamRequest): unknown {
  if (name === "hang") return neverAnswered.promise;
  if (name === RPC_ERROR)
    return Response.json({ jsonrpc: "2.0", id: request.id, error: { code: -32_050, message: "unwilling" } });
  if (name === "progress") return progressResponse(request);
  return RESULTS[name];
}

function progressResponse(request: UpstreamRequest): Response {
  const meta = request.params?.["_meta"] as JsonObject | undefined;
  const progressToken = meta?.["progressToken"];
  const steps = [1, 2, 3].map((progress) => ({
    jsonrpc: "2.0",
    method: "notifications/progress",
    params: { progressToken, progress, total: 3, message: `step ${progress}` },
  }));
  const messages = [
    ...(progressToken === undefined ? [] : steps),
    { jsonrpc: "2.0", id: request.id, result: { content: [{ type: "text", text: "done" }] } },
  ];
  const body = messages.map((message) => `event: message\ndata: ${JSON.stringify(message)}\n\n`).join("");
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
}

interface Answer {
  readonly status: number;
  readonly session: string | null;
  /** All messages of the answer, from JSON or from events. */
  readonly messages: readonly Record<string, unknown>[];
  readonly text: string;
}

interface Sending {
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
  readonly method?: string;
}

async function post(body: unknown, { headers = {}, signal, method = "POST" }: Sending = {}): Promise<Answer> {
  const response = await fetch(`${opened.url}/mcp`, {
    method,
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    ...(method === "GET" || body === undefined
      ? {}
      : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    ...(signal ? { signal } : {}),
  });
  const text = await response.text();
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  const parts = isStream
    ? text.split("\n").filter((line) => line.startsWith("data:") && line.length > 6)
    : [`data:${text}`];
  const messages = parts.flatMap((line) => parse(line.slice(5)));
  return { status: response.status, session: response.headers.get("mcp-session-id"), messages, text };
}

function parse(text: string): Record<string, unknown>[] {
  try {
    return [JSON.parse(text) as Record<string, unknown>];
  } catch {
    return [];
  }
}

function initialize(id: number | string = 1): JsonObject {
  return {
    jsonrpc: "2.0",
    id,
    method: "initialize",
    params: { protocolVersion: LEGACY, capabilities: {}, clientInfo: { name: "by hand", version: "1" } },
  };
}

/** Opens a legacy session by hand and returns the headers its requests need. */
async function openSession(): Promise<Record<string, string>> {
  const { session } = await post(initialize());
  const headers = { "mcp-session-id": session ?? "", "mcp-protocol-version": LEGACY };
  await post({ jsonrpc: "2.0", method: "notifications/initialized" }, { headers });
  return headers;
}

function messageOf(method: string, params: JsonObject, id: number | string = 1): JsonObject {
  return { jsonrpc: "2.0", id, method, params };
}

/** A request of the modern era with the envelope and the headers it needs. */
function postModern(
  method: string,
  params: JsonObject,
  sending: Sending & { readonly id?: number | string } = {},
): Promise<Answer> {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": { name: "by hand", version: "1" },
    ...(params["_meta"] as JsonObject | undefined),
  };
  const name = params["name"];
  const headers = {
    "mcp-protocol-version": MODERN,
    "mcp-method": method,
    ...(typeof name === "string" ? { "mcp-name": name } : {}),
    ...sending.headers,
  };
  return post(messageOf(method, { ...params, _meta }, sending.id ?? 1), { ...sending, headers });
}

function resultOf(messages: Answer["messages"]): JsonObject {
  return (messages.at(-1)?.["result"] ?? {}) as JsonObject;
}

function callOf(tool: string, args: JsonObject = {}): JsonObject {
  return { name: "call_tool_read", arguments: { name: `s:${tool}`, args } };
}

type AnyClient = Pick<Client, "listTools" | "callTool" | "close">;

const CLIENTS: Readonly<Record<string, (url: URL) => Promise<AnyClient>>> = {
  "SDK v2 modern": async (url) => {
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: { pin: MODERN } } });
    await client.connect(new StreamableHTTPClientTransport(url));
    return client;
  },
  "SDK v2 legacy": async (url) => {
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: "legacy" } });
    await client.connect(new StreamableHTTPClientTransport(url));
    return client;
  },
  "SDK v2 auto": async (url) => {
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: "auto" } });
    await client.connect(new StreamableHTTPClientTransport(url));
    return client;
  },
  "SDK v1": async (url) => {
    const client = new ClientV1({ name: "c", version: "1" });
    await client.connect(new HttpTransportV1(url));
    return client as unknown as AnyClient;
  },
};

async function openClient(url: string, kind: string): Promise<AnyClient> {
  const client = await CLIENTS[kind]?.(new URL(`${url}/mcp`));
  if (client === undefined) throw new Error(`No client '${kind}'`);
  return client;
}

async function connect(kind: string): Promise<AnyClient> {
  const client = await openClient(opened.url, kind);
  closing.push(() => client.close());
  return client;
}

test.each(Object.keys(CLIENTS))("a client of %s lists, searches, describes and calls", async (kind) => {
  verifies("MCP-CLIENTS", "MCP-BOTH-ERAS");
  const client = await connect(kind);
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toEqual(AGENT_TOOLS);
  const found = await client.callTool({ name: "retrieve_tools", arguments: { query: "echo" } });
  expect(JSON.stringify(found)).toContain("s:echo");
  const described = await client.callTool({ name: "describe_tool", arguments: { tool_ids: ["s:echo"] } });
  expect(JSON.stringify(described)).toContain("inputSchema");
  const called = await client.callTool(callOf("echo", { a: [1] }) as { name: string });
  expect(called.content).toEqual([
    { type: "text", text: JSON.stringify({ name: "echo", args: { a: [1] } }) },
  ]);
  const failed = await client.callTool(callOf("failed") as { name: string });
  expect(failed.isError).toBe(true);
});

test("both eras get the same menu and the same search reply", async () => {
  verifies("MCP-BOTH-ERAS");
  const headers = await openSession();
  const menus = [await post(messageOf("tools/list", {}), { headers }), await postModern("tools/list", {})];
  const [legacy, modern] = menus.map(({ messages }) => resultOf(messages)["tools"]);
  expect(modern).toEqual(legacy ?? null);
  const search = { name: "retrieve_tools", arguments: { query: "echo" } };
  const replies = [
    await post(messageOf("tools/call", search), { headers }),
    await postModern("tools/call", search),
  ];
  const [old, current] = replies.map(({ messages }) =>
    JSON.stringify(resultOf(messages)["content"]).replace(/took_ms\\":[\d.]+/, ""),
  );
  expect(current).toBe(old ?? "");
});

test.each(Object.keys(RESULTS))(
  "the result '%s' arrives as the upstream gave it, in both eras",
  async (name) => {
    verifies("CALL-RESULT-UNCHANGED", "MCP-BOTH-ERAS");
    const legacy = await post(messageOf("tools/call", callOf(name)), { headers: await openSession() });
    expect(legacy.messages.at(-1)?.["result"]).toEqual(RESULTS[name]);
    const modern = await postModern("tools/call", callOf(name));
    const { resultType, _meta, ...rest } = resultOf(modern.messages);
    const { _meta: sentMeta, ...sent } = RESULTS[name] ?? {};
    expect(rest).toEqual(sent);
    // The revision asks for these two, and the upstream's own keys stand beside them.
    expect(resultType).toBe("complete");
    expect(_meta).toEqual({
      ...(sentMeta as JsonObject | undefined),
      "io.modelcontextprotocol/serverInfo": expect.objectContaining({ name: "mcpproxy" }) as JsonObject,
    });
  },
);

test("an upstream's JSON-RPC error is a result the model can read, in both eras", async () => {
  const answers = [
    await post(messageOf("tools/call", callOf(RPC_ERROR)), { headers: await openSession() }),
    await postModern("tools/call", callOf(RPC_ERROR)),
  ];
  for (const { messages } of answers) {
    expect(messages.at(-1)?.["result"]).toMatchObject({ isError: true });
    expect(JSON.stringify(messages)).toContain("unwilling");
  }
});

test.each<[string, JsonObject]>([
  ["an unknown tool", { name: "no_such_tool", arguments: {} }],
  ["a tool of a server under its own id", { name: "s:echo", arguments: {} }],
  ["a key of every object", { name: "constructor", arguments: {} }],
  ["no name", { arguments: {} }],
  ["a name that is no text", { name: 7 }],
  ["arguments that are a list", { name: "retrieve_tools", arguments: [1] }],
])("tools/call of %s is JSON-RPC −32602, in both eras", async (_, params) => {
  verifies("CALL-UNKNOWN-TOOL");
  const answers = [
    await post(messageOf("tools/call", params), { headers: await openSession() }),
    await postModern("tools/call", params),
  ];
  for (const { messages } of answers)
    expect(messages.at(-1)?.["error"]).toMatchObject({ code: -32602, message: expect.any(String) as string });
});

test("an unknown method is JSON-RPC −32601, in both eras", async () => {
  const answers = [
    await post(messageOf("no/such", {}), { headers: await openSession() }),
    await postModern("no/such", {}),
  ];
  for (const { messages } of answers) expect(messages.at(-1)?.["error"]).toMatchObject({ code: -32601 });
});

test("a request without a session id is 400, with an unknown one 404, and DELETE ends one", async () => {
  verifies("MCP-SESSION-IDS");
  const list = messageOf("tools/list", {});
  const missing = await post(list, { headers: { "mcp-protocol-version": LEGACY } });
  expect(missing.status).toBe(400);
  expect(missing.messages[0]).toMatchObject({
    jsonrpc: "2.0",
    error: { message: expect.any(String) as string },
  });
  expect((await post(undefined, { method: "GET" })).status).toBe(400);
  expect((await post(undefined, { method: "DELETE" })).status).toBe(400);
  for (const id of ["unknown", crypto.randomUUID(), "__proto__", "a".repeat(5_000)]) {
    for (const method of ["POST", "GET", "DELETE"]) {
      const unknown = await post(list, { method, headers: { "mcp-session-id": id } });
      expect(unknown.status).toBe(404);
      expect(unknown.messages[0]).toMatchObject({ error: { message: "Session not found" } });
    }
  }
  const headers = await openSession();
  expect((await post(list, { headers })).status).toBe(200);
  expect((await post(undefined, { headers, method: "DELETE" })).status).toBe(200);
  expect((await post(list, { headers })).status).toBe(404);
});

test("session ids are long, random and never the same", async () => {
  verifies("MCP-SESSION-IDS");
  const ids = await Promise.all(
    Array.from({ length: 50 }, async () => (await post(initialize())).session ?? ""),
  );
  expect(new Set(ids).size).toBe(50);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f-]{36}$/);
  await Promise.all(
    ids.map((id) => post(undefined, { method: "DELETE", headers: { "mcp-session-id": id } })),
  );
});

test("a modern client's request opens no session", async () => {
  const before = (await opened.get("/api/v1/status")).data as { sessions: number };
  const { session } = await postModern("tools/list", {});
  expect(session).toBeNull();
  expect((await opened.get("/api/v1/status")).data).toMatchObject({ sessions: before.sessions });
});

test("200 clients of both eras with colliding ids get their own answers, 10,000 in all", async () => {
  verifies("MCP-SESSION-IDS");
  // Bun lets 256 requests be under way in a process, and each call here is two: the client's and the proxy's.
  const places = new Semaphore(100);
  let foreign = 0;
  const callOnce = async (client: number, n: number, headers?: Record<string, string>): Promise<void> => {
    const release = await places.acquire();
    try {
      const params = callOf("echo", { client, n });
      const { messages } = headers
        ? await post(messageOf("tools/call", params, n), { headers })
        : await postModern("tools/call", params, { id: n });
      const last = messages.at(-1) as { id: unknown; result: { content: { text: string }[] } };
      if (last.id !== n) foreign += 1;
      if (last.result.content[0]?.text !== JSON.stringify({ name: "echo", args: { client, n } }))
        foreign += 1;
    } finally {
      release();
    }
  };
  const sessions: (Record<string, string> | undefined)[] = [];
  for (let client = 0; client < 200; client += 1)
    sessions.push(client % 2 === 0 ? await openSession() : undefined);
  await Promise.all(
    sessions.flatMap((headers, client) => Array.from({ length: 50 }, (_, n) => callOnce(client, n, headers))),
  );
  expect(foreign).toBe(0);
  for (const headers of sessions) if (headers) await post(undefined, { method: "DELETE", headers });
}, 40_000);

test("notifications/cancelled of a legacy client reaches the upstream, a disconnect does not", async () => {
  const headers = await openSession();
  const cancelled = (): number => upstream.count("notifications/cancelled");
  const called = upstream.count("tools/call");
  const before = cancelled();
  const abort = new AbortController();
  const gone = post(messageOf("tools/call", callOf("hang"), 70), { headers, signal: abort.signal }).catch(
    () => "gone",
  );
  await waitFor("the call is there", () => upstream.count("tools/call") === called + 1);
  abort.abort();
  expect(await gone).toBe("gone");
  const kept = post(messageOf("tools/call", callOf("hang"), 71), { headers }).catch(() => undefined);
  await waitFor("the second call is there", () => upstream.count("tools/call") === called + 2);
  const startedAt = performance.now();
  await post(
    { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 71, reason: "enough" } },
    { headers },
  );
  await waitFor("the upstream knows", () => cancelled() === before + 1);
  expect(performance.now() - startedAt).toBeLessThan(200);
  expect(cancelled()).toBe(before + 1);
  await post(undefined, { method: "DELETE", headers });
  await kept;
});

test.each(["streamable", "modern"] as const)(
  "a modern client that closes its stream cancels the call at a %s upstream",
  async (kind) => {
    await using hanging = serveHttp({ kind });
    await using proxy = await openProxy([makeServer({ name: "h", url: hanging.url })]);
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: { pin: MODERN } } });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${proxy.url}/mcp`)));
    const abort = new AbortController();
    const call = client
      .callTool(
        { name: "call_tool_write", arguments: { name: "h:hang", args: {} } },
        { signal: abort.signal },
      )
      .catch((error: unknown) => error);
    await waitFor("the call is there", () => hanging.calls("tools/call").length === 1);
    const startedAt = performance.now();
    abort.abort();
    expect(await call).toBeInstanceOf(Error);
    await waitFor(
      "the upstream knows",
      () =>
        hanging.calls("notifications/cancelled").length === 1 || hanging.calls("tools/call")[0]?.isAborted,
    );
    expect(performance.now() - startedAt).toBeLessThan(200);
    await client.close();
  },
);

test.each(Object.keys(CLIENTS))("progress reaches a client of %s", async (kind) => {
  const client = (await connect(kind)) as Client;
  const seen: unknown[] = [];
  const params = callOf("progress") as { name: string };
  const options = { onprogress: (progress: unknown) => void seen.push(progress) };
  const result =
    kind === "SDK v1"
      ? await (client as unknown as ClientV1).callTool(params, undefined, options)
      : await client.callTool(params, options);
  expect(result.content).toEqual([{ type: "text", text: "done" }]);
  expect(seen).toEqual([1, 2, 3].map((progress) => ({ progress, total: 3, message: `step ${progress}` })));
});

test("a proxy that stops answers 100 calls in flight, of both eras, and closes soon after", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<unknown>();
  await using slow = serveTools(TOOLS, { call: () => held });
  await using stopping = await openProxy([slow.server()]);
  const clients = [
    await openClient(stopping.url, "SDK v2 modern"),
    await openClient(stopping.url, "SDK v2 legacy"),
  ];
  const params = callOf("echo") as { name: string };
  const calls = Array.from({ length: 100 }, async (_, n) => clients[n % 2]?.callTool(params));
  await waitFor("the calls are there", () => slow.count("tools/call") === 100);
  const closed = stopping.proxy.close();
  const startedAt = performance.now();
  release({ content: [{ type: "text", text: "in time" }] });
  const answers = await Promise.allSettled(calls);
  expect(answers.filter(({ status }) => status === "fulfilled")).toHaveLength(100);
  await closed;
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  await Promise.all(clients.map((client) => client.close()));
}, 15_000);

test.each<[string, string, number[]]>([
  ["no JSON", "{", [400]],
  ["nothing", "", [400]],
  ["null", "null", [400]],
  ["a number", "7", [400]],
  ["text", '"initialize"', [400]],
  ["an object that is no message", '{"a":1}', [400]],
  ["another version of JSON-RPC", '{"jsonrpc":"1.0","id":1,"method":"tools/list"}', [400]],
  ["an id that is an object", '{"jsonrpc":"2.0","id":{},"method":"tools/list"}', [400]],
  ["an empty batch", "[]", [400]],
  [
    "a batch",
    '[{"jsonrpc":"2.0","id":1,"method":"tools/list"},{"jsonrpc":"2.0","id":2,"method":"tools/list"}]',
    [400],
  ],
  ["deep nesting", "[".repeat(100_000), [400]],
  ["control characters", "\u0000\u0001\u001b[31m", [400]],
])("a body that is %s gets a clear error", async (_, body, statuses) => {
  const answer = await post(body);
  expect(statuses).toContain(answer.status);
  expect(answer.messages[0]).toMatchObject({
    error: { code: expect.any(Number) as number, message: expect.any(String) as string },
  });
  expect(answer.text).not.toMatch(/node_modules|at \w+ \(/);
});

test("a body over 16 MiB is refused, and the proxy goes on", async () => {
  const big = "x".repeat(17 * 1024 * 1024);
  for (const headers of [{}, await openSession()]) {
    const status = await post(messageOf("tools/call", callOf("echo", { big })), { headers }).then(
      (answer) => answer.status,
      () => 413,
    );
    expect(status).toBe(413);
  }
  expect((await postModern("tools/list", {})).status).toBe(200);
});

test.each(["PUT", "PATCH"])("%s /mcp is answered with an error", async (method) => {
  expect((await post(messageOf("tools/list", {}), { method })).status).toBeGreaterThanOrEqual(400);
});

test("a revision that does not exist is refused with the ones that do", async () => {
  const { status, text } = await postModern(
    "tools/list",
    { _meta: { "io.modelcontextprotocol/protocolVersion": "2099-01-01" } },
    { headers: { "mcp-protocol-version": "2099-01-01" } },
  );
  expect(status).toBe(400);
  expect(text).toContain(MODERN);
});

/** The routes behind a door that lets everybody in. */
function openedRoutes({ mcp }: Gateway) {
  const app = new Hono<{ Variables: { principal: Principal } }>();
  app.use(async (context, next) => {
    context.set("principal", OPEN);
    await next();
  });
  return app.route("/", mcp.routes);
}

test.each([LEGACY, MODERN])("McpEndpoint answers nobody of %s who came by no door", async (era) => {
  verifies("MCP-SESSION-IDS");
  await using gateway = await openGateway([]);
  const isModern = era === MODERN;
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const response = await gateway.mcp.routes.request("/", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(isModern ? { "mcp-protocol-version": MODERN, "mcp-method": "tools/list" } : {}),
    },
    body: JSON.stringify(isModern ? messageOf("tools/list", { _meta }) : initialize()),
  });
  expect(response.status).toBeGreaterThanOrEqual(400);
  expect(await response.text()).not.toContain("retrieve_tools");
  expect(gateway.mcp.sessionCount).toBe(0);
});

async function openBy(gateway: Gateway, headers: Record<string, string> = {}): Promise<string> {
  const response = await openedRoutes(gateway).request("/", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    body: JSON.stringify(initialize()),
  });
  await response.body?.cancel();
  return response.headers.get("mcp-session-id") ?? "";
}

async function statusOf(gateway: Gateway, session: string): Promise<number> {
  const response = await openedRoutes(gateway).request("/", {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-session-id": session,
    },
    body: JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" }),
  });
  await response.body?.cancel();
  return response.status;
}

test("McpEndpoint ends a session that nobody used for an hour, and no other", async () => {
  verifies("MCP-SESSION-IDS");
  await using gateway = await openGateway([]);
  jest.useFakeTimers();
  try {
    const [idle, busy] = [await openBy(gateway), await openBy(gateway)];
    for (let minutes = 0; minutes < 62; minutes += 31) {
      jest.advanceTimersByTime(31 * 60_000);
      expect(await statusOf(gateway, busy)).toBe(202);
    }
    expect(gateway.mcp.sessionCount).toBe(1);
    expect(await statusOf(gateway, idle)).toBe(404);
    jest.advanceTimersByTime(62 * 60_000);
    expect(gateway.mcp.sessionCount).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
    setSystemTime();
  }
});

test("McpEndpoint ends the session idle for longest when there are too many", async () => {
  await using gateway = await openGateway([]);
  const first = await openBy(gateway);
  const second = await openBy(gateway);
  for (let count = 2; count < 10_000; count += 1) await openBy(gateway);
  expect(gateway.mcp.sessionCount).toBe(10_000);
  expect(await statusOf(gateway, first)).toBe(202);
  await openBy(gateway);
  expect(gateway.mcp.sessionCount).toBe(10_000);
  expect(await statusOf(gateway, second)).toBe(404);
  expect(await statusOf(gateway, first)).toBe(202);
}, 30_000);

test("McpEndpoint.close() before the first request, or during it, leaves no session", async () => {
  await using early = await openGateway([]);
  await early.mcp.close();
  expect(await openBy(early)).toBe("");
  expect(early.mcp.sessionCount).toBe(0);
  await using during = await openGateway([]);
  const opening = openBy(during);
  await during.mcp.close();
  const session = await opening;
  expect(during.mcp.sessionCount).toBe(0);
  expect(await statusOf(during, session)).toBe(404);
});

test("McpEndpoint.close() ends all sessions, and twice is once", async () => {
  await using gateway = await openGateway([]);
  const session = await openBy(gateway);
  await gateway.mcp.close();
  await gateway.mcp.close();
  expect(gateway.mcp.sessionCount).toBe(0);
  expect(await statusOf(gateway, session)).toBe(404);
});
