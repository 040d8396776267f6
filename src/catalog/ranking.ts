/**
 * BM25F over numbered documents of several fields: what matches a query, and how well.
 *
 * Owns the vocabulary, the weights of fields, the score and the choice of the best; not tools, texts or
 * ids. Invariants: a score depends on the document, the query and the counts of documents alone, never
 * on the order of additions (average lengths are constants); ties are broken by the caller's order; of
 * a word and its synonyms a document gets the best, never the sum; only a word that nothing else matches
 * is taken for a typo. Stock Orama's score
 * was rejected: it treats each word as a prefix and divides by the length twice.
 */
import { isOneEditAway } from "../lib/edits.ts";
import { Postings } from "./postings.ts";

/** Saturation of repeated words (Robertson and Zaragoza, 2009, section 3.5). */
const K1 = 1.2;
/** How much a document suffers that lacks words of the query. */
const COVERAGE_POWER = 0.3;
/** Most that is gained when the query names the whole tool. */
const NAME_BONUS = 0.15;
/** What a synonym counts, against the word itself. */
const SYNONYM_WEIGHT = 0.6;
/** What a word one edit away counts, against the word itself. */
const TYPO_WEIGHT = 0.6;
/** Shorter words have too many neighbours to guess a typo. */
const TYPO_MIN_CHARS = 4;
/** Most neighbours tried for an unknown word. */
const TYPO_NEIGHBOURS = 3;
/** Most unknown words of one query that are looked up for typos. */
const TYPO_WORDS = 8;
/** Most distinct words of one query that count. */
const MAX_QUERY_WORDS = 64;

/** The fields of a document, with weight, length normalisation (0–1) and usual length in words. */
export const FIELDS = {
  name: { weight: 2, b: 0.4, usualLength: 3 },
  title: { weight: 1, b: 0.4, usualLength: 3 },
  description: { weight: 1, b: 0.65, usualLength: 16 },
  parameterNames: { weight: 0.7, b: 0.75, usualLength: 5 },
  parameterDescriptions: { weight: 0.5, b: 0.8, usualLength: 25 },
  server: { weight: 2, b: 0.4, usualLength: 2.5 },
} as const;

/** A key of {@link FIELDS}. */
export type Field = keyof typeof FIELDS;

/** How a search is narrowed and ordered. */
export interface RankOptions {
  /** Most documents returned. */
  readonly limit: number;
  /** Lowest score returned, 0–1. @default 0 */
  readonly minScore?: number;
  /** Looked at before ranking; a document it refuses takes no place. */
  readonly accepts: (document: number) => boolean;
  /** Order of documents of equal score; negative when `a` comes first. */
  readonly compare: (a: number, b: number) => number;
}

/** The best documents, best first, and how many there were. */
export interface Ranked {
  /** Document and score; a score is the share of the best possible one, 0–1. */
  readonly best: [document: number, score: number][];
  readonly total: number;
}

interface Match {
  readonly list: number;
  /** What it counts, against the word of the query: 0–1. */
  readonly factor: number;
}

/** What one word of a query gave a document. */
export interface WordPart {
  /** The word, as a stem. */
  readonly word: string;
  /** What the document holds of it: the word itself, a synonym, or a word one edit away; absent when nothing. */
  readonly matched?: string;
  readonly by?: "word" | "synonym" | "typo";
  /** The most it could give, 0–1; of all words together 1. */
  readonly weight: number;
  /** What it gave. */
  readonly score: number;
}

/** A score and what it is made of: `match` × `coverage` × `name`. */
export interface ScoreParts {
  readonly words: readonly WordPart[];
  /** The sum of what the words gave, 0–1. */
  readonly match: number;
  /** Below 1 when the document lacks words of the query. */
  readonly coverage: number;
  /** 1 when the query names the whole tool; a little less otherwise. */
  readonly name: number;
  readonly score: number;
}

