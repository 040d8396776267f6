/**
 * The door in front of the routes.
 *
 * Owns which way in asks for what: the admin API and metrics a key, streams of events a key that may stand in the
 * address, MCP a key when the settings say so; and the exact list of what an agent token opens. Invariants: Host and
 * Origin are looked at first, on every route; a route that is not on the list is closed to agents, so that a new one is
 * closed until somebody opens it. A note at each route was rejected: the list should be read in one piece.
 */
import type { Context, MiddlewareHandler } from "hono";
import { matchedRoutes } from "hono/route";

import { ProxyError } from "../core/errors.ts";
import { SOCKET } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { Access, AuthenticateOptions } from "../gateway/access.ts";
import type { ApiEnv } from "./envelope.ts";

/** The routes of the API that an agent token opens; what they show is narrowed to the token's servers. */
export const AGENT_ROUTES: ReadonlySet<string> = new Set([
  "GET /api/v1/status",
  "GET /api/v1/info",
  "GET /api/v1/stats",
  "GET /api/v1/servers",
  "GET /api/v1/servers/:name",
  "GET /api/v1/servers/:name/tools",
  "GET /api/v1/groups",
  "GET /api/v1/tools",
  "GET /api/v1/index/search",
  "GET /api/v1/tools/explain",
  "GET /api/v1/preflight",
  "GET /api/v1/events/schema",
  "GET /events",
  "GET /ws/events",
  "GET /ws/servers",
  "POST /api/v1/tools/call",
  "POST /api/v1/preflight",
]);

/** Refuses foreign web pages on every route; what comes by the socket comes from no page. */
export function checkOrigin(access: Access): MiddlewareHandler<ApiEnv> {
  return async (context, next) => {
    if (context.env?.peer?.isSocket === true) access.checkSocketOrigin(context.req.raw.headers);
    else access.checkOrigin(context.req.raw.headers);
    await next();
  };
}

/** Asks for a key, and lets agents pass to what is on the list. */
export function apiDoor(
  access: Access,
  options: { readonly takesAddress?: boolean } = {},
): MiddlewareHandler<ApiEnv> {
  return async (context, next) => {
    const inAddress = options.takesAddress === true ? context.req.query("apikey") : undefined;
    const principal = principalOf(context, { access, inAddress });
    context.set("principal", principal);
    if (principal.kind !== "admin") assertOpenToAgents(context);
    await next();
  };
}

/** Lets MCP clients in, without a key where none is asked for. */
export function mcpDoor(access: Access): MiddlewareHandler<ApiEnv> {
  return async (context, next) => {
    const isAdmin = /^\/mcp\/admin(?:\/|$)/.test(context.req.path);
    const principal = principalOf(context, { access, isOpen: !isAdmin && !access.needsMcpKey });
    context.set("principal", principal);
    if (isAdmin && principal.kind !== "admin") throw refusal(context);
    await next();
  };
}

function principalOf(
  context: Context<ApiEnv>,
  { access, ...options }: { readonly access: Access } & AuthenticateOptions,
): Principal {
  // `app.request()` gives no environment.
  const peer = context.env?.peer;
  if (peer?.isSocket === true) return SOCKET;
  const address = (): string | undefined => peer?.addressOf(context.req.raw);
  return access.authenticate(context.req.raw.headers, { ...options, address });
}

/** Whatever would answer must be on the list; only middleware ends in a star. */
function assertOpenToAgents(context: Context<ApiEnv>): void {
  for (const { method, path } of matchedRoutes(context)) {
    if (!path.endsWith("/*") && !AGENT_ROUTES.has(`${method} ${path}`)) throw refusal(context);
  }
}

function refusal(context: Context<ApiEnv>): ProxyError {
  return new ProxyError(
    "SCOPE_REFUSED",
    `Cannot answer '${context.req.method} ${context.req.path}': an agent token does not open it`,
    { hint: "Use the API key; agent tokens are for MCP clients, and for reading what they may call" },
  );
}
