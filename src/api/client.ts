/**
 * The admin API as a typed function.
 *
 * Owns the way from a route of the reference to a request and back. Invariants: what is asked and answered has the types
 * of the reference, which is read by the type checker alone; running it needs `fetch` and the table of errors, so that a
 * command or a page is not slower for it; an error of the proxy comes with its code and hint. A method a route was
 * rejected: the names would have to be learnt twice.
 */
import type { z } from "zod";

import { ERRORS, messageOf, ProxyError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Reference } from "./reference.ts";

/** Routes that answer with data, as in `GET /api/v1/servers/:name`. */
export type ApiRoute = {
  [Route in keyof Reference]: Reference[Route] extends { readonly data: z.ZodType } ? Route : never;
}[keyof Reference];

/** What a route answers. */
export type ApiData<Route extends ApiRoute> = Reference[Route] extends {
  readonly data: infer Shape extends z.ZodType;
}
  ? z.output<Shape>
  : never;

/** What a route takes. */
export type ApiRequest<Route extends ApiRoute> = Params<Route> &
  Query<Reference[Route]> &
  Body<Reference[Route]>;

type Names<Path extends string> = Path extends `${string}:${infer Name}/${infer Rest}`
  ? Name | Names<`/${Rest}`>
  : Path extends `${string}:${infer Name}`
    ? Name
    : never;
type Params<Route extends string> = [Names<Route>] extends [never]
  ? unknown
  : { readonly params: Readonly<Record<Names<Route>, string | number>> };
type Query<Entry> = Entry extends { readonly query: infer Shapes extends Readonly<Record<string, z.ZodType>> }
  ? Wanted<"query", z.input<z.ZodObject<Shapes>>>
  : unknown;
type Body<Entry> = Entry extends { readonly body: infer Shape extends z.ZodType }
  ? Wanted<"body", z.input<Shape>>
  : unknown;
/** Left out altogether where nothing in it is needed. */
type Wanted<Name extends string, Value> =
  Partial<Value> extends Value ? { readonly [Key in Name]?: Value } : { readonly [Key in Name]: Value };

/** What travels with any request. */
interface RequestOptions {
  readonly signal?: AbortSignal;
  /** Sent as `X-Request-Id`; the log and the activity have it too. */
  readonly requestId?: string;
}

/** Options are left out where a route needs none. */
type Given<Options> =
  Partial<Options> extends Options
    ? [options?: Options & RequestOptions]
    : [options: Options & RequestOptions];

/** Options of {@link connectApi}. */
export interface ApiClientOptions {
  /** As in `http://127.0.0.1:8080`. @default "http://localhost", for a socket */
  readonly url?: string;
  /** The API key, or the token of an agent; the socket needs none. */
  readonly key?: string;
  /** Path of the Unix socket, instead of a port; Bun alone takes one. */
  readonly socket?: string;
  /** @default fetch */
  readonly fetch?: (url: string, init: RequestInit & { readonly unix?: string }) => Promise<Response>;
}

/** Asks a route of the proxy. */
export interface ApiClient {
  /**
   * Sends a request and gives back `data` of the answer.
   *
   * @throws {ProxyError} with the code of the proxy; `NOT_REACHABLE` when nobody answers, or no mcpproxy.
   */
  ask<Route extends ApiRoute>(route: Route, ...options: Given<ApiRequest<Route>>): Promise<ApiData<Route>>;
}

interface AnyRequest extends RequestOptions {
  readonly params?: Readonly<Record<string, string | number>>;
  readonly query?: Readonly<Record<string, unknown>>;
  readonly body?: unknown;
}

/** Makes a client; nothing is sent before it is asked. */
export function connectApi(options: ApiClientOptions): ApiClient {
  return {
    ask: async (route, ...[given]) => (await send(options, { route, ...(given as AnyRequest) })) as never,
  };
}

async function send(
  { url = "http://localhost", key, socket, fetch: fetching = fetch }: ApiClientOptions,
  request: AnyRequest & { readonly route: string },
): Promise<unknown> {
  const { route, body, signal, requestId } = request;
  const [method = "GET"] = route.split(" ");
  const address = `${url.replace(/\/$/, "")}${pathOf(request)}`;
  let response: Response;
  try {
    response = await fetching(address, {
      method,
      headers: {
        ...(key === undefined ? {} : { "x-api-key": key }),
        ...(requestId === undefined ? {} : { "x-request-id": requestId }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
      ...(socket === undefined ? {} : { unix: socket }),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw notReachable(`nobody answers at ${socket ?? url} (${messageOf(error)})`, error);
  }
  return readAnswer(response, socket ?? url);
}

function pathOf({ route, params = {}, query = {} }: AnyRequest & { readonly route: string }): string {
  const path = route.slice(route.indexOf(" ") + 1);
  const named = path.replaceAll(/:(\w+)/g, (_, name: string) => encodeURIComponent(String(params[name])));
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const search = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)]));
  return given.length === 0 ? named : `${named}?${search.toString()}`;
}

async function readAnswer(response: Response, where: string): Promise<unknown> {
  const text = await response.text();
  let envelope: Readonly<Record<string, unknown>> = {};
  try {
    envelope = Object(JSON.parse(text)) as Readonly<Record<string, unknown>>;
  } catch {
    // Told below: whoever answered is no mcpproxy.
  }
  const { success, data, code, error, hint, details } = envelope;
  if (success === true) return data;
  if (success !== false)
    throw notReachable(`what answers at ${where} is no mcpproxy (HTTP ${response.status})`);
  const known = typeof code === "string" && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : "INTERNAL";
  throw new ProxyError(known, String(error), {
    ...(typeof hint === "string" ? { hint } : {}),
    ...(typeof details === "object" && details !== null ? { data: details as Record<string, unknown> } : {}),
  });
}

function notReachable(detail: string, cause?: unknown): ProxyError {
  return new ProxyError("NOT_REACHABLE", `Cannot reach mcpproxy: ${detail}`, {
    cause,
    hint: "Start it with 'mcpproxy serve', or give another address",
  });
}
