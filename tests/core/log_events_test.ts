/**
 * Warnings and errors as events.
 */
import { expect, test } from "bun:test";
import { EventBus } from "../../src/core/events.ts";
import type { ProxyEvent } from "../../src/core/events.ts";
import { LogEvents } from "../../src/core/log_events.ts";
import { createLog } from "../../src/lib/log.ts";

function open() {
  const lines: string[] = [];
  const events: ProxyEvent[] = [];
  const bus = new EventBus();
  bus.subscribe((event) => events.push(event));
  const log = new LogEvents(createLog({ level: "debug", write: (line) => lines.push(line) }));
  return { lines, events, bus, log };
}

test("LogEvents publishes warnings and errors, and no other line; all lines reach the log", () => {
  const { lines, events, bus, log } = open();
  log.warn("Before there is a bus");
  log.publishTo(bus);
  log.debug("d");
  log.info("i");
  log.warn("w", { server: "s", attempt: 3, nothing: undefined });
  log.error("e");
  expect(lines.length).toBe(5);
  expect(events.map(({ type, server, data }) => ({ type, server, data }))).toEqual([
    {
      type: "log",
      server: "s",
      data: { level: "warn", message: "w", fields: { server: "s", attempt: "3" } },
    },
    { type: "log", server: undefined, data: { level: "error", message: "e", fields: {} } },
  ]);
});

test("LogEvents masks secrets and cuts what is long", () => {
  const { events, bus, log } = open();
  log.publishTo(bus);
  const canary = "sk-canary0123456789";
  log.error(`Refused ${canary} ${"x".repeat(5_000)}`, {
    api_key: "canary-in-a-field",
    cause: `Authorization: Bearer ${canary}`,
  });
  const text = JSON.stringify(events);
  expect(text).not.toContain("canary");
  expect(text.length).toBeLessThan(2_000);
});

test("LogEvents tells of a flood once", () => {
  const { events, bus, lines, log } = open();
  log.publishTo(bus);
  for (let i = 0; i < 1_000; i += 1) log.warn(`Garbage ${i}`);
  expect(lines.length).toBe(1_000);
  // The window is on the monotonic clock: a slow machine may have seen two.
  expect(events.length).toBeLessThanOrEqual(100);
  expect(JSON.stringify(events)).toContain("in the log only");
});
