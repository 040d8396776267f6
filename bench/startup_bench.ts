/**
 * How long from process start until every server is ready and every tool searchable?
 *
 * Owns the start-up rows of the numbers to hold: first start and restart with 159 and 1,132 HTTP mocks,
 * loading a configuration, resident memory, one listing. Each size runs beside a bare loop over the
 * SDK's client with a stock Orama index on the same mocks, in turn, which is the floor. Prints a table,
 * writes `bench/out/startup.json`, exits 1 past a bar. `--runs N` (3), `--quick` (159 only), `--binary FILE`
 * (the compiled proxy, measured beside the source).
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { median } from "../src/scale/sheet.ts";

const ROOT = join(import.meta.dir, "..");
const POLL_MS = 5;
const TIMEOUT_MS = 120_000;
const TICKS_PER_SECOND = 100;

/** The column *must* of the numbers to hold. */
const SIZES: readonly {
  readonly servers: number;
  readonly tools: number;
  readonly must: {
    readonly firstMs: number;
    readonly firstCpu?: number;
    readonly rssMb: number;
    readonly listMs?: number;
    readonly restartMs: number;
  };
}[] = [
  { servers: 159, tools: 1_200, must: { firstMs: 700, rssMb: 140, restartMs: 250 } },
  {
    servers: 1_132,
    tools: 10_000,
    must: { firstMs: 3_500, firstCpu: 6, rssMb: 350, listMs: 30, restartMs: 1_000 },
  },
];
const LOADS = [
  { servers: 159, mustMs: 50 },
  { servers: 10_000, mustMs: 800 },
] as const;

interface Row {
  readonly what: string;
  readonly unit: string;
  readonly measured: number;
  readonly bare?: number | undefined;
  readonly must?: number | undefined;
}

interface Run {
  readonly listenMs: number;
  readonly readyMs: number;
  readonly cpu: number;
  readonly rssMb: number;
  readonly listMs: number;
}

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "3" },
    quick: { type: "boolean" },
    load: { type: "string" },
    binary: { type: "string" },
  },
});

/** The proxy as users start it. */
const PROGRAMS: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: "source", command: ["bun", join(ROOT, "src/main.ts")] },
  ...(values.binary === undefined ? [] : [{ name: "binary", command: [resolve(values.binary)] }]),
];

