/**
 * The reference of agent tokens.
 *
 * Owns the shape of a token as it is shown; its secret stands in the answer that made it alone.
 */
import { z } from "zod";

import { PERMISSIONS } from "../core/principal.ts";
import { count, texts, time } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";
import { regenerateBody, tokenBody } from "./tokens.ts";

/** A token as every list shows it. */
export const tokenShape = z.strictObject({
  name: z.string(),
  token_prefix: z.string().describe("The beginning of the secret"),
  allowed_servers: texts.describe("Names, or '*'"),
  allowed_groups: texts,
  permissions: z.array(z.enum(PERMISSIONS)),
  created_at: time,
  expires_at: time,
  last_used_at: time.optional(),
  expired: z.boolean(),
  revoked: z.boolean(),
});

const issuedShape = tokenShape.extend({
  token: z.string().describe("The secret: shown here and never again"),
});
const gone = { 204: { description: "Done" } } as const;

/** Routes below `/tokens`. */
export const TOKEN_ROUTES = {
  "GET /api/v1/tokens": {
    id: "listTokens",
    tag: "tokens",
    summary: "Lists the tokens of agents, revoked and expired ones too",
    data: z.strictObject({ tokens: z.array(tokenShape), total: count }),
  },
  "POST /api/v1/tokens": {
    id: "addToken",
    tag: "tokens",
    summary: "Makes a token for an agent",
    description:
      "It reaches the servers and the groups it names, or all when it names none; it ends within a year.",
    body: tokenBody,
    data: issuedShape,
    status: [201],
    errors: ["GROUP_UNKNOWN", "TOKEN_EXISTS", "USAGE"],
  },
  "GET /api/v1/tokens/:name": {
    id: "getToken",
    tag: "tokens",
    summary: "Shows a token without its secret",
    data: tokenShape,
    errors: ["TOKEN_UNKNOWN"],
  },
  "POST /api/v1/tokens/:name/regenerate": {
    id: "regenerateToken",
    tag: "tokens",
    summary: "Gives a token another secret; the old one ends at once",
    body: regenerateBody,
    isBodyOptional: true,
    data: issuedShape,
    errors: ["TOKEN_REVOKED", "TOKEN_UNKNOWN", "USAGE"],
  },
  "DELETE /api/v1/tokens/:name": {
    id: "revokeToken",
    tag: "tokens",
    summary: "Revokes a token for ever; it stays in the list",
    others: gone,
    errors: ["TOKEN_UNKNOWN"],
  },
  "DELETE /api/v1/tokens/:name/permanent": {
    id: "removeToken",
    tag: "tokens",
    summary: "Removes a token; its name is free again",
    others: gone,
    errors: ["TOKEN_UNKNOWN"],
  },
} as const satisfies RouteTable;
