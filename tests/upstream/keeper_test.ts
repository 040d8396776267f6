/** Holds the rules of one server's owner, move by move, on a virtual clock over links that do as they are told. */
import { expect, test } from "bun:test";
import type { Server } from "../../src/core/model.ts";
import type { Settings } from "../../src/core/settings.ts";
import type { Learned, ServerMemory } from "../../src/state/store.ts";
import type { Failure } from "../../src/upstream/link.ts";
import { Keeper } from "../../src/upstream/keeper.ts";
import { Scheduler } from "../../src/upstream/scheduler.ts";
import { verifies } from "../requirements.ts";
import { FakeLink } from "./fake_link.ts";
import { simServer, simSettings } from "./simulation.ts";
import type { SimSettings } from "./simulation.ts";
import { VirtualClock } from "./virtual_clock.ts";
import { failureOf } from "./virtual_link.ts";

interface Rig {
  readonly clock: VirtualClock;
  readonly keeper: Keeper<FakeLink>;
  readonly scheduler: Scheduler;
  readonly links: FakeLink[];
  /** Moves as `mode/connection`, news by their type. */
  readonly told: string[];
  readonly memory: () => ServerMemory;
  readonly fail: (failure: Failure) => void;
  readonly setCounting: (isCounting: boolean) => void;
  readonly setApproved: (isApproved: boolean) => void;
  readonly learn: (learned: Learned) => void;
  /** Puts other settings in force. */
  readonly tune: (parts: SimSettings) => void;
}

interface RigOptions {
  readonly server?: Partial<Server>;
  readonly memory?: Learned;
  readonly settings?: Partial<SimSettings>;
}

function rig({ server = {}, memory = {}, settings = {} }: RigOptions = {}): Rig {
  const clock = new VirtualClock();
  const scheduler = new Scheduler({ places: 1, room: 1, clock });
  const [links, told] = [[] as FakeLink[], [] as string[]];
  let known: ServerMemory = {
    name: "s",
    everConnected: false,
    failedLast: false,
    toolCount: 0,
    firstSeenAt: 0,
    ...memory,
  };
  let isCounting = true;
  let isApproved = true;
  const settingsOf = (parts: SimSettings): Settings =>
    simSettings({ healthCheckIntervalMs: 0, toolDiscoveryIntervalMs: 0, ...settings, ...parts });
  let inForce = settingsOf({});
  const keeper = new Keeper<FakeLink>(simServer("s", { command: "npx", ...server }), {
    clock,
    random: () => 0.5,
    settings: () => inForce,
    laneOf: () => scheduler,
    open: (definition, hooks) => {
      const link = new FakeLink(definition, hooks);
      link.usedAt = clock.now();
      links.push(link);
      return link;
    },
    recall: () => known,
    remember: (_, learned) => {
      known = { ...known, ...learned };
    },
    onMove: ({ mode, connection }) => told.push(`${mode}/${connection}`),
    onNews: (_, { type }) => told.push(type),
    isCounting: () => isCounting,
    mayStart: () => isApproved,
  });
  return {
    clock,
    keeper,
    scheduler,
    links,
    told,
    memory: () => known,
    fail: (failure) => links.at(-1)?.hooks.onFail(failure),
    setCounting: (counts) => {
      isCounting = counts;
    },
    setApproved: (isOn) => {
      isApproved = isOn;
    },
    learn: (learned) => {
      known = { ...known, ...learned };
    },
    tune: (parts) => {
      const wasWanted = keeper.isWanted;
      inForce = settingsOf(parts);
      keeper.adjust("other settings", wasWanted);
    },
  };
}

/** Somebody who waits; what it was told. */
function wait(keeper: Keeper<FakeLink>): unknown[] {
  const answers: unknown[] = [];
  keeper.want({
    resolve: (link) => answers.push(link),
    reject: (failure) => answers.push(failure?.class ?? "closed"),
  });
  return answers;
}

const EXIT = failureOf("exit", {});

