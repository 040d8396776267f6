/**
 * The tools of servers as tools of the proxy: `server__tool`, or under their own names where one server is served.
 *
 * Owns the outward names and the way back from one to a tool. Invariants: a name follows from the tool's id alone, so it
 * stays the same over restarts and for every client; it has at most 64 characters of `[A-Za-z0-9_-]`; of two tools with
 * one name neither is served, and both are reported; a call takes the one path of all calls. Numbering equal names was
 * rejected: the number would depend on which server came first, and a client would call another tool than it saw.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { Groups } from "../catalog/groups.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import type { ProxyEvent } from "../core/events.ts";
import type { Finding, JsonObject, StartupMode } from "../core/model.ts";
import { splitToolId, toolId } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import type { Log } from "../lib/log.ts";
import type { Caller } from "./caller.ts";
import type { Finder } from "./finder.ts";
import { errorResult, pageOf } from "./toolset.ts";
import type { ListedTool, ToolPage, Toolset, ToolsetContext } from "./toolset.ts";

/** Longest outward name; several clients take no longer one. */
export const MAX_NAME_CHARS = 64;
const SEPARATOR = "__";
/** Hexadecimal signs of a hash: 40 bits. */
const HASH_CHARS = 10;
const PLAIN = /^[A-Za-z0-9_-]+$/;
/** Keys of an entry that decide what is in a list. */
const LIST_KEYS: ReadonlySet<string> = new Set(["enabled_tools", "disabled_tools", "group_id", "groups"]);

const INSTRUCTIONS = {
  all: "mcpproxy passes on the tools of many MCP servers; a tool's name is the server's, two underscores, and its own.",
  group:
    "mcpproxy passes on the tools of a group of MCP servers; a tool's name is the server's, two underscores, and its own.",
  server: "mcpproxy passes on the tools of one MCP server.",
} as const;

/** Which tools are served. */
export type DirectScope =
  | { readonly kind: "all" }
  | { readonly kind: "group"; readonly id: number }
  /** Under their own names. */
  | { readonly kind: "server"; readonly name: string };

/** What {@link DirectTools} work with. */
export interface DirectToolsDeps {
  readonly catalog: Catalog;
  readonly finder: Finder;
  readonly caller: Caller;
  readonly log: Log;
  /** The groups in force. */
  readonly groups: () => Groups;
  /** Whether a server of this name is configured. */
  readonly isServer: (name: string) => boolean;
}

/** Outward names and their tools, of one version of the catalog. */
interface NameIndex {
  readonly version: number;
  /** By name, sorted. */
  readonly tools: ReadonlyMap<string, KnownTool>;
  readonly collisions: ReadonlyMap<string, readonly string[]>;
}

/**
 * Gives a tool its outward name: `server__tool` when that is short, plain, and leads back to both; else the readable
 * part of it with a hash of the id behind it.
 */
export function outwardNameOf(server: string, tool: string): string {
  const name = `${server}${SEPARATOR}${tool}`;
  const isReadBack = name.indexOf(SEPARATOR) === server.length;
  if (name.length <= MAX_NAME_CHARS && PLAIN.test(name) && isReadBack) return name;
  const hash = Bun.SHA256.hash(toolId(server, tool), "hex").slice(0, HASH_CHARS);
  const readable = name.replaceAll(/[^A-Za-z0-9_-]+/g, "_").slice(0, MAX_NAME_CHARS - HASH_CHARS - 1);
  return `${readable}_${hash}`;
}

/** Serves tools of servers directly. */
export class DirectTools {
  readonly #deps: DirectToolsDeps;
  readonly #reported = new Set<string>();
  #index: NameIndex | undefined;

  constructor(deps: DirectToolsDeps) {
    this.#deps = deps;
  }

  /** The tools of a scope, as an endpoint serves them. */
  scoped(scope: DirectScope): Toolset {
    return new ScopedTools(scope, { ...this.#deps, names: this });
  }

  /** All tools by outward name, sorted by it; quarantined and disabled ones too. */
  get tools(): ReadonlyMap<string, KnownTool> {
    return this.#current().tools;
  }

  /** The id behind a name; also of a tool nobody has read yet, when the name leads back to it. */
  idOf(name: string): string | undefined {
    const { tools, collisions } = this.#current();
    const tool = tools.get(name);
    if (tool !== undefined || collisions.has(name)) return tool?.id;
    const at = name.indexOf(SEPARATOR);
    const server = name.slice(0, Math.max(0, at));
    const bare = name.slice(at + SEPARATOR.length);
    if (at <= 0 || outwardNameOf(server, bare) !== name || !this.#deps.isServer(server)) return undefined;
    return this.#deps.finder.isUnread(server) ? toolId(server, bare) : undefined;
  }

  /** The name a tool has where it is called directly, and a tool that has it too; undefined for an unknown tool. */
  readonly directNameOf = (id: string): { readonly name: string; readonly takenBy?: string } | undefined => {
    const tool = this.#deps.catalog.find(id);
    if (tool === undefined) return undefined;
    const name = outwardNameOf(tool.server, tool.name);
    const takenBy = this.#current()
      .collisions.get(name)
      ?.find((other) => other !== id);
    return { name, ...(takenBy === undefined ? {} : { takenBy }) };
  };

  /** Tools that share an outward name with another one; none of them is served. */
  readonly collisions = (): readonly Finding[] => {
    return [...this.#current().collisions].map(([name, ids]) => ({
      level: "warning",
      code: "NAME_COLLISION",
      message: `The tools ${ids.map((id) => `'${id}'`).join(" and ")} have the same name '${name}' at /mcp/all, so neither is served there`,
      hint: "Rename one of the servers",
      server: splitToolId(ids[0] ?? "")?.server ?? "",
    }));
  };

  #current(): NameIndex {
    const { catalog } = this.#deps;
    if (this.#index?.version !== catalog.version) {
      this.#index = indexOf(catalog.list(), catalog.version);
      this.#report(this.#index.collisions);
    }
    return this.#index;
  }

