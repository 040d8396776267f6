/**
 * Writing one table of a TOML text, and taking it out again.
 *
 * Owns finding the lines of a table and those below it, and writing new ones. Invariants: every other byte stays;
 * what looks like a header inside a string or an array is none; before a text is given back it was read again, and
 * says the same as before but for that one table. Values in other forms (`a.b.c = 1`, `a = { b = {} }`) are refused:
 * rewriting those would touch what is not ours. A TOML library that writes was rejected: it drops comments.
 */

/** What a table may hold. */
export type TomlValue = string | number | boolean | readonly string[] | Readonly<Record<string, string>>;

/** A table of plain values. */
export type TomlTable = Readonly<Record<string, TomlValue>>;

/** A header and all up to the next one; offsets. */
interface Section {
  readonly path: readonly string[];
  readonly isList: boolean;
  readonly start: number;
  /** Behind the last line that says something. */
  readonly end: number;
}

const BARE_KEY = /^[\w-]+$/;
const HEADER = /^[ \t]*(\[\[?)([^\r\n]*?)(\]\]?)[ \t]*(?:#.*)?$/;
const KEY_PART = /^[ \t]*(?:([\w-]+)|"((?:[^"\\]|\\.)*)"|'([^']*)')[ \t]*(\.|$)/;
/** What opens or closes something over the end of a line, or hides such signs. */
const SPANS = /"""|'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[[\]{}]/g;

/**
 * Writes the table at `path`, in its place or at the end; tables below it go.
 *
 * @throws Error when the text is no TOML, or has the table in a form that has no lines of its own
 */
export function setTomlTable(text: string, path: readonly string[], table: TomlTable): string {
  const before = Bun.TOML.parse(withoutMark(text));
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const block = writeTable(path, table).join(eol);
  const [first, ...others] = sectionsOf(text).filter((section) => isWithin(section.path, path));
  const isNew = first === undefined;
  if (isNew ? at(before, path) !== undefined : first.isList) throw formFault(path);
  const after = isNew
    ? `${withEnd(text, eol)}${block}${eol}`
    : splice(withoutSections(text, others), { ...first, text: block });
  check({ before, after, path, wanted: table });
  return after;
}

/**
 * Takes out the table at `path` and those below it; without one the text stays as it is.
 *
 * @throws Error as {@link setTomlTable}
 */
export function removeTomlTable(text: string, path: readonly string[]): string {
  const before = Bun.TOML.parse(withoutMark(text));
  if (at(before, path) === undefined) return text;
  const sections = sectionsOf(text).filter((section) => isWithin(section.path, path));
  if (sections.length === 0 || sections.some(({ isList }) => isList)) throw formFault(path);
  const after = withoutSections(text, sections);
  check({ before, after, path, wanted: undefined });
  return after;
}

function formFault(path: readonly string[]): Error {
  const name = path.map(writeKey).join(".");
  return new Error(`'${name}' is not written as a table of its own — Write it below a line '[${name}]'`);
}

/** Sections in order, with arrays and long strings taken for what they are. */
function sectionsOf(text: string): Section[] {
  const sections: Section[] = [];
  let open:
    | { readonly path: readonly string[]; readonly isList: boolean; readonly start: number }
    | undefined;
  let end = 0;
  let depth = 0;
  let quote = "";
  let offset = 0;
  for (const line of text.split("\n")) {
    const header = depth === 0 && quote === "" ? readHeader(line.replace(/\r$/, "")) : undefined;
    if (header !== undefined) {
      if (open !== undefined) sections.push({ ...open, end });
      open = { ...header, start: offset };
    } else [depth, quote] = follow(line, depth, quote);
    const isSilent = /^\s*(?:#.*)?$/.test(line) && quote === "" && depth === 0;
    if (!isSilent) end = offset + line.replace(/\r$/, "").length;
    offset += line.length + 1;
  }
  if (open !== undefined) sections.push({ ...open, end });
  return sections;
}

/** How deep in brackets and in which long string a line ends. */
function follow(line: string, depth: number, quote: string): [depth: number, quote: string] {
  let [level, inside] = [depth, quote];
  for (const [sign] of line.matchAll(SPANS)) {
    if (inside !== "") {
      if (sign === inside) inside = "";
    } else if (sign === '"""' || sign === "'''") inside = sign;
    else if (sign === "[" || sign === "{") level += 1;
    else if (sign === "]" || sign === "}") level -= 1;
  }
  return [level, inside];
}

