/**
 * `mcpproxy upstream`: servers, in the words of the Go proxy.
 *
 * Owns the table of servers as the Go proxy prints it, one server with its tools, and its verbs. Invariants: with and
 * without a running proxy a list has the same fields; what a server says of itself is printed without control
 * characters. Leaving `upstream` to `servers` was rejected: scripts read `upstream list -o json` as a bare array.
 */
import { ProxyError } from "../core/errors.ts";
import type { Server } from "../core/model.ts";
import { oneLine } from "../lib/log.ts";
import { redactUrl } from "../lib/redact.ts";
import { readTail } from "../lib/tail.ts";
import { serverLogPath } from "../upstream/server_log.ts";
import { wholeOf } from "./activity_page.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { readWords, runVerb, usageOf } from "./help.ts";
import { printServerLines } from "./logs.ts";
import { readOffline, findRunning } from "./offline.ts";
import { cleanText, formatRecord, printData } from "./output.ts";
import { formatTable } from "./table.ts";
import { add, addJson, importFile, patch, remove } from "./upstream_change.ts";
import { approve, pathOf, switchServers } from "./upstream_switch.ts";

const DEFAULT_LOG_LINES = 50;

/** A server as both sources of a list show it. */
interface ServerRow {
  readonly name: string;
  readonly protocol: string;
  readonly tool_count: number;
  readonly quarantined: boolean;
  readonly health: {
    readonly admin_state: string;
    readonly summary: string;
    readonly detail: string;
    readonly action: string;
  };
}

interface ToolRow {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly call_with: string;
}

/** Runs a verb of `upstream`. */
export function runUpstream(args: readonly string[], io: CommandIo): Promise<number> {
  const verbs = {
    list,
    add,
    "add-json": addJson,
    patch,
    remove,
    inspect,
    approve,
    import: importFile,
    enable: switchServers("enable"),
    disable: switchServers("disable"),
    restart: switchServers("restart"),
    logs,
  };
  return runVerb("upstream", { verbs, args, io });
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream list", args);
  const api = await findRunning(command.flags, io);
  const servers = api === undefined ? await fileRows(command, io) : await apiRows(api);
  const sorted = servers.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  if (command.flags.isJson) {
    printData(sorted, command.flags, io);
    return 0;
  }
  const rows = sorted.map((server) => [
    server.name,
    server.protocol,
    String(server.tool_count),
    server.health.summary,
    wayOut(server),
  ]);
  io.stdout(formatTable(["NAME", "PROTOCOL", "TOOLS", "STATUS", "ACTION"], rows, { columns: io.columns }));
  return 0;
}

async function apiRows(api: ApiClient): Promise<readonly ServerRow[]> {
  const { data } = await api.get("/servers");
  return (data as { readonly servers: readonly ServerRow[] }).servers;
}

/** What the file says, while nobody knows how the servers stand. */
async function fileRows({ flags }: ReadCommand, io: CommandIo): Promise<readonly ServerRow[]> {
  const { config } = await readOffline(flags, { io, create: false });
  io.stderr(`No proxy runs: this is what '${config.path}' says. Start it with 'mcpproxy serve'\n`);
  return config.servers.map(rowOf);
}

function rowOf(server: Server) {
  const { name, protocol, url, command, startupMode: mode, faults, groups } = server;
  const [fault] = faults;
  const isOn = mode === "active" || mode === "lazy_loading";
  const word = isOn ? "enabled" : mode === "quarantined" ? "quarantined" : "disabled";
  const action = isOn ? "" : mode === "quarantined" ? "approve" : "enable";
  return {
    name,
    protocol,
    ...(url === undefined ? {} : { url: redactUrl(url) }),
    ...(command === undefined ? {} : { command }),
    enabled: isOn,
    quarantined: mode === "quarantined",
    connected: false,
    connecting: false,
    status: "disconnected",
    last_error: fault?.message ?? "",
    tool_count: 0,
    startup_mode: mode,
    groups,
    health: {
      level: isOn ? "unhealthy" : "healthy",
      admin_state: word,
      summary: fault === undefined ? (isOn ? "Proxy not running" : mode) : "Entry has faults",
      detail: fault?.advice ?? "",
      action: fault === undefined ? action : "configure",
    },
  };
}

/** The command line that goes on. */
function wayOut({ name, health }: ServerRow): string {
  const word = /^[\w./-]+$/.test(name) ? name : `'${name}'`;
  const ways: Readonly<Record<string, string>> = {
    approve: `upstream approve ${word}`,
    configure: "edit its entry",
    enable: `upstream enable ${word}`,
    login: "log in",
    restart: `upstream restart ${word}`,
    view_logs: `upstream logs ${word}`,
  };
  return health.action === "" ? "-" : (ways[health.action] ?? health.action);
}

