/**
 * Lines: any cut of the bytes gives the same lines, a long line costs itself only, rings stay short.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { LineRing, LineSplitter } from "../../src/lib/lines.ts";

const NO_BREAKS = fc.string({ unit: "grapheme" }).map((text) => text.replaceAll(/[\r\n]/g, ""));

function split(
  bytes: Uint8Array,
  cuts: readonly number[] = [],
  maxBytes = 1_000_000,
): { lines: string[]; overflows: number } {
  const lines: string[] = [];
  let overflows = 0;
  const splitter = new LineSplitter({
    maxBytes,
    onLine: (line) => lines.push(line),
    onOverflow: () => {
      overflows += 1;
    },
  });
  const borders = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  for (let at = 1; at < borders.length; at += 1) {
    const chunk = bytes.slice(borders[at - 1], borders[at]);
    splitter.push(chunk);
    // The stream may use its memory again.
    chunk.fill(0x21);
  }
  return { lines, overflows };
}

test("LineSplitter.push() gives the same lines wherever the chunks end, in the middle of a character too", () => {
  fc.assert(
    fc.property(
      fc.array(NO_BREAKS, { maxLength: 8 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      fc.boolean(),
      (lines, cuts, isCrLf) => {
        const end = isCrLf ? "\r\n" : "\n";
        const bytes = new TextEncoder().encode(lines.map((line) => line + end).join(""));
        expect(split(bytes, cuts)).toEqual({ lines, overflows: 0 });
      },
    ),
  );
});

test("LineSplitter.push() keeps a byte order mark, blank lines and a carriage return inside a line", () => {
  const bytes = new TextEncoder().encode("\uFEFFa\n\n\r\nb\rc\r\r\n");
  expect(split(bytes).lines.map((line) => line.replace("\uFEFF", "BOM"))).toEqual(["BOMa", "", "", "b\rc\r"]);
});

test("LineSplitter.push() replaces bytes that are not UTF-8 and goes on", () => {
  expect(split(new Uint8Array([0xff, 0x61, 10, 0x62, 10])).lines).toEqual(["\uFFFDa", "b"]);
});

test("LineSplitter.push() skips a line over the cap, reports it once, and gives the next one whole", () => {
  const bytes = new TextEncoder().encode(
    `${"x".repeat(11)}\n${"y".repeat(10)}\nshort\n${"z".repeat(5_000)}\nlast\n`,
  );
  for (const cuts of [
    [],
    [3],
    [11],
    [12],
    [1, 2, 3, 4, 5, 6, 7, 8, 9],
    Array.from({ length: bytes.length }, (_, at) => at),
  ]) {
    expect(split(bytes, cuts, 10)).toEqual({ lines: ["y".repeat(10), "short", "last"], overflows: 2 });
  }
});

test("LineSplitter.end() gives a last line that has no end, and none after a finished or skipped one", () => {
  const ended = (text: string): string[] => {
    const lines: string[] = [];
    const splitter = new LineSplitter({ maxBytes: 10, onLine: (line) => lines.push(line) });
    splitter.push(new TextEncoder().encode(text));
    splitter.end();
    splitter.end();
    return lines;
  };
  expect(ended("a\nfatal")).toEqual(["a", "fatal"]);
  expect(ended("a\n")).toEqual(["a"]);
  expect(ended("")).toEqual([]);
  expect(ended("a\nmuch too long")).toEqual(["a"]);
});

test("LineRing.last() gives the newest lines in order, whatever was pushed before", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string()),
      fc.integer({ min: 1, max: 9 }),
      fc.nat(12),
      (lines, capacity, count) => {
        const ring = new LineRing(capacity);
        for (const line of lines) ring.push(line);
        expect(ring.last()).toEqual(lines.slice(-capacity));
        expect(ring.last(count)).toEqual(count === 0 ? [] : lines.slice(-Math.min(count, capacity)));
      },
    ),
  );
});
