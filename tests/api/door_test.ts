/**
 * Every route of the app against every kind of credential: the lists here are exact, and a new route has to be entered.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import type { App } from "../../src/http.ts";
import type { TokenGrant } from "../../src/state/tokens.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { API_KEY, openGateway, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

/** What anybody may ask for: whether it lives, and pages that hold nothing of their own. */
const PUBLIC = [
  "GET /",
  "GET /docs",
  "GET /docs/:file",
  "GET /healthz",
  "GET /livez",
  "GET /openapi.json",
  "GET /readyz",
  "GET /startupz",
  "GET /ui",
  "GET /ui/",
  "GET /ui/:file",
];

/** What an agent token opens beside MCP. */
const FOR_AGENTS = [
  "GET /api/v1/events/schema",
  "GET /api/v1/groups",
  "GET /api/v1/index/search",
  "GET /api/v1/info",
  "GET /api/v1/preflight",
  "GET /api/v1/servers",
  "GET /api/v1/servers/:name",
  "GET /api/v1/servers/:name/tools",
  "GET /api/v1/stats",
  "GET /api/v1/status",
  "GET /api/v1/tools",
  "GET /api/v1/tools/explain",
  "GET /events",
  "GET /ws/events",
  "GET /ws/servers",
  "POST /api/v1/preflight",
  "POST /api/v1/tools/call",
];

/** What stands before routes and answers nothing by itself. */
const DOORS = ["ALL /*", "ALL /api/*", "ALL /events/*", "ALL /mcp/*", "ALL /metrics/*", "ALL /ws/*"];

/** More than the word that was asked for. */
const TELLS_OF_SECRET = /"(?:name|server|server_name)":"secret"|"secret":|secret:look/;
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

let gateway: Gateway;
let app: App;
let secret: ToolUpstream;

beforeAll(async () => {
  secret = serveTools([makeDefinition("look", { annotations: { readOnlyHint: true } })]);
  gateway = await openGateway([
    secret.server({ name: "secret", url: secret.url }),
    secret.server({ name: "mine" }),
  ]);
  app = gateway.app();
  await settle(gateway);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await secret[Symbol.asyncDispose]();
});

/** The routes that answer, each once. */
function routesOf(of: App): readonly string[] {
  const all = of.routes.map(({ method, path }) => `${method} ${path}`);
  return [...new Set(all)].filter((route) => !route.endsWith("/*")).toSorted();
}

function makeToken(parts: Partial<TokenGrant> & Pick<TokenGrant, "name">): string {
  const year = 365 * 24 * 60 * 60 * 1_000;
  const grant = {
    servers: ["mine"],
    groups: [],
    permissions: ["read"],
    expiresAt: Date.now() + year,
  } as const;
  return gateway.tokens.create({ ...grant, ...parts }).secret;
}

interface Reply {
  readonly status: number;
  readonly code: unknown;
  readonly text: string;
}

async function ask(route: string, headers: Readonly<Record<string, string>>): Promise<Reply> {
  const [method = "GET", path = ""] = route.split(" ");
  const url = path.replaceAll(/:\w+/g, "secret");
  const response = await app.request(url, { method, headers: { host: "localhost", ...headers } });
  if (response.headers.get("content-type")?.startsWith("text/event-stream") === true) {
    await response.body?.cancel();
    return { status: response.status, code: undefined, text: "" };
  }
  const text = await response.text();
  let code: unknown;
  try {
    ({ code } = JSON.parse(text) as { code?: unknown });
  } catch {
    // A page, or nothing.
  }
  return { status: response.status, code, text };
}

/** Each route with each method it takes. */
function requestsOf(of: App): readonly (readonly [route: string, request: string])[] {
  return routesOf(of).flatMap((route) => asked(route).map((request) => [route, request] as const));
}

function asked(route: string): readonly string[] {
  const [method = "", path = ""] = route.split(" ");
  if (method === "ALL") return METHODS.map((verb) => `${verb} ${path}`);
  return method === "GET" ? [route, `HEAD ${path}`] : [route];
}

function isMcp(route: string): boolean {
  return / \/mcp(?:\/|$)/.test(route);
}

test("only doors are routes for every path below, and only MCP is one for every method", () => {
  verifies("HTTP-ROUTE-INVENTORY");
  const all = app.routes.map(({ method, path }) => `${method} ${path}`);
  expect([...new Set(all.filter((route) => route.endsWith("/*")))].toSorted()).toEqual(DOORS);
  expect(routesOf(app).filter((route) => route.startsWith("ALL ") && !isMcp(route))).toEqual([]);
  expect(routesOf(app).length).toBeGreaterThan(60);
});

test("without a credential exactly the public routes answer, and MCP but its admin tools", async () => {
  verifies("HTTP-ROUTE-INVENTORY", "API-KEY-REQUIRED");
  const open = new Set<string>();
  for (const [route, request] of requestsOf(app)) {
    const { status, code } = await ask(request, {});
    if (status !== 401) open.add(route);
    else if (!request.startsWith("HEAD")) expect([request, code]).toEqual([request, "AUTH_REQUIRED"]);
  }
  const withoutMcp = [...open].filter((route) => !isMcp(route));
  expect(withoutMcp).toEqual(PUBLIC);
  expect([...open].filter((route) => route.includes("/mcp/admin"))).toEqual([]);
  expect(open.has("ALL /mcp")).toBe(true);
});

