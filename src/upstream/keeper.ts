/**
 * The one owner of one server.
 *
 * Owns where the server stands (connection state, attempt, failure; its mode in an {@link Intent}) and the timers that
 * move it: backoff, steadiness, the probe that brings an auto-disabled server back. Moves are serial because everything
 * here is synchronous: transition first, effect after, event last. Invariants: at most one link at a time; a link that
 * was given up cannot move the server any more; no mode or connection moves without an event; what is not approved is
 * not started. Promises between the steps were rejected: each `await` is a place where two moves can interleave.
 */
import type { ServerStanding } from "../core/events.ts";
import type { Category, ConnectionState, Server, StartupMode } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { Clock } from "../lib/clock.ts";
import { Timers } from "../lib/timers.ts";
import type { Failure, Link, LinkHooks, Waiter } from "./link.ts";
import { RANK, rankOf } from "./scheduler.ts";
import type { RankedRequest, Scheduler } from "./scheduler.ts";
import type { Learned, ServerMemory } from "../state/store.ts";
import { Attempt } from "./attempt.ts";
import { Intent, UNLEARNED } from "./intent.ts";
import type { KeeperNews, KeeperStatus } from "./news.ts";
import { Pace } from "./pace.ts";
import { isCallable, moveConnection } from "./transition.ts";
import type { ConnectionEvent } from "./transition.ts";
import { Waiters } from "./waiters.ts";
import { intervalsOf, watch } from "./watch.ts";

/** Ready for so long, a server's failures are forgotten; less is flapping. */
const STEADY_MS = 30_000;
/** Calls in flight may finish for so long when a server is disabled, removed or restarted. */
export const CALL_GRACE_MS = 5_000;

/** What a keeper works with. */
export interface KeeperDeps<L extends Link> {
  readonly clock: Clock;
  readonly random: () => number;
  /** Those in force now. */
  readonly settings: () => Settings;
  /** The lane in which attempts at a server start. */
  readonly laneOf: (server: Server) => Scheduler;
  readonly open: (server: Server, hooks: LinkHooks) => L;
  readonly recall: (name: string) => ServerMemory | undefined;
  readonly remember: (name: string, learned: Learned) => void;
  /** Told of every move, after it; returns the event's id. */
  readonly onMove: (keeper: Keeper<L>, before: ServerStanding, reason: string) => number;
  readonly onNews: (keeper: Keeper<L>, news: KeeperNews) => void;
  /** Whether failures count at the moment. */
  readonly isCounting: () => boolean;
  /** Whether what the definition starts was approved; nothing else is ever started. */
  readonly mayStart: (server: Server) => boolean;
}

/** Keeps one server where it should be. */
export class Keeper<L extends Link> {
  readonly #deps: KeeperDeps<L>;
  readonly #timers: Timers<"retry" | "steady" | "recover" | "watch">;
  readonly #waiters = new Waiters<L>();
  readonly #intent: Intent;
  readonly #pace: Pace;
  #server: Server;
  #connection: ConnectionState = "disconnected";
  #since: number;
  #attempts = 0;
  #beganAt = 0;
  #failure: Failure | undefined;
  #nextAttemptAt: number | undefined;
  /** The one under way, or the one that led to the link. */
  #attempt: Attempt<L> | undefined;
  #isVisit = false;
  #hasStarted = false;
  #hasTried = false;
  #hasEnded = false;

