/**
 * The routes of the configuration: plan, apply, history, difference, rollback.
 *
 * Owns what goes in and out under `/config`. Invariants: a plan changes nothing; values of secrets are in no answer; who
 * holds the admin key is a person. A route that takes a whole file was rejected here: two such requests lose one change.
 */
import { Hono } from "hono";
import { z } from "zod";

import { ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import type { Change, Configuration } from "../gateway/configuration.ts";
import type { ConfigHistory } from "../state/config_history.ts";
import { describePlan } from "../state/config_plan.ts";
import { MAX_NAME_CHARS, readBody } from "./body.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of the configuration work with. */
export interface ConfigDeps {
  readonly configuration: Configuration;
  readonly history: ConfigHistory;
}

const object = z.custom<JsonObject>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  { error: "expected an object" },
);
const name = z.string().min(1).max(MAX_NAME_CHARS);
const group = z.union([name, z.number().int()]);
const approve = z.boolean().optional();
const operation = z.discriminatedUnion("op", [
  z.strictObject({ op: z.literal("add"), server: object, approve }),
  z.strictObject({ op: z.literal("patch"), name, patch: object, approve }),
  z.strictObject({ op: z.literal("remove"), name }),
  z.strictObject({ op: z.literal("rename"), name, to: name }),
  z.strictObject({
    op: z.enum(["enable", "make_lazy", "disable", "quarantine", "approve", "reject"]),
    name,
  }),
  z.strictObject({ op: z.enum(["assign", "unassign"]), name, group }),
  z.strictObject({ op: z.literal("add_group"), group: object }),
  z.strictObject({ op: z.literal("patch_group"), group, patch: object }),
  z.strictObject({ op: z.literal("remove_group"), group }),
  z.strictObject({ op: z.literal("settings"), patch: object }),
]);
// A misspelt 'dry_run' would do what was only to be looked at: unknown keys are refused.
const changeBody = z.strictObject({
  operations: z.array(operation).min(1),
  revision: z.number().int().optional(),
  dry_run: z.boolean().optional(),
  verify: z.boolean().optional(),
  lenient: z.boolean().optional(),
});
const rollbackBody = z.strictObject({ id: z.string().min(1), approve: z.boolean().optional() });

/** Makes the routes below `/config`. */
export function configRoutes(deps: ConfigDeps): Hono<ApiEnv> {
  const { configuration, history } = deps;
  const routes = new Hono<ApiEnv>();
  const change = async (body: z.output<typeof changeBody>, isDryRun: boolean): Promise<Change> =>
    configuration.change({
      operations: body.operations,
      revision: body.revision,
      isDryRun,
      verify: body.verify,
      isLenient: body.lenient,
      isByPerson: true,
    });
  routes.post("/plan", async (context) => {
    const body = await readBody(context, changeBody);
    return answer(context, changeView(await change(body, true)));
  });
  routes.post("/apply", async (context) => {
    const body = await readBody(context, changeBody);
    return answer(context, changeView(await change(body, body.dry_run === true)));
  });
  routes.get("/history", (context) =>
    answer(context, { revision: configuration.revision, entries: history.list() }),
  );
  routes.get("/diff", (context) => {
    const from = context.req.query("from");
    if (from === undefined) {
      throw new ProxyError("USAGE", "Cannot compare: 'from' is missing", {
        hint: "Send ?from=ID, and &to=ID unless the file as it is now is meant; GET /config/history lists the ids",
      });
    }
    const to = context.req.query("to");
    const after = to === undefined ? configuration.text : history.read(to);
    return answer(context, { from, to: to ?? "now", diff: history.diff(history.read(from), after) });
  });
  routes.post("/rollback", async (context) => {
    const body = await readBody(context, rollbackBody);
    const back = await configuration.rollback(history.read(body.id), {
      summary: `rollback to ${body.id}`,
      approve: body.approve === true,
    });
    return answer(context, changeView(back));
  });
  return routes;
}

/** A change as an answer shows it. */
export function changeView({ revision, plan, warning }: Change) {
  return { revision, ...describePlan(plan), ...(warning === undefined ? {} : { warning }) };
}
