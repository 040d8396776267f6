/**
 * The management tool `upstream_servers`.
 *
 * Owns its menu and its arguments, which are the Go proxy's beside our own. Invariants: no secret of a definition is in an
 * answer; what is added or changed here waits for a person.
 */
import { ProxyError } from "../core/errors.ts";
import type { JsonObject, ToolDefinition } from "../core/model.ts";
import { jsonIn, optionalNumber, optionalText, textIn, UNTRUSTED } from "./admin_tool.ts";
import type { AdminCall, AdminOperation, AdminTool } from "./admin_tool.ts";
import { changeView } from "./change_summary.ts";
import type { ServerView } from "./server_list.ts";
import { MAX_LOG_LINES } from "./steering.ts";
import type { ConnectionVerb, ModeVerb, Steering } from "./steering.ts";

const DEFAULT_PAGE = 25;
const MAX_PAGE = 200;
const DEFAULT_LINES = 50;
const OPERATIONS = [
  "list",
  "get",
  "add",
  "remove",
  "patch",
  "enable",
  "disable",
  "restart",
  "tail_log",
] as const;
/** Keys of an entry that are arguments of their own. */
const ENTRY_KEYS = [
  "url",
  "command",
  "working_dir",
  "protocol",
  "description",
  "enabled",
  "quarantined",
  "startup_mode",
] as const;
const MAPS = ["env", "headers"] as const;

const DEFINITION: ToolDefinition = {
  name: "upstream_servers",
  description:
    "Manage the MCP servers behind this proxy. What is added or changed is quarantined until a person approves it. Secrets are shown as ***.",
  inputSchema: {
    type: "object",
    properties: {
      operation: { type: "string", enum: OPERATIONS },
      name: { type: "string", description: "Server; for all but list" },
      url: { type: "string" },
      command: { type: "string", description: "Program, without arguments" },
      args: { type: "array", items: { type: "string" } },
      args_json: { type: "string", description: "args as JSON text" },
      env: { type: "object", additionalProperties: { type: ["string", "null"] } },
      env_json: { type: "string" },
      headers: { type: "object", additionalProperties: { type: ["string", "null"] } },
      headers_json: { type: "string" },
      protocol: { type: "string", description: "stdio, http, sse or auto" },
      working_dir: { type: "string" },
      description: { type: "string" },
      enabled: { type: "boolean" },
      quarantined: { type: "boolean" },
      startup_mode: { type: "string", enum: ["active", "lazy_loading", "disabled", "quarantined"] },
      patch: { type: "object", description: "Any keys of the entry, merged; null removes, name renames" },
      patch_json: { type: "string" },
      dry_run: { type: "boolean" },
      lines: { type: "integer", minimum: 1, description: `tail_log; at most ${MAX_LOG_LINES}` },
      query: { type: "string", description: "list: text to look for" },
      category: {
        type: "string",
        description: "list: connected, disconnected, sleeping, disabled, auto_disabled or quarantined",
      },
      group: { type: "string", description: "list: id, name or slug" },
      limit: { type: "integer", minimum: 1, maximum: MAX_PAGE },
      cursor: { type: "string", description: "list: next_cursor of the page before" },
    },
    required: ["operation"],
    additionalProperties: false,
  },
  annotations: { readOnlyHint: false, destructiveHint: true, openWorldHint: false },
};

/** Makes the tool. */
export function upstreamServersTool(steering: Steering): AdminTool {
  const modeVerb = (verb: ModeVerb): AdminOperation => ({
    needs: ["name"],
    change: "server_change",
    run: async ({ args, by }) => {
      const server = textIn(args, "name");
      const change = await steering.switchMode(server, { verb, by });
      return { server, ...changeView(change) };
    },
  });
  const connectionVerb = (verb: ConnectionVerb): AdminOperation => ({
    needs: ["name"],
    change: "server_change",
    run: ({ args, by }) => {
      const server = textIn(args, "name");
      steering.act(server, { verb, by });
      return { server, action: verb };
    },
  });
  return {
    definition: DEFINITION,
    aliases: { update: "patch", delete: "remove" },
    operations: {
      list: { run: ({ args }) => listOf(args, steering) },
      get: { needs: ["name"], run: ({ args }) => shown(steering.showServer(textIn(args, "name"))) },
      add: { needs: ["name"], change: "server_change", run: (call) => add(call, steering) },
      remove: {
        needs: ["name"],
        change: "server_change",
        run: async ({ args, by }) => {
          const server = textIn(args, "name");
          return { server, ...changeView(await steering.remove(server, by)) };
        },
      },
      patch: { needs: ["name"], change: "server_change", run: (call) => patch(call, steering) },
      enable: modeVerb("enable"),
      disable: modeVerb("disable"),
      restart: connectionVerb("restart"),
      tail_log: { needs: ["name"], run: ({ args }) => tail(args, steering) },
    },
  };
}

