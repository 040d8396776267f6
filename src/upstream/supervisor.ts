/**
 * Keeps what is equal to what is wanted, for all servers at once.
 *
 * Owns the keepers, the two lanes in which attempts start, the guard against cascades, and the state of the proxy.
 * Invariants: every mode and every connection has one owner; each move is one event; while many fail at once nothing is
 * switched off; a change of the configuration touches the servers it names and no other. Timers and links come from
 * outside, so the whole runs in a simulation. A loop that compares both sides every second was rejected: it is late by
 * half a second, and costs most when nothing happens.
 */
import type { EventBus, ProxyState, ServerStanding } from "../core/events.ts";
import type { Server, StartupMode } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { CancelTimer, Clock } from "../lib/clock.ts";
import { changedKeys } from "../state/config_difference.ts";
import { isSameDefinition } from "../state/definition.ts";
import type { Learned, ServerMemory } from "../state/store.ts";
import { Cascade } from "./cascade.ts";
import type { CascadeChange } from "./cascade.ts";
import { CALL_GRACE_MS, Keeper } from "./keeper.ts";
import type { Link, LinkHooks } from "./link.ts";
import type { KeeperNews } from "./news.ts";
import { Reach } from "./reach.ts";
import { byRank, rankOf, Scheduler } from "./scheduler.ts";
import type { RankedRequest } from "./scheduler.ts";
import { Visits } from "./visits.ts";

/** An HTTP handshake costs no process: as many more may be under way, and wait. */
const HTTP_FACTOR = 8;
/** The proxy counts as started after so long, whatever its servers do. */
const MAX_STARTING_MS = 30_000;

/** Options of {@link Supervisor}. */
export interface SupervisorOptions<L extends Link> {
  readonly servers: readonly Server[];
  readonly settings: Settings;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly bus: EventBus;
  readonly open: (server: Server, hooks: LinkHooks) => L;
  readonly recall: (name: string) => ServerMemory | undefined;
  readonly remember: (name: string, learned: Learned) => void;
  /** Whether what a definition starts was approved; nothing else is ever started. @default everything was */
  readonly mayStart?: (server: Server) => boolean;
}

/** What a changed configuration means for the servers. */
export interface Reconciliation {
  readonly added: readonly Server[];
  readonly removed: readonly string[];
  /** What is started is another: the old one goes, the new one comes. */
  readonly restarted: readonly Server[];
  /** Something else changed: the link stays. */
  readonly updated: readonly Server[];
  readonly renamed: readonly { readonly from: string; readonly to: string; readonly server: Server }[];
  /** The file has another startup mode; by the names that hold now. */
  readonly modes: readonly {
    readonly name: string;
    readonly before: StartupMode;
    readonly after: StartupMode;
  }[];
  /** Names of servers whose approval, quarantine or auto-disable was changed in the database. @default none */
  readonly reviewed?: readonly string[];
  /** All servers that are configured now, in the order of the file. */
  readonly servers: readonly Server[];
}

/** Watches over all servers. */
export class Supervisor<L extends Link> {
  readonly #options: SupervisorOptions<L>;
  readonly #visits: Visits<Keeper<L>>;
  readonly #processes: Scheduler;
  readonly #urls: Scheduler;
  readonly #cascade: Cascade;
  readonly #reach = new Reach<Keeper<L>>();
  readonly #unsettled = new Set<Keeper<L>>();
  /** By name, in the order of the file. */
  #keepers = new Map<string, Keeper<L>>();
  #settings: Settings;
  #hasStarted = false;
  #state: ProxyState = "starting";
  #cancelStarting: CancelTimer = () => {};
  #cancelSuspension: CancelTimer = () => {};

  constructor(options: SupervisorOptions<L>) {
    const { servers, settings, clock } = options;
    this.#options = options;
    this.#settings = settings;
    this.#processes = new Scheduler({ ...sizesOf(settings, 1), clock });
    this.#urls = new Scheduler({ ...sizesOf(settings, HTTP_FACTOR), clock });
    this.#visits = new Visits(clock);
    this.#cascade = new Cascade(settings.supervision.cascadeWindowMs);
    for (const server of servers) this.#keepers.set(server.name, this.#make(server));
  }

