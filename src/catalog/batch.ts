/**
 * A batch: which servers it is for, and what is said of it afterwards.
 *
 * Owns the three ways to select (a group, names, a filter) and the shape of the answer. Invariants: several
 * ways together mean the servers that all of them select; nothing given is never everything; the order is
 * the file's; whatever could not be done is named with its reason. Letting each edge select was rejected:
 * REST, MCP and the command line would differ in what fifty servers are.
 */
import { ProxyError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Category } from "../core/model.ts";
import type { Groups } from "./groups.ts";

/** What servers have in common; all of what is given has to hold. */
export interface ServerFilter {
  readonly category?: Category | undefined;
  readonly tag?: string | undefined;
  /** Not connected now, nor within so many days; a server that never was counts. */
  readonly notConnectedForDays?: number | undefined;
}

/** Which servers; at least one part has to be there. */
export interface Selection {
  /** Id, name or slug; the servers of the groups below are among them. */
  readonly group?: string | number | undefined;
  readonly names?: readonly string[] | undefined;
  readonly filter?: ServerFilter | undefined;
}

/** A server as far as selecting looks at it. */
export interface SelectableServer {
  readonly name: string;
  readonly category: Category;
  readonly tags: readonly string[];
  /** Unix milliseconds of the last time it was connected; absent when it never was. */
  readonly connectedAt?: number | undefined;
}

/** What is selected from. */
export interface SelectionView {
  readonly groups: Pick<Groups, "get" | "members">;
  /** In file order. */
  readonly servers: readonly SelectableServer[];
  /** Unix milliseconds. @default Date.now() */
  readonly now?: number;
}

/** What a selection comes to. */
export interface Selected {
  /** In file order. */
  readonly names: readonly string[];
  /** Names no server has, in the order given. */
  readonly unknown: readonly string[];
}

const DAY_MS = 86_400_000;

/**
 * Finds the servers of a selection.
 *
 * @throws ProxyError `USAGE` when nothing selects or the days are no number, `GROUP_UNKNOWN`
 */
export function selectServers(selection: Selection, view: SelectionView): Selected {
  const { group, names, filter } = selection;
  const isFiltered = Object.values(filter ?? {}).some((value) => value !== undefined);
  if (group === undefined && names === undefined && !isFiltered) {
    throw new ProxyError("USAGE", "Cannot select servers: neither a group, names nor a filter is given", {
      hint: "Give one of group, names and filter",
    });
  }
  const conditions: ((server: SelectableServer) => boolean)[] = [];
  if (group !== undefined) {
    const members = new Set(view.groups.members(view.groups.get(group).id));
    conditions.push(({ name }) => members.has(name));
  }
  if (names !== undefined) {
    const wanted = new Set(names);
    conditions.push(({ name }) => wanted.has(name));
  }
  if (filter !== undefined) conditions.push(filterOf(filter, view.now ?? Date.now()));
  const known = new Set(view.servers.map(({ name }) => name));
  return {
    names: view.servers
      .filter((server) => conditions.every((holds) => holds(server)))
      .map(({ name }) => name),
    unknown: [...new Set(names)].filter((name) => !known.has(name)),
  };
}

function filterOf(filter: ServerFilter, now: number): (server: SelectableServer) => boolean {
  const { category, tag, notConnectedForDays: days } = filter;
  if (days !== undefined && !(Number.isFinite(days) && days >= 0)) {
    throw new ProxyError("USAGE", `Cannot select servers: '${days}' is no number of days`, {
      hint: "Give a number of at least 0",
    });
  }
  return (server) => {
    if (category !== undefined && server.category !== category) return false;
    if (tag !== undefined && !server.tags.includes(tag)) return false;
    if (days === undefined) return true;
    const { connectedAt = Number.NEGATIVE_INFINITY } = server;
    return server.category !== "connected" && now - connectedAt >= days * DAY_MS;
  };
}

/** What a batch does with its servers. */
export type BatchAction = "enable" | "disable" | "restart" | "quarantine" | "assign" | "unassign";

/** What came of a batch: names of servers. */
export interface BatchOutcome {
  readonly action: BatchAction;
  readonly updated: readonly string[];
  /** They stood as wanted already. */
  readonly unchanged: readonly string[];
  readonly refused: readonly { readonly server: string; readonly error: string; readonly code: ErrorCode }[];
  /** Whether nothing was done but looked at. @default false */
  readonly isDryRun?: boolean;
}

/** The answer to a batch (keys as on the wire). */
export interface BatchAnswer {
  /** Whether anything is as wanted; false when all was refused. */
  readonly success: boolean;
  readonly message: string;
  readonly updated: number;
  readonly unchanged: number;
  /** Present when some succeeded and some did not. */
  readonly partial_failure?: true;
  readonly failed_servers: BatchOutcome["refused"];
}

const DONE: Readonly<Record<BatchAction, readonly [done: string, would: string]>> = {
  enable: ["Enabled", "Would enable"],
  disable: ["Disabled", "Would disable"],
  restart: ["Restarted", "Would restart"],
  quarantine: ["Quarantined", "Would quarantine"],
  assign: ["Assigned", "Would assign"],
  unassign: ["Unassigned", "Would unassign"],
};

/** Says what came of a batch; a batch for no server at all is a success. */
export function batchAnswer(outcome: BatchOutcome): BatchAnswer {
  const { action, updated, unchanged, refused, isDryRun = false } = outcome;
  const done = DONE[action][isDryRun ? 1 : 0];
  const isAny = updated.length + unchanged.length > 0;
  const parts = [
    `${done} ${updated.length === 1 ? "1 server" : `${updated.length} servers`}`,
    ...(unchanged.length > 0 ? [`${unchanged.length} unchanged`] : []),
    ...(refused.length > 0 ? [`${refused.length} refused`] : []),
  ];
  return {
    success: isAny || refused.length === 0,
    message: parts.join(", "),
    updated: updated.length,
    unchanged: unchanged.length,
    ...(isAny && refused.length > 0 && { partial_failure: true as const }),
    failed_servers: refused.map(({ server, error, code }) => ({ server, error, code })),
  };
}
