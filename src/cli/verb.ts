/**
 * Where the verb of a command line stands.
 *
 * Owns which flags take the next word as their value, so far as they may stand before a verb. Invariant: a flag
 * and its value are never taken for a verb. Taking the first word was rejected: global flags stand
 * before the verb as well as after it.
 */

/** Global flags that have a value, as `command.ts` reads them. */
const FLAGS_WITH_VALUE: ReadonlySet<string> = new Set([
  "-c",
  "--config",
  "-d",
  "--data-dir",
  "--log-level",
  "-o",
  "--output",
]);

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
