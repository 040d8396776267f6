/**
 * What a seed does to a simulated world: faults, operators and calls, and then the world heals.
 *
 * Owns the dice over servers, settings and events, and the last question: whether all that is wanted is ready in
 * bounded time after healing. Invariant: nothing here reads anything but the seed. Random walks written by
 * hand were rejected: they only find what their writer thought of.
 */
import type { Server, StartupMode } from "../../src/core/model.ts";
import type { Settings } from "../../src/core/settings.ts";
import { Dice, simServer, simSettings, SUPERVISION, World } from "./simulation.ts";
import type { Sim, WorldOptions } from "./simulation.ts";
import { failing, failureOf, HANGS, healthy } from "./virtual_link.ts";
import type { Nature } from "./virtual_link.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Backoff (6 min), Retry-After (2 min), and the line. */
const HEALING_MS = 13 * MINUTE_MS;
/** The longest deadline of an attempt. */
const LAST_ATTEMPTS_MS = 3 * MINUTE_MS;
/** Deadline of an attempt, backoff and line for one that is probed or called. */
const RETURN_MS = 8 * MINUTE_MS;
const MAX_RECOVER_MS = 6 * HOUR_MS;

/** Options of {@link simulate}. */
export interface ChaosOptions {
  /** How long faults come. @default 45 */
  readonly minutes?: number;
}

/** What a seed came to. */
export interface ChaosResult {
  readonly hash: string;
  readonly events: number;
  readonly steps: number;
  readonly suspensions: number;
  readonly autoDisables: number;
  readonly attempts: number;
  readonly evictions: number;
  readonly simulatedMs: number;
}

/** Runs one seed; throws the first broken rule. */
export function simulate(seed: number, options: ChaosOptions = {}): ChaosResult {
  const { minutes = 45 } = options;
  const dice = new Dice(seed ^ 0x5bd1e995);
  const world = new World({ seed, ...population(dice), echoRatio: dice.pick([0, 0, 0.1]) });
  const chaos = new Chaos(world, dice);
  world.start();
  chaos.begin();
  world.advance(minutes * MINUTE_MS);
  chaos.heal();
  world.advance(HEALING_MS);
  checkReady(world);
  checkReturns(world);
  checkSleepers(world);
  const attempts = [...world.sims.values()].reduce((sum, sim) => sum + sim.opens.length, 0);
  const simulatedMs = world.clock.now();
  world.end();
  const { hash, events, steps, suspensions } = world.summary;
  const autoDisables = world.autoDisables.length;
  const { evictions } = world;
  return { hash, events, steps, suspensions, autoDisables, attempts, evictions, simulatedMs };
}

function population(dice: Dice): Pick<WorldOptions, "settings" | "servers"> {
  const count = dice.whole(20, 28);
  const servers = Array.from({ length: count }, (_, at) => {
    const server = anyServer(dice, `s${at}`);
    const isKnown = dice.chance(0.5);
    const memory = isKnown
      ? {
          everConnected: true,
          toolCount: 5,
          connectMs: dice.whole(50, 5_000),
          failedLast: dice.chance(0.3),
        }
      : {};
    return { server, nature: anyGoodNature(dice, server), memory };
  });
  return { settings: anySettings(dice), servers };
}

function anySettings(dice: Dice): Settings {
  return simSettings({
    maxConcurrentConnections: dice.pick([1, 2, 3, 10]),
    maxWaitingConnections: dice.pick([0, 1, 3, 64]),
    enableLazyLoading: dice.chance(0.1),
    idleDisconnectMs: dice.pick([0, 2 * MINUTE_MS, 10 * MINUTE_MS]),
    autoDisableThreshold: dice.pick([0, 2, 3, 3, 5]),
    healthCheckIntervalMs: dice.pick([0, 30_000, 120_000, 120_000]),
    toolDiscoveryIntervalMs: dice.pick([0, 5 * MINUTE_MS]),
    supervision: {
      ...SUPERVISION,
      recoverAfterMs: dice.pick([MINUTE_MS, 10 * MINUTE_MS]),
      restartBudget: dice.pick([3, 5]),
    },
  });
}

function anyServer(dice: Dice, name: string): Server {
  const modes: readonly StartupMode[] = ["lazy_loading", "lazy_loading", "disabled", "quarantined"];
  const isFaulty = dice.chance(0.03);
  const fault = { file: "f", line: 1, column: 1, key: "k", message: "bad", advice: "mend", server: name };
  return simServer(name, {
    ...(dice.chance(0.5) ? { command: "npx" } : {}),
    startupMode: dice.chance(0.65) ? "active" : dice.pick([...modes, "auto_disabled"]),
    autoRecover: dice.chance(0.85),
    ...(dice.chance(0.2) ? { autoDisableThreshold: dice.pick([-1, 1, 4]) } : {}),
    ...(isFaulty ? { faults: [fault] } : {}),
  });
}

