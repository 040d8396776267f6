/**
 * The MCP endpoints over HTTP: `/mcp` and what lies below it.
 *
 * Owns the addresses and the routing between the eras. Invariants: a modern request is stateless and leaves nothing
 * behind; a legacy one without a session id is refused with 400, with an unknown one, or one of another address or
 * principal, with 404; the SDK is read by `load` or the first request, so that listening does not wait for it. Stateless
 * serving of legacy clients was rejected: they expect their session id to mean something.
 */
import type { McpHttpHandler, Server, ServerContext } from "@modelcontextprotocol/server";
import { Hono } from "hono";
import type { Context } from "hono";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { EventBus } from "../core/events.ts";
import type { Principal } from "../core/principal.ts";
import type { CallOrigin } from "../gateway/caller.ts";
import type { Sessions } from "../gateway/sessions.ts";
import type { McpAddress, Served, Toolsets } from "../gateway/toolsets.ts";
import type { Log } from "../lib/log.ts";
import { LegacySessions, shortOf } from "./legacy_sessions.ts";
import type { SessionNews } from "./legacy_sessions.ts";
import { ListNews } from "./list_news.ts";
import { serveOwnStdio, STDIO } from "./stdio.ts";

/** Bun closes a silent response after about ten seconds. */
const KEEP_ALIVE_MS = 8_000;
/** Options of {@link McpEndpoint}. */
export interface McpEndpointOptions {
  readonly toolsets: Toolsets;
  readonly bus: EventBus;
  readonly log: Log;
  /** Where sessions and their calls are noted. */
  readonly sessions?: Sessions;
  /** Told of each session once when it opens and once when it ends. */
  readonly onSession?: (news: SessionNews) => void;
}

/** What is served under one key, for as long as it is there. */
interface Channel extends Served {
  /** Made with the first modern request. */
  modern?: McpHttpHandler;
}

/** What is known of a request beside its bytes. */
interface RequestFacts {
  readonly requestId: string | undefined;
  readonly principal: Principal;
}

/** What the middleware of the listener puts beside a request. */
interface EndpointEnv {
  readonly Variables: { requestId?: string; principal?: Principal };
}

/** The SDK, and what is made with it. */
type Loaded = Awaited<ReturnType<typeof loadSdk>>;

/** Serves MCP clients over HTTP. */
export class McpEndpoint implements AsyncDisposable {
  /** The routes, to be mounted where the endpoint lives. */
  readonly routes: Hono<EndpointEnv>;
  readonly #options: McpEndpointOptions;
  readonly #sessions: LegacySessions;
  readonly #channels = new Map<string, Channel>();
  readonly #facts = new WeakMap<Request, RequestFacts>();
  readonly #news: ListNews<Channel>;
  #loading: Promise<Loaded> | undefined;
  #pipes = 0;
  #isClosed = false;

