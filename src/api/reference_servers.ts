/**
 * The reference of servers: lists, changes, verbs, tools and logs of one.
 *
 * Owns the shape of a server as every list shows it. Invariant: fields of the Go proxy and ours stand side by side.
 */
import { z } from "zod";

import { STARTUP_MODES } from "../core/model.ts";
import { CHANGE_ERRORS, changeShape, count, cursorAfter, numberQuery, texts } from "./reference_entry.ts";
import type { RouteEntry, RouteTable } from "./reference_entry.ts";
import { addBody, patchBody } from "./servers.ts";
import { toolShape } from "./reference_tools.ts";

/** The six headings of a list. */
export const categoryShape = z.enum([
  "connected",
  "disconnected",
  "sleeping",
  "disabled",
  "auto_disabled",
  "quarantined",
]);
const connectionShape = z.enum([
  "disconnected",
  "connecting",
  "authenticating",
  "discovering",
  "ready",
  "error",
]);

const masked = z.record(z.string(), z.string()).describe("Values are masked");

/** A server as every list shows it. */
export const serverShape = z.strictObject({
  name: z.string(),
  description: z.string().optional(),
  protocol: z.string().describe("As written in the configuration, or derived: stdio, http, sse, …"),
  url: z.string().optional().describe("Secrets in it are masked"),
  command: z.string().optional(),
  args: texts.describe("Secrets in them are masked"),
  working_dir: z.string().optional(),
  env: masked,
  headers: masked,
  tags: texts,
  enabled_tools: texts.optional(),
  disabled_tools: texts.optional(),
  enabled: z.boolean(),
  quarantined: z.boolean(),
  connected: z.boolean(),
  connecting: z.boolean(),
  status: connectionShape.describe("The same as 'connection_state'"),
  last_error: z.string(),
  reconnect_count: count,
  tool_count: count,
  created: z.string(),
  updated: z.string(),
  health: z.strictObject({
    level: z.enum(["healthy", "degraded", "unhealthy"]),
    admin_state: z.enum(["enabled", "disabled", "quarantined"]),
    summary: z.string(),
    detail: z.string(),
    action: z
      .enum(["", "login", "restart", "enable", "approve", "view_logs", "configure"])
      .describe("What a person should do"),
  }),
  startup_mode: z.enum(STARTUP_MODES),
  connection_state: connectionShape,
  category: categoryShape,
  groups: texts.describe("As the entry names them"),
  attempt: count.describe("Attempts in a row that failed, and the one under way"),
  since: z.iso.datetime().describe("When the connection state began"),
  next_attempt_at: z.iso.datetime().optional(),
  reason: z.string().optional().describe("Why it is not connected"),
  failure_class: z
    .enum(["config", "auth", "timeout", "exit", "network", "protocol", "rate_limited"])
    .optional(),
  stderr: texts.optional().describe("The last lines of a process that failed"),
});

/** Counts over all servers. */
export const serverStatsShape = z.strictObject({
  total_servers: count,
  connected_servers: count,
  disconnected_servers: count,
  sleeping_servers: count,
  disabled_servers: count,
  auto_disabled_servers: count,
  quarantined_servers: count,
  total_tools: count,
});

const listShape = z.strictObject({
  servers: z.array(serverShape),
  stats: serverStatsShape.describe("Over all servers, whatever the filter"),
  total: count.describe("How many the filters leave"),
  next_cursor: cursorAfter,
});
const listQuery = {
  category: z.string().optional().describe("One or several of the six, divided by commas"),
  group: z.string().optional().describe("Id, name or slug; servers of the groups below are among them"),
  q: z.string().optional().describe("Text in name, description, URL or command"),
  protocol: z.string().optional(),
  tag: z.string().optional(),
  mode: z.string().optional().describe("Startup modes, divided by commas"),
  status: z.string().optional().describe("Connection states, divided by commas"),
  sort: z
    .string()
    .optional()
    .describe("name, status, category, mode, protocol, tool_count or since; '-' before it turns it round"),
  limit: numberQuery(1, 10_000),
  cursor: z.string().optional(),
};
/** What a change of a server did. */
export const serverChangeShape = changeShape.extend({ server: z.string() });
const doneShape = changeShape.extend({ success: z.literal(true), server: z.string() });
/** What a verb on a server did. */
export const serverVerbShape = doneShape.extend({ action: z.string() });
const connectionVerbShape = z.strictObject({
  success: z.literal(true),
  server: z.string(),
  action: z.string(),
});

function modeVerb(id: string, summary: string): RouteEntry & { readonly data: typeof serverVerbShape } {
  return {
    id,
    tag: "servers",
    summary,
    data: serverVerbShape,
    errors: [...CHANGE_ERRORS, "MODE_REFUSED", "QUARANTINED", "SERVER_FAULTY", "SERVER_UNKNOWN"],
  };
}

