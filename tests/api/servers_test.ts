/**
 * Servers as lists show them, and the routes that change one: every category, the fields of the Go proxy, pages, verbs,
 * and no secret.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { redactUrl } from "../../src/lib/redact.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { FAULT, makeServer, stdioServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { openGateway, openProxy, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

/** Each stands in one place of a definition, and none of them may come out anywhere. */
const CANARIES = {
  env: "canary-of-env-0001",
  header: "canary-of-header-0002",
  arg: "canary-of-arg-0003",
  pair: "canary-of-pair-0004",
  query: "canary-of-query-0005",
  user: "canary-of-user-0006",
  stderr: "canary-of-stderr-0007",
} as const;
const ANY_CANARY = /canary-of/;

let gateway: Gateway;
let upstream: ToolUpstream;

beforeAll(async () => {
  upstream = serveTools([
    makeDefinition("read", { description: "Reads", annotations: { readOnlyHint: true } }),
    makeDefinition("wipe", { annotations: { destructiveHint: true } }),
  ]);
  const servers = [
    upstream.server({
      name: "up",
      protocol: "http",
      description: "An upstream",
      groups: ["g"],
      created: "2026-01-01T00:00:00Z",
      disabledTools: ["wipe"],
    }),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
    makeServer({ name: "held", url: "http://127.0.0.1:9/", startupMode: "quarantined" }),
    makeServer({ name: "tripped", url: "http://127.0.0.1:9/", startupMode: "auto_disabled" }),
    makeServer({ name: "faulty", url: "nonsense", faults: [FAULT] }),
    makeServer({ name: "lazy one", url: "http://127.0.0.1:9/", startupMode: "lazy_loading" }),
    stdioServer(["--exit-with", "3", "--stderr", "no license"], {
      name: "dead.ünder/../x",
      protocol: "stdio",
    }),
  ];
  // Connected once, so that it is not visited.
  gateway = await openGateway(servers, { known: { "lazy one": [] } });
  await settle(gateway);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

const text = expect.any(String) as string;
const number = expect.any(Number) as number;

testScenarios(
  () => gateway,
  [
    {
      name: "each server has its category, and the categories are all servers",
      ask: "GET /servers",
      like: {
        data: {
          servers: [
            {
              name: "up",
              category: "connected",
              connected: true,
              connecting: false,
              enabled: true,
              status: "ready",
              health: { level: "healthy", admin_state: "enabled" },
            },
            {
              name: "off",
              category: "disabled",
              enabled: false,
              connected: false,
              health: { admin_state: "disabled", action: "enable" },
            },
            {
              name: "held",
              category: "quarantined",
              quarantined: true,
              health: { admin_state: "quarantined", action: "approve" },
            },
            {
              name: "tripped",
              category: "auto_disabled",
              enabled: false,
              health: { admin_state: "disabled", action: "enable" },
            },
            {
              name: "faulty",
              category: "disconnected",
              last_error: FAULT.message,
              health: { level: "unhealthy", action: "configure", detail: FAULT.message },
            },
            { name: "lazy one", category: "sleeping", enabled: true, health: { level: "healthy" } },
            {
              name: "dead.ünder/../x",
              category: "disconnected",
              failure_class: "exit",
              stderr: ["no license"],
              health: { level: "unhealthy", action: "view_logs" },
            },
          ],
          stats: {
            total_servers: 7,
            connected_servers: 1,
            disconnected_servers: 2,
            sleeping_servers: 1,
            disabled_servers: 1,
            auto_disabled_servers: 1,
            quarantined_servers: 1,
            total_tools: 2,
          },
        },
      },
    },
    {
      name: "a server has the fields of the Go proxy and ours",
      ask: "GET /servers/up",
      like: {
        data: {
          name: "up",
          description: "An upstream",
          url: text,
          protocol: "http",
          enabled: true,
          quarantined: false,
          connected: true,
          connecting: false,
          status: "ready",
          last_error: "",
          reconnect_count: 0,
          tool_count: 2,
          created: "2026-01-01T00:00:00Z",
          updated: text,
          health: { level: text, admin_state: text, summary: text, detail: text, action: text },
          startup_mode: "active",
          connection_state: "ready",
          category: "connected",
          groups: ["g"],
          attempt: number,
          since: expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string,
        },
      },
    },
    { name: "a name with spaces", ask: "GET /servers/lazy%20one", like: { data: { name: "lazy one" } } },
    {
      name: "a name with slashes and dots",
      ask: "GET /servers/dead.%C3%BCnder%2F..%2Fx",
      like: { data: { name: "dead.ünder/../x", reason: text } },
    },
    {
      name: "one category",
      ask: "GET /servers?category=sleeping",
      like: { data: { servers: [{ name: "lazy one" }], stats: { total_servers: 7 } } },
    },
    {
      name: "a category that is none",
      ask: "GET /servers?category=none",
      status: 400,
      like: { code: "USAGE" },
      contains: ["auto_disabled"],
    },
    {
      name: "the first page",
      ask: "GET /servers?limit=3",
      like: {
        data: { servers: [{ name: "up" }, { name: "off" }, { name: "held" }], next_cursor: text, total: 7 },
      },
    },
    ...["0", "-1", "x", "1.5", "10001", "1e99", "NaN"].map((limit) => ({
      name: "a wrong limit",
      ask: `GET /servers?limit=${limit}`,
      status: 400,
      like: { code: "USAGE" },
      contains: ["limit"],
    })),
    { name: "a wrong cursor", ask: "GET /servers?cursor=abc", status: 400, like: { code: "USAGE" } },
    {
      name: "an unknown server",
      ask: "GET /servers/nobody",
      status: 404,
      like: { code: "SERVER_UNKNOWN" },
      contains: ["nobody"],
    },
    {
      name: "its tools",
      ask: "GET /servers/up/tools",
      like: {
        data: {
          server_name: "up",
          count: 2,
          tools: [
            {
              id: "up:read",
              name: "read",
              server_name: "up",
              description: "Reads",
              annotations: { readOnlyHint: true },
              schema: { type: "object" },
              enabled: true,
            },
            { name: "wipe", annotations: { destructiveHint: true }, enabled: false },
          ],
        },
      },
    },
    { name: "no tools are a list", ask: "GET /servers/off/tools", like: { data: { tools: [], count: 0 } } },
    {
      name: "tools of an unknown server",
      ask: "GET /servers/contract-nobody/tools",
      status: 404,
      headers: { "x-request-id": "contract-req-2" },
      like: { request_id: "contract-req-2" },
    },
  ],
);

test("no secret of a definition is in any answer, log line or failure", async () => {
  verifies("SECRETS-MASKED");
  await using up = serveTools([makeDefinition("one")]);
  const secret = {
    headers: new Map([["Authorization", `Bearer ${CANARIES.header}`]]),
    env: new Map([["API_TOKEN", CANARIES.env]]),
  };
  const url = `?api_key=${CANARIES.query}`;
  const args = ["--token", CANARIES.arg, `API_KEY=${CANARIES.pair}`];
  const dying = stdioServer(
    [
      "--exit-with",
      "1",
      "--stderr",
      `token=${CANARIES.stderr} API_TOKEN=${CANARIES.env} bare ${CANARIES.env}`,
    ],
    { name: "dying", ...secret },
  );
  await using opened = await openProxy([
    up.server({ name: "up", ...secret, url: `${up.url}${url}` }),
    makeServer({ name: "refused", ...secret, url: `http://user:${CANARIES.user}@127.0.0.1:9/mcp${url}` }),
    makeServer({ name: "absent", ...secret, command: "no-such-command-of-mcpproxy", args }),
    dying,
  ]);
  const call = async (name: string): Promise<string> => {
    const response = await fetch(`${opened.url}/api/v1/tools/call`, {
      method: "POST",
      headers: { "x-api-key": opened.proxy.apiKey, "content-type": "application/json" },
      body: JSON.stringify({ tool_name: "call_tool", arguments: { name, args: {} } }),
    });
    return response.text();
  };
  const texts = [
    ...(await Promise.all(
      [
        "/api/v1/servers",
        "/api/v1/status",
        "/api/v1/info",
        "/api/v1/tools",
        "/api/v1/servers/refused",
        "/api/v1/servers/absent",
        "/api/v1/servers/dying",
      ].map(async (path) => (await opened.get(path)).text),
    )),
    ...(await Promise.all(["up:one", "refused:x", "absent:x", "dying:x"].map(call))),
  ];
  for (const answer of texts) expect(answer).not.toMatch(ANY_CANARY);
  expect(opened.lines.join("")).not.toMatch(ANY_CANARY);
  expect(opened.lines.join("") + texts.join("")).not.toContain(opened.proxy.apiKey);
  expect(texts.join("")).toContain(redactUrl(`http://user:x@127.0.0.1:9/mcp${url}`));
});

test("GET /servers reads memory alone: it answers while an upstream hangs", async () => {
  verifies("START-NEVER-WAITS");
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  await using slow = serveTools([], { held });
  await using starting = await openGateway([slow.server()]);
  starting.upstreams.start();
  await waitFor("the attempt is under way", () => slow.count("initialize") === 1);
  expect((await askApi(starting, { ask: "GET /servers" })).json).toMatchObject({
    data: { servers: [{ connecting: true, health: { level: "degraded" } }] },
  });
  release();
});

/** A file with one server that is off, one that is on, one that is held, and one that is dead. */
function fileOf(url: string): string {
  const off = { startup_mode: "disabled" };
  return JSON.stringify({
    auto_disable_threshold: 1,
    mcpServers: [
      { name: "on", url, created: "2026-01-01T00:00:00Z", updated: "2026-01-01T00:00:00Z" },
      { name: "off", url, ...off, description: "An old one" },
      { name: "held", url, startup_mode: "quarantined" },
      { name: "dead", url: "http://127.0.0.1:9/mcp" },
    ],
  });
}

/** Requests in order, each with its status and what the answer has. */
type Step = readonly [ask: string, body: unknown, status: number, like: Record<string, unknown>];

const STEPS: readonly Step[] = [
  ["POST /servers/on/disable", undefined, 200, { data: { success: true, server: "on", action: "disable" } }],
  ["POST /servers/on/disable", undefined, 200, { data: { unchanged: ["on"], changes: [] } }],
  ["POST /servers/on/restart", undefined, 409, { code: "SERVER_OFF" }],
  ["POST /servers/on/connect", undefined, 409, { code: "SERVER_OFF" }],
  ["POST /servers/on/enable", undefined, 200, { data: { success: true, updated: ["on"] } }],
  ["POST /servers/on/make_lazy", {}, 200, { data: { changes: [{ mode: { after: "lazy_loading" } }] } }],
  ["POST /servers/on/restart", undefined, 200, { data: { success: true, action: "restart" } }],
  ["POST /servers/on/disconnect", undefined, 200, { data: { success: true } }],
  ["POST /servers/dead/enable", undefined, 200, { data: { updated: ["dead"] } }],
  ["POST /servers/off/reject", undefined, 200, { data: { unchanged: ["off"] } }],
  ["POST /servers/dead/reject", undefined, 409, { code: "MODE_REFUSED" }],
  ...["enable", "disable", "make_lazy"].map((verb): Step => [
    `POST /servers/held/${verb}`,
    undefined,
    409,
    { code: "QUARANTINED" },
  ]),
  ["POST /servers/held/restart", undefined, 409, { code: "SERVER_OFF" }],
  ["POST /servers/held/unquarantine", undefined, 200, { data: { updated: ["held"] } }],
  ["POST /servers/held/quarantine", undefined, 200, { data: { updated: ["held"] } }],
  ["POST /servers/held/reject", undefined, 200, { data: { changes: [{ mode: { after: "disabled" } }] } }],
  ["POST /servers/nobody/enable", undefined, 404, { code: "SERVER_UNKNOWN" }],
  ["POST /servers/nobody/restart", undefined, 404, { code: "SERVER_UNKNOWN" }],
  ["POST /servers/on/explode", undefined, 404, { code: "ROUTE_UNKNOWN" }],
  ["PATCH /servers/off", { description: null }, 200, { data: { changes: [{ keys: ["description"] }] } }],
  ["PATCH /servers/off", { description: null }, 200, { data: { unchanged: ["off"] } }],
  ["PATCH /servers/off", { name: "on" }, 409, { code: "SERVER_EXISTS" }],
  ["PATCH /servers/off", { name: "a:b" }, 400, { code: "ARGUMENTS_INVALID" }],
  ["PATCH /servers/off", { url: 5 }, 400, { code: "CONFIG_INVALID" }],
  ["PATCH /servers/off", { approve: "yes" }, 400, { code: "USAGE" }],
  ["PATCH /servers/off", { tags: ["t"], revision: 1 }, 409, { code: "CONFIG_CONFLICT" }],
  ["PATCH /servers/off", { tags: ["t"], dry_run: true }, 200, { data: { updated: ["off"] } }],
  ["PATCH /servers/off", "[1]", 400, { code: "USAGE" }],
  ["PATCH /servers/off", { name: "new name" }, 200, { data: { changes: [{ kind: "rename", from: "off" }] } }],
  ["GET /servers/new%20name", undefined, 200, { data: { name: "new name", startup_mode: "disabled" } }],
  ["GET /servers/off", undefined, 404, { code: "SERVER_UNKNOWN" }],
  ["POST /servers", { name: "on", command: "true" }, 409, { code: "SERVER_EXISTS" }],
  ["POST /servers", { name: "empty" }, 400, { code: "CONFIG_INVALID" }],
  ["POST /servers", { command: "true" }, 400, { code: "USAGE" }],
  ["POST /servers", "{bad", 400, { code: "USAGE" }],
  ["POST /servers", { name: "dry", command: "true", dry_run: true }, 200, { data: { server: "dry" } }],
  [
    "POST /servers",
    { name: "n", command: "true", enabled: false },
    201,
    { data: { changes: [{ kind: "add" }] } },
  ],
  ["GET /servers/n", undefined, 200, { data: { startup_mode: "quarantined", protocol: "stdio" } }],
  ["DELETE /servers/n", undefined, 200, { data: { success: true, server: "n" } }],
  ["DELETE /servers/n", undefined, 404, { code: "SERVER_UNKNOWN" }],
  ["GET /servers/dry", undefined, 404, { code: "SERVER_UNKNOWN" }],
];

test("the verbs and changes of one server answer as the Go proxy's, each change once in the file", async () => {
  verifies("API-SHAPE");
  await using good = serveTools([makeDefinition("one")]);
  await using own = await openGateway([], { file: fileOf(good.url) });
  await settle(own);
  await waitFor("it is auto-disabled", () => own.upstreams.find("dead")?.mode === "auto_disabled");
  const before = own.configuration.revision;
  for (const [ask, body, status, like] of STEPS) {
    const { status: got, json } = await askApi(own, { ask, body });
    expect([ask, got]).toEqual([ask, status]);
    expect(json).toMatchObject({ success: status < 400, ...like });
  }
  const commits = own.events.filter(({ type }) => type === "config_committed");
  const revisions = new Set(commits.map(({ revision }) => revision ?? 0));
  // Enabling `dead` wrote into the database alone: the file said so already.
  expect([...revisions]).toEqual(Array.from({ length: 10 }, (_, at) => before + 1 + at));
  expect(commits).toHaveLength(11);
  const { servers } = own.configuration.config;
  expect(servers.map(({ name, startupMode }) => [name, startupMode])).toEqual([
    ["on", "lazy_loading"],
    ["new name", "disabled"],
    ["held", "disabled"],
    ["dead", "active"],
  ]);
});

test("GET /servers/:name/logs has the last lines of a server's stderr, up, down and without a process", async () => {
  const local = stdioServer(["--stderr", "one\ntwo\nthree\n"], { name: "local" });
  const dead = stdioServer(["--exit-with", "3", "--stderr", "no license"], { name: "dead" });
  await using own = await openGateway([
    local,
    dead,
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ]);
  await settle(own);
  const logs = async (path: string) => (await askApi(own, { ask: `GET /servers/${path}` })).json["data"];
  expect(await logs("local/logs?tail=2")).toEqual({ server_name: "local", logs: ["two", "three"], count: 2 });
  expect(await logs("local/logs")).toMatchObject({ count: 3 });
  expect(await logs("dead/logs")).toMatchObject({ logs: ["no license"] });
  expect(await logs("off/logs")).toEqual({ server_name: "off", logs: [], count: 0 });
  expect((await askApi(own, { ask: "GET /servers/local/logs?tail=0" })).status).toBe(400);
  expect((await askApi(own, { ask: "GET /servers/nobody/logs" })).status).toBe(404);
});

test("GET /api/servers/status is the list under the name the Go proxy's forks have", async () => {
  verifies("API-SHAPE");
  const [ours, theirs] = await Promise.all([
    askApi(gateway, { ask: "GET /servers?limit=2" }),
    askApi(gateway, { ask: "GET /api/servers/status?limit=2" }),
  ]);
  expect(theirs.json).toEqual(ours.json);
});

test("what GET shows may be sent back: a mask keeps what it hides, and is written nowhere", async () => {
  verifies("SECRETS-MASKED");
  const entry = {
    name: "s",
    url: `http://127.0.0.1:9/mcp?api_key=${CANARIES.query}`,
    headers: { "X-Any": CANARIES.header },
    env: { PLAIN: CANARIES.env, OTHER: "o" },
    enabled: false,
  };
  await using kept = await openGateway([], { file: JSON.stringify({ mcpServers: [entry] }) });
  const { json } = await askApi(kept, { ask: "GET /servers/s" });
  const { env, headers } = json["data"] as { env: Record<string, string>; headers: Record<string, string> };
  expect([env, headers]).toEqual([{ PLAIN: "***", OTHER: "***" }, { "X-Any": "***" }]);
  const body = { env: { ...env, OTHER: "new" }, headers, description: "***bold***" };
  expect(await askApi(kept, { ask: "PATCH /servers/s", body })).toMatchObject({ status: 200 });
  const [server] = kept.configuration.config.servers;
  expect([...(server?.env ?? [])]).toEqual([
    ["PLAIN", CANARIES.env],
    ["OTHER", "new"],
  ]);
  expect(server?.headers.get("X-Any")).toBe(CANARIES.header);
  const before = kept.configuration.text;
  for (const wrong of [{ url: "http://x/?api_key=***" }, { args: ["--token", "***"] }]) {
    const refused = await askApi(kept, { ask: "PATCH /servers/s", body: wrong });
    expect(refused).toMatchObject({ status: 400, json: { code: "ARGUMENTS_INVALID" } });
  }
  const copied = await askApi(kept, { ask: "POST /servers", body: { ...entry, name: "t", env } });
  expect(copied).toMatchObject({ status: 400, json: { code: "ARGUMENTS_INVALID" } });
  expect(kept.configuration.text).toBe(before);
});

test("following next_cursor gives each server once, and the last page has none", async () => {
  verifies("LIST-PAGES");
  const seen: unknown[] = [];
  let cursor: unknown = "";
  for (let page = 0; page < 3; page += 1) {
    expect(cursor).toBeString();
    const { json } = await askApi(gateway, { ask: `GET /servers?limit=3&cursor=${cursor as string}` });
    const data = json["data"] as { servers: { name: string }[]; next_cursor?: string };
    seen.push(...data.servers.map(({ name }) => name));
    cursor = data.next_cursor;
  }
  expect(seen).toEqual(["up", "off", "held", "tripped", "faulty", "lazy one", "dead.ünder/../x"]);
  expect(cursor).toBeUndefined();
});

test("the Go proxy's verbs over all servers are one change each, and name what they refuse", async () => {
  verifies("BATCH-ONE-CHANGE", "BATCH-NAMES-FAILED");
  await using all = await openGateway([], {
    file: JSON.stringify({
      mcpServers: [
        { name: "a", url: "http://127.0.0.1:9/", enabled: false },
        { name: "b", url: "http://127.0.0.1:9/", enabled: false },
        { name: "held", url: "http://127.0.0.1:9/", quarantined: true },
      ],
    }),
  });
  const modes = () => all.upstreams.list().map(({ mode }) => mode);
  for (const [verb, wanted, counts] of [
    ["enable_all", ["active", "active", "quarantined"], { total: 3, successful: 2, failed: 1 }],
    ["restart_all", ["active", "active", "quarantined"], { total: 3, successful: 2, failed: 1 }],
    ["reconnect", ["active", "active", "quarantined"], { total: 3, successful: 2, failed: 1 }],
    ["disable_all", ["disabled", "disabled", "quarantined"], { total: 3, successful: 2, failed: 1 }],
  ] as const) {
    const before = all.configuration.revision;
    const looked = await askApi(all, { ask: `POST /servers/${verb}`, body: { dry_run: true } });
    expect(looked.json["data"]).toMatchObject(counts);
    expect(all.configuration.revision).toBe(before);
    const done = await askApi(all, { ask: `POST /servers/${verb}` });
    expect(done).toMatchObject({
      status: 200,
      json: { data: { ...counts, failed_servers: [{ server: "held", code: "QUARANTINED" }] } },
    });
    expect(modes()).toEqual([...wanted]);
    expect(all.configuration.revision - before).toBe(verb.endsWith("able_all") ? 1 : 0);
  }
});
