/**
 * The live link to one upstream: one attempt and, when it succeeds, the calls that travel over it.
 *
 * Owns the client and the transport of one attempt. It does not decide when to connect, nor when to try
 * again. Invariants: every call ends by its timeout in a result or a `ProxyError`; after `stop()` nothing
 * of it calls back, and `closed` says when nothing of the upstream runs any more. Reading results through
 * the SDK's schemas was rejected: they drop what they do not know.
 */
import { ProtocolError, SdkError, SdkErrorCode, SdkHttpError } from "@modelcontextprotocol/client";
import type {
  JSONRPCMessage,
  Progress,
  RequestOptions,
  StandardSchemaV1,
  Transport,
} from "@modelcontextprotocol/client";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { JsonObject, Server, ToolDefinition } from "../core/model.ts";
import { orAborted } from "../lib/abort.ts";
import type { Log } from "../lib/log.ts";
import type { TraceContext } from "../lib/trace.ts";
import { describeFailure } from "./failure.ts";
import { shakeHands } from "./handshake.ts";
import type { Session, Verdict } from "./handshake.ts";
import type { Failure, Link, LinkHooks } from "./link.ts";
import type { Prepared } from "./preparation.ts";
import { StdioTransport } from "./stdio.ts";
import { redactorOf } from "./transport.ts";
import type { TransportContext } from "./transport.ts";

/** `tools/list` pages read before the upstream is taken to be going round in circles. */
const MAX_PAGES = 1_000;
/** Tools read of one upstream. */
const MAX_TOOLS = 20_000;
/** A probe without an answer in this time is a miss. */
const PROBE_TIMEOUT_MS = 20_000;
/** The owner's deadline comes first; this only ends what it forgot. */
const MAX_HANDSHAKE_MS = 60 * 60_000;
/** A burst of `list_changed` is answered once. */
const LIST_CHANGED_DEBOUNCE_MS = 250;

/** What a connection needs of the floors around it. */
export interface ConnectionDeps {
  readonly context: TransportContext;
  readonly log: Log;
  /** What was found out about the server earlier. */
  readonly recall: () => Verdict | undefined;
  readonly onVerdict: (verdict: Verdict) => void;
  /** The upstream's whole list, unchecked, each time it was read. */
  readonly onTools: (definitions: readonly unknown[]) => void;
  /** Nothing of it is left. */
  readonly onEnd: () => void;
}

/** One call of an upstream's tool. */
export interface UpstreamCall {
  readonly definition: ToolDefinition;
  readonly args: JsonObject;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
  readonly trace?: TraceContext;
}

