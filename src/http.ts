/**
 * The one HTTP listener.
 *
 * Owns `Bun.serve`, on the address and on the Unix socket, and the route list with the doors before it.
 * Invariants: Host and Origin are checked on every route, unknown ones included; `/api` needs the key;
 * stopping ends open streams. A listener per surface was rejected: one port is what users configure.
 */
import { Hono } from "hono";
import type { HonoRequest, MiddlewareHandler } from "hono";

import { activityRoutes } from "./api/activity.ts";
import type { ActivityDeps } from "./api/activity.ts";
import { noteChanges } from "./api/change_notes.ts";
import { apiDoor, checkOrigin, mcpDoor } from "./api/door.ts";
import { answerError, requestId } from "./api/envelope.ts";
import type { ApiEnv } from "./api/envelope.ts";
import { eventRoutes, eventSchemaRoutes } from "./api/events.ts";
import type { EventsDeps } from "./api/events.ts";
import type { SocketReader } from "./api/event_readers.ts";
import type { EventStreams } from "./api/event_streams.ts";
import { configRoutes } from "./api/config.ts";
import type { ConfigDeps } from "./api/config.ts";
import { doctorRoutes } from "./api/doctor.ts";
import type { DoctorDeps } from "./api/doctor.ts";
import { batchRoutes, groupAliases, groupRoutes } from "./api/groups.ts";
import type { GroupsDeps } from "./api/groups.ts";
import { importRoutes } from "./api/import.ts";
import { metricsAliases, metricsRoutes, prometheusRoute } from "./api/metrics.ts";
import type { MetricsDeps } from "./api/metrics.ts";
import { pageRoutes } from "./api/page.ts";
import { preflightRoutes } from "./api/preflight.ts";
import { profileRoutes } from "./api/profile.ts";
import { registryRoutes } from "./api/registries.ts";
import type { RegistriesDeps } from "./api/registries.ts";
import { serverAliases, serverRoutes } from "./api/servers.ts";
import { sessionRoutes } from "./api/sessions.ts";
import type { SessionsDeps } from "./api/sessions.ts";
import { statusRoutes } from "./api/status.ts";
import { tokenRoutes } from "./api/tokens.ts";
import type { TokensDeps } from "./api/tokens.ts";
import { toolRoutes } from "./api/tools.ts";
import type { ToolsDeps } from "./api/tools.ts";
import { messageOf, ProxyError } from "./core/errors.ts";
import type { ListenAddress } from "./core/settings.ts";
import type { McpEndpoint } from "./front/endpoint.ts";
import type { Access } from "./gateway/access.ts";
import type { Recorder } from "./gateway/recorder.ts";
import type { Log } from "./lib/log.ts";
import { bindPrivately } from "./lib/private_socket.ts";

const MAX_BODY_BYTES = 16 * 1024 * 1024;
/** How long a client may take between the bytes of a request, and be silent between two. */
const IDLE_TIMEOUT_S = 30;
/** How long answers under way may take to go out when the listener closes. */
const FLUSH_MS = 1_000;

/** What the routes are made of. */
export interface HttpDeps
  extends
    ToolsDeps,
    ConfigDeps,
    DoctorDeps,
    RegistriesDeps,
    GroupsDeps,
    EventsDeps,
    ActivityDeps,
    MetricsDeps,
    SessionsDeps,
    TokensDeps {
  readonly streams: EventStreams;
  readonly recorder: Recorder;
  readonly access: Access;
  readonly mcp: McpEndpoint;
  readonly log: Log;
  /** Whether known tools are searchable. */
  readonly isReady: () => boolean;
}

/** All routes. */
export type App = Hono<ApiEnv>;

/** Makes the whole of the routes; usable without a listener. */
export function createApp(deps: HttpDeps): App {
  const { access, log } = deps;
  const app = new Hono<ApiEnv>();
  app.onError((error, context) => answerError(context, error, log));
  app.use(requestId);
  app.use(checkOrigin(access));

  addProbes(app, deps);
  addApi(app, deps);
  app.use("/mcp/*", mcpDoor(access));
  app.use(
    "/mcp/*",
    arrivalBy(async (request) => request.text()),
  );
  app.route("/mcp", deps.mcp.routes);
  app.route("/", pageRoutes(deps));
  app.notFound((context) =>
    answerError(
      context,
      new ProxyError("ROUTE_UNKNOWN", `Cannot find '${context.req.method} ${context.req.path}'`, {
        hint: "MCP clients connect to /mcp; the admin API is below /api/v1",
      }),
      log,
    ),
  );
  return app;
}

function addProbes(app: App, deps: HttpDeps): void {
  app.get("/livez", (context) => context.json({ status: "ok" }));
  app.get("/healthz", (context) => context.json({ status: "ok" }));
  app.get("/readyz", (context) => context.json({ ready: deps.isReady() }, deps.isReady() ? 200 : 503));
  app.get("/startupz", (context) => {
    const isSettled = deps.isReady() && deps.upstreams.isSettled;
    return context.json({ settled: isSettled }, isSettled ? 200 : 503);
  });
}

