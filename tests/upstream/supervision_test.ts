/**
 * The supervisor over real connections: who may call when, what an operator's word does, what switches a server off and
 * what brings it back. Times are scaled by the settings.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { StartupMode } from "../../src/core/model.ts";
import type { Fault } from "../../src/mock/server.ts";
import { FAST, hostMocks, mock, statusOf, untilMode, untilState } from "../fixtures/mocks.ts";
import { makeCall, makeServer, openUpstreams, readJournal, stdioServer } from "../fixtures/upstreams.ts";
import { failureOf, liveMembers, tempDir, waitFor } from "../fixtures/wait.ts";
import { ask, openGateway, serveTools } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { modeChange, removal } from "./fleet.ts";

/** What a commit does that sets the mode of `s`. */
function setMode(open: ReturnType<typeof openUpstreams>, mode: StartupMode): void {
  open.upstreams.reconcile(modeChange(open.upstreams.list(), { s: mode }), "asked for");
}

const SOON = { timeoutMs: 5_000 };
const NEVER_MS = 600_000;
/** The next attempt is far away, so that what happens before it has another cause. */
const PATIENT = { ...FAST, backoffBaseMs: NEVER_MS, backoffCapMs: NEVER_MS };
const DOWN: Fault = { kind: "status", status: 503 };

test.concurrent("Upstreams.ready() waits for the attempt under way, together with all others who want the server", async () => {
  verifies("SUPERVISE-CALL-RULES");
  await using mocks = hostMocks(mock({ faults: [{ kind: "slow_start", ms: 300 }] }));
  await using open = openUpstreams([mocks.server()], { supervision: FAST });
  open.upstreams.start();
  await untilState(open, "s", "connecting");
  const links = await Promise.all(Array.from({ length: 10 }, () => open.upstreams.ready("s", SOON)));
  expect(new Set(links).size).toBe(1);
  expect(statusOf(open)).toMatchObject({ attempts: 1, connection: "ready" });
  expect(mocks.host.counters("s").starts).toBe(1);
});

// Alone, since it measures.
test("Upstreams.ready() ends with the deadline of the attempt when that comes before the caller's time", async () => {
  verifies("SUPERVISE-CALL-RULES");
  await using mocks = hostMocks(mock({ faults: [{ kind: "hang", at: "connect" }] }));
  await using open = openUpstreams([mocks.server()], {
    supervision: { ...PATIENT, firstRunTimeoutMs: 300 },
  });
  open.upstreams.start();
  const startedAt = performance.now();
  const failure = await failureOf(() => open.upstreams.ready("s", SOON));
  const tookMs = performance.now() - startedAt;
  expect(failure).toMatchObject({ code: "UPSTREAM_FAILED", data: { class: "timeout" } });
  expect(failure.message).toContain("did not answer");
  expect(tookMs).toBeGreaterThan(290);
  expect(tookMs).toBeLessThan(550);
});

test.concurrent("Upstreams.ready() makes one attempt at once for a server in backoff, however many want it", async () => {
  verifies("SUPERVISE-CALL-RULES", "SUPERVISE-LAZY-SINGLE-FLIGHT");
  await using mocks = hostMocks(mock({ faults: [DOWN] }));
  await using open = openUpstreams([mocks.server()], { supervision: PATIENT });
  open.upstreams.start();
  await untilState(open, "s", "error");
  expect(statusOf(open).nextAttemptAt).toBeGreaterThan(Date.now() + NEVER_MS / 2);
  const refused = await Promise.all(
    Array.from({ length: 10 }, () => failureOf(() => open.upstreams.ready("s", SOON))),
  );
  for (const failure of refused) {
    expect(failure).toMatchObject({ code: "UPSTREAM_FAILED", data: { class: "network" } });
    expect((failure["data"] as { next_attempt_at?: number }).next_attempt_at).toBeGreaterThan(Date.now());
  }
  expect(statusOf(open).attempts).toBe(2);
  mocks.host.setFault("s", undefined);
  const links = await Promise.all(Array.from({ length: 10 }, () => open.upstreams.ready("s", SOON)));
  expect(new Set(links).size).toBe(1);
  expect(statusOf(open).attempts).toBe(3);
});

