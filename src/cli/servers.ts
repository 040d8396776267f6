/**
 * `mcpproxy servers`: the servers of a proxy, listed, shown and watched.
 *
 * Owns how servers are printed; what changes them is in the files of its other verbs. Invariants: filters, order and
 * counts are the API's; `--json` is its data unchanged. Reading the configuration file here was rejected: it does not
 * know how a server stands.
 */
import { oneLine } from "../lib/log.ts";
import { queryText } from "../lib/query.ts";
import { wrapText } from "../lib/wrap.ts";
import { approveServers, connectServers, removeServers, switchServers } from "./batch.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { addServer, patchServer, renameServer } from "./entry.ts";
import { readWords, runVerb } from "./help.ts";
import type { Verb } from "./help.ts";
import { printServerLog } from "./logs.ts";
import { countText, formatRecord, printData, textOf } from "./output.ts";
import { categoryPaint, styleOf } from "./style.ts";
import type { Style } from "./style.ts";
import { fit, tableLines } from "./table.ts";
import { printToolTable } from "./tools.ts";
import { watch } from "./watch.ts";

/** A server as the API lists it, as far as it is printed. */
export interface ServerRow {
  readonly name: string;
  readonly category: string;
  readonly connection_state: string;
  readonly startup_mode: string;
  readonly protocol: string;
  readonly tool_count: number;
  readonly last_error: string;
  readonly groups: readonly (string | number)[];
  readonly attempt: number;
  readonly since: string;
  readonly next_attempt_at?: string;
  readonly reason?: string;
  readonly stderr?: readonly string[];
  readonly health: { readonly summary: string; readonly detail: string; readonly action: string };
}

/** A page of the list. */
export interface ServerPage {
  readonly servers: readonly ServerRow[];
  readonly total: number;
  readonly stats: Readonly<Record<string, number>>;
  readonly next_cursor?: string;
}

const VERBS: Readonly<Record<string, Verb>> = {
  list,
  show,
  add: addServer,
  patch: patchServer,
  remove: removeServers,
  rename: renameServer,
  enable: (args, io) => switchServers("enable", args, io),
  disable: (args, io) => switchServers("disable", args, io),
  restart: (args, io) => switchServers("restart", args, io),
  quarantine: (args, io) => switchServers("quarantine", args, io),
  approve: (args, io) => approveServers("approve", args, io),
  reject: (args, io) => approveServers("reject", args, io),
  connect: (args, io) => connectServers("connect", args, io),
  disconnect: (args, io) => connectServers("disconnect", args, io),
  tools,
  logs: (args, io) => printServerLog("servers logs", args, io),
};

/** Runs a verb of `servers`. */
export function runServers(args: readonly string[], io: CommandIo): Promise<number> {
  return runVerb("servers", { verbs: VERBS, args, io });
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("servers list", joinSort(args));
  const { flags, values } = command;
  const path = listPath(command);
  if (values["watch"] === true) return watchList(command, io);
  const { data } = await (await findDaemon(flags, io)).get(path);
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const page = data as ServerPage;
  const { columns } = io;
  io.stdout(
    serverLines(page.servers, { columns, style: styleOf(io), now: Date.now() })
      .map((line) => `${line}\n`)
      .join(""),
  );
  io.stdout(`\n${summaryOf(page)}\n`);
  if (page.next_cursor !== undefined) io.stdout(`More with --cursor ${page.next_cursor}\n`);
  return 0;
}

/** `--sort -name`: the value begins as a flag does. */
function joinSort(args: readonly string[]): readonly string[] {
  const at = args.indexOf("--sort");
  const value = args[at + 1] ?? "";
  return at >= 0 && /^-[a-z_]+$/.test(value) ? args.toSpliced(at, 2, `--sort=${value}`) : args;
}

function listPath({ values }: ReadCommand): string {
  const { watch: _, ...given } = values;
  const names = ["category", "group", "q", "protocol", "tag", "sort", "limit", "cursor"] as const;
  return `/servers${queryText(Object.fromEntries(names.map((name) => [name, textFlag(given[name])])))}`;
}

/** Narrower terminals have the reason in a line of its own. */
const WIDE_COLUMNS = 80;

/** Options of {@link serverLines}. */
export interface ServerLineOptions {
  readonly columns: number | undefined;
  readonly style: Style;
  /** Unix milliseconds. */
  readonly now: number;
  /** Lines there is room for. @default for all */
  readonly room?: number;
}

