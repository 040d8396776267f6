/**
 * The verbs of `mcpproxy upstream` that change what a server is.
 *
 * Owns how a definition is written on a command line, and what is said of a change. Invariants: with and without a
 * running proxy a command line comes to the same, quarantine included; a value that may be secret is in no message; what
 * cannot be taken back is asked for first. Writing `quarantined: false` for a person's own command line was rejected: what
 * it means would depend on whether a proxy runs.
 */
import { messageOf, ProxyError } from "../core/errors.ts";
import type { JsonObject } from "../core/model.ts";
import { parseDuration } from "../lib/duration.ts";
import { oneLine } from "../lib/log.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import { confirm, textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import type { ApiClient } from "./client.ts";
import { readWords } from "./help.ts";
import { changeFile, findRunning } from "./offline.ts";
import { printData } from "./output.ts";
import { answerOf, pathOf, told, usage } from "./upstream_switch.ts";
import type { Line } from "./upstream_switch.ts";
import { takeVerb } from "./verb.ts";

const TRANSPORTS: Readonly<Record<string, string>> = {
  http: "http",
  "streamable-http": "streamable-http",
  sse: "sse",
  stdio: "stdio",
};

/** `upstream add NAME [URL] [-- COMMAND…]`. */
export async function add(args: readonly string[], io: CommandIo): Promise<number> {
  const { command, argv } = readAdding("upstream add", args);
  const [name = "", url] = command.positionals;
  return addServer({ name, ...definitionOf(command, { url, argv }) }, { command, io });
}

/**
 * Reads what adds a server: the words before `--`, and the command behind it.
 *
 * @throws {ProxyError} `USAGE`
 */
export function readAdding(
  verb: "servers add" | "upstream add",
  args: readonly string[],
): { readonly command: ReadCommand; readonly argv: readonly string[] | undefined } {
  const at = args.indexOf("--");
  if (at >= 0) return { command: readWords(verb, args.slice(0, at)), argv: args.slice(at + 1) };
  try {
    return { command: readWords(verb, args), argv: undefined };
  } catch (error) {
    const { verb: second } = takeVerb(takeVerb(args).rest);
    // Where no address is given it is a command, whose flags and words were read as ours.
    if (second === undefined || args.some((word) => word.includes("://"))) throw error;
    const hint = `Put '--' before the command: mcpproxy ${verb} NAME -- COMMAND ARG…`;
    throw new ProxyError("USAGE", messageOf(error), { cause: error, hint });
  }
}

/** `upstream add-json NAME ENTRY`. */
export async function addJson(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream add-json", args);
  const [name = "", text = ""] = command.positionals;
  const entry = readEntry(text);
  if (entry["url"] === undefined && entry["command"] === undefined) {
    throw usage("add-json", "Cannot add a server: its entry has neither 'url' nor 'command'");
  }
  return addServer({ ...entry, name }, { command, io });
}

async function addServer(server: JsonObject & { readonly name: string }, line: Line): Promise<number> {
  const { command, io } = line;
  const { flags, values } = command;
  const isApproved = values["no-quarantine"] === true;
  const { name } = server;
  try {
    const api = await findRunning(flags, io);
    const result =
      api === undefined
        ? await addToFile(server, { ...line, isApproved })
        : await addToProxy(server, { api, isApproved });
    if (flags.isJson) printData(result, flags, io);
    else {
      io.stdout(`Added server '${oneLine(name)}'\n`);
      if (result.quarantined) io.stdout(heldNote(name));
    }
    return 0;
  } catch (error) {
    if (values["if-not-exists"] !== true || codeOf(error) !== "SERVER_EXISTS") throw error;
    return skipped(name, { ...line, why: "exists already" });
  }
}

async function addToProxy(
  server: JsonObject & { readonly name: string },
  { api, isApproved }: { readonly api: ApiClient; readonly isApproved: boolean },
) {
  const { name } = server;
  const { data } = await api.post("/servers", { ...server, ...(isApproved ? { approve: true } : {}) });
  return { name, added: true, quarantined: await isHeld(name, api), ...(data as object) };
}

