/**
 * `mcpproxy config`: check and schema without a daemon; history, diff and rollback through it.
 *
 * Owns what these commands print and their exit codes. Invariants: checking writes nothing, not even a default
 * file; faults of single servers fail the check too, as such a server would never start; no secret of the
 * file is printed. Asking the daemon for a check was rejected: it is wanted most when none can start.
 */
import { ERRORS, ProxyError, toProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { faultsOf, formatFaults, loadConfig } from "../state/config.ts";
import { configJsonSchema } from "../state/config_schema.ts";
import type { Fault, Finding } from "../core/model.ts";
import { findDaemon } from "./client.ts";
import { readCommand } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { formatTable } from "./table.ts";
import { takeVerb } from "./verb.ts";

const CHECK_USAGE = "mcpproxy config check [FILE] [--config FILE] [--data-dir DIR] [--json]";
const SCHEMA_USAGE = "mcpproxy config schema [--json]";
const HISTORY_USAGE = "mcpproxy config history [--json] [-c FILE] [-d DIR]";
const DIFF_USAGE = "mcpproxy config diff ID [ID] [--json] [-c FILE] [-d DIR]";
const ROLLBACK_USAGE = "mcpproxy config rollback ID [--approve] [--json] [-c FILE] [-d DIR]";

interface Report {
  readonly path: string | undefined;
  readonly servers: number | undefined;
  readonly faults: readonly Fault[];
  readonly findings: readonly Finding[];
}

/** Runs a verb of `config`. */
export async function runConfig(args: readonly string[], io: CommandIo): Promise<number> {
  const { verb, rest } = takeVerb(args);
  if (verb === "check") return runConfigCheck(rest, io);
  if (verb === "schema") return runConfigSchema(rest, io);
  if (verb === "history") return runConfigHistory(rest, io);
  if (verb === "diff") return runConfigDiff(rest, io);
  if (verb === "rollback") return runConfigRollback(rest, io);
  throw new ProxyError(
    "USAGE",
    verb === undefined
      ? "Name what to do with the configuration"
      : `Cannot run 'config ${verb}': no such command`,
    {
      hint: `Usage: ${[CHECK_USAGE, SCHEMA_USAGE, HISTORY_USAGE, DIFF_USAGE, ROLLBACK_USAGE].join(" | ")}`,
    },
  );
}

/**
 * Prints every fault and finding of the configuration.
 *
 * @returns 0 without faults, 4 with faults or an unreadable file
 * @throws ProxyError `USAGE` for wrong arguments
 */
export async function runConfigCheck(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readCommand(args, { usage: CHECK_USAGE, maxPositionals: 1 });
  if (positionals.length > 0 && flags.config !== undefined) {
    throw new ProxyError("USAGE", "Name one file only", { hint: `Usage: ${CHECK_USAGE}` });
  }
  const { env, cwd, home } = io;
  const path = positionals[0] ?? flags.config;
  try {
    const config = await loadConfig({ path, dataDir: flags.dataDir, env, cwd, home, create: false });
    const { faults, findings } = config;
    printReport({ path: config.path, servers: config.servers.length, faults, findings }, flags.isJson, io);
    return faults.length === 0 ? 0 : ERRORS.CONFIG_INVALID.exit;
  } catch (error) {
    return printError(toProxyError(error), flags.isJson, io);
  }
}

/**
 * Prints the JSON Schema of the configuration file; it is JSON with and without `--json`.
 *
 * @throws ProxyError `USAGE` for wrong arguments
 */
export async function runConfigSchema(args: readonly string[], io: CommandIo): Promise<number> {
  readCommand(args, { usage: SCHEMA_USAGE, maxPositionals: 0 });
  io.stdout(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
  return 0;
}

interface HistoryEntry {
  readonly id: string;
  readonly time: string;
  readonly bytes: number;
  readonly revision?: number;
}

/**
 * Lists the earlier texts that are kept, the newest first.
 *
 * @throws ProxyError `NOT_REACHABLE` when no proxy runs
 */
async function runConfigHistory(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags } = readCommand(args, { usage: HISTORY_USAGE, maxPositionals: 0 });
  const { data } = await (await findDaemon(flags, io)).get("/config/history");
  if (flags.isJson) {
    io.stdout(`${JSON.stringify(data, null, 2)}\n`);
    return 0;
  }
  const { revision, entries } = data as {
    readonly revision: number;
    readonly entries: readonly HistoryEntry[];
  };
  io.stdout(`Revision ${revision} is in force; ${count(entries.length, "earlier text")} kept\n`);
  if (entries.length === 0) return 0;
  const rows = entries.map(({ id, time, bytes, revision: of }) => [
    id,
    time,
    of === undefined ? "" : String(of),
    String(bytes),
  ]);
  io.stdout(`\n${formatTable(["ID", "TIME", "REVISION", "BYTES"], rows, { columns: io.columns })}`);
  return 0;
}

/** Prints what changed between two texts, or between one and the file; secrets are masked. */
async function runConfigDiff(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readCommand(args, { usage: DIFF_USAGE, maxPositionals: 2 });
  const [from, to] = positionals;
  if (from === undefined) {
    throw new ProxyError("USAGE", "Name the text to compare with", { hint: `Usage: ${DIFF_USAGE}` });
  }
  const query = new URLSearchParams({ from, ...(to === undefined ? {} : { to }) });
  const { data } = await (await findDaemon(flags, io)).get(`/config/diff?${query.toString()}`);
  const { diff } = data as { readonly diff: string };
  io.stdout(flags.isJson ? `${JSON.stringify(data, null, 2)}\n` : diff);
  return 0;
}

/** Puts an earlier text in force. */
async function runConfigRollback(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readCommand(args, {
    usage: ROLLBACK_USAGE,
    options: { approve: { type: "boolean" } },
    maxPositionals: 1,
  });
  const [id] = positionals;
  if (id === undefined) {
    throw new ProxyError("USAGE", "Name the text to go back to", {
      hint: `Usage: ${ROLLBACK_USAGE}; 'mcpproxy config history' lists the ids`,
    });
  }
  const api = await findDaemon(flags, io);
  const { data } = await api.post("/config/rollback", { id, approve: values["approve"] === true });
  const { revision, warning, changes } = data as {
    readonly revision: number;
    readonly warning?: string;
    readonly changes: readonly unknown[];
  };
  if (flags.isJson) io.stdout(`${JSON.stringify(data, null, 2)}\n`);
  else io.stdout(`Revision ${revision} is in force; ${count(changes.length, "server")} changed\n`);
  if (warning !== undefined) io.stderr(`${oneLine(warning)}\n`);
  return 0;
}

function printReport(report: Report, isJson: boolean, io: CommandIo): void {
  const isOk = report.faults.length === 0;
  if (isJson) {
    io.stdout(`${JSON.stringify({ success: isOk, ...report }, null, 2)}\n`);
    return;
  }
  if (!isOk) io.stdout(`${formatFaults(report.faults)}\n`);
  for (const { level, code, message, hint } of report.findings) {
    io.stdout(`${oneLine(`${level} ${code}: ${message}${hint === undefined ? "" : ` — ${hint}`}`)}\n`);
  }
  const file = oneLine(report.path ?? "");
  const servers = report.servers === undefined ? "" : `, ${count(report.servers, "server")}`;
  io.stdout(
    `${file}: ${count(report.faults.length, "fault")}, ${count(report.findings.length, "finding")}${servers}\n`,
  );
}

function printError(error: ProxyError, isJson: boolean, io: CommandIo): number {
  const exit = ERRORS[error.code].exit;
  const faults = faultsOf(error);
  const path = typeof error.data?.["path"] === "string" ? error.data["path"] : undefined;
  if (faults.length > 0) printReport({ path, servers: undefined, faults, findings: [] }, isJson, io);
  else if (isJson) {
    const { code, message, hint } = error;
    io.stdout(
      `${JSON.stringify({ success: false, code, error: message, hint, path, faults: [], findings: [] }, null, 2)}\n`,
    );
  } else
    io.stderr(`${oneLine(error.message)}${error.hint === undefined ? "" : `\n${oneLine(error.hint)}`}\n`);
  return exit;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
