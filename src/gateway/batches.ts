/**
 * Many servers switched as one change.
 *
 * Owns the way from a selection to one commit, its answer and its one event of the group. Invariants: what is refused is
 * named and the rest is done; nothing in a batch frees a server from quarantine. A loop over single changes was rejected:
 * fifty servers would be fifty writes of the file, and a crash would leave some of them.
 */
import { batchAnswer, selectServers } from "../catalog/batch.ts";
import type { BatchAction, BatchAnswer, Selection, SelectionView } from "../catalog/batch.ts";
import type { Group } from "../catalog/groups.ts";
import { ProxyError, toProxyError } from "../core/errors.ts";
import type { EventBus, GroupAction } from "../core/events.ts";
import type { Plan, PlanOperation } from "../state/config_plan.ts";
import type { Store } from "../state/store.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import type { Change, Configuration } from "./configuration.ts";

/** What {@link Batches} work with. */
export interface BatchesDeps {
  readonly configuration: Configuration;
  readonly upstreams: Upstreams;
  readonly store: Store;
  readonly bus: EventBus;
}

/** One thing to do with many servers. */
export interface BatchRequest {
  readonly selection: Selection;
  readonly action: BatchAction;
  /** The group to assign to or unassign from, by id, name or slug. */
  readonly group?: string | number | undefined;
  readonly isDryRun?: boolean | undefined;
}

type Counts = { readonly updated: number; readonly unchanged: number; readonly failed: number };
type Refusal = Plan["refused"][number];

/** Does things with many servers. */
export class Batches {
  readonly #deps: BatchesDeps;

  constructor(deps: BatchesDeps) {
    this.#deps = deps;
  }

  /**
   * Does one thing with what is selected.
   *
   * @throws {ProxyError} `GROUP_UNKNOWN`, `USAGE`, and what {@link Configuration.change} does for the whole.
   */
  async run(request: BatchRequest): Promise<BatchAnswer> {
    const { action, selection, group, isDryRun = false } = request;
    const { configuration } = this.#deps;
    const about = group ?? selection.group;
    const subject = about === undefined ? undefined : configuration.groups.get(about);
    const { names, unknown } = selectServers(selection, this.#view());
    const missing = unknown.map((server) => unknownServer(server));
    const answerOf = ({ updated, unchanged, refused }: Pick<Plan, "updated" | "unchanged" | "refused">) =>
      batchAnswer({ action, updated, unchanged, refused: [...refused, ...missing], isDryRun });
    const tell = (answer: BatchAnswer): void => {
      const { updated, unchanged, failed_servers: failed } = answer;
      if (!isDryRun) this.#tell(action, subject, { updated, unchanged, failed: failed.length });
    };
    if (action === "restart") {
      const answer = answerOf(this.#restart(names, isDryRun));
      tell(answer);
      return answer;
    }
    const operations = names.map((name) => operationOf(action, name, subject?.id));
    const asked = { operations, isDryRun, isLenient: true, isByPerson: false };
    const { plan } = await configuration.change(asked, (made) => tell(answerOf(made)));
    return answerOf(plan);
  }

  /**
   * Makes, changes or deletes a group, as one change with one event of the group.
   *
   * @throws {ProxyError} as {@link Configuration.change}.
   */
  changeGroup(
    action: "create" | "update" | "delete",
    group: string | number,
    operations: readonly PlanOperation[],
  ): Promise<Change> {
    const { configuration } = this.#deps;
    const before = action === "create" ? undefined : configuration.groups.get(group);
    return configuration.change({ operations, isByPerson: true }, ({ updated, difference }) => {
      // Not by its name, which may be another one's id.
      const subject = before ?? configuration.groups.find(difference.groups.added[0] ?? group);
      this.#tell(action, subject, { updated: updated.length, unchanged: 0, failed: 0 });
    });
  }

  #view(): SelectionView {
    const { configuration, upstreams, store } = this.#deps;
    const servers = upstreams.list().map(({ server: { name, tags }, category }) => ({
      name,
      category,
      tags,
      connectedAt: store.findServer(name)?.connectedAt,
    }));
    return { groups: configuration.groups, servers, now: Date.now() };
  }

  /** Changes nothing of the configuration. */
  #restart(names: readonly string[], isDryRun: boolean) {
    const { upstreams } = this.#deps;
    const updated: string[] = [];
    const refused: Refusal[] = [];
    for (const server of names) {
      try {
        const upstream = upstreams.callable(server);
        if (!isDryRun) upstream.restart("restarted with others by an operator");
        updated.push(server);
      } catch (error) {
        const { message, code } = toProxyError(error);
        const isHeld = upstreams.find(server)?.mode === "quarantined";
        refused.push({ server, error: message, code: isHeld ? "QUARANTINED" : code });
      }
    }
    return { updated, unchanged: [], refused };
  }

  #tell(action: GroupAction, group: Group | undefined, counts: Counts): void {
    const data = { action, name: group?.name ?? "", ...counts };
    this.#deps.bus.publish("server_group_updated", data, group?.id);
  }
}

function unknownServer(server: string): Refusal {
  return { server, error: `Cannot find a server named '${server}'`, code: "SERVER_UNKNOWN" };
}

function operationOf(
  action: Exclude<BatchAction, "restart">,
  name: string,
  group: number | undefined,
): PlanOperation {
  if (action !== "assign" && action !== "unassign") return { op: action, name };
  if (group !== undefined) return { op: action, name, group };
  throw new ProxyError("USAGE", `Cannot ${action} servers: no group is named`, { hint: "Name the group" });
}
