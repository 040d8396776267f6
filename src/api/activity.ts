/**
 * The routes of the activity: what was done, by whom, and what came of it.
 *
 * Owns `/activity` and below with the fields of the Go proxy. Invariants: a long record is read in slices and sent as
 * it is read; a cell of a table is never a formula; an export holds arguments only when they are asked for. Pages by
 * offset alone were rejected: while calls go on, the same entry stands on two of them.
 */
import { Hono } from "hono";
import type { Context } from "hono";

import { ProxyError } from "../core/errors.ts";
import { csvLine } from "../lib/csv.ts";
import { parseDuration, parsePeriod } from "../lib/duration.ts";
import type {
  Activity,
  ActivityFilter,
  ActivityRow,
  ActivityStatus,
  ActivityTally,
} from "../state/activity.ts";
import { answer, queryNumber } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";

/** What the routes of the activity work with. */
export interface ActivityDeps {
  readonly activity: Activity;
}

const DEFAULT_LIMIT = 50;
/** As in the Go proxy: more is not refused, but not given either. */
const MAX_LIMIT = 100;
const EXPORT_PAGE_ROWS = 500;
const DEFAULT_PERIOD = "24h";
const TOP_COUNT = 5;
const STATUSES: ReadonlySet<string> = new Set<ActivityStatus>(["success", "error", "blocked"]);
/** In the order of the Go proxy; `response_truncated` is there for scripts that count columns. */
const CSV_COLUMNS = [
  "id",
  "type",
  "source",
  "server_name",
  "tool_name",
  "status",
  "error_message",
  "duration_ms",
  "timestamp",
  "session_id",
  "request_id",
  "response_truncated",
  "principal",
] as const;

/** Makes the routes below `/activity`. */
export function activityRoutes({ activity }: ActivityDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/", async (context) => answer(context, await pageOf(context, activity)));
  routes.get("/summary", async (context) => answer(context, await summaryOf(context, activity)));
  routes.get("/export", (context) => exportOf(context, activity));
  routes.get("/:id", (context) => {
    const id = context.req.param("id");
    const row = /^\d{1,15}$/.test(id) ? activity.find(Number(id)) : undefined;
    if (row === undefined) {
      throw new ProxyError("ROUTE_UNKNOWN", `Cannot find the activity '${id.slice(0, 40)}'`, {
        hint: "It may be past its retention; GET /api/v1/activity lists what is kept",
      });
    }
    return answer(context, { activity: activityView(row) });
  });
  return routes;
}

async function pageOf(context: Context<ApiEnv>, activity: Activity) {
  const filter = filterOf(context);
  const asked = queryNumber(context, "limit", { min: 1, max: Number.MAX_SAFE_INTEGER }) ?? DEFAULT_LIMIT;
  const limit = Math.min(asked, MAX_LIMIT);
  const offset = queryNumber(context, "offset", { min: 0, max: Number.MAX_SAFE_INTEGER }) ?? 0;
  const before = queryNumber(context, "cursor", { min: 1, max: Number.MAX_SAFE_INTEGER });
  const rows: ActivityRow[] = [];
  let skipped = 0;
  for await (const list of activity.read(filter, { before, pageRows: limit + 1 })) {
    const skip = Math.min(offset - skipped, list.length);
    skipped += skip;
    rows.push(...list.slice(skip, skip + limit + 1 - rows.length));
    if (rows.length > limit) break;
  }
  const page = rows.slice(0, limit);
  const next = rows.length > limit ? page.at(-1)?.id : undefined;
  return {
    activities: page.map(activityView),
    total: await activity.count(filter),
    limit,
    offset,
    ...(next === undefined ? {} : { next_cursor: String(next) }),
  };
}

async function summaryOf(context: Context<ApiEnv>, activity: Activity) {
  const period = context.req.query("period") ?? DEFAULT_PERIOD;
  const ms = parsePeriod(period);
  if (ms === undefined || ms <= 0) {
    throw new ProxyError("USAGE", `Cannot sum up '${period.slice(0, 40)}': it is no period`, {
      hint: "Send ?period=1h, 24h, 7d or 30d",
    });
  }
  const to = Date.now();
  const from = to - ms;
  const { types } = filterOf(context);
  const tallies = await activity.tally({ types, from });
  const count = (status?: ActivityStatus): number =>
    sumOf(tallies.filter((tally) => status === undefined || tally.status === status));
  const byServer = Map.groupBy(tallies, ({ server }) => server);
  const byTool = Map.groupBy(tallies, ({ server, tool }) => JSON.stringify([server, tool]));
  return {
    period,
    total_count: count(),
    success_count: count("success"),
    error_count: count("error"),
    blocked_count: count("blocked"),
    top_servers: topOf([...byServer.values()].filter(([first]) => first?.server !== undefined)).map(
      ({ first, count: calls }) => ({ name: first.server, count: calls }),
    ),
    top_tools: topOf([...byTool.values()].filter(([first]) => first?.tool !== undefined)).map(
      ({ first, count: calls }) => ({ server: first.server ?? "", tool: first.tool, count: calls }),
    ),
    start_time: new Date(from).toISOString(),
    end_time: new Date(to).toISOString(),
  };
}

