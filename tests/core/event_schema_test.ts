/**
 * The schema of events: complete, and true of what is published.
 */
import { expect, test } from "bun:test";
import { Validator } from "@cfworker/json-schema";
import { EventRing } from "../../src/core/event_ring.ts";
import { EVENT_TYPES, eventJsonSchema } from "../../src/core/event_schema.ts";
import { EventBus } from "../../src/core/events.ts";
import type { EventData, EventType } from "../../src/core/events.ts";
import { verifies } from "../requirements.ts";

const STANDING = { mode: "active", connection: "ready", category: "connected" } as const;
const CHANGE = { added: ["a"], removed: [], changed: ["b"] };
const CONFIG = { ...CHANGE, settings: ["tools_limit"], restartRequired: [] };

/** One of each kind; a kind without a sample does not compile. */
const SAMPLES: { readonly [Type in EventType]: EventData[Type] } = {
  proxy_state_changed: { before: "starting", after: "running", reason: "r" },
  server_added: STANDING,
  server_removed: { reason: "r" },
  server_changed: { keys: ["url"], isRestarted: true },
  server_renamed: { from: "old" },
  server_state_changed: { before: STANDING, after: STANDING, reason: "r", attempt: 1, since: 2 },
  server_auto_disabled: { reason: "r", failures: 3, cause: 1 },
  server_recovered: { mode: "lazy_loading", cause: 1 },
  quarantine_changed: { isQuarantined: true, reason: "r", cause: 1 },
  oauth_required: { reason: "r", hint: "h", cause: 1 },
  auto_disable_suspended: { isSuspended: true, reason: "r", servers: ["a"] },
  server_group_updated: { action: "enable", name: "g", updated: 1, unchanged: 0, failed: 0 },
  config_committed: { ...CONFIG, warning: "w" },
  config_reloaded: CONFIG,
  config_invalid: {
    message: "m",
    faults: [{ file: "f", line: 1, column: 2, key: "k", message: "m", advice: "a", server: "s" }],
  },
  tools_changed: CHANGE,
  tool_called: {
    tool: "s:t",
    variant: "call_tool_read",
    durationMs: 1.5,
    isError: true,
    code: "CALL_TIMEOUT",
  },
  session_opened: { session: "0123", open: 1 },
  session_closed: { session: "0123", open: 0, reason: "r" },
  log: { level: "warn", message: "m", fields: { server: "s" } },
};

const validator = new Validator(eventJsonSchema(), "2020-12");
const isValid = (event: unknown): boolean => validator.validate(event).valid;

test("EVENT_TYPES has every kind of event", () => {
  expect(new Set<string>(EVENT_TYPES)).toEqual(new Set(Object.keys(SAMPLES)));
});

test("eventJsonSchema() accepts every kind as it goes over the wire, and a gap", () => {
  verifies("EVENT-SCHEMA");
  const bus = new EventBus();
  using ring = new EventRing({ bus });
  for (const type of EVENT_TYPES) {
    bus.during(3, () => bus.publish(type, SAMPLES[type], "s"));
    expect([type, isValid(JSON.parse(ring.textOf(bus.lastId)))]).toEqual([type, true]);
  }
  const long = Array.from({ length: 3_000 }, (_, i) => `server:a tool with a long name ${i}`);
  const id = bus.publish("tools_changed", { added: long, removed: long, changed: [] }, 7);
  expect(JSON.parse(ring.textOf(id))).toMatchObject({ truncated: true, group: 7 });
  expect(isValid(JSON.parse(ring.textOf(id)))).toBe(true);
  expect(isValid(JSON.parse(JSON.stringify(ring.gapSince(0))))).toBe(true);
});

test.each<[string, Record<string, unknown>]>([
  ["an unknown type", { type: "server_exploded" }],
  ["a missing id", { id: undefined }],
  ["an unknown field", { colour: "red" }],
  ["data of another type", { data: { from: "old" } }],
  ["more data than there is", { data: { reason: "r", colour: "red" } }],
])("eventJsonSchema() refuses %s", (_, parts) => {
  const event = { id: 1, time: 2, type: "server_removed", server: "s", data: { reason: "r" } };
  expect(isValid(event)).toBe(true);
  expect(isValid(JSON.parse(JSON.stringify({ ...event, ...parts })))).toBe(false);
});
