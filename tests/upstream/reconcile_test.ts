/** Holds what a changed configuration does to the servers it names, and that it touches no other. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { STARTUP_MODES } from "../../src/core/model.ts";
import type { Server, StartupMode } from "../../src/core/model.ts";
import { FAST, hostMocks, mock } from "../fixtures/mocks.ts";
import {
  makeCall,
  makeServer,
  makeSettings,
  openUpstreams,
  readJournal,
  stdioServer,
} from "../fixtures/upstreams.ts";
import type { OpenUpstreams } from "../fixtures/upstreams.ts";
import { failureOf, tempDir, waitFor } from "../fixtures/wait.ts";
import { changeOf, Fleet, simServers } from "./fleet.ts";
import type { ChangeParts } from "./fleet.ts";
import { simServer } from "./simulation.ts";
import { HANGS, healthy } from "./virtual_link.ts";
import { verifies } from "../requirements.ts";

const FAULT = { file: "f", line: 1, column: 1, key: "k", message: "bad", advice: "mend" };
const KNOWN = { everConnected: true, toolCount: 5 } as const;

test("Supervisor.reconcile() restarts what changed, starts what is new, ends what is gone, and touches no other of 159", () => {
  verifies("RECONCILE-ONLY-CHANGED");
  const names = Array.from({ length: 159 }, (_, at) => `s${at}`);
  const fleet = new Fleet(simServers(...names), { settings: { maxConcurrentConnections: 40 } }).start();
  const others = names.slice(4).map((name) => ({ name, link: fleet.get(name).link }));
  const busy = others.slice(0, 20).flatMap(({ link }) => link ?? []);
  for (const link of busy) link.use(60_000);
  fleet.hush();
  const opened = fleet.opened(() =>
    fleet.change({
      restarted: ["s0", "s1", "s2"].map((name) => simServer(name, { url: `http://127.0.0.1/${name}/new` })),
      added: simServers("new"),
      removed: ["s3"],
    }),
  );
  expect(opened.toSorted()).toEqual(["new", "s0", "s1", "s2"]);
  expect(fleet.stops.toSorted(([a], [b]) => (a < b ? -1 : 1))).toEqual([
    ["s0", 5_000],
    ["s1", 5_000],
    ["s2", 5_000],
    ["s3", 5_000],
  ]);
  fleet.clock.advance(1_000);
  expect(new Set(fleet.events.map(({ server }) => server))).toEqual(new Set(["new", "s0", "s1", "s2", "s3"]));
  expect(others.every(({ name, link }) => link !== undefined && fleet.get(name).link === link)).toBe(true);
  expect(busy.map(({ isLive, inFlight }) => isLive && inFlight)).toEqual(busy.map(() => 1));
  expect([...names.slice(0, 3), "new"].map((name) => fleet.get(name).connection)).toEqual(
    Array.from({ length: 4 }, () => "ready"),
  );
});

test("Supervisor.reconcile() leaves those who wait for another server in line, and gives each its link", () => {
  const fleet = new Fleet(simServers("slow", "other"), {
    nature: ({ name }) => healthy(name === "slow" ? 3_000 : 100),
  }).start();
  const answers: unknown[] = [];
  for (let caller = 0; caller < 20; caller += 1) {
    fleet.get("slow").want({ resolve: (link) => answers.push(link), reject: (why) => answers.push(why) });
  }
  fleet.change({
    restarted: [simServer("other", { url: "http://127.0.0.1/moved" })],
    added: simServers("new"),
  });
  fleet.clock.advance(3_000);
  expect(answers).toEqual(Array.from({ length: 20 }, () => fleet.get("slow").link));
});

const EVENTS: readonly (readonly [what: string, parts: ChangeParts, told: readonly string[]])[] = [
  ["added", { added: simServers("c") }, ["server_added c", "c active/connecting"]],
  ["removed", { removed: ["a"] }, ["a active/disconnected", "server_removed a"]],
  [
    "restarted",
    { restarted: [simServer("a", { url: "http://127.0.0.1/b" })] },
    ["server_changed a", "a active/disconnected", "a active/connecting"],
  ],
  ["updated", { updated: [simServer("a", { tags: ["t"] })] }, ["server_changed a"]],
  [
    "renamed",
    { renamed: [{ from: "a", to: "z", server: simServer("z", { url: "http://127.0.0.1/a" }) }] },
    ["server_renamed z"],
  ],
  ["disabled", { modes: { a: "disabled" } }, ["a disabled/ready", "a disabled/disconnected"]],
  [
    "quarantined",
    { modes: { a: "quarantined" } },
    ["a quarantined/ready", "quarantine_changed a", "a quarantined/disconnected"],
  ],
  ["made lazy", { modes: { a: "lazy_loading" } }, ["a lazy_loading/ready"]],
  [
    "auto-disabled by the file",
    { modes: { a: "auto_disabled" } },
    ["a auto_disabled/ready", "server_auto_disabled a", "a auto_disabled/disconnected"],
  ],
  [
    "restarted and disabled at once",
    { restarted: [simServer("a", { url: "http://127.0.0.1/b" })], modes: { a: "disabled" } },
    ["server_changed a", "a disabled/ready", "a disabled/disconnected"],
  ],
  [
    "renamed and disabled at once",
    {
      renamed: [{ from: "a", to: "z", server: simServer("z", { url: "http://127.0.0.1/a" }) }],
      modes: { z: "disabled" },
    },
    ["server_renamed z", "z disabled/ready", "z disabled/disconnected"],
  ],
  ["nothing", {}, []],
];

test.each(EVENTS)("Supervisor.reconcile() tells of a server that was %s exactly so", (_, parts, told) => {
  const fleet = new Fleet(simServers("a", "b")).start();
  fleet.hush();
  fleet.change(parts);
  expect(fleet.told).toEqual([...told]);
});

test("Supervisor.reconcile() says which keys of a server changed", () => {
  const fleet = new Fleet(simServers("a")).start();
  fleet.hush();
  fleet.change({ updated: [simServer("a", { tags: ["t"] })] });
  fleet.change({
    restarted: [simServer("a", { tags: ["t"], env: new Map([["K", "v"]]) })],
  });
  const changed = fleet.events.filter(({ type }) => type === "server_changed");
  expect(changed.map(({ data }) => data)).toEqual([
    { keys: ["tags"], isRestarted: false },
    { keys: ["env"], isRestarted: true },
  ]);
});

test("Supervisor.reconcile() keeps link, calls, failures and history of a renamed server, under the new name", () => {
  verifies("RENAME-KEEPS");
  const fleet = new Fleet(simServers("a", "b", "c")).start();
  const { link } = fleet.get("a");
  link?.use(60_000);
  const { attempts, since } = fleet.get("a").status;
  // The commit moves the row.
  fleet.memory.set("z", { ...fleet.memory.get("a"), name: "z" } as never);
  fleet.memory.delete("a");
  fleet.change({
    renamed: [{ from: "a", to: "z", server: simServer("z", { url: "http://127.0.0.1/a" }) }],
  });
  expect([fleet.names, fleet.supervisor.find("a")]).toEqual([["z", "b", "c"], undefined]);
  expect(fleet.get("z").link).toBe(link as never);
  expect([link?.inFlight, link?.server.name]).toEqual([1, "z"]);
  expect(fleet.get("z").status).toMatchObject({ attempts, since });
  fleet.hush();
  link?.refresh();
  fleet.clock.advance(10);
  expect([fleet.memory.get("z")?.toolCount, fleet.memory.has("a")]).toEqual([5, false]);
  fleet.get("z").restart("asked");
  expect(fleet.told).toEqual(["z active/disconnected", "z active/connecting"]);
  expect(fleet.links.at(-1)?.server.name).toBe("z");
});

test("Supervisor.reconcile() does not wake a sleeping server by its new name", () => {
  const fleet = new Fleet(simServers("a"), { settings: { enableLazyLoading: true }, memory: { a: KNOWN } });
  fleet.start();
  fleet.memory.delete("a");
  fleet.learn("z", KNOWN);
  const server = simServer("z", { url: "http://127.0.0.1/a" });
  expect(fleet.opened(() => fleet.change({ renamed: [{ from: "a", to: "z", server }] }))).toEqual([]);
  expect(fleet.get("z").category).toBe("sleeping");
});

test("Supervisor.reconcile() renames and restarts at once", () => {
  const fleet = new Fleet(simServers("a")).start();
  const { link } = fleet.get("a");
  const server = simServer("z", { url: "http://127.0.0.1/other" });
  fleet.hush();
  fleet.change({ renamed: [{ from: "a", to: "z", server }], restarted: [server] });
  expect(fleet.told).toEqual([
    "server_renamed z",
    "server_changed z",
    "z active/disconnected",
    "z active/connecting",
  ]);
  expect(fleet.events[1]?.data).toEqual({ keys: ["url"], isRestarted: true });
  expect([link?.isLive, link?.server.url, fleet.get("z").server.url]).toEqual([
    false,
    "http://127.0.0.1/a",
    "http://127.0.0.1/other",
  ]);
});

test("Supervisor.reconcile() lets two servers swap their names, and a third take the name of one that is gone", () => {
  const fleet = new Fleet(simServers("a", "b", "c", "d")).start();
  const [a, b, c] = ["a", "b", "c"].map((name) => fleet.get(name).link);
  const renamed = (from: string, to: string) => ({ from, to, server: simServer(to, { url: `u-${from}` }) });
  fleet.change({ removed: ["d"], renamed: [renamed("a", "b"), renamed("b", "a"), renamed("c", "d")] });
  expect([fleet.get("b").link, fleet.get("a").link, fleet.get("d").link]).toEqual([a, b, c]);
  expect(fleet.names).toEqual(["b", "a", "d"]);
});

test("Supervisor.reconcile() opens under its new name what stood in line under the old one", () => {
  const fleet = new Fleet(
    Array.from({ length: 3 }, (_, at) => simServer(`s${at}`, { command: `c${at}` })),
    { settings: { maxConcurrentConnections: 1 }, nature: () => HANGS },
  );
  fleet.supervisor.start();
  fleet.change({ renamed: [{ from: "s2", to: "z", server: simServer("z", { command: "c2" }) }] });
  fleet.clock.advance(4_000);
  expect(fleet.links.map(({ server }) => server.name)).toEqual(["s0", "s1", "z"]);
});

test("Supervisor.reconcile() counts a renamed server where many fail together, by its new name", () => {
  const fleet = new Fleet(simServers("a", "b", "c", "d", "e")).start();
  const renamed = [{ from: "a", to: "z", server: simServer("z", { url: "http://127.0.0.1/a" }) }];
  fleet.change({ renamed });
  for (const name of fleet.names)
    fleet.get(name).link?.fail({ class: "exit", message: "", hint: "", stderr: [], at: 0 });
  expect(fleet.supervisor.isSuspended).toBe(true);
  expect(fleet.events.findLast(({ type }) => type === "auto_disable_suspended")?.data).toMatchObject({
    servers: ["z", "b", "c", "d", "e"],
  });
});

test("Supervisor.reconcile() lists the servers in the order of the file", () => {
  const fleet = new Fleet(simServers("a", "b", "c"));
  fleet.change({ added: simServers("n"), removed: ["b"], order: ["n", "c", "a"] });
  expect(fleet.names).toEqual(["n", "c", "a"]);
});

test("Supervisor.reconcile() before the start only takes note; the start is what starts", () => {
  const fleet = new Fleet([simServer("a"), simServer("off", { startupMode: "disabled" })]);
  const opened = fleet.opened(() =>
    fleet.change({
      added: [simServer("n"), simServer("lazy", { startupMode: "lazy_loading" })],
      restarted: [simServer("a", { url: "http://127.0.0.1/b" })],
      modes: { off: "active" },
    }),
  );
  expect([opened, fleet.told]).toEqual([
    [],
    ["server_changed a", "server_added n", "server_added lazy", "off active/disconnected"],
  ]);
  fleet.start();
  expect(fleet.links.map(({ server }) => server.name)).toEqual(["a", "off", "n", "lazy"]);
});

test("Supervisor.reconcile() after the end does nothing", () => {
  const fleet = new Fleet(simServers("a")).start();
  fleet.supervisor.end("the end");
  fleet.hush();
  fleet.change({ added: simServers("n"), removed: ["a"] });
  expect([fleet.told, fleet.clock.pending]).toEqual([[], 0]);
});

test("Supervisor.reconcile() visits lazy servers that are new or other than before, one at a time, and a known one not", () => {
  const lazy = { startupMode: "lazy_loading" } as const;
  const fleet = new Fleet([simServer("known", lazy), simServer("other", lazy)], {
    memory: { known: KNOWN, other: KNOWN },
  }).start();
  expect(fleet.links).toEqual([]);
  fleet.change({
    added: [simServer("n1", lazy), simServer("n2", lazy)],
    restarted: [simServer("other", { ...lazy, url: "http://127.0.0.1/b" })],
  });
  expect(fleet.links.map(({ server }) => server.name)).toEqual(["n1"]);
  fleet.clock.advance(1_000);
  expect(fleet.links.map(({ server }) => server.name)).toEqual(["n1", "n2", "other"]);
  expect(fleet.links.some(({ isLive }) => isLive)).toBe(false);
});

test("Supervisor.reconcile() goes on visiting when the one that is visited, or waits for a visit, is removed", () => {
  const lazy = { startupMode: "lazy_loading" } as const;
  const fleet = new Fleet(
    ["a", "b", "c"].map((name) => simServer(name, lazy)),
    { nature: ({ name }) => (name === "a" ? HANGS : healthy(100)) },
  );
  fleet.supervisor.start();
  fleet.change({ removed: ["a", "b"] });
  fleet.clock.advance(1_000);
  expect(fleet.links.map(({ server }) => server.name)).toEqual(["a", "c"]);
});

test("Supervisor.reconcile() forgets what was learned and what failed of a definition that changed, and its auto-disable", () => {
  const autoDisabled = { reason: "r", at: 1, probes: 3, dueAt: 9e15 };
  const fleet = new Fleet([simServer("a"), simServer("b", { startupMode: "auto_disabled" })], {
    memory: {
      a: { ...KNOWN, era: "legacy", transport: "sse", autoDisabled, formerMode: "active" },
      b: { formerMode: "lazy_loading" },
    },
  }).start();
  expect([fleet.get("a").mode, fleet.get("b").mode]).toEqual(["auto_disabled", "auto_disabled"]);
  fleet.change({
    restarted: [
      simServer("a", { url: "http://127.0.0.1/new" }),
      simServer("b", { url: "http://127.0.0.1/new", startupMode: "auto_disabled" }),
    ],
  });
  expect(fleet.memory.get("a")).toMatchObject({ everConnected: false, toolCount: 0 });
  expect(fleet.memory.get("a")?.era ?? fleet.memory.get("a")?.autoDisabled).toBeUndefined();
  fleet.clock.advance(1_000);
  expect([fleet.get("a").standing, fleet.get("b").mode]).toMatchObject([
    { mode: "active", connection: "ready" },
    "lazy_loading",
  ]);
});

test("Supervisor.reconcile() starts a definition that changed from a URL to a command in the lane of processes", () => {
  const fleet = new Fleet(simServers("a"), { nature: () => HANGS });
  fleet.supervisor.start();
  const { urls, processes } = fleet.supervisor.lanes;
  expect([urls.starting, processes.starting]).toEqual([1, 0]);
  fleet.change({ restarted: [makeServer({ name: "a", command: "npx" })] });
  expect([urls.starting, processes.starting]).toEqual([0, 1]);
});

test("Supervisor.reconcile() leaves an operator's stop alone, until the mode moves", () => {
  const fleet = new Fleet(simServers("a")).start();
  fleet.get("a").disconnect("stopped");
  const opened = fleet.opened(() => {
    fleet.change({ restarted: [simServer("a", { url: "http://127.0.0.1/b" })] });
    fleet.change({ updated: [simServer("a", { url: "http://127.0.0.1/b", tags: ["t"] })] });
    fleet.clock.advance(600_000);
  });
  expect([opened, fleet.get("a").status.isStopped]).toEqual([[], true]);
  fleet.change({ modes: { a: "disabled" } });
  expect(fleet.opened(() => fleet.change({ modes: { a: "active" } }))).toEqual(["a"]);
});

test("Supervisor.reconcile() starts a server whose fault was mended, and ends one that became faulty", () => {
  const fleet = new Fleet([simServer("bad", { faults: [FAULT] }), simServer("good")]).start();
  const opened = fleet.opened(() =>
    fleet.change({ updated: [simServer("bad"), simServer("good", { faults: [FAULT] })] }),
  );
  expect([opened, fleet.stops]).toEqual([["bad"], [["good", 5_000]]]);
  fleet.clock.advance(600_000);
  expect(fleet.links.filter(({ isLive }) => isLive).map(({ server }) => server.name)).toEqual(["bad"]);
});

test("Supervisor.reconcile() forgets nothing of a server whose fault came and went, though its list says restarted", () => {
  const fleet = new Fleet([simServer("bad", { faults: [FAULT] })], { memory: { bad: KNOWN } }).start();
  fleet.hush();
  expect(fleet.opened(() => fleet.change({ restarted: [simServer("bad")] }))).toEqual(["bad"]);
  expect(fleet.events[0]).toMatchObject({ type: "server_changed", data: { isRestarted: true } });
  expect(fleet.memory.get("bad")).toMatchObject(KNOWN);
  fleet.change({ restarted: [simServer("bad", { faults: [FAULT] })] });
  expect([fleet.get("bad").connection, fleet.memory.get("bad")?.everConnected]).toEqual([
    "disconnected",
    true,
  ]);
});

test("Supervisor.reconcile() gives a definition that changed all its starts, and one that was renamed no more than it had", () => {
  const broken = { silentMs: Infinity, workMs: 1, fails: "exit" } as const;
  const settings = { autoDisableThreshold: 0, supervision: { backoffCapMs: 1_000, restartBudget: 3 } };
  const servers = [simServer("a"), simServer("b", { url: "u" })];
  const fleet = new Fleet(servers, { settings, nature: () => broken });
  fleet.supervisor.start();
  fleet.clock.advance(10_000);
  expect(fleet.links).toHaveLength(6);
  const opened = fleet.opened(() => {
    const renamed = [{ from: "b", to: "z", server: simServer("z", { url: "u" }) }];
    fleet.change({ restarted: [simServer("a", { url: "http://127.0.0.1/b" })], renamed });
    fleet.clock.advance(10_000);
  });
  expect(opened).toEqual(["a", "a", "a"]);
});

test("Supervisor.reconcile() takes a new health interval without a new link", () => {
  const fleet = new Fleet(simServers("a")).start();
  const { link } = fleet.get("a");
  if (link) link.isFrozen = true;
  fleet.change({ updated: [simServer("a", { healthCheckIntervalMs: 1_000 })] });
  fleet.clock.advance(3_999);
  expect(fleet.get("a").link).toBe(link as never);
  fleet.clock.advance(1);
  expect(fleet.get("a").connection).toBe("error");
});

test("Supervisor.reconcile() takes a new threshold at the next failure, and keeps a retry that is planned", () => {
  const fleet = new Fleet(simServers("a"), {
    nature: () => ({ silentMs: Infinity, workMs: 1, fails: "exit" }),
  });
  fleet.supervisor.start();
  fleet.clock.advance(1);
  const { nextAttemptAt } = fleet.get("a").status;
  fleet.change({ updated: [simServer("a", { autoDisableThreshold: 2 })] });
  expect([fleet.get("a").status.nextAttemptAt, nextAttemptAt === undefined]).toEqual([nextAttemptAt, false]);
  fleet.clock.advance(1_001);
  expect(fleet.get("a").mode).toBe("auto_disabled");
});

test("Supervisor.reconcile() ends an auto-disable by an explicit enable in the file, or by a commit that cleared it, not by another option", () => {
  const autoDisabled = { reason: "r", at: 1, probes: 0, dueAt: 9e15 };
  const names = ["option", "cleared", "enabled"];
  const off = simServer("enabled", { startupMode: "auto_disabled" });
  const fleet = new Fleet([...simServers("option", "cleared"), off], {
    memory: Object.fromEntries(names.map((name) => [name, { autoDisabled }])),
  }).start();
  expect(names.map((name) => fleet.get(name).mode)).toEqual(names.map(() => "auto_disabled"));
  fleet.learn("cleared", { autoDisabled: undefined });
  const opened = fleet.opened(() =>
    fleet.change({
      updated: [simServer("option", { tags: ["t"] })],
      reviewed: ["cleared", "option"],
      modes: { enabled: "active" },
    }),
  );
  expect(opened.toSorted()).toEqual(["cleared", "enabled"]);
  expect(names.map((name) => fleet.get(name).mode)).toEqual(["auto_disabled", "active", "active"]);
  expect(fleet.memory.get("enabled")?.autoDisabled).toBeUndefined();
});

test("Supervisor.reconcile() leaves on what a probe brought back, though the file still says auto_disabled", () => {
  const off = simServer("a", { startupMode: "auto_disabled" });
  const fleet = new Fleet([off]).start();
  fleet.clock.advance(600_000);
  expect(fleet.get("a").standing).toMatchObject({ mode: "active", connection: "ready" });
  const { link } = fleet.get("a");
  fleet.change({ updated: [{ ...off, tags: ["t"] }], reviewed: ["a"] });
  expect([fleet.get("a").mode, fleet.get("a").link]).toEqual(["active", link]);
});

test("Supervisor.reconcile() brings each mode to each other with one event, and connects what is active then", () => {
  for (const before of STARTUP_MODES) {
    for (const after of STARTUP_MODES) {
      const fleet = new Fleet([simServer("a", { startupMode: before })], { memory: { a: KNOWN } }).start();
      fleet.hush();
      fleet.change({ modes: { a: after } });
      fleet.clock.advance(1_000);
      const moves = fleet.events.filter(
        ({ type, data }) =>
          type === "server_state_changed" &&
          (data as { before: { mode: string } }).before.mode !==
            (data as { after: { mode: string } }).after.mode,
      );
      expect([before, after, moves.length]).toEqual([before, after, before === after ? 0 : 1]);
      expect(fleet.get("a").mode).toBe(after);
      const isUp = after === "active" || (after === "lazy_loading" && before === "active");
      expect([before, after, fleet.get("a").connection]).toEqual([
        before,
        after,
        isUp ? "ready" : "disconnected",
      ]);
    }
  }
});

const UNAPPROVED = "http://127.0.0.1/unapproved";

/** Every word that could start a server, tried on one whose definition nobody approved. */
const VERBS: Readonly<Record<string, (fleet: Fleet) => void>> = {
  start: () => {},
  "Keeper.start": (fleet) => fleet.get("evil").start(),
  connect: (fleet) => fleet.get("evil").connect(),
  restart: (fleet) => fleet.get("evil").restart("asked"),
  visit: (fleet) => fleet.get("evil").visit(),
  want: (fleet) => void fleet.get("evil").want({ resolve: () => {}, reject: () => {} }),
  "disable and enable": (fleet) => {
    fleet.change({ modes: { evil: "disabled" } });
    fleet.change({ modes: { evil: "active" } });
  },
  "make lazy": (fleet) => fleet.change({ modes: { evil: "lazy_loading" } }),
  "auto-disable": (fleet) => fleet.change({ modes: { evil: "auto_disabled" } }),
  "take back": (fleet) => fleet.get("evil").takeBack(0, "a storm"),
  calm: (fleet) => fleet.get("evil").calm(),
  patch: (fleet) => fleet.change({ updated: [simServer("evil", { url: UNAPPROVED, tags: ["t"] })] }),
  "another unapproved definition": (fleet) => {
    fleet.unapproved.add(`${UNAPPROVED}/2`);
    fleet.change({ restarted: [simServer("evil", { url: `${UNAPPROVED}/2` })] });
  },
  rename: (fleet) => {
    const server = simServer("other", { url: UNAPPROVED });
    fleet.change({ renamed: [{ from: "evil", to: "other", server }] });
    fleet.get("other").connect();
  },
  "remove and add": (fleet) => {
    fleet.change({ removed: ["evil"] });
    fleet.change({ added: [simServer("evil", { url: UNAPPROVED })] });
  },
  "other settings": (fleet) => fleet.tune({ enableLazyLoading: true, autoDisableThreshold: 1 }),
  reviewed: (fleet) => fleet.change({ reviewed: ["evil"] }),
};
const WAYS: Readonly<Record<string, (mode: StartupMode) => Fleet>> = {
  "from the start": (startupMode) => {
    const server = simServer("evil", { url: UNAPPROVED, startupMode });
    return new Fleet([server], { unapproved: [UNAPPROVED] }).start();
  },
  "by a reload": (startupMode) => {
    const fleet = new Fleet([simServer("evil", { startupMode })]).start();
    fleet.unapproved.add(UNAPPROVED);
    fleet.change({ restarted: [simServer("evil", { url: UNAPPROVED, startupMode })] });
    return fleet;
  },
};

