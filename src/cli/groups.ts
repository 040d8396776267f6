/**
 * `mcpproxy groups`: servers switched together.
 *
 * Owns how groups are printed, and their verbs. Invariants: `--json` is the API's data unchanged; a server that was
 * refused is named with its code, and is exit code 1. Counting members by the configuration file was rejected: only the
 * proxy knows what is connected.
 */
import { oneLine } from "../lib/log.ts";
import { printBatch } from "./batch.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo, ReadCommand } from "./command.ts";
import { readWords, runVerb } from "./help.ts";
import type { Verb } from "./help.ts";
import { countText, formatRecord, printData } from "./output.ts";
import { withProgress } from "./progress.ts";
import { serverLines, summaryOf } from "./servers.ts";
import type { ServerPage, ServerRow } from "./servers.ts";
import { readPatience, settle, standingsOf } from "./settle.ts";
import { styleOf } from "./style.ts";
import type { Style } from "./style.ts";
import { tableLines } from "./table.ts";
import { watch } from "./watch.ts";

interface GroupRow {
  readonly id: number;
  readonly name: string;
  readonly slug: string;
  readonly enabled: boolean;
  readonly parent?: number;
  readonly icon_emoji?: string;
  readonly own_count: number;
  readonly server_count: number;
}

/** All groups, and how the servers stand. */
interface Overview {
  readonly groups: readonly GroupRow[];
  readonly servers: readonly ServerRow[];
}

const ROW_TYPES =
  "server_group_updated,config_committed,config_reloaded,server_added,server_removed,server_renamed,server_state_changed";

const VERBS: Readonly<Record<string, Verb>> = {
  list,
  show,
  create,
  update,
  delete: remove,
  assign: (args, io) => assign("assign", args, io),
  unassign: (args, io) => assign("unassign", args, io),
  enable: (args, io) => act("enable", args, io),
  disable: (args, io) => act("disable", args, io),
  restart: (args, io) => act("restart", args, io),
  quarantine: (args, io) => act("quarantine", args, io),
};

/** Runs a verb of `groups`. */
export function runGroups(args: readonly string[], io: CommandIo): Promise<number> {
  return runVerb("groups", { verbs: VERBS, args, io });
}

async function list(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values } = readWords("groups list", args);
  const style = styleOf(io);
  if (values["watch"] === true) {
    const draw = (data: Overview, { columns }: { readonly columns: number }): readonly string[] =>
      groupLines(data, { columns, style });
    return watch<Overview>({ query: { types: ROW_TYPES }, read: readOverview, draw }, { flags, io });
  }
  const api = await findDaemon(flags, io);
  if (flags.isJson) {
    printData((await api.get("/groups")).data, flags, io);
    return 0;
  }
  const lines = groupLines(await readOverview(api), { columns: io.columns, style });
  io.stdout(lines.map((line) => `${line}\n`).join(""));
  return 0;
}

async function readOverview(api: ApiClient): Promise<Overview> {
  const [groups, servers] = await Promise.all([api.get("/groups"), api.get("/servers")]);
  return {
    groups: (groups.data as { readonly groups: readonly GroupRow[] }).groups,
    servers: (servers.data as ServerPage).servers,
  };
}

function groupLines(
  { groups, servers }: Overview,
  { columns, style }: { readonly columns: number | undefined; readonly style: Style },
): readonly string[] {
  const nameOf = new Map(groups.map(({ id, name }) => [id, name]));
  const membersOf = countMembers(groups, servers);
  const rows = groups.map((group) => {
    const members = [...(membersOf.get(group.id) ?? [])];
    const connected = members.filter(({ category }) => category === "connected").length;
    const failed = members.filter(
      ({ category }) => category === "disconnected" || category === "auto_disabled",
    );
    return [
      group.icon_emoji === undefined ? group.name : `${group.name} ${group.icon_emoji}`,
      String(group.id),
      String(group.server_count),
      String(connected),
      String(failed.length),
      group.parent === undefined ? "" : (nameOf.get(group.parent) ?? String(group.parent)),
      group.enabled ? "" : "disabled",
    ];
  });
  return tableLines(["GROUP", "ID", "SERVERS", "CONNECTED", "FAILING", "BELOW", "STATE"], {
    rows,
    columns,
    paint: (cell, { row, column }) => {
      if (row < 0) return style.bold(cell);
      if (column === 4) return cell.trim() === "0" ? style.dim(cell) : style.red(cell);
      return column === 3 ? style.green(cell) : cell;
    },
  });
}

/** The servers of each group, those of the groups below it among them. */
function countMembers(
  groups: readonly GroupRow[],
  servers: readonly ServerRow[],
): ReadonlyMap<number, ReadonlySet<ServerRow>> {
  const byId = new Map(groups.map((group) => [group.id, group]));
  const byWord = new Map([
    ...groups.map(({ slug, id }): [string, number] => [slug, id]),
    ...groups.map(({ name, id }): [string, number] => [name, id]),
    ...groups.map(({ id }): [string, number] => [String(id), id]),
  ]);
  const members = new Map(groups.map(({ id }) => [id, new Set<ServerRow>()]));
  for (const server of servers) {
    for (const word of server.groups) {
      let group = byId.get(byWord.get(String(word)) ?? Number.NaN);
      // A circle is refused by the configuration; here it only must not turn for ever.
      for (let depth = 0; group !== undefined && depth < groups.length; depth += 1) {
        members.get(group.id)?.add(server);
        group = group.parent === undefined ? undefined : byId.get(group.parent);
      }
    }
  }
  return members;
}

