/**
 * Histograms: what Prometheus adds up.
 */
import { expect, test } from "bun:test";
import { Histogram } from "../../src/lib/histogram.ts";

test("Histogram counts cumulatively, a value on a step below it, and what is beyond in the total alone", () => {
  const histogram = new Histogram([1, 10, 100]);
  for (const value of [0, 1, 1.1, 10, 99, 101, 5_000]) histogram.observe(value);
  expect(histogram.view()).toEqual({
    count: 7,
    sum: 5_212.1,
    max: 5_000,
    buckets: [
      { le: 1, count: 2 },
      { le: 10, count: 4 },
      { le: 100, count: 5 },
    ],
  });
});

test("Histogram leaves out what is no length of time", () => {
  const histogram = new Histogram([1]);
  for (const value of [-1, Number.NaN]) histogram.observe(value);
  expect(histogram.view()).toMatchObject({ count: 0, sum: 0, max: 0 });
});

test("Histogram.quantile() names the step, and the largest value where there is none", () => {
  const histogram = new Histogram([1, 10, 100]);
  expect(histogram.quantile(0.5)).toBe(0);
  for (let at = 0; at < 98; at += 1) histogram.observe(5);
  histogram.observe(50);
  histogram.observe(700);
  expect([0.5, 0.99, 1].map((share) => histogram.quantile(share))).toEqual([10, 100, 700]);
});
