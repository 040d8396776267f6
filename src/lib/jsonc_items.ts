/**
 * The values of a JSON text with comments, each with the offsets of its parts.
 *
 * Owns one reading of a sound text: value, places, commas, lines. Does not say what is wrong with a broken text, as
 * `jsonc.ts` does. Invariants: takes the texts that `parseJsonc` takes and reads the same value; one pass, linear
 * in the text; places below the second level are noted when they are asked for, since a change of ten thousand
 * servers' file is about one. jsonc-parser's `parseTree` was rejected: deep nesting overflows its stack, it keeps no
 * commas; its `visit` takes as long while it notes nothing.
 */

/** Where the parts of an item stand, as offsets into the text. */
export interface ItemPlaces {
  /** Of the key, or of the value where there is none. */
  readonly begin: number;
  readonly keyEnd: number;
  /** Of the line in which it begins; a comment over several lines counts as one. */
  readonly line: number;
  /** No other token stands before it on its line. */
  readonly isFirstOnLine: boolean;
}

/** A value and where it stands; for a member of an object with its key. */
export class Item implements ItemPlaces {
  readonly parent: Item | undefined;
  readonly key: string | undefined;
  readonly begin: number;
  readonly keyEnd: number;
  readonly line: number;
  readonly isFirstOnLine: boolean;
  /** Of the value. */
  start: number;
  end: number;
  /** Of the line in which it ends. */
  lastLine: number;
  /** Of the comma behind it, or -1. */
  comma = -1;
  kind: "object" | "array" | "scalar" = "scalar";
  readonly #text: string;
  /** Undefined until they are asked for. */
  #items: Item[] | undefined = NONE;

  constructor(
    text: string,
    {
      parent,
      key,
      places,
    }: { readonly parent: Item | undefined; readonly key: string | undefined; readonly places: ItemPlaces },
  ) {
    this.#text = text;
    this.parent = parent;
    this.key = key;
    this.begin = this.start = this.end = places.begin;
    this.keyEnd = places.keyEnd;
    this.line = this.lastLine = places.line;
    this.isFirstOnLine = places.isFirstOnLine;
  }

  /** The members or elements. */
  get items(): readonly Item[] {
    if (this.#items === undefined) readInside(this.#text, this);
    return this.#items ?? NONE;
  }

  /** Takes the members or elements; undefined when they are to be read once they are asked for. */
  hold(items: Item[] | undefined): void {
    this.#items = items;
  }
}

/** Levels of nesting that are read, as in `jsonc.ts`. */
const MAX_DEPTH = 100;
/** Levels whose places are noted with the text: the settings, and the servers. */
const NOTED_LEVELS = 2;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
/** The items of each scalar. */
const NONE: Item[] = [];
const WORDS: readonly (readonly [word: string, value: unknown])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];
/** A whole text is read when more than this part of it, and this many characters, were to be read again. */
const WHOLE_SHARE = 8;
const WHOLE_MIN = 8_000;
const BREAK = /[\r\n]/;
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
  return new Reader(text, NOTED_LEVELS).read();
}

/**
 * Reads an item once more, as many levels of places inside of it as told; returns its value.
 *
 * @throws Error when it does not begin and end where it says.
 */
function readInside(text: string, item: Item, levels = MAX_DEPTH): unknown {
  return new Reader(text, levels).readAgain(item);
}

/** What is written at an offset, after `end - start` characters were left out. */
export interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** A text that splices made of another one, and what was read of that. */
export interface Moved {
  readonly before: string;
  readonly text: string;
  readonly splices: readonly Splice[];
  readonly root: Item;
  readonly value: unknown;
}

/** What {@link moveItems} gives. */
export interface MovedItems {
  readonly root: Item;
  /** Shares what no splice reached. */
  readonly value: unknown;
  /** Whether all that was not read again stands on the lines and in the columns where it stood. */
  readonly isInPlace: boolean;
}

