/**
 * The reference of the record: what was done, and who was connected.
 *
 * Owns the shapes of an entry and of a session, with the fields of the Go proxy.
 */
import { z } from "zod";

import { count, cursorAfter, flagQuery, jsonObject, time } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";

const statusShape = z.enum(["success", "error", "blocked"]);

/** An entry as every answer shows it. */
export const activityShape = z.strictObject({
  id: z.string(),
  type: z
    .string()
    .describe(
      "tool_call, internal_tool_call, policy_decision, server_change, group_change, config_change, …",
    ),
  source: z.enum(["mcp", "api", "cli", "proxy"]),
  server_name: z.string().optional(),
  tool_name: z.string().optional(),
  arguments: z.unknown().optional().describe("Secrets masked, long texts cut"),
  arguments_truncated: z.boolean().optional(),
  status: statusShape,
  error_message: z.string().optional(),
  duration_ms: z.number().optional(),
  timestamp: time,
  session_id: z.string().optional(),
  request_id: z.string().optional(),
  principal: z.string().optional().describe("Who did it"),
  metadata: jsonObject.optional(),
});

const filterQuery = {
  type: z.string().optional().describe("One or several, divided by commas"),
  status: statusShape.optional(),
  server: z.string().optional(),
  tool: z.string().optional(),
  intent_type: z.string().optional().describe("read, write or destructive"),
  request_id: z.string().optional(),
  session_id: z.string().optional(),
  start_time: z.string().optional().describe("RFC 3339, or how long ago, such as 90m"),
  end_time: z.string().optional(),
};
const fromOne = z.int().min(1).optional();
const fromZero = z.int().min(0).optional();

const sessionShape = z.strictObject({
  id: z.string().describe("The beginning of the session's id; it opens nothing"),
  client_name: z.string(),
  client_version: z.string(),
  status: z.enum(["active", "closed"]),
  start_time: time,
  end_time: time.optional(),
  reason: z.string().optional().describe("Why it ended"),
  last_activity: time,
  tool_call_count: count,
});

/** Routes of the activity and of sessions. */
export const ACTIVITY_ROUTES = {
  "GET /api/v1/activity": {
    id: "listActivity",
    tag: "activity",
    summary: "Lists what was done, the last first",
    query: {
      ...filterQuery,
      limit: fromOne.describe("50 unless said, 100 at most"),
      offset: fromZero,
      cursor: z.string().optional(),
    },
    data: z.strictObject({
      activities: z.array(activityShape),
      total: count,
      limit: z.int(),
      offset: z.int(),
      next_cursor: cursorAfter,
    }),
    errors: ["USAGE"],
  },
  "GET /api/v1/activity/summary": {
    id: "sumUpActivity",
    tag: "activity",
    summary: "Counts what was done in a time",
    query: {
      period: z.string().optional().describe("1h, 24h, 7d, 30d; 24h unless said"),
      type: filterQuery.type,
    },
    data: z.strictObject({
      period: z.string(),
      total_count: count,
      success_count: count,
      error_count: count,
      blocked_count: count,
      top_servers: z.array(z.strictObject({ name: z.string(), count })),
      top_tools: z.array(z.strictObject({ server: z.string(), tool: z.string(), count })),
      start_time: time,
      end_time: time,
    }),
    errors: ["USAGE"],
  },
  "GET /api/v1/activity/export": {
    id: "exportActivity",
    tag: "activity",
    summary: "Sends the record as one JSON object a line, or as CSV",
    query: {
      ...filterQuery,
      format: z.enum(["json", "csv"]).optional(),
      limit: fromOne,
      include_bodies: flagQuery.describe("Whether arguments are part of it"),
    },
    others: { 200: { description: "application/x-ndjson, or text/csv", media: "application/x-ndjson" } },
    errors: ["USAGE"],
  },
  "GET /api/v1/activity/:id": {
    id: "getActivity",
    tag: "activity",
    summary: "Shows one entry",
    data: z.strictObject({ activity: activityShape }),
    errors: ["ROUTE_UNKNOWN"],
  },
  "GET /api/v1/sessions": {
    id: "listSessions",
    tag: "activity",
    summary: "Lists clients of the older protocol era, open sessions and the last that ended",
    query: { limit: fromOne, offset: fromZero, status: z.string().optional().describe("active or closed") },
    data: z.strictObject({
      sessions: z.array(sessionShape),
      total: count,
      limit: z.int(),
      offset: z.int(),
    }),
    errors: ["USAGE"],
  },
  "GET /api/v1/sessions/:id": {
    id: "getSession",
    tag: "activity",
    summary: "Shows one session",
    data: z.strictObject({ session: sessionShape }),
    errors: ["SESSION_UNKNOWN"],
  },
} as const satisfies RouteTable;
