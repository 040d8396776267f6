/**
 * How long to wait before the next try.
 *
 * Owns the curve: doubling from a base to a cap, with jitter so that many who failed at once do not come
 * back at once. Pure; the caller keeps the count. Full jitter was rejected: it lets a try follow its
 * predecessor immediately.
 */

/** Options of {@link backoffMs}. */
export interface BackoffOptions {
  /** @default 1000 */
  readonly baseMs?: number;
  /** @default 300_000 */
  readonly capMs?: number;
  /** Share of the wait that is random, both ways. @default 0.2 */
  readonly jitterRatio?: number;
  /** Returns a number in [0, 1). @default Math.random */
  readonly random?: () => number;
}

/** The wait after `failures` consecutive failures (1 or more), in milliseconds. */
export function backoffMs(failures: number, options: BackoffOptions = {}): number {
  const { baseMs = 1_000, capMs = 300_000, jitterRatio = 0.2, random = Math.random } = options;
  const plain = Math.min(capMs, baseMs * 2 ** Math.max(0, failures - 1));
  return Math.round(plain * (1 - jitterRatio + 2 * jitterRatio * random()));
}
