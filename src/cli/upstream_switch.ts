/**
 * The verbs of `mcpproxy upstream` that switch servers, and how a change is told.
 *
 * Owns one and all, and waiting for them. Invariants: what is held stays held, and is named, without being a failure of
 * what was asked of the others; all of them are switched by one change of the file. A request for each was rejected: fifty
 * servers would be fifty revisions.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { confirm, textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { readWords, usageOf } from "./help.ts";
import type { Verb } from "./help.ts";
import { changeFile, findRunning, readOffline } from "./offline.ts";
import type { FileChange } from "./offline.ts";
import { countText, printData } from "./output.ts";
import { readPatience, settle, standingsOf } from "./settle.ts";

type Action = "enable" | "disable" | "restart" | "approve";

const DONE: Readonly<Record<Action, string>> = {
  enable: "Enabled",
  disable: "Disabled",
  restart: "Restarted",
  approve: "Approved",
};

/** A command line under way. */
export interface Line {
  readonly command: ReadCommand;
  readonly io: CommandIo;
}

/** `upstream approve NAME`. */
export async function approve(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("upstream approve", args);
  const [name = "", ...tools] = command.positionals;
  if (tools.length > 0) {
    throw usage("approve", `Cannot approve single tools of '${name}': a server is approved as a whole`);
  }
  return switchOne("approve", name, { command, io });
}

/** `upstream enable|disable|restart [NAME]`. */
export function switchServers(action: "enable" | "disable" | "restart"): Verb {
  return async (args, io) => {
    const command = readWords(`upstream ${action}`, args);
    const name = nameOf(command, action);
    const line = { command, io };
    if (name === undefined) return switchAll(action, line);
    try {
      return await switchOne(action, name, line);
    } catch (error) {
      if (!(error instanceof ProxyError) || error.code !== "QUARANTINED") throw error;
      const hint = `Look at what it starts, then approve it with 'mcpproxy upstream approve ${name}'`;
      const data = error.data === undefined ? {} : { data: error.data };
      throw new ProxyError(error.code, error.message, { ...data, hint, cause: error });
    }
  };
}

async function switchOne(action: Action, name: string, line: Line): Promise<number> {
  const { command, io } = line;
  const { flags } = command;
  const patience = readPatience(command.values);
  const needsProxy = action === "restart" || patience !== undefined;
  const api = needsProxy ? await findDaemon(flags, io) : await findRunning(flags, io);
  const done = DONE[action];
  if (api === undefined) {
    if (action === "restart") return 0;
    const change = await changeFile([{ op: action, name }], { flags, io });
    return told({ server: name, action, ...answerOf(change) }, { ...line, done });
  }
  const before = patience === undefined ? new Map<string, never>() : await standingsOf(api, [name]);
  const { data } = await api.post(`${pathOf(name)}/${action}`);
  told(data, { ...line, done });
  if (patience === undefined) return 0;
  return (await settle([name], { api, flags, io, patience, before, isAnew: action === "restart" })) ? 0 : 1;
}

async function switchAll(action: "enable" | "disable" | "restart", line: Line): Promise<number> {
  const { command, io } = line;
  const { flags, values } = command;
  const patience = readPatience(values);
  const isSure = action === "restart" || values["force"] === true || values["yes"] === true;
  const needsProxy = action === "restart" || patience !== undefined;
  const api = needsProxy ? await findDaemon(flags, io) : await findRunning(flags, io);
  const names = api === undefined ? await namesInFile(line) : await namesIn(api, action);
  const what = `${action} ${countText(names.length, "server")}`;
  if (!(await confirm(what, { isSure, flag: "--force", io }))) return 1;
  const done = DONE[action];
  if (api === undefined) {
    const operations = action === "restart" ? [] : names.map((name) => ({ op: action, name }));
    const { updated, unchanged, refused } = await changeFile(operations, { flags, io, isLenient: true });
    const answer = { updated: updated.length, unchanged: unchanged.length, failed_servers: refused };
    return toldBatch(answer, { ...line, done });
  }
  const before = patience === undefined ? new Map<string, never>() : await standingsOf(api, names);
  const { data } = await api.post("/servers/batch", { action, names });
  const code = toldBatch(data as BatchAnswer, { ...line, done });
  if (patience === undefined) return code;
  const refused = new Set((data as BatchAnswer).failed_servers.map(({ server }) => server));
  const left = names.filter((name) => !refused.has(name));
  return (await settle(left, { api, flags, io, patience, before, isAnew: action === "restart" })) ? code : 1;
}

