/**
 * The reference of tools: all of them, the search over them, a call.
 *
 * Owns the shape of a tool as every list shows it.
 */
import { z } from "zod";

import { count, cursorAfter, jsonObject, numberQuery } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";

/** The meta tool a tool is called with. */
export const variantShape = z.enum(["call_tool_read", "call_tool_write", "call_tool_destructive"]);

/** A tool as every list shows it. */
export const toolShape = z.strictObject({
  id: z.string().describe("'server:tool': what a call takes as 'name'"),
  name: z.string(),
  server_name: z.string(),
  title: z.string().optional(),
  description: z.string(),
  schema: jsonObject.describe("JSON Schema of the arguments"),
  annotations: jsonObject.optional().describe("Behaviour hints, as the upstream gives them"),
  call_with: variantShape.describe("The meta tool it is called with"),
});

/** What `POST /tools/call` takes. */
const callBody = z.looseObject({
  tool_name: z.string().min(1).describe("A meta tool, such as call_tool_read"),
  arguments: jsonObject.optional().describe('Its arguments, such as {"name": "server:tool", "args": {}}'),
});

/** Routes of tools. */
export const TOOL_ROUTES = {
  "GET /api/v1/tools": {
    id: "listTools",
    tag: "tools",
    summary: "Lists all known tools, those that are switched off too",
    query: {
      server: z.string().optional(),
      group: z.string().optional().describe("Id, name or slug"),
      q: z.string().optional().describe("Text in the name or the description"),
      limit: numberQuery(1, 10_000),
      cursor: z.string().optional(),
    },
    data: z.strictObject({
      tools: z.array(toolShape.extend({ enabled: z.boolean() })),
      stats: z.strictObject({ total: count, enabled: count, disabled: count, pending_approval: count }),
      total: count,
      next_cursor: cursorAfter,
    }),
    errors: ["GROUP_UNKNOWN", "USAGE"],
  },
  "GET /api/v1/index/search": {
    id: "searchTools",
    tag: "tools",
    summary: "Searches tools as an agent would find them",
    query: {
      q: z.string().min(1).describe("Words"),
      limit: numberQuery(1, 100),
      server: z.string().optional(),
      group: z.string().optional().describe("Id, name or slug"),
    },
    data: z.strictObject({
      query: z.string(),
      results: z.array(
        z.strictObject({ tool: toolShape, score: z.number(), server_state: z.string(), stale: z.boolean() }),
      ),
      total: count,
      took: z.string(),
      took_ms: z.number(),
    }),
    errors: ["GROUP_UNKNOWN", "USAGE"],
  },
  "POST /api/v1/tools/call": {
    id: "callTool",
    tag: "tools",
    summary: "Calls a meta tool, and through it a tool of an upstream",
    description:
      "An error the tool itself reports is a success of the call: 'is_error' says so, and 'data' has what it said.",
    headers: {
      traceparent: z.string().optional().describe("W3C trace context, passed on to the upstream"),
      tracestate: z.string().optional(),
    },
    body: callBody,
    data: z.array(z.looseObject({ type: z.string() })).describe("Content blocks, as the upstream gave them"),
    beside: {
      is_error: z.literal(true).optional(),
      structured_content: jsonObject.optional(),
    },
    errors: [
      "ARGUMENTS_INVALID",
      "CACHE_UNKNOWN",
      "CALL_CANCELLED",
      "CALL_FAILED",
      "CALL_TIMEOUT",
      "QUARANTINED",
      "SECRET_MISSING",
      "SERVER_FAULTY",
      "SERVER_NOT_READY",
      "SERVER_OFF",
      "SERVER_UNKNOWN",
      "TOOL_REFUSED",
      "TOOL_UNKNOWN",
      "UPSTREAM_AUTH",
      "UPSTREAM_FAILED",
      "USAGE",
    ],
  },
} as const satisfies RouteTable;
