/** Holds the one invariant of the semaphore under any order of asking, giving back and giving up. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Semaphore } from "../../src/lib/semaphore.ts";
import type { Release } from "../../src/lib/semaphore.ts";

/** Lets every promise that can settle do so. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}

test.each([0, -1, 1.5, Number.NaN, Infinity])("new Semaphore() refuses %p places", (places) => {
  expect(() => new Semaphore(places)).toThrow(
    new RegExp(`'places' must be a positive integer, was ${places}`),
  );
});

test("acquire() hands out places in the order they were asked for", async () => {
  const semaphore = new Semaphore(1);
  const order: number[] = [];
  const first = await semaphore.acquire();
  const waiting = [1, 2, 3].map(async (number) => {
    const release = await semaphore.acquire();
    order.push(number);
    release();
  });
  await settle();
  expect(order).toEqual([]);
  first();
  await Promise.all(waiting);
  expect(order).toEqual([1, 2, 3]);
  expect(semaphore.held).toBe(0);
});

test("release() gives a place back once only", async () => {
  const semaphore = new Semaphore(2);
  const [first] = [await semaphore.acquire(), await semaphore.acquire()];
  first();
  first();
  expect(semaphore.held).toBe(1);
});

test("acquire() rejects at once when its signal has aborted", async () => {
  const semaphore = new Semaphore(1);
  const reason = new Error("gone");
  expect(await semaphore.acquire(AbortSignal.abort(reason)).catch((error: unknown) => error)).toBe(reason);
  expect(semaphore.held).toBe(0);
});

test("acquire() forgets a waiter that gives up, and passes the place to the next", async () => {
  const semaphore = new Semaphore(1);
  const controller = new AbortController();
  const release = await semaphore.acquire();
  const quitter = semaphore.acquire(controller.signal).catch((error: unknown) => error);
  const next = semaphore.acquire();
  const reason = new Error("gave up");
  controller.abort(reason);
  expect(await quitter).toBe(reason);
  release();
  (await next)();
  expect(semaphore.held).toBe(0);
});

test("acquire() keeps a place that was granted before its signal aborted", async () => {
  const semaphore = new Semaphore(1);
  const controller = new AbortController();
  const release = await semaphore.acquire(controller.signal);
  controller.abort();
  expect(semaphore.held).toBe(1);
  release();
  expect(semaphore.held).toBe(0);
});

/** One caller as the model sees it. */
interface Caller {
  readonly controller: AbortController;
  state: "waiting" | "holding" | "released" | "gone";
  release?: Release;
}

/** Applies one step to the semaphore and to the first-come, first-served model beside it. */
function step(semaphore: Semaphore, callers: Caller[], kind: string, pick: number): void {
  if (kind === "ask") {
    const caller: Caller = { controller: new AbortController(), state: "waiting" };
    callers.push(caller);
    void semaphore.acquire(caller.controller.signal).then(
      (release) => {
        caller.state = "holding";
        caller.release = release;
      },
      () => {
        caller.state = "gone";
      },
    );
    return;
  }
  const wanted = kind === "release" ? "holding" : "waiting";
  const eligible = callers.filter(({ state }) => state === wanted);
  const caller = eligible[pick % Math.max(1, eligible.length)];
  if (caller === undefined) return;
  if (kind === "release") {
    caller.release?.();
    caller.state = "released";
  } else {
    caller.controller.abort();
  }
}

test("at most 'places' hold, none waits beside a free place, and the line keeps its order", async () => {
  const steps = fc.array(fc.tuple(fc.constantFrom("ask", "ask", "release", "abort"), fc.nat(99)), {
    maxLength: 60,
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), steps, async (places, script) => {
      const semaphore = new Semaphore(places);
      const callers: Caller[] = [];
      for (const [kind, pick] of script) {
        step(semaphore, callers, kind, pick);
        await settle();
        const count = (state: Caller["state"]): number => callers.filter((one) => one.state === state).length;
        expect(count("holding")).toBeLessThanOrEqual(places);
        expect(semaphore.held).toBe(count("holding"));
        if (count("waiting") > 0) expect(count("holding")).toBe(places);
        const firstWaiting = callers.findIndex(({ state }) => state === "waiting");
        const lastHolding = callers.findLastIndex(({ state }) => state === "holding");
        if (firstWaiting >= 0) expect(lastHolding).toBeLessThan(firstWaiting);
      }
    }),
    { numRuns: 300 },
  );
});
