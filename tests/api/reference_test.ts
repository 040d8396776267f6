/**
 * The OpenAPI document: it is valid, it has every route and no other, and real answers are as it says.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { inspectRoutes } from "hono/dev";
import { openApiDocument } from "../../src/api/openapi.ts";
import { REFERENCE } from "../../src/api/reference.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { openGateway, serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { judge, ROUTES } from "./judge.ts";

const KEY = "reference-key-0123456789-0123456789";
const ROUTE_NAMES = Object.keys(REFERENCE);
/** A handler of every method: what MCP is spoken over. */
const MCP_METHODS = ["GET", "POST", "DELETE"];

test("GET /openapi.json is valid OpenAPI 3.1", async () => {
  verifies("OPENAPI-VALID");
  const validator = new Validator();
  const { valid, errors } = await validator.validate(structuredClone(openApiDocument()));
  expect({ valid, errors }).toEqual({ valid: true, errors: undefined });
  expect(validator.version).toBe("3.1");
});

test("GET /openapi.json refers to nothing that is not there, and names each operation once", () => {
  verifies("OPENAPI-VALID");
  const document = openApiDocument();
  const text = JSON.stringify(document);
  const named = Object.keys((document["components"] as { schemas: object }).schemas);
  const wanted = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map(([, ref = ""]) => ref);
  expect(wanted.length).toBeGreaterThan(100);
  expect(wanted.filter((ref) => !named.includes(ref.replace("#/components/schemas/", "")))).toEqual([]);
  for (const name of ["Server", "Group", "Tool", "Activity", "Token", "Event", "Error"]) {
    expect(named).toContain(name);
  }
  const ids = [...text.matchAll(/"operationId":"([^"]+)"/g)].map(([, id]) => id);
  expect(ids.length).toBe(new Set(ids).size);
  expect(ids.length).toBe(ROUTE_NAMES.length);
});

test("every route of the proxy is in the reference, and every route of the reference is there", async () => {
  verifies("OPENAPI-COMPLETE");
  await using gateway = await openGateway([]);
  const routes = inspectRoutes(gateway.app())
    .filter(({ isMiddleware }) => !isMiddleware)
    .flatMap(({ method, path }) =>
      (method === "ALL" ? MCP_METHODS : [method]).map((one) => `${one} ${path}`),
    );
  expect(routes.length).toBeGreaterThan(100);
  const there = new Set(routes);
  expect({
    undocumented: [...there].filter((route) => !ROUTE_NAMES.includes(route)),
    imagined: ROUTE_NAMES.filter((route) => !there.has(route)),
  }).toEqual({ undocumented: [], imagined: [] });
});

let upstream: ToolUpstream;
let proxy: LiveProxy;
let samples: Readonly<Record<string, string>>;

beforeAll(async () => {
  upstream = serveTools([
    makeDefinition("read", { annotations: { readOnlyHint: true }, title: "Reads", properties: { a: {} } }),
    makeDefinition("wipe", { annotations: { destructiveHint: true } }),
  ]);
  proxy = await openLiveProxy({
    api_key: KEY,
    groups: [
      { id: 1, name: "One", color: "red", icon_emoji: "x" },
      { id: 2, name: "Two", parent: "One" },
    ],
    mcpServers: [
      {
        name: "up/a b",
        url: upstream.url,
        groups: ["One"],
        description: "Up",
        created: "2026-01-01T00:00:00Z",
      },
      { name: "off", url: "http://127.0.0.1:9/mcp?token=x", startup_mode: "disabled", group_id: 2 },
      { name: "held", command: "no-such-command", args: ["--key", "x"], startup_mode: "quarantined" },
      { name: "dead", command: process.execPath, args: ["-e", "console.error('oops'); process.exit(3)"] },
      { name: "absent", command: "no-such-command-of-mcpproxy" },
      { name: "lazy", url: upstream.url, startup_mode: "lazy_loading" },
      { name: "faulty" },
    ],
  });
  const call = { tool_name: "call_tool_read", arguments: { name: "up/a b:read", args: { a: "1" } } };
  await proxy.ask("POST /tools/call", call);
  await proxy.ask("POST /tools/call", { ...call, arguments: { name: "nobody:read" } });
  await proxy.ask("POST /tokens", { name: "bot", allowed_groups: ["One"] });
  await proxy.ask("PATCH /servers/off", { description: "Another" });
  await openSession(proxy);
  samples = await findSamples(proxy);
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

/** A legacy client that stays. */
async function openSession({ url }: LiveProxy): Promise<void> {
  const params = {
    protocolVersion: "2025-06-18",
    capabilities: {},
    clientInfo: { name: "reference", version: "1" },
  };
  const response = await fetch(`${url()}/mcp`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params }),
  });
  await response.body?.cancel();
}

