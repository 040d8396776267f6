/**
 * The live link to one upstream.
 *
 * Owns one server's connection state, its client and transport, and the calls that travel over them. It
 * does not decide when to connect. Invariants: at most one attempt at a time, whoever asks waits for
 * that one; every call ends by its timeout in a result or a `ProxyError`; after `close()` nothing of the
 * upstream runs. Reading results through the SDK's schemas was rejected: they drop what they do not know.
 *
 *   disconnected ──connect──▶ connecting ──▶ discovering ──▶ ready
 *        ▲                        │               │            │
 *        └──────close─────────────┴───── error ◀──┴────────────┘  (connect again from error)
 */
import { ProtocolError, SdkError, SdkErrorCode, SdkHttpError } from "@modelcontextprotocol/client";
import type { Progress, RequestOptions, StandardSchemaV1, Transport } from "@modelcontextprotocol/client";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { ConnectionState, JsonObject, Server, ToolDefinition } from "../core/model.ts";
import type { Log } from "../lib/log.ts";
import { describeFailure } from "./failure.ts";
import type { Failure } from "./failure.ts";
import { orAborted, shakeHands } from "./handshake.ts";
import type { Session, Verdict } from "./handshake.ts";
import { StdioTransport } from "./stdio.ts";
import { redactorOf } from "./transport.ts";
import type { TransportContext } from "./transport.ts";

/** `tools/list` pages read before the upstream is taken to be going round in circles. */
const MAX_PAGES = 1_000;
/** Tools read of one upstream. */
const MAX_TOOLS = 20_000;
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
  readonly onState: (connection: Connection) => void;
}

/** Options of {@link Connection.connect}. */
export interface ConnectOptions {
  readonly deadlineMs: number;
}

/** One call of an upstream's tool. */
export interface UpstreamCall {
  readonly definition: ToolDefinition;
  readonly args: JsonObject;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** The link to one upstream. */
export class Connection {
  readonly server: Server;
  readonly #deps: ConnectionDeps;
  readonly #closing = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #state: ConnectionState = "disconnected";
  #since = Date.now();
  #attempts = 0;
  #failure: Failure | undefined;
  #attempt: Promise<void> | undefined;
  #session: Session | undefined;
  /** The process of the newest attempt, for its exit and its last words. */
  #process: StdioTransport | undefined;

  constructor(server: Server, deps: ConnectionDeps) {
    this.server = server;
    this.#deps = deps;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** When the state was entered, Unix milliseconds. */
  get since(): number {
    return this.#since;
  }

  /** Attempts made so far. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Why the last attempt failed; undefined once ready. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** The attempt under way. */
  get attempt(): Promise<void> | undefined {
    return this.#attempt;
  }

  /** The last lines the upstream's process wrote to stderr. */
  stderr(count: number): readonly string[] {
    return this.#process?.stderr.last(count) ?? [];
  }

  /**
   * Connects and reads the tools; joins the attempt under way. Resolves in state `ready` or `error`, and
   * never rejects: the outcome is in `state` and `failure`.
   */
  connect(options: ConnectOptions): Promise<void> {
    if (this.#state === "ready" || this.#stop.signal.aborted) return Promise.resolve();
    this.#attempt ??= this.#connect(options.deadlineMs).finally(() => {
      this.#attempt = undefined;
    });
    return this.#attempt;
  }

  /**
   * Calls a tool and returns the upstream's result as it came.
   *
   * @throws {ProxyError} `CALL_TIMEOUT`, `CALL_CANCELLED`, `CALL_FAILED`, `SERVER_NOT_READY`.
   */
  async call(call: UpstreamCall): Promise<JsonObject> {
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
    if (session === undefined || this.#state !== "ready") {
      throw new ProxyError("SERVER_NOT_READY", `Cannot call '${this.server.name}': it is not connected`);
    }
    const params = { name: call.definition.name, arguments: call.args };
    const options = requestOptions(call);
    // Only the SDK's own call mirrors arguments into headers, where a tool asks for it (SEP-2243).
    if (
      session.verdict.era === "modern" &&
      JSON.stringify(call.definition.inputSchema).includes("x-mcp-header")
    ) {
      const { name, inputSchema } = call.definition;
      const toolDefinition = { name, inputSchema: { ...inputSchema, type: "object" as const } };
      return (await session.client.callTool(params, { ...options, toolDefinition })) as JsonObject;
    }
    return session.client.request({ method: "tools/call", params }, AS_IT_IS, options);
  }

