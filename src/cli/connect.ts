/**
 * `mcpproxy connect`: writes this proxy into the configuration of an MCP client, and takes it out again.
 *
 * Owns what the entry leads to, when nothing is written, and what is told of it. Invariants: an entry that is not ours is
 * left alone unless forced; `--preview` writes nothing; the key is written only where the proxy asks for one, into files
 * nobody else may read, and never shown. Serving the clients a file each under `data_dir` was rejected: they read their
 * own files only.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { Config } from "../core/settings.ts";
import { diffLines } from "../lib/line_diff.ts";
import { redactText } from "../lib/redact.ts";
import { readApiKey, unlockApiKey } from "../state/api_key.ts";
import { loadConfig, parseConfig } from "../state/config.ts";
import { readDaemonNote } from "../state/daemon.ts";
import type { Keyring } from "../state/keyring.ts";
import { ClientFile } from "./client_file.ts";
import type { FileChange } from "./client_file.ts";
import { CLIENTS, findClient, join } from "./clients.ts";
import type { ClientEntry, ClientPlaces, McpClient } from "./clients.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";
import { readWords } from "./help.ts";
import { cleanText, printData } from "./output.ts";
import { formatTable } from "./table.ts";

const DEFAULT_NAME = "mcpproxy";
const KEY_HEADER = "X-API-Key";
const LOOPBACKS: ReadonlySet<string> = new Set(["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]"]);

/** The machine a client is on; a test may be any. */
export interface ConnectIo extends CommandIo {
  /** @default that of this process */
  readonly platform?: NodeJS.Platform;
  /** Where a key may lie that the configuration refers to. @default the system's */
  readonly keyring?: Keyring;
  /** The command line of this program. @default found */
  readonly program?: readonly string[];
}

interface Asked {
  readonly client: McpClient;
  readonly name: string;
  readonly flags: GlobalFlags;
  readonly isForced: boolean;
  readonly isProject: boolean;
  /** Undefined: whichever the client is better with. */
  readonly form: "http" | "stdio" | undefined;
  /** An agent's token that goes in instead of the key. */
  readonly token: string | undefined;
}

/** Where this proxy is reached, as far as anybody knows. */
export interface Target {
  readonly config: Config;
  /** Undefined: the port is chosen anew at each start. */
  readonly url: string | undefined;
  readonly isRunning: boolean;
  readonly command: readonly string[];
  /** Gives the key, if there is one yet. */
  readonly readKey: () => Promise<string | undefined>;
}

/** Runs `connect`; resolves with the exit code. */
export async function runConnect(args: readonly string[], io: ConnectIo): Promise<number> {
  const { flags, positionals, values } = readWords("connect", args);
  const [word] = positionals;
  const name = textFlag(values["name"]) ?? DEFAULT_NAME;
  if (values["list"] === true || word === undefined) return list(name, { flags, io });
  const client = clientOf(word);
  if (values["http"] === true && values["stdio"] === true) {
    throw new ProxyError("USAGE", "Cannot connect by URL and by command at once", {
      hint: "Give --http or --stdio",
    });
  }
  const form = values["http"] === true ? "http" : values["stdio"] === true ? "stdio" : undefined;
  const asked: Asked = {
    client,
    name,
    flags,
    form,
    isForced: values["force"] === true,
    isProject: values["project"] === true,
    token: textFlag(values["token"]),
  };
  const isPreview = values["preview"] === true;
  return values["undo"] === true ? undo(asked, { io, isPreview }) : connect(asked, { io, isPreview });
}

/**
 * Finds a client by the word a person has for it.
 *
 * @throws {ProxyError} `CLIENT_UNKNOWN` with the names there are.
 */
export function clientOf(word: string): McpClient {
  const client = findClient(word);
  if (client !== undefined) return client;
  throw new ProxyError("CLIENT_UNKNOWN", `Cannot find a client named '${word}'`, {
    hint: `There are: ${CLIENTS.map(({ id }) => id).join(", ")}`,
  });
}

/** The places of the machine a command runs on. */
export function placesOf({ platform = process.platform, home, env, cwd }: ConnectIo): ClientPlaces {
  return { platform, home, env, cwd };
}

