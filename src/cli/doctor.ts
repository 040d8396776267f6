/**
 * `mcpproxy doctor`: what is wrong, and what to do about it.
 *
 * Owns how findings are told, and the exit code. Invariants: a finding of the level `error` is exit code 1, in every
 * format; each finding stands with its hint. Looking for faults here was rejected: the page and the API show the same.
 */
import { oneLine } from "../lib/log.ts";
import { wrapText } from "../lib/wrap.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { readWords } from "./help.ts";
import { countText, printData } from "./output.ts";
import { withProgress } from "./progress.ts";
import { styleOf } from "./style.ts";
import type { Paint, Style } from "./style.ts";

interface FindingRow {
  readonly level: string;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly server?: string;
}

const LEVEL_WIDTH = 7;
const MIN_WIDTH = 40;

/** Prints all findings, the worst first. */
export async function runDoctor(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values } = readWords("doctor", args);
  const server = textFlag(values["server"]);
  const api = await findDaemon(flags, io);
  const { data } = await withProgress("Looking", { io, work: () => api.get("/doctor") });
  const { findings: all } = data as { readonly findings: readonly FindingRow[] };
  const findings = server === undefined ? all : all.filter((finding) => finding.server === server);
  const isBad = findings.some(({ level }) => level === "error");
  if (flags.isJson) {
    printData(server === undefined ? data : { ...(data as object), findings }, flags, io);
    return isBad ? 1 : 0;
  }
  const style = styleOf(io);
  for (const finding of findings) printFinding(finding, { io, style });
  const counts = (["error", "warning", "info"] as const)
    .map((level) => [level, findings.filter((finding) => finding.level === level).length] as const)
    .filter(([, count]) => count > 0)
    .map(([level, count]) => countText(count, level === "info" ? "note" : level));
  io.stdout(findings.length === 0 ? "Nothing is wrong\n" : `${counts.join(", ")}\n`);
  return isBad ? 1 : 0;
}

function printFinding(
  { level, code, message, hint, server }: FindingRow,
  { io, style }: { readonly io: CommandIo; readonly style: Style },
): void {
  const paint = paintOf(level, style);
  const indent = " ".repeat(LEVEL_WIDTH + 2);
  const width = Math.max(MIN_WIDTH, (io.columns ?? Number.POSITIVE_INFINITY) - indent.length - 1);
  const subject = server === undefined || message.includes(server) ? "" : `${server}: `;
  io.stdout(`${paint(level.padEnd(LEVEL_WIDTH))}  ${style.bold(code)}\n`);
  for (const line of wrapText(oneLine(`${subject}${message}`), width)) io.stdout(`${indent}${line}\n`);
  for (const line of wrapText(oneLine(hint === undefined ? "" : `→ ${hint}`), width)) {
    io.stdout(`${indent}${style.cyan(line)}\n`);
  }
  io.stdout("\n");
}

function paintOf(level: string, style: Style): Paint {
  return level === "error" ? style.red : level === "warning" ? style.yellow : style.dim;
}
