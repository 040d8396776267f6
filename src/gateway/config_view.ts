/**
 * The configuration in force as one document, in the form of the Go proxy.
 *
 * Owns which keys it has: those of the file, the unknown ones too, with the defaults and what follows from flags and
 * variables filled in. Invariants: it exists twice, with secrets and masked, key for key the same; an entry of the file
 * that is no server stands in it as well, so that nothing is lost when it comes back. Showing the file alone was
 * rejected: whoever reads it would have to know the defaults.
 */
import type { Server, StartupMode } from "../core/model.ts";
import type { GroupDefinition } from "../core/settings.ts";
import { formatDuration, parseDuration } from "../lib/duration.ts";
import { isList, isRecord } from "../state/config_fault.ts";
import { serverNameOf } from "../state/config_server.ts";
import type { LoadedConfig } from "../state/loaded_config.ts";
import { modeBelowQuarantine } from "../state/plan_modes.ts";
import { maskSecrets } from "../state/secrets.ts";

/** An object of the document. */
export type Fields = Readonly<Record<string, unknown>>;

/** A value of the document, with its secrets and without. */
export interface Sight<Value = unknown> {
  readonly plain: Value;
  readonly shown: Value;
}

/** An entry of `mcpServers`. */
export interface ServerSight extends Sight {
  /** What operations call it. */
  readonly name: string;
  /** As it stands in the file. */
  readonly raw: unknown;
  /** Whether operations reach it; a second entry with a name is reached by nobody. */
  readonly isReached: boolean;
}

/** A group. */
export interface GroupSight extends Sight<Fields> {
  readonly id: number;
  readonly raw: Fields;
}

/** The whole of it. */
export interface ConfigView {
  /** All but servers and groups. */
  readonly top: Sight<Fields>;
  readonly rawTop: Fields;
  readonly servers: readonly ServerSight[];
  readonly groups: readonly GroupSight[];
}

/** Keys whose value is a duration, wherever they stand. */
const DURATIONS: ReadonlySet<string> = new Set([
  "call_tool_timeout",
  "connection_timeout",
  "call_timeout",
  "idle_disconnect",
  "health_check_interval",
  "tool_discovery_interval",
  "queue_timeout",
  "first_deadline",
  "first_run_timeout",
  "stdio",
  "http",
  "backoff_base",
  "backoff_cap",
  "recover_after",
  "cascade_window",
  "stop_grace",
  "term_grace",
]);

/** Makes the document. */
export function viewConfig(
  loaded: LoadedConfig,
  modeOf: (name: string) => StartupMode | undefined,
): ConfigView {
  const raw = loaded.jsonc().value;
  const { mcpServers, groups, ...rawTop } = isRecord(raw) ? raw : {};
  const { config } = loaded;
  const plainTop = {
    ...inGoForm(merged(rawTop, config.effective ?? {})),
    registries: config.settings.registries.map((registry) => {
      const { serversUrl: servers_url, isPrivateAllowed, tags, ...rest } = registry;
      return { ...rest, servers_url, tags: [...tags], ...(isPrivateAllowed && { allow_private: true }) };
    }),
  };
  return {
    top: sightOf(plainTop),
    rawTop,
    servers: rawServers(mcpServers).map((entry) => serverSight(entry, { loaded, modeOf })),
    groups: config.settings.groups.map((group, index) => {
      const given: unknown = isList(groups) ? groups[index] : undefined;
      return groupSight(group, isRecord(given) ? given : {});
    }),
  };
}

/** The document to be shown. */
export function documentOf(view: ConfigView, side: keyof Sight): Fields {
  return {
    ...view.top[side],
    groups: view.groups.map((group) => group[side]),
    mcpServers: view.servers.map((server) => server[side]),
  };
}

interface RawItem {
  readonly value: unknown;
  readonly index: number;
  readonly key?: string;
}

function rawServers(value: unknown): RawItem[] {
  if (isList(value)) return value.map((item, index) => ({ value: item, index }));
  return Object.entries(isRecord(value) ? value : {}).map(([key, item], index) => ({
    value: item,
    index,
    key,
  }));
}

function serverSight(
  item: RawItem,
  {
    loaded,
    modeOf,
  }: { readonly loaded: LoadedConfig; readonly modeOf: (name: string) => StartupMode | undefined },
): ServerSight {
  const { name } = serverNameOf(item);
  const entry = loaded.entries().get(name);
  const isReached = entry !== undefined && entry.step === (item.key ?? item.index);
  const raw = item.value;
  if (!isReached || !isRecord(raw)) return { name, raw, isReached, ...sightOf(raw) };
  // What stands for a name that cannot be used is no name.
  const isNamed = item.key !== undefined || typeof raw["name"] === "string";
  const plain = inGoForm(plainServer(raw, { server: entry.server, mode: modeOf(name) }));
  return { name, raw, isReached, ...sightOf(isNamed ? { ...plain, name: item.key ?? raw["name"] } : plain) };
}

function plainServer(
  raw: Fields,
  { server, mode }: { readonly server: Server; readonly mode: StartupMode | undefined },
): Fields {
  const isQuarantined = mode === "quarantined" || server.startupMode === "quarantined";
  const below = isQuarantined ? (modeBelowQuarantine(raw) ?? "active") : server.startupMode;
  const lists = { args: [], groups: [], tags: [], env: {}, headers: {} };
  const given = Object.entries(raw).filter(([key, value]) => value !== null || !Object.hasOwn(lists, key));
  const workingDir = typeof raw["cwd"] === "string" && !raw["working_dir"] ? { working_dir: raw["cwd"] } : {};
  const { faults } = server;
  if (faults.length > 0) return raw;
  return {
    name: server.name,
    ...lists,
    ...workingDir,
    ...Object.fromEntries(given),
    protocol: server.protocol,
    enabled:
      typeof raw["enabled"] === "boolean"
        ? raw["enabled"]
        : below !== "disabled" && below !== "auto_disabled",
    quarantined: isQuarantined,
    startup_mode: isQuarantined ? "quarantined" : server.startupMode,
  };
}

function groupSight(group: GroupDefinition, raw: Fields): GroupSight {
  const { id, name, description, enabled, parent, color, iconEmoji } = group;
  const known = {
    id,
    name,
    description,
    enabled,
    ...(parent !== undefined && { parent: raw["parent"] ?? parent }),
    ...(color !== undefined && { color }),
    ...(iconEmoji !== undefined && { icon_emoji: iconEmoji }),
  };
  return { id, raw, ...sightOf({ ...raw, ...known }) };
}

/** Both sides as they are after a journey as JSON. */
function sightOf<Value>(plain: Value): Sight<Value> {
  return { plain, shown: JSON.parse(JSON.stringify(maskSecrets(plain) ?? null)) as Value };
}

/** What is in force over what the file has; keys only the file has stay. */
function merged(raw: Fields, effective: Fields): Fields {
  const all = new Map(Object.entries(effective));
  for (const [key, value] of Object.entries(raw)) {
    const known = all.get(key);
    if (!all.has(key)) all.set(key, value);
    else if (isRecord(known) && isRecord(value)) all.set(key, merged(value, known));
  }
  return Object.fromEntries(all);
}

/** Durations as Go prints them. */
function inGoForm(fields: Fields): Fields {
  return Object.fromEntries(
    Object.entries(fields).map(([key, value]) => {
      if (isRecord(value) && (key === "supervision" || key === "start_patience"))
        return [key, inGoForm(value)];
      const ms = typeof value === "string" && DURATIONS.has(key) ? parseDuration(value) : undefined;
      return [key, ms === undefined ? value : formatDuration(ms)];
    }),
  );
}
