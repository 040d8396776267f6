/**
 * A world in which the supervisor lives for hours within milliseconds, and a second opinion on all it does.
 *
 * Owns the virtual servers, and a model that is written from SPEC §3 and kept apart from the code: places,
 * counters, suspension and what may be started are worked out a second time here. Invariants: the same seed gives the
 * same events; the first broken rule stops the world with its seed. Comparing only the end was rejected:
 * most faults heal before anybody looks.
 */
import { EventBus } from "../../src/core/events.ts";
import type { ProxyEvent, ServerStanding } from "../../src/core/events.ts";
import type { Category, ConnectionState, Server, StartupMode } from "../../src/core/model.ts";
import type { Settings, SupervisionSettings } from "../../src/core/settings.ts";
import type { Learned, ServerMemory } from "../../src/state/store.ts";
import type { Keeper } from "../../src/upstream/keeper.ts";
import type { Failure, LinkHooks } from "../../src/upstream/link.ts";
import { Supervisor } from "../../src/upstream/supervisor.ts";
import type { Reconciliation } from "../../src/upstream/supervisor.ts";
import { moveMode } from "../../src/upstream/transition.ts";
import type { ModeEvent } from "../../src/upstream/transition.ts";
import { makeServer, makeSettings } from "../fixtures/upstreams.ts";
import type { SettingsParts } from "../fixtures/upstreams.ts";
import { VirtualClock } from "./virtual_clock.ts";
import { VirtualLink } from "./virtual_link.ts";
import type { LinkWorld, Nature } from "./virtual_link.ts";

/** Numbers that follow from a seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 0x9e3779b1) >>> 0;
  }

  readonly next = (): number => {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };

  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** In [low, high]. */
  whole(low: number, high: number): number {
    return Math.floor(this.between(low, high + 1));
  }

  chance(ratio: number): boolean {
    return this.next() < ratio;
  }

  pick<T>(from: readonly T[]): T {
    const found = from[Math.floor(this.next() * from.length)];
    if (found === undefined) throw new RangeError("Cannot pick from nothing");
    return found;
  }

  /** A wait of an event that comes every `meanMs`. */
  wait(meanMs: number): number {
    return -meanMs * Math.log(1 - this.next());
  }
}

/** A rule of SPEC §3 was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** A server definition with the given parts; one over HTTP unless it has a command. */
export function simServer(name: string, parts: Partial<Server> = {}): Server {
  const url = `http://127.0.0.1/${name}`;
  return makeServer({ name, ...(parts.command === undefined ? { url } : {}), ...parts });
}

/** Parts of the settings of a simulation. */
export type SimSettings = SettingsParts;

/** The defaults of SPEC §1 with the given parts. */
export function simSettings(parts: SimSettings = {}): Settings {
  return makeSettings({ connectionTimeoutMs: 60_000, ...parts });
}

/** The defaults of SPEC §1 for the deadlines and waits. */
export const SUPERVISION: SupervisionSettings = makeSettings().supervision;

/** A virtual server, and what the model holds of it. */
export interface Sim {
  server: Server;
  readonly keeper: Keeper<VirtualLink>;
  /** What it does in its next attempt. */
  nature: Nature;
  memory: ServerMemory | undefined;
  /** Links that were opened and not stopped. */
  readonly live: Set<VirtualLink>;
  readonly opens: number[];
  /** How many of them were of an earlier definition. */
  forgiven: number;
  /** First time it was started, and when it became ready, on the virtual clock. */
  startedAt: number | undefined;
  readonly readyTimes: number[];
  /** It was ready when it was last seen: that it fails is its fall. */
  isTrusted: boolean;
  standing: ServerStanding;
  failures: number;
  readyAt: number;
  waiting: number;
  isStopped: boolean;
  /** Somebody wants a server that nobody starts by itself. */
  isAsked: boolean;
  /** An operator asked: the restart budget does not hold. */
  isOrdered: boolean;
  isRemoved: boolean;
  isDirty: boolean;
}

