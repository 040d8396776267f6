/**
 * `mcpproxy tools`: the tools of all servers from a shell.
 *
 * Owns how tools and results are printed, and the exit codes of a preflight. Invariants: `--json` is the API's data
 * unchanged; a result that is an error exits 1; of several tools the worst one decides. Guessing why a tool is missing
 * was rejected: `explain` asks the rules that hide it.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { queryText } from "../lib/query.ts";
import { readArguments } from "./call.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { readWords, runVerb, usageOf } from "./help.ts";
import { formatRecord, printData } from "./output.ts";
import { styleOf } from "./style.ts";
import type { Paint, Style } from "./style.ts";
import { fit, formatTable } from "./table.ts";

/** A tool as the API lists it, as far as it is printed. */
interface ToolRow {
  readonly id: string;
  readonly description: string;
  readonly call_with: string;
  /** Absent where only those are listed that are. */
  readonly enabled?: boolean;
}

/** The exit codes of a preflight. */
const VERDICT_EXITS: Readonly<Record<string, number>> = { ready: 0, degraded: 10, blocked: 11, unknown: 12 };

/** Runs a verb of `tools`. */
export function runTools(args: readonly string[], io: CommandIo): Promise<number> {
  return runVerb("tools", { verbs: { list, search, call, preflight, explain }, args, io });
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values } = readWords("tools list", args);
  const names = ["server", "group", "q", "limit", "cursor"];
  const query = queryText(Object.fromEntries(names.map((name) => [name, textFlag(values[name])])));
  const { data } = await (await findDaemon(flags, io)).get(`/tools${query}`);
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const { tools, next_cursor: next } = data as {
    readonly tools: readonly ToolRow[];
    readonly next_cursor?: string;
  };
  printToolTable(tools, io);
  if (next !== undefined) io.stdout(`\nMore with --cursor ${next}\n`);
  return 0;
}

/** Below so many columns a tool has a line for its id, which is to be copied whole, and one for what it does. */
const WIDE_COLUMNS = 110;

/** Prints tools as a table, or where that is too narrow as two lines each. */
export function printToolTable(tools: readonly ToolRow[], io: CommandIo): void {
  const style = styleOf(io);
  const rows = tools.map((tool) => [
    tool.id,
    tool.enabled === false ? "off" : tool.call_with,
    firstLine(tool.description),
  ]);
  printRows(["TOOL", "CALL WITH", "DESCRIPTION"], { rows, io, style });
}

/** The first cell is an id, the last one a text. */
function printRows(
  heading: readonly string[],
  {
    rows,
    io,
    style,
  }: { readonly rows: readonly (readonly string[])[]; readonly io: CommandIo; readonly style: Style },
): void {
  const { columns } = io;
  if (columns === undefined || columns >= WIDE_COLUMNS) {
    const paint = (
      cell: string,
      { row, column }: { readonly row: number; readonly column: number },
    ): string => {
      if (row < 0) return style.bold(cell);
      return column > 0 && column < heading.length - 1 ? style.dim(cell) : cell;
    };
    io.stdout(formatTable(heading, rows, { columns, paint }));
    return;
  }
  for (const row of rows) {
    const [id = "", ...cells] = row.map(oneLine);
    const rest = fit(cells.join("  "), columns - 2).trimEnd();
    io.stdout(`${style.bold(id)}\n${rest === "" ? "" : `  ${rest}\n`}`);
  }
}

async function search(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readWords("tools search", args);
  const words = positionals.join(" ");
  if (words.trim() === "") {
    const hint = `Usage: ${usageOf("tools search")}`;
    throw new ProxyError("USAGE", "Cannot search: no words given", { hint });
  }
  const query = queryText({ q: words, server: textFlag(values["server"]), limit: textFlag(values["limit"]) });
  const { data } = await (await findDaemon(flags, io)).get(`/index/search${query}`);
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
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
  printRows(["TOOL", "SCORE", "CALL WITH", "SERVER", "DESCRIPTION"], { rows, io, style: styleOf(io) });
  io.stdout(`\n${results.length} of ${total} in ${took}\n`);
  return 0;
}

