/**
 * The routes of servers.
 *
 * Owns `/servers` and below: lists, and the verbs that change one server. Invariants: no secret of a definition is in an
 * answer; every change goes through the configuration. Fields of their own were rejected: the admin tools show a server
 * as `gateway/server_list.ts` does, and so do these.
 */
import { Hono } from "hono";
import type { Context } from "hono";
import { z } from "zod";

import type { JsonObject } from "../core/model.ts";
import { changeView } from "../gateway/change_summary.ts";
import type { Finder } from "../gateway/finder.ts";
import { CONNECTION_VERBS, MAX_LOG_LINES, MODE_VERBS } from "../gateway/steering.ts";
import type { ChangeOptions, ModeVerb, Steering } from "../gateway/steering.ts";
import { readBody } from "./body.ts";
import { answer, operatorOf, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";
import { toolView } from "./tools.ts";

/** What the routes of servers work with. */
export interface ServersDeps {
  readonly steering: Steering;
  readonly finder: Finder;
}

const MAX_PAGE = 10_000;
/** Fields beside the entry that steer the change itself. */
const changeFields = {
  approve: z.boolean().optional(),
  verify: z.boolean().optional(),
  dry_run: z.boolean().optional(),
  revision: z.number().int().optional(),
};
export const addBody = z.looseObject({ ...changeFields, name: z.string() });
export const patchBody = z.looseObject(changeFields);

type Steered = z.output<typeof patchBody>;

/** Makes the routes below `/servers`. */
export function serverRoutes(deps: ServersDeps): Hono<ApiEnv> {
  const { steering, finder } = deps;
  const routes = new Hono<ApiEnv>();
  routes.get("/", (context) => answer(context, pageOf(context, deps)));
  routes.get("/:name/tools", (context) => {
    const name = context.req.param("name");
    const principal = context.get("principal");
    const all = steering.toolsOf(name, principal);
    const callable = new Set(finder.list({ server: name, principal }).map(({ id }) => id));
    // An agent sees what it may call.
    const shown = principal.kind === "agent" ? all.filter(({ id }) => callable.has(id)) : all;
    const tools = shown.map((tool) => ({ ...toolView(tool, finder), enabled: callable.has(tool.id) }));
    return answer(context, { server_name: name, tools, count: tools.length });
  });
  routes.get("/:name/logs", (context) => {
    const name = context.req.param("name");
    const logs = steering.tail(name, queryNumber(context, "tail", { min: 1, max: MAX_LOG_LINES }));
    return answer(context, { server_name: name, logs, count: logs.length });
  });
  routes.get("/:name", (context) =>
    answer(context, steering.showServer(context.req.param("name"), context.get("principal"))),
  );
  addChanges(routes, deps);
  addVerbs(routes, deps);
  return routes;
}

/** Makes the path of the Go proxy's forks for the list, below `/api`. */
export function serverAliases(deps: ServersDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/servers/status", (context) => answer(context, pageOf(context, deps)));
  return routes;
}

/** The servers that are asked for, and counts over all. */
function pageOf(context: Context<ApiEnv>, { steering }: ServersDeps) {
  const { category, group, q, protocol, tag, mode, status, sort, cursor } = context.req.query();
  const limit = queryNumber(context, "limit", { min: 1, max: MAX_PAGE });
  const principal = context.get("principal");
  const filters = { category, group, q, protocol, tag, mode, status, sort };
  return steering.listServers({ ...filters, limit, cursor: cursor || undefined, principal });
}

/** Adding, patching and removing; a patch of `name` is a rename. */
function addChanges(routes: Hono<ApiEnv>, { steering }: ServersDeps): void {
  routes.post("/", async (context) => {
    const body = await readBody(context, addBody);
    const { options, rest } = parted(body);
    const change = await steering.add(rest, { ...options, by: operatorOf(context) });
    const data = { server: body.name, ...changeView(change) };
    return context.json({ success: true, data }, options.isDryRun === true ? 200 : 201);
  });
  routes.patch("/:name", async (context) => {
    const name = context.req.param("name");
    const { options, rest } = parted(await readBody(context, patchBody));
    const change = await steering.patch(name, { ...options, patch: rest, by: operatorOf(context) });
    return answer(context, { server: name, ...changeView(change) });
  });
  routes.delete("/:name", async (context) => {
    const name = context.req.param("name");
    const change = await steering.remove(name, operatorOf(context));
    return answer(context, { success: true, server: name, ...changeView(change) });
  });
}

/** The entry, and what steers the change of it. */
function parted(body: Steered): { readonly options: ChangeOptions; readonly rest: JsonObject } {
  const { approve, verify, dry_run: isDryRun, revision, ...rest } = body;
  return { options: { approve, verify, isDryRun, revision }, rest: rest as JsonObject };
}

/** Verbs on the mode are changes of the configuration; those on the connection are not kept. */
function addVerbs(routes: Hono<ApiEnv>, { steering }: ServersDeps): void {
  for (const verb of Object.keys(MODE_VERBS) as ModeVerb[]) {
    routes.post(`/:name/${verb}`, async (context) => {
      const name = context.req.param("name");
      const change = await steering.switchMode(name, { verb, by: operatorOf(context) });
      return answer(context, { success: true, server: name, action: verb, ...changeView(change) });
    });
  }
  for (const verb of CONNECTION_VERBS) {
    routes.post(`/:name/${verb}`, (context) => {
      const name = context.req.param("name");
      steering.act(name, { verb, by: operatorOf(context) });
      return answer(context, { success: true, server: name, action: verb });
    });
  }
}
