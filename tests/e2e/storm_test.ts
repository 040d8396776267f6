/**
 * What befalls a fleet of real mocks later on: most fail at once, one fails for good, 44 sleep.
 *
 * Owns the storm, auto-disable over a restart, and lazy loading with many servers, in this process. Times of the
 * supervision are scaled; nothing but probes, backoff and the mocks' own switches moves a server.
 */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Server } from "../../src/core/model.ts";
import { startMockHost } from "../../src/mock/http_host.ts";
import type { MockHost } from "../../src/mock/http_host.ts";
import { makeProfile } from "../../src/mock/profile.ts";
import type { MockServer } from "../../src/mock/server.ts";
import { parseConfig } from "../../src/state/config.ts";
import type { OpenUpstreams, SettingsParts } from "../fixtures/upstreams.ts";
import { openUpstreams } from "../fixtures/upstreams.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const LIMIT_MS = 30_000;
const CASCADE_MS = 3_000;
const BACKOFF_MS = 500;
const RECOVER_MS = 1_000;

/** Times of the real ones × 1/2 (backoff), 1/20 (cascade), 1/600 (recovery). */
const SETTINGS: SettingsParts = {
  healthCheckIntervalMs: 0,
  toolDiscoveryIntervalMs: 0,
  supervision: {
    backoffBaseMs: BACKOFF_MS,
    backoffCapMs: 2_000,
    cascadeWindowMs: CASCADE_MS,
    recoverAfterMs: RECOVER_MS,
    restartBudget: 100,
    stopGraceMs: 500,
    termGraceMs: 1_000,
  },
};

function stateOf(path: string): readonly unknown[] {
  const { mtimeMs, ino, size } = statSync(path);
  return [mtimeMs, ino, size, createHash("sha256").update(readFileSync(path)).digest("hex")];
}

/** Writes a configuration for the mocks and reads it as the proxy does. */
function serversOf(
  host: MockHost,
  folder: string,
  extra?: (name: string) => object,
): { readonly path: string; readonly servers: readonly Server[] } {
  const path = join(folder, "mcp_config.json");
  writeFileSync(path, JSON.stringify(host.config(extra)));
  const { servers, faults } = parseConfig(readFileSync(path, "utf8"), { path, dataDir: folder });
  expect(faults).toEqual([]);
  return { path, servers };
}

function areAll({ upstreams }: OpenUpstreams, names: readonly string[], connection: string): boolean {
  return names.every((name) => upstreams.find(name)?.connection === connection);
}

function readyTimes({ eventsOf }: OpenUpstreams, names: readonly string[], since: number): readonly number[] {
  return eventsOf("server_state_changed")
    .filter(
      ({ time, server = "", data }) =>
        time >= since &&
        names.includes(server) &&
        data.before.connection !== "ready" &&
        data.after.connection === "ready",
    )
    .map(({ time }) => time - since);
}

test("a storm over 88 of 159 counts for nothing, writes nothing, and all come back in their own time", async () => {
  verifies("SUPERVISE-CASCADE");
  const profile = makeProfile({ servers: 159, outcomes: "healthy", scale: 0.01, maxStdio: 0 });
  await using host = startMockHost({ servers: profile.servers });
  using folder = tempDir();
  const { path, servers } = serversOf(host, folder.path, () => ({ startup_mode: "active" }));
  const settings = { ...SETTINGS, healthCheckIntervalMs: 200 };
  await using scene = openUpstreams(servers, settings, { dataDir: folder.path });
  const { upstreams, bus, eventsOf } = scene;
  // Read after the move that ended the suspension: what backoff is planned for those still away.
  const planned: number[] = [];
  bus.subscribe(({ type, data, time }) => {
    if (type !== "auto_disable_suspended" || !("isSuspended" in data) || data.isSuspended) return;
    queueMicrotask(() => {
      for (const { status } of upstreams.list())
        if (status.nextAttemptAt !== undefined) planned.push(status.nextAttemptAt - time);
    });
  });
  const fileBefore = stateOf(path);
  upstreams.start();
  await waitFor("all 159 are ready", () => areAll(scene, host.names, "ready"), LIMIT_MS);

  const hit = host.names.slice(0, 88);
  const spared = host.names.slice(88);
  for (const name of hit) host.setFault(name, { kind: "refuse" });
  await waitFor("counting is suspended", () => eventsOf("auto_disable_suspended").length > 0, LIMIT_MS);
  expect(upstreams.state).toBe("degraded");
  await waitFor("all 88 are seen to fail", () => hit.every((name) => !upstreams.find(name)?.link), LIMIT_MS);
  // Long enough for more failures in a row than the threshold, counted or not.
  await waitFor(
    "each has failed three times and more",
    () => hit.every((name) => (upstreams.find(name)?.status.attempts ?? 0) >= 4),
    LIMIT_MS,
  );
  expect(spared.every((name) => upstreams.find(name)?.connection === "ready")).toBe(true);
  expect(upstreams.list().filter(({ mode }) => mode !== "active")).toEqual([]);

  const healedAt = Date.now();
  for (const name of hit) host.setFault(name, undefined);
  await waitFor("all 159 are ready again", () => areAll(scene, host.names, "ready"), LIMIT_MS);
  const returns = readyTimes(scene, hit, healedAt).toSorted((a, b) => a - b);
  const spreadMs = (returns.at(-1) ?? 0) - (returns[0] ?? 0);
  const suspensions = eventsOf("auto_disable_suspended").map(({ data }) => data.isSuspended);
  const offs = eventsOf("server_auto_disabled");
  console.log(
    `storm: ${hit.length} of 159 failed, ${offs.length} auto-disabled, back ${returns[0]} to ${returns.at(-1)} ms ` +
      `after healing (spread ${spreadMs} ms); ${planned.length} planned ${Math.min(...planned)} to ${Math.max(...planned)} ms ` +
      `ahead (${new Set(planned).size} different; base ${BACKOFF_MS} ms)`,
  );
  expect(suspensions).toEqual([true, false]);
  expect(offs).toEqual([]);
  expect(upstreams.state).toBe("running");
  expect(stateOf(path)).toEqual(fileBefore);
  expect(returns).toHaveLength(hit.length);
  expect(spreadMs).toBeGreaterThan(0);
  // ±20 % of the first wait, and never all at one time.
  expect(new Set(planned).size).toBeGreaterThan(planned.length / 4);
  expect(Math.min(...planned)).toBeGreaterThan(BACKOFF_MS * 0.75);
  expect(Math.max(...planned)).toBeLessThan(BACKOFF_MS * 1.25 + 20);
}, 60_000);

