/**
 * The one path of a call: from a tool id and arguments to the upstream's result.
 *
 * Owns the order of the checks: the caller may reach the server, the tool is on offer, the caller may do what it
 * does, the meta tool fits its annotations, the arguments fit its schema, the upstream is ready, a place is free; then the call, then the limit on its result. Invariants: nothing
 * reaches an upstream that failed a check; every call ends within its timeout in one answer. A chain of
 * middlewares was rejected: the order is the security of it and should be read in one place.
 */
import type { KnownTool } from "../catalog/known_tool.ts";
import { assertAllowed, callVariantOf } from "../catalog/policy.ts";
import { ProxyError, toProxyError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { CallVariant, JsonObject, Server } from "../core/model.ts";
import { splitToolId } from "../core/model.ts";
import { OPEN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import type { TraceContext, TraceSpan } from "../lib/trace.ts";
import type { Connection, UpstreamCall } from "../upstream/connection.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { ArgumentChecker } from "./arguments.ts";
import { CallLimits } from "./call_limits.ts";
import type { Finder } from "./finder.ts";
import { assertMayCall } from "./permission.ts";
import type { ResultCache } from "./result_cache.ts";

/** A server's name, a colon, and a tool's name; whoever calls may send anything. */
const MAX_ID_CHARS = 300;

/** Of a result that is an error, what is told of it. */
const ERROR_TEXT_CHARS = 1_000;

/** Who asks, and by which way. */
export interface CallOrigin {
  readonly source: "mcp" | "api" | "cli";
  readonly requestId?: string | undefined;
  /** The beginning of the id of a legacy session. */
  readonly session?: string | undefined;
  /** Name and version of the client's program, as it says itself. */
  readonly client?: string | undefined;
  readonly principal?: string | undefined;
}

/** What a call is made of. */
export interface CallRequest {
  /** `server:tool`. */
  readonly id: string;
  /** Undefined for `call_tool`, which takes every tool. */
  readonly variant?: CallVariant | undefined;
  readonly args: JsonObject;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: UpstreamCall["onProgress"];
  readonly origin?: CallOrigin | undefined;
  /** On whose behalf. @default whoever was asked for no key */
  readonly principal?: Principal | undefined;
  /** Why, in the caller's words. */
  readonly reason?: string | undefined;
  /** Whether the result is not cut, however long it is. @default false */
  readonly isWhole?: boolean | undefined;
  readonly trace?: TraceContext | undefined;
}

/** What a {@link Caller} works with. */
export interface CallerDeps {
  readonly finder: Finder;
  readonly upstreams: Upstreams;
  readonly settings: () => Settings;
  readonly cache: ResultCache;
  /** Begins a span of a call; undefined for one that is not traced. */
  readonly beginSpan?: (from: TraceContext | undefined) => TraceSpan | undefined;
  /** Told of each call some time after it ended, when its answer is on its way. */
  readonly onCalls?: (calls: readonly CallReport[]) => void;
}

/** How a call ended. */
export interface CallReport {
  /** Undefined when no server has the name in the tool's id. */
  readonly server: string | undefined;
  /** As the caller named it, but not longer than names are. */
  readonly tool: string;
  readonly variant?: CallVariant;
  readonly durationMs: number;
  readonly isError: boolean;
  readonly code?: ErrorCode;
  readonly span?: TraceSpan;
  /** For the record alone: it may hold secrets, as the next two may. */
  readonly request: CallRequest;
  readonly failure?: unknown;
  /** The beginning of a result that is an error. */
  readonly errorText?: string;
}

/** Calls tools. */
export class Caller {
  readonly #deps: CallerDeps;
  readonly #checker = new ArgumentChecker();
  readonly #limits: CallLimits;
  readonly #inFlight = new Set<Promise<unknown>>();
  #ended: CallReport[] = [];

  constructor(deps: CallerDeps) {
    this.#deps = deps;
    this.#limits = new CallLimits(deps.settings);
  }

  /**
   * Calls a tool; the result is the upstream's own, cut only when it is over the limit.
   *
   * @throws {ProxyError} with the reason and a way out when the call was refused or got no answer.
   */
  async call(asked: CallRequest): Promise<JsonObject> {
    const span = this.#deps.beginSpan?.(asked.trace);
    const request = span === undefined ? asked : { ...asked, trace: span.context };
    const call = this.#call(request);
    const began = { beganAt: performance.now(), span };
    this.#inFlight.add(call);
    try {
      const result = await call;
      this.#note(request, { ...began, isError: result["isError"] === true, result });
      return result;
    } catch (error) {
      this.#note(request, { ...began, isError: true, error });
      throw error;
    } finally {
      this.#inFlight.delete(call);
    }
  }

  /** Calls that wait for their answer. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Those of them that wait for a place. */
  get queued(): number {
    return this.#limits.queued;
  }

  /** Waits until no call is in flight, `withinMs` at most; calls that begin meanwhile are waited for too. */
  async drain(withinMs: number): Promise<void> {
    const late = Promise.withResolvers<void>();
    const endsAt = performance.now() + withinMs;
    const timer = setTimeout(late.resolve, withinMs);
    while (this.#inFlight.size > 0 && performance.now() < endsAt) {
      await Promise.race([Promise.allSettled(this.#inFlight), late.promise]);
    }
    clearTimeout(timer);
  }

  /** Reports go out together, and after the answers. */
  #note(request: CallRequest, end: CallEnd): void {
    const { id, variant } = request;
    if (this.#deps.onCalls === undefined) return;
    const durationMs = Math.round((performance.now() - end.beganAt) * 1_000) / 1_000;
    const server = splitToolId(id)?.server;
    const isKnown = server !== undefined && this.#deps.upstreams.find(server) !== undefined;
    this.#ended.push({
      server: isKnown ? server : undefined,
      tool: id.slice(0, MAX_ID_CHARS),
      ...(variant === undefined ? {} : { variant }),
      durationMs,
      isError: end.isError,
      ...(end.error === undefined ? {} : { code: toProxyError(end.error).code, failure: end.error }),
      ...(end.isError && end.result ? { errorText: errorTextOf(end.result) } : {}),
      ...(end.span === undefined ? {} : { span: end.span }),
      request,
    });
    if (this.#ended.length === 1) setImmediate(() => this.#report());
  }

  #report(): void {
    const ended = this.#ended;
    this.#ended = [];
    this.#deps.onCalls?.(ended);
  }

  async #call(request: CallRequest): Promise<JsonObject> {
    const { id, signal, principal = OPEN } = request;
    const endsAt = performance.now() + this.#timeoutMs(id);
    const tool = await this.#tool(id, { endsAt, signal, principal });
    this.#check(tool, request);
    const connection = await this.#ready(tool.server, { endsAt, signal });
    const result = this.#limits.isOn(connection.server)
      ? await this.#sendInTurn(connection.server, { tool, request, endsAt })
      : await send(connection, { tool, request, endsAt });
    return request.isWhole === true ? result : this.#deps.cache.limit(result, principal);
  }

  /** Sends it as soon as it has a place; the link may be another by then. */
  async #sendInTurn(server: Server, call: Sending): Promise<JsonObject> {
    const { request, endsAt } = call;
    const { id, signal } = request;
    const leave = await this.#limits.enter(server, { id, timeoutMs: remaining(endsAt), signal });
    try {
      return await send(await this.#ready(call.tool.server, { endsAt, signal }), call);
    } finally {
      leave();
    }
  }

  /** A server whose tools were never read is connected first: the tool may be there. */
  async #tool(id: string, wait: Wait & { readonly principal: Principal }): Promise<KnownTool> {
    const { finder } = this.#deps;
    const server = splitToolId(id)?.server;
    if (server !== undefined && finder.isUnread(server)) {
      finder.assertReach(server, wait.principal);
      await this.#ready(server, wait);
    }
    return finder.get(id, wait.principal);
  }

  #check(tool: KnownTool, request: CallRequest): void {
    const { variant: used, principal = OPEN } = request;
    const { unannotatedTools, readOnlyMode } = this.#deps.settings();
    const variant = callVariantOf(tool, unannotatedTools);
    // What the tool does counts, and beside it what the caller says it is going to do.
    assertMayCall(principal, variant, tool.id);
    if (used) assertMayCall(principal, used, tool.id);
    if (used) assertAllowed(used, tool, unannotatedTools);
    if (readOnlyMode && variant !== "call_tool_read") {
      throw new ProxyError("TOOL_REFUSED", `Cannot call '${tool.id}': the proxy is in read-only mode`, {
        hint: "Set 'read_only_mode' to false in the configuration file",
      });
    }
    const { inputSchema } = tool.definition;
    this.#checker.check({ id: tool.id, fingerprint: tool.fingerprint, inputSchema }, request.args);
  }

  #ready(server: string, wait: Wait): Promise<Connection> {
    return this.#deps.upstreams.ready(server, { timeoutMs: remaining(wait.endsAt), signal: wait.signal });
  }

  #timeoutMs(id: string): number {
    const server = this.#deps.upstreams.find(splitToolId(id)?.server ?? "")?.server;
    return server?.callTimeoutMs ?? this.#deps.settings().callToolTimeoutMs;
  }
}