/** What an operator can do with a server. */
export type Order =
  | "connect"
  | "disconnect"
  | "restart"
  | "remove"
  | "update"
  | "redefine"
  | "rename"
  | ModeEvent;

/** Options of {@link World}. */
export interface WorldOptions {
  readonly seed: number;
  readonly settings: Settings;
  readonly servers: readonly {
    readonly server: Server;
    readonly nature: Nature;
    readonly memory?: Learned;
  }[];
  /** Share of stopped links that call back though they must not. @default 0 */
  readonly echoRatio?: number;
  /** Told of every event after it was checked. */
  readonly onEvent?: (event: ProxyEvent) => void;
}

const STEADY_MS = 30_000;
const BUDGET_WINDOW_MS = 60_000;
const CASCADE_WINDOW_MS = 60_000;
const SUSPENSION_MS = 30 * 60_000;
const FULL_CHECK_STEPS = 64;

/** Moves of the connection that SPEC §3 allows, as `from>to`. */
const MOVES = new Set(
  `disconnected>connecting error>connecting connecting>authenticating connecting>discovering
  authenticating>discovering discovering>ready connecting>error authenticating>error discovering>error ready>error
  connecting>disconnected authenticating>disconnected discovering>disconnected ready>disconnected
  error>disconnected`.split(/\s+/),
);
/** Moves of the mode, without those by way of quarantine. */
const MODE_MOVES = new Set(
  `active>lazy_loading lazy_loading>active active>disabled lazy_loading>disabled active>auto_disabled
  lazy_loading>auto_disabled disabled>active disabled>lazy_loading auto_disabled>active
  auto_disabled>lazy_loading auto_disabled>disabled`.split(/\s+/),
);

/** The supervisor among virtual servers, watched. */
export class World {
  readonly clock = new VirtualClock();
  readonly dice: Dice;
  readonly bus: EventBus;
  readonly supervisor: Supervisor<VirtualLink>;
  readonly sims = new Map<string, Sim>();
  readonly settings: Settings;
  readonly #seed: number;
  readonly #ownClock = this.clock.view();
  readonly #linkWorld: LinkWorld;
  readonly #failed: { readonly sim: Sim; readonly failure: Failure; readonly spent: number }[] = [];
  /** The second opinion on suspension. */
  readonly #ready = new Set<string>();
  readonly #down = new Map<string, number>();
  #suspendedAt: number | undefined;
  #isSuspendedByEvent = false;
  #suspensions = 0;
  #beganNow = false;
  #lastEvent = 0;
  /** What a listener of the bus threw. */
  #broken: Error | undefined;
  #steps = 0;
  #hash = 0n;
  isNetworkDown = false;
  evictions = 0;
  /** The most attempts that were seen in places and in rooms. */
  readonly peaks = { places: { stdio: 0, http: 0 }, waiting: { stdio: 0, http: 0 } };
  readonly autoDisables: { readonly name: string; readonly at: number }[] = [];

