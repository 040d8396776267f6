/**
 * How do costs grow from 100 to 10,000 servers?
 *
 * Owns the sizes, what is measured at each through public surfaces, and the exponent of the line through them on
 * logarithmic scales: 1 is linear, 2 is the square. A figure is the median of five to nine; memory is of one. An empty
 * proxy is the baseline of load and memory. Prints a table, writes `bench/out/growth.json`, exits 1 when an exponent is
 * past its bar. `--sizes 100,1000,10000`, `--program FILE`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { EventReader } from "../src/scale/event_reader.ts";
import { Fleet } from "../src/scale/fleet.ts";
import { McpClient } from "../src/scale/mcp_client.ts";
import { median, slopeOf } from "../src/scale/sheet.ts";
import { areReady } from "../src/scale/stage.ts";
import { Subject, until } from "../src/scale/subject.ts";
import type { ApiAnswer } from "../src/scale/subject.ts";

const ROOT = join(import.meta.dir, "..");
const READY_MS = 300_000;
const TOLD_MS = 60_000;
const READERS = 10;
/** One batch publishes some three events a server in one turn; the proxy keeps 10,000 for its readers, and tells of a gap past that. */
const TOLD_AT_ONCE = 2_000;
const REPEATS = 9;
const SWITCHES = 5;
const STARTS = 5;
/** Right after 10,000 servers have connected a page takes five times as long as some seconds later. */
const WARM_ASKS = 100;

/** What is measured; `most` is the largest exponent, and why it is not smaller. */
const MEASURES = {
  load: { unit: "ms", most: 1.1, bend: "one pass over the file; the start of the program hides it at 100" },
  read: {
    unit: "ms",
    most: 1.3,
    bend: "each server is in the answer, and a long answer is garbage to collect",
  },
  page: { unit: "ms", most: 0.5, bend: "a hundred servers are shown, but all are counted for the totals" },
  move: {
    unit: "ms",
    most: 1.15,
    bend: "the whole file is written and synced; at 100 the syncs are most of it",
  },
  group: { unit: "ms", most: 1.15, bend: "one write, one event a server" },
  search: {
    unit: "ms",
    most: 0.9,
    bend: "the tools with a word of the query; the request costs the same at any size",
  },
  fan_out: { unit: "ms", most: 1.15, bend: "one write for 2,000 servers, one event a server to each reader" },
  memory: {
    unit: "MB",
    most: 0.8,
    bend: "a connection and its tools; at 100 mostly what the first connection brings",
  },
} as const;
type Measure = keyof typeof MEASURES;

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "100,1000,10000" },
    program: { type: "string", default: join(ROOT, "src/main.ts") },
  },
});
const COMMAND = values.program.endsWith(".ts") ? [process.execPath, values.program] : [values.program];

process.exit(await main());