test("Keeper.start() connects an active server, tells each move, and remembers that it worked", () => {
  const { keeper, links, told, memory, clock } = rig();
  keeper.start();
  clock.advance(700);
  links[0]?.becomeReady();
  expect(told).toEqual([
    "asked",
    "active/connecting",
    "active/discovering",
    "active/ready",
    "ready",
    "first_attempt_ended",
  ]);
  expect(memory()).toMatchObject({ everConnected: true, connectMs: 700, failedLast: false });
  expect(keeper.link).toBe(links[0]);
});

test("Keeper waits 1 s × 2^(n−1) after the n-th failure, though the server was ready in between", () => {
  const { keeper, links, clock, fail } = rig({ server: { autoDisableThreshold: -1 } });
  keeper.start();
  for (const waitMs of [1_000, 2_000, 4_000]) {
    const opened = links.length;
    links.at(-1)?.becomeReady();
    fail(EXIT);
    clock.advance(waitMs - 1);
    expect(links.length).toBe(opened);
    clock.advance(1);
    expect(links.length).toBe(opened + 1);
  }
});

test("Keeper starts a server five times in 60 s at most, and counts the wait as one failure", () => {
  const { keeper, links, clock, fail } = rig({
    server: { autoDisableThreshold: -1 },
    settings: { supervision: { ...simSettings().supervision, backoffCapMs: 1_000 } },
  });
  keeper.start();
  for (let turn = 1; turn <= 4; turn += 1) {
    fail(EXIT);
    clock.advance(1_000);
  }
  expect([links.length, keeper.status.failures]).toEqual([5, 4]);
  fail(EXIT);
  expect(keeper.status.failures).toBe(6);
  clock.advance(60_000 - 4_000 - 1);
  expect([links.length, wait(keeper)]).toEqual([5, ["exit"]]);
  clock.advance(1);
  expect(links.length).toBe(6);
});

test("Keeper honours Retry-After, for calls and for the end of a storm too", () => {
  const { keeper, links, clock, fail } = rig();
  keeper.start();
  fail(failureOf("rate_limited", { retryAfterMs: 90_000 }));
  expect([keeper.status.failures, wait(keeper)]).toEqual([0, ["rate_limited"]]);
  clock.advance(10_000);
  keeper.calm();
  clock.advance(79_999);
  expect(links.length).toBe(1);
  clock.advance(1);
  expect(links.length).toBe(2);
});

test.each(["config", "auth", "protocol"] as const)(
  "Keeper does not retry '%s' by itself, fails calls at once, and tries again on an operator's word",
  (failureClass) => {
    const { keeper, links, clock, fail } = rig();
    keeper.start();
    fail(failureOf(failureClass, {}));
    clock.advance(3_600_000);
    expect([links.length, wait(keeper), keeper.connection]).toEqual([1, [failureClass], "error"]);
    keeper.connect();
    expect(links.length).toBe(2);
  },
);

test("Keeper tries 'protocol' again at the discovery interval", () => {
  const { keeper, links, clock, fail } = rig({ settings: { toolDiscoveryIntervalMs: 300_000 } });
  keeper.start();
  fail(failureOf("protocol", {}));
  clock.advance(299_999);
  expect(links.length).toBe(1);
  clock.advance(1);
  expect(links.length).toBe(2);
});

test("Keeper gives 20 s, 40 s, then connection_timeout to a server that worked, and the first run its one long attempt", () => {
  const deadlines = (options: RigOptions): string[] => {
    const { keeper, links, clock } = rig({ ...options, server: { autoDisableThreshold: -1 } });
    keeper.start();
    const found: string[] = [];
    for (let turn = 0; turn < 4; turn += 1) {
      const from = clock.now();
      while (keeper.connection === "connecting") clock.step();
      found.push(`${(clock.now() - from) / 1_000} s`);
      while (links.length === found.length) clock.step();
    }
    return found;
  };
  expect(deadlines({ memory: { everConnected: true } })).toEqual(["20 s", "40 s", "60 s", "60 s"]);
  expect(deadlines({})[0]).toBe("180 s");
});

