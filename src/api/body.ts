/**
 * The body of a request, checked.
 *
 * Owns reading JSON and holding it against a schema. Invariant: whatever is sent, the answer says which field is wrong
 * and what would be right. Hono's validator was rejected: it answers by itself, in another form.
 */
import type { Context } from "hono";
import type { z } from "zod";

import { ProxyError } from "../core/errors.ts";
import type { ApiEnv } from "./envelope.ts";

/** A name that nothing can have is not repeated in an answer. */
export const MAX_NAME_CHARS = 1_000;

/**
 * Reads a JSON body; an empty one counts as `{}`.
 *
 * @throws {ProxyError} `USAGE` when it is no JSON or does not fit.
 */
export async function readBody<Shape extends z.ZodType>(
  context: Context<ApiEnv>,
  shape: Shape,
): Promise<z.output<Shape>> {
  const text = await context.req.text();
  let body: unknown = {};
  if (text.trim() !== "") {
    try {
      body = JSON.parse(text);
    } catch (error) {
      throw new ProxyError("USAGE", "Cannot read the request: the body is not JSON", {
        cause: error,
        hint: "Send a JSON object with 'Content-Type: application/json'",
      });
    }
  }
  const result = shape.safeParse(body);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const at = issue?.path.join(".") ?? "";
  throw new ProxyError(
    "USAGE",
    `Cannot read the request: ${at === "" ? "" : `'${at}': `}${issue?.message ?? "the body does not fit"}`,
    { hint: "The fields of each body stand in the reference, at /docs and in /openapi.json" },
  );
}
