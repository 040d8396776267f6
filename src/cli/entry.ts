/**
 * `servers add`, `patch` and `rename`: one entry of the configuration.
 *
 * Owns how an entry is written on a command line, and how a change is told. Invariants: values are checked where they
 * are used, by the proxy, so that its words are the ones everybody reads; a change that was only looked at says so.
 * Flags for each key of an entry were rejected: there are thirty, and `patch` takes any.
 */
import { ProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, GlobalFlags, ReadCommand } from "./command.ts";
import { readWords, usageOf } from "./help.ts";
import { printData } from "./output.ts";
import { withProgress } from "./progress.ts";
import { envOf, headersOf, readAdding } from "./upstream_change.ts";

/** What a change of the configuration came to, as the API tells it. */
interface ChangeData {
  readonly revision: number;
  readonly warning?: string;
  readonly changes: readonly {
    readonly server: string;
    readonly kind: string;
    readonly from?: string;
    readonly keys?: readonly string[];
    readonly mode?: { readonly before?: string; readonly after: string };
    readonly restarts: boolean;
  }[];
  readonly restart_required?: readonly string[];
}

/** `servers add NAME URL`, `servers add NAME -- COMMAND ARG…`. */
export async function addServer(args: readonly string[], io: CommandIo): Promise<number> {
  const { command, argv = [] } = readAdding("servers add", args);
  const { flags, positionals, values } = command;
  const [name = "", url] = positionals;
  if (url === undefined && argv.length === 0) {
    const hint = `Usage: ${usageOf("servers add")}`;
    throw new ProxyError("USAGE", "Cannot add a server: neither a URL nor a command is given", { hint });
  }
  const api = await findDaemon(flags, io);
  try {
    const body = { name, ...entryOf(command, { url, argv }), ...steering(values) };
    const work = () => api.post("/servers", body);
    const { data } = await withProgress(workText(values), { io, work });
    printChange(data as ChangeData, { flags, io, isDryRun: values["dry-run"] === true });
    return 0;
  } catch (error) {
    const isThere = error instanceof ProxyError && error.code === "SERVER_EXISTS";
    if (!isThere || values["if-not-exists"] !== true) throw error;
    if (flags.isJson) printData({ server: name, changes: [] }, flags, io);
    else io.stdout(`'${oneLine(name)}' is there already; nothing was changed\n`);
    return 0;
  }
}

function entryOf(
  command: ReadCommand,
  { url, argv }: { readonly url: string | undefined; readonly argv: readonly string[] },
): Readonly<Record<string, unknown>> {
  const { values, lists } = command;
  const [program, ...rest] = argv;
  const env = envOf(command);
  const headers = headersOf(command);
  const texts = {
    url,
    protocol: textFlag(values["protocol"]),
    working_dir: textFlag(values["working-dir"]),
    description: textFlag(values["description"]),
    startup_mode: textFlag(values["mode"]),
  };
  return {
    ...Object.fromEntries(Object.entries(texts).filter(([, value]) => value !== undefined)),
    ...(program === undefined ? {} : { command: program, args: rest }),
    ...(Object.keys(env).length > 0 ? { env } : {}),
    ...(Object.keys(headers).length > 0 ? { headers } : {}),
    ...(lists["group"] === undefined ? {} : { groups: lists["group"] }),
    ...(lists["tag"] === undefined ? {} : { tags: lists["tag"] }),
  };
}

/** `servers patch NAME KEY=VALUE…`, `servers patch NAME JSON`. */
export async function patchServer(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readWords("servers patch", args);
  const [name, ...words] = positionals;
  if (name === undefined || words.length === 0) {
    const missing = name === undefined ? "no server is named" : "nothing to change is given";
    const hint = `Usage: ${usageOf("servers patch")}`;
    throw new ProxyError("USAGE", `Cannot patch: ${missing}`, { hint });
  }
  const patch = readPatch(words);
  const api = await findDaemon(flags, io);
  const path = `/servers/${encodeURIComponent(name)}`;
  const work = () => api.patch(path, { ...patch, ...steering(values) });
  const { data } = await withProgress(workText(values), { io, work });
  printChange(data as ChangeData, { flags, io, isDryRun: values["dry-run"] === true });
  return 0;
}

