/**
 * The activity over the API: what was done is found, exported, and nothing secret is in it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { JsonObject } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { API_KEY, openGateway, openProxy, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { askApi, testScenarios } from "./scenario.ts";

const READ = { annotations: { readOnlyHint: true } };
const BEGINNING = Date.parse("2026-01-01T00:00:00Z");
let gateway: Gateway;
let upstream: ToolUpstream;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("look", READ)]);
  gateway = await openGateway([
    upstream.server(),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ]);
  await settle(gateway);
  // The first 200 entries: a call a second, of a day long ago.
  for (let at = 0; at < 200; at += 1) {
    gateway.activity.add({
      at: BEGINNING + at * 1_000,
      type: "tool_call",
      source: "mcp",
      status: at % 10 === 9 ? "error" : "success",
      server: at % 2 === 0 ? "even" : "odd",
      tool: "t",
      intent: "read",
      durationMs: 1.5,
      requestId: `request-${at}`,
      session: "12345678",
      message: at % 10 === 9 ? '=cmd|"calc", it failed' : undefined,
      detail: '{"arguments":{"a":1},"metadata":{"tool_variant":"call_tool_read"}}',
    });
  }
  gateway.activity.flush();
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

const DAY = "start_time=2026-01-01T00:00:00Z&end_time=2026-01-02T00:00:00Z";
const MISUSE = { status: 400, like: { code: "USAGE" } };

testScenarios(
  () => gateway,
  [
    {
      name: "the newest first, 50 of them",
      ask: `GET /activity?${DAY}`,
      like: {
        data: { total: 200, limit: 50, offset: 0, next_cursor: "151", activities: { 0: { id: "200" } } },
      },
    },
    {
      name: "an entry with the fields of the Go proxy",
      ask: `GET /activity?${DAY}&request_id=request-0`,
      like: {
        data: {
          total: 1,
          activities: [
            {
              id: "1",
              type: "tool_call",
              source: "mcp",
              server_name: "even",
              tool_name: "t",
              arguments: { a: 1 },
              status: "success",
              duration_ms: 1.5,
              timestamp: "2026-01-01T00:00:00.000Z",
              session_id: "12345678",
              request_id: "request-0",
              metadata: { tool_variant: "call_tool_read" },
            },
          ],
        },
      },
      lacks: ["next_cursor", "error_message"],
    },
    { name: "a limit that is too large", ask: "GET /activity?limit=500", like: { data: { limit: 100 } } },
    {
      name: "a page by offset",
      ask: `GET /activity?${DAY}&limit=2&offset=198`,
      like: { data: { activities: [{ id: "2" }, { id: "1" }], total: 200, offset: 198 } },
      lacks: ["next_cursor"],
    },
    {
      name: "a page by cursor",
      ask: `GET /activity?${DAY}&limit=2&cursor=3`,
      like: { data: { activities: [{ id: "2" }, { id: "1" }] } },
    },
    {
      name: "an offset beyond the end",
      ask: `GET /activity?${DAY}&offset=300`,
      like: { data: { activities: [], total: 200 } },
    },
    {
      name: "errors of a server",
      ask: `GET /activity?${DAY}&server=odd&status=error&type=tool_call,other&intent_type=read&tool=t&session_id=12345678`,
      like: { data: { total: 20 } },
      lacks: ['"status":"success"', '"even"'],
    },
    {
      name: "none of another type",
      ask: `GET /activity?${DAY}&type=server_change`,
      like: { data: { activities: [] } },
    },
    { name: "a time that is past", ask: `GET /activity?${DAY}&end_time=2026-01-01T00:00:05Z`, status: 200 },
    {
      name: "a time ago",
      ask: "GET /activity?start_time=1h&type=tool_call&server=even",
      like: { data: { total: 0 } },
    },
    ...[
      "limit=0",
      "limit=x",
      "limit=-1",
      "offset=-1",
      "cursor=0",
      "cursor=x",
      "status=rejected",
      "start_time=then",
    ].map((query) => ({ name: `a wrong ${query}`, ask: `GET /activity?${query}`, ...MISUSE })),
    { name: "one", ask: "GET /activity/1", like: { data: { activity: { id: "1", server_name: "even" } } } },
    ...["999999", "0", "x", "1e3", "%00", "1;drop table activity"].map((id) => ({
      name: "an unknown one",
      ask: `GET /activity/${encodeURIComponent(id)}`,
      status: 404,
      like: { success: false },
    })),
    {
      name: "a summary of all",
      ask: "GET /activity/summary?period=30000d",
      like: {
        data: {
          period: "30000d",
          success_count: expect.any(Number) as number,
          top_servers: expect.arrayContaining([{ name: "even", count: 100 }]) as unknown[],
          top_tools: expect.arrayContaining([{ server: "odd", tool: "t", count: 100 }]) as unknown[],
        },
      },
    },
    {
      name: "a summary of a day",
      ask: "GET /activity/summary",
      like: { data: { period: "24h", blocked_count: 0 } },
    },
    ...["x", "0s", "-1h", "0d"].map((period) => ({
      name: "a wrong period",
      ask: `GET /activity/summary?period=${period}`,
      ...MISUSE,
    })),
    { name: "an unknown form", ask: "GET /activity/export?format=xml", ...MISUSE },
  ],
);

async function exported(query: string) {
  const response = await gateway
    .app()
    .request(`/api/v1/activity/export?${query}`, { headers: { host: "localhost", "x-api-key": API_KEY } });
  return { status: response.status, type: response.headers.get("content-type"), text: await response.text() };
}

test("GET /activity/export?format=json is one object a line, without arguments unless they are asked for", async () => {
  const { status, type, text } = await exported(`format=json&${DAY}`);
  expect({ status, type }).toEqual({ status: 200, type: "application/x-ndjson" });
  const lines = text.trimEnd().split("\n");
  expect(lines.map((line) => (JSON.parse(line) as { id: string }).id)).toEqual(
    Array.from({ length: 200 }, (_, at) => String(200 - at)),
  );
  expect(text).not.toContain("arguments");
  const bodies = await exported(`format=json&${DAY}&limit=1&include_bodies=true`);
  expect(JSON.parse(bodies.text)).toMatchObject({ id: "200", arguments: { a: 1 } });
});

test("GET /activity/export?format=csv is a table that no spreadsheet computes", async () => {
  const { type, text } = await exported(`format=csv&limit=2&status=error&${DAY}`);
  expect(type).toBe("text/csv; charset=utf-8");
  const [head = "", first = "", ...rest] = text.split("\r\n");
  expect(head).toStartWith(
    "id,type,source,server_name,tool_name,status,error_message,duration_ms,timestamp,",
  );
  expect(first).toStartWith(
    '200,tool_call,mcp,odd,t,error,"\'=cmd|""calc"", it failed",1.5,2026-01-01T00:03:19.000Z,',
  );
  expect(rest).toHaveLength(2);
  expect(rest[1]).toBe("");
});

test("GET /activity/export ends when nobody reads on", async () => {
  const response = await gateway
    .app()
    .request("/api/v1/activity/export", { headers: { host: "localhost", "x-api-key": API_KEY } });
  const reader = response.body?.getReader();
  await reader?.read();
  await reader?.cancel();
  expect(await reader?.read()).toEqual({ done: true, value: undefined });
});

async function latest(query = ""): Promise<Record<string, unknown>> {
  const { json } = await askApi(gateway, { ask: `GET /activity?limit=1${query}` });
  const [activity] = (json["data"] as { activities: Record<string, unknown>[] }).activities;
  return activity ?? {};
}

test("a call over the API is found under the request id of its answer", async () => {
  const body = { tool_name: "call_tool_read", arguments: { name: "s:look", args: { id: 1 } } };
  await askApi(gateway, { ask: "POST /tools/call", body, headers: { "x-request-id": "my-own-id" } });
  const found = await waitFor("it is there", async () => {
    const activity = await latest("&request_id=my-own-id");
    return activity["id"] === undefined ? undefined : activity;
  });
  expect(found).toMatchObject({ type: "tool_call", source: "api", principal: "api_key", server_name: "s" });
});

test.each<[string, string, unknown, Record<string, unknown>]>([
  [
    "an operator's verb",
    "POST /servers/s/restart",
    undefined,
    { type: "server_change", status: "success", server_name: "s", metadata: { action: "restart" } },
  ],
  [
    "a verb that fails",
    "POST /servers/no%20one/enable",
    undefined,
    { type: "server_change", status: "error", server_name: "no one", metadata: { code: "SERVER_UNKNOWN" } },
  ],
  [
    "a verb on what was held",
    "POST /servers/nobody/approve",
    undefined,
    { type: "quarantine_change", server_name: "nobody", metadata: { action: "approve" } },
  ],
  [
    "a new server, and none of its values",
    "POST /servers",
    { name: "new", url: "http://127.0.0.1:9/", env: { PLAIN: "canary-env" }, dry_run: true },
    { type: "server_change", server_name: "new", metadata: { action: "add", name: "new", dry_run: true } },
  ],
  [
    "a change of several",
    "POST /config/apply",
    {
      operations: [
        { op: "disable", name: "nobody" },
        { op: "add", server: { name: "x", env: { A: "canary-env" } } },
      ],
    },
    { type: "config_change", metadata: { action: "apply", operations: ["disable nobody", "add x"] } },
  ],
  [
    "a group",
    "POST /groups",
    { name: "my group", description: "canary-env" },
    { type: "group_change", metadata: { action: "add", name: "my group" } },
  ],
  [
    "an import of several, and none of its values",
    "POST /import",
    {
      text: JSON.stringify({
        mcpServers: {
          a: { command: "x", env: { A: "canary-env" } },
          b: { command: "y", args: ["canary-env"] },
        },
      }),
      dry_run: true,
    },
    {
      type: "server_change",
      metadata: { action: "import", dry_run: true, format: "claude_desktop", added: 2, servers: ["a", "b"] },
    },
  ],
  [
    "an import of one",
    "POST /import",
    { text: '{"mcpServers":{"a":{"command":"x"},"self":{"url":"file:///x"}}}', names: ["a"], dry_run: true },
    { type: "server_change", server_name: "a", metadata: { action: "import", servers: ["a"] } },
  ],
  [
    "a server of a registry",
    "POST /registries/reference/servers/memory",
    { name: "mine", env: { A: "canary-env" }, dry_run: true },
    { type: "server_change", server_name: "mine", metadata: { action: "add", registry: "reference" } },
  ],
  ["what is no JSON", "POST /servers", "{canary-env", { type: "server_change", status: "error" }],
])("%s is noted with who and what", async (_name, ask, body, like) => {
  const headers = { "x-request-id": `id-${crypto.randomUUID()}` };
  await askApi(gateway, { ask, body, headers });
  const activity = await latest(`&request_id=${headers["x-request-id"]}`);
  expect(activity).toMatchObject({ source: "api", principal: "api_key", ...like });
  expect(JSON.stringify(activity)).not.toContain("canary-env");
});

test("nothing is noted of what only reads, plans, or has no key", async () => {
  const before = (await latest())["id"];
  await askApi(gateway, { ask: "GET /servers" });
  await askApi(gateway, { ask: "POST /nothing" });
  await askApi(gateway, { ask: "POST /config/plan", body: { operations: [{ op: "disable", name: "s" }] } });
  await askApi(gateway, { ask: "POST /servers/s/restart", headers: { "x-api-key": "wrong" } });
  expect((await latest())["id"]).toBe(before);
});

/** Where secrets are in what callers send; each canary is another one. */
function canaries(): { readonly args: JsonObject; readonly all: readonly string[] } {
  const all: string[] = [];
  const next = (): string => {
    const canary = `canary${all.length}${crypto.randomUUID().replaceAll("-", "")}`;
    all.push(canary);
    return canary;
  };
  const names = [
    "token",
    "access_token",
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "api_key",
    "apiKey",
    "Authorization",
    "cookie",
    "private_key",
    "credential",
    "session_id",
    "signature",
    "connection_string",
  ];
  const args: JsonObject = {
    ...Object.fromEntries(names.map((name) => [name, next()])),
    headers: { "X-Api-Key": next(), Authorization: `Bearer ${next()}` },
    auth: { user: next(), list: [next()] },
    url: `https://user:${next()}@example.com/?token=${next()}`,
    text: `curl -H 'Authorization: Bearer ${next()}' --token=${next()}`,
    json: JSON.stringify({ password: next(), nested: { secret: next() } }),
    forms: `sk-${next()} ghp_${next()}`,
    list: [{ token: next() }],
  };
  return { args, all };
}

