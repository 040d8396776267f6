/**
 * What operators change through this API, written down.
 *
 * Owns which request is a change, and what of it is told: method, path, names and verbs. Invariants: values are never
 * told, since they may be secret; noting happens when the answer is made, and never fails it. Noting inside each route
 * was rejected: the one that is forgotten is the one that matters.
 */
import type { Context, MiddlewareHandler } from "hono";

import type { OperatorChange, Recorder } from "../gateway/recorder.ts";
import { sourceOf } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** A larger body is not read a second time to say what was asked. */
const MAX_NOTED_BODY_CHARS = 64 * 1024;
const MAX_NOTED_OPERATIONS = 20;

/** Notes each request that changes something, once it was answered. */
export function noteChanges(recorder: Recorder): MiddlewareHandler<ApiEnv> {
  return async (context, next) => {
    const beganAt = performance.now();
    await next();
    const { method } = context.req.raw;
    if (method === "GET" || method === "HEAD" || method === "OPTIONS") return;
    const { pathname } = new URL(context.req.url);
    const what = describe(method, pathname);
    if (what === undefined) return;
    // No route took it: nothing was done, and nothing refused.
    if (context.error === undefined && context.res.status === 404) return;
    const { facts, server } = await askedFor(context);
    const { server: changed, ...known } = context.get("changed") ?? {};
    recorder.noteChange({
      ...what,
      server: what.server ?? changed ?? server,
      origin: {
        source: sourceOf(context),
        requestId: context.get("requestId"),
        principal: context.get("principal")?.id,
      },
      durationMs: Math.round((performance.now() - beganAt) * 1_000) / 1_000,
      error: context.error,
      facts: { method, path: pathname, ...facts, ...known },
    });
  };
}

type What = Pick<OperatorChange, "type" | "action" | "server">;

/** What a request wants, by its method and path; undefined when it changes nothing, or is noted elsewhere. */
function describe(method: string, pathname: string): What | undefined {
  const [noun = "", name, verb] = pathname.replace(/^\/api(?:\/v1)?\//, "").split("/");
  const isLook = noun === "preflight" || (noun === "config" && (name === "plan" || name === "validate"));
  if (noun === "tools" || isLook) return undefined;
  const crud = ({ POST: "add", PUT: "replace", PATCH: "patch", DELETE: "remove" } as const)[method];
  if (noun === "servers") {
    const isHeld = verb !== undefined && /^(?:quarantine|unquarantine|approve|reject)$/.test(verb);
    const type = isHeld ? "quarantine_change" : "server_change";
    return { type, action: verb ?? crud ?? method, server: name && decoded(name) };
  }
  if (noun === "import") return { type: "server_change", action: noun };
  if (noun === "registries") return { type: "server_change", action: crud ?? method };
  if (noun === "config") return { type: "config_change", action: name ?? crud ?? method };
  if (noun === "groups") return { type: "group_change", action: verb ?? crud ?? method };
  if (noun === "batch" || noun === "toggle-group-servers") return { type: "group_change", action: noun };
  return { type: "admin_action", action: [noun, name, verb].filter(Boolean).join(" ") };
}

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** What of a body may be told: names and verbs, no values. */
async function askedFor(
  context: Context<ApiEnv>,
): Promise<{ readonly facts: Readonly<Record<string, unknown>>; readonly server?: string }> {
  // Read again from memory; a body that no route has read is not waited for.
  if (!("text" in context.req.bodyCache) && !("json" in context.req.bodyCache)) return { facts: {} };
  try {
    const text = await context.req.text();
    if (text.length > MAX_NOTED_BODY_CHARS || text.trim() === "") return { facts: {} };
    const body = JSON.parse(text) as Readonly<Record<string, unknown>>;
    const {
      name,
      action,
      group,
      group_name: groupName,
      names,
      servers,
      enabled,
      dry_run: isDryRun,
      id,
    } = body;
    const operations = Array.isArray(body["operations"]) ? (body["operations"] as readonly unknown[]) : [];
    const facts = {
      name,
      action,
      group,
      group_name: groupName,
      names,
      servers,
      enabled,
      dry_run: isDryRun,
      id,
    };
    return {
      facts: {
        ...Object.fromEntries(Object.entries(facts).filter(([, value]) => isPlain(value))),
        ...(operations.length > 0
          ? { operations: operations.slice(0, MAX_NOTED_OPERATIONS).map(operationOf) }
          : {}),
      },
      ...(typeof name === "string" && context.req.path.endsWith("/servers") ? { server: name } : {}),
    };
  } catch {
    return { facts: {} };
  }
}

/** Names, numbers, switches, and lists of them. */
function isPlain(value: unknown): boolean {
  if (Array.isArray(value))
    return value.every((item) => typeof item === "string" || typeof item === "number");
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function operationOf(operation: unknown): string {
  const { op, name, server, group } = (operation ?? {}) as Readonly<Record<string, unknown>>;
  const { name: serverName } = (server ?? {}) as { readonly name?: unknown };
  const told = [op, name ?? serverName, typeof group === "object" ? undefined : group];
  return told.filter((part) => typeof part === "string" || typeof part === "number").join(" ");
}