async function addToFile(
  server: JsonObject & { readonly name: string },
  { command, io, isApproved }: Line & { readonly isApproved: boolean },
) {
  const { flags } = command;
  const change = await changeFile([{ op: "add", server, approve: isApproved }], { flags, io });
  const { name } = server;
  const { revision, path, quarantined } = change;
  return { name, added: true, quarantined: quarantined.includes(name), revision, config_path: path };
}

/** `upstream patch NAME`. */
export async function patch(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream patch", args);
  const { flags, values, lists } = command;
  const [name = ""] = command.positionals;
  const headers = { ...headersOf(command), ...removals(lists["header-remove"]) };
  const env = { ...envOf(command), ...removals(lists["env-remove"]) };
  const timeout = textFlag(values["init-timeout"]);
  if (timeout !== undefined && parseDuration(timeout) === undefined) {
    throw usage("patch", `Cannot wait '${timeout}': it is no time`, "Write it as in 90s or 3m");
  }
  const change = {
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
    ...(Object.keys(env).length > 0 ? { env } : {}),
    ...(timeout === undefined ? {} : { connection_timeout: timeout }),
  };
  if (Object.keys(change).length === 0) {
    throw usage("patch", `Cannot change '${name}': nothing to change is named`);
  }
  const approval = values["no-quarantine"] === true ? { approve: true } : {};
  const api = await findRunning(flags, io);
  const data =
    api === undefined
      ? await patchFile({ op: "patch", name, patch: change, ...approval }, { command, io })
      : await patchProxy(name, { api, body: { ...change, ...approval } });
  told(data, { command, io, done: "Changed" });
  if (data.quarantined && !flags.isJson) io.stdout(heldNote(name));
  return 0;
}

async function patchProxy(name: string, { api, body }: { readonly api: ApiClient; readonly body: object }) {
  const { data } = await api.patch(pathOf(name), body);
  return { ...(data as object), quarantined: await isHeld(name, api) };
}

async function patchFile(operation: Extract<PlanOperation, { readonly op: "patch" }>, { command, io }: Line) {
  const { name } = operation;
  const change = await changeFile([operation], { flags: command.flags, io });
  return { server: name, ...answerOf(change), quarantined: change.quarantined.includes(name) };
}

async function isHeld(name: string, api: ApiClient): Promise<boolean> {
  const { data } = await api.get(pathOf(name));
  return (data as { readonly quarantined: boolean }).quarantined;
}

/** What a person has to do for a server that was added. */
export function heldNote(name: string): string {
  return `It is quarantined: approve it with 'mcpproxy upstream approve ${oneLine(name)}'\n`;
}

/** `upstream remove NAME`. */
export async function remove(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream remove", args);
  const { flags, values } = command;
  const [name = ""] = command.positionals;
  if (!(await confirm(`remove server '${name}'`, { isSure: values["yes"] === true, io }))) return 1;
  try {
    const api = await findRunning(flags, io);
    if (api === undefined) await changeFile([{ op: "remove", name }], { flags, io });
    else await api.delete(pathOf(name));
  } catch (error) {
    if (values["if-exists"] !== true || codeOf(error) !== "SERVER_UNKNOWN") throw error;
    return skipped(name, { command, io, why: "is not there" });
  }
  if (flags.isJson) printData({ name, removed: true }, flags, io);
  else io.stdout(`Removed server '${oneLine(name)}'\n`);
  return 0;
}

function skipped(name: string, { command, io, why }: Line & { readonly why: string }): number {
  io.stderr(`Skipped: server '${oneLine(name)}' ${why}\n`);
  if (command.flags.isJson) printData({ name, skipped: true }, command.flags, io);
  return 0;
}

