/**
 * Servers as lists show them: one view, filters, orders and pages for every surface.
 *
 * Owns the fields of a server in REST and in the admin tools, those of the Go proxy beside our own. Invariants: no secret
 * of a definition is in a view; a page costs what is on it, not what is left out; a cursor goes on behind the server it
 * names, also when that one is gone by then. A number as cursor was rejected: a server that is removed between two pages
 * would hide another one.
 */
import type { Catalog } from "../catalog/catalog.ts";
import type { Groups } from "../catalog/groups.ts";
import { ProxyError } from "../core/errors.ts";
import { STARTUP_MODES } from "../core/model.ts";
import type { Category, ConnectionState, Server } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import { redactArgs, redactText, redactUrl, redactValue, secretValues } from "../lib/redact.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import { groupFor, mayReach } from "./permission.ts";

/** What a list of servers reads. */
export interface ServerListDeps {
  readonly upstreams: Pick<Upstreams, "list">;
  readonly catalog: Pick<Catalog, "count">;
  readonly configuration: { readonly groups: Groups };
}

/** Which servers are wanted, in which order; several values of a word are parted by commas. */
export interface ServerQuery {
  readonly category?: string | undefined;
  /** Id, name or slug; the servers of the groups below are among them. */
  readonly group?: string | undefined;
  /** Text in the name, the description, the URL or the command, whatever its case. */
  readonly q?: string | undefined;
  readonly protocol?: string | undefined;
  readonly tag?: string | undefined;
  /** Startup mode. */
  readonly mode?: string | undefined;
  /** Connection state. */
  readonly status?: string | undefined;
  /** One of {@link SORT_KEYS}, with `-` before it for the other direction. @default the order of the file */
  readonly sort?: string | undefined;
  /** @default all */
  readonly limit?: number | undefined;
  /** `next_cursor` of the page before, with everything else as it was. */
  readonly cursor?: string | undefined;
  /** Only servers it may reach are listed and counted. @default all */
  readonly principal?: Principal | undefined;
}

/** Some servers, and counts over all. */
export interface ServerPage {
  readonly servers: readonly ServerView[];
  readonly stats: ServerStats;
  /** How many servers the filters leave, on this page or another. */
  readonly total: number;
  readonly next_cursor?: string;
}

/** A server as every list shows it. */
export type ServerView = ReturnType<typeof serverView>;
/** Counts over servers. */
export type ServerStats = ReturnType<typeof serverStats>;

const CATEGORIES: readonly Category[] = [
  "connected",
  "disconnected",
  "sleeping",
  "disabled",
  "auto_disabled",
  "quarantined",
];
const STATES: readonly ConnectionState[] = [
  "disconnected",
  "connecting",
  "authenticating",
  "discovering",
  "ready",
  "error",
];
/** What servers can be ordered by. */
export const SORT_KEYS = ["name", "status", "category", "mode", "protocol", "tool_count", "since"] as const;
type SortKey = (typeof SORT_KEYS)[number];
type SortValue = string | number;

/**
 * Lists servers.
 *
 * @throws {ProxyError} `USAGE` for a filter, an order or a cursor that means nothing, `GROUP_UNKNOWN`.
 */
export function listServers(query: ServerQuery, deps: ServerListDeps): ServerPage {
  const all = reachable(query.principal, deps);
  const wanted = all.filter(filterOf(query, deps));
  const { limit, cursor } = query;
  const after = cursor === undefined ? undefined : readCursor(cursor);
  const order = orderOf(query.sort, deps);
  const rest = order === undefined ? inFileOrder(wanted, after, all) : inOrder(wanted, after, order);
  const page = limit === undefined ? rest : rest.slice(0, limit);
  const last = page.at(-1);
  const hasMore = last !== undefined && page.length < rest.length;
  return {
    servers: page.map((upstream) => serverView(upstream, deps)),
    stats: serverStats(all, deps),
    total: wanted.length,
    ...(hasMore ? { next_cursor: writeCursor(last, { all, order }) } : {}),
  };
}

