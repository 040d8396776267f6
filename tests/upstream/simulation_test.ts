/**
 * Runs the simulation over its seeds, and proves that it would find a bug.
 *
 * `SEED=17 bun test tests/upstream/simulation_test.ts` replays one seed; `SEEDS=20000` or `MCPPROXY_TEST_FULL=1` makes the run long.
 */
import { afterEach, expect, mock, spyOn, test } from "bun:test";
import { Timers } from "../../src/lib/timers.ts";
import { Attempt } from "../../src/upstream/attempt.ts";
import { AutoDisable } from "../../src/upstream/auto_disable.ts";
import { Cascade } from "../../src/upstream/cascade.ts";
import { Scheduler } from "../../src/upstream/scheduler.ts";
import { verifies } from "../requirements.ts";
import { simulate } from "./chaos.ts";
import { Violation } from "./simulation.ts";

const LONG_SEEDS = 20_000;
const CI_SEEDS = 2_000;
const PLANTED_SEEDS = 200;
const MAX_RUN_MS = 600_000;

const onlySeed = Number(process.env["SEED"] ?? 0);
const seeds =
  Number(process.env["SEEDS"] ?? 0) || (process.env["MCPPROXY_TEST_FULL"] === "1" ? LONG_SEEDS : CI_SEEDS);

afterEach(() => {
  mock.restore();
});

test(
  "the supervisor keeps every rule under seeded faults, verbs and calls, and heals",
  () => {
    verifies("SIMULATION-INVARIANTS", "SCHEDULE-PLACES", "SUPERVISE-ONE-OWNER", "SUPERVISE-CASCADE");
    verifies("SUPERVISE-AUTO-DISABLE");
    const total = { events: 0, steps: 0, suspensions: 0, autoDisables: 0, attempts: 0, evictions: 0 };
    const [from, to] = onlySeed > 0 ? [onlySeed, onlySeed] : [1, seeds];
    let simulatedMs = 0;
    const startedAt = performance.now();
    for (let seed = from; seed <= to; seed += 1) {
      const result = simulate(seed);
      simulatedMs += result.simulatedMs;
      for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += result[key];
    }
    const hours = Math.round(simulatedMs / 3_600_000);
    const took = ((performance.now() - startedAt) / 1_000).toFixed(1);
    console.log(`${to - from + 1} seeds, ${hours} simulated hours in ${took} s: ${JSON.stringify(total)}`);
    // Not idle: what is to be tested does happen.
    if (onlySeed === 0) for (const count of Object.values(total)) expect(count).toBeGreaterThan(100);
  },
  MAX_RUN_MS,
);

test("simulate() tells the same events for the same seed, and others for another", () => {
  verifies("SIMULATION-INVARIANTS");
  const [first, again, other] = [simulate(7), simulate(7), simulate(8)];
  expect(again).toEqual(first);
  expect(other.hash).not.toBe(first.hash);
});

/** The first seed that finds what was planted, and what it says. */
function findPlanted(): { readonly seed: number; readonly message: string } | undefined {
  for (let seed = 1; seed <= PLANTED_SEEDS; seed += 1) {
    try {
      simulate(seed);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      return { seed, message: error.message };
    }
  }
  return undefined;
}

/** Bugs, each planted in one method, and what the world says to it. */
const PLANTED: readonly (readonly [bug: string, plant: () => void, finding: RegExp])[] = [
  [
    "the counter is not reset by 30 s of steadiness or a verb",
    () => spyOn(AutoDisable.prototype, "forgive").mockImplementation(() => {}),
    /failures/,
  ],
  [
    "rate limits are counted as failures",
    () => {
      // oxlint-disable-next-line typescript/unbound-method -- called with its own `this` below
      const { count } = AutoDisable.prototype;
      spyOn(AutoDisable.prototype, "count").mockImplementation(function (
        this: AutoDisable,
        failure,
        isSpent,
      ) {
        count.call(this, { ...failure, class: "exit" }, isSpent);
      });
    },
    /failures/,
  ],
  [
    "suspension never ends by time",
    () => spyOn(Cascade.prototype, "expire").mockImplementation(() => undefined),
    /suspended is true, by the rule false/,
  ],
  [
    "suspension never begins",
    () => spyOn(Cascade.prototype, "failed").mockImplementation(() => undefined),
    /suspended is false, by the rule true|is ready after|auto_disabled/,
  ],
  [
    "a place is not given back when the attempt ends",
    () => {
      // oxlint-disable-next-line typescript/unbound-method -- called with its own `this` below
      const { ticket } = Scheduler.prototype;
      spyOn(Scheduler.prototype, "ticket").mockImplementation(function (this: Scheduler, request) {
        return { ...ticket.call(this, request), done: () => {} };
      });
    },
    /.+/,
  ],
  [
    "an attempt that was given up is not ended",
    () => spyOn(Attempt.prototype, "end").mockImplementation(() => {}),
    /links?/,
  ],
  [
    "the probe of an auto-disabled server comes at once",
    () => spyOn(AutoDisable.prototype, "leftMs").mockImplementation(() => 0),
    /probed before its time/,
  ],
  ["timers are not cleared", () => spyOn(Timers.prototype, "clear").mockImplementation(() => {}), /.+/],
];

test.each(PLANTED)(
  "simulate() finds a planted bug: %s",
  (bug, plant, finding) => {
    verifies("SIMULATION-INVARIANTS");
    plant();
    const found = findPlanted();
    console.log(`${bug}: seed ${found?.seed}: ${found?.message.split("\n")[0]}`);
    expect(found?.message).toMatch(finding);
    expect(found?.message).toContain(`SEED=${found?.seed} bun test`);
  },
  MAX_RUN_MS,
);
