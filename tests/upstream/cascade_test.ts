/** Holds when many failures are one event, and when it is over. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Cascade } from "../../src/upstream/cascade.ts";
import { verifies } from "../requirements.ts";

const WINDOW_MS = 60_000;
const MAX_MS = 30 * 60_000;

function ready(count: number): Cascade {
  const cascade = new Cascade(WINDOW_MS);
  for (let at = 0; at < count; at += 1) cascade.ready(`s${at}`);
  return cascade;
}

/** Lets the first `count` fail `gapMs` apart; returns what each meant. */
function lose(cascade: Cascade, count: number, gapMs = 0): unknown[] {
  return Array.from({ length: count }, (_, at) => cascade.lost(`s${at}`, at * gapMs));
}

test.each([
  // ready, lost, gap, begins
  [10, 4, 0, false],
  [10, 5, 0, true],
  [11, 5, 0, false],
  [11, 6, 0, true],
  [5, 5, 0, true],
  [4, 4, 0, false],
  [10, 5, 15_000, true],
  [10, 5, 15_001, false],
  [159, 79, 10, false],
  [159, 80, 10, true],
])("Cascade with %p ready and %p lost %p ms apart: begins is %p", (count, lost, gapMs, begins) => {
  verifies("SUPERVISE-CASCADE");
  const cascade = ready(count);
  expect(lose(cascade, lost, gapMs).at(-1)).toBe(begins ? "begins" : undefined);
  expect(cascade.isSuspended).toBe(begins);
});

test("Cascade.lost() does not count a server that was not ready, nor one twice", () => {
  const cascade = ready(8);
  for (let turn = 0; turn < 10; turn += 1) expect(cascade.lost("never", turn)).toBeUndefined();
  for (let turn = 0; turn < 10; turn += 1) expect(cascade.lost("s0", turn)).toBeUndefined();
  expect(cascade.failed).toEqual(["s0"]);
});

test("Cascade ends when one of the failed is ready again, and not when another is", () => {
  verifies("SUPERVISE-CASCADE");
  const cascade = ready(8);
  lose(cascade, 5);
  expect(cascade.ready("new")).toBeUndefined();
  expect(cascade.isSuspended).toBe(true);
  expect(cascade.ready("s3")).toBe("ends");
  expect([cascade.isSuspended, cascade.failed]).toEqual([false, []]);
});

test("Cascade ends when the last of the failed is gone, or by time", () => {
  const cascade = ready(6);
  lose(cascade, 5);
  expect(["s0", "s1", "s2", "s3"].map((name) => cascade.left(name))).toEqual([
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  expect(cascade.left("s4")).toBe("ends");
  const other = ready(6);
  lose(other, 5, 100);
  expect(other.leftMs(400)).toBe(MAX_MS);
  expect(other.leftMs(400 + MAX_MS + 5)).toBe(0);
  expect([other.expire(), other.expire(), other.leftMs(0)]).toEqual(["ends", undefined, 0]);
});

test("Cascade does not count those that were closed on purpose", () => {
  const cascade = ready(10);
  for (const name of ["s0", "s1", "s2", "s3"]) cascade.lost(name, 0);
  cascade.left("s0");
  expect(cascade.lost("s4", 1)).toBeUndefined();
  expect(cascade.lost("s5", 1)).toBe("begins");
});

test("Cascade.rename() lets names change, and be swapped, without forgetting who is ready and who failed", () => {
  const cascade = ready(8);
  lose(cascade, 5);
  cascade.rename(
    new Map([
      ["s0", "s7"],
      ["s7", "s0"],
      ["s1", "z"],
    ]),
  );
  expect(cascade.failed).toEqual(["s7", "z", "s2", "s3", "s4"]);
  expect(cascade.ready("s0")).toBeUndefined();
  expect(cascade.ready("z")).toBe("ends");
});

test("Cascade begins and ends in turns, whatever comes", () => {
  const step = fc.record({
    act: fc.constantFrom("ready", "lost", "left", "expire"),
    at: fc.nat({ max: 11 }),
    ms: fc.nat({ max: 30_000 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const cascade = new Cascade(WINDOW_MS);
      let [now, isSuspended] = [0, false];
      for (const { act, at, ms } of steps) {
        now += ms;
        const name = `s${at}`;
        const change =
          act === "lost" ? cascade.lost(name, now) : act === "expire" ? cascade.expire() : cascade[act](name);
        if (change !== undefined) {
          expect(change).toBe(isSuspended ? "ends" : "begins");
          expect(act === "lost").toBe(change === "begins");
          isSuspended = !isSuspended;
        }
        expect(cascade.isSuspended).toBe(isSuspended);
        if (isSuspended) expect(cascade.failed.length).toBeGreaterThan(0);
      }
    }),
  );
});