  /** State of the whole proxy. */
  get state(): ProxyState {
    return this.#state;
  }

  /** Whether failures do not count, because many came at once. */
  get isSuspended(): boolean {
    return this.#cascade.isSuspended;
  }

  /** Whether each server that is wanted has had its first attempt. */
  get isSettled(): boolean {
    return this.#unsettled.size === 0;
  }

  /** The two lanes, for their numbers. */
  get lanes(): { readonly processes: Scheduler; readonly urls: Scheduler } {
    return { processes: this.#processes, urls: this.#urls };
  }

  /** All keepers, in the order of the file. */
  keepers(): Keeper<L>[] {
    return [...this.#keepers.values()];
  }

  /** The keeper of a server. */
  find(name: string): Keeper<L> | undefined {
    return this.#keepers.get(name);
  }

  /** Begins to connect what is wanted. */
  start(): void {
    const keepers = this.keepers();
    this.#hasStarted = true;
    for (const keeper of keepers) if (keeper.isWanted) this.#unsettled.add(keeper);
    this.#cancelStarting = this.#options.clock.after(MAX_STARTING_MS, () => this.#started());
    // Places are given as they are asked for, so those who go first ask first.
    const rank = ({ server }: Keeper<L>): RankedRequest => rankOf(this.#options.recall(server.name));
    const order = keepers.map((keeper) => ({ keeper, ...rank(keeper) }));
    for (const { keeper } of order.toSorted(byRank)) keeper.start();
    if (this.isSettled) this.#started();
    this.#visits.add(keepers);
  }

  /**
   * Takes what a changed configuration means, at once and wholly; a server it does not name keeps its link and its calls.
   */
  reconcile(change: Reconciliation, reason: string): void {
    if (this.#state === "stopping" || this.#state === "stopped") return;
    for (const name of change.removed) this.#remove(name, reason);
    this.#rename(change, reason);
    for (const server of change.restarted) this.#redefine(server, reason);
    for (const server of change.updated) this.#update(server, { reason, isRestarted: false });
    const added = change.added.flatMap((server) => this.#add(server) ?? []);
    this.#arrange(change.servers);
    const moved = change.modes.map(({ name }) => name);
    for (const name of moved) this.#keepers.get(name)?.reassess(reason, true);
    const reviewed = [...change.restarted.map(({ name }) => name), ...(change.reviewed ?? [])];
    for (const name of reviewed) this.#keepers.get(name)?.reassess(reason);
    if (this.#hasStarted) this.#begin(added, [...moved, ...reviewed]);
  }

  /** Takes other settings; they hold from now on, for what is connected as well. */
  applySettings(settings: Settings, reason: string): void {
    const keepers = this.keepers();
    const wasWanted = keepers.map((keeper) => keeper.isWanted);
    this.#settings = settings;
    this.#processes.resize(sizesOf(settings, 1));
    this.#urls.resize(sizesOf(settings, HTTP_FACTOR));
    this.#cascade.windowMs = settings.supervision.cascadeWindowMs;
    for (const [at, keeper] of keepers.entries()) keeper.adjust(reason, wasWanted[at] ?? false);
  }

  /** The lane in which attempts at a server start. */
  laneOf(server: Server): Scheduler {
    return server.command === undefined ? this.#urls : this.#processes;
  }

  /** Ends everything, at once. */
  end(reason: string): void {
    this.#cancelStarting();
    this.#cancelSuspension();
    this.#visits.close();
    this.#processes.close();
    this.#urls.close();
    this.#setState("stopping", reason);
    for (const keeper of this.#keepers.values()) keeper.end(reason);
    this.#setState("stopped", reason);
  }

  #make(server: Server): Keeper<L> {
    const { clock, random, open, recall, remember, mayStart } = this.#options;
    return new Keeper<L>(server, {
      clock,
      random,
      settings: () => this.#settings,
      laneOf: (definition) => this.laneOf(definition),
      open,
      recall,
      remember,
      onMove: (keeper, before, reason) => this.#moved(keeper, before, reason),
      onNews: (keeper, news) => this.#told(keeper, news),
      isCounting: () => !this.#cascade.isSuspended,
      mayStart: mayStart ?? (() => true),
    });
  }

  #add(server: Server): Keeper<L> | undefined {
    if (this.#keepers.has(server.name)) return undefined;
    const keeper = this.#make(server);
    this.#keepers.set(server.name, keeper);
    this.#options.bus.publish("server_added", keeper.standing, server.name);
    return keeper;
  }

  #remove(name: string, reason: string): void {
    const keeper = this.#keepers.get(name);
    if (keeper === undefined) return;
    keeper.end(reason, CALL_GRACE_MS);
    this.#keepers.delete(name);
    this.#changed(this.#cascade.left(name));
    this.#options.bus.publish("server_removed", { reason }, name);
  }

  /** All at once, so that two can swap their names. */
  #rename({ renamed, restarted }: Reconciliation, reason: string): void {
    const moves = renamed.flatMap(({ from, to, server }) => {
      const keeper = this.#keepers.get(from);
      return keeper ? [{ from, to, server, keeper }] : [];
    });
    if (moves.length === 0) return;
    const others = new Set(restarted.map(({ name }) => name));
    this.#cascade.rename(new Map(moves.map(({ from, to }) => [from, to])));
    for (const { from } of moves) this.#keepers.delete(from);
    for (const { to, keeper } of moves) {
      // What is known of it has its new name already, and is asked for by that.
      keeper.take({ ...keeper.server, name: to });
      this.#keepers.set(to, keeper);
    }
    for (const { from, to, server, keeper } of moves) {
      const wasWanted = keeper.isWanted;
      // What starts something else is another matter, under the new name.
      if (!others.has(to)) keeper.take(server);
      this.#options.bus.publish("server_renamed", { from }, to);
      keeper.adjust(reason, wasWanted);
    }
  }

  #redefine(server: Server, reason: string): void {
    const keeper = this.#keepers.get(server.name);
    if (keeper === undefined) return;
    // A fault that came or went changes nothing that was learned.
    if (isSameDefinition(keeper.server, server)) {
      this.#update(server, { reason, isRestarted: true });
      return;
    }
    const keys = changedKeys(keeper.server, server);
    keeper.take(server);
    this.#options.bus.publish("server_changed", { keys, isRestarted: true }, server.name);
    keeper.redefine(reason);
  }

  #update(
    server: Server,
    { reason, isRestarted }: { readonly reason: string; readonly isRestarted: boolean },
  ): void {
    const keeper = this.#keepers.get(server.name);
    if (keeper === undefined) return;
    const keys = changedKeys(keeper.server, server);
    const wasWanted = keeper.isWanted;
    keeper.take(server);
    this.#options.bus.publish("server_changed", { keys, isRestarted }, server.name);
    keeper.adjust(reason, wasWanted);
  }

  /** Puts the keepers in the order of the file, each with the definition that stands there now. */
  #arrange(servers: readonly Server[]): void {
    const before = this.#keepers;
    const placed = before.keys();
    // A map of ten thousand is not made anew for one that moved.
    if (servers.length === before.size && servers.every(({ name }) => placed.next().value === name)) {
      for (const server of servers) before.get(server.name)?.take(server);
      return;
    }
    this.#keepers = new Map();
    for (const server of servers) {
      const keeper = before.get(server.name);
      if (keeper === undefined) continue;
      keeper.take(server);
      this.#keepers.set(server.name, keeper);
    }
    for (const [name, keeper] of before) if (!this.#keepers.has(name)) this.#keepers.set(name, keeper);
  }

  /** Starts what is new as its mode says, and visits what came to be lazy. */
  #begin(added: readonly Keeper<L>[], changed: readonly string[]): void {
    for (const keeper of added) {
      if (keeper.isWanted && this.#state === "starting") this.#unsettled.add(keeper);
      keeper.start();
    }
    const anew = changed.flatMap((name) => this.#keepers.get(name) ?? []);
    this.#visits.add([...added, ...anew]);
  }

  #moved(keeper: Keeper<L>, before: ServerStanding, reason: string): number {
    const { standing: after, server } = keeper;
    const { attempts: attempt, since, failure } = keeper.status;
    const id = this.#options.bus.publish(
      "server_state_changed",
      { before, after, reason, attempt, since },
      server.name,
    );
    const hasFailed = after.connection === "error" && before.connection !== "error";
    if (hasFailed && failure?.class === "auth") {
      const { message, hint } = failure;
      this.#options.bus.publish("oauth_required", { reason: message, hint, cause: id }, server.name);
    }
    return id;
  }

  #told(keeper: Keeper<L>, news: KeeperNews): void {
    const { name } = keeper.server;
    const { bus, clock } = this.#options;
    switch (news.type) {
      case "auto_disabled": {
        const { type: _, ...data } = news;
        bus.publish("server_auto_disabled", data, name);
        break;
      }
      case "recovered":
        bus.publish("server_recovered", { mode: news.mode, cause: news.cause }, name);
        break;
      case "quarantine": {
        const { type: _, ...data } = news;
        bus.publish("quarantine_changed", data, name);
        break;
      }
      case "ready":
        this.#reach.answered(keeper);
        this.#changed(this.#cascade.ready(name));
        break;
      case "asked": {
        const { everConnected, failedLast } = this.#options.recall(name) ?? {};
        if (everConnected === true && failedLast !== true) this.#cascade.awaited(name);
        break;
      }
      case "failed":
        this.#changed(this.#cascade.failed(name, clock.now()));
        this.#unreached(this.#reach.failed(keeper, news.failure));
        break;
      case "closed":
        this.#cascade.closed(name);
        break;
      case "first_attempt_ended":
        this.#unsettled.delete(keeper);
        if (this.#hasStarted && this.isSettled) this.#started();
        break;
      case "visit_ended":
        this.#visits.ended(keeper);
        break;
    }
  }

  /** No host elsewhere was ever reached: the servers there are not to blame. */
  #unreached(keepers: readonly Keeper<L>[]): void {
    const names = keepers.map(({ server }) => server.name).filter((name) => this.#keepers.has(name));
    this.#changed(this.#cascade.blamed(names, this.#options.clock.now()));
  }

  /** Suspension begins or ends. */
  #changed(change: CascadeChange): void {
    if (change === undefined) return;
    const { bus, clock } = this.#options;
    const isSuspended = change === "begins";
    const servers = this.#cascade.fallen;
    this.#cancelSuspension();
    const reason = isSuspended
      ? `${servers.length} servers failed together`
      : "a server is ready again, or the time is up";
    bus.publish("auto_disable_suspended", { isSuspended, reason, servers });
    if (isSuspended) {
      const since = clock.wallNow() - this.#settings.supervision.cascadeWindowMs;
      for (const keeper of this.#keepers.values()) keeper.takeBack(since, reason);
      // What fell with the others is trusted at the next start of the proxy as well.
      for (const name of servers) this.#options.remember(name, { failedLast: false });
      this.#cancelSuspension = clock.after(this.#cascade.leftMs(clock.now()), () =>
        this.#changed(this.#cascade.expire()),
      );
    } else {
      for (const keeper of this.#keepers.values()) keeper.calm();
    }
    if (this.#state === "running" || this.#state === "degraded") {
      this.#setState(isSuspended ? "degraded" : "running", reason);
    }
  }

  #started(): void {
    this.#cancelStarting();
    if (this.#state !== "starting") return;
    this.#setState(
      this.isSuspended ? "degraded" : "running",
      "the first attempts have ended, or their time is up",
    );
  }

  #setState(after: ProxyState, reason: string): void {
    const before = this.#state;
    if (before === after) return;
    this.#state = after;
    this.#options.bus.publish("proxy_state_changed", { before, after, reason });
  }
}

function sizesOf(settings: Settings, factor: number): { readonly places: number; readonly room: number } {
  const { maxConcurrentConnections: places, maxWaitingConnections: room } = settings;
  return { places: factor * places, room: factor * room };
}