/** All servers a principal may know of, in the order of the file. */
export function reachable(
  principal: Principal | undefined,
  { upstreams, configuration }: Pick<ServerListDeps, "upstreams" | "configuration">,
): readonly Upstream[] {
  const all = upstreams.list();
  if (principal === undefined || (principal.servers === undefined && principal.groups === undefined))
    return all;
  const { groups } = configuration;
  return all.filter(({ server }) => mayReach(principal, server.name, groups));
}

/** Counts servers; builds no view. */
export function serverStats(servers: readonly Upstream[], { catalog }: Pick<ServerListDeps, "catalog">) {
  const counts: Record<Category, number> = {
    connected: 0,
    disconnected: 0,
    sleeping: 0,
    disabled: 0,
    auto_disabled: 0,
    quarantined: 0,
  };
  let tools = 0;
  for (const { category, server } of servers) {
    counts[category] += 1;
    tools += catalog.count(server.name);
  }
  return {
    total_servers: servers.length,
    connected_servers: counts.connected,
    disconnected_servers: counts.disconnected,
    sleeping_servers: counts.sleeping,
    disabled_servers: counts.disabled,
    auto_disabled_servers: counts.auto_disabled,
    quarantined_servers: counts.quarantined,
    total_tools: tools,
  };
}

/** Shows a server as it stands. */
export function serverView(upstream: Upstream, { catalog }: Pick<ServerListDeps, "catalog">) {
  const { server, mode, connection, category, status } = upstream;
  const { failure, attempts, nextAttemptAt } = status;
  const error = errorOf(upstream);
  const reason = status.isStopped ? "stopped" : error;
  return {
    ...definitionView(server),
    enabled: mode === "active" || mode === "lazy_loading",
    quarantined: mode === "quarantined",
    connected: connection === "ready",
    connecting:
      connection === "connecting" || connection === "authenticating" || connection === "discovering",
    status: connection,
    last_error: error ?? "",
    reconnect_count: Math.max(0, attempts - 1),
    tool_count: catalog.count(server.name),
    health: healthOf(upstream),
    startup_mode: mode,
    connection_state: connection,
    category,
    attempt: attempts,
    since: new Date(status.since).toISOString(),
    ...(nextAttemptAt === undefined ? {} : { next_attempt_at: new Date(nextAttemptAt).toISOString() }),
    ...(reason === undefined ? {} : { reason }),
    ...(failure === undefined ? {} : { failure_class: failure.class, stderr: failure.stderr }),
  };
}

/** What is wrong with a server, in one sentence; undefined when nothing is. */
export function errorOf({ server, status }: Upstream): string | undefined {
  return server.faults[0]?.message ?? status.autoDisabled?.reason ?? status.failure?.message;
}

/** A definition is never changed, only replaced, so masking it once is enough. */
const definitionViews = new WeakMap<Server, ReturnType<typeof makeDefinitionView>>();

function definitionView(server: Server): ReturnType<typeof makeDefinitionView> {
  const known = definitionViews.get(server);
  if (known !== undefined) return known;
  const made = makeDefinitionView(server);
  definitionViews.set(server, made);
  return made;
}

function makeDefinitionView(server: Server) {
  const { description, url, command, workingDir, enabledTools, disabledTools } = server;
  // A key is often written down twice.
  const secrets = secretValues([...server.env, ...server.headers]);
  const hidden = (text: string): string => redactText(text, secrets);
  return {
    name: server.name,
    ...(description === "" ? {} : { description: hidden(description) }),
    protocol: server.protocol,
    ...(url === undefined ? {} : { url: hidden(redactUrl(url)) }),
    ...(command === undefined ? {} : { command: hidden(command) }),
    args: redactArgs(server.args).map(hidden),
    ...(workingDir === undefined ? {} : { working_dir: workingDir }),
    env: masked(server.env),
    headers: masked(server.headers),
    tags: server.tags,
    groups: server.groups,
    ...(enabledTools === undefined ? {} : { enabled_tools: enabledTools }),
    ...(disabledTools.length === 0 ? {} : { disabled_tools: disabledTools }),
    created: server.created ?? "",
    updated: server.updated ?? "",
  };
}

function masked(values: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  return Object.fromEntries([...values].map(([name, value]) => [name, redactValue(value)]));
}