test("Keeper switches a server off at its threshold and brings it back by a probe", () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  const { keeper, links, clock, fail, told, memory } = rig({ server: { autoDisableThreshold: 2 } });
  keeper.start();
  fail(EXIT);
  clock.advance(1_000);
  told.length = 0;
  fail(EXIT);
  // For the guard over all servers, before anything is counted.
  expect(told).toEqual([
    "failed",
    "active/error",
    "auto_disabled/error",
    "auto_disabled",
    "auto_disabled/disconnected",
  ]);
  expect(memory().autoDisabled).toMatchObject({ probes: 0, dueAt: clock.wallNow() + 600_000 });
  expect(memory().mode).toBeUndefined();
  expect(wait(keeper)).toEqual(["closed"]);
  clock.advance(600_000);
  expect(links.length).toBe(3);
  fail(EXIT);
  clock.advance(1_199_999);
  expect(links.length).toBe(3);
  clock.advance(1);
  links.at(-1)?.becomeReady();
  expect([keeper.mode, keeper.connection, memory().autoDisabled]).toEqual(["active", "ready", undefined]);
  expect(keeper.status.failures).toBe(0);
});

test("Keeper takes up an auto-disable that is remembered, and does not probe where auto_recover is off", () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  const clockStart = new VirtualClock().wallNow();
  const autoDisabled = { reason: "r", at: clockStart - 1, probes: 1, dueAt: clockStart + 5_000 };
  const memory = { autoDisabled, formerMode: "lazy_loading" } as const;
  const [on, off] = [rig({ memory }), rig({ memory, server: { autoRecover: false } })];
  for (const { keeper, clock } of [on, off]) {
    keeper.start();
    clock.advance(5_000);
  }
  expect([on.keeper.mode, on.links.length, off.keeper.mode, off.links.length]).toEqual([
    "auto_disabled",
    1,
    "auto_disabled",
    0,
  ]);
  on.links[0]?.becomeReady();
  expect(on.keeper.mode).toBe("lazy_loading");
  off.clock.advance(10 * 3_600_000);
  expect(off.links.length).toBe(0);
});

test("Keeper forgets failures after 30 s of ready and not before", () => {
  verifies("SUPERVISE-AUTO-DISABLE");
  const { keeper, links, clock, fail } = rig({ server: { autoDisableThreshold: -1 } });
  keeper.start();
  fail(EXIT);
  clock.advance(1_000);
  links.at(-1)?.becomeReady();
  clock.advance(29_999);
  expect(keeper.status.failures).toBe(1);
  clock.advance(1);
  expect(keeper.status.failures).toBe(0);
});

test("Keeper counts nothing while counting is suspended, and takes an auto-disable back that is young enough", () => {
  verifies("SUPERVISE-CASCADE");
  const { keeper, clock, fail, setCounting, links } = rig({ server: { autoDisableThreshold: 1 } });
  setCounting(false);
  keeper.start();
  fail(EXIT);
  expect([keeper.mode, keeper.status.failures]).toEqual(["active", 0]);
  setCounting(true);
  clock.advance(1_000);
  fail(EXIT);
  expect(keeper.mode).toBe("auto_disabled");
  const at = clock.wallNow();
  keeper.takeBack(at + 1, "too late");
  expect(keeper.mode).toBe("auto_disabled");
  keeper.takeBack(at, "a storm");
  expect([keeper.mode, keeper.status.failures]).toEqual(["active", 0]);
  clock.advance(2_000);
  expect(links.length).toBe(3);
});

test("Keeper.takeBack() does not start what an operator stopped meanwhile", () => {
  const { keeper, clock, fail, links } = rig({ server: { autoDisableThreshold: 1 } });
  keeper.start();
  fail(EXIT);
  keeper.disconnect("stopped");
  keeper.takeBack(0, "a storm");
  clock.advance(3_600_000);
  expect([keeper.mode, keeper.status.isStopped, links.length]).toEqual(["active", true, 1]);
});

