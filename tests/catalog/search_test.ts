/**
 * The search index: equal to a naive scorer, the same ranking by every road, filters before the limit, bounds.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { SearchIndex } from "../../src/catalog/search.ts";
import type { SearchOptions } from "../../src/catalog/search.ts";
import { tokenize } from "../../src/catalog/tokenizer.ts";
import type { Tool } from "../../src/core/model.ts";
import { verifies } from "../requirements.ts";
import { makeTool } from "./fixtures.ts";

/** None of these has a synonym or a neighbour at one edit, so that the naive scorer can stay naive. */
const WORDS = ["zebra", "quokka", "walrus", "ibex", "numbat", "constructor", "__proto__", "搜索"] as const;

const someWords = fc.array(fc.constantFrom(...WORDS), { maxLength: 5 }).map((words) => words.join(" "));
const someTool = fc
  .record({
    server: fc.constantFrom("s1", "s2", "s3"),
    name: fc.array(fc.constantFrom("zebra", "quokka", "walrus", "ibex"), { minLength: 1, maxLength: 2 }),
    title: someWords,
    description: someWords,
    parameter: fc.constantFrom("numbat", "ibex"),
    about: someWords,
  })
  .map(({ server, name, title, description, parameter, about }) =>
    makeTool(`${server}:${name.join("_")}`, {
      title,
      description,
      properties: { [parameter]: { type: "string", description: about } },
    }),
  );

interface NaiveField {
  readonly words: readonly string[];
  readonly weight: number;
  readonly b: number;
  readonly usual: number;
}

function fieldsOf(tool: Tool): NaiveField[] {
  const properties = Object.entries(tool.definition.inputSchema["properties"] ?? {});
  const names = properties.map(([name]) => name).join(" ");
  const about = properties
    .map(([, schema]) => (schema as { description?: string }).description ?? "")
    .join(" ");
  const [joins, keeps] = [{ joinsIdentifiers: true }, { joinsIdentifiers: true, keepsStopWords: true }];
  return [
    { words: tokenize(tool.name, keeps), weight: 2, b: 0.4, usual: 3 },
    { words: tokenize(tool.definition.title ?? "", joins), weight: 1, b: 0.4, usual: 3 },
    { words: tokenize(tool.definition.description ?? "", joins), weight: 1, b: 0.65, usual: 16 },
    { words: tokenize(names, joins), weight: 0.7, b: 0.75, usual: 5 },
    { words: tokenize(about), weight: 0.5, b: 0.8, usual: 25 },
    { words: tokenize(tool.server, keeps), weight: 2, b: 0.4, usual: 2.5 },
  ];
}

/** BM25F as the paper has it, over all tools, from scratch. */
function naive(tools: readonly Tool[], query: string): { id: string; score: number }[] {
  const counts = new Map<string, number>();
  for (const word of tokenize(query, { joinsIdentifiers: true }))
    counts.set(word, (counts.get(word) ?? 0) + 1);
  const frequency = (tool: Tool, word: string): number =>
    fieldsOf(tool).reduce((sum, { words, weight, b, usual }) => {
      const times = words.filter((other) => other === word).length;
      return sum + (times * weight) / (1 - b + (b * words.length) / usual);
    }, 0);
  const weightOf = (word: string): number => {
    const holders = tools.filter((tool) => frequency(tool, word) > 0).length;
    return (
      (1 + Math.log(counts.get(word) ?? 1)) * Math.log(1 + (tools.length - holders + 0.5) / (holders + 0.5))
    );
  };
  const words = [...counts.keys()];
  const possible = words.reduce((sum, word) => sum + weightOf(word), 0);
  const found = tools.flatMap((tool) => {
    const matched = words.filter((word) => frequency(tool, word) > 0);
    if (matched.length === 0) return [];
    const raw = matched.reduce(
      (sum, word) => sum + (weightOf(word) * frequency(tool, word)) / (frequency(tool, word) + 1.2),
      0,
    );
    const coverage = matched.reduce((sum, word) => sum + weightOf(word), 0) / possible;
    const name = new Set(tokenize(tool.name, { joinsIdentifiers: true, keepsStopWords: true }));
    const named = [...name].filter((word) => counts.has(word)).length / name.size;
    return [{ id: tool.id, score: ((raw / possible) * coverage ** 0.3 * (1 + 0.15 * named)) / 1.15 }];
  });
  return found.toSorted((a, b) => b.score - a.score || (a.id < b.id ? -1 : 1));
}

function expectSame(index: SearchIndex, tools: readonly Tool[], query: string): void {
  const { hits, total } = index.search({ query, limit: 100 });
  const wanted = naive(tools, query);
  expect(total).toBe(wanted.length);
  const scores = new Map(wanted.map((hit) => [hit.id, hit.score]));
  // Weights are kept as 32-bit floats: equal means to six digits.
  for (const hit of hits) expect(Math.abs(hit.score - (scores.get(hit.id) ?? NaN))).toBeLessThan(1e-6);
  for (const [at, hit] of hits.entries()) {
    const next = hits[at + 1];
    if (next === undefined) continue;
    expect(hit.score > next.score || (hit.score === next.score && hit.id < next.id)).toBe(true);
  }
}

