/**
 * Timers by name.
 *
 * Owns which are running. Invariant: at most one of a name; setting one replaces it, and one that fired or
 * was cleared is gone. A variable for each was rejected: forgetting one of five is how timers leak.
 */
import type { CancelTimer, Clock } from "./clock.ts";

/** A set of named timers on one clock. */
export class Timers<Name extends string> {
  readonly #clock: Clock;
  readonly #running = new Map<Name, CancelTimer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether the timer runs. */
  has(name: Name): boolean {
    return this.#running.has(name);
  }

  /** Calls `run` once after `ms` milliseconds. */
  set(name: Name, ms: number, run: () => void): void {
    this.adopt(
      name,
      this.#clock.after(ms, () => {
        this.#running.delete(name);
        run();
      }),
    );
  }

  /** Takes over what somebody else started, to be cleared by name. */
  adopt(name: Name, cancel: CancelTimer): void {
    this.clear(name);
    this.#running.set(name, cancel);
  }

  /** Stops timers; those that do not run are ignored. */
  clear(...names: readonly Name[]): void {
    for (const name of names) {
      this.#running.get(name)?.();
      this.#running.delete(name);
    }
  }
}
