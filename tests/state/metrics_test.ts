/**
 * What is counted as it happens.
 */
import { expect, jest, test } from "bun:test";
import { EventBus } from "../../src/core/events.ts";
import type { ServerStanding } from "../../src/core/events.ts";
import type { ConnectionState } from "../../src/core/model.ts";
import { Metrics } from "../../src/state/metrics.ts";

const call = { server: "s", durationMs: 3, isError: false } as const;

test("Metrics.countCalls() counts by outcome and by server", () => {
  const metrics = new Metrics();
  metrics.countCalls([
    call,
    { ...call, durationMs: 7, isError: true },
    { server: undefined, durationMs: 1, isError: true, code: "SERVER_UNKNOWN" },
  ]);
  const { outcomes, servers, callMs, callP50Ms, callP99Ms } = metrics.view();
  expect(Object.fromEntries(outcomes)).toEqual({ success: 1, tool_error: 1, SERVER_UNKNOWN: 1 });
  expect(Object.fromEntries(servers)).toEqual({ s: { calls: 2, errors: 1, sumMs: 10 } });
  expect(callMs).toMatchObject({ count: 3, sum: 11, max: 7 });
  expect([callP50Ms, callP99Ms]).toEqual([5, 7]);
});

function standing(connection: ConnectionState): ServerStanding {
  return { mode: "active", connection, category: connection === "ready" ? "connected" : "disconnected" };
}

test("Metrics.countEvent() measures from the beginning of an attempt to ready, and forgets what failed", () => {
  let now = 1_000;
  const bus = new EventBus({ now: () => now });
  const metrics = new Metrics();
  bus.subscribe((event) => metrics.countEvent(event));
  const move = (before: ConnectionState, after: ConnectionState, tookMs: number, server = "s"): void => {
    now += tookMs;
    const data = { before: standing(before), after: standing(after), reason: "", attempt: 1, since: now };
    bus.publish("server_state_changed", data, server);
  };
  move("disconnected", "connecting", 0);
  move("connecting", "discovering", 30);
  move("discovering", "ready", 12);
  expect(metrics.view().connectMs).toMatchObject({ count: 1, sum: 42 });
  move("ready", "error", 500);
  move("error", "connecting", 500);
  move("connecting", "error", 5_000);
  move("error", "ready", 1, "never began");
  expect(metrics.view().connectMs).toMatchObject({ count: 1, sum: 42 });
  expect(metrics.view().events.get("server_state_changed")).toBe(7);
});

test("Metrics.countIndexed() counts how late the index was, in the steps of a lag", () => {
  const metrics = new Metrics();
  for (const lagMs of [0.5, 40, 7_000]) metrics.countIndexed(lagMs);
  const { indexLagMs } = metrics.view();
  expect(indexLagMs).toMatchObject({ count: 3, sum: 7_040.5, max: 7_000 });
  expect(indexLagMs.buckets).toContainEqual({ le: 1, count: 1 });
  expect(indexLagMs.buckets.at(-1)).toEqual({ le: 5_000, count: 2 });
});

test("Metrics forgets the calls of a server that was removed", () => {
  const bus = new EventBus();
  const metrics = new Metrics();
  bus.subscribe((event) => metrics.countEvent(event));
  metrics.countCalls([call]);
  bus.publish("server_removed", { reason: "gone" }, "s");
  expect(metrics.view().servers.size).toBe(0);
  expect(metrics.view().outcomes.get("success")).toBe(1);
});

test("Metrics watches the event loop from start to close, and leaves no timer", () => {
  jest.useFakeTimers();
  try {
    using metrics = new Metrics();
    metrics.start();
    metrics.start();
    expect(jest.getTimerCount()).toBe(1);
    jest.advanceTimersByTime(1_000);
    expect(metrics.view().loopLagMs.count).toBe(4);
    metrics.close();
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});
