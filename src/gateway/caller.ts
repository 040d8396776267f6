/**
 * The one path of a call: from a tool id and arguments to the upstream's result.
 *
 * Owns the order of the checks: the tool is on offer, the meta tool fits its annotations, the arguments
 * fit its schema, the upstream is ready; then the call, then the limit on its result. Invariants: nothing
 * reaches an upstream that failed a check; every call ends within its timeout in one answer. A chain of
 * middlewares was rejected: the order is the security of it and should be read in one place.
 */
import type { KnownTool } from "../catalog/known_tool.ts";
import { assertAllowed, callVariantOf } from "../catalog/policy.ts";
import { ProxyError } from "../core/errors.ts";
import type { CallVariant, JsonObject } from "../core/model.ts";
import { splitToolId } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { Connection, UpstreamCall } from "../upstream/connection.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { ArgumentChecker } from "./arguments.ts";
import type { Finder } from "./finder.ts";
import type { ResultCache } from "./result_cache.ts";

/** What a call is made of. */
export interface CallRequest {
  /** `server:tool`. */
  readonly id: string;
  /** Undefined for `call_tool`, which takes every tool. */
  readonly variant?: CallVariant | undefined;
  readonly args: JsonObject;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: UpstreamCall["onProgress"];
}

/** What a {@link Caller} works with. */
export interface CallerDeps {
  readonly finder: Finder;
  readonly upstreams: Upstreams;
  readonly settings: () => Settings;
  readonly cache: ResultCache;
}

/** Calls tools. */
export class Caller {
  readonly #deps: CallerDeps;
  readonly #checker = new ArgumentChecker();
  readonly #inFlight = new Set<Promise<unknown>>();

  constructor(deps: CallerDeps) {
    this.#deps = deps;
  }

  /**
   * Calls a tool; the result is the upstream's own, cut only when it is over the limit.
   *
   * @throws {ProxyError} with the reason and a way out when the call was refused or got no answer.
   */
  async call(request: CallRequest): Promise<JsonObject> {
    const call = this.#call(request);
    this.#inFlight.add(call);
    try {
      return await call;
    } finally {
      this.#inFlight.delete(call);
    }
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

  async #call(request: CallRequest): Promise<JsonObject> {
    const { id, args, signal, onProgress } = request;
    const endsAt = performance.now() + this.#timeoutMs(id);
    const tool = await this.#tool(id, { endsAt, signal });
    this.#check(tool, request);
    const connection = await this.#ready(tool.server, { endsAt, signal });
    const result = await connection.call({
      definition: tool.definition,
      args,
      timeoutMs: remaining(endsAt),
      ...(signal ? { signal } : {}),
      ...(onProgress ? { onProgress } : {}),
    });
    return this.#deps.cache.limit(result);
  }

  /** A server whose tools were never read is connected first: the tool may be there. */
  async #tool(id: string, wait: Wait): Promise<KnownTool> {
    const server = splitToolId(id)?.server;
    if (server !== undefined && this.#deps.finder.isUnread(server)) await this.#ready(server, wait);
    return this.#deps.finder.get(id);
  }

  #check(tool: KnownTool, request: CallRequest): void {
    const { unannotatedTools, readOnlyMode } = this.#deps.settings();
    if (request.variant) assertAllowed(request.variant, tool, unannotatedTools);
    if (readOnlyMode && callVariantOf(tool, unannotatedTools) !== "call_tool_read") {
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

interface Wait {
  /** On the monotonic clock. */
  readonly endsAt: number;
  readonly signal?: AbortSignal | undefined;
}

function remaining(endsAt: number): number {
  return Math.max(1, Math.round(endsAt - performance.now()));
}
