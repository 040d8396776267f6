/**
 * Merge patches of JSON values, and the edits that lead from one value to another.
 *
 * Owns what a patch means (RFC 7396: maps merge, arrays replace, null removes) and the smallest edits of a text for it.
 * Invariants: nothing given is changed, unchanged parts are shared, `__proto__` is a key like any other; applied to a
 * text of `before`, the edits give a text of `after`. Patching the text directly was rejected: a batch may touch a value
 * several times, and only its last form is to be written.
 */
import type { JsonPath } from "./jsonc.ts";
import type { JsoncEdit } from "./jsonc_text.ts";

/** Any object with keys. */
type Fields = Readonly<Record<string, unknown>>;

/** Applies a merge patch; the target itself comes back when the patch changes nothing. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return Bun.deepEquals(target, patch, true) ? target : patch;
  const before = isFields(target) ? target : {};
  const after = new Map(Object.entries(before));
  let isChanged = before !== target;
  for (const [key, value] of Object.entries(patch)) {
    const old = after.get(key);
    if (value === null) {
      isChanged = after.delete(key) || isChanged;
      continue;
    }
    const merged = mergePatch(old, value);
    isChanged ||= merged !== old;
    after.set(key, merged);
  }
  return isChanged ? Object.fromEntries(after) : target;
}

/** Lists the edits that make a text say `after` at `path` where it says `before`. */
export function editsBetween(path: JsonPath, before: unknown, after: unknown): JsoncEdit[] {
  if (before === after) return [];
  if (isFields(before) && isFields(after)) return fieldEdits(path, before, after);
  if (Array.isArray(before) && Array.isArray(after)) {
    const edits = listEdits(path, before, after);
    if (edits !== undefined) return edits;
  }
  return Bun.deepEquals(before, after, true) ? [] : [{ kind: "set", path, value: after }];
}

/** Compares values as they come out of a text; `Bun.deepEquals` takes twice the time, and errs on `__proto__` (1.4.5). */
export function isSameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false;
    for (let index = 0; index < a.length; index += 1) if (!isSameJson(a[index], b[index])) return false;
    return true;
  }
  if (!isFields(a) || !isFields(b)) return false;
  let count = 0;
  for (const key in a) {
    if (!Object.hasOwn(b, key) || !isSameJson(a[key], b[key])) return false;
    count += 1;
  }
  return count === Object.keys(b).length;
}

/** Levels of nesting of a value; 0 for a scalar. Stops counting at `limit`. */
export function depthOf(value: unknown, limit: number): number {
  if (typeof value !== "object" || value === null || limit === 0) return 0;
  let deepest = 0;
  for (const item of Object.values(value)) deepest = Math.max(deepest, depthOf(item, limit - 1));
  return deepest + 1;
}

function fieldEdits(path: JsonPath, before: Fields, after: Fields): JsoncEdit[] {
  const edits: JsoncEdit[] = [];
  for (const key of Object.keys(before)) {
    if (!Object.hasOwn(after, key)) edits.push({ kind: "remove", path: [...path, key] });
    else if (before[key] !== after[key]) edits.push(...editsBetween([...path, key], before[key], after[key]));
  }
  for (const key of Object.keys(after)) {
    if (!Object.hasOwn(before, key)) edits.push({ kind: "set", path: [...path, key], value: after[key] });
  }
  return edits;
}

/** Keeps the elements that stay; undefined where the array is better written anew. */
function listEdits(
  path: JsonPath,
  before: readonly unknown[],
  after: readonly unknown[],
): JsoncEdit[] | undefined {
  const isAt = (index: number, item: unknown): boolean => Bun.deepEquals(before[index], item, true);
  if (before.length === after.length)
    return before.flatMap((item, index) => editsBetween([...path, index], item, after[index]));
  if (before.length < after.length) {
    if (before.length === 0 || !before.every((_, index) => isAt(index, after[index]))) return undefined;
    return after.slice(before.length).map((value) => ({ kind: "append", path, value }));
  }
  if (after.length === 0) return undefined;
  const edits: JsoncEdit[] = [];
  let next = 0;
  for (const index of before.keys()) {
    if (next < after.length && isAt(index, after[next])) next += 1;
    else edits.push({ kind: "remove", path: [...path, index] });
  }
  return next === after.length ? edits : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