async function show(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("groups show", args);
  const [word = ""] = positionals;
  const api = await findDaemon(flags, io);
  const { data } = await api.get(pathOf(word));
  if (flags.isJson) {
    printData(data, flags, io);
    return 0;
  }
  const group = data as GroupRow & Readonly<Record<string, unknown>>;
  const query = new URLSearchParams({ group: String(group.id) });
  const page = (await api.get(`/servers?${query.toString()}`)).data as ServerPage;
  const style = styleOf(io);
  io.stdout(
    `${style.bold(oneLine(group.name))}\n\n${formatRecord([
      ["Id", group.id],
      ["Slug", group.slug],
      ["Description", group["description"]],
      ["Color", group["color"]],
      ["Icon", group.icon_emoji],
      ["Below", group.parent],
      ["Enabled", group.enabled],
      ["Endpoint", `/mcp/g/${group.slug}`],
    ])}\n`,
  );
  if (page.servers.length === 0) io.stdout("It has no servers\n");
  else {
    const lines = serverLines(page.servers, { columns: io.columns, style, now: Date.now() });
    io.stdout(`${lines.join("\n")}\n\n${summaryOf(page)}\n`);
  }
  return 0;
}

/** What `create` and `update` share, by the words of the API. */
function fieldsOf({ values }: ReadCommand): Readonly<Record<string, string | null>> {
  const parent = textFlag(values["parent"]);
  const given = {
    name: textFlag(values["name"]),
    description: textFlag(values["description"]),
    color: textFlag(values["color"]),
    icon_emoji: textFlag(values["icon"]),
    parent: parent === "" ? null : parent,
  };
  return Object.fromEntries(
    Object.entries(given).filter((entry): entry is [string, string | null] => entry[1] !== undefined),
  );
}

async function create(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("groups create", args);
  const [name = ""] = command.positionals;
  const api = await findDaemon(command.flags, io);
  const { data } = await api.post("/groups", { ...fieldsOf(command), name });
  return printGroup("Made", data, { command, io });
}

async function update(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("groups update", args);
  const [word = ""] = command.positionals;
  const api = await findDaemon(command.flags, io);
  const { data } = await api.patch(pathOf(word), fieldsOf(command));
  return printGroup("Changed", data, { command, io });
}

function printGroup(
  done: string,
  data: unknown,
  { command, io }: { readonly command: ReadCommand; readonly io: CommandIo },
): number {
  const { group, warning } = data as { readonly group: GroupRow; readonly warning?: string };
  if (command.flags.isJson) printData(data, command.flags, io);
  else io.stdout(`${done} group '${oneLine(group.name)}' (id ${group.id}, slug ${oneLine(group.slug)})\n`);
  if (warning !== undefined) io.stderr(`${oneLine(warning)}\n`);
  return 0;
}

async function remove(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals } = readWords("groups delete", args);
  const [word = ""] = positionals;
  const api = await findDaemon(flags, io);
  const { data } = await api.delete(pathOf(word));
  const { changes = [] } = data as { readonly changes?: readonly unknown[] };
  if (flags.isJson) printData(data, flags, io);
  else io.stdout(`Deleted group '${oneLine(word)}'; ${countText(changes.length, "server")} left it\n`);
  return 0;
}

async function assign(verb: "assign" | "unassign", args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, positionals, values } = readWords(`groups ${verb}`, args);
  const [word = "", ...servers] = positionals;
  const api = await findDaemon(flags, io);
  const { data } = await api.post(`${pathOf(word)}/${verb}`, {
    servers: [...new Set(servers)],
    ...(values["dry-run"] === true ? { dry_run: true } : {}),
  });
  return printBatch(data as Parameters<typeof printBatch>[0], { flags, io });
}

async function act(
  verb: "enable" | "disable" | "restart" | "quarantine",
  args: readonly string[],
  io: CommandIo,
): Promise<number> {
  const { flags, positionals, values } = readWords(`groups ${verb}`, args);
  const [word = ""] = positionals;
  const isDryRun = values["dry-run"] === true;
  const patience = readPatience(values);
  const api = await findDaemon(flags, io);
  const names =
    patience === undefined
      ? []
      : ((await api.get(`${pathOf(word)}/members`)).data as { readonly servers: readonly string[] }).servers;
  const before = await standingsOf(api, names);
  const work = () => api.post(`${pathOf(word)}/${verb}`, isDryRun ? { dry_run: true } : {});
  const { data } = await withProgress("Changing the servers of the group", { io, work });
  const batch = data as Parameters<typeof printBatch>[0];
  const code = printBatch(batch, { flags, io });
  if (patience === undefined || isDryRun) return code;
  const refused = new Set(batch.failed_servers.map(({ server }) => server));
  const left = names.filter((name) => !refused.has(name));
  return (await settle(left, { api, flags, io, patience, before, isAnew: verb === "restart" })) ? code : 1;
}

function pathOf(group: string): string {
  return `/groups/${encodeURIComponent(group)}`;
}
