/**
 * What operators do with servers and groups.
 *
 * Owns the one code path of the verbs that the admin API and the admin tools of MCP share: who may, what it is as a
 * change of the configuration, and what may be shown of a server. Invariants: an agent steers nothing; a person's word
 * (`approve`, `reject`, `verify` of something new) is heard only from a person; verbs on a connection ask the settings
 * that forbid changes as well. A second path for MCP was rejected: it would be the one without a check.
 */
import type { BatchAnswer } from "../catalog/batch.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { Group, Groups } from "../catalog/groups.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import { ProxyError } from "../core/errors.ts";
import type { Json, JsonObject } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import { nearestWord } from "../lib/nearest.ts";
import { MASK } from "../lib/redact.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import type { BatchRequest, Batches } from "./batches.ts";
import type { Change, Configuration } from "./configuration.ts";
import { assertMayManage, groupFor, isScoped, mayReach } from "./permission.ts";
import { listServers, serverView } from "./server_list.ts";
import type { ServerPage, ServerQuery, ServerView } from "./server_list.ts";

/** A server's last lines that are kept in memory; what is older is in its log file. */
export const MAX_LOG_LINES = 200;
const DEFAULT_LOG_LINES = 50;

/** Verbs on a server's startup mode, and the operation each one is; `unquarantine` is the Go proxy's word. */
export const MODE_VERBS = {
  enable: "enable",
  disable: "disable",
  make_lazy: "make_lazy",
  quarantine: "quarantine",
  approve: "approve",
  unquarantine: "approve",
  reject: "reject",
} as const;
/** A verb on a startup mode. */
export type ModeVerb = keyof typeof MODE_VERBS;

/** Keys of an entry in which secrets are shown as a mask. */
const MASKED_KEYS: ReadonlySet<string> = new Set(["url", "command", "args", "env", "headers"]);

/** Verbs on a server's connection; what they do is not kept. */
export const CONNECTION_VERBS = ["restart", "connect", "disconnect"] as const;
/** One of {@link CONNECTION_VERBS}. */
export type ConnectionVerb = (typeof CONNECTION_VERBS)[number];

/** Who steers. */
export interface Operator {
  readonly principal: Principal;
  /** Whether it is a person with the admin key; a program that acts for a model is none. */
  readonly isPerson: boolean;
}

/** How a change is made. */
export interface ChangeOptions {
  /** A person's word that what it starts may be started. */
  readonly approve?: boolean | undefined;
  /** Connect it on trial before anything is written. */
  readonly verify?: boolean | undefined;
  /** Say what would change, and change nothing. */
  readonly isDryRun?: boolean | undefined;
  /** The revision it was made for. */
  readonly revision?: number | undefined;
}

/** What {@link Steering} works with. */
export interface SteeringDeps {
  readonly configuration: Configuration;
  readonly batches: Batches;
  readonly upstreams: Upstreams;
  readonly catalog: Catalog;
}

/** Does what operators ask for. */
export class Steering {
  readonly #deps: SteeringDeps;

  constructor(deps: SteeringDeps) {
    this.#deps = deps;
  }

