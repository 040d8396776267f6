/**
 * Which tools may be found, and how a found one is shown.
 *
 * Owns the rule of what is on offer (the server's startup mode, its faults, its tool lists, who asks) and the
 * reasons given for a tool that is not. Invariants: filters come before ranking, so a limit is filled;
 * a tool that may not be called is never found, listed or described; what a principal may not reach looks
 * to it like what does not exist. Leaving the rule to each surface
 * was rejected: they would drift apart, and a leak on one is a leak.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { Groups } from "../catalog/groups.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import { callVariantOf, isOffered } from "../catalog/policy.ts";
import type { SearchExplanation, SearchIndex, SearchOptions } from "../catalog/search.ts";
import { ProxyError } from "../core/errors.ts";
import type { CallVariant, Server } from "../core/model.ts";
import { splitToolId } from "../core/model.ts";
import { PERMISSIONS } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import { nearestWord } from "../lib/nearest.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { isScoped, mayCall, mayReach } from "./permission.ts";

/** Most tools one search returns. */
export const MAX_FOUND = 100;
/** A server that was never connected, a sleeping one for instance, may have the tool all the same. */
const UNREAD_HINT = "Call it all the same: the call connects the server; or look at 'mcpproxy status'";

/** What is looked for. */
export interface FindOptions {
  readonly query: string;
  readonly limit?: number | undefined;
  /** Only tools of this server. */
  readonly server?: string | undefined;
  /** Only tools of servers in this group, by name or id. */
  readonly group?: string | undefined;
  readonly readOnlyOnly?: boolean | undefined;
  readonly excludeDestructive?: boolean | undefined;
  /** Who looks; only what it may reach and call is there for it. @default whoever may do all */
  readonly principal?: Principal | undefined;
}

/** One tool that was found. */
export interface Found {
  readonly tool: KnownTool;
  readonly score: number;
}

/** What a search found. */
export interface FindResult {
  readonly found: readonly Found[];
  readonly total: number;
  readonly tookMs: number;
}

/** What a {@link Finder} looks through. */
export interface FinderDeps {
  readonly catalog: Catalog;
  readonly index: SearchIndex;
  readonly upstreams: Upstreams;
  readonly settings: () => Settings;
  /** The groups in force. */
  readonly groups: () => Groups;
}

/** Finds tools that may be called. */
export class Finder {
  readonly #deps: FinderDeps;

  constructor(deps: FinderDeps) {
    this.#deps = deps;
  }

  /** Searches by words; the best first. */
  find(options: FindOptions): FindResult {
    const { hits, total, tookMs } = this.#deps.index.search(this.#searchOf(options));
    const found = hits.flatMap(({ id, score }) => {
      const tool = this.#deps.catalog.find(id);
      return tool ? [{ tool, score }] : [];
    });
    return { found, total, tookMs };
  }

  /** Tells how a tool fares in the same search, wherever it ranks; undefined when it is not in the index. */
  explain(id: string, options: FindOptions): SearchExplanation | undefined {
    return this.#deps.index.explain(id, this.#searchOf(options));
  }

  /** Filters come before ranking, so that a limit is filled. */
  #searchOf(options: FindOptions): SearchOptions {
    const { query, limit = this.#deps.settings().toolsLimit, readOnlyOnly, excludeDestructive } = options;
    const servers = this.#openServers(options);
    const mayUse = this.#permitted(options.principal);
    return {
      query,
      limit: Math.min(Math.max(1, limit), MAX_FOUND),
      servers: new Set(servers.keys()),
      filter: (tool) => {
        const server = servers.get(tool.server);
        if (server === undefined || !isOffered(server, tool.name)) return false;
        if (mayUse !== undefined && !mayUse(tool as KnownTool)) return false;
        if (!readOnlyOnly && !excludeDestructive) return true;
        const { annotations } = tool as KnownTool;
        if (readOnlyOnly) return annotations?.readOnlyHint === true && annotations.destructiveHint !== true;
        return annotations?.destructiveHint !== true;
      },
    };
  }