/** What the Go proxy's tray and page read at a glance. */
export interface Health {
  readonly level: "healthy" | "degraded" | "unhealthy";
  readonly admin_state: "enabled" | "disabled" | "quarantined";
  readonly summary: string;
  readonly detail: string;
  /** What a person should do: a word of the Go proxy's; empty when nothing. */
  readonly action: "" | "login" | "restart" | "enable" | "approve" | "view_logs" | "configure";
}

function healthOf({ server, mode, category, status }: Upstream): Health {
  const { failure } = status;
  if (category === "quarantined" || category === "disabled" || category === "auto_disabled") {
    return {
      level: "healthy",
      admin_state: mode === "quarantined" ? "quarantined" : "disabled",
      summary: category,
      detail: failure?.hint ?? "",
      action: category === "quarantined" ? "approve" : "enable",
    };
  }
  const fine = { level: "healthy", admin_state: "enabled", detail: "", action: "" } as const;
  if (category === "connected") return { ...fine, summary: "Connected" };
  if (category === "sleeping" && failure === undefined)
    return { ...fine, summary: "Sleeping until it is called" };
  const bad = { ...fine, level: "unhealthy" } as const;
  const [fault] = server.faults;
  if (fault) return { ...bad, summary: "Entry has faults", detail: fault.message, action: "configure" };
  if (failure !== undefined) {
    const action =
      failure.class === "auth" ? "login" : failure.class === "config" ? "configure" : "view_logs";
    return { ...bad, summary: failure.message, detail: failure.hint, action };
  }
  if (status.isStopped) {
    return { ...fine, level: "degraded", summary: "Stopped by an operator", action: "restart" };
  }
  return { ...fine, level: "degraded", summary: "Connecting" };
}

/** All of what is asked for has to hold. */
function filterOf(query: ServerQuery, { configuration }: ServerListDeps): (upstream: Upstream) => boolean {
  const { group, q, protocol, tag, principal } = query;
  const conditions: ((upstream: Upstream) => boolean)[] = [];
  const categories = wordsOf("category", query.category, CATEGORIES);
  if (categories) conditions.push(({ category }) => categories.has(category));
  const modes = wordsOf("mode", query.mode, STARTUP_MODES);
  if (modes) conditions.push(({ mode }) => modes.has(mode));
  const states = wordsOf("status", query.status, STATES);
  if (states) conditions.push(({ connection }) => states.has(connection));
  if (group) {
    const { groups } = configuration;
    const members = new Set(groups.members(groupFor(group, { groups, principal }).id));
    conditions.push(({ server }) => members.has(server.name));
  }
  if (protocol) {
    const kinds = new Set(protocol.split(",").map(plainProtocol));
    conditions.push(({ server }) => kinds.has(plainProtocol(server.protocol)) || kinds.has(server.transport));
  }
  if (tag) {
    const tags = tag.split(",");
    conditions.push(({ server }) => tags.some((one) => server.tags.includes(one)));
  }
  const text = q?.trim().toLowerCase();
  if (text) conditions.push((upstream) => hasText(upstream, text));
  return (upstream) => conditions.every((holds) => holds(upstream));
}

function plainProtocol(protocol: string): string {
  return protocol.trim().replaceAll("-", "_");
}

/** Most are left out by what stands there; only what is left is masked, so that nobody guesses a secret by its letters. */
function hasText({ server }: Upstream, text: string): boolean {
  if (server.name.toLowerCase().includes(text)) return true;
  const { description: about, url: address = "", command: program = "" } = server;
  if (!`${about}\n${address}\n${program}`.toLowerCase().includes(text)) return false;
  const { description = "", url = "", command = "" } = definitionView(server);
  return `${description}\n${url}\n${command}`.toLowerCase().includes(text);
}

function wordsOf(
  key: string,
  given: string | undefined,
  known: readonly string[],
): ReadonlySet<string> | undefined {
  if (!given) return undefined;
  const words = given.split(",").map((word) => word.trim());
  const odd = words.find((word) => !known.includes(word));
  if (odd === undefined) return new Set(words);
  throw new ProxyError("USAGE", `Cannot use '${key}=${odd.slice(0, 40)}': there is no such ${key}`, {
    hint: `Write one of ${known.join(", ")}, or several parted by commas`,
  });
}