/** Rows of servers below a heading; what has no room is counted in the last line. */
export function serverLines(
  servers: readonly ServerRow[],
  { columns, style, now, room = Number.POSITIVE_INFINITY }: ServerLineOptions,
): readonly string[] {
  const isNarrow = columns !== undefined && columns < WIDE_COLUMNS;
  const reasons = servers.map((server) => reasonOf(server, now));
  const shown = howMany(
    isNarrow ? reasons.map((reason) => (reason === "" ? 1 : 2)) : reasons.map(() => 1),
    room - 1,
  );
  const rows = servers
    .slice(0, shown)
    .map((server, at) => [
      server.name,
      server.category,
      String(server.tool_count),
      ageText(now - Date.parse(server.since)),
      ...(isNarrow ? [] : [reasons[at] ?? ""]),
    ]);
  const heading = ["SERVER", "CATEGORY", "TOOLS", "SINCE", ...(isNarrow ? [] : ["WHY"])];
  const lines = tableLines(heading, {
    rows,
    columns,
    paint: (cell, { row, column }) => {
      if (row < 0) return style.bold(cell);
      if (column === 1) return categoryPaint(servers[row]?.category ?? "", style)(cell);
      return column >= 3 ? style.dim(cell) : cell;
    },
  });
  const all = lines.flatMap((line, at) => {
    const reason = isNarrow ? (reasons[at - 1] ?? "") : "";
    return reason === ""
      ? [line]
      : [line, style.dim(`  ${fit(reason, (columns ?? WIDE_COLUMNS) - 2).trimEnd()}`)];
  });
  const rest = servers.length - shown;
  return rest === 0 ? all : [...all, style.dim(`… and ${rest} more`)];
}

/** How many of the first ones fit, a line being left for what does not. */
function howMany(heights: readonly number[], room: number): number {
  let used = 0;
  let count = 0;
  for (const height of heights) {
    used += height;
    const isLast = count === heights.length - 1;
    if (used > (isLast ? room : room - 1)) return count;
    count += 1;
  }
  return count;
}

/** Why a server stands as it does, and what comes next. */
function reasonOf(
  { name, reason = "", connection_state: state, attempt, next_attempt_at: next }: ServerRow,
  now: number,
): string {
  const isTrying = state === "connecting" || state === "authenticating" || state === "discovering";
  const waitMs = next === undefined ? 0 : Date.parse(next) - now;
  return [
    ...(isTrying ? [attempt > 1 ? `attempt ${attempt}` : state] : []),
    ...(waitMs > 0 ? [`again in ${ageText(waitMs)}`] : []),
    ...(reason === "" ? [] : [oneLine(shorten(reason, name))]),
  ].join("; ");
}

/** A reason beside the name of its server; what tells most comes first, since the end may be cut. */
function shorten(reason: string, server: string): string {
  const plain = reason.replace(`Cannot connect '${server}': `, "");
  const [, count, last] = /^(\d+) failures in a row; the last: (.*)$/s.exec(plain) ?? [];
  return last === undefined ? plain : `${last} (${count} failures)`;
}

