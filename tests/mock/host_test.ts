/**
 * A host as others use it: many mocks, switches from outside, the program, and nothing left behind.
 *
 * Owns sizes (100 processes, 1,000 mocks), which are printed, and the command line.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startMockHost } from "../../src/mock/http_host.ts";
import { makeProfile } from "../../src/mock/profile.ts";
import type { MockServer } from "../../src/mock/server.ts";
import { failureOf, processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { mock, openV2, tool } from "./clients.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const STDIO_MOCKS = 100;
const HTTP_MOCKS = 1_000;
const TICKS_PER_SECOND = 100;
/** A bare Bun child has 31 MB; the rest is for slower builds. */
const MAX_CHILD_MB = 60;

const INITIALIZE = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
});

function mockFolders(): readonly string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith("mcpproxy-mocks-"));
}

/** Seconds of processor and megabytes, all resident and the process's own. */
function costOf(pid: number): { readonly cpuS: number; readonly residentMb: number; readonly ownMb: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kb = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(rollup)?.[1] ?? 0);
  return {
    cpuS: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    residentMb: kb("Rss") / 1_024,
    ownMb: (kb("Private_Dirty") + kb("Private_Clean")) / 1_024,
  };
}

test("100 stdio mocks answer at once, cheaply, and leave with their stdin", async () => {
  const servers = Array.from({ length: STDIO_MOCKS }, (_, at) =>
    mock({ name: `m${at}`, transport: "stdio" }),
  );
  await using host = startMockHost({ servers });
  const startedAt = performance.now();
  const children = host.names.map((name) => {
    const { command = "", args = [] } = host.definition(name);
    const child = Bun.spawn([command, ...args], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    void child.stdin.write(`${INITIALIZE}\n`);
    void child.stdin.flush();
    return child;
  });
  for (const { stdout } of children) {
    const reader = stdout.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain('"protocolVersion":"2025-11-25"');
    reader.releaseLock();
  }
  const readyMs = performance.now() - startedAt;
  const costs = children.map(({ pid }) => costOf(pid));
  const mean = (key: "cpuS" | "residentMb" | "ownMb"): number =>
    costs.reduce((all, cost) => all + cost[key], 0) / STDIO_MOCKS;
  console.log(
    `${STDIO_MOCKS} stdio mocks ready in ${Math.round(readyMs)} ms; each ${Math.round(mean("cpuS") * 1_000)} ms of CPU, ` +
      `${mean("residentMb").toFixed(1)} MB resident, ${mean("ownMb").toFixed(1)} MB of its own`,
  );
  expect(mean("residentMb")).toBeLessThan(MAX_CHILD_MB);
  expect(host.starts().length).toBe(STDIO_MOCKS);
  for (const { stdin } of children) void stdin.end();
  expect(await Promise.all(children.map(({ exited }) => exited))).toEqual(children.map(() => 0));
}, 30_000);

test("one host serves 1,000 mocks and is gone without a trace", async () => {
  const folders = mockFolders();
  const { servers } = makeProfile({ servers: HTTP_MOCKS, outcomes: "healthy", maxStdio: 0, scale: 0 });
  Bun.gc(true);
  const before = process.memoryUsage().rss;
  const host = startMockHost({ servers });
  const sessions = await Promise.all(
    host.names.map(async (name) => {
      const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
      const response = await fetch(host.url(name), { method: "POST", headers, body: LISTING });
      await response.text();
      return response.status;
    }),
  );
  const usedMb = (process.memoryUsage().rss - before) / 2 ** 20;
  const tools = servers.flatMap((server) => server.tools).length;
  console.log(
    `${HTTP_MOCKS} HTTP mocks with ${tools} tools: ${usedMb.toFixed(1)} MB more in the process of the test`,
  );
  // Legacy mocks want a session first, SSE mocks a stream.
  expect(new Set(sessions)).toEqual(new Set([200, 400, 405]));
  const { port } = host;
  await host[Symbol.asyncDispose]();
  await failureOf(() => fetch(`http://127.0.0.1:${port}/m/0/mcp`));
  expect(mockFolders()).toEqual(folders);
}, 20_000);

const LISTING = JSON.stringify({
  jsonrpc: "2.0",
  id: 1,
  method: "tools/list",
  params: {
    _meta: {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientCapabilities": {},
    },
  },
});

test("network() takes every mock down and brings it back on the same port", async () => {
  const servers = [mock(), mock({ name: "own", ownPort: true })];
  await using host = startMockHost({ servers });
  await using open = await openV2(host);
  await using other = await openV2(host, "own");
  const urls = [host.url("m"), host.url("own")];
  host.network("down");
  for (const url of urls) expect(String(await failureOf(() => fetch(url)))).toContain("ECONNREFUSED");
  await failureOf(() => open.call());
  host.network("up");
  expect([host.url("m"), host.url("own")]).toEqual(urls);
  await open.call();
  await other.call();
});

test("starts() has the order in which upstreams were reached", async () => {
  const names = ["c", "a", "b"];
  await using host = startMockHost({
    servers: names.map((name) => mock({ name, transport: name === "b" ? "stdio" : "streamable_http" })),
  });
  for (const name of ["b", "c", "a"]) await (await openV2(host, name))[Symbol.asyncDispose]();
  expect(host.starts().map(({ name }) => name)).toEqual(["b", "c", "a"]);
});

test("an unknown name and a taken one are refused", async () => {
  await using host = startMockHost({ servers: [mock()] });
  expect(await failureOf(() => host.counters("x"))).toMatchObject({ message: "Cannot find the mock 'x'" });
  const twice = await failureOf(() => startMockHost({ servers: [mock(), mock()] }));
  expect(twice.message).toContain("the name is taken");
});

async function runMock(args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([process.execPath, MAIN, "mock", ...args], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, stdout, stderr };
}

test("mcpproxy mock writes a runnable configuration, obeys its control route, and stops at a signal", async () => {
  using folder = tempDir();
  const [profile, config] = [join(folder.path, "profile.json"), join(folder.path, "config.json")];
  const servers: MockServer[] = [mock({ tools: [tool("a")] }), mock({ name: "s", transport: "stdio" })];
  await Bun.write(profile, JSON.stringify({ seed: 1, servers }));
  const args = ["mock", "--profile", profile, "--write-config", config, "--json"];
  const child = Bun.spawn([process.execPath, MAIN, ...args], { stdout: "pipe", stderr: "inherit" });
  const reader = child.stdout.getReader();
  const line = new TextDecoder().decode((await reader.read()).value);
  const facts = JSON.parse(line) as { readonly control: string; readonly servers: number };
  expect(facts).toMatchObject({ servers: 2, tools: 2, config });
  const { mcpServers } = (await Bun.file(config).json()) as {
    readonly mcpServers: readonly {
      readonly url?: string;
      readonly command?: string;
      readonly args?: string[];
    }[];
  };
  const [http, stdio] = mcpServers;
  expect((await fetch(http?.url ?? "")).status).toBe(404);
  const order = { op: "setFault", name: "m", fault: { kind: "status", status: 503 } };
  const ordered = await fetch(facts.control, { method: "POST", body: JSON.stringify(order) });
  expect(await ordered.json()).toEqual({ success: true });
  const hello = await fetch(http?.url ?? "", { method: "POST", body: INITIALIZE });
  expect(hello.status).toBe(503);
  expect(await (await fetch(`${facts.control}?name=m`)).json()).toMatchObject({ initializes: 1 });
  const spec = stdio?.args?.find((arg) => arg.startsWith("@")) ?? "";
  expect(await Bun.file(spec.slice(1)).exists()).toBe(true);
  const wrong = await fetch(facts.control, { method: "POST", body: '{"op":"setFault","name":"nobody"}' });
  expect(wrong.status).toBe(400);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  expect(await Bun.file(spec.slice(1)).exists()).toBe(false);
  await waitFor("no process left", () => processesWith(spec.slice(1)).length === 0);
});

test.each([
  [[], "Give either a profile or a number of servers"],
  [["--servers", "x"], "Cannot read 'x' as the value of --servers"],
  [["--servers", "3", "--outcomes", "odd"], "Cannot make outcomes 'odd'"],
  [["--profile", "/nowhere.json"], "Cannot read the profile '/nowhere.json'"],
  [["--servers", "3", "--port", "70000"], "Cannot read '70000' as the value of --port"],
  [["--stdio-server"], "Name the mock"],
])("mcpproxy mock %j exits with 2 and says why", async (args, message) => {
  const { code, stderr } = await runMock(args);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
});
