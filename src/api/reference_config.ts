/**
 * The reference of the configuration: read, plan, apply, history, rollback.
 *
 * Owns the shapes of those answers; what a change answers stands in `reference_entry.ts`.
 */
import { z } from "zod";

import { changeBody, documentBody, rollbackBody } from "./config.ts";
import { CHANGE_ERRORS, changeShape, count, jsonObject, texts, time } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";
import type { ErrorCode } from "../core/errors.ts";

/** What any operation may be refused for. */
const PLAN_ERRORS = [
  ...CHANGE_ERRORS,
  "GROUP_EXISTS",
  "GROUP_UNKNOWN",
  "MODE_REFUSED",
  "QUARANTINED",
  "SERVER_EXISTS",
  "SERVER_FAULTY",
  "SERVER_UNKNOWN",
  "VERIFY_FAILED",
] as const satisfies readonly ErrorCode[];

const ifMatch = {
  "If-Match": z
    .string()
    .optional()
    .describe("The ETag of GET /api/v1/config: nothing is done when another revision is in force"),
};

const appliedShape = z.strictObject({
  success: z.literal(true),
  applied_immediately: z.boolean(),
  requires_restart: z.boolean(),
  restart_reason: z.string().optional(),
  changed_fields: texts,
  changes: changeShape.shape.changes,
  revision: z.int(),
  warnings: texts,
  warning: z.string().optional(),
});

/** Routes below `/config`. */
export const CONFIG_ROUTES = {
  "GET /api/v1/config": {
    id: "getConfig",
    tag: "config",
    summary: "Shows the configuration in force in the form of the Go proxy, secrets masked",
    description: "The ETag is the revision; send it as 'If-Match' with a change.",
    data: z.strictObject({ config: jsonObject, config_path: z.string(), revision: z.int() }),
  },
  "POST /api/v1/config/validate": {
    id: "validateConfig",
    tag: "config",
    summary: "Says what is wrong with a whole document, and changes nothing",
    body: documentBody,
    data: z.strictObject({
      valid: z.boolean(),
      errors: z.array(
        z.strictObject({
          field: z.string(),
          message: z.string(),
          advice: z.string(),
          server: z.string().optional(),
        }),
      ),
      warnings: texts,
    }),
    errors: ["USAGE"],
  },
  "POST /api/v1/config/plan": {
    id: "planConfig",
    tag: "config",
    summary: "Shows what operations would change and restart",
    headers: ifMatch,
    body: changeBody,
    data: changeShape,
    errors: PLAN_ERRORS,
  },
  "POST /api/v1/config/apply": {
    id: "applyConfig",
    tag: "config",
    summary: "Does operations, all or none, or takes a whole document, as one change of the file",
    description:
      "A body without 'operations' is a whole document as GET /api/v1/config shows it; masked values mean unchanged. With 'lenient' what is refused is listed and the rest done. With 'revision' nothing is done when another one is in force (409).",
    headers: ifMatch,
    body: z.union([changeBody, documentBody]),
    data: z.union([changeShape, appliedShape]),
    errors: PLAN_ERRORS,
  },
  "GET /api/v1/config/history": {
    id: "listConfigHistory",
    tag: "config",
    summary: "Lists the kept texts of the configuration, the last first",
    data: z.strictObject({
      revision: z.int(),
      entries: z.array(
        z.strictObject({
          id: z.string(),
          time,
          revision: z.int(),
          hash: z.string(),
          bytes: count,
        }),
      ),
    }),
  },
  "GET /api/v1/config/diff": {
    id: "diffConfig",
    tag: "config",
    summary: "Compares two kept texts, values of secrets masked",
    query: {
      from: z.string().describe("Id of a kept text"),
      to: z.string().optional().describe("Another one; the file as it is now unless said"),
    },
    data: z.strictObject({ from: z.string(), to: z.string(), diff: z.string() }),
    errors: ["REVISION_UNKNOWN", "USAGE"],
  },
  "POST /api/v1/config/rollback": {
    id: "rollbackConfig",
    tag: "config",
    summary: "Makes a kept text the configuration again",
    body: rollbackBody,
    data: changeShape,
    errors: [...PLAN_ERRORS, "REVISION_UNKNOWN"],
  },
} as const satisfies RouteTable;
