/**
 * Servers of other MCP clients, brought in.
 *
 * Owns under which names they come, which are left out, and the one plan they are added by. Invariants: nothing that
 * comes in is approved, so it is quarantined; what is there already stays as it is; each entry of the text is told of,
 * with the reason when it was not taken; the proxy never becomes a server of itself. Overwriting equal names was
 * rejected: an import is done again and again.
 */
import { basename } from "node:path";

import type { ImportFormat } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { isSameJson } from "../lib/json_patch.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Configuration } from "./configuration.ts";
import { folderName, readForeign } from "./import_forms.ts";
import type { ForeignServer, Placeholder } from "./import_forms.ts";

/** What is to be brought in. */
export interface ImportRequest {
  readonly text: string;
  /** @default "auto" */
  readonly format?: ImportFormat | "auto" | undefined;
  /** Only these, by the client's name or by ours. @default all */
  readonly names?: readonly string[] | undefined;
  readonly isDryRun?: boolean | undefined;
  readonly isByPerson: boolean;
}

/** What became of one entry. */
export interface ImportedServer {
  /** Its name here. */
  readonly name: string;
  readonly status: "added" | "exists" | "invalid";
  readonly reason?: string;
  /** Its name there, when that one may not be used here. */
  readonly renamed_from?: string;
  /** Variables that have to be set. */
  readonly placeholders?: readonly Placeholder[];
  readonly warnings?: readonly string[];
}

/** What became of a text. */
export interface ImportResult {
  readonly format: ImportFormat;
  readonly servers: readonly ImportedServer[];
  /** How many were added, or would be. */
  readonly added: number;
  readonly revision: number;
  readonly dry_run?: true;
}

const NAME_MAX_CHARS = 128;
const CONTROL = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu;

/**
 * Adds the servers of a client's configuration, in one change.
 *
 * @throws {ProxyError} `USAGE` for a text that holds none, and as {@link Configuration.change} does.
 */
export async function importServers(
  configuration: Configuration,
  request: ImportRequest,
): Promise<ImportResult> {
  const { text, format: asked = "auto", names, isDryRun = false, isByPerson } = request;
  const { format, servers } = readForeign(text, asked);
  const candidates = withNames(servers).filter(
    ({ name, server }) => names === undefined || names.includes(name) || names.includes(server.name),
  );
  const missing = (names ?? []).filter(
    (name) => !candidates.some((one) => one.name === name || one.server.name === name),
  );
  const operations: PlanOperation[] = [];
  /** The operation each candidate became. */
  const places = new Map<Candidate, number>();
  for (const candidate of candidates) {
    const { name, server } = candidate;
    const entry =
      server.entry === undefined || isOwn(server.entry, configuration.settings) ? undefined : server.entry;
    if (entry === undefined) continue;
    places.set(candidate, operations.push({ op: "add", server: { name, ...entry } }) - 1);
  }
  const change = await configuration.change({
    operations,
    isLenient: true,
    isByPerson,
    isDryRun: isDryRun || operations.length === 0,
  });
  const refusals = new Map(change.plan.refused.map((refusal) => [refusal.at, refusal]));
  const told = candidates.map((candidate): ImportedServer => {
    const at = places.get(candidate);
    const refusal = at === undefined ? undefined : refusals.get(at);
    return toldOf(candidate, { isAdded: at !== undefined, refusal, settings: configuration.settings });
  });
  const unknown = missing.map((name): ImportedServer => ({
    name,
    status: "invalid",
    reason: "no server of this name stands in the text",
  }));
  return {
    format,
    servers: [...told, ...unknown],
    added: told.filter(({ status }) => status === "added").length,
    revision: change.revision,
    ...(isDryRun && { dry_run: true as const }),
  };
}

interface Candidate {
  readonly name: string;
  readonly server: ForeignServer;
}

function toldOf(
  { name, server }: Candidate,
  {
    isAdded,
    refusal,
    settings,
  }: {
    readonly isAdded: boolean;
    readonly refusal: { readonly error: string; readonly code: string } | undefined;
    readonly settings: Settings;
  },
): ImportedServer {
  const { entry, placeholders, warnings } = server;
  const beside = { ...(server.name !== name && { renamed_from: server.name }) };
  if (entry === undefined)
    return { name, status: "invalid", reason: server.reason ?? "it is no server", ...beside };
  if (isOwn(entry, settings))
    return { name, status: "invalid", reason: "it is this proxy itself", ...beside };
  if (!isAdded || refusal?.code === "SERVER_EXISTS")
    return { name, status: "exists", reason: "a server of this name is there already", ...beside };
  if (refusal !== undefined) return { name, status: "invalid", reason: refusal.error, ...beside };
  return {
    name,
    status: "added",
    ...beside,
    ...(placeholders.length > 0 && { placeholders }),
    ...(warnings.length > 0 && { warnings }),
  };
}

/** Names that may be used here, each once; what several folders define alike is one server. */
function withNames(servers: readonly ForeignServer[]): Candidate[] {
  const taken = new Map<string, ForeignServer>();
  return servers.flatMap((server) => {
    const plain = cleaned(server.name);
    const first = taken.get(plain);
    if (first !== undefined && isSameJson(first.entry ?? null, server.entry ?? null)) return [];
    const folder = server.project === undefined ? "" : `-${cleaned(folderName(server.project))}`;
    let name = first === undefined ? plain : `${plain}${folder}`;
    for (let count = 2; taken.has(name); count += 1) name = `${plain}${folder}-${count}`;
    taken.set(name, server);
    return [{ name, server }];
  });
}

function cleaned(name: string): string {
  const plain = name
    .toWellFormed()
    .replaceAll(CONTROL, " ")
    .replaceAll(":", "-")
    .replaceAll(/_{2,}/g, "_")
    .trim();
  return Array.from(plain).slice(0, NAME_MAX_CHARS).join("") || "server";
}

/** Whether an entry leads back here: a client that was connected to this proxy names it. */
function isOwn(entry: Readonly<Record<string, unknown>>, { listen }: Pick<Settings, "listen">): boolean {
  const { url, command, args } = entry;
  if (typeof command === "string" && /^mcpproxy(?:\.exe)?$/i.test(basename(command.replaceAll("\\", "/"))))
    return !Array.isArray(args) || args.length === 0 || args.includes("serve");
  const address = typeof url === "string" ? URL.parse(url) : null;
  if (address === null) return false;
  const port = Number(address.port || (address.protocol === "https:" ? 443 : 80));
  const isHere = /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(address.hostname);
  return (
    port === listen.port &&
    (isHere || address.hostname === listen.hostname) &&
    /^\/mcp(?:\/|$)/.test(address.pathname)
  );
}
