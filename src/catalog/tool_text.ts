/**
 * What of a tool is searched: the texts of its fields.
 *
 * Owns the walk through a tool's schema for parameter names and descriptions, bounded in depth, count
 * and length; not how texts become words. Invariant: the texts are made for indexing and thrown away;
 * nothing here keeps a schema alive. Indexing the schema's JSON as one text was rejected: keywords such
 * as `properties` and `type` would match everything.
 */
import type { Tool } from "../core/model.ts";

/** Deepest nesting of parameters that is searched. */
const MAX_DEPTH = 4;
/** Most nodes of one tool's schema that are looked at. */
const MAX_NODES = 500;
/** Longest text of one field. */
const MAX_FIELD_CHARS = 4_000;

/** The searched fields of one tool, as texts. */
export interface ToolText {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly parameterNames: string;
  readonly parameterDescriptions: string;
  readonly server: string;
}

interface Parameters {
  names: string;
  descriptions: string;
  nodes: number;
}

/** Takes the searched texts out of a tool; `serverTitle` is the name its server gave itself. */
export function toolTextOf(tool: Tool, serverTitle: string = ""): ToolText {
  const { definition } = tool;
  const parameters: Parameters = { names: "", descriptions: "", nodes: 0 };
  collect(definition.inputSchema, parameters, 0);
  const title = textOf(definition.title) || textOf(asRecord(definition.annotations)["title"]);
  return {
    name: tool.name,
    title: `${title} ${serverTitle}`.trim().slice(0, MAX_FIELD_CHARS),
    description: textOf(definition.description).slice(0, MAX_FIELD_CHARS),
    parameterNames: parameters.names,
    parameterDescriptions: parameters.descriptions,
    server: tool.server,
  };
}

function collect(value: unknown, into: Parameters, depth: number): void {
  if (depth > MAX_DEPTH || into.nodes >= MAX_NODES || typeof value !== "object" || value === null) return;
  into.nodes += 1;
  const schema = asRecord(value);
  const properties = asRecord(schema["properties"]);
  for (const name of Object.keys(properties)) {
    if (into.names.length >= MAX_FIELD_CHARS) break;
    const member = properties[name];
    into.names += `${name} `;
    const description = textOf(asRecord(member)["description"]);
    if (into.descriptions.length < MAX_FIELD_CHARS)
      into.descriptions += `${description.slice(0, MAX_FIELD_CHARS)} `;
    collect(member, into, depth + 1);
  }
  collect(schema["items"], into, depth + 1);
  for (const key of ["anyOf", "oneOf", "allOf"]) {
    const branches = schema[key];
    if (!Array.isArray(branches)) continue;
    for (const branch of branches.slice(0, MAX_NODES)) collect(branch, into, depth + 1);
  }
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
