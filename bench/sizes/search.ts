/** A query over N tools, beside the same query with stock Orama. */
import { search } from "@orama/orama";
import { SearchIndex } from "../../src/catalog/search.ts";
import { makeQueries, makeTools, openStock } from "./tools.ts";
import type { OpenPair } from "./pair.ts";

export const openSearch: OpenPair = async ({ size }) => {
  const tools = makeTools(size);
  const index = new SearchIndex();
  await index.build(tools);
  const stock = await openStock(tools);
  const [query, stockQuery] = [makeQueries(), makeQueries()];
  return {
    ours: () => index.search({ query: query() }),
    baseline: () => search(stock, { term: stockQuery(), limit: 15 }),
    [Symbol.asyncDispose]: async () => {},
  };
};
