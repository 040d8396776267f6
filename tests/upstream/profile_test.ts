/** Holds the start of whole profiles of servers in virtual time: nobody sick costs a healthy server more than its share. */
import { expect, test } from "bun:test";
import type { Learned } from "../../src/state/store.ts";
import { verifies } from "../requirements.ts";
import { Dice, simServer, simSettings, World } from "./simulation.ts";
import type { WorldOptions } from "./simulation.ts";
import { failing, failureOf, HANGS, healthy } from "./virtual_link.ts";
import type { Nature } from "./virtual_link.ts";

type Kind = "well" | "hang" | "fails" | "first_run";
type Entry = WorldOptions["servers"][number] & { readonly kind: Kind };

interface RunOptions {
  /** Of `max_waiting_connections`. */
  readonly room?: number;
  readonly memory?: (entry: Entry) => Learned;
}

const STDIO_PATIENCE_MS = 2_000;
const PLACES = 10;
/** Of the production profile those that say nothing for 20 s: 50 hang, 10 are slow, 10 run for the first time. */
const SILENT = 70;
const MINUTE_MS = 60_000;

/** Natures of one kind each, so many times. */
function many(count: number, kind: Kind, nature: () => Nature): { kind: Kind; nature: Nature }[] {
  return Array.from({ length: count }, () => ({ kind, nature: nature() }));
}

/** The outcomes of SPEC §11, `scale` times, unscaled in time. */
function outcomes(dice: Dice, scale: number): { kind: Kind; nature: Nature }[] {
  return [
    ...many(25 * scale, "well", () => healthy(dice.between(100, 1_500))),
    ...many(30 * scale, "well", () => healthy(dice.between(5_000, 10_000))),
    ...many(10 * scale, "well", () => healthy(dice.between(20_000, 30_000))),
    ...many(50 * scale, "hang", () => HANGS),
    ...many(20 * scale, "fails", () => failing("config", 1)),
    ...many(15 * scale, "fails", () => failing("exit", dice.between(200, 2_000))),
    ...many(5 * scale, "fails", () => failing("exit", dice.between(100, 300))),
    ...many(10 * scale, "first_run", () => ({
      ...healthy(1_000),
      firstRunMs: dice.between(48_000, 176_000),
    })),
    ...many(5 * scale, "well", () => healthy(dice.between(100, 1_500))),
    ...many(2 * scale, "fails", () => failing("protocol", 900, { silentMs: 400 })),
    ...many(2 * scale, "fails", () => failing("auth", 700, { silentMs: 650 })),
  ];
}

function shuffled<T>(dice: Dice, from: readonly T[]): T[] {
  return from
    .map((value) => ({ value, at: dice.next() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ value }) => value);
}

/** The first `stdio` of them, in an order of chance, are processes. */
function profile(dice: Dice, from: readonly { kind: Kind; nature: Nature }[], stdio: number): Entry[] {
  return shuffled(dice, from).map(({ kind, nature }, at) => ({
    kind,
    nature,
    server: simServer(`s${at}`, at < stdio ? { command: "npx" } : {}),
  }));
}

function open(entries: readonly Entry[], { room = 64, memory }: RunOptions = {}): World {
  const servers = entries.map((entry) => ({ ...entry, ...(memory ? { memory: memory(entry) } : {}) }));
  return new World({ seed: 1, settings: simSettings({ maxWaitingConnections: room }), servers });
}

/** When each server of the kind was first ready; Infinity when never. */
function readyTimes(world: World, entries: readonly Entry[]): Map<string, number> {
  const of = ({ server }: Entry): number => world.sim(server.name).readyTimes[0] ?? Infinity;
  return new Map(entries.map((entry) => [entry.server.name, of(entry)]));
}

function last(times: ReadonlyMap<string, number>): number {
  return Math.max(...times.values());
}

function ofKind(entries: readonly Entry[], ...kinds: readonly Kind[]): Entry[] {
  return entries.filter(({ kind }) => kinds.includes(kind));
}

/** Runs the entries until `ms`; the world is ended and checked. */
function run(entries: readonly Entry[], ms: number, options: RunOptions = {}): World {
  const world = open(entries, options);
  world.start();
  world.advance(ms);
  world.end();
  return world;
}