if (values.load === undefined) process.exit(await main());
console.log(await measureLoad(values.load));

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-bench-"));
  const rows: Row[] = [];
  try {
    for (const { servers, mustMs } of LOADS) rows.push(await loadRow(folder, servers, mustMs));
    for (const size of values.quick ? SIZES.slice(0, 1) : SIZES) rows.push(...(await sizeRows(folder, size)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  print(rows);
  mkdirSync(join(ROOT, "bench/out"), { recursive: true });
  writeFileSync(join(ROOT, "bench/out/startup.json"), `${JSON.stringify(rows, null, 2)}\n`);
  return rows.every((row) => row.must === undefined || row.measured <= row.must) ? 0 : 1;
}

async function loadRow(folder: string, servers: number, must: number): Promise<Row> {
  const config = join(folder, `load-${servers}.json`);
  const entry = (i: number): unknown => ({
    name: `server-${i}`,
    description: `Generated server number ${i} of the load measurement`,
    command: "npx",
    args: ["-y", `@example/server-${i}`, "--option", JSON.stringify({ depth: i })],
    env: { EXAMPLE_TOKEN: `token-${i}`, EXAMPLE_REGION: "eu-central-1" },
    startup_mode: i % 3 === 0 ? "lazy_loading" : "active",
    created: "2025-11-03T10:15:30Z",
    updated: "2026-02-17T08:00:00Z",
  });
  writeFileSync(
    config,
    JSON.stringify({ mcpServers: Array.from({ length: servers }, (_, i) => entry(i)) }, null, 2),
  );
  const times: number[] = [];
  for (let run = 0; run < Number(values.runs); run += 1) {
    const child = Bun.spawn(["bun", import.meta.path, "--load", config], {
      stdout: "pipe",
      stderr: "inherit",
    });
    times.push(Number(await new Response(child.stdout).text()));
  }
  return {
    what: `load ${servers} servers, database included, cold`,
    unit: "ms",
    measured: median(times),
    must,
  };
}

/** Runs in a process of its own, so that nothing is warm but the imports. */
async function measureLoad(path: string): Promise<number> {
  const { loadConfig } = await import("../src/state/config.ts");
  const { Store } = await import("../src/state/store.ts");
  const { SILENT_LOG } = await import("../src/lib/log.ts");
  const dataDir = mkdtempSync(join(tmpdir(), "mcpproxy-load-"));
  const start = performance.now();
  const config = await loadConfig({ path, dataDir, env: {}, cwd: ROOT, home: dataDir });
  const store = Store.open({ dataDir, log: SILENT_LOG });
  for (const { name } of config.servers) store.rememberServer(name, {});
  store.flush();
  const ms = performance.now() - start;
  await store.close();
  rmSync(dataDir, { recursive: true, force: true });
  return ms;
}

async function sizeRows(folder: string, size: (typeof SIZES)[number]): Promise<Row[]> {
  const config = join(folder, `servers-${size.servers}.json`);
  const host = await startHost(size, config);
  const bare: { ms: number; cpuSeconds: number; rssBytes: number }[] = [];
  const runs = PROGRAMS.map((program) => ({ program, first: [] as Run[], again: [] as Run[] }));
  try {
    for (let run = 0; run < Number(values.runs); run += 1) {
      bare.push(await runBare(config));
      for (const { program, first, again } of runs) {
        const start = { command: program.command, dataDir: mkdtempSync(join(folder, "data-")), size };
        first.push(await runProxy(config, start));
        again.push(await runProxy(config, { ...start, isRestart: true }));
      }
    }
  } finally {
    host.kill();
    await host.exited;
  }
  const floor = (key: "ms" | "cpuSeconds" | "rssBytes"): number => median(bare.map((run) => run[key]));
  const floors = { ms: floor("ms"), cpu: floor("cpuSeconds"), rssMb: floor("rssBytes") / 2 ** 20 };
  return runs.flatMap(({ program, first, again }) =>
    programRows(size, { name: program.name, first, again, floors }),
  );
}

function programRows(
  size: (typeof SIZES)[number],
  measured: {
    readonly name: string;
    readonly first: readonly Run[];
    readonly again: readonly Run[];
    readonly floors: { readonly ms: number; readonly cpu: number; readonly rssMb: number };
  },
): Row[] {
  const { name, first, again, floors } = measured;
  const head = `${size.servers} servers, ${size.tools} tools, ${name}`;
  const of = (runs: readonly Run[], key: keyof Run): number => median(runs.map((run) => run[key]));
  const { must } = size;
  return [
    { what: `${head}: first start, listening`, unit: "ms", measured: of(first, "listenMs") },
    {
      what: `${head}: first start, all ready and searchable`,
      unit: "ms",
      measured: of(first, "readyMs"),
      bare: floors.ms,
      must: must.firstMs,
    },
    {
      what: `${head}: first start, processor`,
      unit: "CPU-s",
      measured: of(first, "cpu"),
      bare: floors.cpu,
      must: must.firstCpu,
    },
    {
      what: `${head}: resident, all ready`,
      unit: "MB",
      measured: of(first, "rssMb"),
      bare: floors.rssMb,
      must: must.rssMb,
    },
    {
      what: `${head}: list of all servers over REST`,
      unit: "ms",
      measured: of(first, "listMs"),
      must: must.listMs,
    },
    {
      what: `${head}: restart, known tools searchable`,
      unit: "ms",
      measured: of(again, "listenMs"),
      must: must.restartMs,
    },
  ];
}

async function startHost(
  size: (typeof SIZES)[number],
  config: string,
): Promise<Bun.Subprocess<"ignore", "pipe", "inherit">> {
  const args = [
    "--servers",
    String(size.servers),
    "--tools",
    String(size.tools),
    "--port",
    "0",
    "--write-config",
    config,
  ];
  const host = Bun.spawn(["bun", join(ROOT, "bench/mock_host.ts"), ...args], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const reader = host.stdout.getReader();
  await reader.read();
  reader.releaseLock();
  return host;
}

async function runBare(config: string): Promise<{ ms: number; cpuSeconds: number; rssBytes: number }> {
  const env = { ...process.env, BUN_CONFIG_MAX_HTTP_REQUESTS: "16384" };
  const child = Bun.spawn(["bun", join(ROOT, "bench/bare_loop.ts"), "--config", config], {
    stdout: "pipe",
    stderr: "inherit",
    env,
  });
  return (await new Response(child.stdout).json()) as { ms: number; cpuSeconds: number; rssBytes: number };
}

/** Starts the proxy as a user does and looks at it from outside. On a restart `listenMs` is the moment of readiness. */
async function runProxy(
  config: string,
  options: {
    readonly command: readonly string[];
    readonly dataDir: string;
    readonly size: (typeof SIZES)[number];
    readonly isRestart?: boolean;
  },
): Promise<Run> {
  const { command, dataDir, size, isRestart = false } = options;
  const port = freePort();
  const start = performance.now();
  const args = [
    "serve",
    "-c",
    config,
    "-d",
    dataDir,
    "--listen",
    `127.0.0.1:${port}`,
    "--log-level",
    "error",
  ];
  const proxy = Bun.spawn([...command, ...args], {
    stdout: "inherit",
    stderr: "inherit",
  });
  try {
    const url = `http://127.0.0.1:${port}`;
    await until(`${url}${isRestart ? "/readyz" : "/livez"}`);
    const listenMs = performance.now() - start;
    if (isRestart) await expectSearchable({ url, dataDir, least: 1 });
    await until(`${url}/startupz`);
    const readyMs = performance.now() - start;
    const cpu = cpuSeconds(proxy.pid);
    const rssMb = residentMb(proxy.pid);
    await expectSearchable({ url, dataDir, least: size.servers });
    const listStart = performance.now();
    await getJson(`${url}/api/v1/servers`, dataDir);
    return { listenMs, readyMs, cpu, rssMb, listMs: performance.now() - listStart };
  } finally {
    proxy.kill("SIGTERM");
    await proxy.exited;
  }
}

/** A start only counts when every server is connected and a search finds tools. */
async function expectSearchable(at: {
  readonly url: string;
  readonly dataDir: string;
  readonly least: number;
}): Promise<void> {
  const search = (await getJson(`${at.url}/api/v1/index/search?q=list+files`, at.dataDir)) as {
    data: { total: number };
  };
  if (search.data.total === 0) throw new Error("the search finds nothing");
  if (at.least === 1) return;
  const status = (await getJson(`${at.url}/api/v1/servers?limit=1`, at.dataDir)) as {
    data: { stats: { connected_servers: number } };
  };
  const connected = status.data.stats.connected_servers;
  if (connected < at.least) throw new Error(`${connected} of ${at.least} servers are connected`);
}

async function getJson(url: string, dataDir: string): Promise<unknown> {
  const key = readFileSync(join(dataDir, "api_key"), "utf8").trim();
  const response = await fetch(url, { headers: { "x-api-key": key } });
  if (!response.ok) throw new Error(`${url} answered HTTP ${response.status}`);
  return response.json();
}

async function until(url: string): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  while (performance.now() < deadline) {
    const isThere = await fetch(url).then(
      (response) => response.ok,
      () => false,
    );
    if (isThere) return;
    await Bun.sleep(POLL_MS);
  }
  throw new Error(`${url} did not answer within ${TIMEOUT_MS} ms`);
}

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

/** User and system time of a process, from its stat line (proc(5), fields 14 and 15). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function residentMb(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
  return Number(kilobytes) / 1024;
}

function print(rows: readonly Row[]): void {
  const shown = rows.map(({ what, unit, measured, bare, must }) => [
    what,
    `${round(measured)} ${unit}`,
    bare === undefined ? "" : `${round(bare)} ${unit}`,
    must === undefined ? "" : `${must} ${unit}`,
    must === undefined ? "" : measured <= must ? "ok" : "PAST THE BAR",
  ]);
  const table = [["what", "measured", "bare loop", "must", ""], ...shown];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)));
  for (const row of table)
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    );
}

function round(value: number): number {
  return value < 10 ? Math.round(value * 100) / 100 : Math.round(value);
}