  /** All tools on offer, of one server, of a group or of all. */
  list(options: Pick<FindOptions, "server" | "group" | "principal"> = {}): KnownTool[] {
    const servers = this.#openServers(options);
    const mayUse = this.#permitted(options.principal);
    const { server } = options;
    return this.#deps.catalog.list(server === undefined ? {} : { server }).filter((tool) => {
      const owner = servers.get(tool.server);
      return owner !== undefined && isOffered(owner, tool.name) && (mayUse?.(tool) ?? true);
    });
  }

  /** Whether a principal may reach a server. */
  mayReach(principal: Principal, server: string): boolean {
    return !isScoped(principal) || mayReach(principal, server, this.#deps.groups());
  }

  /** The meta tool a tool is called with. */
  callWith(tool: KnownTool): CallVariant {
    return callVariantOf(tool, this.#deps.settings().unannotatedTools);
  }

  /** How the tool's server stands, and whether the tool was last seen before this start. */
  standing(tool: KnownTool): { readonly serverState: string; readonly isStale: boolean } {
    return {
      serverState: this.#deps.upstreams.find(tool.server)?.category ?? "disconnected",
      isStale: this.#deps.catalog.isStale(tool.server),
    };
  }

  /**
   * Gives a tool that may be called, as far as its server goes; permissions are the caller's to check.
   *
   * @throws {ProxyError} `TOOL_UNKNOWN`, `SERVER_UNKNOWN`, `SERVER_FAULTY`, `SERVER_OFF` or `TOOL_REFUSED`,
   * each with the reason the tool is missing.
   */
  get(id: string, principal?: Principal): KnownTool {
    const parts = splitToolId(id);
    if (parts === undefined) {
      throw new ProxyError("TOOL_UNKNOWN", `Cannot find the tool '${id}': an id has the form 'server:tool'`, {
        data: { did_you_mean: this.suggest(id, principal) },
        hint: "Take the 'id' that retrieve_tools gives",
      });
    }
    this.assertReach(parts.server, principal);
    const { server } = this.#deps.upstreams.callable(parts.server);
    const tool = this.#deps.catalog.find(id);
    if (!isOffered(server, parts.tool)) {
      throw new ProxyError("TOOL_REFUSED", `Cannot call '${id}': it is switched off for its server`, {
        hint: "See 'enabled_tools' and 'disabled_tools' of the server's entry",
      });
    }
    return tool ?? this.#missing(id, { server: parts.server, principal });
  }

  /**
   * Refuses a server that a principal may not reach as one that does not exist.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`
   */
  assertReach(server: string, principal: Principal | undefined): void {
    if (principal === undefined || !isScoped(principal)) return;
    const groups = this.#deps.groups();
    if (mayReach(principal, server, groups) && this.#deps.upstreams.find(server) !== undefined) return;
    const names = this.#deps.upstreams.list().map((upstream) => upstream.server.name);
    const similar = nearestWord(
      server,
      names.filter((name) => mayReach(principal, name, groups)),
    );
    throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${server}'`, {
      hint: similar === undefined ? "Look for tools with retrieve_tools" : `Did you mean '${similar}'?`,
    });
  }

  /** Whether the server's tools were never read, so that a tool may exist that nobody knows of. */
  isUnread(server: string): boolean {
    return this.#deps.catalog.list({ server }).length === 0;
  }

  #missing(
    id: string,
    { server, principal }: { readonly server: string; readonly principal: Principal | undefined },
  ): never {
    const failure = this.#deps.upstreams.find(server)?.status.failure;
    const isUnread = this.isUnread(server);
    let why = `'${server}' has no tool of this name`;
    if (isUnread) why = failure?.message ?? `the tools of '${server}' were not read yet`;
    throw new ProxyError("TOOL_UNKNOWN", `Cannot find the tool '${id}': ${why}`, {
      data: { did_you_mean: this.suggest(id, principal) },
      hint: failure?.hint ?? (isUnread ? UNREAD_HINT : "Look for it with retrieve_tools"),
    });
  }

  /** Ids that may have been meant; only of what the asker might call. */
  suggest(id: string, principal: Principal | undefined): string[] {
    const servers = this.#openServers({ principal });
    const mayUse = this.#permitted(principal);
    return this.#deps.catalog.suggest(id).filter((meant) => {
      const tool = this.#deps.catalog.find(meant);
      const server = tool && servers.get(tool.server);
      if (tool === undefined || server === undefined || !isOffered(server, tool.name)) return false;
      return mayUse?.(tool) ?? true;
    });
  }

  /** Decides on tools by the permissions of a principal; undefined when it may call all. */
  #permitted(principal: Principal | undefined): ((tool: KnownTool) => boolean) | undefined {
    if (principal === undefined || principal.permissions.size === PERMISSIONS.length) return undefined;
    const { unannotatedTools } = this.#deps.settings();
    return (tool) => mayCall(principal, callVariantOf(tool, unannotatedTools));
  }

  /** The servers whose tools may be found, narrowed to a server or a group. */
  #openServers(options: Pick<FindOptions, "server" | "group" | "principal">): Map<string, Server> {
    const { server: wanted, group, principal } = options;
    const scope = principal !== undefined && isScoped(principal) ? principal : undefined;
    const groups = scope && this.#deps.groups();
    const names = group === undefined ? undefined : this.#groupNames(group);
    const open = new Map<string, Server>();
    for (const { server, mode } of this.#deps.upstreams.list()) {
      if (wanted !== undefined && server.name !== wanted) continue;
      if (scope && groups && !mayReach(scope, server.name, groups)) continue;
      if (names !== undefined && !server.groups.some((name) => names.has(name))) continue;
      const isOn = mode === "active" || mode === "lazy_loading";
      if (isOn && server.faults.length === 0) open.set(server.name, server);
    }
    return open;
  }

  /** A group is named by its name or its id, in the file as here. */
  #groupNames(group: string): ReadonlySet<string> {
    const known = this.#deps.settings().groups.find(({ name, id }) => name === group || String(id) === group);
    return new Set(known ? [known.name, String(known.id)] : [group]);
  }
}
