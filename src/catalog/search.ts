/**
 * Full-text search over the known tools.
 *
 * Owns which tool sits in which slot of the database, updates by server, narrowing, and the order of
 * ties; not words, scores or texts. Invariants: the ranking of a query is the same whatever the order of
 * additions, updates and restarts; a tool is found as soon as `update` returns; no step of `build` holds
 * the event loop longer than its slice. One database a server was rejected: a word's rarity must be
 * judged over all tools.
 */
import { ToolDatabase } from "./orama.ts";
import type { RankOptions, ScoreParts } from "./ranking.ts";
import { toolTextOf } from "./tool_text.ts";
import type { Tool } from "../core/model.ts";

/** Hits when the caller names no number; the `tools_limit` setting's default. */
const DEFAULT_LIMIT = 15;
/** Most hits of one search. */
const MAX_LIMIT = 1_000;
/** Longest query that is looked at. */
const MAX_QUERY_CHARS = 2_000;
/** Work between two looks at the event loop. */
const SLICE_MS = 8;

/** What a {@link SearchIndex} is told about servers. */
export interface SearchIndexOptions {
  /** The title a server gave itself, searched like a title of its tools. @default none */
  readonly titleOf?: (server: string) => string | undefined;
}

/** What changed, by tool. */
export interface SearchUpdate {
  /** Tools to add, or to replace when their id is known. */
  readonly tools?: Iterable<Tool>;
  /** Ids to take out; unknown ones are ignored. */
  readonly removed?: Iterable<string>;
}

/** One search. */
export interface SearchOptions {
  /** Words or a sentence; what lies past 2,000 characters is ignored. */
  readonly query: string;
  /** Most hits, 0–1,000. @default 15 */
  readonly limit?: number;
  /** Only tools of these servers. @default all */
  readonly servers?: ReadonlySet<string>;
  /** Only tools it accepts; looked at before ranking, so that `limit` is filled. @default all */
  readonly filter?: (tool: Tool) => boolean;
  /** Least score, 0–1. @default 0 */
  readonly minScore?: number;
}

/** One tool found; `score` is the share of the best possible score for the query, 0–1. */
export interface SearchHit {
  readonly id: string;
  readonly score: number;
}

/** What a search found: the best hits first, and how many tools matched in all. */
export interface SearchResult {
  readonly hits: readonly SearchHit[];
  readonly total: number;
  readonly tookMs: number;
}

/** How one tool fares in a search. */
export interface SearchExplanation {
  /** 1 for the best; absent when it does not match, or the filters leave it out. */
  readonly rank?: number;
  readonly score: number;
  readonly parts: ScoreParts;
  /** The score of the last hit within the limit: what it would have taken. */
  readonly threshold?: number;
  readonly total: number;
}

/** The search over the known tools; holds references to tools, never copies. */
export class SearchIndex {
  readonly #database = new ToolDatabase();
  readonly #titleOf: (server: string) => string | undefined;
  readonly #slots = new Map<string, number>();
  /** By slot; slot 0 is never used. */
  readonly #tools: (Tool | undefined)[] = [undefined];
  readonly #freeSlots: number[] = [];
  /** For each build under way, the ids that were updated since it began. */
  readonly #builds = new Set<Set<string>>();

  constructor(options: SearchIndexOptions = {}) {
    const { titleOf = () => undefined } = options;
    this.#titleOf = titleOf;
  }

  /** Tools in the index. */
  get size(): number {
    return this.#slots.size;
  }

  /** Distinct words in the index. */
  get vocabulary(): number {
    return this.#database.vocabulary;
  }

  /** Applies a difference at once; removals first. About 50 µs a tool: use {@link build} for thousands. */
  update(update: SearchUpdate): void {
    const { tools = [], removed = [] } = update;
    for (const id of removed) {
      for (const build of this.#builds) build.add(id);
      this.#remove(id);
    }
    for (const tool of tools) {
      for (const build of this.#builds) build.add(tool.id);
      this.#put(tool);
    }
  }

  /**
   * Adds many tools in slices, so that the event loop turns in between.
   *
   * What `update` says meanwhile wins over what was handed in here.
   *
   * @throws the signal's reason when it aborts; what was added until then stays.
   */
  async build(tools: Iterable<Tool>, signal?: AbortSignal): Promise<void> {
    const newer = new Set<string>();
    this.#builds.add(newer);
    try {
      let sliceEndMs = performance.now() + SLICE_MS;
      for (const tool of tools) {
        signal?.throwIfAborted();
        if (!newer.has(tool.id)) this.#put(tool);
        if (performance.now() < sliceEndMs) continue;
        await new Promise<void>((resolve) => setImmediate(resolve));
        sliceEndMs = performance.now() + SLICE_MS;
      }
    } finally {
      this.#builds.delete(newer);
    }
  }

  /** Finds tools; no hits for a query without words. */
  search(options: SearchOptions): SearchResult {
    const { query, limit = DEFAULT_LIMIT } = options;
    const startMs = performance.now();
    const most = Math.min(Math.max(Math.trunc(limit) || 0, 0), MAX_LIMIT);
    const { best, total } = this.#database.search(
      query.slice(0, MAX_QUERY_CHARS),
      this.#request(options, most),
    );
    const hits = best.map(([slot, score]) => ({ id: this.#tools[slot]?.id ?? "", score }));
    return { hits, total, tookMs: performance.now() - startMs };
  }

  /** Tells how a tool fares in a search, wherever it ranks; undefined when it is not in the index. */
  explain(id: string, options: SearchOptions): SearchExplanation | undefined {
    const slot = this.#slots.get(id);
    const query = options.query.slice(0, MAX_QUERY_CHARS);
    const parts = slot === undefined ? undefined : this.#database.explain(query, slot);
    if (slot === undefined || parts === undefined) return undefined;
    const { limit = DEFAULT_LIMIT } = options;
    const { best, total } = this.#database.search(query, this.#request(options, this.size));
    const at = best.findIndex(([one]) => one === slot);
    const threshold = best[Math.min(limit, best.length) - 1]?.[1];
    return {
      ...(at < 0 ? {} : { rank: at + 1 }),
      score: parts.score,
      parts,
      ...(threshold === undefined ? {} : { threshold }),
      total,
    };
  }

  #request({ servers, filter, minScore = 0 }: SearchOptions, limit: number): RankOptions {
    return {
      limit,
      minScore,
      accepts: (slot) => {
        const tool = this.#tools[slot];
        if (tool === undefined || servers?.has(tool.server) === false) return false;
        return filter === undefined || filter(tool);
      },
      compare: (a, b) => ((this.#tools[a]?.id ?? "") < (this.#tools[b]?.id ?? "") ? -1 : 1),
    };
  }

  #put(tool: Tool): void {
    const known = this.#slots.get(tool.id);
    if (known !== undefined) this.#database.remove(known);
    const slot = known ?? this.#freeSlots.pop() ?? this.#tools.length;
    this.#slots.set(tool.id, slot);
    this.#tools[slot] = tool;
    this.#database.insert(slot, toolTextOf(tool, this.#titleOf(tool.server)));
  }

  #remove(id: string): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    this.#slots.delete(id);
    this.#tools[slot] = undefined;
    this.#freeSlots.push(slot);
    this.#database.remove(slot);
  }
}