/** Addresses of what is there; a route that is not among them is asked for as it is. */
async function findSamples({ ask }: LiveProxy): Promise<Readonly<Record<string, string>>> {
  const first = async (list: string, key: string): Promise<string> => {
    const { data } = await ask(`GET /${list}`);
    return String((data[key] as readonly { readonly id: unknown }[])[0]?.id);
  };
  const name = encodeURIComponent("up/a b");
  const text = await first("config/history", "entries");
  return {
    "GET /api/v1/servers/:name": `/api/v1/servers/${name}`,
    "GET /api/v1/servers/:name/tools": `/api/v1/servers/${name}/tools`,
    "GET /api/v1/servers/:name/logs": "/api/v1/servers/dead/logs",
    "GET /api/v1/groups/:group": "/api/v1/groups/two",
    "GET /api/v1/groups/:group/members": "/api/v1/groups/1/members",
    "GET /api/v1/activity/:id": `/api/v1/activity/${await first("activity", "activities")}`,
    "GET /api/v1/sessions/:id": `/api/v1/sessions/${await first("sessions", "sessions")}`,
    "GET /api/v1/index/search": "/api/v1/index/search?q=read",
    "GET /api/v1/config/diff": `/api/v1/config/diff?from=${text}`,
    "GET /api/v1/tools/explain": `/api/v1/tools/explain?id=${name}:read&query=reads`,
    "GET /api/v1/preflight": `/api/v1/preflight?tools=${name}:read,off,nobody:x`,
    "GET /api/v1/tokens/:name": "/api/v1/tokens/bot",
    "GET /api/v1/registries/:id/servers": "/api/v1/registries/reference/servers?q=time",
    "GET /mcp/g/:group": "/mcp/g/one",
    "GET /mcp/s/:server": `/mcp/s/${name}`,
    "GET /ui/:file": "/ui/page.js",
    "GET /docs/:file": "/docs/reference.css",
  };
}

/** Without a handshake, a session or a browser these say no. */
const REFUSED = new Map([
  ["GET /ws/events", 400],
  ["GET /ws/servers", 400],
  ["GET /", 404],
]);
const READS = ROUTE_NAMES.filter((route) => route.startsWith("GET "));

test.each(READS)("%s answers as the reference says", async (route) => {
  verifies("OPENAPI-TRUE");
  const path = samples[route] ?? route.slice("GET ".length);
  expect(path).not.toContain("/:");
  const response = await fetch(`${proxy.url()}${path}`, {
    headers: { "x-api-key": KEY, accept: "application/json" },
    redirect: "manual",
  });
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream") === true;
  if (isStream) await response.body?.cancel();
  const answer = {
    status: response.status,
    headers: response.headers,
    text: isStream ? "" : await response.text(),
  };
  expect({ route, faults: judge(route, answer) }).toEqual({ route, faults: [] });
  const wanted = REFUSED.get(route);
  if (route.startsWith("GET /mcp")) expect([400, 405, 406]).toContain(answer.status);
  else if (wanted === undefined) expect(answer.status).toBeLessThan(400);
  else expect(answer.status).toBe(wanted);
});

test.each(ROUTE_NAMES)("%s refuses a foreign Host, and a wrong key, as the reference says", async (route) => {
  verifies("OPENAPI-TRUE");
  await using gateway = await openGateway([]);
  const [method = "", path = ""] = route.split(" ");
  const { access = "key" } = ROUTES[route] ?? {};
  const ask = async (headers: Record<string, string>) => {
    const response = await gateway.app().request(path.replaceAll(":", ""), { method, headers });
    if (response.headers.get("content-type")?.startsWith("text/event-stream")) await response.body?.cancel();
    return {
      status: response.status,
      headers: response.headers,
      text: await response.text().catch(() => ""),
    };
  };
  const foreign = await ask({ host: "evil.example" });
  expect({ status: foreign.status, faults: judge(route, foreign) }).toEqual({ status: 403, faults: [] });
  const wrong = await ask({ host: "localhost", "x-api-key": "wrong" });
  if (access === "open") expect(wrong.status).not.toBe(401);
  else expect({ status: wrong.status, faults: judge(route, wrong) }).toEqual({ status: 401, faults: [] });
});
