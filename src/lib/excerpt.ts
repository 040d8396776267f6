/**
 * Data as a short JSON text with its secrets hidden, for records that outlive it.
 *
 * Owns how much is shown of long texts, long lists and deep trees. Invariants: what is beyond the limit is never
 * read, so that a large argument costs what a small one does; the text is JSON always; a value under a secret name
 * shows nothing. Serialising first and cutting then was rejected: ten megabytes of arguments would hold the event
 * loop, and what is cut is no JSON.
 */
import { isSecretName, redactText, redactValue } from "./redact.ts";

/** What a text is cut to. */
const TEXT_CHARS = 500;
/** Read beyond the cut, so that a secret that begins before it is known as one. */
const READ_AHEAD_CHARS = 300;
const KEY_CHARS = 100;
const MAX_DEPTH = 8;
const MAX_ITEMS = 50;
/** Shorter ones are words that stand elsewhere by chance. */
const SECRET_CHARS_MIN = 4;
const MAX_SECRETS = 50;
const MASK = '"***"';
const CUT = "…";

/** What is shown of some data. */
export interface Excerpt {
  /** JSON. */
  readonly json: string;
  /** Whether something was left out for its length. */
  readonly isCut: boolean;
  /** Texts that were hidden because of their name; they may stand elsewhere too. */
  readonly secrets: readonly string[];
}

/** Shows data in about `maxChars` signs of JSON. */
export function excerptOf(value: unknown, options: { readonly maxChars: number }): Excerpt {
  const writer = new Writer(options.maxChars);
  writer.write(value, 0);
  return { json: writer.json, isCut: writer.isCut, secrets: writer.secrets };
}

/** Shows a text, secrets hidden, in at most {@link TEXT_CHARS} signs or fewer. */
export function excerptOfText(
  text: string,
  options: { readonly maxChars?: number; readonly secrets?: readonly string[] } = {},
): string {
  const { maxChars = TEXT_CHARS, secrets = [] } = options;
  const hidden = redactText(text.slice(0, maxChars + READ_AHEAD_CHARS), secrets);
  return text.length <= maxChars && hidden.length <= maxChars ? hidden : hidden.slice(0, maxChars) + CUT;
}

class Writer {
  json = "";
  isCut = false;
  readonly secrets: string[] = [];
  readonly #maxChars: number;

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  write(value: unknown, depth: number): void {
    if (typeof value === "string") this.#writeText(value);
    else if (Array.isArray(value)) this.#writeList(value, depth);
    else if (typeof value === "object" && value !== null) this.#writeObject(value, depth);
    else if (typeof value === "number") this.json += Number.isFinite(value) ? String(value) : "null";
    else this.json += typeof value === "boolean" ? String(value) : "null";
  }

  #writeText(text: string): void {
    const maxChars = Math.max(0, Math.min(TEXT_CHARS, this.#maxChars - this.json.length));
    if (text.length > maxChars) this.isCut = true;
    this.json += JSON.stringify(excerptOfText(text, { maxChars }));
  }

  #writeList(list: readonly unknown[], depth: number): void {
    this.json += "[";
    for (const [at, item] of list.entries()) {
      if (at > 0) this.json += ",";
      if (this.#isFull(at, depth)) {
        this.json += JSON.stringify(`${CUT} ${list.length - at} more`);
        break;
      }
      this.write(item, depth + 1);
    }
    this.json += "]";
  }

  #writeObject(object: object, depth: number): void {
    this.json += "{";
    let count = 0;
    // By name: listing all entries first would read what is beyond the limit.
    for (const key in object) {
      if (!Object.hasOwn(object, key)) continue;
      if (count > 0) this.json += ",";
      if (this.#isFull(count, depth)) {
        this.json += `${JSON.stringify(CUT)}:true`;
        break;
      }
      count += 1;
      this.json += `${JSON.stringify(excerptOfText(key, { maxChars: KEY_CHARS }))}:`;
      const value = (object as Readonly<Record<string, unknown>>)[key];
      if (isSecretName(key)) this.#hide(value);
      else this.write(value, depth + 1);
    }
    this.json += "}";
  }

  /** Switches and empty values say nothing. */
  #hide(value: unknown): void {
    if (typeof value === "boolean" || value === null || value === undefined) {
      this.json += String(value ?? null);
    } else if (typeof value === "string") {
      const shown = redactValue(value);
      this.json += JSON.stringify(shown);
      if (shown !== value) this.#remember(value);
    } else {
      this.json += MASK;
      if (typeof value === "object") for (const item of Object.values(value)) this.#remember(item);
    }
  }

  #remember(value: unknown): void {
    const isLong = typeof value === "string" && value.length >= SECRET_CHARS_MIN;
    if (isLong && this.secrets.length < MAX_SECRETS) this.secrets.push(value);
  }

  #isFull(count: number, depth: number): boolean {
    const isFull = count >= MAX_ITEMS || depth >= MAX_DEPTH || this.json.length >= this.#maxChars;
    if (isFull) this.isCut = true;
    return isFull;
  }
}