/** What operators see; all of it behind the key. */
function addApi(app: App, deps: HttpDeps): void {
  const { access } = deps;
  app.use("/api/*", apiDoor(access));
  app.use(
    "/api/*",
    arrivalBy(async ({ raw }) => raw.body && raw.clone().arrayBuffer()),
  );
  app.use("/metrics/*", apiDoor(access));
  app.use("/events/*", apiDoor(access, { takesAddress: true }));
  app.use("/ws/*", apiDoor(access, { takesAddress: true }));
  app.use("/api/*", noteChanges(deps.recorder));
  app.get("/metrics", prometheusRoute(deps));
  app.route("/api/v1", metricsRoutes(deps));
  app.route("/api/v1/activity", activityRoutes(deps));
  app.route("/api/v1/sessions", sessionRoutes(deps));
  app.route("/api/v1/profile", profileRoutes());
  app.route("/api/v1", statusRoutes(deps));
  app.route("/api/v1", batchRoutes(deps));
  app.route("/api/v1/servers", serverRoutes(deps));
  app.route("/api/v1/groups", groupRoutes(deps));
  app.route("/api/v1/config", configRoutes(deps));
  app.route("/api/v1/registries", registryRoutes(deps));
  app.route("/api/v1/import", importRoutes(deps));
  app.route("/api/v1", toolRoutes(deps));
  app.route("/api/v1", preflightRoutes(deps));
  app.route("/api/v1", doctorRoutes(deps));
  app.route("/api/v1/tokens", tokenRoutes(deps));

  app.route("/api/v1", eventSchemaRoutes());
  app.route("/api", groupAliases(deps));
  app.route("/", eventRoutes(deps));
  app.route("/api", serverAliases(deps));
  app.route("/api", metricsAliases(deps));
}

/**
 * Waits for all of a request, which `read` leaves to be read by the routes; from then on a call may be silent for as long
 * as its own timeout allows.
 */
function arrivalBy(read: (request: HonoRequest) => Promise<unknown>): MiddlewareHandler<ApiEnv> {
  return async (context, next) => {
    try {
      await read(context.req);
    } catch {
      // The listener has cut it off, for its silence or for its length: nobody hears this.
      return context.body(null, 408);
    }
    context.env?.listener?.timeout(context.req.raw, 0);
    return next();
  };
}

/** A listener that runs. */
export interface Listener {
  readonly hostname: string;
  readonly port: number;
  /** Stops listening, lets answers under way go out, and ends what is open. */
  close(): Promise<void>;
}

/**
 * Listens; without `streams` no WebSocket is opened.
 *
 * @throws {ProxyError} `LISTEN_FAILED` when the address is taken or not ours.
 */
export function listen(app: App, address: ListenAddress, streams?: EventStreams): Listener {
  const { hostname, port } = address;
  let server: Bun.Server<SocketReader>;
  try {
    const same = serving(app, { streams, isSocket: false });
    server = Bun.serve({ ...same, hostname, port, idleTimeout: IDLE_TIMEOUT_S });
  } catch (error) {
    throw new ProxyError("LISTEN_FAILED", `Cannot listen on '${hostname}:${port}': ${messageOf(error)}`, {
      cause: error,
      hint: "End the program that uses the port, or set 'listen' or --listen to another one",
    });
  }
  streams?.attach(server);
  return {
    hostname: server.hostname ?? hostname,
    port: server.port ?? port,
    close: () => end(server),
  };
}

/** A Unix socket that is listened on. */
export interface UnixListener {
  readonly path: string;
  /** As {@link Listener.close}; the file is gone afterwards. */
  close(): Promise<void>;
}

/**
 * Listens on a Unix socket of its user alone, where no key is asked for.
 *
 * @throws Error when there can be none at that path
 */
export async function listenOnSocket(app: App, path: string, streams?: EventStreams): Promise<UnixListener> {
  const { listener, remove } = await bindPrivately(path, (unix) =>
    Bun.serve({ ...serving(app, { streams, isSocket: true }), unix }),
  );
  return {
    path,
    close: async () => {
      remove();
      await end(listener);
    },
  };
}

/** What both listeners do with a request. */
function serving(
  app: App,
  { streams, isSocket }: { readonly streams: EventStreams | undefined; readonly isSocket: boolean },
) {
  let bindings: ApiEnv["Bindings"] | undefined;
  return {
    websocket: streams?.websocket ?? { message: () => {} },
    maxRequestBodySize: MAX_BODY_BYTES,
    fetch: async (request: Request, listener: Bun.Server<SocketReader>) => {
      bindings ??= {
        peer: { isSocket, addressOf: (asker) => listener.requestIP(asker)?.address },
        listener,
      };
      const response = await app.fetch(request, bindings);
      // What streams for long is never silent for as long as this.
      listener.timeout(request, IDLE_TIMEOUT_S);
      return response;
    },
    error: () =>
      Response.json(
        { success: false, error: "Cannot answer the request", code: "INTERNAL" },
        { status: 500 },
      ),
  };
}

async function end(server: Bun.Server<SocketReader>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, FLUSH_MS);
  await Promise.race([server.stop(), late.promise]);
  clearTimeout(timer);
  await server.stop(true);
}
