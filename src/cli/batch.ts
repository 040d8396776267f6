/**
 * Verbs over one server or many.
 *
 * Owns which servers are meant, which request that is, and how the outcome is told: a sentence, and each server that was
 * refused with its code. Invariants: many are one change of the configuration; one refused is exit code 1, whatever came
 * of the others; nothing named is never everything. A request for each server was rejected where one can do: fifty
 * servers would be fifty commits.
 */
import { ProxyError, toProxyError } from "../core/errors.ts";
import { oneLine } from "../lib/log.ts";
import { queryText } from "../lib/query.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { confirm, textFlag } from "./command.ts";
import type { CommandIo, GlobalFlags, ReadCommand } from "./command.ts";
import { readWords, usageOf } from "./help.ts";
import { countText, printData } from "./output.ts";
import { withProgress } from "./progress.ts";
import { styleOf } from "./style.ts";
import { formatTable } from "./table.ts";
import { readPatience, settle, standingsOf } from "./settle.ts";
import type { Patience } from "./settle.ts";

type BatchVerb = "enable" | "disable" | "restart" | "quarantine";

/** A server that was refused. */
interface Refusal {
  readonly server: string;
  readonly error: string;
  readonly code: string;
}

/** What came of a batch, as the API tells it. */
interface BatchData {
  readonly success: boolean;
  readonly message: string;
  readonly failed_servers: readonly Refusal[];
}

/** A command under way. */
interface Act {
  readonly api: ApiClient;
  readonly flags: GlobalFlags;
  readonly io: CommandIo;
}

const DONE: Readonly<Record<string, string>> = {
  enable: "Enabled",
  disable: "Disabled",
  restart: "Restarted",
  quarantine: "Quarantined",
  approve: "Approved",
  reject: "Rejected",
  connect: "Connecting",
  disconnect: "Disconnected",
  remove: "Removed",
};

/** `servers enable|disable|restart|quarantine`: one request, whatever is selected. */
export async function switchServers(
  verb: BatchVerb,
  args: readonly string[],
  io: CommandIo,
): Promise<number> {
  const command = readWords(`servers ${verb}`, args);
  const { flags, positionals, values } = command;
  const names = [...new Set(positionals)];
  const selection = selectionOf(verb, command);
  const isDryRun = values["dry-run"] === true;
  const patience = readPatience(values);
  const act = { api: await findDaemon(flags, io), flags, io };
  const [only] = names;
  const isSelected = Object.keys(selection).length > 0 || values["all"] === true || isSeveral(values);
  if (only !== undefined && names.length === 1 && !isSelected && !isDryRun) {
    return eachAlone(verb, { act, names, patience });
  }
  const wanted = await wantedNames(names, { values, act });
  const before = await standingsOf(act.api, wanted);
  // A batch takes one category.
  const isListed = values["all"] === true || isSeveral(values);
  const body = {
    action: verb,
    ...selection,
    ...(isListed ? { names: wanted } : names.length > 0 ? { names } : {}),
    ...(isDryRun ? { dry_run: true } : {}),
  };
  const work = () => act.api.post("/servers/batch", body);
  const { data } = await withProgress("Changing the servers", { io, work });
  const code = printBatch(data as BatchData, act);
  if (patience === undefined || isDryRun) return code;
  const refused = new Set((data as BatchData).failed_servers.map(({ server }) => server));
  const left = wanted.filter((name) => !refused.has(name));
  return (await settle(left, { ...act, before, isAnew: verb === "restart", patience })) ? code : 1;
}

/** Prints what came of a batch. */
export function printBatch(data: BatchData, { flags, io }: Pick<Act, "flags" | "io">): number {
  const { message, failed_servers: failed } = data;
  if (flags.isJson) printData(data, flags, io);
  else {
    io.stdout(`${oneLine(message)}\n`);
    printRefusals(failed, io);
  }
  return failed.length === 0 ? 0 : 1;
}