function expectCalmStart(entries: readonly Entry[], options: { stdio: number; room: number }): void {
  const { stdio, room } = options;
  const well = ofKind(entries, "well");
  const alone = readyTimes(run(well, 3 * MINUTE_MS, { room }), well);
  const world = run(entries, 7 * MINUTE_MS, { room });
  const together = readyTimes(world, well);

  const lastStart = Math.max(...well.map(({ server }) => world.sim(server.name).startedAt ?? Infinity));
  for (const { server } of ofKind(entries, "hang")) {
    expect(world.sim(server.name).opens[1] ?? Infinity).toBeGreaterThan(lastStart);
  }
  // A lane each; the sick of the other lane cost nothing.
  const sickOf = (isStdio: boolean): number =>
    entries.filter(({ kind, server }) => kind !== "well" && (server.command !== undefined) === isStdio)
      .length;
  const allowance = {
    stdio: (STDIO_PATIENCE_MS * Math.ceil(sickOf(true))) / PLACES + STDIO_PATIENCE_MS,
    http: (250 * sickOf(false)) / (8 * PLACES) + 250,
  };
  for (const { server } of well) {
    const extra = (together.get(server.name) ?? Infinity) - (alone.get(server.name) ?? 0);
    expect(extra).toBeLessThanOrEqual(server.command === undefined ? allowance.http : allowance.stdio);
  }
  for (const { server } of ofKind(entries, "first_run")) {
    const sim = world.sim(server.name);
    expect([server.name, sim.readyTimes.length]).toEqual([server.name, 1]);
    // Where the silent are more than the room holds, the longest-waiting one has to make way.
    if (room > SILENT || stdio < entries.length / 2) expect(sim.opens.length).toBe(1);
  }
  expect(world.peaks.places.stdio).toBeLessThanOrEqual(PLACES);
  expect(world.peaks.waiting.stdio).toBeLessThanOrEqual(room);
  const [soonest, latest] = [last(alone), last(together)];
  console.log(
    `${entries.length} servers, ${stdio} stdio, room ${room}: ${well.length} well ones ready in ${latest.toFixed(0)} ms, ` +
      `alone ${soonest.toFixed(0)} ms; peaks ${JSON.stringify(world.peaks)}`,
  );
}

test.each([64, 80])(
  "Supervisor starts every healthy server of the production profile before any hanging one a second time, room %p",
  (room) => {
    verifies("SCHEDULE-PLACES", "SCHEDULE-NO-BARRIER");
    const dice = new Dice(159);
    // 174 outcomes are listed; the fifteen that are over belong to several headings.
    const entries = profile(dice, outcomes(dice, 1).slice(15), 157);
    expect(entries.length).toBe(159);
    expectCalmStart(entries, { stdio: 157, room });
  },
);

test("Supervisor does the same with 1,000 servers, 150 of them stdio", () => {
  verifies("SCHEDULE-PLACES", "SCHEDULE-NO-BARRIER");
  const dice = new Dice(1_000);
  const entries = profile(dice, shuffled(dice, outcomes(dice, 6)).slice(0, 1_000), 150);
  expectCalmStart(entries, { stdio: 150, room: 64 });
});

test("Supervisor starts 79 HTTP servers among 50 that hang and 30 that refuse in 1.5 × the time of the 79 alone", () => {
  verifies("SCHEDULE-NO-BARRIER");
  const dice = new Dice(79);
  const entries = profile(
    dice,
    [
      ...many(79, "well", () => healthy(dice.between(300, 800))),
      ...many(50, "hang", () => HANGS),
      ...many(30, "fails", () => failing("network", 2)),
    ],
    0,
  );
  const well = ofKind(entries, "well");
  const alone = last(readyTimes(run(well, MINUTE_MS), well));
  const together = last(readyTimes(run(entries, MINUTE_MS), well));
  console.log(`79 HTTP servers: ${together.toFixed(0)} ms among 80 sick, ${alone.toFixed(0)} ms alone`);
  expect(together).toBeLessThanOrEqual(1.5 * alone);
});

test("Supervisor starts 40 stdio servers, 15 of them hanging, within 2 × start_patience of the others alone", () => {
  verifies("SCHEDULE-NO-BARRIER");
  const dice = new Dice(40);
  const entries = profile(
    dice,
    [...many(25, "well", () => healthy(dice.between(200, 3_000))), ...many(15, "hang", () => HANGS)],
    40,
  );
  const well = ofKind(entries, "well");
  const alone = last(readyTimes(run(well, MINUTE_MS), well));
  const together = last(readyTimes(run(entries, MINUTE_MS), well));
  console.log(`25 stdio servers: ${together.toFixed(0)} ms among 15 hanging, ${alone.toFixed(0)} ms alone`);
  expect(together).toBeLessThanOrEqual(alone + 2 * STDIO_PATIENCE_MS);
});

