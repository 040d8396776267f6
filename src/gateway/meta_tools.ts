/**
 * The proxy's own tools: what an agent sees at `/mcp` instead of a thousand schemas.
 *
 * Owns their definitions and their answers. Invariants: the whole menu stays under 1,500 tokens and a
 * search reply for 15 hits under 900, so no sentence is repeated in a reply; what the model should read
 * is a result with `isError`, never an exception. One `call_tool` for everything was rejected: clients
 * ask their user before a destructive call by the annotations of the tool they call.
 */
import type { CallVariant, JsonObject, ToolDefinition } from "../core/model.ts";
import { ProxyError } from "../core/errors.ts";
import { OPEN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import { signatureOf, summaryOf } from "../catalog/signature.ts";
import type { KnownTool } from "../catalog/known_tool.ts";
import { ArgumentChecker, readArguments } from "./arguments.ts";
import type { Caller, CallRequest } from "./caller.ts";
import type { Finder, Found } from "./finder.ts";
import { MAX_FOUND } from "./finder.ts";
import { assertMayCall } from "./permission.ts";
import type { MetaCallReport } from "./recorder.ts";
import type { CachePageRequest, ResultCache } from "./result_cache.ts";
import { errorResult, faultOf, jsonResult } from "./toolset.ts";

/** What travels with a call of a meta tool. */
export type MetaCallContext = Pick<CallRequest, "signal" | "onProgress" | "origin" | "trace" | "principal">;

/** What the meta tools work with. */
export interface MetaToolsDeps {
  readonly finder: Finder;
  readonly caller: Caller;
  readonly cache: ResultCache;
  readonly settings: () => Settings;
  /** Told of each call of a tool of our own, after it was answered. */
  readonly onCall?: (report: MetaCallReport) => void;
}

/** The id says the name already. */
const SIGNATURE = { hasName: false, maxChars: 100 } as const;
const MAX_DESCRIBED = 20;
const MAX_QUERIES = 10;

const TOOL_NAME = { type: "string", description: "Tool id, 'server:tool'" } as const;
const CALL_SCHEMA = {
  type: "object",
  properties: {
    name: TOOL_NAME,
    args: { type: "object", description: "Arguments, as inputSchema says" },
    args_json: { type: "string", description: "The same as JSON text, instead of args" },
    reason: { type: "string", description: "Why, for the audit log" },
  },
  required: ["name"],
} as const satisfies JsonObject;

const VARIANTS: Readonly<Record<CallVariant, { readonly description: string; readonly hints: JsonObject }>> =
  {
    call_tool_read: {
      description: "Call a tool that only reads (call_with says which). Pass the id as name.",
      hints: { readOnlyHint: true, destructiveHint: false },
    },
    call_tool_write: {
      description: "Call a tool that changes something without destroying.",
      hints: { readOnlyHint: false, destructiveHint: false },
    },
    call_tool_destructive: {
      description: "Call a tool that deletes or overwrites.",
      hints: { readOnlyHint: false, destructiveHint: true },
    },
  };

const RETRIEVE: ToolDefinition = {
  name: "retrieve_tools",
  description:
    "Find tools of all connected servers by what they do. Start here. Returns ids with one-line signatures (* = required) and call_with, the tool to call each with.",
  inputSchema: {
    type: "object",
    properties: {
      query: { type: "string", description: "What the tool should do, in words" },
      queries: {
        type: "array",
        items: { type: "string" },
        maxItems: MAX_QUERIES,
        description: "More wordings",
      },
      limit: { type: "integer", minimum: 1, maximum: MAX_FOUND },
      server: { type: "string", description: "Only this server" },
      group: { type: "string", description: "Only this group" },
      detail: { type: "string", enum: ["compact", "full"], description: "full adds schemas" },
      read_only_only: { type: "boolean" },
      exclude_destructive: { type: "boolean" },
    },
    required: ["query"],
  },
  annotations: { readOnlyHint: true, openWorldHint: false },
};

const DESCRIBE: ToolDefinition = {
  name: "describe_tool",
  description: "Full definitions of tools by id; for a missing one, why and what was meant.",
  inputSchema: {
    type: "object",
    properties: {
      tool_ids: { type: "array", items: { type: "string" }, minItems: 1, maxItems: MAX_DESCRIBED },
    },
    required: ["tool_ids"],
  },
  annotations: { readOnlyHint: true, openWorldHint: false },
};

const READ_CACHE: ToolDefinition = {
  name: "read_cache",
  description: "Read on in a result that was cut; it named the key. Pages records of JSON, else characters.",
  inputSchema: {
    type: "object",
    properties: {
      key: { type: "string" },
      offset: { type: "integer", minimum: 0 },
      limit: { type: "integer", minimum: 1 },
      path: { type: "string", description: "Where the list stands, as in data.items" },
      search: { type: "string", description: "Only records or lines with this text" },
    },
    required: ["key"],
  },
  annotations: { readOnlyHint: true, openWorldHint: false },
};

const CALL_TOOLS: readonly ToolDefinition[] = (Object.keys(VARIANTS) as CallVariant[]).map((name) => ({
  name,
  description: VARIANTS[name].description,
  inputSchema: CALL_SCHEMA,
  annotations: { ...VARIANTS[name].hints, openWorldHint: true },
}));

/** Accepted from clients of older proxies; listed only with `legacy_tools`. */
const CALL_TOOL: ToolDefinition = {
  name: "call_tool",
  description: "Call any tool. Prefer the call_with of retrieve_tools.",
  inputSchema: CALL_SCHEMA,
  annotations: { readOnlyHint: false, destructiveHint: true, openWorldHint: true },
};

const LISTED: readonly ToolDefinition[] = [RETRIEVE, DESCRIBE, ...CALL_TOOLS, READ_CACHE];

const OWN_TOOLS: ReadonlySet<string> = new Set([RETRIEVE.name, DESCRIBE.name, READ_CACHE.name]);

/** The agent tools. */
export class MetaTools {
  readonly #deps: MetaToolsDeps;
  readonly #checker = new ArgumentChecker();
  readonly #byName: ReadonlyMap<string, ToolDefinition>;

  constructor(deps: MetaToolsDeps) {
    this.#deps = deps;
    this.#byName = new Map([...LISTED, CALL_TOOL].map((tool) => [tool.name, tool]));
  }

  /** The menu. */
  list(): readonly ToolDefinition[] {
    return this.#deps.settings().legacyTools ? [...LISTED, CALL_TOOL] : LISTED;
  }

  /** Whether there is a meta tool of this name. */
  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** Calls a meta tool; never rejects, a failure is a result with `isError`. */
  async call(name: string, args: JsonObject, context: MetaCallContext = {}): Promise<JsonObject> {
    try {
      return await this.callOrThrow(name, args, context);
    } catch (error) {
      return errorResult(error);
    }
  }

  /**
   * Calls a meta tool.
   *
   * @throws {ProxyError} `TOOL_UNKNOWN` for a name that is none, and whatever the call itself raises.
   */
  async callOrThrow(name: string, args: JsonObject, context: MetaCallContext = {}): Promise<JsonObject> {
    const definition = this.#byName.get(name);
    if (definition === undefined) {
      throw new ProxyError(
        "TOOL_UNKNOWN",
        `Cannot find the tool '${name}': the proxy has ${[...this.#byName.keys()].join(", ")}`,
        {
          hint: "Tools of servers are called through call_tool_read, call_tool_write or call_tool_destructive",
        },
      );
    }
    this.#checker.check({ id: name, fingerprint: name, inputSchema: definition.inputSchema }, args);
    if (OWN_TOOLS.has(name)) return this.#callOwn(name, args, context);
    const id = args["name"] as string;
    return this.#deps.caller.call({
      id,
      variant: name === "call_tool" ? undefined : (name as CallVariant),
      args: readArguments(id, { args: args["args"], json: args["args_json"] }),
      reason: args["reason"] as string | undefined,
      ...context,
    });
  }

  #callOwn(name: string, args: JsonObject, context: MetaCallContext): JsonObject {
    const beganAt = performance.now();
    let error: unknown;
    try {
      return jsonResult(this.#answerOwn(name, { args, principal: context.principal ?? OPEN }));
    } catch (caught) {
      error = caught;
      throw caught;
    } finally {
      const report = { tool: name, args, origin: context.origin, durationMs: millisSince(beganAt), error };
      if (this.#deps.onCall !== undefined) setImmediate(this.#deps.onCall, report);
    }
  }

  #answerOwn(name: string, { args, principal }: OwnCall): JsonObject {
    if (name === "retrieve_tools") return this.#retrieve(args, principal);
    if (name === "describe_tool") return this.#describe(args["tool_ids"] as readonly string[], principal);
    return this.#deps.cache.read(args as unknown as CachePageRequest, principal);
  }

  #retrieve(args: JsonObject, principal: Principal): JsonObject {
    const { finder } = this.#deps;
    const settings = this.#deps.settings();
    const options = {
      limit: args["limit"] as number | undefined,
      server: args["server"] as string | undefined,
      group: args["group"] as string | undefined,
      readOnlyOnly: args["read_only_only"] as boolean | undefined,
      excludeDestructive: args["exclude_destructive"] as boolean | undefined,
      principal,
    };
    const queries = [args["query"] as string, ...((args["queries"] as readonly string[] | undefined) ?? [])];
    const results = queries.map((query) => finder.find({ query, ...options }));
    const found =
      results.length === 1 ? (results[0]?.found ?? []) : merge(results.map((result) => result.found));
    const shown = found.slice(0, options.limit ?? settings.toolsLimit);
    const total = Math.max(...results.map((result) => result.total));
    const tookMs = results.reduce((sum, result) => sum + result.tookMs, 0);
    const isFull = (args["detail"] ?? settings.toolResponseMode) === "full";
    return {
      tools: shown.map((hit) => (isFull ? this.#full(hit.tool, hit.score) : this.#compact(hit))),
      total,
      took_ms: Math.round(tookMs * 10) / 10,
      ...(total > shown.length ? { more: total - shown.length } : {}),
    };
  }

  #compact({ tool, score }: Found): JsonObject {
    const { serverState, isStale } = this.#deps.finder.standing(tool);
    return {
      id: tool.id,
      score: rounded(score),
      sig: signatureOf(tool.definition, SIGNATURE),
      desc: summaryOf(tool.definition.description),
      call_with: this.#deps.finder.callWith(tool),
      ...(serverState === "connected" ? {} : { server_state: serverState }),
      ...(isStale ? { stale: true } : {}),
    };
  }

  #full(tool: KnownTool, score?: number): JsonObject {
    const { serverState, isStale } = this.#deps.finder.standing(tool);
    const { name: _, inputSchema, ...rest } = tool.definition;
    return {
      name: tool.id,
      server: tool.server,
      ...(score === undefined ? {} : { score: rounded(score) }),
      ...(rest as JsonObject),
      inputSchema,
      call_with: this.#deps.finder.callWith(tool),
      server_state: serverState,
      ...(isStale ? { stale: true } : {}),
    };
  }

  #describe(ids: readonly string[], principal: Principal): JsonObject {
    const { finder } = this.#deps;
    const definitions: JsonObject[] = [];
    const errors: JsonObject[] = [];
    for (const id of ids) {
      try {
        const tool = finder.get(id, principal);
        assertMayCall(principal, finder.callWith(tool), id);
        definitions.push(this.#full(tool));
      } catch (error) {
        errors.push({ id, ...faultOf(error) });
      }
    }
    return { definitions, errors };
  }
}

interface OwnCall {
  readonly args: JsonObject;
  readonly principal: Principal;
}

/** Joins the hits of several wordings; a tool keeps its best score. */
function merge(lists: readonly (readonly Found[])[]): Found[] {
  const best = new Map<string, Found>();
  for (const hit of lists.flat()) {
    if (hit.score > (best.get(hit.tool.id)?.score ?? -1)) best.set(hit.tool.id, hit);
  }
  return [...best.values()].toSorted((a, b) => b.score - a.score || (a.tool.id < b.tool.id ? -1 : 1));
}

function millisSince(beganAt: number): number {
  return Math.round((performance.now() - beganAt) * 1_000) / 1_000;
}

function rounded(score: number): number {
  return Math.round(score * 1_000) / 1_000;
}
