/**
 * Which endpoint serves which tools.
 *
 * Owns the addresses below `/mcp`, what stands behind each, and what the settings put at `/mcp` itself. Invariants: a
 * group or server that an agent may not reach looks to it like one that does not exist; the management tools are for the
 * admin key, or for whoever comes to `/mcp` where they are inline. One menu with a filter in the address was rejected:
 * clients are configured with an address, and people should be able to read it.
 */
import type { Catalog } from "../catalog/catalog.ts";
import { ProxyError } from "../core/errors.ts";
import type { ProxyEvent } from "../core/events.ts";
import type { JsonObject } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import type { Settings } from "../core/settings.ts";
import type { Log } from "../lib/log.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { AdminTools } from "./admin_tools.ts";
import type { AdminToolsDeps } from "./admin_tools.ts";
import type { Caller } from "./caller.ts";
import type { Configuration } from "./configuration.ts";
import { DirectTools } from "./direct_tools.ts";
import type { Finder } from "./finder.ts";
import type { MetaTools } from "./meta_tools.ts";
import type { MetaCallReport, OperatorChange, Recorder } from "./recorder.ts";
import type { Steering } from "./steering.ts";
import { assertNoCursor } from "./toolset.ts";
import type { ToolPage, Toolset, ToolsetContext } from "./toolset.ts";

/** Settings that decide what is at `/mcp`. */
const MENU_SETTINGS: ReadonlySet<string> = new Set([
  "admin_tools",
  "disable_management",
  "legacy_tools",
  "routing_mode",
]);

/** Where a client connected to, below `/mcp`. */
export type McpAddress =
  | { readonly kind: "default" | "call" | "all" | "admin" }
  /** By id, name or slug. */
  | { readonly kind: "group"; readonly group: string }
  | { readonly kind: "server"; readonly server: string };

/** What is at an address. */
export interface Served {
  /** The same for every address that means the same. */
  readonly key: string;
  readonly toolset: Toolset;
}

/** What {@link Toolsets} give out. */
export interface ToolsetsDeps {
  readonly metaTools: MetaTools;
  readonly directTools: DirectTools;
  readonly adminTools: AdminTools;
  readonly steering: Steering;
  readonly settings: () => Settings;
}

/** Makes what stands behind the addresses. */
export function makeToolsets(parts: {
  readonly catalog: Catalog;
  readonly upstreams: Pick<Upstreams, "find">;
  readonly configuration: Configuration;
  readonly finder: Finder;
  readonly caller: Caller;
  readonly metaTools: MetaTools;
  readonly steering: Steering;
  readonly registries: AdminToolsDeps["registries"];
  readonly recorder: Pick<Recorder, "noteChange">;
  readonly onCall: (report: MetaCallReport) => void;
  readonly log: Log;
}): { readonly directTools: DirectTools; readonly toolsets: Toolsets } {
  const { configuration, upstreams, recorder } = parts;
  const settings = (): Settings => configuration.settings;
  const directTools = new DirectTools({
    ...parts,
    groups: () => configuration.groups,
    isServer: (name) => upstreams.find(name) !== undefined,
  });
  const onChange = (change: OperatorChange): void => recorder.noteChange(change);
  const adminTools = new AdminTools({ ...parts, settings, onChange });
  const toolsets = new Toolsets({ ...parts, directTools, adminTools, settings });
  return { directTools, toolsets };
}

/** Finds the tools of an address. */
export class Toolsets {
  readonly #deps: ToolsetsDeps;
  readonly #fixed: Readonly<Record<"default" | "call" | "all" | "admin", Served>>;

