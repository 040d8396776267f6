/**
 * JSON with comments and trailing commas, as a value with places.
 *
 * Owns the fast way: one scan cuts comments and trailing commas out and counts colons, `JSON.parse` does
 * the rest; fewer keys in the value than colons in the text means that a key stands twice. Places, faults
 * and duplicates cost a second, slower reading (`jsonc_tree.ts`) that happens only when somebody asks.
 * Invariants: `__proto__` is a key like any other; of two equal keys the first counts; never throws.
 * `Bun.JSONC.parse` was rejected: as fast, but blind to duplicates and laxer than what edits the file.
 */
import { MAX_DEPTH, readTree } from "./jsonc_tree.ts";
import type { JsonPath, JsoncDuplicate, JsoncFault, JsoncNode, JsoncTree, Place } from "./jsonc_tree.ts";

/** Which end of a member a place points at. */
export type PlacePart = "key" | "value";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const SLASH = 0x2f;
const STAR = 0x2a;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;

/** A text that was read, well-formed or not. */
export class JsoncDocument {
  /** What the text says; undefined when it has faults. */
  readonly value: unknown;
  /** What keeps the text from being JSON, in order of appearance; at most 20. */
  readonly faults: readonly JsoncFault[];
  /** Keys that stand a second time in their object, in order of appearance. */
  readonly duplicates: readonly JsoncDuplicate[];
  readonly #text: string;
  #tree: JsoncTree | undefined;
  /** Members of a node by key; made when a path first crosses the node. */
  readonly #members = new WeakMap<
    JsoncNode,
    Map<string, { readonly keyAt: number; readonly value: JsoncNode }>
  >();

  constructor(source: string) {
    this.#text = source.charCodeAt(0) === 0xfeff ? source.slice(1) : source;
    const quick = parseQuickly(this.#text);
    this.value = quick?.value;
    this.faults = [];
    this.duplicates = [];
    if (quick !== undefined) return;
    const tree = this.#read();
    this.faults = tree.faults;
    this.duplicates = tree.duplicates;
    if (tree.faults.length === 0 && tree.root !== undefined) this.value = valueOf(tree.root);
  }

  /**
   * Finds where `path` stands: its value or its key, 1-based, columns in UTF-16 units.
   *
   * A path that does not exist gives the place of its nearest ancestor that does.
   */
  place(path: JsonPath, part: PlacePart = "value"): Place {
    const tree = this.#read();
    let node = tree.root;
    let at = node?.start ?? 0;
    for (const [depth, step] of path.entries()) {
      const member = node === undefined ? undefined : this.#step(node, step);
      if (member === undefined) break;
      node = member.value;
      at = part === "key" && depth === path.length - 1 ? member.keyAt : node.start;
    }
    return tree.placeAt(at);
  }

  #step(
    node: JsoncNode,
    step: string | number,
  ): { readonly keyAt: number; readonly value: JsoncNode } | undefined {
    if (node.kind === "array") {
      const item = typeof step === "number" ? node.items[step] : undefined;
      return item && { keyAt: item.start, value: item };
    }
    if (node.kind !== "object") return undefined;
    let members = this.#members.get(node);
    if (members === undefined) {
      members = new Map();
      for (const member of node.members) if (!members.has(member.key)) members.set(member.key, member);
      this.#members.set(node, members);
    }
    return members.get(String(step));
  }

  #read(): JsoncTree {
    return (this.#tree ??= readTree(this.#text));
  }
}

/** Reads JSON with comments and trailing commas; a leading byte order mark is no part of it. */
export function parseJsonc(text: string): JsoncDocument {
  return new JsoncDocument(text);
}

/** Writes a path as in `mcpServers[3].env["A B"]`; the empty path is `(top level)`. */
export function formatPath(path: JsonPath): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[\p{L}_$][\p{L}\p{N}_$-]*$/u.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text === "" ? "(top level)" : text;
}

/** The value when nothing is wrong with the text, duplicates included; else undefined. */
function parseQuickly(text: string): { readonly value: unknown } | undefined {
  const found = scan(text);
  if (found.depth > MAX_DEPTH) return undefined;
  try {
    const value: unknown = JSON.parse(found.cuts.length === 0 ? text : without(text, found.cuts));
    return countKeys(value) === found.colons ? { value } : undefined;
  } catch {
    return undefined;
  }
}

interface Scan {
  readonly colons: number;
  readonly depth: number;
  /** Start and end of what is to be cut out, in turn. */
  readonly cuts: readonly number[];
}

function scan(text: string): Scan {
  const cuts: number[] = [];
  let colons = 0;
  let open = 0;
  let depth = 0;
  let comma = -1;
  let last = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code <= SPACE) continue;
    if (code === SLASH && isComment(text, at)) {
      const end = endOfComment(text, at);
      // A comment without end stays in, so that JSON.parse refuses the text.
      if (end < 0) break;
      cuts.push(at, end);
      at = end - 1;
      continue;
    }
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === COLON) colons++;
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth = Math.max(depth, ++open);
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open--;
      if (comma >= 0) insertCut(cuts, comma);
    }
    comma = code === COMMA && last !== 0 && last !== OPEN_BRACE && last !== OPEN_BRACKET ? at : -1;
    last = code;
  }
  return { colons, depth, cuts };
}

/** A trailing comma is known only after the comments behind it: it goes before their cuts. */
function insertCut(cuts: number[], comma: number): void {
  let index = cuts.length;
  while (index > 0 && (cuts[index - 1] ?? 0) > comma) index -= 2;
  cuts.splice(index, 0, comma, comma + 1);
}

function isComment(text: string, at: number): boolean {
  const next = text.charCodeAt(at + 1);
  return next === SLASH || next === STAR;
}

/** Offset behind the comment; -1 when it has no end. */
function endOfComment(text: string, at: number): number {
  if (text.charCodeAt(at + 1) === STAR) {
    const close = text.indexOf("*/", at + 2);
    return close < 0 ? -1 : close + 2;
  }
  let end = at;
  while (end < text.length && text.charCodeAt(end) !== NEWLINE && text.charCodeAt(end) !== CARRIAGE_RETURN)
    end++;
  return end;
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE || code === NEWLINE) return at;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

function without(text: string, cuts: readonly number[]): string {
  const parts: string[] = [];
  let from = 0;
  for (let index = 0; index < cuts.length; index += 2) {
    parts.push(text.slice(from, cuts[index]));
    from = cuts[index + 1] ?? from;
  }
  parts.push(text.slice(from));
  // A comment parts tokens: `1/**/2` must not become `12`.
  return parts.join(" ");
}

function countKeys(value: unknown): number {
  let count = 0;
  const open: unknown[] = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next !== "object" || next === null) continue;
    const items: readonly unknown[] = Array.isArray(next) ? next : Object.values(next);
    if (!Array.isArray(next)) count += items.length;
    for (const item of items) if (typeof item === "object" && item !== null) open.push(item);
  }
  return count;
}

function valueOf(node: JsoncNode): unknown {
  if (node.kind === "scalar") return node.value;
  if (node.kind === "array") return node.items.map(valueOf);
  // fromEntries defines keys, so that `__proto__` is data and not the prototype.
  return Object.fromEntries(firstOfEach(node.members).map((member) => [member.key, valueOf(member.value)]));
}

function firstOfEach<T extends { readonly key: string }>(members: readonly T[]): readonly T[] {
  const seen = new Set<string>();
  return members.filter((member) => !seen.has(member.key) && seen.add(member.key));
}
