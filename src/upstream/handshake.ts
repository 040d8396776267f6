/**
 * From a server's definition to a client that has shaken hands with it.
 *
 * Owns finding out the era and, for URLs, the transport, and using again what was found last time.
 * Invariants: what an attempt opened is closed when it fails; a remembered verdict that no longer holds
 * costs one more try, never the connection. The SDK's probe on a second process was rejected: it starts
 * every server twice, and a pipe keeps the probe until the process reads it.
 */
import { Client, ProtocolError, SdkHttpError } from "@modelcontextprotocol/client";
import type { ClientOptions, PriorDiscovery, Transport } from "@modelcontextprotocol/client";

import type { Era, Server } from "../core/model.ts";
import { orAborted } from "../lib/abort.ts";
import { openHttp, openStdio } from "./transport.ts";
import type { StdioTransport } from "./stdio.ts";
import type { TransportContext } from "./transport.ts";

/** How long a process may leave the probe unanswered before it counts as legacy. */
const STDIO_PROBE_MS = 5_000;
/** Between two tries to reach the URL of a process that is still starting. */
const COMPANION_RETRY_MS = 250;

/** What was found out about a server and saves time the next time. */
export interface Verdict {
  readonly era: Era;
  /** The discovery answer of a modern server, JSON. */
  readonly discovery?: string;
  readonly transport?: "streamable_http" | "sse";
}

/** A client that is connected, and what belongs to it. */
export interface Session {
  readonly client: Client;
  readonly transport: Transport;
  readonly verdict: Verdict;
  /** The process the proxy started to serve the URL. */
  readonly companion?: StdioTransport;
}

/** Options of {@link shakeHands}. */
export interface HandshakeOptions {
  readonly server: Server;
  readonly context: TransportContext;
  readonly known: Verdict | undefined;
  /** Aborts when the attempt's deadline has passed or nobody wants it any more. */
  readonly signal: AbortSignal;
  /** For the client's own timers; the signal comes first. */
  readonly timeoutMs: number;
  readonly clientOptions: ClientOptions;
  /** Asked before a process is started a second time. */
  readonly mayRespawn: () => boolean;
  /** Told of every transport as soon as it exists, so that a failure can be described from it. */
  readonly onOpen: (transport: Transport) => void;
  /** Takes what an attempt that failed leaves open; a process may need seconds to go, and nobody waits for it. */
  readonly discard: (transport: Transport) => void;
}

type Kind = "stdio" | "streamable_http" | "sse";

/** Connects; rejects with the last error when no way in was found. */
export async function shakeHands(options: HandshakeOptions): Promise<Session> {
  const { server, known } = options;
  const kinds = kindsOf(server, known);
  if (!startsOwnProcess(server)) return tryKinds(options, kinds);
  const companion = openStdio(server, options.context);
  options.onOpen(companion);
  try {
    await companion.start();
    return { ...(await untilReachable(options, { kinds, companion })), companion };
  } catch (error) {
    options.discard(companion);
    throw error;
  }
}

/** Tries again until the process listens, leaves, or the attempt's time is up. */
async function untilReachable(
  options: HandshakeOptions,
  target: { readonly kinds: readonly Kind[]; readonly companion: StdioTransport },
): Promise<Session> {
  for (;;) {
    try {
      return await tryKinds(options, target.kinds);
    } catch (error) {
      if (options.signal.aborted || target.companion.exit !== undefined) throw error;
      await orAborted(Bun.sleep(COMPANION_RETRY_MS), options.signal);
    }
  }
}

/** Whether the entry has a URL and the command that serves it. */
function startsOwnProcess(server: Server): boolean {
  return server.command !== undefined && server.url !== undefined && server.transport !== "stdio";
}

function kindsOf(server: Server, known: Verdict | undefined): readonly Kind[] {
  if (server.transport !== "auto") return [server.transport];
  return known?.transport === "sse" ? ["sse", "streamable_http"] : ["streamable_http", "sse"];
}

async function tryKinds(options: HandshakeOptions, kinds: readonly Kind[]): Promise<Session> {
  let first: unknown;
  for (const kind of kinds) {
    try {
      return await tryEras(options, kind);
    } catch (error) {
      first ??= error;
      if (options.signal.aborted || !isWrongTransport(error)) throw first;
    }
  }
  throw first;
}

/** An answer that says "not this transport", after which the other one is worth a try. */
function isWrongTransport(error: unknown): boolean {
  const status = error instanceof SdkHttpError ? error.status : (error as { readonly code?: unknown }).code;
  return (
    status === 400 || status === 404 || status === 405 || status === 406 || status === 415 || status === 200
  );
}

/**
 * Tries what is known of the era first. A process that leaves at the probe is asked again as a legacy one; a server
 * that refuses the legacy handshake, since it changed or was too slow for the probe, is probed once more.
 */
async function tryEras(options: HandshakeOptions, kind: Kind): Promise<Session> {
  if (kind === "sse") return attempt(options, kind, LEGACY);
  // A modern verdict is not used again: the probe is its whole handshake, and the only proof that it still holds.
  const prior = options.known?.era === "legacy" ? LEGACY : undefined;
  try {
    return await attempt(options, kind, prior);
  } catch (error) {
    if (options.signal.aborted) throw error;
    const isLeft = prior === undefined && kind === "stdio" && leftAtProbe(error);
    const isOtherEra = (prior !== undefined || kind === "stdio") && refusesLegacy(error);
    if (!isLeft && !isOtherEra) throw error;
    if (kind === "stdio" && !options.mayRespawn()) throw error;
    return attempt(options, kind, isOtherEra ? undefined : LEGACY);
  }
}

const LEGACY: PriorDiscovery = { kind: "legacy" };

/** An answer to `initialize` that is an error: the server is there and does not speak this era. */
function refusesLegacy(error: unknown): boolean {
  return error instanceof ProtocolError || (error instanceof SdkHttpError && error.status === 400);
}

function leftAtProbe(error: unknown): boolean {
  const code = (error as { readonly code?: unknown } | null)?.code;
  return code !== "ENOENT" && code !== "EACCES";
}

async function attempt(
  options: HandshakeOptions,
  kind: Kind,
  prior: PriorDiscovery | undefined,
): Promise<Session> {
  const { server, context, signal, timeoutMs, clientOptions } = options;
  signal.throwIfAborted();
  const transport = kind === "stdio" ? openStdio(server, context) : openHttp(server, { ...context, kind });
  options.onOpen(transport);
  const client = new Client(
    { name: "mcpproxy", version: "1" },
    {
      ...clientOptions,
      versionNegotiation: {
        mode: "auto",
        probe: { timeoutMs: kind === "stdio" ? Math.min(STDIO_PROBE_MS, timeoutMs) : timeoutMs },
      },
    },
  );
  try {
    const connecting = client.connect(transport, { timeout: timeoutMs, signal, ...(prior ? { prior } : {}) });
    await orAborted(connecting, signal);
  } catch (error) {
    options.discard(transport);
    throw error;
  }
  return { client, transport, verdict: verdictOf(client, kind) };
}

function verdictOf(client: Client, kind: Kind): Verdict {
  const discover = client.getDiscoverResult();
  return {
    era: client.getProtocolEra() ?? "legacy",
    ...(discover === undefined ? {} : { discovery: JSON.stringify(discover) }),
    ...(kind === "stdio" ? {} : { transport: kind }),
  };
}