const HOPELESS: readonly {
  readonly cause: string;
  readonly class: string;
  readonly code: string;
  readonly fault?: Fault;
}[] = [
  { cause: "a command that is not there", class: "config", code: "UPSTREAM_FAILED" },
  { cause: "HTTP 401", class: "auth", code: "UPSTREAM_AUTH", fault: { kind: "status", status: 401 } },
  { cause: "HTTP 403", class: "auth", code: "UPSTREAM_AUTH", fault: { kind: "status", status: 403 } },
  { cause: "HTTP 404", class: "protocol", code: "UPSTREAM_FAILED", fault: { kind: "status", status: 404 } },
];

for (const { cause, fault, ...expected } of HOPELESS) {
  for (const startupMode of ["active", "lazy_loading"] as const) {
    test.concurrent(`Upstreams.ready() fails at once after ${cause}, with reason and hint (${startupMode})`, async () => {
      verifies("SUPERVISE-CALL-RULES");
      await using mocks = hostMocks(
        mock({
          faults: fault ? [fault] : [{ kind: "not_found" }],
          transport: fault ? "streamable_http" : "stdio",
        }),
      );
      await using open = openUpstreams([mocks.server("s", { startupMode })], { supervision: FAST });
      open.upstreams.start();
      const first = await failureOf(() => open.upstreams.ready("s", SOON));
      const { attempts } = statusOf(open);
      const { starts } = mocks.host.counters("s");
      for (const failure of [first, await failureOf(() => open.upstreams.ready("s", SOON))]) {
        expect(failure).toMatchObject({ code: expected.code, data: { server: "s", class: expected.class } });
        expect(String(failure["hint"]).length).toBeGreaterThan(10);
      }
      // No attempt was made for the second call, and none follows by itself but where the definition may change.
      expect(statusOf(open)).toMatchObject({ attempts, isTrying: false });
      expect(mocks.host.counters("s").starts).toBe(starts);
      const waits = startupMode === "active" && expected.class === "protocol";
      expect(statusOf(open).nextAttemptAt === undefined).toBe(!waits);
      // An operator's word tries again.
      if (fault === undefined) return;
      mocks.host.setFault("s", undefined);
      open.upstreams.find("s")?.restart("asked for");
      await untilState(open, "s", "ready");
    });
  }
}

test.concurrent("Supervisor tries a server that failed by protocol again on the discovery interval", async () => {
  verifies("SUPERVISE-CALL-RULES");
  await using mocks = hostMocks(mock({ faults: [{ kind: "status", status: 404 }] }));
  await using open = openUpstreams([mocks.server("s", { toolDiscoveryIntervalMs: 150 })], {
    supervision: PATIENT,
  });
  open.upstreams.start();
  await untilState(open, "s", "error");
  mocks.host.setFault("s", undefined);
  await untilState(open, "s", "ready");
  expect(statusOf(open).attempts).toBeLessThanOrEqual(3);
});

test.concurrent("Supervisor spends at most its budget of starts, for calls too, and says when it goes on", async () => {
  verifies("SUPERVISE-RESTART-BUDGET");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const server = stdioServer(["--journal", journal, "--exit-with", "3"], { autoDisableThreshold: -1 });
  await using open = openUpstreams([server], { supervision: { ...FAST, restartBudget: 5 } });
  const starts = (): number => readJournal(journal).filter((entry) => entry.started).length;
  open.upstreams.start();
  await waitFor(
    "the budget is spent",
    () => (statusOf(open).nextAttemptAt ?? 0) > Date.now() + 30_000,
    10_000,
  );
  expect(starts()).toBeLessThanOrEqual(5);
  const { attempts, failures } = statusOf(open);
  // To wait for the window is a failure as well.
  expect(failures).toBe(attempts + 1);
  const spent = starts();
  const failure = await failureOf(() => open.upstreams.ready("s", SOON));
  expect(failure).toMatchObject({ code: "UPSTREAM_FAILED", data: { class: "exit" } });
  expect(starts()).toBe(spent);
}, 15_000);

