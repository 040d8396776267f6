/**
 * Search quality on real tools and queries, where the data lies beside the repository; skipped elsewhere.
 *
 * The bars lie between the Go proxy's numbers and what was measured, so that noise does not break them and
 * a broken tokenizer, field or weight does. `CATALOG_QUALITY=1` prints the numbers.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";
import { SearchIndex } from "../../src/catalog/search.ts";
import type { JsonObject, Tool } from "../../src/core/model.ts";

const DATA = join(import.meta.dir, "../../../shared/retrieval/dev");
const hasData = existsSync(join(DATA, "corpus.jsonl"));

interface CorpusTool {
  readonly id: string;
  readonly server: string;
  readonly server_title: string;
  readonly tool: string;
  readonly description: string;
  readonly inputSchema: JsonObject;
  readonly source: string;
  readonly eq: string;
}

interface Query {
  readonly query: string;
  readonly gold: readonly { readonly ids: readonly string[]; readonly grade: number }[];
}

interface Quality {
  readonly r1: number;
  readonly r5: number;
  readonly r10: number;
  readonly ndcg: number;
}

function readLines<T>(name: string): T[] {
  const lines = readFileSync(join(DATA, `${name}.jsonl`), "utf8").split("\n");
  return lines.filter(Boolean).map((line) => JSON.parse(line) as T);
}

function toTool({ id, server, tool, description, inputSchema }: CorpusTool): Tool {
  return { id, server, name: tool, fingerprint: "", definition: { name: tool, description, inputSchema } };
}

async function measure(
  set: string,
  source?: string,
  spoil: (query: string) => string = (query) => query,
): Promise<Quality> {
  const corpus = readLines<CorpusTool>("corpus").filter(
    (tool) => source === undefined || tool.source === source,
  );
  const titles = new Map(corpus.map((tool) => [tool.server, tool.server_title]));
  const cluster = new Map(corpus.map((tool) => [tool.id, tool.eq]));
  const index = new SearchIndex({ titleOf: (server) => titles.get(server) });
  await index.build(corpus.map(toTool));
  const queries = readLines<Query>(set);
  const sums = { r1: 0, r5: 0, r10: 0, ndcg: 0 };
  for (const { query, gold } of queries) {
    const found = index.search({ query: spoil(query), limit: 50 }).hits.map((hit) => cluster.get(hit.id));
    const ranks = gold.map(({ ids }) => {
      const wanted = new Set(ids.map((id) => cluster.get(id) ?? id));
      const at = found.findIndex((id) => id !== undefined && wanted.has(id));
      return at < 0 ? Infinity : at + 1;
    });
    const recall = (depth: number): number => ranks.filter((rank) => rank <= depth).length / ranks.length;
    sums.r1 += recall(1);
    sums.r5 += recall(5);
    sums.r10 += recall(10);
    sums.ndcg += ndcgOf(
      ranks,
      gold.map(({ grade }) => grade),
    );
  }
  const [r1, r5, r10, ndcg] = [sums.r1, sums.r5, sums.r10, sums.ndcg].map((sum) => sum / queries.length);
  const quality = { r1: r1 ?? 0, r5: r5 ?? 0, r10: r10 ?? 0, ndcg: ndcg ?? 0 };
  if (Bun.env["CATALOG_QUALITY"]) console.log(set, source ?? "all", spoil.name, quality);
  return quality;
}

function ndcgOf(ranks: readonly number[], grades: readonly number[]): number {
  const gain = (grade: number, rank: number): number =>
    rank > 10 ? 0 : (2 ** grade - 1) / Math.log2(rank + 1);
  const found = ranks.reduce((sum, rank, at) => sum + gain(grades[at] ?? 0, rank), 0);
  const ideal = grades.toSorted((a, b) => b - a).reduce((sum, grade, at) => sum + gain(grade, at + 1), 0);
  return Math.min(1, found / ideal);
}

/** Swaps two letters in the middle of the longest word. */
function withTypo(query: string): string {
  const longest = query.split(/\W+/).toSorted((a, b) => b.length - a.length)[0] ?? "";
  if (longest.length < 5) return query;
  const at = longest.length >> 1;
  const spoilt = `${longest.slice(0, at - 1)}${longest[at]}${longest[at - 1]}${longest.slice(at + 1)}`;
  return query.replace(longest, spoilt);
}

test.skipIf(!hasData)("search quality on golden065 is clearly above the Go proxy's", async () => {
  const { r1, r5, ndcg } = await measure("golden065", "mcpproxy-go-065");
  expect(r1).toBeGreaterThan(0.52); // 0.418 there
  expect(r5).toBeGreaterThan(0.82); // 0.681 there
  expect(ndcg).toBeGreaterThan(0.74); // 0.609 there
});

test.skipIf(!hasData)("search quality on lmb_agent is clearly above the Go proxy's", async () => {
  const { r5, r10 } = await measure("lmb_agent", "livemcpbench");
  expect(r5).toBeGreaterThan(0.77); // 0.581 there
  expect(r10).toBeGreaterThan(0.85); // 0.685 there
});

test.skipIf(!hasData)("search quality over 10,000 tools is clearly above the Go proxy's", async () => {
  const { r5, r10 } = await measure("hw_dev");
  expect(r5).toBeGreaterThan(0.67); // 0.509 there
  expect(r10).toBeGreaterThan(0.78); // 0.579 there
});

test.skipIf(!hasData)("a typo in the query costs little", async () => {
  const clean = await measure("lmb_agent", "livemcpbench");
  const spoilt = await measure("lmb_agent", "livemcpbench", withTypo);
  expect(clean.r5 - spoilt.r5).toBeLessThanOrEqual(0.04); // 0.040 there
});
