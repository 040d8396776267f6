/**
 * What is kept of events, and how much of it.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { EventRing, MAX_EVENT_BYTES } from "../../src/core/event_ring.ts";
import { countFrom, EventBus } from "../../src/core/events.ts";

function publish(bus: EventBus, count: number, reason = "a test"): void {
  for (let i = 0; i < count; i += 1) bus.publish("server_removed", { reason }, `s${i}`);
}

test("EventRing keeps the latest events and knows how far back it reaches", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(60), fc.nat(500), (maxEvents, count, firstAfter) => {
      const bus = new EventBus({ ids: countFrom(firstAfter) });
      using ring = new EventRing({ bus, maxEvents });
      publish(bus, count);
      const last = firstAfter + count;
      const oldest = last - Math.min(count, maxEvents) + 1;
      expect([ring.oldest, ring.last]).toEqual([oldest, last]);
      for (let id = oldest - 2; id <= last + 2; id += 1) {
        const isKept = id >= oldest && id <= last;
        expect(ring.find(id)?.id).toBe(isKept ? id : undefined);
        expect(ring.textOf(id) === "").toBe(!isKept);
        expect(ring.reachesBackTo(id)).toBe(id >= oldest - 1 && id <= last);
      }
    }),
  );
});

test("EventRing.gapSince() names what is missed, also to one whose id was never given", () => {
  const bus = new EventBus();
  using ring = new EventRing({ bus, maxEvents: 2 });
  publish(bus, 9);
  expect(ring.gapSince(3)).toMatchObject({ id: 9, type: "gap", data: { from: 4, to: 9 } });
  expect(ring.gapSince(1_000)).toMatchObject({ id: 9, type: "gap", data: { from: 9, to: 9 } });
});

test("EventRing is bounded in size: long events push more of the others out", () => {
  const bus = new EventBus();
  using ring = new EventRing({ bus, maxEvents: 1_000, maxChars: 100_000 });
  publish(bus, 1_000, "x".repeat(10_000));
  expect(ring.last - ring.oldest + 1).toBe(9);
  publish(bus, 1, "x".repeat(1_000_000));
  expect([ring.oldest, ring.last]).toEqual([1_001, 1_001]);
});

test("EventRing.textOf() writes an event as JSON, and cuts a long one", () => {
  const bus = new EventBus({ now: () => 1 });
  using ring = new EventRing({ bus });
  publish(bus, 1);
  expect(ring.textOf(1)).toBe(
    '{"id":1,"time":1,"type":"server_removed","server":"s0","data":{"reason":"a test"}}',
  );
  const ids = Array.from({ length: 5_000 }, (_, i) => `server:${"ü".repeat(300)}${i}`);
  bus.publish("tools_changed", { added: ids, removed: [], changed: ids.slice(0, 2) }, "server");
  const text = ring.textOf(2);
  expect(Buffer.byteLength(text)).toBeLessThanOrEqual(MAX_EVENT_BYTES);
  const event = JSON.parse(text) as { truncated: boolean; data: { added: string[]; changed: string[] } };
  expect(event).toMatchObject({ id: 2, truncated: true, server: "server" });
  expect(event.data.changed.length).toBe(2);
  expect(event.data.added.length).toBeGreaterThan(0);
  const whole = ring.find(2);
  expect(whole?.type === "tools_changed" && whole.data.added.length).toBe(5_000);
});

test("EventRing ends with its bus", () => {
  const bus = new EventBus();
  const ring = new EventRing({ bus });
  ring[Symbol.dispose]();
  publish(bus, 1);
  expect(ring.last).toBe(0);
});
