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
const HTTP_PATIENCE_MS = 250;
const MINUTE_MS = 60_000;
const MAX_RUN_MS = 120_000;

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

/** What went wrong with one start; empty when it was calm. */
function faultsOf(
  entries: readonly Entry[],
  room: number,
): { readonly faults: string[]; readonly told: string } {
  const well = ofKind(entries, "well");
  const alone = readyTimes(run(well, 3 * MINUTE_MS, { room }), well);
  const world = run(entries, 7 * MINUTE_MS, { room });
  const together = readyTimes(world, well);
  const faults: string[] = [];

  const lastStart = Math.max(...well.map(({ server }) => world.sim(server.name).startedAt ?? Infinity));
  for (const { server } of ofKind(entries, "hang")) {
    const again = world.sim(server.name).opens[1] ?? Infinity;
    if (again <= lastStart) faults.push(`'${server.name}' hangs a second time before the last healthy one`);
  }
  // A lane each; the sick of the other lane cost nothing.
  const sickOf = (isStdio: boolean): number =>
    entries.filter(({ kind, server }) => kind !== "well" && (server.command !== undefined) === isStdio)
      .length;
  const stdioShare = (STDIO_PATIENCE_MS * sickOf(true)) / PLACES;
  const httpShare = (HTTP_PATIENCE_MS * sickOf(false)) / (8 * PLACES);
  for (const { server } of well) {
    const extra = (together.get(server.name) ?? Infinity) - (alone.get(server.name) ?? 0);
    const share = server.command === undefined ? httpShare : stdioShare;
    if (!(extra <= share))
      faults.push(`'${server.name}' is ready ${extra} ms late, its share is ${share} ms`);
  }
  // Who downloads is not cut short, though more are silent (50 hang, 10 are slow, 10 download) than the room holds.
  for (const { server } of ofKind(entries, "first_run")) {
    const { opens, readyTimes: ready } = world.sim(server.name);
    if (opens.length !== 1 || ready.length !== 1)
      faults.push(`'${server.name}' downloads ${opens.length} times`);
  }
  const { places, waiting } = world.peaks;
  if (places.stdio > PLACES || waiting.stdio > room) faults.push(`peaks ${JSON.stringify(world.peaks)}`);
  const told = `${last(together).toFixed(0)} ms, alone ${last(alone).toFixed(0)} ms; peaks ${JSON.stringify(world.peaks)}`;
  return { faults, told };
}

interface Calm {
  readonly orders: number;
  readonly room: number;
  readonly make: (dice: Dice) => readonly Entry[];
}

/** No start is anything but calm, whatever order the servers come in. */
function expectCalmStarts({ orders, room, make }: Calm): void {
  let [count, told] = [0, ""];
  for (let seed = 1; seed <= orders; seed += 1) {
    const entries = make(new Dice(seed));
    const start = faultsOf(entries, room);
    expect([seed, start.faults]).toEqual([seed, []]);
    [count, told] = [entries.length, start.told];
  }
  console.log(`${count} servers in ${orders} orders, room ${room}; the last: well ones ready in ${told}`);
}

test.each([
  [64, 100],
  [80, 10],
])(
  "Supervisor starts every healthy server of the production profile before any hanging one a second time, room %p",
  (room, orders) => {
    verifies("SCHEDULE-PLACES", "SCHEDULE-NO-BARRIER");
    // 174 outcomes are listed; the fifteen that are over belong to several headings.
    const make = (dice: Dice): Entry[] => profile(dice, outcomes(dice, 1).slice(15), 157);
    expect(make(new Dice(1)).length).toBe(159);
    expectCalmStarts({ orders, room, make });
  },
  MAX_RUN_MS,
);

test(
  "Supervisor does the same with 1,000 servers, 150 of them stdio",
  () => {
    verifies("SCHEDULE-PLACES", "SCHEDULE-NO-BARRIER");
    const make = (dice: Dice): Entry[] =>
      profile(dice, shuffled(dice, outcomes(dice, 6)).slice(0, 1_000), 150);
    expectCalmStarts({ orders: 3, room: 64, make });
  },
  MAX_RUN_MS,
);

test("Supervisor starts 100 healthy servers among 500 that hang, though these fill room and places", () => {
  verifies("SCHEDULE-NO-BARRIER");
  const dice = new Dice(500);
  const entries = profile(
    dice,
    [...many(100, "well", () => healthy(dice.between(100, 5_000))), ...many(500, "hang", () => HANGS)],
    600,
  );
  const well = ofKind(entries, "well");
  const together = last(readyTimes(run(entries, 10 * MINUTE_MS), well));
  // Each of the 500 has its first deadline in the room of 64, and the last of the line up to two patiences more.
  const mostMs = (500 / 64) * 20_000 + 20_000 + 2 * 10 * STDIO_PATIENCE_MS;
  console.log(`100 stdio servers: ${together.toFixed(0)} ms among 500 hanging, at most ${mostMs} ms`);
  expect(together).toBeLessThanOrEqual(mostMs);
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
