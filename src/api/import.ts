/**
 * The route that brings in the servers of another client.
 *
 * Owns what goes in and out under `/import`. Invariant: the text comes with the request; no file of the machine is read
 * for a client of this API. Reading the client's own files here was rejected: who sends a request may be a web page.
 */
import { Hono } from "hono";
import { z } from "zod";

import { IMPORT_FORMATS } from "../core/model.ts";
import type { Configuration } from "../gateway/configuration.ts";
import type { ImportResult } from "../gateway/import.ts";
import { readBody } from "./body.ts";
import { answer, operatorOf } from "./envelope.ts";
import type { ApiEnv, Changed } from "./envelope.ts";

/** What the route works with. */
export interface ImportDeps {
  readonly configuration: Configuration;
}

const MAX_TEXT_CHARS = 8 * 1024 * 1024;
const MAX_NOTED_NAMES = 20;

/** A client's configuration, as text. */
export const importBody = z.strictObject({
  text: z.string().min(1).max(MAX_TEXT_CHARS),
  format: z.enum(["auto", ...IMPORT_FORMATS]).optional(),
  names: z.array(z.string()).optional(),
  dry_run: z.boolean().optional(),
});

/** Makes the route `/import`. */
export function importRoutes({ configuration }: ImportDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.post("/", async (context) => {
    const { dry_run: isDryRun, ...request } = await readBody(context, importBody);
    const { isPerson: isByPerson } = operatorOf(context);
    const { importServers } = await import("../gateway/import.ts");
    const result = await importServers(configuration, { ...request, isDryRun, isByPerson });
    context.set("changed", changedBy(result));
    return answer(context, result);
  });
  return routes;
}

function changedBy({ format, servers, added }: ImportResult): Changed {
  const names = servers.filter(({ status }) => status === "added").map(({ name }) => name);
  const server = names.length === 1 ? names[0] : undefined;
  return { server, format, added, servers: names.slice(0, MAX_NOTED_NAMES) };
}
