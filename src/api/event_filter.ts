/**
 * Which events a stream wants.
 *
 * Owns reading `types`, `servers` and `groups` from an address, and the decision on an event. Invariants: each given
 * list narrows, servers and groups together name the subjects (one of either is enough); a group means its members at
 * the time of the event, those of the groups below it too; an agent hears of the servers it may reach and of nothing else;
 * two filters that mean the same have the same key, so that
 * events are picked once for both. A filter language was rejected: these three are what a page or a script asks for.
 */
import type { Groups } from "../catalog/groups.ts";
import { ProxyError } from "../core/errors.ts";
import { EVENT_TYPES } from "../core/event_schema.ts";
import type { EventType, ProxyEvent } from "../core/events.ts";
import type { Principal } from "../core/principal.ts";
import { groupFor, isScoped } from "../gateway/permission.ts";
import { nearestWord } from "../lib/nearest.ts";

/** What tells of the state of servers, as `/ws/servers` does. */
export const STATE_TYPES: readonly EventType[] = [
  "server_added",
  "server_removed",
  "server_renamed",
  "server_state_changed",
  "server_auto_disabled",
  "server_recovered",
  "quarantine_changed",
  "oauth_required",
  "auto_disable_suspended",
];

/** Decides on events. */
export interface EventFilter {
  /** The same for all filters that mean the same. */
  readonly key: string;
  readonly matches: (event: ProxyEvent) => boolean;
  /** Whether the stream has to end: who opened it may not read any more. */
  readonly isOver?: () => boolean;
}

/** Options of {@link readFilter}. */
export interface FilterOptions {
  /** The groups in force. */
  readonly groups: () => Groups;
  /** What the stream has at most. @default all */
  readonly among?: readonly EventType[];
  /** Whose stream it is; an agent's has what happens to its servers, as long as its token holds. @default an operator's */
  readonly principal?: Principal | undefined;
  /** Whether the token of a principal holds. */
  readonly isCurrent?: (principal: Principal) => boolean;
}

/**
 * Reads a filter from the query of an address; a comma inside of a name is written `%2C`.
 *
 * @throws {ProxyError} `USAGE` for an unknown type, `GROUP_UNKNOWN`.
 */
export function readFilter(query: string, options: FilterOptions): EventFilter {
  const { groups, principal } = options;
  const isAgent = principal !== undefined && principal.kind !== "admin";
  const among = isAgent ? (options.among ?? EVENT_TYPES).filter(isForAgents) : options.among;
  const types = typesOf(listOf(query, "types"), among);
  const servers = listOf(query, "servers");
  const groupIds = listOf(query, "groups").map((name) => groupOf(name, options));
  const key = JSON.stringify(
    [types, servers, groupIds.map(String)].map((list) => [...new Set(list)].toSorted()),
  );
  const isWanted = new Set<string>(types);
  const subjects =
    servers.length + groupIds.length === 0
      ? undefined
      : new Subjects({ servers: new Set(servers), groupIds, groups });
  const filter: EventFilter = {
    key,
    matches: (event) => (isWanted.size === 0 || isWanted.has(event.type)) && (subjects?.has(event) ?? true),
  };
  return isAgent ? narrowed(filter, { ...options, principal }) : filter;
}

/** A group whose servers a token does not reach is none to its holder; nor are others named in a hint. */
function groupOf(name: string, { groups, principal }: FilterOptions): number {
  return groupFor(name, { groups: groups(), principal }).id;
}

/** What an agent may hear of: a server's tools and whether it works. */
const AGENT_TYPES: ReadonlySet<EventType> = new Set([
  "server_added",
  "server_removed",
  "server_renamed",
  "server_changed",
  "server_state_changed",
  "server_auto_disabled",
  "server_recovered",
  "quarantine_changed",
  "oauth_required",
  "tools_changed",
  "tool_called",
]);

function isForAgents(type: EventType): boolean {
  return AGENT_TYPES.has(type);
}

/** So that no two principals share a stream, though their tokens have one name after the other. */
const numbers = new WeakMap<Principal, number>();
let lastNumber = 0;

function narrowed(
  filter: EventFilter,
  { principal, groups, isCurrent = () => true }: FilterOptions & { readonly principal: Principal },
): EventFilter {
  const number = numbers.get(principal) ?? (lastNumber += 1);
  numbers.set(principal, number);
  // Digits mean an id, as everywhere with tokens.
  const words = [...(principal.groups ?? [])].map((word) => (/^\d+$/.test(word) ? Number(word) : word));
  const groupIds = words.flatMap((word) => groups().find(word)?.id ?? []);
  const own = isScoped(principal)
    ? new Subjects({ servers: principal.servers ?? new Set(), groupIds, groups })
    : undefined;
  return {
    key: `${number}:${filter.key}`,
    matches: (event) =>
      event.server !== undefined &&
      isForAgents(event.type) &&
      filter.matches(event) &&
      (own?.has(event) ?? true) &&
      isCurrent(principal),
    isOver: () => !isCurrent(principal),
  };
}

interface SubjectsOptions {
  readonly servers: ReadonlySet<string>;
  readonly groupIds: readonly number[];
  readonly groups: () => Groups;
}

/** Servers and groups whose events are wanted. */
class Subjects {
  readonly #options: SubjectsOptions;
  #seen: Groups | undefined;
  #members: ReadonlySet<string> = new Set();
  #groups: ReadonlySet<number> = new Set();
  /** Members of the revision before: a server that is removed is in no group any more. */
  #former: ReadonlySet<string> = new Set();

  constructor(options: SubjectsOptions) {
    this.#options = options;
    this.#look();
  }

  has(event: ProxyEvent): boolean {
    this.#look();
    const { server, group, type } = event;
    if (group !== undefined && this.#groups.has(group)) return true;
    if (server === undefined) return false;
    if (this.#options.servers.has(server) || this.#members.has(server)) return true;
    if (type === "server_renamed") return this.#options.servers.has(event.data.from);
    return type === "server_removed" && this.#former.has(server);
  }

  /** Groups are made anew with each revision of the configuration. */
  #look(): void {
    const groups = this.#options.groups();
    if (groups === this.#seen) return;
    this.#seen = groups;
    this.#former = this.#members;
    const { groupIds } = this.#options;
    this.#members = new Set(groupIds.flatMap((id) => groups.members(id)));
    const all = new Set(groupIds);
    for (const id of all) for (const child of groups.children(id)) all.add(child.id);
    this.#groups = all;
  }
}

function typesOf(wanted: readonly string[], among: readonly EventType[] | undefined): readonly string[] {
  const known: readonly string[] = among ?? EVENT_TYPES;
  for (const type of wanted) {
    if (known.includes(type)) continue;
    const similar = nearestWord(type, known);
    throw new ProxyError(
      "USAGE",
      `Cannot filter by the type '${type.slice(0, 60)}': this stream has none such`,
      {
        hint: similar === undefined ? `The types are ${known.join(", ")}` : `Did you mean '${similar}'?`,
      },
    );
  }
  return wanted.length > 0 ? wanted : (among ?? []);
}

/** The items of all parameters of a name; split before they are decoded. */
function listOf(query: string, name: string): readonly string[] {
  return query
    .replace(/^\?/, "")
    .split("&")
    .filter((part) => part.startsWith(`${name}=`))
    .flatMap((part) => part.slice(name.length + 1).split(","))
    .map(decode)
    .filter((item) => item !== "");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " ")).trim();
  } catch (error) {
    throw new ProxyError("USAGE", `Cannot read '${text.slice(0, 60)}' in the address`, { cause: error });
  }
}
