/**
 * `mcpproxy status`: how the proxy and each of its servers stand.
 *
 * Owns what is shown first. Invariant: the numbers are those of the API; `--json` is its data, the servers beside it.
 * All servers with all their reasons were rejected for a terminal: of 159 nobody sees the first line.
 */
import { oneLine } from "../lib/log.ts";
import { wrapText } from "../lib/wrap.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import type { CommandIo } from "./command.ts";
import { readWords } from "./help.ts";
import { countText, printData } from "./output.ts";
import { ageText, serverLines } from "./servers.ts";
import type { ServerRow } from "./servers.ts";
import { styleOf } from "./style.ts";
import type { Style } from "./style.ts";
import { watch } from "./watch.ts";

interface StatusData {
  readonly state: string;
  readonly version: string;
  readonly listen_addr: string;
  readonly pid: number;
  readonly uptime_ms: number;
  readonly sessions: number;
  readonly config_error?: string;
  readonly restart_required?: readonly string[];
  readonly upstream_stats: Readonly<Record<string, unknown>>;
}

interface Overview {
  readonly status: StatusData;
  readonly servers: readonly ServerRow[];
}

/** What changes the picture. */
const TYPES =
  "proxy_state_changed,server_added,server_removed,server_renamed,server_state_changed,tools_changed,session_opened,session_closed,config_committed,config_reloaded,config_invalid";
/** On a terminal the first ones that need a look. */
const MAX_LINES = 24;

/** Prints the status; exit code 3 when no proxy runs. */
export async function runStatus(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values } = readWords("status", args);
  const style = styleOf(io);
  if (values["watch"] === true) {
    const draw = (
      data: Overview,
      frame: { readonly columns: number; readonly rows: number; readonly now: number },
    ) => overviewLines(data, { ...frame, style, height: frame.rows });
    return watch<Overview>({ query: { types: TYPES }, read: readOverview, draw }, { flags, io });
  }
  const data = await readOverview(await findDaemon(flags, io));
  if (flags.isJson) {
    printData({ ...data.status, servers: data.servers }, flags, io);
    return 0;
  }
  const { columns } = io;
  const now = Date.now();
  const lines =
    columns === undefined
      ? [
          headOf(data.status, style),
          ...configLines(data.status, style),
          "",
          ...serverLines(data.servers, { columns, style, now }),
        ]
      : overviewLines(data, { columns, style, now, height: MAX_LINES });
  io.stdout(lines.map((line) => `${line}\n`).join(""));
  return 0;
}

async function readOverview(api: ApiClient): Promise<Overview> {
  const [status, list] = await Promise.all([api.get("/status"), api.get("/servers")]);
  return {
    status: status.data as StatusData,
    servers: (list.data as { readonly servers: readonly ServerRow[] }).servers,
  };
}

function headOf(
  { state, version, listen_addr, pid, upstream_stats: stats }: StatusData,
  style: Style,
): string {
  const paint = state === "running" ? style.green : state === "degraded" ? style.red : style.yellow;
  const counts = `${num(stats, "connected_servers")} of ${num(stats, "total_servers")} servers connected`;
  const tools = countText(num(stats, "total_tools"), "tool");
  return `${style.bold(`mcpproxy ${version}`)} ${paint(state)} on ${oneLine(listen_addr)} (pid ${pid}): ${counts}, ${tools}`;
}

/** What waits for a person's hand on the configuration. */
function configLines({ config_error: error, restart_required: waiting = [] }: StatusData, style: Style) {
  return [
    ...(error === undefined ? [] : [style.red(oneLine(`The file as it stands is not in force: ${error}`))]),
    ...(waiting.length === 0 ? [] : [style.yellow(`Waits for a restart: ${oneLine(waiting.join(", "))}`)]),
  ];
}

function num(stats: Readonly<Record<string, unknown>>, key: string): number {
  return Number(stats[key] ?? 0);
}

/** The proxy, its servers by kind, and those that need a look. */
function overviewLines(
  { status, servers }: Overview,
  {
    columns,
    style,
    now,
    height,
  }: { readonly columns: number; readonly style: Style; readonly now: number; readonly height: number },
): readonly string[] {
  const kinds = (
    [
      ["connected", style.green],
      ["disconnected", style.red],
      ["auto_disabled", style.red],
      ["quarantined", style.yellow],
      ["sleeping", style.dim],
      ["disabled", style.dim],
    ] as const
  ).flatMap(([kind, paint]) => {
    const count = num(status.upstream_stats, `${kind}_servers`);
    return count === 0 ? [] : [paint(`${count} ${kind}`)];
  });
  const troubled = servers
    .filter(
      ({ category }) =>
        category === "disconnected" || category === "auto_disabled" || category === "quarantined",
    )
    .toSorted((a, b) => (a.since < b.since ? 1 : -1));
  const counts = `${kinds.join(", ") || "no servers"}; ${countText(status.sessions, "session")}; up ${ageText(status.uptime_ms)}`;
  const head = [headOf(status, style), counts, ...configLines(status, style)].flatMap((line) =>
    wrapText(line, columns),
  );
  const room = Math.max(2, height - head.length - 1);
  return [
    ...head,
    ...(troubled.length === 0 ? [] : ["", ...serverLines(troubled, { columns, style, now, room })]),
  ];
}
