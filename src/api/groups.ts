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
import type { Group } from "../catalog/groups.ts";
import type { Batches } from "../gateway/batches.ts";
import type { Configuration } from "../gateway/configuration.ts";
import { MAX_NAME_CHARS, readBody } from "./body.ts";
import { changeView } from "./config.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of groups work with. */
export interface GroupsDeps {
  readonly configuration: Configuration;
  readonly batches: Batches;
}

const name = z.string().max(MAX_NAME_CHARS);
const groupRef = z.union([name.min(1), z.number().int()]);
const groupBody = z.strictObject({
  id: z.number().int().min(0).optional(),
  name: name.min(1),
  description: z.string().optional(),
  color: z.string().optional(),
  icon_emoji: z.string().optional(),
  enabled: z.boolean().optional(),
  parent: groupRef.optional(),
});
const groupPatch = groupBody.omit({ id: true }).partial().extend({ parent: groupRef.nullable().optional() });
const serversBody = z.strictObject({ servers: z.array(name), dry_run: z.boolean().optional() });
const dryRunBody = z.strictObject({ dry_run: z.boolean().optional() });
const CATEGORIES = [
  "connected",
  "disconnected",
  "sleeping",
  "disabled",
  "auto_disabled",
  "quarantined",
] as const satisfies readonly Category[];
const ACTIONS = ["enable", "disable", "restart", "quarantine", "assign", "unassign"] as const;
const batchBody = z.strictObject({
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
const toggleBody = z.object({ group_name: name.min(1), enabled: z.boolean() });

/** Makes the routes below `/groups`. */
export function groupRoutes({ configuration, batches }: GroupsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const found = (context: Context<ApiEnv>) => configuration.groups.get(context.req.param("group") ?? "");
  routes.get("/", (context) => answer(context, { groups: configuration.groups.list().map(groupView) }));
  routes.post("/", async (context) => {
    const body = await readBody(context, groupBody);
    const group = body as unknown as JsonObject;
    const change = await batches.changeGroup("create", body.name, [{ op: "add_group", group }]);
    const [id = 0] = change.plan.difference.groups.added;
    const data = { ...changeView(change), group: groupView(configuration.groups.get(id)) };
    return context.json({ success: true, data }, 201);
  });
  routes.get("/:group", (context) => answer(context, groupView(found(context))));
  routes.patch("/:group", async (context) => {
    const { id } = found(context);
    const patch = (await readBody(context, groupPatch)) as unknown as JsonObject;
    const change = await batches.changeGroup("update", id, [{ op: "patch_group", group: id, patch }]);
    return answer(context, { ...changeView(change), group: groupView(configuration.groups.get(id)) });
  });
  routes.delete("/:group", async (context) => {
    const { id } = found(context);
    const change = await batches.changeGroup("delete", id, [{ op: "remove_group", group: id }]);
    return answer(context, changeView(change));
  });
  routes.get("/:group/members", (context) => {
    const { id } = found(context);
    return answer(context, { group: id, servers: configuration.groups.members(id) });
  });
  for (const action of ["assign", "unassign"] as const) {
    routes.post(`/:group/${action}`, async (context) => {
      const { id } = found(context);
      const { servers: names, dry_run: isDryRun } = await readBody(context, serversBody);
      const done = await batches.run({ action, selection: { names }, group: id, isDryRun });
      return answer(context, done);
    });
  }
  for (const action of ["enable", "disable", "restart", "quarantine"] as const) {
    routes.post(`/:group/${action}`, async (context) => {
      const { id } = found(context);
      const { dry_run: isDryRun } = await readBody(context, dryRunBody);
      return answer(context, await batches.run({ action, selection: { group: id }, isDryRun }));
    });
  }
  return routes;
}

/** Makes the routes that switch many servers at once, below the API's root. */
export function batchRoutes({ batches }: GroupsDeps): Hono<ApiEnv> {
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
    return answer(context, await batches.run({ action, selection, group: to, isDryRun }));
  });
  return routes;
}

/** Makes the paths of the Go proxy for groups, below `/api`. */
export function groupAliases({ configuration, batches }: GroupsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/groups", (context) => answer(context, { groups: configuration.groups.list().map(groupView) }));
  routes.post("/toggle-group-servers", async (context) => {
    const { group_name: group, enabled } = await readBody(context, toggleBody);
    const action: BatchAction = enabled ? "enable" : "disable";
    return answer(context, await batches.run({ action, selection: { group } }));
  });
  return routes;
}

/** A group as every list shows it. */
function groupView(group: Group) {
  const { iconEmoji, parentId, ownCount, totalCount, ...rest } = group;
  return {
    ...rest,
    ...(iconEmoji === undefined ? {} : { icon_emoji: iconEmoji }),
    ...(parentId === undefined ? {} : { parent: parentId }),
    own_count: ownCount,
    server_count: totalCount,
  };
}
