/**
 * The one owner of one server.
 *
 * Owns where the server stands (startup mode, connection state, attempt, failure) and the timers that move
 * it: deadline, backoff, steadiness, the probe that brings an auto-disabled server back. Moves are serial
 * because everything here is synchronous: transition first, effect after, event last. Invariants: at most
 * one link at a time; a link that was given up cannot move the server any more; no mode or connection
 * moves without an event. Promises between the steps were rejected: each `await` is a place where two
 * moves can interleave.
 */
import type { ServerStanding } from "../core/events.ts";
import type { Category, ConnectionState, Server, StartupMode } from "../core/model.ts";
import { categoryOf } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { backoffMs } from "../lib/backoff.ts";
import { Budget } from "../lib/budget.ts";
import type { Clock } from "../lib/clock.ts";
import { Timers } from "../lib/timers.ts";
import type { Failure } from "./failure.ts";
import { isRetriable } from "./failure.ts";
import type { Link, LinkHooks, Waiter } from "./link.ts";
import { RANK, rankOf } from "./scheduler.ts";
import type { RankedRequest, Scheduler } from "./scheduler.ts";
import type { AutoDisabled, Learned, ServerMemory } from "../state/store.ts";
import { Attempt } from "./attempt.ts";
import { AutoDisable } from "./auto_disable.ts";
import { modeInForce, moveConnection, moveMode } from "./transition.ts";
import type { ConnectionEvent, ModeEvent } from "./transition.ts";
import { watch } from "./watch.ts";

/** Ready for so long, a server's failures are forgotten; less is flapping. */
const STEADY_MS = 30_000;
/** Spawns are counted over this long. */
const BUDGET_WINDOW_MS = 60_000;
/** Calls in flight may finish for so long when a server is disabled, removed or restarted. */
const CALL_GRACE_MS = 5_000;

type Caused = { readonly reason: string; readonly cause: number };
/** What deserves an event beside the move whose id is `cause`. */
export type KeeperNews =
  | (Caused & { readonly type: "auto_disabled"; readonly failures: number })
  | { readonly type: "recovered"; readonly mode: StartupMode; readonly cause: number }
  | (Caused & { readonly type: "quarantine"; readonly isQuarantined: boolean })
  | { readonly type: "first_attempt_ended" | "visit_ended" | "lost" | "ready" };

/** What a keeper works with. */
export interface KeeperDeps<L extends Link> {
  readonly clock: Clock;
  readonly random: () => number;
  readonly settings: Settings;
  readonly scheduler: Scheduler;
  readonly open: (server: Server, hooks: LinkHooks) => L;
  readonly recall: () => ServerMemory | undefined;
  readonly remember: (learned: Learned) => void;
  /** Told of every move, after it; returns the event's id. */
  readonly onMove: (keeper: Keeper<L>, before: ServerStanding, reason: string) => number;
  readonly onNews: (keeper: Keeper<L>, news: KeeperNews) => void;
  /** Whether failures count at the moment. */
  readonly isCounting: () => boolean;
}

/** How a server's attempts stand; times in Unix milliseconds. */
export interface KeeperStatus {
  readonly attempts: number;
  /** Counted failures in a row. */
  readonly failures: number;
  /** When the connection state was entered. */
  readonly since: number;
  readonly nextAttemptAt: number | undefined;
  /** Why the last attempt failed; undefined once ready. */
  readonly failure: Failure | undefined;
  readonly autoDisabled: AutoDisabled | undefined;
  /** An operator stopped it until further notice. */
  readonly isStopped: boolean;
  /** An attempt is under way, or in line. */
  readonly isTrying: boolean;
}

type TimerName = "retry" | "steady" | "recover" | "watch";