describe("gate", () => {
  for (const [way, make] of Object.entries(WAYS)) {
    for (const startupMode of ["active", "lazy_loading", "auto_disabled"] as const) {
      test.each(Object.keys(VERBS))(
        `a definition nobody approved (${startupMode} in the file, ${way}) is not started by: %s`,
        (verb) => {
          const fleet = make(startupMode);
          expect(fleet.get("evil").mode).toBe("quarantined");
          const opened = fleet.opened(() => {
            VERBS[verb]?.(fleet);
            fleet.clock.advance(24 * 3_600_000);
          });
          const evil = opened.filter((name) => name === "evil" || name === "other");
          expect([evil, fleet.supervisor.keepers()[0]?.mode]).toEqual([[], "quarantined"]);
        },
      );
    }
  }
});

test("Keeper looks at the approval once more when it is about to start, and then quarantines", () => {
  const fleet = new Fleet([simServer("evil", { url: UNAPPROVED })]).start();
  fleet.get("evil").disconnect("stopped");
  fleet.unapproved.add(UNAPPROVED);
  fleet.hush();
  const answers: unknown[] = [];
  const opened = fleet.opened(() => fleet.get("evil").connect());
  expect(opened).toEqual([]);
  expect(fleet.told).toEqual(["evil quarantined/disconnected", "quarantine_changed evil"]);
  fleet.get("evil").want({ resolve: () => {}, reject: (failure) => answers.push(failure) });
  expect(answers).toEqual([undefined]);
});

