/**
 * A server of 30 tools that goes and comes back among N tools: definitions checked and fingerprinted, catalog, search and the
 * store's queue; beside the same documents taken out of stock Orama and put back.
 */
import { insert, remove } from "@orama/orama";
import { Catalog } from "../../src/catalog/catalog.ts";
import { Intake } from "../../src/catalog/intake.ts";
import { SearchIndex } from "../../src/catalog/search.ts";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { Store } from "../../src/state/store.ts";
import { makeTools, openStock, SERVER_TOOLS, stockDocument } from "./tools.ts";
import type { OpenPair } from "./pair.ts";

export const openCatalogue: OpenPair = async ({ size, folder }) => {
  const tools = makeTools(size);
  const [catalog, index] = [new Catalog(), new SearchIndex()];
  const store = Store.open({ dataDir: folder, log: SILENT_LOG });
  const intake = new Intake({ catalog, index, store, log: SILENT_LOG });
  for (const [server, own] of Map.groupBy(tools, (tool) => tool.server)) {
    intake.take(
      server,
      own.map(({ definition }) => definition),
    );
  }
  store.flush();
  const stock = await openStock(tools);
  const some = tools.slice(0, SERVER_TOOLS);
  const [documents, definitions] = [some.map(stockDocument), some.map(({ definition }) => definition)];
  const server = some[0]?.server ?? "";
  return {
    ours: () => {
      intake.take(server, []);
      intake.take(server, definitions);
      if (index.size !== size) throw new Error(`Of ${size} tools ${index.size} can be found`);
    },
    baseline: async () => {
      for (const tool of some) await remove(stock, tool.id);
      for (const document of documents) await insert(stock, document);
    },
    settle: () => store.flush(),
    [Symbol.asyncDispose]: () => store.close(),
  };
};
