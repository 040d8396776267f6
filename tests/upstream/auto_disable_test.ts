/** Holds which failures count, when they are too many, and when an auto-disabled server is probed. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { FailureClass } from "../../src/core/model.ts";
import { AutoDisable } from "../../src/upstream/auto_disable.ts";
import { verifies } from "../requirements.ts";
import { failureOf } from "./virtual_link.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

function counter(threshold = 3): AutoDisable {
  return new AutoDisable({
    threshold: () => threshold,
    recoverAfterMs: () => 10 * MINUTE_MS,
    remembered: undefined,
  });
}

test.each([
  ["config", 1],
  ["auth", 1],
  ["timeout", 1],
  ["exit", 1],
  ["network", 1],
  ["protocol", 1],
  ["rate_limited", 0],
] as const satisfies readonly (readonly [FailureClass, number])[])(
  "AutoDisable.count() counts '%s' %p times, and never what is our own limit",
  (failureClass, times) => {
    const auto = counter();
    auto.count(failureOf(failureClass, { isOurs: true }), true);
    expect(auto.failures).toBe(0);
    auto.count(failureOf(failureClass, {}), false);
    expect(auto.failures).toBe(times);
  },
);

test("AutoDisable.count() counts a failure that spent the restart budget twice", () => {
  const auto = counter();
  auto.count(failureOf("exit", {}), true);
  expect(auto.failures).toBe(2);
});

test("AutoDisable is due at the threshold, not before, and never when it is 0 or less", () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  fc.assert(
    fc.property(fc.integer({ min: -1, max: 6 }), fc.nat({ max: 12 }), (threshold, failures) => {
      const auto = counter(threshold);
      for (let at = 0; at < failures; at += 1) auto.count(failureOf("exit", {}), false);
      expect(auto.isDue).toBe(threshold > 0 && failures >= threshold);
      auto.forgive();
      expect([auto.isDue, auto.failures]).toEqual([false, 0]);
    }),
  );
});

test("AutoDisable probes after 10 min × 2^k, six hours at most", () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  const auto = counter(1);
  auto.count(failureOf("exit", {}), false);
  expect(auto.begin(failureOf("exit", {}, "it left"), 1_000)).toBe("1 failures in a row; the last: it left");
  const waits: number[] = [];
  let at = 1_000;
  for (let probe = 0; probe < 9; probe += 1) {
    waits.push(auto.leftMs(at) / MINUTE_MS);
    at += auto.leftMs(at);
    expect(auto.leftMs(at)).toBe(0);
    auto.postpone(at);
    expect(auto.state).toMatchObject({ at: 1_000, probes: probe + 1 });
  }
  expect(waits).toEqual([10, 20, 40, 80, 160, 320, 360, 360, 360]);
});

test("AutoDisable.leftMs() is never longer than six hours, though the calendar jumps back", () => {
  const auto = counter(1);
  auto.begin(failureOf("exit", {}), 365 * 24 * HOUR_MS);
  expect(auto.leftMs(0)).toBe(6 * HOUR_MS);
});

test("AutoDisable takes up what is remembered, assumes only where nothing is, and forgets at the end", () => {
  const remembered = { reason: "r", at: 5, probes: 2, dueAt: 90 };
  const auto = new AutoDisable({ threshold: () => 3, recoverAfterMs: () => 50, remembered });
  auto.assume(1_000);
  expect([auto.state, auto.leftMs(30)]).toEqual([remembered, 60]);
  auto.postpone(100);
  expect(auto.state).toEqual({ ...remembered, probes: 3, dueAt: 500 });
  auto.end();
  auto.postpone(200);
  expect([auto.state, auto.leftMs(0)]).toEqual([undefined, 0]);
  auto.assume(1_000);
  expect(auto.state).toMatchObject({ at: 1_000, probes: 0, dueAt: 1_050 });
});
