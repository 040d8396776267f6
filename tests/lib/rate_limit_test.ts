/**
 * Windows of counts: when they are full, when they end, and that they are bounded.
 */
import { expect, test } from "bun:test";

import { RateLimit } from "../../src/lib/rate_limit.ts";
import { verifies } from "../requirements.ts";

function limitAt(clock: { now: number }, maxKeys = 100): RateLimit {
  return new RateLimit({ max: 3, windowMs: 1_000, maxKeys, now: () => clock.now });
}

test("count() says which count fills the window, and waitMs() how long it stays full", () => {
  verifies("AUTH-FAILURES-LIMITED");
  const clock = { now: 5_000 };
  const limit = limitAt(clock);
  expect([1, 2, 3, 4].map(() => limit.count("a"))).toEqual([false, false, true, false]);
  expect(limit.waitMs("a")).toBe(1_000);
  expect(limit.waitMs("b")).toBe(0);
  clock.now = 5_999;
  expect(limit.waitMs("a")).toBe(1);
  clock.now = 6_000;
  expect(limit.waitMs("a")).toBe(0);
  expect(limit.count("a")).toBe(false);
  expect(limit.waitMs("a")).toBe(0);
});

test("a window ends by itself: what was counted in the one before is forgotten", () => {
  verifies("AUTH-FAILURES-LIMITED");
  const clock = { now: 0 };
  const limit = limitAt(clock);
  for (let at = 0; at < 10; at += 1) {
    limit.count("slow");
    clock.now += 500;
    expect(limit.waitMs("slow")).toBe(0);
  }
});

test("keys are bounded: the oldest gives way, the newest is remembered", () => {
  verifies("AUTH-FAILURES-LIMITED");
  const clock = { now: 0 };
  const limit = limitAt(clock, 50);
  for (let at = 0; at < 10_000; at += 1) for (let n = 0; n < 3; n += 1) limit.count(`key-${at}`);
  expect(limit.size).toBe(50);
  expect(limit.waitMs("key-0")).toBe(0);
  expect(limit.waitMs("key-9999")).toBe(1_000);
});