test("a wrong key, a wrong token, an expired and a revoked one open no more than none, and not even MCP", async () => {
  verifies("HTTP-ROUTE-INVENTORY", "TOKEN-EXPIRES");
  const expired = makeToken({ name: "expired", servers: ["*"], expiresAt: Date.now() - 1 });
  const revoked = makeToken({
    name: "revoked",
    servers: ["*"],
    permissions: ["read", "write", "destructive"],
  });
  gateway.tokens.revoke("revoked");
  const credentials: readonly [string, RegExp][] = [
    ["wrong-key-0123456789-0123456789-x", /key is wrong/],
    [`mcp_agt_${"0".repeat(64)}`, /token is wrong/],
    [expired, /has expired/],
    [revoked, /was revoked/],
  ];
  for (const [sent, why] of credentials) {
    for (const headers of [{ "x-api-key": sent }, { authorization: `Bearer ${sent}` }]) {
      const open = new Set([""]);
      for (const [route, request] of requestsOf(app)) {
        const { status, text } = await ask(request, headers);
        const isTold = status !== 401 || request.startsWith("HEAD") || why.test(text);
        expect([request, isTold, text.includes(sent)]).toEqual([request, true, false]);
        open.add(status === 401 ? "" : route);
      }
      expect([...open]).toEqual(["", ...PUBLIC]);
    }
  }
});

test("a token opens exactly the routes on the list of agents", async () => {
  verifies("HTTP-ROUTE-INVENTORY", "TOKEN-SCOPE");
  for (const permissions of [["read"], ["read", "write", "destructive"]] as const) {
    const token = makeToken({ name: `scope${permissions.length}`, servers: ["mine"], permissions });
    const open = new Set<string>();
    for (const [route, request] of requestsOf(app)) {
      const { status, code, text } = await ask(request, { "x-api-key": token });
      expect([request, status]).not.toEqual([request, 401]);
      if (status !== 403) open.add(route);
      else if (!request.startsWith("HEAD")) expect([request, code]).toEqual([request, "SCOPE_REFUSED"]);
      expect([request, TELLS_OF_SECRET.test(text)]).toEqual([request, false]);
    }
    const beside = [...open].filter((route) => !PUBLIC.includes(route) && !isMcp(route));
    expect(beside).toEqual(FOR_AGENTS);
    expect([...open].filter((route) => route.includes("/mcp/admin"))).toEqual([]);
  }
  expect(secret.calls()).toEqual([]);
});

test("a server out of reach answers on each route as one that does not exist", async () => {
  verifies("TOKEN-SCOPE");
  const token = makeToken({ name: "narrow", servers: ["mine"] });
  const seen = async (path: string, name: string): Promise<string> => {
    const { status, text } = await ask(`GET ${path.replace("NAME", name)}`, { "x-api-key": token });
    return `${status} ${text}`
      .replaceAll(/"request_id":"[^"]+"|"took(?:_ms)?":[^,}]+/g, "")
      .replaceAll(name, "NAME");
  };
  for (const path of [
    "/api/v1/servers/NAME",
    "/api/v1/servers/NAME/tools",
    "/api/v1/tools?server=NAME",
    "/api/v1/tools/explain?id=NAME%3Alook",
    "/api/v1/preflight?tools=NAME%3Alook",
    "/api/v1/index/search?q=look&server=NAME",
    "/api/v1/servers?q=NAME",
  ]) {
    // Same length, and as far from every other name.
    expect([path, await seen(path, "secret")]).toEqual([path, await seen(path, "absent")]);
  }
});

test("lists hold what a token reaches, and nothing tells how much else there is", async () => {
  verifies("TOKEN-SCOPE");
  const token = makeToken({ name: "lists", servers: ["mine"] });
  for (const path of ["/status", "/stats", "/servers", "/tools", "/groups", "/index/search?q=look"]) {
    const { status, text } = await ask(`GET /api/v1${path}`, { "x-api-key": token });
    expect([path, status]).toEqual([path, 200]);
    expect([path, text.includes("secret")]).toEqual([path, false]);
    expect([path, /"total(?:_servers|_tools)?":2/.test(text)]).toEqual([path, false]);
  }
  const { text } = await ask("GET /api/v1/servers", { "x-api-key": token });
  expect(text).toContain('"mine"');
});

test("the key opens every route that asks for one", async () => {
  verifies("API-KEY-REQUIRED");
  for (const route of routesOf(app).filter((it) => it.startsWith("GET /api/"))) {
    if (route.includes("/profile/")) continue;
    const { status } = await ask(route, { "x-api-key": API_KEY });
    expect([route, [401, 403].includes(status)]).toEqual([route, false]);
  }
});
