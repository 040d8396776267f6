/**
 * `mcpproxy import`: takes over the servers of an MCP client, or of a file in the form of one.
 *
 * Owns which file is read and what of it is sent. Invariants: nothing is started by it, servers come in quarantined; of a
 * client's file only its servers leave this process, as clients keep histories and tokens of their own beside them; our
 * own entry is left out. Reading the file in the proxy was rejected: it may run as somebody else.
 */
import { existsSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";

import { messageOf, ProxyError } from "../core/errors.ts";
import { parseJsonc } from "../lib/jsonc.ts";
import { removeTomlTable } from "../lib/toml_table.ts";
import { removeYamlEntry } from "../lib/yaml_entry.ts";
import { findDaemon } from "./client.ts";
import { findClient, join } from "./clients.ts";
import type { ClientEntry, McpClient } from "./clients.ts";
import { textFlag } from "./command.ts";
import { clientOf, isOurs, placesOf, readTarget } from "./connect.ts";
import type { ConnectIo } from "./connect.ts";
import { readWords } from "./help.ts";
import { cleanText, countText, printData } from "./output.ts";
import { formatTable } from "./table.ts";

const FILE_SIZE_MAX_BYTES = 64 * 1024 * 1024;
/** Under which clients keep their servers; the first that is there counts. */
const SERVER_KEYS = ["mcpServers", "servers", "context_servers", "extensions", "mcp_servers"] as const;

interface Row {
  readonly name: string;
  readonly status: string;
  readonly reason?: string;
  readonly renamed_from?: string;
  readonly placeholders?: readonly { readonly name: string }[];
  readonly warnings?: readonly string[];
}

interface Imported {
  readonly servers: readonly Row[];
  readonly added: number;
}

/** Runs `import`; resolves with the exit code, 1 when a server is invalid. */
export async function runImport(args: readonly string[], io: ConnectIo): Promise<number> {
  const { flags, positionals, values } = readWords("import", args);
  const source = findSource(positionals[0] ?? "", { isProject: values["project"] === true, io });
  const format = textFlag(values["format"]) ?? source.client?.id.replaceAll("-", "_") ?? "auto";
  const text = readSource(source.path);
  const found = serversIn(text, source.path);
  const target = await readTarget(flags, io);
  const own = found === undefined ? [] : namesOfOwn(found.servers, target);
  const names = namesIn(textFlag(values["names"]));
  const isDryRun = values["dry-run"] === true;
  const api = await findDaemon(flags, io);
  const { data } = await api.post("/import", {
    format,
    text: found === undefined ? text : withoutNames(text, found, own),
    dry_run: isDryRun,
    ...(names === undefined ? {} : { names }),
  });
  const { servers, added } = data as Imported;
  const isWhole = servers.every(({ status }) => status !== "invalid");
  if (flags.isJson) {
    printData(data, flags, io);
    return isWhole ? 0 : 1;
  }
  const skipped = own.map((name) => ({ name, status: "skipped", reason: "it is this proxy" }));
  const rows = [...servers.map(rowOf), ...skipped.map(({ name, status, reason }) => [name, status, reason])];
  io.stdout(formatTable(["SERVER", "STATUS", "REASON"], rows, { columns: io.columns }));
  io.stdout(cleanText(`\n${tell({ added, isDryRun, servers })}\n`));
  return isWhole ? 0 : 1;
}

function rowOf({
  name,
  status,
  reason,
  renamed_from: former,
  placeholders = [],
  warnings = [],
}: Row): string[] {
  const notes = [
    ...(reason === undefined ? [] : [reason]),
    ...(former === undefined ? [] : [`it was '${former}'`]),
    ...(placeholders.length === 0 ? [] : [`set ${placeholders.map((one) => one.name).join(", ")}`]),
    ...warnings,
  ];
  return [name, status, notes.join("; ")];
}

/** A name as a shell takes it. */
function quoted(name: string): string {
  return /^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", String.raw`'\''`)}'`;
}

function namesIn(list: string | undefined): readonly string[] | undefined {
  return list
    ?.split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

function tell({
  added,
  isDryRun,
  servers,
}: Pick<Imported, "added" | "servers"> & { readonly isDryRun: boolean }): string {
  if (isDryRun) return "Nothing was changed; leave out --dry-run to do so";
  if (added === 0) return "Nothing was added";
  const first = servers.find(({ status }) => status === "added");
  const name = quoted(first?.name ?? "NAME");
  return `${countText(added, "server")} added, quarantined\nLook at each: mcpproxy servers show ${name}\nThen let it in: mcpproxy servers approve ${name}`;
}

interface Source {
  readonly path: string;
  readonly client: McpClient | undefined;
}

/** A file that is there wins over a client of its name. */
function findSource(
  word: string,
  { isProject, io }: { readonly isProject: boolean; readonly io: ConnectIo },
): Source {
  const places = placesOf(io);
  const path = resolve(io.cwd, word.startsWith("~/") ? join(places, io.home, word.slice(2)) : word);
  const isPath = /[\\/.]/.test(word);
  if (isPath || (findClient(word) === undefined && existsSync(path))) return { path, client: undefined };
  const client = clientOf(word);
  if (!isProject) return { path: client.file(places), client };
  if (client.projectFile === undefined) {
    throw new ProxyError("USAGE", `Cannot import a project: ${client.title} has no file for projects`, {
      hint: "Leave out --project",
    });
  }
  return { path: join(places, io.cwd, ...client.projectFile.split("/")), client };
}

function readSource(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > FILE_SIZE_MAX_BYTES) throw new Error(`it has more than ${FILE_SIZE_MAX_BYTES} bytes`);
    return readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    const isNone = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw new ProxyError(
      "CONFIG_UNREADABLE",
      isNone
        ? `Cannot import '${path}': there is no such file`
        : `Cannot import '${path}': ${messageOf(error)}`,
      { cause: error, hint: "'mcpproxy connect --list' tells where clients keep their files" },
    );
  }
}

