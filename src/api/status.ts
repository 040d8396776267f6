/**
 * The routes that tell how the proxy stands.
 *
 * Owns `GET /status` and `GET /info`. Invariant: answering reads memory only, so it works while the
 * proxy starts and while upstreams hang.
 */
import { Hono } from "hono";

import { VERSION } from "../core/version.ts";
import type { Settings } from "../core/settings.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";
import { serverStats, serverView } from "./servers.ts";
import type { ServersDeps } from "./servers.ts";

/** What the routes of the proxy's status read. */
export interface StatusDeps extends ServersDeps {
  readonly settings: () => Settings;
  readonly configPath: string;
  /** `host:port` as it is listened on; known only once the port is. */
  readonly listenAddress: () => string;
  readonly sessionCount: () => number;
  /** A stream that begins after its `lastId` tells all that comes after this status. */
  readonly streams: { readonly lastId: number };
  readonly startedAt: number;
}

/** Makes the routes below the API's root. */
export function statusRoutes(deps: StatusDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/status", (context) => answer(context, statusView(deps)));
  routes.get("/info", (context) => {
    const address = deps.listenAddress();
    return answer(context, {
      version: VERSION,
      listen_addr: address,
      pid: process.pid,
      web_ui_url: "",
      endpoints: { http: address, socket: "" },
    });
  });
  return routes;
}

/** How the proxy and its servers stand. */
export function statusView(deps: StatusDeps) {
  const servers = deps.upstreams.list().map((upstream) => serverView(upstream, deps));
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
    upstream_stats: {
      ...serverStats(servers),
      servers: Object.fromEntries(servers.map((server) => [server.name, briefly(server)])),
    },
  };
}

/** A commit that could not be finished degrades the proxy as a storm does. */
function stateOf({ upstreams, configuration }: StatusDeps): string {
  return upstreams.state === "running" && configuration.isDegraded ? "degraded" : upstreams.state;
}

function briefly(server: ReturnType<typeof serverView>) {
  const { status, connected, tool_count, category, last_error } = server;
  return { status, connected, tool_count, category, last_error };
}
