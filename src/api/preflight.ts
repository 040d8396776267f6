/**
 * The routes that tell whether tools could be called.
 *
 * Owns `POST /preflight` and `GET /preflight`. Invariant: the answer is 200 whatever the verdict, since the question was
 * answered; exit codes are the command line's. A status code for each verdict was rejected: one answer is about many tools.
 */
import { Hono } from "hono";
import type { Context } from "hono";
import { z } from "zod";

import type { PreflightDeps } from "../gateway/preflight.ts";
import { MAX_NAME_CHARS, readBody } from "./body.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What `POST /preflight` takes. */
export const preflightBody = z.strictObject({
  tools: z.array(z.string().max(MAX_NAME_CHARS)).describe("Ids as 'server:tool', or names of servers"),
});

/** Makes the routes below the API's root. */
export function preflightRoutes(deps: PreflightDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  const verdict = async (context: Context<ApiEnv>, tools: readonly string[]): Promise<Response> => {
    const { preflight } = await import("../gateway/preflight.ts");
    return answer(context, preflight(tools, { ...deps, principal: context.get("principal") }));
  };
  routes.post("/preflight", async (context) => {
    const { tools } = await readBody(context, preflightBody);
    return verdict(context, tools);
  });
  routes.get("/preflight", async (context) => {
    // Once for each tool, or parted by commas.
    const asked = context.req.queries("tools") ?? [];
    const tools = asked.flatMap((text) => text.split(",")).filter((id) => id !== "");
    return verdict(context, tools);
  });
  return routes;
}
