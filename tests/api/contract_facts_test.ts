/**
 * What scripts and clients that were written for the Go proxy see first, over real sockets, in our own words.
 *
 * Owns the scenarios of health, keys, envelopes, status, search, calls, cut results, activity, sessions, doctor, registries
 * and events as one whole; the tests of each route look at the rest of it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { JsonObject, ToolDefinition } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { AGENT_TOOLS, serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy, LiveReply } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";

let upstream: ToolUpstream;
let proxy: LiveProxy;

const ROWS = 1_500;
const TEXT: unknown = expect.any(String);
const NUMBER: unknown = expect.any(Number);
const LIST: unknown = expect.any(Array);
const part = (text: string): unknown => expect.stringContaining(text);
const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern);

function answerOf(name: string, args: Readonly<Record<string, unknown>>): unknown {
  if (name === "list_shelf") {
    const rows = Array.from({ length: ROWS }, (_, at) => ({ at, title: `volume ${at} of the shelf` }));
    return { content: [{ type: "text", text: JSON.stringify(rows) }] };
  }
  if (name === "weigh_book")
    return { content: [{ type: "text", text: "7 g" }], structuredContent: { grams: 7 } };
  if (name === "lose_book") return { content: [{ type: "text", text: "the owl took it" }], isError: true };
  return { content: [{ type: "text", text: `${name} ${JSON.stringify(args)}` }] };
}

beforeAll(async () => {
  const number = { type: "object", properties: { number: { type: "integer" } }, required: ["number"] };
  const [reads, writes] = [{ readOnlyHint: true }, { readOnlyHint: false, destructiveHint: false }];
  const make = (
    name: string,
    annotations: object,
    inputSchema: JsonObject = { type: "object" },
  ): ToolDefinition => ({
    ...makeDefinition(name, { description: `Library owl: ${name}`, annotations }),
    inputSchema,
  });
  const tools = [
    make("find_book", reads, number),
    make("lend_book", writes, number),
    make("burn_books", { readOnlyHint: false, destructiveHint: true }),
    ...["list_shelf", "weigh_book", "lose_book"].map((name) => make(name, reads)),
  ];
  upstream = serveTools(tools, { call: answerOf });
  proxy = await openLiveProxy({ mcpServers: [{ name: "library", url: upstream.url, protocol: "http" }] });
  await proxy.untilReady("library");
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

interface Fact {
  readonly name: string;
  readonly ask: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** @default 200 */
  readonly status?: number;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly json?: Readonly<Record<string, unknown>>;
  readonly text?: RegExp;
  readonly lacks?: RegExp;
}

const NO_KEY = { "x-api-key": "" };
const WRONG_KEY = { "x-api-key": "0123456789abcdef0123456789abcdef" };
const refused = { success: false, error: TEXT, request_id: TEXT } as const;
const list = (...items: unknown[]): unknown => expect.arrayContaining(items);
const like = (value: object): unknown => expect.objectContaining(value);
const call = (tool: string, args: object): Pick<Fact, "ask" | "body"> => ({
  ask: "POST /tools/call",
  body: { tool_name: tool, arguments: args },
});

