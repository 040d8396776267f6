/**
 * Posting lists against plain maps, and their memory under churn.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Postings } from "../../src/catalog/postings.ts";

function read(postings: Postings, list: number): [number, number][] {
  const start = postings.startOf(list);
  return Array.from({ length: postings.countOf(list) }, (_, at): [number, number] => [
    postings.documents[start + at] ?? -1,
    postings.weights[start + at] ?? -1,
  ]).toSorted(([a], [b]) => a - b);
}

test("Postings hold what plain maps hold after random additions and removals", () => {
  const step = fc.tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 1, max: 40 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const postings = new Postings();
      const lists = new Map<number, { list: number; entries: Map<number, number> }>();
      for (const [word, document] of steps) {
        const known = lists.get(word) ?? { list: postings.make(), entries: new Map<number, number>() };
        lists.set(word, known);
        if (!known.entries.delete(document)) {
          known.entries.set(document, document / 2);
          postings.add(known.list, document, document / 2);
        } else if (postings.remove(known.list, document)) {
          expect(known.entries.size).toBe(0);
          lists.delete(word);
        }
        for (const { list, entries } of lists.values()) {
          expect(read(postings, list)).toEqual([...entries].toSorted(([a], [b]) => a - b));
        }
      }
    }),
  );
});

test("Postings.remove() ignores a document of another list", () => {
  const postings = new Postings();
  const [first, second] = [postings.make(), postings.make()];
  postings.add(first, 1, 1);
  postings.add(second, 2, 1);
  expect(postings.remove(first, 2)).toBe(false);
  expect(read(postings, second)).toEqual([[2, 1]]);
});

test("Postings do not grow while lists come and go", () => {
  const postings = new Postings();
  const churn = (): void => {
    const lists = Array.from({ length: 50 }, () => postings.make());
    for (const list of lists)
      for (let document = 1; document <= 60; document += 1) postings.add(list, document, 1);
    for (const list of lists)
      for (let document = 1; document <= 60; document += 1) postings.remove(list, document);
  };
  churn();
  const after = postings.documents.length;
  for (let round = 0; round < 50; round += 1) churn();
  expect(postings.documents.length).toBe(after);
});
