/**
 * The slow reading of JSON with comments: a tree of offsets, and every fault with its place and advice.
 *
 * Owns what is said about broken syntax and how reading goes on behind a fault. Invariants: ends on any
 * text in linear time, nests at most {@link MAX_DEPTH} calls deep, and no message quotes the inside of a
 * string, which may be a secret. jsonc-parser's error list was rejected: its errors come in cascades and
 * point at the start of a string instead of the wrong escape in it.
 */

/** One step per level: a key or an index. */
export type JsonPath = readonly (string | number)[];

/** A place in a text. */
export interface Place {
  /** 1-based. */
  readonly line: number;
  /** 1-based, counted in UTF-16 units. */
  readonly column: number;
}

/** Something that keeps a text from being JSON. */
export interface JsoncFault extends Place {
  readonly path: JsonPath;
  readonly message: string;
  readonly advice: string;
}

/** A key that stands in its object a second time. */
export interface JsoncDuplicate extends Place {
  readonly path: JsonPath;
  /** Where the key stands first, 1-based. */
  readonly firstLine: number;
}

/** A value with the offset it starts at. */
export type JsoncNode =
  | { readonly kind: "scalar"; readonly start: number; readonly value: unknown }
  | { readonly kind: "array"; readonly start: number; readonly items: readonly JsoncNode[] }
  | { readonly kind: "object"; readonly start: number; readonly members: readonly JsoncMember[] };

/** A key with its value. */
export interface JsoncMember {
  readonly key: string;
  readonly keyAt: number;
  readonly value: JsoncNode;
}

/** All that one reading found. */
export interface JsoncTree {
  readonly root: JsoncNode | undefined;
  readonly faults: readonly JsoncFault[];
  readonly duplicates: readonly JsoncDuplicate[];
  placeAt(offset: number): Place;
}

/** Levels of nesting that are read; no configuration needs a tenth of it. */
export const MAX_DEPTH = 100;
/** More faults than a person mends in one go. */
const MAX_FAULTS = 20;

const FOREIGN_LITERALS: Readonly<Record<string, string>> = {
  True: "true",
  False: "false",
  None: "null",
  nil: "null",
  undefined: "null",
  TRUE: "true",
  FALSE: "false",
  NULL: "null",
};

/** Reads `text` (without byte order mark) to its end, whatever it is. */
export function readTree(text: string): JsoncTree {
  const reader = new TreeReader(text);
  const root = reader.readAll();
  return {
    root,
    faults: reader.faults,
    duplicates: reader.duplicates,
    placeAt: (offset) => reader.placeAt(offset),
  };
}

