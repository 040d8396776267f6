/**
 * What does each of the proxy's own works cost at 100, 1,000 and 10,000, beside the least it could cost, and how does it grow?
 *
 * Owns the list of nouns, their budgets and the verdict; each noun is a file in `bench/sizes`. Everything runs in this
 * process, so that nothing but the work is in a figure; the whole program from outside is `growth_bench.ts`. A budget is the
 * most a ratio may be at a size, since what costs the same at every size is most of it at 100; an exponent is that of the line
 * through the sizes on logarithmic scales. Prints tables, writes `bench/out/sizes.json`, exits 1 past a budget or an
 * exponent. `--only NOUN,NOUN`, `--sizes 100,1000,10000`; a size without a budget is shown and not held.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { slopeOf } from "../src/scale/sheet.ts";
import { openCall } from "./sizes/call.ts";
import { openCatalogue } from "./sizes/catalogue.ts";
import { openCommit } from "./sizes/commit.ts";
import { openFanOut } from "./sizes/fan_out.ts";
import { openGroup } from "./sizes/group.ts";
import { openLoad } from "./sizes/load.ts";
import { compare } from "./sizes/pair.ts";
import type { Clock, Figures, OpenPair } from "./sizes/pair.ts";
import { openColdRead, openRead } from "./sizes/read.ts";
import { openSearch } from "./sizes/search.ts";
import { openStartup } from "./sizes/startup.ts";
import { openTransition } from "./sizes/transition.ts";

const OUT = join(import.meta.dir, "out");

interface Noun {
  readonly open: OpenPair;
  /** What there is so many of. */
  readonly of: "servers" | "tools" | "events";
  readonly beside: string;
  /** By what they are compared. */
  readonly by: Clock;
  /** The most of the baseline it may cost, by size. */
  readonly budgets: Readonly<Record<number, number>>;
  /** The largest exponent, and what bends the line. */
  readonly most: number;
  readonly bend: string;
}

const NOUNS: Readonly<Record<string, Noun>> = {
  load: {
    open: openLoad,
    of: "servers",
    beside: "JSON.parse of the file",
    by: "cpu",
    budgets: { 100: 55, 1_000: 24, 10_000: 20 },
    most: 1.05,
    bend: "one pass over the file; what does not grow with it is half of it at 100",
  },
  read: {
    open: openRead,
    of: "servers",
    beside: "a copy of a map",
    by: "cpu",
    budgets: { 100: 1.1, 1_000: 3.5, 10_000: 3.5 },
    most: 1.3,
    bend: "one look-up a server; 100 stay in the nearest cache, 10,000 do not",
  },
  cold_read: {
    open: openColdRead,
    of: "servers",
    beside: "a bare select",
    by: "cpu",
    budgets: { 100: 30, 1_000: 10, 10_000: 6 },
    most: 0.65,
    bend: "opening, locking and preparing statements cost as much as reading 1,000 rows",
  },
  transition: {
    open: openTransition,
    of: "servers",
    beside: "Map.set and JSON.stringify",
    by: "cpu",
    budgets: { 100: 20, 1_000: 20, 10_000: 11 },
    most: 0.3,
    bend: "one server, however many there are; only their memory is further away",
  },
  group: {
    open: openGroup,
    of: "servers",
    beside: "entries changed, one durable write",
    by: "cpu",
    budgets: { 100: 30, 1_000: 28, 10_000: 25 },
    most: 1.05,
    bend: "one write of the file, one move and one row a server",
  },
  fan_out: {
    open: openFanOut,
    of: "events",
    beside: "one JSON.stringify, ten functions",
    by: "cpu",
    budgets: { 100: 45, 1_000: 10, 10_000: 5 },
    most: 0.8,
    bend: "rounds and slices are shared: many events at once are cheaper each",
  },
  search: {
    open: openSearch,
    of: "tools",
    beside: "stock Orama",
    by: "cpu",
    budgets: { 100: 1.2, 1_000: 0.13, 10_000: 0.04 },
    most: 0.8,
    bend: "the words of the query cost as much at any size; then the tools that hold one",
  },
  catalogue: {
    open: openCatalogue,
    of: "tools",
    beside: "stock Orama, 30 out and in",
    by: "cpu",
    budgets: { 100: 0.75, 1_000: 0.55, 10_000: 0.55 },
    most: 0.2,
    bend: "30 tools, however many there are beside them",
  },
  commit: {
    open: openCommit,
    of: "servers",
    beside: "a bare durable write",
    by: "quickest",
    budgets: { 100: 6, 1_000: 6, 10_000: 7 },
    most: 0.95,
    bend: "the whole file is hashed and written; at 100 the syncs are most of it",
  },
  call: {
    open: openCall,
    of: "servers",
    beside: "a bare relay",
    by: "cpu",
    budgets: { 100: 16, 1_000: 14, 10_000: 14 },
    most: 0.2,
    bend: "one server, however many there are beside it",
  },
  startup: {
    open: openStartup,
    of: "servers",
    beside: "JSON.parse and select",
    by: "cpu",
    budgets: { 100: 42, 1_000: 45, 10_000: 50 },
    most: 1.15,
    bend: "each tool is put into the index, some 60 µs a tool",
  },
};