function anyGoodNature(dice: Dice, server: Server): Nature {
  const nature = healthy(dice.between(5, dice.chance(0.2) ? 15_000 : 1_500));
  if (dice.chance(0.1)) return { ...nature, authenticates: true };
  if (server.command !== undefined && dice.chance(0.15)) {
    return { ...nature, firstRunMs: dice.between(48_000, 177_000) };
  }
  return nature;
}

function anyBadNature(dice: Dice): Nature {
  const soon = dice.between(5, 3_000);
  switch (dice.whole(0, 11)) {
    case 0:
    case 1:
      return HANGS;
    case 2:
      return { silentMs: soon, workMs: Infinity };
    case 3:
      return failing("exit", soon);
    case 4:
      return failing("network", dice.between(1, 20));
    case 5:
      return failing("auth", soon, { silentMs: soon / 2 });
    case 6:
      return failing("protocol", soon, { silentMs: soon / 2 });
    case 7:
      return failing("rate_limited", soon, {
        silentMs: soon / 2,
        retryAfterMs: dice.between(1_000, 120_000),
      });
    case 8:
      return failing("config", 1);
    case 9:
      return failing("network", 1, { isOurs: true });
    case 10:
      return { ...healthy(dice.between(10_000, 70_000)), silentMs: dice.between(10, 9_000) };
    default:
      return { ...healthy(soon), livesMs: dice.between(100, 40_000) };
  }
}

/** What happens to a world until it heals. */
class Chaos {
  readonly #world: World;
  readonly #dice: Dice;
  readonly #good = new Map<Sim, Nature>();
  #isOver = false;

  constructor(world: World, dice: Dice) {
    this.#world = world;
    this.#dice = dice;
    for (const sim of world.sims.values()) this.#good.set(sim, sim.nature);
  }

  begin(): void {
    const dice = this.#dice;
    for (const sim of this.#world.all()) if (dice.chance(0.35)) this.#spoil(sim);
    this.#often(20_000, () => this.#spoil(dice.pick(this.#world.all())));
    this.#often(40_000, () => this.#crash(dice.pick(this.#world.all())));
    this.#often(60_000, () => this.#freeze(dice.pick(this.#world.all())));
    this.#often(20_000, () => this.#call(dice.pick(this.#world.all())));
    this.#often(50_000, () => this.#order(dice.pick(this.#world.all())));
    this.#often(25 * MINUTE_MS, () => this.#cutNetwork());
  }

  heal(): void {
    this.#isOver = true;
    const world = this.#world;
    world.isNetworkDown = false;
    for (const sim of world.all()) {
      sim.nature = this.#goodOf(sim);
      for (const link of sim.live) link.isFrozen = false;
    }
    this.#logIn();
    // Attempts that began before the healing may still fail as they would have.
    world.advance(LAST_ATTEMPTS_MS);
    this.#logIn();
  }

  /** A login, or a mended definition: what never comes back by itself. */
  #logIn(): void {
    const world = this.#world;
    for (const sim of world.all()) {
      const failed = sim.keeper.status.failure?.class;
      const waits = failed === "auth" || failed === "config" || failed === "protocol";
      if (waits && !sim.isStopped) world.act(() => world.order(sim, "restart"));
    }
  }

