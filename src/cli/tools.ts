/**
 * `mcpproxy tools list|search|call`: the tools of all servers from a shell.
 *
 * Owns how tools and results are printed. Invariants: `--json` is the API's data unchanged; a result
 * that is an error exits 1.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import { readCommand, textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { formatTable } from "./table.ts";
import { takeVerb } from "./verb.ts";

const USAGE = {
  list: "mcpproxy tools list [--server NAME] [--json]",
  search: "mcpproxy tools search WORDS… [--limit N] [--server NAME] [--json]",
  call: 'mcpproxy tools call SERVER:TOOL [\'{"argument": "value"}\'] [--json]',
} as const;
const MAX_WORDS = 200;

interface ToolRow {
  readonly id: string;
  readonly description: string;
  readonly call_with: string;
}

/** Runs `tools list`, `tools search` or `tools call`. */
export async function runTools(args: readonly string[], io: CommandIo): Promise<number> {
  const { verb, rest } = takeVerb(args);
  if (verb === "list") return list(rest, io);
  if (verb === "search") return search(rest, io);
  if (verb === "call") return call(rest, io);
  throw new ProxyError(
    "USAGE",
    verb === undefined ? "Name what to do with tools" : `Cannot run 'tools ${verb}': no such command`,
    {
      hint: `Usage: ${Object.values(USAGE).join(" | ")}`,
    },
  );
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readCommand(args, {
    usage: USAGE.list,
    options: { server: { type: "string" } },
    maxPositionals: 0,
  });
  const api = await findDaemon(command.flags, io);
  const { data } = await api.get(`/tools${query({ server: textFlag(command.values["server"]) })}`);
  if (command.flags.isJson) return printJson(data, io);
  const { tools } = data as { readonly tools: readonly (ToolRow & { readonly enabled: boolean })[] };
  const rows = tools.map((tool) => [
    tool.id,
    tool.enabled ? tool.call_with : "off",
    firstLine(tool.description),
  ]);
  io.stdout(formatTable(["TOOL", "CALL WITH", "DESCRIPTION"], rows, { columns: io.columns }));
  return 0;
}

async function search(args: readonly string[], io: CommandIo): Promise<number> {
  const options = { server: { type: "string" }, limit: { type: "string" } } as const;
  const command = readCommand(args, { usage: USAGE.search, options, maxPositionals: MAX_WORDS });
  const words = command.positionals.join(" ");
  if (words.trim() === "")
    throw new ProxyError("USAGE", "Cannot search: no words given", { hint: `Usage: ${USAGE.search}` });
  const api = await findDaemon(command.flags, io);
  const { server, limit } = command.values;
  const { data } = await api.get(
    `/index/search${query({ q: words, server: textFlag(server), limit: textFlag(limit) })}`,
  );
  if (command.flags.isJson) return printJson(data, io);
  const { results, total, took } = data as {
    readonly results: readonly {
      readonly tool: ToolRow;
      readonly score: number;
      readonly server_state: string;
    }[];
    readonly total: number;
    readonly took: string;
  };
  const rows = results.map(({ tool, score, server_state: state }) => [
    tool.id,
    score.toFixed(3),
    tool.call_with,
    state,
    firstLine(tool.description),
  ]);
  io.stdout(
    formatTable(["TOOL", "SCORE", "CALL WITH", "SERVER", "DESCRIPTION"], rows, { columns: io.columns }),
  );
  io.stdout(`\n${results.length} of ${total} in ${took}\n`);
  return 0;
}

async function call(args: readonly string[], io: CommandIo): Promise<number> {
  const options = { args: { type: "string" } } as const;
  const command = readCommand(args, { usage: USAGE.call, options, maxPositionals: 2 });
  const [id, positional] = command.positionals;
  if (id === undefined)
    throw new ProxyError("USAGE", "Cannot call a tool: none is named", { hint: `Usage: ${USAGE.call}` });
  const json = positional ?? textFlag(command.values["args"]);
  const api = await findDaemon(command.flags, io);
  const { envelope } = await api.post("/tools/call", {
    tool_name: "call_tool",
    arguments: { name: id, ...(json === undefined ? {} : { args_json: json }) },
  });
  if (command.flags.isJson) printJson(envelope, io);
  else printContent(envelope, io);
  return envelope["is_error"] === true ? 1 : 0;
}

function printContent(envelope: Readonly<Record<string, unknown>>, io: CommandIo): void {
  const content = envelope["data"] as readonly Readonly<Record<string, unknown>>[];
  const print = envelope["is_error"] === true ? io.stderr : io.stdout;
  for (const block of content) print(`${blockText(block)}\n`);
  if (content.length === 0 && envelope["structured_content"] !== undefined) {
    io.stdout(`${JSON.stringify(envelope["structured_content"], null, 2)}\n`);
  }
}

/** A block as text; what a terminal cannot show is named. Escape sequences of the upstream are removed. */
function blockText(block: Readonly<Record<string, unknown>>): string {
  const { type, text, data, mimeType } = block;
  if (typeof text === "string") return text.split("\n").map(oneLine).join("\n");
  const kind = [type, mimeType].filter((part) => typeof part === "string").join(" ");
  const size = typeof data === "string" ? `, ${data.length} base64 characters` : "";
  return `[${oneLine(kind)}${size}; --json has it]`;
}

function query(values: Readonly<Record<string, string | undefined>>): string {
  const given = Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given).toString()}`;
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}

function printJson(data: unknown, io: CommandIo): number {
  io.stdout(`${JSON.stringify(data, null, 2)}\n`);
  return 0;
}
