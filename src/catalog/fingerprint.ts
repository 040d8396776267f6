/**
 * The fingerprint of a tool: one hash over all that the tool claims to be.
 *
 * Owns the canonical text that is hashed (object keys sorted, array order kept, every key counted,
 * unknown ones too) and nothing else. Invariant: two definitions that mean the same JSON have the
 * same fingerprint, whatever the order of their keys. A fast non-cryptographic hash was rejected:
 * approvals hang on this value, so an upstream must not be able to make two tools that share it.
 */
import type { ToolDefinition } from "../core/model.ts";

/** Characters kept of the base64url digest: 192 bits. */
const FINGERPRINT_CHARS = 32;
/** Deeper definitions are refused; far below what would overflow the stack. */
const MAX_DEPTH = 200;
/** A string of only these needs no escaping in JSON. */
const PLAIN = /^[ !#-[\]-~]*$/;

/**
 * Hashes everything a tool claims: name, title, description, schemas, annotations, every other key.
 *
 * @returns 32 characters of `[A-Za-z0-9_-]`, the same for every order of keys.
 * @throws {RangeError} when the definition is nested deeper than 200 levels.
 */
export function fingerprintOf(definition: ToolDefinition): string {
  return Bun.SHA256.hash(canonicalOf(definition, 0), "base64url").slice(0, FINGERPRINT_CHARS);
}

function canonicalOf(value: unknown, depth: number): string {
  if (typeof value === "string") return quoted(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  if (depth > MAX_DEPTH)
    throw new RangeError(`Cannot fingerprint the tool: nested deeper than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) {
    let list = "[";
    for (const item of value) list += `${canonicalOf(item, depth + 1)},`;
    return `${list}]`;
  }
  const record = value as Readonly<Record<string, unknown>>;
  let text = "{";
  for (const key of Object.keys(record).toSorted()) {
    const member = record[key];
    if (member !== undefined) text += `${quoted(key)}:${canonicalOf(member, depth + 1)},`;
  }
  return `${text}}`;
}

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}
