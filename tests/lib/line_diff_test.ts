/**
 * The difference of two texts, line by line.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { diffLines } from "../../src/lib/line_diff.ts";

test.each<[string, string, string, string[]]>([
  ["equal texts", "a\nb\n", "a\nb\n", []],
  ["a new text", "", "a\n", ["@@ -1,0 +1,1 @@", "+a"]],
  ["a text that goes", "a\n", "", ["@@ -1,1 +1,0 @@", "-a"]],
  ["a line that changed", "a\nb\nc\n", "a\nx\nc\n", ["@@ -1,3 +1,3 @@", " a", "-b", "+x", " c"]],
  [
    "changes far apart",
    "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n",
    "0\n2\n3\n4\n5\n6\n7\n8\n9\n11\n",
    ["@@ -1,4 +1,4 @@", "-1", "+0", " 2", " 3", " 4", "@@ -7,4 +7,4 @@", " 7", " 8", " 9", "-10", "+11"],
  ],
])("diffLines() of %s", (_, before, after, lines) => {
  expect(diffLines(before, after)).toEqual(lines);
});

test("diffLines() says all that came and went, and nothing else", () => {
  const text = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 30 });
  fc.assert(
    fc.property(text, text, (before, after) => {
      const lines = diffLines(before.join("\n"), after.join("\n"));
      const came = lines.filter((line) => line.startsWith("+")).length;
      const went = lines.filter((line) => line.startsWith("-")).length;
      expect(came - went).toBe(after.length - before.length);
      if (before.join() === after.join()) expect(lines).toEqual([]);
      else expect(came + went).toBeGreaterThan(0);
    }),
  );
});
