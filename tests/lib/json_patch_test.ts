/**
 * Merge patches, and edits between two values.
 *
 * Owns the law between them and the text; how a text keeps its look is in `jsonc_text_test.ts`.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { depthOf, editsBetween, mergePatch } from "../../src/lib/json_patch.ts";
import { JsoncText } from "../../src/lib/jsonc_text.ts";

/** Appendix A of RFC 7396. */
const MERGES: readonly (readonly [target: string, patch: string, result: string])[] = [
  ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
  ['{"a":"b"}', '{"a":null}', "{}"],
  ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
  ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
  ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
  ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
  ['["a","b"]', '["c","d"]', '["c","d"]'],
  ['{"a":"b"}', '["c"]', '["c"]'],
  ['{"a":"foo"}', "null", "null"],
  ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
  ["[1,2]", '{"a":"b","c":null}', '{"a":"b"}'],
  ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ['{"__proto__":1}', '{"__proto__":{"a":2}}', '{"__proto__":{"a":2}}'],
];

test.each(MERGES)("mergePatch() of %s and %s is %s", (target, patch, result) => {
  const before = JSON.parse(target) as unknown;
  expect(JSON.stringify(mergePatch(before, JSON.parse(patch)))).toBe(result);
  expect(JSON.stringify(before)).toBe(target);
});

test("mergePatch() gives the target back when nothing changes", () => {
  const target = { a: { b: [1] }, c: null };
  expect(mergePatch(target, { a: { b: [1], d: null }, e: null })).toBe(target);
});

test("editsBetween() leads a text from any value to any other", () => {
  const value = fc.json({ maxDepth: 4 }).map((text) => JSON.parse(text) as unknown);
  fc.assert(
    fc.property(value, value, (before, after) => {
      const text = new JsoncText(JSON.stringify({ v: before }));
      expect(JSON.parse(text.edit(editsBetween(["v"], before, after)))).toEqual({ v: after });
    }),
    { seed: 7, numRuns: 500 },
  );
});

test("editsBetween() keeps the elements that stay", () => {
  const edits = (before: unknown, after: unknown) =>
    editsBetween([], before, after).map(({ kind, path }) => `${kind} ${path.join(".")}`);
  expect(edits(["a", "b", "c"], ["a", "c"])).toEqual(["remove 1"]);
  expect(edits(["a"], ["a", "b"])).toEqual(["append "]);
  expect(edits(["a", "b"], ["a", "x"])).toEqual(["set 1"]);
  expect(edits(["a", "b"], [])).toEqual(["set "]);
  expect(edits({ a: 1, b: { c: 1, d: 2 } }, { b: { c: 1, d: 3 }, e: 4 })).toEqual([
    "remove a",
    "set b.d",
    "set e",
  ]);
});

test("depthOf() counts levels and stops at the limit", () => {
  expect([depthOf(1, 9), depthOf({}, 9), depthOf([{ a: [] }], 9), depthOf([[[[]]]], 2)]).toEqual([
    0, 1, 3, 2,
  ]);
});
