/**
 * The proxy as an MCP server.
 *
 * Owns what a client is told at the handshake and how its `tools/list` and `tools/call` reach a set of tools;
 * one factory serves both eras, over HTTP and stdio. Invariant: a result leaves as the gateway
 * gave it, known to the SDK's schemas or not. Registering each tool with the SDK's high-level
 * server was rejected: it parses results and drops what it does not know.
 */
import { ProtocolError, ProtocolErrorCode, Server } from "@modelcontextprotocol/server";
import type { CallToolResult, ListToolsResult, ServerContext } from "@modelcontextprotocol/server";

import { ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import { VERSION } from "../core/version.ts";
import type { CallOrigin } from "../gateway/caller.ts";
import type { ToolPage, Toolset, ToolsetContext } from "../gateway/toolset.ts";
import { traceOf } from "../lib/trace.ts";

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

/** Who is at the other end; asked with each request. */
export interface McpPeer {
  readonly principalOf: (context: ServerContext) => Principal;
  /** Asked once for each call of a tool; the client's name and the principal's id are added. */
  readonly originOf: (context: ServerContext) => CallOrigin;
}

/** Makes a server for one connection or one request; the same for both eras. */
export function createMcpServer(toolset: Toolset, peer: McpPeer): Server {
  const server = new UnchangedServer(
    { name: "mcpproxy", title: "mcpproxy", version: VERSION },
    { capabilities: { tools: { listChanged: true } }, instructions: toolset.instructions },
  );
  server.setRequestHandler("tools/list", ({ params }, context) => {
    const { tools, nextCursor } = listed(toolset, {
      principal: peer.principalOf(context),
      cursor: params?.cursor,
    });
    return { tools: [...tools], ...(nextCursor && { nextCursor }) } as unknown as ListToolsResult;
  });
  server.setRequestHandler("tools/call", async ({ params }, context) => {
    const principal = peer.principalOf(context);
    if (!toolset.has(params.name, principal)) {
      const way = toolset.has("retrieve_tools", principal)
        ? "find tools with retrieve_tools"
        : "see tools/list";
      throw new ProtocolError(
        ProtocolErrorCode.InvalidParams,
        `Cannot call '${params.name}': there is no such tool here; ${way}`,
      );
    }
    const args = (params.arguments ?? {}) as JsonObject;
    const client = server.getClientVersion();
    const origin = {
      ...peer.originOf(context),
      principal: principal.id,
      ...(client === undefined ? {} : { client: `${client.name} ${client.version}` }),
    };
    const result = await toolset.call(params.name, args, { ...callContext(context), principal, origin });
    return result as unknown as CallToolResult;
  });
  return server;
}

function listed(
  toolset: Toolset,
  { principal, cursor }: { readonly principal: Principal; readonly cursor: string | undefined },
): ToolPage {
  try {
    return toolset.list(principal, cursor);
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== "USAGE") throw error;
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, error.message, { hint: error.hint });
  }
}

function callContext(context: ServerContext): Omit<ToolsetContext, "principal"> {
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
