/**
 * An earlier text as a plan.
 *
 * Owns what going back to it changes and whether it may. Invariant: a quarantine stays, and a definition nobody approved
 * is quarantined. Undoing changes one by one was rejected: a person remembers a text that worked, not the steps since.
 */
import type { Config } from "../core/settings.ts";
import { differenceOf } from "../state/config_difference.ts";
import type { Plan } from "../state/config_plan.ts";
import type { LoadedConfig } from "../state/loaded_config.ts";
import { effectsOfRollback } from "./approval.ts";
import type { Known } from "./approval.ts";
import { assertMayReplace } from "./permission.ts";

/** What a rollback starts from. */
export interface RollbackOptions {
  /** The configuration in force; undefined when nothing is known of it, and then every server counts as added. */
  readonly from: Config | undefined;
  /** Whether a person vouches for all that is started by it. */
  readonly approve: boolean;
  readonly known: (name: string) => Known | undefined;
}

/**
 * Plans the way from one configuration to the text of an earlier one.
 *
 * @throws {ProxyError} `MANAGEMENT_REFUSED`
 */
export function planRollback(loaded: LoadedConfig, { from, approve, known }: RollbackOptions): Plan {
  const { config, text } = loaded;
  const difference = differenceOf(from ?? { ...config, servers: [] }, config);
  if (from !== undefined) assertMayReplace(from.settings, { difference, settings: config.settings });
  const { quarantineEnabled } = (from ?? config).settings;
  const approves = approve || !quarantineEnabled;
  const { added, restarted, updated } = difference;
  return {
    loaded,
    config,
    text,
    difference,
    effects: effectsOfRollback(difference, { approves, known }),
    refused: [],
    unchanged: [],
    updated: [...added, ...restarted, ...updated].map(({ name }) => name),
    trials: [],
    isChange: true,
  };
}