interface Found {
  readonly key: string;
  readonly servers: Readonly<Record<string, ClientEntry>>;
  readonly format: McpClient["format"];
  readonly document: Readonly<Record<string, unknown>>;
}

/** The servers of a file in any of the forms; undefined when it is for the proxy to find out. */
function serversIn(text: string, path: string): Found | undefined {
  const format = /\.toml$/i.test(path) ? "toml" : /\.ya?ml$/i.test(path) ? "yaml" : "jsonc";
  const document = format === "jsonc" ? parseJsonc(text).value : parseOther(text, format);
  if (!isRecord(document)) return undefined;
  const key = SERVER_KEYS.find((name) => isRecord(document[name]));
  if (key === undefined) return undefined;
  return { key, servers: document[key] as Found["servers"], format, document };
}

/** What is sent of a file: of JSON its servers alone, those of Claude Code's projects among them. */
function withoutNames(
  text: string,
  { key, servers, format, document }: Found,
  own: readonly string[],
): string {
  if (format === "toml") return own.reduce((rest, name) => removeTomlTable(rest, [key, name]), text);
  if (format === "yaml") return own.reduce((rest, name) => removeYamlEntry(rest, [key, name]), text);
  const left = Object.entries(servers).filter(([name]) => !own.includes(name));
  const projects = Object.entries(isRecord(document["projects"]) ? document["projects"] : {}).flatMap(
    ([folder, project]) =>
      isRecord(project) && isRecord(project[key]) ? [[folder, { [key]: project[key] }] as const] : [],
  );
  return JSON.stringify({
    [key]: Object.fromEntries(left),
    ...(projects.length === 0 ? {} : { projects: Object.fromEntries(projects) }),
  });
}

function parseOther(text: string, format: "toml" | "yaml"): unknown {
  try {
    return format === "toml" ? Bun.TOML.parse(text) : Bun.YAML.parse(text);
  } catch {
    // The proxy says what is wrong, with its place.
    return undefined;
  }
}

function namesOfOwn(servers: Found["servers"], target: Parameters<typeof isOurs>[1]): string[] {
  return Object.entries(servers)
    .filter(([, entry]) => isRecord(entry) && isOurs(entry, target))
    .map(([name]) => name);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
