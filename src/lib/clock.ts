/**
 * Time as the rest of the program sees it.
 *
 * Owns the difference between the clock that never jumps, which time-outs are measured on, and the
 * calendar. Invariant: what waits does so through a clock it was given, so that a simulation can run an
 * hour in a millisecond. Faking the global timers was rejected: thousands of seeds in one process need
 * thousands of clocks.
 */

/** Stops a timer; calling it late or twice does nothing. */
export type CancelTimer = () => void;

/** A source of time. */
export interface Clock {
  /** Milliseconds on a clock that never jumps; comparable within one process only. */
  readonly now: () => number;
  /** Unix milliseconds. */
  readonly wallNow: () => number;
  /** Calls `run` once after `ms` milliseconds. */
  readonly after: (ms: number, run: () => void) => CancelTimer;
}

/** The machine's own time. */
export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, Math.min(ms, MAX_TIMER_MS));
    return () => clearTimeout(timer);
  },
};

/** A longer wait would overflow the timer and fire at once (HTML, timers: a signed 32-bit number). */
const MAX_TIMER_MS = 2 ** 31 - 1;