test("SearchIndex equals a naive scorer after random additions, updates and removals", () => {
  const step = fc.oneof(
    fc.array(someTool, { maxLength: 6 }).map((tools) => ({ tools, removed: [] as number[] })),
    fc.array(fc.nat(20), { maxLength: 4 }).map((removed) => ({ tools: [] as Tool[], removed })),
  );
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 12 }),
      fc.array(fc.constantFrom(...WORDS), { minLength: 1, maxLength: 4 }),
      (steps, query) => {
        const index = new SearchIndex();
        const tools = new Map<string, Tool>();
        for (const { tools: added, removed } of steps) {
          const ids = [...tools.keys()].filter((_, at) => removed.includes(at));
          for (const id of ids) tools.delete(id);
          for (const tool of added) tools.set(tool.id, tool);
          index.update({ tools: added, removed: ids });
          expect(index.size).toBe(tools.size);
          expectSame(index, [...tools.values()], query.join(" "));
        }
      },
    ),
    { numRuns: 150 },
  );
});

test("SearchIndex ranks the same whatever the order of additions and whatever came and went", () => {
  const tools = fc.uniqueArray(someTool, { selector: (tool) => tool.id, minLength: 2, maxLength: 15 });
  fc.assert(
    fc.property(tools, fc.array(someTool, { maxLength: 10 }), someWords, (kept, passing, query) => {
      const first = new SearchIndex();
      first.update({ tools: kept });
      const second = new SearchIndex();
      second.update({ tools: passing });
      second.update({ tools: kept.toReversed() });
      const ids = new Set(kept.map((tool) => tool.id));
      second.update({ removed: passing.map((tool) => tool.id).filter((id) => !ids.has(id)) });
      expect(second.search({ query, limit: 50 }).hits).toEqual(first.search({ query, limit: 50 }).hits);
      expect(second.vocabulary).toBe(first.vocabulary);
    }),
  );
});

test("SearchIndex.search() filters before the limit, so that the limit is filled", () => {
  const tools = Array.from({ length: 200 }, (_, at) =>
    makeTool(`${at % 10 === 0 ? "wanted" : "other"}:zebra_${at}`, {
      description: at % 10 === 0 ? "a zebra" : "zebra",
    }),
  );
  const index = new SearchIndex();
  index.update({ tools });
  const narrowed: Partial<SearchOptions>[] = [
    { servers: new Set(["wanted"]) },
    { filter: (tool) => tool.server === "wanted" },
    { filter: (tool) => tool.server === "wanted", servers: new Set(["wanted", "other"]) },
  ];
  for (const options of narrowed) {
    const { hits, total } = index.search({ query: "zebra", limit: 15, ...options });
    expect(hits).toHaveLength(15);
    expect(total).toBe(20);
    expect(hits.every((hit) => hit.id.startsWith("wanted:"))).toBe(true);
  }
  expect(index.search({ query: "zebra", servers: new Set() }).hits).toEqual([]);
});

test("SearchIndex.search() returns the best of all for every limit", () => {
  fc.assert(
    fc.property(fc.array(someTool, { maxLength: 30 }), someWords, fc.nat(40), (tools, query, limit) => {
      const index = new SearchIndex();
      index.update({ tools });
      const all = index.search({ query, limit: 1_000 });
      expect(index.search({ query, limit }).hits).toEqual(all.hits.slice(0, limit));
      const minScore = all.hits[Math.floor(all.hits.length / 2)]?.score ?? 0;
      expect(index.search({ query, minScore, limit: 1_000 }).hits).toEqual(
        all.hits.filter((hit) => hit.score >= minScore),
      );
    }),
  );
});

test("SearchIndex.search() finds tools by parts of names, forms of words, synonyms and with a typo", () => {
  const index = new SearchIndex({ titleOf: (server) => (server === "gh" ? "GitHub" : undefined) });
  const tools = [
    makeTool("gh:createPullRequest", { description: "Opens a pull request" }),
    makeTool("fs:read_file", {
      description: "Reads a file from disk",
      properties: { maxBytes: { type: "integer", description: "Truncation limit" } },
    }),
    makeTool("db:run-sql.query", { description: "Executes statements" }),
    makeTool("misc:do_it", { description: "搜索文件" }),
  ];
  index.update({ tools });
  const first = (query: string): string | undefined => index.search({ query }).hits[0]?.id;
  expect(first("pull request")).toBe("gh:createPullRequest");
  expect(first("createpullrequest")).toBe("gh:createPullRequest");
  expect(first("github")).toBe("gh:createPullRequest");
  expect(first("reading files")).toBe("fs:read_file");
  expect(first("fetch document")).toBe("fs:read_file");
  expect(first("truncation")).toBe("fs:read_file");
  expect(first("bytes")).toBe("fs:read_file");
  expect(first("statemnets")).toBe("db:run-sql.query");
  expect(first("文件")).toBe("misc:do_it");
  expect(first("do it")).toBe("misc:do_it");
});

