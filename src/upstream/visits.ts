/**
 * The visits that learn the tools of lazy servers nobody has called yet.
 *
 * Owns their line, and who is visited now. Invariants: one at a time, in the background; whatever comes of a visit, the
 * next server has its turn; nobody is visited whose tools were learned meanwhile. Visiting all at once was rejected:
 * a file of lazy servers would start like one of active servers.
 */
import type { CancelTimer, Clock } from "../lib/clock.ts";

/** Whom a visit is paid to. */
export interface Visitable {
  readonly wantsVisit: boolean;
  /** Connects, learns the tools, and closes. */
  readonly visit: () => void;
}

/** Pays visits, one after the other. */
export class Visits<K extends Visitable> {
  readonly #clock: Clock;
  readonly #line = new Set<K>();
  #visited: K | undefined;
  #cancel: CancelTimer = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Puts those who want a visit at the end of the line, and goes on. */
  add(candidates: readonly K[]): void {
    for (const candidate of candidates) if (candidate.wantsVisit) this.#line.add(candidate);
    this.#next();
  }

  /** A visit has ended, whatever came of it. */
  ended(candidate: K): void {
    if (this.#visited !== candidate) return;
    this.#visited = undefined;
    // Not from within the move that ended this one.
    this.#cancel();
    this.#cancel = this.#clock.after(0, () => this.#next());
  }

  /** Visits nobody any more. */
  close(): void {
    this.#line.clear();
    this.#cancel();
  }

  #next(): void {
    if (this.#visited !== undefined) return;
    for (const candidate of this.#line) {
      this.#line.delete(candidate);
      if (!candidate.wantsVisit) continue;
      this.#visited = candidate;
      candidate.visit();
      return;
    }
  }
}
