/**
 * How often something may happen to a key within a window of time.
 *
 * Owns the counts. Invariants: a window begins with the first count and ends by itself; the keys that are remembered
 * are bounded, the one that began longest ago gives way. A timer for each window was rejected: looking at the clock
 * when asked is enough.
 */

/** Options of {@link RateLimit}. */
export interface RateLimitOptions {
  /** How many are free within a window. */
  readonly max: number;
  readonly windowMs: number;
  /** @default 10000 */
  readonly maxKeys?: number;
  /** A clock that never goes back, in milliseconds. @default performance.now */
  readonly now?: () => number;
}

const MAX_KEYS = 10_000;

/** Counts by key. */
export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #now: () => number;
  readonly #windows = new Map<string, { count: number; readonly endsAt: number }>();

  constructor(options: RateLimitOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#windows.size;
  }

  /** How long until the key is free again; 0 when it is. */
  waitMs(key: string): number {
    const window = this.#windows.get(key);
    if (window === undefined) return 0;
    const leftMs = window.endsAt - this.#now();
    if (leftMs <= 0) this.#windows.delete(key);
    return leftMs > 0 && window.count >= this.#options.max ? leftMs : 0;
  }

  /** Counts one more; returns whether it was the one that fills the window. */
  count(key: string): boolean {
    const { max, windowMs, maxKeys = MAX_KEYS } = this.#options;
    const now = this.#now();
    let window = this.#windows.get(key);
    if (window === undefined || window.endsAt <= now) {
      window = { count: 0, endsAt: now + windowMs };
      this.#windows.delete(key);
      const [oldest] = this.#windows.keys();
      if (oldest !== undefined && this.#windows.size >= maxKeys) this.#windows.delete(oldest);
      this.#windows.set(key, window);
    }
    window.count += 1;
    return window.count === max;
  }
}
