/**
 * A bounded number of places, handed out in the order they were asked for.
 *
 * Owns the count and the line of waiters; not what is done in a place. Invariant: at most `places`
 * holders at any time, and a waiter that gives up leaves no trace. `p-limit` was rejected: it cannot
 * drop a waiter when its signal aborts.
 */

/** Gives the place back; calling it again does nothing. */
export type Release = () => void;

/** A first-come, first-served limit on concurrent work. */
export class Semaphore {
  readonly #places: number;
  readonly #waiting: { readonly grant: () => void; isGone: boolean }[] = [];
  #held = 0;

  /** @throws {RangeError} when `places` is not a positive integer. */
  constructor(places: number) {
    if (!Number.isInteger(places) || places < 1) {
      throw new RangeError(`Cannot make a semaphore: 'places' must be a positive integer, was ${places}`);
    }
    this.#places = places;
  }

  /** Places taken now. */
  get held(): number {
    return this.#held;
  }

  /** Waits for a place; rejects with the signal's reason when it aborts first. */
  async acquire(signal?: AbortSignal): Promise<Release> {
    signal?.throwIfAborted();
    if (this.#held < this.#places) {
      this.#held += 1;
    } else {
      await this.#wait(signal);
    }
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#passOn();
    };
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = {
        isGone: false,
        grant: () => {
          signal?.removeEventListener("abort", abort);
          resolve();
        },
      };
      const abort = (): void => {
        waiter.isGone = true;
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(waiter);
    });
  }

  #passOn(): void {
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      if (next.isGone) continue;
      next.grant();
      return;
    }
    this.#held -= 1;
  }
}
