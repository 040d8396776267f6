/**
 * Host and Origin on every endpoint of a proxy that listens, streams, WebSockets and the Unix socket too.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";

import { openProxy } from "../gateway/fixtures.ts";
import type { OpenProxy } from "../gateway/fixtures.ts";
import { API_KEY } from "../gateway/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";

const ENDPOINTS = [
  "GET /",
  "GET /livez",
  "GET /readyz",
  "GET /startupz",
  "GET /healthz",
  "GET /metrics",
  "GET /openapi.json",
  "GET /docs",
  "GET /ui/",
  "GET /api/v1/status",
  "GET /api/v1/servers",
  "GET /api/v1/tokens",
  "POST /api/v1/tools/call",
  "GET /api/servers/status",
  "GET /events",
  "WS /ws/events",
  "WS /ws/servers",
  "POST /mcp",
  "GET /mcp",
  "POST /mcp/call",
  "POST /mcp/all",
  "POST /mcp/g/none",
  "POST /mcp/s/asleep",
  "POST /mcp/admin",
  "OPTIONS /mcp",
  "GET /no/such/route",
] as const;
const GOOD_HOSTS = ["127.0.0.1:8080", "LOCALHOST", "[::1]:8080"];
const BAD_HOSTS = ["evil.example", "localhost.evil.example:8080", "0.0.0.0", "192.168.1.1"];
/** With these a request has no address, and routes would be looked up by half a path. */
const MALFORMED_HOSTS = [
  "127.0.0.1@evil.example",
  "a b",
  "[",
  "[::::]",
  "localhost:99999",
  "256.1.1.1.",
  "a/b",
  "",
];
const GOOD_ORIGINS = [undefined, "http://localhost:5173", "https://127.0.0.1"];
const BAD_ORIGINS = ["null", "http://evil.example", "http://localhost.evil.example", "file://localhost"];

let proxy: OpenProxy;

beforeAll(async () => {
  proxy = await openProxy([
    makeServer({ name: "asleep", url: "http://127.0.0.1:1/", startupMode: "disabled" }),
  ]);
});

afterAll(() => proxy[Symbol.asyncDispose]());

type Way = { readonly unix: string } | { readonly hostname: string; readonly port: number };