function readHeader(line: string): { readonly path: string[]; readonly isList: boolean } | undefined {
  const [, opening, inner = "", closing] = HEADER.exec(line) ?? [];
  if (opening === undefined || opening.length !== closing?.length) return undefined;
  const path: string[] = [];
  for (let rest = inner.trim(); rest !== "";) {
    const part = KEY_PART.exec(rest);
    if (part === null) return undefined;
    const [whole, bare, quoted, literal] = part;
    path.push(bare ?? literal ?? (JSON.parse(`"${quoted ?? ""}"`) as string));
    rest = rest.slice(whole.length);
  }
  return { path, isList: opening === "[[" };
}

function isWithin(path: readonly string[], parent: readonly string[]): boolean {
  return parent.every((step, depth) => path[depth] === step);
}

function splice(
  text: string,
  by: { readonly start: number; readonly end: number; readonly text: string },
): string {
  return text.slice(0, by.start) + by.text + text.slice(by.end);
}

/** Leaves sections out, each with the line break behind it and a blank line before it. */
function withoutSections(text: string, sections: readonly Section[]): string {
  let result = text;
  for (const { start, end } of sections.toReversed()) {
    const behind = result.slice(end).replace(/^[ \t]*\r?\n/, "");
    const before = result.slice(0, start);
    const isLoose = behind === "" || /^[ \t]*\r?\n/.test(behind);
    const isFirst = before.trim() === "";
    result = isFirst
      ? before + behind.replace(/^[ \t]*\r?\n/, "")
      : (isLoose ? before.replace(/(^|\n)[ \t]*\r?\n$/, "$1") : before) + behind;
  }
  return result;
}

/** A text that ends with a blank line, unless it is empty. */
function withEnd(text: string, eol: string): string {
  if (text.trim() === "") return text;
  const whole = text.endsWith("\n") ? text : text + eol;
  return /\n[ \t]*\r?\n$/.test(whole) ? whole : whole + eol;
}

function writeTable(path: readonly string[], table: TomlTable): string[] {
  const lines = [`[${path.map(writeKey).join(".")}]`];
  for (const [key, value] of Object.entries(table)) lines.push(`${writeKey(key)} = ${writeValue(value)}`);
  return lines;
}

function writeKey(key: string): string {
  return BARE_KEY.test(key) ? key : writeText(key);
}

function writeValue(value: TomlValue): string {
  if (typeof value === "string") return writeText(value);
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return `[${(value as readonly string[]).map(writeText).join(", ")}]`;
  const pairs = Object.entries(value).map(([key, text]) => `${writeKey(key)} = ${writeText(text)}`);
  return pairs.length === 0 ? "{}" : `{ ${pairs.join(", ")} }`;
}

/** JSON's escapes are TOML's, but for DEL. */
function writeText(text: string): string {
  return JSON.stringify(text).replaceAll("\u007F", "\\u007f");
}

function withoutMark(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, step) =>
      typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>)[step] : undefined,
    value,
  );
}

/** Throws unless the new text says what it should, and nothing else changed. */
function check(edit: {
  readonly before: object;
  readonly after: string;
  readonly path: readonly string[];
  readonly wanted: TomlTable | undefined;
}): void {
  const now = Bun.TOML.parse(withoutMark(edit.after));
  const isWanted = Bun.deepEquals(at(now, edit.path), edit.wanted);
  const isRest = Bun.deepEquals(without(edit.before, edit.path), without(now, edit.path));
  if (!isWanted || !isRest) throw formFault(edit.path);
}

/** A copy without what is at `path`, and without what is empty on the way there. */
function without(value: object, path: readonly string[]): object {
  const copy = structuredClone(value) as Record<string, unknown>;
  const [step = "", ...rest] = path;
  const inner = copy[step];
  if (rest.length === 0 || typeof inner !== "object" || inner === null) delete copy[step];
  else {
    const left = without(inner, rest);
    if (Object.keys(left).length === 0) delete copy[step];
    else copy[step] = left;
  }
  return copy;
}
