/**
 * Edit distance against the textbook definition, computed in full.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { editDistance, isOneEditAway } from "../../src/lib/edits.ts";

function textbook(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (__, j) => i + j),
  );
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Infinity;
  for (let i = 1; i <= a.length; i += 1) {
    for (let j = 1; j <= b.length; j += 1) {
      let best = Math.min(
        at(i - 1, j) + 1,
        at(i, j - 1) + 1,
        at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, at(i - 2, j - 2) + 1);
      rows[i]?.splice(j, 1, best);
    }
  }
  return at(a.length, b.length);
}

const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 9 });

test("editDistance() equals the textbook up to its limit", () => {
  fc.assert(
    fc.property(word, word, fc.integer({ min: 0, max: 7 }), (a, b, limit) => {
      expect(editDistance(a, b, limit)).toBe(Math.min(textbook(a, b), limit + 1));
    }),
    { numRuns: 1_000 },
  );
});

test("isOneEditAway() equals the textbook", () => {
  fc.assert(
    fc.property(word, word, (a, b) => {
      expect(isOneEditAway(a, b)).toBe(textbook(a, b) === 1);
    }),
    { numRuns: 1_000 },
  );
});