interface QueryWord {
  readonly word: string;
  /** Lists to read, the best first. */
  readonly lists: readonly Match[];
  /** Weight of the word in the query, its rarity included. */
  readonly weight: number;
}

/** The index; documents are small positive integers chosen by the caller. */
export class Ranking {
  readonly #postings = new Postings();
  readonly #lists = new Map<string, number>();
  readonly #words: (string | undefined)[] = [];
  /** By document: its lists, those of its name first. */
  readonly #documents: (Int32Array | undefined)[] = [];
  /** By document: how many of its lists are words of its name. */
  #nameWords = new Uint8Array(256);
  #count = 0;

  // Scratch of the document being added: weights by list, and the lists in order.
  #pending = new Float64Array(1_024);
  #pendingLists: number[] = [];
  #pendingNameWords = 0;

  // Scratch of the search under way, by document.
  #scores = new Float64Array(256);
  #covered = new Float64Array(256);
  #wordScores = new Float64Array(256);
  readonly #reached: number[] = [];

  readonly #synonyms: Pick<ReadonlyMap<string, readonly string[]>, "get">;

  /** `synonyms` are looked up by words as they are staged: stems for stems. */
  constructor(synonyms: Pick<ReadonlyMap<string, readonly string[]>, "get"> = new Map()) {
    this.#synonyms = synonyms;
  }

  /** Documents in the index. */
  get size(): number {
    return this.#count;
  }

  /** Distinct words in the index. */
  get vocabulary(): number {
    return this.#lists.size;
  }

