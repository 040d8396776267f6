/**
 * What does a durable change of the configuration cost, beside writing the same file durably with nothing
 * else?
 *
 * Owns the row *state transition, durable* of the numbers to hold. The bare way is one write, fsync, rename
 * and folder fsync of the same 139 KB; both run in turn, in one process, on one disk, so that a slow moment
 * meets both. Prints a table, writes `bench/out/commit.json`, exits 1 past the budget. `--runs N` (200),
 * `--folder DIR` (where the disk is looked at).
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SILENT_LOG } from "../src/lib/log.ts";
import { writeBare } from "../src/scale/bare_write.ts";
import { median } from "../src/scale/sheet.ts";
import { ConfigCommit } from "../src/state/config_commit.ts";
import type { Draft } from "../src/state/config_commit.ts";
import { Store } from "../src/state/store.ts";

const ROOT = join(import.meta.dir, "..");
const FILE_BYTES = 139_000;
const SERVERS = 159;
/** The column *must* of the numbers to hold; *aim* is 2.5. */
const BUDGET_RATIO = 4;
const WARM_UP = 20;

interface Row {
  readonly what: string;
  readonly minMs: number;
  readonly p50Ms: number;
  readonly ratio?: number;
}

const { values } = parseArgs({
  options: { runs: { type: "string", default: "200" }, folder: { type: "string", default: tmpdir() } },
});

/** A text of the wanted size; the number makes each another one. */
function textOf(number: number): string {
  const head = `{\n  "x": ${number},\n  "mcpServers": [\n`;
  const entry = (at: number): string =>
    `    { "name": "server-${at}", "command": "npx", "args": ["-y", "@example/server-${at}"], "x": "`;
  const padding = Math.floor((FILE_BYTES - SERVERS * 90) / SERVERS);
  const entries = Array.from({ length: SERVERS }, (_, at) => `${entry(at)}${"p".repeat(padding)}" }`);
  return `${head}${entries.join(",\n")}\n  ]\n}\n`;
}

function timed(act: () => void): number {
  const startedAt = performance.now();
  act();
  return performance.now() - startedAt;
}

async function measure(folder: string, runs: number): Promise<Row[]> {
  const [path, dataDir] = [join(folder, "conf", "c.json"), join(folder, "data")];
  for (const name of ["conf", "bare"]) mkdirSync(join(folder, name));
  writeFileSync(path, textOf(0));
  await using store = Store.open({ dataDir, log: SILENT_LOG });
  await using commit = ConfigCommit.open({ path, dataDir, store, log: SILENT_LOG });
  const names = Array.from({ length: SERVERS }, (_, at) => `server-${at}`);
  const one = (at: number): Draft => ({
    text: textOf(at),
    effects: { defined: [[`server-${at % SERVERS}`, `h${at}`]] },
    summary: "bench",
  });
  const all = (at: number): Draft => {
    const defined = names.map((name) => [name, `h${at}`] as const);
    return { text: textOf(at), effects: { defined, approved: defined, cleared: names }, summary: "bench" };
  };
  const times = { bare: [] as number[], one: [] as number[], all: [] as number[] };
  for (let run = 1; run <= runs + WARM_UP; run += 1) {
    const [text, first, second] = [textOf(run), one(run * 2), all(run * 2 + 1)];
    const bareMs = timed(() => writeBare(join(folder, "bare", "c.json"), text));
    const oneMs = timed(() => commit.commit(first));
    const allMs = timed(() => commit.commit(second));
    if (run <= WARM_UP) continue;
    times.bare.push(bareMs);
    times.one.push(oneMs);
    times.all.push(allMs);
  }
  const row = (what: string, key: "bare" | "one" | "all"): Row => {
    const p50Ms = median(times[key]);
    const ratio = p50Ms / median(times.bare);
    return { what, minMs: Math.min(...times[key]), p50Ms, ...(key === "bare" ? {} : { ratio }) };
  };
  return [
    row("bare write, fsync, rename, folder fsync", "bare"),
    row("commit, one server changed", "one"),
    row(`commit, all ${SERVERS} servers changed`, "all"),
  ];
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(values.folder, "mcpproxy-commit-bench-"));
  try {
    const rows = await measure(folder, Number(values.runs));
    console.table(
      rows.map(({ what, minMs, p50Ms, ratio }) => ({
        [`${FILE_BYTES / 1_000} KB`]: what,
        "min ms": minMs.toFixed(2),
        "p50 ms": p50Ms.toFixed(2),
        ratio: ratio?.toFixed(2) ?? "",
      })),
    );
    mkdirSync(join(ROOT, "bench/out"), { recursive: true });
    writeFileSync(join(ROOT, "bench/out/commit.json"), `${JSON.stringify(rows, null, 2)}\n`);
    const ratio = rows[1]?.ratio ?? Number.POSITIVE_INFINITY;
    console.log(`one change costs ${ratio.toFixed(2)} × the bare write; must ${BUDGET_RATIO}, aim 2.5`);
    return ratio <= BUDGET_RATIO ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
