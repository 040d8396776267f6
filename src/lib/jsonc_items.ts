/**
 * The values of a JSON text with comments, each with the offsets of its parts.
 *
 * Owns one reading of a sound text: value, places, commas, lines. Does not say what is wrong with a broken text, as
 * `jsonc.ts` does. Invariants: takes the texts that `parseJsonc` takes and reads the same value; one pass, linear
 * in the text. jsonc-parser's `parseTree` was rejected: deep nesting overflows its stack, it keeps no commas; its
 * `visit` takes as long while it notes nothing.
 */

/** A value and where it stands, as offsets into the text; for a member of an object with its key. */
export interface Item {
  readonly parent: Item | undefined;
  readonly key: string | undefined;
  /** Of the key, or of the value where there is none. */
  readonly begin: number;
  readonly keyEnd: number;
  /** Of the line in which it begins; a comment over several lines counts as one. */
  readonly line: number;
  /** No other token stands before it on its line. */
  readonly isFirstOnLine: boolean;
  /** Of the value. */
  start: number;
  end: number;
  /** Of the line in which it ends. */
  lastLine: number;
  /** Of the comma behind it, or -1. */
  comma: number;
  kind: "object" | "array" | "scalar";
  items: Item[];
}

/** Levels of nesting that are read, as in `jsonc.ts`. */
const MAX_DEPTH = 100;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** The items of each scalar. */
const NONE: Item[] = [];
const WORDS: readonly (readonly [word: string, value: unknown])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];
const BOM = 0xfeff;
const TAB = 9;
const LF = 10;
const CR = 13;
const SPACE = 32;
const QUOTE = 34;
const STAR = 42;
const COMMA = 44;
const SLASH = 47;
const COLON = 58;
const OPEN_ARRAY = 91;
const BACKSLASH = 92;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/**
 * Reads a text with all its places.
 *
 * @throws Error when the text has a fault.
 */
export function readItems(text: string): { root: Item; value: unknown } {
  return new Reader(text).read();
}

/** Tells whether a character code is a space or tab. */
export function isBlank(sign: number): boolean {
  return sign === SPACE || sign === TAB;
}

/** Tells whether a character code ends a line. */
export function isBreak(sign: number): boolean {
  return sign === LF || sign === CR;
}

/** Gives an object an own key; assigning to `__proto__` would change the prototype. */
export function put(target: Record<string | number, unknown>, key: string | number, value: unknown): void {
  if (key !== "__proto__") target[key] = value;
  else Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

/** Reads a text once, each value with its places. */
class Reader {
  readonly #text: string;
  #at = 0;
  #line = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    if (text.charCodeAt(0) === BOM) this.#at = this.#line = 1;
  }

  read(): { root: Item; value: unknown } {
    this.#skip();
    const root = this.#item(undefined, true);
    const value = this.#value(root);
    this.#skip();
    if (this.#at < this.#text.length) throw this.#fault();
    return { root, value };
  }

  #fault(): Error {
    const line = this.#text.slice(0, this.#at).split(/\r\n|\r|\n/).length;
    return new Error(`Cannot edit the text: it is no JSON with comments at line ${line}`);
  }

  /** Passes blanks and comments; gives the sign behind them, NaN at the end. */
  #skip(): number {
    for (;;) {
      const sign = this.#text.charCodeAt(this.#at);
      if (sign === SPACE || sign === TAB) this.#at += 1;
      else if (isBreak(sign)) this.#line = this.#at += 1;
      else if (sign === SLASH) this.#skipComment();
      else return sign;
    }
  }

  #skipComment(): void {
    const text = this.#text;
    const second = text.charCodeAt(this.#at + 1);
    if (second === SLASH) {
      while (this.#at < text.length && !isBreak(text.charCodeAt(this.#at))) this.#at += 1;
      return;
    }
    const end = second === STAR ? text.indexOf("*/", this.#at + 2) : -1;
    if (end < 0) throw this.#fault();
    this.#at = end + 2;
  }

  /** An item that begins here. */
  #item(parent: Item | undefined, isFirstOnLine: boolean): Item {
    const at = this.#at;
    const key = parent?.kind === "object" ? this.#string() : undefined;
    return {
      parent,
      key,
      begin: at,
      keyEnd: this.#at,
      line: this.#line,
      isFirstOnLine,
      start: at,
      end: at,
      lastLine: this.#line,
      comma: -1,
      kind: "scalar",
      items: NONE,
    };
  }

  /** Reads the value here into `item`. */
  #value(item: Item): unknown {
    const sign = this.#text.charCodeAt(this.#at);
    item.start = this.#at;
    let value: unknown;
    if (sign === QUOTE) value = this.#string();
    else if (sign === OPEN_OBJECT || sign === OPEN_ARRAY) value = this.#items(item, sign === OPEN_OBJECT);
    else value = this.#word();
    item.end = this.#at;
    item.lastLine = this.#line;
    return value;
  }

  #items(item: Item, isObject: boolean): unknown {
    if (++this.#depth > MAX_DEPTH) throw this.#fault();
    const closer = isObject ? CLOSE_OBJECT : CLOSE_ARRAY;
    const object: Record<string, unknown> = {};
    const array: unknown[] = [];
    item.kind = isObject ? "object" : "array";
    item.items = [];
    let from = ++this.#at;
    let sign = this.#skip();
    while (sign !== closer) {
      const one = this.#item(item, this.#line > from);
      if (isObject && this.#skip() !== COLON) throw this.#fault();
      if (isObject) this.#at += 1;
      this.#skip();
      const value = this.#value(one);
      item.items.push(one);
      if (one.key === undefined) array.push(value);
      else if (!Object.hasOwn(object, one.key)) put(object, one.key, value);
      sign = this.#skip();
      if (sign !== COMMA && sign !== closer) throw this.#fault();
      if (sign !== COMMA) break;
      one.comma = this.#at;
      from = ++this.#at;
      sign = this.#skip();
    }
    this.#at += 1;
    this.#depth -= 1;
    return isObject ? object : array;
  }

  #string(): string {
    const text = this.#text;
    const start = this.#at;
    if (text.charCodeAt(start) !== QUOTE) throw this.#fault();
    let hasEscape = false;
    let at = start + 1;
    for (let sign = text.charCodeAt(at); sign !== QUOTE; sign = text.charCodeAt(at)) {
      // Not so at the end, where it is NaN.
      if (!(sign >= SPACE)) throw this.#fault();
      if (sign === BACKSLASH) hasEscape = true;
      at += sign === BACKSLASH ? 2 : 1;
    }
    this.#at = at + 1;
    if (!hasEscape) return text.slice(start + 1, at);
    try {
      return JSON.parse(text.slice(start, at + 1)) as string;
    } catch {
      throw this.#fault();
    }
  }

  #word(): unknown {
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    NUMBER.lastIndex = this.#at;
    const [number] = NUMBER.exec(this.#text) ?? [];
    if (number === undefined) throw this.#fault();
    this.#at += number.length;
    return Number(number);
  }
}
