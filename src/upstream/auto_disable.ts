/**
 * When a server that keeps failing is switched off, and when it is tried again.
 *
 * Owns the count of failures in a row and the schedule of probes; no timers, no events. Invariants: the
 * proxy's own limits and an upstream's rate limit never count; each failed probe doubles the wait, six
 * hours at most. Counting failures over a window was rejected: a server that fails once a day for good
 * reason would be switched off in a busy week.
 */
import type { AutoDisabled } from "../state/store.ts";
import type { Failure } from "./link.ts";

/** The longest wait before a server is probed again. */
const MAX_RECOVER_MS = 6 * 60 * 60_000;
/** Why a server is off that nothing was observed of. */
const WANTED = "the configuration says so";

/** Options of {@link AutoDisable}. */
export interface AutoDisableOptions {
  /** Failures in a row that switch off, as it is set now; 0 or less never does. */
  readonly threshold: () => number;
  /** The wait before the first probe, as it is set now. */
  readonly recoverAfterMs: () => number;
  readonly remembered: AutoDisabled | undefined;
}

/** Counts one server's failures. */
export class AutoDisable {
  readonly #options: AutoDisableOptions;
  #failures = 0;
  #state: AutoDisabled | undefined;

  constructor(options: AutoDisableOptions) {
    this.#options = options;
    this.#state = options.remembered;
  }

  /** Counted failures in a row. */
  get failures(): number {
    return this.#failures;
  }

  /** Why and since when the server is off; undefined when it is not. */
  get state(): AutoDisabled | undefined {
    return this.#state;
  }

  /** Whether failures since `at`, Unix milliseconds, switched it off. */
  hasBegunSince(at: number): boolean {
    return this.#state !== undefined && this.#state.reason !== WANTED && this.#state.at >= at;
  }

  /** Counts a failure; one that spent the restart budget counts twice, since waiting for it is a failure too. */
  count(failure: Failure, isBudgetSpent: boolean): void {
    if (failure.class === "rate_limited" || failure.isOurs === true) return;
    this.#failures += isBudgetSpent ? 2 : 1;
  }

  /** Forgets the failures. */
  forgive(): void {
    this.#failures = 0;
  }

  /** Whether there were too many. */
  get isDue(): boolean {
    const threshold = this.#options.threshold();
    return threshold > 0 && this.#failures >= threshold;
  }

  /** Switches off; returns the reason. `at` is in Unix milliseconds. */
  begin(failure: Failure, at: number): string {
    const reason = `${this.#failures} failures in a row; the last: ${failure.message}`;
    this.#state = { reason, at, probes: 0, dueAt: at + this.#waitMs(0) };
    return reason;
  }

  /** The server is off though nothing is remembered of it: the configuration says so. */
  assume(at: number): void {
    this.#state ??= { reason: WANTED, at, probes: 0, dueAt: at + this.#waitMs(0) };
  }

  /** Plans the next probe after one that failed at `at`. */
  postpone(at: number): void {
    if (this.#state === undefined) return;
    const probes = this.#state.probes + 1;
    this.#state = { ...this.#state, probes, dueAt: at + this.#waitMs(probes) };
  }

  /** How long until the probe is due; never longer than the longest wait, whatever the calendar did. */
  leftMs(at: number): number {
    return this.#state === undefined ? 0 : Math.min(MAX_RECOVER_MS, Math.max(0, this.#state.dueAt - at));
  }

  /** It is on again. */
  end(): void {
    this.#state = undefined;
  }

  #waitMs(probes: number): number {
    return Math.min(MAX_RECOVER_MS, this.#options.recoverAfterMs() * 2 ** probes);
  }
}
