/**
 * `mcpproxy config`: check, schema, history, diff and rollback.
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
import type { CommandIo, GlobalFlags } from "./command.ts";
import { findKeeper } from "./config_offline.ts";
import { readWords, runVerb, usageOf } from "./help.ts";
import { cleanText, printData } from "./output.ts";
import { formatTable } from "./table.ts";

interface Report {
  readonly path: string | undefined;
  readonly servers: number | undefined;
  readonly faults: readonly Fault[];
  readonly findings: readonly Finding[];
}

/** Runs a verb of `config`. */
export async function runConfig(args: readonly string[], io: CommandIo): Promise<number> {
  const verbs = {
    check: runConfigCheck,
    schema: runConfigSchema,
    history: runConfigHistory,
    diff: runConfigDiff,
    rollback: runConfigRollback,
  };
  return runVerb("config", { verbs, args, io });
}

/**
 * Prints every fault and finding of the configuration.
 *
 * @returns 0 without faults, 4 with faults or an unreadable file
 * @throws ProxyError `USAGE` for wrong arguments
 */
export async function runConfigCheck(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("config check", args);
  if (positionals.length > 0 && flags.config !== undefined) {
    throw new ProxyError("USAGE", "Name one file only", { hint: `Usage: ${usageOf("config check")}` });
  }
  const { env, cwd, home } = io;
  const path = positionals[0] ?? flags.config;
  try {
    const config = await loadConfig({ path, dataDir: flags.dataDir, env, cwd, home, create: false });
    const { faults, findings } = config;
    printReport({ path: config.path, servers: config.servers.length, faults, findings }, flags, io);
    return faults.length === 0 ? 0 : ERRORS.CONFIG_INVALID.exit;
  } catch (error) {
    return printError(toProxyError(error), flags, io);
  }
}

/**
 * Prints the JSON Schema of the configuration file; it is JSON with and without `--json`.
 *
 * @throws ProxyError `USAGE` for wrong arguments
 */
export async function runConfigSchema(args: readonly string[], io: CommandIo): Promise<number> {
  readWords("config schema", args);
  io.stdout(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
  return 0;
}

interface HistoryEntry {
  readonly id: string;
  readonly time: string;
  readonly bytes: number;
  readonly revision?: number;
}

/** Lists the earlier texts that are kept, the newest first. */
async function runConfigHistory(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags } = readWords("config history", args);
  const data = await (await findKeeper(flags, io)).list();
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const { revision, entries } = data as {
    readonly revision?: number;
    readonly entries: readonly HistoryEntry[];
  };
  const state = revision === undefined ? "No proxy runs" : `Revision ${revision} is in force`;
  io.stdout(`${state}; ${count(entries.length, "earlier text")} kept\n`);
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
  const { flags, positionals } = readWords("config diff", args);
  const [from = "", to] = positionals;
  const data = await (await findKeeper(flags, io)).diff(from, to);
  const { diff } = data as { readonly diff: string };
  if (flags.isJson) printData(data, flags, io);
  else if (diff !== "") io.stdout(`${cleanText(diff)}\n`);
  return 0;
}

/** Puts an earlier text in force. */
async function runConfigRollback(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readWords("config rollback", args);
  const [id = ""] = positionals;
  const data = await (await findKeeper(flags, io)).rollback(id, values["approve"] === true);
  const { revision, warning, changes } = data as {
    readonly revision: number;
    readonly warning?: string;
    readonly changes: readonly unknown[];
  };
  if (flags.isJson) printData(data, flags, io);
  else io.stdout(`Revision ${revision} is in force; ${count(changes.length, "server")} changed\n`);
  if (warning !== undefined) io.stderr(`${oneLine(warning)}\n`);
  return 0;
}

function printReport(report: Report, flags: GlobalFlags, io: CommandIo): void {
  const isOk = report.faults.length === 0;
  if (flags.isJson) {
    printData({ success: isOk, ...report }, flags, io);
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

function printError(error: ProxyError, flags: GlobalFlags, io: CommandIo): number {
  const exit = ERRORS[error.code].exit;
  const faults = faultsOf(error);
  const path = typeof error.data?.["path"] === "string" ? error.data["path"] : undefined;
  if (faults.length > 0) printReport({ path, servers: undefined, faults, findings: [] }, flags, io);
  else if (flags.isJson) {
    const { code, message, hint } = error;
    printData({ success: false, code, error: message, hint, path, faults: [], findings: [] }, flags, io);
  } else
    io.stderr(`${oneLine(error.message)}${error.hint === undefined ? "" : `\n${oneLine(error.hint)}`}\n`);
  return exit;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