async function call(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readWords("tools call", args);
  const [id = "", positional] = positionals;
  const json = positional ?? textFlag(values["args"]);
  const given = json === undefined ? {} : { args: readArguments(json, `'{"path": "a.txt"}'`) };
  const api = await findDaemon(flags, io);
  const { envelope } = await api.post("/tools/call", {
    tool_name: "call_tool",
    arguments: { name: id, ...given },
  });
  if (flags.isJson) printData(envelope, flags, io);
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

async function preflight(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("tools preflight", args);
  const { data } = await (await findDaemon(flags, io)).post("/preflight", { tools: positionals });
  const { tools } = data as {
    readonly tools: readonly {
      readonly id: string;
      readonly status: string;
      readonly reason: string;
      readonly hint?: string;
    }[];
  };
  if (flags.isJson) printData(data, flags, io);
  else {
    const style = styleOf(io);
    for (const { id, status, reason, hint } of tools) {
      const code = status === "ready" ? "" : `  ${reason}`;
      io.stdout(`${verdictPaint(status, style)(status.padEnd(8))}  ${oneLine(`${id}${code}`)}\n`);
      if (hint) io.stdout(`          ${style.cyan(`→ ${oneLine(hint)}`)}\n`);
    }
  }
  return Math.max(0, ...tools.map(({ status }) => VERDICT_EXITS[status] ?? 1));
}

function verdictPaint(status: string, style: Style): Paint {
  if (status === "ready") return style.green;
  return status === "degraded" ? style.yellow : style.red;
}

/** Where a score comes from: the words' scores make the match. */
interface SearchParts {
  readonly words: readonly { readonly word: string; readonly matched?: string; readonly score: number }[];
  readonly match: number;
  readonly coverage: number;
  readonly name: number;
}

/** What is said of a tool, as far as it is printed. */
interface Explained {
  readonly id: string;
  readonly is_found: boolean;
  readonly is_callable: boolean;
  readonly reasons: readonly { readonly code: string; readonly message: string; readonly hint?: string }[];
  readonly server?: {
    readonly name: string;
    readonly category: string;
    readonly startup_mode: string;
    readonly connection_state: string;
  };
  readonly call_with?: string;
  readonly search?: {
    readonly query: string;
    readonly total?: number;
    readonly rank?: number;
    readonly score?: number;
    readonly threshold?: number;
    readonly parts?: SearchParts;
  };
  readonly did_you_mean?: readonly string[];
}

async function explain(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readWords("tools explain", args);
  const [id = ""] = positionals;
  const query = queryText({ id, query: textFlag(values["query"]), limit: textFlag(values["limit"]) });
  const { data } = await (await findDaemon(flags, io)).get(`/tools/explain${query}`);
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const told = data as Explained;
  const { server, search: found } = told;
  const style = styleOf(io);
  io.stdout(
    `${style.bold(oneLine(told.id))}\n\n${formatRecord([
      ["Can be found", told.is_found],
      ["Can be called", told.is_callable],
      ["Call with", told.call_with],
      [
        "Server",
        server && `${server.name}: ${server.category} (${server.startup_mode}, ${server.connection_state})`,
      ],
      ["Query", found?.query],
      ["Rank", found && (found.rank === undefined ? "none" : `${found.rank} of ${found.total ?? "?"}`)],
      ["Score", found?.score === undefined ? undefined : scoreText(found)],
      ["Parts", partsText(found?.parts)],
      ["Did you mean", told.did_you_mean],
    ])}`,
  );
  for (const { code, message, hint } of told.reasons) {
    io.stdout(`\n${style.yellow(code)}  ${oneLine(message)}\n`);
    if (hint) io.stdout(`  ${style.cyan(`→ ${oneLine(hint)}`)}\n`);
  }
  if (told.reasons.length === 0) io.stdout("\nNothing stands in its way\n");
  return 0;
}

function scoreText({ score = 0, threshold }: NonNullable<Explained["search"]>): string {
  return `${score.toFixed(3)}${threshold === undefined ? "" : `, the last hit within the limit has ${threshold.toFixed(3)}`}`;
}

function partsText(parts: SearchParts | undefined): string {
  if (parts === undefined) return "";
  const words = parts.words.map(({ word, matched, score }) =>
    matched === undefined
      ? `${word} –`
      : `${word}${matched === word ? "" : ` as ${matched}`} ${score.toFixed(3)}`,
  );
  const factors = [
    `match ${parts.match.toFixed(3)}`,
    `coverage ${parts.coverage.toFixed(2)}`,
    `name ${parts.name.toFixed(2)}`,
  ];
  return `${words.join(", ")}; ${factors.join(" × ")}`;
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
