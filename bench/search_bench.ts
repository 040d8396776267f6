/**
 * How dear is search: building the index, replacing one server of 30 tools, and a query?
 *
 * At 1,000 and 10,000 generated tools; baseline in the same run: stock Orama with its defaults, and for
 * queries a linear scan. Held as ratios to stock Orama: build ≤ 0.5, update ≤ 0.5, query ≤ 0.5.
 * Run alone: `bun bench/search_bench.ts`; `--json FILE` writes the figures; exits 1 past a budget.
 */
import { create, insertMultiple, remove, search, insert } from "@orama/orama";
import { measure } from "mitata";
import { SearchIndex } from "../src/catalog/search.ts";
import { tokenize } from "../src/catalog/tokenizer.ts";
import { toolTextOf } from "../src/catalog/tool_text.ts";
import type { Tool } from "../src/core/model.ts";

const SIZES = [1_000, 10_000] as const;
const SERVER_TOOLS = 30;
const MAX_RATIO = 0.5;
const VOCABULARY = 6_000;
const MS_PER_NS = 1e-6;

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
const STOCK_SCHEMA = {
  name: "string",
  server: "string",
  description: "string",
  parameters: "string",
} as const;

interface Figure {
  readonly name: string;
  readonly tools: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly baselineP50Ms: number;
  readonly ratio: number;
}

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

function makeTools(count: number): Tool[] {
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

function stockDocument(tool: Tool): {
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

function scan(tools: readonly Tool[], query: string): number {
  const words = tokenize(query);
  let found = 0;
  for (const tool of tools) {
    const text = `${tool.name} ${tool.definition.description ?? ""}`.toLowerCase();
    if (words.some((word) => text.includes(word))) found += 1;
  }
  return found;
}

async function compare(
  name: string,
  tools: number,
  ours: () => unknown,
  baseline: () => unknown,
): Promise<Figure> {
  const options = { min_samples: 5, min_cpu_time: 200 / MS_PER_NS };
  const [mine, theirs] = [await measure(ours, options), await measure(baseline, options)];
  const [p50Ms, p99Ms] = [mine.p50 * MS_PER_NS, mine.p99 * MS_PER_NS];
  const baselineP50Ms = theirs.p50 * MS_PER_NS;
  return { name, tools, p50Ms, p99Ms, baselineP50Ms, ratio: p50Ms / baselineP50Ms };
}

async function run(size: number): Promise<Figure[]> {
  const tools = makeTools(size);
  const documents = tools.map(stockDocument);
  const index = new SearchIndex();
  await index.build(tools);
  const stock = create({ schema: STOCK_SCHEMA });
  await insertMultiple(stock, documents);
  const server = tools.slice(0, SERVER_TOOLS);
  const source = makeSource(11);
  const queries = Array.from(
    { length: 64 },
    (_, at) => `${VERBS[at % VERBS.length]} the ${NOUNS[at % NOUNS.length]} with ${source.words(4)}`,
  );
  let turn = 0;
  const query = (): string => queries[(turn += 1) % queries.length] ?? "";
  return [
    await compare(
      "build",
      size,
      () => new SearchIndex().build(tools),
      () => insertMultiple(create({ schema: STOCK_SCHEMA }), documents),
    ),
    await compare(
      "update of 30",
      size,
      () => {
        index.update({ removed: server.map((tool) => tool.id) });
        index.update({ tools: server });
      },
      async () => {
        for (const tool of server) await remove(stock, tool.id);
        for (const document of documents.slice(0, SERVER_TOOLS)) await insert(stock, document);
      },
    ),
    await compare(
      "query",
      size,
      () => index.search({ query: query() }),
      () => search(stock, { term: query(), limit: 15 }),
    ),
    await compare(
      "query, against a scan",
      size,
      () => index.search({ query: query() }),
      () => scan(tools, query()),
    ),
  ];
}

const figures: Figure[] = [];
for (const size of SIZES) figures.push(...(await run(size)));
console.table(
  figures.map(({ name, tools, ...times }) => ({
    name,
    tools,
    ...Object.fromEntries(Object.entries(times).map(([key, value]) => [key, value.toFixed(2)])),
  })),
);
const at = Bun.argv.indexOf("--json");
const file = at < 0 ? undefined : Bun.argv[at + 1];
if (file !== undefined) await Bun.write(file, `${JSON.stringify(figures, null, 2)}\n`);
const past = figures.filter((figure) => !figure.name.includes("scan") && figure.ratio > MAX_RATIO);
for (const { name, tools, ratio } of past)
  console.error(`Past its budget: ${name} at ${tools} tools, ${ratio.toFixed(2)} of stock Orama`);
process.exitCode = past.length > 0 ? 1 : 0;
