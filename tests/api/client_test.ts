/**
 * The typed client, and one that a generator of npm makes of the document: both work against a live proxy.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { connectApi } from "../../src/api/client.ts";
import type { ApiClient, ApiData } from "../../src/api/client.ts";
import { ProxyError } from "../../src/core/errors.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";

const ROOT = join(import.meta.dir, "../..");
const KEY = "client-test-key-0123456789-0123456789";

let upstream: ToolUpstream;
let proxy: LiveProxy;
let client: ApiClient;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("read", { annotations: { readOnlyHint: true } })]);
  proxy = await openLiveProxy({
    api_key: KEY,
    groups: [
      { id: 1, name: "One" },
      { id: 2, name: "Two" },
    ],
    mcpServers: [{ name: "up/a b", url: upstream.url, groups: ["One"] }],
  });
  client = connectApi({ url: proxy.url(), key: KEY });
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

test("connectApi().ask() lists, adds, changes, calls and removes, with the types of the reference", async () => {
  verifies("CLIENT-TYPED");
  const { servers } = await client.ask("GET /api/v1/servers", { query: { limit: 10 } });
  expect(servers.map(({ name, category }) => [name, category])).toEqual([["up/a b", "connected"]]);
  const one = await client.ask("GET /api/v1/servers/:name", { params: { name: "up/a b" } });
  expect(one.tool_count satisfies number).toBe(1);
  const added = await client.ask("POST /api/v1/servers", {
    body: { name: "second", url: upstream.url, startup_mode: "disabled" },
  });
  expect(added.updated satisfies readonly string[]).toEqual(["second"]);
  const patch = { params: { name: "second" }, body: { description: "Another" } };
  expect((await client.ask("PATCH /api/v1/servers/:name", patch)).server).toBe("second");
  const content = await client.ask("POST /api/v1/tools/call", {
    body: { tool_name: "call_tool_read", arguments: { name: "up/a b:read", args: {} } },
  });
  expect(content).toMatchObject([{ type: "text" }]);
  await client.ask("DELETE /api/v1/servers/:name", { params: { name: "second" } });
  const { total_servers: left } = (await client.ask("GET /api/v1/servers")).stats;
  expect(left).toBe(1);
});

test("connectApi().ask() needs no key on the Unix socket, and sends the id it was given", async () => {
  verifies("CLIENT-TYPED");
  const { endpoints } = await client.ask("GET /api/v1/info");
  const local = connectApi({ socket: endpoints.socket });
  expect((await local.ask("GET /api/v1/stats")).total_servers).toBe(1);
  await local.ask("DELETE /api/v1/groups/:group", { params: { group: 2 }, requestId: "asked-by-socket" });
  const { activities } = await client.ask("GET /api/v1/activity", {
    query: { request_id: "asked-by-socket" },
  });
  expect(activities.map(({ type, principal }) => [type, principal])).toEqual([["group_change", "socket"]]);
});

test("connectApi() does not compile with what no route takes", () => {
  verifies("CLIENT-TYPED");
  const never = (): boolean => false;
  if (never()) {
    // @ts-expect-error -- no such route
    void client.ask("GET /api/v1/nothing");
    // @ts-expect-error -- the name of the server is missing
    void client.ask("GET /api/v1/servers/:name");
    // @ts-expect-error -- a limit is a number
    void client.ask("GET /api/v1/servers", { query: { limit: "ten" } });
    // @ts-expect-error -- a search has words
    void client.ask("GET /api/v1/index/search");
    // @ts-expect-error -- no such field
    void client.ask("POST /api/v1/groups", { body: { name: "x", colour: "red" } });
  }
  const names = ({ servers }: ApiData<"GET /api/v1/servers">): string[] => servers.map(({ name }) => name);
  expect(names).toBeFunction();
});

test.each([
  [
    "an unknown server",
    "SERVER_UNKNOWN",
    () => client.ask("GET /api/v1/servers/:name", { params: { name: "x" } }),
  ],
  [
    "a wrong key",
    "AUTH_REQUIRED",
    () => connectApi({ url: proxy.url(), key: "wrong" }).ask("GET /api/v1/info"),
  ],
  ["nobody there", "NOT_REACHABLE", () => connectApi({ url: "http://127.0.0.1:9" }).ask("GET /api/v1/info")],
  ["no mcpproxy", "NOT_REACHABLE", () => connectApi({ url: upstream.url, key: "x" }).ask("GET /api/v1/info")],
])("connectApi().ask() fails on %s with the code %s", async (_, code, ask) => {
  verifies("CLIENT-TYPED");
  const error: unknown = await ask().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ProxyError);
  expect(error).toMatchObject({ code, hint: expect.stringMatching(/./) as string });
});

/** What a program that knows the document alone would be. */
const USE = `
import * as api from "./client.ts";

async function done<T>(asking: Promise<{ status: number; data: T }>): Promise<T> {
  const { status, data } = await asking;
  if (status >= 300) throw new Error(JSON.stringify(data));
  return data;
}

interface Given {
  readonly baseUrl: string;
  readonly key: string;
  readonly upstream: string;
  readonly untilReady: (name: string) => Promise<void>;
}

export async function walk({ baseUrl, key, upstream: url, untilReady }: Given): Promise<unknown[]> {
  api.defaults.baseUrl = baseUrl;
  api.defaults.headers = { "X-API-Key": key };
  const seen: unknown[] = [];
  const before = await api.listServers({ limit: 5 });
  if (before.status === 200) seen.push(before.data.data.servers.map((server: api.Server) => server.name));
  const added = await api.addServer({ name: "generated", url, approve: true });
  seen.push(added.status);
  const patched = await api.patchServer("generated", { description: "By a generated client" });
  if (patched.status === 200) seen.push(patched.data.data.updated);
  await untilReady("generated");
  const called = await api.callTool({ tool_name: "call_tool_read", arguments: { name: "generated:read", args: {} } });
  if (called.status === 200) seen.push(called.data.data[0]?.type);
  const removed = await api.removeServer("generated");
  seen.push(removed.status);
  const gone = await api.getServer("generated");
  if (gone.status === 404) seen.push(gone.data.code satisfies api.Error["code"]);
  await done<unknown>(api.getStatus());
  return seen;
}
`;

