/**
 * One entry of `mcpServers`: from what stands in the file to a server.
 *
 * Owns the rules for names, the older switches, the transport an entry means, and what it must have.
 * Invariants: an entry always becomes a server, with faults when it has any; its name is always fit to be
 * printed and used in a tool id. Skipping faulty entries was rejected: an operator would look for the
 * server in every list and find nothing.
 */
import { join } from "node:path";
import { parseDuration } from "../lib/duration.ts";
import { formatPath } from "../lib/jsonc.ts";
import { faultAt, faultsOfIssues, isRecord, KeyCheck, withoutNulls } from "./config_fault.ts";
import { groupFindings } from "./config_groups.ts";
import { serverSchema } from "./config_schema.ts";
import type { Fault, Finding, Server, StartupMode, TransportKind } from "../core/model.ts";
import type { GroupDefinition } from "../core/settings.ts";
import type { JsonPath, JsoncDuplicate } from "../lib/jsonc.ts";
import type { Slugs } from "../lib/slug.ts";
import type { FaultSite, Verdict } from "./config_fault.ts";
import type { ServerEntry } from "./config_schema.ts";

/** What an entry is read against. */
export interface ServerContext {
  readonly site: FaultSite;
  /** What `~` stands for. */
  readonly home: string;
  /** The groups the file defines. */
  readonly groups: Slugs<GroupDefinition>;
}

/** The keys of an entry that decide its mode. */
export type ModeKeys = Pick<
  ServerEntry,
  "startup_mode" | "quarantined" | "auto_disabled" | "enabled" | "disabled" | "stopped" | "start_on_boot"
>;

/** An entry as it stands in the file. */
export interface RawServer {
  readonly value: unknown;
  readonly index: number;
  /** The key of the map form, which is the name. */
  readonly key?: string;
  /** Keys that stand twice below this entry. */
  readonly duplicates?: readonly JsoncDuplicate[];
}

/** A server, and what is odd about its entry. */
export interface ReadServer {
  readonly server: Server;
  readonly findings: readonly Finding[];
}

const NAME_LENGTH_MAX = 128;
/** Control characters, and those that turn the direction of what follows on a terminal or page. */
const CONTROL = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

