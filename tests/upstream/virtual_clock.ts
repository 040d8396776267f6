/**
 * A clock that goes as fast as it can.
 *
 * Owns virtual time and the queue of what is due. Invariants: what is due at the same time runs in the order
 * it was asked for; all times are multiples of 1/1024 ms, so that sums and differences are exact; nothing
 * reads the machine's clock. Bun's fake timers were rejected: they are one for the whole process.
 */
import type { CancelTimer, Clock } from "../../src/lib/clock.ts";

const TICKS_PER_MS = 1_024;
/** Unix milliseconds at virtual time 0. */
const EPOCH_MS = 1_800_000_000_000;

interface Due {
  readonly at: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Virtual time; {@link Clock} for whoever waits, `advance` for whoever simulates. */
export class VirtualClock implements Clock {
  readonly #heap: Due[] = [];
  #now = 0;
  #orders = 0;
  #pending = 0;
  /** How far the calendar was moved. */
  wallOffsetMs = 0;

  readonly now = (): number => this.#now;

  readonly wallNow = (): number => EPOCH_MS + this.#now + this.wallOffsetMs;

  readonly after = (ms: number, run: () => void): CancelTimer => {
    if (Number.isNaN(ms)) throw new RangeError("Cannot wait NaN milliseconds");
    const at = this.#now + Math.max(0, Math.ceil(ms * TICKS_PER_MS) / TICKS_PER_MS);
    this.#orders += 1;
    const due: Due = { at, order: this.#orders, run };
    this.#pending += 1;
    push(this.#heap, due);
    return () => {
      if (due.run === undefined) return;
      due.run = undefined;
      this.#pending -= 1;
    };
  };

  /** Timers that run. */
  get pending(): number {
    return this.#pending;
  }

  /** Runs the next timer if it is due by `until`; false when there is none. */
  step(until = Infinity): boolean {
    for (let next = this.#heap[0]; next !== undefined && next.at <= until; next = this.#heap[0]) {
      pop(this.#heap);
      const { run } = next;
      if (run === undefined) continue;
      next.run = undefined;
      this.#pending -= 1;
      this.#now = next.at;
      run();
      return true;
    }
    return false;
  }

  /** Lets `ms` milliseconds pass; `each` is called after every timer. */
  advance(ms: number, each?: () => void): void {
    const until = this.#now + ms;
    while (this.step(until)) each?.();
    this.#now = until;
  }

  /** A clock of the same time that counts its own timers. */
  view(): Clock & { readonly pending: () => number } {
    let pending = 0;
    return {
      now: this.now,
      wallNow: this.wallNow,
      after: (ms, run) => {
        pending += 1;
        let isOver = false;
        const end = (): void => {
          if (!isOver) pending -= 1;
          isOver = true;
        };
        const cancel = this.after(ms, () => {
          end();
          run();
        });
        return () => {
          end();
          cancel();
        };
      },
      pending: () => pending,
    };
  }
}

function comesBefore(a: Due, b: Due): boolean {
  return a.at === b.at ? a.order < b.order : a.at < b.at;
}

function push(heap: Due[], due: Due): void {
  let at = heap.push(due) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !comesBefore(due, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = due;
}

function pop(heap: Due[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    const [left, right] = [heap[child], heap[child + 1]];
    if (left === undefined) break;
    if (right !== undefined && comesBefore(right, left)) child += 1;
    const least = heap[child];
    if (least === undefined || !comesBefore(least, last)) break;
    heap[at] = least;
    at = child;
  }
  heap[at] = last;
}
