/**
 * Orama with an index of our own: the database the tools are searched in.
 *
 * Owns the schema and the two components of Orama that are replaced: `index` (compact BM25F instead of
 * radix trees) and `documentsStore` (keeps no texts). Orama keeps ids, the flow of a search and the
 * vectors to come. Invariants: the server is the last field Orama indexes and the only one it keeps, so
 * its insertion completes a document and its removal takes the whole one out; Orama's internal id of a
 * document is its slot. Parameters alone were rejected: stock Orama misses both time and quality.
 */
import { components, create, insert, remove, search } from "@orama/orama";
import type { AnyOrama } from "@orama/orama";
import { FIELDS, Ranking } from "./ranking.ts";
import type { Field, Ranked, RankOptions, ScoreParts } from "./ranking.ts";
import { allSynonyms } from "./synonyms.ts";
import { tokenize } from "./tokenizer.ts";
import type { TokenizeOptions } from "./tokenizer.ts";
import type { ToolText } from "./tool_text.ts";

/** What is written as identifiers keeps stop words (`get_all`); prose does not. */
const FIELD_WORDS: Readonly<Record<Field, TokenizeOptions>> = {
  name: { keepsStopWords: true, joinsIdentifiers: true },
  title: { joinsIdentifiers: true },
  description: { joinsIdentifiers: true },
  parameterNames: { joinsIdentifiers: true },
  parameterDescriptions: {},
  server: { keepsStopWords: true, joinsIdentifiers: true },
};
const LAST_FIELD: Field = "server";
const SCHEMA = Object.fromEntries(Object.keys(FIELDS).map((field) => [field, "string"]));

type StockIndex = ReturnType<typeof components.index.createIndex>;
type StockStore = ReturnType<StockIndex["create"]>;
type Slim = { readonly id: string; readonly server: string };

/** Orama's index store with ours beside it; `request` is what Orama's own arguments cannot carry. */
type ToolIndexStore = StockStore & { readonly ranking: Ranking; request?: RankOptions; answer?: Ranked };

/** The database: one document a tool, named by a slot that the caller chooses and may reuse. */
export class ToolDatabase {
  readonly #orama: AnyOrama = makeOrama();

  /** Documents held. */
  get size(): number {
    return this.#store.ranking.size;
  }

  /** Distinct words held. */
  get vocabulary(): number {
    return this.#store.ranking.vocabulary;
  }

  /** Adds a document; slots count from 1, a new one is the next number, and a used one must be removed first. */
  insert(slot: number, text: ToolText): void {
    void insert(this.#orama, { id: String(slot), ...text });
  }

  /** Takes a document out; an empty slot is ignored. */
  remove(slot: number): void {
    void remove(this.#orama, String(slot));
  }

  /** Finds documents by words; at most `limit`, best first. */
  search(query: string, request: RankOptions): Ranked {
    const store = this.#store;
    store.request = request;
    void search(this.#orama, { term: query, limit: request.limit, preflight: true });
    const answer = store.answer ?? { best: [], total: 0 };
    delete store.request;
    delete store.answer;
    return answer;
  }

  /** Takes the score of one document apart. */
  explain(query: string, slot: number): ScoreParts | undefined {
    return this.#store.ranking.explain(queryWords(query), slot);
  }

  get #store(): ToolIndexStore {
    return this.#orama.data.index as ToolIndexStore;
  }
}

function makeOrama(): AnyOrama {
  return create({
    schema: SCHEMA as Record<string, "string">,
    sort: { enabled: false },
    components: {
      index: makeIndex() as StockIndex,
      documentsStore: makeDocuments(),
      tokenizer: { language: "english", normalizationCache: new Map(), tokenize: (text) => queryWords(text) },
    },
  });
}

/** Only stop words: they are looked up after all, for tools named so. */
function queryWords(query: string): string[] {
  const words = tokenize(query, { joinsIdentifiers: true });
  return words.length > 0 ? words : tokenize(query, { keepsStopWords: true });
}

function makeIndex(): unknown {
  const stock = components.index.createIndex();
  return {
    ...stock,
    create: (
      orama: AnyOrama,
      ids: Parameters<StockIndex["create"]>[1],
      schema: Parameters<StockIndex["create"]>[2],
    ) =>
      Object.assign(stock.create(orama, ids, schema), {
        ranking: new Ranking({ get: (stem) => allSynonyms().get(stem) }),
      }),
    insert: (_: unknown, store: ToolIndexStore, field: Field, _id: unknown, slot: number, text: string) => {
      store.ranking.stage(field, tokenize(text, FIELD_WORDS[field]));
      if (field === LAST_FIELD) store.ranking.commit(slot);
    },
    remove: (_: unknown, store: ToolIndexStore, _field: string, _id: unknown, slot: number) => {
      store.ranking.remove(slot);
      return true;
    },
    search: (store: ToolIndexStore, query: string): [number, number][] => {
      if (store.request === undefined) return [];
      store.answer = store.ranking.search(queryWords(query), store.request);
      return [...store.answer.best];
    },
  };
}

/** Keeps what {@link ToolDatabase.remove} needs of a document, by slot. */
function makeDocuments(): ReturnType<typeof components.documentsStore.createDocumentsStore> {
  const stock = components.documentsStore.createDocumentsStore();
  return {
    ...stock,
    store: (store, id, slot, document: Slim) =>
      stock.store(store, id, slot, { id: document.id, server: document.server }),
  };
}