test("Keeper.disconnect() keeps a server down until connect, restart or a mode change", () => {
  verifies("SUPERVISE-ONE-OWNER");
  for (const end of ["connect", "restart", "make_lazy"] as const) {
    const { keeper, links, clock } = rig();
    keeper.start();
    links[0]?.becomeReady();
    keeper.disconnect("stopped");
    expect([links[0]?.stops, keeper.connection, wait(keeper)]).toEqual([[5_000], "disconnected", ["closed"]]);
    clock.advance(3_600_000);
    expect(links.length).toBe(1);
    if (end === "make_lazy") keeper.assume("lazy_loading", end);
    else keeper[end](end);
    expect(keeper.status.isStopped).toBe(false);
    expect(links.length).toBe(end === "make_lazy" ? 1 : 2);
  }
});

test("Keeper.disconnect() stops the probe of an auto-disabled server as well", () => {
  const { keeper, links, clock, fail } = rig({ server: { autoDisableThreshold: 1 } });
  keeper.start();
  fail(EXIT);
  keeper.disconnect("stopped");
  clock.advance(24 * 3_600_000);
  expect([links.length, clock.pending]).toEqual([1, 0]);
});

test("Keeper.restart() ends one link before it opens the next, and hears nothing of the old", () => {
  verifies("SUPERVISE-ONE-OWNER");
  const { keeper, links, told } = rig();
  keeper.start();
  links[0]?.becomeReady();
  keeper.restart("restarted");
  expect([links.length, links[0]?.stops]).toEqual([2, [5_000]]);
  told.length = 0;
  links[0]?.becomeReady();
  links[0]?.hooks.onFail(EXIT);
  expect([told, keeper.connection]).toEqual([[], "connecting"]);
});

test.each([
  ["disabled", 5_000],
  ["auto_disabled", 5_000],
  ["quarantined", 0],
] as const)("Keeper.assume('%s') ends the link with %p ms for calls", (mode, graceMs) => {
  const { keeper, links } = rig();
  keeper.start();
  links[0]?.becomeReady();
  expect([keeper.assume(mode, mode), keeper.assume(mode, mode)]).toEqual([true, false]);
  expect([links[0]?.stops, keeper.connection, wait(keeper)]).toEqual([[graceMs], "disconnected", ["closed"]]);
});

test("Keeper.assume() remembers through quarantine the mode before an auto-disable, and no auto-disable", () => {
  const { keeper, fail, links, memory } = rig({
    server: { startupMode: "lazy_loading", autoDisableThreshold: 1 },
  });
  keeper.start();
  wait(keeper);
  fail(EXIT);
  expect(memory()).toMatchObject({ formerMode: "lazy_loading", autoDisabled: { probes: 0 } });
  keeper.assume("quarantined", "changed");
  expect(memory()).toMatchObject({ formerMode: "lazy_loading", autoDisabled: undefined });
  keeper.assume("active", "a person");
  expect([keeper.mode, keeper.status.autoDisabled, links.length]).toEqual(["active", undefined, 2]);
});

test("Keeper.assume('auto_disabled') probes like any auto-disable, and comes back to a mode that can be called", () => {
  for (const startupMode of ["active", "disabled"] as const) {
    const { keeper, links, clock, told } = rig({ server: { startupMode } });
    keeper.start();
    keeper.assume("auto_disabled", "the file");
    expect(told).toContain("auto_disabled");
    const opened = links.length;
    clock.advance(600_000);
    expect(links.length).toBe(opened + 1);
    links.at(-1)?.becomeReady();
    expect([keeper.mode, keeper.connection]).toEqual(["active", "ready"]);
  }
});

test("Keeper.assume('lazy_loading') cancels the retry that was planned", () => {
  const { keeper, clock, fail, links } = rig();
  keeper.start();
  fail(EXIT);
  keeper.assume("lazy_loading", "asked");
  clock.advance(3_600_000);
  expect([links.length, keeper.category, clock.pending]).toEqual([1, "sleeping", 0]);
});

