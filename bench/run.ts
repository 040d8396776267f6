/**
 * All benches, one after another.
 *
 * Owns their list and the sum of them: each prints its own table and judges its own bars; here is only who passed, and in
 * `bench/out/all.json` the figures each wrote in this run. Exits 1 when one is past a bar. `--only NAME,NAME` runs some; `--profile cpu|heap` leaves a
 * profile of each in `bench/out/profiles`, of the processor as a flame graph for speedscope too, and `--profile handles` prints what
 * each leaves open at its end. They take about twenty minutes on a quiet machine; on a busy one ratios hold, and times do not.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { toSpeedscope } from "../src/scale/flame.ts";
import type { CpuProfile } from "../src/scale/flame.ts";

const OUT = join(import.meta.dir, "out");

/** The short form of each; the hour-long ones (churn, soak) stand alone. */
const BENCHES: Readonly<Record<string, readonly string[]>> = {
  startup: ["startup_bench.ts"],
  supervision: ["supervision_bench.ts"],
  commit: ["commit_bench.ts"],
  batch: ["batch_bench.ts"],
  events: ["events_bench.ts", "--seconds", "10"],
  activity: ["activity_bench.ts"],
  listing: ["listing_bench.ts"],
  call: ["call_bench.ts"],
  search: ["search_bench.ts", "--json", join(OUT, "search.json")],
  sizes: ["sizes_bench.ts"],
  growth: ["growth_bench.ts"],
};

const PROFILES = join(OUT, "profiles");
const FLAGS = {
  cpu: ["--cpu-prof", `--cpu-prof-dir=${PROFILES}`],
  heap: ["--heap-prof", `--heap-prof-dir=${PROFILES}`],
  handles: ["--preload", join(import.meta.dir, "handles.ts")],
} as const;

const { values } = parseArgs({ options: { only: { type: "string" }, profile: { type: "string" } } });
const { profile } = values;
if (profile !== undefined && !isProfile(profile)) {
  console.error(`Cannot profile '${profile}': there are ${Object.keys(FLAGS).join(", ")}`);
  process.exit(2);
}
const flags = profile === undefined ? [] : FLAGS[profile];
const names = values.only?.split(",") ?? Object.keys(BENCHES);
const unknown = names.find((name) => !Object.hasOwn(BENCHES, name));
if (unknown !== undefined) {
  console.error(`Cannot run '${unknown}': there are ${Object.keys(BENCHES).join(", ")}`);
  process.exit(2);
}

mkdirSync(PROFILES, { recursive: true });
const rows: {
  readonly bench: string;
  readonly seconds: number;
  readonly isPassed: boolean;
  /** As the bench wrote them; absent when it writes none. */
  readonly figures?: unknown;
}[] = [];
for (const name of names) {
  console.log(`\n## ${name}`);
  // What an earlier run left is not this one's.
  rmSync(join(OUT, `${name}.json`), { force: true });
  const from = performance.now();
  const [file = "", ...args] = BENCHES[name] ?? [];
  const child = Bun.spawn([process.execPath, ...flags, join(import.meta.dir, file), ...args], {
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
  });
  const code = await child.exited;
  const seconds = Math.round((performance.now() - from) / 1_000);
  rows.push({ bench: name, seconds, isPassed: code === 0, ...figuresOf(name) });
}
console.table(rows.map(({ figures: _figures, ...row }) => row));
if (profile === "cpu") {
  for (const file of readdirSync(PROFILES).filter((name) => name.endsWith(".cpuprofile"))) {
    const path = join(PROFILES, file);
    const text = JSON.stringify(toSpeedscope(file, (await Bun.file(path).json()) as CpuProfile));
    writeFileSync(path.replace(/cpuprofile$/, "speedscope.json"), text);
  }
}
writeFileSync(join(OUT, "all.json"), `${JSON.stringify(rows, null, 2)}\n`);
process.exit(rows.every(({ isPassed }) => isPassed) ? 0 : 1);

function figuresOf(name: string): { readonly figures?: unknown } {
  try {
    return { figures: JSON.parse(readFileSync(join(OUT, `${name}.json`), "utf8")) as unknown };
  } catch {
    return {};
  }
}

function isProfile(name: string): name is keyof typeof FLAGS {
  return Object.hasOwn(FLAGS, name);
}
