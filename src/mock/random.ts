/**
 * A seeded source of numbers, and choosing with it.
 *
 * Owns the generator and the distributions mocks are made from. Invariant: the same seed and the same calls
 * give the same numbers on every machine. `Math.random` was rejected: a run that failed must be run again.
 */

/** A source of numbers in [0, 1). */
export type Random = () => number;

/** A log-normal time or size: half of all draws lie below the median. */
export interface Spread {
  readonly median: number;
  /** Standard deviation of the logarithm. @default 0.5 */
  readonly sigma?: number;
  /** Largest draw. @default 10 × median */
  readonly max?: number;
}

/** Makes a source from a number or a text (mulberry32; 32 bits of state are plenty for mocks). */
export function seededRandom(seed: number | string): Random {
  let state = typeof seed === "number" ? Math.trunc(seed) : hashText(seed);
  return () => {
    state = Math.trunc(state + 0x6d2b79f5);
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** FNV-1a, 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

/** Draws one entry; throws when the list is empty. */
export function pick<T>(random: Random, list: readonly T[]): T {
  const chosen = list[Math.floor(random() * list.length)];
  if (chosen === undefined) throw new RangeError("Cannot pick: the list is empty");
  return chosen;
}

/** Draws distinct entries in random order; all of them when `count` is larger than the list. */
export function pickSome<T>(random: Random, list: readonly T[], count: number): readonly T[] {
  return shuffle(random, list).slice(0, count);
}

/** Returns the entries in random order (Fisher and Yates). */
export function shuffle<T>(random: Random, list: readonly T[]): readonly T[] {
  const mixed = [...list];
  for (let at = mixed.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    const [a, b] = [mixed[at], mixed[other]];
    if (a !== undefined && b !== undefined) [mixed[at], mixed[other]] = [b, a];
  }
  return mixed;
}

/** Draws from a spread, or returns the number as it is. */
export function draw(random: Random, spread: number | Spread): number {
  if (typeof spread === "number") return spread;
  const { median, sigma = 0.5, max = 10 * median } = spread;
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return Math.min(max, median * Math.exp(sigma * normal));
}

/** Splits a total into uneven parts of at least `least`; their sum is the total when it reaches that far. */
export function share(random: Random, total: number, options: { parts: number; least?: number }): number[] {
  const { parts, least = 0 } = options;
  const weights = Array.from({ length: parts }, () => 0.2 + random() + random() ** 4 * 3);
  const sum = weights.reduce((all, weight) => all + weight, 0);
  const rest = Math.max(0, total - least * parts);
  let [weightSoFar, givenSoFar] = [0, 0];
  return weights.map((weight) => {
    weightSoFar += weight;
    const given = Math.round((rest * weightSoFar) / sum) - givenSoFar;
    givenSoFar += given;
    return least + given;
  });
}
