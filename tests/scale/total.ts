/**
 * How long all tests of one kind took together, and how long they may.
 *
 * Owns when that is judged. Invariant: it is always printed. Judging it whatever else runs was rejected: with three other
 * programs on each processor a test that is as quick as ever would fail.
 */
import { expect } from "bun:test";
import { availableParallelism, loadavg } from "node:os";

/** Of programs that want a processor, in the mean of five minutes; a run alone stays far below. */
const CROWDED = 3;

/** Prints a total and holds it under its limit, where others leave the machine alone. */
export function holdTotal(
  name: string,
  { seconds, limit }: { readonly seconds: number; readonly limit: number },
): void {
  const [, load = 0] = loadavg();
  const isCrowded = load / availableParallelism() > CROWDED;
  const word = isCrowded
    ? `, not judged: ${load.toFixed(1)} programs want ${availableParallelism()} processors`
    : "";
  console.log(`${name}: ${seconds.toFixed(1)} s of at most ${limit} s${word}`);
  if (!isCrowded) expect(seconds).toBeLessThan(limit);
}
