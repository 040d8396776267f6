/**
 * What was measured, beside what was wanted.
 *
 * Owns the rows of a report and the verdict on each. Invariants: a row without a bar is a fact and cannot fail; a
 * number that could not be measured fails, it is never left out. Verdicts in each area were rejected: seven areas
 * would judge in seven ways.
 */

/** How a row compares: `within` its bar, `over` it, `slow` when only the stricter bar is missed, or a mere fact. */
export type Verdict = "within" | "slow" | "over" | "fact";

/** One line of a report. */
export interface Row {
  readonly area: string;
  readonly metric: string;
  readonly unit: string;
  readonly measured: number;
  /** The bar of the design: past it the run fails. */
  readonly target?: number;
  /** The stricter bar of this proxy; a time past it is reported, a count or a ratio past it fails. */
  readonly must?: number;
  readonly verdict: Verdict;
  /** What the number does not say. */
  readonly note?: string;
}

/** What is given for a row. */
export interface Measurement {
  readonly metric: string;
  readonly unit: string;
  readonly measured: number;
  readonly target?: number;
  readonly must?: number;
  /** Whether more is better. @default false */
  readonly isFloor?: boolean;
  readonly note?: string;
}

/** Units that depend on the machine of the hour. */
const TIMES: ReadonlySet<string> = new Set(["ms", "s", "CPU-s", "MB", "× time"]);

/** The rows of one run. */
export class Sheet {
  readonly #rows: Row[] = [];
  readonly #onRow: (row: Row) => void;

  constructor(onRow: (row: Row) => void = () => {}) {
    this.#onRow = onRow;
  }

  /** In the order they were measured. */
  get rows(): readonly Row[] {
    return this.#rows;
  }

  /** Whether nothing is past its bar. */
  get isPassed(): boolean {
    return this.#rows.every(({ verdict }) => verdict !== "over");
  }

  /** Gives the sheet of one area. */
  area(area: string): AreaSheet {
    return {
      add: (measurement) => this.#add(area, measurement),
      count: (metric, { measured, wanted, note }) =>
        this.#add(area, {
          metric,
          unit: "",
          measured: measured === wanted ? 0 : 1,
          must: 0,
          note: `${measured} of ${wanted}${note === undefined ? "" : `; ${note}`}`,
        }),
    };
  }

  #add(area: string, { isFloor = false, ...rest }: Measurement): void {
    const row = { area, ...rest, verdict: verdictOf({ isFloor, ...rest }) };
    this.#rows.push(row);
    this.#onRow(row);
  }
}

/** Takes the rows of one area. */
export interface AreaSheet {
  readonly add: (measurement: Measurement) => void;
  /** A number that has to be exactly another; the row counts whether it is not. */
  readonly count: (
    metric: string,
    found: { readonly measured: number; readonly wanted: number; readonly note?: string },
  ) => void;
}

function verdictOf({ measured, target, must, unit, isFloor = false }: Measurement): Verdict {
  if (target === undefined && must === undefined) return "fact";
  if (!Number.isFinite(measured)) return "over";
  const isPast = (bar: number | undefined): boolean =>
    bar !== undefined && (isFloor ? measured < bar : measured > bar);
  if (isPast(target)) return "over";
  if (!isPast(must)) return "within";
  return TIMES.has(unit) ? "slow" : "over";
}

/** The value below which a share of all lies; not a number when there is none. */
export function quantile(values: readonly number[], ratio: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * ratio))] ?? Number.NaN;
}

/** The middle one. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Least squares: how much `y` grows for each `x`. */
export function slopeOf(points: readonly { readonly x: number; readonly y: number }[]): number {
  const mean = (key: "x" | "y"): number => points.reduce((sum, point) => sum + point[key], 0) / points.length;
  const [mx, my] = [mean("x"), mean("y")];
  const above = points.reduce((sum, { x, y }) => sum + (x - mx) * (y - my), 0);
  const below = points.reduce((sum, { x }) => sum + (x - mx) ** 2, 0);
  return below === 0 ? 0 : above / below;
}