function mock(
  name: string,
  transport: MockServer["transport"],
  faults: MockServer["faults"] = [],
): MockServer {
  const tools = [{ name: "look", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }];
  return { name, transport, era: "legacy", tools, faults };
}

test("an auto-disable outlasts a restart, and a probe ends it unless it may not", async () => {
  verifies("SUPERVISE-AUTO-DISABLE", "SUPERVISE-HALF-OPEN");
  const leaves: MockServer["faults"] = [{ kind: "exit", at: "start", code: 1, stderr: "no key\n" }];
  const busy: MockServer["faults"] = [{ kind: "status", status: 503 }];
  const names = ["leaves", "busy", "leaves for good", "busy for good"];
  await using host = startMockHost({
    servers: [
      mock("leaves", "stdio", leaves),
      mock("busy", "streamable_http", busy),
      mock("leaves for good", "stdio", leaves),
      mock("busy for good", "streamable_http", busy),
    ],
  });
  using folder = tempDir();
  const { path, servers } = serversOf(host, folder.path, (name) =>
    name.endsWith("for good") ? { auto_recover: false } : {},
  );
  const fileBefore = stateOf(path);
  const settings = { ...SETTINGS, supervision: { ...SETTINGS.supervision, backoffBaseMs: 50 } };
  const startsOf = (): readonly number[] => names.map((name) => host.counters(name).starts);
  const [mortal, lasting] = [names.slice(0, 2), names.slice(2)];
  {
    await using first = openUpstreams(servers, settings, { dataDir: folder.path });
    const { upstreams, eventsOf } = first;
    upstreams.start();
    await waitFor("all four are off", () => eventsOf("server_auto_disabled").length >= 4, LIMIT_MS);
    for (const name of names) {
      const [event] = eventsOf("server_auto_disabled", name);
      expect(event?.data.failures).toBe(3);
      expect(upstreams.find(name)?.mode).toBe("auto_disabled");
      expect(first.store.findServer(name)?.autoDisabled?.reason).toContain("3 failures in a row");
    }
  }
  expect(stateOf(path)).toEqual(fileBefore);
  const startsBefore = startsOf();
  const healed = Date.now();
  for (const name of names) host.setFault(name, undefined);

  await using again = openUpstreams(servers, settings, { dataDir: folder.path });
  const { upstreams, eventsOf, store } = again;
  expect(upstreams.list().map(({ mode }) => mode)).toEqual(names.map(() => "auto_disabled"));
  const dueAt = names.map((name) => store.findServer(name)?.autoDisabled?.dueAt ?? 0);
  upstreams.start();
  expect(upstreams.isSettled).toBe(true);
  await waitFor("the two that may are back", () => areAll(again, mortal, "ready"), LIMIT_MS);
  for (const [index, name] of mortal.entries()) {
    expect(eventsOf("server_recovered", name).map(({ data }) => data.mode)).toEqual(["active"]);
    expect(upstreams.find(name)?.mode).toBe("active");
    expect(store.findServer(name)?.autoDisabled).toBeUndefined();
    // One probe, and not before its time.
    expect(upstreams.find(name)?.status.attempts).toBe(1);
    const [connecting] = eventsOf("server_state_changed", name);
    expect(connecting?.time).toBeGreaterThanOrEqual((dueAt[index] ?? 0) - 5);
  }
  // Twice the wait that the others had.
  await waitFor("those for good are long due", () => Date.now() > Math.max(...dueAt) + RECOVER_MS, LIMIT_MS);
  for (const name of lasting) {
    expect(upstreams.find(name)?.mode).toBe("auto_disabled");
    expect(eventsOf("server_state_changed", name)).toEqual([]);
  }
  const starts = startsOf();
  expect(starts.slice(2)).toEqual(startsBefore.slice(2));
  console.log(
    `auto-disable: off after ${JSON.stringify(startsBefore)} starts, back ${JSON.stringify(readyTimes(again, mortal, healed))} ms ` +
      `after healing (recover_after ${RECOVER_MS}), then ${JSON.stringify(starts)} starts`,
  );
}, 60_000);