/** Sends a request as a client that may lie would, and gives the status of the answer. */
async function statusOf(way: Way, endpoint: string, lines: readonly string[]): Promise<number> {
  const [kind = "", path = ""] = endpoint.split(" ");
  const isSocket = kind === "WS";
  const head = [
    `${isSocket ? "GET" : kind} ${path} HTTP/1.1`,
    ...lines,
    ...(isSocket
      ? [
          "Connection: Upgrade",
          "Upgrade: websocket",
          "Sec-WebSocket-Version: 13",
          "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
      : []),
    ...(kind === "POST" ? ["Content-Type: application/json", "Content-Length: 2"] : []),
  ];
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let received = "";
  const handler: Bun.SocketHandler = {
    data: (_, chunk) => {
      received += chunk.toString();
      const status = /^HTTP\/1\.1 (\d{3}) /.exec(received)?.[1];
      if (status !== undefined) resolve(Number(status));
    },
    close: () => reject(new Error(`no answer to ${head.join(" | ")}`)),
    error: (_, error) => reject(error),
  };
  const socket =
    "unix" in way
      ? await Bun.connect({ ...way, socket: handler })
      : await Bun.connect({ ...way, socket: handler });
  socket.write(`${head.join("\r\n")}\r\n\r\n${kind === "POST" ? "{}" : ""}`);
  const status = await promise;
  socket.terminate();
  return status;
}

function linesOf(host: string, origin: string | undefined, key = true): string[] {
  return [
    `Host: ${host}`,
    ...(origin === undefined ? [] : [`Origin: ${origin}`]),
    ...(key ? [`X-API-Key: ${API_KEY}`] : []),
  ];
}

test("every endpoint answers 403 to a foreign Host or Origin, and to no other: more than 1,000 combinations", async () => {
  verifies("HTTP-HOST-ORIGIN");
  const way = { hostname: "127.0.0.1", port: proxy.proxy.listener.port };
  let count = 0;
  for (const endpoint of ENDPOINTS) {
    const wrong: unknown[] = [];
    for (const host of [...GOOD_HOSTS, ...BAD_HOSTS]) {
      const asked = [...GOOD_ORIGINS, ...BAD_ORIGINS].map(async (origin) => {
        const status = await statusOf(way, endpoint, linesOf(host, origin));
        const isForeign = BAD_HOSTS.includes(host) || (origin !== undefined && BAD_ORIGINS.includes(origin));
        count += 1;
        if ((status === 403) !== isForeign) wrong.push([host, origin, status]);
        if (endpoint.startsWith("WS") && !isForeign && status !== 101) wrong.push([host, origin, status]);
      });
      await Promise.all(asked);
    }
    expect([endpoint, wrong]).toEqual([endpoint, []]);
  }
  expect(count).toBeGreaterThanOrEqual(1_000);
});

test("a malformed Host is refused on every endpoint, by the address and by the socket", async () => {
  verifies("HTTP-HOST-ORIGIN");
  const ways = [
    { hostname: "127.0.0.1", port: proxy.proxy.listener.port },
    { unix: join(proxy.dataDir, "mcpproxy.sock") },
  ];
  for (const way of ways) {
    for (const endpoint of ENDPOINTS) {
      for (const host of MALFORMED_HOSTS) {
        const status = await statusOf(way, endpoint, linesOf(host, undefined));
        expect([endpoint, host, status]).toEqual([endpoint, host, 403]);
      }
    }
  }
});

test("a foreign Host or Origin is refused before a key is looked at, so that nothing is learned of one", async () => {
  verifies("HTTP-HOST-ORIGIN");
  const way = { hostname: "127.0.0.1", port: proxy.proxy.listener.port };
  for (const endpoint of ENDPOINTS) {
    expect(await statusOf(way, endpoint, linesOf("evil.example", undefined, false))).toBe(403);
    expect(await statusOf(way, endpoint, linesOf("localhost", "http://evil.example", false))).toBe(403);
  }
});

test("the Unix socket takes any Host that is one and no Origin on every endpoint, and asks for no key", async () => {
  verifies("HTTP-HOST-ORIGIN", "SOCKET-PRIVATE");
  const way = { unix: join(proxy.dataDir, "mcpproxy.sock") };
  for (const endpoint of ENDPOINTS) {
    for (const host of [...GOOD_HOSTS, ...BAD_HOSTS]) {
      const status = await statusOf(way, endpoint, linesOf(host, undefined, false));
      expect([endpoint, host, status === 401 || status === 403]).toEqual([endpoint, host, false]);
      if (endpoint.startsWith("WS")) expect(status).toBe(101);
    }
    for (const origin of [...GOOD_ORIGINS, ...BAD_ORIGINS]) {
      if (origin === undefined) continue;
      const status = await statusOf(way, endpoint, linesOf("localhost", origin));
      expect([endpoint, origin, status]).toEqual([endpoint, origin, 403]);
    }
  }
});

test("whoever sends wrong keys is answered 429 with a time to wait, and the right key opens meanwhile", async () => {
  verifies("AUTH-FAILURES-LIMITED");
  const ask = (key: string) => fetch(`${proxy.url}/api/v1/status`, { headers: { "x-api-key": key } });
  const statuses: number[] = [];
  for (let at = 0; at < 25; at += 1) statuses.push((await ask(`wrong-${at}`)).status);
  expect([statuses[0], statuses.at(-1)]).toEqual([401, 429]);
  const limited = await ask("wrong");
  const seconds = Number(limited.headers.get("retry-after"));
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThanOrEqual(60);
  expect(await limited.json()).toMatchObject({ success: false, code: "RATE_LIMITED" });
  expect((await ask(API_KEY)).status).toBe(200);
  expect(
    (await fetch(`${proxy.url}/api/v1/status`, { unix: join(proxy.dataDir, "mcpproxy.sock") })).status,
  ).toBe(200);
  expect(proxy.lines.filter((line) => line.includes("Too many wrong keys")).length).toBe(1);
});