test("Supervisor.reconcile() starts a definition once it is approved, as the file's mode says", () => {
  const server = simServer("evil", { url: UNAPPROVED });
  const fleet = new Fleet([server], { unapproved: [UNAPPROVED] }).start();
  fleet.unapproved.clear();
  expect(fleet.opened(() => fleet.change({ reviewed: ["evil"] }))).toEqual(["evil"]);
  expect(fleet.get("evil").mode).toBe("active");
});

test("Supervisor.reconcile() cuts calls at once where what changed is not approved", () => {
  const fleet = new Fleet(simServers("a")).start();
  fleet.unapproved.add(UNAPPROVED);
  fleet.change({ restarted: [simServer("a", { url: UNAPPROVED })] });
  expect([fleet.stops, fleet.get("a").mode]).toEqual([[["a", 0]], "quarantined"]);
});

test("Supervisor.applySettings() holds from then on: idle time, budget, threshold, lanes", () => {
  const servers = Array.from({ length: 4 }, (_, at) => simServer(`s${at}`, { command: `c${at}` }));
  const fleet = new Fleet(servers, { settings: { maxConcurrentConnections: 1 }, nature: () => HANGS });
  fleet.supervisor.start();
  expect(fleet.supervisor.lanes.processes.starting).toBe(1);
  const opened = fleet.opened(() => fleet.tune({ maxConcurrentConnections: 3 }));
  expect([opened, fleet.supervisor.lanes.processes.starting]).toEqual([["s1", "s2"], 3]);
});

