/**
 * `mcpproxy activity`: what was done, by whom, and what came of it.
 *
 * Owns the filters of a command line and how entries are printed. Invariants: an entry is the API's, in every format; a
 * limit past a page of the API is given all the same; text of tools and servers steers no terminal. A reader of the
 * database was rejected: a running proxy holds it.
 */
import { ProxyError } from "../core/errors.ts";
import { queryText } from "../lib/query.ts";
import { exportActivity } from "./activity_export.ts";
import { durationText, filterOf, PAGE_ROWS, readPage, wholeOf } from "./activity_page.ts";
import type { ActivityPage, ActivityRow } from "./activity_page.ts";
import { watchActivity } from "./activity_watch.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { readWords, runVerb } from "./help.ts";
import { countText, dataText, formatRecord, printData, textOf } from "./output.ts";
import { formatTable } from "./table.ts";

const DEFAULT_LIMIT = 50;
/** Calls, those that were refused too. */
const CALL_TYPES = ["tool_call", "internal_tool_call", "policy_decision"];

/** Runs a verb of `activity`. */
export function runActivity(args: readonly string[], io: CommandIo): Promise<number> {
  const verbs = { list, show, summary, export: exportActivity, watch: watchActivity };
  return runVerb("activity", { verbs, args, io });
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("activity list", args);
  const { flags, values } = command;
  const limit = wholeOf(values["limit"], "--limit") ?? DEFAULT_LIMIT;
  const offset = wholeOf(values["offset"], "--offset");
  const filter = filterOf(command);
  const api = await findDaemon(flags, io);
  const page = await readPages(api, { filter, limit, offset });
  if (flags.isJson) {
    printData(page, flags, io);
    return 0;
  }
  const { activities, total } = page;
  const { columns } = io;
  // Scripts count the columns of the Go proxy, which has none for it.
  const who = (text: string): readonly string[] => (columns === undefined ? [] : [text]);
  const rows = activities.map((row) => [
    row.id,
    row.source,
    ...who(textOf(row["principal"])),
    row.type,
    serverOf(row),
    row.tool_name ?? "",
    intentOf(row) ?? "-",
    row.status,
    durationText(row),
    row.timestamp,
  ]);
  const heading = [
    "ID",
    "SRC",
    ...who("WHO"),
    "TYPE",
    "SERVER",
    "TOOL",
    "INTENT",
    "STATUS",
    "DURATION",
    "TIME",
  ];
  io.stdout(formatTable(heading, rows, { columns }));
  io.stdout(`\nShowing ${activities.length} of ${countText(total, "record")}\n`);
  return 0;
}

/** As many entries as are asked for, in as many pages as that takes. */
async function readPages(
  api: ApiClient,
  wanted: {
    readonly filter: Readonly<Record<string, string | undefined>>;
    readonly limit: number;
    readonly offset: number | undefined;
  },
): Promise<ActivityPage> {
  const { filter, limit, offset } = wanted;
  let page = await readPage(api, { ...filter, limit: Math.min(limit, PAGE_ROWS), offset });
  const activities = [...page.activities];
  while (activities.length < limit && page.next_cursor !== undefined) {
    const rows = Math.min(limit - activities.length, PAGE_ROWS);
    page = await readPage(api, { ...filter, limit: rows, cursor: page.next_cursor });
    activities.push(...page.activities);
  }
  const { total, next_cursor: next } = page;
  return {
    activities,
    total,
    limit,
    offset: offset ?? 0,
    ...(next === undefined ? {} : { next_cursor: next }),
  };
}

