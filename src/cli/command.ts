/**
 * What all commands share: the process as they see it, their flags, and how they end.
 *
 * Owns the global flags, which stand before or after the verb, and the mapping of an error to stderr and
 * an exit code. Invariants: a command returns its exit code and never ends the process; foreign text is
 * printed without control characters. A command-line framework was rejected: it would be half of the
 * start-up time of `--version`.
 */
import { parseArgs } from "node:util";
import type { ParseArgsConfig } from "node:util";

import { ERRORS, messageOf, ProxyError, toProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";

/** The process as a command sees it. */
export interface CommandIo {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  /** Columns of the terminal stdout is; undefined when it is none. @default undefined */
  readonly columns?: number | undefined;
}

/** Flags every command takes. */
export interface GlobalFlags {
  readonly config: string | undefined;
  readonly dataDir: string | undefined;
  readonly logLevel: string | undefined;
  readonly isJson: boolean;
}

const GLOBAL_OPTIONS = {
  config: { type: "string", short: "c" },
  "data-dir": { type: "string", short: "d" },
  "log-level": { type: "string" },
  output: { type: "string", short: "o" },
  json: { type: "boolean" },
} as const satisfies ParseArgsConfig["options"];

/** A command line that was read. */
export interface ReadCommand {
  readonly flags: GlobalFlags;
  readonly positionals: readonly string[];
  /** Values of the command's own options. */
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
}

/** The options a command takes beside the global ones. */
export type CommandOptions = Readonly<
  Record<string, { readonly type: "string" | "boolean"; readonly short?: string }>
>;

/**
 * Reads the arguments of a command.
 *
 * @throws {ProxyError} `USAGE` for an unknown flag, a missing value, or too many words.
 */
export function readCommand(
  args: readonly string[],
  command: { readonly usage: string; readonly options?: CommandOptions; readonly maxPositionals: number },
): ReadCommand {
  const { usage, options = {}, maxPositionals } = command;
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      options: { ...GLOBAL_OPTIONS, ...options },
      allowPositionals: true,
    });
    if (positionals.length > maxPositionals)
      throw new Error(`Unexpected argument '${positionals[maxPositionals]}'`);
    const own = values as Readonly<Record<string, string | boolean | undefined>>;
    const { output } = values;
    if (output !== undefined && output !== "json" && output !== "table") {
      throw new Error(`Cannot print as '${output}': use 'table' or 'json'`);
    }
    return {
      positionals,
      values: own,
      flags: {
        config: textFlag(own["config"]),
        dataDir: textFlag(own["data-dir"]),
        logLevel: textFlag(own["log-level"]),
        isJson: own["json"] === true || output === "json",
      },
    };
  } catch (error) {
    const message = messageOf(error).split(". To specify")[0] ?? "";
    throw new ProxyError("USAGE", message, { cause: error, hint: `Usage: ${usage}` });
  }
}

/** Reads an option's value as text. */
export function textFlag(value: string | boolean | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** Tells of an error and returns the exit code it means. */
export function printFailure(error: unknown, io: CommandIo, isJson = false): number {
  const fault = toProxyError(error);
  const { code, message, hint } = fault;
  const cause = code === "INTERNAL" && error instanceof Error ? ` (${messageOf(error)})` : "";
  if (isJson) {
    io.stdout(`${JSON.stringify({ success: false, error: message, code, ...(hint ? { hint } : {}) })}\n`);
  } else {
    const meant = fault.data?.["did_you_mean"];
    const isGuess = Array.isArray(meant) && meant.length > 0;
    const way = isGuess ? `Did you mean '${meant.map(String).join("' or '")}'?` : hint;
    io.stderr(`${oneLine(`${message}${cause}`)}\n${way === undefined ? "" : `${oneLine(way)}\n`}`);
  }
  return ERRORS[code].exit;
}
