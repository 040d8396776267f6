/**
 * Help: the table of commands as text, and as what reads flags.
 *
 * Owns the form of help, which command a line of words means, and what is said of one there is not. Invariants: no line
 * is wider than 80 columns by itself; what help shows of our own commands is what they read. Help made by each command
 * was rejected: it would differ from what completion offers.
 */
import { ProxyError } from "../core/errors.ts";
import { VERSION } from "../core/version.ts";
import { nearestWord } from "../lib/nearest.ts";
import { wrapText } from "../lib/wrap.ts";
import { readCommand } from "./command.ts";
import type { CommandIo, CommandOptions, ReadCommand } from "./command.ts";
import { COMMANDS, GLOBAL_FLAGS, NOUNS } from "./commands.ts";
import type { CommandRow } from "./commands.ts";
import { takeVerb } from "./verb.ts";

const MANY = 10_000;
const WIDTH = 80;
/** Help for a narrower terminal is that of this one. */
const MIN_WIDTH = 50;
/** The widest left column. */
const MAX_LEFT = 28;

/** A flag as the table has it. */
export interface FlagRow {
  /** Without its dashes. */
  readonly name: string;
  readonly short: string | undefined;
  /** What stands for its value; undefined when it takes none. */
  readonly value: string | undefined;
  /** Whether it may be given several times. */
  readonly isMany: boolean;
  readonly text: string;
}

/** Reads a flag of the table. */
export function readFlag(line: string): FlagRow {
  const [left = "", text = ""] = line.split(" | ");
  const found = /^(?:-(\w), )?--([\w-]+)(?: ([^…]+)(…)?)?$/.exec(left);
  if (found === null || text === "") throw new Error(`The table of commands has no flag '${line}'`);
  const [, short, name = "", value, many] = found;
  return { name, short, value, isMany: many !== undefined, text };
}

/** The flags of a command as its reader takes them. */
function optionsOf(row: CommandRow): CommandOptions {
  const flags = (row.flags ?? []).map(readFlag);
  return Object.fromEntries(
    flags.map(({ name, short, value, isMany }) => [
      name,
      {
        type: value === undefined ? ("boolean" as const) : ("string" as const),
        ...(short === undefined ? {} : { short }),
        ...(isMany ? { multiple: true } : {}),
      },
    ]),
  );
}

/**
 * Reads the words behind a command of the table.
 *
 * @throws {ProxyError} `USAGE` for an unknown flag, or too few or too many words.
 */
