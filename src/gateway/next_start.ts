/**
 * What waits for the next start.
 *
 * Owns the comparison of the file's settings with those the process was started with. Invariant: a setting that is as it
 * was at the start waits for nothing, however often it changed in between. Adding up what each change said was rejected: one
 * that takes another back would say it too.
 */
import type { Config } from "../core/settings.ts";
import { differenceOf } from "../state/config_difference.ts";
import type { Difference } from "../state/config_difference.ts";

/** Top-level keys, as in the file, that hold from the next start. */
export function waitingSettings(started: Config, now: Config): readonly string[] {
  return differenceOf({ ...started, servers: [] }, { ...now, servers: [] }).restartRequired;
}

/** The same difference, telling a restart only where the start was another. */
export function sinceStart(
  difference: Difference,
  { started, now }: { readonly started: Config; readonly now: Config },
): Difference {
  if (difference.restartRequired.length === 0) return difference;
  const waiting = new Set(waitingSettings(started, now));
  return { ...difference, restartRequired: difference.restartRequired.filter((key) => waiting.has(key)) };
}