test("a client generated from /openapi.json type-checks and works against a live proxy", async () => {
  verifies("CLIENT-GENERATED");
  using folder = tempDir();
  const document = join(folder.path, "openapi.json");
  const response = await fetch(`${proxy.url()}/openapi.json`);
  await Bun.write(document, await response.text());
  symlinkSync(join(ROOT, "node_modules"), join(folder.path, "node_modules"));
  const generator = Bun.spawn(
    [process.execPath, join(ROOT, "node_modules/.bin/oazapfts"), document, join(folder.path, "client.ts")],
    {
      cwd: ROOT,
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  expect({ code: await generator.exited, text: await generator.stderr.text() }).toMatchObject({ code: 0 });
  await Bun.write(join(folder.path, "use.ts"), USE);
  const compilerOptions = {
    target: "ESNext",
    lib: ["ESNext", "DOM", "DOM.Iterable"],
    module: "Preserve",
    moduleResolution: "Bundler",
    strict: true,
    noEmit: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    types: [],
  };
  const config = { compilerOptions, include: ["*.ts"] };
  await Bun.write(join(folder.path, "tsconfig.json"), JSON.stringify(config));
  const checker = Bun.spawn([join(ROOT, "node_modules/.bin/tsc"), "-p", folder.path], { stdout: "pipe" });
  expect({ text: await checker.stdout.text(), code: await checker.exited }).toEqual({ text: "", code: 0 });
  const { walk } = (await import(join(folder.path, "use.ts"))) as {
    readonly walk: (given: Readonly<Record<string, unknown>>) => Promise<unknown[]>;
  };
  const given = { baseUrl: proxy.url(), key: KEY, upstream: upstream.url, untilReady: proxy.untilReady };
  expect(await walk(given)).toEqual([["up/a b"], 201, ["generated"], "text", 200, "SERVER_UNKNOWN"]);
  await waitFor("the server is gone", async () => (await proxy.ask("GET /servers/generated")).status === 404);
}, 60_000);