  constructor(options: WorldOptions) {
    const { seed, settings, servers, echoRatio = 0, onEvent } = options;
    this.#seed = seed;
    this.dice = new Dice(seed);
    this.settings = settings;
    this.bus = new EventBus({
      now: this.clock.wallNow,
      onListenerError: (error) => {
        this.#broken ??= error instanceof Error ? error : new Error(String(error));
      },
    });
    this.bus.subscribe((event) => {
      this.#check(event);
      onEvent?.(event);
    });
    const { dice } = this;
    this.#linkWorld = {
      clock: this.clock,
      onTools: ({ server }) => this.#learn(server.name, { toolCount: 5 }),
      onFailure: (link, failure) => {
        const sim = this.sim(link.server.name);
        this.#failed.push({ sim, failure, spent: this.#spent(sim) });
      },
      onStop: (link) => void this.sim(link.server.name).live.delete(link),
      get echoMs() {
        return echoRatio > 0 && dice.chance(echoRatio) ? dice.between(0, 40_000) : undefined;
      },
    };
    const memories = new Map<string, ServerMemory>();
    for (const { server, memory } of servers) {
      if (memory) memories.set(server.name, { ...BLANK, name: server.name, ...memory });
    }
    this.supervisor = new Supervisor<VirtualLink>({
      servers: servers.map(({ server }) => server),
      settings,
      clock: this.#ownClock,
      random: this.dice.next,
      bus: this.bus,
      open: (server, hooks) => this.#open(server, hooks),
      recall: (name) => this.sims.get(name)?.memory ?? memories.get(name),
      remember: (name, learned) => this.#learn(name, learned),
    });
    for (const { server, nature } of servers) this.#add(server, nature, memories.get(server.name));
  }

  /** Number of events, timers run, and a hash over all that was told. */
  get summary(): {
    readonly events: number;
    readonly steps: number;
    readonly suspensions: number;
    readonly hash: string;
  } {
    return {
      events: this.#lastEvent,
      steps: this.#steps,
      suspensions: this.#suspensions,
      hash: this.#hash.toString(16),
    };
  }

  get isSuspended(): boolean {
    return this.#suspendedAt !== undefined;
  }

  sim(name: string): Sim {
    const sim = this.sims.get(name);
    if (sim === undefined) throw new RangeError(`Cannot find a virtual server named '${name}'`);
    return sim;
  }

  /** Those that are not removed. */
  all(): Sim[] {
    return [...this.sims.values()].filter((sim) => !sim.isRemoved);
  }

  /** Lets time pass; each timer is followed by all checks. */
  advance(ms: number): void {
    this.clock.advance(ms, () => this.settle());
    this.settle();
  }

  /** Does something at once, followed by all checks. */
  act(run: () => void): void {
    run();
    this.settle();
  }

  start(): void {
    this.act(() => this.supervisor.start());
  }

  /** Ends everything; nothing may be left. */
  end(): void {
    const opened = this.all().reduce((sum, sim) => sum + sim.opens.length, 0);
    this.act(() => this.supervisor.end("the simulation ends"));
    const openedAfter = this.all().reduce((sum, sim) => sum + sim.opens.length, 0);
    if (openedAfter !== opened) this.fail(`${openedAfter - opened} attempts began while the proxy stopped`);
    if (this.#ownClock.pending() > 0) this.fail(`${this.#ownClock.pending()} timers are left after the end`);
    const { processes, urls } = this.supervisor.lanes;
    for (const lane of [processes, urls]) {
      if (lane.starting + lane.waiting + lane.queued > 0)
        this.fail("a place, a room or the line is not empty");
    }
    for (const sim of this.sims.values()) {
      if (sim.live.size > 0) this.fail(`a link to '${sim.server.name}' is left after the end`);
      if (sim.waiting > 0) this.fail(`somebody still waits for '${sim.server.name}'`);
      if (sim.keeper.connection !== "disconnected") this.fail(`'${sim.server.name}' is not disconnected`);
    }
  }

  fail(message: string): never {
    throw new Violation(
      `${message}\n  at ${Math.round(this.clock.now())} ms of seed ${this.#seed}; replay: SEED=${this.#seed} bun test tests/upstream/simulation_test.ts`,
    );
  }

  /** Somebody calls a tool of the server, and can wait so long. */
  call(sim: Sim, timeoutMs: number): { readonly answer: () => string | undefined } {
    const { keeper } = sim;
    let answer: string | undefined;
    const tell = (what: string): void => {
      if (answer !== undefined)
        this.fail(`a call of '${sim.server.name}' was told '${answer}', then '${what}'`);
      answer = what;
      sim.waiting -= 1;
      sim.isDirty = true;
    };
    sim.waiting += 1;
    const isOff = keeper.mode !== "active" && keeper.mode !== "lazy_loading";
    const mayStart = !isOff && !sim.isStopped && sim.server.faults.length === 0;
    if (mayStart) sim.isAsked = true;
    const giveUp = keeper.want({
      resolve: (link) => {
        if (!link.isLive || !link.isReady) this.fail(`a call of '${sim.server.name}' was given a dead link`);
        tell("link");
        link.use(this.dice.between(1, 5_000));
      },
      reject: (failure) => {
        tell(failure?.class ?? "closed");
        // Who cannot wait asks again before the server has drawn breath.
        if (mayStart && timeoutMs > 1_000 && this.dice.chance(0.2)) this.call(sim, timeoutMs / 4);
      },
    });
    if (!mayStart && answer === undefined) this.fail(`a call of '${sim.server.name}' waits though it is off`);
    this.clock.after(timeoutMs, () => {
      giveUp();
      if (answer === undefined) tell("late");
    });
    return { answer: () => answer };
  }

  /** An operator's word. */
  order(sim: Sim, verb: Order): void {
    const { keeper, server } = sim;
    sim.isDirty = true;
    if (verb === "disconnect") {
      sim.isStopped = true;
      keeper.disconnect("stopped");
    } else if (verb === "remove") {
      sim.isRemoved = true;
      this.#reconcile({ removed: [server.name] });
      this.#down.delete(server.name);
      this.#ready.delete(server.name);
      if (this.#down.size === 0) this.#endSuspension();
    } else if (verb === "connect" || verb === "restart") {
      [sim.isStopped, sim.isOrdered, sim.isAsked, sim.failures] = [false, true, true, 0];
      if (verb === "connect") keeper.connect();
      else {
        keeper.restart("restarted");
      }
    } else if (verb === "update" || verb === "redefine" || verb === "rename") this.#configure(sim, verb);
    else this.#setMode(sim, verb);
  }

  /** The file changes the server's mode, where the table allows it. */
  #setMode(sim: Sim, verb: ModeEvent): void {
    const { keeper, server } = sim;
    const isLazy = server.startupMode === "lazy_loading";
    const former = sim.memory?.formerMode ?? (isLazy ? "lazy_loading" : "active");
    const after = moveMode(keeper.mode, verb, former);
    if (after === undefined) return;
    [sim.isStopped, sim.isOrdered, sim.failures] = [false, true, 0];
    const wasTrying = keeper.status.isTrying;
    const { name, startupMode: before } = server;
    sim.server = { ...server, startupMode: after };
    this.#reconcile({ modes: [{ name, before, after }] });
    if (keeper.mode !== after) this.fail(`'${name}' is ${keeper.mode} though the file says ${after}`);
    // An attempt under way goes on when its server is made lazy, also by way of an eviction.
    sim.isAsked ||= wasTrying && after === "lazy_loading" && keeper.status.isTrying;
  }

  /** The file changes something else of the server. */
  #configure(sim: Sim, what: "update" | "redefine" | "rename"): void {
    const { server, keeper } = sim;
    const { name } = server;
    if (what === "update") {
      const healthCheckIntervalMs = this.dice.pick([0, 30_000, 60_000]);
      const autoDisableThreshold = this.dice.pick([-1, 1, 3, 5]);
      sim.server = { ...server, healthCheckIntervalMs, autoDisableThreshold };
      const links = [...sim.live];
      this.#reconcile({ updated: [sim.server] });
      if (links.some((link) => !sim.live.has(link))) this.fail(`'${name}' lost its link by another option`);
    } else if (what === "redefine") {
      const isOn = keeper.mode === "auto_disabled";
      [sim.forgiven, sim.failures, sim.isTrusted] = [sim.opens.length, 0, false];
      if (isOn) sim.isStopped = false;
      sim.server = { ...server, workingDir: `/${this.dice.whole(0, 1e9)}` };
      this.#reconcile({ restarted: [sim.server] });
      if (keeper.mode === "auto_disabled") this.fail(`'${name}' is off though its definition changed`);
    } else {
      const to = `${name}'`;
      const links = [...sim.live];
      this.#rename(sim, to);
      this.#reconcile({ renamed: [{ from: name, to, server: sim.server }] });
      if (links.some((link) => !sim.live.has(link))) this.fail(`'${to}' lost its link by its new name`);
      if (this.supervisor.find(name) !== undefined) this.fail(`'${name}' is still there`);
      if (this.supervisor.find(to) !== keeper) this.fail(`'${to}' has another keeper`);
    }
  }

  #rename(sim: Sim, to: string): void {
    const { name } = sim.server;
    sim.server = { ...sim.server, name: to };
    this.sims.delete(name);
    this.sims.set(to, sim);
    if (this.#ready.delete(name)) this.#ready.add(to);
    const downAt = this.#down.get(name);
    if (this.#down.delete(name)) this.#down.set(to, downAt ?? 0);
  }

  #reconcile(change: Partial<Reconciliation>): void {
    const servers = this.all().map(({ server }) => server);
    const nothing = { added: [], removed: [], restarted: [], updated: [], renamed: [], modes: [] };
    this.supervisor.reconcile({ ...nothing, ...change, servers }, "the file changed");
    const wrong = this.supervisor.keepers().find(({ server }, at) => server !== servers[at]);
    if (wrong) this.fail(`'${wrong.server.name}' has not the definition of the file, or not its place`);
  }

  /** All checks that hold between two timers. */
  settle(): void {
    this.#steps += 1;
    if (this.#broken !== undefined) throw this.#broken;
    this.#count();
    const { now } = this.clock;
    if (this.#suspendedAt !== undefined && now() >= this.#suspendedAt + SUSPENSION_MS) this.#endSuspension();
    if (this.isSuspended !== this.supervisor.isSuspended || this.isSuspended !== this.#isSuspendedByEvent) {
      this.fail(`suspended is ${this.supervisor.isSuspended}, by the rule ${this.isSuspended}`);
    }
    const isFull = this.#steps % FULL_CHECK_STEPS === 0;
    for (const sim of this.sims.values()) {
      if (sim.failures > 0 && sim.standing.connection === "ready" && now() >= sim.readyAt + STEADY_MS) {
        sim.failures = 0;
      }
      if (!sim.isDirty && !isFull) continue;
      sim.isDirty = false;
      this.#checkSim(sim);
    }
    this.#beganNow = false;
    this.#checkLane("stdio");
    this.#checkLane("http");
  }

  #add(server: Server, nature: Nature, memory: ServerMemory | undefined): void {
    const keeper = this.supervisor.find(server.name);
    if (keeper === undefined) this.fail(`'${server.name}' has no keeper`);
    this.sims.set(server.name, {
      server,
      keeper,
      nature,
      memory,
      live: new Set(),
      opens: [],
      forgiven: 0,
      startedAt: undefined,
      readyTimes: [],
      isTrusted: memory?.everConnected === true && !memory.failedLast,
      standing: keeper.standing,
      failures: 0,
      readyAt: 0,
      waiting: 0,
      isStopped: false,
      isAsked: false,
      isOrdered: false,
      isRemoved: false,
      isDirty: true,
    });
  }

  #learn(name: string, learned: Learned): void {
    const sim = this.sim(name);
    sim.memory = { ...BLANK, ...sim.memory, name, ...learned };
  }

  #open(server: Server, hooks: LinkHooks): VirtualLink {
    const sim = this.sim(server.name);
    this.#checkOpen(sim);
    const now = this.clock.now();
    sim.opens.push(now);
    sim.startedAt ??= now;
    sim.isOrdered = false;
    const { firstRunMs } = sim.nature;
    const isFirstRun = firstRunMs !== undefined && !sim.memory?.everConnected;
    const nature = isFirstRun
      ? { ...sim.nature, silentMs: firstRunMs, workMs: firstRunMs + 500 }
      : sim.nature;
    const link = new VirtualLink(server, {
      nature: this.isNetworkDown ? this.#cutOff(nature) : nature,
      world: this.#linkWorld,
      hooks,
    });
    sim.live.add(link);
    return link;
  }

  /** Without a network some fail at once, some hang. */
  #cutOff(nature: Nature): Nature {
    if (nature.fails === "config") return nature;
    return this.dice.chance(0.3)
      ? { silentMs: Infinity, workMs: Infinity }
      : { silentMs: Infinity, workMs: this.dice.between(5, 500), fails: "network" };
  }

  #checkOpen(sim: Sim): void {
    const { name, faults, autoRecover } = sim.server;
    const { mode } = sim.keeper;
    const isOne = sim.live.size === 0;
    if (!isOne) this.fail(`'${name}' is started though its last link is not stopped`);
    if (sim.isRemoved || faults.length > 0) this.fail(`'${name}' is started though it is removed or faulty`);
    if (sim.isStopped) this.fail(`'${name}' is started though an operator stopped it`);
    if (mode === "disabled" || mode === "quarantined") this.fail(`'${name}' is started though it is ${mode}`);
    if (mode === "auto_disabled" && !sim.isAsked) {
      const dueAt = sim.keeper.status.autoDisabled?.dueAt ?? Infinity;
      if (!autoRecover || this.clock.wallNow() < dueAt) this.fail(`'${name}' is probed before its time`);
    }
    const isUnknown = !sim.memory?.everConnected && !sim.memory?.toolCount;
    if (mode !== "auto_disabled" && this.#isSleepy(sim) && !sim.isAsked && !isUnknown) {
      this.fail(`'${name}' is lazy and was started though nobody asked`);
    }
    if (!sim.isOrdered && this.#spent(sim) >= this.settings.supervision.restartBudget) {
      this.fail(`'${name}' is started more often than the restart budget allows`);
    }
  }

  #spent(sim: Sim): number {
    const since = this.clock.now() - BUDGET_WINDOW_MS;
    let spent = 0;
    for (let at = sim.opens.length - 1; at >= sim.forgiven && (sim.opens[at] ?? 0) > since; at -= 1)
      spent += 1;
    return spent;
  }

  #isSleepy({ keeper, memory }: Sim): boolean {
    return (
      keeper.mode === "lazy_loading" || (this.settings.enableLazyLoading && (memory?.toolCount ?? 0) > 0)
    );
  }

  /** One event: it fits what was told before, and what is. */
  #check(event: ProxyEvent): void {
    const { id, time, type, server: name = "", data } = event;
    if (id !== this.#lastEvent + 1) this.fail(`event ${id} follows ${this.#lastEvent}`);
    this.#lastEvent = id;
    this.#hash = Bun.hash.wyhash(`${id}|${time}|${type}|${name}|${JSON.stringify(data)}`, this.#hash);
    const sim = this.sims.get(name);
    if (sim) sim.isDirty = true;
    if (type === "server_state_changed" && sim) this.#moved(sim, event);
    else if (type === "auto_disable_suspended") this.#suspended(event);
    else if (type === "server_auto_disabled" && sim) {
      if (this.#isSuspendedByEvent) this.fail(`'${name}' is auto-disabled while counting is suspended`);
      this.autoDisables.push({ name, at: this.clock.now() });
    } else if (type === "server_recovered" && sim) sim.failures = 0;
  }

  #moved(sim: Sim, { data }: ProxyEvent<"server_state_changed">): void {
    const { before, after, reason } = data;
    const { standing: last, keeper, server } = sim;
    const told = `${server.name}: ${before.mode}/${before.connection} → ${after.mode}/${after.connection}`;
    if (before.mode !== last.mode || before.connection !== last.connection) {
      this.fail(`${told} follows ${last.mode}/${last.connection}`);
    }
    if (!this.settings.enableLazyLoading && before.category !== last.category) {
      this.fail(`${told}: category ${before.category} follows ${last.category}`);
    }
    if (after.mode !== keeper.mode || after.connection !== keeper.connection) this.fail(`${told} is not so`);
    const isMove = before.connection !== after.connection;
    if (isMove === (before.mode !== after.mode)) this.fail(`${told} is not one move`);
    if (isMove && !MOVES.has(`${before.connection}>${after.connection}`)) this.fail(`${told} is no move`);
    if (!isMove && !this.#isModeMove(before.mode, after.mode)) this.fail(`${told} is no move of the mode`);
    if (after.category !== this.#categoryOf(sim)) this.fail(`${told} is filed under ${after.category}`);
    sim.standing = after;
    if (isMove) this.#connectionMoved(sim, { from: before.connection, to: after.connection, reason });
  }

  #isModeMove(from: StartupMode, to: StartupMode): boolean {
    return from === "quarantined" || to === "quarantined" || MODE_MOVES.has(`${from}>${to}`);
  }

  #connectionMoved(
    sim: Sim,
    { from, to, reason }: { from: ConnectionState; to: ConnectionState; reason: string },
  ): void {
    const { name } = sim.server;
    const now = this.clock.now();
    if (to === "ready") {
      [sim.readyAt, sim.isTrusted] = [now, true];
      sim.readyTimes.push(now);
      this.#ready.add(name);
      if (this.#down.delete(name)) this.#endSuspension();
    }
    const isEvicted = reason.startsWith("others wait");
    // Who was sent back to the line starts again whatever its budget.
    if (isEvicted) [sim.isOrdered, this.evictions] = [true, this.evictions + 1];
    if ((to === "error" || to === "disconnected") && !sim.isOrdered) sim.isAsked = false;
    if (from === "ready") this.#ready.delete(name);
    if (to !== "error") return;
    if (sim.isTrusted) this.#lost(name, now);
    sim.isTrusted = false;
  }

  #lost(name: string, now: number): void {
    this.#down.set(name, now);
    if (this.isSuspended) return;
    for (const [other, at] of this.#down) if (now - at > CASCADE_WINDOW_MS) this.#down.delete(other);
    const fallen = this.#down.size;
    const comeBack = this.all().filter(({ isTrusted, keeper }) => isTrusted && keeper.status.isTrying);
    if (fallen < 5 || fallen < this.#ready.size + comeBack.length) return;
    this.#suspendedAt = now;
    this.#suspensions += 1;
  }

  #endSuspension(): void {
    if (this.#suspendedAt === undefined) return;
    this.#suspendedAt = undefined;
    this.#down.clear();
    for (const sim of this.all()) [sim.failures, sim.isDirty] = [0, true];
  }

  #suspended({ data }: ProxyEvent<"auto_disable_suspended">): void {
    if (data.isSuspended === this.#isSuspendedByEvent) this.fail("suspension was told twice");
    this.#isSuspendedByEvent = data.isSuspended;
    this.#beganNow ||= data.isSuspended;
    for (const sim of this.sims.values()) sim.isDirty = true;
  }

  /** The second opinion on counters; a step holds one failure of a server at most. */
  #count(): void {
    for (const { sim, failure, spent } of this.#failed.splice(0)) {
      sim.isDirty = true;
      if (this.isSuspended || failure.class === "rate_limited" || failure.isOurs) continue;
      sim.failures += spent >= this.settings.supervision.restartBudget ? 2 : 1;
      const threshold = sim.server.autoDisableThreshold ?? this.settings.autoDisableThreshold;
      const isDue = threshold > 0 && sim.failures >= threshold;
      const isOff = sim.keeper.mode === "auto_disabled";
      if (isDue !== isOff && !sim.isRemoved && !(isOff && sim.keeper.status.autoDisabled?.probes)) {
        this.fail(
          `'${sim.server.name}' is ${sim.keeper.mode} after ${sim.failures} failures of ${threshold}`,
        );
      }
    }
  }

  #checkSim(sim: Sim): void {
    const { keeper, server, standing } = sim;
    const { name } = server;
    if (keeper.mode !== standing.mode || keeper.connection !== standing.connection) {
      this.fail(`'${name}' moved without an event`);
    }
    if (keeper.category !== this.#categoryOf(sim)) this.fail(`'${name}' is filed under ${keeper.category}`);
    const { status, link } = keeper;
    if (status.failures !== sim.failures && this.clock.now() !== sim.readyAt + STEADY_MS) {
      this.fail(`'${name}' has ${status.failures} failures in a row, by the rule ${sim.failures}`);
    }
    if (sim.waiting > 0 && !status.isTrying) this.fail(`somebody waits for '${name}', which is not tried`);
    if (sim.live.size > 1) this.fail(`'${name}' has ${sim.live.size} links`);
    const [live] = sim.live;
    const isUp = keeper.connection !== "disconnected" && keeper.connection !== "error";
    if (isUp !== (live !== undefined))
      this.fail(`'${name}' is ${keeper.connection} with ${sim.live.size} links`);
    if (keeper.connection === "ready" && (link !== live || live?.isReady !== true)) {
      this.fail(`'${name}' is ready over a link that is not`);
    }
    if (this.#beganNow && keeper.mode === "auto_disabled" && !sim.isRemoved) {
      const { at = 0, reason } = status.autoDisabled ?? {};
      // What the configuration wants is no failure's.
      if (reason !== "the configuration says so" && at >= this.clock.wallNow() - CASCADE_WINDOW_MS)
        this.fail(`the auto-disable of '${name}' was not taken back`);
    }
    if (status.isStopped !== sim.isStopped) this.fail(`'${name}': stopped is ${status.isStopped}`);
  }

  /** Places and rooms, counted by what the links do; and no place is empty while somebody waits in line. */
  #checkLane(kind: "stdio" | "http"): void {
    const isStdio = kind === "stdio";
    const { maxConcurrentConnections, maxWaitingConnections, supervision } = this.settings;
    const factor = isStdio ? 1 : 8;
    const [places, room] = [factor * maxConcurrentConnections, factor * maxWaitingConnections];
    const patienceMs = isStdio ? supervision.startPatience.stdioMs : supervision.startPatience.httpMs;
    const lane = isStdio ? this.supervisor.lanes.processes : this.supervisor.lanes.urls;
    if (lane.starting > places || lane.waiting > room) this.fail(`${kind}: places or room exceeded`);
    const isWaste = lane.queued > 0 && lane.starting < places;
    if (isWaste) this.fail(`${kind}: ${lane.queued} wait in line and ${lane.starting} places are taken`);
    if (this.#steps % FULL_CHECK_STEPS !== 0 && lane.starting + lane.waiting + lane.queued === 0) return;
    let [starting, silent] = [0, 0];
    const now = this.clock.now();
    for (const sim of this.sims.values()) {
      if ((sim.server.command !== undefined) !== isStdio) continue;
      for (const link of sim.live) {
        if (link.isReady) continue;
        if (now - link.openedAt < patienceMs) starting += 1;
        else if (!link.hasAnswered && now - link.openedAt > patienceMs) silent += 1;
      }
    }
    const inPlaces = starting + Math.max(0, silent - room);
    const peaks = this.peaks;
    peaks.places[kind] = Math.max(peaks.places[kind], inPlaces);
    peaks.waiting[kind] = Math.max(peaks.waiting[kind], Math.min(silent, room));
    if (inPlaces > places) this.fail(`${kind}: ${inPlaces} attempts start in ${places} places`);
  }

  #categoryOf(sim: Sim): Category {
    const { mode, connection } = sim.keeper;
    if (mode === "quarantined" || mode === "auto_disabled" || mode === "disabled") return mode;
    const isFaulty = sim.server.faults.length > 0;
    if (this.#isSleepy(sim) && connection !== "ready" && !isFaulty) return "sleeping";
    return connection === "ready" ? "connected" : "disconnected";
  }
}

const BLANK: Omit<ServerMemory, "name"> = {
  everConnected: false,
  failedLast: false,
  toolCount: 0,
  firstSeenAt: 0,
};