  /** Adds the words of one field to the document that {@link commit} will name; the name comes first. */
  stage(field: Field, words: readonly string[]): void {
    const { weight, b, usualLength } = FIELDS[field];
    const share = weight / (1 - b + (b * words.length) / usualLength);
    for (const word of words) {
      const list = this.#listOf(word);
      if (this.#pending[list] === 0) this.#pendingLists.push(list);
      this.#pending[list] = (this.#pending[list] ?? 0) + share;
    }
    if (field === "name") this.#pendingNameWords = Math.min(this.#pendingLists.length, 255);
  }

  /** Files what was staged under a document's number, which must not be in use. */
  commit(document: number): void {
    this.#reserve(document);
    for (const list of this.#pendingLists) {
      this.#postings.add(list, document, this.#pending[list] ?? 0);
      this.#pending[list] = 0;
    }
    this.#documents[document] = new Int32Array(this.#pendingLists);
    this.#nameWords[document] = this.#pendingNameWords;
    this.#pendingLists = [];
    this.#pendingNameWords = 0;
    this.#count += 1;
  }

  /** Takes a document out; an unknown one is ignored. */
  remove(document: number): void {
    const lists = this.#documents[document];
    if (lists === undefined) return;
    for (const list of lists) {
      if (!this.#postings.remove(list, document)) continue;
      this.#lists.delete(this.#words[list] ?? "");
      this.#words[list] = undefined;
    }
    this.#documents[document] = undefined;
    this.#count -= 1;
  }

  /** Finds the documents that hold any of the words. */
  search(words: readonly string[], options: RankOptions): Ranked {
    const query = this.#parse(words);
    let possible = 0;
    const touched: number[] = [];
    for (const word of query) {
      possible += word.weight;
      this.#score(word, touched);
    }
    return this.#pick(touched, { ...options, query, possible });
  }

  /** Takes the score of one document apart; undefined when there is none of this number. Not for the path of a search. */
  explain(words: readonly string[], document: number): ScoreParts | undefined {
    if (this.#documents[document] === undefined) return undefined;
    const query = this.#parse(words);
    const possible = query.reduce((sum, { weight }) => sum + weight, 0) || 1;
    const parts = query.map((word) => this.#partOf(word, { document, possible }));
    const match = parts.reduce((sum, { part }) => sum + part.score, 0);
    const covered = parts.reduce((sum, part) => sum + part.covered, 0);
    const coverage = Math.min(1, covered) ** COVERAGE_POWER;
    const lists = new Set(query.flatMap((word) => word.lists.map(({ list }) => list)));
    const name = (1 + NAME_BONUS * this.#nameShare(document, lists)) / (1 + NAME_BONUS);
    return { words: parts.map(({ part }) => part), match, coverage, name, score: match * coverage * name };
  }

  #partOf(
    { word, lists, weight }: QueryWord,
    { document, possible }: { readonly document: number; readonly possible: number },
  ): { readonly part: WordPart; readonly covered: number } {
    let best: { readonly list: number; readonly score: number } | undefined;
    let covered = 0;
    for (const { list, factor } of lists) {
      const frequency = this.#postings.weightOf(list, document);
      if (frequency === undefined) continue;
      if (best === undefined) covered = (weight * factor) / possible;
      const score = (weight * factor * frequency) / (frequency + K1) / possible;
      if (best === undefined || score > best.score) best = { list, score };
    }
    const share = weight / possible;
    if (best === undefined) return { part: { word, weight: share, score: 0 }, covered };
    const matched = this.#words[best.list] ?? "";
    const isSynonym = this.#synonyms.get(word)?.includes(matched) === true;
    const by = matched === word ? "word" : isSynonym ? "synonym" : "typo";
    return { part: { word, matched, by, weight: share, score: best.score }, covered };
  }

  #listOf(word: string): number {
    const known = this.#lists.get(word);
    if (known !== undefined) return known;
    const list = this.#postings.make();
    this.#lists.set(word, list);
    this.#words[list] = word;
    if (list >= this.#pending.length) this.#pending = enlarged(this.#pending, list);
    return list;
  }

  #reserve(document: number): void {
    if (document < this.#scores.length) return;
    this.#scores = enlarged(this.#scores, document);
    this.#covered = enlarged(this.#covered, document);
    this.#wordScores = enlarged(this.#wordScores, document);
    const nameWords = new Uint8Array(this.#scores.length);
    nameWords.set(this.#nameWords);
    this.#nameWords = nameWords;
  }

  #rarity(holders: number): number {
    return Math.log(1 + (this.#count - holders + 0.5) / (holders + 0.5));
  }

  #parse(words: readonly string[]): QueryWord[] {
    const counts = new Map<string, number>();
    for (const word of words) {
      if (counts.size < MAX_QUERY_WORDS || counts.has(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    let typos = 0;
    return [...counts].map(([word, count]) => {
      let lists = this.#known(word);
      if (lists.length === 0 && word.length >= TYPO_MIN_CHARS && (typos += 1) <= TYPO_WORDS)
        lists = this.#neighbours(word);
      const first = lists[0];
      const rarity = this.#rarity(first === undefined ? 0 : this.#postings.countOf(first.list));
      return { word, lists, weight: (1 + Math.log(count)) * rarity };
    });
  }

  /** The word itself and its synonyms; a synonym that is more common than the word counts less. */
  #known(word: string): Match[] {
    const own = this.#lists.get(word);
    const lists = (this.#synonyms.get(word) ?? []).flatMap((synonym) => this.#lists.get(synonym) ?? []);
    const rarities = lists.map((list) => this.#rarity(this.#postings.countOf(list)));
    const rarity = own === undefined ? Math.max(...rarities) : this.#rarity(this.#postings.countOf(own));
    const matches = lists.map((list, at) => ({
      list,
      factor: SYNONYM_WEIGHT * Math.min(1, (rarities[at] ?? 0) / rarity),
    }));
    matches.sort((a, b) => b.factor - a.factor);
    return own === undefined ? matches : [{ list: own, factor: 1 }, ...matches];
  }

  /** Known words one edit away from an unknown one, the most common first. */
  #neighbours(word: string): Match[] {
    const near: { readonly known: string; readonly list: number; readonly holders: number }[] = [];
    for (const [known, list] of this.#lists) {
      if (known.charCodeAt(0) !== word.charCodeAt(0) || known.length < TYPO_MIN_CHARS) continue;
      if (isOneEditAway(word, known)) near.push({ known, list, holders: this.#postings.countOf(list) });
    }
    near.sort((a, b) => b.holders - a.holders || (a.known < b.known ? -1 : 1));
    return near.slice(0, TYPO_NEIGHBOURS).map(({ list }) => ({ list, factor: TYPO_WEIGHT }));
  }

  #score(word: QueryWord, touched: number[]): void {
    const { documents, weights } = this.#postings;
    const [scores, covered, wordScores] = [this.#scores, this.#covered, this.#wordScores];
    for (const { list, factor } of word.lists) {
      const start = this.#postings.startOf(list);
      const end = start + this.#postings.countOf(list);
      for (let at = start; at < end; at += 1) {
        const document = documents[at] ?? 0;
        const frequency = weights[at] ?? 0;
        const score = (word.weight * factor * frequency) / (frequency + K1);
        const before = wordScores[document] ?? 0;
        if (before === 0) {
          this.#reached.push(document);
          covered[document] = (covered[document] ?? 0) + word.weight * factor;
        }
        if (score > before) wordScores[document] = score;
      }
    }
    for (const document of this.#reached) {
      if (scores[document] === 0) touched.push(document);
      scores[document] = (scores[document] ?? 0) + (wordScores[document] ?? 0);
      wordScores[document] = 0;
    }
    this.#reached.length = 0;
  }

  #pick(
    touched: readonly number[],
    pick: RankOptions & { query: readonly QueryWord[]; possible: number },
  ): Ranked {
    const { limit, minScore = 0, accepts, compare, query, possible } = pick;
    const nameLists = new Set(query.flatMap((word) => word.lists.map(({ list }) => list)));
    const best: [number, number][] = [];
    let total = 0;
    for (const document of touched) {
      const raw = (this.#scores[document] ?? 0) / possible;
      const coverage = (this.#covered[document] ?? 0) / possible;
      this.#scores[document] = 0;
      this.#covered[document] = 0;
      if (!accepts(document)) continue;
      const bonus = 1 + NAME_BONUS * this.#nameShare(document, nameLists);
      const score = (raw * Math.min(1, coverage) ** COVERAGE_POWER * bonus) / (1 + NAME_BONUS);
      if (score < minScore) continue;
      total += 1;
      const worst = best.length < limit ? undefined : best[best.length - 1];
      if (best.length >= limit && (worst === undefined || !isBetter(score, document, worst, compare)))
        continue;
      place(best, [document, score], limit, compare);
    }
    return { best, total };
  }

  /** The share of a document's name that the query names. */
  #nameShare(document: number, lists: ReadonlySet<number>): number {
    const own = this.#documents[document];
    const count = this.#nameWords[document] ?? 0;
    if (own === undefined || count === 0) return 0;
    let named = 0;
    for (let at = 0; at < count; at += 1) if (lists.has(own[at] ?? -1)) named += 1;
    return named / count;
  }
}

function isBetter(
  score: number,
  document: number,
  than: readonly [number, number],
  compare: (a: number, b: number) => number,
): boolean {
  return score > than[1] || (score === than[1] && compare(document, than[0]) < 0);
}

/** Inserts into the sorted best and drops what falls off the end. */
function place(
  best: [number, number][],
  entry: [number, number],
  limit: number,
  compare: (a: number, b: number) => number,
): void {
  let low = 0;
  let high = best.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBetter(entry[1], entry[0], best[middle] ?? entry, compare)) high = middle;
    else low = middle + 1;
  }
  best.splice(low, 0, entry);
  if (best.length > limit) best.pop();
}

function enlarged(array: Float64Array<ArrayBuffer>, index: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(Math.max(index + 1, array.length * 2));
  larger.set(array);
  return larger;
}