/** `upstream import FILE`: as `mcpproxy import`, in the Go proxy's flags. */
export async function importFile(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values, positionals } = readWords("upstream import", args);
  const format = textFlag(values["format"]);
  const given = {
    names: textFlag(values["server"]),
    format: format?.replaceAll("-", "_"),
    config: flags.config,
    "data-dir": flags.dataDir,
    url: flags.url,
    output: flags.format,
  };
  const { runImport } = await import("./import.ts");
  return runImport(
    [
      ...positionals,
      ...Object.entries(given).flatMap(([name, value]) =>
        value === undefined ? [] : [`--${name}=${value}`],
      ),
      ...(values["dry-run"] === true ? ["--dry-run"] : []),
    ],
    io,
  );
}

function definitionOf(
  command: ReadCommand,
  given: { readonly url: string | undefined; readonly argv: readonly string[] | undefined },
): JsonObject {
  const { url, argv } = given;
  const [program, ...rest] = argv ?? [];
  const transport = textFlag(command.values["transport"]);
  if (transport !== undefined && TRANSPORTS[transport] === undefined) {
    throw usage("add", `Cannot use the transport '${transport}': use http, streamable-http, sse or stdio`);
  }
  if (argv !== undefined && program === undefined) throw usage("add", "Name the command behind '--'");
  if (url === undefined && program === undefined) throw usage("add", "Name a URL, or a command behind '--'");
  if (transport === "stdio" && program === undefined) throw usage("add", "Name the command behind '--'");
  if (transport !== undefined && transport !== "stdio" && url === undefined)
    throw usage("add", "Name the URL");
  const found = program === undefined ? undefined : url === undefined ? "stdio" : "http";
  const protocol = transport ?? found;
  const headers = headersOf(command);
  const env = envOf(command);
  const folder = textFlag(command.values["working-dir"]);
  return {
    ...(url === undefined ? {} : { url }),
    ...(protocol === undefined ? {} : { protocol }),
    ...(program === undefined ? {} : { command: program, args: rest }),
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
    ...(Object.keys(env).length > 0 ? { env } : {}),
    ...(folder === undefined ? {} : { working_dir: folder }),
  };
}

/** Values of `--header`; none of them is in a message, it may be a key. */
export function headersOf({ lists }: ReadCommand): Readonly<Record<string, string>> {
  return pairs(lists["header"], { separator: ":", flag: "--header", form: "'Name: value'" });
}

/** Values of `--env`. */
export function envOf({ lists }: ReadCommand): Readonly<Record<string, string>> {
  return pairs(lists["env"], { separator: "=", flag: "--env", form: "KEY=VALUE" });
}

function pairs(
  words: readonly string[] | undefined,
  how: { readonly separator: ":" | "="; readonly flag: string; readonly form: string },
): Readonly<Record<string, string>> {
  const { separator, flag, form } = how;
  const entries = (words ?? []).map((word, index): [string, string] => {
    const at = word.indexOf(separator);
    const key = word.slice(0, Math.max(0, at)).trim();
    if (key === "") {
      const which = (words ?? []).length > 1 ? ` number ${index + 1}` : "";
      throw new ProxyError("USAGE", `Cannot read ${flag}${which}: it is not of the form ${form}`, {
        hint: `Write ${flag} ${form}`,
      });
    }
    const value = word.slice(at + 1);
    return [key, separator === ":" ? value.trim() : value];
  });
  return Object.fromEntries(entries);
}

function removals(names: readonly string[] | undefined): Readonly<Record<string, null>> {
  return Object.fromEntries((names ?? []).map((name) => [name, null]));
}

function readEntry(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as JsonObject;
  } catch {
    // Falls through: the text may hold secrets, and the error of the parser holds the text.
  }
  throw usage(
    "add-json",
    "Cannot add a server: its entry is no JSON object",
    `Write it as in '{"url": "https://…"}'`,
  );
}

function codeOf(error: unknown): string | undefined {
  return error instanceof ProxyError ? error.code : undefined;
}
