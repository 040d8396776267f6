/**
 * The Unix socket of a whole proxy: the same API without a key, for its own user.
 */
import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";

import { makeServer } from "../fixtures/upstreams.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import { openProxy } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

const OFF = makeServer({ name: "asleep", url: "http://127.0.0.1:1/", startupMode: "disabled" });

interface Reply {
  readonly status: number;
  readonly data: Record<string, unknown>;
  readonly text: string;
}

async function ask(unix: string, path: string, init: RequestInit = {}): Promise<Reply> {
  const response = await fetch(`http://localhost${path}`, { ...init, unix });
  const text = await response.text();
  return {
    status: response.status,
    text,
    data: (JSON.parse(text) as { data: Record<string, unknown> }).data,
  };
}

test("the socket lies in the data dir for its user alone, /info names it, and it goes with the proxy", async () => {
  verifies("SOCKET-PRIVATE");
  const umask = process.umask(0);
  let path = "";
  try {
    await using opened = await openProxy([OFF]);
    path = join(opened.dataDir, "mcpproxy.sock");
    const entry = lstatSync(path);
    expect([entry.isSocket(), entry.mode & 0o777]).toEqual([true, 0o600]);
    expect(existsSync(join(opened.dataDir, ".socket"))).toBe(false);
    const { data } = (await opened.get("/api/v1/info")) as { data: Record<string, unknown> };
    expect(data["endpoints"]).toMatchObject({ socket: path });
    await opened.proxy.close();
    expect(existsSync(path)).toBe(false);
  } finally {
    process.umask(umask);
  }
});

test("by the socket everything is served without a key, and written down as the socket's", async () => {
  verifies("SOCKET-PRIVATE");
  await using opened = await openProxy([OFF]);
  const path = join(opened.dataDir, "mcpproxy.sock");
  expect((await ask(path, "/api/v1/servers")).status).toBe(200);
  const added = await ask(path, "/api/v1/servers", {
    method: "POST",
    body: JSON.stringify({ name: "new", url: "http://127.0.0.1:1/" }),
  });
  expect(added.status).toBe(201);
  expect((await ask(path, "/api/v1/tokens", { method: "POST", body: '{"name":"bot"}' })).status).toBe(201);
  const recorded = async (): Promise<string> => (await ask(path, "/api/v1/activity?type=server_change")).text;
  await waitFor("the change is written down", async () => (await recorded()).includes('"new"'));
  expect(await recorded()).toContain('"principal":"socket"');
  const listed = await fetch("http://localhost/mcp/admin", {
    unix: path,
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
    body: JSON.stringify({
      jsonrpc: "2.0",
      id: 1,
      method: "initialize",
      params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "c", version: "1" } },
    }),
  });
  expect([listed.status, (await listed.text()).includes("serverInfo")]).toEqual([200, true]);
});

test("a WebSocket by the socket has the events of what is done by the address, and the other way round", async () => {
  verifies("SOCKET-PRIVATE");
  await using opened = await openProxy([OFF]);
  const { dataDir, proxy } = opened;
  const key = { headers: { "x-api-key": proxy.apiKey } };
  const urls = [
    `ws+unix://${join(dataDir, "mcpproxy.sock")}:/ws/events?types=server_added`,
    `ws://127.0.0.1:${proxy.listener.port}/ws/events?types=server_added&apikey=${proxy.apiKey}`,
  ];
  const sockets = urls.map((url) => new WebSocket(url));
  const received = sockets.map(() => [] as string[]);
  for (const [at, socket] of sockets.entries()) {
    socket.addEventListener("message", ({ data }) => received[at]?.push(String(data)));
  }
  await Promise.all(
    sockets.map(
      (socket) => new Promise((resolve) => socket.addEventListener("open", resolve, { once: true })),
    ),
  );
  const body = JSON.stringify({ name: "one", url: "http://127.0.0.1:1/" });
  await fetch(`${opened.url}/api/v1/servers`, { method: "POST", body, ...key });
  const other = JSON.stringify({ name: "two", url: "http://127.0.0.1:1/" });
  await ask(join(dataDir, "mcpproxy.sock"), "/api/v1/servers", { method: "POST", body: other });
  await waitFor("both have both", () => received.every((events) => events.length === 2));
  expect(received[0]).toEqual(received[1] ?? []);
  for (const socket of sockets) socket.close();
});

test("without room for a socket the proxy serves on, and says why", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const long = join(folder.path, "d".repeat(100));
  const taken = join(folder.path, "taken");
  mkdirSync(long);
  mkdirSync(taken);
  writeFileSync(join(taken, "mcpproxy.sock"), "mine");
  for (const [dataDir, why] of [
    [long, "bytes"],
    [taken, "no socket"],
  ] as const) {
    await using opened = await openProxy([OFF], { dataDir });
    expect((await opened.get("/api/v1/status")).status).toBe(200);
    const { data } = (await opened.get("/api/v1/info")) as { data: Record<string, unknown> };
    expect(data["endpoints"]).toMatchObject({ socket: "" });
    const told = opened.lines.filter((line) => line.includes("no Unix socket"));
    expect([told.length, told[0]?.includes(why)]).toEqual([1, true]);
  }
  expect(readFileSync(join(taken, "mcpproxy.sock"), "utf8")).toBe("mine");
});

test("a socket that a killed proxy left is replaced by the next one's", async () => {
  verifies("SOCKET-PRIVATE");
  using folder = tempDir();
  const path = join(folder.path, "mcpproxy.sock");
  // Bun takes away what it bound, and nothing that was moved.
  const dead = Bun.serve({ unix: `${path}.bound`, fetch: () => new Response("dead") });
  renameSync(`${path}.bound`, path);
  await dead.stop(true);
  if (!existsSync(path)) throw new Error("the file is gone with its listener: this test tests nothing");
  await using opened = await openProxy([OFF], { dataDir: folder.path });
  expect((await ask(path, "/api/v1/status")).status).toBe(200);
  expect(opened.lines.join("")).not.toContain("no Unix socket");
});

test("enable_socket: false means none", async () => {
  verifies("SOCKET-PRIVATE");
  await using opened = await openProxy([OFF], { enableSocket: false });
  expect(existsSync(join(opened.dataDir, "mcpproxy.sock"))).toBe(false);
  expect(opened.lines.join("")).not.toContain("no Unix socket");
});
