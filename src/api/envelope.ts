/**
 * The form of every answer of the admin API.
 *
 * Owns `{success, data}` and `{success: false, error, code, hint, request_id}`, and the request id, which
 * is the caller's own `X-Request-Id` when it is a plain one. Invariant: no answer carries a raw cause. A
 * bare body with status codes alone was rejected: clients of the Go proxy read the envelope.
 */
import type { Context, MiddlewareHandler } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";

import { ERRORS, messageOf, ProxyError, toProxyError } from "../core/errors.ts";
import type { Principal } from "../core/principal.ts";
import type { Peer } from "../gateway/access.ts";
import type { Operator } from "../gateway/steering.ts";
import type { Log } from "../lib/log.ts";
import type { SocketListener } from "./event_streams.ts";

/** What the listener and its middleware put beside a request. */
export interface ApiEnv {
  /** The listener a request came by; nothing when it came by none. */
  readonly Bindings: { readonly peer?: Peer; readonly listener?: SocketListener };
  readonly Variables: { requestId: string; principal: Principal; changed?: Changed };
}

/** What a route knows of its change and the request does not say: names and numbers, no values. */
export interface Changed {
  /** The one it was about. */
  readonly server?: string | undefined;
  readonly [fact: string]: unknown;
}

const PLAIN_REQUEST_ID = /^[\w.:-]{1,128}$/;

/** Gives each request its id and returns it in `X-Request-Id`. */
export const requestId: MiddlewareHandler<ApiEnv> = async (context, next) => {
  const sent = context.req.header("x-request-id");
  const id = sent !== undefined && PLAIN_REQUEST_ID.test(sent) ? sent : Bun.randomUUIDv7();
  context.set("requestId", id);
  context.header("X-Request-Id", id);
  await next();
};

/** Answers with data; `beside` stands next to it in the envelope. */
export function answer(
  context: Context<ApiEnv>,
  data: unknown,
  beside: Readonly<Record<string, unknown>> = {},
): Response {
  return context.json({ success: true, data, ...beside });
}

/** Answers with an error; what is not ours is logged under the request id and told as `INTERNAL`. */
export function answerError(context: Context<ApiEnv>, error: unknown, log: Log): Response {
  const fault = toProxyError(error);
  const id = context.get("requestId") ?? crypto.randomUUID();
  if (fault.code === "INTERNAL") {
    log.error("A request failed", { request_id: id, path: context.req.path, cause: messageOf(error) });
  }
  const { code, message, hint, data } = fault;
  const status = ERRORS[code].http as ContentfulStatusCode;
  return context.json(
    {
      success: false,
      error: message,
      code,
      ...(hint ? { hint } : {}),
      ...(data ? { details: data } : {}),
      request_id: id,
    },
    status,
    { "X-Request-Id": id, ...retryAfterOf(fault) },
  );
}

function retryAfterOf({ data }: ProxyError): Readonly<Record<string, string>> {
  const seconds = data?.["retry_after_s"];
  return typeof seconds === "number" ? { "Retry-After": String(seconds) } : {};
}

/** Who sends a request that changes something; with the admin key it is a person, who may approve. */
export function operatorOf(context: Context<ApiEnv>): Operator {
  const principal = context.get("principal");
  return { principal, isPerson: principal.kind === "admin" };
}

/** Where a request comes from, for the record: our command line says who it is, and is believed, since nothing depends on it. */
export function sourceOf(context: Context<ApiEnv>): "cli" | "api" {
  return context.req.header("user-agent")?.startsWith("mcpproxy-cli/") === true ? "cli" : "api";
}

/**
 * Reads a whole number from the query.
 *
 * @throws {ProxyError} `USAGE` when it is none or out of range.
 */
export function queryNumber(
  context: Context<ApiEnv>,
  name: string,
  range: { readonly min: number; readonly max: number },
): number | undefined {
  const text = context.req.query(name);
  if (text === undefined || text === "") return undefined;
  const value = Number(text);
  if (Number.isInteger(value) && value >= range.min && value <= range.max) return value;
  throw new ProxyError(
    "USAGE",
    `Cannot use '${name}=${text.slice(0, 40)}': it must be a whole number from ${range.min} to ${range.max}`,
  );
}
