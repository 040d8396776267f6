/**
 * Does anything pile up while servers come and go for half an hour?
 *
 * Owns a program that connects, crashes, disables, enables, restarts, calls and changes the tools of 40 HTTP and 10
 * stdio mocks, and samples resident memory, open files and child processes of its own; the mocks' host is a process
 * apart. Prints a line a minute, then the slope of memory after a warm-up and what was left once all is calm again;
 * exits 1 past a bar. `--minutes N` (30), `--seed N` (1).
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Catalog } from "../src/catalog/catalog.ts";
import { Intake } from "../src/catalog/intake.ts";
import { SearchIndex } from "../src/catalog/search.ts";
import { EventBus } from "../src/core/events.ts";
import { createLog } from "../src/lib/log.ts";
import { runningProcesses } from "../src/lib/process_group.ts";
import type { MockServer } from "../src/mock/server.ts";
import { slopeOf } from "../src/scale/sheet.ts";
import { parseConfig } from "../src/state/config.ts";
import { Store } from "../src/state/store.ts";
import { Upstreams } from "../src/upstream/upstreams.ts";

const HTTP = 40;
const STDIO = 10;
const STEP_MS = 100;
const SAMPLE_MS = 5_000;
const WARM_UP_SHARE = 0.25;
const MAX_SLOPE_MB_PER_MINUTE = 1;
const MAX_MORE_HANDLES = 10;
const CALM_MS = 60_000;

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "30" }, seed: { type: "string", default: "1" } },
});
const minutes = Number(values.minutes);

/** mulberry32, so that a run can be repeated. */
let seed = Number(values.seed);
function random(): number {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

function mocks(): MockServer[] {
  return Array.from({ length: HTTP + STDIO }, (_, i) => ({
    name: `server-${i}`,
    transport: i < HTTP ? "streamable_http" : "stdio",
    era: i % 5 === 0 ? "both" : "legacy",
    tools: Array.from({ length: 8 }, (_unused, k) => tool(k, 0)),
  }));
}

function tool(number: number, version: number) {
  const description = `Does thing ${number}, as of ${version}`;
  return {
    name: `thing_${number}`,
    description,
    inputSchema: { type: "object" },
    annotations: { readOnlyHint: true },
  };
}

interface Sample {
  readonly minute: number;
  readonly rssMb: number;
  readonly handles: number;
  readonly children: number;
}

function sample(startedAt: number): Sample {
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  return {
    minute: (performance.now() - startedAt) / 60_000,
    rssMb: Number(rss) / 1024,
    handles: readdirSync("/proc/self/fd").length,
    children: runningProcesses().filter(({ parent }) => parent === process.pid).length,
  };
}

const folder = mkdtempSync(join(tmpdir(), "mcpproxy-churn-"));
const profile = join(folder, "profile.json");
const file = join(folder, "config.json");
await Bun.write(profile, JSON.stringify({ seed: 1, servers: mocks() }));
const argv = [
  "bun",
  join(import.meta.dir, "../src/main.ts"),
  "mock",
  "--profile",
  profile,
  "--write-config",
  file,
  "--json",
];
const host = Bun.spawn(argv, { stdout: "pipe", stderr: "inherit" });
const reader = host.stdout.getReader();
const { control } = JSON.parse(new TextDecoder().decode((await reader.read()).value)) as { control: string };
reader.releaseLock();
const tell = async (body: object): Promise<void> => {
  const response = await fetch(control, { method: "POST", body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await response.text());
};

const log = createLog({ level: "error" });
const config = parseConfig(
  JSON.stringify({
    ...(JSON.parse(readFileSync(file, "utf8")) as object),
    auto_disable_threshold: 0,
    health_check_interval: "2s",
    tool_discovery_interval: "5s",
    supervision: { backoff_base: "200ms", backoff_cap: "2s", restart_budget: 100 },
  }),
  { path: file, dataDir: folder },
);
const store = Store.open({ dataDir: folder, log });
const catalog = new Catalog();
const intake = new Intake({ catalog, index: new SearchIndex(), store, log });
const upstreams = new Upstreams({
  servers: config.servers,
  settings: config.settings,
  store,
  bus: new EventBus(),
  context: { env: process.env, environment: config.settings.environment },
  log,
  onTools: (server, definitions) => intake.take(server, definitions),
});
const names = config.servers.map(({ name }) => name);

let version = 0;
let calls = 0;
let failures = 0;
async function step(): Promise<void> {
  const name = names[Math.floor(random() * names.length)] ?? "";
  const dice = random();
  if (dice < 0.1) upstreams.find(name)?.assume("disabled", "churn");
  else if (dice < 0.3) upstreams.find(name)?.assume("active", "churn");
  else if (dice < 0.4) upstreams.find(name)?.restart("churn");
  else if (dice < 0.5) await tell({ op: "setFault", name, fault: { kind: "crash_after", ms: 200 } });
  else if (dice < 0.6) await tell({ op: "setFault", name, fault: null });
  else if (dice < 0.7) {
    version += 1;
    await tell({ op: "changeTools", name, change: { replace: [tool(Math.floor(random() * 8), version)] } });
  } else {
    calls += 1;
    const definition = tool(1, 0);
    await upstreams
      .ready(name, { timeoutMs: 2_000 })
      .then((connection) => connection.call({ definition, args: {}, timeoutMs: 2_000 }))
      .catch(() => (failures += 1));
  }
}

async function allReady(): Promise<boolean> {
  const until = performance.now() + CALM_MS;
  const areReady = (): boolean => upstreams.list().every(({ connection }) => connection === "ready");
  while (performance.now() < until && !areReady()) await Bun.sleep(50);
  return areReady();
}

upstreams.start();
const startedAt = performance.now();
await allReady();
const first = sample(startedAt);
const samples: Sample[] = [];
let sampledAt = 0;
let toldAt = 0;
const inFlight = new Set<Promise<void>>();
while (performance.now() - startedAt < minutes * 60_000) {
  const running: Promise<void> = step().finally(() => inFlight.delete(running));
  inFlight.add(running);
  if (performance.now() - sampledAt > SAMPLE_MS) {
    sampledAt = performance.now();
    samples.push(sample(startedAt));
    const newest = samples.at(-1);
    if (newest && newest.minute - toldAt >= 1) {
      toldAt = newest.minute;
      console.log(
        `${newest.minute.toFixed(1)} min: ${newest.rssMb.toFixed(1)} MB, ${newest.handles} handles, ${newest.children} children, ${calls} calls (${failures} failed), version ${version}`,
      );
    }
  }
  await Bun.sleep(STEP_MS);
}
await Promise.allSettled(inFlight);

for (const name of names) {
  await tell({ op: "setFault", name, fault: null });
  upstreams.find(name)?.assume("active", "calm");
  upstreams.find(name)?.restart("calm");
}
const isCalm = await allReady();
await Bun.sleep(8_000);
Bun.gc(true);
const calm = sample(startedAt);
await upstreams.close();
await store.close();
const end = sample(startedAt);
host.kill();
await host.exited;
rmSync(folder, { recursive: true, force: true });

const late = samples.filter(({ minute }) => minute > minutes * WARM_UP_SHARE);
const report = {
  minutes,
  calls,
  failures,
  isCalm,
  slopeMbPerMinute:
    Math.round(slopeOf(late.map(({ minute, rssMb }) => ({ x: minute, y: rssMb }))) * 1_000) / 1_000,
  first,
  calm,
  end,
};
console.log(JSON.stringify(report, null, 2));
const isHeld =
  isCalm &&
  report.slopeMbPerMinute <= MAX_SLOPE_MB_PER_MINUTE &&
  calm.handles <= first.handles + MAX_MORE_HANDLES &&
  calm.children <= first.children;
process.exit(isHeld ? 0 : 1);
