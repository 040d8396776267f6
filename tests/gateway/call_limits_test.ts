/**
 * How many calls travel at once, who waits, who is turned away, and who leaves.
 */
import { afterEach, expect, jest, test } from "bun:test";
import type { Server } from "../../src/core/model.ts";
import type { ConcurrencySettings } from "../../src/core/settings.ts";
import { CallLimits } from "../../src/gateway/call_limits.ts";
import type { Release } from "../../src/lib/semaphore.ts";
import { makeServer, makeSettings } from "../fixtures/upstreams.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { ask, openGateway, serveTools, settle } from "./fixtures.ts";

afterEach(() => {
  jest.useRealTimers();
});

const NONE = { maxConcurrentRequests: 0, queueSize: 100, queueTimeoutMs: 30_000 };

interface Rig {
  readonly limits: CallLimits;
  all: typeof NONE;
  each: ConcurrencySettings;
  /** What came of the calls so far, in order: `name` has a place, `name!CODE` was refused. */
  readonly told: string[];
  readonly leave: Release[];
  readonly enter: (server: Server, signal?: AbortSignal, timeoutMs?: number) => Promise<void>;
}

function rig(all: Partial<typeof NONE> = {}, each: Partial<ConcurrencySettings> = {}): Rig {
  const told: string[] = [];
  const leave: Release[] = [];
  const made: Rig = {
    all: { ...NONE, ...all },
    each: { maxConcurrentRequests: 0, queueSize: 100, ...each },
    limits: new CallLimits(() => makeSettings({ concurrency: made.all, serverConcurrency: made.each })),
    told,
    leave,
    enter: async (server, signal, timeoutMs = 60_000) => {
      const { name } = server;
      try {
        leave.push(await made.limits.enter(server, { id: `${name}:x`, timeoutMs, signal }));
        told.push(name);
      } catch (error) {
        told.push(`${name}!${(error as { code: string }).code}`);
      }
    },
  };
  return made;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

const A = makeServer({ name: "a" });
const B = makeServer({ name: "b" });

test("CallLimits.isOn() is off by default, and on by either limit; a server's own 0 frees it from the default", () => {
  verifies("CALL-LIMITS");
  const free = makeServer({ name: "a", maxConcurrentRequests: 0 });
  const own = makeServer({ name: "a", maxConcurrentRequests: 1 });
  expect([A, free, own].map((server) => rig().limits.isOn(server))).toEqual([false, false, true]);
  const each = rig({}, { maxConcurrentRequests: 1 }).limits;
  expect([A, free, own].map((server) => each.isOn(server))).toEqual([true, false, true]);
  const all = rig({ maxConcurrentRequests: 1 }).limits;
  expect([A, free, own].map((server) => all.isOn(server))).toEqual([true, true, true]);
});

test("CallLimits lets as many calls of a server travel as it may, the rest in the order they came", async () => {
  verifies("CALL-LIMITS");
  const { limits, enter, told, leave } = rig({}, { maxConcurrentRequests: 2 });
  for (const server of [A, A, A, B, A]) void enter(server);
  await turns();
  expect(told).toEqual(["a", "a", "b"]);
  leave[0]?.();
  leave[0]?.();
  await turns();
  expect(told).toEqual(["a", "a", "b", "a"]);
  for (const at of [1, 2, 3]) leave[at]?.();
  await turns();
  leave[4]?.();
  expect([told.length, limits.lines]).toEqual([5, 0]);
});

test("CallLimits holds the limit over all servers, and whoever waits for a server's place holds none of it", async () => {
  verifies("CALL-LIMITS");
  const busy = makeServer({ name: "busy", maxConcurrentRequests: 1 });
  const { enter, told, leave } = rig({ maxConcurrentRequests: 2 });
  for (const server of [busy, busy, busy, A]) void enter(server);
  await turns();
  expect(told).toEqual(["busy", "a"]);
  void enter(B);
  await turns();
  expect(told).toEqual(["busy", "a"]);
  leave[1]?.();
  await turns();
  expect(told).toEqual(["busy", "a", "b"]);
});

test("CallLimits turns away at once whoever finds the line full, of a server and of all", async () => {
  verifies("CALL-LIMITS");
  const own = makeServer({ name: "own", maxConcurrentRequests: 1, queueSize: 1 });
  const { limits, enter, told, leave } = rig({ maxConcurrentRequests: 2, queueSize: 0 });
  for (const server of [own, own, own, A, B]) void enter(server);
  await turns();
  expect(told).toEqual(["own", "a", "own!SERVER_BUSY", "b!SERVER_BUSY"]);
  leave[0]?.();
  await turns();
  expect(told.at(-1)).toBe("own");
  const refused = await failureOf(() => limits.enter(B, { id: "b:x", timeoutMs: 1_000 }));
  expect(refused.message).toBe("Cannot call 'b:x': as many calls as allowed are under way, and as many wait");
  expect(refused["hint"]).toContain("max_concurrent_requests");
  // Nothing is kept of who was turned away.
  for (const done of leave) done();
  expect(limits.lines).toBe(0);
});

test("CallLimits lets nobody wait longer than queue_timeout, or than the call may take", async () => {
  verifies("CALL-LIMITS");
  jest.useFakeTimers();
  const { enter, told, leave } = rig({ queueTimeoutMs: 5_000 }, { maxConcurrentRequests: 1, queueSize: 2 });
  void enter(A);
  void enter(A);
  void enter(A, undefined, 1_000);
  await turns();
  jest.advanceTimersByTime(1_000);
  await turns();
  expect(told).toEqual(["a", "a!SERVER_BUSY"]);
  jest.advanceTimersByTime(3_999);
  await turns();
  expect(told.length).toBe(2);
  jest.advanceTimersByTime(1);
  await turns();
  expect(told).toEqual(["a", "a!SERVER_BUSY", "a!SERVER_BUSY"]);
  // Those who left take no room, and no place.
  void enter(A);
  void enter(A);
  leave[0]?.();
  await turns();
  expect(told.slice(3)).toEqual(["a"]);
  expect(jest.getTimerCount()).toBe(1);
});

test("CallLimits forgets a caller who gives up, in the line of a server and in that of all", async () => {
  verifies("CALL-LIMITS");
  for (const parts of [
    { all: {}, each: { maxConcurrentRequests: 1, queueSize: 1 } },
    { all: { maxConcurrentRequests: 1, queueSize: 1 }, each: {} },
  ]) {
    const { limits, enter, told, leave } = rig(parts.all, parts.each);
    const end = new AbortController();
    void enter(A);
    void enter(A, end.signal);
    await turns();
    end.abort();
    await turns();
    expect(told).toEqual(["a", "a!CALL_CANCELLED"]);
    void enter(A);
    await turns();
    leave[0]?.();
    await turns();
    expect(told).toEqual(["a", "a!CALL_CANCELLED", "a"]);
    leave[1]?.();
    expect(limits.lines).toBe(0);
  }
});

test("CallLimits takes changed settings for whoever comes next, and those who wait move up", async () => {
  verifies("CALL-LIMITS");
  const made = rig({}, { maxConcurrentRequests: 1 });
  const { enter, told, leave } = made;
  for (let call = 0; call < 5; call += 1) void enter(A);
  await turns();
  made.each = { maxConcurrentRequests: 3, queueSize: 100 };
  leave[0]?.();
  await turns();
  expect(told.length).toBe(4);
});

test("Caller.call() holds the limits on the way to a real upstream, and every call ends in one answer", async () => {
  verifies("CALL-LIMITS");
  let [now, most] = [0, 0];
  const { promise: gate, resolve: openGate } = Promise.withResolvers<void>();
  const tools = [
    { name: "look", inputSchema: { type: "object" as const }, annotations: { readOnlyHint: true } },
  ];
  await using upstream = serveTools(tools, {
    call: async () => {
      now += 1;
      most = Math.max(most, now);
      await gate;
      now -= 1;
      return { content: [] };
    },
  });
  await using gateway = await openGateway([upstream.server({ maxConcurrentRequests: 2, queueSize: 3 })]);
  await settle(gateway);
  const calls = Array.from({ length: 7 }, () => ask(gateway, "call_tool_read", { name: "s:look", args: {} }));
  await waitFor("two travel", () => upstream.count("tools/call") === 2);
  const refused = await Promise.race(calls);
  expect(refused).toMatchObject({ isError: true, json: { code: "SERVER_BUSY" } });
  openGate();
  const answers = await Promise.all(calls);
  expect(answers.filter(({ isError }) => !isError)).toHaveLength(5);
  expect(answers.filter(({ json }) => json?.["code"] === "SERVER_BUSY")).toHaveLength(2);
  expect([most, upstream.count("tools/call")]).toEqual([2, 5]);
});