interface BatchAnswer {
  readonly updated: number;
  readonly unchanged: number;
  readonly failed_servers: readonly {
    readonly server: string;
    readonly error: string;
    readonly code: string;
  }[];
}

/** What is held stays held, as it should: that is no failure of the command. */
function toldBatch(answer: BatchAnswer, { command, io, done }: Line & { readonly done: string }): number {
  const { failed_servers: failed, updated, unchanged } = answer;
  const real = failed.filter(({ code }) => code !== "QUARANTINED");
  if (command.flags.isJson) printData(answer, command.flags, io);
  else
    io.stdout(
      `${done} ${countText(updated, "server")}; ${unchanged} as wanted before, ${failed.length} refused\n`,
    );
  for (const { server, error } of failed) io.stderr(`${oneLine(`${server}: ${error}`)}\n`);
  return real.length === 0 ? 0 : 1;
}

/** A change of the file in the words of the API. */
export function answerOf({ updated, unchanged, revision, path }: FileChange) {
  return { updated, unchanged, revision, config_path: path };
}

/** Says what a change of one server came to. */
export function told(data: unknown, { command, io, done }: Line & { readonly done: string }): number {
  if (command.flags.isJson) {
    printData(data, command.flags, io);
    return 0;
  }
  const {
    server,
    unchanged = [],
    updated = [],
    warning,
  } = data as {
    readonly server?: string;
    readonly unchanged?: readonly string[];
    readonly updated?: readonly string[];
    readonly warning?: string;
  };
  const isSame = server !== undefined && unchanged.includes(server) && updated.length === 0;
  const what = server === undefined ? countText(updated.length, "server") : `server '${oneLine(server)}'`;
  io.stdout(isSame ? `Nothing to do: ${what} is so already\n` : `${done} ${what}\n`);
  if (warning !== undefined) io.stderr(`${oneLine(warning)}\n`);
  return 0;
}

/** The one server that is named; undefined for all of them. */
function nameOf({ positionals, values }: ReadCommand, action: string): string | undefined {
  const named = new Set([...positionals, textFlag(values["server"])].filter((name) => name !== undefined));
  if (named.size > 1) throw usage(action, "Name the server once");
  const [name] = named;
  const isAll = values["all"] === true;
  if (isAll && name !== undefined) throw usage(action, "Name a server, or all with --all, not both");
  if (!isAll && name === undefined) throw usage(action, "Name a server, or all with --all");
  return name;
}

/** All servers; of those that are off none is restarted. */
async function namesIn(api: ApiClient, action: string): Promise<readonly string[]> {
  const { data } = await api.get("/servers");
  const { servers } = data as {
    readonly servers: readonly { readonly name: string; readonly enabled: boolean }[];
  };
  return servers.filter(({ enabled }) => enabled || action !== "restart").map(({ name }) => name);
}

async function namesInFile({ command, io }: Line): Promise<readonly string[]> {
  const { config } = await readOffline(command.flags, { io, create: false });
  return config.servers.map(({ name }) => name);
}

/** A command line that cannot be meant so. */
export function usage(
  verb: string,
  message: string,
  hint = `Usage: ${usageOf(`upstream ${verb}`)}`,
): ProxyError {
  return new ProxyError("USAGE", message, { hint });
}

/** The route of a server. */
export function pathOf(name: string): string {
  return `/servers/${encodeURIComponent(name)}`;
}