  /** Connects anew within the call's time, since the server has forgotten the session. */
  async #renew(
    session: Session,
    lost: { readonly error: unknown; readonly call: UpstreamCall; readonly endsAt: number },
  ): Promise<void> {
    const { error, call, endsAt } = lost;
    this.#lost(session, error);
    const deadlineMs = Math.max(1, Math.round(endsAt - performance.now()));
    const signals = [AbortSignal.timeout(deadlineMs), ...(call.signal ? [call.signal] : [])];
    await orAborted(this.connect({ deadlineMs }), AbortSignal.any(signals)).catch(() => {});
    if (this.#state !== "ready") throw this.#callError(error, call);
  }

  /** Closes for good; resolves when nothing of the upstream is left. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new Error("the proxy is stopping"));
    await this.#attempt?.catch(() => {});
    this.#dropSession();
    await Promise.all(this.#closing);
    if (this.#state !== "disconnected") this.#enter("disconnected");
  }

  async #connect(deadlineMs: number): Promise<void> {
    this.#attempts += 1;
    this.#process = undefined;
    this.#enter("connecting");
    const deadline = AbortSignal.timeout(deadlineMs);
    const signal = AbortSignal.any([deadline, this.#stop.signal]);
    try {
      const session = await this.#open(signal, deadlineMs);
      this.#session = session;
      const lost = (): void => this.#lost(session, new Error("the connection was closed"));
      session.client.onclose = lost;
      if (session.companion) session.companion.onclose = lost;
      this.#deps.onVerdict(session.verdict);
      this.#enter("discovering");
      this.#deps.onTools(await this.#readTools(session, { signal, timeout: deadlineMs }));
      if (this.#session === session) {
        this.#failure = undefined;
        this.#enter("ready");
      }
    } catch (error) {
      this.#fail(error, deadline.aborted ? deadlineMs : undefined);
    }
  }

  #open(signal: AbortSignal, timeoutMs: number): Promise<Session> {
    return shakeHands({
      server: this.server,
      context: this.#deps.context,
      known: this.#deps.recall(),
      signal,
      timeoutMs,
      clientOptions: {
        capabilities: {},
        listChanged: {
          tools: {
            autoRefresh: false,
            debounceMs: LIST_CHANGED_DEBOUNCE_MS,
            onChanged: () =>
              void this.refresh().catch((error) => this.#warn("Cannot read the tools again", error)),
          },
        },
      },
      onOpen: (transport) => {
        if (transport instanceof StdioTransport) this.#process = transport;
      },
      discard: (transport) => this.#discard(transport),
    });
  }

  /** Reads the tools again; the state stays ready meanwhile. */
  async refresh(): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    this.#deps.onTools(await this.#readTools(session, { signal: this.#stop.signal }));
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

  #fail(error: unknown, timedOutAfterMs: number | undefined): void {
    if (this.#stop.signal.aborted) {
      this.#dropSession();
      this.#enter("disconnected");
      return;
    }
    this.#failure = this.#describe(error, timedOutAfterMs);
    this.#dropSession();
    const { message, hint, class: failureClass } = this.#failure;
    this.#deps.log.warn(message, {
      server: this.server.name,
      class: failureClass,
      attempt: this.#attempts,
      hint,
    });
    this.#deps.log.debug("Cause of the failed attempt", {
      server: this.server.name,
      cause: this.#redact(messageOf(error)),
    });
    this.#enter("error");
  }

  #lost(session: Session, error: unknown): void {
    if (this.#session !== session || this.#state !== "ready") return;
    this.#fail(error, undefined);
  }

  #dropSession(): void {
    const session = this.#session;
    this.#session = undefined;
    if (session === undefined) return;
    this.#discard(session.transport);
    if (session.companion) this.#discard(session.companion);
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
      return new ProxyError("CALL_FAILED", `Cannot call '${id}': ${this.#redact(error.message)}`, {
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
      redact: (text) => this.#redact(text),
    });
  }

  #redact(text: string): string {
    return redactorOf(this.server, this.#deps.context)(text);
  }

  #enter(state: ConnectionState): void {
    this.#state = state;
    this.#since = Date.now();
    this.#deps.onState(this);
  }

  #warn(message: string, error: unknown): void {
    this.#deps.log.warn(message, { server: this.server.name, cause: this.#redact(messageOf(error)) });
  }
}

/** A result schema that takes any object unchanged. */
const AS_IT_IS: StandardSchemaV1<unknown, JsonObject> = {
  "~standard": {
    version: 1,
    vendor: "mcpproxy",
    validate: (value) =>
      typeof value === "object" && value !== null
        ? { value: value as JsonObject }
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