test.each(["", "   ", "?!\"'()[]{}*:^~\\", "🦊", "\u0000\ud800", "-", '"'])(
  "SearchIndex.search() finds nothing for %j and does not throw",
  (query) => {
    const index = new SearchIndex();
    index.update({ tools: [makeTool("s:zebra")] });
    expect(index.search({ query })).toMatchObject({ hits: [], total: 0 });
  },
);

test("SearchIndex.search() bounds hostile queries and limits", () => {
  const index = new SearchIndex();
  index.update({ tools: Array.from({ length: 300 }, (_, at) => makeTool(`s:zebra_${at}`)) });
  const long = Array.from({ length: 5_000 }, (_, at) => `word${at}`).join(" ");
  expect(index.search({ query: long }).tookMs).toBeLessThan(250);
  expect(index.search({ query: `zebra ${"x".repeat(10_000)}` }).hits).toHaveLength(15);
  for (const limit of [0, -1, NaN]) expect(index.search({ query: "zebra", limit }).hits).toEqual([]);
  expect(index.search({ query: "zebra", limit: Infinity }).total).toBe(300);
});

test("SearchIndex.build() lets the event loop turn, and what update() says meanwhile wins", async () => {
  const old = Array.from({ length: 3_000 }, (_, at) =>
    makeTool(`s:tool_${at}`, { description: `zebra number ${at} `.repeat(20) }),
  );
  const index = new SearchIndex();
  let turns = 0;
  const timer = setInterval(() => (turns += 1), 0);
  const built = index.build(old);
  index.update({ tools: [makeTool("s:tool_2999", { description: "quokka" })], removed: ["s:tool_2998"] });
  await built;
  clearInterval(timer);
  expect(turns).toBeGreaterThan(1);
  expect(index.size).toBe(2_999);
  expect(index.search({ query: "quokka" }).hits.map((hit) => hit.id)).toEqual(["s:tool_2999"]);
  expect(index.search({ query: "zebra" }).total).toBe(2_998);
});

test("SearchIndex.build() stops when its signal aborts", async () => {
  const index = new SearchIndex();
  const stopped = index.build([makeTool("s:a")], AbortSignal.abort(new Error("stop")));
  expect(stopped).rejects.toThrow("stop");
  await stopped.catch(() => undefined);
  expect(index.size).toBe(0);
});

test("SearchIndex survives the same server going and coming with ever new names", () => {
  const index = new SearchIndex();
  for (let round = 0; round < 200; round += 1) {
    const tools = Array.from({ length: 10 }, (_, at) =>
      makeTool(`s:tool_${round}_${at}`, { description: `round${round}` }),
    );
    index.update({ tools });
    expect(index.search({ query: `round${round}` }).total).toBe(10);
    index.update({ removed: tools.map((tool) => tool.id) });
  }
  expect([index.size, index.vocabulary]).toEqual([0, 0]);
});

test("SearchIndex.explain() takes apart the score that a search gives, of words, synonyms and typos alike", () => {
  verifies("EXPLAIN-WHY");
  const word = fc.constantFrom(
    "delete",
    "remove",
    "erase",
    "update",
    "edit",
    "zebra",
    "zebras",
    "walrus",
    "the",
  );
  const text = fc.array(word, { minLength: 1, maxLength: 6 });
  const query = fc.array(fc.oneof(word, fc.constantFrom("zebar", "walruz", "deleet")), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 12 }), query, (texts, words) => {
      const index = new SearchIndex();
      const tools = texts.map(([name, description], at) =>
        makeTool(`s:${name.join("_")}_${at}`, { description: description.join(" ") }),
      );
      index.update({ tools });
      const asked = { query: words.join(" "), limit: 3 };
      const { hits, total } = index.search({ ...asked, limit: 100 });
      const ranks = new Map(hits.map(({ id }, at) => [id, at + 1]));
      for (const { id } of tools) {
        const explained = index.explain(id, asked);
        const score = hits.find((hit) => hit.id === id)?.score;
        expect({ rank: explained?.rank, total: explained?.total }).toEqual({ rank: ranks.get(id), total });
        if (score !== undefined) expect(explained?.score).toBeCloseTo(score, 12);
        if (hits.length > 0)
          expect(explained?.threshold).toBe(hits[Math.min(3, hits.length) - 1]?.score as number);
      }
      expect(index.explain("s:nothing", asked)).toBeUndefined();
    }),
  );
});