test("Supervisor.applySettings() puts servers to sleep when lazy loading is switched on, and wakes them when off", () => {
  const fleet = new Fleet(simServers("a", "b")).start();
  fleet.get("b").link?.fail({ class: "exit", message: "", hint: "", stderr: [], at: 0 });
  fleet.tune({ enableLazyLoading: true, idleDisconnectMs: 10_000 });
  fleet.clock.advance(60_000);
  expect(["a", "b"].map((name) => fleet.get(name).category)).toEqual(["sleeping", "sleeping"]);
  expect(fleet.opened(() => fleet.tune({ enableLazyLoading: false })).toSorted()).toEqual(["a", "b"]);
});

test("Supervisor.reconcile() ends with the modes of the last change, whatever came before", () => {
  const anyMode = fc.constantFrom(...STARTUP_MODES);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), anyMode), { maxLength: 12 }), (moves) => {
      const fleet = new Fleet(simServers("a", "b", "c")).start();
      const last: Record<string, StartupMode> = { a: "active", b: "active", c: "active" };
      for (const [name, mode] of moves) {
        fleet.change({ modes: { [name]: mode } });
        last[name] = mode;
        fleet.clock.advance(500);
      }
      fleet.clock.advance(1_000);
      for (const [name, mode] of Object.entries(last)) {
        expect(fleet.get(name).mode).toBe(mode);
        if (mode === "active") expect(fleet.get(name).connection).toBe("ready");
        if (mode === "disabled" || mode === "quarantined")
          expect(fleet.get(name).connection).toBe("disconnected");
      }
      fleet.supervisor.end("the end");
      expect(fleet.clock.pending).toBe(0);
    }),
    { numRuns: 60 },
  );
});

