/**
 * The reference of what explains: doctor, preflight, why a tool is not found.
 *
 * Owns those shapes. Invariant: each says what is wrong, and what would mend it.
 */
import { z } from "zod";

import { VERDICTS } from "../gateway/preflight.ts";
import { preflightBody } from "./preflight.ts";
import { count, jsonObject, numberQuery, texts, time } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";
import { variantShape } from "./reference_tools.ts";

const diagnosisShape = z.strictObject({
  total_issues: count.describe("Findings that are warnings or errors"),
  findings: z.array(
    z.strictObject({
      level: z.enum(["info", "warning", "error"]),
      code: z.string(),
      message: z.string(),
      hint: z.string(),
      server: z.string().optional(),
      proposal: z
        .strictObject({ method: z.literal("POST"), path: z.string(), body: jsonObject })
        .optional()
        .describe("The request that would do what the hint says"),
    }),
  ),
  upstream_errors: z.array(
    z.strictObject({
      server_name: z.string(),
      error_message: z.string(),
      error_class: z.string(),
      stderr: texts,
      timestamp: time,
    }),
  ),
  oauth_required: z.array(
    z.strictObject({ server_name: z.string(), state: z.literal("login_required"), message: z.string() }),
  ),
  missing_secrets: z.array(z.strictObject({ secret_name: z.string(), used_by: texts })),
  runtime_warnings: texts,
  timestamp: time,
});

const verdictShape = z
  .enum(VERDICTS)
  .describe("degraded: it will come by itself; blocked: a person has to act; unknown: there is none such");
const preflightShape = z.strictObject({
  status: verdictShape,
  tools: z.array(
    z.strictObject({
      id: z.string(),
      status: verdictShape,
      code: z.string().describe("READY, or the reason that counts"),
      reason: z.string(),
      hint: z.string(),
      action: z.enum(["approve", "enable", "login", "configure", "restart", "view_logs"]).optional(),
      did_you_mean: texts.optional(),
    }),
  ),
});

const explanationShape = z.strictObject({
  id: z.string(),
  is_found: z.boolean().describe("Whether a search can find it; with a query: whether that one does"),
  is_callable: z.boolean(),
  reasons: z.array(z.strictObject({ code: z.string(), message: z.string(), hint: z.string() })),
  server: z
    .strictObject({
      name: z.string(),
      category: z.string(),
      startup_mode: z.string(),
      connection_state: z.string(),
    })
    .optional(),
  call_with: variantShape.optional(),
  search: z
    .strictObject({
      query: z.string(),
      limit: count,
      total: count,
      rank: z.int().min(1).optional(),
      score: z.number(),
      threshold: z.number().optional(),
      parts: z.unknown().describe("What the score is made of"),
    })
    .optional(),
  did_you_mean: texts.optional(),
});

/** Routes that explain. */
export const INSIGHT_ROUTES = {
  "GET /api/v1/doctor": {
    id: "examine",
    tag: "insight",
    summary: "Looks for what is wrong, and says what mends it",
    data: diagnosisShape,
  },
  "POST /api/v1/preflight": {
    id: "preflight",
    tag: "insight",
    summary: "Says whether tools could be called now",
    body: preflightBody,
    data: preflightShape,
    errors: ["USAGE"],
  },
  "GET /api/v1/preflight": {
    id: "preflightByQuery",
    tag: "insight",
    summary: "The same with the ids in the address",
    query: { tools: z.string().describe("Ids as 'server:tool', divided by commas, or once for each") },
    data: preflightShape,
    errors: ["USAGE"],
  },
  "GET /api/v1/tools/explain": {
    id: "explainTool",
    tag: "tools",
    summary: "Says why a tool is missing, was not found or cannot be called",
    query: {
      id: z.string().describe("'server:tool'"),
      query: z.string().optional().describe("The words it was not found with"),
      limit: numberQuery(1, 100),
    },
    data: explanationShape,
    errors: ["USAGE"],
  },
} as const satisfies RouteTable;
