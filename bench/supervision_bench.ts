/**
 * What do sick servers cost the healthy ones?
 *
 * Owns three questions, each paired with its baseline in the same run: how long 79 healthy HTTP servers take to be
 * ready among 50 that hang and 30 that refuse, against the 79 alone; the same with 25 processes among 15 that hang;
 * and what 20 hung, 5 flooding and 5 flapping servers do to the calls of a healthy one, against the same floods
 * going to a bare reader. Prints a table, writes `bench/out/supervision.json`, exits 1 past a bar. `--runs N` (5).
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startMockHost } from "../src/mock/http_host.ts";
import type { MockHost } from "../src/mock/http_host.ts";
import type { Fault, MockServer } from "../src/mock/server.ts";
import { median } from "../src/scale/sheet.ts";

const ROOT = join(import.meta.dir, "..");
const POLL_MS = 5;
const TIMEOUT_MS = 60_000;
const START_PATIENCE_MS = 2_000;
const MAX_HTTP_RATIO = 1.5;
const FLOOD_PER_SECOND = 2_000;
const CALLS = 1_500;
const MAX_P99_RATIO = 1.1;
const MAX_P99_MORE_MS = 1;

const { values } = parseArgs({
  options: { runs: { type: "string", default: "5" }, reader: { type: "string", multiple: true } },
});

interface Row {
  readonly what: string;
  readonly measuredMs: number;
  readonly baselineMs: number;
  readonly bar: string;
  readonly isHeld: boolean;
}

if (values.reader) await readAndDiscard(values.reader);
else process.exit(await main());

async function main(): Promise<number> {
  const rows = [await httpStart(), await stdioStart(), await isolation()];
  for (const { what, measuredMs, baselineMs, bar, isHeld } of rows) {
    console.log(
      `${what}: ${measuredMs.toFixed(1)} ms, baseline ${baselineMs.toFixed(1)} ms, bar ${bar}: ${isHeld ? "ok" : "PAST THE BAR"}`,
    );
  }
  mkdirSync(join(ROOT, "bench/out"), { recursive: true });
  writeFileSync(join(ROOT, "bench/out/supervision.json"), `${JSON.stringify(rows, null, 2)}\n`);
  return rows.every((row) => row.isHeld) ? 0 : 1;
}

function mocks(
  count: number,
  parts: {
    readonly name: string;
    readonly transport?: "stdio" | "streamable_http";
    readonly faults?: readonly Fault[];
  },
): MockServer[] {
  const { name, transport = "streamable_http", faults = [] } = parts;
  const tools = ["list", "get", "put"].map((verb) => ({
    name: `${verb}_thing`,
    description: `Does ${verb} on a thing`,
    inputSchema: { type: "object", properties: { id: { type: "string" } } },
    annotations: { readOnlyHint: true },
  }));
  return Array.from({ length: count }, (_, i) => ({
    name: `${name}-${i}`,
    transport,
    era: "legacy",
    tools,
    faults,
  }));
}

async function httpStart(): Promise<Row> {
  const healthy = mocks(79, { name: "healthy" });
  const sick = [
    ...mocks(50, { name: "hang", faults: [{ kind: "hang", at: "connect" }] }),
    ...mocks(30, { name: "refuse", faults: [{ kind: "refuse" }] }),
  ];
  const { alone, among } = await startPaired(healthy, sick);
  const bar = `${MAX_HTTP_RATIO} × alone`;
  return {
    what: "79 HTTP servers ready among 80 sick ones",
    measuredMs: among,
    baselineMs: alone,
    bar,
    isHeld: among <= MAX_HTTP_RATIO * alone,
  };
}

async function stdioStart(): Promise<Row> {
  const healthy = mocks(25, { name: "healthy", transport: "stdio" });
  const sick = mocks(15, { name: "hang", transport: "stdio", faults: [{ kind: "hang", at: "connect" }] });
  const { alone, among } = await startPaired(healthy, sick);
  const bar = `alone + ${2 * START_PATIENCE_MS} ms`;
  return {
    what: "25 processes ready among 15 that hang",
    measuredMs: among,
    baselineMs: alone,
    bar,
    isHeld: among <= alone + 2 * START_PATIENCE_MS,
  };
}

/** In turn, so that the machine's speed drifts for both; medians. The sick ones stand first in the file. */
async function startPaired(
  healthy: readonly MockServer[],
  sick: readonly MockServer[],
): Promise<{ readonly alone: number; readonly among: number }> {
  await using host = startMockHost({ servers: [...sick, ...healthy] });
  const alone: number[] = [];
  const among: number[] = [];
  for (let run = 0; run < Number(values.runs); run += 1) {
    alone.push(await timeStart(host, healthy));
    among.push(await timeStart(host, healthy, sick));
  }
  return { alone: median(alone), among: median(among) };
}

async function timeStart(
  host: MockHost,
  healthy: readonly MockServer[],
  sick: readonly MockServer[] = [],
): Promise<number> {
  const servers = [...sick, ...healthy].map(({ name }) => host.definition(name));
  const start = performance.now();
  await using proxy = await startProxy({ mcpServers: servers });
  await until(async () => (await proxy.connected()) >= healthy.length);
  return performance.now() - start;
}

