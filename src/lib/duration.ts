/**
 * Go duration strings (`"90s"`, `"2m0s"`, `"1h30m"`) to milliseconds and back.
 *
 * Owns the grammar of Go's `time.ParseDuration` and the form of `Duration.String()`, so that a value
 * written by the Go proxy reads the same here and the other way round. Invariant: what `formatDuration`
 * writes, `parseDuration` reads back to the same number. ISO 8601 (`PT90S`) was rejected: the
 * configuration file is shared with a program that does not read it.
 */

const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5, micro sign
  μs: 1e-3, // U+03BC, Greek mu: Go reads both
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Where Go's 64-bit nanosecond counter ends, about 292 years. */
const MAX_MS = 9_223_372_036_854;
const NS_PER_MS = 1e6;
const MS_PER_DAY = 86_400_000;

const WHOLE = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/;
const PART = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;

/**
 * Reads a Go duration as milliseconds; undefined when the text is none or reaches past Go's range.
 *
 * Parts under a millisecond stay as a fraction, rounded to nanoseconds. A bare number is no duration,
 * except `"0"`, as in Go.
 */
export function parseDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  if (!WHOLE.test(text)) return undefined;
  let ms = 0;
  for (const [, amount = "", unit = ""] of text.matchAll(PART))
    ms += Number(amount) * (MS_PER_UNIT[unit] ?? 0);
  if (ms > MAX_MS) return undefined;
  if (!Number.isInteger(ms)) ms = Math.round(ms * NS_PER_MS) / NS_PER_MS;
  return text.startsWith("-") && ms !== 0 ? -ms : ms;
}

/** Reads a duration that may be given in whole days, `"30d"`, which Go's own do not know. */
export function parsePeriod(text: string): number | undefined {
  const days = /^(\d+)d$/.exec(text)?.[1];
  return days === undefined ? parseDuration(text) : Number(days) * MS_PER_DAY;
}

/**
 * Writes milliseconds as Go prints a duration: `120000` → `"2m0s"`, `500` → `"500ms"`, `0` → `"0s"`.
 *
 * @throws RangeError when `ms` is not finite or reaches past Go's range
 */
export function formatDuration(ms: number): string {
  if (!Number.isFinite(ms) || Math.abs(ms) > MAX_MS)
    throw new RangeError(`Cannot format ${ms} as a duration`);
  if (ms < 0) return `-${formatDuration(-ms)}`;
  if (ms === 0) return "0s";
  if (ms < 1e-3) return `${decimal(ms * NS_PER_MS, 0)}ns`;
  if (ms < 1) return `${decimal(ms * 1000, 3)}µs`;
  if (ms < 1000) return `${decimal(ms, 6)}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${decimal((ms % 60_000) / 1000, 9)}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

function decimal(value: number, digits: number): string {
  const text = value.toFixed(digits);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}