test("Keeper.assume() gives a lazy server that could not be started a new chance", () => {
  const { keeper, fail, links } = rig({ server: { startupMode: "lazy_loading" } });
  const answers = wait(keeper);
  fail(failureOf("config", {}));
  expect([answers, wait(keeper)]).toEqual([["config"], ["config"]]);
  keeper.assume("disabled", "asked");
  keeper.assume("lazy_loading", "mended");
  wait(keeper);
  expect(links.length).toBe(2);
});

test("Keeper reads its settings at use: backoff, threshold, budget and recovery hold from the change on", () => {
  const { keeper, links, clock, fail, tune } = rig({ server: {} });
  const { supervision } = simSettings();
  keeper.start();
  fail(EXIT);
  tune({ autoDisableThreshold: 5, supervision: { ...supervision, backoffBaseMs: 4_000, restartBudget: 3 } });
  clock.advance(1_000);
  fail(EXIT);
  clock.advance(7_999);
  expect(links.length).toBe(2);
  clock.advance(1);
  expect(links.length).toBe(3);
  fail(EXIT);
  // The third start was the last of the budget: the wait counts once more.
  expect([keeper.status.failures, keeper.mode]).toEqual([4, "active"]);
  tune({ autoDisableThreshold: 1, supervision: { ...supervision, recoverAfterMs: 7_000 } });
  keeper.connect();
  fail(EXIT);
  expect(keeper.mode).toBe("auto_disabled");
  const opened = links.length;
  clock.advance(7_000);
  expect(links.length).toBe(opened + 1);
});

test("Keeper.reassess() follows the database: quarantined by it, and back to what the file says", () => {
  const { keeper, links, learn, told } = rig();
  keeper.start();
  links[0]?.becomeReady();
  learn({ mode: "quarantined" });
  keeper.reassess("a commit");
  expect([keeper.mode, links[0]?.stops]).toEqual(["quarantined", [0]]);
  keeper.reassess("a commit");
  learn({ mode: undefined });
  keeper.reassess("a person");
  expect([keeper.mode, links.length, told.filter((what) => what === "quarantine").length]).toEqual([
    "active",
    2,
    2,
  ]);
});

test("Keeper never remembers an operator's mode: file and commit do", () => {
  const { keeper, memory } = rig();
  keeper.start();
  for (const mode of ["disabled", "active", "quarantined", "lazy_loading", "auto_disabled"] as const) {
    keeper.assume(mode, "asked");
    expect(memory().mode).toBeUndefined();
  }
  expect(memory().formerMode).toBe("lazy_loading");
});

test("Keeper gives up an attempt in line when its approval is gone", () => {
  const { keeper, links, setApproved } = rig();
  keeper.start();
  keeper.disconnect("stopped");
  setApproved(false);
  keeper.connect();
  expect([links.length, keeper.mode, keeper.status.isTrying]).toEqual([1, "quarantined", false]);
});

test("Keeper keeps the link of a visit whose server was made active meanwhile", () => {
  const { keeper, links } = rig({ server: { startupMode: "lazy_loading" } });
  keeper.start();
  keeper.visit();
  keeper.assume("active", "asked");
  links[0]?.becomeReady();
  expect([keeper.connection, links.length]).toEqual(["ready", 1]);
});

test("Keeper.want() wakes a sleeping server once for ten callers, and sleep comes when idle", () => {
  const { keeper, links, clock } = rig({
    server: { startupMode: "lazy_loading" },
    memory: { everConnected: true, toolCount: 4 },
  });
  keeper.start();
  expect([links.length, keeper.category]).toEqual([0, "sleeping"]);
  const answers = Array.from({ length: 10 }, () => wait(keeper));
  links[0]?.becomeReady();
  expect(answers).toEqual(Array.from({ length: 10 }, () => [links[0]]));
  expect(links.length).toBe(1);
  clock.advance(600_000);
  expect([keeper.category, links[0]?.stops, clock.pending]).toEqual(["sleeping", [0], 0]);
});

