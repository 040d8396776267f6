/**
 * `mcpproxy registry` and `search-servers`: servers others offer.
 *
 * Owns how they are listed and what is said of one that is added. Invariants: a list has the fields the Go proxy's
 * scripts read; what a registry says steers no terminal. Asking registries from here was rejected: which ones there are,
 * and what may be asked of them, is the proxy's to know.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { queryText } from "../lib/query.ts";
import { wholeOf } from "./activity_page.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { readWords, runVerb, usageOf } from "./help.ts";
import { countText, printData } from "./output.ts";
import { formatTable } from "./table.ts";
import { envOf, headersOf, heldNote } from "./upstream_change.ts";

const DEFAULT_LIMIT = 10;

interface RegistryRow {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
}

interface OfferedServer {
  readonly id: string;
  readonly name: string;
  readonly description?: string;
  readonly url?: string;
  readonly command?: string;
  readonly args?: readonly string[];
  readonly install_cmd?: string;
}

/** Runs a verb of `registry`. */
export function runRegistry(args: readonly string[], io: CommandIo): Promise<number> {
  const verbs = {
    list: (words: readonly string[], at: CommandIo) => list(readWords("registry list", words), at),
    search,
    add,
  };
  return runVerb("registry", { verbs, args, io });
}

/** Runs `search-servers`, the older word for the same. */
export async function runSearchServers(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("search-servers", args);
  if (command.values["list-registries"] === true) return list(command, io);
  return find({ command, query: textFlag(command.values["search"]), verb: "search-servers" }, io);
}

async function list({ flags }: ReadCommand, io: CommandIo): Promise<number> {
  const api = await findDaemon(flags, io);
  const { data } = await api.get("/registries");
  const { registries } = data as { readonly registries: readonly RegistryRow[] };
  if (flags.isJson) {
    printData(registries, flags, io);
    return 0;
  }
  const rows = registries.map(({ id, name, description = "" }) => [id, name, description]);
  io.stdout(formatTable(["ID", "NAME", "DESCRIPTION"], rows, { columns: io.columns }));
  const noun = registries.length === 1 ? "registry" : "registries";
  io.stdout(`\n${registries.length} ${noun}. Search one with 'mcpproxy registry search WORD -r ID'\n`);
  return 0;
}

async function search(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("registry search", args);
  return find({ command, query: command.positionals.join(" "), verb: "registry search" }, io);
}

async function find(
  asked: { readonly command: ReadCommand; readonly query: string | undefined; readonly verb: string },
  io: CommandIo,
): Promise<number> {
  const { command, query, verb } = asked;
  const { flags, values } = command;
  const registry = textFlag(values["registry"]);
  if (registry === undefined) {
    throw new ProxyError("USAGE", "Cannot search: --registry is missing", {
      hint: `Usage: ${usageOf(verb)}; 'mcpproxy registry list' shows the ids`,
    });
  }
  const limit = wholeOf(values["limit"], "--limit") ?? DEFAULT_LIMIT;
  const api = await findDaemon(flags, io);
  const route = `/registries/${encodeURIComponent(registry)}/servers`;
  const { data } = await api.get(`${route}${queryText({ q: query, tag: textFlag(values["tag"]), limit })}`, {
    isSlow: true,
  });
  const { servers, total } = data as { readonly servers: readonly OfferedServer[]; readonly total: number };
  if (flags.isJson) {
    printData(
      // The Go proxy's word for it, beside ours.
      servers.map((server) => ({ ...server, installCmd: server.install_cmd ?? "" })),
      flags,
      io,
    );
    return 0;
  }
  const rows = servers.map((server) => [
    server.id,
    server.name === server.id ? "" : server.name,
    startOf(server),
    (server.description ?? "").trim().split("\n")[0] ?? "",
  ]);
  io.stdout(formatTable(["ID", "NAME", "START", "DESCRIPTION"], rows, { columns: io.columns }));
  io.stdout(
    `\n${servers.length} of ${countText(total, "server")}. Add one with 'mcpproxy registry add ${oneLine(registry)} ID'\n`,
  );
  return 0;
}

function startOf({ install_cmd: install, command, args = [], url }: OfferedServer): string {
  return install ?? (command === undefined ? (url ?? "-") : [command, ...args].join(" "));
}

async function add(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("registry add", args);
  const { flags, values, positionals } = command;
  const [registry = "", id = ""] = positionals;
  const env = envOf(command);
  const headers = headersOf(command);
  const name = textFlag(values["name"]);
  const body = {
    ...(name === undefined ? {} : { name }),
    ...(Object.keys(env).length > 0 ? { env } : {}),
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
  };
  const api = await findDaemon(flags, io);
  const { data } = await api.post(
    `/registries/${encodeURIComponent(registry)}/servers/${encodeURIComponent(id)}`,
    body,
  );
  const {
    server,
    quarantined,
    required_inputs: inputs = [],
  } = data as {
    readonly server: string;
    readonly quarantined?: boolean;
    readonly required_inputs?: readonly { readonly kind: string; readonly name: string }[];
  };
  if (flags.isJson) {
    printData({ name: server, ...(data as object) }, flags, io);
    return 0;
  }
  io.stdout(`Added server '${oneLine(server)}'\n`);
  const given = new Set([...Object.keys(env), ...Object.keys(headers)]);
  const missing = inputs
    .filter((input) => !given.has(input.name))
    .map(({ kind, name: key }) => `${key} (${kind})`);
  if (missing.length > 0) io.stdout(`It needs ${oneLine(missing.join(", "))}\n`);
  if (quarantined === true) io.stdout(heldNote(server));
  return 0;
}
