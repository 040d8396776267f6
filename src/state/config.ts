/**
 * The configuration: from a file, the environment and flags to settings and servers.
 *
 * Owns precedence (flag, `MCPPROXY_*`, file, default), the forms of `mcpServers`, and what stops the whole
 * file and what only one server. Invariants: all faults are told at once, each with file, line, column and
 * key; a faulty server never stops the others; nothing here resolves a secret. A general configuration
 * library was rejected: none keeps places, and the file is shared with the Go proxy, whose rules it follows.
 */
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { ProxyError } from "../core/errors.ts";
import { formatPath, parseJsonc } from "../lib/jsonc.ts";
import { oneLine } from "../lib/log.ts";
import { Slugs } from "../lib/slug.ts";
import {
  faultAt,
  faultsOfIssues,
  isList,
  isRecord,
  KeyCheck,
  verdictOf,
  withoutNulls,
} from "./config_fault.ts";
import { findConfigFile, readConfigFile } from "./config_file.ts";
import { readGroups } from "./config_groups.ts";
import { settingsSchema } from "./config_schema.ts";
import { toSettings } from "./config_settings.ts";
import { duplicateFault, expandHome, readServer } from "./config_server.ts";
import type { Fault, Finding, Server } from "../core/model.ts";
import type { Config, ListenAddress } from "../core/settings.ts";
import type { JsoncDocument, JsoncDuplicate } from "../lib/jsonc.ts";
import type { FaultSite } from "./config_fault.ts";
import type { ConfigFileOptions } from "./config_file.ts";
import type { SettingsEntry } from "./config_schema.ts";
import type { RawServer, ServerContext } from "./config_server.ts";

/** Settings given as flags; they win over the environment and the file. */
export interface ConfigOverrides {
  readonly listen?: string | undefined;
  readonly dataDir?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly toolResponseMode?: string | undefined;
}

/** Options of {@link parseConfig}. */
export interface ParseOptions {
  /** Absolute path of the file the text is from; a relative `data_dir` is relative to its folder. */
  readonly path: string;
  /** The same as `overrides.dataDir`. */
  readonly dataDir?: string | undefined;
  /** What `~` stands for. @default the user's home folder */
  readonly home?: string | undefined;
  /** Where `MCPPROXY_*` is looked up. @default {} */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What a relative data dir from flag or environment is relative to. @default the folder of the file */
  readonly cwd?: string;
  readonly overrides?: ConfigOverrides;
}

/** Options of {@link loadConfig}. */
export interface LoadOptions extends ConfigFileOptions {
  /** The same as `overrides.dataDir`. */
  readonly dataDir?: string | undefined;
  readonly overrides?: ConfigOverrides;
}

/** The whole file, as it was read. */
interface FileSite extends FaultSite {
  readonly document: JsoncDocument;
}

/** Knows the keys of the top level. */
export const SETTING_KEYS = new KeyCheck([...Object.keys(settingsSchema.shape), "mcpServers", "$schema"]);
const SECTION_KEYS = new Map(
  Object.entries(settingsSchema.shape).flatMap(([key, schema]) => {
    const inner = "def" in schema && "innerType" in schema.def ? schema.def.innerType : undefined;
    const shape = typeof inner === "object" && inner !== null && "shape" in inner ? inner.shape : undefined;
    return isRecord(shape) ? [[key, new KeyCheck(Object.keys(shape))] as const] : [];
  }),
);
const FLAGS: readonly (readonly [keyof ConfigOverrides, string, string])[] = [
  ["listen", "listen", "--listen"],
  ["dataDir", "data_dir", "--data-dir"],
  ["toolResponseMode", "tool_response_mode", "--tool-response-mode"],
];
const DEFAULT_PORT = 8080;
const LOOPBACK = "127.0.0.1";

/**
 * Finds, reads and validates the configuration.
 *
 * @throws ProxyError `CONFIG_UNREADABLE` or `CONFIG_INVALID` (with `data.faults`), `USAGE` for a flag
 */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  const path = findConfigFile(options);
  return parseConfig(readConfigFile(path), { ...options, path });
}

/**
 * Reads a configuration text.
 *
 * @throws ProxyError `CONFIG_INVALID` with all faults of the file as a whole, those of servers among them,
 *   in `data.faults`; `USAGE` when a flag has a wrong value
 */
