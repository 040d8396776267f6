/**
 * The production profile over real mocks: who starts when, beside servers that hang, leave and are not there.
 *
 * Owns first starts and restarts of whole fleets in this process, all times of profile and supervision scaled by
 * `SCALE`; what a machine takes to boot a process does not scale, and is added. What places and room hold is
 * counted at the scheduler's tickets, and read from its lanes, at every event. `MCPPROXY_TEST_FULL=1` starts 1,000.
 */
import { expect, spyOn, test } from "bun:test";
import type { ProxyEvent } from "../../src/core/events.ts";
import type { Category } from "../../src/core/model.ts";
import { startMockHost } from "../../src/mock/http_host.ts";
import type { MockHost } from "../../src/mock/http_host.ts";
import { makeProfile } from "../../src/mock/profile.ts";
import type { MockServer } from "../../src/mock/server.ts";
import { median } from "../../src/scale/sheet.ts";
import { parseConfig } from "../../src/state/config.ts";
import { Scheduler } from "../../src/upstream/scheduler.ts";
import type { Request, Ticket } from "../../src/upstream/scheduler.ts";
import type { SettingsParts } from "../fixtures/upstreams.ts";
import { openUpstreams } from "../fixtures/upstreams.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const SCALE = 0.01;
/** For booting a process, and for a first run's last answer, on a machine that does other things. */
const BOOT_MS = 100;
const FIRST_RUN_MARGIN_MS = 3_000;
const HTTP_MARGIN_MS = 50;
const PATIENCE = { stdioMs: 2_000 * SCALE + BOOT_MS, httpMs: 250 * SCALE + HTTP_MARGIN_MS };
const PLACES = 10;
const ROOM = 64;
const HTTP_FACTOR = 8;
const LIMIT_MS = 60_000;
/** What the machine may add to a server's bound: its share of booting the sick ones' processes, and noise. */
const SPAWN_CPU_MS = 30;
const NOISE_MS = 1_500;

const SETTINGS: SettingsParts = {
  maxConcurrentConnections: PLACES,
  maxWaitingConnections: ROOM,
  connectionTimeoutMs: 60_000 * SCALE + FIRST_RUN_MARGIN_MS,
  // A probe of a modern mock counts as a start of it.
  healthCheckIntervalMs: 0,
  toolDiscoveryIntervalMs: 0,
  supervision: {
    firstDeadlineMs: 20_000 * SCALE + FIRST_RUN_MARGIN_MS / 2,
    firstRunTimeoutMs: 180_000 * SCALE + FIRST_RUN_MARGIN_MS,
    startPatience: PATIENCE,
    backoffBaseMs: 1_000 * SCALE,
    backoffCapMs: 300_000 * SCALE,
    recoverAfterMs: 600_000 * SCALE,
    stopGraceMs: 500,
    termGraceMs: 1_000,
  },
};

const SICK = new Set(["hang", "exit", "status", "not_found", "refuse"]);

function has(server: MockServer, kind: string): boolean {
  return server.faults?.some((fault) => fault.kind === kind) === true;
}

function isSick({ faults = [] }: MockServer): boolean {
  return faults.some(({ kind }) => SICK.has(kind));
}

function isFirstRun({ faults = [] }: MockServer): boolean {
  return faults.some((fault) => fault.kind === "slow_start" && fault.firstRunOnly === true);
}

type Lane = "processes" | "urls";

function laneOf(server: MockServer): Lane {
  return server.transport === "stdio" ? "processes" : "urls";
}

/** The most that was seen of each lane at once. */
interface Peak {
  starting: number;
  waiting: number;
  /** Attempts begun and without an answer, counted at the tickets and not by the scheduler. */
  silent: number;
}

/** Counts what the tickets of every scheduler hold, until disposed. */
class LaneWatch implements Disposable {
  readonly peaks: Readonly<Record<Lane, Peak>> = {
    processes: { starting: 0, waiting: 0, silent: 0 },
    urls: { starting: 0, waiting: 0, silent: 0 },
  };
  readonly #lanes = new Map<Scheduler, { readonly lane: Lane; readonly silent: Set<object> }>();
  readonly #spy;

