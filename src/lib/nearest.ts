/**
 * The known word a misspelt one was probably meant to be.
 *
 * Owns the measure (insert, delete, replace, swap of neighbours; case, `_` and `-` do not count) and how
 * far is still near. Invariant: a word that is in the list is never a misspelling. A phonetic measure was
 * rejected: keys and names are typed, not heard.
 */

const SHORT_WORD_LENGTH = 4;

/**
 * Finds the candidate within edit distance 2 of `word` (1 for words up to four letters); undefined when
 * none is near, or when `word` itself is a candidate. The nearest wins, then the first.
 */
export function nearestWord(word: string, candidates: Iterable<string>): string | undefined {
  if (word.length < 2) return undefined;
  const plain = simplify(word);
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    if (candidate === word) return undefined;
    const limit = Math.min(word.length, candidate.length) <= SHORT_WORD_LENGTH ? 1 : 2;
    if (Math.abs(candidate.length - word.length) > limit + 2) continue;
    const distance = editDistance(plain, simplify(candidate));
    if (distance <= limit && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Inserts, deletes, replacements and swaps of neighbours between two words. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      let best = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, (last[j - 1] ?? 0) + cost);
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        best = Math.min(best, (beforeLast[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[to.length] ?? 0;
}

function simplify(word: string): string {
  return word.toLowerCase().replaceAll(/[_-]/g, "");
}
