/**
 * What is written and left out where values of a JSON text come and go.
 *
 * Owns the look: new items stand as their neighbours do, on lines of their own or beside them, with their
 * indentation, blanks, line ends and their habit of trailing commas. Invariants: no comment outside what goes is
 * lost or swallows anything; splices of one object or array do not cross, though they may touch. A reformatting of
 * the whole object was rejected: the lines nobody asked about would change.
 */
import { isBlank, isBreak } from "./jsonc_items.ts";
import type { Item, Splice } from "./jsonc_items.ts";

/** A new element, or member with its key. */
export interface Addition {
  readonly key: string | undefined;
  readonly now: unknown;
}

/** What goes out of an object or array and what comes in. */
interface Filling {
  readonly removed: ReadonlySet<Item>;
  readonly added: readonly Addition[];
}

/** What goes out, and the item left at the end with a comma too much. */
interface Removal {
  readonly removed: ReadonlySet<Item>;
  readonly spare: Item | undefined;
}

/** How new items of an object or array look. */
interface Look {
  /** Each on a line of its own. */
  readonly isOnLines: boolean;
  /** Values without line breaks. */
  readonly isFlat: boolean;
  /** No blank after a comma or colon. */
  readonly isTight: boolean;
  readonly indent: string;
  readonly eol: string;
  /** Near which it stands. */
  readonly model: Item;
}

const DEFAULT_UNIT = "  ";
const INDENT = /[ \t]*/y;
const BLANK = /^\s*$/;
const LF = 10;
const CR = 13;
const CLOSE_ARRAY = 93;
const CLOSE_OBJECT = 125;

/** Writes values into one text. */
export class JsoncLayout {
  readonly #text: string;
  #firstEol: string | undefined;

  constructor(text: string) {
    this.#text = text;
  }

