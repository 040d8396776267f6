/**
 * Tools as lists show them: filters and pages.
 *
 * Owns which tools a list has and in which order: servers as in the file, tools as announced. Invariants: a quarantined
 * server's tools are in no list; an agent sees only what it may call; a cursor goes on behind the tool it names, also
 * when that one is gone by then. Sorting all ids for each page was rejected: of 50,000 tools it is most of the work.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { Groups } from "../catalog/groups.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import { isOffered } from "../catalog/policy.ts";
import { ProxyError } from "../core/errors.ts";
import { ADMIN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import { isCallable } from "../upstream/transition.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import type { Finder } from "./finder.ts";
import { groupFor, mayCall } from "./permission.ts";

/** What a list of tools reads. */
export interface ToolListDeps {
  readonly upstreams: Pick<Upstreams, "list">;
  readonly catalog: Pick<Catalog, "list">;
  readonly finder: Pick<Finder, "mayReach" | "callWith">;
  readonly configuration: { readonly groups: Groups };
}

/** Which tools are wanted. */
export interface ToolQuery {
  /** Only this server's. */
  readonly server?: string | undefined;
  /** Id, name or slug of a group; the servers of the groups below are among them. */
  readonly group?: string | undefined;
  /** Text in the id or the description, whatever its case. */
  readonly q?: string | undefined;
  /** @default all */
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
  readonly principal?: Principal | undefined;
}

/** A tool, and whether it may be called as things stand. */
export interface ListedTool {
  readonly tool: KnownTool;
  readonly isEnabled: boolean;
}

/** Some tools, and counts over all that the filters leave. */
export interface ToolPage {
  readonly tools: readonly ListedTool[];
  readonly total: number;
  readonly enabled: number;
  readonly nextCursor?: string;
}

/**
 * Lists tools.
 *
 * @throws {ProxyError} `USAGE` for a cursor that is none, `GROUP_UNKNOWN`.
 */
export function listTools(query: ToolQuery, deps: ToolListDeps): ToolPage {
  const { limit = Number.POSITIVE_INFINITY, cursor } = query;
  const isWanted = textFilter(query.q);
  const shelves = shelvesOf(query, deps);
  const from = cursor === undefined ? undefined : placeOf(cursor, shelves);
  const tools: ListedTool[] = [];
  let [total, enabled, left] = [0, 0, 0];
  let last: Place | undefined;
  for (const [shelf, { name, all }] of shelves.entries()) {
    for (const [at, listed] of all.entries()) {
      if (!isWanted(listed.tool)) continue;
      total += 1;
      if (listed.isEnabled) enabled += 1;
      if (from !== undefined && (shelf < from.shelf || (shelf === from.shelf && at < from.at))) continue;
      if (tools.length >= limit) {
        left += 1;
        continue;
      }
      tools.push(listed);
      last = { shelf, server: name, tool: listed.tool.name, at };
    }
  }
  const nextCursor = left > 0 && last !== undefined ? writeCursor(last) : undefined;
  return { tools, total, enabled, ...(nextCursor === undefined ? {} : { nextCursor }) };
}

interface Shelf {
  readonly name: string;
  readonly all: readonly ListedTool[];
}

function shelvesOf(query: ToolQuery, { upstreams, catalog, finder, configuration }: ToolListDeps): Shelf[] {
  const { server: wanted, group, principal = ADMIN } = query;
  const { groups } = configuration;
  const members = group ? new Set(groups.members(groupFor(group, { groups, principal }).id)) : undefined;
  return upstreams.list().flatMap((upstream) => {
    const { name } = upstream.server;
    if (wanted !== undefined && name !== wanted) return [];
    if (upstream.mode === "quarantined" || members?.has(name) === false) return [];
    if (!finder.mayReach(principal, name)) return [];
    const listed = catalog.list({ server: name }).map((tool) => ({
      tool,
      isEnabled: isEnabled(tool, upstream) && mayCall(principal, finder.callWith(tool)),
    }));
    return [{ name, all: principal.kind === "agent" ? listed.filter((one) => one.isEnabled) : listed }];
  });
}

function isEnabled(tool: KnownTool, { server, mode }: Upstream): boolean {
  return isCallable(mode) && server.faults.length === 0 && isOffered(server, tool.name);
}

/** A definition is read only where its text has the words somewhere. */
function textFilter(q: string | undefined): (tool: KnownTool) => boolean {
  const text = q?.trim().toLowerCase() ?? "";
  if (text === "") return () => true;
  const inJson = JSON.stringify(text).slice(1, -1);
  return (tool) => {
    if (tool.id.toLowerCase().includes(text)) return true;
    if (!tool.text.toLowerCase().includes(inJson)) return false;
    const { title = "", description = "" } = tool.definition;
    return `${title}\n${description}`.toLowerCase().includes(text);
  };
}

interface Place {
  readonly shelf: number;
  readonly server: string;
  readonly tool: string;
  readonly at: number;
}

function writeCursor({ shelf, server, tool, at }: Place): string {
  return Buffer.from(JSON.stringify([server, shelf, tool, at])).toString("base64url");
}

/** Where the next page begins; where server or tool are gone, at what stands in their place. */
function placeOf(cursor: string, shelves: readonly Shelf[]): { readonly shelf: number; readonly at: number } {
  const { shelf, server, tool, at } = readCursor(cursor);
  const found = shelves.findIndex(({ name }) => name === server);
  if (found < 0) return { shelf, at: 0 };
  const place = shelves[found]?.all.findIndex((listed) => listed.tool.name === tool) ?? -1;
  return { shelf: found, at: place < 0 ? at : place + 1 };
}

function readCursor(text: string): Place {
  try {
    const parts: unknown = JSON.parse(Buffer.from(text, "base64url").toString());
    const [server, shelf, tool, at] = parts as readonly unknown[];
    const isOurs = typeof server === "string" && typeof tool === "string";
    if (isOurs && typeof shelf === "number" && typeof at === "number") return { server, shelf, tool, at };
  } catch {
    // Falls through: it is none of ours.
  }
  throw new ProxyError("USAGE", `Cannot use 'cursor=${text.slice(0, 40)}': it is no cursor of this list`, {
    hint: "Send 'next_cursor' of the page before as it is, or leave it out for the first page",
  });
}
