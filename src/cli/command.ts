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
import { hintOfCommandLine } from "./hint.ts";
import { dataText, textOf } from "./output.ts";
import type { OutputFormat } from "./output.ts";
import { DEFAULT_OUTPUT, FORMATS } from "./verb.ts";

/** The process as a command sees it. */
export interface CommandIo {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly home: string;
  /** Columns of the terminal stdout is; undefined when it is none. @default undefined */
  readonly columns?: number | undefined;
  /** The terminal stdout is. @default undefined: it is none */
  readonly terminal?: Terminal | undefined;
  /** Called when the process is told to end; without it the process ends by itself. */
  readonly onSignal?: (listener: () => void) => void;
  /** Asks the person at the terminal for a line. @default undefined: nobody is there to ask */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
}

/** A terminal that pictures can be drawn on. */
export interface Terminal {
  readonly size: () => { readonly columns: number; readonly rows: number };
  readonly onResize: (listener: () => void) => void;
  /** Called when the process goes on after it was suspended. */
  readonly onContinue?: (listener: () => void) => void;
}

/** Flags every command takes. */
export interface GlobalFlags {
  readonly config: string | undefined;
  readonly dataDir: string | undefined;
  readonly logLevel: string | undefined;
  /** The proxy to speak to, instead of the one of the data dir. */
  readonly url: string | undefined;
  readonly format: OutputFormat;
  /** Whether what is printed is for programs, JSON or YAML. */
  readonly isJson: boolean;
}

const GLOBAL_OPTIONS = {
  config: { type: "string", short: "c" },
  "data-dir": { type: "string", short: "d" },
  "log-level": { type: "string", short: "l" },
  url: { type: "string" },
  output: { type: "string", short: "o" },
  json: { type: "boolean" },
  [DEFAULT_OUTPUT]: { type: "string" },
} as const satisfies ParseArgsConfig["options"];

const LOG_LEVELS: readonly string[] = ["trace", "debug", "info", "warn", "error"];

/** A command line that was read. */
export interface ReadCommand {
  readonly flags: GlobalFlags;
  readonly positionals: readonly string[];
  /** Values of the command's own options. */
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  /** Values of those that may be repeated, in order; empty when not given. */
  readonly lists: Readonly<Record<string, readonly string[] | undefined>>;
}

/** The options a command takes beside the global ones. */
export type CommandOptions = Readonly<
  Record<
    string,
    {
      readonly type: "string" | "boolean";
      readonly short?: string;
      /** Whether it may be repeated; its values are in `lists`. */
      readonly multiple?: boolean;
    }
  >
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
      options: { ...withoutShorts(GLOBAL_OPTIONS, options), ...options },
      allowPositionals: true,
    });
    if (positionals.length > maxPositionals)
      throw new Error(`Unexpected argument '${positionals[maxPositionals]}'`);
    const own: Record<string, string | boolean | undefined> = {};
    const lists: Record<string, readonly string[] | undefined> = {};
    for (const [name, value] of Object.entries(values)) {
      if (Array.isArray(value)) lists[name] = value.map(String);
      else own[name] = value;
    }
    // A command may take `--output` for itself: then it names a file.
    const { json, output = own[DEFAULT_OUTPUT] } = Object.hasOwn(options, "output")
      ? { json: own["json"] }
      : own;
    const format = readFormat({ isJson: json === true, output: textFlag(output) });
    return {
      positionals,
      values: own,
      lists,
      flags: {
        config: textFlag(own["config"]),
        dataDir: textFlag(own["data-dir"]),
        logLevel: readLevel(textFlag(own["log-level"])),
        url: textFlag(own["url"]),
        format,
        isJson: format !== "table",
      },
    };
  } catch (error) {
    const message = messageOf(error).split(". To specify")[0] ?? "";
    throw new ProxyError("USAGE", message, { cause: error, hint: `Usage: ${usage}` });
  }
}

function readFormat(given: { readonly isJson: boolean; readonly output: string | undefined }): OutputFormat {
  if (given.isJson) return "json";
  const format = FORMATS[given.output ?? "table"];
  if (format === undefined)
    throw new Error(`Cannot print as '${given.output}': use 'table', 'json' or 'yaml'`);
  return format;
}

function readLevel(level: string | undefined): string | undefined {
  if (level === undefined || LOG_LEVELS.includes(level)) return level;
  throw new Error(`Cannot use --log-level '${level}': use '${LOG_LEVELS.join("', '")}'`);
}

/** A letter the command takes for itself is not the global flag's. */
function withoutShorts(globals: CommandOptions, options: CommandOptions): CommandOptions {
  const taken = new Set(Object.values(options).map(({ short }) => short));
  return Object.fromEntries(
    Object.entries(globals).map(([name, { type, short }]) => [
      name,
      short === undefined || taken.has(short) ? { type } : { type, short },
    ]),
  );
}

/** Reads an option's value as text. */
export function textFlag(value: string | boolean | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/**
 * Asks a person whether to go on with what cannot be taken back; `what` is as in `remove server 'x'`.
 *
 * @throws {ProxyError} `USAGE` when nobody said yes on the command line, and nobody is at a terminal to be asked.
 */
export async function confirm(
  what: string,
  {
    isSure,
    flag = "--yes",
    io,
  }: { readonly isSure: boolean; readonly flag?: string; readonly io: CommandIo },
): Promise<boolean> {
  if (isSure) return true;
  if (io.ask === undefined) {
    throw new ProxyError("USAGE", `Cannot ${what} without asking, and there is no terminal to ask at`, {
      hint: `Add ${flag} to do it without asking`,
    });
  }
  const answer = await io.ask(`${oneLine(what[0]?.toUpperCase() + what.slice(1))}? [y/N] `);
  if (/^y(?:es)?$/i.test(answer.trim())) return true;
  io.stderr("Nothing was changed\n");
  return false;
}

/** Tells of an error and returns the exit code it means. */
export function printFailure(
  error: unknown,
  io: Pick<CommandIo, "stdout" | "stderr">,
  format: OutputFormat | boolean = "table",
): number {
  const fault = toProxyError(error);
  const { code, message, hint, data } = fault;
  const own = hint === undefined ? undefined : hintOfCommandLine(hint);
  const { request_id: requestId, ...details } = data ?? {};
  if (format !== "table" && format !== false) {
    const body = {
      success: false,
      error: message,
      code,
      ...(own ? { hint: own } : {}),
      ...(requestId === undefined ? {} : { request_id: requestId }),
      ...(Object.keys(details).length > 0 ? { details } : {}),
    };
    io.stdout(format === "yaml" ? dataText(body, "yaml") : `${JSON.stringify(body)}\n`);
    return ERRORS[code].exit;
  }
  const isOwn = code === "INTERNAL" && error instanceof Error && !(error instanceof ProxyError);
  const cause = isOwn ? ` (${messageOf(error)})` : "";
  const meant = details["did_you_mean"];
  const isGuess = Array.isArray(meant) && meant.length > 0;
  const way = isGuess ? `Did you mean '${meant.map(String).join("' or '")}'?` : own;
  const lines = [
    `${message}${cause}`,
    ...(way === undefined ? [] : [way]),
    ...(code === "INTERNAL" && requestId !== undefined ? [`Request id: ${textOf(requestId)}`] : []),
  ];
  io.stderr(lines.map((line) => `${oneLine(line)}\n`).join(""));
  return ERRORS[code].exit;
}
