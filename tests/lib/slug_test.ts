/**
 * Words for things with a number and a name.
 *
 * Owns the form of a slug, collisions, and the order of the look-up.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { slugOf, Slugs } from "../../src/lib/slug.ts";

test.each([
  ["Dev Tools", "dev-tools"],
  ["  --AI & Search!! ", "ai-search"],
  ["Größe", "größe"],
  ["GRO\u0308SSE", "grösse"],
  ["日本語 ツール", "日本語-ツール"],
  ["हिन्दी", "हिन्दी"],
  ["⚙\uFE0F Tools", "tools"],
  ["a_b.c/d:e%", "a-b-c-d-e"],
  ["🔥", ""],
  ["", ""],
])("slugOf(%j) is %j", (name, slug) => {
  expect(slugOf(name)).toBe(slug);
});

test("Slugs.of() puts the number behind what collides or has no letters, and takes nobody's own slug or number", () => {
  const items = [
    { id: 1, name: "AI" },
    { id: 2, name: "ai" },
    { id: 3, name: "ai-2" },
    { id: 4, name: "🔥" },
    { id: 5, name: "7" },
    { id: 7, name: "seven" },
    { id: 8, name: "Ai!" },
    { id: 9, name: "Seven." },
  ] as const;
  const slugs = new Slugs(items);
  expect(items.map((item) => slugs.of(item))).toEqual([
    "ai-1",
    "ai",
    "ai-2",
    "4",
    "7-5",
    "seven",
    "ai-8",
    "seven-9",
  ]);
  expect(slugs.of({ id: 1, name: "AI" })).toBe("");
});

test("Slugs.find() looks for a number, then a name, then a slug; the first of equals counts", () => {
  const items = [
    { id: 5, name: "7" },
    { id: 7, name: "Dev Tools" },
    { id: 8, name: "dev-tools" },
    { id: 8, name: "late" },
  ] as const;
  const slugs = new Slugs<(typeof items)[number]>(items);
  expect(slugs.find("7")).toBe(items[1]);
  expect(slugs.find(7)).toBe(items[1]);
  expect(slugs.find("Dev Tools")).toBe(items[1]);
  expect(slugs.find("dev-tools")).toBe(items[2]);
  expect(slugs.find("dev-tools-7")).toBe(items[1]);
  expect(slugs.find("7-5")).toBe(items[0]);
  expect(slugs.find("8")).toBe(items[2]);
  expect(slugs.find("late")).toBe(items[3]);
  for (const word of ["dev tools", "", "07", "__proto__", 9, Number.NaN]) {
    expect(slugs.find(word)).toBeUndefined();
  }
});

test("Slugs.of() is unique, fit for a path, and leads back by find(), whatever the names", () => {
  const name = fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("a", "A", "a!", "a-1", "1", "-"));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.record({ id: fc.nat(20), name }), { selector: ({ id }) => id }),
      (items) => {
        const slugs = new Slugs(items);
        const all = items.map((item) => slugs.of(item));
        expect(new Set(all).size).toBe(items.length);
        for (const slug of all) expect(slug).toMatch(/^[^\s/?#%A-Z]+$/);
        expect(all.map((slug) => slugs.find(slug))).toEqual(items);
      },
    ),
    { numRuns: 500 },
  );
});
