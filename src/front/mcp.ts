/**
 * The proxy as an MCP server.
 *
 * Owns what a client is told at the handshake and how its `tools/list` and `tools/call` reach the meta
 * tools; one factory serves both eras, over HTTP and stdio. Invariant: a result leaves as the gateway
 * gave it, known to the SDK's schemas or not. Registering each meta tool with the SDK's high-level
 * server was rejected: it parses results and drops what it does not know.
 */
import { ProtocolError, ProtocolErrorCode, Server } from "@modelcontextprotocol/server";
import type { CallToolResult, ListToolsResult, ServerContext } from "@modelcontextprotocol/server";

import type { JsonObject } from "../core/model.ts";
import { VERSION } from "../core/version.ts";
import type { CallOrigin } from "../gateway/caller.ts";
import type { MetaTools } from "../gateway/meta_tools.ts";
import { traceOf } from "../lib/trace.ts";

const INSTRUCTIONS =
  "mcpproxy gives access to many MCP servers. Find a tool with retrieve_tools, then call it with the meta tool named in call_with, passing its id as name.";

/** Serves results unchanged; the SDK's own class would parse those of `tools/call`. */
class UnchangedServer extends Server {
  protected override _wrapHandler(
    ...[method, handler]: Parameters<Server["_wrapHandler"]>
  ): ReturnType<Server["_wrapHandler"]> {
    if (method !== "tools/call") return super._wrapHandler(method, handler);
    return (request, context) => {
      assertCallParams(request.params);
      return handler(request, context);
    };
  }
}

/** The SDK's own class would do this as well; below it a malformed call is an internal error. */
function assertCallParams(params: Readonly<Record<string, unknown>> | undefined): void {
  const { name, arguments: args = {} } = params ?? {};
  const isObject = typeof args === "object" && args !== null && !Array.isArray(args);
  if (typeof name === "string" && isObject) return;
  const wrong = typeof name === "string" ? "'arguments' must be an object" : "'name' must be the tool's name";
  throw new ProtocolError(ProtocolErrorCode.InvalidParams, `Cannot call a tool: ${wrong}`);
}

/**
 * Makes a server for one connection or one request; the same for both eras.
 *
 * @param originOf asked once for each call of a tool; the client's name is added
 */
export function createMcpServer(
  metaTools: MetaTools,
  originOf: (context: ServerContext) => CallOrigin = () => ({ source: "mcp" }),
): Server {
  const server = new UnchangedServer(
    { name: "mcpproxy", title: "mcpproxy", version: VERSION },
    { capabilities: { tools: {} }, instructions: INSTRUCTIONS },
  );
  server.setRequestHandler(
    "tools/list",
    () => ({ tools: [...metaTools.list()] }) as unknown as ListToolsResult,
  );
  server.setRequestHandler("tools/call", async ({ params }, context) => {
    if (!metaTools.has(params.name)) {
      throw new ProtocolError(
        ProtocolErrorCode.InvalidParams,
        `Cannot call '${params.name}': the proxy has no such tool; find tools with retrieve_tools`,
      );
    }
    const args = (params.arguments ?? {}) as JsonObject;
    const client = server.getClientVersion();
    const origin = {
      ...originOf(context),
      ...(client === undefined ? {} : { client: `${client.name} ${client.version}` }),
    };
    const result = await metaTools.call(params.name, args, { ...callContext(context), origin });
    return result as unknown as CallToolResult;
  });
  return server;
}

function callContext(context: ServerContext): Parameters<MetaTools["call"]>[2] {
  const { signal, notify, _meta } = context.mcpReq;
  const { headers } = context.http?.req ?? {};
  const trace =
    traceOf(_meta?.["traceparent"], _meta?.["tracestate"]) ??
    (headers?.has("traceparent") === true
      ? traceOf(headers.get("traceparent"), headers.get("tracestate"))
      : undefined);
  const progressToken = _meta?.progressToken;
  if (progressToken === undefined) return { signal, trace };
  return {
    signal,
    trace,
    // A client that is gone must not fail the call; its signal says so.
    onProgress: (progress) =>
      void notify({ method: "notifications/progress", params: { ...progress, progressToken } }).catch(
        () => {},
      ),
  };
}
