/**
 * Counts of values by size, in the fixed steps Prometheus reads.
 *
 * Owns the steps and what is told of them. Invariants: observing allocates nothing and costs a short search;
 * memory is the number of steps. A sketch such as HDR was rejected: its steps are not what a scraper can add up.
 */

/** What was observed. */
export interface HistogramView {
  readonly count: number;
  readonly sum: number;
  readonly max: number;
  /** How many were at most as large as each step; the values beyond the last are in `count` alone. */
  readonly buckets: readonly { readonly le: number; readonly count: number }[];
}

/** Counts values. */
export class Histogram {
  readonly #steps: readonly number[];
  readonly #counts: Uint32Array;
  #count = 0;
  #sum = 0;
  #max = 0;

  /** @param steps upper ends, growing */
  constructor(steps: readonly number[]) {
    this.#steps = steps;
    this.#counts = new Uint32Array(steps.length);
  }

  /** Counts a value; what is no number is left out. */
  observe(value: number): void {
    if (!(value >= 0)) return;
    this.#count += 1;
    this.#sum += value;
    if (value > this.#max) this.#max = value;
    for (let at = 0; at < this.#steps.length; at += 1) {
      if (value <= (this.#steps[at] ?? Infinity)) {
        this.#counts[at] = (this.#counts[at] ?? 0) + 1;
        return;
      }
    }
  }

  /** What was observed so far. */
  view(): HistogramView {
    let count = 0;
    const buckets = this.#steps.map((le, at) => {
      count += this.#counts[at] ?? 0;
      return { le, count };
    });
    return { count: this.#count, sum: this.#sum, max: this.#max, buckets };
  }

  /** The step below which a share of the values lies; the largest value when it is beyond the steps. */
  quantile(share: number): number {
    let count = 0;
    for (const [at, le] of this.#steps.entries()) {
      count += this.#counts[at] ?? 0;
      if (count > 0 && count >= this.#count * share) return Math.min(le, this.#max);
    }
    return this.#max;
  }
}
