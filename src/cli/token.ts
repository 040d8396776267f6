/**
 * `mcpproxy token`: tokens for agents, with less than the key.
 *
 * Owns how tokens are written and shown. Invariants: a secret is printed once, by the command that made it, to stdout
 * and nowhere else; a token without servers named is made by nobody by accident. Making tokens without a proxy was
 * rejected: it holds the database they are in.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { readWords, runVerb, usageOf } from "./help.ts";
import { formatRecord, printData } from "./output.ts";
import { formatTable } from "./table.ts";

interface TokenRow {
  readonly name: string;
  readonly token?: string;
  readonly token_prefix: string;
  readonly allowed_servers: readonly string[];
  readonly allowed_groups?: readonly string[];
  readonly permissions: readonly string[];
  readonly created_at: string;
  readonly expires_at: string;
  readonly last_used_at?: string;
  readonly expired?: boolean;
  readonly revoked: boolean;
}

/** Runs a verb of `token`. */
export function runToken(args: readonly string[], io: CommandIo): Promise<number> {
  return runVerb("token", { verbs: { create, list, show, revoke, regenerate, delete: forget }, args, io });
}

async function create(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("token create", args);
  const { flags, values } = command;
  const name = textFlag(values["name"]);
  const servers = wordsOf(values["servers"]);
  const groups = wordsOf(values["groups"]);
  const permissions = wordsOf(values["permissions"]);
  const hint = `Usage: ${usageOf("token create")}`;
  if (name === undefined) throw new ProxyError("USAGE", "Cannot make a token: --name is missing", { hint });
  if (servers === undefined && groups === undefined) {
    throw new ProxyError("USAGE", "Cannot make a token: --servers is missing", {
      hint: "Name servers parted by commas, or '*' for all",
    });
  }
  if (permissions === undefined) {
    throw new ProxyError("USAGE", "Cannot make a token: --permissions is missing", {
      hint: "Use --permissions read, or read,write, or read,write,destructive",
    });
  }
  const api = await findDaemon(flags, io);
  const expires = textFlag(values["expires"]);
  const { data } = await api.post("/tokens", {
    name,
    permissions,
    ...(servers === undefined ? {} : { allowed_servers: servers }),
    ...(groups === undefined ? {} : { allowed_groups: groups }),
    ...(expires === undefined ? {} : { expires_in: expires }),
  });
  return printSecret(data as TokenRow, { command, io, done: "made" });
}

async function regenerate(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("token regenerate", args);
  const [name = ""] = command.positionals;
  const expires = textFlag(command.values["expires"]);
  const api = await findDaemon(command.flags, io);
  const body = expires === undefined ? {} : { expires_in: expires };
  const { data } = await api.post(`${pathOf(name)}/regenerate`, body);
  return printSecret(data as TokenRow, { command, io, done: "made anew" });
}

function printSecret(
  token: TokenRow,
  { command, io, done }: { readonly command: ReadCommand; readonly io: CommandIo; readonly done: string },
): number {
  if (command.flags.isJson) {
    printData(token, command.flags, io);
    return 0;
  }
  io.stdout(`Token '${oneLine(token.name)}' was ${done}\n\n  ${oneLine(token.token ?? "")}\n\n`);
  io.stdout("Keep it now: it is not shown again\n\n");
  io.stdout(formatRecord(recordOf(token)));
  return 0;
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags } = readWords("token list", args);
  const api = await findDaemon(flags, io);
  const { data } = await api.get("/tokens");
  const { tokens } = data as { readonly tokens: readonly TokenRow[] };
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  if (tokens.length === 0) {
    io.stdout("No tokens. Make one with 'mcpproxy token create'\n");
    return 0;
  }
  const rows = tokens.map((token) => [
    token.name,
    token.token_prefix,
    token.permissions.join(","),
    stateOf(token),
    token.expires_at,
    scopeOf(token),
  ]);
  const heading = ["NAME", "PREFIX", "PERMISSIONS", "STATE", "EXPIRES", "SERVERS"];
  io.stdout(formatTable(heading, rows, { columns: io.columns }));
  return 0;
}

async function show(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("token show", args);
  const [name = ""] = command.positionals;
  const api = await findDaemon(command.flags, io);
  const { data } = await api.get(pathOf(name));
  if (command.flags.isJson) printData(data, command.flags, io);
  else io.stdout(formatRecord([["Name", name], ...recordOf(data as TokenRow)]));
  return 0;
}

async function revoke(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("token revoke", args);
  const [name = ""] = command.positionals;
  const api = await findDaemon(command.flags, io);
  await api.delete(pathOf(name));
  if (command.flags.isJson) printData({ name, revoked: true }, command.flags, io);
  else io.stdout(`Token '${oneLine(name)}' was revoked\n`);
  return 0;
}

async function forget(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("token delete", args);
  const [name = ""] = command.positionals;
  const api = await findDaemon(command.flags, io);
  await api.delete(`${pathOf(name)}/permanent`);
  if (command.flags.isJson) printData({ name, deleted: true }, command.flags, io);
  else io.stdout(`Token '${oneLine(name)}' was deleted\n`);
  return 0;
}

function recordOf(token: TokenRow) {
  return [
    ["Prefix", token.token_prefix],
    ["Servers", token.allowed_servers],
    ["Groups", token.allowed_groups],
    ["Permissions", token.permissions],
    ["State", stateOf(token)],
    ["Created", token.created_at],
    ["Expires", token.expires_at],
    ["Last used", token.last_used_at],
  ] as const;
}

function stateOf({ revoked, expired, expires_at: end }: TokenRow): string {
  if (revoked) return "revoked";
  return (expired ?? Date.parse(end) <= Date.now()) ? "expired" : "valid";
}

function scopeOf({ allowed_servers: servers, allowed_groups: groups = [] }: TokenRow): string {
  return [...servers, ...groups.map((group) => `group ${group}`)].join(",");
}

function wordsOf(value: string | boolean | undefined): readonly string[] | undefined {
  const text = textFlag(value);
  if (text === undefined) return undefined;
  return text
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

/** The route of a token. */
function pathOf(name: string): string {
  return `/tokens/${encodeURIComponent(name)}`;
}
