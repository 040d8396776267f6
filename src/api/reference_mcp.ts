/**
 * The reference of the MCP endpoints.
 *
 * Owns what is said of them in short: where each one leads, and which statuses it answers with. What is spoken there is
 * MCP's own specification.
 */
import { z } from "zod";

import type { OtherAnswer, RouteEntry, RouteTable } from "./reference_entry.ts";

/** A message of JSON-RPC 2.0; older revisions send several in a list. */
const rpcShape = z.looseObject({ jsonrpc: z.literal("2.0") });
const anyJson = z.union([z.looseObject({}), z.array(z.looseObject({}))]);

function refusal(description: string): OtherAnswer {
  return { description, json: anyJson };
}

const ANSWERS: NonNullable<RouteEntry["others"]> = {
  200: { description: "A JSON-RPC answer, or a stream of server-sent events", json: anyJson },
  202: { description: "A notification was taken" },
  204: { description: "The session has ended" },
  400: refusal("No MCP request, or a session id is missing"),
  401: refusal("A key or a token is needed, or is wrong"),
  403: refusal("Host or Origin is not one of this proxy, or the token does not open it"),
  404: refusal("There is no such group or server, or the session has ended"),
  405: refusal("Not with this method"),
  406: refusal("'Accept' has neither JSON nor event streams"),
  409: refusal("The session has a stream already, or the server may not be reached"),
  413: refusal("The request is too long"),
  415: refusal("The request is no JSON"),
  429: refusal("Too many wrong keys were sent"),
  502: refusal("The upstream could not be connected"),
  503: refusal("The upstream is not connected, or the proxy stops"),
  504: refusal("The upstream did not answer in time"),
};

type EndpointRoutes<Path extends string> = Readonly<
  Record<`${"GET" | "POST" | "DELETE"} ${Path}`, RouteEntry>
>;

function endpoint<const Path extends string>(
  path: Path,
  { id, summary }: Pick<RouteEntry, "id" | "summary">,
): EndpointRoutes<Path> {
  const common = { tag: "mcp", access: "mcp", others: ANSWERS } as const;
  const routes = {
    [`POST ${path}`]: {
      ...common,
      id: `call${id}`,
      summary,
      description: "MCP over streamable HTTP, revisions 2024-11-05 to 2026-07-28.",
      body: rpcShape,
    },
    [`GET ${path}`]: {
      ...common,
      id: `stream${id}`,
      summary: "Opens the stream of a session's notifications",
    },
    [`DELETE ${path}`]: { ...common, id: `end${id}`, summary: "Ends a session" },
  };
  return routes as EndpointRoutes<Path>;
}

/** Where MCP clients connect. */
export const MCP_ROUTES = {
  ...endpoint("/mcp", {
    id: "Mcp",
    summary:
      "The endpoint for agents, as 'routing_mode' says: a few tools that find and call all others, or all of them",
  }),
  ...endpoint("/mcp/call", { id: "McpCall", summary: "A few tools that find and call all others" }),
  ...endpoint("/mcp/all", {
    id: "McpAll",
    summary: "Every tool that may be called, under a name of its own",
  }),
  ...endpoint("/mcp/admin", { id: "McpAdmin", summary: "Tools that manage the proxy; needs the API key" }),
  ...endpoint("/mcp/g/:group", { id: "McpGroup", summary: "Every tool of a group's servers" }),
  ...endpoint("/mcp/s/:server", { id: "McpServer", summary: "One server as it is, names untouched" }),
} as const satisfies RouteTable;
