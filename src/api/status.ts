/**
 * The routes that tell how the proxy stands.
 *
 * Owns `GET /status`, `GET /stats` and `GET /info`. Invariants: answering reads memory only, so it works while the proxy
 * starts and while upstreams hang; whoever may reach some servers learns nothing of the others, not even their number.
 * A view of each server was rejected: a status is asked for often, and of 10,000 servers it would be the whole list.
 */
import { Hono } from "hono";

import type { Catalog } from "../catalog/catalog.ts";
import { VERSION } from "../core/version.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import type { Configuration } from "../gateway/configuration.ts";
import { errorOf, reachable, serverStats } from "../gateway/server_list.ts";
import type { Upstream, Upstreams } from "../upstream/upstreams.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of the proxy's status read. */
export interface StatusDeps {
  readonly upstreams: Upstreams;
  readonly catalog: Catalog;
  readonly configuration: Configuration;
  readonly settings: () => Settings;
  readonly configPath: string;
  /** `host:port` as it is listened on; known only once the port is. */
  readonly listenAddress: () => string;
  /** Of the Unix socket; empty when there is none. */
  readonly socketPath: () => string;
  readonly sessionCount: () => number;
  /** A stream that begins after its `lastId` tells all that comes after this status. */
  readonly streams: { readonly lastId: number };
  readonly startedAt: number;
}

/** Makes the routes below the API's root. */
export function statusRoutes(deps: StatusDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/status", (context) => answer(context, statusView(deps, context.get("principal"))));
  routes.get("/stats", (context) => answer(context, statsView(deps, context.get("principal"))));
  routes.get("/info", (context) => {
    const address = deps.listenAddress();
    return answer(context, {
      version: VERSION,
      listen_addr: address,
      pid: process.pid,
      web_ui_url: deps.settings().enableWebUi ? `http://${address}/ui/` : "",
      endpoints: { http: address, socket: deps.socketPath() },
    });
  });
  return routes;
}

/** How the proxy and its servers stand, as far as the caller may know of them. */
export function statusView(deps: StatusDeps, principal?: Principal) {
  const servers = reachable(principal, deps);
  return {
    running: true,
    state: stateOf(deps),
    version: VERSION,
    pid: process.pid,
    listen_addr: deps.listenAddress(),
    routing_mode: deps.settings().routingMode,
    timestamp: Math.floor(Date.now() / 1000),
    uptime_ms: Date.now() - deps.startedAt,
    config: deps.configPath,
    data_dir: deps.settings().dataDir,
    sessions: deps.sessionCount(),
    last_event_id: deps.streams.lastId,
    ...configView(deps, principal),
    upstream_stats: {
      ...serverStats(servers, deps),
      servers: Object.fromEntries(servers.map((upstream) => [upstream.server.name, briefly(upstream, deps)])),
    },
  };
}

/** What a person has to do about the configuration; no matter of an agent. */
function configView({ configuration }: StatusDeps, principal: Principal | undefined) {
  if (principal?.kind === "agent") return {};
  const { trouble, restartRequired } = configuration;
  return { restart_required: restartRequired, ...(trouble === undefined ? {} : { config_error: trouble }) };
}

/** The counts alone, without a word on each server. */
function statsView(deps: StatusDeps, principal: Principal | undefined) {
  return {
    ...serverStats(reachable(principal, deps), deps),
    state: stateOf(deps),
    sessions: deps.sessionCount(),
    revision: deps.configuration.revision,
    last_event_id: deps.streams.lastId,
    uptime_ms: Date.now() - deps.startedAt,
  };
}

/** A commit that could not be finished degrades the proxy as a storm does. */
function stateOf({ upstreams, configuration }: StatusDeps): string {
  return upstreams.state === "running" && configuration.isDegraded ? "degraded" : upstreams.state;
}

function briefly(upstream: Upstream, { catalog }: StatusDeps) {
  const { server, connection, category } = upstream;
  return {
    status: connection,
    connected: connection === "ready",
    tool_count: catalog.count(server.name),
    category,
    last_error: errorOf(upstream) ?? "",
  };
}