function printRefusals(refused: readonly Refusal[], io: CommandIo): void {
  if (refused.length === 0) return;
  const style = styleOf(io);
  const rows = refused.map(({ server, code, error }) => [server, code, error]);
  const paint = (cell: string, { row, column }: { readonly row: number; readonly column: number }): string =>
    row < 0 ? style.bold(cell) : column === 1 ? style.red(cell) : cell;
  io.stdout(`\n${formatTable(["REFUSED", "CODE", "WHY"], rows, { columns: io.columns, paint })}`);
}

/** `servers approve|reject`: a person's word, which no batch gives. */
export async function approveServers(
  verb: "approve" | "reject",
  args: readonly string[],
  io: CommandIo,
): Promise<number> {
  const command = readWords(`servers ${verb}`, args);
  const { flags, positionals, values } = command;
  selectionOf(verb, command);
  const patience = readPatience(values);
  const act = { api: await findDaemon(flags, io), flags, io };
  const names = await wantedNames([...new Set(positionals)], { values, act, among: "quarantined" });
  if (names.length === 1) return eachAlone(verb, { act, names, patience });
  return applyAll(
    names.map((name) => ({ op: verb, name })),
    { act, verb, names, patience },
  );
}

/** `servers remove`: as one change; whole selections only when it is said twice. */
export async function removeServers(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("servers remove", args);
  const { flags, positionals, values } = command;
  const selection = selectionOf("remove", command);
  const isByName = Object.keys(selection).length === 0 && values["all"] !== true && !isSeveral(values);
  const act = { api: await findDaemon(flags, io), flags, io };
  const names = await wantedNames([...new Set(positionals)], { values, act });
  const isSure = isByName || names.length === 0 || values["yes"] === true;
  if (!(await confirm(`remove ${countText(names.length, "server")}`, { isSure, io }))) return 1;
  const known = values["if-exists"] === true ? await knownOf(names, act) : names;
  if (known.length === 1) return eachAlone("remove", { act, names: known });
  return applyAll(
    known.map((name) => ({ op: "remove", name })),
    { act, verb: "remove", names: known },
  );
}

async function knownOf(names: readonly string[], { api }: Act): Promise<readonly string[]> {
  const known = await standingsOf(api, names);
  return names.filter((name) => known.has(name));
}

/** `servers connect|disconnect`: changes no configuration, so each is asked alone. */
export async function connectServers(
  verb: "connect" | "disconnect",
  args: readonly string[],
  io: CommandIo,
): Promise<number> {
  const command = readWords(`servers ${verb}`, args);
  const { flags, positionals, values } = command;
  selectionOf(verb, command);
  const patience = readPatience(values);
  const act = { api: await findDaemon(flags, io), flags, io };
  const names = await wantedNames([...new Set(positionals)], { values, act });
  return eachAlone(verb, { act, names, patience });
}

/** What selects beside names, as a batch takes it. */
function selectionOf(verb: string, { values, positionals }: ReadCommand): Readonly<Record<string, unknown>> {
  const filter = {
    ...(values["category"] === undefined || isSeveral(values) ? {} : { category: values["category"] }),
    ...(values["tag"] === undefined ? {} : { tag: values["tag"] }),
    ...daysOf(values),
  };
  const isFiltered = Object.keys(filter).length > 0;
  const isChosen = isFiltered || isSeveral(values);
  const group = textFlag(values["group"]);
  const isAll = values["all"] === true;
  if (positionals.length === 0 && group === undefined && !isChosen && !isAll) {
    const hint = `Usage: ${usageOf(`servers ${verb}`)}; name servers, or give --group, --category, --tag or --all`;
    throw new ProxyError("USAGE", `Cannot ${verb} servers: none is named`, { hint });
  }
  return { ...(group === undefined ? {} : { group }), ...(isFiltered ? { filter } : {}) };
}

function isSeveral(values: ReadCommand["values"]): boolean {
  return textFlag(values["category"])?.includes(",") === true;
}

function daysOf(values: ReadCommand["values"]): { readonly not_connected_for_days?: number } {
  const text = textFlag(values["not-connected-for"]);
  if (text === undefined) return {};
  const days = Number(text.replace(/d$/, ""));
  if (text !== "" && Number.isFinite(days) && days >= 0) return { not_connected_for_days: days };
  throw new ProxyError("USAGE", `Cannot use '${text}' as a number of days`, { hint: "Write it as in 30" });
}

