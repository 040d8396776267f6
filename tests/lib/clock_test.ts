/** Holds the machine's clock under fake timers, and the virtual one that stands in for it. */
import { afterEach, expect, jest, test } from "bun:test";
import fc from "fast-check";
import { SYSTEM_CLOCK } from "../../src/lib/clock.ts";
import { VirtualClock } from "../upstream/virtual_clock.ts";

afterEach(() => void jest.useRealTimers());

test("SYSTEM_CLOCK.after() runs once when due, and not after it was cancelled", () => {
  jest.useFakeTimers();
  const fired: string[] = [];
  SYSTEM_CLOCK.after(100, () => fired.push("runs"));
  const cancel = SYSTEM_CLOCK.after(50, () => fired.push("cancelled"));
  cancel();
  cancel();
  jest.advanceTimersByTime(99);
  expect(fired).toEqual([]);
  jest.advanceTimersByTime(500);
  expect(fired).toEqual(["runs"]);
});

test("SYSTEM_CLOCK.after() does not fire at once when the wait is longer than a timer can be", () => {
  jest.useFakeTimers();
  let runs = 0;
  const cancel = SYSTEM_CLOCK.after(2 ** 31, () => (runs += 1));
  jest.advanceTimersByTime(60_000);
  expect(runs).toBe(0);
  cancel();
});

test("SYSTEM_CLOCK.now() does not follow the calendar", () => {
  const before = SYSTEM_CLOCK.now();
  jest.useFakeTimers();
  jest.setSystemTime(new Date("2099-01-01T00:00:00Z"));
  expect(SYSTEM_CLOCK.wallNow()).toBe(Date.UTC(2099, 0, 1));
  expect(SYSTEM_CLOCK.now() - before).toBeLessThan(60_000);
});

test("VirtualClock runs what is due in the order of time, then of asking, and never what was cancelled", () => {
  const timer = fc.record({ ms: fc.nat({ max: 30 }), isCancelled: fc.boolean() });
  fc.assert(
    fc.property(fc.array(timer, { maxLength: 80 }), (timers) => {
      const clock = new VirtualClock();
      const fired: number[] = [];
      const cancels = timers.map(({ ms }, number) => clock.after(ms, () => fired.push(number)));
      for (const [number, { isCancelled }] of timers.entries()) if (isCancelled) cancels[number]?.();
      const expected = [...timers.entries()]
        .filter(([, { isCancelled }]) => !isCancelled)
        .toSorted(([, a], [, b]) => a.ms - b.ms)
        .map(([number]) => number);
      expect(clock.pending).toBe(expected.length);
      clock.advance(30);
      expect([fired, clock.pending, clock.now()]).toEqual([expected, 0, 30]);
    }),
  );
});

test("VirtualClock.view() counts its own timers only", () => {
  const clock = new VirtualClock();
  const view = clock.view();
  clock.after(5, () => {});
  const cancel = view.after(10, () => {});
  view.after(1, () => {});
  expect([view.pending(), clock.pending]).toEqual([2, 3]);
  clock.advance(2);
  cancel();
  cancel();
  expect([view.pending(), clock.pending]).toEqual([0, 1]);
});
