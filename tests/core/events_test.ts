/**
 * The bus: what listeners see, in which order, and what their failures cost.
 */
import { expect, test } from "bun:test";
import { countFrom, EventBus } from "../../src/core/events.ts";
import type { ProxyEvent } from "../../src/core/events.ts";

function removed(bus: EventBus, server: string): number {
  return bus.publish("server_removed", { reason: "a test" }, server);
}

test("EventBus.publish() numbers events by one, and a listener has seen each when it returns", () => {
  const bus = new EventBus({ now: () => 7 });
  const seen: ProxyEvent[] = [];
  bus.subscribe((event) => seen.push(event));
  expect([removed(bus, "a"), removed(bus, "b")]).toEqual([1, 2]);
  expect(seen).toEqual([
    { id: 1, time: 7, type: "server_removed", server: "a", data: { reason: "a test" } },
    { id: 2, time: 7, type: "server_removed", server: "b", data: { reason: "a test" } },
  ]);
  expect(bus.lastId).toBe(2);
});

test("EventBus.publish() goes on from the ids it is given", () => {
  const bus = new EventBus({ ids: countFrom(41) });
  expect(bus.lastId).toBe(41);
  expect(removed(bus, "a")).toBe(42);
});

test("EventBus.publish() hands what a listener publishes to everybody after what it listened to", () => {
  const bus = new EventBus();
  const [early, late]: [number[], number[]] = [[], []];
  bus.subscribe(({ id }) => early.push(id));
  bus.subscribe(({ server }) => {
    if (server === "a") expect([removed(bus, "b"), removed(bus, "c")]).toEqual([2, 3]);
  });
  bus.subscribe(({ id }) => late.push(id));
  removed(bus, "a");
  removed(bus, "d");
  expect(early).toEqual([1, 2, 3, 4]);
  expect(late).toEqual([1, 2, 3, 4]);
});

test("EventBus.publish() is stopped by no listener that throws, and goes on publishing", () => {
  const failures: unknown[] = [];
  const bus = new EventBus({ onListenerError: (error) => failures.push(error) });
  const seen: number[] = [];
  bus.subscribe(() => {
    throw new Error("a bad listener");
  });
  bus.subscribe(({ id }) => seen.push(id));
  removed(bus, "a");
  removed(bus, "b");
  expect(seen).toEqual([1, 2]);
  expect(failures.map(String)).toEqual(["Error: a bad listener", "Error: a bad listener"]);
});

test("EventBus.during() marks what is published meanwhile with the revision, by listeners as well", () => {
  const bus = new EventBus();
  const seen: (number | undefined)[] = [];
  bus.subscribe(({ server, revision }) => {
    seen.push(revision);
    if (server === "a") removed(bus, "b");
  });
  bus.during(5, () => bus.during(6, () => removed(bus, "a")));
  removed(bus, "c");
  expect(seen).toEqual([6, 6, undefined]);
});

test("EventBus.subscribe() ends with the function it returns", () => {
  const bus = new EventBus();
  const seen: number[] = [];
  const stop = bus.subscribe(({ id }) => seen.push(id));
  removed(bus, "a");
  stop();
  removed(bus, "b");
  expect(seen).toEqual([1]);
});