export function parseConfig(text: string, options: ParseOptions): Config {
  const site: FileSite = { file: options.path, document: parseJsonc(text) };
  const syntax = site.document.faults.map(({ path, ...fault }): Fault => ({
    file: site.file,
    ...fault,
    key: formatPath(path),
  }));
  if (syntax.length > 0) throw invalidConfig(options.path, syntax);
  const raw = site.document.value;
  const { mcpServers, ...top } = isRecord(raw) ? withoutNulls(raw) : {};
  const result = settingsSchema.safeParse(isRecord(raw) ? nestedWithoutNulls(top) : raw);
  const faults = [
    ...(result.success ? [] : faultsOfIssues(site, [], result.error)),
    ...topDuplicates(site, true),
  ];
  const entry = result.data ?? settingsSchema.parse({});
  const home = options.home ?? homedir();
  if (mcpServers !== undefined && typeof mcpServers !== "object") {
    const message = "Expected an array of servers or an object of servers by name";
    faults.push(faultAt(site, ["mcpServers"], { message, advice: "Write [] or {} and the servers into it" }));
  }
  const override = readOverrides(entry, options);
  const listen = readListen(override.entry.listen);
  if (typeof listen === "string") faults.push(listenFault(site, override, listen));
  const { groups, faults: groupFaults } = readGroups(entry.groups, site);
  faults.push(...groupFaults);
  const read = readServers(mcpServers, { site, home, groups: new Slugs(groups) }, site.document.duplicates);
  faults.push(...override.faults);
  if (faults.length > 0) throw invalidConfig(options.path, [...faults, ...read.faults]);
  const address = typeof listen === "string" ? { hostname: LOOPBACK, port: DEFAULT_PORT } : listen;
  return {
    path: options.path,
    settings: toSettings(override.entry, address, {
      dataDir: dataDirOf(override, options, home),
      home,
      groups,
    }),
    servers: read.servers,
    faults: read.faults,
    findings: [
      ...listenFindings(override.entry.listen),
      ...unservedFindings(top),
      ...topFindings(site, top),
      ...read.findings,
    ],
    top: withoutGroups(top),
    effective: withoutGroups(override.entry),
  };
}

