/**
 * Generated tools for benches, queries that suit them, and stock Orama over them.
 *
 * Owns the words, which are few common ones and many rare ones as in a language, and the documents stock Orama is given.
 * Invariant: equal arguments make equal tools and queries.
 */
import { create, insertMultiple } from "@orama/orama";
import { toolTextOf } from "../../src/catalog/tool_text.ts";
import type { Tool } from "../../src/core/model.ts";

/** Tools of each server. */
export const SERVER_TOOLS = 30;
const VOCABULARY = 6_000;
const QUERIES = 64;

const VERBS = [
  "get",
  "list",
  "create",
  "delete",
  "update",
  "search",
  "send",
  "read",
  "write",
  "run",
  "export",
  "watch",
];
const NOUNS = [
  "file",
  "issue",
  "user",
  "message",
  "invoice",
  "table",
  "branch",
  "image",
  "event",
  "route",
  "ticket",
];
/** What stock Orama indexes. */
export const STOCK_SCHEMA = {
  name: "string",
  server: "string",
  description: "string",
  parameters: "string",
} as const;

/** Words of a language in which few are common and most are rare. */
function makeSource(seed: number): {
  readonly next: (below: number) => number;
  readonly words: (count: number) => string;
} {
  let state = seed;
  const next = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const word = (): string => `w${Math.floor(VOCABULARY ** (next(10_000) / 10_000)).toString(36)}x`;
  return { next, words: (count) => Array.from({ length: count }, word).join(" ") };
}

/** Makes tools, the first ones of `server-0`. */
export function makeTools(count: number): Tool[] {
  const source = makeSource(7);
  return Array.from({ length: count }, (_, at) => {
    const server = `server-${Math.floor(at / SERVER_TOOLS)}`;
    const noun = NOUNS[source.next(NOUNS.length)] ?? "";
    const name = `${VERBS[source.next(VERBS.length)]}_${noun}_${at % SERVER_TOOLS}`;
    const properties = Object.fromEntries(
      Array.from({ length: 1 + source.next(6) }, (__, p) => [
        `${NOUNS[source.next(NOUNS.length)]}_${p}`,
        { type: "string", description: source.words(10) },
      ]),
    );
    const description = `${name.replaceAll("_", " ")} ${source.words(25)}`;
    const definition = { name, description, inputSchema: { type: "object", properties } };
    return { id: `${server}:${name}`, server, name, fingerprint: String(at), definition };
  });
}

/** A tool as stock Orama is given it. */
export function stockDocument(tool: Tool): {
  id: string;
  name: string;
  server: string;
  description: string;
  parameters: string;
} {
  const text = toolTextOf(tool);
  const parameters = `${text.parameterNames} ${text.parameterDescriptions}`;
  return { id: tool.id, name: tool.name, server: tool.server, description: text.description, parameters };
}

/** Stock Orama with its defaults over tools. */
export async function openStock(tools: readonly Tool[]) {
  const stock = create({ schema: STOCK_SCHEMA });
  await insertMultiple(stock, tools.map(stockDocument));
  return stock;
}

/** Gives the same queries in the same order, over and over. */
export function makeQueries(): () => string {
  const source = makeSource(11);
  const queries = Array.from(
    { length: QUERIES },
    (_, at) => `${VERBS[at % VERBS.length]} the ${NOUNS[at % NOUNS.length]} with ${source.words(4)}`,
  );
  let turn = 0;
  return () => queries[(turn += 1) % queries.length] ?? "";
}