  constructor() {
    const watch = (scheduler: Scheduler, request: Request): Ticket =>
      this.#ticket(scheduler, request, (wrapped) => original.call(scheduler, wrapped));
    // oxlint-disable-next-line typescript/unbound-method -- called with its scheduler above
    const original = Scheduler.prototype.ticket;
    this.#spy = spyOn(Scheduler.prototype, "ticket").mockImplementation(function (
      this: Scheduler,
      request: Request,
    ) {
      return watch(this, request);
    });
  }

  /** Looks at both lanes. */
  look(): void {
    for (const [scheduler, { lane, silent }] of this.#lanes) {
      const peak = this.peaks[lane];
      peak.starting = Math.max(peak.starting, scheduler.starting);
      peak.waiting = Math.max(peak.waiting, scheduler.waiting);
      peak.silent = Math.max(peak.silent, silent.size);
    }
  }

  [Symbol.dispose](): void {
    this.#spy.mockRestore();
  }

  #ticket(scheduler: Scheduler, request: Request, make: (request: Request) => Ticket): Ticket {
    const lane = request.patienceMs === PATIENCE.stdioMs ? "processes" : "urls";
    const known = this.#lanes.get(scheduler) ?? { lane, silent: new Set() };
    this.#lanes.set(scheduler, known);
    const { silent } = known;
    const onStart = (): void => {
      silent.add(request);
      this.look();
      request.onStart();
    };
    const onEvict = (): void => {
      silent.delete(request);
      request.onEvict();
    };
    const ticket = make({ ...request, onStart, onEvict });
    return {
      join: ticket.join,
      answered: () => {
        silent.delete(request);
        ticket.answered();
        this.look();
      },
      done: () => {
        silent.delete(request);
        ticket.done();
        this.look();
      },
    };
  }
}

const CATEGORIES: ReadonlySet<string> = new Set([
  "quarantined",
  "auto_disabled",
  "disabled",
  "sleeping",
  "connected",
  "disconnected",
]);

/** Follows each server's category through its moves; `faults` says where they were no partition. */
class Partition {
  readonly faults: string[] = [];
  events = 0;
  readonly #of = new Map<string, Category>();

  constructor(list: readonly { readonly server: { readonly name: string }; readonly category: Category }[]) {
    for (const { server, category } of list) this.#of.set(server.name, category);
  }