/** How many there are of each kind. */
export function summaryOf({ stats, total, servers }: ServerPage): string {
  const all = stats["total_servers"] ?? total;
  const kinds = ["connected", "disconnected", "sleeping", "disabled", "auto_disabled", "quarantined"]
    .map((kind) => [kind, stats[`${kind}_servers`] ?? 0] as const)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind}`);
  const shown =
    servers.length === all ? "" : `${servers.length} shown${total === all ? "" : ` of ${total} found`}; `;
  return `${shown}${countText(all, "server")}: ${kinds.join(", ") || "none"}; ${countText(stats["total_tools"] ?? 0, "tool")}`;
}

/** A span of time in its largest unit: `8s`, `5m`, `3h`, `12d`. */
export function ageText(spanMs: number): string {
  const seconds = Math.max(0, Math.round((Number.isFinite(spanMs) ? spanMs : 0) / 1_000));
  if (seconds < 100) return `${seconds}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return `${minutes}m`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours}h` : `${Math.round(hours / 24)}d`;
}

/** What changes a server's row; a filter over the others is the list's. */
const ROW_TYPES =
  "server_added,server_removed,server_renamed,server_changed,server_state_changed,tools_changed";

function watchList(command: ReadCommand, io: CommandIo): Promise<number> {
  const { flags, values } = command;
  const style = styleOf(io);
  const isSorted = values["sort"] !== undefined;
  const category = textFlag(values["category"])?.split(",");
  const text = textFlag(values["q"])?.toLowerCase();
  const read = async (api: ApiClient): Promise<ServerPage> =>
    (await api.get(listPath(command))).data as ServerPage;
  return watch<ServerPage>(
    {
      query: { types: ROW_TYPES, groups: textFlag(values["group"]) },
      read,
      draw: (page, { columns, rows, now }) => {
        // What changed last is what one watches for.
        const servers = isSorted
          ? page.servers
          : page.servers.toSorted((a, b) => (a.since < b.since ? 1 : -1));
        const head = wrapText(summaryOf(page), columns).map(style.bold);
        const room = Math.max(2, rows - head.length - 1);
        return [...head, "", ...serverLines(servers, { columns, style, now, room })];
      },
      isWanted: ({ server, data }) => {
        const standings = [data["before"], data["after"]] as ({ readonly category?: string } | undefined)[];
        const isOfCategory =
          category === undefined || standings.some((one) => category.includes(one?.category ?? ""));
        return isOfCategory && (text === undefined || (server ?? "").toLowerCase().includes(text));
      },
    },
    { flags, io },
  );
}

async function show(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("servers show", args);
  const [name = ""] = positionals;
  const { data } = await (await findDaemon(flags, io)).get(`/servers/${encodeURIComponent(name)}`);
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const server = data as ServerRow & Readonly<Record<string, unknown>>;
  const { health, stderr = [], category } = server;
  const style = styleOf(io);
  const paint = categoryPaint(category, style);
  const now = Date.now();
  const hint = health.detail === server.last_error ? "" : health.detail;
  io.stdout(`${style.bold(oneLine(server.name))}  ${paint(category)}\n\n`);
  io.stdout(
    formatRecord([
      ["Description", server["description"]],
      ["Mode", server.startup_mode],
      ["Connection", `${server.connection_state}, for ${ageText(now - Date.parse(server.since))}`],
      ["Why", reasonOf(server, now)],
      ["Hint", hint],
      ["Do", health.action === "" ? undefined : commandFor(health.action, server.name)],
      ["Tools", server.tool_count],
      ["Protocol", server.protocol],
      ["URL", server["url"]],
      ["Command", commandLine(server)],
      ["Working dir", server["working_dir"]],
      ["Environment", pairsOf(server["env"], "=")],
      ["Headers", pairsOf(server["headers"], ": ")],
      ["Groups", textOf(server.groups)],
      ["Tags", textOf(server["tags"])],
      ["Created", server["created"]],
      ["Updated", server["updated"]],
    ]),
  );
  if (stderr.length > 0) {
    io.stdout(
      `\n${style.bold("Its last words on stderr")}\n${stderr.map((line) => `  ${oneLine(line)}\n`).join("")}`,
    );
  }
  return 0;
}

function commandLine(server: Readonly<Record<string, unknown>>): string | undefined {
  const { command, args } = server as { readonly command?: string; readonly args?: readonly string[] };
  if (command === undefined) return undefined;
  return [command, ...(args ?? [])]
    .map((word) => (/[\s'"\\]/.test(word) ? JSON.stringify(word) : word))
    .join(" ");
}

function pairsOf(values: unknown, between: string): string {
  if (typeof values !== "object" || values === null) return "";
  return Object.entries(values)
    .map(([key, value]) => `${key}${between}${String(value)}`)
    .join(", ");
}

/** The command for what a person should do, by the Go proxy's word for it. */
function commandFor(action: string, server: string): string {
  const word = /^[\w./@+-]+$/.test(server) ? server : `'${server.replaceAll("'", String.raw`'\''`)}'`;
  if (action === "view_logs") return `mcpproxy servers logs ${word}`;
  if (action === "configure") return "mcpproxy config check";
  return `mcpproxy servers ${action === "login" ? "restart" : action} ${word}`;
}

async function tools(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("servers tools", args);
  const [name = ""] = positionals;
  const { data } = await (await findDaemon(flags, io)).get(`/servers/${encodeURIComponent(name)}/tools`);
  if (flags.isJson) printData(data, flags, io);
  else printToolTable((data as { readonly tools: Parameters<typeof printToolTable>[0] }).tools, io);
  return 0;
}
