/**
 * Generated tools: names, descriptions and schemas as production has them.
 *
 * Owns their distributions: descriptions have a median of 83 characters and reach 6,500, bare names repeat between
 * servers and never within one. Invariant: the same source of numbers makes the same tools. One schema for all was
 * rejected: search, fingerprints and signatures are to be fed what they will meet.
 */
import type { Json, JsonObject, ToolDefinition } from "../core/model.ts";
import { draw, pick, pickSome } from "./random.ts";
import type { Random } from "./random.ts";
import { NOUNS, PARAMETERS, QUALIFIERS, SENTENCES, VERBS } from "./vocabulary.ts";

/** The longest description. */
const MAX_DESCRIPTION_CHARS = 6_500;
const DESCRIPTION = { median: 83, sigma: 0.9, max: MAX_DESCRIPTION_CHARS };
const MIN_DESCRIPTION_CHARS = 12;
/** Share of tools whose description is a whole manual. */
const MANUAL_RATIO = 0.001;
const READS = /^(?:list|get|search|find|read|fetch|query|count|compare|watch)$/;

/** Makes tools of one server; `withManual` gives the first the longest description. */
export function makeTools(
  random: Random,
  options: { readonly service: string; readonly count: number; readonly withManual?: boolean },
): readonly ToolDefinition[] {
  const { service, count, withManual = false } = options;
  const tools = new Map<string, ToolDefinition>();
  while (tools.size < count) {
    const [verb, noun] = [pick(random, VERBS), pick(random, NOUNS)];
    const name = random() < 0.15 ? `${verb}${capitalize(noun)}` : `${verb}_${noun}`;
    if (tools.has(name)) continue;
    const isManual = (withManual && tools.size === 0) || random() < MANUAL_RATIO;
    const length = isManual ? MAX_DESCRIPTION_CHARS : Math.round(draw(random, DESCRIPTION));
    const description = describe(random, { verb, noun, service, length });
    tools.set(name, { name, description, inputSchema: makeSchema(random), ...annotate(random, verb) });
  }
  return [...tools.values()];
}

/** Writes the first letter large. */
export function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function describe(
  random: Random,
  { verb, noun, service, length }: { verb: string; noun: string; service: string; length: number },
): string {
  let text = `${capitalize(verb)} a ${noun} in ${capitalize(service)} ${pick(random, QUALIFIERS)}.`;
  while (text.length < length) text += ` ${pick(random, SENTENCES)}`;
  const cut = text.slice(0, Math.max(MIN_DESCRIPTION_CHARS, length));
  return cut.endsWith(" ") ? `${cut.slice(0, -1)}.` : cut;
}

function makeSchema(random: Random): JsonObject {
  const names = pickSome(random, PARAMETERS, Math.floor(random() * 6));
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name, makeProperty(random, name)])),
    ...(names.length > 0 && { required: names.slice(0, 1 + Math.floor(random() * 2)) }),
    additionalProperties: false,
    $schema: "http://json-schema.org/draft-07/schema#",
  };
}

function makeProperty(random: Random, name: string): Json {
  const description = `${capitalize(name.replaceAll("_", " "))} of the ${pick(random, NOUNS)}`;
  switch (Math.floor(random() * 7)) {
    case 0:
      return { type: "integer", description, minimum: 0, default: Math.floor(random() * 100) };
    case 1:
      return { type: "boolean", description, default: random() < 0.5 };
    case 2:
      return { type: "array", items: { type: "string" }, description };
    case 3:
      return { type: "string", enum: pickSome(random, VERBS, 3), description };
    default:
      return { type: "string", description };
  }
}

function annotate(random: Random, verb: string): Pick<ToolDefinition, "annotations"> {
  if (random() < 0.4) return {};
  const readOnlyHint = READS.test(verb);
  return { annotations: { readOnlyHint, ...(!readOnlyHint && { destructiveHint: verb === "delete" }) } };
}
