/**
 * From a server's definition to a transport the MCP client can use.
 *
 * Owns how secrets, headers and the environment reach an upstream, and the order in which the kinds of
 * HTTP transport are tried. Invariant: resolved secrets live in the transport only and are never written
 * or logged. One transport class for all kinds was rejected: the SDK's two HTTP ones are kept as they are.
 */
import { SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { Transport } from "@modelcontextprotocol/client";

import { ProxyError } from "../core/errors.ts";
import type { JsonObject, Server } from "../core/model.ts";
import type { EnvironmentSettings } from "../core/settings.ts";
import { capBody } from "../lib/capped_body.ts";
import type { ChildRegistry, StopOptions } from "../lib/child.ts";
import { isSecretName, redactText, secretValues } from "../lib/redact.ts";
import { traceOf } from "../lib/trace.ts";
import { resolveServer } from "../state/secrets.ts";
import type { Environment } from "../state/secrets.ts";
import { childEnvironment } from "./environment.ts";
import type { Prepare, Prepared } from "./preparation.ts";
import { StdioTransport } from "./stdio.ts";

/** A longer answer, or event of a stream, fails; as long as a line of a process may be. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** What is done for every process that is started. */
export interface ProcessCare {
  /** Told of each process, so that none outlives the proxy. */
  readonly registry?: ChildRegistry;
  readonly grace?: StopOptions;
  /** Makes the receiver of what a server's process writes to stderr. */
  readonly logOf?: (server: string) => (line: string) => void;
}

/** Where definitions are resolved. */
export interface TransportContext {
  /** The proxy's own environment: the source of `${env:…}` and of what children inherit. */
  readonly env: Environment;
  readonly environment: EnvironmentSettings;
  readonly care?: ProcessCare;
  /** What has to be waited for before a start. @default nothing */
  readonly prepare?: Prepare;
  /** What was waited for. */
  readonly prepared?: Prepared;
  /** The upstream has said its first byte. */
  readonly onAnswer?: () => void;
  /** The upstream asked to be left alone for so long. */
  readonly onRetryAfter?: (ms: number) => void;
}

/** Makes the transport that starts the server's process. */
export function openStdio(server: Server, context: TransportContext): StdioTransport {
  const { command } = server;
  if (command === undefined)
    throw new ProxyError("SERVER_FAULTY", `Cannot start '${server.name}': it has no command`);
  const { keys, path } = context.prepared ?? {};
  const { args, env } = resolveServer(server, context.env, { keys });
  const { registry, grace, logOf } = context.care ?? {};
  return new StdioTransport({
    command,
    args,
    ...(server.workingDir === undefined ? {} : { cwd: server.workingDir }),
    env: childEnvironment(context.env, { settings: context.environment, configured: env, path }),
    redact: redactorOf(server, context),
    ...(context.onAnswer ? { onAnswer: context.onAnswer } : {}),
    name: server.name,
    registry,
    grace,
    onLine: logOf?.(server.name),
  });
}

/** Makes the transport that reaches the server's URL. */
export function openHttp(
  server: Server,
  context: TransportContext & { readonly kind: "streamable_http" | "sse" },
): Transport {
  const { url, headers } = resolveServer(server, context.env, { keys: context.prepared?.keys });
  if (url === undefined)
    throw new ProxyError("SERVER_FAULTY", `Cannot reach '${server.name}': it has no url`);
  const requestInit = { headers: Object.fromEntries(headers) };
  const options = { requestInit, fetch: observedFetch(context) };
  if (context.kind === "sse") return new SSEClientTransport(new URL(url), options);
  return new StreamableHTTPClientTransport(new URL(url), options);
}

/** A log message nobody here listens to; a flood of them must not cost the reading of each. Never an answer. */
function isLogMessage(event: string): boolean {
  return (
    event.includes('"method":"notifications/message"') &&
    !event.includes('"id":') &&
    !event.includes('"result":')
  );
}

/** A `fetch` that tells of the first answer and of a wish to be left alone (RFC 9110 section 10.2.3). */
function observedFetch(
  context: TransportContext,
): (input: string | URL, init?: RequestInit) => Promise<Response> {
  return async (input, init) => {
    const response = capBody(await fetch(input, withTrace(init)), {
      maxBytes: MAX_BODY_BYTES,
      isUnwanted: isLogMessage,
    });
    context.onAnswer?.();
    const after = response.headers.get("retry-after");
    if (after !== null) {
      const ms = /^\d+$/.test(after) ? Number(after) * 1_000 : Date.parse(after) - Date.now();
      if (ms > 0) context.onRetryAfter?.(ms);
    }
    return response;
  };
}

/** Tells the trace of a call to what stands between here and the upstream; most calls have none. */
function withTrace(init: RequestInit | undefined): RequestInit | undefined {
  const { body } = init ?? {};
  if (typeof body !== "string" || !body.includes('"traceparent"')) return init;
  const { params } = JSON.parse(body) as { readonly params?: { readonly _meta?: JsonObject } };
  const trace = traceOf(params?._meta?.["traceparent"], params?._meta?.["tracestate"]);
  if (trace === undefined) return init;
  const headers = new Headers(init?.headers);
  for (const [name, value] of Object.entries(trace)) headers.set(name, value as string);
  return { ...init, headers };
}

/** Makes the function that hides in a text what the server's entry holds of secrets, resolved ones included. */
export function redactorOf(server: Server, context: TransportContext): (text: string) => string {
  try {
    const keys = context.prepared?.keys;
    const { args, env, headers, secrets, url } = resolveServer(server, context.env, { keys });
    const { customVars, allowedSystemVars } = context.environment;
    const own = allowedSystemVars.map((name) => [name, context.env[name] ?? ""] as const);
    const inMaps = secretValues([...env, ...headers, ...customVars, ...own]);
    const known = new Set([...secrets, ...secretsInUrl(url), ...inMaps]);
    for (const [at, arg] of args.entries()) {
      const [flag = "", value = args[at + 1] ?? ""] = arg.split(/=(.*)/s, 2);
      if (flag.startsWith("-") && isSecretName(flag.replace(/^-+/, ""))) known.add(value);
    }
    return (text) => redactText(text, known);
  } catch {
    // A reference has no value: there is nothing to hide beside what looks like a secret.
    return (text) => redactText(text);
  }
}

/** What an upstream may repeat of its own address. */
function secretsInUrl(text: string | undefined): string[] {
  const url = text === undefined ? null : URL.parse(text);
  if (url === null) return [];
  const inQuery = [...url.searchParams].flatMap(([name, value]) => (isSecretName(name) ? [value] : []));
  return [...inQuery, url.password].filter((value) => value !== "");
}