async function main(): Promise<number> {
  const sizes = values.sizes.split(",").map(Number);
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-growth-"));
  const points = new Map<Measure, { readonly size: number; readonly value: number }[]>();
  try {
    for (const size of sizes) {
      const figures = Object.entries(await measure(folder, size));
      for (const [name, value] of figures) {
        const known = points.get(name as Measure) ?? [];
        points.set(name as Measure, [...known, { size, value }]);
      }
      const shown = figures.map(
        ([name, value]) => `${name} ${value.toFixed(1)} ${MEASURES[name as Measure].unit}`,
      );
      console.log(`${size} servers: ${shown.join(", ")}`);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const rows = [...points].map(([name, found]) => rowOf(name, found));
  console.table(rows.map(({ values: _values, ...row }) => row));
  mkdirSync(join(ROOT, "bench/out"), { recursive: true });
  writeFileSync(join(ROOT, "bench/out/growth.json"), `${JSON.stringify(rows, null, 2)}\n`);
  return rows.every(({ exponent, most }) => Number(exponent) <= most) ? 0 : 1;
}

function rowOf(name: Measure, found: readonly { readonly size: number; readonly value: number }[]) {
  const { unit, most, bend } = MEASURES[name];
  const exponent = slopeOf(found.map(({ size, value }) => ({ x: Math.log(size), y: Math.log(value) })));
  const shown = Object.fromEntries(
    found.map(({ size, value }) => [`${size} servers`, `${value.toFixed(1)} ${unit}`]),
  );
  return { name, ...shown, exponent: exponent.toFixed(2), most, bend, values: found };
}

async function measure(folder: string, size: number): Promise<Record<Measure, number>> {
  const home = mkdtempSync(join(folder, "size-"));
  await using fleet = await Fleet.start({
    command: COMMAND,
    folder: home,
    profile: "healthy",
    servers: size,
    timeScale: 0,
    maxStdio: 0,
  });
  const settings = { health_check_interval: "0s", logging: { level: "error" } };
  const mode = (startup_mode: string) => ({
    settings,
    entry: <Entry extends object>(entry: Entry) => ({ ...entry, startup_mode }),
  });
  const [asleep, idle] = [[] as number[], [] as number[]];
  let emptyMb = 0;
  for (let run = 0; run < STARTS; run += 1) {
    asleep.push((await started(home, fleet.config(mode("disabled")))).readyMs);
    const empty = await started(home, '{"mcpServers": []}');
    idle.push(empty.readyMs);
    emptyMb = empty.rssMb;
  }
  await using subject = await Subject.start({
    command: COMMAND,
    folder: mkdtempSync(join(home, "proxy-")),
    config: fleet.config(mode("active")),
  });
  await areReady(subject, size, READY_MS);
  const names = fleet.entries.map(({ name }) => name);
  const memory = subject.holdings().rssMb - emptyMb;
  return {
    load: Math.max(1, median(asleep) - median(idle)),
    ...(await reads(subject)),
    move: await repeated((at) =>
      subject.api(`/servers/${encodeURIComponent(names[at] ?? "")}`, {
        method: "PATCH",
        body: { description: `moved ${at}` },
      }),
    ),
    ...(await switches(subject, names)),
    memory,
  };
}

async function started(
  home: string,
  config: string,
): Promise<{ readonly readyMs: number; readonly rssMb: number }> {
  await using subject = await Subject.start({
    command: COMMAND,
    folder: mkdtempSync(join(home, "start-")),
    config,
  });
  return { readyMs: subject.readyMs, rssMb: subject.holdings().rssMb };
}

async function reads(subject: Subject): Promise<Pick<Record<Measure, number>, "read" | "page" | "search">> {
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const words = ["list", "create", "delete", "search", "update", "read", "send", "count"];
  const page = (): Promise<unknown> => subject.api("/servers?limit=100");
  for (let ask = 0; ask < WARM_ASKS; ask += 1) await page();
  return {
    page: await repeated(page),
    read: await repeated(() => subject.api("/servers")),
    search: await repeated((at) =>
      client.callJson("retrieve_tools", {
        query: `${words[at % words.length]} a report of last week`,
        limit: 15,
      }),
    ),
  };
}

/**
 * All servers off in one batch: connected ones, and then such as sleep; and held, a part after the other, the sum of how
 * long until every reader was told of each. What is undone in between is not measured.
 */
async function switches(
  subject: Subject,
  names: readonly string[],
): Promise<Pick<Record<Measure, number>, "group" | "fan_out">> {
  const [off, held] = [[] as number[], [] as number[]];
  for (let run = 0; run < SWITCHES; run += 1) {
    if (run > 0) await undone(subject, "make_lazy", names);
    const from = performance.now();
    await done(subject.post("/servers/batch", { action: "disable", names }));
    off.push(performance.now() - from);
  }
  const readers = await Promise.all(
    Array.from({ length: READERS }, () => EventReader.overSocket(subject.url, subject.key)),
  );
  const hold = (some: readonly string[]) =>
    done(subject.post("/servers/batch", { action: "quarantine", names: some }));
  try {
    for (let run = 0; run < SWITCHES; run += 1) {
      held.push(await toldMs(readers, { names, change: hold }));
      await toldMs(readers, { names, change: (some) => undone(subject, "approve", some) });
    }
    return { group: median(off), fan_out: median(held) };
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
}

/** The sum over parts of all names. */
async function toldMs(
  readers: readonly EventReader[],
  given: { readonly names: readonly string[]; readonly change: (some: readonly string[]) => Promise<void> },
): Promise<number> {
  const { names, change } = given;
  let told = 0;
  for (let from = 0; from < names.length; from += TOLD_AT_ONCE) {
    const some = names.slice(from, from + TOLD_AT_ONCE);
    for (const { arrivals } of readers) arrivals.length = 0;
    const isTold = ({ arrivals }: EventReader): boolean =>
      arrivals.filter(({ type }) => type === "quarantine_changed").length >= some.length;
    const beganAt = performance.now();
    const answer = change(some);
    await until(() => readers.every(isTold), `all are told of ${from + some.length}`, TOLD_MS);
    told += performance.now() - beganAt;
    await answer;
  }
  return told;
}

async function undone(subject: Subject, op: "make_lazy" | "approve", names: readonly string[]) {
  await done(subject.post("/config/apply", { operations: names.map((name) => ({ op, name })) }));
}

async function done(answer: Promise<ApiAnswer>): Promise<void> {
  const { status, body } = await answer;
  if (status !== 200) throw new Error(`Cannot switch: ${JSON.stringify(body).slice(0, 500)}`);
}

async function repeated(run: (at: number) => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let at = 0; at < REPEATS; at += 1) {
    const from = performance.now();
    await run(at);
    times.push(performance.now() - from);
  }
  return median(times);
}
