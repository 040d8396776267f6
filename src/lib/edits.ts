/**
 * Edit distance: how many slips of a finger lie between two words.
 *
 * Owns the one-edit test used for typos in queries and the bounded distance used for "did you mean";
 * a slip is an insertion, a deletion, a replacement or a swap of neighbours. Invariant: the work is
 * bounded by the given limit, not by the product of the lengths. Orama's `boundedLevenshtein` was
 * rejected: it takes a prefix for a match and knows no swaps.
 */

/** Tells whether two different words are one slip apart. */
export function isOneEditAway(a: string, b: string): boolean {
  if (a.length > b.length) return isOneEditAway(b, a);
  if (b.length - a.length > 1 || a === b) return false;
  let at = 0;
  while (at < a.length && a.charCodeAt(at) === b.charCodeAt(at)) at += 1;
  if (a.length < b.length) return a.slice(at) === b.slice(at + 1);
  if (a.slice(at + 1) === b.slice(at + 1)) return true;
  return a[at] === b[at + 1] && a[at + 1] === b[at] && a.slice(at + 2) === b.slice(at + 2);
}

/**
 * Counts the slips between two words (optimal string alignment).
 *
 * @returns the distance, or `limit + 1` when it is larger than `limit`.
 */
export function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  const far = limit + 1;
  let twoUp = Array.from({ length: b.length + 1 }, () => far);
  let row = twoUp.slice();
  let up = row.map((_, j) => Math.min(j, far));
  for (let i = 1; i <= a.length; i += 1) {
    row.fill(far);
    if (i <= limit) row[0] = i;
    let least = row[0] ?? far;
    const last = Math.min(b.length, i + limit);
    for (let j = Math.max(1, i - limit); j <= last; j += 1) {
      const isSame = a.charCodeAt(i - 1) === b.charCodeAt(j - 1);
      let slips = Math.min(
        (up[j] ?? far) + 1,
        (row[j - 1] ?? far) + 1,
        (up[j - 1] ?? far) + (isSame ? 0 : 1),
      );
      const isSwap =
        i > 1 &&
        j > 1 &&
        a.charCodeAt(i - 1) === b.charCodeAt(j - 2) &&
        a.charCodeAt(i - 2) === b.charCodeAt(j - 1);
      if (isSwap) slips = Math.min(slips, (twoUp[j - 2] ?? far) + 1);
      row[j] = Math.min(slips, far);
      if (slips < least) least = slips;
    }
    // A swap can reach over one row, so two rows past the limit end it.
    if (least > limit && Math.min(...up) > limit) return far;
    [twoUp, up, row] = [up, row, twoUp];
  }
  return Math.min(up[b.length] ?? far, far);
}
