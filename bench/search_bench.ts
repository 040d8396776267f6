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
import type { Tool } from "../src/core/model.ts";
import {
  makeQueries,
  makeTools,
  openStock,
  SERVER_TOOLS,
  STOCK_SCHEMA,
  stockDocument,
} from "./sizes/tools.ts";

const SIZES = [1_000, 10_000] as const;
const MAX_RATIO = 0.5;
const MS_PER_NS = 1e-6;

interface Figure {
  readonly name: string;
  readonly tools: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly baselineP50Ms: number;
  readonly ratio: number;
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
  const stock = await openStock(tools);
  const server = tools.slice(0, SERVER_TOOLS);
  const query = makeQueries();
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
