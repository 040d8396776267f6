/**
 * The one line that stands for a tool in a compact search reply: its signature and its summary.
 *
 * Owns how a JSON Schema is abbreviated and where texts are cut; not the reply. Invariants: both
 * results are one line without control characters, bounded in length and in work, whatever an
 * upstream sends. Required parameters come first, marked `*`, so that a cut never hides one behind an
 * optional one. Printing whole schemas was rejected: 15 hits would cost thousands of tokens.
 */
import type { ToolDefinition } from "../core/model.ts";

/** Longest signature by default; about 30 tokens. */
const SIGNATURE_CHARS = 120;
/** Longest summary by default; about 18 tokens. */
const SUMMARY_CHARS = 80;
/** A union of literals longer than this is shown as its type. */
const UNION_CHARS = 32;
/** Deepest nesting of arrays and unions that is spelled out. */
const TYPE_DEPTH = 3;
/** Most parameters looked at. */
const MAX_PARAMETERS = 64;
/** Most of a description that is looked at for its first sentence. */
const SCANNED_CHARS = 1_000;
/** Longest tool or parameter name shown. */
const NAME_CHARS = 64;

const SHORT_TYPES: ReadonlyMap<string, string> = new Map([
  ["integer", "int"],
  ["boolean", "bool"],
]);

type Schema = Readonly<Record<string, unknown>>;

/** How a signature is written. */
export interface SignatureOptions {
  /** Longest result; what does not fit is replaced by `…`. @default 120 */
  readonly maxChars?: number;
  /** Begin with the tool's name; a reply that has the id beside it can do without. @default true */
  readonly hasName?: boolean;
}

/** Writes a tool as one line, as in `read_file(path*: string, head: number, mode: "a"|"b")`. */
export function signatureOf(definition: ToolDefinition, options: SignatureOptions = {}): string {
  const { maxChars = SIGNATURE_CHARS, hasName = true } = options;
  let line = hasName ? `${cut(folded(definition.name), NAME_CHARS)}(` : "(";
  let isFirst = true;
  const parameters = parametersOf(definition.inputSchema);
  for (const [at, parameter] of parameters.entries()) {
    const next = `${isFirst ? "" : ", "}${parameter}`;
    const room = maxChars - line.length - (at === parameters.length - 1 ? 1 : ", …)".length);
    if (next.length > room) return `${line}${isFirst ? "…" : ", …"})`;
    line += next;
    isFirst = false;
  }
  return `${line})`;
}

/**
 * Cuts a description to its first sentence, on one line.
 *
 * @param maxChars Longest result; a longer sentence ends in `…` at a word. @default 80
 */
export function summaryOf(description: string | undefined, maxChars: number = SUMMARY_CHARS): string {
  const text = folded((description ?? "").slice(0, SCANNED_CHARS));
  const end = /[.!?](?= \S)|[。！？]/u.exec(text);
  const isAbbreviation = end !== null && /\b(?:e\.g|i\.e|etc|vs|[A-Z])$/u.test(text.slice(0, end.index));
  const sentence = end === null || isAbbreviation ? text : text.slice(0, end.index);
  return cut(sentence.replace(/\.$/u, ""), maxChars);
}

function parametersOf(schema: unknown): string[] {
  const { properties, required } = asSchema(schema);
  const isRequired = new Set(Array.isArray(required) ? required : []);
  const needed: string[] = [];
  const optional: string[] = [];
  for (const [name, member] of Object.entries(asSchema(properties)).slice(0, MAX_PARAMETERS)) {
    const shown = cut(folded(name), NAME_CHARS);
    const type = typeOf(member, 0);
    if (isRequired.has(name)) needed.push(`${shown}*: ${type}`);
    else optional.push(`${shown}: ${type}`);
  }
  return [...needed, ...optional];
}

function typeOf(value: unknown, depth: number): string {
  const schema = asSchema(value);
  if ("const" in schema) return literal(schema["const"]);
  const choices = schema["enum"];
  if (Array.isArray(choices)) {
    const union = unionOf(choices.slice(0, UNION_CHARS).map(literal));
    if (union !== undefined) return union;
  }
  const branches = schema["anyOf"] ?? schema["oneOf"];
  if (Array.isArray(branches) && depth < TYPE_DEPTH) {
    const kinds = branches.slice(0, UNION_CHARS).map((branch) => typeOf(branch, depth + 1));
    return unionOf([...new Set(kinds)].filter((kind) => kind !== "null")) ?? "any";
  }
  return namedType(schema, depth);
}

function namedType(schema: Schema, depth: number): string {
  const { type } = schema;
  if (Array.isArray(type)) {
    const names = type.filter((name): name is string => typeof name === "string" && name !== "null");
    return unionOf(names.slice(0, UNION_CHARS).map(shortType)) ?? "any";
  }
  if (type === "array") {
    const item = depth < TYPE_DEPTH ? typeOf(schema["items"], depth + 1) : "any";
    return item.includes("|") ? `(${item})[]` : `${item}[]`;
  }
  if (typeof type === "string") return shortType(type);
  return schema["properties"] === undefined ? "any" : "object";
}

function shortType(type: string): string {
  return SHORT_TYPES.get(type) ?? cut(folded(type), UNION_CHARS);
}

function unionOf(parts: readonly string[]): string | undefined {
  const union = parts.join("|");
  return parts.length === 0 || union.length > UNION_CHARS ? undefined : union;
}

function literal(value: unknown): string {
  return cut(folded(JSON.stringify(value) ?? "any"), UNION_CHARS);
}

function asSchema(value: unknown): Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Schema) : {};
}

/** One line: control and format characters, newlines and runs of white space become one space. */
function folded(text: string): string {
  return text.replace(/[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").trim();
}

/** Cuts at a word where one ends in the last third, never inside a surrogate pair. */
function cut(text: string, maxChars: number): string {
  if (text.length <= maxChars) return text;
  const head = text.slice(0, Math.max(0, maxChars - 1)).replace(/[\uD800-\uDBFF]$/u, "");
  const space = head.lastIndexOf(" ");
  return `${space > (maxChars * 2) / 3 ? head.slice(0, space) : head}…`;
}