test.concurrent("Keeper.disconnect() keeps a server down until connect, and a new proxy knows nothing of it", async () => {
  verifies("SUPERVISE-OPERATOR");
  using folder = tempDir();
  await using mocks = hostMocks(mock());
  {
    await using open = openUpstreams([mocks.server()], { supervision: FAST }, { dataDir: folder.path });
    open.upstreams.start();
    await untilState(open, "s", "ready");
    const upstream = open.upstreams.find("s");
    upstream?.disconnect("stopped");
    expect(statusOf(open)).toMatchObject({
      mode: "active",
      connection: "disconnected",
      category: "disconnected",
      isStopped: true,
      isTrying: false,
      nextAttemptAt: undefined,
    });
    expect(open.eventsOf("server_state_changed", "s").at(-1)?.data).toMatchObject({ reason: "stopped" });
    const failure = await failureOf(() => open.upstreams.ready("s", SOON));
    expect(failure["code"]).toBe("SERVER_NOT_READY");
    expect(failure.message).toContain("it was stopped");
    expect(statusOf(open).attempts).toBe(1);
    upstream?.connect();
    await untilState(open, "s", "ready");
    expect(statusOf(open)).toMatchObject({ attempts: 2, isStopped: false });
    upstream?.disconnect("stopped");
    setMode(open, "lazy_loading");
    expect(statusOf(open).isStopped).toBe(false);
    await open.upstreams.ready("s", SOON);
    setMode(open, "active");
    upstream?.disconnect("stopped");
    upstream?.restart("asked for");
    await untilState(open, "s", "ready");
    upstream?.disconnect("stopped");
  }
  await using open = openUpstreams([mocks.server()], { supervision: FAST }, { dataDir: folder.path });
  open.upstreams.start();
  await untilState(open, "s", "ready");
});

test.concurrent("Keeper.restart() ends the old process and starts one new one", async () => {
  verifies("SUPERVISE-OPERATOR");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  await using open = openUpstreams([stdioServer(["--journal", journal])], { supervision: FAST });
  open.upstreams.start();
  await untilState(open, "s", "ready");
  open.upstreams.find("s")?.restart("asked for");
  await waitFor(
    "the new one is ready",
    () => statusOf(open).attempts === 2 && statusOf(open).connection === "ready",
  );
  const pids = [...new Set(readJournal(journal).map(({ pid }) => pid))];
  expect(pids).toHaveLength(2);
  await waitFor("the old one is gone", () => liveMembers(pids[0] ?? 0).length === 0);
  expect(liveMembers(pids[1] ?? 0)).not.toEqual([]);
});

const ENDINGS = {
  disable: (open: ReturnType<typeof openUpstreams>) => setMode(open, "disabled"),
  remove: (open: ReturnType<typeof openUpstreams>) =>
    open.upstreams.reconcile(removal(open.upstreams.list(), "s"), "asked for"),
  restart: (open: ReturnType<typeof openUpstreams>) => open.upstreams.find("s")?.restart("asked for"),
  disconnect: (open: ReturnType<typeof openUpstreams>) => open.upstreams.find("s")?.disconnect("asked for"),
} as const;

for (const [what, end] of Object.entries(ENDINGS)) {
  for (const transport of ["stdio", "streamable_http"] as const) {
    test.concurrent(`Upstreams: ${what} lets calls in flight finish, and cuts what takes over 5 s (${transport})`, async () => {
      verifies("SUPERVISE-CALLS-IN-FLIGHT");
      await using mocks = hostMocks(mock({ transport }));
      await using open = openUpstreams([mocks.server()], { supervision: FAST });
      open.upstreams.start();
      const link = await open.upstreams.ready("s", SOON);
      const slow = link.call(makeCall("echo", { args: { _mock: { delayMs: 600 } } }));
      const hanging = failureOf(() =>
        link.call(makeCall("echo", { args: { _mock: { hang: true } }, timeoutMs: 30_000 })),
      );
      await waitFor("both arrived", () => mocks.host.counters("s").calls === 2);
      const startedAt = performance.now();
      end(open);
      const failure = await failureOf(() => open.upstreams.ready("s", { timeoutMs: 1 }));
      expect(["SERVER_OFF", "SERVER_UNKNOWN", "SERVER_NOT_READY"]).toContain(String(failure["code"]));
      expect(await slow).toMatchObject({ isError: false });
      expect((await hanging)["code"]).toBe("CALL_FAILED");
      const tookMs = performance.now() - startedAt;
      expect(tookMs).toBeGreaterThan(4_900);
      expect(tookMs).toBeLessThan(5_600);
      if (transport === "stdio") await waitFor("it is gone", () => mocks.host.counters("s").inFlight === 0);
    }, 15_000);
  }
}

