/**
 * How do costs grow from 100 to 10,000 servers?
 *
 * Owns the sizes, what is measured at each through public surfaces, and the exponent of the line through them on
 * logarithmic scales: 1 is linear, 2 is the square. An empty proxy is the baseline of load and memory. Prints a table,
 * writes `bench/out/growth.json`, exits 1 when an exponent is past its bar. `--sizes 100,1000,10000`, `--program FILE`.
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

const ROOT = join(import.meta.dir, "..");
const READY_MS = 300_000;
const TOLD_MS = 60_000;
const READERS = 10;
const REPEATS = 9;

/** What is measured; `most` is the largest exponent, and why it is not smaller. */
const MEASURES = {
  load: { unit: "ms", most: 1.15, bend: "one pass over the file; what it costs at all hides at 100" },
  read: { unit: "ms", most: 1.15, bend: "each server is in the answer" },
  page: { unit: "ms", most: 0.5, bend: "a hundred servers, however many there are" },
  move: { unit: "ms", most: 1.1, bend: "the whole file is written and synced" },
  group: { unit: "ms", most: 1.15, bend: "one write, one event a server" },
  search: { unit: "ms", most: 0.8, bend: "only documents with a word of the query are looked at" },
  fan_out: { unit: "ms", most: 1.2, bend: "one event a server to each reader" },
  memory: { unit: "MB", most: 1.1, bend: "a connection, its tools and its place in the index" },
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
      console.error(`${size} servers`);
      for (const [name, value] of Object.entries(await measure(folder, size))) {
        const known = points.get(name as Measure) ?? [];
        points.set(name as Measure, [...known, { size, value }]);
      }
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
  for (let run = 0; run < 3; run += 1) {
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
  return {
    read: await repeated(() => subject.api("/servers")),
    page: await repeated(() => subject.api("/servers?limit=100")),
    search: await repeated((at) =>
      client.callJson("retrieve_tools", {
        query: `${words[at % words.length]} a report of last week`,
        limit: 15,
      }),
    ),
  };
}

/** All servers off in one batch, and how long until every reader was told of each. */
async function switches(
  subject: Subject,
  names: readonly string[],
): Promise<Pick<Record<Measure, number>, "group" | "fan_out">> {
  const from = performance.now();
  await subject.post("/servers/batch", { action: "disable", names });
  const group = performance.now() - from;
  const readers = await Promise.all(
    Array.from({ length: READERS }, () => EventReader.overSocket(subject.url, subject.key)),
  );
  try {
    const quarantined = (reader: EventReader): number =>
      reader.arrivals.filter(({ type }) => type === "quarantine_changed").length;
    const beganAt = performance.now();
    const answer = subject.post("/servers/batch", { action: "quarantine", names });
    await until(
      () => readers.every((reader) => quarantined(reader) >= names.length),
      "all are told",
      TOLD_MS,
    );
    await answer;
    return { group, fan_out: performance.now() - beganAt };
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
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
