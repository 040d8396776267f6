/**
 * The route that brings in the servers of another client.
 *
 * Owns what goes in and out under `/import`. Invariant: the text comes with the request; no file of the machine is read
 * for a client of this API. Reading the client's own files here was rejected: who sends a request may be a web page.
 */
import { Hono } from "hono";
import { z } from "zod";

import type { Configuration } from "../gateway/configuration.ts";
import { importServers } from "../gateway/import.ts";
import { IMPORT_FORMATS } from "../gateway/import_forms.ts";
import { readBody } from "./body.ts";
import { answer, operatorOf } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the route works with. */
export interface ImportDeps {
  readonly configuration: Configuration;
}

const MAX_TEXT_CHARS = 8 * 1024 * 1024;

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
    return answer(context, await importServers(configuration, { ...request, isDryRun, isByPerson }));
  });
  return routes;
}