for (const transport of ["stdio", "streamable_http"] as const) {
  test(`Upstreams: quarantine cuts calls in flight at once (${transport})`, async () => {
    verifies("SUPERVISE-CALLS-IN-FLIGHT");
    await using mocks = hostMocks(mock({ transport }));
    await using open = openUpstreams([mocks.server()], { supervision: FAST });
    open.upstreams.start();
    const link = await open.upstreams.ready("s", SOON);
    const call = failureOf(() => link.call(makeCall("echo", { args: { _mock: { delayMs: 2_000 } } })));
    await waitFor("it arrived", () => mocks.host.counters("s").calls === 1);
    const startedAt = performance.now();
    setMode(open, "quarantined");
    expect((await call)["code"]).toBe("CALL_FAILED");
    expect(performance.now() - startedAt).toBeLessThan(250);
    expect((await failureOf(() => open.upstreams.ready("s", SOON)))["code"]).toBe("SERVER_OFF");
    expect(open.eventsOf("quarantine_changed", "s")[0]?.data.isQuarantined).toBe(true);
    setMode(open, "active");
    await untilState(open, "s", "ready");
  });
}

test.concurrent("Supervisor is starting until each wanted server had its first attempt, then running", async () => {
  verifies("SUPERVISE-PROXY-STATE");
  await using mocks = hostMocks(
    mock({ name: "slow", faults: [{ kind: "slow_start", ms: 300 }] }),
    mock({ name: "dead", faults: [DOWN] }),
    mock({ name: "off" }),
  );
  const off: StartupMode = "disabled";
  await using open = openUpstreams(
    [mocks.server("slow"), mocks.server("dead"), mocks.server("off", { startupMode: off })],
    { supervision: FAST },
  );
  expect(open.upstreams.state).toBe("starting");
  open.upstreams.start();
  await untilState(open, "dead", "error");
  expect(open.upstreams.state).toBe("starting");
  await untilState(open, "slow", "ready");
  expect(open.upstreams.state).toBe("running");
  await open.upstreams.close();
  const states = open.eventsOf("proxy_state_changed").map(({ data }) => data.after);
  expect(states).toEqual(["running", "stopping", "stopped"]);
});

test.concurrent("Supervisor counts nothing while most servers fail at once: degraded, no auto-disable, and all back", async () => {
  verifies("SUPERVISE-CASCADE");
  const names = ["a", "b", "c", "d", "e", "f"];
  await using mocks = hostMocks(...names.map((name) => mock({ name })));
  await using open = openUpstreams(
    names.map((name) => mocks.server(name)),
    { supervision: FAST, autoDisableThreshold: 2, healthCheckIntervalMs: 40 },
  );
  open.upstreams.start();
  await waitFor("all are ready", () =>
    open.upstreams.list().every(({ connection }) => connection === "ready"),
  );
  mocks.host.network("down");
  await waitFor("it is degraded", () => open.upstreams.state === "degraded");
  // Twice the threshold, and more.
  await waitFor(
    "many attempts failed",
    () => open.upstreams.list().every(({ status }) => status.attempts >= 5),
    10_000,
  );
  expect(open.upstreams.list().map(({ mode }) => mode)).toEqual(names.map(() => "active"));
  mocks.host.network("up");
  await waitFor(
    "all are back",
    () => open.upstreams.list().every(({ connection }) => connection === "ready"),
    10_000,
  );
  expect(open.upstreams.state).toBe("running");
  expect(open.eventsOf("auto_disable_suspended").map(({ data }) => data.isSuspended)).toEqual([true, false]);
  expect(open.upstreams.list().map(({ mode }) => mode)).toEqual(names.map(() => "active"));
}, 15_000);

const THRESHOLDS: readonly {
  readonly all: number;
  readonly own?: number;
  readonly failures: number | "never";
}[] = [
  { all: 3, failures: 3 },
  { all: 3, own: 2, failures: 2 },
  { all: 1, own: 4, failures: 4 },
  { all: 2, own: -1, failures: "never" },
  { all: 0, failures: "never" },
];

