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
  return Array.from({ length: count }, (_, at) => cascade.failed(`s${at}`, at * gapMs));
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

test("Cascade.failed() does not count a server that was not ready, nor one twice", () => {
  const cascade = ready(8);
  for (let turn = 0; turn < 10; turn += 1) expect(cascade.failed("never", turn)).toBeUndefined();
  for (let turn = 0; turn < 10; turn += 1) expect(cascade.failed("s0", turn)).toBeUndefined();
  expect(cascade.fallen).toEqual(["s0"]);
});

test("Cascade ends when one of the failed is ready again, and not when another is", () => {
  verifies("SUPERVISE-CASCADE");
  const cascade = ready(8);
  lose(cascade, 5);
  expect(cascade.ready("new")).toBeUndefined();
  expect(cascade.isSuspended).toBe(true);
  expect(cascade.ready("s3")).toBe("ends");
  expect([cascade.isSuspended, cascade.fallen]).toEqual([false, []]);
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
  for (const name of ["s0", "s1", "s2", "s3"]) cascade.failed(name, 0);
  cascade.left("s0");
  expect(cascade.failed("s4", 1)).toBeUndefined();
  expect(cascade.failed("s5", 1)).toBe("begins");
});

test("Cascade counts those that were closed to be restarted and fail, and not before half of all asked for have", () => {
  verifies("SUPERVISE-CASCADE-RESTART");
  const cascade = ready(12);
  for (let at = 0; at < 12; at += 1) {
    cascade.closed(`s${at}`);
    cascade.awaited(`s${at}`);
  }
  expect(lose(cascade, 5)).toEqual(Array.from({ length: 5 }, () => undefined));
  expect(cascade.failed("s5", 0)).toBe("begins");
  expect(cascade.ready("s6")).toBeUndefined();
  expect(cascade.ready("s0")).toBe("ends");
});

test("Cascade does not await what was closed, what is ready, and what failed since it was last ready", () => {
  verifies("SUPERVISE-CASCADE-RESTART");
  const cascade = ready(2);
  for (const name of ["a", "b", "c", "d", "e", "f", "g"]) cascade.awaited(name);
  cascade.closed("a");
  expect(cascade.failed("a", 0)).toBeUndefined();
  cascade.awaited("s0");
  cascade.failed("b", 0);
  // An hour later its fall is forgotten, and it has not worked since.
  for (let turn = 0; turn < 3; turn += 1) {
    cascade.awaited("b");
    expect(cascade.failed("b", 3_600_000)).toBeUndefined();
  }
  // Four of ready s0, s1 and awaited c, d, e, f, g are less than five.
  expect(["c", "d", "e", "f"].map((name) => cascade.failed(name, 3_700_000))).toEqual(
    Array.from({ length: 4 }, () => undefined),
  );
  expect(cascade.fallen).toEqual(["c", "d", "e", "f"]);
  expect(cascade.failed("g", 3_700_000)).toBe("begins");
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
  expect(cascade.fallen).toEqual(["s7", "z", "s2", "s3", "s4"]);
  expect(cascade.ready("s0")).toBeUndefined();
  expect(cascade.ready("z")).toBe("ends");
});

test("Cascade begins and ends in turns, whatever comes", () => {
  const step = fc.record({
    act: fc.constantFrom("ready", "failed", "left", "expire", "awaited", "closed"),
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
          act === "failed"
            ? cascade.failed(name, now)
            : act === "expire"
              ? cascade.expire()
              : (cascade[act](name) ?? undefined);
        if (change !== undefined) {
          expect(change).toBe(isSuspended ? "ends" : "begins");
          expect(act === "failed").toBe(change === "begins");
          isSuspended = !isSuspended;
        }
        expect(cascade.isSuspended).toBe(isSuspended);
        if (isSuspended) expect(cascade.fallen.length).toBeGreaterThan(0);
      }
    }),
  );
});
