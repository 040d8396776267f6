/**
 * All known tools, by id and by server.
 *
 * Owns the tools in memory, what counts as a valid definition, the difference between two lists of a
 * server's tools, and whether a server's tools are stale; not the database, the search or the policy.
 * Invariants: an id names one tool; of a name that a server announces twice the first stays; a change
 * of fingerprint, and nothing else, is a change of a tool. Reading tools from SQLite at each use was
 * rejected: search and calls look at them all the time.
 */
import { ProxyError } from "../core/errors.ts";
import { splitToolId, toolId } from "../core/model.ts";
import type { ToolDefinition } from "../core/model.ts";
import { editDistance } from "../lib/edits.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { KnownTool } from "./known_tool.ts";

/** Longest tool name. */
const MAX_NAME_CHARS = 256;
/** Longest definition as JSON; a larger one would cost every client that lists it. */
const MAX_DEFINITION_CHARS = 1_000_000;
/** Suggestions in an error. */
const SUGGESTIONS = 3;
/** Most suggestions one may ask for. */
const MAX_SUGGESTIONS = 20;
/** Most tools compared for one suggestion. */
const MAX_COMPARED = 20_000;
/** Largest distance that still counts as meant. */
const MAX_DISTANCE = 6;

/** A tool that was announced and is not taken. */
export interface SkippedTool {
  /** As announced; empty when there was none. */
  readonly name: string;
  readonly reason: string;
}

/** What changed by one list of a server's tools; tool ids in the order of the list. */
export interface CatalogChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
  readonly skipped: readonly SkippedTool[];
}

/** A tool as the database has it. */
export interface ToolRow {
  readonly server: string;
  readonly name: string;
  /** The definition as JSON. */
  readonly definition: string;
  readonly fingerprint: string;
}

interface Shelf {
  tools: Map<string, KnownTool>;
  isStale: boolean;
}

/** The known tools. */
export class Catalog {
  readonly #tools = new Map<string, KnownTool>();
  readonly #shelves = new Map<string, Shelf>();
  #version = 0;

  /** Known tools. */
  get size(): number {
    return this.#tools.size;
  }

  /** Grows with each change of the known tools, so that what is made of them can be kept until then. */
  get version(): number {
    return this.#version;
  }

