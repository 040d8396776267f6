/**
 * The routes of the configuration: the whole document, plan, apply, history, difference, rollback.
 *
 * Owns what goes in and out under `/config`. Invariants: a plan changes nothing; values of secrets are in no answer; who
 * holds the admin key is a person; a whole document is a difference to what is shown, so what nobody touched stays. Writing
 * a document as it comes was rejected: two such requests lose one change.
 */
import { Hono } from "hono";
import type { Context } from "hono";
import { z } from "zod";

import { ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import { changeView } from "../gateway/change_summary.ts";
import type { Change, Configuration } from "../gateway/configuration.ts";
import type { ConfigHistory } from "../state/config_history.ts";
import { depthOf } from "../lib/json_patch.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import type { ConfigDocument } from "../gateway/config_document.ts";
import { MAX_NAME_CHARS, readBody } from "./body.ts";
import { answer, operatorOf } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of the configuration work with. */
export interface ConfigDeps {
  readonly configuration: Configuration;
  readonly history: ConfigHistory;
  readonly upstreams: Upstreams;
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
export const changeBody = z.strictObject({
  operations: z.array(operation).min(1),
  revision: z.number().int().optional(),
  dry_run: z.boolean().optional(),
  verify: z.boolean().optional(),
  lenient: z.boolean().optional(),
});
/** A whole document, bare or as `GET /config` shows it; what steers the change may stand beside either. */
export const documentBody = z.looseObject({
  config: object.optional(),
  revision: z.number().int().optional(),
  approve: z.boolean().optional(),
  dry_run: z.boolean().optional(),
});
/** Levels of nesting; the file may have 100. */
const DEPTH_MAX = 90;
export const rollbackBody = z.strictObject({ id: z.string().min(1), approve: z.boolean().optional() });

/** Makes the routes below `/config`. */
export function configRoutes(deps: ConfigDeps): Hono<ApiEnv> {
  const { configuration } = deps;
  const routes = new Hono<ApiEnv>();
  let made: ConfigDocument | undefined;
  const document = async (): Promise<ConfigDocument> => {
    const { ConfigDocument } = await import("../gateway/config_document.ts");
    return (made ??= new ConfigDocument({
      configuration,
      modeOf: (server) => deps.upstreams.find(server)?.mode,
    }));
  };
  addDocument(routes, document);
  addHistory(routes, deps);
  const change = async (
    context: Context<ApiEnv>,
    { body, isDryRun }: { readonly body: z.output<typeof changeBody>; readonly isDryRun: boolean },
  ): Promise<Change> =>
    configuration.change({
      operations: body.operations,
      revision: body.revision ?? revisionIn(context),
      isDryRun,
      verify: body.verify,
      isLenient: body.lenient,
      isByPerson: operatorOf(context).isPerson,
    });
  routes.post("/plan", async (context) => {
    const body = await readBody(context, changeBody);
    return answer(context, changeView(await change(context, { body, isDryRun: true })));
  });
  routes.post("/apply", async (context) => {
    const given = await readBody(context, z.looseObject({}));
    if (given["operations"] === undefined)
      return answer(context, await applyDocument(context, await document()));
    const body = await readBody(context, changeBody);
    return answer(context, changeView(await change(context, { body, isDryRun: body.dry_run === true })));
  });
  return routes;
}

function addHistory(routes: Hono<ApiEnv>, { configuration, history }: ConfigDeps): void {
  // The text in force is not among the kept ones, and is wanted where the file is broken.
  const read = (id: string): string =>
    id === String(configuration.revision) ? configuration.text : history.read(id);
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
    const after = to === undefined ? configuration.text : read(to);
    return answer(context, { from, to: to ?? "now", diff: history.diff(read(from), after) });
  });
  routes.post("/rollback", async (context) => {
    const body = await readBody(context, rollbackBody);
    const back = await configuration.rollback(read(body.id), {
      summary: `rollback to ${body.id}`,
      approve: body.approve === true && operatorOf(context).isPerson,
    });
    return answer(context, changeView(back));
  });
}

function addDocument(routes: Hono<ApiEnv>, document: () => Promise<ConfigDocument>): void {
  routes.get("/", async (context) => {
    const { text, revision } = await (await document()).show();
    context.header("ETag", `"${revision}"`);
    // The envelope of `answer`, around what is JSON already.
    return context.body(`{"success":true,"data":${text}}`, 200, { "Content-Type": "application/json" });
  });
  routes.post("/validate", async (context) => {
    const { config } = await readDocument(context);
    return answer(context, (await document()).validate(config));
  });
}

async function applyDocument(context: Context<ApiEnv>, document: ConfigDocument) {
  const { config, ...options } = await readDocument(context);
  if (!Object.hasOwn(config, "mcpServers")) {
    throw new ProxyError("USAGE", "Cannot apply the configuration: 'mcpServers' is missing", {
      hint: 'Send {"operations": […]}, or the whole document as GET /config shows it',
    });
  }
  const revision = options.revision ?? revisionIn(context);
  return document.apply(config, { ...options, revision, isByPerson: operatorOf(context).isPerson });
}

/** The document, and what steers the change of it. */
async function readDocument(context: Context<ApiEnv>) {
  const body = await readBody(context, documentBody);
  if (depthOf(body, DEPTH_MAX + 1) > DEPTH_MAX) {
    throw new ProxyError("USAGE", `Cannot read the request: values nest deeper than ${DEPTH_MAX} levels`, {
      hint: "Remove levels of brackets",
    });
  }
  const { config, revision, approve: isApproved, dry_run: isDryRun, config_path: _, ...bare } = body;
  const isWrapped = config !== undefined && !Object.hasOwn(body, "mcpServers");
  return { config: isWrapped ? config : bare, revision, isApproved, isDryRun };
}

/** The revision a change was made for, as `GET /config` gave it in its ETag (RFC 9110 section 13.1.1). */
function revisionIn(context: Context<ApiEnv>): number | undefined {
  const match = context.req.header("if-match")?.trim();
  if (match === undefined || match === "" || match === "*") return undefined;
  const digits = /^(?:W\/)?"?(\d{1,15})"?$/.exec(match)?.[1];
  if (digits !== undefined) return Number(digits);
  throw new ProxyError("USAGE", "Cannot use 'If-Match': it names no revision", {
    hint: "Send the ETag of GET /config as it is",
  });
}
