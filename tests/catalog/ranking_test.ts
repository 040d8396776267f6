/**
 * Synonyms, typos, ties and bounds of the ranking, with words staged by hand.
 */
import { expect, test } from "bun:test";
import { Ranking } from "../../src/catalog/ranking.ts";
import { allSynonyms } from "../../src/catalog/synonyms.ts";

const OPTIONS = { limit: 10, accepts: () => true, compare: (a: number, b: number) => a - b };

function makeRanking(documents: Readonly<Record<number, string>>, synonyms?: Map<string, string[]>): Ranking {
  const ranking = new Ranking(synonyms);
  for (const [document, words] of Object.entries(documents)) {
    ranking.stage("description", words.split(" "));
    ranking.commit(Number(document));
  }
  return ranking;
}

function found(ranking: Ranking, query: string): number[] {
  return ranking.search(query.split(" "), OPTIONS).best.map(([document]) => document);
}

test("Ranking counts a synonym below the word itself and never adds the two", () => {
  const synonyms = new Map([["fetch", ["load", "read"]]]);
  const documents = { 1: "load x", 2: "fetch x", 3: "fetch load", 4: "load read", 5: "other words" };
  const { best } = makeRanking(documents, synonyms).search(["fetch"], OPTIONS);
  expect(best.map(([document]) => document)).toEqual([2, 3, 4, 1]);
  const [own, withSynonym, rare = 0, common = 0] = best.map(([, score]) => score);
  expect(withSynonym).toBe(own ?? -1);
  expect(rare).toBeGreaterThan(common);
  expect(rare).toBeLessThan((own ?? 0) * 0.61);
  expect(found(makeRanking(documents), "fetch")).toEqual([2, 3]);
});

test("Ranking takes a word for a typo only when nothing else matches", () => {
  const ranking = makeRanking({ 1: "branch", 2: "brunch", 3: "ranch" });
  expect(found(ranking, "branch")).toEqual([1]);
  expect(found(ranking, "brnach")).toEqual([1]);
  expect(new Set(found(ranking, "brinch"))).toEqual(new Set([1, 2]));
  expect(found(ranking, "xranch")).toEqual([]);
  expect(found(makeRanking({ 1: "cat" }), "cot")).toEqual([]);
});

test("Ranking scores between 0 and 1, rare words above common ones, and ties by the caller's order", () => {
  const ranking = makeRanking({ 3: "rare common", 1: "common other", 2: "common other" });
  const { best } = ranking.search(["rare", "common"], OPTIONS);
  expect(best.map(([document]) => document)).toEqual([3, 1, 2]);
  expect(best.every(([, score]) => score > 0 && score <= 1)).toBe(true);
  const reversed = ranking.search(["common"], { ...OPTIONS, compare: (a, b) => b - a });
  expect(reversed.best.map(([document]) => document)).toEqual([3, 2, 1]);
});

test("Ranking.remove() forgets words nobody holds, and an unknown document changes nothing", () => {
  const ranking = makeRanking({ 1: "alpha beta", 2: "beta" });
  ranking.remove(7);
  ranking.remove(1);
  ranking.remove(1);
  expect([ranking.size, ranking.vocabulary]).toEqual([1, 1]);
  expect(found(ranking, "alpha")).toEqual([]);
  expect(found(ranking, "beta")).toEqual([2]);
});

test("allSynonyms() go both ways and never lead to the word itself", () => {
  expect(allSynonyms().get("directori")).toContain("folder");
  expect(allSynonyms().get("folder")).toContain("directori");
  for (const [word, others] of allSynonyms()) {
    expect(others).not.toContain(word);
    expect(others.length).toBeLessThanOrEqual(12);
    expect(new Set(others).size).toBe(others.length);
  }
});