  /** Servers with known tools, in the order they came. */
  get servers(): readonly string[] {
    return [...this.#shelves.keys()];
  }

  /**
   * Takes the list a server announced for all of its tools.
   *
   * Tools that did not change keep their object; invalid definitions are skipped and told.
   */
  replace(
    server: string,
    definitions: readonly ToolDefinition[],
    options: { readonly isStale?: boolean } = {},
  ): CatalogChange {
    const { isStale = false } = options;
    const before = this.#shelves.get(server)?.tools ?? new Map<string, KnownTool>();
    const tools = new Map<string, KnownTool>();
    const change = { added: [] as string[], changed: [] as string[], skipped: [] as SkippedTool[] };
    for (const definition of definitions) {
      const known = before.get(definition?.name);
      const made = makeTool(server, definition, known);
      if (!(made instanceof KnownTool)) change.skipped.push(made);
      else if (tools.has(made.name))
        change.skipped.push({ name: made.name, reason: "its server announced it before" });
      else {
        tools.set(made.name, made);
        if (known === undefined) change.added.push(made.id);
        else if (known.fingerprint !== made.fingerprint) change.changed.push(made.id);
      }
    }
    const removed = [...before.values()].filter((tool) => !tools.has(tool.name)).map((tool) => tool.id);
    this.#shelve(server, { tools, isStale });
    return { ...change, removed };
  }

  /**
   * Takes stored tools without hashing or parsing them; their servers' tools are stale then.
   *
   * Of two rows for one tool the first stays.
   *
   * @returns how many tools were taken.
   */
  restore(rows: Iterable<ToolRow>): number {
    let count = 0;
    this.#version += 1;
    for (const { server, name, definition, fingerprint } of rows) {
      const tool = new KnownTool({ server, name, text: definition, fingerprint });
      if (this.#tools.has(tool.id)) continue;
      this.#tools.set(tool.id, tool);
      const shelf = this.#shelves.get(server) ?? { tools: new Map<string, KnownTool>(), isStale: true };
      shelf.tools.set(name, tool);
      shelf.isStale = true;
      this.#shelves.set(server, shelf);
      count += 1;
    }
    return count;
  }

  /** Known tools of a server. */
  count(server: string): number {
    return this.#shelves.get(server)?.tools.size ?? 0;
  }

  /** Forgets a server's tools and returns their ids. */
  remove(server: string): string[] {
    const removed = this.list({ server }).map((tool) => tool.id);
    this.#shelve(server, { tools: new Map(), isStale: false });
    return removed;
  }

  /** Notes that a server's tools may have changed since they were read. */
  markStale(server: string): void {
    const shelf = this.#shelves.get(server);
    if (shelf !== undefined) shelf.isStale = true;
  }

  /** Notes that a server's tools are as it has them now. */
  markFresh(server: string): void {
    const shelf = this.#shelves.get(server);
    if (shelf !== undefined) shelf.isStale = false;
  }

  /** Tells whether a server's tools may have changed since they were read; false for an unknown server. */
  isStale(server: string): boolean {
    return this.#shelves.get(server)?.isStale ?? false;
  }

  /** Looks a tool up. */
  find(id: string): KnownTool | undefined {
    return this.#tools.get(id);
  }

  /**
   * Looks up a tool that must be there.
   *
   * @throws {ProxyError} `TOOL_UNKNOWN` with the ids that may have been meant as `did_you_mean` in its data.
   */
  get(id: string): KnownTool {
    const tool = this.#tools.get(id);
    if (tool !== undefined) return tool;
    const meant = this.suggest(id, SUGGESTIONS);
    const shown = id.length > MAX_NAME_CHARS ? `${id.slice(0, MAX_NAME_CHARS)}…` : id;
    throw new ProxyError("TOOL_UNKNOWN", `Cannot find the tool '${shown}': no server has announced it`, {
      data: { tool: shown, did_you_mean: meant },
      hint: meant[0] === undefined ? "Look for it with retrieve_tools" : `Did you mean '${meant[0]}'?`,
    });
  }

  /** All tools, or those of one server, in the order they were announced. */
  list(options: { readonly server?: string } = {}): KnownTool[] {
    const { server } = options;
    if (server === undefined) return [...this.#tools.values()];
    return [...(this.#shelves.get(server)?.tools.values() ?? [])];
  }

  /** Ids that may have been meant by a wrong one, the likeliest first; ids and bare names are compared. */
  suggest(id: string, count: number = SUGGESTIONS): string[] {
    const wrong = id.slice(0, 2 * MAX_NAME_CHARS).toLowerCase();
    const bare = splitToolId(wrong)?.tool ?? wrong;
    const near: { readonly id: string; readonly distance: number }[] = [];
    let compared = 0;
    for (const tool of this.#tools.values()) {
      if ((compared += 1) > MAX_COMPARED) break;
      const distance = distanceTo(tool, wrong, bare);
      if (distance <= MAX_DISTANCE) near.push({ id: tool.id, distance });
    }
    near.sort((a, b) => a.distance - b.distance || (a.id < b.id ? -1 : 1));
    return near.slice(0, Math.min(Math.max(count, 0), MAX_SUGGESTIONS)).map((tool) => tool.id);
  }

  #shelve(server: string, shelf: Shelf): void {
    this.#version += 1;
    for (const tool of this.#shelves.get(server)?.tools.values() ?? []) this.#tools.delete(tool.id);
    if (shelf.tools.size === 0) this.#shelves.delete(server);
    else this.#shelves.set(server, shelf);
    for (const tool of shelf.tools.values()) this.#tools.set(tool.id, tool);
  }
}

/** Makes a tool, or says why not; one that did not change is the one known before. */
function makeTool(
  server: string,
  definition: unknown,
  known: KnownTool | undefined,
): KnownTool | SkippedTool {
  const fault = faultOf(definition);
  if (fault !== undefined) return { name: nameOf(definition), reason: fault };
  const valid = definition as ToolDefinition;
  try {
    const text = JSON.stringify(valid);
    if (known?.text === text) return known;
    if (text.length > MAX_DEFINITION_CHARS) {
      return { name: valid.name, reason: `its definition is longer than ${MAX_DEFINITION_CHARS} characters` };
    }
    const fingerprint = fingerprintOf(valid);
    return new KnownTool({ server, name: valid.name, text, fingerprint });
  } catch (error) {
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    return { name: valid.name, reason: "its definition is nested too deeply" };
  }
}

function faultOf(definition: unknown): string | undefined {
  if (!isObject(definition)) return "it is not an object";
  const { name, inputSchema, outputSchema } = definition;
  if (typeof name !== "string" || name === "") return "it has no name";
  if (name.length > MAX_NAME_CHARS) return `its name is longer than ${MAX_NAME_CHARS} characters`;
  if (!isObject(inputSchema)) return "its inputSchema is not an object";
  if (outputSchema !== undefined && !isObject(outputSchema)) return "its outputSchema is not an object";
  return undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function nameOf(definition: unknown): string {
  const name = isObject(definition) ? definition["name"] : undefined;
  return typeof name === "string" ? name.slice(0, MAX_NAME_CHARS) : "";
}

/** Half a slip is added when only the bare name is near: the same tool of the named server comes first. */
function distanceTo(tool: KnownTool, wrong: string, bare: string): number {
  const limit = Math.min(MAX_DISTANCE, Math.max(1, Math.ceil(bare.length / 3)));
  const byId = editDistance(wrong, toolId(tool.server, tool.name).toLowerCase(), limit);
  const byName = editDistance(bare, tool.name.toLowerCase(), limit) + 0.5;
  const distance = Math.min(byId, byName);
  return distance > limit + 0.5 || (byId > limit && byName > limit + 0.5) ? Infinity : distance;
}
