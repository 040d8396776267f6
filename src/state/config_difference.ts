/**
 * What changed between two configurations.
 *
 * Owns which change restarts a server, which is only told to it, and which setting waits for the next start. Pure: both
 * sides are whole, so an edit by hand and a plan are looked at alike. Invariants: a server is in one of `added`,
 * `removed`, `restarted`, `updated`, `renamed` at most, and in `modes` besides; a renamed one that is started otherwise
 * is in `restarted` too. A rename is never guessed from equal definitions: two entries may start the same thing.
 */
import { isSameDefinition } from "./definition.ts";
import type { Server, StartupMode } from "../core/model.ts";
import type { Config, GroupDefinition } from "../core/settings.ts";

/** A server that has another name now. */
export interface Renamed {
  readonly from: string;
  readonly to: string;
  readonly server: Server;
}

/** A startup mode that is another one in the file now. */
export interface ModeChange {
  readonly name: string;
  readonly before: StartupMode;
  readonly after: StartupMode;
}

/** All that changed. */
export interface Difference {
  readonly added: readonly Server[];
  readonly removed: readonly string[];
  /** What is started changed, or an entry came to have faults or to have none. */
  readonly restarted: readonly Server[];
  /** Something else changed: groups, tags, timeouts, filters. */
  readonly updated: readonly Server[];
  readonly renamed: readonly Renamed[];
  /** By the name they have now; of servers in the other lists too. */
  readonly modes: readonly ModeChange[];
  /** Top-level keys as in the file, without servers and groups. */
  readonly settings: readonly string[];
  /** Those of them that take effect at the next start. */
  readonly restartRequired: readonly string[];
  /** Ids. */
  readonly groups: {
    readonly added: readonly number[];
    readonly removed: readonly number[];
    readonly changed: readonly number[];
  };
}

/** Settings that are read once, at the start. */
const RESTART_KEYS: ReadonlySet<string> = new Set([
  "listen",
  "data_dir",
  "tls",
  "enable_socket",
  "logging",
  "tracing",
  "api_key",
]);

/** Fields of a server under the keys they have in the file. */
const FIELD_KEYS: Readonly<Partial<Record<keyof Server, string>>> = {
  workingDir: "working_dir",
  startupMode: "startup_mode",
  connectionTimeoutMs: "connection_timeout",
  callTimeoutMs: "call_timeout",
  maxConcurrentRequests: "max_concurrent_requests",
  queueSize: "queue_size",
  autoDisableThreshold: "auto_disable_threshold",
  autoRecover: "auto_recover",
  healthCheckIntervalMs: "health_check_interval",
  toolDiscoveryIntervalMs: "tool_discovery_interval",
  enabledTools: "enabled_tools",
  disabledTools: "disabled_tools",
};
/** Told by the other lists, or of no effect. */
const UNTOLD: ReadonlySet<string> = new Set(["name", "faults", "transport", "created", "updated"]);

/**
 * Compares two configurations.
 *
 * @param renames which names became which others, each from the first to the last; none for an edit by hand
 */
export function differenceOf(
  before: Config,
  after: Config,
  renames: readonly (readonly [from: string, to: string])[] = [],
): Difference {
  const origins = new Map(renames.map(([from, to]) => [to, from]));
  const sources = new Set(renames.map(([from]) => from));
  const { was: servers, now } = withoutSame(before.servers, after.servers);
  const old = new Map(servers.map((server) => [server.name, server]));
  const added: Server[] = [];
  const restarted: Server[] = [];
  const updated: Server[] = [];
  const renamed: Renamed[] = [];
  const modes: ModeChange[] = [];
  for (const server of now) {
    const { name } = server;
    const from = origins.get(name) ?? name;
    // A new server may have the name that another one gave up.
    const was = from === name && sources.has(name) ? undefined : old.get(from);
    if (was !== undefined) old.delete(from);
    if (was === server) continue;
    if (was === undefined) {
      added.push(server);
      continue;
    }
    if (was.startupMode !== server.startupMode)
      modes.push({ name, before: was.startupMode, after: server.startupMode });
    if (from !== name) renamed.push({ from, to: name, server });
    if (isRestarted(was, server)) restarted.push(server);
    else if (from === name && isUpdated(was, server)) updated.push(server);
  }
  const settings = changedSettings(before, after);
  const restartRequired = settings.filter((key) => RESTART_KEYS.has(key));
  const groups = changedGroups(before.settings.groups, after.settings.groups);
  return {
    added,
    removed: [...old.keys()],
    restarted,
    updated,
    renamed,
    modes,
    settings,
    restartRequired,
    groups,
  };
}

/** What is left when those are left out that a plan did not touch, at both ends: of ten thousand it touches one. */
function withoutSame(
  before: readonly Server[],
  after: readonly Server[],
): { readonly was: readonly Server[]; readonly now: readonly Server[] } {
  const most = Math.min(before.length, after.length);
  let first = 0;
  while (first < most && before[first] === after[first]) first += 1;
  let last = 0;
  while (last < most - first && before.at(-1 - last) === after.at(-1 - last)) last += 1;
  return { was: before.slice(first, before.length - last), now: after.slice(first, after.length - last) };
}

/** Names what differs between two servers, as the file names it; never values, which may be secret. */
export function changedKeys(before: Server, after: Server): string[] {
  const fields = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Server>;
  return [...fields].flatMap((field) => {
    if (UNTOLD.has(field) || Bun.deepEquals(before[field], after[field], true)) return [];
    return [FIELD_KEYS[field] ?? field];
  });
}

function isRestarted(before: Server, after: Server): boolean {
  return before.faults.length > 0 !== after.faults.length > 0 || !isSameDefinition(before, after);
}

function isUpdated(before: Server, after: Server): boolean {
  return changedKeys(before, after).some((key) => key !== "startup_mode");
}

function changedSettings(before: Config, after: Config): string[] {
  const { top: old = {} } = before;
  const { top = {} } = after;
  if (old === top) return [];
  const keys = new Set([...Object.keys(old), ...Object.keys(top)]);
  const has = (value: typeof top, key: string): unknown => (Object.hasOwn(value, key) ? value[key] : null);
  return [...keys].filter((key) => !Bun.deepEquals(has(old, key) ?? null, has(top, key) ?? null, true));
}

function changedGroups(
  before: readonly GroupDefinition[],
  after: readonly GroupDefinition[],
): Difference["groups"] {
  if (before === after) return { added: [], removed: [], changed: [] };
  const old = new Map(before.map((group) => [group.id, group]));
  const ids = new Set(after.map(({ id }) => id));
  return {
    added: [...ids].filter((id) => !old.has(id)),
    removed: [...old.keys()].filter((id) => !ids.has(id)),
    changed: after
      .filter((group) => old.has(group.id) && !Bun.deepEquals(old.get(group.id), group, true))
      .map(({ id }) => id),
  };
}
