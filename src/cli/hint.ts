/**
 * What to do next, in the words of the command line.
 *
 * Owns which command does what a hint of the API asks for. Invariant: a hint that names nothing of the API stays as it
 * is. A hint by the code of the error was rejected: one code has hints for several places.
 */

const WORDS: readonly (readonly [theirs: RegExp, ours: string])[] = [
  [/'?call_tool_(read|write|destructive)'?/g, "'mcpproxy call tool-$1'"],
  // In quotes it is what was meant by a name.
  [/(?<!')\bretrieve_tools\b/g, "'mcpproxy tools search'"],
  [/DELETE \/api\/v1\/tokens\/NAME\/permanent/g, "'mcpproxy token delete NAME'"],
  [/GET \/api\/v1\/servers\b/g, "'mcpproxy servers list'"],
  [/GET \/api\/v1\/tokens\b/g, "'mcpproxy token list'"],
  [/GET \/api\/v1\/activity\b/g, "'mcpproxy activity list'"],
  [/GET \/config\/history\b/g, "'mcpproxy config history'"],
];

/** Says a hint of the API to somebody at a shell. */
export function hintOfCommandLine(hint: string): string {
  return WORDS.reduce((text, [theirs, ours]) => text.replaceAll(theirs, ours), hint);
}
