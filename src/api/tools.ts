/**
 * The routes of tools: all of them, the search over them, why one is missing, and a call.
 *
 * Owns `GET /tools`, `GET /tools/explain`, `GET /index/search` and `POST /tools/call` with the fields of the Go proxy.
 * Invariant: the same rules as for an agent decide what is found and what may be called. A second path for calls of
 * operators was rejected: it would be the one without the checks.
 */
import { Hono } from "hono";
import type { Context } from "hono";

import type { Catalog } from "../catalog/catalog.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import { ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { Configuration } from "../gateway/configuration.ts";
import type { Finder } from "../gateway/finder.ts";
import { MAX_FOUND } from "../gateway/finder.ts";
import type { MetaTools } from "../gateway/meta_tools.ts";
import { listTools } from "../gateway/tool_list.ts";
import { traceOf } from "../lib/trace.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { answer, queryNumber, sourceOf } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of tools work with. */
export interface ToolsDeps {
  readonly catalog: Catalog;
  readonly finder: Finder;
  readonly metaTools: MetaTools;
  readonly upstreams: Upstreams;
  readonly configuration: Configuration;
  readonly settings: () => Settings;
}

const DEFAULT_HITS = 10;
const MAX_PAGE = 10_000;

/** Makes the routes below the API's root. */
export function toolRoutes(deps: ToolsDeps): Hono<ApiEnv> {
  const { metaTools } = deps;
  const routes = new Hono<ApiEnv>();
  routes.get("/tools", (context) => answer(context, pageOf(context, deps)));
  routes.get("/tools/explain", async (context) => answer(context, await explanationOf(context, deps)));
  routes.get("/index/search", (context) => answer(context, hitsOf(context, deps)));
  routes.post("/tools/call", async (context) => {
    const { name, args } = await readCall(context.req.raw);
    const { signal, headers } = context.req.raw;
    const result = await metaTools.callOrThrow(name, args, {
      signal,
      trace: traceOf(headers.get("traceparent"), headers.get("tracestate")),
      principal: context.get("principal"),
      origin: {
        source: sourceOf(context),
        requestId: context.get("requestId"),
        principal: context.get("principal").id,
      },
    });
    const { content, isError, structuredContent } = result;
    return answer(context, content ?? [], {
      ...(isError === true ? { is_error: true } : {}),
      ...(structuredContent === undefined ? {} : { structured_content: structuredContent }),
    });
  });
  return routes;
}

/** The tools that are asked for, and counts over what the filters leave. */
function pageOf(context: Context<ApiEnv>, deps: ToolsDeps) {
  const { server, group, q, cursor } = context.req.query();
  const limit = queryNumber(context, "limit", { min: 1, max: MAX_PAGE });
  const principal = context.get("principal");
  const page = listTools({ server, group, q, limit, cursor: cursor || undefined, principal }, deps);
  const { tools, total, enabled, nextCursor } = page;
  return {
    tools: tools.map(({ tool, isEnabled }) => ({ ...toolView(tool, deps.finder), enabled: isEnabled })),
    stats: { total, enabled, disabled: total - enabled, pending_approval: 0 },
    total,
    ...(nextCursor === undefined ? {} : { next_cursor: nextCursor }),
  };
}

async function explanationOf(context: Context<ApiEnv>, deps: ToolsDeps) {
  const { id = "", query } = context.req.query();
  if (id === "") {
    throw new ProxyError("USAGE", "Cannot explain a tool: 'id' is missing", {
      hint: "Send ?id=server:tool, and &query=words when a search did not find it",
    });
  }
  const limit = queryNumber(context, "limit", { min: 1, max: MAX_FOUND });
  const { explainTool } = await import("../gateway/explain.ts");
  return explainTool({ id, query, limit, principal: context.get("principal") }, deps);
}

function hitsOf(context: Context<ApiEnv>, { finder }: ToolsDeps) {
  const { q: query = "", server, group } = context.req.query();
  if (query.trim() === "") {
    throw new ProxyError("USAGE", "Cannot search: the query 'q' is empty", { hint: "Send it as ?q=words" });
  }
  const limit = queryNumber(context, "limit", { min: 1, max: MAX_FOUND }) ?? DEFAULT_HITS;
  const principal = context.get("principal");
  const { found, total, tookMs } = finder.find({
    query,
    limit,
    server,
    group: group || undefined,
    principal,
  });
  const results = found.map(({ tool, score }) => ({
    tool: toolView(tool, finder),
    score,
    ...standing(tool, finder),
  }));
  return { query, results, total, took: `${tookMs.toFixed(1)}ms`, took_ms: tookMs };
}

function standing(
  tool: KnownTool,
  finder: Finder,
): { readonly server_state: string; readonly stale: boolean } {
  const { serverState, isStale } = finder.standing(tool);
  return { server_state: serverState, stale: isStale };
}

/** A tool as every list shows it. */
export function toolView(tool: KnownTool, finder: Finder) {
  const { title, description, inputSchema, annotations } = tool.definition;
  return {
    id: tool.id,
    name: tool.name,
    server_name: tool.server,
    ...(title === undefined ? {} : { title }),
    description: description ?? "",
    schema: inputSchema,
    ...(annotations === undefined ? {} : { annotations }),
    call_with: finder.callWith(tool),
  };
}

async function readCall(request: Request): Promise<{ readonly name: string; readonly args: JsonObject }> {
  let body: unknown;
  try {
    body = await request.json();
  } catch (error) {
    throw new ProxyError("USAGE", "Cannot call a tool: the body is not JSON", { cause: error });
  }
  const { tool_name: name, arguments: args = {} } = (body ?? {}) as {
    readonly tool_name?: unknown;
    readonly arguments?: unknown;
  };
  if (typeof name !== "string" || name === "") {
    throw new ProxyError("USAGE", "Cannot call a tool: 'tool_name' is missing", {
      hint: 'Send {"tool_name": "call_tool_read", "arguments": {"name": "server:tool", "args": {}}}',
    });
  }
  if (typeof args !== "object" || args === null || Array.isArray(args)) {
    throw new ProxyError("USAGE", "Cannot call a tool: 'arguments' must be an object");
  }
  return { name, args: args as JsonObject };
}
