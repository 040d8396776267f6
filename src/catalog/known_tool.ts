/**
 * A tool as the catalog keeps it: the definition as JSON text, parsed when someone looks.
 *
 * Owns the text, the parsed definitions in use, and the behaviour hints, which stay once read; not which
 * tools are known. Invariant: at most {@link MAX_PARSED} definitions are held twice (as text and parsed).
 * Keeping every definition parsed was rejected: objects weigh five times the text, and of 10,000 tools a
 * few dozen are in use. `definition` and `annotations` are getters: spreading a tool loses them.
 */
import type { Tool, ToolAnnotations, ToolDefinition } from "../core/model.ts";

/** Definitions kept parsed, the most recently used ones. */
const MAX_PARSED = 256;

/** What a {@link KnownTool} is made of. */
export interface KnownToolOptions {
  readonly server: string;
  readonly name: string;
  /** The definition as JSON. */
  readonly text: string;
  readonly fingerprint: string;
}

const parsed = new Map<KnownTool, ToolDefinition>();

/** One tool of the catalog. */
export class KnownTool implements Tool {
  readonly id: string;
  readonly server: string;
  readonly name: string;
  readonly fingerprint: string;
  /** The definition as JSON text, as the database stores it. */
  readonly text: string;
  /** Undefined until the definition was parsed once, null when it has none. */
  #annotations: ToolAnnotations | null | undefined;

  constructor(options: KnownToolOptions) {
    this.id = `${options.server}:${options.name}`;
    this.server = options.server;
    this.name = options.name;
    this.fingerprint = options.fingerprint;
    this.text = options.text;
  }

  /** The definition; parsed again when it was not looked at for a while, so do not compare by identity. */
  get definition(): ToolDefinition {
    const known = parsed.get(this);
    if (known !== undefined) {
      parsed.delete(this);
      parsed.set(this, known);
      return known;
    }
    const definition = parse(this.text, this.name);
    this.#annotations ??= slimHints(definition.annotations) ?? null;
    parsed.set(this, definition);
    for (const oldest of parsed.keys()) {
      if (parsed.size <= MAX_PARSED) break;
      parsed.delete(oldest);
    }
    return definition;
  }

  /** The behaviour hints, without the definition around them; cheap enough for a filter over all tools. */
  get annotations(): ToolAnnotations | undefined {
    if (this.#annotations === undefined) void this.definition;
    return this.#annotations ?? undefined;
  }
}

/** A text the database spoiled counts as a tool without parameters until its server is read again. */
function parse(text: string, name: string): ToolDefinition {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && "inputSchema" in value) return value as ToolDefinition;
  } catch {
    // Falls through: see above.
  }
  return { name, inputSchema: { type: "object" } };
}

const HINTS = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] as const;
/** By the hints in base 3: absent, false, true. */
const shared: (ToolAnnotations | undefined)[] = [];

/** The boolean hints alone; equal ones are one object, of which there are at most 81. */
function slimHints(annotations: unknown): ToolAnnotations | undefined {
  if (typeof annotations !== "object" || annotations === null) return undefined;
  const given = annotations as Readonly<Record<string, unknown>>;
  let number = 0;
  for (const hint of HINTS)
    number = number * 3 + (typeof given[hint] === "boolean" ? 1 + Number(given[hint]) : 0);
  return (shared[number] ??= Object.freeze(
    Object.fromEntries(
      HINTS.filter((hint) => typeof given[hint] === "boolean").map((hint) => [hint, given[hint]]),
    ),
  ));
}
