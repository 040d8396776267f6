/** Holds that at most one timer of a name runs, and that what fired or was cleared is gone. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Timers } from "../../src/lib/timers.ts";
import { VirtualClock } from "../upstream/virtual_clock.ts";

test("Timers.set() replaces the timer of that name and leaves the others", () => {
  const clock = new VirtualClock();
  const timers = new Timers<"a" | "b">(clock);
  const fired: string[] = [];
  timers.set("a", 10, () => fired.push("old"));
  timers.set("a", 20, () => fired.push("new"));
  timers.set("b", 15, () => fired.push("b"));
  expect(clock.pending).toBe(2);
  clock.advance(30);
  expect(fired).toEqual(["b", "new"]);
  expect([timers.has("a"), timers.has("b"), clock.pending]).toEqual([false, false, 0]);
});

test("Timers.set() from within the timer's own run starts it anew", () => {
  const clock = new VirtualClock();
  const timers = new Timers<"a">(clock);
  let runs = 0;
  const run = (): void => {
    runs += 1;
    expect(timers.has("a")).toBe(false);
    if (runs < 3) timers.set("a", 10, run);
  };
  timers.set("a", 10, run);
  clock.advance(100);
  expect([runs, clock.pending]).toEqual([3, 0]);
});

test("Timers.adopt() takes a timer over and stops the one it replaces", () => {
  const clock = new VirtualClock();
  const timers = new Timers<"a">(clock);
  const fired: string[] = [];
  timers.set("a", 10, () => fired.push("set"));
  timers.adopt(
    "a",
    clock.after(20, () => fired.push("adopted")),
  );
  clock.advance(15);
  timers.clear("a", "a");
  clock.advance(15);
  expect([fired, timers.has("a")]).toEqual([[], false]);
});

test("Timers hold as many timers as names that run, whatever is done", () => {
  const names = ["a", "b", "c"] as const;
  const step = fc.record({
    name: fc.constantFrom(...names),
    act: fc.constantFrom("set", "clear", "pass"),
    ms: fc.integer({ min: 1, max: 20 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new VirtualClock();
      const timers = new Timers<(typeof names)[number]>(clock);
      const dueAt = new Map<string, number>();
      for (const { name, act, ms } of steps) {
        if (act === "set") {
          timers.set(name, ms, () => expect(dueAt.get(name)).toBe(clock.now()));
          dueAt.set(name, clock.now() + ms);
        } else if (act === "clear") {
          timers.clear(name);
          dueAt.delete(name);
        } else clock.advance(ms);
        for (const [other, at] of dueAt) if (at <= clock.now()) dueAt.delete(other);
        expect(names.filter((other) => timers.has(other))).toEqual(names.filter((o) => dueAt.has(o)));
        expect(clock.pending).toBe(dueAt.size);
      }
    }),
  );
});