interface Sending {
  readonly tool: KnownTool;
  readonly request: CallRequest;
  readonly endsAt: number;
}

function send(connection: Connection, { tool, request, endsAt }: Sending): Promise<JsonObject> {
  const { args, signal, onProgress, trace } = request;
  return connection.call({
    definition: tool.definition,
    args,
    timeoutMs: remaining(endsAt),
    ...(signal ? { signal } : {}),
    ...(onProgress ? { onProgress } : {}),
    ...(trace ? { trace } : {}),
  });
}

interface CallEnd {
  readonly span: TraceSpan | undefined;
  /** On the monotonic clock. */
  readonly beganAt: number;
  readonly isError: boolean;
  readonly error?: unknown;
  readonly result?: JsonObject;
}

/** The first words of a result's content. */
function errorTextOf({ content }: JsonObject): string {
  const [block] = Array.isArray(content) ? (content as readonly unknown[]) : [];
  const { text } = (block ?? {}) as { readonly text?: unknown };
  return typeof text === "string" ? text.slice(0, ERROR_TEXT_CHARS) : "";
}

interface Wait {
  /** On the monotonic clock. */
  readonly endsAt: number;
  readonly signal?: AbortSignal | undefined;
}

function remaining(endsAt: number): number {
  return Math.max(1, Math.round(endsAt - performance.now()));
}
