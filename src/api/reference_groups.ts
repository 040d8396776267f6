/**
 * The reference of groups and of batches over servers.
 *
 * Owns the shapes of a group and of a batch's answer.
 */
import { z } from "zod";

import { batchBody, dryRunBody, groupBody, groupPatch, serversBody, toggleBody } from "./groups.ts";
import { CHANGE_ERRORS, changeShape, count, refusalShape, texts } from "./reference_entry.ts";
import type { RouteEntry, RouteTable } from "./reference_entry.ts";

/** A group as every list shows it. */
export const groupShape = z.strictObject({
  id: z.int(),
  name: z.string(),
  slug: z.string().describe("Its name in an address"),
  description: z.string(),
  color: z.string().optional(),
  icon_emoji: z.string().optional(),
  enabled: z.boolean(),
  parent: z.int().optional().describe("Id of the group it is part of"),
  depth: count.describe("Groups above it"),
  own_count: count.describe("Servers that name it themselves"),
  server_count: count.describe("Servers of it and of the groups below it"),
});

/** What a batch did, or would do. */
export const batchShape = z.strictObject({
  success: z.boolean().describe("False when all was refused"),
  message: z.string(),
  updated: count,
  unchanged: count,
  partial_failure: z.literal(true).optional(),
  failed_servers: z.array(refusalShape),
});

const allShape = batchShape.extend({ total: count, successful: count, failed: count });
const groupsShape = z.strictObject({ groups: z.array(groupShape) });
/** What a change of a group did. */
export const groupChangeShape = changeShape.extend({ group: groupShape });

function action(id: string, summary: string): RouteEntry & { readonly data: typeof batchShape } {
  return {
    id,
    tag: "groups",
    summary,
    body: dryRunBody,
    isBodyOptional: true,
    data: batchShape,
    errors: [...CHANGE_ERRORS, "GROUP_UNKNOWN"],
  };
}

function overAll(id: string, summary: string): RouteEntry & { readonly data: typeof allShape } {
  return { ...action(id, summary), data: allShape };
}

function assignment(
  id: string,
  summary: string,
): RouteEntry & { readonly body: typeof serversBody; readonly data: typeof batchShape } {
  return {
    id,
    tag: "groups",
    summary,
    body: serversBody,
    data: batchShape,
    errors: [...CHANGE_ERRORS, "GROUP_UNKNOWN"],
  };
}

/** Routes below `/groups`, batches, and the paths of the Go proxy's forks. */
export const GROUP_ROUTES = {
  "GET /api/v1/groups": {
    id: "listGroups",
    tag: "groups",
    summary: "Lists groups",
    data: groupsShape,
  },
  "GET /api/groups": {
    id: "listGroupsAlias",
    tag: "groups",
    summary: "The same list at the path of the Go proxy's forks",
    data: groupsShape,
  },
  "POST /api/v1/groups": {
    id: "addGroup",
    tag: "groups",
    summary: "Makes a group",
    body: groupBody,
    data: groupChangeShape,
    status: [201],
    errors: [...CHANGE_ERRORS, "GROUP_EXISTS", "GROUP_UNKNOWN"],
  },
  "GET /api/v1/groups/:group": {
    id: "getGroup",
    tag: "groups",
    summary: "Shows a group",
    data: groupShape,
    errors: ["GROUP_UNKNOWN"],
  },
  "PATCH /api/v1/groups/:group": {
    id: "patchGroup",
    tag: "groups",
    summary: "Changes a group; it keeps its id",
    body: groupPatch,
    isBodyOptional: true,
    data: groupChangeShape,
    errors: [...CHANGE_ERRORS, "GROUP_EXISTS", "GROUP_UNKNOWN"],
  },
  "DELETE /api/v1/groups/:group": {
    id: "removeGroup",
    tag: "groups",
    summary: "Removes a group; its servers stay, in no group",
    data: changeShape,
    errors: [...CHANGE_ERRORS, "GROUP_UNKNOWN"],
  },
  "GET /api/v1/groups/:group/members": {
    id: "listGroupMembers",
    tag: "groups",
    summary: "Lists the servers of a group and of the groups below it",
    data: z.strictObject({ group: z.int(), servers: texts }),
    errors: ["GROUP_UNKNOWN"],
  },
  "POST /api/v1/groups/:group/assign": assignment("assignServers", "Puts servers into a group"),
  "POST /api/v1/groups/:group/unassign": assignment("unassignServers", "Takes servers out of a group"),
  "POST /api/v1/groups/:group/enable": action("enableGroup", "Switches on the servers of a group"),
  "POST /api/v1/groups/:group/disable": action("disableGroup", "Switches off the servers of a group"),
  "POST /api/v1/groups/:group/restart": action("restartGroup", "Connects the servers of a group anew"),
  "POST /api/v1/groups/:group/quarantine": action("quarantineGroup", "Holds the servers of a group"),
  "POST /api/v1/servers/batch": {
    id: "batchServers",
    tag: "groups",
    summary: "Does one thing with many servers, as one change",
    description:
      "Servers are selected by 'group', 'names' and 'filter', all of which have to hold. What is refused is named in 'failed_servers', and the rest is done.",
    body: batchBody,
    data: batchShape,
    errors: [...CHANGE_ERRORS, "GROUP_UNKNOWN"],
  },
  "POST /api/v1/servers/enable_all": overAll("enableAllServers", "Switches on all servers"),
  "POST /api/v1/servers/disable_all": overAll("disableAllServers", "Switches off all servers"),
  "POST /api/v1/servers/restart_all": overAll("restartAllServers", "Connects all servers anew"),
  "POST /api/v1/servers/reconnect": overAll("reconnectServers", "The same, in the Go proxy's word"),
  "POST /api/toggle-group-servers": {
    id: "toggleGroupServers",
    tag: "groups",
    summary: "Switches a group's servers, at the path of the Go proxy's forks",
    body: toggleBody,
    data: batchShape,
    errors: [...CHANGE_ERRORS, "GROUP_UNKNOWN"],
  },
} as const satisfies RouteTable;
