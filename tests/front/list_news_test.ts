/**
 * When clients are told that a list changed: together, seldom, and not for what changes nothing.
 */
import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { EventBus } from "../../src/core/events.ts";
import type { ProxyEvent } from "../../src/core/events.ts";
import { ListNews } from "../../src/front/list_news.ts";
import { verifies } from "../requirements.ts";

const NOTHING = { added: [], removed: [], changed: ["s:a"] };
const CALL = { tool: "s:a", durationMs: 1, isError: false };

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** Follows one list that events of server `s` change. */
function follow(bus: EventBus) {
  const state = { told: 0, gone: 0, asked: 0, isThere: true };
  const news = new ListNews({
    bus,
    onChange: () => void (state.told += 1),
    onGone: () => void (state.gone += 1),
  });
  news.follow({
    toolset: {
      isThere: () => state.isThere,
      isTouchedBy: (event: ProxyEvent) => {
        state.asked += 1;
        return event.server === "s";
      },
    },
  });
  return { state, news };
}

test("what changes together is told once, soon, and the next change a second later", () => {
  verifies("LIST-CHANGED");
  const bus = new EventBus();
  const { state, news } = follow(bus);
  for (let at = 0; at < 100; at += 1) bus.publish("tools_changed", NOTHING, "s");
  expect(state.told).toBe(0);
  jest.advanceTimersByTime(100);
  expect(state.told).toBe(1);
  bus.publish("tools_changed", NOTHING, "s");
  jest.advanceTimersByTime(800);
  expect(state.told).toBe(1);
  jest.advanceTimersByTime(300);
  expect(state.told).toBe(2);
  // A list that changes all the time is told of once a second.
  for (let at = 0; at < 100; at += 1) {
    bus.publish("tools_changed", NOTHING, "s");
    jest.advanceTimersByTime(100);
  }
  expect(state.told).toBeGreaterThanOrEqual(10);
  expect(state.told).toBeLessThanOrEqual(13);
  news.close();
});

test("events that change no list ask nobody, and those of others tell nobody", () => {
  verifies("LIST-CHANGED");
  const bus = new EventBus();
  const { state, news } = follow(bus);
  for (let at = 0; at < 100; at += 1) bus.publish("tool_called", CALL, "s");
  expect(state.asked).toBe(0);
  bus.publish("tools_changed", NOTHING, "other");
  jest.advanceTimersByTime(5_000);
  expect(state).toMatchObject({ asked: 1, told: 0 });
  news.close();
});

test("a list that is gone is told of as gone, once, and after close nothing is told", () => {
  const bus = new EventBus();
  const { state, news } = follow(bus);
  bus.publish("tools_changed", NOTHING, "s");
  state.isThere = false;
  bus.publish("server_removed", { reason: "x" }, "s");
  bus.publish("tools_changed", NOTHING, "s");
  jest.advanceTimersByTime(5_000);
  expect(state).toMatchObject({ told: 0, gone: 1 });
  news.close();

  const later = follow(bus);
  bus.publish("tools_changed", NOTHING, "s");
  later.news.close();
  jest.advanceTimersByTime(5_000);
  expect(later.state.told).toBe(0);
});
