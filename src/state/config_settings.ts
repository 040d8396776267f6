/**
 * From the validated top level of the configuration to the settings in plain units.
 *
 * Owns milliseconds, bytes, absolute folders, and what 0 stands for where the Go proxy means its default by it.
 * Invariant: whatever was validated becomes settings, nothing here judges. Converting inside the schema was rejected: what
 * is shown to users is what they wrote.
 */
import { resolve } from "node:path";
import { parseDuration, parsePeriod } from "../lib/duration.ts";
import { expandHome } from "./config_server.ts";
import { registriesOf } from "./registries.ts";
import type {
  EnvironmentSettings,
  ListenAddress,
  LoggingSettings,
  LogLevel,
  Settings,
  SupervisionSettings,
} from "../core/settings.ts";
import type { SettingsEntry } from "./config_schema.ts";

const DEFAULT_CONNECTION_TIMEOUT_MS = 60_000;
/** A server that never connected may be downloading itself. */
const FIRST_RUN_FACTOR = 3;
const LEAST_FIRST_RUN_MS = 180_000;
const DEFAULT_LOG_MIB = 10;
const BYTES_PER_MIB = 1024 * 1024;

interface Folders {
  readonly dataDir: string;
  readonly home: string;
}

/** Makes the settings of a validated top level. */
export function toSettings(
  entry: SettingsEntry,
  listen: ListenAddress,
  { groups, ...folders }: Folders & Pick<Settings, "groups">,
): Settings {
  const { dataDir } = folders;
  return {
    listen,
    dataDir,
    ...(entry.api_key && { apiKey: entry.api_key }),
    trustedHosts: entry.trusted_hosts,
    requireMcpAuth: entry.require_mcp_auth,
    toolsLimit: entry.tools_limit,
    toolResponseLimit: entry.tool_response_limit,
    toolResponseMode: entry.tool_response_mode,
    callToolTimeoutMs: parseDuration(entry.call_tool_timeout) || 120_000,
    connectionTimeoutMs: parseDuration(entry.connection_timeout) || DEFAULT_CONNECTION_TIMEOUT_MS,
    maxConcurrentConnections: entry.max_concurrent_connections,
    maxWaitingConnections: entry.max_waiting_connections,
    enableLazyLoading: entry.enable_lazy_loading,
    idleDisconnectMs: parseDuration(entry.idle_disconnect) ?? 0,
    autoDisableThreshold: entry.auto_disable_threshold,
    healthCheckIntervalMs: parseDuration(entry.health_check_interval) ?? 0,
    toolDiscoveryIntervalMs: parseDuration(entry.tool_discovery_interval) ?? 0,
    supervision: supervisionOf(entry),
    ...concurrencyOf(entry),
    unannotatedTools: entry.unannotated_tools,
    readOnlyMode: entry.read_only_mode,
    enableSocket: entry.enable_socket,
    disableManagement: entry.disable_management,
    allowServerAdd: entry.allow_server_add,
    allowServerRemove: entry.allow_server_remove,
    quarantineEnabled: entry.quarantine_enabled,
    persistAutoDisableToConfig: entry.persist_auto_disable_to_config,
    adminTools: entry.admin_tools,
    enableWebUi: entry.features.enable_web_ui,
    legacyTools: entry.legacy_tools,
    routingMode: entry.routing_mode,
    environment: environmentOf(entry),
    logLevel: logLevelOf(entry),
    logging: loggingOf(entry, folders),
    tracing: tracingOf(entry),
    activity: {
      retentionMs: parsePeriod(entry.activity.retention) ?? 0,
      maxRows: entry.activity.max_rows,
    },
    groups,
    registries: registriesOf(entry.registries),
  };
}

function concurrencyOf(entry: SettingsEntry): Pick<Settings, "concurrency" | "serverConcurrency"> {
  const { server_concurrency_defaults: each } = entry;
  return {
    concurrency: {
      maxConcurrentRequests: entry.max_concurrent_requests,
      queueSize: entry.queue_size,
      queueTimeoutMs: parseDuration(entry.queue_timeout) ?? 0,
    },
    serverConcurrency: { maxConcurrentRequests: each.max_concurrent_requests, queueSize: each.queue_size },
  };
}

function tracingOf({ tracing }: SettingsEntry): Settings["tracing"] {
  return {
    ...(tracing.otlp_endpoint ? { otlpEndpoint: tracing.otlp_endpoint } : {}),
    headers: new Map(Object.entries(tracing.headers)),
    sampleRatio: tracing.sample_ratio,
  };
}

function environmentOf({ environment }: SettingsEntry): EnvironmentSettings {
  return {
    inheritSystemSafe: environment.inherit_system_safe,
    allowedSystemVars: environment.allowed_system_vars,
    customVars: new Map(Object.entries(environment.custom_vars)),
    enhancePath: environment.enhance_path,
  };
}

function supervisionOf(entry: SettingsEntry): SupervisionSettings {
  const { supervision } = entry;
  const ms = (text: string): number => parseDuration(text) ?? 0;
  const connectionMs = ms(entry.connection_timeout) || DEFAULT_CONNECTION_TIMEOUT_MS;
  const firstRunMs = supervision.first_run_timeout === undefined ? 0 : ms(supervision.first_run_timeout);
  return {
    firstDeadlineMs: ms(supervision.first_deadline),
    firstRunTimeoutMs: firstRunMs || Math.max(FIRST_RUN_FACTOR * connectionMs, LEAST_FIRST_RUN_MS),
    startPatience: {
      stdioMs: ms(supervision.start_patience.stdio),
      httpMs: ms(supervision.start_patience.http),
    },
    backoffBaseMs: ms(supervision.backoff_base),
    backoffCapMs: ms(supervision.backoff_cap),
    recoverAfterMs: ms(supervision.recover_after),
    cascadeWindowMs: ms(supervision.cascade_window),
    restartBudget: supervision.restart_budget,
    stopGraceMs: ms(supervision.stop_grace),
    termGraceMs: ms(supervision.term_grace),
  };
}

function loggingOf(entry: SettingsEntry, { dataDir, home }: Folders): LoggingSettings {
  const { logging } = entry;
  return {
    level: logLevelOf(entry),
    enableFile: logging.enable_file,
    enableConsole: logging.enable_console,
    logDir: resolve(dataDir, expandHome(logging.log_dir || "logs", home)),
    // The Go proxy takes 0 for its default.
    maxSizeBytes: (logging.max_size || DEFAULT_LOG_MIB) * BYTES_PER_MIB,
    maxBackups: logging.max_backups,
    maxAgeDays: logging.max_age,
    compress: logging.compress,
    jsonFormat: logging.json_format,
  };
}

/** The Go proxy has one level more. */
function logLevelOf(entry: SettingsEntry): LogLevel {
  return entry.logging.level === "trace" ? "debug" : entry.logging.level;
}
