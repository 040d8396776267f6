/**
 * The management tools: what operators steer by REST, as tools for MCP clients.
 *
 * Owns their menu, the order of the checks of a call, and that it is written down. Invariants: whoever calls is no
 * person, so nothing is approved here; an agent token opens none of them; what a setting forbids is refused; arguments
 * are never written down, names and verbs are. Tools of their own beside the admin API were rejected: one code path has
 * one set of rules.
 */
import { ProxyError } from "../core/errors.ts";
import type { JsonObject, ToolDefinition } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import { groupsTool } from "./admin_groups.ts";
import { quarantineTool } from "./admin_quarantine.ts";
import { registryTools } from "./admin_registries.ts";
import { upstreamServersTool } from "./admin_servers.ts";
import type { AdminCall, AdminOperation, AdminTool } from "./admin_tool.ts";
import { ArgumentChecker } from "./arguments.ts";
import type { MetaCallReport, OperatorChange } from "./recorder.ts";
import type { Registries } from "./registries.ts";
import type { Steering } from "./steering.ts";
import { assertNoCursor, errorResult, jsonResult } from "./toolset.ts";
import type { ToolPage, Toolset, ToolsetContext } from "./toolset.ts";

/** Words that ask for what only a person may do. */
const PERSONAL = /^(?:approve|unquarantine|unhold|release|reject)(?:_|$)/;
/** What clients of the Go proxy send with every call. */
const INTENT = /^(?:intent_|reason$)/;
/** Arguments that may be written down. */
const NOTED = [
  "operation",
  "name",
  "group",
  "servers",
  "registry",
  "dry_run",
  "enabled",
  "category",
] as const;
/** Of a name that fits nothing. */
const MAX_SHOWN_CHARS = 60;

/** What {@link AdminTools} work with. */
export interface AdminToolsDeps {
  readonly steering: Steering;
  readonly registries: Pick<Registries, "list" | "search">;
  readonly settings: () => Pick<Settings, "disableManagement">;
  /** Told of each call that only looked. */
  readonly onCall?: (report: MetaCallReport) => void;
  /** Told of each call that changed something, or tried to. */
  readonly onChange?: (change: OperatorChange) => void;
}

/** Serves the management tools. */
export class AdminTools implements Toolset {
  readonly instructions =
    "Management of mcpproxy: its servers, groups, quarantine and registries. Approving a quarantined server is a person's.";
  readonly #deps: AdminToolsDeps;
  readonly #checker = new ArgumentChecker();
  readonly #tools: ReadonlyMap<string, AdminTool>;

  constructor(deps: AdminToolsDeps) {
    this.#deps = deps;
    const { steering, registries } = deps;
    const tools = [
      upstreamServersTool(steering),
      groupsTool(steering),
      quarantineTool(steering),
      ...registryTools(registries),
    ];
    this.#tools = new Map(tools.map((tool) => [tool.definition.name, tool]));
  }

