/**
 * Writing one entry of a mapping at the top of a YAML text, and taking it out again.
 *
 * Owns finding the lines of the entry, and writing new ones with the indentation of their neighbours. Invariants:
 * every other byte stays; before a text is given back it was read again, and says the same as before but for that
 * one entry. A mapping in braces is refused unless it is empty, as are several documents: rewriting those would touch
 * what is not ours. Writing the whole text from its value was rejected: comments and order would be lost.
 */

/** Where an entry stands: a key at the top, and one below it. */
export type YamlPath = readonly [parent: string, name: string];

/** Lines from `start` up to `end`, 0-based. */
interface Lines {
  readonly start: number;
  readonly end: number;
}

interface Parent extends Lines {
  readonly line: number;
  /** Indentation of its entries. */
  readonly indent: number;
}

const DEFAULT_INDENT = 2;
const TOP_KEY = /^(?:([\w.-]+)|"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)')[ \t]*:(?=[ \t]|$)(.*)$/;
const SILENT = /^\s*(?:#.*)?$/;

/**
 * Writes the entry at `path`, in its place or behind its neighbours.
 *
 * @throws Error when the text is no YAML, or has the mapping in a form that has no lines of its own
 */
export function setYamlEntry(text: string, path: YamlPath, value: Readonly<Record<string, unknown>>): string {
  const [parentKey, name] = path;
  const before = read(text, path);
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text.split(/\r?\n/);
  const parent = parentIn(lines, parentKey);
  if (parent === undefined) {
    while (lines.at(-1)?.trim() === "") lines.pop();
    lines.push(`${keyOf(parentKey)}:`, ...entryLines(name, value, DEFAULT_INDENT), "");
  } else {
    const own = entryIn(lines, parent, name);
    const written = entryLines(name, value, parent.indent);
    if (own === undefined) lines.splice(parent.end, 0, ...written);
    else lines.splice(own.start, own.end - own.start, ...written);
    // What was null or `{}` is a mapping now.
    lines[parent.line] = (lines[parent.line] ?? "").replace(
      /:[ \t]*(?:\{[ \t]*\}|null|~)(?=[ \t]*(?:#|$))/,
      ":",
    );
  }
  const after = lines.join(eol);
  check({ before, after, path, wanted: value });
  return after;
}

/**
 * Takes out the entry at `path`; without one the text stays as it is.
 *
 * @throws Error as {@link setYamlEntry}
 */
export function removeYamlEntry(text: string, path: YamlPath): string {
  const [parentKey, name] = path;
  const before = read(text, path);
  if (entriesOf(before, parentKey)?.[name] === undefined) return text;
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text.split(/\r?\n/);
  const parent = parentIn(lines, parentKey);
  const own = parent === undefined ? undefined : entryIn(lines, parent, name);
  if (own === undefined) throw formFault(path);
  lines.splice(own.start, own.end - own.start);
  const after = lines.join(eol);
  check({ before, after, path, wanted: undefined });
  return after;
}

function formFault([parent, name]: YamlPath): Error {
  return new Error(
    `'${parent}' does not have its entries on lines of their own — Write '${name}:' below '${parent}:', indented`,
  );
}

type Document = Readonly<Record<string, unknown>>;

/** What the text says; an empty one is an empty mapping. */
function read(text: string, path: YamlPath): Document {
  const value: unknown = Bun.YAML.parse(text);
  if (value === null || value === undefined) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw formFault(path);
  const parent = (value as Document)[path[0]];
  const isMapping = typeof parent === "object" && !Array.isArray(parent);
  if (parent !== undefined && !isMapping) throw formFault(path);
  return value as Document;
}

function entriesOf(document: Document, parent: string): Document | undefined {
  return (document[parent] ?? undefined) as Document | undefined;
}

function parentIn(lines: readonly string[], key: string): Parent | undefined {
  const line = lines.findIndex((text) => keyIn(text) === key);
  if (line < 0) return undefined;
  let end = line + 1;
  let indent = 0;
  for (let at = line + 1; at < lines.length; at += 1) {
    const text = lines[at] ?? "";
    if (SILENT.test(text)) continue;
    const depth = indentOf(text);
    if (depth === 0) break;
    if (indent === 0) indent = depth;
    end = at + 1;
  }
  return { line, start: line + 1, end, indent: indent === 0 ? DEFAULT_INDENT : indent };
}

function entryIn(lines: readonly string[], parent: Parent, name: string): Lines | undefined {
  let start: number | undefined;
  let end = parent.end;
  for (let at = parent.start; at < parent.end; at += 1) {
    const text = lines[at] ?? "";
    if (SILENT.test(text) || indentOf(text) !== parent.indent) continue;
    if (start !== undefined) {
      end = at;
      break;
    }
    if (keyIn(text.slice(parent.indent)) === name) start = at;
  }
  if (start === undefined) return undefined;
  // Blank lines and comments before the next entry are that one's.
  while (end > start + 1 && SILENT.test(lines[end - 1] ?? "")) end -= 1;
  return { start, end };
}

function keyIn(text: string): string | undefined {
  const [, bare, quoted, literal] = TOP_KEY.exec(text) ?? [];
  if (quoted !== undefined) return JSON.parse(`"${quoted}"`) as string;
  return bare ?? literal?.replaceAll("''", "'");
}

function indentOf(text: string): number {
  return text.length - text.trimStart().length;
}

function keyOf(name: string): string {
  return /^[a-z][\w-]*$/i.test(name) ? name : JSON.stringify(name);
}

function entryLines(name: string, value: Document, indent: number): string[] {
  const text = Bun.YAML.stringify({ [name]: value }, null, 2).trimEnd();
  return text.split("\n").map((line) => " ".repeat(indent) + line);
}

/** Throws unless the new text says what it should, and nothing else changed. */
function check(edit: {
  readonly before: Document;
  readonly after: string;
  readonly path: YamlPath;
  readonly wanted: Document | undefined;
}): void {
  const [parent, name] = edit.path;
  let now: Document;
  try {
    now = read(edit.after, edit.path);
  } catch {
    throw formFault(edit.path);
  }
  const isWanted = Bun.deepEquals(entriesOf(now, parent)?.[name], edit.wanted);
  if (!isWanted || !Bun.deepEquals(without(edit.before, edit.path), without(now, edit.path)))
    throw formFault(edit.path);
}

/** A copy without the entry; a mapping without entries counts as none. */
function without(document: Document, [parent, name]: YamlPath): Document {
  const { [parent]: inner, ...rest } = document;
  const { [name]: _, ...left } = (inner ?? {}) as Document;
  return Object.keys(left).length === 0 ? rest : { ...rest, [parent]: left };
}
