/**
 * Durations as Go reads and prints them.
 *
 * Owns the table of forms and the round trip; what a duration means to a setting is tested with the
 * configuration.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatDuration, parseDuration, parsePeriod } from "../../src/lib/duration.ts";

test.each([
  ["90s", 90_000],
  ["2m0s", 120_000],
  ["500ms", 500],
  ["1h30m", 5_400_000],
  ["0s", 0],
  ["0", 0],
  ["1.5h", 5_400_000],
  [".5s", 500],
  ["1.s", 1000],
  ["+3s", 3000],
  ["-1m", -60_000],
  ["250us", 0.25],
  ["250µs", 0.25],
  ["250μs", 0.25],
  ["10ns", 0.00001],
  ["1.001s", 1001],
  ["1s1s", 2000],
] as const)("parseDuration(%j) is %d ms", (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
});

test.each([
  "",
  " ",
  "90",
  "s",
  "1 s",
  "1d",
  "5 minutes",
  "1h-2m",
  "--1s",
  "1S",
  "1e3s",
  ".s",
  "1s ",
  "Infinity",
  "9999999h",
  "1m\n",
])("parseDuration(%j) is undefined", (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test.each([
  [0, "0s"],
  [500, "500ms"],
  [1000, "1s"],
  [1500, "1.5s"],
  [90_000, "1m30s"],
  [120_000, "2m0s"],
  [3_600_000, "1h0m0s"],
  [5_400_000, "1h30m0s"],
  [0.25, "250µs"],
  [0.00001, "10ns"],
  [-60_000, "-1m0s"],
] as const)("formatDuration(%d) is %j", (ms, text) => {
  expect(formatDuration(ms)).toBe(text);
});

test("formatDuration() refuses what is no number", () => {
  expect(() => formatDuration(Number.NaN)).toThrow(RangeError);
  expect(() => formatDuration(Number.POSITIVE_INFINITY)).toThrow(RangeError);
});

test("parseDuration() reads back what formatDuration() wrote", () => {
  fc.assert(
    fc.property(fc.integer({ min: -9_000_000_000_000, max: 9_000_000_000_000 }), (ms) => {
      expect(parseDuration(formatDuration(ms))).toBe(ms === 0 ? 0 : ms);
    }),
  );
});

test("parseDuration() reads back nanoseconds", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1_000_000_000 }), (ns) => {
      expect(parseDuration(formatDuration(ns / 1e6))).toBeCloseTo(ns / 1e6, 9);
    }),
  );
});

test("parseDuration() ends on any text", () => {
  fc.assert(
    fc.property(fc.string(), (text) => expect(["number", "undefined"]).toContain(typeof parseDuration(text))),
  );
});

test.each([
  ["30d", 30 * 86_400_000],
  ["0d", 0],
  ["12h", 12 * 3_600_000],
  ["1.5d", undefined],
  ["-1d", undefined],
  ["d", undefined],
  ["30 d", undefined],
])("parsePeriod() reads %s", (text, ms) => {
  expect(parsePeriod(text)).toBe(ms);
});