/** Keeps one server where it should be. */
export class Keeper<L extends Link> {
  readonly server: Server;
  readonly #deps: KeeperDeps<L>;
  readonly #timers: Timers<TimerName>;
  readonly #waiters = new Set<Waiter<L>>();
  readonly #budget: Budget;
  readonly #autoDisable: AutoDisable;
  #mode: StartupMode;
  #former: StartupMode;
  #connection: ConnectionState = "disconnected";
  #since: number;
  #attempts = 0;
  /** Failures in a row, counted or not, and the time-outs among them: backoff and deadline grow with them. */
  #streak = 0;
  #timeouts = 0;
  #beganAt = 0;
  #failure: Failure | undefined;
  #nextAttemptAt: number | undefined;
  /** Until then the server asked to be left alone. */
  #restsUntil = 0;
  /** The one under way, or the one that led to the link. */
  #attempt: Attempt<L> | undefined;
  #isStopped = false;
  #isVisit = false;
  #hasTried = false;
  #hasEnded = false;

  constructor(server: Server, deps: KeeperDeps<L>) {
    this.server = server;
    this.#deps = deps;
    const { mode = server.startupMode, formerMode, autoDisabled } = deps.recall() ?? {};
    this.#mode = modeInForce(server.startupMode, { mode, isAutoDisabled: autoDisabled !== undefined });
    this.#former = formerMode ?? (server.startupMode === "lazy_loading" ? "lazy_loading" : "active");
    this.#autoDisable = new AutoDisable({
      threshold: server.autoDisableThreshold ?? deps.settings.autoDisableThreshold,
      recoverAfterMs: deps.settings.supervision.recoverAfterMs,
      remembered: this.#mode === "auto_disabled" ? autoDisabled : undefined,
    });
    if (this.#mode === "auto_disabled") this.#autoDisable.assume(deps.clock.wallNow());
    this.#since = deps.clock.wallNow();
    this.#timers = new Timers(deps.clock);
    this.#budget = new Budget({ limit: deps.settings.supervision.restartBudget, windowMs: BUDGET_WINDOW_MS });
  }

  get mode(): StartupMode {
    return this.#mode;
  }

  get connection(): ConnectionState {
    return this.#connection;
  }

  /** The heading it is listed under. */
  get category(): Category {
    const isFaulty = this.server.faults.length > 0;
    if (this.#mode === "active" && this.#isSleepy && this.#connection !== "ready" && !isFaulty)
      return "sleeping";
    return categoryOf(this.#mode, this.#connection, isFaulty);
  }

  get standing(): ServerStanding {
    return { mode: this.#mode, connection: this.#connection, category: this.category };
  }

  /** Everything else a list shows. */
  get status(): KeeperStatus {
    return {
      attempts: this.#attempts,
      failures: this.#autoDisable.failures,
      since: this.#since,
      nextAttemptAt: this.#timers.has("retry") ? this.#nextAttemptAt : undefined,
      failure: this.#failure,
      autoDisabled: this.#autoDisable.state,
      isStopped: this.#isStopped,
      isTrying: this.#attempt !== undefined && this.#connection !== "ready",
    };
  }

  /** The link, once ready. */
  get link(): L | undefined {
    return this.#connection === "ready" ? this.#attempt?.link : undefined;
  }

  /** Whether it is connected, and kept so, without anybody asking. */
  get isWanted(): boolean {
    return this.#mode === "active" && !this.#isSleepy && !this.#isStopped && this.server.faults.length === 0;
  }

  /** Whether it is lazy and its tools were never learned. */
  get wantsVisit(): boolean {
    const isUnknown = !this.#memory?.everConnected && !this.#memory?.toolCount;
    const mayStart = this.#mode === "lazy_loading" && this.server.faults.length === 0 && !this.#isStopped;
    return mayStart && isUnknown;
  }

  /** Begins: joins the line when wanted, awaits its probe when auto-disabled. */
  start(): void {
    if (this.isWanted) this.#ask(this.#firstRequest());
    else if (this.#mode === "auto_disabled") this.#awaitRecovery();
  }

  /** Connects once to learn the tools, and closes. */
  visit(): void {
    this.#isVisit = true;
    if (this.#attempt === undefined) this.#ask({ rank: RANK.again });
  }

  /** Connects on an operator's word, and keeps it so. */
  connect(): void {
    this.#isStopped = false;
    this.#forgive();
    if (this.#attempt === undefined) this.#ask({ rank: RANK.call });
  }

  /** Closes on an operator's word, until `connect`, `restart` or a mode change. */
  disconnect(reason: string): void {
    this.#isStopped = true;
    this.close(reason, CALL_GRACE_MS);
  }

  /** Closes and connects as one operation. */
  restart(reason: string): void {
    this.close(reason, CALL_GRACE_MS);
    this.connect();
  }

  /** Moves the startup mode on somebody's word; false when the table refuses. */
  changeMode(event: ModeEvent, reason: string): boolean {
    const from = this.#mode;
    const to = moveMode(from, event, this.#former);
    if (to === undefined) return false;
    // What was auto-disabled is on again once approved: a person's word comes later than the failures.
    if (to === "quarantined" && from !== "auto_disabled") this.#former = from;
    this.#autoDisable.end();
    this.#timers.clear("recover");
    if (event !== "recover") [this.#isStopped, this.#failure] = [false, undefined];
    this.#forgive();
    const cause = this.#setMode(to, { reason, isAsked: event !== "recover" });
    if (event === "recover") this.#deps.onNews(this, { type: "recovered", mode: to, cause });
    const isQuarantined = to === "quarantined";
    if (isQuarantined || from === "quarantined") {
      this.#deps.onNews(this, { type: "quarantine", isQuarantined, reason, cause });
    }
    if (to === "disabled" || isQuarantined) this.close(reason, isQuarantined ? 0 : CALL_GRACE_MS);
    else if (this.#connection === "ready") this.#watch();
    else if (this.isWanted && this.#attempt === undefined && event !== "recover")
      this.#ask(this.#firstRequest());
    else if (!this.isWanted && this.#isIdle && this.#waiters.size === 0) this.close(reason);
    return true;
  }

  /** Takes an auto-disable back that happened at or after `since`, Unix milliseconds. */
  takeBack(since: number, reason: string): void {
    if (this.#autoDisable.state === undefined || this.#autoDisable.state.at < since) return;
    this.changeMode("recover", reason);
    if (this.isWanted && this.#attempt === undefined) this.#retryIn(this.#restMs());
  }

  /** After a storm: failures are forgotten, and the next attempt comes soon, though not with all others. */
  calm(): void {
    this.#forgive();
    if (this.#timers.has("retry") && this.#failure) this.#plan(this.#failure);
  }

  /**
   * Waits for the link: joins the attempt under way, or makes one now when that may help.
   *
   * @returns a function that gives up waiting.
   */
  want(waiter: Waiter<L>): () => void {
    const { link } = this;
    const isOff =
      this.#isStopped || this.#hasEnded || (this.#mode !== "active" && this.#mode !== "lazy_loading");
    if (link !== undefined) waiter.resolve(link);
    else if (isOff || this.server.faults.length > 0) waiter.reject(undefined);
    else if (this.#isIdle && !this.#mayTryNow()) waiter.reject(this.#failure);
    else {
      // The first one who waits moves an attempt in line to the front; those after it find it there.
      const isFirst = this.#waiters.size === 0;
      this.#waiters.add(waiter);
      if (this.#isIdle && (isFirst || this.#attempt === undefined)) this.#ask({ rank: RANK.call });
    }
    return () => void this.#waiters.delete(waiter);
  }

  /** Closes; no attempt is planned. Calls in flight have `graceMs`. */
  close(reason: string, graceMs = 0): void {
    this.#endAttempt(graceMs);
    this.#move("close", reason);
    this.#endFirst();
    this.#settle((waiter) => waiter.reject(undefined));
  }

  /** Closes for good: nothing starts it again. */
  end(reason: string, graceMs = 0): void {
    this.#hasEnded = true;
    this.close(reason, graceMs);
  }

  get #discoveryIntervalMs(): number {
    return this.server.toolDiscoveryIntervalMs ?? this.#deps.settings.toolDiscoveryIntervalMs;
  }

  get #memory(): ServerMemory | undefined {
    return this.#deps.recall();
  }

  /** Lazy by its own mode, or by the setting once its tools are known. */
  get #isSleepy(): boolean {
    if (this.#mode === "lazy_loading") return true;
    return this.#deps.settings.enableLazyLoading && (this.#memory?.toolCount ?? 0) > 0;
  }

  get #isIdle(): boolean {
    return this.#connection === "disconnected" || this.#connection === "error";
  }

  #firstRequest(): RankedRequest {
    return this.#hasTried ? { rank: RANK.again } : rankOf(this.#memory);
  }

  #mayTryNow(): boolean {
    if (this.#attempt !== undefined) return true;
    if (this.#failure !== undefined && !isRetriable(this.#failure)) return false;
    const now = this.#deps.clock.now();
    return now >= this.#restsUntil && this.#budget.waitMs(now) === 0;
  }

  #ask(request: RankedRequest): void {
    const isRefused = moveConnection(this.#connection, "attempt", this.#mode) === undefined;
    if (isRefused || this.#hasEnded || this.server.faults.length > 0) return;
    this.#timers.clear("retry");
    this.#attempt?.end(0);
    const { settings, scheduler, clock, open } = this.#deps;
    this.#attempt = new Attempt<L>({
      server: this.server,
      request,
      supervision: settings.supervision,
      scheduler,
      clock,
      open,
      onStart: () => this.#started(),
      onMove: (event) => void this.#move(event, event),
      onReady: () => this.#ready(),
      onFail: (failure) => this.#fail(failure),
      onEvict: () => this.#evicted(),
      mayRespawn: () => this.#budget.trySpend(clock.now()),
    });
    this.#attempt.begin();
  }

  #started(): number {
    this.#attempts += 1;
    this.#beganAt = this.#deps.clock.now();
    this.#budget.spend(this.#beganAt);
    this.#move("attempt", `attempt ${this.#attempts}`);
    return this.#deadlineMs();
  }

  #evicted(): void {
    this.#endAttempt(0);
    this.#move("close", "others wait for their first attempt");
    this.#ask({ rank: RANK.again });
  }

  #ready(): void {
    const { clock, remember, onNews } = this.#deps;
    if (!this.#move("ready", "connected")) return;
    const { link } = this;
    [this.#failure, this.#timeouts] = [undefined, 0];
    remember({ everConnected: true, connectMs: Math.round(clock.now() - this.#beganAt), failedLast: false });
    this.#timers.set("steady", STEADY_MS, () => this.#forgive());
    const isVisit = this.#isVisit && this.#waiters.size === 0;
    if (link) this.#settle((waiter) => waiter.resolve(link));
    onNews(this, { type: "ready" });
    if (this.#mode === "auto_disabled") this.changeMode("recover", "its probe succeeded");
    if (isVisit) this.close("its tools are learned");
    else this.#watch();
    this.#endFirst();
  }

  #fail(failure: Failure): void {
    const wasReady = this.#connection === "ready";
    const { remember, onNews, isCounting, clock } = this.#deps;
    this.#endAttempt(0);
    this.#failure = failure;
    this.#restsUntil = clock.now() + (failure.retryAfterMs ?? 0);
    this.#streak += 1;
    if (failure.class === "timeout" && !wasReady) this.#timeouts += 1;
    remember({ failedLast: true });
    if (wasReady) onNews(this, { type: "lost" });
    if (isCounting()) this.#autoDisable.count(failure, this.#budget.waitMs(clock.now()) > 0);
    this.#move("fail", failure.message);
    this.#endFirst();
    if (this.#mode === "auto_disabled") this.#probeFailed();
    else if (this.#autoDisable.isDue && isCounting()) this.#switchOff(failure);
    else this.#plan(failure);
    this.#settle((waiter) => waiter.reject(failure));
  }

  #switchOff(failure: Failure): void {
    const [{ clock, onNews }, { failures }] = [this.#deps, this.#autoDisable];
    const reason = this.#autoDisable.begin(failure, clock.wallNow());
    this.#former = this.#mode;
    const cause = this.#setMode("auto_disabled", { reason, isAsked: false });
    onNews(this, { type: "auto_disabled", reason, failures, cause });
    this.#move("close", reason);
    this.#awaitRecovery();
  }

  #probeFailed(): void {
    this.#autoDisable.postpone(this.#deps.clock.wallNow());
    this.#deps.remember({ autoDisabled: this.#autoDisable.state });
    this.#awaitRecovery();
  }

  #awaitRecovery(): void {
    if (this.#autoDisable.state === undefined || !this.server.autoRecover) return;
    const waitMs = this.#autoDisable.leftMs(this.#deps.clock.wallNow());
    this.#timers.set("recover", waitMs, () => this.#ask({ rank: RANK.again }));
  }

  /** What comes after a failure that did not switch the server off. */
  #plan(failure: Failure): void {
    if (!this.isWanted) return;
    if (failure.class === "protocol") this.#retryIn(this.#discoveryIntervalMs);
    if (isRetriable(failure)) this.#retryIn(this.#restMs());
  }

  /** Backoff, what the server asked for, and what the restart budget leaves. */
  #restMs(): number {
    const { settings, random, clock } = this.#deps;
    const { backoffBaseMs: baseMs, backoffCapMs: capMs } = settings.supervision;
    const now = clock.now();
    const plainMs = backoffMs(Math.max(1, this.#streak), { baseMs, capMs, random });
    return Math.max(plainMs, this.#restsUntil - now, this.#budget.waitMs(now));
  }

  #retryIn(waitMs: number): void {
    if (waitMs <= 0) return;
    this.#timers.set("retry", waitMs, () => this.#ask({ rank: RANK.again }));
    this.#nextAttemptAt = this.#deps.clock.wallNow() + waitMs;
  }

  /** A first run may download itself; one that worked before gets more time after each time-out. */
  #deadlineMs(): number {
    const { connectionTimeoutMs, supervision } = this.#deps.settings;
    if (!this.#memory?.everConnected) return supervision.firstRunTimeoutMs;
    const most = this.server.connectionTimeoutMs ?? connectionTimeoutMs;
    return Math.min(most, supervision.firstDeadlineMs * 2 ** this.#timeouts);
  }

  #watch(): void {
    const { link, server } = this;
    const { clock, settings } = this.#deps;
    this.#timers.clear("watch");
    if (link === undefined) return;
    const stop = watch({
      link,
      clock,
      healthIntervalMs: server.healthCheckIntervalMs ?? settings.healthCheckIntervalMs,
      discoveryIntervalMs: this.#discoveryIntervalMs,
      idleMs: this.#isSleepy ? settings.idleDisconnectMs : 0,
      onLost: () => this.#fail(link.expire(0)),
      onIdle: () => this.close("idle"),
    });
    this.#timers.adopt("watch", stop);
  }

  /** Ends what belongs to an attempt or a link, and nothing else. */
  #endAttempt(graceMs: number): void {
    this.#timers.clear("retry", "steady", "watch", "recover");
    this.#attempt?.end(graceMs);
    this.#attempt = undefined;
  }

  /** The first attempt is over, and the visit. */
  #endFirst(): void {
    const { onNews } = this.#deps;
    if (!this.#hasTried) onNews(this, { type: "first_attempt_ended" });
    this.#hasTried ||= this.#attempts > 0;
    if (!this.#isVisit) return;
    this.#isVisit = false;
    onNews(this, { type: "visit_ended" });
  }

  #forgive(): void {
    this.#autoDisable.forgive();
    [this.#streak, this.#timeouts] = [0, 0];
  }

  #settle(tell: (waiter: Waiter<L>) => void): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) tell(waiter);
  }

  /** `isAsked` when a person wants it so: only that outlasts what is observed. */
  #setMode(
    mode: StartupMode,
    { reason, isAsked }: { readonly reason: string; readonly isAsked: boolean },
  ): number {
    const before = this.standing;
    this.#mode = mode;
    const autoDisabled = this.#autoDisable.state;
    this.#deps.remember({ ...(isAsked ? { mode } : {}), formerMode: this.#former, autoDisabled });
    return this.#deps.onMove(this, before, reason);
  }

  #move(event: ConnectionEvent, reason: string): boolean {
    const to = moveConnection(this.#connection, event, this.#mode);
    if (to === undefined) return false;
    const before = this.standing;
    this.#connection = to;
    this.#since = this.#deps.clock.wallNow();
    this.#deps.onMove(this, before, reason);
    return true;
  }
}