test("Keeper.want() does not lose its place in line to those who come after it", () => {
  const { keeper, links, scheduler } = rig({ server: { startupMode: "lazy_loading" } });
  const order: string[] = [];
  const request = { patienceMs: 1, firstDeadlineMs: 1, onEvict: () => {} };
  const busy = scheduler.ticket({ ...request, rank: 0, onStart: () => {} });
  busy.join();
  wait(keeper);
  const other = scheduler.ticket({ ...request, rank: 0, onStart: () => void order.push("other") });
  other.join();
  wait(keeper);
  busy.done();
  expect([links.length, order]).toEqual([1, []]);
});

test("Keeper.want() plans the next attempt before it tells the waiters that this one failed", () => {
  const { keeper, fail } = rig();
  keeper.start();
  let nextAttemptAt: number | undefined;
  keeper.want({
    resolve: () => {},
    reject: () => {
      ({ nextAttemptAt } = keeper.status);
    },
  });
  fail(EXIT);
  expect(nextAttemptAt).toBeGreaterThan(0);
});

test.each([
  ["disabled", {}],
  ["quarantined", {}],
  ["auto_disabled", {}],
  ["active", { faults: [{ file: "", line: 1, column: 1, key: "", message: "", advice: "" }] }],
] as const)(
  "Keeper.want() answers at once where a server is %s and may not be started: %j",
  (startupMode, parts) => {
    const { keeper, links } = rig({ server: { startupMode, ...parts } });
    keeper.start();
    expect([wait(keeper), links.length]).toEqual([["closed"], 0]);
  },
);

test("Keeper.visit() learns the tools and closes, and lets a caller keep the link", () => {
  const alone = rig({ server: { startupMode: "lazy_loading" } });
  expect(alone.keeper.wantsVisit).toBe(true);
  alone.keeper.visit();
  alone.links[0]?.becomeReady();
  expect([alone.keeper.connection, alone.told.at(-1), alone.keeper.wantsVisit]).toEqual([
    "disconnected",
    "visit_ended",
    false,
  ]);
  const called = rig({ server: { startupMode: "lazy_loading" } });
  called.keeper.visit();
  wait(called.keeper);
  called.links[0]?.becomeReady();
  expect([called.keeper.connection, called.told.at(-1)]).toEqual(["ready", "visit_ended"]);
});

test("Keeper says that a visit has ended even when it never left the line", () => {
  const { keeper, scheduler, told } = rig({ server: { startupMode: "lazy_loading" } });
  const request = { rank: 0, patienceMs: 1, firstDeadlineMs: 1, onStart: () => {}, onEvict: () => {} };
  scheduler.ticket(request).join();
  keeper.visit();
  keeper.disconnect("stopped");
  expect(told).toContain("visit_ended");
  expect([scheduler.queued, keeper.wantsVisit]).toEqual([0, false]);
});

test("Keeper keeps its waits when the calendar jumps", () => {
  const { keeper, links, clock, fail } = rig({ server: { autoDisableThreshold: 2 } });
  keeper.start();
  fail(EXIT);
  clock.wallOffsetMs = -24 * 3_600_000;
  clock.advance(999);
  expect(links.length).toBe(1);
  clock.advance(1);
  fail(EXIT);
  clock.wallOffsetMs = 24 * 3_600_000;
  clock.advance(599_999);
  expect(links.length).toBe(2);
  clock.advance(1);
  expect(links.length).toBe(3);
});

test("Keeper.end() leaves no timer, no link and no waiter", () => {
  for (const until of [0, 1, 2, 3]) {
    const { keeper, links, clock, fail } = rig({ server: { autoDisableThreshold: 2 } });
    keeper.start();
    if (until === 1) links[0]?.becomeReady();
    for (let failures = 0; failures < until - 1; failures += 1) {
      fail(EXIT);
      if (until === 3) clock.advance(1_000);
    }
    const answers = until === 0 ? wait(keeper) : [];
    keeper.end("the end");
    keeper.end("the end");
    expect([clock.pending, keeper.connection, answers.length]).toEqual([
      0,
      "disconnected",
      until === 0 ? 1 : 0,
    ]);
  }
});
