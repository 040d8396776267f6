/**
 * A thing the proxy does beside the least it could cost, measured in turn.
 *
 * Owns the order of the measurements and what is made of them. Invariant: both sides are measured in each round, so that a
 * slow moment meets both. What nothing waits in is compared by the processor's time, since on a shared machine a long turn is
 * interrupted more often than a short one and would look dearer than it is; what waits for a disk is compared by the quickest
 * of all, when nobody else wanted the disk. Comparing medians of the clock was rejected: on a busy machine the same two
 * sides came to three times the ratio.
 */
import { measure } from "mitata";
import { median, quantile } from "../../src/scale/sheet.ts";

/** The first one warms, and is not counted. */
const ROUNDS = 5;
const MS_PER_NS = 1e-6;
const MS_PER_US = 1e-3;
/** Of one side in one round; what is slow is run `MIN_SAMPLES` times all the same. */
const SIDE_NS = 100 / MS_PER_NS;
/** Compiling on other threads is processor's time too, and none of what is measured. */
const WARM_NS = 400 / MS_PER_NS;
const MIN_SAMPLES = 2;

/** What two sides are compared by: the quickest by the clock, or the processor's time of all threads together. */
export type Clock = "quickest" | "cpu";

/** Both sides at one size; what they need is gone with `await using`. */
export interface Pair extends AsyncDisposable {
  readonly ours: () => unknown;
  readonly baseline: () => unknown;
  /** How many of the thing one run is. @default 1 */
  readonly count?: number;
  /** Done after each measurement, and in none. */
  readonly settle?: () => unknown;
}

/** Makes a pair; `folder` is its own and is removed later. */
export type OpenPair = (given: { readonly size: number; readonly folder: string }) => Promise<Pair>;

/** What came of a pair, for one of the thing. */
export interface Figures {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly baselineP50Ms: number;
  /** What is compared, by the clock that was asked for. */
  readonly costMs: number;
  readonly baselineCostMs: number;
  readonly ratio: number;
}

interface Side {
  /** Milliseconds. */
  readonly samples: readonly number[];
  readonly costMs: number;
}

/** Measures both sides in turn. */
export async function compare(pair: Pair, clock: Clock): Promise<Figures> {
  const { ours, baseline, count = 1, settle = () => {} } = pair;
  const [mine, theirs] = [[] as Side[], [] as Side[]];
  for (let round = 0; round < ROUNDS; round += 1) {
    const options = { clock, count, forNs: round === 0 ? WARM_NS : SIDE_NS };
    const own = await measured(ours, options);
    await settle();
    const bare = await measured(baseline, options);
    await settle();
    if (round === 0) continue;
    mine.push(own);
    theirs.push(bare);
  }
  const samples = mine.flatMap((side) => side.samples);
  const ratios = mine.map(({ costMs }, round) => costMs / (theirs[round]?.costMs ?? Number.NaN));
  const [costMs, baselineCostMs] = [costOf(mine, clock), costOf(theirs, clock)];
  return {
    p50Ms: median(samples),
    p99Ms: quantile(samples, 0.99),
    baselineP50Ms: median(theirs.flatMap((side) => side.samples)),
    costMs,
    baselineCostMs,
    ratio: clock === "cpu" ? median(ratios) : costMs / baselineCostMs,
  };
}

function costOf(sides: readonly Side[], clock: Clock): number {
  const costs = sides.map(({ costMs }) => costMs);
  return clock === "cpu" ? median(costs) : Math.min(...costs);
}

/** Garbage of the other side is nobody's cost. */
async function measured(
  act: () => unknown,
  options: { readonly clock: Clock; readonly count: number; readonly forNs: number },
): Promise<Side> {
  const { clock, count, forNs } = options;
  let runs = 0;
  const counted = (): unknown => {
    runs += 1;
    return act();
  };
  Bun.gc(true);
  const before = process.cpuUsage();
  const found = await measure(counted, { min_samples: MIN_SAMPLES, min_cpu_time: forNs, gc: false });
  const { user, system } = process.cpuUsage(before);
  const samples = found.samples.map((ns) => (ns * MS_PER_NS) / count);
  const cpuMs = ((user + system) * MS_PER_US) / (runs * count);
  return { samples, costMs: clock === "cpu" ? cpuMs : Math.min(...samples) };
}