  constructor(options: McpEndpointOptions) {
    const { sessions, onSession, bus } = options;
    this.#options = options;
    this.#sessions = new LegacySessions({ sessions, onSession, onError: (error) => this.#note(error) });
    this.#news = new ListNews({
      bus,
      onChange: ({ key, modern }) => {
        modern?.notify.toolsChanged();
        this.#sessions.tellListChanged(key);
      },
      onGone: (channel) => void this.#end(channel).catch((error) => this.#note(error)),
    });
    this.routes = new Hono<EndpointEnv>();
    for (const kind of ["default", "call", "all", "admin"] as const) {
      this.#route(kind === "default" ? "/" : `/${kind}`, () => ({ kind }));
    }
    this.#route("/g/:group", (context) => ({ kind: "group", group: context.req.param("group") ?? "" }));
    this.#route("/s/:server", (context) => ({ kind: "server", server: context.req.param("server") ?? "" }));
  }

  /** Sessions that are open: those of legacy clients over HTTP, and that of a pipe. */
  get sessionCount(): number {
    return this.#sessions.size + this.#pipes;
  }

  /** Gets ready for the first request, which otherwise does so itself and waits. Idempotent. */
  async load(): Promise<void> {
    await this.#load();
  }

  /** Serves one more client, on this process's own pipe, until it closes its end; the whole of that is a session. */
  async serveStdio(): Promise<void> {
    const { toolsets, bus, log, sessions, onSession } = this.#options;
    const { toolset } = toolsets.find({ kind: "default" }, STDIO);
    const session = shortOf(crypto.randomUUID());
    let server: Server | undefined;
    this.#pipes += 1;
    sessions?.open(session, () => server?.getClientVersion());
    onSession?.({ session, open: this.sessionCount });
    try {
      const originOf = (): CallOrigin => {
        sessions?.use(session, { isCall: true });
        return { source: "mcp", session };
      };
      await serveOwnStdio({ toolset, bus, log, originOf, onServer: (made) => (server = made) });
    } finally {
      this.#pipes -= 1;
      const reason = "the client ended it";
      sessions?.end(session, reason);
      onSession?.({ session, open: this.sessionCount, reason });
    }
  }

  /** Ends all sessions, and opens none any more. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#news.close();
    // Whoever asked for a load that failed was told.
    await this.#loading?.catch(() => undefined);
    await Promise.all([...this.#channels.values()].map(async ({ modern }) => modern?.close()));
    await this.#sessions.end("the proxy stops");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #route(path: string, addressOf: (context: Context<EndpointEnv>) => McpAddress): void {
    this.routes.all(path, async (context) => {
      const principal = askerOf(context.get("principal"));
      const served = this.#options.toolsets.find(addressOf(context), principal);
      this.#facts.set(context.req.raw, { requestId: context.get("requestId"), principal });
      const channel = this.#channelOf(served);
      return this.#serve(context.req.raw, { channel, principal, parsedBody: await bodyOf(context) });
    });
  }

  /** The same one for every request to the same tools, so that their sessions hear of the same news. */
  #channelOf(served: Served): Channel {
    const known = this.#channels.get(served.key);
    if (known !== undefined) return known;
    const channel: Channel = { ...served };
    this.#channels.set(served.key, channel);
    this.#news.follow(channel);
    return channel;
  }

  #load(): Promise<Loaded> {
    this.#loading ??= loadSdk();
    return this.#loading;
  }

  async #serve(request: Request, to: Addressee): Promise<Response> {
    const loaded = await this.#load();
    const { parsedBody } = to;
    if (request.method === "POST" && parsedBody === undefined)
      return rpcError(400, -32_700, "Parse error: Invalid JSON");
    const isLegacy = await loaded.sdk.isLegacyRequest(request, parsedBody);
    const id = request.headers.get("mcp-session-id");
    if (this.#isClosed && id === null) return rpcError(503, -32_000, "The proxy is stopping");
    return isLegacy
      ? this.#serveLegacy(request, { ...to, loaded, id })
      : this.#modernOf(to.channel, loaded).fetch(request, { parsedBody });
  }

  #modernOf(channel: Channel, { sdk, createMcpServer }: Loaded): McpHttpHandler {
    channel.modern ??= sdk.createMcpHandler(() => createMcpServer(channel.toolset, this.#peer()), {
      legacy: "reject",
      keepAliveMs: KEEP_ALIVE_MS,
      onerror: (error) => this.#note(error),
    });
    return channel.modern;
  }

  async #serveLegacy(
    request: Request,
    to: Addressee & { readonly loaded: Loaded; readonly id: string | null },
  ): Promise<Response> {
    const { channel, principal, parsedBody, id } = to;
    if (id === null) return this.#openSession(request, to);
    const session = this.#sessions.use(id, { key: channel.key, principal: principal.id });
    if (session === undefined) return rpcError(404, -32001, "Session not found");
    return session.transport.handleRequest(request, { parsedBody });
  }

  /** A request without a session id: `initialize` opens one, the transport refuses all else with 400. */
  async #openSession(
    request: Request,
    { channel, principal, parsedBody, loaded }: Addressee & { readonly loaded: Loaded },
  ): Promise<Response> {
    const { LegacyTransport, createMcpServer } = loaded;
    const server = createMcpServer(channel.toolset, this.#peer());
    const bond = { key: channel.key, principal: principal.id };
    const transport = new LegacyTransport({
      sessionIdGenerator: () => crypto.randomUUID(),
      keepAliveMs: KEEP_ALIVE_MS,
      onsessioninitialized: (id) => {
        if (!this.#isClosed) this.#sessions.keep(id, { ...bond, transport, server });
      },
      onsessionclosed: (id) => void this.#sessions.drop(id, "the client ended it"),
    });
    transport.onerror = (error) => this.#note(error);
    await server.connect(transport);
    const response = await transport.handleRequest(request, { parsedBody });
    if (transport.sessionId === undefined || this.#isClosed) await server.close();
    return response;
  }

  /** What a token permits may change while its session is open: each request says anew who sends it. */
  #peer() {
    const factsOf = ({ http }: ServerContext): RequestFacts | undefined =>
      http?.req && this.#facts.get(http.req);
    return {
      principalOf: (context: ServerContext): Principal => askerOf(factsOf(context)?.principal),
      // Every call of a tool passes here once.
      originOf: (context: ServerContext): CallOrigin => {
        const session = context.sessionId === undefined ? undefined : shortOf(context.sessionId);
        if (session !== undefined) this.#options.sessions?.use(session, { isCall: true });
        return { source: "mcp", requestId: factsOf(context)?.requestId, session };
      },
    };
  }

  /** A group that was deleted, or a server that was removed or has another name now. */
  async #end(channel: Channel): Promise<void> {
    this.#channels.delete(channel.key);
    await Promise.all([channel.modern?.close(), this.#sessions.end("what it served is gone", channel.key)]);
  }

  #note(error: unknown): void {
    this.#options.log.debug("An MCP client was answered with an error", { cause: messageOf(error) });
  }
}

/** Where a request goes, who sends it, and what it carries. */
interface Addressee {
  readonly channel: Channel;
  readonly principal: Principal;
  /** Undefined when it is no JSON. */
  readonly parsedBody: unknown;
}

/** Reads a body once for all who look at it; the listener bounds its length. */
async function bodyOf({ req }: Context<EndpointEnv>): Promise<unknown> {
  if (req.method !== "POST") return undefined;
  try {
    return JSON.parse(await req.text());
  } catch {
    return undefined;
  }
}

/** @throws {ProxyError} `AUTH_REQUIRED` for a request that came by no door: nobody is taken for whoever may do all */
function askerOf(principal: Principal | undefined): Principal {
  if (principal !== undefined) return principal;
  throw new ProxyError("AUTH_REQUIRED", "Cannot answer: nobody knows who asks");
}

async function loadSdk() {
  const sdk = await import("@modelcontextprotocol/server");
  const { LegacyTransport } = await import("./legacy_transport.ts");
  const { createMcpServer } = await import("./mcp.ts");
  return { sdk, LegacyTransport, createMcpServer };
}

function rpcError(status: number, code: number, message: string): Response {
  return Response.json({ jsonrpc: "2.0", error: { code, message }, id: null }, { status });
}
