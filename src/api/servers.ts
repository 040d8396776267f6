/**
 * The routes of servers, and a server as lists show it.
 *
 * Owns `GET /servers` and `GET /servers/{name}/tools`: the fields of the Go proxy beside our own. Invariant:
 * no secret of a definition is in an answer. A view model in a lower floor was rejected: its field names
 * belong to this API.
 */
import { Hono } from "hono";

import { ProxyError } from "../core/errors.ts";
import type { Category } from "../core/model.ts";
import { redactUrl } from "../lib/redact.ts";
import type { Finder } from "../gateway/finder.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import { answer, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";
import { toolView } from "./tools.ts";

/** What the routes of servers read. */
export interface ServersDeps {
  readonly upstreams: Upstreams;
  readonly catalog: Catalog;
  readonly finder: Finder;
}

const MAX_PAGE = 10_000;

/** Makes the routes below `/servers`. */
export function serverRoutes(deps: ServersDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/", (context) => {
    const limit = queryNumber(context, "limit", { min: 1, max: MAX_PAGE });
    const from = queryNumber(context, "cursor", { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? 0;
    const category = context.req.query("category");
    const all = deps.upstreams.list().map((upstream) => serverView(upstream, deps));
    const wanted = category === undefined ? all : all.filter((server) => server.category === category);
    const page = wanted.slice(from, limit === undefined ? undefined : from + limit);
    const next = from + page.length;
    return answer(context, {
      servers: page,
      stats: serverStats(all),
      ...(next < wanted.length ? { next_cursor: String(next) } : {}),
    });
  });
  routes.get("/:name/tools", (context) => {
    const { name } = known(deps, context.req.param("name")).server;
    const tools = deps.catalog.list({ server: name }).map((tool) => toolView(tool, deps.finder));
    return answer(context, { server_name: name, tools, count: tools.length });
  });
  routes.get("/:name", (context) =>
    answer(context, serverView(known(deps, context.req.param("name")), deps)),
  );
  return routes;
}

function known(deps: ServersDeps, name: string): Upstream {
  const upstream = deps.upstreams.find(name);
  if (upstream !== undefined) return upstream;
  throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${name}'`, {
    hint: "List the servers with 'mcpproxy status'",
  });
}

/** A server as every list shows it. */
export type ServerView = ReturnType<typeof serverView>;

/** Shows a server as it stands. */
export function serverView(upstream: Upstream, deps: Pick<ServersDeps, "catalog">) {
  const { server, mode, connection, category, status } = upstream;
  const { failure, attempts, nextAttemptAt } = status;
  const [fault] = server.faults;
  const reason = fault?.message ?? status.autoDisabled?.reason ?? failure?.message;
  return {
    name: server.name,
    ...(server.description === "" ? {} : { description: server.description }),
    protocol: server.protocol,
    ...(server.url === undefined ? {} : { url: redactUrl(server.url) }),
    ...(server.command === undefined ? {} : { command: server.command }),
    enabled: mode === "active" || mode === "lazy_loading",
    quarantined: mode === "quarantined",
    connected: connection === "ready",
    connecting:
      connection === "connecting" || connection === "authenticating" || connection === "discovering",
    status: connection,
    last_error: reason ?? "",
    reconnect_count: Math.max(0, attempts - 1),
    tool_count: deps.catalog.count(server.name),
    created: server.created ?? "",
    updated: server.updated ?? "",
    health: healthOf(upstream),
    startup_mode: mode,
    connection_state: connection,
    category,
    groups: server.groups,
    attempt: attempts,
    since: new Date(status.since).toISOString(),
    ...(nextAttemptAt === undefined ? {} : { next_attempt_at: new Date(nextAttemptAt).toISOString() }),
    ...(reason === undefined ? {} : { reason }),
    ...(failure === undefined ? {} : { failure_class: failure.class, stderr: failure.stderr }),
  };
}

/** What the Go proxy's tray and page read at a glance. */
function healthOf({ server, mode, category, status }: Upstream) {
  const { failure } = status;
  const [fault] = server.faults;
  const admin = mode === "quarantined" ? "quarantined" : "disabled";
  if (category === "quarantined" || category === "disabled" || category === "auto_disabled") {
    return {
      level: "healthy",
      admin_state: admin,
      summary: category,
      detail: failure?.hint ?? "",
      action: actionOf(category),
    };
  }
  const common = { admin_state: "enabled" };
  if (category === "connected")
    return { level: "healthy", ...common, summary: "Connected", detail: "", action: "" };
  if (category === "sleeping" && failure === undefined) {
    return { level: "healthy", ...common, summary: "Sleeping until it is called", detail: "", action: "" };
  }
  if (fault) {
    return {
      level: "unhealthy",
      ...common,
      summary: "Entry has faults",
      detail: fault.message,
      action: "configure",
    };
  }
  if (failure === undefined) {
    return { level: "degraded", ...common, summary: "Connecting", detail: "", action: "" };
  }
  const action = failure.class === "auth" ? "login" : failure.class === "config" ? "configure" : "view_logs";
  return { level: "unhealthy", ...common, summary: failure.message, detail: failure.hint, action };
}

function actionOf(category: Category): string {
  return category === "quarantined" ? "approve" : "enable";
}

/** Counts over all servers. */
export function serverStats(servers: readonly ServerView[]) {
  const count = (category: Category): number =>
    servers.filter((server) => server.category === category).length;
  return {
    total_servers: servers.length,
    connected_servers: count("connected"),
    disconnected_servers: count("disconnected"),
    sleeping_servers: count("sleeping"),
    disabled_servers: count("disabled"),
    auto_disabled_servers: count("auto_disabled"),
    quarantined_servers: count("quarantined"),
    total_tools: servers.reduce((sum, server) => sum + server.tool_count, 0),
  };
}
