/**
 * Servers as lists show them: every category, the fields of the Go proxy, pages, and no secret.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { redactUrl } from "../../src/lib/redact.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer, stdioServer } from "../fixtures/upstreams.ts";
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

const FAULT = {
  file: "/etc/mcp_config.json",
  line: 3,
  column: 5,
  key: "mcpServers[4].url",
  message: "The URL is wrong",
  advice: "Write one",
  server: "faulty",
};

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
      name: "a category without servers",
      ask: "GET /servers?category=none",
      like: { data: { servers: [] } },
    },
    {
      name: "the first page",
      ask: "GET /servers?limit=3",
      like: { data: { servers: [{ name: "up" }, { name: "off" }, { name: "held" }], next_cursor: "3" } },
    },
    {
      name: "the last page",
      ask: "GET /servers?limit=3&cursor=6",
      like: { data: { servers: [{ name: "dead.ünder/../x" }] } },
      lacks: ["next_cursor"],
    },
    {
      name: "a page behind the last",
      ask: "GET /servers?limit=3&cursor=99",
      like: { data: { servers: [] } },
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
            },
            { name: "wipe", annotations: { destructiveHint: true } },
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