/** A page of servers without what they wrote, which `tail_log` gives. */
export function pageView(steering: Steering, query: Parameters<Steering["listServers"]>[0]): object {
  const { servers, stats, total, next_cursor: next } = steering.listServers(query);
  const isHeld = servers.some(({ quarantined }) => quarantined);
  return {
    ...(isHeld ? { notice: UNTRUSTED } : {}),
    servers: servers.map(shown),
    stats,
    total,
    ...(next === undefined ? {} : { next_cursor: next }),
  };
}

function listOf(args: JsonObject, steering: Steering): object {
  return pageView(steering, {
    q: optionalText(args, "query"),
    category: optionalText(args, "category"),
    group: optionalText(args, "group"),
    limit: optionalNumber(args, "limit") ?? DEFAULT_PAGE,
    cursor: optionalText(args, "cursor"),
  });
}

function shown(view: ServerView): object {
  const { stderr: _, ...rest } = view as ServerView & { readonly stderr?: unknown };
  return view.quarantined ? { ...rest, untrusted: true } : rest;
}

async function add({ args, by }: AdminCall, steering: Steering): Promise<object> {
  const server = textIn(args, "name");
  const isDryRun = args["dry_run"] === true;
  const change = await steering.add({ name: server, ...entryIn(args) }, { isDryRun, by });
  return { server, ...changeView(change), ...(isDryRun ? {} : standing(server, steering)) };
}

async function patch({ args, by }: AdminCall, steering: Steering): Promise<object> {
  const name = textIn(args, "name");
  const isDryRun = args["dry_run"] === true;
  const entry = entryIn(args);
  const change = await steering.patch(name, { patch: entry, isDryRun, by });
  const server = typeof entry["name"] === "string" ? entry["name"] : name;
  return { server, ...changeView(change), ...(isDryRun ? {} : standing(server, steering)) };
}

/** Where the server is after a change, and what it waits for. */
function standing(name: string, steering: Steering): object {
  const { startup_mode: mode, quarantined } = steering.showServer(name);
  if (!quarantined) return { startup_mode: mode };
  return { startup_mode: mode, next: `A person has to approve it: 'mcpproxy servers approve ${name}'` };
}

/** The keys of an entry among the arguments. */
function entryIn(args: JsonObject): JsonObject {
  const entry: Record<string, JsonObject[string]> = {};
  for (const key of ENTRY_KEYS) if (args[key] !== undefined) entry[key] = args[key];
  const list = jsonIn(args, { name: "args", kind: "list" });
  if (list !== undefined) entry["args"] = list as JsonObject[string];
  for (const name of MAPS) {
    const map = jsonIn(args, { name, kind: "object" });
    if (map !== undefined) entry[name] = map;
  }
  const more = jsonIn(args, { name: "patch", kind: "object" }) ?? {};
  if (!Object.hasOwn(more, "approve")) return { ...entry, ...more };
  throw new ProxyError("QUARANTINED", "Cannot approve what a server starts: only a person can", {
    hint: "Leave 'approve' out, and ask a person to run 'mcpproxy servers approve'",
  });
}

function tail(args: JsonObject, steering: Steering): object {
  const server = textIn(args, "name");
  const lines = steering.tail(server, optionalNumber(args, "lines") ?? DEFAULT_LINES);
  const { quarantined } = steering.showServer(server);
  const warning = quarantined ? { notice: UNTRUSTED, untrusted: true } : {};
  return { server, ...warning, lines, count: lines.length };
}