  get #groups(): Groups {
    return this.#deps.configuration.groups;
  }

  /** Servers as {@link listServers} gives them, of those the principal may know of. */
  listServers(query: ServerQuery): ServerPage {
    return listServers(query, this.#deps);
  }

  /** A server by its name. @throws {ProxyError} `SERVER_UNKNOWN`, also when the principal may not know of it */
  getServer(name: string, principal?: Principal): Upstream {
    const upstream = this.#deps.upstreams.find(name);
    const isKnown = principal === undefined || mayReach(principal, name, this.#groups);
    if (upstream !== undefined && isKnown) return upstream;
    const names = this.#deps.upstreams.list().map(({ server }) => server.name);
    const seen =
      principal === undefined ? names : names.filter((it) => mayReach(principal, it, this.#groups));
    const meant = nearestWord(name, seen);
    throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${name}'`, {
      hint: meant === undefined ? "List the servers with 'mcpproxy status'" : `Did you mean '${meant}'?`,
    });
  }

  /** Shows a server. @throws {ProxyError} `SERVER_UNKNOWN` */
  showServer(name: string, principal?: Principal): ServerView {
    return serverView(this.getServer(name, principal), this.#deps);
  }

  /**
   * The tools a server announced when it was read last; none of a quarantined one, whose words nobody is to read by
   * accident. Nothing is started.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`
   */
  toolsOf(name: string, principal?: Principal): readonly KnownTool[] {
    const { server, mode } = this.getServer(name, principal);
    return mode === "quarantined" ? [] : this.#deps.catalog.list({ server: server.name });
  }

  /** The same of a quarantined server, for whoever judges it. @throws {ProxyError} `SERVER_UNKNOWN`, `MODE_REFUSED` */
  quarantinedToolsOf(name: string): readonly KnownTool[] {
    const { server, mode } = this.getServer(name);
    if (mode === "quarantined") return this.#deps.catalog.list({ server: server.name });
    throw new ProxyError("MODE_REFUSED", `Cannot inspect '${name}': it is not quarantined`, {
      hint: "List the quarantined ones with list_quarantined",
    });
  }

  /** The last lines a server wrote, the latest last. @throws {ProxyError} `SERVER_UNKNOWN` */
  tail(name: string, lines: number = DEFAULT_LOG_LINES): readonly string[] {
    const { link, status } = this.getServer(name);
    const count = Math.min(Math.max(1, lines), MAX_LOG_LINES);
    return (link?.stderr(count) ?? status.failure?.stderr ?? []).slice(-count);
  }

  /**
   * Adds a server; `server` is its entry as in the file.
   *
   * @throws {ProxyError} as {@link Configuration.change} does, `SCOPE_REFUSED`; `ARGUMENTS_INVALID` for a mask
   */
  async add(
    server: JsonObject,
    { by, ...options }: ChangeOptions & { readonly by: Operator },
  ): Promise<Change> {
    return this.#change({ op: "add", server: unmasked(server), ...approval(options) }, { by, ...options });
  }

  /**
   * Changes a server by a merge patch; a patch of `name` is a rename. A mask that was read and comes back changes nothing.
   *
   * @throws {ProxyError} as {@link add} does
   */
  async patch(
    name: string,
    { patch, by, ...options }: ChangeOptions & { readonly patch: JsonObject; readonly by: Operator },
  ): Promise<Change> {
    const kept = unmasked(withoutMasks(patch));
    return this.#change({ op: "patch", name, patch: kept, ...approval(options) }, { by, ...options });
  }

  /** Takes a server out. @throws {ProxyError} as {@link add} does */
  remove(name: string, by: Operator): Promise<Change> {
    return this.#change({ op: "remove", name }, { by });
  }

  /** Moves a server's startup mode. @throws {ProxyError} as {@link add} does, `MODE_REFUSED`, `QUARANTINED` */
  switchMode(
    name: string,
    { verb, by }: { readonly verb: ModeVerb; readonly by: Operator },
  ): Promise<Change> {
    return this.#change({ op: MODE_VERBS[verb], name }, { by });
  }

  /**
   * Acts on a server's connection; it is not waited for.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`, `SERVER_OFF`, `SERVER_FAULTY`, `MANAGEMENT_REFUSED`, `SCOPE_REFUSED`
   */
  act(name: string, { verb, by }: { readonly verb: ConnectionVerb; readonly by: Operator }): void {
    this.#assertMaySteer(by);
    this.getServer(name);
    const upstream = this.#deps.upstreams.callable(name);
    if (verb === "restart") upstream.restart("restarted by an operator");
    else if (verb === "connect") upstream.connect();
    else upstream.disconnect("stopped");
  }

  /** The groups that hold a server the principal may know of; others are not counted. */
  listGroups(principal?: Principal): readonly Group[] {
    const groups = this.#groups;
    const all = groups.list();
    if (principal === undefined || !isScoped(principal)) return all;
    const countOf = (names: readonly string[]): number =>
      names.filter((name) => mayReach(principal, name, groups)).length;
    return all.flatMap((group) => {
      const totalCount = countOf(groups.members(group.id));
      const ownCount = countOf(groups.members(group.id, { deep: false }));
      return totalCount === 0 ? [] : [{ ...group, ownCount, totalCount }];
    });
  }

  /**
   * A group by id, name or slug. One without a server the principal may know of is none for it.
   *
   * @throws {ProxyError} `GROUP_UNKNOWN`
   */
  getGroup(group: string | number, principal?: Principal): Group {
    return groupFor(group, { groups: this.#groups, principal });
  }

  /** Names of a group's servers, those of the groups below it among them. @throws {ProxyError} `GROUP_UNKNOWN` */
  membersOf(group: string | number): readonly string[] {
    return this.#groups.members(this.getGroup(group).id);
  }

  /** Makes a group. @throws {ProxyError} `GROUP_EXISTS`, and as {@link add} does */
  async createGroup(group: JsonObject & { readonly name: string }, by: Operator) {
    this.#assertMaySteer(by);
    const change = await this.#deps.batches.changeGroup("create", group.name, [{ op: "add_group", group }]);
    const [id = 0] = change.plan.difference.groups.added;
    return { change, group: this.getGroup(id) };
  }

  /** Changes a group by a merge patch. @throws {ProxyError} `GROUP_UNKNOWN`, and as {@link add} does */
  async updateGroup(
    group: string | number,
    { patch, by }: { readonly patch: JsonObject; readonly by: Operator },
  ) {
    this.#assertMaySteer(by);
    const { id } = this.getGroup(group);
    const operation: PlanOperation = { op: "patch_group", group: id, patch };
    const change = await this.#deps.batches.changeGroup("update", id, [operation]);
    return { change, group: this.getGroup(id) };
  }

  /** Deletes a group; its servers leave it. @throws {ProxyError} `GROUP_UNKNOWN`, and as {@link add} does */
  async deleteGroup(group: string | number, by: Operator): Promise<Change> {
    this.#assertMaySteer(by);
    const { id } = this.getGroup(group);
    return this.#deps.batches.changeGroup("delete", id, [{ op: "remove_group", group: id }]);
  }

  /** Does one thing with many servers. @throws {ProxyError} `GROUP_UNKNOWN`, `USAGE`, and as {@link add} does */
  async runBatch(request: BatchRequest, by: Operator): Promise<BatchAnswer> {
    this.#assertMaySteer(by);
    return this.#deps.batches.run(request);
  }

  async #change(
    operation: PlanOperation,
    { by, verify, isDryRun, revision }: ChangeOptions & { readonly by: Operator },
  ): Promise<Change> {
    this.#assertMaySteer(by);
    const { isPerson: isByPerson } = by;
    return this.#deps.configuration.change({
      operations: [operation],
      verify,
      isDryRun,
      revision,
      isByPerson,
    });
  }

  #assertMaySteer({ principal }: Operator): void {
    if (principal.kind === "agent") {
      throw new ProxyError("SCOPE_REFUSED", "Cannot change anything: an agent token is for calls only", {
        hint: "Use the API key",
      });
    }
    assertMayManage(this.#deps.configuration.settings);
  }
}

/** A group as every list shows it. */
export function groupView(group: Group) {
  const { iconEmoji, parentId, ownCount, totalCount, ...rest } = group;
  return {
    ...rest,
    ...(iconEmoji === undefined ? {} : { icon_emoji: iconEmoji }),
    ...(parentId === undefined ? {} : { parent: parentId }),
    own_count: ownCount,
    server_count: totalCount,
  };
}

function approval({ approve }: ChangeOptions): { readonly approve?: boolean } {
  return approve === undefined ? {} : { approve };
}

/** Values that were shown as a mask and come back as one are as they were. */
function withoutMasks(patch: JsonObject): JsonObject {
  const kept = Object.entries(patch).flatMap(([key, value]): [string, Json][] => {
    if (!MASKED_KEYS.has(key)) return [[key, value]];
    if (value === MASK) return [];
    if (typeof value !== "object" || value === null || Array.isArray(value)) return [[key, value]];
    return [[key, Object.fromEntries(Object.entries(value as JsonObject).filter(([, one]) => one !== MASK))]];
  });
  return Object.fromEntries(kept);
}

/** A mask is written nowhere: it would take the place of what it hides. @throws {ProxyError} `ARGUMENTS_INVALID` */
function unmasked(entry: JsonObject): JsonObject {
  const masked = [...MASKED_KEYS].find((key) => JSON.stringify(entry[key] ?? null).includes(MASK));
  if (masked === undefined) return entry;
  throw new ProxyError(
    "ARGUMENTS_INVALID",
    `Cannot write '${masked}': it holds '${MASK}' in the place of a secret`,
    { hint: "Send the whole value, or leave it out to keep what is there" },
  );
}
