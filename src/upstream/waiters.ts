/**
 * Those who wait for one server to be ready.
 *
 * Owns who waits. Invariants: each hears once, or never after giving up; whoever comes back while the others are told
 * waits for the next answer. A promise shared by all was rejected: one who gives up must be gone from it.
 */
import type { Failure, Link, Waiter } from "./link.ts";

/** The waiters of one server. */
export class Waiters<L extends Link> {
  readonly #waiting = new Set<Waiter<L>>();

  get size(): number {
    return this.#waiting.size;
  }

  add(waiter: Waiter<L>): void {
    this.#waiting.add(waiter);
  }

  /** Gives up; nothing when it has heard already. */
  delete(waiter: Waiter<L>): void {
    this.#waiting.delete(waiter);
  }

  /** Gives the link to all. */
  resolve(link: L): void {
    for (const waiter of this.#take()) waiter.resolve(link);
  }

  /** Tells all why there is none; without a failure the server was closed. */
  reject(failure: Failure | undefined): void {
    for (const waiter of this.#take()) waiter.reject(failure);
  }

  #take(): readonly Waiter<L>[] {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    return waiting;
  }
}
