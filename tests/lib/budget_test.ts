/** Holds the sliding window of the budget against a list of all times. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Budget } from "../../src/lib/budget.ts";

test("Budget lets so many through in so long, and no more until the oldest has left the window", () => {
  const budget = new Budget({ limit: 2, windowMs: 100 });
  expect(budget.waitMs(0)).toBe(0);
  budget.spend(0);
  expect(budget.waitMs(1)).toBe(0);
  budget.spend(30);
  expect(budget.waitMs(30)).toBe(70);
  expect(budget.waitMs(99)).toBe(1);
  expect(budget.waitMs(100)).toBe(0);
  budget.spend(100);
  expect(budget.waitMs(100)).toBe(30);
});

test("Budget.waitMs() is the least wait after which a window holds fewer than the limit", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.nat({ max: 80 }), { maxLength: 40 }),
      fc.nat({ max: 150 }),
      (limit, gaps, later) => {
        const budget = new Budget({ limit, windowMs: 100 });
        const all: number[] = [];
        let now = 0;
        for (const gap of gaps) {
          now += gap;
          budget.spend(now);
          all.push(now);
        }
        now += later;
        const inWindow = (at: number): number => all.filter((spent) => spent > at - 100).length;
        let wait = 0;
        while (inWindow(now + wait) >= limit) wait += 1;
        expect(budget.waitMs(now)).toBe(wait);
      },
    ),
  );
});

test("Budget.trySpend() spends one only where one is left", () => {
  const budget = new Budget({ limit: 2, windowMs: 100 });
  expect([0, 10, 20, 99].map((now) => budget.trySpend(now))).toEqual([true, true, false, false]);
  // What was refused was not spent.
  expect([budget.waitMs(100), budget.trySpend(100), budget.trySpend(105), budget.trySpend(110)]).toEqual([
    0,
    true,
    false,
    true,
  ]);
});

test("Budget.trySpend() spends what is left and nothing beyond", () => {
  const budget = new Budget({ limit: 2, windowMs: 100 });
  expect([0, 10, 20, 99, 100, 105, 110].filter((now) => budget.trySpend(now))).toEqual([0, 10, 100, 110]);
});

test("Budget.resize() allows more or fewer from then on, and what was spent stays spent", () => {
  const budget = new Budget({ limit: 1, windowMs: 100 });
  budget.spend(0);
  budget.resize(2);
  expect(budget.waitMs(10)).toBe(0);
  budget.spend(10);
  expect(budget.waitMs(10)).toBe(90);
  budget.resize(1);
  expect(budget.waitMs(10)).toBe(100);
});