test("30 canaries in headers, addresses and arguments stand in no list, export, metric, event or log", async () => {
  const { args, all } = canaries();
  const own = ["h", "u"].map((prefix) => `${prefix}canary${crypto.randomUUID().replaceAll("-", "")}`);
  const [inHeader = "", inUrl = ""] = own;
  expect(all.length + own.length).toBeGreaterThanOrEqual(30);
  await using echo = serveTools([makeDefinition("echo", READ), makeDefinition("fails", READ)], {
    call: (name, given) => ({
      content: [{ type: "text", text: `${inHeader} ${inUrl} ${JSON.stringify(given)}` }],
      ...(name === "fails" ? { isError: true } : {}),
    }),
  });
  const server = echo.server({
    url: `${echo.url}?api_key=${inUrl}`,
    headers: new Map([["Authorization", `Bearer ${inHeader}`]]),
  });
  await using opened = await openProxy([server]);
  const post = (body: unknown): Promise<Response> =>
    fetch(`${opened.url}/api/v1/tools/call`, {
      method: "POST",
      headers: { "x-api-key": API_KEY, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  for (const name of ["s:echo", "s:fails", "s:nothing"]) {
    await (
      await post({ tool_name: "call_tool_read", arguments: { name, args, reason: `token=${all[0]}` } })
    ).text();
  }
  await (await post({ tool_name: "retrieve_tools", arguments: { query: `echo password=${all[1]}` } })).text();
  const texts = await waitFor("all four are there", async () => {
    const list = await opened.get("/api/v1/activity?type=tool_call,internal_tool_call");
    return (list.data as { total: number }).total === 4 ? [list.text] : undefined;
  });
  const paths = [
    "/api/v1/activity/export?format=json&include_bodies=true",
    "/api/v1/activity/export?format=csv",
    "/api/v1/activity/summary",
    "/metrics",
    "/api/v1/metrics",
    "/api/v1/servers",
    "/api/v1/sessions",
  ];
  for (const path of paths) {
    const { status, text } = await opened.get(path);
    expect({ path, status }).toEqual({ path, status: 200 });
    texts?.push(text);
  }
  const seen = [...(texts ?? []), ...opened.lines].join("\n");
  expect([...all, ...own, API_KEY].filter((canary) => seen.includes(canary))).toEqual([]);
  expect(seen).toContain('"tool_name":"fails"');
  expect(seen).toContain('"password":"***"');
});