const SOON = { timeoutMs: 5_000 };

function change(open: OpenUpstreams, parts: ChangeParts): void {
  const servers = open.upstreams.list().map(({ server }) => server);
  open.upstreams.reconcile(changeOf(servers, parts), "the file changed");
}

test.concurrent("Upstreams.reconcile() lets a call of the changed server finish, which delays nobody, and the new one comes at once", async () => {
  await using mocks = hostMocks(mock({ transport: "stdio" }), mock({ name: "other" }));
  const server = mocks.server();
  await using open = openUpstreams([server, mocks.server("other")], { supervision: FAST });
  open.upstreams.start();
  const [link, other] = [await open.upstreams.ready("s", SOON), await open.upstreams.ready("other", SOON)];
  const calls = Array.from({ length: 20 }, () =>
    other.call(makeCall("echo", { args: { _mock: { delayMs: 1_000 } } })),
  );
  const slow = link.call(makeCall("echo", { args: { _mock: { delayMs: 1_500 } } }));
  await waitFor("all arrived", () => mocks.host.counters("other").calls === 20);
  await waitFor("it arrived", () => mocks.host.counters("s").calls === 1);
  change(open, { restarted: [{ ...server, env: new Map([["A", "1"]]) }] });
  const renewed = await open.upstreams.ready("s", SOON);
  expect(renewed).not.toBe(link);
  expect(link.inFlight).toBe(1);
  expect(await slow).toMatchObject({ isError: false });
  for (const answer of await Promise.all(calls)) expect(answer).toMatchObject({ isError: false });
  expect(open.upstreams.find("other")?.link).toBe(other);
  expect(mocks.host.counters("other").starts).toBe(1);
});