async function show(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("activity show", args);
  const { flags } = command;
  const [id = ""] = command.positionals;
  const api = await findDaemon(flags, io);
  const { data } = await api.get(`/activity/${encodeURIComponent(id)}`);
  const { activity } = data as { readonly activity: ActivityRow };
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const { arguments: given } = activity;
  io.stdout(
    formatRecord([
      ["ID", activity.id],
      ["Type", activity.type],
      ["Source", activity.source],
      ["Principal", activity["principal"]],
      ["Action", metadataOf(activity).action],
      ["Server", serverOf(activity)],
      ["Tool", activity.tool_name],
      ["Intent", intentOf(activity)],
      ["Reason", metadataOf(activity).intent?.reason],
      ["Status", activity.status],
      ["Error", activity.error_message],
      ["Code", metadataOf(activity).code],
      ["Duration", durationText(activity)],
      ["Timestamp", activity.timestamp],
      ["Session ID", activity["session_id"]],
      ["Request ID", activity["request_id"]],
    ]),
  );
  if (given !== undefined) io.stdout(`\nArguments:\n${dataText(given, "json")}`);
  return 0;
}

interface Summary {
  readonly period: string;
  readonly total_count: number;
  readonly success_count: number;
  readonly error_count: number;
  readonly blocked_count: number;
  readonly top_servers: readonly { readonly name: string; readonly count: number }[];
  readonly top_tools: readonly { readonly server: string; readonly tool: string; readonly count: number }[];
}

async function summary(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("activity summary", args);
  const { flags, values } = command;
  const by = textFlag(values["by"]);
  if (by !== undefined && !["server", "tool", "status"].includes(by)) {
    throw new ProxyError("USAGE", `Cannot sum up by '${by}'`, { hint: "Use --by server, tool or status" });
  }
  const api = await findDaemon(flags, io);
  const query = queryText({ period: textFlag(values["period"]), type: CALL_TYPES.join(",") });
  const { data } = await api.get(`/activity/summary${query}`);
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const sum = data as Summary;
  const { columns } = io;
  const share = (count: number): string =>
    sum.total_count === 0 ? "" : ` (${((count / sum.total_count) * 100).toFixed(1)} %)`;
  const counts = [
    ["Total", String(sum.total_count)],
    ["Successful", `${sum.success_count}${share(sum.success_count)}`],
    ["Errors", `${sum.error_count}${share(sum.error_count)}`],
    ["Blocked", `${sum.blocked_count}${share(sum.blocked_count)}`],
  ];
  const servers = sum.top_servers.map(({ name, count }) => [name, String(count)]);
  const tools = sum.top_tools.map(({ server, tool, count }) => [
    server === "" ? tool : `${server}:${tool}`,
    String(count),
  ]);
  const tables = [
    ["status", ["STATUS", "CALLS"], counts],
    ["server", ["SERVER", "CALLS"], servers],
    ["tool", ["TOOL", "CALLS"], tools],
  ] as const;
  const shown = tables.filter(([key, , rows]) => by === key || (by === undefined && rows.length > 0));
  io.stdout(`Activity of the last ${sum.period}\n`);
  for (const [, heading, rows] of shown) io.stdout(`\n${formatTable(heading, rows, { columns })}`);
  return 0;
}

interface CallMetadata {
  readonly intent?: { readonly operation_type?: string; readonly reason?: string };
  readonly tool_variant?: string;
  readonly code?: string;
  readonly action?: unknown;
  /** Of a change of several, as many as were noted of all that were added. */
  readonly servers?: unknown;
  readonly added?: unknown;
}

function metadataOf(row: ActivityRow): CallMetadata {
  const { metadata = {} } = row as { readonly metadata?: CallMetadata };
  return metadata;
}

/** The server an entry is about; of several the first, and how many more. */
function serverOf(row: ActivityRow): string {
  const { servers, added } = metadataOf(row);
  if (typeof row.server_name === "string" || !Array.isArray(servers)) return row.server_name ?? "";
  const more = (typeof added === "number" ? added : servers.length) - 1;
  return more > 0 ? `${textOf(servers[0])} +${more}` : textOf(servers[0]);
}

function intentOf(row: ActivityRow): string | undefined {
  const { intent, tool_variant: variant } = metadataOf(row);
  return intent?.operation_type ?? variant?.replace("call_tool_", "");
}
