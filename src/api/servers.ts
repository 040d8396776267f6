/**
 * The routes of servers, and a server as lists show it.
 *
 * Owns `/servers` and below: lists with the fields of the Go proxy beside our own, and the verbs that change one
 * server. Invariants: no secret of a definition is in an answer; every change goes through the configuration. A view
 * model in a lower floor was rejected: its field names belong to this API.
 */
import { Hono } from "hono";
import type { Context } from "hono";
import { z } from "zod";

import { ProxyError } from "../core/errors.ts";
import type { Category, JsonObject } from "../core/model.ts";
import { redactUrl } from "../lib/redact.ts";
import type { Configuration } from "../gateway/configuration.ts";
import type { Finder } from "../gateway/finder.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import { readBody } from "./body.ts";
import { changeView } from "./config.ts";
import { answer, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";
import { isHidden, toolView } from "./tools.ts";

/** What the routes of servers read. */
export interface ServersDeps {
  readonly upstreams: Upstreams;
  readonly catalog: Catalog;
  readonly finder: Finder;
  readonly configuration: Configuration;
}

const MAX_PAGE = 10_000;
/** A server's last lines; what is older is in its log file. */
const MAX_LOG_LINES = 200;
const DEFAULT_LOG_LINES = 50;
/** Verbs on a server's startup mode, and the operation each one is; `unquarantine` is the Go proxy's word. */
const MODE_VERBS = {
  enable: "enable",
  disable: "disable",
  make_lazy: "make_lazy",
  quarantine: "quarantine",
  approve: "approve",
  unquarantine: "approve",
  reject: "reject",
} as const;
/** Fields beside the entry that steer the change itself. */
const steering = {
  approve: z.boolean().optional(),
  verify: z.boolean().optional(),
  dry_run: z.boolean().optional(),
  revision: z.number().int().optional(),
};
const addBody = z.looseObject({ ...steering, name: z.string() });
const patchBody = z.looseObject(steering);

/** Makes the routes below `/servers`. */
export function serverRoutes(deps: ServersDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/", (context) => answer(context, pageOf(context, deps)));
  routes.get("/:name/tools", (context) => {
    const { name } = known(deps, context.req.param("name")).server;
    const all = isHidden(name, deps) ? [] : deps.catalog.list({ server: name });
    const tools = all.map((tool) => toolView(tool, deps.finder));
    return answer(context, { server_name: name, tools, count: tools.length });
  });
  routes.get("/:name/logs", (context) => {
    const upstream = known(deps, context.req.param("name"));
    const tail = queryNumber(context, "tail", { min: 1, max: MAX_LOG_LINES }) ?? DEFAULT_LOG_LINES;
    const { link, status, server } = upstream;
    const logs = (link?.stderr(tail) ?? status.failure?.stderr ?? []).slice(-tail);
    return answer(context, { server_name: server.name, logs, count: logs.length });
  });
  routes.get("/:name", (context) =>
    answer(context, serverView(known(deps, context.req.param("name")), deps)),
  );
  addChanges(routes, deps);
  addVerbs(routes, deps);
  return routes;
}

/** Makes the path of the Go proxy's forks for the list, below `/api`. */
export function serverAliases(deps: ServersDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/servers/status", (context) => answer(context, pageOf(context, deps)));
  return routes;
}

/** The servers that are asked for, and counts over all. */
function pageOf(context: Context<ApiEnv>, deps: ServersDeps) {
  const limit = queryNumber(context, "limit", { min: 1, max: MAX_PAGE });
  const from = queryNumber(context, "cursor", { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? 0;
  const category = context.req.query("category");
  const all = deps.upstreams.list().map((upstream) => serverView(upstream, deps));
  const wanted = category === undefined ? all : all.filter((server) => server.category === category);
  const page = wanted.slice(from, limit === undefined ? undefined : from + limit);
  const next = from + page.length;
  return {
    servers: page,
    stats: serverStats(all),
    ...(next < wanted.length ? { next_cursor: String(next) } : {}),
  };
}

/** Adding, patching and removing; a patch of `name` is a rename. */
function addChanges(routes: Hono<ApiEnv>, { configuration }: ServersDeps): void {
  routes.post("/", async (context) => {
    const { approve, verify, dry_run: isDryRun, revision, ...server } = await readBody(context, addBody);
    const operation: PlanOperation = { op: "add", server: server as JsonObject, ...flag(approve) };
    const change = await configuration.change({
      operations: [operation],
      verify,
      isDryRun,
      revision,
      isByPerson: true,
    });
    const data = { server: server.name, ...changeView(change) };
    return context.json({ success: true, data }, isDryRun === true ? 200 : 201);
  });
  routes.patch("/:name", async (context) => {
    const name = context.req.param("name");
    const { approve, verify, dry_run: isDryRun, revision, ...patch } = await readBody(context, patchBody);
    const operation: PlanOperation = { op: "patch", name, patch: patch as JsonObject, ...flag(approve) };
    const change = await configuration.change({
      operations: [operation],
      verify,
      isDryRun,
      revision,
      isByPerson: true,
    });
    return answer(context, { server: name, ...changeView(change) });
  });
  routes.delete("/:name", async (context) => {
    const name = context.req.param("name");
    const change = await configuration.change({ operations: [{ op: "remove", name }], isByPerson: true });
    return answer(context, { success: true, server: name, ...changeView(change) });
  });
}

function flag(approve: boolean | undefined): { readonly approve?: boolean } {
  return approve === undefined ? {} : { approve };
}

/** Verbs on the mode are changes of the configuration; those on the connection are not kept. */
function addVerbs(routes: Hono<ApiEnv>, deps: ServersDeps): void {
  const { configuration } = deps;
  for (const [verb, op] of Object.entries(MODE_VERBS)) {
    routes.post(`/:name/${verb}`, async (context) => {
      const name = context.req.param("name");
      const change = await configuration.change({ operations: [{ op, name }], isByPerson: true });
      return answer(context, { success: true, server: name, action: verb, ...changeView(change) });
    });
  }
  const act = (verb: string, run: (upstream: Upstream) => void): void => {
    routes.post(`/:name/${verb}`, (context: Context<ApiEnv>) => {
      const name = context.req.param("name") ?? "";
      known(deps, name);
      run(deps.upstreams.callable(name));
      return answer(context, { success: true, server: name, action: verb });
    });
  };
  act("restart", (upstream) => upstream.restart("restarted by an operator"));
  act("connect", (upstream) => upstream.connect());
  act("disconnect", (upstream) => upstream.disconnect("stopped"));
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
