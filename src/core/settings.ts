/**
 * The settings of the proxy: every top-level key of the configuration file, resolved to plain units.
 *
 * Owns the shape only; defaults and validation live in `state/config.ts`. Invariant: durations are
 * milliseconds, sizes bytes or characters as named, and a value the file left out has its default, so
 * readers never meet `undefined` where a default exists. Passing the raw document around was rejected:
 * each reader would repeat the defaults.
 */
import type { Finding, Fault, Server } from "./model.ts";

/** An address to listen on. */
export interface ListenAddress {
  readonly hostname: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** How severe a log line must be to be written. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Which environment variables a child process gets. */
export interface EnvironmentSettings {
  readonly inheritSystemSafe: boolean;
  readonly allowedSystemVars: readonly string[];
  readonly customVars: ReadonlyMap<string, string>;
  readonly enhancePath: boolean;
}

/** How connections are started, retried and stopped; times in milliseconds. */
export interface SupervisionSettings {
  /** The first deadline of a server that connected before; doubled after each time-out. */
  readonly firstDeadlineMs: number;
  /** The one deadline of a server that never connected. */
  readonly firstRunTimeoutMs: number;
  /** Silence after which an attempt gives its place back. */
  readonly startPatience: { readonly stdioMs: number; readonly httpMs: number };
  readonly backoffBaseMs: number;
  readonly backoffCapMs: number;
  /** The wait before an auto-disabled server is probed. */
  readonly recoverAfterMs: number;
  /** Failures within this window may be one event, and then do not count. */
  readonly cascadeWindowMs: number;
  /** Attempts of one server within a minute. */
  readonly restartBudget: number;
  /** For a process to leave by itself once its stdin is closed. */
  readonly stopGraceMs: number;
  /** For a process to leave after TERM. */
  readonly termGraceMs: number;
}

/** What is logged where. */
export interface LoggingSettings {
  readonly level: LogLevel;
  readonly enableFile: boolean;
  readonly enableConsole: boolean;
  /** Absolute path of the folder. */
  readonly logDir: string;
  readonly maxSizeBytes: number;
  /** Rotated files of each log; 0 keeps none. */
  readonly maxBackups: number;
  /** 0: for ever. */
  readonly maxAgeDays: number;
  readonly compress: boolean;
  readonly jsonFormat: boolean;
}

/** How much of what was done is kept. */
export interface ActivitySettings {
  /** 0: for ever. */
  readonly retentionMs: number;
  /** 0: nothing is written down. */
  readonly maxRows: number;
}

/** Where calls are told as spans of traces. */
export interface TracingSettings {
  /** As written, `${env:…}` still unresolved. Absent: the standard variables name it, or nothing is sent. */
  readonly otlpEndpoint?: string;
  /** As written. */
  readonly headers: ReadonlyMap<string, string>;
  /** Share of calls that begin a trace, when their caller began none. */
  readonly sampleRatio: number;
}

/** A named set of servers as the file has it. */
export interface GroupDefinition {
  readonly id: number;
  readonly name: string;
  readonly description: string;
  readonly enabled: boolean;
  /** Name or id of the group it is part of. */
  readonly parent?: string;
  readonly color?: string;
  readonly iconEmoji?: string;
}

/** A list of servers somebody keeps, to choose from. */
export interface RegistryDefinition {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  /** The page for people. */
  readonly url: string;
  /** What is asked for the servers. */
  readonly serversUrl: string;
  readonly tags: readonly string[];
  /** How it answers; empty: found out from the answer. */
  readonly protocol: string;
  /** Whether it may lie on a private network. */
  readonly isPrivateAllowed: boolean;
}

/** How many calls travel at once, and how many may wait for that. */
export interface ConcurrencySettings {
  /** 0: no limit. */
  readonly maxConcurrentRequests: number;
  readonly queueSize: number;
}

/** Every top-level setting. */
export interface Settings {
  readonly listen: ListenAddress;
  readonly dataDir: string;
  /** As written; `${env:…}` still unresolved. Absent: one is made in the data dir. */
  readonly apiKey?: string;
  readonly trustedHosts: readonly string[];
  readonly requireMcpAuth: boolean;
  readonly toolsLimit: number;
  /** Characters; 0 switches cutting off. */
  readonly toolResponseLimit: number;
  readonly toolResponseMode: "compact" | "full";
  readonly callToolTimeoutMs: number;
  readonly connectionTimeoutMs: number;
  readonly maxConcurrentConnections: number;
  readonly maxWaitingConnections: number;
  readonly enableLazyLoading: boolean;
  /** 0: never. */
  readonly idleDisconnectMs: number;
  /** Failures in a row; 0: never. */
  readonly autoDisableThreshold: number;
  /** 0: none. */
  readonly healthCheckIntervalMs: number;
  /** 0: none. */
  readonly toolDiscoveryIntervalMs: number;
  readonly supervision: SupervisionSettings;
  /** Over all servers; each may wait for `queueTimeoutMs`. */
  readonly concurrency: ConcurrencySettings & { readonly queueTimeoutMs: number };
  /** Of each server that has no limit of its own. */
  readonly serverConcurrency: ConcurrencySettings;
  readonly unannotatedTools: "read" | "write";
  readonly readOnlyMode: boolean;
  /** Whether the Unix socket in the data dir is listened on. */
  readonly enableSocket: boolean;
  readonly disableManagement: boolean;
  readonly allowServerAdd: boolean;
  readonly allowServerRemove: boolean;
  /** Whether servers added or changed by programs are held until a person approves. */
  readonly quarantineEnabled: boolean;
  readonly persistAutoDisableToConfig: boolean;
  /** Where management tools are offered to MCP clients. */
  readonly adminTools: "separate" | "inline" | "off";
  /** Whether the operator's page is served. */
  readonly enableWebUi: boolean;
  readonly legacyTools: boolean;
  readonly routingMode: "retrieve_tools" | "direct";
  readonly environment: EnvironmentSettings;
  readonly logLevel: LogLevel;
  readonly logging: LoggingSettings;
  readonly activity: ActivitySettings;
  readonly tracing: TracingSettings;
  readonly groups: readonly GroupDefinition[];
  /** Those known without being configured included. */
  readonly registries: readonly RegistryDefinition[];
}

/** A configuration file that could be read. */
export interface Config {
  /** Absolute path of the file. */
  readonly path: string;
  readonly settings: Settings;
  /** In file order; names are unique, a later duplicate is a finding and left out. */
  readonly servers: readonly Server[];
  /** Faults of single servers; such a server is listed and never started. */
  readonly faults: readonly Fault[];
  readonly findings: readonly Finding[];
  /** Top-level values as written, without servers and groups: what changed is told by them. */
  readonly top?: Readonly<Record<string, unknown>>;
  /** The same as it is in force: defaults, variables of the environment and flags filled in, known keys only. */
  readonly effective?: Readonly<Record<string, unknown>>;
}
