/**
 * What is said of one route: its name, what it takes, what it answers, how it fails.
 *
 * Owns the vocabulary of the reference and the shapes that stand in many answers. Invariants: a table's key is the method
 * and the path as the router has them; the shapes of answers are strict, so that a field nobody described is found by
 * a test; nothing of this is read before somebody asks for the reference. Describing routes where they are made was
 * rejected: the start of the proxy would pay for it.
 */
import { z } from "zod";

import { ERRORS } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";

/** The nouns routes belong to, in the order of the reference. */
export const TAGS = {
  status: "How the proxy stands",
  servers: "Servers: list, add, change, switch",
  groups: "Groups of servers, and batches",
  tools: "Tools: list, search, explain, call",
  config: "The configuration: read, plan, apply, roll back",
  import: "Taking over servers from registries and from other programs",
  tokens: "Tokens of agents",
  activity: "What was done, and by whom",
  events: "What happens, as it happens",
  insight: "Findings, numbers and profiles",
  mcp: "What MCP clients connect to",
  pages: "Pages for people, and this reference",
} as const;

/** An answer that is not the one of the envelope with `data`. */
export interface OtherAnswer {
  readonly description: string;
  /** A bare JSON body. */
  readonly json?: z.ZodType;
  /** A body that is no JSON, by its media type. */
  readonly media?: string;
}

/** One route. */
export interface RouteEntry {
  /** Name of the operation in generated clients. */
  readonly id: string;
  readonly tag: keyof typeof TAGS;
  /** One line. */
  readonly summary: string;
  readonly description?: string;
  /** `open`: no key; `address`: the key may stand in the address; `mcp`: a key when `require_mcp_auth` says so. @default "key" */
  readonly access?: "open" | "key" | "address" | "mcp";
  readonly query?: Readonly<Record<string, z.ZodType>>;
  /** Headers that mean something here, besides the key and `X-Request-Id`. */
  readonly headers?: Readonly<Record<string, z.ZodType>>;
  readonly body?: z.ZodType;
  /** Whether a request without a body counts as `{}`. @default false */
  readonly isBodyOptional?: boolean;
  /** `data` of the envelope. */
  readonly data?: z.ZodType;
  /** What stands beside `data`. */
  readonly beside?: Readonly<Record<string, z.ZodType>>;
  /** The statuses that carry `data`. @default [200] */
  readonly status?: readonly number[];
  readonly others?: Readonly<Record<number, OtherAnswer>>;
  /** Besides what every route with its `access` may answer. */
  readonly errors?: readonly ErrorCode[];
}

/** Routes by method and path, as in `GET /api/v1/servers/:name`. */
export type RouteTable = Readonly<Record<string, RouteEntry>>;

/** What any route may fail with, besides its own. */
export function commonErrors({ access = "key" }: RouteEntry): readonly ErrorCode[] {
  if (access === "open") return ["HOST_FORBIDDEN"];
  return ["AUTH_REQUIRED", "HOST_FORBIDDEN", "RATE_LIMITED", "SCOPE_REFUSED"];
}

/** What a change of the configuration may fail with. */
export const CHANGE_ERRORS = [
  "ARGUMENTS_INVALID",
  "CONFIG_CONFLICT",
  "CONFIG_INVALID",
  "CONFIG_UNREADABLE",
  "CONFIG_UNWRITABLE",
  "MANAGEMENT_REFUSED",
  "USAGE",
] as const satisfies readonly ErrorCode[];

/** Texts, as in lists of names. */
export const texts = z.array(z.string());
/** A number from 0. */
export const count = z.number().min(0);
/** A time such as `2026-07-28T12:00:00.000Z`. */
export const time = z.iso.datetime();
/** Any JSON object. */
export const jsonObject = z.record(z.string(), z.unknown());

/** Where the next page of a list begins. */
export const cursorAfter = z
  .string()
  .optional()
  .describe("Send it as 'cursor' for the next page; absent on the last");
/** A switch in a query. */
export const flagQuery = z.enum(["true", "false"]).optional();

/** A whole number in a query. */
export function numberQuery(min: number, max: number): z.ZodOptional<z.ZodInt> {
  return z.int().min(min).max(max).optional();
}

/** Every error of the API. */
export const errorShape = z.strictObject({
  success: z.literal(false),
  error: z.string().describe("What failed, for people"),
  code: z.enum(Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]).describe("What failed, for programs"),
  hint: z.string().optional().describe("A command or a setting that mends it"),
  details: jsonObject
    .optional()
    .describe("Facts, such as the faults of a configuration with line and column"),
  request_id: z
    .string()
    .describe("The 'X-Request-Id' that was sent, or one of ours; the log and the activity have it too"),
});

/** A server or group that was left as it was. */
export const refusalShape = z.strictObject({
  server: z.string(),
  error: z.string(),
  code: z.string(),
  at: z.int().optional().describe("Index of the operation"),
});

/** What a change did, or would do. */
export const changeShape = z.strictObject({
  revision: z.int().describe("Number of the configuration in force"),
  changes: z.array(
    z.strictObject({
      server: z.string(),
      kind: z.enum(["add", "remove", "rename", "change", "mode"]),
      from: z.string().optional().describe("The name before a rename"),
      keys: texts.optional().describe("Keys of the entry that change; never their values"),
      mode: z.strictObject({ before: z.string().optional(), after: z.string() }).optional(),
      restarts: z.boolean().describe("Whether its connection is made anew"),
    }),
  ),
  groups: z.strictObject({ added: z.array(z.int()), removed: z.array(z.int()), changed: z.array(z.int()) }),
  settings: texts.describe("Top-level keys that change"),
  restart_required: texts.describe("Those of them that hold from the next start"),
  updated: texts.describe("Servers that change"),
  unchanged: texts.describe("Servers that were as asked already"),
  refused: z.array(refusalShape),
  warning: z.string().optional(),
});