test("Supervisor makes all that worked before ready first, fastest in front, and 50 hanging ones cost them nothing", () => {
  verifies("SCHEDULE-NO-BARRIER");
  const dice = new Dice(5);
  const entries = profile(
    dice,
    [...many(60, "well", () => healthy(dice.between(200, 3_000))), ...many(50, "hang", () => HANGS)],
    110,
  );
  const memory = ({ kind, nature }: Entry): Learned =>
    kind === "well"
      ? { everConnected: true, connectMs: nature.workMs, toolCount: 5 }
      : { everConnected: false, failedLast: true };
  const well = ofKind(entries, "well");
  const alone = readyTimes(run(well, MINUTE_MS, { memory }), well);
  const world = run(entries, MINUTE_MS, { memory });
  expect(readyTimes(world, well)).toEqual(alone);
  const starts = well.map(({ server, nature }) => ({
    at: world.sim(server.name).startedAt ?? Infinity,
    took: nature.workMs,
  }));
  const inOrder = starts.toSorted((a, b) => a.took - b.took).map(({ at }) => at);
  expect(inOrder).toEqual(inOrder.toSorted((a, b) => a - b));
});

test("Supervisor suspends counting when 88 of 159 fail at once, and brings them back with jitter", () => {
  verifies("SUPERVISE-CASCADE");
  const dice = new Dice(88);
  const entries = profile(
    dice,
    many(159, "well", () => healthy(dice.between(100, 1_500))),
    60,
  );
  const world = open(entries);
  world.start();
  world.advance(2 * MINUTE_MS);
  expect(world.all().every(({ keeper }) => keeper.connection === "ready")).toBe(true);

  world.isNetworkDown = true;
  const fallen = shuffled(dice, world.all()).slice(0, 88);
  for (const { live } of fallen) {
    for (const link of live) world.act(() => link.fail(failureOf("network", {})));
  }
  expect([world.supervisor.isSuspended, world.supervisor.state]).toEqual([true, "degraded"]);
  world.advance(20 * MINUTE_MS);
  expect([world.supervisor.isSuspended, world.autoDisables.length]).toEqual([true, 0]);
  world.isNetworkDown = false;
  const from = world.clock.now();
  world.advance(10 * MINUTE_MS);
  expect(world.all().every(({ keeper }) => keeper.connection === "ready")).toBe(true);
  expect([world.supervisor.isSuspended, world.supervisor.state]).toEqual([false, "running"]);
  expect(world.autoDisables).toEqual([]);

  const returns = fallen.map(({ opens }) => opens.at(-1) ?? 0).toSorted((a, b) => a - b);
  const [first = 0, latest = 0] = [returns[0], returns.at(-1)];
  // One that came back by its own backoff ended the storm; all others follow one second ± 20 % later.
  const spread = new Set(returns.map((at) => Math.floor((at - first) / 50)));
  console.log(
    `88 of 159: the first is tried ${((first - from) / 1000).toFixed(1)} s after the network, the last ` +
      `${((latest - first) / 1000).toFixed(2)} s later, over ${spread.size} slots of 50 ms`,
  );
  expect(spread.size).toBeGreaterThanOrEqual(5);
  world.end();
});

test("Supervisor visits 44 lazy servers without tools once each, one at a time, and starts none whose tools it knows", () => {
  const visitsOf = (memory: Learned): World => {
    const dice = new Dice(44);
    const servers = Array.from({ length: 44 }, (_, at) => ({
      server: simServer(`s${at}`, { command: "npx", startupMode: "lazy_loading" }),
      nature: at % 4 === 0 ? failing("exit", 300) : healthy(dice.between(100, 3_000)),
      memory,
    }));
    let most = 0;
    const world = new World({
      seed: 1,
      settings: simSettings(),
      servers,
      onEvent: () => {
        most = Math.max(most, world.all().filter(({ live }) => live.size > 0).length);
      },
    });
    world.start();
    // Taken out, stopped and woken while they are visited, or wait for it.
    world.act(() => world.order(world.sim("s0"), "disconnect"));
    world.act(() => world.order(world.sim("s1"), "remove"));
    world.advance(5 * MINUTE_MS);
    expect(most).toBeLessThanOrEqual(1);
    expect(world.all().every(({ keeper }) => keeper.category === "sleeping")).toBe(true);
    world.end();
    return world;
  };
  const opens = visitsOf({})
    .all()
    .map((sim) => sim.opens.length);
  expect(opens).toEqual(Array.from({ length: 43 }, () => 1));
  const known = visitsOf({ everConnected: true, toolCount: 3 });
  expect(known.all().every((sim) => sim.opens.length === 0)).toBe(true);
});
