/**
 * Wrapped text: all words, in order, in lines that fit.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { wrapText } from "../../src/lib/wrap.ts";

test("wrapText() breaks at blanks, and counts what a terminal shows", () => {
  expect(wrapText("one two  three", 7)).toEqual(["one two", "three"]);
  expect(wrapText("日本 日本 x", 9)).toEqual(["日本 日本", "x"]);
  expect(wrapText("", 9)).toEqual([]);
  expect(wrapText("a wordthatislong b", 4)).toEqual(["a", "wordthatislong", "b"]);
});

test("wrapText() keeps every word, and no line is wider unless it is one word", () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 40 }), (text, width) => {
      const lines = wrapText(text, width);
      expect(lines.join(" ")).toBe(text.split(" ").filter(Boolean).join(" "));
      for (const line of lines) expect(line.includes(" ") && Bun.stringWidth(line) > width).toBe(false);
    }),
  );
});
