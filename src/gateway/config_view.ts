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

/** The longest that everything else waits while the document is written. */
const SLICE_MS = 5;
/** Servers between two looks at the time. */
const SLICE_CHECK = 16;

/** Makes the document. */
export function viewConfig(
  loaded: LoadedConfig,
  modeOf: (name: string) => StartupMode | undefined,
): ConfigView {
  const { mcpServers } = fieldsOf(loaded);
  const servers = rawServers(mcpServers).map((item) => serverSight(item, { loaded, modeOf }));
  return { ...viewTop(loaded), servers };
}

/** What stands beside the servers. */
function viewTop(loaded: LoadedConfig): Omit<ConfigView, "servers"> {
  const { mcpServers: _, groups, ...rawTop } = fieldsOf(loaded);
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
    groups: config.settings.groups.map((group, index) => {
      const given: unknown = isList(groups) ? groups[index] : undefined;
      return groupSight(group, isRecord(given) ? given : {});
    }),
  };
}

/**
 * Writes the document that is shown as JSON, in slices, so that ten thousand servers hold nobody up; an entry that was
 * written before is not masked again.
 */
export class ShownDocument {
  /** By their entries in the file; those of unchanged ones are the same from change to change. */
  readonly #written = new WeakMap<object, WrittenServer>();

  /** The document as it is now, whatever is changed meanwhile. */
  async write(loaded: LoadedConfig, modeOf: (name: string) => StartupMode | undefined): Promise<string> {
    const top = viewTop(loaded);
    const held = new Set(
      loaded.config.servers.flatMap(({ name }) => (modeOf(name) === "quarantined" ? [name] : [])),
    );
    const texts: string[] = [];
    let since = performance.now();
    for (const item of rawServers(fieldsOf(loaded)["mcpServers"])) {
      texts.push(this.#textOf(item, { loaded, held }));
      if (texts.length % SLICE_CHECK > 0 || performance.now() - since < SLICE_MS) continue;
      await breathe();
      since = performance.now();
    }
    const frame = JSON.stringify(documentOf({ ...top, servers: [] }, "shown"));
    return `${frame.slice(0, -"]}".length)}${texts.join(",")}]}`;
  }

  #textOf(
    item: RawItem,
    { loaded, held }: { readonly loaded: LoadedConfig; readonly held: ReadonlySet<string> },
  ): string {
    const { name } = serverNameOf(item);
    const entry = loaded.entries().get(name);
    const isHeld = held.has(name);
    const { value, key, index } = item;
    const isReached = entry !== undefined && entry.step === (key ?? index);
    const owner = isRecord(value) ? value : undefined;
    const known = owner && this.#written.get(owner);
    if (known?.server === entry?.server && known?.isHeld === isHeld && known.isReached === isReached)
      return known.text;
    const plain = plainEntry(item, { loaded, modeOf: () => (isHeld ? "quarantined" : undefined) });
    const text = JSON.stringify(maskSecrets(plain.plain) ?? null);
    if (owner !== undefined) this.#written.set(owner, { server: entry?.server, isHeld, isReached, text });
    return text;
  }
}

interface WrittenServer {
  readonly server: Server | undefined;
  readonly isHeld: boolean;
  readonly isReached: boolean;
  readonly text: string;
}

/** Lets everything else have its turn. */
async function breathe(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  await promise;
}

function fieldsOf(loaded: LoadedConfig): Fields {
  const { value } = loaded.jsonc();
  return isRecord(value) ? value : {};
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

interface EntrySource {
  readonly loaded: LoadedConfig;
  readonly modeOf: (name: string) => StartupMode | undefined;
}

function serverSight(item: RawItem, source: EntrySource): ServerSight {
  const { plain, ...rest } = plainEntry(item, source);
  return { ...rest, raw: item.value, ...sightOf(plain) };
}

function plainEntry(
  item: RawItem,
  { loaded, modeOf }: EntrySource,
): Pick<ServerSight, "name" | "isReached" | "plain"> {
  const { name } = serverNameOf(item);
  const entry = loaded.entries().get(name);
  const isReached = entry !== undefined && entry.step === (item.key ?? item.index);
  const raw = item.value;
  if (!isReached || !isRecord(raw)) return { name, isReached, plain: raw };
  // What stands for a name that cannot be used is no name.
  const isNamed = item.key !== undefined || typeof raw["name"] === "string";
  const plain = inGoForm(plainServer(raw, { server: entry.server, mode: modeOf(name) }));
  return { name, isReached, plain: isNamed ? { ...plain, name: item.key ?? raw["name"] } : plain };
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
