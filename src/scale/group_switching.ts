/**
 * Group operations: 5, 20, 50 and all servers switched as one change.
 *
 * Owns the rows about groups. Invariants: who cannot be switched is named with its code and nobody else is; what was done
 * is counted in the list and in the file, for an answer may leave out what it skipped; one batch is one commit, one event
 * of the group and one event for each server that moved.
 */
import { EventReader } from "./event_reader.ts";
import type { Arrival } from "./event_reader.ts";
import { median } from "./sheet.ts";
import { openStage } from "./stage.ts";
import type { Area, AreaContext, Stage } from "./stage.ts";
import { modesInFile } from "./states.ts";
import { until } from "./subject.ts";
import type { ServerFacts, Subject } from "./subject.ts";

const SIZES = [5, 20, 50] as const;
const DESIGN_SERVER_MS = 50;
const DESIGN_SUCCESS_RATIO = 0.8;
const MUST_FURTHER_MS = 0.05;
const EVENTS_MS = 5_000;
const LEVELS = 5;
const FEW = 5;
const ROUNDS = 5;
/** Where an action leads. */
const WANTED = { disable: "disabled", enable: "active" } as const;

/** The area. */
export const GROUPS: Area = {
  name: "groups",
  needs: "servers",
  about: "group operations: 5, 20, 50 and all servers, partial failures, hierarchy",
  run: runGroups,
};

async function runGroups(context: AreaContext): Promise<void> {
  const { tell } = context;
  // A server that fails may not switch itself off between a batch and the look at what came of it.
  await using stage = await openStage(context, { settings: { auto_disable_threshold: 0 } });
  const { subject } = stage;
  using events = await EventReader.overSocket(subject.url, subject.key);
  const all = [...(await subject.servers()).values()];
  const held = all.filter(({ startup_mode: mode }) => mode === "quarantined").map(({ name }) => name);
  const free = all.filter(({ startup_mode: mode }) => mode !== "quarantined").map(({ name }) => name);
  const sizes = [...SIZES.filter((size) => size <= free.length), all.length];
  for (const size of sizes) {
    const isAll = size === all.length;
    const names = isAll ? all.map(({ name }) => name) : [...free.slice(0, size - 1), ...held.slice(0, 1)];
    tell(`a group of ${names.length}`);
    const group = await makeGroup(subject, { name: `scale ${size}`, names });
    await switchGroup(context, { stage, events, group, names, held: new Set(held) });
  }
  await furtherServer(context, { subject, names: free });
  await checkHierarchy(context, { subject, names: free.slice(0, LEVELS) });
}

async function makeGroup(
  subject: Subject,
  {
    name,
    names,
    parent,
  }: { readonly name: string; readonly names: readonly string[]; readonly parent?: number },
): Promise<number> {
  const { data } = await subject.post("/groups", { name, ...(parent === undefined ? {} : { parent }) });
  const { id } = data["group"] as { readonly id: number };
  await subject.post(`/groups/${id}/assign`, { servers: names });
  return id;
}

interface Switching {
  readonly stage: Stage;
  readonly events: EventReader;
  readonly group: number;
  readonly names: readonly string[];
  readonly held: ReadonlySet<string>;
}

async function switchGroup({ sheet }: AreaContext, switching: Switching): Promise<void> {
  const { stage, events, group, names, held } = switching;
  const { subject } = stage;
  const wanted = names.filter((name) => held.has(name));
  for (const action of ["disable", "enable"] as const) {
    const before = await subject.servers();
    const seen = events.arrivals.length;
    const from = performance.now();
    const { data } = await subject.post(`/groups/${group}/${action}`);
    const ms = performance.now() - from;
    const failed = (data["failed_servers"] ?? []) as readonly {
      readonly server: string;
      readonly code: string;
    }[];
    const head = `${action} ${names.length}`;
    const isExact =
      failed.length === wanted.length &&
      failed.every(({ server, code }) => wanted.includes(server) && code === "QUARANTINED");
    const [after, inFile] = [await subject.servers(), modesInFile(subject.configPath)];
    const done = names.filter((name) => {
      const mode = WANTED[action];
      return !held.has(name) && after.get(name)?.startup_mode === mode && inFile.get(name) === mode;
    }).length;
    sheet.add({
      metric: `${head}: for each server`,
      unit: "ms",
      measured: ms / names.length,
      target: DESIGN_SERVER_MS,
    });
    sheet.add({
      metric: `${head}: share that was done`,
      unit: "ratio",
      measured: done / names.length,
      target: DESIGN_SUCCESS_RATIO,
      isFloor: true,
    });
    sheet.count(`${head}: servers in the wanted mode, in list and file`, {
      measured: done,
      wanted: names.length - wanted.length,
    });
    sheet.count(`${head}: who could not be switched is named, and nobody else`, {
      measured: Number(isExact),
      wanted: 1,
      note: `${failed.length} named`,
    });
    await checkBatch(sheet, { head, action, before, after, events, seen });
  }
}

