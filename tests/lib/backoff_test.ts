/**
 * Backoff: doubling, cap, and jitter within its share.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { backoffMs } from "../../src/lib/backoff.ts";

test("backoffMs() doubles from one second up to five minutes", () => {
  const plain = [1, 2, 3, 4, 9, 10, 60].map((failures) => backoffMs(failures, { jitterRatio: 0 }));
  expect(plain).toEqual([1_000, 2_000, 4_000, 8_000, 256_000, 300_000, 300_000]);
});

test("backoffMs() stays a finite number for any count", () => {
  for (const failures of [-1, 0, 1, 1e3, 1e9, Number.MAX_SAFE_INTEGER]) {
    expect(backoffMs(failures)).toBeGreaterThanOrEqual(800);
    expect(backoffMs(failures)).toBeLessThanOrEqual(360_000);
  }
});

test("backoffMs() strays by its share of jitter and no further, to both sides", () => {
  expect(backoffMs(1, { random: () => 0 })).toBe(800);
  expect(backoffMs(1, { random: () => 0.5 })).toBe(1_000);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.double({ min: 0, max: 0.999_999, noNaN: true }),
      (failures, drawn) => {
        const plain = backoffMs(failures, { jitterRatio: 0 });
        const waited = backoffMs(failures, { random: () => drawn });
        expect(Math.abs(waited - plain)).toBeLessThanOrEqual(plain * 0.2 + 1);
      },
    ),
  );
});