interface Run {
  readonly io: ConnectIo;
  readonly isPreview: boolean;
}

async function connect(asked: Asked, { io, isPreview }: Run): Promise<number> {
  const { name, isForced } = asked;
  const file = openFile(asked, io);
  const target = await readTarget(asked.flags, io);
  const { entry, secret } = await entryFor(asked, { target, file });
  if (file.leadsTo(entry)) return report(asked, { io, file, action: "unchanged", target });
  if (file.entry !== undefined && !isForced && !file.isOwn && !isOurs(file.entry, target)) {
    throw new ProxyError(
      "ENTRY_TAKEN",
      `Cannot write '${name}' into '${file.path}': an entry of that name leads elsewhere`,
      {
        hint: "Replace it with --force, or choose another --name",
      },
    );
  }
  const change = file.connect(entry);
  if (isPreview) return preview(asked, { io, file, change, secret });
  const backup = file.apply(change);
  return report(asked, { io, file, action: "written", target, backup, entry });
}

async function undo(asked: Asked, { io, isPreview }: Run): Promise<number> {
  const { name, isForced } = asked;
  const file = openFile({ ...asked, isForced: true }, io);
  if (file.entry === undefined) return report(asked, { io, file, action: "unchanged" });
  if (!isForced && !file.isOwn && !isOurs(file.entry, await readTarget(asked.flags, io))) {
    throw new ProxyError(
      "ENTRY_TAKEN",
      `Cannot remove '${name}' from '${file.path}': that entry leads elsewhere`,
      {
        hint: "Remove it all the same with --force",
      },
    );
  }
  const change = file.disconnect();
  if (isPreview) return preview(asked, { io, file, change, secret: undefined });
  const backup = file.apply(change);
  return report(asked, { io, file, action: change.restored === undefined ? "removed" : "restored", backup });
}

/** Reads the client's file. @throws {ProxyError} `CLIENT_ABSENT` when the client is not installed. */
function openFile({ client, name, isForced, isProject }: Asked, io: ConnectIo): ClientFile {
  const places = placesOf(io);
  if (!isProject) {
    const traces = client.traces(places);
    if (!isForced && !traces.some((path) => existsSync(path))) {
      throw new ProxyError(
        "CLIENT_ABSENT",
        `Cannot connect ${client.title}: it is not installed, '${traces[0]}' is not there`,
        {
          hint: "Start it once, or write the file all the same with --force",
        },
      );
    }
    return new ClientFile(client.file(places), { client, name });
  }
  if (client.projectFile === undefined) {
    throw new ProxyError("USAGE", `Cannot connect a project: ${client.title} has no file for projects`, {
      hint: "Leave out --project",
    });
  }
  return new ClientFile(join(places, io.cwd, ...client.projectFile.split("/")), { client, name });
}

