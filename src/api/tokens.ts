/**
 * The routes of agent tokens.
 *
 * Owns `/tokens` and below, with the fields and rules of the Go proxy: names, permissions that hold `read`, an end within
 * a year; groups are ours. Invariants: a secret is in the answer that made it and in no other; a grant names servers and
 * groups that exist, and nothing it does not know of is passed over, since a word left out would make the token wider.
 * A table of roles was rejected: a token says itself what it may do.
 */
import { Hono } from "hono";
import type { Context } from "hono";
import { z } from "zod";

import type { Groups } from "../catalog/groups.ts";
import { ProxyError } from "../core/errors.ts";
import { PERMISSIONS } from "../core/principal.ts";
import type { Configuration } from "../gateway/configuration.ts";
import { parsePeriod } from "../lib/duration.ts";
import { nearestWord } from "../lib/nearest.ts";
import type { NewToken, Token, TokenGrant, Tokens } from "../state/tokens.ts";
import { readBody } from "./body.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of tokens work with. */
export interface TokensDeps {
  readonly tokens: Tokens;
  readonly configuration: Configuration;
}

const NAME = /^[a-zA-Z0-9][\w-]{0,63}$/;
const DEFAULT_PERIOD = "30d";
const MAX_DAYS = 365;
const DAY_MS = 24 * 60 * 60 * 1_000;
const MAX_GRANTS = 10_000;

/** The body that makes a token. */
export const tokenBody = z.strictObject({
  name: z.string(),
  /** Names of servers, or `*`. */
  allowed_servers: z.array(z.string()).max(MAX_GRANTS).nullish(),
  /** Names or ids of groups. */
  allowed_groups: z
    .array(z.union([z.string(), z.number().int()]))
    .max(MAX_GRANTS)
    .nullish(),
  permissions: z.array(z.enum(PERMISSIONS)).max(MAX_GRANTS).nullish(),
  /** As in `1h` or `30d`. */
  expires_in: z.string().nullish(),
});
/** The body that makes a token's secret anew. */
export const regenerateBody = z.strictObject({ expires_in: z.string().nullish() });

/** Makes the routes below `/tokens`. */
export function tokenRoutes({ tokens, configuration }: TokensDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const viewOf = (token: Token) => tokenView(token, configuration.groups);
  const issued = (context: Context<ApiEnv>, made: NewToken): Response => {
    context.header("Cache-Control", "no-store");
    return answer(context, { ...viewOf(made.token), token: made.secret });
  };
  routes.get("/", (context) => {
    const all = tokens.list().map(viewOf);
    return answer(context, { tokens: all, total: all.length });
  });
  routes.post("/", async (context) => {
    const body = await readBody(context, tokenBody);
    const made = tokens.create(grantOf(body, configuration));
    context.status(201);
    return issued(context, made);
  });
  routes.get("/:name", (context) => answer(context, viewOf(tokens.get(context.req.param("name")))));
  routes.post("/:name/regenerate", async (context) => {
    const name = context.req.param("name");
    const { expires_in: period } = await readBody(context, regenerateBody);
    const isOver = tokens.get(name).expiresAt <= Date.now();
    const end = period || isOver ? endOf(period ?? DEFAULT_PERIOD) : undefined;
    return issued(context, tokens.regenerate(name, end));
  });
  routes.delete("/:name", (context) => {
    tokens.revoke(context.req.param("name"));
    return context.body(null, 204);
  });
  routes.delete("/:name/permanent", (context) => {
    tokens.remove(context.req.param("name"));
    return context.body(null, 204);
  });
  return routes;
}

/** A token as it is shown: never its secret, nor the hash of it. */
function tokenView(token: Token, groups: Groups) {
  const { name, prefix, servers, permissions, createdAt, expiresAt, lastUsedAt, isRevoked } = token;
  return {
    name,
    token_prefix: prefix,
    allowed_servers: servers,
    // A group that is gone is shown by its id.
    allowed_groups: token.groups.map((id) => groups.find(id)?.name ?? String(id)),
    permissions,
    created_at: new Date(createdAt).toISOString(),
    expires_at: new Date(expiresAt).toISOString(),
    ...(lastUsedAt === undefined ? {} : { last_used_at: new Date(lastUsedAt).toISOString() }),
    expired: expiresAt <= Date.now(),
    revoked: isRevoked,
  };
}

function grantOf(body: z.output<typeof tokenBody>, configuration: Configuration): TokenGrant {
  const { name } = body;
  if (!NAME.test(name)) {
    throw refusal(name === "" ? "'name' is empty" : `its name is none a token can have`, {
      hint: "A name has 1 to 64 letters, digits, '_' and '-', and begins with a letter or a digit",
    });
  }
  const groups = (body.allowed_groups ?? []).map((word) => configuration.groups.get(word).id);
  const servers = serversOf(body.allowed_servers ?? [], configuration);
  const asked = body.permissions ?? [];
  const wanted = asked.length === 0 ? ["read"] : asked;
  if (!wanted.includes("read")) {
    throw refusal("'permissions' must include 'read'", { hint: 'As in ["read", "write"]' });
  }
  return {
    name,
    servers: servers.length + groups.length === 0 ? ["*"] : servers,
    groups: [...new Set(groups)],
    permissions: PERMISSIONS.filter((permission) => wanted.includes(permission)),
    expiresAt: endOf(body.expires_in ?? DEFAULT_PERIOD),
  };
}

/** A misspelt name would make a token that reaches nothing, and nobody would know why. */
function serversOf(names: readonly string[], { config }: Configuration): readonly string[] {
  const known = new Set(config.servers.map((server) => server.name));
  for (const name of names) {
    if (name === "*" || known.has(name)) continue;
    const similar = nearestWord(name, known);
    throw refusal(`there is no server named '${name.slice(0, 200)}'`, {
      hint: similar === undefined ? "List them with GET /api/v1/servers" : `Did you mean '${similar}'?`,
    });
  }
  return [...new Set(names)];
}

function endOf(period: string): number {
  const text = period === "" ? DEFAULT_PERIOD : period;
  const ms = parsePeriod(text);
  if (ms === undefined || ms <= 0) {
    throw refusal(`'expires_in' is no time: '${text.slice(0, 40)}'`, { hint: 'As in "12h" or "30d"' });
  }
  if (ms > MAX_DAYS * DAY_MS) {
    throw refusal(`'expires_in' is more than ${MAX_DAYS} days`, { hint: `At most "${MAX_DAYS}d"` });
  }
  return Math.ceil(Date.now() + ms);
}

function refusal(why: string, options: { readonly hint: string }): ProxyError {
  return new ProxyError("USAGE", `Cannot make a token: ${why}`, options);
}
