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
import { redactText } from "../lib/redact.ts";
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
  const { args, env, secrets } = resolveServer(server, context.env);
  return new StdioTransport({
    command,
    args,
    ...(server.workingDir === undefined ? {} : { cwd: server.workingDir }),
    env: childEnvironment(context.env, { settings: context.environment, configured: env }),
    redact: (line) => redactText(line, secrets),
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