/** Finds out how clients reach this proxy, whether it runs or not. */
export async function readTarget(flags: GlobalFlags, io: ConnectIo): Promise<Target> {
  const { env } = io;
  const { config, isDefault } = await readConfig(flags, io);
  const { settings } = config;
  const note = readDaemonNote(settings.dataDir);
  const { hostname, port } = settings.listen;
  const host = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostname;
  const listening = port === 0 ? undefined : `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
  const base = flags.url?.replace(/\/+$/, "") ?? (port === 0 ? undefined : (note?.url ?? listening));
  const places = [
    ...(isDefault ? [] : ["--config", config.path]),
    ...((flags.dataDir ?? env["MCPPROXY_DATA_DIR"]) ? ["--data-dir", settings.dataDir] : []),
  ];
  return {
    config,
    url: base === undefined ? undefined : `${base}/mcp`,
    isRunning: note !== undefined,
    command: [...(io.program ?? ownProgram()), "serve", "--stdio", ...places],
    readKey: async () =>
      settings.apiKey ? unlockApiKey(settings, { env, keyring: io.keyring }) : readApiKey(settings.dataDir),
  };
}

/** The configuration in force, or that of a proxy that never ran; `isDefault`: found without being named. */
async function readConfig(
  flags: GlobalFlags,
  io: ConnectIo,
): Promise<{ readonly config: Config; readonly isDefault: boolean }> {
  const { env, cwd, home } = io;
  const options = { path: flags.config, dataDir: flags.dataDir, env, cwd, home, create: false };
  const own = join(placesOf(io), home, ".mcpproxy", "mcp_config.json");
  try {
    const config = await loadConfig(options);
    return { config, isDefault: config.path === own };
  } catch (error) {
    const isNone = error instanceof ProxyError && error.code === "CONFIG_UNREADABLE" && !existsSync(own);
    if (!isNone || flags.config !== undefined) throw error;
    return { config: parseConfig("{}", { ...options, path: own }), isDefault: true };
  }
}

/** The binary, or the runtime with the entry of the source: clients have no PATH to find either in. */
function ownProgram(): readonly string[] {
  if (import.meta.url.includes("$bunfs")) return [process.execPath];
  return [process.execPath, fileURLToPath(new URL("../main.ts", import.meta.url))];
}

interface Entry {
  readonly entry: ClientEntry;
  /** What is in it and must not be shown. */
  readonly secret: string | undefined;
}

async function entryFor(
  asked: Asked,
  given: { readonly target: Target; readonly file: ClientFile },
): Promise<Entry> {
  const { client, form, name } = asked;
  const { url, command } = given.target;
  const isByUrl = form === undefined ? client.http !== undefined && url !== undefined : form === "http";
  if (!isByUrl) {
    const [program = "", ...args] = command;
    return { entry: client.stdio({ command: program, args }, name), secret: undefined };
  }
  if (client.http === undefined) {
    throw new ProxyError("USAGE", `Cannot connect ${client.title} by URL: it only starts programs`, {
      hint: "Leave out --http",
    });
  }
  if (url === undefined) {
    throw new ProxyError("USAGE", "Cannot connect by URL: the port is chosen anew at each start", {
      hint: "Set 'listen' to a port, or connect with --stdio",
    });
  }
  const secret = await secretFor(asked, given);
  const headers = secret === undefined ? {} : { [KEY_HEADER]: secret };
  return { entry: client.http({ url, headers }, name), secret };
}

/** What opens the proxy, when it has to be opened; refused where others could read it. */
async function secretFor(
  asked: Asked,
  { target, file }: { readonly target: Target; readonly file: ClientFile },
): Promise<string | undefined> {
  const { settings } = target.config;
  if (asked.token === undefined && !settings.requireMcpAuth) return undefined;
  const key = asked.token ?? (await target.readKey());
  if (key === undefined) {
    throw new ProxyError(
      "NOT_REACHABLE",
      "Cannot connect by URL: the proxy asks for a key and has none yet",
      {
        hint: "Start it once with 'mcpproxy serve', or connect with --stdio",
      },
    );
  }
  const isOpen = asked.isProject || (file.text !== undefined && file.isShared);
  if (isOpen && !asked.isForced) {
    const why = asked.isProject ? "a project's file is shared" : "others may read the file";
    throw new ProxyError("KEY_EXPOSED", `Cannot write the key into '${file.path}': ${why}`, {
      hint: `Connect with --stdio, which needs no key${asked.isProject ? "" : `, or run: chmod 600 '${file.path}'`}`,
    });
  }
  return key;
}

/** Whether an entry leads to this very proxy, whoever wrote it. */
export function isOurs(entry: ClientEntry, { url, command }: Pick<Target, "url" | "command">): boolean {
  const place = placeIn(entry);
  if (place !== undefined && url !== undefined) return isSamePlace(place, url);
  const program = entry["command"] ?? entry["cmd"];
  const args = Array.isArray(entry["args"]) ? (entry["args"] as unknown[]) : [];
  return program === command[0] && args.includes("serve") && args.includes("--stdio");
}

/** Where an entry leads, when it does so by URL. */
function placeIn(entry: ClientEntry): string | undefined {
  const place = ["url", "serverUrl", "httpUrl", "uri"].map((key) => entry[key]);
  return place.find((value) => typeof value === "string");
}

function isSamePlace(a: string, b: string): boolean {
  const [left, right] = [URL.parse(a), URL.parse(b)];
  if (left === null || right === null) return false;
  const isSameHost =
    left.hostname === right.hostname || [left, right].every(({ hostname }) => LOOPBACKS.has(hostname));
  return isSameHost && left.port === right.port && left.pathname.startsWith("/mcp");
}

function preview(
  asked: Asked,
  shown: {
    readonly io: ConnectIo;
    readonly file: ClientFile;
    readonly change: FileChange;
    readonly secret: string | undefined;
  },
): number {
  const { io, file, change, secret } = shown;
  const secrets = new Set(secret === undefined ? [] : [secret]);
  const lines = diffLines(change.before ?? "", change.after ?? "").map((line) => redactText(line, secrets));
  if (asked.flags.isJson) {
    printData(
      { client: asked.client.id, file: file.path, action: "preview", diff: lines.join("\n") },
      asked.flags,
      io,
    );
    return 0;
  }
  const now = change.before === undefined ? "/dev/null" : file.path;
  const then = change.after === undefined ? "/dev/null" : file.path;
  io.stdout(cleanText(`--- ${now}\n+++ ${then}\n${lines.join("\n")}\n`));
  io.stderr("Nothing was written; leave out --preview to do so\n");
  return 0;
}

interface Outcome {
  readonly io: ConnectIo;
  readonly file: ClientFile;
  readonly action: "written" | "unchanged" | "removed" | "restored";
  readonly target?: Target;
  readonly backup?: string | undefined;
  readonly entry?: ClientEntry;
}

function report({ client, name, flags }: Asked, outcome: Outcome): number {
  const { io, file, action, target, backup, entry } = outcome;
  if (flags.isJson) {
    const facts = {
      client: client.id,
      name,
      file: file.path,
      action,
      ...(backup === undefined ? {} : { backup }),
    };
    printData(facts, flags, io);
    return 0;
  }
  const told: Readonly<Record<Outcome["action"], string>> = {
    written: `'${name}' now stands in '${file.path}'`,
    unchanged:
      target === undefined
        ? `'${name}' is not in '${file.path}'`
        : `'${name}' stands in '${file.path}' already`,
    removed: `'${name}' was taken out of '${file.path}', which was changed since it came in`,
    restored: `'${file.path}' is as it was before '${name}' came in`,
  };
  const lines = [`${client.title}: ${told[action]}`];
  if (entry !== undefined && target !== undefined) {
    const place = placeIn(entry);
    lines.push(place === undefined ? `It starts: ${target.command.join(" ")}` : `It leads to: ${place}`);
  }
  if (backup !== undefined) lines.push(`Before: '${backup}'`);
  if (action !== "unchanged") lines.push(client.next);
  if (entry !== undefined && placeIn(entry) !== undefined && target?.isRunning === false)
    lines.push("No proxy runs yet: mcpproxy serve");
  io.stdout(cleanText(`${lines.join("\n")}\n`));
  return 0;
}

async function list(
  name: string,
  { flags, io }: { readonly flags: GlobalFlags; readonly io: ConnectIo },
): Promise<number> {
  const places = placesOf(io);
  const target = await readTarget(flags, io);
  const clients = CLIENTS.map((client) => {
    const file = client.file(places);
    const isThere = client.traces(places).some((path) => existsSync(path));
    const state = isThere ? stateOf(client, { file, name, target }) : "not installed";
    return { client: client.id, title: client.title, state, file };
  });
  if (flags.isJson) printData({ clients }, flags, io);
  else {
    const rows = clients.map((row) => [row.client, row.state, row.file]);
    io.stdout(formatTable(["CLIENT", "STATE", "FILE"], rows, { columns: io.columns }));
  }
  return 0;
}

function stateOf(
  client: McpClient,
  { file: path, name, target }: { readonly file: string; readonly name: string; readonly target: Target },
): string {
  try {
    const file = new ClientFile(path, { client, name });
    if (file.entry === undefined) return "not connected";
    return isOurs(file.entry, target) ? "connected" : "leads elsewhere";
  } catch (error) {
    return `unusable: ${messageOf(error)}`;
  }
}
