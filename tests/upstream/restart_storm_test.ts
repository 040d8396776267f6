/**
 * What an operator's word, or a start of the proxy, does to many servers while the network is down.
 *
 * Owns the rows in which servers fail that were not ready at that moment, though they worked when they were last seen.
 * Nothing but the virtual clock moves them; storms over links that are ready are in `profile_test.ts`.
 */
import { expect, test } from "bun:test";
import type { StartupMode } from "../../src/core/model.ts";
import { verifies } from "../requirements.ts";
import { Fleet } from "./fleet.ts";
import { simServer } from "./simulation.ts";
import { failing, failureOf, HANGS, healthy } from "./virtual_link.ts";
import type { Nature } from "./virtual_link.ts";

const MINUTE_MS = 60_000;
const COUNT = 20;
const NAMES = Array.from({ length: COUNT }, (_, at) => `s${at}`);
const WORKED = { everConnected: true, toolCount: 5, connectMs: 100, failedLast: false };
/** Some refuse, some are silent. */
const CUT_OFF = ({ name }: { readonly name: string }): Nature =>
  name.endsWith("7") ? HANGS : failing("network", 20);

function restart(fleet: Fleet, names: readonly string[]): void {
  for (const name of names) fleet.get(name).restart("restarted");
}

function setModes(fleet: Fleet, mode: StartupMode): void {
  fleet.change({ modes: Object.fromEntries(NAMES.map((name) => [name, mode])) });
}

function suspensions({ events }: Fleet): boolean[] {
  return events.flatMap(({ type, data }) =>
    type === "auto_disable_suspended" && "isSuspended" in data ? [data.isSuspended] : [],
  );
}

function off(fleet: Fleet): string[] {
  return fleet.names.filter((name) => fleet.get(name).mode === "auto_disabled");
}

const VERBS: readonly (readonly [what: string, act: (fleet: Fleet) => void])[] = [
  ["restarts all", (fleet) => restart(fleet, NAMES)],
  [
    "disconnects and connects all",
    (fleet) => {
      for (const name of NAMES) fleet.get(name).disconnect("stopped");
      for (const name of NAMES) fleet.get(name).connect();
    },
  ],
  [
    "disables all and enables them",
    (fleet) => {
      setModes(fleet, "disabled");
      fleet.clock.advance(MINUTE_MS);
      setModes(fleet, "active");
    },
  ],
  ["restarts most of them", (fleet) => restart(fleet, NAMES.slice(0, 12))],
  [
    "restarts them one by one",
    (fleet) => {
      for (const name of NAMES) {
        restart(fleet, [name]);
        fleet.clock.advance(500);
      }
    },
  ],
];

test.each(VERBS)("Supervisor suspends counting when an operator %s while the network is down", (_, act) => {
  verifies("SUPERVISE-CASCADE-RESTART");
  const fleet = new Fleet(NAMES.map((name) => simServer(name))).start();
  fleet.hush();
  fleet.nature = CUT_OFF;
  act(fleet);
  fleet.clock.advance(10 * MINUTE_MS);
  expect(suspensions(fleet)).toEqual([true]);
  expect([fleet.supervisor.isSuspended, fleet.supervisor.state, off(fleet)]).toEqual([true, "degraded", []]);
  fleet.nature = () => healthy(100);
  fleet.clock.advance(10 * MINUTE_MS);
  expect(NAMES.filter((name) => fleet.get(name).connection !== "ready")).toEqual([]);
  expect([suspensions(fleet), fleet.supervisor.state, off(fleet)]).toEqual([[true, false], "running", []]);
});

