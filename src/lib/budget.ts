/**
 * So many in so long.
 *
 * Owns the times of what was spent within a sliding window. Invariant: memory is bounded by the limit. A
 * token bucket was rejected: it lets a burst through right after a burst.
 */

/** Options of {@link Budget}. */
export interface BudgetOptions {
  readonly limit: number;
  readonly windowMs: number;
}

/** A limit on how often something is done. */
export class Budget {
  readonly #windowMs: number;
  #limit: number;
  #spent: number[] = [];

  constructor({ limit, windowMs }: BudgetOptions) {
    this.#limit = limit;
    this.#windowMs = windowMs;
  }

  /** Allows so many from now on; what was spent stays spent. */
  resize(limit: number): void {
    this.#limit = limit;
  }

  /** Spends one at `now`, on a clock that never jumps. */
  spend(now: number): void {
    this.#spent = [...this.#spent, now].slice(-this.#limit);
  }

  /** Spends one if there is one left; says whether there was. */
  trySpend(now: number): boolean {
    if (this.waitMs(now) > 0) return false;
    this.spend(now);
    return true;
  }

  /** How long until one more may be spent, milliseconds; 0 when it may be now. */
  waitMs(now: number): number {
    const oldest = this.#spent.at(-this.#limit);
    return oldest === undefined ? 0 : Math.max(0, oldest + this.#windowMs - now);
  }
}
