/**
 * The routes of groups, and batches over servers.
 *
 * Owns what goes in and out under `/groups`, `/servers/batch` and the Go proxy's path for switching a group. Invariants:
 * a batch is one change of the file; a server that is refused is named in the answer, which is 200 all the same.
 */
import { Hono } from "hono";
import type { Context } from "hono";
import { z } from "zod";

import { ProxyError } from "../core/errors.ts";
import type { Category, JsonObject } from "../core/model.ts";
import type { BatchAction } from "../catalog/batch.ts";
import { changeView } from "../gateway/change_summary.ts";
import { groupView } from "../gateway/steering.ts";
import type { Steering } from "../gateway/steering.ts";
import { MAX_NAME_CHARS, readBody } from "./body.ts";
import { answer, operatorOf } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of groups work with. */
export interface GroupsDeps {
  readonly steering: Steering;
}

const name = z.string().max(MAX_NAME_CHARS);
const groupRef = z.union([name.min(1), z.number().int()]);
export const groupBody = z.strictObject({
  id: z.number().int().min(0).optional(),
  name: name.min(1),
  description: z.string().optional(),
  color: z.string().optional(),
  icon_emoji: z.string().optional(),
  enabled: z.boolean().optional(),
  parent: groupRef.optional(),
});
export const groupPatch = groupBody
  .omit({ id: true })
  .partial()
  .extend({ parent: groupRef.nullable().optional() });
export const serversBody = z.strictObject({ servers: z.array(name), dry_run: z.boolean().optional() });
export const dryRunBody = z.strictObject({ dry_run: z.boolean().optional() });
const CATEGORIES = [
  "connected",
  "disconnected",
  "sleeping",
  "disabled",
  "auto_disabled",
  "quarantined",
] as const satisfies readonly Category[];
const ACTIONS = ["enable", "disable", "restart", "quarantine", "assign", "unassign"] as const;
/** The Go proxy's verbs over all servers. */
const ALL_VERBS = {
  enable_all: "enable",
  disable_all: "disable",
  restart_all: "restart",
  reconnect: "restart",
} as const satisfies Readonly<Record<string, BatchAction>>;
export const batchBody = z.strictObject({
  action: z.enum(ACTIONS),
  group: groupRef.optional(),
  names: z.array(name).optional(),
  filter: z
    .strictObject({
      category: z.enum(CATEGORIES).optional(),
      tag: z.string().optional(),
      not_connected_for_days: z.number().min(0).optional(),
    })
    .optional(),
  /** The group to assign to or unassign from. */
  to: groupRef.optional(),
  dry_run: z.boolean().optional(),
});
export const toggleBody = z.object({ group_name: name.min(1), enabled: z.boolean() });

/** Makes the routes below `/groups`. */
export function groupRoutes({ steering }: GroupsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/", (context) => answer(context, listOf(context, steering)));
  routes.post("/", async (context) => {
    const body = await readBody(context, groupBody);
    const made = await steering.createGroup(body as unknown as GroupEntry, operatorOf(context));
    const data = { ...changeView(made.change), group: groupView(made.group) };
    return context.json({ success: true, data }, 201);
  });
  routes.get("/:group", (context) =>
    answer(context, groupView(steering.getGroup(context.req.param("group")))),
  );
  routes.patch("/:group", async (context) => {
    const { id } = steering.getGroup(context.req.param("group"));
    const patch = (await readBody(context, groupPatch)) as unknown as JsonObject;
    const made = await steering.updateGroup(id, { patch, by: operatorOf(context) });
    return answer(context, { ...changeView(made.change), group: groupView(made.group) });
  });
  routes.delete("/:group", async (context) => {
    const change = await steering.deleteGroup(context.req.param("group"), operatorOf(context));
    return answer(context, changeView(change));
  });
  routes.get("/:group/members", (context) => {
    const { id } = steering.getGroup(context.req.param("group"));
    return answer(context, { group: id, servers: steering.membersOf(id) });
  });
  addGroupVerbs(routes, steering);
  return routes;
}

type GroupEntry = JsonObject & { readonly name: string };

function addGroupVerbs(routes: Hono<ApiEnv>, steering: Steering): void {
  for (const action of ["assign", "unassign"] as const) {
    routes.post(`/:group/${action}`, async (context) => {
      const { id: group } = steering.getGroup(context.req.param("group"));
      const { servers: names, dry_run: isDryRun } = await readBody(context, serversBody);
      const request = { action, selection: { names }, group, isDryRun };
      return answer(context, await steering.runBatch(request, operatorOf(context)));
    });
  }
  for (const action of ["enable", "disable", "restart", "quarantine"] as const) {
    routes.post(`/:group/${action}`, async (context) => {
      const { id: group } = steering.getGroup(context.req.param("group"));
      const { dry_run: isDryRun } = await readBody(context, dryRunBody);
      const request = { action, selection: { group }, isDryRun };
      return answer(context, await steering.runBatch(request, operatorOf(context)));
    });
  }
}

/** Makes the routes that switch many servers at once, below the API's root. */
export function batchRoutes({ steering }: GroupsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.post("/servers/batch", async (context) => {
    const { action, group, names, filter, to, dry_run: isDryRun } = await readBody(context, batchBody);
    if ((action === "assign" || action === "unassign") && to === undefined) {
      throw new ProxyError("USAGE", `Cannot ${action} servers: 'to' is missing`, {
        hint: "Name the group in 'to', by id, name or slug",
      });
    }
    const { category, tag, not_connected_for_days: notConnectedForDays } = filter ?? {};
    const selection = {
      ...(group === undefined ? {} : { group }),
      ...(names === undefined ? {} : { names }),
      ...(filter === undefined ? {} : { filter: { category, tag, notConnectedForDays } }),
    };
    const request = { action, selection, group: to, isDryRun };
    return answer(context, await steering.runBatch(request, operatorOf(context)));
  });
  for (const [path, action] of Object.entries(ALL_VERBS)) {
    routes.post(`/servers/${path}`, async (context) => {
      const { dry_run: isDryRun } = await readBody(context, dryRunBody);
      const names = steering.listServers({}).servers.map((server) => server.name);
      const done = await steering.runBatch({ action, selection: { names }, isDryRun }, operatorOf(context));
      const failed = done.failed_servers.length;
      const counts = { total: names.length, successful: names.length - failed, failed };
      return answer(context, { ...counts, ...done });
    });
  }
  return routes;
}

/** Makes the paths of the Go proxy for groups, below `/api`. */
export function groupAliases({ steering }: GroupsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/groups", (context) => answer(context, listOf(context, steering)));
  routes.post("/toggle-group-servers", async (context) => {
    const { group_name: group, enabled } = await readBody(context, toggleBody);
    const action: BatchAction = enabled ? "enable" : "disable";
    const request = { action, selection: { group } };
    return answer(context, await steering.runBatch(request, operatorOf(context)));
  });
  return routes;
}

function listOf(context: Context<ApiEnv>, steering: Steering) {
  return { groups: steering.listGroups(context.get("principal")).map(groupView) };
}