  #report(collisions: NameIndex["collisions"]): void {
    for (const [name, ids] of collisions) {
      if (this.#reported.has(name)) continue;
      this.#reported.add(name);
      this.#deps.log.warn("Tools with the same outward name are not served directly", {
        name,
        ids: ids.join(" "),
      });
    }
    for (const name of this.#reported) if (!collisions.has(name)) this.#reported.delete(name);
  }
}

function indexOf(all: readonly KnownTool[], version: number): NameIndex {
  const named = all.map((tool) => [outwardNameOf(tool.server, tool.name), tool] as const);
  const byName = Map.groupBy(named, ([name]) => name);
  const tools = new Map<string, KnownTool>();
  const collisions = new Map<string, readonly string[]>();
  for (const name of [...byName.keys()].toSorted()) {
    const [first, ...others] = byName.get(name) ?? [];
    if (first === undefined) continue;
    if (others.length === 0) tools.set(name, first[1]);
    else
      collisions.set(
        name,
        [first, ...others].map(([, { id }]) => id),
      );
  }
  return { version, tools, collisions };
}

/** The tools of one scope. */
class ScopedTools implements Toolset {
  readonly instructions: string;
  readonly #scope: DirectScope;
  readonly #deps: DirectToolsDeps & { readonly names: DirectTools };

  constructor(scope: DirectScope, deps: DirectToolsDeps & { readonly names: DirectTools }) {
    this.#scope = scope;
    this.#deps = deps;
    this.instructions = INSTRUCTIONS[scope.kind];
  }

  list(principal: Principal, cursor?: string): ToolPage {
    return pageOf(this.#listed(principal), cursor);
  }

  has(name: string, principal: Principal): boolean {
    return this.#idOf(name, principal) !== undefined;
  }

  async call(name: string, args: JsonObject, context: ToolsetContext): Promise<JsonObject> {
    const { catalog, finder, caller } = this.#deps;
    const id = this.#idOf(name, context.principal) ?? name;
    const tool = catalog.find(id);
    try {
      // Nothing is cut: there is no tool here to read on with.
      const variant = tool && finder.callWith(tool);
      return await caller.call({ id, args, variant, isWhole: true, ...context });
    } catch (error) {
      return errorResult(error);
    }
  }

  isTouchedBy(event: ProxyEvent): boolean {
    const { type, server } = event;
    if (type === "config_reloaded") return this.#scope.kind === "group";
    if (server === undefined) return false;
    if (type === "server_changed" && event.data.keys.some((key) => LIST_KEYS.has(key)))
      return this.#scope.kind === "group" || this.#holds(server);
    if (type === "server_state_changed")
      return isOn(event.data.before.mode) !== isOn(event.data.after.mode) && this.#holds(server);
    const isOfTools = type === "tools_changed" || type === "server_renamed" || type === "server_removed";
    return isOfTools && this.#holds(server);
  }

  isThere(): boolean {
    const { groups, isServer } = this.#deps;
    if (this.#scope.kind === "group") return groups().find(this.#scope.id) !== undefined;
    return this.#scope.kind === "all" || isServer(this.#scope.name);
  }

  #listed(principal: Principal): ListedTool[] {
    const { finder, names } = this.#deps;
    if (this.#scope.kind === "server") {
      const own = finder.list({ server: this.#scope.name, principal });
      return own.map((tool) => ({ name: tool.name, chars: tool.text.length, define: () => tool.definition }));
    }
    const offered = new Set(finder.list({ principal }));
    const members = this.#members();
    const listed: ListedTool[] = [];
    for (const [name, tool] of names.tools) {
      if (!offered.has(tool) || members?.has(tool.server) === false) continue;
      listed.push({ name, chars: tool.text.length, define: () => ({ ...tool.definition, name }) });
    }
    return listed;
  }

  /** What is switched off has an id all the same: the call says why it is not to be had. */
  #idOf(name: string, principal: Principal): string | undefined {
    const id = this.#scope.kind === "server" ? this.#ownId(name) : this.#deps.names.idOf(name);
    const server = id === undefined ? undefined : splitToolId(id)?.server;
    if (server === undefined || !this.#holds(server)) return undefined;
    return this.#deps.finder.mayReach(principal, server) ? id : undefined;
  }

  #ownId(name: string): string | undefined {
    if (this.#scope.kind !== "server") return undefined;
    const { catalog, finder } = this.#deps;
    const id = toolId(this.#scope.name, name);
    return catalog.find(id) !== undefined || finder.isUnread(this.#scope.name) ? id : undefined;
  }

  #holds(server: string): boolean {
    if (this.#scope.kind === "server") return server === this.#scope.name;
    const { id } = this.#scope.kind === "group" ? this.#scope : { id: undefined };
    return (
      id === undefined ||
      this.#deps
        .groups()
        .groupsOf(server)
        .some((group) => group.id === id)
    );
  }

  #members(): ReadonlySet<string> | undefined {
    return this.#scope.kind === "group" ? new Set(this.#deps.groups().members(this.#scope.id)) : undefined;
  }
}

function isOn(mode: StartupMode): boolean {
  return mode === "active" || mode === "lazy_loading";
}
