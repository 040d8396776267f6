/**
 * The MCP endpoint over HTTP: `/mcp`.
 *
 * Owns the sessions of legacy clients and the routing between the eras. Invariants: a modern request is
 * stateless and leaves nothing behind; a legacy one without a session id is refused with 400, with an
 * unknown one with 404; sessions are bounded in number and idle ones end; the SDK is read by `load` or the
 * first request, so that listening does not wait for it. Stateless serving of legacy clients was rejected:
 * they expect their session id to mean something.
 */
import type {
  Server,
  ServerContext,
  WebStandardStreamableHTTPServerTransport,
} from "@modelcontextprotocol/server";
import { Hono } from "hono";

import { messageOf } from "../core/errors.ts";
import type { CallOrigin } from "../gateway/caller.ts";
import type { MetaTools } from "../gateway/meta_tools.ts";
import type { Sessions } from "../gateway/sessions.ts";
import type { Log } from "../lib/log.ts";

/** Sessions kept; the one idle for longest gives way to a new one. */
const MAX_SESSIONS = 10_000;
/** A session nobody used for this long is ended. */
const SESSION_IDLE_MS = 60 * 60 * 1_000;
const SWEEP_INTERVAL_MS = 60_000;
/** Bun closes a silent response after about ten seconds. */
const KEEP_ALIVE_MS = 8_000;
const MAX_BODY_BYTES = 16 * 1024 * 1024;

interface LegacySession {
  readonly transport: WebStandardStreamableHTTPServerTransport;
  readonly server: Server;
  usedAt: number;
}

/** Options of {@link McpEndpoint}. */
export interface McpEndpointOptions {
  readonly metaTools: MetaTools;
  readonly log: Log;
  /** Where sessions and their calls are noted. */
  readonly sessions?: Sessions;
  /** Told of each session once when it opens and once when it ends. */
  readonly onSession?: (news: SessionNews) => void;
}

/** What became of a session. */
export interface SessionNews {
  /** The beginning of its id; the whole of it is what lets a client use the session. */
  readonly session: string;
  /** Sessions that are open now. */
  readonly open: number;
  /** Why it ended; undefined when it was opened. */
  readonly reason?: string;
}

/** The SDK, and what is made of it once. */
type Loaded = Awaited<ReturnType<typeof loadSdk>>;

/** Serves MCP clients over HTTP. */
export class McpEndpoint implements AsyncDisposable {
  /** The routes, to be mounted where the endpoint lives. */
  readonly routes: Hono<EndpointEnv>;
  readonly #options: McpEndpointOptions;
  readonly #sessions = new Map<string, LegacySession>();
  /** The ids under which requests are answered and written down. */
  readonly #requestIds = new WeakMap<Request, string>();
  #loading: Promise<Loaded> | undefined;
  #sweeper: Timer | undefined;
  #isClosed = false;

  constructor(options: McpEndpointOptions) {
    this.#options = options;
    this.routes = new Hono<EndpointEnv>();
    this.routes.all("/", (context) => {
      const id = context.get("requestId");
      if (id !== undefined) this.#requestIds.set(context.req.raw, id);
      return this.#serve(context.req.raw);
    });
  }

  /** Legacy sessions that are open. */
  get sessionCount(): number {
    return this.#sessions.size;
  }

  /** Gets ready for the first request, which otherwise does so itself and waits. Idempotent. */
  async load(): Promise<void> {
    await this.#load();
  }