test("Supervisor suspends counting when a proxy that knows its servers starts without a network, and once more after that", () => {
  verifies("SUPERVISE-CASCADE-RESTART");
  const servers = NAMES.map((name, at) => simServer(name, at % 2 === 0 ? { command: "npx" } : {}));
  const memory = Object.fromEntries(NAMES.map((name) => [name, WORKED]));
  const first = new Fleet(servers, { memory, nature: CUT_OFF }).start();
  first.clock.advance(10 * MINUTE_MS);
  expect([first.supervisor.isSuspended, off(first)]).toEqual([true, []]);
  // What fell with all others is no reason to mistrust it when the proxy is restarted to mend it.
  expect(NAMES.filter((name) => first.memory.get(name)?.failedLast === true)).toEqual([]);
  const again = new Fleet(servers, { memory: Object.fromEntries(first.memory), nature: CUT_OFF }).start();
  again.clock.advance(10 * MINUTE_MS);
  expect([again.supervisor.isSuspended, off(again)]).toEqual([true, []]);
});

test("Supervisor suspends for 30 minutes at most, and then switches off what still fails", () => {
  verifies("SUPERVISE-CASCADE-RESTART", "SUPERVISE-AUTO-DISABLE");
  const fleet = new Fleet(NAMES.map((name) => simServer(name))).start();
  fleet.nature = CUT_OFF;
  restart(fleet, NAMES);
  fleet.clock.advance(60 * MINUTE_MS);
  expect(suspensions(fleet)).toEqual([true, false]);
  expect(off(fleet)).toEqual(NAMES);
  // And it stands in the memory now: they are not trusted the next time.
  expect(NAMES.filter((name) => fleet.memory.get(name)?.failedLast !== true)).toEqual([]);
});

const FEW: readonly (readonly [
  what: string,
  bad: number,
  act: (fleet: Fleet, bad: readonly string[]) => void,
])[] = [
  ["one that is restarted", 1, restart],
  ["nine of twenty that are restarted", 9, restart],
  ["nine of twenty, when all are restarted", 9, (fleet) => restart(fleet, NAMES)],
];

test.each(FEW)("Supervisor switches off what fails by itself: %s", (_, count, act) => {
  verifies("SUPERVISE-CASCADE-RESTART", "SUPERVISE-AUTO-DISABLE");
  const fleet = new Fleet(NAMES.map((name) => simServer(name))).start();
  const bad = NAMES.slice(0, count);
  fleet.nature = ({ name }) => (bad.includes(name) ? failing("network", 20) : healthy(100));
  act(fleet, bad);
  fleet.clock.advance(MINUTE_MS);
  expect([suspensions(fleet), off(fleet)]).toEqual([[], bad]);
});

test("Supervisor switches off, at a start, what never worked and what failed the last time, however many they are", () => {
  verifies("SUPERVISE-CASCADE-RESTART", "SUPERVISE-AUTO-DISABLE");
  const bad = NAMES.slice(0, 15);
  const broken = { ...WORKED, failedLast: true };
  const fleet = new Fleet(
    NAMES.map((name) => simServer(name)),
    {
      memory: Object.fromEntries(bad.slice(0, 8).map((name) => [name, broken])),
      nature: ({ name }) => (bad.includes(name) ? failing("network", 20) : healthy(100)),
    },
  ).start();
  fleet.clock.advance(MINUTE_MS);
  expect([suspensions(fleet), off(fleet)]).toEqual([[], bad]);
  // Enabling them by hand is no fall either.
  setModes(fleet, "disabled");
  setModes(fleet, "active");
  fleet.clock.advance(MINUTE_MS);
  expect(suspensions(fleet)).toEqual([]);
});

test("Supervisor does not reckon with those an operator stopped when most of the others fall", () => {
  verifies("SUPERVISE-CASCADE-RESTART");
  const fleet = new Fleet(NAMES.map((name) => simServer(name))).start();
  for (const name of NAMES.slice(0, 12)) fleet.get(name).disconnect("stopped");
  fleet.nature = CUT_OFF;
  for (const name of NAMES.slice(12, 17)) fleet.get(name).link?.fail(failureOf("network", {}));
  expect(suspensions(fleet)).toEqual([true]);
});
