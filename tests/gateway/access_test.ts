/**
 * Who gets in: every route against every form of Host and Origin, and keys that are almost right.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Access, isLoopback } from "../../src/gateway/access.ts";
import { failureOf } from "../fixtures/wait.ts";
import { makeSettings } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";
import { API_KEY, openGateway } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

let gateway: Gateway;

beforeAll(async () => {
  gateway = await openGateway([], { settings: { trustedHosts: ["proxy.example.org", "10.0.0.7"] } });
});

afterAll(() => gateway[Symbol.asyncDispose]());

/** One route of each kind, an unknown one included. */
const ROUTES = [
  ["GET", "/livez"],
  ["GET", "/readyz"],
  ["GET", "/startupz"],
  ["GET", "/healthz"],
  ["GET", "/api/v1/status"],
  ["GET", "/api/v1/info"],
  ["GET", "/api/v1/servers"],
  ["GET", "/api/v1/tools"],
  ["GET", "/api/v1/index/search?q=a"],
  ["POST", "/api/v1/tools/call"],
  ["POST", "/mcp"],
  ["GET", "/mcp"],
  ["OPTIONS", "/mcp"],
  ["GET", "/no/such/route"],
] as const;

const GOOD_HOSTS = [
  "127.0.0.1:8080",
  "127.0.0.1",
  "localhost",
  "localhost:1",
  "LocalHost:8080",
  "[::1]:8080",
  "[::1]",
  "proxy.example.org",
  "PROXY.example.org:443",
  "10.0.0.7:8080",
];

const BAD_HOSTS = [
  "evil.example",
  "evil.example:8080",
  "localhost.evil.example",
  "evil.localhost",
  "127.0.0.1.evil.example",
  "localhost.",
  "127.0.0.1.:8080",
  "127.0.0.2",
  "127.1",
  "2130706433",
  "0x7f000001",
  "0.0.0.0",
  "[::]",
  "[::ffff:127.0.0.1]",
  "[0:0:0:0:0:0:0:1]",
  "::1",
  "localhost, evil.example",
  "localhost,localhost",
  "evil.example, localhost",
  "user@localhost",
  "localhost@evil.example",
  "localhost:80:80",
  "localhost:",
  "localhost:http",
  "localhost:123456",
  "localhost:65536",
  "localhost/evil",
  "local host",
  "http://localhost",
  "localhost#a",
  "localhost?a",
  "loc\u00e4lhost",
  "sub.proxy.example.org",
  "proxy.example.org.evil.example",
  "10.0.0.70",
  "",
];

const GOOD_ORIGINS = [
  "http://localhost:5173",
  "https://localhost",
  "HTTP://127.0.0.1:1",
  "http://[::1]:8080",
  "https://proxy.example.org",
];

const BAD_ORIGINS = [
  "null",
  "",
  "http://evil.example",
  "https://evil.example:8080",
  "https://localhost.evil.example",
  "http://localhost.",
  "http://localhost@evil.example",
  "http://user@localhost",
  "http://localhost/path",
  "http://localhost, http://evil.example",
  "file://localhost",
  "chrome-extension://localhost",
  "localhost:8080",
  "//localhost",
  "http:localhost",
  "javascript://localhost",
  "http://",
  "http://[::1",
  "http://192.168.0.1",
];

function send(route: readonly [string, string], headers: Record<string, string>): Promise<Response> {
  const [method, path] = route;
  const withKey = { "x-api-key": API_KEY, ...headers };
  return Promise.resolve(gateway.app().request(path, { method, headers: withKey }));
}

async function statusesOf(headers: Record<string, string>): Promise<Set<number>> {
  return new Set(await Promise.all(ROUTES.map(async (route) => (await send(route, headers)).status)));
}

test("createApp() answers 403 to each foreign Host on each route", async () => {
  verifies("HTTP-HOST-ORIGIN");
  expect(ROUTES.length * (BAD_HOSTS.length + BAD_ORIGINS.length)).toBeGreaterThan(300);
  for (const host of BAD_HOSTS) expect([host, ...(await statusesOf({ host }))]).toEqual([host, 403]);
});

test("createApp() answers 403 to a request without Host", async () => {
  verifies("HTTP-HOST-ORIGIN");
  for (const route of ROUTES)
    expect((await gateway.app().request(route[1], { method: route[0] })).status).toBe(403);
});

test("createApp() answers 403 to each foreign Origin on each route, the Host being right", async () => {
  verifies("HTTP-HOST-ORIGIN");
  for (const origin of BAD_ORIGINS) {
    expect([origin, ...(await statusesOf({ host: "127.0.0.1:8080", origin }))]).toEqual([origin, 403]);
  }
});

test("createApp() lets its own Hosts and Origins through on each route", async () => {
  verifies("HTTP-HOST-ORIGIN");
  for (const host of GOOD_HOSTS) expect([host, (await statusesOf({ host })).has(403)]).toEqual([host, false]);
  for (const origin of GOOD_ORIGINS) {
    expect([origin, (await statusesOf({ host: "localhost", origin })).has(403)]).toEqual([origin, false]);
  }
});

