/**
 * The routes that look into the running process.
 *
 * Owns `/profile`: where the time goes, what the memory holds, what is open. Invariants: all of it is asked for, so
 * nothing costs anything before; a profile is bounded in time and alone. What they answer holds texts of the process,
 * secrets among them: the key is needed, and the answer is for its holder's eyes.
 */
import { Hono } from "hono";

import { ProxyError } from "../core/errors.ts";
import { openHandles, profileCpu, snapshotHeap } from "../lib/profiler.ts";
import { answer, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

const DEFAULT_SECONDS = 5;
const MAX_SECONDS = 60;

/** Makes the routes below `/profile`. */
export function profileRoutes(): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.post("/cpu", async (context) => {
    const seconds = queryNumber(context, "seconds", { min: 1, max: MAX_SECONDS }) ?? DEFAULT_SECONDS;
    const profile = await profileCpu(seconds * 1_000, context.req.raw.signal);
    if (profile === undefined) {
      throw new ProxyError("PROFILE_BUSY", "Cannot profile: another profile is under way", {
        hint: `It ends within ${MAX_SECONDS} seconds`,
      });
    }
    return context.body(JSON.stringify(profile), 200, fileHeaders("mcpproxy.cpuprofile"));
  });
  routes.get("/heap", (context) => context.body(snapshotHeap(), 200, fileHeaders("mcpproxy.heapsnapshot")));
  routes.get("/handles", (context) => answer(context, openHandles()));
  return routes;
}

function fileHeaders(name: string): Record<string, string> {
  return {
    "Content-Type": "application/json",
    "Content-Disposition": `attachment; filename="${name}"`,
    "Cache-Control": "no-store",
  };
}