for (const { all, own, failures } of THRESHOLDS) {
  test.concurrent(`Supervisor auto-disables after ${failures} failures: ${all} for all, ${own ?? "nothing"} for the server`, async () => {
    verifies("SUPERVISE-AUTO-DISABLE");
    await using mocks = hostMocks(mock({ faults: [DOWN] }));
    const server = mocks.server("s", own === undefined ? {} : { autoDisableThreshold: own });
    await using open = openUpstreams([server], { supervision: FAST, autoDisableThreshold: all });
    open.upstreams.start();
    if (failures === "never") {
      await waitFor("it failed often", () => statusOf(open).attempts > 6, 10_000);
      expect(statusOf(open)).toMatchObject({ mode: "active", autoDisabled: undefined });
      return;
    }
    await untilMode(open, "s", "auto_disabled");
    expect(statusOf(open)).toMatchObject({
      category: "auto_disabled",
      connection: "disconnected",
      attempts: failures,
      failures,
      nextAttemptAt: undefined,
      autoDisabled: { probes: 0, reason: expect.stringContaining(`${failures} failures in a row`) as string },
    });
    const [event] = open.eventsOf("server_auto_disabled", "s");
    expect(event?.data).toMatchObject({ failures, reason: expect.stringContaining("HTTP 503") as string });
    const cause = open.events.find(({ id }) => id === event?.data.cause);
    expect(cause).toMatchObject({
      type: "server_state_changed",
      data: { before: { mode: "active" }, after: { mode: "auto_disabled" } },
    });
    expect(open.eventsOf("server_auto_disabled")).toHaveLength(1);
  }, 15_000);
}

test.concurrent("Supervisor keeps a server auto-disabled over a restart, and its probe brings it back by itself", async () => {
  verifies("SUPERVISE-AUTO-DISABLE", "SUPERVISE-HALF-OPEN");
  using folder = tempDir();
  await using mocks = hostMocks(mock({ faults: [DOWN] }));
  const servers = [mocks.server("s", { startupMode: "active" })];
  const settings = { supervision: { ...FAST, recoverAfterMs: 1_500 } };
  let reason = "";
  {
    await using open = openUpstreams(servers, settings, { dataDir: folder.path });
    open.upstreams.start();
    await untilMode(open, "s", "auto_disabled");
    reason = statusOf(open).autoDisabled?.reason ?? "";
  }
  await using open = openUpstreams(servers, settings, { dataDir: folder.path });
  const before = mocks.host.counters("s").starts;
  open.upstreams.start();
  expect(open.upstreams.isSettled).toBe(true);
  expect(statusOf(open)).toMatchObject({ mode: "auto_disabled", attempts: 0, autoDisabled: { reason } });
  const failure = await failureOf(() => open.upstreams.ready("s", SOON));
  expect(failure).toMatchObject({ code: "SERVER_OFF", data: { reason } });
  expect(mocks.host.counters("s").starts).toBe(before);
  mocks.host.setFault("s", undefined);
  await untilMode(open, "s", "active");
  expect(statusOf(open)).toMatchObject({
    connection: "ready",
    attempts: 1,
    failures: 0,
    autoDisabled: undefined,
  });
  const [recovered] = open.eventsOf("server_recovered", "s");
  expect(recovered?.data.mode).toBe("active");
  open.store.flush();
  expect(open.store.findServer("s")).toMatchObject({ autoDisabled: undefined });
});

test.concurrent("Supervisor doubles the wait after each probe that fails, and restores the former mode in the end", async () => {
  verifies("SUPERVISE-HALF-OPEN");
  await using mocks = hostMocks(mock({ faults: [DOWN] }));
  await using open = openUpstreams(
    [mocks.server("s", { startupMode: "lazy_loading", autoDisableThreshold: 1 })],
    {
      supervision: { ...FAST, recoverAfterMs: 60 },
    },
  );
  open.upstreams.start();
  const waits: number[] = [];
  for (const probes of [0, 1, 2, 3]) {
    await waitFor(`${probes} probes failed`, () => statusOf(open).autoDisabled?.probes === probes);
    const { autoDisabled, failure } = statusOf(open);
    waits.push((autoDisabled?.dueAt ?? 0) - (failure?.at ?? 0));
  }
  for (const [at, wait] of waits.entries()) {
    expect(Math.abs(wait - 60 * 2 ** at)).toBeLessThan(30);
  }
  mocks.host.setFault("s", undefined);
  await untilMode(open, "s", "lazy_loading");
  expect(open.eventsOf("server_recovered", "s")[0]?.data.mode).toBe("lazy_loading");
  expect(statusOf(open).attempts).toBeGreaterThanOrEqual(5);
});