/** The link to one upstream. */
export class Connection implements Link {
  readonly #deps: ConnectionDeps;
  readonly #hooks: LinkHooks;
  readonly #closing = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #calls = new Set<Promise<unknown>>();
  #server: Server;
  #usedAt = performance.now();
  #isReady = false;
  #prepared: Prepared = {};
  #session: Session | undefined;
  #renewal: Promise<void> | undefined;
  /** The process of the attempt, for its exit and its last words. */
  #process: StdioTransport | undefined;
  #retryAfterMs: number | undefined;
  /** The handshake and the first reading of the tools. */
  #work: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(server: Server, deps: ConnectionDeps, hooks: LinkHooks) {
    this.#server = server;
    this.#deps = deps;
    this.#hooks = hooks;
  }

  /** Begins to connect; what comes of it is told through the hooks. */
  static open(
    server: Server,
    options: { readonly deps: ConnectionDeps; readonly hooks: LinkHooks },
  ): Connection {
    const connection = new Connection(server, options.deps, options.hooks);
    connection.#work = connection.#begin().catch((error) => connection.#fail(error));
    return connection;
  }

  /** Its definition; the name and the options are those in force. */
  get server(): Server {
    return this.#server;
  }

  get inFlight(): number {
    return this.#calls.size;
  }

  get usedAt(): number {
    return this.#usedAt;
  }

  /** Resolves when nothing of the upstream is left; call `stop` first. */
  get closed(): Promise<void> {
    return this.#closed ?? Promise.resolve();
  }

  get #context(): TransportContext {
    return { ...this.#deps.context, prepared: this.#prepared };
  }

  /** The last lines the upstream's process wrote to stderr. */
  stderr(count: number): readonly string[] {
    return this.#process?.stderr.last(count) ?? [];
  }

  /** Hides in a text the secrets of the server's entry, and what looks like one. */
  redact(text: string): string {
    return redactorOf(this.server, this.#context)(text);
  }

  stop(graceMs: number): void {
    this.#closed ??= this.#end(graceMs);
  }

  expire(deadlineMs: number): Failure {
    return this.#describe(new Error("it did not answer"), deadlineMs);
  }

  probe(done: (isAlive: boolean) => void): void {
    const session = this.#session;
    if (session) void this.#probe(session, done);
  }

  async #probe({ client, verdict }: Session, done: (isAlive: boolean) => void): Promise<void> {
    const options = { timeout: PROBE_TIMEOUT_MS, signal: this.#stop.signal };
    try {
      await (verdict.era === "modern" ? client.discover(options) : client.ping(options));
      done(true);
    } catch (error) {
      // An upstream that refuses the question is alive.
      done(error instanceof ProtocolError);
    }
  }

  adopt(server: Server): void {
    this.#server = server;
  }

  refresh(): void {
    const session = this.#session;
    if (session === undefined) return;
    void this.#readTools(session, { signal: this.#stop.signal })
      .then((definitions) => this.#deps.onTools(definitions))
      .catch((error) => this.#stop.signal.aborted || this.#warn("Cannot read the tools again", error));
  }

  /**
   * Calls a tool and returns the upstream's result as it came.
   *
   * @throws {ProxyError} `CALL_TIMEOUT`, `CALL_CANCELLED`, `CALL_FAILED`, `SERVER_NOT_READY`.
   */
  async call(call: UpstreamCall): Promise<JsonObject> {
    const running = this.#call(call);
    this.#calls.add(running);
    try {
      return await running;
    } finally {
      this.#calls.delete(running);
      this.#usedAt = performance.now();
    }
  }

  async #call(call: UpstreamCall): Promise<JsonObject> {
    const endsAt = performance.now() + call.timeoutMs;
    const session = this.#session;
    try {
      return await this.#send(call);
    } catch (error) {
      if (session === undefined || !isSessionGone(error, session)) throw this.#callError(error, call);
      await this.#renew(session, { error, call, endsAt });
    }
    try {
      return await this.#send({ ...call, timeoutMs: Math.max(1, Math.round(endsAt - performance.now())) });
    } catch (error) {
      throw this.#callError(error, call);
    }
  }

  async #send(call: UpstreamCall): Promise<JsonObject> {
    const session = this.#session;
    if (session === undefined || !this.#isReady) {
      throw new ProxyError("SERVER_NOT_READY", `Cannot call '${this.server.name}': it is not connected`);
    }
    const params = {
      name: call.definition.name,
      arguments: call.args,
      ...(call.trace ? { _meta: { ...call.trace } } : {}),
    };
    const options = requestOptions(call);
    // Only the SDK's own call mirrors arguments into headers, where a tool asks for it (SEP-2243).
    if (
      session.verdict.era === "modern" &&
      JSON.stringify(call.definition.inputSchema).includes("x-mcp-header")
    ) {
      const { name, inputSchema } = call.definition;
      const toolDefinition = { name, inputSchema: { ...inputSchema, type: "object" as const } };
      return unwrapped((await session.client.callTool(params, { ...options, toolDefinition })) as JsonObject);
    }
    return session.client.request({ method: "tools/call", params }, AS_IT_IS, options);
  }

  /** Shakes hands anew within the call's time, since the server has forgotten the session; nobody else sees it. */
  async #renew(
    session: Session,
    lost: { readonly error: unknown; readonly call: UpstreamCall; readonly endsAt: number },
  ): Promise<void> {
    const { error, call, endsAt } = lost;
    if (this.#session === session)
      this.#renewal ??= this.#replace(session).finally(() => (this.#renewal = undefined));
    const deadlineMs = Math.max(1, Math.round(endsAt - performance.now()));
    const signals = [AbortSignal.timeout(deadlineMs), ...(call.signal ? [call.signal] : [])];
    try {
      await orAborted(this.#renewal ?? Promise.resolve(), AbortSignal.any(signals));
    } catch {
      throw this.#callError(error, call);
    }
  }

  async #replace(session: Session): Promise<void> {
    const renewed = await this.#shakeHands();
    this.#adopt(renewed);
    this.#discard(session.transport);
  }

  async #begin(): Promise<void> {
    // The owner hears nothing before it holds the link.
    await Promise.resolve();
    const { prepare, environment } = this.#deps.context;
    const preparing = prepare?.(this.server, environment);
    if (preparing !== undefined) this.#prepared = await orAborted(preparing, this.#stop.signal);
    const session = await this.#shakeHands();
    this.#adopt(session);
    this.#deps.onVerdict(session.verdict);
    this.#hooks.onMove("discover");
    const definitions = await this.#readTools(session, {
      signal: this.#stop.signal,
      timeout: MAX_HANDSHAKE_MS,
    });
    if (this.#stop.signal.aborted) return;
    this.#deps.onTools(definitions);
    this.#isReady = true;
    this.#hooks.onReady();
  }

  #adopt(session: Session): void {
    if (this.#stop.signal.aborted) {
      this.#discard(session.transport);
      if (session.companion) this.#discard(session.companion);
      return;
    }
    this.#session = session;
    sieve(session);
    const lost = (): void => this.#lost(session, new Error("the connection was closed"));
    session.client.onclose = lost;
    if (session.companion) session.companion.onclose = lost;
  }

  #shakeHands(): Promise<Session> {
    return shakeHands({
      server: this.server,
      context: {
        ...this.#context,
        onAnswer: () => this.#hooks.onAnswer(),
        onRetryAfter: (ms) => {
          this.#retryAfterMs = ms;
        },
      },
      known: this.#deps.recall(),
      mayRespawn: () => this.#hooks.mayRespawn?.() ?? true,
      signal: this.#stop.signal,
      timeoutMs: MAX_HANDSHAKE_MS,
      clientOptions: {
        capabilities: {},
        listChanged: {
          tools: {
            autoRefresh: false,
            debounceMs: LIST_CHANGED_DEBOUNCE_MS,
            onChanged: () => this.refresh(),
          },
        },
      },
      onOpen: (transport) => {
        if (transport instanceof StdioTransport) this.#process = transport;
      },
      discard: (transport) => this.#discard(transport),
    });
  }

  async #readTools(session: Session, options: RequestOptions): Promise<readonly unknown[]> {
    if (session.client.getServerCapabilities()?.tools === undefined) return [];
    const all: unknown[] = [];
    const seen = new Set<string>();
    for (let page = 0, cursor: string | undefined; page < MAX_PAGES && all.length < MAX_TOOLS; page += 1) {
      const params = cursor === undefined ? {} : { cursor };
      const asked = session.client.request({ method: "tools/list", params }, AS_IT_IS, options);
      const result = await (options.signal ? orAborted(asked, options.signal) : asked);
      const { tools, nextCursor: next } = result;
      if (!Array.isArray(tools)) throw new Error("its answer to tools/list has no list of tools");
      all.push(...(tools as readonly unknown[]));
      if (typeof next !== "string" || next === "" || seen.has(next)) return all;
      seen.add(next);
      cursor = next;
    }
    this.#warn("The list of tools has no end and was cut", new Error(`${all.length} tools read`));
    return all.slice(0, MAX_TOOLS);
  }

  #fail(error: unknown): void {
    if (this.#stop.signal.aborted) return;
    const failure = this.#describe(error);
    const { server } = this;
    this.#deps.log.debug("Cause of a failure", {
      server: server.name,
      cause: this.redact(messageOf(error)),
    });
    this.#hooks.onFail(failure);
  }

  #lost(session: Session, error: unknown): void {
    if (this.#session === session && this.#isReady) this.#fail(error);
  }

  async #end(graceMs: number): Promise<void> {
    if (graceMs > 0 && this.#calls.size > 0) {
      await Promise.race([Promise.allSettled(this.#calls), Bun.sleep(graceMs)]);
    }
    this.#isReady = false;
    this.#stop.abort(new Error("the connection was ended"));
    const session = this.#session;
    this.#session = undefined;
    if (session) this.#discard(session.transport);
    if (session?.companion) this.#discard(session.companion);
    // What a handshake under way opened it discards itself.
    await Promise.allSettled([this.#work, this.#renewal]);
    await Promise.all(this.#closing);
    this.#deps.onEnd();
  }

  #discard(transport: Transport): void {
    const closing = transport
      .close()
      .catch((error) => this.#warn("Cannot close the connection", error))
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  #callError(error: unknown, call: UpstreamCall): ProxyError {
    const id = `${this.server.name}:${call.definition.name}`;
    if (error instanceof ProxyError) return error;
    if (call.signal?.aborted)
      return new ProxyError("CALL_CANCELLED", `Cannot call '${id}': the caller gave up`);
    if (error instanceof SdkError && error.code === SdkErrorCode.RequestTimeout) {
      return new ProxyError("CALL_TIMEOUT", `Cannot call '${id}': no answer within ${call.timeoutMs} ms`, {
        cause: error,
        hint: "Raise 'call_tool_timeout', or 'call_timeout' of the server's entry",
      });
    }
    if (error instanceof ProtocolError) {
      return new ProxyError("CALL_FAILED", `Cannot call '${id}': ${this.redact(error.message)}`, {
        cause: error,
        data: { upstream_code: error.code },
      });
    }
    return this.#brokenCall(error, id);
  }

  /** A call that failed below MCP: what the attempt to connect would say of the same error. */
  #brokenCall(error: unknown, id: string): ProxyError {
    const found = this.#describe(error);
    if (found.class === "network" || found.class === "exit") {
      if (this.#session) this.#lost(this.#session, error);
    }
    const detail = found.message.slice(found.message.indexOf(": ") + 2);
    return new ProxyError("CALL_FAILED", `Cannot call '${id}': ${detail}`, {
      cause: error,
      hint: found.hint,
      ...(found.stderr.length > 0 ? { data: { stderr: found.stderr } } : {}),
    });
  }

  #describe(error: unknown, timedOutAfterMs?: number): Failure {
    return describeFailure(error, {
      server: this.server,
      exit: this.#process?.exit,
      stderr: this.#process?.stderr.last() ?? [],
      timedOutAfterMs,
      retryAfterMs: this.#retryAfterMs,
      redact: (text) => this.redact(text),
    });
  }

  #warn(message: string, error: unknown): void {
    this.#deps.log.warn(message, { server: this.server.name, cause: this.redact(messageOf(error)) });
  }
}

/** Carries a result past the SDK's schemas, which keep keys they do not know. */
const UNREAD = "mcpproxy/unread";

/** News nobody here listens to; a flood of it must not cost the reading of it. */
const UNHEARD: ReadonlySet<string> = new Set(["notifications/message", "notifications/resources/updated"]);

/**
 * Takes out of what an upstream sends, before the SDK reads it, what nobody listens to, and hides what a
 * modern one answers: the SDK would refuse a kind of content, or one tool of a list, that its revision
 * does not name.
 */
function sieve({ transport, verdict }: Session): void {
  const deliver = transport.onmessage;
  transport.onmessage = (message, extra) => {
    if ("method" in message && UNHEARD.has(message.method)) return;
    deliver?.(verdict.era === "modern" ? withoutLists(message) : message, extra);
  };
}

function withoutLists<T extends JSONRPCMessage>(message: T): T {
  const result = "result" in message ? (message.result as JsonObject) : undefined;
  if (typeof result !== "object" || result === null) return message;
  const { content, tools, structuredContent: _, ...rest } = result;
  if (Array.isArray(content)) return { ...message, result: { ...rest, content: [], [UNREAD]: result } };
  if (Array.isArray(tools)) return { ...message, result: { ...rest, tools: [], [UNREAD]: result } };
  return message;
}

function unwrapped(result: JsonObject): JsonObject {
  const { [UNREAD]: unread } = result;
  if (typeof unread !== "object" || unread === null) return result;
  // Part of the envelope, not of the result: the SDK takes it away as well.
  const { resultType: _, ...whole } = unread as JsonObject;
  return whole;
}

/** A result schema that takes any object unchanged. */
const AS_IT_IS: StandardSchemaV1<unknown, JsonObject> = {
  "~standard": {
    version: 1,
    vendor: "mcpproxy",
    validate: (value) =>
      typeof value === "object" && value !== null
        ? { value: unwrapped(value as JsonObject) }
        : { issues: [{ message: "the result is not an object" }] },
  },
};

function requestOptions(call: UpstreamCall): RequestOptions {
  return {
    timeout: call.timeoutMs,
    maxTotalTimeout: call.timeoutMs,
    ...(call.signal ? { signal: call.signal } : {}),
    ...(call.onProgress ? { onprogress: call.onProgress } : {}),
  };
}

/** Whether the answer says that the session is unknown; some servers say so with 400. */
function isSessionGone(error: unknown, session: Session): boolean {
  const { sessionId } = session.transport;
  if (sessionId === undefined || !(error instanceof SdkHttpError)) return false;
  return error.status === 404 || (error.status === 400 && /session/i.test(error.message));
}