/** What a batch costs for each server more, when none of them has a connection to close or to open. */
async function furtherServer(
  { sheet }: AreaContext,
  { subject, names }: { readonly subject: Subject; readonly names: readonly string[] },
): Promise<void> {
  const few = names.slice(0, FEW);
  await subject.post("/servers/batch", { action: "disable", names });
  const times = new Map<number, number[]>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const some of [few, names]) {
      const from = performance.now();
      await subject.post("/servers/batch", { action: "quarantine", names: some });
      times.set(some.length, [...(times.get(some.length) ?? []), performance.now() - from]);
      const operations = some.map((name) => ({ op: "approve", name }));
      await subject.post("/config/apply", { operations, lenient: true });
    }
  }
  const of = (size: number): number => median(times.get(size) ?? []);
  sheet.add({
    metric: "a further server of a batch, none connected",
    unit: "ms",
    measured: (of(names.length) - of(few.length)) / (names.length - few.length),
    must: MUST_FURTHER_MS,
  });
}

/** One commit, one event of the group, one for each server that moved; and the list says so. */
async function checkBatch(
  sheet: AreaContext["sheet"],
  batch: {
    readonly head: string;
    readonly action: "enable" | "disable";
    readonly before: ReadonlyMap<string, ServerFacts>;
    readonly after: ReadonlyMap<string, ServerFacts>;
    readonly events: EventReader;
    readonly seen: number;
  },
): Promise<void> {
  const { head, action, before, after, events, seen } = batch;
  const ofGroup = (): Arrival | undefined =>
    events.arrivals
      .slice(seen)
      .find(({ type, data }) => type === "server_group_updated" && data["action"] === action);
  const gaps = events.gaps;
  const isTold = (): boolean => ofGroup() !== undefined || events.gaps > gaps;
  await until(isTold, "the event of the group", EVENTS_MS).catch(() => {});
  if (events.gaps > gaps) {
    // More than the proxy keeps for who returns; the reader knows that it has to look at the list.
    sheet.add({ metric: `${head}: events told as a gap`, unit: "", measured: events.gaps - gaps });
    return;
  }
  const moved = [...after.values()].filter(
    ({ name, startup_mode: mode }) => before.get(name)?.startup_mode !== mode,
  );
  // What a commit does carries its revision; what was done before may still arrive.
  const revision = ofGroup()?.revision;
  const effects = events.arrivals.slice(seen).filter((event) => event.revision === revision);
  const moves = effects.filter(({ type, data }) => {
    if (type !== "server_state_changed") return false;
    const { before: was, after: is } = data as { before: { mode: string }; after: { mode: string } };
    return was.mode !== is.mode;
  });
  const others = effects.filter(({ type }) => type === "server_group_updated" || type === "config_committed");
  sheet.count(`${head}: events of servers that moved`, { measured: moves.length, wanted: moved.length });
  if (moved.length === 0) return;
  sheet.count(`${head}: events of the group and of the commit`, { measured: others.length, wanted: 2 });
}

/** Groups below groups: the topmost holds all, and a circle is refused. */
async function checkHierarchy(
  { sheet }: AreaContext,
  { subject, names }: { readonly subject: Subject; readonly names: readonly string[] },
): Promise<void> {
  const ids: number[] = [];
  for (const [level, name] of names.entries()) {
    const parent = ids.at(-1);
    ids.push(
      await makeGroup(subject, {
        name: `level ${level}`,
        names: [name],
        ...(parent === undefined ? {} : { parent }),
      }),
    );
  }
  const [top = 0] = ids;
  const { data } = await subject.api(`/groups/${top}/members`);
  sheet.count(`members of the topmost of ${names.length} levels`, {
    measured: (data["servers"] as readonly string[]).length,
    wanted: names.length,
  });
  const circle = await subject.api(`/groups/${top}`, { method: "PATCH", body: { parent: ids.at(-1) } });
  sheet.count("a circle of groups is refused", { measured: Number(circle.status === 400), wanted: 1 });
}
