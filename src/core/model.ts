/**
 * The nouns of the proxy: what a server is, what a tool is, and the words for their states.
 *
 * Owns the shapes shared between floors; owns no behaviour beyond the pure rules that follow from
 * them (tool ids, categories). Invariant: a server name holds neither `:` nor `__`, so a tool id
 * splits at its first colon and an outward direct-mode name at its first double underscore.
 * Classes with methods for each noun were rejected: the same data crosses SQL, JSON and the wire.
 */

/** What the operator wants of a server; persisted. */
export const STARTUP_MODES = ["active", "lazy_loading", "disabled", "quarantined", "auto_disabled"] as const;
/** One of {@link STARTUP_MODES}. */
export type StartupMode = (typeof STARTUP_MODES)[number];

/** Where the live link to one upstream stands. */
export type ConnectionState =
  | "disconnected"
  | "connecting"
  | "authenticating"
  | "discovering"
  | "ready"
  | "error";

/** What a list shows; the six partition all servers. */
export type Category =
  | "connected"
  | "disconnected"
  | "sleeping"
  | "disabled"
  | "auto_disabled"
  | "quarantined";

/** How an upstream is reached; `auto` is decided by the first answer of the URL. */
export type TransportKind = "stdio" | "streamable_http" | "sse" | "auto";

/** Family of protocol revisions: `legacy` to 2025-11-25 (sessions), `modern` from 2026-07-28 (stateless). */
export type Era = "legacy" | "modern";

/** Why an attempt to connect failed; decides whether it is retried. */
export type FailureClass = "config" | "auth" | "timeout" | "exit" | "network" | "protocol" | "rate_limited";

/** The clients whose configurations are known, and our own form. */
export const IMPORT_FORMATS = [
  "claude_desktop",
  "claude_code",
  "cursor",
  "vscode",
  "windsurf",
  "zed",
  "goose",
  "codex",
  "gemini",
  "mcpproxy",
] as const;
/** One of {@link IMPORT_FORMATS}. */
export type ImportFormat = (typeof IMPORT_FORMATS)[number];

/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
/** A JSON object. */
export type JsonObject = { readonly [key: string]: Json };

/** Something wrong in the configuration file, with the place and the way out. */
export interface Fault {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** 1-based, counted in UTF-16 units. */
  readonly column: number;
  /** Path of the offending key, as in `mcpServers[3].args[0]`. */
  readonly key: string;
  /** What is wrong. */
  readonly message: string;
  /** What would be right. */
  readonly advice: string;
  /** The server the fault belongs to; absent when it concerns the whole file. */
  readonly server?: string;
}

/** One result of a check that an operator should see: nothing is broken, something is odd. */
export interface Finding {
  readonly level: "info" | "warning" | "error";
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly server?: string;
}

/** The definition of one upstream as the configuration has it; `${env:…}` still unresolved. */
export interface Server {
  readonly name: string;
  readonly description: string;
  readonly transport: TransportKind;
  /** The `protocol` key as written, or derived when it was absent. */
  readonly protocol: string;
  readonly url?: string;
  readonly command?: string;
  readonly args: readonly string[];
  readonly workingDir?: string;
  readonly env: ReadonlyMap<string, string>;
  readonly headers: ReadonlyMap<string, string>;
  readonly startupMode: StartupMode;
  readonly connectionTimeoutMs?: number;
  readonly callTimeoutMs?: number;
  /** Calls at once, instead of the default for each server; 0: no limit. */
  readonly maxConcurrentRequests?: number;
  /** Calls that may wait for a place, instead of the default for each server. */
  readonly queueSize?: number;
  /** Instead of the global value; negative: never. */
  readonly autoDisableThreshold?: number;
  /** Whether it is tried again by itself once auto-disabled. */
  readonly autoRecover: boolean;
  readonly healthCheckIntervalMs?: number;
  readonly toolDiscoveryIntervalMs?: number;
  /** Only these tools are offered; absent means all. */
  readonly enabledTools?: readonly string[];
  /** These tools are never offered. */
  readonly disabledTools: readonly string[];
  /** Names or ids of its groups. */
  readonly groups: readonly string[];
  readonly tags: readonly string[];
  readonly created?: string;
  readonly updated?: string;
  /** When it was connected last, by what an earlier program noted in the file; Unix milliseconds, 0 when it did not say. */
  readonly formerlyConnectedAt?: number;
  /** What is wrong with this entry; a server with faults is listed and never started. */
  readonly faults: readonly Fault[];
}

/** Behaviour hints an upstream gives for one of its tools. */
export interface ToolAnnotations {
  readonly title?: string;
  readonly readOnlyHint?: boolean;
  readonly destructiveHint?: boolean;
  readonly idempotentHint?: boolean;
  readonly openWorldHint?: boolean;
}

/** A tool as its upstream announces it; keys this proxy does not know stay. */
export interface ToolDefinition {
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  readonly inputSchema: JsonObject;
  readonly outputSchema?: JsonObject;
  readonly annotations?: ToolAnnotations;
  readonly [key: string]: unknown;
}

/** A tool in the catalog. */
export interface Tool {
  /** `server:tool`, stable as long as both names are. */
  readonly id: string;
  readonly server: string;
  readonly name: string;
  readonly definition: ToolDefinition;
  /** Hash over all that the tool claims to be. */
  readonly fingerprint: string;
}

/** The meta tool through which a tool may be called. */
export type CallVariant = "call_tool_read" | "call_tool_write" | "call_tool_destructive";

/** Makes the public name of an upstream's tool. */
export function toolId(server: string, tool: string): string {
  return `${server}:${tool}`;
}

/** Splits a tool id at its first colon; undefined when there is none or a side is empty. */
export function splitToolId(id: string): { readonly server: string; readonly tool: string } | undefined {
  const at = id.indexOf(":");
  if (at <= 0 || at === id.length - 1) return undefined;
  return { server: id.slice(0, at), tool: id.slice(at + 1) };
}

/**
 * Files a server under the one heading a list shows it under; the first match wins.
 *
 * A lazy server that is not ready sleeps, whatever its connection did last.
 */
export function categoryOf(mode: StartupMode, connection: ConnectionState, isFaulty = false): Category {
  if (mode === "quarantined" || mode === "auto_disabled" || mode === "disabled") return mode;
  if (isFaulty) return "disconnected";
  if (connection === "ready") return "connected";
  return mode === "lazy_loading" ? "sleeping" : "disconnected";
}
