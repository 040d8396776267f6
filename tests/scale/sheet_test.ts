/** Holds the verdicts on rows and the few sums behind them. */
import { expect, test } from "bun:test";
import { Sheet, slopeOf, quantile } from "../../src/scale/sheet.ts";

test.each([
  ["a fact", { unit: "ms", measured: 9 }, "fact"],
  ["within both bars", { unit: "ms", measured: 9, target: 10, must: 9 }, "within"],
  ["a time past its stricter bar", { unit: "ms", measured: 9.5, target: 10, must: 9 }, "slow"],
  ["a time past the design's bar", { unit: "ms", measured: 10.5, target: 10, must: 9 }, "over"],
  ["a number past its stricter bar", { unit: "handles", measured: 11, must: 10 }, "over"],
  ["a floor that is reached", { unit: "ratio", measured: 0.8, target: 0.8, isFloor: true }, "within"],
  ["a floor that is not", { unit: "ratio", measured: 0.79, target: 0.8, isFloor: true }, "over"],
  ["what could not be measured", { unit: "ms", measured: Number.NaN, target: 10 }, "over"],
] as const)("Sheet.add() judges %s", (_, measurement, verdict) => {
  const sheet = new Sheet();
  sheet.area("area").add({ metric: "metric", ...measurement });
  expect(sheet.rows.map((row) => row.verdict)).toEqual([verdict]);
  expect(sheet.isPassed).toBe(verdict !== "over");
});

test("AreaSheet.count() fails on any other number, more as well as less", () => {
  const sheet = new Sheet();
  const area = sheet.area("area");
  for (const measured of [2, 3, 4, Number.NaN]) area.count("metric", { measured, wanted: 3 });
  expect(sheet.rows.map(({ verdict }) => verdict)).toEqual(["over", "within", "over", "over"]);
});

test("slopeOf() fits a line, and quantile() of nothing is no number", () => {
  expect(slopeOf([0, 1, 2, 3].map((x) => ({ x, y: 5 + 2 * x })))).toBeCloseTo(2);
  expect(quantile([3, 1, 2], 0.5)).toBe(2);
  expect(quantile([], 0.5)).toBeNaN();
});
