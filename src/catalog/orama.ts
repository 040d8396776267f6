/**
 * Orama with an index of our own: the database the tools are searched in.
 *
 * Owns the schema and the one component of Orama that is replaced: `index` (compact BM25F instead of
 * radix trees). Orama keeps ids, the flow of a search and the vectors to come. Invariants: the server is the
 * only field Orama knows, so that a document goes in and out in one step, its texts beside it; Orama's
 * internal id of a document is its slot. Parameters alone were rejected: stock Orama misses both time and
 * quality; so were fields of Orama's own for all texts: walking them took a sixth of the time of indexing.
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
const FIELD_NAMES = Object.keys(FIELDS) as readonly Field[];
const SCHEMA = { server: "string" } as const;

type StockIndex = ReturnType<typeof components.index.createIndex>;
type StockStore = ReturnType<StockIndex["create"]>;

/** Orama's index store with ours beside it; `text` and `request` are what Orama's own arguments cannot carry. */
type ToolIndexStore = StockStore & {
  readonly ranking: Ranking;
  text?: ToolText | undefined;
  request?: RankOptions;
  answer?: Ranked;
};

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
    const store = this.#store;
    store.text = text;
    void insert(this.#orama, { id: String(slot), server: text.server });
    store.text = undefined;
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
    schema: SCHEMA,
    sort: { enabled: false },
    components: {
      index: makeIndex() as StockIndex,
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
    insert: (_: unknown, { ranking, text }: ToolIndexStore, _field: string, _id: unknown, slot: number) => {
      if (text === undefined) return;
      for (const field of FIELD_NAMES) ranking.stage(field, tokenize(text[field], FIELD_WORDS[field]));
      ranking.commit(slot);
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