test.concurrent("Upstreams.reconcile() keeps the process of a renamed server, and all that is told of it has the new name", async () => {
  const lines: string[] = [];
  const server = stdioServer();
  await using open = openUpstreams(
    [server],
    { supervision: FAST },
    {
      logOf: (name) => (line) => lines.push(`${name}: ${line}`),
    },
  );
  open.upstreams.start();
  const link = await open.upstreams.ready("s", SOON);
  const call = link.call(makeCall("echo"));
  open.store.renameServer("s", "z");
  change(open, { renamed: [{ from: "s", to: "z", server: { ...server, name: "z" } }] });
  expect(await call).toBeDefined();
  expect(await open.upstreams.ready("z", SOON)).toBe(link);
  expect((await failureOf(() => open.upstreams.ready("s", SOON)))["code"]).toBe("SERVER_UNKNOWN");
  link.refresh();
  await waitFor("the tools are read again", () => open.reads.get("z") === 1);
  const failure = await failureOf(() => link.call(makeCall("crash")));
  expect(failure.message).toStartWith("Cannot call 'z:crash'");
  await waitFor("it is up again", () => open.upstreams.find("z")?.status.attempts === 2);
  expect(lines).toContain("z: fatal: the disk is on fire");
  expect(open.lines.find((line) => line.includes("Cannot connect"))).toContain("'z'");
  expect(open.store.findServer("z")).toMatchObject({ everConnected: true, failedLast: true });
  expect(open.store.findServer("s")).toBeUndefined();
  expect(
    open.eventsOf("server_state_changed", "s").every(({ data }) => data.after.connection !== "error"),
  ).toBe(true);
});

