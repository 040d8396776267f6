/**
 * Keeps what is equal to what is wanted, for all servers at once.
 *
 * Owns the keepers, the two lanes in which attempts start, the visits that learn the tools of lazy servers,
 * the guard against cascades, and the state of the proxy. Invariants: every mode and every connection has
 * one owner; each move is one event; while many fail at once nothing is switched off. Timers and links
 * come from outside, so the whole runs in a simulation. A loop that compares both sides every second was
 * rejected: it is late by half a second, and costs most when nothing happens.
 */
import type { EventBus, ProxyState, ServerStanding } from "../core/events.ts";
import type { Server } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { CancelTimer, Clock } from "../lib/clock.ts";
import type { Learned, ServerMemory } from "../state/store.ts";
import { Cascade } from "./cascade.ts";
import type { CascadeChange } from "./cascade.ts";
import { Keeper } from "./keeper.ts";
import type { KeeperNews } from "./keeper.ts";
import type { Link, LinkHooks } from "./link.ts";
import { byRank, rankOf, Scheduler } from "./scheduler.ts";
import type { RankedRequest } from "./scheduler.ts";

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
}

/** Watches over all servers. */
export class Supervisor<L extends Link> {
  readonly #options: SupervisorOptions<L>;
  readonly #keepers = new Map<string, Keeper<L>>();
  readonly #processes: Scheduler;
  readonly #urls: Scheduler;
  readonly #cascade: Cascade;
  readonly #unsettled = new Set<string>();
  #visits: string[] = [];
  #visited: string | undefined;
  #cancelVisit: CancelTimer = () => {};
  #state: ProxyState = "starting";
  #cancelStarting: CancelTimer = () => {};
  #cancelSuspension: CancelTimer = () => {};

  constructor(options: SupervisorOptions<L>) {
    const { servers, settings, clock } = options;
    const { maxConcurrentConnections: places, maxWaitingConnections: room } = settings;
    this.#options = options;
    this.#processes = new Scheduler({ places, room, clock });
    this.#urls = new Scheduler({ places: HTTP_FACTOR * places, room: HTTP_FACTOR * room, clock });
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
    for (const keeper of keepers) if (keeper.isWanted) this.#unsettled.add(keeper.server.name);
    this.#visits = keepers.filter((keeper) => keeper.wantsVisit).map((keeper) => keeper.server.name);
    this.#cancelStarting = this.#options.clock.after(MAX_STARTING_MS, () => this.#started());
    // Places are given as they are asked for, so those who go first ask first.
    const rank = ({ server }: Keeper<L>): RankedRequest => rankOf(this.#options.recall(server.name));
    const order = keepers.map((keeper) => ({ keeper, ...rank(keeper) }));
    for (const { keeper } of order.toSorted(byRank)) keeper.start();
    if (this.isSettled) this.#started();
    this.#visitNext();
  }

  /** Forgets a server; calls in flight have `graceMs`. */
  remove(name: string, reason: string, graceMs: number): void {
    const keeper = this.#keepers.get(name);
    if (keeper === undefined) return;
    keeper.end(reason, graceMs);
    this.#keepers.delete(name);
    this.#changed(this.#cascade.left(name));
    this.#options.bus.publish("server_removed", { reason }, name);
  }

  /** Ends everything, at once. */
  end(reason: string): void {
    this.#cancelStarting();
    this.#cancelSuspension();
    this.#cancelVisit();
    this.#visits = [];
    this.#processes.close();
    this.#urls.close();
    this.#setState("stopping", reason);
    for (const keeper of this.#keepers.values()) keeper.end(reason);
    this.#setState("stopped", reason);
  }

  #make(server: Server): Keeper<L> {
    const { settings, clock, random, open, recall, remember } = this.#options;
    const { name } = server;
    return new Keeper<L>(server, {
      clock,
      random,
      settings,
      scheduler: server.command === undefined ? this.#urls : this.#processes,
      open,
      recall: () => recall(name),
      remember: (learned) => remember(name, learned),
      onMove: (keeper, before, reason) => this.#moved(keeper, before, reason),
      onNews: (keeper, news) => this.#told(keeper, news),
      isCounting: () => !this.#cascade.isSuspended,
    });
  }

  #moved(keeper: Keeper<L>, before: ServerStanding, reason: string): number {
    const { standing: after, server } = keeper;
    const { attempts: attempt, since } = keeper.status;
    const id = this.#options.bus.publish(
      "server_state_changed",
      { before, after, reason, attempt, since },
      server.name,
    );
    if (after.connection === "disconnected" && before.connection === "ready") {
      this.#changed(this.#cascade.left(server.name));
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
        this.#changed(this.#cascade.ready(name));
        break;
      case "lost":
        this.#changed(this.#cascade.lost(name, clock.now()));
        break;
      case "first_attempt_ended":
        this.#unsettled.delete(name);
        if (this.isSettled) this.#started();
        break;
      case "visit_ended":
        if (this.#visited === name) this.#visitEnded();
        break;
    }
  }

  /** Suspension begins or ends. */
  #changed(change: CascadeChange): void {
    if (change === undefined) return;
    const { bus, clock, settings } = this.#options;
    const isSuspended = change === "begins";
    const servers = this.#cascade.failed;
    this.#cancelSuspension();
    const reason = isSuspended
      ? `${servers.length} servers that were ready failed together`
      : "a server is ready again, or the time is up";
    bus.publish("auto_disable_suspended", { isSuspended, reason, servers });
    if (isSuspended) {
      const since = clock.wallNow() - settings.supervision.cascadeWindowMs;
      for (const keeper of this.#keepers.values()) keeper.takeBack(since, reason);
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

  #visitNext(): void {
    for (let name = this.#visits.shift(); name !== undefined; name = this.#visits.shift()) {
      const keeper = this.#keepers.get(name);
      if (keeper === undefined || !keeper.wantsVisit) continue;
      this.#visited = name;
      keeper.visit();
      return;
    }
  }

  /** Whatever came of it, the next one has its turn; not from within the move that ended this one. */
  #visitEnded(): void {
    this.#visited = undefined;
    if (this.#state === "stopping") return;
    this.#cancelVisit();
    this.#cancelVisit = this.#options.clock.after(0, () => {
      if (this.#visited === undefined) this.#visitNext();
    });
  }
}
