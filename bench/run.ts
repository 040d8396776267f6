/**
 * All benches, one after another.
 *
 * Owns their list and the sum of them: each prints its own table and judges its own bars; here is only who passed. Writes
 * `bench/out/all.json`, exits 1 when one is past a bar. `--only NAME,NAME` runs some. They take about a quarter of an hour
 * on a quiet machine; on a busy one ratios hold, and times do not.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

/** The short form of each; the hour-long ones (churn, soak) stand alone. */
const BENCHES: Readonly<Record<string, readonly string[]>> = {
  startup: ["startup_bench.ts"],
  supervision: ["supervision_bench.ts"],
  commit: ["commit_bench.ts"],
  batch: ["batch_bench.ts"],
  events: ["events_bench.ts", "--seconds", "10"],
  activity: ["activity_bench.ts"],
  listing: ["listing_bench.ts"],
  search: ["search_bench.ts"],
  growth: ["growth_bench.ts"],
};

const { values } = parseArgs({ options: { only: { type: "string" } } });
const names = values.only?.split(",") ?? Object.keys(BENCHES);
const unknown = names.find((name) => !Object.hasOwn(BENCHES, name));
if (unknown !== undefined) {
  console.error(`Cannot run '${unknown}': there are ${Object.keys(BENCHES).join(", ")}`);
  process.exit(2);
}

const rows: { readonly bench: string; readonly seconds: number; readonly isPassed: boolean }[] = [];
for (const name of names) {
  console.log(`\n## ${name}`);
  const from = performance.now();
  const [file = "", ...args] = BENCHES[name] ?? [];
  const child = Bun.spawn([process.execPath, join(import.meta.dir, file), ...args], {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  const code = await child.exited;
  rows.push({ bench: name, seconds: Math.round((performance.now() - from) / 1_000), isPassed: code === 0 });
}
console.table(rows);
mkdirSync(join(import.meta.dir, "out"), { recursive: true });
writeFileSync(join(import.meta.dir, "out/all.json"), `${JSON.stringify(rows, null, 2)}\n`);
process.exit(rows.every(({ isPassed }) => isPassed) ? 0 : 1);
