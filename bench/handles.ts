/**
 * What a bench leaves open at its end: `bun --preload ./bench/handles.ts bench/FILE`, or `bun bench/run.ts --profile handles`.
 *
 * Owns the difference between the start and the end of the process: open files by their kind, and what the engine keeps
 * alive for the outside (timers, listeners, sockets, children). Prints both to stderr, which no bench's table is on.
 * `process.getActiveResourcesInfo()` was rejected: in Bun it is always empty.
 */
import { heapStats } from "bun:jsc";
import { openHandles } from "../src/lib/profiler.ts";

/** Kept by the engine for itself. */
const OWN_KINDS = /CodeBlock$|Executable$|^GlobalObject$|^Promise$/;

type Counts = Readonly<Record<string, number>>;

const before = { files: openHandles().kinds, kept: keptAlive() };

process.on("exit", () => {
  const rows = [
    ...more("open file", openHandles().kinds, before.files),
    ...more("kept alive", keptAlive(), before.kept),
  ];
  console.error(rows.length === 0 ? "Left open at the end: nothing" : "Left open at the end:");
  for (const { what, kind, count } of rows) console.error(`  ${count} ${what}, ${kind}`);
});

/** After a collection, so that what is merely not collected yet does not count. */
function keptAlive(): Counts {
  Bun.gc(true);
  return { ...heapStats().protectedObjectTypeCounts };
}

function more(what: string, after: Counts, earlier: Counts) {
  return Object.entries(after)
    .map(([kind, count]) => ({ what, kind, count: count - (earlier[kind] ?? 0) }))
    .filter(({ kind, count }) => count > 0 && !OWN_KINDS.test(kind));
}
