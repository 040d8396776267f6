/**
 * What is wrong or odd in the configuration file, with its place.
 *
 * Owns how a verdict of the schema becomes a fault, and which unknown keys are near misses. Invariants: a
 * fault points at the value, a missing key at the object that lacks it, an unknown or doubled one at the
 * key itself; an unknown key alone is never a fault. Asking for places while everything is right was
 * rejected: it costs a second reading of the file.
 */
import type { z } from "zod";
import { ProxyError } from "../core/errors.ts";
import { formatPath } from "../lib/jsonc.ts";
import { nearestWord } from "../lib/nearest.ts";
import type { Fault, Finding } from "../core/model.ts";
import type { JsonPath, JsoncDocument, PlacePart } from "../lib/jsonc.ts";

/** The file a fault is in. */
export interface FaultSite {
  readonly file: string;
  /** Finds where a path stands in it. */
  readonly document: Pick<JsoncDocument, "place">;
}

/** What is wrong, and what would be right. */
export interface Verdict {
  readonly message: string;
  readonly advice: string;
}

/** Where and whose a fault is. */
export interface FaultOptions {
  /** @default "value" */
  readonly part?: PlacePart;
  readonly server?: string;
}

/** Makes a fault for the value, or key, at `path`. */
export function faultAt(
  site: FaultSite,
  path: JsonPath,
  verdict: Verdict,
  options: FaultOptions = {},
): Fault {
  const { part = "value", server } = options;
  const place = site.document.place(path, part);
  return {
    file: site.file,
    ...place,
    key: formatPath(path),
    ...verdict,
    ...(server !== undefined && { server }),
  };
}

/** Splits a schema's message into what is wrong and what would be right. */
export function verdictOf(issue: z.core.$ZodIssue): Verdict {
  const [message = "", advice] = issue.message.split("\n", 2);
  return { message, advice: advice ?? "See mcpproxy config schema" };
}

/** Makes a fault of each verdict of a schema about the value at `base`. */
export function faultsOfIssues(site: FaultSite, base: JsonPath, error: z.ZodError, server?: string): Fault[] {
  return error.issues.map((issue) => {
    const path = [...base, ...issue.path.map((step) => (typeof step === "symbol" ? String(step) : step))];
    return faultAt(site, path, verdictOf(issue), server === undefined ? {} : { server });
  });
}

/** Whether a value is an object with keys, and no array. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether a value is an array, of whatever. */
export function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

/** Leaves out the keys whose value is null: the Go proxy writes null for what is not set. */
export function withoutNulls(value: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const entries = Object.entries(value);
  if (!entries.some(([, item]) => item === null)) return value;
  return Object.fromEntries(entries.filter(([, item]) => item !== null));
}

/** Finds keys that are probably misspelt, by the keys a schema knows; remembers what it saw. */
export class KeyCheck {
  readonly #known: ReadonlySet<string>;
  readonly #seen = new Map<string, string | undefined>();

  constructor(known: Iterable<string>) {
    this.#known = new Set(known);
  }

  /** The known key that `key` was probably meant to be. */
  nearMiss(key: string): string | undefined {
    if (this.#known.has(key)) return undefined;
    if (this.#seen.has(key)) return this.#seen.get(key);
    const meant = key.length > 64 ? undefined : nearestWord(key, this.#known);
    // Bounded, because keys come from a file that may be anything.
    if (this.#seen.size < 1000) this.#seen.set(key, meant);
    return meant;
  }

  /**
   * Refuses a key that is new and probably misspelt; other unknown ones belong to other programs.
   *
   * @throws {ProxyError} `USAGE` naming the key that was probably meant
   */
  assertSpelt(
    given: Readonly<Record<string, unknown>>,
    { before, action }: { readonly before?: unknown; readonly action: string },
  ): void {
    for (const [key, value] of Object.entries(given)) {
      if (value === null || (isRecord(before) && Object.hasOwn(before, key))) continue;
      const meant = this.nearMiss(key);
      if (meant === undefined) continue;
      throw new ProxyError("USAGE", `Cannot ${action}: the key '${key}' is unknown`, {
        data: { key, meant },
        hint: `Did you mean '${meant}'?`,
      });
    }
  }

  /** Reports each near miss among the keys of the object at `path`. */
  findings(
    site: FaultSite,
    path: JsonPath,
    value: Readonly<Record<string, unknown>>,
    server?: string,
  ): Finding[] {
    const found: Finding[] = [];
    for (const key of Object.keys(value)) {
      const meant = this.nearMiss(key);
      if (meant === undefined) continue;
      const { line } = site.document.place([...path, key], "key");
      found.push({
        level: "warning",
        code: "KEY_UNKNOWN",
        message: `The key '${formatPath([...path, key])}' at line ${line} is unknown and has no effect`,
        hint: `Did you mean '${meant}'?`,
        ...(server !== undefined && { server }),
      });
    }
    return found;
  }
}