  constructor(server: Server, deps: KeeperDeps<L>) {
    const { clock, random, settings, mayStart } = deps;
    this.#server = server;
    this.#deps = deps;
    this.#pace = new Pace({ settings, random });
    this.#intent = new Intent({
      server: () => this.#server,
      settings,
      recall: () => this.#memory,
      mayStart,
      wallNow: () => clock.wallNow(),
    });
    this.#since = clock.wallNow();
    this.#timers = new Timers(clock);
  }

  /** The definition in force. */
  get server(): Server {
    return this.#server;
  }

  get mode(): StartupMode {
    return this.#intent.mode;
  }

  get connection(): ConnectionState {
    return this.#connection;
  }

  /** The heading it is listed under. */
  get category(): Category {
    return this.standing.category;
  }

  get standing(): ServerStanding {
    return this.#intent.standing(this.#connection);
  }

  /** Everything else a list shows. */
  get status(): KeeperStatus {
    return {
      attempts: this.#attempts,
      failures: this.#intent.autoDisable.failures,
      since: this.#since,
      nextAttemptAt: this.#timers.has("retry") ? this.#nextAttemptAt : undefined,
      failure: this.#failure,
      autoDisabled: this.#intent.autoDisable.state,
      isStopped: this.#intent.isStopped,
      isTrying: this.#attempt !== undefined && this.#connection !== "ready",
    };
  }

  /** The link, once ready. */
  get link(): L | undefined {
    return this.#connection === "ready" ? this.#attempt?.link : undefined;
  }

  /** Whether it is connected, and kept so, without anybody asking. */
  get isWanted(): boolean {
    return this.#intent.isWanted;
  }

  /** Whether it is lazy and its tools were never learned. */
  get wantsVisit(): boolean {
    return this.#intent.wantsVisit;
  }

  /** Begins: joins the line when wanted, awaits its probe when auto-disabled. */
  start(): void {
    this.#hasStarted = true;
    if (this.isWanted) this.#askAnew();
    else if (this.mode === "auto_disabled") this.#awaitRecovery();
  }

  /** Connects once to learn the tools, and closes; where no attempt can help now, the visit is over. */
  visit(): void {
    this.#isVisit = true;
    if (this.#attempt === undefined && this.#mayTry) this.#ask({ rank: RANK.again });
    if (this.#attempt === undefined) this.#endFirst();
  }

  /** Connects on an operator's word, and keeps it so. */
  connect(): void {
    this.#intent.isStopped = false;
    this.#forgive();
    if (this.#attempt === undefined) this.#ask({ rank: RANK.call });
  }

  /** Closes on an operator's word, until `connect`, `restart` or a mode change. */
  disconnect(reason: string): void {
    this.#intent.isStopped = true;
    this.close(reason, CALL_GRACE_MS);
  }

  /** Closes and connects as one operation. */
  restart(reason: string): void {
    this.close(reason, CALL_GRACE_MS);
    this.connect();
  }

  /** Takes another name, other options or another definition; {@link adjust} or {@link redefine} follows. */
  take(server: Server): void {
    this.#server = server;
  }

  /** Does what a changed name, option or setting asks for; the link stays. */
  adjust(reason: string, wasWanted: boolean): void {
    this.#pace.retune();
    this.#attempt?.link?.adopt(this.#server);
    if (this.#server.faults.length > 0) this.close(reason, CALL_GRACE_MS);
    else if (this.mode === "auto_disabled") this.#awaitRecovery();
    else if (this.#connection === "ready") this.#watch();
    else if (this.isWanted !== wasWanted) this.#pursue(reason);
  }

  /**
   * The definition starts something else now: the old link goes, what was learned of the old definition is forgotten
   * with its failures and its auto-disable, and the new one is started where its mode says so.
   */
  redefine(reason: string): void {
    const mode = this.#intent.meantAnew();
    this.#forgive();
    this.#pace.renew();
    this.#failure = undefined;
    this.#remember(UNLEARNED);
    // Whoever waits may ask again from within the close: a mode that forbids it comes first, and closes.
    if (isCallable(mode)) this.close(reason, CALL_GRACE_MS);
    this.#hasTried = false;
    if (!this.assume(mode, reason)) this.#pursue(reason);
  }

  /**
   * Moves to the mode that file, database and approval have come to mean.
   *
   * @param isFileMoved the file has another mode than before: a person's word, which ends an auto-disable.
   */
  reassess(reason: string, isFileMoved = false): void {
    const mode = this.#intent.meant(isFileMoved);
    // What came back by itself stays on until the file says otherwise once more.
    if (mode === "auto_disabled" && isCallable(this.mode) && !isFileMoved) return;
    this.assume(mode, reason);
  }

  /** Moves to a mode, whatever the way there; false when it is in it already. */
  assume(mode: StartupMode, reason: string): boolean {
    const { mode: from, standing: before } = this;
    if (mode === from) return false;
    const { failures } = this.#intent.autoDisable;
    this.#intent.take(mode);
    this.#timers.clear("recover");
    [this.#intent.isStopped, this.#failure] = [false, undefined];
    this.#forgive();
    const cause = this.#modeMoved(before, reason);
    const { onNews } = this.#deps;
    const isQuarantined = mode === "quarantined";
    if (isQuarantined || from === "quarantined")
      onNews(this, { type: "quarantine", isQuarantined, reason, cause });
    if (mode === "auto_disabled") onNews(this, { type: "auto_disabled", reason, failures, cause });
    if (isCallable(mode)) this.#pursue(reason);
    else this.close(reason, isQuarantined ? 0 : CALL_GRACE_MS);
    if (mode === "auto_disabled") this.#awaitRecovery();
    return true;
  }

  /** Takes an auto-disable back that happened at or after `since`, Unix milliseconds. */
  takeBack(since: number, reason: string): void {
    if (!this.#intent.autoDisable.hasBegunSince(since)) return;
    this.#recover(reason);
    if (this.isWanted && this.#attempt === undefined)
      this.#retryIn(this.#pace.restMs(this.#deps.clock.now()));
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
    const isOff = this.#hasEnded || !isCallable(this.mode) || !this.#intent.isFree;
    if (link !== undefined) waiter.resolve(link);
    else if (isOff) waiter.reject(undefined);
    else if (this.#isIdle && this.#attempt === undefined && !this.#mayTry) waiter.reject(this.#failure);
    else {
      // The first one who waits moves an attempt in line to the front; those after it find it there.
      const isFirst = this.#waiters.size === 0;
      this.#waiters.add(waiter);
      if (this.#isIdle && (isFirst || this.#attempt === undefined)) this.#ask({ rank: RANK.call });
    }
    return () => this.#waiters.delete(waiter);
  }

  /** Closes, and says so before anybody can ask anew; no attempt is planned. Calls in flight have `graceMs`. */
  close(reason: string, graceMs = 0): void {
    this.#endAttempt(graceMs);
    this.#deps.onNews(this, { type: "closed" });
    this.#move("close", reason);
    this.#endFirst();
    this.#waiters.reject(undefined);
  }

  /** Closes for good: nothing starts it again. */
  end(reason: string, graceMs = 0): void {
    this.#hasEnded = true;
    this.close(reason, graceMs);
  }

  get #memory(): ServerMemory | undefined {
    return this.#deps.recall(this.#server.name);
  }

  get #isIdle(): boolean {
    return this.#connection === "disconnected" || this.#connection === "error";
  }

  get #mayTry(): boolean {
    return this.#pace.mayTry(this.#deps.clock.now(), this.#failure);
  }

  /** Connects, or sleeps, or drops what nobody wants any more, as the mode says. */
  #pursue(reason: string): void {
    if (this.#connection === "ready") this.#watch();
    else if (this.isWanted && this.#hasStarted) this.#askAnew();
    else if (!this.isWanted && this.#isIdle && this.#waiters.size === 0) this.close(reason);
  }

  #askAnew(): void {
    if (this.#attempt === undefined) this.#ask(this.#hasTried ? { rank: RANK.again } : rankOf(this.#memory));
  }

  #ask(request: RankedRequest): void {
    const isRefused = moveConnection(this.#connection, "attempt", this.mode) === undefined;
    if (isRefused || this.#hasEnded || this.#server.faults.length > 0) return;
    const { settings, laneOf, clock, open, mayStart, onNews } = this.#deps;
    if (!mayStart(this.#server)) {
      this.reassess("its definition is not approved");
      return;
    }
    this.#timers.clear("retry");
    this.#attempt?.end(0);
    this.#attempt = new Attempt<L>({
      server: this.#server,
      request,
      supervision: settings().supervision,
      scheduler: laneOf(this.#server),
      clock,
      // It may have another name by the time it leaves the line.
      open: (_, hooks) => open(this.#server, hooks),
      onStart: () => this.#started(),
      onMove: (event) => void this.#move(event, event),
      onReady: () => this.#ready(),
      onFail: (failure) => this.#fail(failure),
      onEvict: () => this.#evicted(),
      mayRespawn: () => this.#pace.trySpend(clock.now()),
    });
    onNews(this, { type: "asked" });
    this.#attempt.begin();
  }

  #started(): number {
    this.#attempts += 1;
    this.#beganAt = this.#deps.clock.now();
    this.#pace.spend(this.#beganAt);
    this.#move("attempt", `attempt ${this.#attempts}`);
    return this.#pace.deadlineMs(this.#server, this.#memory?.everConnected ?? false);
  }

  #evicted(): void {
    this.#endAttempt(0);
    this.#move("close", "others wait for their first attempt");
    this.#ask({ rank: RANK.again });
  }

  #ready(): void {
    const { clock, onNews } = this.#deps;
    if (!this.#move("ready", "connected")) return;
    const { link } = this;
    this.#failure = undefined;
    this.#pace.worked();
    const connectMs = Math.round(clock.now() - this.#beganAt);
    this.#remember({ everConnected: true, connectedAt: clock.wallNow(), connectMs, failedLast: false });
    this.#timers.set("steady", STEADY_MS, () => this.#forgive());
    const isVisit = this.#isVisit && this.#waiters.size === 0 && !this.isWanted;
    if (link) this.#waiters.resolve(link);
    onNews(this, { type: "ready" });
    if (this.mode === "auto_disabled") this.#recover("its probe succeeded");
    if (isVisit) this.close("its tools are learned");
    else this.#watch();
    this.#endFirst();
  }

  #fail(failure: Failure): void {
    const wasReady = this.#connection === "ready";
    const { onNews, isCounting, clock } = this.#deps;
    const { autoDisable } = this.#intent;
    this.#endAttempt(0);
    this.#failure = failure;
    const now = clock.now();
    this.#pace.failed(failure, { now, wasReady });
    onNews(this, { type: "failed", failure });
    if (isCounting()) this.#remember({ failedLast: true });
    if (isCounting()) autoDisable.count(failure, this.#pace.isSpent(now));
    this.#move("fail", failure.message);
    this.#endFirst();
    if (this.mode === "auto_disabled") this.#probeFailed();
    else if (autoDisable.isDue && isCounting()) this.#switchOff(failure);
    else this.#plan(failure);
    this.#waiters.reject(failure);
  }

  #switchOff(failure: Failure): void {
    const { standing: before } = this;
    const { failures } = this.#intent.autoDisable;
    const reason = this.#intent.switchOff(failure);
    const cause = this.#modeMoved(before, reason);
    this.#deps.onNews(this, { type: "auto_disabled", reason, failures, cause });
    this.#move("close", reason);
    this.#awaitRecovery();
  }

  #probeFailed(): void {
    const { autoDisable } = this.#intent;
    autoDisable.postpone(this.#deps.clock.wallNow());
    this.#remember({ autoDisabled: autoDisable.state });
    this.#awaitRecovery();
  }

  /** Comes back from an auto-disable; whoever wants it so sees to the next attempt. */
  #recover(reason: string): void {
    const { standing: before } = this;
    const mode = this.#intent.awake;
    this.#intent.take(mode);
    this.#timers.clear("recover");
    this.#forgive();
    const cause = this.#modeMoved(before, reason);
    this.#deps.onNews(this, { type: "recovered", mode, cause });
    if (this.#connection === "ready") this.#watch();
    else if (!this.isWanted && this.#isIdle && this.#waiters.size === 0) this.close(reason);
  }

  #awaitRecovery(): void {
    this.#timers.clear("recover");
    const { autoDisable } = this.#intent;
    const mayProbe = this.#hasStarted && this.#intent.isFree && this.#server.autoRecover;
    if (autoDisable.state === undefined || !mayProbe || this.#attempt !== undefined) return;
    const waitMs = autoDisable.leftMs(this.#deps.clock.wallNow());
    this.#timers.set("recover", waitMs, () => this.#ask({ rank: RANK.again }));
  }

  /** What comes after a failure that did not switch the server off. */
  #plan(failure: Failure): void {
    const now = this.#deps.clock.now();
    if (this.isWanted) this.#retryIn(this.#pace.afterMs(failure, { server: this.#server, now }));
  }

  #retryIn(waitMs: number): void {
    if (waitMs <= 0) return;
    this.#timers.set("retry", waitMs, () => this.#ask({ rank: RANK.again }));
    this.#nextAttemptAt = this.#deps.clock.wallNow() + waitMs;
  }

  #watch(): void {
    const { link, server } = this;
    const { clock, settings } = this.#deps;
    this.#timers.clear("watch");
    if (link === undefined) return;
    const stop = watch({
      link,
      clock,
      ...intervalsOf(server, settings()),
      idleMs: this.#intent.isSleepy ? settings().idleDisconnectMs : 0,
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
    this.#intent.autoDisable.forgive();
    this.#pace.forgive();
  }

  #remember(learned: Learned): void {
    this.#deps.remember(this.#server.name, learned);
  }

  /** The mode has moved: kept is only what neither file nor commit knows. */
  #modeMoved(before: ServerStanding, reason: string): number {
    const { former: formerMode, autoDisable } = this.#intent;
    this.#remember({ formerMode, autoDisabled: autoDisable.state });
    return this.#deps.onMove(this, before, reason);
  }

  #move(event: ConnectionEvent, reason: string): boolean {
    const to = moveConnection(this.#connection, event, this.mode);
    if (to === undefined) return false;
    const before = this.standing;
    this.#connection = to;
    this.#since = this.#deps.clock.wallNow();
    this.#deps.onMove(this, before, reason);
    return true;
  }
}