/** Names given, or those of the selection, in the order of the file; with `among` only those of a category. */
async function wantedNames(
  names: readonly string[],
  {
    values,
    act,
    among,
  }: { readonly values: ReadCommand["values"]; readonly act: Act; readonly among?: string },
): Promise<readonly string[]> {
  const { group, tag, category = names.length > 0 ? undefined : among } = values;
  const isSelected = [group, tag, category].some((value) => value !== undefined) || values["all"] === true;
  if (!isSelected) return names;
  const query = { group: textFlag(group), tag: textFlag(tag), category: textFlag(category) };
  const { data } = await act.api.get(`/servers${queryText(query)}`);
  const { servers } = data as { readonly servers: readonly { readonly name: string }[] };
  const found = servers.map(({ name }) => name);
  return names.length === 0 ? found : found.filter((name) => names.includes(name));
}

interface Alone {
  readonly act: Act;
  readonly names: readonly string[];
  readonly patience?: Patience | undefined;
}

/** Asks for one after the other; what one fails with is thrown when it is the only one. */
async function eachAlone(verb: string, { act, names, patience }: Alone): Promise<number> {
  const { api, flags, io } = act;
  const before = await standingsOf(api, patience === undefined ? [] : names);
  const answers: unknown[] = [];
  const refused: Refusal[] = [];
  for (const name of names) {
    const path = `/servers/${encodeURIComponent(name)}`;
    try {
      const { data } = await (verb === "remove" ? api.delete(path) : api.post(`${path}/${verb}`, {}));
      answers.push(data);
    } catch (error) {
      if (names.length === 1) throw error;
      const { message, code } = toProxyError(error);
      refused.push({ server: name, error: message, code });
    }
  }
  const done = names.filter((name) => !refused.some(({ server }) => server === name));
  if (flags.isJson) {
    printData(names.length === 1 ? answers[0] : { answers, failed_servers: refused }, flags, io);
  } else {
    const [only] = done;
    const what =
      done.length === 1 && only !== undefined ? `'${oneLine(only)}'` : countText(done.length, "server");
    io.stdout(`${DONE[verb] ?? verb} ${what}${refused.length > 0 ? `, ${refused.length} refused` : ""}\n`);
    printRefusals(refused, io);
  }
  const isSettled =
    patience === undefined || (await settle(done, { ...act, before, isAnew: verb === "restart", patience }));
  return refused.length === 0 && isSettled ? 0 : 1;
}

/** Does all of it as one change of the configuration; what cannot be done is left out and named. */
async function applyAll(
  operations: readonly { readonly op: string; readonly name: string }[],
  { act, verb, names, patience }: Alone & { readonly verb: string },
): Promise<number> {
  const { api, flags, io } = act;
  if (operations.length === 0) {
    if (flags.isJson) printData({ updated: [], unchanged: [], refused: [] }, flags, io);
    else io.stdout(`There is none to ${verb}\n`);
    return 0;
  }
  const before = await standingsOf(api, patience === undefined ? [] : names);
  const work = () => api.post("/config/apply", { operations, lenient: true });
  const { data } = await withProgress("Changing the configuration", { io, work });
  const { updated, unchanged, refused } = data as {
    readonly updated: readonly string[];
    readonly unchanged: readonly string[];
    readonly refused: readonly Refusal[];
  };
  if (flags.isJson) printData(data, flags, io);
  else {
    const parts = [
      `${DONE[verb] ?? verb} ${countText(updated.length, "server")}`,
      ...(unchanged.length > 0 ? [`${unchanged.length} unchanged`] : []),
      ...(refused.length > 0 ? [`${refused.length} refused`] : []),
    ];
    io.stdout(`${parts.join(", ")}\n`);
    printRefusals(refused, io);
  }
  if (patience === undefined) return refused.length === 0 ? 0 : 1;
  const isSettled = await settle([...updated, ...unchanged], { ...act, before, isAnew: false, patience });
  return refused.length === 0 && isSettled ? 0 : 1;
}