  constructor(deps: ToolsetsDeps) {
    this.#deps = deps;
    const all = deps.directTools.scoped({ kind: "all" });
    const call = new AgentTools(deps.metaTools);
    const menu = new DefaultTools({ ...deps, call, all });
    this.#fixed = {
      default: { key: "/mcp", toolset: menu },
      call: { key: "/mcp/call", toolset: call },
      all: { key: "/mcp/all", toolset: all },
      admin: { key: "/mcp/admin", toolset: deps.adminTools },
    };
  }

  /**
   * Gives the tools of an address.
   *
   * @throws {ProxyError} `GROUP_UNKNOWN`, `SERVER_UNKNOWN`; at `/mcp/admin` `ROUTE_UNKNOWN` when it is switched off,
   * `AUTH_REQUIRED` and `SCOPE_REFUSED` for all but the admin key.
   */
  find(address: McpAddress, principal: Principal): Served {
    const { directTools, steering } = this.#deps;
    if (address.kind === "group") {
      const { id } = steering.getGroup(address.group, principal);
      return { key: `/mcp/g/${id}`, toolset: directTools.scoped({ kind: "group", id }) };
    }
    if (address.kind === "server") {
      const { name } = steering.getServer(address.server, principal).server;
      return { key: `/mcp/s/${name}`, toolset: directTools.scoped({ kind: "server", name }) };
    }
    if (address.kind === "admin") this.#assertAdmin(principal);
    return this.#fixed[address.kind];
  }

  #assertAdmin(principal: Principal): void {
    if (this.#deps.settings().adminTools === "off") {
      throw new ProxyError(
        "ROUTE_UNKNOWN",
        "Cannot find '/mcp/admin': the management tools are switched off",
        {
          hint: "Set 'admin_tools' to \"separate\" in the configuration file",
        },
      );
    }
    if (principal.kind === "agent") {
      throw new ProxyError("SCOPE_REFUSED", "Cannot manage the proxy: an agent token is for calls only", {
        hint: "Use the API key",
      });
    }
    if (principal.kind !== "admin") {
      throw new ProxyError("AUTH_REQUIRED", "Cannot manage the proxy: an API key is needed", {
        hint: "Send it as 'X-API-Key' or 'Authorization: Bearer'",
      });
    }
  }
}

/** The agent tools, as an endpoint serves them. */
class AgentTools implements Toolset {
  readonly instructions =
    "mcpproxy gives access to many MCP servers. Find a tool with retrieve_tools, then call it with the meta tool named in call_with, passing its id as name.";
  readonly #metaTools: MetaTools;

  constructor(metaTools: MetaTools) {
    this.#metaTools = metaTools;
  }

  list(_: Principal, cursor?: string): ToolPage {
    assertNoCursor(cursor);
    return { tools: this.#metaTools.list() };
  }

  has(name: string): boolean {
    return this.#metaTools.has(name);
  }

  call(name: string, args: JsonObject, context: ToolsetContext): Promise<JsonObject> {
    return this.#metaTools.call(name, args, context);
  }

  isTouchedBy(event: ProxyEvent): boolean {
    return changedSettings(event).some((key) => MENU_SETTINGS.has(key));
  }

  isThere(): boolean {
    return true;
  }
}

/** What is at `/mcp`: the agent tools or all tools, and the management tools where they are inline. */
class DefaultTools implements Toolset {
  readonly #deps: ToolsetsDeps & { readonly call: Toolset; readonly all: Toolset };

  constructor(deps: ToolsetsDeps & { readonly call: Toolset; readonly all: Toolset }) {
    this.#deps = deps;
  }

  get #base(): Toolset {
    return this.#deps.settings().routingMode === "direct" ? this.#deps.all : this.#deps.call;
  }

  get instructions(): string {
    return this.#base.instructions;
  }

  list(principal: Principal, cursor?: string): ToolPage {
    const page = this.#base.list(principal, cursor);
    if (!this.#isInline || page.nextCursor !== undefined) return page;
    if (this.#deps.settings().disableManagement) return page;
    return { tools: [...page.tools, ...this.#deps.adminTools.list(principal).tools] };
  }

  has(name: string, principal: Principal): boolean {
    return this.#base.has(name, principal) || this.#isAdminTool(name, principal);
  }

  call(name: string, args: JsonObject, context: ToolsetContext): Promise<JsonObject> {
    const isAdminTool = this.#isAdminTool(name, context.principal);
    return (isAdminTool ? this.#deps.adminTools : this.#base).call(name, args, context);
  }

  isTouchedBy(event: ProxyEvent): boolean {
    return this.#deps.call.isTouchedBy(event) || this.#base.isTouchedBy(event);
  }

  isThere(): boolean {
    return true;
  }

  get #isInline(): boolean {
    return this.#deps.settings().adminTools === "inline";
  }

  #isAdminTool(name: string, principal: Principal): boolean {
    return this.#isInline && this.#deps.adminTools.has(name, principal);
  }
}

function changedSettings(event: ProxyEvent): readonly string[] {
  const isChange = event.type === "config_committed" || event.type === "config_reloaded";
  return isChange ? event.data.settings : [];
}
