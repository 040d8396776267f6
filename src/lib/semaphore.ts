/**
 * A bounded number of places, handed out in the order they were asked for.
 *
 * Owns the count and the line of waiters; not what is done in a place. Invariant: at most `places`
 * holders at any time, at most `room` waiters, and a waiter that gives up leaves no trace. `p-limit` was rejected: it
 * cannot drop a waiter when its signal aborts.
 */

/** Gives the place back; calling it again does nothing. */
export type Release = () => void;

/** Options of {@link Semaphore}. */
export interface SemaphoreOptions {
  /** How many may wait, asked at use. @default any number */
  readonly room?: () => number;
}

/** All places are taken, and so is the room to wait in. */
export class NoRoomError extends Error {
  override readonly name = "NoRoomError";
}

/** A first-come, first-served limit on concurrent work. */
export class Semaphore {
  readonly #places: () => number;
  readonly #room: () => number;
  /** In the order they came. */
  readonly #waiting = new Set<() => void>();
  #held = 0;

  /**
   * @param places how many; a function is asked at use, and may say `Infinity`
   * @throws {RangeError} when a number of places is not a positive integer.
   */
  constructor(places: number | (() => number), { room = () => Infinity }: SemaphoreOptions = {}) {
    if (typeof places === "number" && (!Number.isInteger(places) || places < 1)) {
      throw new RangeError(`Cannot make a semaphore: 'places' must be a positive integer, was ${places}`);
    }
    this.#places = typeof places === "number" ? () => places : places;
    this.#room = room;
  }

  /** Places taken now. */
  get held(): number {
    return this.#held;
  }

  /** Those in the line now. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Takes a place if one is free and nobody waits for it. */
  tryAcquire(): Release | undefined {
    if (this.#waiting.size > 0 || this.#held >= this.#places()) return undefined;
    this.#held += 1;
    return this.#release();
  }

  /**
   * Waits for a place; rejects with the signal's reason when it aborts first.
   *
   * @throws {NoRoomError} when as many wait as may.
   */
  async acquire(signal?: AbortSignal): Promise<Release> {
    signal?.throwIfAborted();
    const release = this.tryAcquire();
    if (release !== undefined) return release;
    if (this.#waiting.size >= this.#room()) throw new NoRoomError("Cannot wait for a place: no room is left");
    await this.#wait(signal);
    return this.#release();
  }

  #release(): Release {
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#held -= 1;
      this.#passOn();
    };
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const grant = (): void => {
        signal?.removeEventListener("abort", abort);
        resolve();
      };
      const abort = (): void => {
        this.#waiting.delete(grant);
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.add(grant);
    });
  }

  #passOn(): void {
    for (const grant of this.#waiting) {
      if (this.#held >= this.#places()) return;
      this.#waiting.delete(grant);
      this.#held += 1;
      grant();
    }
  }
}
