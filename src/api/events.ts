/**
 * The routes of the event streams.
 *
 * Owns `/events` (SSE), `/ws/events` and `/ws/servers` (WebSocket) and the schema of what they carry; not the key,
 * which here alone may stand in the address, since a browser's EventSource and WebSocket send no header of ours.
 * Invariant: HEAD opens no stream. A cookie instead of the key in the address was rejected: it is sent by foreign
 * pages too.
 */
import { Hono } from "hono";
import type { Context } from "hono";

import { ProxyError } from "../core/errors.ts";
import { eventJsonSchema } from "../core/event_schema.ts";
import type { EventType } from "../core/events.ts";
import type { Principal } from "../core/principal.ts";
import type { Access } from "../gateway/access.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";
import { readFilter, STATE_TYPES } from "./event_filter.ts";
import type { FilterOptions } from "./event_filter.ts";
import type { EventStreams, StreamRequest } from "./event_streams.ts";
import { statusView } from "./status.ts";
import type { StatusDeps } from "./status.ts";

/** A longer snapshot leaves the single servers out; a reader's buffer holds several of these. */
const MAX_SNAPSHOT_CHARS = 64 * 1024;
const STREAM_HEADERS = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-cache",
  "X-Accel-Buffering": "no",
};

/** What the routes of events work with. */
export interface EventsDeps extends StatusDeps {
  readonly streams: EventStreams;
  readonly access: Pick<Access, "isCurrent">;
}

/** Makes the routes of the streams, to be mounted at the root. */
export function eventRoutes(deps: EventsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const socket = (among?: readonly EventType[]) => (context: Context<ApiEnv>) => {
    if (deps.streams.openSocket(streamRequest(context, deps, among))) return new Response(null);
    throw new ProxyError(
      "USAGE",
      `Cannot open '${context.req.path}': the request is no WebSocket handshake`,
      {
        hint: "Connect with a WebSocket client, or read /events",
      },
    );
  };
  routes.get("/events", (context) => {
    const request = streamRequest(context, deps);
    const isHead = context.req.raw.method === "HEAD";
    if (isHead) return context.body(null, 200, STREAM_HEADERS);
    return context.body(
      deps.streams.openResponse(request, snapshot(deps, context.get("principal"))),
      200,
      STREAM_HEADERS,
    );
  });
  routes.get("/ws/events", socket());
  routes.get("/ws/servers", socket(STATE_TYPES));
  return routes;
}

/** Makes the routes below the API's root. */
export function eventSchemaRoutes(): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/events/schema", (context) => answer(context, eventJsonSchema()));
  return routes;
}

function streamRequest(
  context: Context<ApiEnv>,
  { streams, access }: EventsDeps,
  among?: readonly EventType[],
): StreamRequest {
  const { search } = new URL(context.req.url);
  const filters: FilterOptions = {
    groups: streams.groups,
    principal: context.get("principal"),
    isCurrent: (principal) => access.isCurrent(principal),
  };
  return {
    request: context.req.raw,
    listener: context.env?.listener,
    filter: readFilter(search, among === undefined ? filters : { ...filters, among }),
    since: sinceOf(context),
  };
}

/** A browser that reconnects sends the same address, and what it saw last as a header. */
function sinceOf(context: Context<ApiEnv>): number | undefined {
  const text = context.req.header("last-event-id") ?? context.req.query("since");
  if (text === undefined || text === "") return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new ProxyError("USAGE", `Cannot go on after '${text.slice(0, 40)}': the id of an event is a number`, {
    hint: "Send the 'id' of the last event that arrived as ?since= or 'Last-Event-ID'",
  });
}

function snapshot(deps: StatusDeps, principal: Principal): unknown {
  const status = statusView(deps, principal);
  if (JSON.stringify(status).length <= MAX_SNAPSHOT_CHARS) return status;
  const { servers: _, ...upstreamStats } = status.upstream_stats;
  return { ...status, upstream_stats: upstreamStats };
}