  /** Ends all sessions, and opens none any more. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
    // Whoever asked for a load that failed was told.
    const loaded = await this.#loading?.catch(() => undefined);
    await loaded?.modern.close();
    await Promise.all([...this.#sessions.keys()].map((id) => this.#end(id, "the proxy stops")));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #load(): Promise<Loaded> {
    this.#loading ??= loadSdk({
      metaTools: this.#options.metaTools,
      originOf: (context) => this.#originOfCall(context),
      onerror: (error) => this.#note(error),
    });
    return this.#loading;
  }

  async #serve(request: Request): Promise<Response> {
    const loaded = await this.#load();
    const { isLegacyRequest } = loaded.sdk;
    const isLegacy = await isLegacyRequest(request, undefined, { maxRequestBodySize: MAX_BODY_BYTES });
    const id = request.headers.get("mcp-session-id");
    if (this.#isClosed && id === null) return rpcError(503, -32_000, "The proxy is stopping");
    return isLegacy ? this.#serveLegacy(request, { loaded, id }) : loaded.modern.fetch(request);
  }

  async #serveLegacy(
    request: Request,
    { loaded, id }: { readonly loaded: Loaded; readonly id: string | null },
  ): Promise<Response> {
    if (id === null) return this.#openSession(request, loaded);
    const session = this.#sessions.get(id);
    if (session === undefined) return rpcError(404, -32001, "Session not found");
    session.usedAt = Date.now();
    this.#options.sessions?.use(shortOf(id), { isCall: false });
    return session.transport.handleRequest(request);
  }

  /** A request without a session id: `initialize` opens one, the transport refuses all else with 400. */
  async #openSession(request: Request, { sdk, createServer }: Loaded): Promise<Response> {
    const server = createServer();
    const transport = new sdk.WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => crypto.randomUUID(),
      keepAliveMs: KEEP_ALIVE_MS,
      maxRequestBodySize: MAX_BODY_BYTES,
      onsessioninitialized: (id) => this.#keep(id, { transport, server, usedAt: Date.now() }),
      onsessionclosed: (id) => void this.#drop(id, "the client ended it"),
    });
    transport.onerror = (error) => this.#note(error);
    await server.connect(transport);
    const response = await transport.handleRequest(request);
    if (transport.sessionId === undefined || this.#isClosed) await server.close();
    return response;
  }

  /** Every call of a tool passes here once. */
  #originOfCall({ sessionId, http }: ServerContext): CallOrigin {
    const session = sessionId === undefined ? undefined : shortOf(sessionId);
    if (session !== undefined) this.#options.sessions?.use(session, { isCall: true });
    const requestId = http?.req && this.#requestIds.get(http.req);
    return { source: "mcp", requestId, session };
  }

  #keep(id: string, session: LegacySession): void {
    if (this.#isClosed) return;
    this.#sessions.set(id, session);
    this.#options.sessions?.open(shortOf(id), () => session.server.getClientVersion());
    this.#options.onSession?.({ session: shortOf(id), open: this.#sessions.size });
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS);
    if (this.#sessions.size <= MAX_SESSIONS) return;
    let oldest: string | undefined;
    for (const [other, { usedAt }] of this.#sessions) {
      if (other !== id && usedAt < (this.#sessions.get(oldest ?? "")?.usedAt ?? Infinity)) oldest = other;
    }
    if (oldest !== undefined) void this.#end(oldest, "too many are open").catch((error) => this.#note(error));
  }

  #sweep(): void {
    const before = Date.now() - SESSION_IDLE_MS;
    for (const [id, { usedAt }] of this.#sessions) {
      if (usedAt < before) void this.#end(id, "nobody used it").catch((error) => this.#note(error));
    }
    if (this.#sessions.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }

  async #end(id: string, reason: string): Promise<void> {
    const session = this.#drop(id, reason);
    await session?.server.close();
  }

  #drop(id: string, reason: string): LegacySession | undefined {
    const session = this.#sessions.get(id);
    if (session === undefined) return undefined;
    this.#sessions.delete(id);
    this.#options.sessions?.end(shortOf(id), reason);
    this.#options.onSession?.({ session: shortOf(id), open: this.#sessions.size, reason });
    return session;
  }

  #note(error: unknown): void {
    this.#options.log.debug("An MCP client was answered with an error", { cause: messageOf(error) });
  }
}

/** What the middleware of the listener puts beside a request. */
interface EndpointEnv {
  readonly Variables: { requestId?: string };
}

interface LoadOptions {
  readonly metaTools: MetaTools;
  readonly originOf: (context: ServerContext) => CallOrigin;
  readonly onerror: (error: Error) => void;
}

async function loadSdk({ metaTools, originOf, onerror }: LoadOptions) {
  const sdk = await import("@modelcontextprotocol/server");
  const { createMcpServer } = await import("./mcp.ts");
  const createServer = (): Server => createMcpServer(metaTools, originOf);
  const modern = sdk.createMcpHandler(createServer, {
    legacy: "reject",
    keepAliveMs: KEEP_ALIVE_MS,
    maxRequestBodySize: MAX_BODY_BYTES,
    onerror,
  });
  return { sdk, createServer, modern };
}

function shortOf(id: string): string {
  return id.slice(0, 8);
}

function rpcError(status: number, code: number, message: string): Response {
  return Response.json({ jsonrpc: "2.0", error: { code, message }, id: null }, { status });
}
