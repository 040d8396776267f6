/**
 * The addresses below `/mcp`, as clients of both SDK lines see them: what each serves, to whom, and what is told of it.
 */
import { afterAll, afterEach, beforeAll, expect, test } from "bun:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as HttpTransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import type { JsonObject } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { AGENT_TOOLS, serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";
const KEY = "key-of-this-test-0123456789abcdef";
const READ = { annotations: { readOnlyHint: true } };
const ADMIN_TOOLS = [
  "upstream_servers",
  "groups",
  "quarantine_security",
  "search_servers",
  "list_registries",
];

let upstream: ToolUpstream;
let proxy: LiveProxy;
const closing: (() => PromiseLike<unknown>)[] = [];

beforeAll(async () => {
  upstream = serveTools(
    [
      makeDefinition("look", { ...READ, description: "Looks" }),
      makeDefinition("write it"),
      {
        name: "typed",
        inputSchema: { type: "object" },
        outputSchema: { type: "object", properties: { n: { type: "number" } } },
        ...READ,
      },
    ],
    { call: (name) => (name === "typed" ? { content: [], structuredContent: { n: 1 } } : undefined) },
  );
  proxy = await openLiveProxy({
    api_key: KEY,
    groups: [
      { id: 1, name: "Team A" },
      { id: 2, name: "Empty" },
    ],
    mcpServers: [
      { name: "one", url: upstream.url, groups: ["Team A"] },
      { name: "two/2", url: `${upstream.url}?2` },
      { name: "held", url: `${upstream.url}?held`, startup_mode: "quarantined" },
    ],
  });
  await proxy.untilReady("one", "two/2");
});

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

type AnyClient = Pick<Client, "listTools" | "callTool" | "close">;
type Headers = Record<string, string>;

const CLIENTS: Readonly<Record<string, (url: URL, headers: Headers) => Promise<AnyClient>>> = {
  "SDK v2 modern": async (url, headers) => {
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: { pin: MODERN } } });
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
    return client;
  },
  "SDK v2 legacy": async (url, headers) => {
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: "legacy" } });
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
    return client;
  },
  "SDK v1": async (url, headers) => {
    const client = new ClientV1({ name: "c", version: "1" });
    await client.connect(new HttpTransportV1(url, { requestInit: { headers } }));
    return client as unknown as AnyClient;
  },
};

async function connect(kind: string, path: string, headers: Headers = {}): Promise<AnyClient> {
  const client = await CLIENTS[kind]?.(new URL(`${proxy.url()}${path}`), headers);
  if (client === undefined) throw new Error(`No client '${kind}'`);
  closing.push(() => client.close());
  return client;
}

const KEYED = { "x-api-key": KEY };

async function namesAt(client: AnyClient): Promise<string[]> {
  return (await client.listTools()).tools.map(({ name }) => name);
}

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly session: string | null;
}

async function post(
  path: string,
  message: JsonObject | undefined,
  headers: Headers = {},
  method = "POST",
): Promise<Reply> {
  const response = await fetch(`${proxy.url()}${path}`, {
    method,
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    ...(message === undefined ? {} : { body: JSON.stringify(message) }),
  });
  return {
    status: response.status,
    text: await response.text(),
    session: response.headers.get("mcp-session-id"),
  };
}

const INITIALIZE: JsonObject = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: LEGACY, capabilities: {}, clientInfo: { name: "by hand", version: "1" } },
};
const LIST: JsonObject = { jsonrpc: "2.0", id: 2, method: "tools/list", params: {} };

function modern(method: string, params: JsonObject = {}): readonly [JsonObject, Headers] {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": { name: "by hand", version: "1" },
  };
  return [
    { jsonrpc: "2.0", id: 3, method, params: { ...params, _meta } },
    { "mcp-protocol-version": MODERN, "mcp-method": method },
  ];
}

async function openSession(path: string, headers: Headers = {}): Promise<Headers> {
  const { session } = await post(path, INITIALIZE, headers);
  const bound = { ...headers, "mcp-session-id": session ?? "", "mcp-protocol-version": LEGACY };
  await post(path, { jsonrpc: "2.0", method: "notifications/initialized" }, bound);
  return bound;
}

async function makeToken(name: string, grant: JsonObject): Promise<string> {
  const made = await proxy.ask("POST /tokens", { name, expires_in: "1h", ...grant });
  expect(made).toMatchObject({ status: 201 });
  return made.data["token"] as string;
}

