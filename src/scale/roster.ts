/**
 * The servers a run is about: mocks, or a user's own configuration.
 *
 * Owns what areas may ask of them, and the reading of a user's file. Invariants: the user's file is read and never
 * written, what runs is a copy; nothing of it is started unless that was asked for; what its values are is nobody's
 * business here. Guessing which servers are harmless was rejected: a person says `--connect`.
 */
import { readFileSync } from "node:fs";
import type { Fault, MockCounters, MockServer } from "../mock/server.ts";

/** An entry of a configuration. */
export type Entry = Readonly<Record<string, unknown>> & { readonly name: string };

/** How the text of a configuration is made. */
export interface ConfigOptions {
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly entry?: (entry: Entry) => Entry;
}

/** Servers under test. */
export interface Roster extends AsyncDisposable {
  /** The mocks behind the entries; none of a user's own servers is one. */
  readonly servers: readonly MockServer[];
  /** In the order of the file. */
  readonly entries: readonly Entry[];
  /** The mode each server has in the file, also where its entry is switched off. */
  readonly modes: ReadonlyMap<string, string>;
  /** The text of a configuration that reaches them. */
  readonly config: (options?: ConfigOptions) => string;
  /** Puts faults in place of all others; null heals. */
  readonly setFault: (name: string, fault: Fault | readonly Fault[] | null) => Promise<void>;
  /** Cuts or opens every connection over HTTP. */
  readonly network: (state: "up" | "down") => Promise<void>;
  /** What was asked of a mock. */
  readonly counters: (name: string) => Promise<MockCounters>;
}

/** A user's configuration. */
export interface UserConfig {
  readonly path: string;
  /** @default all */
  readonly limit?: number;
  readonly only?: readonly string[];
  /** Whether its servers may be started. */
  readonly connects: boolean;
}

/** Settings that would touch what the user has. */
const KEPT_OUT: ReadonlySet<string> = new Set([
  "listen",
  "data_dir",
  "api_key",
  "tls",
  "mcpServers",
  "logging",
]);

/** Reads a user's configuration. */
export function readUserRoster({ path, limit, only, connects }: UserConfig): Roster {
  const parsed = Bun.JSONC.parse(readFileSync(path, "utf8")) as Readonly<Record<string, unknown>>;
  const top = Object.fromEntries(Object.entries(parsed).filter(([key]) => !KEPT_OUT.has(key)));
  const all = entriesOf(parsed["mcpServers"]).map((entry) => ({ ...entry, startup_mode: modeOf(entry) }));
  const wanted = only === undefined ? all : all.filter(({ name }) => only.includes(name));
  const entries = wanted.slice(0, limit).map((entry) => (connects ? entry : switchedOff(entry)));
  const missing = (): never => {
    throw new Error("The servers of a user's configuration have no switches");
  };
  return {
    servers: [],
    entries,
    modes: new Map(wanted.slice(0, limit).map(({ name, startup_mode: mode }) => [name, mode])),
    config: ({ settings = {}, entry = (same: Entry) => same }: ConfigOptions = {}) =>
      `${JSON.stringify({ ...top, ...settings, mcpServers: entries.map(entry) }, null, 2)}\n`,
    setFault: missing,
    network: missing,
    counters: missing,
    [Symbol.asyncDispose]: async () => {},
  };
}

/** How many servers a configuration has; 0 when there is none that can be read. */
export function countServers(path: string): number {
  try {
    return readUserRoster({ path, connects: false }).entries.length;
  } catch {
    return 0;
  }
}

/** Both forms of the key. */
function entriesOf(value: unknown): readonly Entry[] {
  if (Array.isArray(value)) return value as readonly Entry[];
  return Object.entries((value ?? {}) as Readonly<Record<string, object>>).map(([name, entry]) => ({
    ...entry,
    name,
  }));
}

/** What an entry means, older forms included. */
function modeOf(entry: Entry): string {
  const { startup_mode: mode } = entry;
  if (typeof mode === "string" && mode !== "") return mode;
  if (entry["quarantined"] === true) return "quarantined";
  if (entry["auto_disabled"] === true) return "auto_disabled";
  if (entry["enabled"] === false || entry["stopped"] === true) return "disabled";
  return entry["start_on_boot"] === false ? "lazy_loading" : "active";
}

function switchedOff(entry: Entry): Entry {
  return { ...entry, startup_mode: entry["startup_mode"] === "quarantined" ? "quarantined" : "disabled" };
}
