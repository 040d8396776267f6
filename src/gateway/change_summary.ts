/**
 * A change of the configuration in few words: for the history, the events and the log.
 *
 * Owns what is said of it, names and keys only. Invariant: no value of the configuration is in it. Letting each of the
 * three say it was rejected: they would differ in what counts as changed.
 */
import type { ConfigChange } from "../core/events.ts";
import type { Difference } from "../state/config_difference.ts";
import { describePlan } from "../state/config_plan.ts";
import type { Plan, PlanOperation } from "../state/config_plan.ts";

/** What was asked for, in a line of the history. */
export function summaryOf(operations: readonly PlanOperation[]): string {
  const byOp = Map.groupBy(operations, ({ op }) => op);
  return [...byOp]
    .map(([op, all]) => {
      const [first] = all;
      const one = first !== undefined && "name" in first ? ` '${first.name}'` : "";
      return `${op.replaceAll("_", " ")}${all.length === 1 ? one : ` × ${all.length}`}`;
    })
    .join(", ");
}

/** What changed, as events tell it. */
export function changeOf(difference: Difference): ConfigChange {
  const { added, removed, restarted, updated, renamed, modes, settings, restartRequired } = difference;
  const changed = [
    ...restarted.map(({ name }) => name),
    ...updated.map(({ name }) => name),
    ...renamed.map(({ to }) => to),
    ...modes.map(({ name }) => name),
  ];
  return {
    added: added.map(({ name }) => name),
    removed,
    changed: [...new Set(changed)],
    settings,
    restartRequired,
  };
}

/** What changed, in numbers for the log. */
export function countsOf({ added, removed, changed, settings, restartRequired }: ConfigChange) {
  return {
    added: added.length,
    removed: removed.length,
    changed: changed.length,
    ...(settings.length > 0 ? { settings: settings.join(" ") } : {}),
    ...(restartRequired.length > 0 ? { restart_required: restartRequired.join(" ") } : {}),
  };
}

/** A change as an answer shows it. */
export function changeView(change: {
  readonly revision: number;
  readonly plan: Plan;
  readonly warning?: string;
}) {
  const { revision, plan, warning } = change;
  return { revision, ...describePlan(plan), ...(warning === undefined ? {} : { warning }) };
}