/** One noun at one size. */
interface Row extends Figures {
  readonly noun: string;
  readonly size: number;
  readonly budget: number | undefined;
}

const { values } = parseArgs({
  options: { only: { type: "string" }, sizes: { type: "string", default: "100,1000,10000" } },
});

process.exit(await main());

async function main(): Promise<number> {
  const names = values.only?.split(",") ?? Object.keys(NOUNS);
  const unknown = names.find((name) => !Object.hasOwn(NOUNS, name));
  const sizes = values.sizes.split(",").map(Number);
  if (unknown !== undefined || !sizes.every((size) => Number.isInteger(size) && size > 0)) {
    console.error(`Cannot measure '${unknown ?? values.sizes}': there are ${Object.keys(NOUNS).join(", ")}`);
    return 2;
  }
  const rows: Row[] = [];
  for (const name of names) for (const size of sizes) rows.push(await measured(name, size));
  const lines = sizes.length > 1 ? names.map((name) => lineOf(name, rows)) : [];
  console.table(rows.map(shown));
  if (lines.length > 0) console.table(lines);
  mkdirSync(OUT, { recursive: true });
  writeFileSync(join(OUT, "sizes.json"), `${JSON.stringify({ rows, lines }, null, 2)}\n`);
  return verdict(rows, lines);
}

async function measured(noun: string, size: number): Promise<Row> {
  const { open, budgets, by } = nounOf(noun);
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-sizes-"));
  try {
    await using pair = await open({ size, folder });
    return { noun, size, ...(await compare(pair, by)), budget: budgets[size] };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function nounOf(name: string): Noun {
  const noun = NOUNS[name];
  if (noun === undefined) throw new Error(`There is no noun '${name}'`);
  return noun;
}

function shown({ noun, size, p50Ms, p99Ms, baselineP50Ms, costMs, ratio, budget }: Row) {
  const { of, by, beside } = nounOf(noun);
  return {
    noun,
    size: `${size} ${of}`,
    "p50 ms": short(p50Ms),
    "p99 ms": short(p99Ms),
    "baseline p50": short(baselineP50Ms),
    "cost ms": short(costMs),
    ratio: short(ratio),
    budget: budget ?? "",
    by,
    beside,
  };
}

function lineOf(noun: string, rows: readonly Row[]) {
  const { most, bend } = nounOf(noun);
  const points = rows
    .filter((row) => row.noun === noun)
    .map(({ size, costMs }) => ({ x: Math.log(size), y: Math.log(costMs) }));
  return { noun, exponent: Number(slopeOf(points).toFixed(2)), most, bend };
}

function verdict(rows: readonly Row[], lines: readonly ReturnType<typeof lineOf>[]): number {
  const dear = rows.filter(({ ratio, budget }) => budget !== undefined && !(ratio <= budget));
  const steep = lines.filter(({ exponent, most }) => !(exponent <= most));
  for (const { noun, size, ratio, budget } of dear) {
    const { of, beside } = nounOf(noun);
    console.error(`Past its budget: ${noun} at ${size} ${of}, ${short(ratio)} × ${beside}, held ${budget}`);
  }
  for (const { noun, exponent, most } of steep)
    console.error(`Past its bar: ${noun} grows with the exponent ${exponent}, held ${most}`);
  return dear.length + steep.length > 0 ? 1 : 0;
}

function short(value: number): string {
  return value.toPrecision(3);
}