  /** Puts a value in the place of another. */
  replace(item: Item, now: unknown): Splice {
    const look = this.#lookBeside(item);
    const isFlat = look.isFlat || (item.lastLine === item.line && item.items.length > 0);
    return { start: item.start, end: item.end, text: this.#written(now, { ...look, isFlat }) };
  }

  /** Takes items out of an object or array and adds others at its end. */
  refill(item: Item, { removed, added }: Filling, splices: Splice[]): void {
    const last = item.items.at(-1);
    const kept = item.items.findLast((one) => !removed.has(one));
    if (kept === undefined && this.#isBare(item)) {
      splices.push({ start: item.start + 1, end: item.end - 1, text: this.#inside(item, added) });
      return;
    }
    const isSpare = kept !== last && added.length === 0 && (last?.comma ?? -1) < 0;
    this.#takeOut(item, { removed, spare: isSpare ? kept : undefined }, splices);
    if (added.length === 0) return;
    if (kept === undefined) this.#addBeforeEnd(item, added, splices);
    else this.#addBehind(kept, added, splices);
  }

  /** Nothing but blanks stands between the items. */
  #isBare({ start, end, items }: Item): boolean {
    let at = start + 1;
    const isBlankTo = (to: number): boolean => BLANK.test(this.#text.slice(at, to));
    for (const item of items) {
      if (!isBlankTo(item.begin)) return false;
      at = item.end;
      if (item.comma >= 0 && !isBlankTo(item.comma)) return false;
      if (item.comma >= 0) at = item.comma + 1;
    }
    return isBlankTo(end - 1);
  }

  /** Takes items out with their commas, and the comma of `spare`, which would be left at the end. */
  #takeOut({ items }: Item, { removed, spare }: Removal, splices: Splice[]): void {
    let run = { start: 0, end: -1 };
    const take = (start: number, end: number): void => {
      if (run.end >= 0 && BLANK.test(this.#text.slice(run.end, start))) run.end = end;
      else run = { start, end };
      if (runs.at(-1) !== run) runs.push(run);
    };
    const runs: (typeof run)[] = [];
    for (const item of items) {
      const isGone = removed.has(item);
      if (isGone) take(item.begin, item.end);
      if (isGone && item.comma >= 0) take(item.comma, item.comma + 1);
      if (item === spare) take(spare.comma, spare.comma + 1);
    }
    for (const { start, end } of runs) {
      const sign = this.#text.charCodeAt(this.#blanksBehind(end));
      // A comment stays on the line it stands on: the line break before what it is about stays.
      if (start !== spare?.comma || isBreak(sign) || isCloser(sign)) splices.push(this.#erasure(start, end));
      else {
        splices.push({ start, end: start + 1, text: "" });
        const gone = items.find((item) => item.begin > start);
        if (gone !== undefined && gone.end <= end) splices.push(this.#erasure(gone.begin, end));
      }
    }
  }

  /** Leaves out a piece of the text with its line, or the blanks on one side of it. */
  #erasure(start: number, end: number): Splice {
    const left = this.#blanksBefore(start);
    const right = this.#blanksBehind(end);
    const next = this.#text.charCodeAt(right);
    if (isBreak(this.#text.charCodeAt(left - 1))) {
      if (!isBreak(next)) return { start, end: right, text: "" };
      const isPair = next === CR && this.#text.charCodeAt(right + 1) === LF;
      return { start: left, end: right + (isPair ? 2 : 1), text: "" };
    }
    if (isBreak(next)) return { start: left, end: right, text: "" };
    if (isCloser(next)) return { start: left, end, text: "" };
    return { start, end: right, text: "" };
  }

  #blanksBefore(at: number): number {
    let left = at;
    while (isBlank(this.#text.charCodeAt(left - 1))) left -= 1;
    return left;
  }

  #blanksBehind(at: number): number {
    let right = at;
    while (isBlank(this.#text.charCodeAt(right))) right += 1;
    return right;
  }

  /** What stands between the brackets when only `added` do. */
  #inside(item: Item, added: readonly Addition[]): string {
    if (added.length === 0) return "";
    const look = this.#lookInside(item);
    const [first] = item.items;
    const ending = (item.items.at(-1)?.comma ?? -1) >= 0 ? "," : "";
    const pad = first === undefined || look.isOnLines ? "" : this.#text.slice(item.start + 1, first.begin);
    const close = look.isOnLines ? look.eol + this.#indentAt(item.line) : pad;
    const list = this.#list(added, look);
    return pad + (look.isOnLines ? list : list.trimStart()) + ending + close;
  }

  /** Adds items where none is left but comments are. */
  #addBeforeEnd(item: Item, added: readonly Addition[], splices: Splice[]): void {
    const look = this.#lookInside(item);
    const end = item.end - 1;
    const start = this.#blanksBefore(end);
    const pad = this.#text.slice(start, end);
    const isOwnLine = isBreak(this.#text.charCodeAt(start - 1));
    const list = this.#list(added, look);
    const ending = (item.items.at(-1)?.comma ?? -1) >= 0 ? "," : "";
    let text = pad + list.trimStart() + ending + pad;
    if (look.isOnLines)
      text =
        (isOwnLine ? list.slice(look.eol.length) : list) +
        ending +
        look.eol +
        (isOwnLine ? pad : this.#indentAt(item.line));
    splices.push({ start, end, text });
  }

  /** Adds items behind the last one that is left. */
  #addBehind(kept: Item, added: readonly Addition[], splices: Splice[]): void {
    const look = this.#lookBeside(kept);
    const hasComma = kept.comma >= 0;
    const ending = (kept.parent?.items.at(-1)?.comma ?? -1) >= 0 ? "," : "";
    const at = this.#behindComments(hasComma ? kept.comma + 1 : kept.end, look.isOnLines);
    const end = look.isOnLines ? kept.end : at;
    if (!hasComma) splices.push({ start: end, end, text: "," });
    splices.push({ start: at, end: at, text: this.#list(added, look) + ending });
  }

  /** Finds the end of the comments that stand at `start` on its line. */
  #behindComments(start: number, withLineComment: boolean): number {
    let end = start;
    for (;;) {
      let at = this.#blanksBehind(end);
      if (this.#text.startsWith("/*", at)) end = this.#text.indexOf("*/", at + 2) + 2;
      else if (!withLineComment || !this.#text.startsWith("//", at)) return end;
      else {
        while (!isBreak(this.#text.charCodeAt(at))) at += 1;
        return at;
      }
    }
  }

  #list(added: readonly Addition[], look: Look): string {
    const lead = look.isOnLines ? look.eol + look.indent : look.isTight ? "" : " ";
    const colon = look.isTight ? ":" : ": ";
    return added
      .map(
        ({ key, now }) =>
          lead + (key === undefined ? "" : JSON.stringify(key) + colon) + this.#written(now, look),
      )
      .join(",");
  }

  #written(value: unknown, { isFlat, isTight, indent, eol, model }: Look): string {
    if (typeof value !== "object" || value === null || (isFlat && isTight)) return JSON.stringify(value);
    // A string holds no line break once it is written.
    const text = JSON.stringify(value, null, this.#unitAt(model));
    if (!isFlat) return text.replaceAll("\n", eol + indent);
    return text.replaceAll(/,\n[ \t]*/g, ", ").replaceAll(/\n[ \t]*/g, "");
  }

  #lookBeside(item: Item): Look {
    return {
      isOnLines: item.isFirstOnLine,
      isFlat: !item.isFirstOnLine && item.line === item.lastLine,
      isTight: standsTight(item),
      indent: this.#indentAt(item.line),
      eol: this.#eolAt(item.line),
      model: item,
    };
  }

  #lookInside(item: Item): Look {
    const [first] = item.items;
    if (first !== undefined) return this.#lookBeside(first);
    const look = this.#lookBeside(item);
    const isOnLines = item.isFirstOnLine || item.line !== item.lastLine;
    return { ...look, isOnLines, isFlat: !isOnLines, indent: look.indent + this.#unitAt(item) };
  }

  #indentAt(line: number): string {
    INDENT.lastIndex = line;
    return INDENT.exec(this.#text)?.[0] ?? "";
  }

  /** How far the nearest value around `item`, or itself, indents its items. */
  #unitAt(item: Item): string {
    for (let one: Item | undefined = item; one !== undefined; one = one.parent) {
      const [first] = one.items;
      if (first === undefined || !first.isFirstOnLine) continue;
      const outer = this.#indentAt(one.line);
      const inner = this.#indentAt(first.line);
      if (inner.length > outer.length && inner.startsWith(outer)) return inner.slice(outer.length);
    }
    return DEFAULT_UNIT;
  }

  /** The line break before `line`, or the first one of the text. */
  #eolAt(line: number): string {
    const sign = this.#text.charCodeAt(line - 1);
    if (sign === LF) return this.#text.charCodeAt(line - 2) === CR ? "\r\n" : "\n";
    if (sign === CR) return "\r";
    return (this.#firstEol ??= /\r\n|\r|\n/.exec(this.#text)?.[0] ?? "\n");
  }
}

function isCloser(sign: number): boolean {
  return sign === CLOSE_ARRAY || sign === CLOSE_OBJECT;
}

/** Tells whether no blanks stand where `item` is written. */
function standsTight({ key, start, keyEnd, parent }: Item): boolean {
  if (key !== undefined) return start === keyEnd + 1;
  const [first, second] = parent?.items ?? [];
  if (first !== undefined && second !== undefined) return second.begin === first.comma + 1;
  return parent !== undefined && standsTight(parent);
}
