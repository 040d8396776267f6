/**
 * What does switching one server cost, and what does each further one of a batch add?
 *
 * Owns two numbers to hold: a durable mode change through plan, commit and apply beside a bare write, fsync, rename and folder fsync of the
 * same 139 KB, and a batch of 159 beside one change. Both sides run in turn in one process on one disk. A change comes after a pause, as
 * an operator's does: the text in force is read ahead in idle time; the row `at once` shows one without the pause. Prints a table, writes
 * `bench/out/batch.json`, exits 1 past a budget; ratios and differences are medians over rounds. `--runs N` (60), `--large N` servers (10000; 0 leaves it out), `--folder DIR`.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeRealisticConfig } from "../src/mock/realistic.ts";
import { writeBare } from "../src/scale/bare_write.ts";
import { median } from "../src/scale/sheet.ts";
import { openConfiguration } from "../tests/e2e/config_driver.ts";

const ROOT = join(import.meta.dir, "..");
const SIZES = [1, 5, 20, 50, 159];
/** The columns *must* of the numbers to hold; *aim* is 2.5 and 0.01. */
const MAX_RATIO = 4;
const MAX_MORE_MS = 0.05;
/** The text in force is read ahead after 50 ms of quiet. */
const PAUSE_MS = 65;
const LARGE_PAUSE_MS = 2_500;
const WARM_UP = 10;

interface Row {
  readonly what: string;
  readonly minMs: number;
  readonly p50Ms: number;
  readonly ratio?: number;
  /** For each server past the first. */
  readonly moreMs?: number;
}

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "60" },
    large: { type: "string", default: "10000" },
    folder: { type: "string", default: tmpdir() },
  },
});

/** A file of which every server can be switched. */
function textOf(servers: number): string {
  return makeRealisticConfig({ servers }).replaceAll(/"startup_mode": "\w+"/g, '"startup_mode": "active"');
}

async function timed(act: () => unknown): Promise<number> {
  const startedAt = performance.now();
  await act();
  return performance.now() - startedAt;
}

interface Measured {
  readonly bytes: number;
  readonly times: ReadonlyMap<string, readonly number[]>;
}

/** Times of `bare` and of each size; `0` is one change without the pause. */
async function measure(
  folder: string,
  options: {
    readonly servers: number;
    readonly sizes: readonly number[];
    readonly runs: number;
    readonly pauseMs: number;
  },
): Promise<Measured> {
  const { servers, sizes, runs, pauseMs } = options;
  const [path, bare, dataDir] = [
    join(folder, "conf", "c.json"),
    join(folder, "bare", "c.json"),
    join(folder, "data"),
  ];
  for (const name of ["conf", "bare", "data"]) mkdirSync(join(folder, name), { recursive: true });
  const text = textOf(servers);
  writeFileSync(path, text);
  await using opened = await openConfiguration(path, dataDir);
  const { configuration } = opened;
  const names = configuration.config.servers.map(({ name }) => name);
  const isOn = new Set(names);
  const switchSome = async (count: number): Promise<void> => {
    const chosen = names.slice(0, count);
    const operations = chosen.map((name) => ({
      op: isOn.has(name) ? ("disable" as const) : ("enable" as const),
      name,
    }));
    const { plan } = await configuration.change({ operations, isByPerson: false });
    if (plan.updated.length !== count)
      throw new Error(`${plan.updated.length} of ${count} servers were switched`);
    for (const name of chosen) if (!isOn.delete(name)) isOn.add(name);
  };
  const times = new Map<string, number[]>();
  const warmUp = Math.min(WARM_UP, Math.ceil(runs / 3));
  const note = (what: string, ms: number, run: number): void => {
    if (run < warmUp) return;
    const known = times.get(what) ?? [];
    times.set(what, known);
    known.push(ms);
  };
  for (let run = 0; run < runs + warmUp; run += 1) {
    const { text: now } = configuration;
    await Bun.sleep(pauseMs);
    note("bare", await timed(() => writeBare(bare, now)), run);
    for (const size of sizes) {
      await Bun.sleep(pauseMs);
      note(String(size), await timed(() => switchSome(size)), run);
    }
    note("0", await timed(() => switchSome(1)), run);
  }
  return { bytes: Buffer.byteLength(text), times };
}

/** Compares what was measured in the same round, so that a slow moment meets both sides. */
function paired(
  times: Measured["times"],
  [key, base]: readonly [string, string],
  compare: (a: number, b: number) => number,
) {
  const others = times.get(base) ?? [];
  return median((times.get(key) ?? []).map((own, round) => compare(own, others[round] ?? own)));
}

function rowsOf({ bytes, times }: Measured): Row[] {
  const size = bytes < 1e6 ? `${Math.round(bytes / 1_000)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return [...times].map(([key, own]): Row => {
    const p50Ms = median(own);
    const count = Number(key);
    const isBare = key === "bare";
    const about = isBare
      ? "bare write, fsync, rename, folder fsync"
      : count === 0
        ? "1 server, at once"
        : `${count} servers`;
    return {
      what: `${size}: ${about}`,
      minMs: Math.min(...own),
      p50Ms,
      ...(isBare ? {} : { ratio: paired(times, [key, "bare"], (ms, bare) => ms / bare) }),
      ...(count > 1 ? { moreMs: paired(times, [key, "1"], (ms, one) => (ms - one) / (count - 1)) } : {}),
    };
  });
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(values.folder, "mcpproxy-batch-bench-"));
  const large = Number(values.large);
  try {
    const rows = rowsOf(
      await measure(join(folder, "a"), {
        servers: 159,
        sizes: SIZES,
        runs: Number(values.runs),
        pauseMs: PAUSE_MS,
      }),
    );
    const more =
      large === 0
        ? []
        : rowsOf(
            await measure(join(folder, "b"), {
              servers: large,
              sizes: [1],
              runs: 5,
              pauseMs: LARGE_PAUSE_MS,
            }),
          );
    console.table(
      [...rows, ...more].map(({ what, minMs, p50Ms, ratio, moreMs }) => ({
        "mode change, durable": what,
        "min ms": minMs.toFixed(2),
        "p50 ms": p50Ms.toFixed(2),
        "× bare": ratio?.toFixed(2) ?? "",
        "ms a further server": moreMs?.toFixed(4) ?? "",
      })),
    );
    mkdirSync(join(ROOT, "bench/out"), { recursive: true });
    writeFileSync(join(ROOT, "bench/out/batch.json"), `${JSON.stringify([...rows, ...more], null, 2)}\n`);
    const ratio = rows.find(({ what }) => what.endsWith(" 1 servers"))?.ratio ?? Number.POSITIVE_INFINITY;
    const moreMs = rows.findLast((row) => row.moreMs !== undefined)?.moreMs ?? Number.POSITIVE_INFINITY;
    console.log(
      `one change costs ${ratio.toFixed(2)} × the bare write (must ${MAX_RATIO}, aim 2.5); ` +
        `a further server of ${SIZES.at(-1)} ${moreMs.toFixed(4)} ms (must ${MAX_MORE_MS}, aim 0.01)`,
    );
    return ratio <= MAX_RATIO && moreMs <= MAX_MORE_MS ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
