/**
 * Results that were cut, kept so that the rest can be read.
 *
 * Owns the limit on a result's characters, the cut, and the pages of `read_cache`. Invariants: a result
 * under the limit passes untouched; every cut one names its key; what is kept is bounded in number,
 * characters and age, the least recently used goes first. Keeping it in the database was rejected: a
 * megabyte would be written on the path of a call to be read once or never.
 */
import { ProxyError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/model.ts";

const MAX_ENTRIES = 1_000;
const MAX_TOTAL_CHARS = 64 * 1024 * 1024;
const MAX_AGE_MS = 2 * 60 * 60 * 1_000;
const DEFAULT_RECORDS = 50;
/** How deep a list of records is looked for. */
const MAX_SEARCH_DEPTH = 3;

/** What `read_cache` is asked. */
export interface CachePageRequest {
  readonly key: string;
  readonly offset?: number | undefined;
  readonly limit?: number | undefined;
  /** Where in the JSON the list stands, as in `data.items`. */
  readonly path?: string | undefined;
  /** Only records, or lines, that hold this text; case does not count. */
  readonly search?: string | undefined;
}

interface Entry {
  readonly text: string;
  readonly keptAt: number;
  value?: Json | undefined;
}

/** Options of {@link ResultCache}. */
export interface ResultCacheOptions {
  /** Characters of text a reply may have; 0 for no limit. */
  readonly limitChars: number;
  /** @default Date.now */
  readonly now?: () => number;
}

/** Cuts results and keeps the whole of them. */
export class ResultCache {
  readonly #limitChars: number;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  #totalChars = 0;

  constructor(options: ResultCacheOptions) {
    this.#limitChars = options.limitChars;
    this.#now = options.now ?? Date.now;
  }

  /** Returns the result itself when it is short enough, else a cut one whose last block names the key. */
  limit(result: JsonObject): JsonObject {
    if (this.#limitChars === 0) return result;
    const blocks = Array.isArray(result["content"]) ? (result["content"] as JsonObject[]) : [];
    const texts = blocks.map(textOf);
    const textChars = texts.reduce((sum, text) => sum + (text?.length ?? 0), 0);
    const structured = result["structuredContent"];
    const structuredText = structured === undefined ? "" : JSON.stringify(structured);
    if (Math.max(textChars, structuredText.length) <= this.#limitChars) return result;
    const whole =
      textChars >= structuredText.length
        ? texts.filter((text) => text !== undefined).join("\n")
        : structuredText;
    const key = this.#keep(whole);
    const { structuredContent: _, ...rest } = result;
    const shown = textChars === 0 ? [{ type: "text", text: whole }] : blocks;
    return { ...rest, content: [...cutBlocks(shown, this.#limitChars), this.#notice(key, whole)] };
  }

  /**
   * Reads one page of a kept result: records when it is JSON with a list, else characters.
   *
   * @throws {ProxyError} `CACHE_UNKNOWN`, or `ARGUMENTS_INVALID` when `path` leads nowhere.
   */
  read(request: CachePageRequest): JsonObject {
    const entry = this.#find(request.key);
    const list = findList(valueOf(entry), request.path);
    if (list !== undefined) return this.#readRecords(request, list);
    if (request.path !== undefined) {
      throw new ProxyError(
        "ARGUMENTS_INVALID",
        `Cannot read '${request.key}': there is no list at '${request.path}'`,
        {
          hint: "Leave 'path' out to read characters",
        },
      );
    }
    return request.search === undefined
      ? this.#readChars(request, entry.text)
      : this.#readRecords(request, { path: "lines", records: entry.text.split("\n") });
  }

  #readRecords(
    request: CachePageRequest,
    list: { readonly path: string; readonly records: readonly Json[] },
  ): JsonObject {
    const { key, offset = 0, limit = DEFAULT_RECORDS, search } = request;
    const matching =
      search === undefined ? list.records : list.records.filter((record) => holds(record, search));
    const page: Json[] = [];
    let chars = 0;
    for (const record of matching.slice(offset, offset + limit)) {
      chars += JSON.stringify(record).length;
      if (page.length > 0 && this.#limitChars > 0 && chars > this.#limitChars) break;
      page.push(this.#fitting(record));
    }
    const next = offset + page.length;
    return {
      key,
      path: list.path,
      offset,
      total: matching.length,
      records: page,
      ...(next < matching.length ? { next_offset: next } : {}),
    };
  }

  #readChars(request: CachePageRequest, text: string): JsonObject {
    const most = this.#limitChars === 0 ? text.length : this.#limitChars;
    const { key, offset = 0, limit = most } = request;
    const part = text.slice(offset, offset + Math.min(limit, most));
    const next = offset + part.length;
    return {
      key,
      offset,
      total: text.length,
      text: part,
      ...(next < text.length ? { next_offset: next } : {}),
    };
  }

  #fitting(record: Json): Json {
    const text = JSON.stringify(record);
    if (this.#limitChars === 0 || text.length <= this.#limitChars) return record;
    return `${text.slice(0, this.#limitChars)}… (${text.length} characters; read it by a deeper path)`;
  }

  #notice(key: string, whole: string): JsonObject {
    const entry = this.#entries.get(key);
    const list = entry && findList(valueOf(entry), undefined);
    const what =
      list === undefined
        ? ""
        : `, ${list.records.length} records${list.path === "" ? "" : ` at ${list.path}`}`;
    const text = `… cut at ${this.#limitChars} of ${whole.length} characters${what}; read on with read_cache key="${key}"`;
    return { type: "text", text };
  }

  #keep(text: string): string {
    const key = Bun.hash(`${text.length}:${text}`).toString(36) + crypto.randomUUID().slice(0, 8);
    this.#entries.set(key, { text, keptAt: this.#now() });
    this.#totalChars += text.length;
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= MAX_ENTRIES && this.#totalChars <= MAX_TOTAL_CHARS) break;
      if (oldest !== key) this.#drop(oldest, entry);
    }
    return key;
  }

  #find(key: string): Entry {
    const entry = this.#entries.get(key);
    if (entry !== undefined && this.#now() - entry.keptAt <= MAX_AGE_MS) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      return entry;
    }
    if (entry !== undefined) this.#drop(key, entry);
    throw new ProxyError("CACHE_UNKNOWN", `Cannot read '${key.slice(0, 64)}': no kept result has this key`, {
      hint: "Results are kept for two hours while the proxy runs; call the tool again",
    });
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#totalChars -= entry.text.length;
  }
}

/** The text of a block that counts against the limit; images and sounds have none. */
function textOf(block: JsonObject): string | undefined {
  if (typeof block["text"] === "string") return block["text"];
  const resource = block["resource"] as JsonObject | undefined;
  return typeof resource?.["text"] === "string" ? resource["text"] : undefined;
}

function cutBlocks(blocks: readonly JsonObject[], limitChars: number): JsonObject[] {
  let room = limitChars;
  return blocks.flatMap((block) => {
    const text = textOf(block);
    if (text === undefined) return [block];
    if (room === 0) return [];
    const kept = text.slice(0, room);
    room -= kept.length;
    if (kept.length === text.length) return [block];
    if (typeof block["text"] === "string") return [{ ...block, text: kept }];
    return [{ ...block, resource: { ...(block["resource"] as JsonObject), text: kept } }];
  });
}

function valueOf(entry: Entry): Json | undefined {
  if (entry.value !== undefined || !/^\s*[[{]/.test(entry.text)) return entry.value;
  try {
    entry.value = JSON.parse(entry.text) as Json;
  } catch {
    entry.value = undefined;
  }
  return entry.value;
}

/** The list at `path`, or the longest one near the top when no path is given. */
function findList(
  value: Json | undefined,
  path: string | undefined,
): { readonly path: string; readonly records: readonly Json[] } | undefined {
  if (path !== undefined && path !== "") {
    let at: Json | undefined = value;
    for (const step of path.split(".")) {
      at = isObject(at) && Object.hasOwn(at, step) ? (at as Record<string, Json>)[step] : undefined;
    }
    return Array.isArray(at) ? { path, records: at } : undefined;
  }
  return longestList(value, { path: "", depth: 0 });
}

function longestList(
  value: Json | undefined,
  at: { readonly path: string; readonly depth: number },
): { readonly path: string; readonly records: readonly Json[] } | undefined {
  if (Array.isArray(value)) return { path: at.path, records: value };
  if (!isObject(value) || at.depth >= MAX_SEARCH_DEPTH) return undefined;
  let best: { readonly path: string; readonly records: readonly Json[] } | undefined;
  for (const [key, child] of Object.entries(value as JsonObject)) {
    const path = at.path === "" ? key : `${at.path}.${key}`;
    const found = longestList(child, { path, depth: at.depth + 1 });
    if (found && found.records.length > (best?.records.length ?? 0)) best = found;
  }
  return best;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function holds(record: Json, search: string): boolean {
  const text = typeof record === "string" ? record : JSON.stringify(record);
  return text.toLowerCase().includes(search.toLowerCase());
}
