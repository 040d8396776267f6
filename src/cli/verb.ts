/**
 * What is known of a command line before its command is: where the verb stands, and in which format it answers.
 *
 * Owns which flags take the next word as their value, so far as they may stand before a verb. Invariants: a flag
 * and its value are never taken for a verb; a command line that nobody could read has its error in the format it asks
 * for. Taking the first word was rejected: global flags stand before the verb as well as after it.
 */
import type { OutputFormat } from "./output.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Global flags that have a value, as `command.ts` reads them. */
const FLAGS_WITH_VALUE: ReadonlySet<string> = new Set([
  "-c",
  "--config",
  "-d",
  "--data-dir",
  "-l",
  "--log-level",
  "--url",
  "-o",
  "--output",
]);

/** The name `MCPPROXY_OUTPUT` goes by among the flags of a command; any other one wins. */
export const DEFAULT_OUTPUT = "default-output";
/** What a format is called. */
export const FORMATS: Readonly<Record<string, OutputFormat>> = {
  table: "table",
  pretty: "table",
  json: "json",
  yaml: "yaml",
};

/** A command line with its first verb taken out. */
export interface TakenVerb {
  readonly verb: string | undefined;
  /** All other words, in order. */
  readonly rest: readonly string[];
}

/** Takes out the first word that is neither a global flag nor its value. */
export function takeVerb(args: readonly string[]): TakenVerb {
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at] ?? "";
    if (word === "--") break;
    if (FLAGS_WITH_VALUE.has(word)) at += 1;
    else if (!word.startsWith("-")) return { verb: word, rest: args.toSpliced(at, 1) };
  }
  return { verb: undefined, rest: args };
}

/**
 * The words to put before those of a command, so that what the environment says of flags counts less than they do.
 */
export function defaultFlags(env: Environment): readonly string[] {
  const output = env["MCPPROXY_OUTPUT"];
  return output === undefined || output === "" ? [] : [`--${DEFAULT_OUTPUT}=${output}`];
}

/** The format a command line asks for, when it could not be read as a whole. */
export function formatOf(argv: readonly string[], env: Environment): OutputFormat {
  const ours = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  if (ours.includes("--json")) return "json";
  const given = ours.flatMap((word, at) => {
    if (word === "-o" || word === "--output") return [ours[at + 1] ?? ""];
    const joined = /^(?:--output=|-o=?)(.+)$/.exec(word)?.[1];
    return joined === undefined ? [] : [joined];
  });
  return FORMATS[given.at(-1) ?? env["MCPPROXY_OUTPUT"] ?? ""] ?? "table";
}
