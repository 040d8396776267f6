/**
 * The routes of tools: all of them, the search over them, and a call.
 *
 * Owns `GET /tools`, `GET /index/search` and `POST /tools/call` with the fields of the Go proxy. Invariant:
 * the same rules as for an agent decide what is found and what may be called. A second path for calls of
 * operators was rejected: it would be the one without the checks.
 */
import { Hono } from "hono";

import type { Catalog } from "../catalog/catalog.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import { ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import type { Finder } from "../gateway/finder.ts";
import { MAX_FOUND } from "../gateway/finder.ts";
import type { MetaTools } from "../gateway/meta_tools.ts";
import { traceOf } from "../lib/trace.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { answer, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of tools work with. */
export interface ToolsDeps {
  readonly catalog: Catalog;
  readonly finder: Finder;
  readonly metaTools: MetaTools;
  readonly upstreams: Upstreams;
}

const DEFAULT_HITS = 10;

/** Makes the routes below the API's root. */
export function toolRoutes(deps: ToolsDeps): Hono<ApiEnv> {
  const { finder, metaTools } = deps;
  const routes = new Hono<ApiEnv>();
  routes.get("/tools", (context) => {
    const server = context.req.query("server");
    const all = deps.catalog.list(server === undefined ? {} : { server });
    const tools = all.filter((tool) => !isHidden(tool.server, deps));
    const enabled = new Set(finder.list({ server }).map((tool) => tool.id));
    return answer(context, {
      tools: tools.map((tool) => ({ ...toolView(tool, finder), enabled: enabled.has(tool.id) })),
      stats: {
        total: tools.length,
        enabled: enabled.size,
        disabled: tools.length - enabled.size,
        pending_approval: 0,
      },
    });
  });
  routes.get("/index/search", (context) => {
    const query = context.req.query("q") ?? "";
    if (query.trim() === "") {
      throw new ProxyError("USAGE", "Cannot search: the query 'q' is empty", { hint: "Send it as ?q=words" });
    }
    const limit = queryNumber(context, "limit", { min: 1, max: MAX_FOUND }) ?? DEFAULT_HITS;
    const { found, total, tookMs } = finder.find({ query, limit, server: context.req.query("server") });
    const results = found.map(({ tool, score }) => ({
      tool: toolView(tool, finder),
      score,
      ...standing(tool, finder),
    }));
    return answer(context, { query, results, total, took: `${tookMs.toFixed(1)}ms`, took_ms: tookMs });
  });
  routes.post("/tools/call", async (context) => {
    const { name, args } = await readCall(context.req.raw);
    const { signal, headers } = context.req.raw;
    const result = await metaTools.callOrThrow(name, args, {
      signal,
      trace: traceOf(headers.get("traceparent"), headers.get("tracestate")),
      origin: { source: "api", requestId: context.get("requestId"), principal: "api_key" },
    });
    const { content, isError, structuredContent } = result;
    return answer(context, content ?? [], {
      ...(isError === true ? { is_error: true } : {}),
      ...(structuredContent === undefined ? {} : { structured_content: structuredContent }),
    });
  });
  return routes;
}

function standing(
  tool: KnownTool,
  finder: Finder,
): { readonly server_state: string; readonly stale: boolean } {
  const { serverState, isStale } = finder.standing(tool);
  return { server_state: serverState, stale: isStale };
}

/** Whether nothing of a server's tools is shown: a quarantined server's words are not to be read by accident. */
export function isHidden(server: string, { upstreams }: Pick<ToolsDeps, "upstreams">): boolean {
  return upstreams.find(server)?.mode === "quarantined";
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