test.concurrent("Supervisor leaves a server with auto_recover off alone, until an operator enables it", async () => {
  verifies("SUPERVISE-HALF-OPEN");
  await using mocks = hostMocks(mock({ faults: [DOWN] }), mock({ name: "witness", faults: [DOWN] }));
  await using open = openUpstreams([mocks.server("s", { autoRecover: false }), mocks.server("witness")], {
    supervision: { ...FAST, recoverAfterMs: 60 },
    autoDisableThreshold: 1,
  });
  open.upstreams.start();
  await untilMode(open, "s", "auto_disabled");
  await waitFor("the other one was probed", () => (statusOf(open, "witness").autoDisabled?.probes ?? 0) >= 3);
  expect(statusOf(open)).toMatchObject({ attempts: 1, mode: "auto_disabled", isTrying: false });
  mocks.host.setFault("s", undefined);
  setMode(open, "active");
  await untilState(open, "s", "ready");
  expect(statusOf(open)).toMatchObject({ failures: 0, autoDisabled: undefined });
});

test.concurrent("Supervisor counts a server that comes up and crashes again and again, ready in between or not", async () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  await using open = openUpstreams([stdioServer(["--die-after", "400"])], { supervision: FAST });
  open.upstreams.start();
  await untilMode(open, "s", "auto_disabled", 10_000);
  const readies = open
    .eventsOf("server_state_changed", "s")
    .filter(({ data }) => data.after.connection === "ready");
  expect(readies).toHaveLength(3);
  expect(statusOf(open)).toMatchObject({ attempts: 3, failures: 3 });
  expect(statusOf(open).autoDisabled?.reason).toContain("SIGKILL");
}, 15_000);

test.concurrent("Supervisor leaves a server alone as long as it asks for with Retry-After, and counts nothing", async () => {
  verifies("SUPERVISE-RATE-LIMITED");
  await using mocks = hostMocks(mock({ faults: [{ kind: "status", status: 429, retryAfterSeconds: 1 }] }));
  await using open = openUpstreams([mocks.server()], { supervision: FAST, autoDisableThreshold: 1 });
  open.upstreams.start();
  await untilState(open, "s", "error");
  const { failure, nextAttemptAt = 0, failures, mode } = statusOf(open);
  expect(failure).toMatchObject({ class: "rate_limited", retryAfterMs: 1_000 });
  expect({ failures, mode }).toEqual({ failures: 0, mode: "active" });
  expect(nextAttemptAt - (failure?.at ?? 0)).toBeGreaterThanOrEqual(950);
  // A call does not break the peace.
  const { starts } = mocks.host.counters("s");
  expect(await failureOf(() => open.upstreams.ready("s", SOON))).toMatchObject({
    data: { class: "rate_limited" },
  });
  expect(mocks.host.counters("s").starts).toBe(starts);
  mocks.host.setFault("s", undefined);
  await untilState(open, "s", "ready");
  const ready = open
    .eventsOf("server_state_changed", "s")
    .find(({ data }) => data.after.connection === "ready");
  expect((ready?.time ?? 0) - (failure?.at ?? 0)).toBeGreaterThanOrEqual(950);
});

test.concurrent("Finder neither finds nor lists tools of an auto-disabled server, and describe_tool says why", async () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  await using upstream = serveTools([
    { name: "read_weather", description: "Reads the weather", inputSchema: { type: "object" } },
  ]);
  const servers = [upstream.server({ name: "s" }), makeServer({ name: "dead", url: "http://127.0.0.1:9/" })];
  const known = {
    dead: [{ name: "read_tides", description: "Reads the tides", inputSchema: { type: "object" } }],
  };
  await using gateway = await openGateway(servers, { known, settings: { supervision: FAST } });
  expect(gateway.finder.find({ query: "tides" }).found).toHaveLength(1);
  gateway.upstreams.start();
  await waitFor("it is auto-disabled", () => gateway.upstreams.find("dead")?.mode === "auto_disabled");
  expect(gateway.finder.find({ query: "tides" })).toMatchObject({ found: [], total: 0 });
  expect(gateway.finder.list().map(({ server }) => server)).not.toContain("dead");
  const described = await ask(gateway, "describe_tool", { tool_ids: ["dead:read_tides"] });
  expect(described.text).toContain("SERVER_OFF");
  expect(described.text).toContain("auto-disabled");
  expect(described.text).toContain("3 failures in a row");
  expect(described.text).toContain("cannot reach http://127.0.0.1:9: connection refused (ECONNREFUSED)");
});