async function isolation(): Promise<Row> {
  const hung = mocks(20, { name: "hung", faults: [{ kind: "hang", at: "connect" }] });
  const floods = mocks(5, { name: "flood", faults: [{ kind: "flood", perSecond: FLOOD_PER_SECOND }] });
  const flapping = mocks(5, { name: "flap", faults: [{ kind: "flap", upMs: 2_000, downMs: 500 }] });
  const healthy = mocks(1, { name: "healthy" });
  await using host = startMockHost({ servers: [...hung, ...floods, ...flapping, ...healthy] });
  const of = (servers: readonly MockServer[]) => servers.map(({ name }) => host.definition(name));
  const baseline: number[] = [];
  const measured: number[] = [];
  for (let run = 0; run < Number(values.runs); run += 1) {
    const urls = floods.flatMap(({ name }) => ["--reader", host.url(name)]);
    const reader = Bun.spawn(["bun", import.meta.path, ...urls], { stdout: "inherit", stderr: "inherit" });
    baseline.push(await timeCalls(of([...hung, ...flapping, ...healthy]), 1));
    reader.kill();
    await reader.exited;
    measured.push(await timeCalls(of([...hung, ...flapping, ...floods, ...healthy]), 1 + floods.length));
  }
  const [p99, bare] = [median(measured), median(baseline)];
  const isHeld = p99 <= Math.max(MAX_P99_RATIO * bare, bare + MAX_P99_MORE_MS);
  return {
    what: "p99 of calls beside 20 hung, 5 flooding, 5 flapping",
    measuredMs: p99,
    baselineMs: bare,
    bar: "baseline + 10 % or + 1 ms",
    isHeld,
  };
}

async function timeCalls(servers: readonly object[], least: number): Promise<number> {
  await using proxy = await startProxy({ mcpServers: servers });
  await until(async () => (await proxy.connected()) >= least);
  const headers: Record<string, string> = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
  };
  const post = (body: object): Promise<Response> =>
    fetch(`${proxy.url}/mcp`, { method: "POST", headers, body: JSON.stringify({ jsonrpc: "2.0", ...body }) });
  const params = {
    protocolVersion: "2025-06-18",
    capabilities: {},
    clientInfo: { name: "bench", version: "1" },
  };
  const opened = await post({ id: 0, method: "initialize", params });
  headers["mcp-session-id"] = opened.headers.get("mcp-session-id") ?? "";
  await opened.text();
  await (await post({ method: "notifications/initialized" })).text();
  const call = { name: "call_tool_read", arguments: { name: "healthy-0:list_thing", args: {} } };
  const times: number[] = [];
  for (let id = 1; id <= CALLS; id += 1) {
    const start = performance.now();
    const text = await (await post({ id, method: "tools/call", params: call })).text();
    times.push(performance.now() - start);
    if (text.includes('"isError":true') || !text.includes('"result"'))
      throw new Error(`A call failed: ${text.slice(0, 300)}`);
  }
  return times.toSorted((a, b) => a - b)[Math.floor(CALLS * 0.99)] ?? Number.NaN;
}

/** Takes the floods as cheaply as can be, in a process of its own as the proxy is. */
async function readAndDiscard(urls: readonly string[]): Promise<void> {
  const read = async (url: string): Promise<void> => {
    const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
    const params = {
      protocolVersion: "2025-06-18",
      capabilities: {},
      clientInfo: { name: "bare", version: "1" },
    };
    const body = JSON.stringify({ jsonrpc: "2.0", id: 0, method: "initialize", params });
    const opened = await fetch(url, { method: "POST", headers, body });
    const session = opened.headers.get("mcp-session-id");
    await opened.text();
    const stream = await fetch(url, {
      headers: { accept: "text/event-stream", ...(session ? { "mcp-session-id": session } : {}) },
    });
    for await (const _ of stream.body ?? []) continue;
  };
  await Promise.all(urls.map(read));
}

interface BenchProxy extends AsyncDisposable {
  readonly url: string;
  readonly connected: () => Promise<number>;
}

async function startProxy(config: object): Promise<BenchProxy> {
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-bench-"));
  const [file, dataDir] = [join(folder, "config.json"), join(folder, "data")];
  writeFileSync(file, JSON.stringify(config));
  const port = freePort();
  const args = ["serve", "-c", file, "-d", dataDir, "--listen", `127.0.0.1:${port}`, "--log-level", "error"];
  const child = Bun.spawn(["bun", join(ROOT, "src/main.ts"), ...args], {
    stdout: "inherit",
    stderr: "ignore",
  });
  const url = `http://127.0.0.1:${port}`;
  await until(() =>
    fetch(`${url}/readyz`).then(
      (response) => response.ok,
      () => false,
    ),
  );
  const key = readFileSync(join(dataDir, "api_key"), "utf8").trim();
  return {
    url,
    connected: async () => {
      const response = await fetch(`${url}/api/v1/servers?limit=1`, { headers: { "x-api-key": key } });
      const { data } = (await response.json()) as { data: { stats: { connected_servers: number } } };
      return data.stats.connected_servers;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  while (!(await isTrue())) {
    if (performance.now() > deadline) throw new Error(`It did not come within ${TIMEOUT_MS} ms`);
    await Bun.sleep(POLL_MS);
  }
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}