/** Writes faults as `file:line:column key: message — advice`, one a line, control characters removed. */
export function formatFaults(faults: readonly Fault[]): string {
  return faults
    .map(
      ({ file, line, column, key, message, advice }) =>
        `${file}:${line}:${column} ${key}: ${message} — ${advice}`,
    )
    .map((text) => oneLine(text).replaceAll(/[\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, " "))
    .join("\n");
}

/** The faults an error carries; none when it is no `CONFIG_INVALID`. */
export function faultsOf(error: unknown): readonly Fault[] {
  if (!(error instanceof ProxyError) || error.code !== "CONFIG_INVALID") return [];
  const faults = error.data?.["faults"];
  return Array.isArray(faults) ? (faults as readonly Fault[]) : [];
}

/** Makes the error for a configuration with faults. */
export function invalidConfig(path: string, unsorted: readonly Fault[]): ProxyError {
  const faults = unsorted.toSorted((a, b) => a.line - b.line || a.column - b.column);
  const [first] = faults;
  const count = faults.length === 1 ? "1 fault" : `${faults.length} faults`;
  const where =
    first === undefined
      ? ""
      : `, the first at ${first.line}:${first.column} '${first.key}': ${first.message}`;
  return new ProxyError("CONFIG_INVALID", oneLine(`Cannot use configuration '${path}': ${count}${where}`), {
    data: { path, faults },
    hint: first?.advice ?? "Run mcpproxy config check",
  });
}

/** Whether a key of the top level holds settings of its own. */
export function isSection(key: string): boolean {
  return SECTION_KEYS.has(key);
}

/** Sections may hold null for what is not set, as the top level may. */
function nestedWithoutNulls(top: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const entries = Object.entries(top);
  return Object.fromEntries(
    entries.map(([key, value]) => {
      if ((key === "groups" || key === "registries") && isList(value))
        return [key, value.map((item) => (isRecord(item) ? withoutNulls(item) : item))];
      return [key, SECTION_KEYS.has(key) && isRecord(value) ? withoutNulls(value) : value];
    }),
  );
}

function withoutGroups(top: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return Object.fromEntries(Object.entries(top).filter(([key]) => key !== "groups"));
}

/** Keys that stand twice outside the servers: those with an effect are faults, the rest findings. */
function topDuplicates(site: FileSite, isKnown: boolean): Fault[] {
  return site.document.duplicates
    .filter(({ path }) => path.length === 1 || path[0] !== "mcpServers")
    .filter(
      ({ path }) =>
        (path[0] === "mcpServers" || Object.hasOwn(settingsSchema.shape, path[0] ?? "")) === isKnown,
    )
    .map((duplicate) => duplicateFault(site, duplicate));
}

function topFindings(site: FileSite, top: Readonly<Record<string, unknown>>): Finding[] {
  const doubled = topDuplicates(site, false).map((fault): Finding => ({
    level: "warning",
    code: "KEY_DUPLICATE",
    message: `The key '${fault.key}' stands a second time at line ${fault.line}; the first counts`,
    hint: fault.advice,
  }));
  const nested = [...SECTION_KEYS].flatMap(([key, check]) => {
    const section = Object.hasOwn(top, key) ? top[key] : undefined;
    return isRecord(section) ? check.findings(site, [key], section) : [];
  });
  return [...SETTING_KEYS.findings(site, [], top), ...nested, ...doubled];
}

interface Overridden {
  readonly entry: SettingsEntry;
  readonly faults: readonly Fault[];
  /** Where a key's value is from, when not from the file. */
  readonly origin: ReadonlyMap<string, "flag" | "environment">;
}

function readOverrides(entry: SettingsEntry, options: ParseOptions): Overridden {
  const { env = {}, overrides = {} } = options;
  const merged: Record<string, unknown> = { ...entry };
  const faults: Fault[] = [];
  const origin = new Map<string, "flag" | "environment">();
  for (const [key, schema] of Object.entries(settingsSchema.shape)) {
    const name = `MCPPROXY_${key.toUpperCase()}`;
    const text = env[name];
    if (!text || key === "tls" || key === "telemetry") continue;
    const results = valuesOf(text).map((value) => schema.safeParse(value));
    const good = results.find((result) => result.success);
    if (good !== undefined) {
      merged[key] = good.data;
      origin.set(key, "environment");
    } else faults.push(environmentFault(name, results[0]?.error?.issues[0]));
  }
  const level = overrides.logLevel ?? (env["MCPPROXY_LOG_LEVEL"] || undefined);
  if (level !== undefined) {
    const result = settingsSchema.shape.logging.safeParse({ ...entry.logging, level });
    if (result.success) merged["logging"] = result.data;
    else if (overrides.logLevel === undefined)
      faults.push(environmentFault("MCPPROXY_LOG_LEVEL", result.error.issues[0]));
    else throw usage("--log-level", level, verdictOf(result.error.issues[0] as never));
  }
  for (const [field, key, flag] of FLAGS) {
    const value = overrides[field] ?? (field === "dataDir" ? options.dataDir : undefined);
    if (value === undefined) continue;
    const schema = settingsSchema.shape[key as "listen"];
    const result = schema.safeParse(value);
    if (!result.success) throw usage(flag, value, verdictOf(result.error.issues[0] as never));
    merged[key] = result.data;
    origin.set(key, "flag");
  }
  return { entry: merged as SettingsEntry, faults, origin };
}

/** What a variable's text may stand for: text, switch, number, list. */
function valuesOf(text: string): unknown[] {
  const values: unknown[] = [text];
  if (/^(?:true|false)$/i.test(text)) values.unshift(text.toLowerCase() === "true");
  if (/^-?\d+$/.test(text)) values.unshift(Number(text));
  return [...values, text.split(",").map((item) => item.trim())];
}

function environmentFault(name: string, issue: Parameters<typeof verdictOf>[0] | undefined): Fault {
  const verdict =
    issue === undefined ? { message: "The value does not fit", advice: "Unset it" } : verdictOf(issue);
  return { file: "environment", line: 1, column: 1, key: name, ...verdict };
}

function usage(
  flag: string,
  value: string,
  verdict: { readonly message: string; readonly advice: string },
): ProxyError {
  return new ProxyError("USAGE", oneLine(`Cannot use ${flag} '${value}': ${verdict.message}`), {
    hint: verdict.advice,
  });
}

/** An address, or what is wrong with it. */
function readListen(text: string): ListenAddress | string {
  if (text === "") return { hostname: LOOPBACK, port: DEFAULT_PORT };
  const found = /^(?:\[([\da-fA-F:.]+)\]|([^:[\]\s/]*)):(\d{1,5})$/.exec(text);
  if (found === null) return "The address is not host:port";
  const port = Number(found[3]);
  if (port > 65_535) return `The port ${port} is larger than 65535`;
  return { hostname: found[1] ?? (found[2] || LOOPBACK), port };
}

function listenFault(site: FaultSite, { origin, entry }: Overridden, message: string): Fault {
  const advice = 'Write an address such as "127.0.0.1:8080"';
  const from = origin.get("listen");
  if (from === "flag") throw usage("--listen", entry.listen, { message, advice });
  if (from === "environment")
    return { file: "environment", line: 1, column: 1, key: "MCPPROXY_LISTEN", message, advice };
  return faultAt(site, ["listen"], { message, advice });
}

function listenFindings(text: string): Finding[] {
  if (text === "" || text === ":0") {
    const message = `listen is "${text}", which means stdio in the Go proxy; here it is 127.0.0.1:${text === "" ? DEFAULT_PORT : 0}`;
    return [
      { level: "warning", code: "LISTEN_STDIO", message, hint: "For stdio run mcpproxy serve --stdio" },
    ];
  }
  if (!text.startsWith(":")) return [];
  const message = `listen is "${text}", which listens on ${LOOPBACK}${text} only`;
  return [
    { level: "info", code: "LISTEN_LOOPBACK", message, hint: `For all interfaces write "0.0.0.0${text}"` },
  ];
}

/** The Go proxy can encrypt and isolate; whoever wants that must not believe that he has it here. */
function unservedFindings({
  tls,
  docker_isolation: isolation,
}: Readonly<Record<string, unknown>>): Finding[] {
  const isEncrypted = isRecord(tls) ? tls["enabled"] !== false && Object.keys(tls).length > 0 : tls === true;
  const found: Finding[] = [];
  if (isEncrypted)
    found.push({
      level: "warning",
      code: "TLS_NOT_SERVED",
      message: "tls is switched on in the configuration, but this proxy listens without encryption",
      hint: "Put a reverse proxy that speaks TLS before it, and set tls.enabled to false",
    });
  if (isRecord(isolation) && isolation["enabled"] === true)
    found.push({
      level: "warning",
      code: "ISOLATION_NOT_SERVED",
      message:
        "docker_isolation is switched on in the configuration, but this proxy starts servers as processes of its own user",
      hint: "Start those that need it by 'docker run' as their command, and set docker_isolation.enabled to false",
    });
  return found;
}

interface ReadServers {
  readonly servers: readonly Server[];
  readonly faults: readonly Fault[];
  readonly findings: readonly Finding[];
}

function readServers(
  value: unknown,
  context: ServerContext,
  duplicates: readonly JsoncDuplicate[],
): ReadServers {
  const servers: Server[] = [];
  const faults: Fault[] = [];
  const findings: Finding[] = [];
  const names = new Set<string>();
  for (const raw of rawServers(value, duplicates)) {
    const { server, findings: odd } = readServer(raw, context);
    if (names.has(server.name)) {
      const { line } = context.site.document.place(["mcpServers", raw.key ?? raw.index]);
      findings.push(duplicateServer(server.name, line));
      continue;
    }
    names.add(server.name);
    servers.push(server);
    faults.push(...server.faults);
    findings.push(...odd);
  }
  for (const { path, line } of duplicates) {
    if (path.length === 2 && path[0] === "mcpServers") findings.push(duplicateServer(String(path[1]), line));
  }
  return { servers, faults, findings };
}

function rawServers(value: unknown, duplicates: readonly JsoncDuplicate[]): RawServer[] {
  const inside = Map.groupBy(
    duplicates.filter(({ path }) => path.length > 2 && path[0] === "mcpServers"),
    ({ path }) => path[1],
  );
  const entries: RawServer[] = isList(value)
    ? value.map((item, index) => ({ value: item, index }))
    : Object.entries(isRecord(value) ? value : {}).map(([key, item], index) => ({ value: item, index, key }));
  if (inside.size === 0) return entries;
  return entries.map((raw) => Object.assign(raw, { duplicates: inside.get(raw.key ?? raw.index) ?? [] }));
}

function duplicateServer(name: string, line: number): Finding {
  return {
    level: "warning",
    code: "SERVER_DUPLICATE",
    message: oneLine(`The server '${name}' at line ${line} is left out: the name stands in the file before`),
    hint: "Give one of the two another name",
    server: name,
  };
}

function dataDirOf({ entry, origin }: Overridden, options: ParseOptions, home: string): string {
  const folder = dirname(options.path);
  return resolve(
    origin.has("data_dir") ? (options.cwd ?? folder) : folder,
    expandHome(entry.data_dir || "~/.mcpproxy", home),
  );
}