class TreeReader {
  readonly faults: JsoncFault[] = [];
  readonly duplicates: JsoncDuplicate[] = [];
  readonly #text: string;
  readonly #path: (string | number)[] = [];
  /** The closing sign each open level waits for, innermost last. */
  readonly #closers: string[] = [];
  #at = 0;
  /** True after a string without end: it swallowed its comma, which is not missed again. */
  #isRunaway = false;
  #lineStarts: number[] | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  readAll(): JsoncNode | undefined {
    const nul = this.#text.indexOf("\0");
    if (nul >= 0) {
      this.#fault(nul, "The file holds a NUL character", "Save the file again as UTF-8 text");
      return undefined;
    }
    this.#skip();
    if (this.#at >= this.#text.length) {
      this.#fault(
        0,
        "The file is empty",
        'Write {"mcpServers": []} into it, or delete it and a default one is made',
      );
      return undefined;
    }
    const root = this.#value();
    this.#skip();
    if (this.#at < this.#text.length) {
      const advice = "Keep one value in the file, and one closing bracket for each opening one";
      this.#fault(this.#at, "Something follows the end of the value", advice);
    }
    return root;
  }

  placeAt(offset: number): Place {
    const starts = (this.#lineStarts ??= lineStartsOf(this.#text));
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  }

  #fault(offset: number, message: string, advice: string): void {
    if (this.faults.length >= MAX_FAULTS) return;
    this.faults.push({ ...this.placeAt(offset), path: [...this.#path], message, advice });
  }

  #peek(): string {
    return this.#text[this.#at] ?? "";
  }

  #skip(): void {
    for (;;) {
      const sign = this.#peek();
      if (sign === " " || sign === "\t" || sign === "\n" || sign === "\r") this.#at++;
      else if (sign === "/" && (this.#text[this.#at + 1] === "/" || this.#text[this.#at + 1] === "*"))
        this.#comment();
      else if (sign !== "" && /[\s\ufeff\u200b]/.test(sign)) {
        this.#fault(
          this.#at,
          `An invisible character ${codeOf(sign)} stands between the values`,
          "Replace it with a space",
        );
        this.#at++;
      } else return;
    }
  }

  #comment(): void {
    const isBlock = this.#text[this.#at + 1] === "*";
    const end = isBlock ? this.#text.indexOf("*/", this.#at + 2) : endOfLine(this.#text, this.#at);
    if (end < 0) this.#fault(this.#at, "A comment is not closed", "Close it with */");
    this.#at = end < 0 ? this.#text.length : end + (isBlock ? 2 : 0);
  }

  #value(): JsoncNode {
    this.#skip();
    const start = this.#at;
    const sign = this.#peek();
    if (sign === "{" || sign === "[") return this.#nested(sign);
    if (sign === '"') return { kind: "scalar", start, value: this.#string() };
    if (sign === "'" || sign === "“" || sign === "”" || sign === "`") {
      return { kind: "scalar", start, value: this.#foreignString() };
    }
    if (sign === "" || ",:]}".includes(sign)) {
      const got = sign === "" ? "the end of the file" : `'${sign}'`;
      this.#fault(start, `Expected a value, got ${got}`, "Write a value here, or remove what stands before");
      return { kind: "scalar", start, value: undefined };
    }
    return { kind: "scalar", start, value: this.#literal() };
  }

  #nested(sign: "{" | "["): JsoncNode {
    const start = this.#at;
    if (this.#closers.length >= MAX_DEPTH) {
      this.#fault(start, `Values nest deeper than ${MAX_DEPTH} levels`, "Remove levels of brackets");
      this.#at = this.#text.length;
      return { kind: "scalar", start, value: undefined };
    }
    this.#at++;
    this.#closers.push(sign === "{" ? "}" : "]");
    const node: JsoncNode =
      sign === "{"
        ? { kind: "object", start, members: this.#members(start) }
        : { kind: "array", start, items: this.#items(start) };
    this.#closers.pop();
    return node;
  }

  #items(start: number): JsoncNode[] {
    const items: JsoncNode[] = [];
    while (!this.#isClosed("]", start)) {
      this.#path.push(items.length);
      const before = this.#at;
      items.push(this.#value());
      this.#comma("]");
      if (this.#at === before) this.#at++;
      this.#path.pop();
    }
    return items;
  }

  #members(start: number): JsoncMember[] {
    const members: JsoncMember[] = [];
    const seen = new Map<string, number>();
    let isBehindComma = true;
    while (!this.#isClosed("}", start)) {
      const keyAt = this.#at;
      const key = this.#key();
      if (key === undefined) continue;
      // Without comma before or value behind it may be a value, so a secret: it is not named.
      this.#skip();
      const isKey = this.#peek() === ":" || (isBehindComma && !["", ",", "}", "]"].includes(this.#peek()));
      this.#path.push(isKey ? key : "…");
      const first = seen.get(key);
      if (first === undefined) seen.set(key, keyAt);
      else {
        const firstLine = this.placeAt(first).line;
        this.duplicates.push({ ...this.placeAt(keyAt), path: [...this.#path], firstLine });
      }
      if (this.#colon(isKey)) members.push({ key, keyAt, value: this.#value() });
      isBehindComma = this.#comma("}");
      this.#path.pop();
    }
    return members;
  }

  /** True at the end of the level; consumes its closing sign, and says so when it is missing. */
  #isClosed(closer: "}" | "]", start: number): boolean {
    this.#skip();
    const sign = this.#peek();
    if (sign === closer) {
      this.#at++;
      return true;
    }
    if (sign !== "" && sign !== "}" && sign !== "]") return false;
    const what = `The ${closer === "}" ? "object" : "array"} opened at line ${this.placeAt(start).line}`;
    if (sign === "") {
      // Only the innermost level is told: the outer ones follow from it.
      if (!this.faults.some((fault) => /is not closed$|^Values nest/.test(fault.message))) {
        this.#fault(this.#at, `${what} is not closed`, `Add '${closer}' where it ends`);
      }
      return true;
    }
    this.#fault(this.#at, `${what} ends with '${sign}'`, `Write '${closer}' here`);
    // The sign is taken as this level's, unless the level above waits for it and would miss it.
    const isAbove = this.#closers.at(-2) === sign && !this.#isFollowedBy(sign === "}" ? "]" : "}");
    if (!isAbove) this.#at++;
    return true;
  }

  /** Whether the next sign behind the current one is `sign`. */
  #isFollowedBy(sign: string): boolean {
    const here = this.#at;
    this.#at++;
    while (/\s/.test(this.#peek())) this.#at++;
    const isNext = this.#peek() === sign;
    this.#at = here;
    return isNext;
  }

  #key(): string | undefined {
    const start = this.#at;
    const sign = this.#peek();
    if (sign === '"') return this.#string();
    if (sign === ",") {
      this.#fault(start, "Expected a key, got ','", "Remove the extra comma");
      this.#at++;
      return undefined;
    }
    if (sign === "'" || sign === "“" || sign === "”" || sign === "`") return this.#foreignString();
    const word = this.#word();
    if (word === "" || sign === "{" || sign === "[") {
      this.#fault(start, `Expected a key, got '${sign}'`, 'Write "key": before the value');
      this.#at = Math.max(this.#at, start + 1);
      return undefined;
    }
    if (/^(?:#|<{7}|={7}|>{7}|-{3})/.test(word)) return this.#foreignLine(start, word);
    this.#fault(start, "A key has no double quotes", "Write keys in double quotes");
    return word;
  }

  /** A line that belongs to another language or tool; skipped whole. */
  #foreignLine(start: number, word: string): undefined {
    if (word.startsWith("#")) this.#fault(start, "A comment begins with '#'", "Begin comments with //");
    else
      this.#fault(
        start,
        "A merge conflict or document mark stands here",
        "Remove the mark and keep one side",
      );
    this.#at = endOfLine(this.#text, start);
    return undefined;
  }

  #colon(isKey: boolean): boolean {
    const sign = this.#peek();
    if (sign === ":") {
      this.#at++;
      return true;
    }
    const hidden = isKey ? undefined : this.#path.pop();
    this.#fault(this.#at, "Expected ':' after a key", "Put ':' between the key and its value");
    if (hidden !== undefined) this.#path.push(hidden);
    if (sign === "=" || sign === ";") this.#at++;
    // At a comma or bracket the value is missing too; one fault says enough.
    return sign !== "" && !",]}".includes(sign);
  }

  /** Passes the sign between two values; false when it is missing. */
  #comma(closer: "}" | "]"): boolean {
    this.#skip();
    const sign = this.#peek();
    const wasRunaway = this.#isRunaway;
    this.#isRunaway = false;
    if (sign === ",") this.#at++;
    else if (sign === ";") {
      this.#fault(this.#at, "Expected ',' between values, got ';'", "Write ',' instead");
      this.#at++;
    } else if (sign !== closer && sign !== "" && sign !== "]" && sign !== "}" && !wasRunaway) {
      this.#fault(this.#at, "Expected ',' between values", "Put a comma behind the value before");
      if (sign === ":") this.#at++;
      return false;
    }
    return true;
  }

  #string(): string {
    const start = this.#at;
    let hasFault = false;
    for (let at = start + 1; at < this.#text.length; at++) {
      const sign = this.#text[at] ?? "";
      if (sign === '"') {
        this.#at = at + 1;
        return hasFault
          ? this.#text.slice(start + 1, at)
          : String(JSON.parse(this.#text.slice(start, at + 1)));
      }
      if (sign === "\n" || sign === "\r") break;
      if (sign === "\\") {
        hasFault = this.#escape(at, hasFault);
        if (this.#text[at + 1] !== "\n" && this.#text[at + 1] !== "\r") at++;
      } else if (sign < " ") {
        if (!hasFault)
          this.#fault(at, `A string holds the control character ${codeOf(sign)}`, escapeAdvice(sign));
        hasFault = true;
      }
    }
    this.#at = endOfLine(this.#text, start);
    this.#isRunaway = true;
    this.#fault(
      start,
      "A string has no closing quote",
      'Close it with " on the same line; write \\n for a line break',
    );
    return this.#text.slice(start + 1, this.#at);
  }

  #escape(at: number, hasFault: boolean): boolean {
    const next = this.#text[at + 1] ?? "";
    if (next === "" || '"\\/bfnrt'.includes(next)) return hasFault;
    if (next === "u" && /^[\da-fA-F]{4}$/.test(this.#text.slice(at + 2, at + 6))) return hasFault;
    if (next === "\n" || next === "\r") return true;
    if (!hasFault) {
      const shown = next === "u" ? "\\u without four hex digits" : `'\\${next < " " ? "" : next}'`;
      this.#fault(at, `A string holds the unknown escape ${shown}`, "Write \\\\ for a backslash");
    }
    return true;
  }

  /** A string in quotes of another language; its end is looked for on the same line. */
  #foreignString(): string {
    const start = this.#at;
    const closers = this.#peek() === "“" || this.#peek() === "”" ? "“”" : this.#peek();
    let at = start + 1;
    while (
      at < this.#text.length &&
      !"\r\n".includes(this.#text[at] ?? "") &&
      !closers.includes(this.#text[at] ?? "")
    )
      at++;
    this.#fault(
      start,
      "A string stands in other quotes than double quotes",
      'Write it in double quotes: "…"',
    );
    this.#at = closers.includes(this.#text[at] ?? "\n") ? at + 1 : at;
    return this.#text.slice(start + 1, at);
  }

  #word(): string {
    const start = this.#at;
    const pattern = /[^\s,:{}[\]"=;]*/y;
    pattern.lastIndex = start;
    const word = pattern.exec(this.#text)?.[0] ?? "";
    this.#at = start + word.length;
    return word;
  }

  #literal(): unknown {
    const start = this.#at;
    const word = this.#word();
    if (word === "") this.#at++;
    if (word === "true" || word === "false" || word === "null") return JSON.parse(word);
    if (/^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(word)) return Number(word);
    const meant = Object.hasOwn(FOREIGN_LITERALS, word) ? FOREIGN_LITERALS[word] : undefined;
    if (meant !== undefined) this.#fault(start, `The word '${word}' is not JSON`, `Write ${meant}`);
    else if (/^[+.\-\d]/.test(word))
      this.#fault(start, "A number is malformed", "Write it as in 42, -1 or 0.5");
    else if (/^(?:#|<{7}|={7}|>{7})/.test(word)) this.#foreignLine(start, word);
    else this.#fault(start, "A value has no double quotes", "Write text in double quotes");
    return undefined;
  }
}

function codeOf(sign: string): string {
  return `U+${sign.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function escapeAdvice(sign: string): string {
  return `Write ${JSON.stringify(sign).slice(1, -1)} instead`;
}

function endOfLine(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const sign = text[at];
    if (sign === "\n" || sign === "\r") return at;
  }
  return text.length;
}

function lineStartsOf(text: string): number[] {
  const starts = [0];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x0d && text.charCodeAt(at + 1) === 0x0a) at++;
    if (code === 0x0a || code === 0x0d) starts.push(at + 1);
  }
  return starts;
}