  #often(meanMs: number, act: () => void): void {
    this.#world.clock.after(this.#dice.wait(meanMs), () => {
      if (this.#isOver) return;
      act();
      this.#often(meanMs, act);
    });
  }

  #goodOf(sim: Sim): Nature {
    return this.#good.get(sim) ?? sim.nature;
  }

  #spoil(sim: Sim): void {
    sim.nature = anyBadNature(this.#dice);
    this.#world.clock.after(this.#dice.wait(4 * MINUTE_MS), () => {
      sim.nature = this.#goodOf(sim);
    });
  }

  #crash(sim: Sim): void {
    for (const link of sim.live) if (link.isReady) link.fail(failureOf("exit", {}));
  }

  #freeze(sim: Sim): void {
    for (const link of sim.live) link.isFrozen = link.isReady;
  }

  #cutNetwork(): void {
    const world = this.#world;
    world.isNetworkDown = true;
    // Somebody tries to mend it by the means at hand, before anything was seen to fail.
    if (this.#dice.chance(0.4)) this.#orderAll(this.#dice.pick(["restart", "off_and_on", "stop_and_go"]));
    for (const sim of world.all()) {
      for (const link of sim.live) {
        if (!link.isReady || this.#dice.chance(0.1)) continue;
        world.clock.after(this.#dice.between(0, 3_000), () => {
          if (link.isReady) link.fail(failureOf("network", {}));
        });
      }
    }
    // Now and then for longer than counting is suspended.
    world.clock.after(this.#dice.wait(this.#dice.pick([4, 4, 4, 30]) * MINUTE_MS), () => {
      world.isNetworkDown = false;
    });
  }

  /** Most of the servers, at once or with a hand that needs a while. */
  #orderAll(how: "restart" | "off_and_on" | "stop_and_go"): void {
    const verbs = {
      restart: ["restart"],
      off_and_on: ["disable", "activate"],
      stop_and_go: ["disconnect", "connect"],
    } as const;
    const gapMs = this.#dice.pick([0, 0, 500]);
    const all = this.#world.all().filter(({ keeper }) => keeper.mode === "active" && this.#dice.chance(0.9));
    for (const [turn, verb] of verbs[how].entries()) {
      for (const [at, sim] of all.entries()) {
        this.#world.clock.after(gapMs * (turn * all.length + at), () => {
          if (!sim.isRemoved) this.#world.order(sim, verb);
        });
      }
    }
  }

  #call(sim: Sim): void {
    const world = this.#world;
    const count = this.#dice.pick([1, 1, 1, 10]);
    for (let call = 0; call < count; call += 1) world.call(sim, this.#dice.between(100, MINUTE_MS));
  }

  #order(sim: Sim): void {
    const verb = this.#dice.pick([
      "connect",
      "disconnect",
      "restart",
      "activate",
      "make_lazy",
      "disable",
      "quarantine",
      "approve",
      "reject",
      "activate",
      "connect",
      "approve",
      "update",
      "redefine",
      "rename",
    ] as const);
    const mayRemove = this.#world.all().length > 15 && this.#dice.chance(0.05);
    this.#world.order(sim, mayRemove ? "remove" : verb);
    // A nervous hand.
    if (!mayRemove && this.#dice.chance(0.2)) this.#world.act(() => this.#order(sim));
  }
}

/** Wanted by the operator and by nobody else's rule. */
function isWanted(world: World, { keeper, server, isStopped, memory }: Sim): boolean {
  const sleeps = world.settings.enableLazyLoading && (memory?.toolCount ?? 0) > 0;
  return keeper.mode === "active" && !isStopped && server.faults.length === 0 && !sleeps;
}

function checkReady(world: World): void {
  for (const sim of world.all()) {
    if (!isWanted(world, sim) || sim.keeper.connection === "ready") continue;
    const { failure, attempts } = sim.keeper.status;
    const why = `${sim.keeper.connection}, ${attempts} attempts, ${failure?.message}`;
    world.fail(`'${sim.server.name}' is not ready ${HEALING_MS / MINUTE_MS} min after healing: ${why}`);
  }
}

/** Those that were auto-disabled come back by their schedule, or stay off when told so. */
function checkReturns(world: World): void {
  const off = world.all().filter((sim) => sim.keeper.mode === "auto_disabled");
  let lastMs = 0;
  for (const { keeper, server, isStopped } of off) {
    const dueAt = keeper.status.autoDisabled?.dueAt ?? Infinity;
    if (!server.autoRecover || isStopped || server.faults.length > 0) continue;
    lastMs = Math.max(lastMs, dueAt - world.clock.wallNow());
  }
  if (lastMs > MAX_RECOVER_MS) world.fail(`a probe is due in ${lastMs} ms`);
  if (off.length > 0) world.advance(lastMs + RETURN_MS);
  for (const { keeper, server, isStopped } of off) {
    const comesBack = server.autoRecover && !isStopped && server.faults.length === 0;
    if (comesBack === (keeper.mode === "auto_disabled")) {
      world.fail(
        `'${server.name}' is ${keeper.mode}/${keeper.connection}, auto_recover ${server.autoRecover}`,
      );
    }
  }
}

/** Whoever sleeps wakes for a call. */
function checkSleepers(world: World): void {
  const calls = world
    .all()
    .filter(({ keeper, isStopped }) => keeper.category === "sleeping" && !isStopped)
    .map((sim) => ({ sim, call: world.call(sim, RETURN_MS) }));
  world.advance(RETURN_MS);
  for (const { sim, call } of calls) {
    if (call.answer() !== "link") world.fail(`a call of the sleeping '${sim.server.name}': ${call.answer()}`);
  }
}
