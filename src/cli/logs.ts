/**
 * `mcpproxy logs`: the log of the proxy, or what one of its servers writes to stderr.
 *
 * Owns where lines come from, which of them are wanted, and going on with what is new. Invariants: foreign lines reach a
 * terminal without control characters; a line is printed once; the proxy's own log is read from its file, so that it is
 * there when no proxy is, and from the events where there is no file to read. Streaming the log through the API was
 * rejected: it would be the second copy of a file that lies beside the key one needs for it.
 */
import { join } from "node:path";

import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { followTail, readTail } from "../lib/tail.ts";
import { loadConfig } from "../state/config.ts";
import { serverLogPath } from "../upstream/server_log.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, GlobalFlags, ReadCommand } from "./command.ts";
import { endOf, follow, pause } from "./follow.ts";
import type { SeenEvent } from "./follow.ts";
import { readWords } from "./help.ts";
import { printData } from "./output.ts";
import { styleOf } from "./style.ts";
import type { Style } from "./style.ts";

const DEFAULT_LINES = 50;
/** What the proxy keeps of a server in memory. */
const MAX_SERVER_LINES = 200;
const LOOK_MS = 500;
const LEVELS: readonly string[] = ["debug", "info", "warn", "error"];

/** What of a log is wanted. */
interface Wanted {
  readonly tail: number;
  readonly isFollowed: boolean;
  /** Place in {@link LEVELS}. */
  readonly level: number;
}

/** A command under way. */
interface Reading extends Wanted {
  readonly flags: GlobalFlags;
  readonly io: CommandIo;
}

/** Prints the log of the proxy, or of the server that is named. */
export async function runLogs(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("logs", args);
  if (command.positionals.length > 0) return printServerLog("logs", args, io);
  const { flags } = command;
  const reading = { ...wantedOf(command), flags, io };
  const folder = await logFolder(reading);
  const path = folder === undefined ? undefined : join(folder, "main.log");
  const file = path === undefined ? undefined : readTail(path);
  if (path === undefined || file === undefined) return printLogEvents(reading);
  if (reading.isFollowed) return followFile(path, reading);
  const lines = file.lines.filter(isLoud(reading.level)).slice(-reading.tail);
  if (flags.isJson) printData({ logs: lines, count: lines.length }, flags, io);
  else for (const line of lines) printLine(line, reading);
  return 0;
}

/** Prints what a server writes to stderr; the first word is its name. */
export async function printServerLog(
  name: "logs" | "servers logs",
  args: readonly string[],
  io: CommandIo,
): Promise<number> {
  const command = readWords(name, args);
  const { flags, positionals } = command;
  const [server = ""] = positionals;
  const wanted = wantedOf(command);
  if (command.values["level"] !== undefined) {
    throw new ProxyError("USAGE", "Cannot filter what a server writes: its lines have no level", {
      hint: "Leave --level out, or name no server",
    });
  }
  const api = await findDaemon(flags, io);
  return printServerLines(server, { ...wanted, flags, io, api });
}

/** Prints a server's last lines, and with `isFollowed` those that come. */
export async function printServerLines(
  server: string,
  { api, ...reading }: Reading & { readonly api: ApiClient },
): Promise<number> {
  const { flags, io, isFollowed, tail } = reading;
  const read = async (count: number): Promise<unknown> => {
    const query = `tail=${Math.min(Math.max(1, count), MAX_SERVER_LINES)}`;
    return (await api.get(`/servers/${encodeURIComponent(server)}/logs?${query}`)).data;
  };
  if (!isFollowed) {
    const data = await read(tail);
    if (flags.isJson) printData(data, flags, io);
    else for (const line of linesOf(data)) printLine(line, reading);
    return 0;
  }
  const seen = linesOf(await read(MAX_SERVER_LINES));
  const folder = await logFolder(reading);
  if (folder !== undefined) return followFile(serverLogPath(folder, server), reading);
  for (const line of seen.slice(-tail)) printLine(line, reading);
  return pollLines(seen, { ...reading, read: async () => linesOf(await read(MAX_SERVER_LINES)) });
}

/** Looks again and again, for where the file is another machine's. */
async function pollLines(
  first: readonly string[],
  { read, ...reading }: Reading & { readonly read: () => Promise<readonly string[]> },
): Promise<number> {
  const signal = endOf(reading.io);
  let seen = first;
  for (;;) {
    await pause(LOOK_MS, signal);
    if (signal.aborted) return 0;
    const now = await read();
    for (const line of newLines(seen, now)) printLine(line, reading);
    seen = now;
  }
}

/** Prints the last lines of a file, and those that come. */
async function followFile(path: string, reading: Reading): Promise<number> {
  const file = readTail(path);
  const isWanted = isLoud(reading.level);
  for (const line of (file?.lines ?? []).filter(isWanted).slice(-reading.tail)) printLine(line, reading);
  for await (const line of followTail(path, { place: file?.place, signal: endOf(reading.io) })) {
    if (isWanted(line)) printLine(line, reading);
  }
  return 0;
}