function readPatch(words: readonly string[]): Readonly<Record<string, unknown>> {
  const [only = ""] = words;
  if (words.length === 1 && only.trimStart().startsWith("{")) {
    const value = parseJson(only);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
    throw new ProxyError("USAGE", "Cannot patch: what is given is no JSON", {
      hint: `Write it as in '{"tags": ["a"]}', in single quotes`,
    });
  }
  const patch: [string, unknown][] = [];
  for (const word of words) {
    const at = word.indexOf("=");
    // No value in the message: it may be a secret.
    if (at <= 0) {
      const hint = `Usage: ${usageOf("servers patch")}`;
      throw new ProxyError("USAGE", `Cannot patch: '${word.slice(0, 40)}' is not KEY=VALUE`, { hint });
    }
    const text = word.slice(at + 1);
    const value = parseJson(text);
    patch.push([word.slice(0, at), value === undefined ? text : value]);
  }
  return Object.fromEntries(patch);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** `servers rename NAME NAME`. */
export async function renameServer(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("servers rename", args);
  const [name = "", to = ""] = positionals;
  const api = await findDaemon(flags, io);
  const { data } = await api.patch(`/servers/${encodeURIComponent(name)}`, { name: to });
  printChange(data as ChangeData, { flags, io, isDryRun: false });
  return 0;
}

function workText(values: ReadCommand["values"]): string {
  return values["verify"] === true ? "Connecting on trial" : "Changing the configuration";
}

function steering(values: ReadCommand["values"]): Readonly<Record<string, true>> {
  const given = [
    ["approve", "approve"],
    ["verify", "verify"],
    ["dry-run", "dry_run"],
  ] as const;
  return Object.fromEntries(
    given.filter(([flag]) => values[flag] === true).map(([, key]) => [key, true as const]),
  );
}

/** Tells what a change came to. */
function printChange(
  data: ChangeData,
  {
    flags,
    io,
    isDryRun,
  }: { readonly flags: GlobalFlags; readonly io: CommandIo; readonly isDryRun: boolean },
): void {
  if (flags.isJson) printData(data, flags, io);
  else {
    for (const change of data.changes) io.stdout(`${oneLine(changeText(change))}\n`);
    if (data.changes.length === 0) io.stdout("Nothing changed\n");
    const held = data.changes.find(({ mode }) => mode?.after === "quarantined");
    if (held !== undefined && !isDryRun) {
      io.stdout(`It is quarantined; let it start with 'mcpproxy servers approve ${oneLine(held.server)}'\n`);
    }
    if (isDryRun) io.stdout("Nothing was written: this is what it would do\n");
    const later = data.restart_required ?? [];
    if (later.length > 0) io.stdout(`Restart the proxy for ${oneLine(later.join(", "))}\n`);
  }
  if (data.warning !== undefined) io.stderr(`${oneLine(data.warning)}\n`);
}

function changeText({
  server,
  kind,
  from,
  keys = [],
  mode,
  restarts,
}: ChangeData["changes"][number]): string {
  const words: Readonly<Record<string, string>> = { add: "added", remove: "removed", change: "changed" };
  const what =
    kind === "rename"
      ? `'${from}' is '${server}' now`
      : `'${server}' ${words[kind] ?? (mode ? "moved" : kind)}`;
  // What it is called now is said already.
  const others = kind === "rename" ? keys.filter((key) => key !== "name") : keys;
  const details = [
    ...(others.length > 0 ? [others.join(", ")] : []),
    ...(mode === undefined ? [] : [mode.before ? `${mode.before} → ${mode.after}` : mode.after]),
    ...(restarts && kind !== "add" ? ["restarts"] : []),
  ];
  return details.length === 0 ? what : `${what}: ${details.join("; ")}`;
}
