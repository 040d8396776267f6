/**
 * Event delivery: what changes is told, once, in order, soon, to everybody who listens.
 *
 * Owns the rows about streams. Invariants: each move has exactly one event at each reader; a reader that misses one
 * makes the row fail, however fast the rest was.
 */
import { EventReader, faultsOf } from "./event_reader.ts";
import type { Arrival } from "./event_reader.ts";
import { quantile } from "./sheet.ts";
import { openStage } from "./stage.ts";
import type { Area, AreaContext } from "./stage.ts";
import { until } from "./subject.ts";
import type { Subject } from "./subject.ts";

const DESIGN_TWENTY_MS = 3_000;
const TWENTY = 20;
const WAIT_MS = 15_000;
/** What the times of the numbers to hold are of. */
const BURST = 159;
const CROWDS = [
  { readers: 100, mustMs: 50 },
  { readers: 1_000, mustMs: 300 },
] as const;
/** Connections opened at once. */
const STEP = 50;

/** The area. */
export const EVENTS: Area = {
  name: "events",
  needs: "servers",
  about: "event delivery: 20 servers, 100 and 1,000 WebSocket clients, replay",
  run: runEvents,
};

async function runEvents(context: AreaContext): Promise<void> {
  const { options, sheet, tell } = context;
  await using stage = await openStage(context, { waits: false });
  const { subject } = stage;
  const names = [...(await subject.servers()).values()]
    .filter(({ startup_mode: mode }) => mode === "active" || mode === "disabled" || mode === "lazy_loading")
    .map(({ name }) => name);
  await subject.post("/servers/batch", { action: "disable", names });
  using socket = await EventReader.overSocket(subject.url, subject.key);
  using stream = await EventReader.overStream(subject.url, subject.key);
  const twenty = names.slice(0, TWENTY);
  tell(`${twenty.length} servers on and off`);
  const from = performance.timeOrigin + performance.now();
  for (const name of twenty) await subject.post(`/servers/${encodeURIComponent(name)}/enable`);
  for (const reader of [socket, stream]) {
    await until(() => enabled(reader, twenty).length >= twenty.length, "each event", WAIT_MS).catch(() => {});
  }
  for (const [way, reader] of [
    ["WebSocket", socket],
    ["SSE", stream],
  ] as const) {
    const got = enabled(reader, twenty);
    sheet.count(`${way}: events of ${twenty.length} servers`, {
      measured: got.length,
      wanted: twenty.length,
    });
    sheet.count(`${way}: gaps, doubles and disorder`, { measured: faultsOf(reader.arrivals), wanted: 0 });
    sheet.add({
      metric: `${way}: ${twenty.length} servers, until the last event`,
      unit: "ms",
      measured: got.length === 0 ? Number.NaN : Math.max(...got.map(({ at }) => at)) - from,
      target: DESIGN_TWENTY_MS,
    });
  }
  await subject.post("/servers/batch", { action: "disable", names });
  for (const { readers, mustMs } of options.isShort ? CROWDS.slice(0, 1) : CROWDS) {
    tell(`${readers} WebSocket clients`);
    await crowd(context, { subject, names: names.slice(0, BURST), readers, mustMs });
  }
}

/** The moves to active of the named servers. */
function enabled(reader: EventReader, names: readonly string[]): readonly Arrival[] {
  const wanted = new Set(names);
  return reader.arrivals.filter(({ type, server, data }) => {
    if (type !== "server_state_changed" || server === undefined || !wanted.has(server)) return false;
    const { before, after } = data as { before: { mode: string }; after: { mode: string } };
    return before.mode !== after.mode && after.mode === "active";
  });
}

/** One batch over some servers, told to many at once. */
async function crowd(
  { sheet }: AreaContext,
  given: {
    readonly subject: Subject;
    readonly names: readonly string[];
    readonly readers: number;
    readonly mustMs: number;
  },
): Promise<void> {
  const { subject, names, readers: count, mustMs } = given;
  const readers: EventReader[] = [];
  try {
    await fill(readers, { subject, count });
    // What is switched off stays down: its moves are all there is to tell.
    const { data } = await subject.post("/servers/batch", { action: "quarantine", names });
    const moved = Number(data["updated"]);
    // They are looked at once all is there: until then this process has only to receive.
    const areTold = (): boolean => readers.every(({ unread }) => unread >= moved);
    await until(areTold, "each reader has as many events", WAIT_MS).catch(() => {});
    const haveAll = (): boolean => readers.every((reader) => movesOf(reader) >= moved);
    await until(haveAll, "each reader has each event", WAIT_MS).catch(() => {});
    const lost = readers.reduce((sum, reader) => sum + Math.max(0, moved - movesOf(reader)), 0);
    const disorder = readers.reduce(
      (sum, { gaps, arrivals: all }) => sum + gaps + faultsOf(all, { isFiltered: true }),
      0,
    );
    const doubled = readers.reduce((sum, reader) => sum + Math.max(0, movesOf(reader) - moved), 0);
    const arrivals = readers.flatMap((reader) => reader.arrivals.filter(isMove));
    const first = arrivals.reduce((least, { time }) => Math.min(least, time), Infinity);
    sheet.add({
      metric: `${count} WebSocket clients, a burst of ${moved}: p99 from the first publish`,
      unit: "ms",
      measured: quantile(
        arrivals.map(({ at }) => at - first),
        0.99,
      ),
      must: mustMs,
    });
    sheet.count(`${count} WebSocket clients: events lost`, { measured: lost, wanted: 0 });
    sheet.count(`${count} WebSocket clients: gaps, doubles and disorder`, {
      measured: disorder + doubled,
      wanted: 0,
    });
    await release(subject, names);
  } finally {
    for (const reader of readers) reader[Symbol.dispose]();
  }
}

/** Opens readers until there are so many. */
async function fill(
  readers: EventReader[],
  { subject, count }: { readonly subject: Subject; readonly count: number },
): Promise<void> {
  while (readers.length < count) {
    const step = Array.from({ length: Math.min(STEP, count - readers.length) }, () =>
      // The burst the numbers are of: one event a server.
      EventReader.overSocket(subject.url, subject.key, "server_state_changed"),
    );
    readers.push(...(await Promise.all(step)));
  }
}

/** Back to where the next crowd finds them. */
async function release(subject: Subject, names: readonly string[]): Promise<void> {
  const operations = names.map((name) => ({ op: "approve", name }));
  await subject.post("/config/apply", { operations, lenient: true });
  await subject.post("/servers/batch", { action: "disable", names });
}

function isMove({ type, data }: Arrival): boolean {
  if (type !== "server_state_changed") return false;
  return (data as { after: { mode: string } }).after.mode === "quarantined";
}

function movesOf(reader: EventReader): number {
  return reader.arrivals.filter(isMove).length;
}
