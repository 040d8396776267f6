/**
 * `mcpproxy status`: how the proxy and each of its servers stand.
 *
 * Owns the table. Invariant: the numbers are those of the API; `--json` is its data unchanged.
 */
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import { readCommand } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { formatTable } from "./table.ts";

const USAGE = "mcpproxy status [--json] [-c FILE] [-d DIR]";

interface ServerRow {
  readonly name: string;
  readonly category: string;
  readonly protocol: string;
  readonly tool_count: number;
  readonly last_error: string;
  readonly health: { readonly detail: string };
}

/** Prints the status; exit code 3 when no proxy runs. */
export async function runStatus(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags } = readCommand(args, { usage: USAGE, maxPositionals: 0 });
  const api = await findDaemon(flags, io);
  const [status, list] = await Promise.all([api.get("/status"), api.get("/servers")]);
  const { servers } = list.data as { readonly servers: readonly ServerRow[] };
  if (flags.isJson) {
    io.stdout(`${JSON.stringify({ ...(status.data as object), servers }, null, 2)}\n`);
    return 0;
  }
  const { state, version, listen_addr, pid, upstream_stats } = status.data as {
    readonly state: string;
    readonly version: string;
    readonly listen_addr: string;
    readonly pid: number;
    readonly upstream_stats: {
      readonly total_servers: number;
      readonly connected_servers: number;
      readonly total_tools: number;
    };
  };
  const { connected_servers: connected, total_servers: total, total_tools: tools } = upstream_stats;
  io.stdout(
    `mcpproxy ${version} ${state} on ${listen_addr} (pid ${pid}): ${connected} of ${total} servers connected, ${tools} tools\n\n`,
  );
  const rows = servers.map((server) => [
    server.name,
    server.category,
    server.protocol,
    String(server.tool_count),
    reasonOf(server, " — "),
  ]);
  const heading = ["SERVER", "STATE", "PROTOCOL", "TOOLS", "REASON"];
  if (io.columns === undefined) {
    io.stdout(formatTable(heading, rows));
    return 0;
  }
  // A terminal is too narrow for reasons beside the rest, and cut off they tell nothing.
  io.stdout(
    formatTable(
      heading.slice(0, -1),
      rows.map((row) => row.slice(0, -1)),
      { columns: io.columns },
    ),
  );
  for (const server of servers) {
    if (server.last_error !== "") io.stdout(`\n${reasonOf(server, "\n  ")}\n`);
  }
  return 0;
}

function reasonOf({ last_error: reason, health }: ServerRow, separator: string): string {
  return [reason, reason === "" ? "" : health.detail]
    .filter((part) => part !== "")
    .map(oneLine)
    .join(separator);
}