/** Names a variable, and a header, may have; what a header may say, references to a secret included (RFC 9110 §5). */
const VARIABLE = /^[^=\0]+$/;
const HEADER = /^[\w!#$%&'*+.^`|~-]+$/;
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const NUL: Verdict = { message: "The text holds a NUL character", advice: "Remove the NUL character" };
const NO_VARIABLE: Verdict = {
  message: "No variable can be named so",
  advice: "Write a name of at least one character, without '='",
};
const NO_HEADER: Verdict = {
  message: "No header can be named so",
  advice: "Write a name of letters, digits and '-'",
};
const NO_HEADER_VALUE: Verdict = {
  message: "The value holds a character that no header may hold",
  advice: "Remove line breaks and control characters, and encode what is not Latin-1",
};

const KINDS: Readonly<Record<string, TransportKind>> = {
  stdio: "stdio",
  local: "stdio",
  http: "streamable_http",
  remote: "streamable_http",
  "streamable-http": "streamable_http",
  streamable_http: "streamable_http",
  streamableHttp: "streamable_http",
  sse: "sse",
};

/** Knows the keys of an entry. */
export const SERVER_KEYS = new KeyCheck(Object.keys(serverSchema.shape));

/** Judges a server name; undefined when it may be used. */
export function judgeServerName(name: string): Verdict | undefined {
  if (name.trim() === "")
    return { message: "The name is empty", advice: "Write a name of 1 to 128 characters" };
  // Characters as JSON and SQLite count them, not clusters as a reader sees them.
  const length = Array.from(name).length;
  if (length > NAME_LENGTH_MAX) {
    return {
      message: `The name has ${length} characters`,
      advice: `Write a name of up to ${NAME_LENGTH_MAX} characters`,
    };
  }
  if (CONTROL.test(name))
    return { message: "The name holds a control character", advice: "Remove the control character" };
  if (!name.isWellFormed())
    return { message: "The name holds half a character", advice: "Write the name anew" };
  if (name === "." || name === "..")
    return {
      message: `The name is '${name}', which no address can hold`,
      advice: "Write a name with a letter or a digit",
    };
  if (name.includes(":"))
    return {
      message: `The name '${name}' holds ':'`,
      advice: "Write '-' instead: ':' parts server and tool",
    };
  if (name.includes("__"))
    return {
      message: `The name '${name}' holds '__'`,
      advice: "Write '_' instead: '__' parts server and tool",
    };
  return undefined;
}

/** Puts the home folder in the place of a leading `~`. */
export function expandHome(path: string, home: string): string {
  if (path === "~") return home;
  return path.startsWith("~/") || path.startsWith("~\\") ? join(home, path.slice(2)) : path;
}

/** Reads one entry; whatever it is, a server comes back. */
export function readServer(raw: RawServer, context: ServerContext): ReadServer {
  const { site } = context;
  const path: JsonPath = ["mcpServers", raw.key ?? raw.index];
  const { name, verdict } = serverNameOf(raw);
  const faults: Fault[] = [];
  if (verdict !== undefined) {
    const isKey = raw.key !== undefined;
    const hasName = isRecord(raw.value) && Object.hasOwn(raw.value, "name");
    const at: JsonPath = isKey || !hasName ? path : [...path, "name"];
    faults.push(faultAt(site, at, verdict, { part: isKey ? "key" : "value", server: name }));
  }
  const { entry, issues } = judge(raw.value, path, site, name);
  const bad = new Set(issues.map((issue) => issue.step));
  faults.push(
    ...issues.map((issue) => issue.fault).filter((fault) => !faults.some((other) => isSame(other, fault))),
  );
  const transport = transportOf(entry);
  const source = isRecord(raw.value) ? raw.value : {};
  if (isRecord(raw.value)) {
    const lacks = judgeTransport(entry, transport, bad, source);
    if (lacks !== undefined)
      faults.push(faultAt(site, [...path, ...lacks.at], lacks.verdict, { server: name }));
  }
  faults.push(...(raw.duplicates ?? []).map((duplicate) => duplicateFault(site, duplicate, name)));
  const server = toServer(name, entry, { transport, faults, context, source });
  return {
    server,
    findings: [...SERVER_KEYS.findings(site, path, source, name), ...groupFindings(server, context.groups)],
  };
}

function isSame(a: Fault, b: Fault): boolean {
  return a.key === b.key;
}

/** The name an entry has: its own, or one that says where it stands when that one cannot be used. */
export function serverNameOf(raw: RawServer): { readonly name: string; readonly verdict?: Verdict } {
  const standIn = `mcpServers[${raw.index}]`;
  const given =
    raw.key ?? (isRecord(raw.value) && Object.hasOwn(raw.value, "name") ? raw.value.name : undefined);
  if (typeof given === "string") {
    const verdict = judgeServerName(given);
    return verdict === undefined ? { name: given } : { name: standIn, verdict };
  }
  // An entry that is no object, or a name of the wrong type, is told by the schema.
  if (!isRecord(raw.value) || (given !== undefined && given !== null)) return { name: standIn };
  return { name: standIn, verdict: { message: "The server has no name", advice: 'Add "name": "…"' } };
}

/** Makes the fault of a key that stands a second time: programs differ in which of the two they take. */
export function duplicateFault(site: FaultSite, duplicate: JsoncDuplicate, server?: string): Fault {
  const { path, line, column, firstLine } = duplicate;
  const message = `The key stands a second time; it stands at line ${firstLine} already`;
  const advice = "Keep one of the two";
  return {
    file: site.file,
    line,
    column,
    key: formatPath(path),
    message,
    advice,
    ...(server !== undefined && { server }),
  };
}

interface Judged {
  readonly entry: ServerEntry;
  readonly issues: readonly { readonly step: PropertyKey | undefined; readonly fault: Fault }[];
}

type Source = Readonly<Record<string, unknown>>;

/** Where an entry stands. */
interface Place {
  readonly path: JsonPath;
  readonly site: FaultSite;
  readonly server: string;
}

/** Validates an entry; keys that are wrong count as absent, so that the rest can be shown. */
function judge(value: unknown, path: JsonPath, site: FaultSite, server: string): Judged {
  const source = isRecord(value) ? withoutNulls(value) : value;
  const result = serverSchema.safeParse(source);
  const place = { path, site, server };
  const foreign = isRecord(source)
    ? [...prototypeFaults(source, place), ...unusableFaults(source, place)]
    : [];
  if (result.success) return { entry: result.data, issues: foreign };
  const faults = faultsOfIssues(site, path, result.error, server);
  const issues = faults.map((fault, index) => ({ step: result.error.issues[index]?.path[0], fault }));
  const wrong = new Set(issues.map((issue) => issue.step));
  const rest = isRecord(source) ? Object.entries(source).filter(([key]) => !wrong.has(key)) : [];
  return { entry: serverSchema.parse(Object.fromEntries(rest)), issues: [...issues, ...foreign] };
}

/** The schema passes over a variable named `__proto__`; here it is one like any other. */
function prototypeFaults(source: Source, { path, site, server }: Place): Judged["issues"] {
  return ["env", "headers"].flatMap((step) => {
    const map = source[step];
    if (!isRecord(map) || !Object.hasOwn(map, "__proto__") || typeof map["__proto__"] === "string") return [];
    const verdict = { message: "Expected a string", advice: "Put the value in double quotes" };
    return [{ step, fault: faultAt(site, [...path, step, "__proto__"], verdict, { server }) }];
  });
}

/** Finds what no program can be started with, and no header be; its start would fail with a word about neither. */
function unusableFaults(source: Source, { path, site, server }: Place): Judged["issues"] {
  const issues: Judged["issues"][number][] = [];
  const tell = (at: readonly [string, ...JsonPath], verdict: Verdict): void =>
    void issues.push({ step: at[0], fault: faultAt(site, [...path, ...at], verdict, { server }) });
  const check = (value: unknown, ...at: readonly [string, ...JsonPath]): void => {
    if (typeof value === "string" && value.includes("\0")) tell(at, NUL);
  };
  for (const key of ["command", "working_dir", "cwd"]) check(source[key], key);
  const { args, env, headers } = source;
  if (Array.isArray(args)) for (const [at, value] of args.entries()) check(value, "args", at);
  for (const [name, value] of Object.entries(isRecord(env) ? env : {})) {
    if (!VARIABLE.test(name)) tell(["env", name], NO_VARIABLE);
    check(value, "env", name);
  }
  for (const [name, value] of Object.entries(isRecord(headers) ? headers : {})) {
    if (!HEADER.test(name)) tell(["headers", name], NO_HEADER);
    else if (typeof value === "string" && !HEADER_VALUE.test(value)) tell(["headers", name], NO_HEADER_VALUE);
  }
  return issues;
}

function protocolOf(entry: ServerEntry): string {
  return entry.protocol || entry.type || "";
}

function transportOf(entry: ServerEntry): TransportKind {
  const protocol = protocolOf(entry);
  const kind = KINDS[protocol];
  if (kind !== undefined) return kind;
  const hasCommand = Boolean(entry.command);
  if (protocol === "auto") return hasCommand && !entry.url ? "stdio" : "auto";
  return hasCommand || !entry.url ? "stdio" : "auto";
}

interface Lack {
  readonly at: JsonPath;
  readonly verdict: Verdict;
}

function judgeTransport(
  entry: ServerEntry,
  transport: TransportKind,
  bad: ReadonlySet<PropertyKey | undefined>,
  source: Readonly<Record<string, unknown>>,
): Lack | undefined {
  const protocol = protocolOf(entry);
  const isOpen = protocol === "" || protocol === "auto";
  if (isOpen && !entry.command && !entry.url) {
    if (bad.has("command") || bad.has("url") || bad.has("protocol") || bad.has("type")) return undefined;
    const message = "The server has neither a command nor a url";
    return {
      at: [],
      verdict: { message, advice: adviceFor(source, ["command", "url"], 'Add "command" or "url"') },
    };
  }
  if (transport === "stdio") {
    if (entry.command || bad.has("command")) return undefined;
    const advice = entry.url ? 'Add "command", or write "protocol": "http" to use the url' : 'Add "command"';
    const verdict = { message: "The server has no command", advice: adviceFor(source, ["command"], advice) };
    return { at: [], verdict };
  }
  if (bad.has("url")) return undefined;
  if (entry.url) return judgeUrl(entry.url);
  const advice = entry.command ? 'Add "url", or write "protocol": "stdio" to use the command' : 'Add "url"';
  return {
    at: [],
    verdict: { message: "The server has no url", advice: adviceFor(source, ["url"], advice) },
  };
}

/** A misspelt key explains a missing one. */
function adviceFor(
  source: Readonly<Record<string, unknown>>,
  missing: readonly string[],
  otherwise: string,
): string {
  for (const key of Object.keys(source)) {
    const meant = SERVER_KEYS.nearMiss(key);
    if (meant !== undefined && missing.includes(meant)) return `Rename '${formatPath([key])}' to '${meant}'`;
  }
  return otherwise;
}

/** References are resolved at use; until then each stands for some digits, which fit everywhere in a URL. */
function judgeUrl(url: string): Lack | undefined {
  if (/^\$\{(?:env|keyring):[^{}]*\}/.test(url)) return undefined;
  const sample = url.replaceAll(/\$\{(?:env|keyring):[^{}]*\}/g, "1");
  const advice = 'Write an address such as "https://example.com/mcp"';
  const parsed = URL.canParse(sample) ? new URL(sample) : undefined;
  // Without `//` it may be `user:password` or the like, which is not quoted.
  if (parsed === undefined || !url.includes("://"))
    return { at: ["url"], verdict: { message: "The url is not a complete address", advice } };
  if (parsed.protocol === "http:" || parsed.protocol === "https:") return undefined;
  return {
    at: ["url"],
    verdict: { message: `The url has the scheme '${parsed.protocol.slice(0, 40)}'`, advice },
  };
}

interface ServerParts {
  readonly transport: TransportKind;
  readonly faults: readonly Fault[];
  readonly context: ServerContext;
  readonly source: Readonly<Record<string, unknown>>;
}

function toServer(
  name: string,
  entry: ServerEntry,
  { transport, faults, context, source }: ServerParts,
): Server {
  const workingDir = entry.working_dir || entry.cwd;
  const connectionTimeoutMs = timeoutOf(entry.connection_timeout);
  const callTimeoutMs = timeoutOf(entry.call_timeout);
  const healthCheckIntervalMs = parseDuration(entry.health_check_interval ?? "");
  const toolDiscoveryIntervalMs = parseDuration(entry.tool_discovery_interval ?? "");
  return {
    name,
    description: entry.description,
    transport,
    protocol: protocolOf(entry) || transport,
    ...(entry.url && { url: entry.url }),
    ...(entry.command && { command: expandHome(entry.command, context.home) }),
    args: entry.args ?? [],
    ...(workingDir && { workingDir: expandHome(workingDir, context.home) }),
    env: mapOf(source["env"]),
    headers: mapOf(source["headers"]),
    startupMode: startupModeOf(entry),
    ...(connectionTimeoutMs !== undefined && { connectionTimeoutMs }),
    ...(callTimeoutMs !== undefined && { callTimeoutMs }),
    ...(entry.max_concurrent_requests !== undefined && {
      maxConcurrentRequests: entry.max_concurrent_requests,
    }),
    ...(entry.queue_size !== undefined && { queueSize: entry.queue_size }),
    ...(entry.auto_disable_threshold && { autoDisableThreshold: entry.auto_disable_threshold }),
    autoRecover: entry.auto_recover,
    ...(healthCheckIntervalMs !== undefined && { healthCheckIntervalMs }),
    ...(toolDiscoveryIntervalMs !== undefined && { toolDiscoveryIntervalMs }),
    ...(entry.enabled_tools !== undefined &&
      entry.enabled_tools.length > 0 && { enabledTools: entry.enabled_tools }),
    disabledTools: entry.disabled_tools,
    groups: groupsOf(entry, context.groups),
    tags: entry.tags,
    ...(entry.created && { created: entry.created }),
    ...(entry.updated && { updated: entry.updated }),
    ...formerly(source),
    faults,
  };
}

/** A server the Go proxy connected is started before one that nobody ever did. */
function formerly(source: Readonly<Record<string, unknown>>): Pick<Server, "formerlyConnectedAt"> {
  if (source["ever_connected"] !== true) return {};
  const at = Date.parse(String(source["last_successful_connection"]));
  return { formerlyConnectedAt: Number.isFinite(at) ? at : 0 };
}

/** Reads what stands in the file, not the schema's copy, which lacks a `__proto__`. */
function mapOf(value: unknown): ReadonlyMap<string, string> {
  const entries = isRecord(value) ? Object.entries(value) : [];
  return new Map(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

/** Zero means the global value, as in the Go proxy. */
function timeoutOf(text: string | undefined): number | undefined {
  return (text === undefined ? 0 : parseDuration(text)) || undefined;
}

/** The mode an entry means; an explicit one wins over the older switches. */
export function startupModeOf(entry: ModeKeys): StartupMode {
  if (entry.startup_mode) return entry.startup_mode;
  if (entry.quarantined === true) return "quarantined";
  if (entry.auto_disabled === true) return "auto_disabled";
  const isEnabled = entry.enabled ?? entry.disabled !== true;
  if (!isEnabled || entry.stopped === true) return "disabled";
  return entry.start_on_boot === false ? "lazy_loading" : "active";
}

function groupsOf(entry: ServerEntry, groups: Slugs<GroupDefinition>): string[] {
  const id = entry.group_id;
  const own = id !== undefined && (id !== 0 || groups.find(0) !== undefined) ? [String(id)] : [];
  return [...new Set([...own, ...entry.groups.map(String)])];
}