export function readWords(command: string, args: readonly string[]): ReadCommand {
  const row = COMMANDS[command] ?? { summary: "", examples: [] };
  const usage = usageOf(command, row);
  // What stands behind `--` is none of ours.
  const ours = (row.words ?? "").replace(/\[?-- .*/, "");
  const words = ours.split(" ").filter((word) => word !== "" && word !== "|");
  const isMany = words.some((word) => word.includes("…"));
  const read = readCommand(args, {
    usage,
    options: optionsOf(row),
    maxPositionals: isMany ? MANY : words.length,
  });
  const missing = words.filter((word) => !word.startsWith("["))[read.positionals.length];
  if (missing === undefined || words.includes("JSON")) return read;
  throw new ProxyError("USAGE", `Cannot run '${command}': ${missing.replace("…", "")} is missing`, {
    hint: `Usage: ${usage}`,
  });
}

/** How a command is written. */
export function usageOf(command: string, row: CommandRow | undefined = COMMANDS[command]): string {
  const words = row?.words === undefined ? "" : ` ${row.words}`;
  return `mcpproxy ${command}${words}${(row?.flags ?? []).length > 0 ? " [FLAGS]" : ""}`;
}

/** A verb of a noun. */
export type Verb = (args: readonly string[], io: CommandIo) => Promise<number>;

/**
 * Runs the verb a line of words names.
 *
 * @throws {ProxyError} `USAGE` when it names none.
 */
export function runVerb(
  noun: string,
  {
    verbs,
    args,
    io,
  }: {
    readonly verbs: Readonly<Record<string, Verb>>;
    readonly args: readonly string[];
    readonly io: CommandIo;
  },
): Promise<number> {
  const { verb, rest } = takeVerb(args);
  if (verb !== undefined && Object.hasOwn(verbs, verb)) return verbs[verb]?.(rest, io) ?? Promise.resolve(0);
  throw unknownCommand(verb === undefined ? [noun] : [noun, verb]);
}

/** Says that there is no such command, and which one may have been meant. */
export function unknownCommand(words: readonly string[]): ProxyError {
  const [noun, verb] = words;
  const verbs = noun === undefined ? [] : verbsOf(noun);
  if (noun !== undefined && verb === undefined && verbs.length > 0) {
    const usage = `mcpproxy ${noun} ${verbs.join("|")}`;
    return new ProxyError("USAGE", `Name what to do with ${noun}`, { hint: `Usage: ${usage}` });
  }
  if (noun === undefined) {
    return new ProxyError("USAGE", "Name a command", { hint: "See 'mcpproxy --help'" });
  }
  // Of two that are as near it is the one with more to do: 'server' is 'servers', not 'serve'.
  const busiest = nouns().toSorted((a, b) => verbsOf(b).length - verbsOf(a).length);
  const known = verb === undefined ? busiest : verbs;
  const near = nearestWord(verb ?? noun, known);
  const meant = near === undefined ? undefined : verb === undefined ? near : `${noun} ${near}`;
  const help = verb === undefined ? "mcpproxy --help" : `mcpproxy ${noun} --help`;
  return new ProxyError("USAGE", `Cannot run '${words.join(" ")}': no such command`, {
    hint: meant === undefined ? `See '${help}'` : `Did you mean '${meant}'? See '${help}'`,
  });
}

/** The names of nouns and of commands without verbs. */
export function nouns(): readonly string[] {
  return Object.keys(NOUNS);
}

/** The verbs of a noun; none for a command without. */
export function verbsOf(noun: string): readonly string[] {
  const start = `${noun} `;
  return Object.keys(COMMANDS)
    .filter((command) => command.startsWith(start))
    .map((command) => command.slice(start.length));
}

/**
 * Help on what a line of words is about, for so many columns and at most 80; flags in it do not count.
 *
 * @throws {ProxyError} `USAGE` when there is no such command.
 */
export function helpFor(words: readonly string[], columns: number = WIDTH): string {
  const width = Math.min(WIDTH, Math.max(MIN_WIDTH, columns));
  const { verb: noun, rest } = takeVerb(words);
  if (noun === undefined) return overview(width);
  const verbs = verbsOf(noun);
  if (verbs.length === 0) {
    const row = COMMANDS[noun];
    if (row === undefined) throw unknownCommand([noun]);
    return commandHelp(noun, { row, width });
  }
  const { verb } = takeVerb(rest);
  if (verb === undefined) return nounHelp(noun, { verbs, width });
  const row = COMMANDS[`${noun} ${verb}`];
  if (row === undefined) throw unknownCommand([noun, verb]);
  return commandHelp(`${noun} ${verb}`, { row, width });
}

function overview(width: number): string {
  const headings = [...new Set(Object.values(NOUNS).map(({ heading }) => heading))];
  const left = Math.max(...nouns().map((noun) => noun.length));
  const parts = headings.map((heading) => {
    const rows = Object.entries(NOUNS).filter(([, row]) => row.heading === heading);
    const cells = rows.map(([noun, { summary }]) => [noun.padEnd(left), summary] as const);
    return `${heading}\n${inColumns(cells, width)}`;
  });
  const codes =
    "Exit codes: 0 ok, 1 failure, 2 usage, 3 not reachable, 4 configuration; of 'tools preflight' also 10 degraded, 11 blocked, 12 unknown id";
  return [
    paragraph(`mcpproxy ${VERSION}: one endpoint for many MCP servers`, width),
    "Usage: mcpproxy COMMAND [FLAGS]\n       mcpproxy COMMAND --help\n",
    ...parts,
    `Flags of every command\n${flagLines(GLOBAL_FLAGS, width)}`,
    paragraph(codes, width),
  ].join("\n");
}

function nounHelp(
  noun: string,
  { verbs, width }: { readonly verbs: readonly string[]; readonly width: number },
): string {
  const rows = verbs.map((verb) => [verb, COMMANDS[`${noun} ${verb}`]?.summary ?? ""] as const);
  return [
    paragraph(`mcpproxy ${noun}: ${NOUNS[noun]?.summary ?? ""}`, width),
    `Usage: mcpproxy ${noun} VERB [FLAGS]\n`,
    inColumns(rows, width),
    paragraph(`See 'mcpproxy ${noun} VERB --help' for the flags of a verb`, width),
  ].join("\n");
}

function commandHelp(
  command: string,
  { row, width }: { readonly row: CommandRow; readonly width: number },
): string {
  const { summary, flags = [], examples, note } = row;
  const globals = "Flags of every command: -c FILE, -d DIR, --url URL, --log-level LEVEL, --json, -o FORMAT";
  return [
    paragraph(`mcpproxy ${command}: ${summary}`, width),
    paragraph(`Usage: ${usageOf(command, row)}`, width),
    ...(note === undefined ? [] : [paragraph(note, width)]),
    ...(flags.length > 0 ? [`Flags\n${flagLines(flags, width)}`] : []),
    paragraph(globals, width),
    `${examples.length > 1 ? "Examples" : "Example"}\n${examples.map((line) => `  mcpproxy ${line}\n`).join("")}`,
  ].join("\n");
}

function paragraph(text: string, width: number): string {
  return `${wrapText(text, width).join("\n")}\n`;
}

function flagLines(lines: readonly string[], width: number): string {
  const rows = lines.map(readFlag).map(({ name, short, value, isMany, text }) => {
    const head = short === undefined ? "    " : `-${short}, `;
    const tail = value === undefined ? "" : ` ${value}${isMany ? "…" : ""}`;
    return [`${head}--${name}${tail}`, text] as const;
  });
  return inColumns(rows, width);
}

/** Two columns; a left side that is much longer than the others gets a line of its own. */
function inColumns(rows: readonly (readonly [left: string, text: string])[], width: number): string {
  const column = Math.min(MAX_LEFT, Math.max(...rows.map(([left]) => left.length)));
  const indent = " ".repeat(column + 4);
  const lines = rows.flatMap(([left, text]) => {
    const [first = "", ...more] = wrapText(text, width - indent.length);
    const head =
      left.length > column ? [`  ${left}`, `${indent}${first}`] : [`  ${left.padEnd(column)}  ${first}`];
    return [...head, ...more.map((line) => `${indent}${line}`)];
  });
  return lines.map((line) => `${line}\n`).join("");
}
