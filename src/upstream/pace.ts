/**
 * How soon a server may be tried again, and how long an attempt at it may take.
 *
 * Owns the failures in a row that backoff and deadline grow with, what the server asked for, and the restart budget; no
 * timers, no events. Invariants: settings are read at use, so changed ones hold from then on; no attempt comes before
 * the server's own wish and the budget allow. One count for this and for the auto-disable was rejected: a rate limit
 * slows down and never switches off.
 */
import type { Server } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { backoffMs } from "../lib/backoff.ts";
import { Budget } from "../lib/budget.ts";
import { isRetriable } from "./link.ts";
import type { Failure } from "./link.ts";
import { intervalsOf } from "./watch.ts";

/** Spawns are counted over this long. */
const BUDGET_WINDOW_MS = 60_000;

/** Options of {@link Pace}. */
export interface PaceOptions {
  /** Those in force now. */
  readonly settings: () => Settings;
  /** In [0, 1). */
  readonly random: () => number;
}

/** Says when the next attempt at one server is due; all times are of a clock that never jumps. */
export class Pace {
  readonly #options: PaceOptions;
  #budget: Budget;
  /** Failures in a row, counted or not, and the time-outs among them. */
  #streak = 0;
  #timeouts = 0;
  /** Until then the server asked to be left alone. */
  #restsUntil = 0;

  constructor(options: PaceOptions) {
    this.#options = options;
    this.#budget = this.#fullBudget();
  }

  /** Forgets all of it: the definition is another. */
  renew(): void {
    this.forgive();
    this.#restsUntil = 0;
    this.#budget = this.#fullBudget();
  }

  /** Takes the restart budget that is in force now. */
  retune(): void {
    this.#budget.resize(this.#options.settings().supervision.restartBudget);
  }

  /** Forgets the failures; the budget and the server's own wish stay. */
  forgive(): void {
    [this.#streak, this.#timeouts] = [0, 0];
  }

  /** An attempt has worked: the next one has the first deadline again. */
  worked(): void {
    this.#timeouts = 0;
  }

  /** An attempt has failed at `now`, or a link that was ready broke. */
  failed(failure: Failure, { now, wasReady }: { readonly now: number; readonly wasReady: boolean }): void {
    this.#restsUntil = now + (failure.retryAfterMs ?? 0);
    this.#streak += 1;
    if (failure.class === "timeout" && !wasReady) this.#timeouts += 1;
  }

  /** An attempt begins. */
  spend(now: number): void {
    this.#budget.spend(now);
  }

  /** Spends one more start within an attempt, if there is one left; says whether there was. */
  trySpend(now: number): boolean {
    return this.#budget.trySpend(now);
  }

  /** Whether the restart budget is used up. */
  isSpent(now: number): boolean {
    return this.#budget.waitMs(now) > 0;
  }

  /** Whether an attempt that somebody waits for may begin at once, after the last one failed so. */
  mayTry(now: number, last: Failure | undefined): boolean {
    if (last !== undefined && !isRetriable(last)) return false;
    return now >= this.#restsUntil && !this.isSpent(now);
  }

  /** How long until the attempt after this failure, milliseconds; 0 when none can help. */
  afterMs(failure: Failure, { server, now }: { readonly server: Server; readonly now: number }): number {
    // Its definition of tools, or its package, may be another by then.
    if (failure.class === "protocol")
      return intervalsOf(server, this.#options.settings()).discoveryIntervalMs;
    return isRetriable(failure) ? this.restMs(now) : 0;
  }

  /** Backoff, what the server asked for, and what the restart budget leaves; milliseconds. */
  restMs(now: number): number {
    const { settings, random } = this.#options;
    const { backoffBaseMs: baseMs, backoffCapMs: capMs } = settings().supervision;
    const plainMs = backoffMs(Math.max(1, this.#streak), { baseMs, capMs, random });
    return Math.max(plainMs, this.#restsUntil - now, this.#budget.waitMs(now));
  }

  /** A first run may download itself; one that worked before gets more time after each time-out. */
  deadlineMs(server: Server, hasWorked: boolean): number {
    const { connectionTimeoutMs, supervision } = this.#options.settings();
    if (!hasWorked) return supervision.firstRunTimeoutMs;
    const most = server.connectionTimeoutMs ?? connectionTimeoutMs;
    return Math.min(most, supervision.firstDeadlineMs * 2 ** this.#timeouts);
  }

  #fullBudget(): Budget {
    const limit = this.#options.settings().supervision.restartBudget;
    return new Budget({ limit, windowMs: BUDGET_WINDOW_MS });
  }
}
