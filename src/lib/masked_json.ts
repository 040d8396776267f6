/**
 * A value that was shown with secrets masked, and came back changed.
 *
 * Owns which mask stands for which value again, and what changed between two values. Invariants: a mask means the value
 * that was shown there, or nothing; where it could mean two, it is a fault, so no secret moves to another place by
 * itself; what came back as it was shown is no change. Guessing by the order alone was rejected: with one flag removed
 * the next one would get its secret.
 */
import { isSameJson } from "./json_patch.ts";
import { MASK } from "./redact.ts";
import type { JsonPath } from "./jsonc.ts";

type Fields = Readonly<Record<string, unknown>>;

/** A value and what was shown of it. */
export interface Shown {
  readonly shown: unknown;
  readonly plain: unknown;
}

/** Options of {@link restoreMasked}. */
export interface RestoreOptions extends Shown {
  readonly path: JsonPath;
  /** Told of each mask that stands for nothing. */
  readonly onMask: (path: JsonPath) => void;
}

/** Options of {@link patchBetween}. */
export interface PatchOptions {
  readonly path: JsonPath;
  /** Whether a key that is missing afterwards is to go. */
  readonly isRemoved: (path: JsonPath) => boolean;
}

/** Keys below which a part of a text may be masked. */
const PARTLY_MASKED: ReadonlySet<unknown> = new Set(["url", "args", "env", "headers", "custom_vars"]);

/** Puts the values back that the masks in `given` stand for. */
export function restoreMasked(given: unknown, { shown, plain, path, onMask }: RestoreOptions): unknown {
  if (isSameJson(given, shown)) return plain;
  if (isFields(given)) {
    const [before, after] = [isFields(shown) ? shown : {}, isFields(plain) ? plain : {}];
    return Object.fromEntries(
      Object.entries(given).map(([key, value]) => [
        key,
        restoreMasked(value, {
          shown: own(before, key),
          plain: own(after, key),
          path: [...path, key],
          onMask,
        }),
      ]),
    );
  }
  if (Array.isArray(given)) {
    const lists = Array.isArray(shown) && Array.isArray(plain) ? { shown, plain } : { shown: [], plain: [] };
    return given.map((item: unknown, index) => restoreItem(given, index, { ...lists, path, onMask, item }));
  }
  if (typeof given === "string" && given.includes(MASK) && isMask(given, { shown, plain, path }))
    onMask(path);
  return given;
}

function isMask(given: string, { shown, plain, path }: Omit<RestoreOptions, "onMask">): boolean {
  if (given === MASK) return true;
  if (typeof shown === "string" && shown !== plain) return true;
  return path.some((step) => PARTLY_MASKED.has(step));
}

interface ListParts {
  readonly shown: readonly unknown[];
  readonly plain: readonly unknown[];
  readonly path: JsonPath;
  readonly onMask: (path: JsonPath) => void;
  readonly item: unknown;
}

/** An item that stands where it stood, or behind what it stood behind, is the one that was shown. */
function restoreItem(given: readonly unknown[], index: number, parts: ListParts): unknown {
  const { shown, plain, path, onMask, item } = parts;
  const holdsMask = JSON.stringify(item).includes(MASK);
  const like = shown.flatMap((one, at) => (isSameJson(one, item) ? [at] : []));
  if (!holdsMask) {
    const [at] = like.includes(index) ? [index] : like;
    return at === undefined ? restoreMasked(item, below(index)) : plain[at];
  }
  const behind = like.filter((at) => isSameJson(given[index - 1], shown[at - 1]));
  const told = item === MASK || behind.length > 0 ? behind : like;
  const values = told.map((at) => plain[at]);
  if (values.length > 0 && values.every((value) => isSameJson(value, values[0]))) return values[0];
  const here = told.includes(index) && given.length === shown.length;
  return here ? plain[index] : restoreMasked(item, below(index));

  function below(at: number): RestoreOptions {
    // Only a list of the same length has the same things at the same places.
    const isInPlace = given.length === shown.length && isFields(item) && isFields(shown[at]);
    const was = isInPlace ? { shown: shown[at], plain: plain[at] } : { shown: undefined, plain: undefined };
    return { ...was, path: [...path, at], onMask };
  }
}

/** The merge patch (RFC 7396) that leads from one object to another; undefined when nothing changed. */
export function patchBetween(
  before: Fields,
  after: Fields,
  { path, isRemoved }: PatchOptions,
): Fields | undefined {
  const patch = new Map<string, unknown>();
  for (const [key, value] of Object.entries(after)) {
    const old = own(before, key);
    if (isSameJson(old, value)) continue;
    if (value === null && !Object.hasOwn(before, key)) continue;
    if (!isFields(old) || !isFields(value)) {
      patch.set(key, value);
      continue;
    }
    const inner = patchBetween(old, value, { path: [...path, key], isRemoved });
    if (inner !== undefined) patch.set(key, inner);
  }
  for (const key of Object.keys(before)) {
    if (!Object.hasOwn(after, key) && isRemoved([...path, key])) patch.set(key, null);
  }
  return patch.size === 0 ? undefined : Object.fromEntries(patch);
}

function own(fields: Fields, key: string): unknown {
  return Object.hasOwn(fields, key) ? fields[key] : undefined;
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