test("createApp() says why a Host is refused, without repeating it, and grants no other origin anything", async () => {
  verifies("HTTP-HOST-ORIGIN");
  const response = await send(["GET", "/api/v1/status"], {
    host: "evil.example",
    origin: "http://evil.example",
  });
  const text = await response.text();
  expect(JSON.parse(text)).toMatchObject({ success: false, code: "HOST_FORBIDDEN" });
  expect(text).toContain("trusted_hosts");
  expect(text).not.toContain("evil");
  const allowed = await send(["OPTIONS", "/mcp"], { host: "localhost", origin: "http://localhost:1" });
  expect(allowed.headers.get("access-control-allow-origin")).toBeNull();
});

/** What a socket may send that `fetch` never would: two hosts, an absolute-form target. */
describe("listen()", () => {
  test.each<[string, string]>([
    ["two Host headers", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n"],
    ["the same Host twice", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"],
    // RFC 9112 section 3.2.2: a client of a forward proxy sends the target's host as Host.
    [
      "an absolute-form target with its Host",
      "GET http://evil.example/livez HTTP/1.1\r\nHost: evil.example\r\n",
    ],
    [
      "an absolute-form target over https",
      "GET https://evil.example/api/v1/status HTTP/1.1\r\nHost: evil.example\r\n",
    ],
    [
      "an absolute-form target and a foreign Host",
      "GET http://localhost/livez HTTP/1.1\r\nHost: evil.example\r\n",
    ],
    ["an absolute-form target without Host", "GET http://localhost/livez HTTP/1.1\r\n"],
    ["CONNECT", "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n"],
    ["HTTP/1.0 without Host", "GET /livez HTTP/1.0\r\n"],
  ])("refuses %s", async (_, head) => {
    verifies("HTTP-HOST-ORIGIN");
    const { listen } = await import("../../src/http.ts");
    const listener = listen(gateway.app(), { hostname: "127.0.0.1", port: 0 });
    try {
      const answer = await sendRaw(listener.port, `${head}Connection: close\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 (?:400|403) /);
    } finally {
      await listener.close();
    }
  });

  test("forwards nothing for an absolute-form target: what Bun hands over is the path alone", async () => {
    verifies("HTTP-HOST-ORIGIN");
    const { listen } = await import("../../src/http.ts");
    const listener = listen(gateway.app(), { hostname: "127.0.0.1", port: 0 });
    try {
      const head = "Host: localhost\r\nConnection: close\r\n\r\n";
      const answer = await sendRaw(
        listener.port,
        `GET http://evil.example/api/v1/status HTTP/1.1\r\n${head}`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 401 /);
      expect(answer).not.toContain("evil");
    } finally {
      await listener.close();
    }
  });

  test("answers a plain request on the same socket form", async () => {
    const { listen } = await import("../../src/http.ts");
    const listener = listen(gateway.app(), { hostname: "127.0.0.1", port: 0 });
    try {
      expect(
        await sendRaw(listener.port, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
      ).toMatch(/^HTTP\/1\.1 200 /);
    } finally {
      await listener.close();
    }
  });
});

async function sendRaw(port: number, text: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let received = "";
  await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      open: (socket) => void socket.write(text),
      data: (_, chunk) => {
        received += chunk.toString();
      },
      close: () => resolve(received),
      error: (_, error) => reject(error),
    },
  });
  return promise;
}

function accessOn(
  hostname: string,
  parts: { readonly requireMcpAuth?: boolean; readonly trustedHosts?: string[] } = {},
): Access {
  const settings = makeSettings({ listen: { hostname, port: 8080 }, ...parts });
  return new Access({ settings, apiKey: API_KEY });
}

function isTaken(access: Access, headers: Record<string, string>): boolean {
  try {
    access.checkOrigin(new Headers(headers));
    return true;
  } catch {
    return false;
  }
}

test.each([
  "0.0.0.0",
  "::",
  "192.168.1.5",
  "10.1.2.3",
  "fe80::1",
  "proxy.example.org",
  "::ffff:127.0.0.1",
  "127.0.0.256.example",
])("Access refuses to listen on '%s' while MCP needs no key", async (hostname) => {
  verifies("HTTP-BIND");
  const failure = await failureOf(() => accessOn(hostname));
  expect(failure["code"]).toBe("CONFIG_INVALID");
  expect(failure["hint"]).toContain("require_mcp_auth");
  expect(accessOn(hostname, { requireMcpAuth: true })).toBeInstanceOf(Access);
});

test.each(["127.0.0.1", "localhost", "::1", "127.0.0.53"])(
  "Access takes the loopback address '%s' without a key",
  (hostname) => {
    verifies("HTTP-BIND");
    expect(isLoopback(hostname)).toBe(true);
    expect(accessOn(hostname)).toBeInstanceOf(Access);
  },
);

test("Access on a wildcard takes addresses as Hosts, and no names", () => {
  verifies("HTTP-BIND", "HTTP-HOST-ORIGIN");
  for (const hostname of ["0.0.0.0", "::"]) {
    const access = accessOn(hostname, { requireMcpAuth: true, trustedHosts: ["box.lan"] });
    for (const host of ["192.168.1.5:8080", "[fe80::1]:8080", "[2001:db8::1]", "box.lan", "localhost"]) {
      expect([host, isTaken(access, { host })]).toEqual([host, true]);
    }
    for (const host of [
      "evil.example",
      "999.1.1.1",
      "1.2.3",
      "[fe80::1",
      "fe80::1",
      "1.2.3.4.evil.example",
      "box.lan.evil",
    ]) {
      expect([host, isTaken(access, { host })]).toEqual([host, false]);
    }
    expect(isTaken(access, { host: "192.168.1.5", origin: "http://evil.example" })).toBe(false);
  }
});

test("Access on one address takes that address as a Host, and no other", () => {
  verifies("HTTP-HOST-ORIGIN");
  const [v4, v6] = ["192.168.1.5", "fe80::1"].map((hostname) => accessOn(hostname, { requireMcpAuth: true }));
  expect(v4 && isTaken(v4, { host: "192.168.1.5:8080" })).toBe(true);
  expect(v4 && isTaken(v4, { host: "192.168.1.6:8080" })).toBe(false);
  expect(v6 && isTaken(v6, { host: "[fe80::1]:8080" })).toBe(true);
  expect(v6 && isTaken(v6, { host: "[fe80::2]:8080" })).toBe(false);
});

const WRONG_KEYS: [string, Record<string, string>][] = [
  ["none", {}],
  ["an empty one", { "x-api-key": "" }],
  ["a wrong one", { "x-api-key": "wrong-key-0123456789-0123456789-xy" }],
  ["a wrong one of the same length", { "x-api-key": "x".repeat(API_KEY.length) }],
  ["the first half", { "x-api-key": API_KEY.slice(0, 17) }],
  ["all but the last sign", { "x-api-key": API_KEY.slice(0, -1) }],
  ["one sign more", { "x-api-key": `${API_KEY}x` }],
  ["the key twice", { "x-api-key": `${API_KEY}, ${API_KEY}` }],
  ["upper case", { "x-api-key": API_KEY.toUpperCase() }],
  ["a wrong Bearer", { authorization: "Bearer nope" }],
  ["Bearer without a key", { authorization: "Bearer " }],
  ["Basic", { authorization: `Basic ${btoa(`user:${API_KEY}`)}` }],
  ["the key without a scheme", { authorization: API_KEY }],
  ["a wrong X-API-Key beside the right Bearer", { "x-api-key": "nope", authorization: `Bearer ${API_KEY}` }],
  ["an empty X-API-Key beside a wrong Bearer", { "x-api-key": "", authorization: "Bearer nope" }],
  ["a cookie", { cookie: `api_key=${API_KEY}` }],
];

test.each(WRONG_KEYS)("Access.authenticate() refuses %s", async (_, headers) => {
  verifies("API-KEY-REQUIRED");
  for (const path of [
    "/api/v1/status",
    "/api/v1/servers",
    "/api/v1/tools",
    "/api/v1/no/such",
    `/api/v1/info?apikey=${API_KEY}`,
  ]) {
    const response = await gateway.app().request(path, { headers: { host: "localhost", ...headers } });
    const text = await response.text();
    expect(response.status).toBe(401);
    expect(JSON.parse(text)).toMatchObject({
      success: false,
      code: "AUTH_REQUIRED",
      request_id: expect.any(String) as string,
    });
    expect(text).not.toContain(API_KEY.slice(0, 12));
  }
});

test.each<[string, Record<string, string>]>([
  ["X-API-Key", { "x-api-key": API_KEY }],
  ["Bearer", { authorization: `Bearer ${API_KEY}` }],
  ["bearer in lower case", { authorization: `bearer ${API_KEY}` }],
  ["Bearer beside an empty X-API-Key", { "x-api-key": "", authorization: `Bearer ${API_KEY}` }],
])("Access.authenticate() takes the key as %s", async (_, headers) => {
  verifies("API-KEY-REQUIRED");
  const response = await gateway
    .app()
    .request("/api/v1/status", { headers: { host: "localhost", ...headers } });
  expect(response.status).toBe(200);
});

test("createApp() asks for the key at /mcp when MCP clients need one", async () => {
  verifies("HTTP-ROUTE-INVENTORY", "HTTP-BIND");
  await using closed = await openGateway([], { settings: { requireMcpAuth: true } });
  const app = closed.app();
  const init = {
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "c", version: "1" } },
  };
  const post = (path: string, headers: Record<string, string>) =>
    app.request(path, {
      method: "POST",
      body: JSON.stringify(init),
      headers: {
        host: "localhost",
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        ...headers,
      },
    });
  for (const path of ["/mcp", "/mcp/"]) expect([401, 404]).toContain((await post(path, {})).status);
  for (const method of ["GET", "DELETE", "PUT", "OPTIONS", "HEAD"]) {
    expect((await app.request("/mcp", { method, headers: { host: "localhost" } })).status).toBe(401);
  }
  const opened = await post("/mcp", { authorization: `Bearer ${API_KEY}` });
  expect(opened.status).toBe(200);
  await opened.body?.cancel();
});
