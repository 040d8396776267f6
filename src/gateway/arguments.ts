/**
 * Arguments of a call, checked against the tool's schema before they travel.
 *
 * Owns reading `args`/`args_json` and the cache of prepared validators. Invariants: a schema is foreign
 * text, so it is interpreted, never compiled to code; a schema the validator cannot use lets the call
 * pass, since the upstream checks again. Ajv was rejected: it turns an upstream's schema into functions.
 */
import { Validator } from "@cfworker/json-schema";
import type { OutputUnit, SchemaDraft } from "@cfworker/json-schema";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";

/** Prepared validators kept, the most recently used ones. */
const MAX_VALIDATORS = 512;
/** Faults named in one error. */
const MAX_FAULTS = 5;
/** Units of a validator's answer that are looked at; of ten thousand wrong items the first ones say it all. */
const MAX_UNITS = 200;
const MAX_FAULT_CHARS = 300;
/** A schema that is nested deeper is not checked. */
const MAX_SCHEMA_DEPTH = 100;
/** Keywords whose values are data, not schemas. */
const DATA_KEYWORDS: ReadonlySet<string> = new Set(["const", "enum", "default", "examples"]);

/** What a schema belongs to. */
export interface CheckedSchema {
  /** Names the tool in the error. */
  readonly id: string;
  /** Equal only for equal schemas. */
  readonly fingerprint: string;
  readonly inputSchema: JsonObject;
}

/** Checks arguments against schemas. */
export class ArgumentChecker {
  readonly #validators = new Map<string, Validator | undefined>();

  /** @throws {ProxyError} `ARGUMENTS_INVALID` with the faults and the schema in its data. */
  check(tool: CheckedSchema, args: JsonObject): void {
    const validator = this.#validator(tool);
    if (validator === undefined) return;
    let outcome: { readonly valid: boolean; readonly errors: readonly OutputUnit[] };
    try {
      outcome = validator.validate(args);
    } catch {
      return;
    }
    if (outcome.valid) return;
    const faults = readable(outcome.errors);
    throw new ProxyError("ARGUMENTS_INVALID", `Cannot call '${tool.id}': ${faults.join("; ")}`, {
      data: { faults, inputSchema: tool.inputSchema },
      hint: "Mend the arguments to fit inputSchema and call again",
    });
  }

  #validator(tool: CheckedSchema): Validator | undefined {
    const { fingerprint, inputSchema } = tool;
    if (this.#validators.has(fingerprint)) {
      const known = this.#validators.get(fingerprint);
      this.#validators.delete(fingerprint);
      this.#validators.set(fingerprint, known);
      return known;
    }
    const made = prepare(inputSchema);
    this.#validators.set(fingerprint, made);
    for (const oldest of this.#validators.keys()) {
      if (this.#validators.size <= MAX_VALIDATORS) break;
      this.#validators.delete(oldest);
    }
    return made;
  }
}

/**
 * Reads the arguments a client sent, as an object or as JSON text.
 *
 * @throws {ProxyError} `ARGUMENTS_INVALID` when neither is an object.
 */
export function readArguments(
  id: string,
  sent: { readonly args?: unknown; readonly json?: unknown },
): JsonObject {
  const { args, json } = sent;
  const value = args ?? (typeof json === "string" ? parse(id, json) : json) ?? {};
  if (typeof value === "object" && !Array.isArray(value)) return value as JsonObject;
  throw new ProxyError("ARGUMENTS_INVALID", `Cannot call '${id}': the arguments must be an object`, {
    hint: 'Send them as args: {"name": value}, or as the same JSON text in args_json',
  });
}

function parse(id: string, json: string): unknown {
  if (json.trim() === "") return undefined;
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new ProxyError(
      "ARGUMENTS_INVALID",
      `Cannot call '${id}': args_json is not JSON: ${messageOf(error)}`,
      {
        cause: error,
        hint: "Send the arguments as an object in args instead",
      },
    );
  }
}

function prepare(schema: JsonObject): Validator | undefined {
  try {
    return new Validator(
      usable(schema, 0) as ConstructorParameters<typeof Validator>[0],
      draftOf(schema),
      false,
    );
  } catch {
    return undefined;
  }
}

/**
 * Copies a schema, since the validator writes into its own, and leaves out patterns that could hold up the process.
 *
 * @throws {RangeError} when it cannot be used at all.
 */
function usable(schema: unknown, depth: number): unknown {
  if (typeof schema !== "object" || schema === null) return schema;
  if (depth > MAX_SCHEMA_DEPTH) throw new RangeError("the schema is nested too deeply");
  if (Array.isArray(schema)) return schema.map((item) => usable(item, depth + 1));
  const members: [string, unknown][] = [];
  for (const [key, value] of Object.entries(schema) as [string, unknown][]) {
    if (key === "pattern" && typeof value === "string" && backtracks(value)) continue;
    if (key === "patternProperties" && Object.keys(Object(value) as object).some(backtracks)) {
      throw new RangeError("a pattern backtracks");
    }
    members.push([key, DATA_KEYWORDS.has(key) ? value : usable(value, depth + 1)]);
  }
  return Object.fromEntries(members);
}

/** Whether a repeated group repeats or chooses inside, as in `(a+)+`: the form that takes exponential time. */
function backtracks(pattern: string): boolean {
  const groups: boolean[] = [];
  let isInClass = false;
  for (let at = 0; at < pattern.length; at += 1) {
    const sign = pattern.charAt(at);
    if (sign === "\\") at += 1;
    else if (isInClass) isInClass = sign !== "]";
    else if (sign === "[") isInClass = true;
    else if (sign === "(") groups.push(false);
    else if (sign === ")") {
      const isBusy = groups.pop() === true;
      if (isBusy && "*+{".includes(pattern.charAt(at + 1) || " ")) return true;
      if (isBusy) markOuter(groups);
    } else if ("*+{|".includes(sign)) markOuter(groups);
  }
  return false;
}

function markOuter(groups: boolean[]): void {
  if (groups.length > 0) groups[groups.length - 1] = true;
}

function draftOf(schema: JsonObject): SchemaDraft {
  const { $schema: named } = schema;
  if (typeof named !== "string") return "2020-12";
  if (named.includes("draft-04")) return "4";
  if (named.includes("draft-07") || named.includes("draft-06")) return "7";
  return named.includes("2019-09") ? "2019-09" : "2020-12";
}

/** The innermost faults, in words; the units above them only repeat that something below failed. */
function readable(errors: readonly OutputUnit[]): string[] {
  const units = errors.slice(0, MAX_UNITS);
  const isOuter = (unit: OutputUnit): boolean =>
    units.some(
      (other) =>
        other !== unit &&
        other.keywordLocation.startsWith(`${unit.keywordLocation}/`) &&
        other.instanceLocation.length >= unit.instanceLocation.length,
    );
  const inner = units.filter((unit) => !isOuter(unit));
  // A refused extra property is named by the unit above the schema `false`.
  const named = inner.filter((unit) => unit.keyword !== "false");
  const faults = (named.length > 0 ? named : inner).map((unit) => {
    const text =
      unit.error.length > MAX_FAULT_CHARS ? `${unit.error.slice(0, MAX_FAULT_CHARS)}…` : unit.error;
    return `${pathOf(unit.instanceLocation)}: ${text.replace(/\.$/, "")}`;
  });
  return [...new Set(faults)].slice(0, MAX_FAULTS);
}

function pathOf(location: string): string {
  const path = location.replace(/^#\/?/, "").replaceAll("/", ".");
  return path === "" ? "arguments" : `arguments.${path}`;
}