test.concurrent("Upstreams starts no process of a definition nobody approved, and one of it once somebody has", async () => {
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  let isApproved = false;
  await using open = openUpstreams(
    [stdioServer(["--journal", journal])],
    { supervision: FAST },
    {
      mayStart: () => isApproved,
    },
  );
  open.upstreams.start();
  const upstream = open.upstreams.find("s");
  upstream?.connect();
  upstream?.restart("asked");
  upstream?.visit();
  change(open, { modes: { s: "lazy_loading" } });
  expect(await failureOf(() => open.upstreams.ready("s", SOON))).toMatchObject({
    code: "SERVER_OFF",
    hint: expect.stringContaining("pprove") as string,
  });
  expect(upstream?.category).toBe("quarantined");
  isApproved = true;
  change(open, { reviewed: ["s"] });
  await open.upstreams.ready("s", SOON);
  expect(readJournal(journal).filter(({ started }) => started)).toHaveLength(1);
});

test.concurrent("Upstreams.applySettings() gives processes that start later the new environment", async () => {
  const env = { customVars: new Map([["WHICH", "new"]]) };
  const shows = (name: string): Server =>
    makeServer({ name, command: "sh", args: ["-c", 'echo "it is ${WHICH:-old}" >&2; exit 1'] });
  const lines: string[] = [];
  await using open = openUpstreams(
    [shows("a")],
    { supervision: FAST, autoDisableThreshold: 1 },
    {
      logOf: (name) => (line) => lines.push(`${name}: ${line}`),
    },
  );
  open.upstreams.start();
  const said = (name: string): string | undefined =>
    lines.find((line) => line.startsWith(name) && line.includes("it is"));
  await waitFor("it has left", () => said("a"));
  const settings = makeSettings({ supervision: FAST, autoDisableThreshold: 1 });
  open.upstreams.applySettings({ ...settings, environment: { ...settings.environment, ...env } });
  change(open, { added: [shows("b")] });
  await waitFor("the other has left", () => said("b"));
  expect([said("a"), said("b")]).toEqual(["a: it is old", "b: it is new"]);
});