const LAZY = 44;
const LAZY_STDIO = 8;

function lazyMocks(): readonly MockServer[] {
  return Array.from({ length: LAZY }, (_, i) =>
    mock(`lazy-${i}`, i < LAZY_STDIO ? "stdio" : "streamable_http"),
  );
}

/** The spans in which each was not disconnected, by the ids of events. */
function spansOf(
  { eventsOf }: OpenUpstreams,
  names: readonly string[],
): readonly (readonly [number, number])[] {
  return names
    .map((name) => {
      const moves = eventsOf("server_state_changed", name);
      expect(moves.map(({ data }) => data.after.connection)).toEqual([
        "connecting",
        "discovering",
        "ready",
        "disconnected",
      ]);
      return [moves[0]?.id ?? 0, moves.at(-1)?.id ?? 0] as const;
    })
    .toSorted(([a], [b]) => a - b);
}

test("44 lazy servers: visited once, one at a time; known, they start nothing until called", async () => {
  verifies("SUPERVISE-LAZY", "SUPERVISE-LAZY-SINGLE-FLIGHT");
  const lazy = lazyMocks();
  const names = lazy.map(({ name }) => name);
  await using host = startMockHost({ servers: [...lazy, mock("canary", "stdio")] });
  using folder = tempDir();
  const { servers } = serversOf(host, folder.path, (name) => ({
    startup_mode: name === "canary" ? "active" : "lazy_loading",
  }));
  const startsOf = (): number => names.reduce((sum, name) => sum + host.counters(name).starts, 0);
  const beganAt = performance.now();
  {
    await using first = openUpstreams(servers.slice(0, LAZY), SETTINGS, { dataDir: folder.path });
    const isVisited = (name: string): boolean =>
      first.eventsOf("server_state_changed", name).at(-1)?.data.after.connection === "disconnected";
    first.upstreams.start();
    await waitFor("each was visited", () => names.every(isVisited), LIMIT_MS);
    const spans = spansOf(first, names);
    expect(spans.slice(1).every(([from], i) => from > (spans[i]?.[1] ?? Infinity))).toBe(true);
    expect(names.map((name) => host.counters(name).starts)).toEqual(names.map(() => 1));
    expect(names.map((name) => first.store.findServer(name)?.toolCount)).toEqual(names.map(() => 1));
    expect(first.upstreams.list().every(({ category }) => category === "sleeping")).toBe(true);
  }
  const visitMs = performance.now() - beganAt;

  const settings = { ...SETTINGS, idleDisconnectMs: 1_000 };
  await using again = openUpstreams(servers, settings, { dataDir: folder.path });
  const { upstreams } = again;
  upstreams.start();
  // It is behind them in the file: whatever they were to do, they would do first.
  await waitFor("the active one is ready", () => areAll(again, ["canary"], "ready"), LIMIT_MS);
  expect(startsOf()).toBe(LAZY);
  expect(again.events.filter(({ server = "" }) => names.includes(server))).toEqual([]);

  const definition = { name: "look", inputSchema: { type: "object" } };
  const call = async (name: string): Promise<unknown> => {
    const connection = await upstreams.ready(name, { timeoutMs: 5_000 });
    return connection.call({ definition, args: {}, timeoutMs: 5_000 });
  };
  for (const [index, name] of ["lazy-0", `lazy-${LAZY_STDIO}`].entries()) {
    expect(await call(name)).toBeDefined();
    expect(host.counters(name).starts).toBe(2);
    expect(startsOf()).toBe(LAZY + index + 1);
  }
  const together = ["lazy-1", `lazy-${LAZY_STDIO + 1}`];
  for (const name of together) {
    expect(await Promise.all(Array.from({ length: 10 }, () => call(name)))).toHaveLength(10);
    expect(host.counters(name).starts).toBe(2);
    expect(host.counters(name).calls).toBe(10);
  }
  expect(startsOf()).toBe(LAZY + 4);
  await waitFor(
    "the idle ones sleep again",
    () => names.every((name) => upstreams.find(name)?.category === "sleeping"),
    LIMIT_MS,
  );
  expect(startsOf()).toBe(LAZY + 4);
  console.log(
    `lazy: ${LAZY} visited one at a time in ${Math.round(visitMs)} ms, restart started 0 of them; 2 calls and 2 × 10 at once made 4 starts`,
  );
}, 60_000);
