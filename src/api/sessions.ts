/**
 * The routes of sessions: which legacy clients are connected, and were.
 *
 * Owns `/sessions` and below with the fields of the Go proxy. Invariant: what names a session here opens nothing.
 * Listing modern clients as sessions was rejected: they have none.
 */
import { Hono } from "hono";

import { ProxyError } from "../core/errors.ts";
import type { SessionRecord, Sessions } from "../gateway/sessions.ts";
import { answer, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of sessions read. */
export interface SessionsDeps {
  readonly sessions: Sessions;
}

const DEFAULT_LIMIT = 50;
const MAX_LIMIT = 100;

/** Makes the routes below `/sessions`. */
export function sessionRoutes({ sessions }: SessionsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/", (context) => {
    const asked = queryNumber(context, "limit", { min: 1, max: Number.MAX_SAFE_INTEGER }) ?? DEFAULT_LIMIT;
    const offset = queryNumber(context, "offset", { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? 0;
    const status = context.req.query("status") || undefined;
    const limit = Math.min(asked, MAX_LIMIT);
    const all = sessions.list().map(sessionView);
    const wanted = all.filter((session) => status === undefined || session.status === status);
    return answer(context, {
      sessions: wanted.slice(offset, offset + limit),
      total: wanted.length,
      limit,
      offset,
    });
  });
  routes.get("/:id", (context) => {
    const id = context.req.param("id");
    const session = sessions.find(id);
    if (session === undefined) {
      throw new ProxyError("SESSION_UNKNOWN", `Cannot find the session '${id.slice(0, 40)}'`, {
        hint: "GET /api/v1/sessions lists the open ones and the last that ended",
      });
    }
    return answer(context, { session: sessionView(session) });
  });
  return routes;
}

function sessionView({ id, client, openedAt, usedAt, calls, endedAt, reason }: SessionRecord) {
  return {
    id,
    client_name: client?.name ?? "",
    client_version: client?.version ?? "",
    status: endedAt === undefined ? "active" : "closed",
    start_time: new Date(openedAt).toISOString(),
    ...(endedAt === undefined ? {} : { end_time: new Date(endedAt).toISOString(), reason }),
    last_activity: new Date(usedAt).toISOString(),
    tool_call_count: calls,
  };
}