function connectionVerb(
  id: string,
  summary: string,
): RouteEntry & { readonly data: typeof connectionVerbShape } {
  return {
    id,
    tag: "servers",
    summary,
    data: connectionVerbShape,
    errors: ["MANAGEMENT_REFUSED", "QUARANTINED", "SERVER_FAULTY", "SERVER_OFF", "SERVER_UNKNOWN"],
  };
}

/** Routes below `/servers`, and the path of the Go proxy's forks for the list. */
export const SERVER_ROUTES = {
  "GET /api/v1/servers": {
    id: "listServers",
    tag: "servers",
    summary: "Lists servers by page, with their category and why they are not connected",
    query: listQuery,
    data: listShape,
    errors: ["GROUP_UNKNOWN", "USAGE"],
  },
  "GET /api/servers/status": {
    id: "listServersAlias",
    tag: "servers",
    summary: "The same list at the path of the Go proxy's forks",
    query: listQuery,
    data: listShape,
    errors: ["GROUP_UNKNOWN", "USAGE"],
  },
  "POST /api/v1/servers": {
    id: "addServer",
    tag: "servers",
    summary: "Adds a server",
    description:
      "The body is an entry as in 'mcpServers' of the file. A server that is added without 'approve' is quarantined first. With 'verify' it is connected on trial before anything is written.",
    body: addBody,
    data: serverChangeShape,
    status: [201, 200],
    errors: [...CHANGE_ERRORS, "QUARANTINED", "SERVER_EXISTS", "VERIFY_FAILED"],
  },
  "GET /api/v1/servers/:name": {
    id: "getServer",
    tag: "servers",
    summary: "Shows one server",
    data: serverShape,
    errors: ["SERVER_UNKNOWN"],
  },
  "PATCH /api/v1/servers/:name": {
    id: "patchServer",
    tag: "servers",
    summary: "Changes a server's entry by a merge patch; another 'name' renames it",
    description:
      "Maps merge, lists replace, null removes. A change of what is started quarantines the server unless 'approve' stands beside it.",
    body: patchBody,
    data: serverChangeShape,
    errors: [
      ...CHANGE_ERRORS,
      "MODE_REFUSED",
      "QUARANTINED",
      "SERVER_EXISTS",
      "SERVER_UNKNOWN",
      "VERIFY_FAILED",
    ],
  },
  "DELETE /api/v1/servers/:name": {
    id: "removeServer",
    tag: "servers",
    summary: "Removes a server",
    data: doneShape,
    errors: [...CHANGE_ERRORS, "SERVER_UNKNOWN"],
  },
  "GET /api/v1/servers/:name/tools": {
    id: "listServerTools",
    tag: "servers",
    summary: "Lists the tools of a server; none while it is quarantined",
    data: z.strictObject({
      server_name: z.string(),
      tools: z.array(toolShape.extend({ enabled: z.boolean() })),
      count,
    }),
    errors: ["SERVER_UNKNOWN"],
  },
  "GET /api/v1/servers/:name/logs": {
    id: "readServerLogs",
    tag: "servers",
    summary: "Reads the last lines a server's process wrote on stderr",
    query: { tail: numberQuery(1, 200).describe("Lines, 50 unless said") },
    data: z.strictObject({ server_name: z.string(), logs: texts, count }),
    errors: ["SERVER_UNKNOWN", "USAGE"],
  },
  "POST /api/v1/servers/:name/enable": modeVerb("enableServer", "Connects a server, and keeps it connected"),
  "POST /api/v1/servers/:name/disable": modeVerb("disableServer", "Switches a server off"),
  "POST /api/v1/servers/:name/make_lazy": modeVerb(
    "makeServerLazy",
    "Lets a server sleep until a call wants it",
  ),
  "POST /api/v1/servers/:name/quarantine": modeVerb(
    "quarantineServer",
    "Holds a server until a person approves it",
  ),
  "POST /api/v1/servers/:name/approve": modeVerb("approveServer", "Lets a quarantined server be started"),
  "POST /api/v1/servers/:name/unquarantine": modeVerb(
    "unquarantineServer",
    "The same as 'approve', in the Go proxy's word",
  ),
  "POST /api/v1/servers/:name/reject": modeVerb(
    "rejectServer",
    "Takes a server out of quarantine, switched off",
  ),
  "POST /api/v1/servers/:name/restart": connectionVerb("restartServer", "Makes a server's connection anew"),
  "POST /api/v1/servers/:name/connect": connectionVerb("connectServer", "Connects a server now"),
  "POST /api/v1/servers/:name/disconnect": connectionVerb(
    "disconnectServer",
    "Disconnects a server until it is connected, restarted or switched",
  ),
} as const satisfies RouteTable;