test.each(Object.keys(CLIENTS))(
  "a client of %s lists and calls at /mcp/all, a group, a server and /mcp/call",
  async (kind) => {
    verifies("MCP-ADDRESSES", "MCP-CLIENTS", "DIRECT-ONE-PATH");
    const all = await connect(kind, "/mcp/all");
    const names = await namesAt(all);
    expect(names).toEqual([
      "one__look",
      "one__typed",
      expect.stringMatching(/^one__write_it_[0-9a-f]{10}$/) as string,
      expect.stringMatching(/^two_2__look_[0-9a-f]{10}$/) as string,
      expect.stringMatching(/^two_2__typed_[0-9a-f]{10}$/) as string,
      expect.stringMatching(/^two_2__write_it_[0-9a-f]{10}$/) as string,
    ]);
    const called = await all.callTool({ name: names[3] ?? "", arguments: { a: 1 } });
    expect(called.content).toEqual([
      { type: "text", text: JSON.stringify({ name: "look", args: { a: 1 } }) },
    ]);
    // The client holds it against the schema it was listed with.
    expect((await all.callTool({ name: "one__typed" })).structuredContent).toEqual({ n: 1 });

    for (const path of ["/mcp/g/team-a", "/mcp/g/1"]) {
      expect(await namesAt(await connect(kind, path))).toEqual(names.slice(0, 3));
    }
    expect(await namesAt(await connect(kind, "/mcp/g/empty"))).toEqual([]);
    const own = await connect(kind, "/mcp/s/two%2F2");
    expect(await namesAt(own)).toEqual(["look", "write it", "typed"]);
    expect((await own.callTool({ name: "write it" })).content).toEqual([
      { type: "text", text: JSON.stringify({ name: "write it", args: {} }) },
    ]);
    expect(await namesAt(await connect(kind, "/mcp/s/held"))).toEqual([]);
    expect(await namesAt(await connect(kind, "/mcp/call"))).toEqual(AGENT_TOOLS);
  },
);

test.each(Object.keys(CLIENTS))(
  "a client of %s manages the proxy at /mcp/admin with the key",
  async (kind) => {
    verifies("ADMIN-TOOLS-KEY", "MCP-CLIENTS");
    for (const headers of [KEYED, { authorization: `Bearer ${KEY}` }]) {
      const client = await connect(kind, "/mcp/admin", headers);
      expect(await namesAt(client)).toEqual(ADMIN_TOOLS);
      const listed = await client.callTool({ name: "upstream_servers", arguments: { operation: "list" } });
      const [block] = listed.content as { readonly text: string }[];
      expect(JSON.parse(block?.text ?? "")).toMatchObject({
        total: 3,
        servers: [{ name: "one", status: "ready" }, {}, {}],
      });
      const odd = await client.callTool({ name: "upstream_servers", arguments: { operation: "explode" } });
      expect(odd.isError).toBe(true);
      expect(JSON.stringify(odd.content)).toContain("tail_log");
    }
  },
);

test("/mcp/admin is 401 without a key and with a wrong one, 403 for an agent token, in both eras", async () => {
  verifies("ADMIN-TOOLS-KEY");
  const token = await makeToken("curious", {
    allowed_servers: ["*"],
    permissions: ["read", "write", "destructive"],
  });
  const cases: readonly (readonly [Headers, number])[] = [
    [{}, 401],
    [{ "x-api-key": "wrong" }, 401],
    [{ authorization: `Bearer ${token}` }, 403],
    [KEYED, 200],
  ];
  const [discover, headersOfModern] = modern("tools/list");
  for (const [headers, status] of cases) {
    expect((await post("/mcp/admin", INITIALIZE, headers)).status).toBe(status);
    expect((await post("/mcp/admin", discover, { ...headers, ...headersOfModern })).status).toBe(status);
  }
});

test("an unknown group or server is 404 with a hint, in both eras and by every method", async () => {
  verifies("MCP-ADDRESSES");
  const [message, headersOfModern] = modern("tools/list");
  for (const [path, code, hint] of [
    ["/mcp/g/tema-a", "GROUP_UNKNOWN", "team-a"],
    ["/mcp/s/ones", "SERVER_UNKNOWN", "one"],
    ["/mcp/nothing", "ROUTE_UNKNOWN", "/mcp"],
    ["/mcp/s/one/deeper", "ROUTE_UNKNOWN", "/mcp"],
  ] as const) {
    for (const reply of [
      await post(path, INITIALIZE),
      await post(path, message, headersOfModern),
      await post(path, undefined, { "mcp-session-id": crypto.randomUUID() }, "DELETE"),
    ]) {
      expect(reply.status).toBe(404);
      const { code: told, hint: advice } = JSON.parse(reply.text) as { code: string; hint: string };
      expect(told).toBe(code);
      expect(advice).toContain(hint);
    }
  }
});

