/**
 * Results that were cut, kept so that the rest can be read.
 *
 * Owns the limit on a result's characters, the cut, and the pages of `read_cache`. Invariants: a result
 * under the limit passes untouched; every cut one names its key, which opens it to whoever made the call and
 * nobody else; what is kept is bounded in number,
 * characters and age, the least recently used goes first. Keeping it in the database was rejected: a
 * megabyte would be written on the path of a call to be read once or never.
 */
import { ProxyError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/model.ts";
import { OPEN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";

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
  /** Where in the JSON the list or value stands, as in `data.items`; `$` is all of it, as text. */
  readonly path?: string | undefined;
  /** Only records, or lines, that hold this text; case does not count. */
  readonly search?: string | undefined;
}

interface Entry {
  readonly text: string;
  /** The very principal, not its name: a token made anew under an old name is another one. */
  readonly owner: Principal;
  readonly keptAt: number;
  value?: Json | undefined;
}

/** Options of {@link ResultCache}. */
export interface ResultCacheOptions {
  /** Characters of text a reply may have; 0 for no limit. Asked each time. */
  readonly limitChars: () => number;
  /** @default Date.now */
  readonly now?: () => number;
}

/** Cuts results and keeps the whole of them. */
export class ResultCache {
  readonly #options: ResultCacheOptions;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  #totalChars = 0;

  constructor(options: ResultCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  get #limitChars(): number {
    return this.#options.limitChars();
  }

  /** Returns the result itself when it is short enough, else a cut one whose last block names the key. */
  limit(result: JsonObject, owner: Principal = OPEN): JsonObject {
    if (this.#limitChars === 0) return result;
    const blocks = Array.isArray(result["content"]) ? (result["content"] as JsonObject[]) : [];
    const texts = blocks.map(textOf);
    const textChars = texts.reduce((sum, text) => sum + (text?.length ?? 0), 0);
    const structured = result["structuredContent"];
    const structuredText = structured === undefined ? "" : JSON.stringify(structured);
    const isStructuredLong = structuredText.length > this.#limitChars;
    if (textChars <= this.#limitChars && !isStructuredLong) return result;
    const whole = wholeOf(texts.filter((text) => text !== undefined).join("\n"), {
      isTextLong: textChars > this.#limitChars,
      structuredText: isStructuredLong ? structuredText : "",
    });
    const key = this.#keep(whole, owner);
    const { structuredContent: _, ...rest } = result;
    const shown = textChars === 0 ? [...blocks, { type: "text", text: whole }] : blocks;
    return {
      ...(isStructuredLong ? rest : result),
      content: [...cutBlocks(shown, this.#limitChars), this.#notice(key, whole)],
    };
  }

  /**
   * Reads one page of a kept result: records when it is JSON with a list, else characters.
   *
   * @throws {ProxyError} `CACHE_UNKNOWN`, or `ARGUMENTS_INVALID` when `path` leads nowhere.
   */
  read(request: CachePageRequest, owner: Principal = OPEN): JsonObject {
    const entry = this.#find(request.key, owner);
    const target = targetOf(entry, request.path);
    if (target === undefined) {
      throw new ProxyError(
        "ARGUMENTS_INVALID",
        `Cannot read '${request.key}': there is nothing at '${request.path}'`,
        { hint: "Leave 'path' out, or use path \"$\" to read all of it as text" },
      );
    }
    if ("records" in target) return this.#readRecords(request, target);
    return request.search === undefined
      ? this.#readChars(request, target.text)
      : this.#readRecords(request, { path: "lines", records: target.text.split("\n") });
  }

  #readRecords(request: CachePageRequest, list: RecordList): JsonObject {
    const { key, offset = 0, limit = DEFAULT_RECORDS, search } = request;
    const numbered = list.records.map((record, at) => ({ record, at }));
    const matching = search === undefined ? numbered : numbered.filter(({ record }) => holds(record, search));
    const page: Json[] = [];
    let chars = 0;
    for (const { record, at } of matching.slice(offset, offset + limit)) {
      chars += JSON.stringify(record).length;
      if (page.length > 0 && this.#limitChars > 0 && chars > this.#limitChars) break;
      page.push(this.#fitting(record, list.path === "" ? String(at) : `${list.path}.${at}`));
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
    const part = text.slice(offset, pageEnd(text, { offset, length: Math.min(limit, most) }));
    const next = offset + part.length;
    return {
      key,
      offset,
      total: text.length,
      text: part,
      ...(next < text.length ? { next_offset: next } : {}),
    };
  }

  #fitting(record: Json, path: string): Json {
    const text = JSON.stringify(record);
    if (this.#limitChars === 0 || text.length <= this.#limitChars) return record;
    const start = text.slice(0, cutAt(text, this.#limitChars));
    const where = path.startsWith("lines.") ? "$" : path;
    return `${start}… (${text.length} characters; read it whole with path="${where}")`;
  }

  #notice(key: string, whole: string): JsonObject {
    const entry = this.#entries.get(key);
    const list = entry && longestList(valueOf(entry), { path: "", depth: 0 });
    const what =
      list === undefined
        ? ""
        : `, ${list.records.length} records${list.path === "" ? "" : ` at ${list.path}`}`;
    const text = `… cut at ${this.#limitChars} of ${whole.length} characters${what}; read on with read_cache key="${key}"`;
    return { type: "text", text };
  }

  #keep(text: string, owner: Principal): string {
    const key = Bun.hash(`${text.length}:${text}`).toString(36) + crypto.randomUUID().slice(0, 8);
    this.#entries.set(key, { text, owner, keptAt: this.#now() });
    this.#totalChars += text.length;
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= MAX_ENTRIES && this.#totalChars <= MAX_TOTAL_CHARS) break;
      if (oldest !== key) this.#drop(oldest, entry);
    }
    return key;
  }

  #find(key: string, owner: Principal): Entry {
    const entry = this.#entries.get(key);
    const isYoung = entry !== undefined && this.#now() - entry.keptAt <= MAX_AGE_MS;
    if (isYoung && entry.owner === owner) {
      this.#entries.delete(key);
      this.#entries.set(key, entry);
      return entry;
    }
    if (entry !== undefined && !isYoung) this.#drop(key, entry);
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
  if (!isObject(block)) return undefined;
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
    if (text.length <= room) {
      room -= text.length;
      return [block];
    }
    const kept = text.slice(0, cutAt(text, room));
    room = 0;
    if (typeof block["text"] === "string") return [{ ...block, text: kept }];
    return [{ ...block, resource: { ...(block["resource"] as JsonObject), text: kept } }];
  });
}

/** What is kept: each long part, once when text and structured content say the same. */
function wholeOf(
  text: string,
  parts: { readonly isTextLong: boolean; readonly structuredText: string },
): string {
  const { isTextLong, structuredText } = parts;
  if (structuredText === "") return text;
  if (!isTextLong || saysTheSame(text, structuredText)) return structuredText;
  return `${text}\n${structuredText}`;
}

function saysTheSame(text: string, structuredText: string): boolean {
  try {
    return text === structuredText || Bun.deepEquals(JSON.parse(text), JSON.parse(structuredText));
  } catch {
    return false;
  }
}

/** Where to cut so that at most `chars` are kept and no surrogate pair is torn. */
function cutAt(text: string, chars: number): number {
  const isInPair = /^[\uD800-\uDBFF][\uDC00-\uDFFF]/.test(text.slice(Math.max(0, chars - 1), chars + 1));
  return isInPair ? chars - 1 : chars;
}

/** Where a page ends: it tears no pair, and moves on by one whole sign at least. */
function pageEnd(text: string, page: { readonly offset: number; readonly length: number }): number {
  const end = cutAt(text, page.offset + page.length);
  return end > page.offset || page.length === 0 ? end : page.offset + 2;
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

interface RecordList {
  readonly path: string;
  readonly records: readonly Json[];
}

/** What a path leads to: a list as records, else text; without a path the longest list near the top, else all of it. */
function targetOf(
  entry: Entry,
  path: string | undefined,
): RecordList | { readonly text: string } | undefined {
  if (path === "$") return { text: entry.text };
  if (path === undefined || path === "") {
    return longestList(valueOf(entry), { path: "", depth: 0 }) ?? { text: entry.text };
  }
  const found = follow(valueOf(entry), path.split("."));
  if (found === undefined) return undefined;
  if (Array.isArray(found)) return { path, records: found };
  return { text: typeof found === "string" ? found : JSON.stringify(found) };
}

/** Walks down; a key may hold dots itself, as the paths that a notice names do. */
function follow(value: Json | undefined, steps: readonly string[]): Json | undefined {
  if (steps.length === 0) return value;
  if (!isObject(value)) return undefined;
  for (let count = 1; count <= steps.length; count += 1) {
    const key = steps.slice(0, count).join(".");
    if (!Object.hasOwn(value, key) || (Array.isArray(value) && !/^\d+$/.test(key))) continue;
    const found = follow((value as Record<string, Json>)[key], steps.slice(count));
    if (found !== undefined) return found;
  }
  return undefined;
}

function longestList(
  value: Json | undefined,
  at: { readonly path: string; readonly depth: number },
): RecordList | undefined {
  if (Array.isArray(value)) return { path: at.path, records: value };
  if (!isObject(value) || at.depth >= MAX_SEARCH_DEPTH) return undefined;
  let best: RecordList | undefined;
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
