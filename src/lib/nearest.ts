/**
 * The known word a misspelt one was probably meant to be.
 *
 * Owns what does not count (case, `_` and `-`) and how far is still near. Invariant: a word that is in the list is never a misspelling. A phonetic measure was
 * rejected: keys and names are typed, not heard.
 */

import { editDistance } from "./edits.ts";

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
    const distance = editDistance(plain, simplify(candidate), limit);
    if (distance <= limit && distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function simplify(word: string): string {
  return word.toLowerCase().replaceAll(/[_-]/g, "");
}
