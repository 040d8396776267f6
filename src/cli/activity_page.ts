/**
 * Pages of the activity, and the filters of a command line.
 *
 * Owns what both mean to the API. Invariant: what a filter cannot mean is refused before the proxy is asked. Filtering
 * here was rejected: pages would come half empty.
 */
import { ProxyError } from "../core/errors.ts";
import { parsePeriod } from "../lib/duration.ts";
import { queryText } from "../lib/query.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { ReadCommand } from "./command.ts";

/** What the API gives at once. */
export const PAGE_ROWS = 100;

/** An entry as the API shows it. */
export interface ActivityRow {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly server_name?: string | null;
  readonly tool_name?: string | null;
  readonly status: string;
  readonly error_message?: string | null;
  readonly duration_ms?: number | null;
  readonly timestamp: string;
  readonly [more: string]: unknown;
}

/** A page of entries, the latest first. */
export interface ActivityPage {
  readonly activities: readonly ActivityRow[];
  readonly total: number;
  readonly limit: number;
  readonly offset: number;
  readonly next_cursor?: string;
}

/** Reads one page. */
export async function readPage(
  api: ApiClient,
  query: Readonly<Record<string, string | number | undefined>>,
): Promise<ActivityPage> {
  const { data } = await api.get(`/activity${queryText(query)}`);
  return data as ActivityPage;
}

/** What the filters of a command line mean to the API. */
export function filterOf({ values }: ReadCommand): Readonly<Record<string, string | undefined>> {
  const text = (name: string): string | undefined => textFlag(values[name]);
  const since = text("since");
  if (since !== undefined && text("start-time") !== undefined) {
    throw new ProxyError("USAGE", "Name when it begins once, by --since or --start-time", {
      hint: `See 'mcpproxy activity list --help'`,
    });
  }
  const ms = since === undefined ? undefined : parsePeriod(since);
  const tool = text("tool");
  const at = tool?.indexOf(":") ?? -1;
  const named = at <= 0 ? undefined : tool?.slice(0, at);
  const server = text("server") ?? named;
  if (named !== undefined && server !== named) {
    throw new ProxyError("USAGE", `Cannot filter by server '${server}' and tool '${tool}' at once`, {
      hint: "Name the server once",
    });
  }
  return {
    type: text("type"),
    server,
    tool: named === undefined ? tool : tool?.slice(at + 1),
    status: text("status"),
    intent_type: text("intent-type"),
    request_id: text("request-id"),
    session_id: text("session"),
    start_time: ms === undefined ? (since ?? text("start-time")) : new Date(Date.now() - ms).toISOString(),
    end_time: text("end-time"),
  };
}

/**
 * Reads a whole number of a flag.
 *
 * @throws {ProxyError} `USAGE`
 */
export function wholeOf(value: string | boolean | undefined, flag: string): number | undefined {
  const text = textFlag(value);
  if (text === undefined) return undefined;
  if (/^\d{1,9}$/.test(text) && (Number(text) > 0 || flag === "--offset")) return Number(text);
  throw new ProxyError("USAGE", `Cannot use '${flag} ${text}': it must be a whole number`, {
    hint: `Write it as in ${flag} 20`,
  });
}

/** How long an entry took. */
export function durationText({ duration_ms: ms }: ActivityRow): string {
  return typeof ms === "number" ? `${ms < 10 ? ms.toFixed(1) : Math.round(ms)}ms` : "";
}
