/**
 * Queries of addresses: what is not given is left out, and nothing in a value ends it.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { queryText } from "../../src/lib/query.ts";

test("queryText() leaves out what is not given", () => {
  expect(queryText({})).toBe("");
  expect(queryText({ a: undefined, b: "", c: false })).toBe("");
  expect(queryText({ a: "x", b: 3, c: true, d: undefined })).toBe("?a=x&b=3&c=true");
});

test("queryText() keeps any value in its place", () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }), (a, b) => {
      const read = new URL(`http://x/${queryText({ a, b })}`).searchParams;
      expect([read.get("a"), read.get("b")]).toEqual([a.toWellFormed(), b.toWellFormed()]);
    }),
  );
});
