/**
 * The route that tells what is wrong.
 *
 * Owns `GET /doctor`. Invariant: it shows what the doctor found, unchanged. A verb that mends was rejected: what to do is
 * the operator's choice, and each finding names it.
 */
import { Hono } from "hono";

import type { Doctor } from "../gateway/doctor.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the route works with. */
export interface DoctorDeps {
  readonly doctor: Pick<Doctor, "examine">;
}

/** Makes the route below the API's root. */
export function doctorRoutes({ doctor }: DoctorDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/doctor", async (context) => answer(context, await doctor.examine()));
  return routes;
}
