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
  const value = args ?? (typeof json === "string" && json.trim() !== "" ? parse(id, json) : json) ?? {};
  if (typeof value === "object" && !Array.isArray(value)) return value as JsonObject;
  throw new ProxyError("ARGUMENTS_INVALID", `Cannot call '${id}': the arguments must be an object`, {
    hint: 'Send them as args: {"name": value}, or as the same JSON text in args_json',
  });
}

function parse(id: string, json: string): unknown {
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
    return new Validator(schema, draftOf(schema), false);
  } catch {
    return undefined;
  }
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
  const isOuter = (unit: OutputUnit): boolean =>
    errors.some(
      (other) =>
        other !== unit &&
        other.keywordLocation.startsWith(`${unit.keywordLocation}/`) &&
        other.instanceLocation.length >= unit.instanceLocation.length,
    );
  const inner = errors.filter((unit) => !isOuter(unit));
  const faults = inner.map((unit) => `${pathOf(unit.instanceLocation)}: ${unit.error.replace(/\.$/, "")}`);
  return [...new Set(faults)].slice(0, MAX_FAULTS);
}

function pathOf(location: string): string {
  const path = location.replace(/^#\/?/, "").replaceAll("/", ".");
  return path === "" ? "arguments" : `arguments.${path}`;
}