  take(event: ProxyEvent): void {
    this.events += 1;
    if (event.type !== "server_state_changed" || event.server === undefined) return;
    const { before, after } = event.data;
    if (this.#of.get(event.server) !== before.category)
      this.faults.push(`${event.id}: ${event.server} was no ${before.category}`);
    this.#of.set(event.server, after.category);
    if (after.category !== (after.mode === "active" ? categoryOfActive(after.connection) : after.mode))
      this.faults.push(`${event.id}: ${event.server} is no ${after.category}`);
  }

  /** The whole set, as the owner lists it now, against what the events said. */
  check(list: readonly { readonly server: { readonly name: string }; readonly category: Category }[]): void {
    for (const { server, category } of list) {
      if (!CATEGORIES.has(category) || this.#of.get(server.name) !== category)
        this.faults.push(`${server.name} is ${category}, the events say ${this.#of.get(server.name)}`);
    }
    if (list.length !== this.#of.size) this.faults.push(`${list.length} of ${this.#of.size} are listed`);
  }
}

function categoryOfActive(connection: string): Category {
  return connection === "ready" ? "connected" : "disconnected";
}

/** What a start came to; times in milliseconds since it began. */
interface Run {
  readonly readyMs: ReadonlyMap<string, number>;
  /** The attempt in which each was first ready. */
  readonly readyIn: ReadonlyMap<string, number>;
  /** Servers in the order of their first attempts. */
  readonly order: readonly string[];
  readonly peaks: Readonly<Record<Lane, Peak>>;
  readonly partition: Partition;
  /** Of the mocks, in order. */
  readonly starts: readonly { readonly name: string; readonly ms: number }[];
}

interface RunOptions {
  readonly dataDir: string;
  readonly names: ReadonlySet<string>;
  readonly until: (readyMs: ReadonlyMap<string, number>) => boolean;
}

/** Starts the named mocks and stops when `until` says so. */
async function run(host: MockHost, { dataDir, names, until }: RunOptions): Promise<Run> {
  const { mcpServers } = host.config(() => ({ startup_mode: "active" }));
  const text = JSON.stringify({ mcpServers: mcpServers.filter(({ name }) => names.has(name)) });
  const { servers } = parseConfig(text, { path: "/nonexistent/mcp_config.json", dataDir });
  expect(servers).toHaveLength(names.size);
  const [readyMs, readyIn, order] = [new Map<string, number>(), new Map<string, number>(), new Set<string>()];
  using watch = new LaneWatch();
  const opened = openUpstreams(servers, SETTINGS, { dataDir });
  const { upstreams, bus } = opened;
  const partition = new Partition(upstreams.list());
  const startedAt = performance.timeOrigin + performance.now();
  bus.subscribe((event) => {
    watch.look();
    partition.take(event);
    // The whole list with every event is the square of the fleet, and would slow down what is measured.
    if (partition.events % Math.ceil(names.size / 20) === 0) partition.check(upstreams.list());
    if (event.type !== "server_state_changed" || event.server === undefined) return;
    if (event.data.after.connection === "connecting") order.add(event.server);
    if (event.data.after.connection !== "ready" || readyMs.has(event.server)) return;
    readyMs.set(event.server, performance.timeOrigin + performance.now() - startedAt);
    readyIn.set(event.server, event.data.attempt);
  });
  try {
    upstreams.start();
    await waitFor("what the start is to come to", () => until(readyMs), LIMIT_MS);
    partition.check(upstreams.list());
  } finally {
    await opened[Symbol.asyncDispose]();
  }
  const starts = host
    .starts()
    .filter(({ at }) => at >= startedAt)
    .map(({ name, at }) => ({ name, ms: at - startedAt }));
  return { readyMs, readyIn, order: [...order], peaks: watch.peaks, partition, starts };
}

function namesOf(servers: readonly MockServer[]): ReadonlySet<string> {
  return new Set(servers.map(({ name }) => name));
}

function secondStart(starts: Run["starts"], names: ReadonlySet<string>): number | undefined {
  const seen = new Set<string>();
  return starts.find(({ name }) => names.has(name) && seen.size === seen.add(name).size)?.ms;
}

function expectWithinLimits({ peaks, partition }: Run): void {
  const { processes, urls } = peaks;
  for (const [peak, factor] of [
    [processes, 1],
    [urls, HTTP_FACTOR],
  ] as const) {
    expect(peak.starting).toBeLessThanOrEqual(PLACES * factor);
    expect(peak.waiting).toBeLessThanOrEqual(ROOM * factor);
    expect(peak.silent).toBeLessThanOrEqual((PLACES + ROOM) * factor);
  }
  expect(partition.faults).toEqual([]);
  expect(partition.events).toBeGreaterThan(0);
}

/** A first start of a fleet, paired with that of its healthy servers alone. */
async function firstStart(count: number, maxStdio: number): Promise<void> {
  const { servers } = makeProfile({ servers: count, scale: SCALE, maxStdio });
  const healthy = servers.filter((server) => !isSick(server));
  const hanging = namesOf(servers.filter((server) => has(server, "hang")));
  const wanted = namesOf(healthy);
  using folder = tempDir();
  const areReady = (readyMs: ReadonlyMap<string, number>): boolean => readyMs.size >= wanted.size;

  const bare = await (async () => {
    // Mocks of their own, since a first run is one only once.
    await using host = startMockHost({ servers: healthy });
    return await run(host, { dataDir: `${folder.path}/alone`, names: wanted, until: areReady });
  })();

  await using host = startMockHost({ servers });
  const isAgain = (): boolean => [...hanging].some((name) => host.counters(name).starts > 1);
  const all = await run(host, {
    dataDir: `${folder.path}/all`,
    names: namesOf(servers),
    until: (readyMs) => areReady(readyMs) && isAgain(),
  });

  const firsts = healthy.map(({ name }) => all.starts.find((start) => start.name === name)?.ms ?? Infinity);
  const again = secondStart(all.starts, hanging);
  expect(Math.max(...firsts)).toBeLessThan(again ?? 0);
  const firstRuns = healthy.filter(isFirstRun);
  expect(firstRuns.length).toBeGreaterThan(0);
  expect(firstRuns.map(({ name }) => all.readyIn.get(name))).toEqual(firstRuns.map(() => 1));
  expectWithinLimits(all);
  expectWithinLimits(bare);

  const sick = servers.filter(isSick);
  const spawned = sick.filter((server) => laneOf(server) === "processes" && !has(server, "not_found"));
  const later = healthy.map((server) => {
    const lane = laneOf(server);
    const beside = sick.filter((other) => laneOf(other) === lane).length;
    const patienceMs = lane === "processes" ? PATIENCE.stdioMs : PATIENCE.httpMs;
    const placed = (patienceMs * beside) / (lane === "processes" ? PLACES : PLACES * HTTP_FACTOR);
    const boundMs = placed + spawned.length * SPAWN_CPU_MS + NOISE_MS;
    const ms = (all.readyMs.get(server.name) ?? Infinity) - (bare.readyMs.get(server.name) ?? 0);
    return { name: server.name, ms, boundMs };
  });
  const worst = later.toSorted((a, b) => b.ms / b.boundMs - a.ms / a.boundMs)[0];
  console.log(
    `${count} servers, ${healthy.length} healthy, ${hanging.size} hang, ${sick.length} sick: all started after ` +
      `${round(Math.max(...firsts))} ms, a hanging one again after ${round(again)} ms, ready after ` +
      `${round(Math.max(...all.readyMs.values()))} ms (alone ${round(Math.max(...bare.readyMs.values()))}); later than alone: ` +
      `median ${round(median(later.map(({ ms }) => ms)))}, worst ${round(worst?.ms)} of ${round(worst?.boundMs)} ms; ` +
      `peaks ${JSON.stringify(all.peaks)}; ${all.partition.events} events`,
  );
  expect(later.filter(({ ms, boundMs }) => ms > boundMs)).toEqual([]);
}

function round(value: number | undefined): number {
  return Math.round(value ?? Number.NaN);
}

const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1" || process.env["CI"] === undefined;
const LARGE = IS_FULL ? { servers: 1_000, maxStdio: 150 } : { servers: 300, maxStdio: 50 };

/** How much later the last and the middle one may be ready in a restart beside hanging servers. */
const MAX_RESTART_RATIO = 1.5;
const RESTART_NOISE_MS = 200;

/** Restarts with what was learned, with and without the hanging ones in turn. */
async function restarts(): Promise<void> {
  const { servers } = makeProfile({ servers: 159, scale: SCALE, maxStdio: 80 });
  const healthy = servers.filter((server) => !isSick(server));
  const hanging = servers.filter((server) => has(server, "hang"));
  expect(hanging).toHaveLength(50);
  const wanted = namesOf(healthy);
  using folder = tempDir();
  await using host = startMockHost({ servers: [...hanging, ...healthy] });
  const until = (readyMs: ReadonlyMap<string, number>): boolean => readyMs.size >= wanted.size;
  const start = (names: ReadonlySet<string>): Promise<Run> =>
    run(host, { dataDir: folder.path, names, until });
  const everyone = namesOf([...hanging, ...healthy]);
  await start(everyone);

  const [without, beside]: [Run[], Run[]] = [[], []];
  for (let turn = 0; turn < 3; turn += 1) {
    without.push(await start(wanted));
    beside.push(await start(everyone));
  }
  for (const { order } of beside) {
    for (const lane of ["processes", "urls"] as const) {
      const inLane = namesOf(servers.filter((server) => laneOf(server) === lane));
      const ofLane = order.filter((name) => inLane.has(name));
      const known = ofLane.filter((name) => wanted.has(name));
      expect(ofLane.slice(0, known.length)).toEqual(known);
    }
  }
  const best = (runs: readonly Run[], of: (values: readonly number[]) => number): number =>
    Math.min(...runs.map(({ readyMs }) => of([...readyMs.values()])));
  const [lastAlone, last] = [
    best(without, (all) => Math.max(...all)),
    best(beside, (all) => Math.max(...all)),
  ];
  const [middleAlone, middle] = [best(without, median), best(beside, median)];
  console.log(
    `restart of ${healthy.length} beside 50 that hang: last ready after ${round(last)} ms (alone ${round(lastAlone)}), ` +
      `median ${round(middle)} ms (alone ${round(middleAlone)}); best of 3 each`,
  );
  expect(last).toBeLessThan(lastAlone * MAX_RESTART_RATIO + RESTART_NOISE_MS);
  expect(middle).toBeLessThan(middleAlone * MAX_RESTART_RATIO + RESTART_NOISE_MS);
}

/** Starts a large fleet in a process of its own: `bun test` keeps to 256 requests at once, whatever the environment says. */
async function firstStartApart(count: number, maxStdio: number): Promise<void> {
  const argv = [process.execPath, import.meta.path, FLEET, String(count), String(maxStdio)];
  const env = { ...process.env, BUN_CONFIG_MAX_HTTP_REQUESTS: "16384" };
  const child = Bun.spawn(argv, { env, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: 150_000 });
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  console.log(out.trim());
  expect({ code: await child.exited, err }).toEqual({ code: 0, err: "" });
}

const FLEET = "--fleet";
const fleetAt = process.argv.indexOf(FLEET);
if (fleetAt >= 0) {
  const [count = 0, maxStdio = 0] = process.argv.slice(fleetAt + 1).map(Number);
  await firstStart(count, maxStdio);
} else {
  test("159 servers of all outcomes: the sick ones cost the healthy their patience at most", async () => {
    verifies("SCHEDULE-NO-BARRIER", "SCHEDULE-PLACES");
    await firstStart(159, 159);
  }, 120_000);

  test(`${LARGE.servers} servers, ${LARGE.maxStdio} of them processes: the same`, async () => {
    verifies("SCHEDULE-NO-BARRIER", "SCHEDULE-PLACES");
    await firstStartApart(LARGE.servers, LARGE.maxStdio);
  }, 180_000);

  test("after a restart those that worked start first, and lose nothing to 50 that hang", async () => {
    verifies("SCHEDULE-PLACES");
    await restarts();
  }, 120_000);
}