/** What is in `now` behind all that was in `before`: the least that lets the one go on where the other ended. */
export function newLines(before: readonly string[], now: readonly string[]): readonly string[] {
  for (let gone = 0; gone < before.length; gone += 1) {
    const kept = before.length - gone;
    if (kept <= now.length && before.slice(gone).every((line, at) => line === now[at]))
      return now.slice(kept);
  }
  return now;
}

function linesOf(data: unknown): readonly string[] {
  return (data as { readonly logs: readonly string[] }).logs;
}

/** Warnings and errors as the proxy publishes them, for where its file is not. */
async function printLogEvents(reading: Reading): Promise<number> {
  const { flags, io, tail, isFollowed } = reading;
  const api = await findDaemon(flags, io);
  const { last_event_id: last } = (await api.get("/status")).data as { readonly last_event_id: number };
  if (!isFollowed && !flags.isJson) {
    io.stderr("The proxy writes no log file; these are the warnings and errors it remembers\n");
  }
  const kept: SeenEvent[] = [];
  const end = endOf(io);
  // Unfiltered, so that the end of what is remembered is seen.
  const find = (): Promise<ApiClient> => Promise.resolve(api);
  for await (const news of follow({ find, query: {}, since: "0", signal: end })) {
    if (news.kind !== "event" || last === 0) break;
    if (isLoudEvent(news.event, reading.level)) kept.push(news.event);
    if (news.event.id >= last) break;
  }
  const lines = kept.slice(-tail);
  if (flags.isJson && !isFollowed) printData({ logs: lines.map(eventText), count: lines.length }, flags, io);
  else for (const event of lines) printLine(eventText(event), reading);
  if (!isFollowed) return 0;
  const again = (): Promise<ApiClient> => findDaemon(flags, io);
  for await (const news of follow({
    find: again,
    query: { types: "log" },
    since: String(last),
    signal: end,
  })) {
    if (news.kind === "event" && isLoudEvent(news.event, reading.level))
      printLine(eventText(news.event), reading);
  }
  return 0;
}

function isLoudEvent({ type, data }: SeenEvent, level: number): boolean {
  return type === "log" && LEVELS.indexOf(String(data["level"])) >= level;
}

/** An event as the line of the log it was. */
function eventText({ time, data }: SeenEvent): string {
  const fields = Object.entries((data["fields"] ?? {}) as Readonly<Record<string, string>>);
  const level = String(data["level"]).toUpperCase().padEnd(5);
  const rest = fields.map(
    ([key, value]) => ` ${key}=${/[\s"=]/.test(value) ? JSON.stringify(value) : value}`,
  );
  return `${new Date(time).toISOString()} ${level} ${String(data["message"])}${rest.join("")}`;
}

/** Decides on lines of the log, the level being their second word. */
function isLoud(level: number): (line: string) => boolean {
  let last = true;
  return (line) => {
    const word = /^\S+ ([A-Z]+) /.exec(line)?.[1]?.toLowerCase() ?? "";
    // What has no level belongs to the line before.
    if (LEVELS.includes(word)) last = LEVELS.indexOf(word) >= level;
    return last;
  };
}

function printLine(line: string, { flags, io }: Pick<Reading, "flags" | "io">): void {
  if (flags.isJson) io.stdout(`${JSON.stringify({ line: oneLine(line) })}\n`);
  else io.stdout(`${colour(oneLine(line), styleOf(io))}\n`);
}

function colour(line: string, style: Style): string {
  const [, time, level = "", rest = ""] = /^(\S+T\S+Z) (DEBUG|INFO|WARN|ERROR)( .*)$/.exec(line) ?? [];
  if (time === undefined) return line;
  const paint = level === "ERROR" ? style.red : level === "WARN" ? style.yellow : (text: string) => text;
  return `${style.dim(time)} ${paint(`${level}${rest}`)}`;
}

function wantedOf({ values }: ReadCommand): Wanted {
  const text = textFlag(values["tail"]);
  const tail = text === undefined ? DEFAULT_LINES : /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(tail >= 1 && tail <= 100_000)) {
    throw new ProxyError("USAGE", `Cannot print '${text}' lines`, { hint: "Give --tail a number from 1" });
  }
  const word = textFlag(values["level"]) ?? "debug";
  const level = LEVELS.indexOf(word === "warning" ? "warn" : word);
  if (level < 0) {
    throw new ProxyError("USAGE", `Cannot filter by the level '${word}': there is none such`, {
      hint: `Give one of ${LEVELS.join(", ")}`,
    });
  }
  return { tail, isFollowed: values["follow"] === true, level };
}

/** Where the logs of the proxy lie; undefined when it is another machine's, or none are written. */
async function logFolder({ flags, io }: Reading): Promise<string | undefined> {
  const { env, cwd, home } = io;
  if (flags.url !== undefined || env["MCPPROXY_URL"]) return undefined;
  try {
    const { config: path, dataDir } = flags;
    const { settings } = await loadConfig({ path, dataDir, env, cwd, home, create: false });
    return settings.logging.enableFile ? settings.logging.logDir : undefined;
  } catch (error) {
    // A broken file must not keep anybody from the log that says so.
    if (flags.config !== undefined) throw error;
    return join(flags.dataDir ?? env["MCPPROXY_DATA_DIR"] ?? join(home, ".mcpproxy"), "logs");
  }
}