function sumOf(tallies: readonly ActivityTally[]): number {
  return tallies.reduce((sum, { count }) => sum + count, 0);
}

function topOf(groups: readonly (readonly ActivityTally[])[]) {
  return groups
    .flatMap((group) => (group[0] === undefined ? [] : [{ first: group[0], count: sumOf(group) }]))
    .toSorted((a, b) => b.count - a.count)
    .slice(0, TOP_COUNT);
}

function exportOf(context: Context<ApiEnv>, activity: Activity): Response {
  const format = context.req.query("format") ?? "json";
  if (format !== "json" && format !== "csv") {
    throw new ProxyError("USAGE", `Cannot export as '${format.slice(0, 40)}'`, {
      hint: "Send ?format=json, one object a line, or ?format=csv",
    });
  }
  const filter = filterOf(context);
  const limit = queryNumber(context, "limit", { min: 1, max: Number.MAX_SAFE_INTEGER }) ?? Infinity;
  const hasBodies = context.req.query("include_bodies") === "true";
  const lines = exportLines(activity, { filter, limit, format, hasBodies });
  const isCsv = format === "csv";
  return context.body(streamOf(lines), 200, {
    "Content-Type": isCsv ? "text/csv; charset=utf-8" : "application/x-ndjson",
    "Content-Disposition": `attachment; filename="activity.${isCsv ? "csv" : "jsonl"}"`,
    "Cache-Control": "no-store",
  });
}

interface ExportOptions {
  readonly filter: ActivityFilter;
  readonly limit: number;
  readonly format: "json" | "csv";
  /** Whether arguments are part of it. */
  readonly hasBodies: boolean;
}

async function* exportLines(activity: Activity, options: ExportOptions): AsyncGenerator<string, undefined> {
  const { filter, limit, format, hasBodies } = options;
  if (format === "csv") yield csvLine(CSV_COLUMNS);
  let left = limit;
  for await (const rows of activity.read(filter, { pageRows: Math.min(EXPORT_PAGE_ROWS, limit) })) {
    const lines = rows.slice(0, left).map((row) => {
      const { arguments: args, ...rest } = activityView(row);
      if (format === "json")
        return `${JSON.stringify(hasBodies && args !== undefined ? { ...rest, arguments: args } : rest)}\n`;
      const cells: Readonly<Record<string, unknown>> = { ...rest, response_truncated: false };
      return csvLine(CSV_COLUMNS.map((name) => cells[name]));
    });
    yield lines.join("");
    left -= rows.length;
    if (left <= 0) return undefined;
  }
  return undefined;
}

/** Text as a body; who stops reading stops the reading of the record. */
function streamOf(texts: AsyncGenerator<string, undefined>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    pull: async (controller) => {
      const next = await texts.next();
      if (next.done === true) controller.close();
      else controller.enqueue(encoder.encode(next.value));
    },
    cancel: async () => {
      await texts.return(undefined);
    },
  });
}

/** An entry as every answer shows it. */
function activityView(row: ActivityRow) {
  const { id, at, type, source, status, detail } = row;
  const { arguments: args, ...rest } = JSON.parse(detail ?? "{}") as Readonly<Record<string, unknown>>;
  return {
    id: String(id),
    type,
    source,
    server_name: row.server,
    tool_name: row.tool,
    arguments: args,
    status,
    error_message: row.message,
    duration_ms: row.durationMs,
    timestamp: new Date(at).toISOString(),
    session_id: row.session,
    request_id: row.requestId,
    principal: row.principal,
    ...rest,
  };
}

function filterOf(context: Context<ApiEnv>): ActivityFilter {
  const text = (name: string): string | undefined => context.req.query(name) || undefined;
  const status = text("status");
  if (status !== undefined && !STATUSES.has(status)) {
    throw new ProxyError("USAGE", `Cannot filter by status '${status.slice(0, 40)}'`, {
      hint: "Send one of success, error, blocked",
    });
  }
  return {
    types: text("type")
      ?.split(",")
      .map((type) => type.trim()),
    status: status as ActivityStatus | undefined,
    server: text("server"),
    tool: text("tool"),
    intent: text("intent_type"),
    requestId: text("request_id"),
    session: text("session_id"),
    from: timeOf(context, "start_time"),
    to: timeOf(context, "end_time"),
  };
}

/** A time as RFC 3339, or how long ago. */
function timeOf(context: Context<ApiEnv>, name: string): number | undefined {
  const text = context.req.query(name);
  if (text === undefined || text === "") return undefined;
  const ago = parseDuration(text);
  const at = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (Number.isFinite(at)) return at;
  throw new ProxyError("USAGE", `Cannot use '${name}=${text.slice(0, 40)}': it is no time`, {
    hint: "Send a time such as 2026-07-28T12:00:00Z, or how long ago, such as 90m",
  });
}