async function inspect(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream inspect", args);
  const [name = ""] = command.positionals;
  const wanted = textFlag(command.values["tool"]);
  const api = await findDaemon(command.flags, io);
  const path = pathOf(name);
  const [one, of] = await Promise.all([api.get(path), api.get(`${path}/tools`)]);
  const server = one.data as ServerRow & Readonly<Record<string, unknown>>;
  const { tools } = of.data as { readonly tools: readonly ToolRow[] };
  if (wanted !== undefined) return inspectTool(pick(tools, { server: name, wanted }), { command, io });
  if (command.flags.isJson) {
    printData({ ...server, tools }, command.flags, io);
    return 0;
  }
  io.stdout(formatRecord(recordOf(server)));
  const stderr = server["stderr"];
  if (Array.isArray(stderr) && stderr.length > 0) {
    io.stdout(`Last lines:\n${stderr.map((line) => `  ${cleanText(String(line))}\n`).join("")}`);
  }
  if (tools.length === 0) return 0;
  const rows = tools.map((tool) => [tool.name, tool.call_with, firstLine(tool.description)]);
  io.stdout(`\n${formatTable(["TOOL", "CALL WITH", "DESCRIPTION"], rows, { columns: io.columns })}`);
  return 0;
}

function recordOf(server: ServerRow & Readonly<Record<string, unknown>>) {
  const { health } = server;
  return [
    ["Name", server.name],
    ["Description", server["description"]],
    ["Status", health.summary],
    ["Mode", server["startup_mode"]],
    ["Quarantined", server.quarantined],
    ["Protocol", server.protocol],
    ["URL", server["url"]],
    ["Command", server["command"]],
    ["Groups", server["groups"]],
    ["Tools", server.tool_count],
    ["Since", server["since"]],
    ["Next attempt", server["next_attempt_at"]],
    ["Last error", server["last_error"]],
    ["Hint", health.detail],
    ["Action", health.action === "" ? "" : `mcpproxy ${wayOut(server)}`],
  ] as const;
}

function inspectTool(
  tool: ToolRow,
  { command, io }: { readonly command: ReadCommand; readonly io: CommandIo },
): number {
  if (command.flags.isJson) {
    printData(tool, command.flags, io);
    return 0;
  }
  const { schema } = tool as ToolRow & { readonly schema?: unknown };
  io.stdout(
    formatRecord([
      ["Tool", tool.id],
      ["Call with", tool.call_with],
    ]),
  );
  io.stdout(`\n${cleanText(tool.description)}\n`);
  if (schema !== undefined) {
    io.stdout("\nSchema:\n");
    printData(schema, { format: "json" }, io);
  }
  return 0;
}

function pick(
  tools: readonly ToolRow[],
  { server, wanted }: { readonly server: string; readonly wanted: string },
): ToolRow {
  const tool = tools.find(({ id, name }) => id === wanted || name === wanted);
  if (tool !== undefined) return tool;
  throw new ProxyError("TOOL_UNKNOWN", `Cannot find the tool '${wanted}' of '${server}'`, {
    hint: `List them with 'mcpproxy upstream inspect ${server}'`,
  });
}

async function logs(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream logs", args);
  const { flags, values } = command;
  const name = serverOf(command, "upstream logs");
  const tail = wholeOf(values["tail"], "--tail") ?? DEFAULT_LOG_LINES;
  const isFollowed = values["follow"] === true;
  const api = isFollowed ? await findDaemon(flags, io) : await findRunning(flags, io);
  if (api !== undefined) return printServerLines(name, { api, flags, io, tail, isFollowed, level: 0 });
  const { config } = await readOffline(flags, { io, create: false });
  if (!config.servers.some((server) => server.name === name)) {
    throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${name}'`, {
      hint: "List them with 'mcpproxy upstream list'",
    });
  }
  const path = serverLogPath(config.settings.logging.logDir, name);
  const lines = readTail(path)?.lines.slice(-tail) ?? [];
  if (lines.length === 0) io.stderr(`No proxy runs, and '${path}' has no lines\n`);
  if (flags.isJson) printData({ server_name: name, logs: lines, count: lines.length }, flags, io);
  else for (const line of lines) io.stdout(`${oneLine(line)}\n`);
  return 0;
}

/** The one server a command line names, by its first word or by --server. */
function serverOf({ positionals, values }: ReadCommand, verb: string): string {
  const named = new Set([...positionals, textFlag(values["server"])].filter((name) => name !== undefined));
  const [name] = named;
  if (name !== undefined && named.size === 1) return name;
  throw new ProxyError("USAGE", name === undefined ? "Name a server" : "Name the server once", {
    hint: `Usage: ${usageOf(verb)}`,
  });
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