interface Order {
  readonly key: SortKey;
  readonly valueOf: (upstream: Upstream) => SortValue;
  /** 1 or -1. */
  readonly direction: number;
}

function orderOf(sort: string | undefined, { catalog }: ServerListDeps): Order | undefined {
  if (!sort) return undefined;
  const isDown = sort.startsWith("-");
  // In a URL a plus is a blank.
  const word = sort.replace(/^[-+ ]/, "");
  const key = SORT_KEYS.find((one) => one === word);
  if (key === undefined) {
    throw new ProxyError("USAGE", `Cannot sort by '${word.slice(0, 40)}': servers have no such order`, {
      hint: `Write one of ${SORT_KEYS.join(", ")}, with '-' before it for the other direction`,
    });
  }
  const values: Readonly<Record<SortKey, (upstream: Upstream) => SortValue>> = {
    name: ({ server }) => server.name.toLowerCase(),
    status: ({ connection }) => connection,
    category: ({ category }) => category,
    mode: ({ mode }) => mode,
    protocol: ({ server }) => server.protocol,
    tool_count: ({ server }) => catalog.count(server.name),
    since: ({ status }) => status.since,
  };
  return { key, valueOf: values[key], direction: isDown ? -1 : 1 };
}

/** Where the page before ended: the last server on it, its place in the file, and what it was ordered by. */
interface Cursor {
  readonly name: string;
  readonly at: number;
  readonly value?: SortValue | undefined;
}

function writeCursor(
  last: Upstream,
  { all, order }: { readonly all: readonly Upstream[]; readonly order: Order | undefined },
): string {
  const { name } = last.server;
  const parts = order === undefined ? [name, all.indexOf(last)] : [name, 0, order.valueOf(last)];
  return Buffer.from(JSON.stringify(parts)).toString("base64url");
}

function readCursor(text: string): Cursor {
  try {
    const parts: unknown = JSON.parse(Buffer.from(text, "base64url").toString());
    const [name, at, value] = parts as readonly unknown[];
    const isValue = value === undefined || typeof value === "string" || typeof value === "number";
    if (typeof name === "string" && typeof at === "number" && isValue) return { name, at, value };
  } catch {
    // Falls through: it is none of ours.
  }
  throw new ProxyError("USAGE", `Cannot use 'cursor=${text.slice(0, 40)}': it is no cursor of this list`, {
    hint: "Send 'next_cursor' of the page before as it is, or leave it out for the first page",
  });
}

/** What comes behind the server of the cursor; when that one is gone, what stands in its place. */
function inFileOrder(
  wanted: readonly Upstream[],
  after: Cursor | undefined,
  all: readonly Upstream[],
): readonly Upstream[] {
  if (after === undefined) return wanted;
  const found = all.findIndex(({ server }) => server.name === after.name);
  const behind = new Set(all.slice(found < 0 ? after.at : found + 1));
  return wanted.filter((upstream) => behind.has(upstream));
}

function inOrder(wanted: readonly Upstream[], after: Cursor | undefined, order: Order): readonly Upstream[] {
  const { valueOf, direction } = order;
  const keyed = wanted.map((upstream) => ({
    upstream,
    name: upstream.server.name,
    value: valueOf(upstream),
  }));
  const compare = (a: Keyed, b: Keyed): number => {
    if (a.value !== b.value) return (a.value < b.value ? -1 : 1) * direction;
    return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
  };
  if (after !== undefined && typeof after.value !== typeof keyed[0]?.value && keyed.length > 0) {
    throw new ProxyError("USAGE", "Cannot use the cursor: it is of a list in another order", {
      hint: "Send the same 'sort' with every page",
    });
  }
  const { name = "", value = "" } = after ?? {};
  const rest = after === undefined ? keyed : keyed.filter((one) => compare(one, { name, value }) > 0);
  return rest.toSorted(compare).map(({ upstream }) => upstream);
}

type Keyed = { readonly name: string; readonly value: SortValue };