test.each([
  "%00",
  "__proto__",
  "constructor",
  "%E0%A4%A",
  "%2e%2e%2fadmin",
  "a".repeat(5_000),
  "🙂",
  "%0d%0ax: y",
  "*",
])("the odd address %p is 404, below a group and a server", async (segment) => {
  verifies("MCP-ADDRESSES");
  for (const place of ["g", "s"]) {
    const reply = await post(`/mcp/${place}/${segment}`, INITIALIZE, KEYED);
    expect(reply.status).toBe(404);
    expect(JSON.parse(reply.text)).toMatchObject({
      success: false,
      code: expect.stringMatching(/_UNKNOWN$/) as string,
    });
  }
});

test("what an agent may not reach is 404 for it, or not in its lists", async () => {
  verifies("MCP-ADDRESSES", "DIRECT-ONE-PATH");
  const token = await makeToken("narrow", { allowed_servers: ["one"], permissions: ["read"] });
  const headers = { authorization: `Bearer ${token}` };
  for (const [path, status] of [
    ["/mcp/s/one", 200],
    ["/mcp/s/two%2F2", 404],
    ["/mcp/s/nobody", 404],
    ["/mcp/g/team-a", 200],
    ["/mcp/g/empty", 404],
  ] as const) {
    const reply = await post(path, INITIALIZE, headers);
    expect({ path, status: reply.status }).toEqual({ path, status });
    // It looks like what does not exist.
    if (status === 404) expect(reply.text).toMatch(/"code":"(?:SERVER|GROUP)_UNKNOWN"/);
    expect(reply.text).not.toMatch(/Did you mean 'two|held/);
  }
  for (const kind of Object.keys(CLIENTS)) {
    const client = await connect(kind, "/mcp/all", headers);
    expect(await namesAt(client)).toEqual(["one__look", "one__typed"]);
  }
});

test("a session is used only at the address and by the principal that opened it", async () => {
  verifies("SESSION-BOUND");
  const token = await makeToken("other", { allowed_servers: ["*"], permissions: ["read"] });
  const principals: readonly Headers[] = [{}, KEYED, { authorization: `Bearer ${token}` }];
  const paths = ["/mcp", "/mcp/call", "/mcp/all", "/mcp/g/team-a", "/mcp/s/one"];
  const openers = principals.flatMap((headers, opener) => paths.map((path) => ({ headers, opener, path })));
  for (const { headers, opener, path } of openers) {
    const bound = await openSession(path, headers);
    const id = { "mcp-session-id": bound["mcp-session-id"] ?? "", "mcp-protocol-version": LEGACY };
    const statuses = await Promise.all(
      principals.flatMap((other) =>
        paths.map(async (elsewhere) => (await post(elsewhere, LIST, { ...other, ...id })).status),
      ),
    );
    const own = opener * paths.length + paths.indexOf(path);
    expect(statuses).toEqual(statuses.map((_, at) => (at === own ? 200 : 404)));
    // Nobody else can end it either.
    const stranger = principals.find((_, at) => at !== opener) ?? {};
    expect((await post(path, undefined, { ...stranger, ...id }, "DELETE")).status).toBe(404);
    expect((await post(path, LIST, bound)).status).toBe(200);
    // The group by its number is the same place.
    if (path === "/mcp/g/team-a") expect((await post("/mcp/g/1", LIST, bound)).status).toBe(200);
    expect((await post(path, undefined, bound, "DELETE")).status).toBe(200);
  }
});

/** Counts the news a client gets. */
async function listen(kind: "SDK v1" | "SDK v2 modern", path: string): Promise<() => number> {
  let count = 0;
  if (kind === "SDK v1") {
    const client = (await connect(kind, path)) as unknown as ClientV1;
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (count += 1));
    return () => count;
  }
  const [message, headers] = modern("subscriptions/listen", { notifications: { toolsListChanged: true } });
  const abort = new AbortController();
  closing.push(async () => abort.abort());
  const response = await fetch(`${proxy.url()}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    body: JSON.stringify(message),
    signal: abort.signal,
  });
  const acknowledged = Promise.withResolvers<void>();
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      const text = decoder.decode(chunk as Uint8Array);
      if (text.includes("acknowledged")) acknowledged.resolve();
      count += text.split("notifications/tools/list_changed").length - 1;
    }
  })().catch(() => {});
  await acknowledged.promise;
  return () => count;
}

test.each(["SDK v1", "SDK v2 modern"] as const)(
  "a client of %s hears that its list changed, of its own list only, and once for what changed together",
  async (kind) => {
    verifies("LIST-CHANGED");
    const news = {
      all: await listen(kind, "/mcp/all"),
      group: await listen(kind, "/mcp/g/team-a"),
      one: await listen(kind, "/mcp/s/one"),
      two: await listen(kind, "/mcp/s/two%2F2"),
      menu: await listen(kind, "/mcp"),
      call: await listen(kind, "/mcp/call"),
    };
    const counts = () => Object.fromEntries(Object.entries(news).map(([name, count]) => [name, count()]));
    // Twenty moves in a row are told together.
    for (let at = 0; at < 10; at += 1) {
      await proxy.ask("POST /servers/one/disable");
      await proxy.ask("POST /servers/one/enable");
    }
    await waitFor("they heard", () => news.all() > 0 && news.group() > 0 && news.one() > 0);
    await proxy.untilReady("one");
    expect(news.all()).toBeLessThan(5);
    expect(counts()).toMatchObject({ two: 0, menu: 0, call: 0 });

    await proxy.ask("POST /servers/two%2F2/disable");
    await waitFor("the other heard", () => news.two() > 0);
    await proxy.ask("POST /servers/two%2F2/enable");
    await proxy.untilReady("two/2");
    await waitFor("and that it is back", () => news.two() === 2, 5_000);
    expect(counts()).toMatchObject({ menu: 0, call: 0 });
  },
);

test("what is at /mcp follows the settings, and its clients are told", async () => {
  verifies("LIST-CHANGED", "ADMIN-TOOLS-KEY");
  const heard = await listen("SDK v1", "/mcp");
  const client = await connect("SDK v2 legacy", "/mcp");
  const set = (patch: JsonObject) =>
    proxy.ask("POST /config/apply", { operations: [{ op: "settings", patch }] });
  expect(await namesAt(client)).toEqual(AGENT_TOOLS);
  await set({ admin_tools: "inline" });
  expect(await namesAt(client)).toEqual([...AGENT_TOOLS, ...ADMIN_TOOLS]);
  await waitFor("it heard", () => heard() === 1);
  await set({ routing_mode: "direct" });
  const names = await namesAt(client);
  expect(names).toContain("one__look");
  expect(names).toContain("upstream_servers");
  expect(names).not.toContain("retrieve_tools");
  await waitFor("it heard again", () => heard() === 2, 5_000);
  await set({ admin_tools: "off", routing_mode: "retrieve_tools" });
  expect(await namesAt(client)).toEqual(AGENT_TOOLS);
  expect((await post("/mcp/admin", INITIALIZE, KEYED)).status).toBe(404);
  await set({ admin_tools: "separate" });
  expect((await post("/mcp/admin", INITIALIZE, KEYED)).status).toBe(200);
});

test("the sessions of a server end when it is removed or renamed, those of a group when it is deleted", async () => {
  verifies("SESSION-BOUND");
  const add = await proxy.ask("POST /servers", {
    name: "brief",
    url: `${upstream.url}?brief`,
    approve: true,
  });
  expect(add).toMatchObject({ status: 201 });
  await proxy.ask("POST /groups", { id: 9, name: "Brief" });
  const server = await openSession("/mcp/s/brief");
  const group = await openSession("/mcp/g/brief");
  const [message, headers] = modern("tools/list");
  expect((await post("/mcp/s/brief", message, headers)).status).toBe(200);
  await proxy.ask("PATCH /servers/brief", { name: "later" });
  expect((await post("/mcp/s/brief", LIST, server)).status).toBe(404);
  expect((await post("/mcp/s/later", LIST, server)).status).toBe(404);
  await proxy.ask("DELETE /groups/9");
  expect((await post("/mcp/g/brief", LIST, group)).status).toBe(404);
  // A later one of the same name is another one.
  await proxy.ask("POST /groups", { id: 9, name: "Brief" });
  expect((await post("/mcp/g/brief", LIST, group)).status).toBe(404);
  expect((await post("/mcp/g/brief", INITIALIZE)).status).toBe(200);
  await proxy.ask("DELETE /groups/9");
  await proxy.ask("DELETE /servers/later");
});

test("a call at any address counts for its session, and is written down with who called", async () => {
  const counted = await openSession("/mcp/s/one");
  const call = { jsonrpc: "2.0", id: 5, method: "tools/call", params: { name: "look", arguments: {} } };
  expect((await post("/mcp/s/one", call, counted)).status).toBe(200);
  const session = counted["mcp-session-id"]?.slice(0, 8) ?? "";
  expect((await proxy.ask(`GET /sessions/${session}`)).text).toMatch(/"[a-z_]*calls?[a-z_]*":1\b/);

  const token = await makeToken("noted", { allowed_servers: ["*"], permissions: ["read"] });
  const client = await connect("SDK v2 modern", "/mcp/all", { authorization: `Bearer ${token}` });
  await client.callTool({ name: "one__look" });
  const record = async () => (await proxy.ask("GET /activity?type=tool_call&limit=5")).text;
  await waitFor("it is written down", async () => (await record()).includes("agent:noted"));
});