const FACTS: readonly Fact[] = [
  { name: "a list without a key", ask: "GET /servers", headers: NO_KEY, status: 401, json: refused },
  { name: "a list with a wrong key", ask: "GET /servers", headers: WRONG_KEY, status: 401, json: refused },
  { name: "a change without a key", ask: "POST /servers", headers: NO_KEY, body: { name: "x" }, status: 401 },
  {
    name: "the configuration without a key",
    ask: "GET /config",
    headers: NO_KEY,
    status: 401,
    lacks: /mcpServers|library/,
  },
  {
    name: "an id of the caller in a failure",
    ask: "GET /servers/nobody",
    headers: { "x-request-id": "mine-1" },
    status: 404,
    json: { success: false, request_id: "mine-1" },
  },
  {
    name: "the state of the whole",
    ask: "GET /status",
    data: {
      running: true,
      routing_mode: "retrieve_tools",
      timestamp: NUMBER,
      upstream_stats: like({ total_servers: 1, connected_servers: 1, total_tools: 6 }),
    },
  },
  {
    name: "where it is",
    ask: "GET /info",
    data: {
      version: matching(/^\d/),
      web_ui_url: part("/ui/"),
      pid: process.pid,
      endpoints: like({ http: TEXT, socket: TEXT }),
    },
  },
  {
    name: "a server as lists show it",
    ask: "GET /servers",
    data: {
      servers: [
        like({
          name: "library",
          enabled: true,
          quarantined: false,
          connected: true,
          status: "ready",
          tool_count: 6,
          health: like({ level: "healthy", admin_state: "enabled" }),
        }),
      ],
    },
  },
  {
    name: "hits of a search",
    ask: "GET /index/search?q=library+owl&limit=3",
    data: {
      query: "library owl",
      total: NUMBER,
      results: list(like({ score: NUMBER, tool: like({ server_name: "library" }) })),
    },
  },
  { name: "a search that finds nothing", ask: "GET /index/search?q=zzzqqqxxx", data: { results: [] } },
  { name: "a search without words", ask: "GET /index/search", status: 400, json: refused },
  {
    name: "a call that reads",
    ...call("call_tool_read", { name: "library:find_book", args: { number: 3 } }),
    json: { success: true, data: [like({ type: "text", text: 'find_book {"number":3}' })] },
  },
  {
    name: "arguments as text",
    ...call("call_tool_read", { name: "library:find_book", args_json: '{"number":4}' }),
    text: /find_book/,
  },
  {
    name: "a call that names no tool",
    ask: "POST /tools/call",
    body: { arguments: {} },
    status: 400,
    json: refused,
  },
  { name: "a tool of the proxy that is none", ...call("fetch_all", {}), status: 404, text: /fetch_all/ },
  {
    name: "a search by the proxy's tool",
    ...call("retrieve_tools", { query: "library owl", limit: 2 }),
    text: /call_tool_/,
  },
  {
    name: "an entry of the activity",
    ask: "GET /activity?type=tool_call&server=library&limit=5",
    data: {
      limit: 5,
      activities: list(
        like({
          type: "tool_call",
          server_name: "library",
          id: TEXT,
          tool_name: TEXT,
          status: TEXT,
          timestamp: TEXT,
          request_id: TEXT,
        }),
      ),
    },
  },
  { name: "a page of the activity that is too long", ask: "GET /activity?limit=5000", data: { limit: 100 } },
  { name: "an entry nobody made", ask: "GET /activity/999999999", status: 404, json: refused },
  {
    name: "a day of activity",
    ask: "GET /activity/summary?period=24h",
    data: {
      period: "24h",
      total_count: NUMBER,
      success_count: NUMBER,
      error_count: NUMBER,
      blocked_count: NUMBER,
      top_servers: LIST,
      top_tools: LIST,
    },
  },
  {
    name: "activity as lines",
    ask: "GET /activity/export?format=json&limit=1",
    text: /^\{"id":"[^\n]+\}\n$/,
  },
  { name: "activity as a table", ask: "GET /activity/export?format=csv&limit=1", text: /^id,type,/ },
  {
    name: "what is wrong",
    ask: "GET /doctor",
    data: {
      total_issues: NUMBER,
      upstream_errors: [],
      oauth_required: [],
      missing_secrets: [],
      runtime_warnings: LIST,
    },
  },
  {
    name: "the registries",
    ask: "GET /registries",
    data: {
      total: NUMBER,
      registries: list(like({ id: TEXT, name: TEXT })),
    },
  },
  { name: "a registry that is none", ask: "GET /registries/nobody/servers", status: 404, json: refused },
];

test.each(FACTS.map((fact) => [fact.ask, fact.name, fact] as const))("%s: %s", async (_, __, fact) => {
  verifies("API-GO-FACTS");
  const { ask, body, headers, status = 200, data, json, text, lacks } = fact;
  const reply = await proxy.ask(ask, body, headers);
  expect({ status: reply.status, text: reply.text }).toMatchObject({ status });
  if (data !== undefined) expect(reply.data).toMatchObject(data);
  if (json !== undefined) expect(reply.json).toMatchObject(json);
  if (text !== undefined) expect(reply.text).toMatch(text);
  if (lacks !== undefined) expect(reply.text).not.toMatch(lacks);
});

test.each([
  ["/healthz", { status: "ok" }],
  ["/livez", { status: "ok" }],
  ["/readyz", { ready: true }],
])("%s needs no key", async (path, body) => {
  verifies("API-GO-FACTS");
  const response = await fetch(`${proxy.url()}${path}`);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject(body);
});

/** An MCP client as small as one gets, of the revision most scripts speak. */
async function openSession(path = "/mcp") {
  let id = 0;
  let session: Record<string, string> = {};
  const send = async (message: object): Promise<LiveReply & { readonly session: string | null }> => {
    const response = await fetch(`${proxy.url()}${path}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...session,
      },
      body: JSON.stringify({ jsonrpc: "2.0", ...message }),
    });
    const text = await response.text();
    const line =
      text
        .split("\n")
        .find((one) => one.startsWith("data:"))
        ?.slice(5) ?? text;
    const json = (line === "" ? {} : JSON.parse(line)) as LiveReply["json"];
    return { status: response.status, text, json, data: {}, session: response.headers.get("mcp-session-id") };
  };
  const clientInfo = { name: "old-script", version: "7" };
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo };
  const opened = await send({ id: (id += 1), method: "initialize", params });
  session = { "mcp-session-id": opened.session ?? "", "mcp-protocol-version": "2025-06-18" };
  await send({ method: "notifications/initialized" });
  return {
    opened: opened.json["result"] as Record<string, unknown>,
    ask: async (method: string, given: object = {}) => {
      const { json } = await send({ id: (id += 1), method, params: given });
      return json as {
        readonly result?: Record<string, unknown>;
        readonly error?: { readonly code: number };
      };
    },
    call: async (name: string, args: object) => {
      const { json } = await send({ id: (id += 1), method: "tools/call", params: { name, arguments: args } });
      const result = json["result"] as {
        content: { text?: string }[];
        isError?: boolean;
        structuredContent?: unknown;
      };
      return { ...result, text: result.content.map(({ text }) => text ?? "").join("\n") };
    },
  };
}

test("a session lists the proxy's tools, searches in both forms, and calls by what the search said", async () => {
  verifies("API-GO-FACTS");
  const session = await openSession();
  expect(session.opened).toMatchObject({ protocolVersion: "2025-06-18", capabilities: { tools: {} } });
  const { tools } = (await session.ask("tools/list")).result as { tools: { name: string }[] };
  const names = tools.map(({ name }) => name);
  for (const name of AGENT_TOOLS) expect(names).toContain(name);
  const found = await session.call("retrieve_tools", { query: "library owl", limit: 20, detail: "full" });
  const hits = (
    JSON.parse(found.text) as { tools: { name: string; call_with: string; inputSchema: unknown }[] }
  ).tools;
  const callWith = new Map(hits.map((hit) => [hit.name, hit.call_with]));
  expect(callWith.get("library:find_book")).toBe("call_tool_read");
  expect(callWith.get("library:lend_book")).toBe("call_tool_write");
  expect(callWith.get("library:burn_books")).toBe("call_tool_destructive");
  const harmless = await session.call("retrieve_tools", {
    query: "library owl",
    read_only_only: true,
    limit: 20,
  });
  expect(harmless.text).toContain("library:find_book");
  expect(harmless.text).not.toMatch(/lend_book|burn_books/);
  const none = await session.call("retrieve_tools", { query: "zzzqqqxxy" });
  expect(JSON.parse(none.text)).toMatchObject({ tools: [], total: 0 });
  const wordless = await session.call("retrieve_tools", {});
  expect(wordless).toMatchObject({ isError: true, text: part("query") });
  const described = await session.call("describe_tool", { tool_ids: ["library:find_book", "library:nope"] });
  expect(JSON.parse(described.text)).toMatchObject({
    definitions: [{ name: "library:find_book", inputSchema: { required: ["number"] } }],
    errors: [{}],
  });
});

test("the proxy's tools say what they need, and what they may do", async () => {
  verifies("API-GO-FACTS");
  const session = await openSession();
  const { tools } = (await session.ask("tools/list")).result as {
    tools: { name: string; inputSchema: object; annotations: object }[];
  };
  const menu = Object.fromEntries(tools.map((tool) => [tool.name, tool]));
  const needs = {
    retrieve_tools: "query",
    describe_tool: "tool_ids",
    call_tool_read: "name",
    read_cache: "key",
  };
  for (const [name, key] of Object.entries(needs))
    expect(menu[name]?.inputSchema).toMatchObject({ type: "object", required: [key] });
  expect(menu).toMatchObject({
    retrieve_tools: { annotations: { readOnlyHint: true } },
    call_tool_read: { annotations: { readOnlyHint: true } },
    call_tool_write: { annotations: { readOnlyHint: false } },
    call_tool_destructive: { annotations: { destructiveHint: true } },
  });
});

test.each<[string, string, object, boolean, RegExp]>([
  [
    "a write by its tool",
    "call_tool_write",
    { name: "library:lend_book", args: { number: 1 } },
    false,
    /^lend_book/,
  ],
  [
    "words on the intent",
    "call_tool_write",
    {
      name: "library:lend_book",
      args: { number: 1 },
      intent_data_sensitivity: "internal",
      intent_reason: "r",
    },
    false,
    /^lend_book/,
  ],
  [
    "what destroys, by its tool",
    "call_tool_destructive",
    { name: "library:burn_books" },
    false,
    /^burn_books/,
  ],
  [
    "what destroys, by reading",
    "call_tool_read",
    { name: "library:burn_books" },
    true,
    /call_tool_destructive/,
  ],
  ["arguments that do not fit", "call_tool_read", { name: "library:find_book", args: {} }, true, /number/],
  ["a server that is none", "call_tool_read", { name: "nobody:x" }, true, /nobody/],
  ["an upstream's own failure", "call_tool_read", { name: "library:lose_book" }, true, /^the owl took it$/],
])("a call of %s", async (_, tool, args, isError, text) => {
  verifies("API-GO-FACTS");
  const session = await openSession();
  const result = await session.call(tool, args);
  expect({ isError: result.isError ?? false, text: result.text }).toEqual({
    isError,
    text: matching(text) as string,
  });
});

test("structured content comes through, and a long result is cut with a key that reads on", async () => {
  verifies("API-GO-FACTS", "CACHE-READ-WHOLE");
  const session = await openSession();
  expect((await session.call("call_tool_read", { name: "library:weigh_book" })).structuredContent).toEqual({
    grams: 7,
  });
  const cut = await session.call("call_tool_read", { name: "library:list_shelf" });
  expect(cut.isError ?? false).toBe(false);
  expect(cut.text.length).toBeLessThan(25_000);
  const key = /key[^\w]+([\w-]{8,})/.exec(cut.text)?.[1] ?? "";
  expect(cut.text).toContain("read_cache");
  const page = await session.call("read_cache", { key, offset: 1_000, limit: 5 });
  expect(page.text).toMatch(/volume 100[0-4] of the shelf/);
  expect((await session.call("read_cache", { key: "no-such-key" })).isError).toBe(true);
});

test("a session of MCP is listed with its client, and told by its id", async () => {
  verifies("API-GO-FACTS");
  const session = await openSession();
  await session.call("retrieve_tools", { query: "owl" });
  const { data } = await proxy.ask("GET /sessions?limit=50");
  const all = data["sessions"] as { id: string; client_name: string }[];
  const mine = all.find(({ client_name: name }) => name === "old-script");
  expect(mine).toMatchObject({
    start_time: TEXT,
    last_activity: TEXT,
    tool_call_count: NUMBER,
  });
  expect((await proxy.ask(`GET /sessions/${mine?.id}`)).data).toMatchObject({
    session: { id: mine?.id, client_name: "old-script", client_version: "7" },
  });
});

test("a call is found in the activity by the id of its request, and one failure among the errors", async () => {
  verifies("API-GO-FACTS");
  const body = { tool_name: "call_tool_read", arguments: { name: "library:lose_book" } };
  await proxy.ask("POST /tools/call", body, { "x-request-id": "mine-2" });
  const { data } = await proxy.ask("GET /activity?request_id=mine-2");
  const [entry] = data["activities"] as { id: string }[];
  expect(entry).toMatchObject({ request_id: "mine-2", tool_name: "lose_book", status: "error" });
  expect((await proxy.ask(`GET /activity/${entry?.id}`)).data).toMatchObject({ activity: { id: entry?.id } });
  const errors = (await proxy.ask("GET /activity?server=library&status=error")).data["activities"] as {
    status: string;
  }[];
  expect(new Set(errors.map(({ status }) => status))).toEqual(new Set(["error"]));
});

test("the stream of events begins with the state, takes the key in its address, and tells of a change", async () => {
  verifies("API-GO-FACTS");
  const key = (await Bun.file(`${proxy.folder}/data/api_key`).text()).trim();
  const url = `${proxy.url()}/events`;
  const head = await fetch(`${url}?apikey=${key}`, { method: "HEAD" });
  expect(head.status).toBe(200);
  expect(head.headers.get("content-type")).toContain("text/event-stream");
  expect((await fetch(`${url}?apikey=wrong`)).status).toBe(401);
  const stop = new AbortController();
  const response = await fetch(`${url}?apikey=${key}`, { signal: stop.signal });
  expect(response.headers.get("cache-control")).toContain("no-cache");
  let seen = "";
  const decoder = new TextDecoder();
  const chunks = (response.body ?? new Blob([]).stream()) as AsyncIterable<Uint8Array>;
  for await (const chunk of chunks) {
    const isFirst = seen === "";
    seen += decoder.decode(chunk, { stream: true });
    if (isFirst) await proxy.ask("POST /servers/library/disable");
    if (/data: [^\n]*library/.test(seen.slice(seen.indexOf("\n\n")))) break;
  }
  stop.abort();
  expect(seen).toMatch(/^(?:\w+:[^\n]*\n)*data: ?\{/);
  expect((await proxy.ask("POST /servers/library/enable")).status).toBe(200);
});
