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
import type { Server } from "../core/model.ts";
import type { EnvironmentSettings } from "../core/settings.ts";
import { isSecretName, redactText } from "../lib/redact.ts";
import { resolveServer } from "../state/secrets.ts";
import type { Environment } from "../state/secrets.ts";
import { childEnvironment } from "./environment.ts";
import { StdioTransport } from "./stdio.ts";

/** Where definitions are resolved. */
export interface TransportContext {
  /** The proxy's own environment: the source of `${env:…}` and of what children inherit. */
  readonly env: Environment;
  readonly environment: EnvironmentSettings;
}

/** Makes the transport that starts the server's process. */
export function openStdio(server: Server, context: TransportContext): StdioTransport {
  const { command } = server;
  if (command === undefined)
    throw new ProxyError("SERVER_FAULTY", `Cannot start '${server.name}': it has no command`);
  const { args, env } = resolveServer(server, context.env);
  return new StdioTransport({
    command,
    args,
    ...(server.workingDir === undefined ? {} : { cwd: server.workingDir }),
    env: childEnvironment(context.env, { settings: context.environment, configured: env }),
    redact: redactorOf(server, context),
  });
}

/** Makes the transport that reaches the server's URL. */
export function openHttp(
  server: Server,
  context: TransportContext & { readonly kind: "streamable_http" | "sse" },
): Transport {
  const { url, headers } = resolveServer(server, context.env);
  if (url === undefined)
    throw new ProxyError("SERVER_FAULTY", `Cannot reach '${server.name}': it has no url`);
  const requestInit = { headers: Object.fromEntries(headers) };
  if (context.kind === "sse") return new SSEClientTransport(new URL(url), { requestInit });
  return new StreamableHTTPClientTransport(new URL(url), { requestInit });
}

/** Makes the function that hides in a text what the server's entry holds of secrets, resolved ones included. */
export function redactorOf(server: Server, context: TransportContext): (text: string) => string {
  try {
    const { args, env, headers, secrets } = resolveServer(server, context.env);
    const known = new Set(secrets);
    for (const [name, value] of [...env, ...headers]) {
      if (!isSecretName(name)) continue;
      known.add(value);
      known.add(value.slice(value.indexOf(" ") + 1));
    }
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