/**
 * Reads a text of which only insides of items on the last noted level are new: those alone are read, all else is moved.
 * What such an item holds ends with its own bracket, so nothing behind it can mean another thing than before.
 *
 * @param moved its splices in their order
 * @returns undefined when a splice reaches further, or an item is not sound by itself
 */
export function moveItems(moved: Moved): MovedItems | undefined {
  try {
    return new Mover(moved).move();
  } catch (error) {
    if (error instanceof Unmovable) return undefined;
    throw error;
  }
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

/** A splice reaches further than the inside of one item. */
class Unmovable extends Error {}

/** Makes the items of a text from those of the one before. */
class Mover {
  readonly #moved: Moved;
  /** The next splice. */
  #next = 0;
  /** How far things stand from where they stood. */
  #shift = 0;
  /** The end of what splices left out so far. */
  #left = 0;
  /** The line in which the last item that was read again ended, and ends. */
  #oldLine = -1;
  #newLine = -1;
  #isInPlace = true;
  /** Characters that were read again. */
  #readAgain = 0;

  constructor(moved: Moved) {
    this.#moved = moved;
  }

  move(): MovedItems {
    const { root: old, value: before, splices } = this.#moved;
    const { item: root, value } = this.#item(old, { parent: undefined, value: before, level: 0 });
    if (this.#next < splices.length) throw new Unmovable();
    return { root, value, isInPlace: this.#isInPlace };
  }

  #item(
    old: Item,
    {
      parent,
      value,
      level,
    }: { readonly parent: Item | undefined; readonly value: unknown; readonly level: number },
  ): { item: Item; value: unknown } {
    const shift = this.#shift;
    const line = this.#lineOf(old.line);
    // What begins behind a new text on its line is in another column.
    if (this.#oldLine >= 0 && old.line === this.#oldLine) this.#isInPlace = false;
    const places = {
      begin: old.begin + shift,
      keyEnd: old.keyEnd + shift,
      line,
      isFirstOnLine: old.isFirstOnLine,
    };
    const item = new Item(this.#moved.text, { parent, key: old.key, places });
    item.start = old.start + shift;
    item.kind = old.kind;
    let now = value;
    const splice = this.#moved.splices[this.#next];
    if (old.kind !== "scalar") {
      if (level < NOTED_LEVELS) now = this.#inside(old, { item, value, level });
      else if (splice !== undefined && splice.start < old.end) now = this.#again(old, item);
      else item.hold(undefined);
    }
    if (old.kind === "scalar" || level < NOTED_LEVELS || now === value) {
      item.end = old.end + this.#shift;
      item.lastLine = this.#lineOf(old.lastLine);
    }
    if (old.comma >= 0) item.comma = old.comma + this.#shift;
    return { item, value: now };
  }

  #inside(
    old: Item,
    { item, value, level }: { readonly item: Item; readonly value: unknown; readonly level: number },
  ): unknown {
    // Of two equal keys the value is that of the first, which no splice of the second changes.
    const before = (typeof value === "object" && value !== null ? value : {}) as Readonly<
      Record<string | number, unknown>
    >;
    let after: Record<string | number, unknown> | undefined;
    const items: Item[] = [];
    for (const [index, one] of old.items.entries()) {
      const step = one.key ?? index;
      const was = before[step];
      const made = this.#item(one, { parent: item, value: was, level: level + 1 });
      items.push(made.item);
      if (made.value === was) continue;
      after ??= Array.isArray(value) ? (value.slice() as never) : { ...before };
      put(after, step, made.value);
    }
    item.hold(items);
    return after ?? value;
  }

  /** Takes the splices of an item and reads it. */
  #again(old: Item, item: Item): unknown {
    const { splices, before, text } = this.#moved;
    for (;;) {
      const splice = splices[this.#next];
      if (splice === undefined || splice.start >= old.end) break;
      if (splice.start <= old.start || splice.end >= old.end) throw new Unmovable();
      this.#next += 1;
      const from = Math.max(splice.start, this.#left);
      this.#left = Math.max(from, splice.end);
      this.#shift += splice.text.length - (this.#left - from);
      const left = before.slice(from, this.#left);
      if (BREAK.test(splice.text) || BREAK.test(left)) this.#isInPlace = false;
    }
    item.end = old.end + this.#shift;
    this.#readAgain += item.end - item.begin;
    // Native code reads the whole sooner than this reads much of it.
    if (this.#readAgain > text.length / WHOLE_SHARE && this.#readAgain > WHOLE_MIN) throw new Unmovable();
    let value: unknown;
    try {
      // Strings of a text hold all of it; each server that was ever changed would keep a text of its own.
      value = structuredClone(readInside(text, item, 0));
    } catch {
      throw new Unmovable();
    }
    this.#oldLine = old.lastLine;
    this.#newLine = item.lastLine;
    return value;
  }

  #lineOf(line: number): number {
    return line === this.#oldLine ? this.#newLine : line + (line > this.#oldLine ? this.#shift : 0);
  }
}

/** Reads a text once, each value with its places. */
class Reader {
  readonly #text: string;
  readonly #levels: number;
  #at = 0;
  #line = 0;
  #depth = 0;

  /** @param levels how many levels of places are noted */
  constructor(text: string, levels: number) {
    this.#text = text;
    this.#levels = levels;
  }

  read(): { root: Item; value: unknown } {
    if (this.#text.charCodeAt(0) === BOM) this.#at = this.#line = 1;
    this.#skip();
    const root = this.#item(undefined, true);
    const value = this.#value(root);
    this.#skip();
    if (this.#at < this.#text.length) throw this.#fault();
    return { root, value };
  }

  readAgain(item: Item): unknown {
    const { end, key } = item;
    this.#at = item.begin;
    this.#line = item.line;
    if (key !== undefined) {
      if (this.#string() !== key || this.#skip() !== COLON) throw this.#fault();
      this.#at += 1;
      this.#skip();
    }
    const value = this.#value(item);
    if (this.#at !== end) throw this.#fault();
    return value;
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
    const places = { begin: at, keyEnd: this.#at, line: this.#line, isFirstOnLine };
    return new Item(this.#text, { parent, key, places });
  }

  /** Reads the value here, into `item` where its places are noted. */
  #value(item: Item | undefined): unknown {
    const sign = this.#text.charCodeAt(this.#at);
    if (item !== undefined) item.start = this.#at;
    let value: unknown;
    if (sign === QUOTE) value = this.#string();
    else if (sign === OPEN_OBJECT || sign === OPEN_ARRAY) value = this.#items(item, sign === OPEN_OBJECT);
    else value = this.#word();
    if (item === undefined) return value;
    item.end = this.#at;
    item.lastLine = this.#line;
    return value;
  }

  #items(item: Item | undefined, isObject: boolean): unknown {
    if (++this.#depth > MAX_DEPTH) throw this.#fault();
    const closer = isObject ? CLOSE_OBJECT : CLOSE_ARRAY;
    const object: Record<string, unknown> = {};
    const array: unknown[] = [];
    const items: Item[] | undefined = this.#depth <= this.#levels ? [] : undefined;
    if (item !== undefined) item.kind = isObject ? "object" : "array";
    item?.hold(items);
    let from = ++this.#at;
    let sign = this.#skip();
    while (sign !== closer) {
      const one = items && this.#item(item, this.#line > from);
      const key = one !== undefined ? one.key : isObject ? this.#string() : undefined;
      if (isObject && this.#skip() !== COLON) throw this.#fault();
      if (isObject) this.#at += 1;
      this.#skip();
      const value = this.#value(one);
      if (one !== undefined) items?.push(one);
      if (key === undefined) array.push(value);
      else if (!Object.hasOwn(object, key)) put(object, key, value);
      sign = this.#skip();
      if (sign !== COMMA && sign !== closer) throw this.#fault();
      if (sign !== COMMA) break;
      if (one !== undefined) one.comma = this.#at;
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