  /** The definitions. */
  get definitions(): readonly ToolDefinition[] {
    return [...this.#tools.values()].map(({ definition }) => definition);
  }

  list(principal: Principal, cursor?: string): ToolPage {
    assertNoCursor(cursor);
    return { tools: principal.kind === "agent" ? [] : this.definitions };
  }

  has(name: string, principal: Principal): boolean {
    return principal.kind !== "agent" && this.#tools.has(name);
  }

  async call(name: string, args: JsonObject, context: ToolsetContext): Promise<JsonObject> {
    const beganAt = performance.now();
    const asked = withoutIntent(args);
    const operation = this.#operationOf(name, asked);
    let error: unknown;
    try {
      return jsonResult(await this.#run(name, asked, context.principal));
    } catch (caught) {
      error = caught;
      return errorResult(caught);
    } finally {
      const durationMs = Math.round((performance.now() - beganAt) * 1_000) / 1_000;
      this.#note({ name, args: asked, operation, context, durationMs, error });
    }
  }

  isTouchedBy(): boolean {
    return false;
  }

  isThere(): boolean {
    return true;
  }

  async #run(name: string, args: JsonObject, principal: Principal): Promise<object> {
    const tool = this.#tools.get(name);
    if (tool === undefined) throw new ProxyError("TOOL_UNKNOWN", `Cannot find the tool '${name}'`);
    if (principal.kind === "agent") {
      throw new ProxyError("SCOPE_REFUSED", `Cannot use '${name}': an agent token is for calls only`, {
        hint: "Use the API key",
      });
    }
    if (this.#deps.settings().disableManagement) {
      throw new ProxyError("MANAGEMENT_REFUSED", `Cannot use '${name}': 'disable_management' forbids it`, {
        hint: "Set 'disable_management' to false in the configuration file",
      });
    }
    const operation = this.#operationOf(name, args) ?? refuse(tool, args);
    this.#checkArguments(tool, args);
    const missing = operation.needs?.find((key) => args[key] === undefined || args[key] === "");
    if (missing !== undefined) {
      throw new ProxyError("ARGUMENTS_INVALID", `Cannot ${verbOf(tool, args)}: '${missing}' is missing`, {
        hint: `Send '${missing}' beside 'operation'`,
      });
    }
    const call: AdminCall = { args, by: { principal, isPerson: false } };
    return operation.run(call);
  }

  #checkArguments({ definition, aliases }: AdminTool, args: JsonObject): void {
    const { name, inputSchema } = definition;
    const { operation } = args;
    const listed = typeof operation === "string" ? aliases?.[operation] : undefined;
    const checked = listed === undefined ? args : { ...args, operation: listed };
    this.#checker.check({ id: name, fingerprint: name, inputSchema }, checked);
  }

  #operationOf(name: string, args: JsonObject): AdminOperation | undefined {
    const tool = this.#tools.get(name);
    if (tool === undefined) return undefined;
    const word = wordOf(tool, args);
    const listed = Object.hasOwn(tool.aliases ?? {}, word) ? (tool.aliases?.[word] ?? word) : word;
    return Object.hasOwn(tool.operations, listed) ? tool.operations[listed] : undefined;
  }

  #note(done: {
    readonly name: string;
    readonly args: JsonObject;
    readonly operation: AdminOperation | undefined;
    readonly context: ToolsetContext;
    readonly durationMs: number;
    readonly error: unknown;
  }): void {
    const { name, args, operation, context, durationMs, error } = done;
    const facts = Object.fromEntries(
      NOTED.flatMap((key) => (args[key] === undefined ? [] : [[key, args[key]] as const])),
    );
    const origin = context.origin ?? { source: "mcp", principal: context.principal.id };
    const { onCall, onChange } = this.#deps;
    if (operation?.change === undefined) {
      if (onCall) setImmediate(onCall, { tool: name, args: facts, origin, durationMs, error });
      return;
    }
    const server = typeof args["name"] === "string" && name !== "groups" ? args["name"] : undefined;
    const action = typeof args["operation"] === "string" ? args["operation"] : name;
    const change = { type: operation.change, action, server, origin, durationMs, error };
    if (onChange) setImmediate(onChange, { ...change, facts: { tool: name, ...facts } });
  }
}

/** Says which operations there are, and of those a person does that a person does them. */
function refuse(tool: AdminTool, args: JsonObject): never {
  const { name } = tool.definition;
  const word = wordOf(tool, args).slice(0, MAX_SHOWN_CHARS);
  if (PERSONAL.test(word)) {
    const server = typeof args["name"] === "string" ? args["name"].slice(0, MAX_SHOWN_CHARS) : "NAME";
    throw new ProxyError("QUARANTINED", `Cannot ${word} by '${name}': only a person can`, {
      hint: `Run 'mcpproxy servers approve ${server}' after looking at what it starts`,
    });
  }
  throw new ProxyError("ARGUMENTS_INVALID", `Cannot use '${name}': there is no operation '${word}'`, {
    data: { operations: Object.keys(tool.operations) },
    hint: `Set 'operation' to one of ${Object.keys(tool.operations).join(", ")}`,
  });
}

function wordOf({ definition, operations }: AdminTool, args: JsonObject): string {
  const { name } = definition;
  if (Object.hasOwn(operations, name)) return name;
  return typeof args["operation"] === "string" ? args["operation"] : "";
}

function verbOf(tool: AdminTool, args: JsonObject): string {
  return wordOf(tool, args).replaceAll("_", " ");
}

function withoutIntent(args: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(args).filter(([key]) => !INTENT.test(key)));
}
