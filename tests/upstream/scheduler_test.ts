/** Holds the rules of the places against a model, under any order of asking, answering, ending and waiting. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { RANK, rankOf, Scheduler } from "../../src/upstream/scheduler.ts";
import type { Request, Ticket } from "../../src/upstream/scheduler.ts";
import type { ServerMemory } from "../../src/state/store.ts";
import { verifies } from "../requirements.ts";
import { VirtualClock } from "./virtual_clock.ts";

const PATIENCE_MS = 100;
const FIRST_DEADLINE_MS = 1_000;

/** A scheduler with a journal of who started and who was evicted. */
class Lane {
  readonly clock = new VirtualClock();
  readonly scheduler: Scheduler;
  readonly started: string[] = [];
  readonly evicted: string[] = [];

  constructor(places: number, room: number) {
    this.scheduler = new Scheduler({ places, room, clock: this.clock });
  }

  join(name: string, parts: Partial<Request> = {}): Ticket {
    const ticket = this.scheduler.ticket({
      rank: RANK.unknown,
      patienceMs: PATIENCE_MS,
      firstDeadlineMs: FIRST_DEADLINE_MS,
      onStart: () => void this.started.push(name),
      onEvict: () => void this.evicted.push(name),
      ...parts,
    });
    ticket.join();
    return ticket;
  }

  get counts(): readonly [starting: number, waiting: number, queued: number] {
    const { starting, waiting, queued } = this.scheduler;
    return [starting, waiting, queued];
  }
}

test.each([
  [0, 1],
  [1.5, 1],
  [-1, 1],
  [1, -1],
  [1, Number.NaN],
])("new Scheduler() refuses %p places and a room of %p", (places, room) => {
  expect(() => new Scheduler({ places, room, clock: new VirtualClock() })).toThrow(/must be an integer from/);
});

test("Scheduler.resize() gives new places at once, takes none from who has one, and refuses what the constructor does", () => {
  const lane = new Lane(1, 0);
  const first = lane.join("a");
  const second = lane.join("b");
  lane.join("c");
  lane.scheduler.resize({ places: 2, room: 0 });
  expect([lane.started, lane.counts]).toEqual([
    ["a", "b"],
    [2, 0, 1],
  ]);
  lane.scheduler.resize({ places: 1, room: 0 });
  expect(lane.counts).toEqual([2, 0, 1]);
  first.done();
  expect(lane.counts).toEqual([1, 0, 1]);
  second.done();
  expect(lane.started).toEqual(["a", "b", "c"]);
  expect(() => lane.scheduler.resize({ places: 0, room: 0 })).toThrow(/must be an integer from 1/);
  expect(lane.counts).toEqual([1, 0, 0]);
});

test("Scheduler gives a place back after patience, and on an answer once patience is over", () => {
  verifies("SCHEDULE-PLACES");
  const lane = new Lane(1, 1);
  const silent = lane.join("silent");
  lane.join("next");
  expect([lane.started, lane.counts]).toEqual([["silent"], [1, 0, 1]]);
  lane.clock.advance(PATIENCE_MS);
  expect([lane.started, lane.counts]).toEqual([
    ["silent", "next"],
    [1, 1, 0],
  ]);
  silent.answered();
  expect(lane.counts).toEqual([1, 0, 0]);
});

test("Scheduler lets one that has answered go on without a place after its patience", () => {
  const lane = new Lane(1, 1);
  lane.join("talks").answered();
  lane.join("next");
  expect(lane.started).toEqual(["talks"]);
  lane.clock.advance(PATIENCE_MS);
  expect([lane.started, lane.counts]).toEqual([
    ["talks", "next"],
    [1, 0, 0],
  ]);
});

test("Scheduler serves by rank, then by key, then by who came first", () => {
  verifies("SCHEDULE-PLACES");
  const lane = new Lane(1, 8);
  const first = lane.join("first");
  lane.join("again", { rank: RANK.again });
  lane.join("failed", { rank: RANK.failedLastTime });
  lane.join("unknown a");
  lane.join("unknown b");
  lane.join("slow", { rank: RANK.known, key: 900 });
  lane.join("fast", { rank: RANK.known, key: 20 });
  lane.join("call", { rank: RANK.call });
  first.done();
  lane.clock.advance(10 * PATIENCE_MS);
  expect(lane.started).toEqual([
    "first",
    "call",
    "fast",
    "slow",
    "unknown a",
    "unknown b",
    "failed",
    "again",
  ]);
});

test("Scheduler lets a newcomer keep its place when the room is full and nobody is past its first deadline", () => {
  verifies("SCHEDULE-PLACES");
  const lane = new Lane(1, 1);
  lane.join("a");
  lane.join("b");
  lane.join("c");
  lane.clock.advance(FIRST_DEADLINE_MS - 1);
  expect([lane.started, lane.evicted, lane.counts]).toEqual([["a", "b"], [], [1, 1, 1]]);
});

test("Scheduler evicts the longest-waiting one at its first deadline, for those who wait for a first attempt", () => {
  verifies("SCHEDULE-PLACES");
  const lane = new Lane(1, 2);
  for (const name of ["a", "b", "c", "d", "e"]) lane.join(name);
  lane.clock.advance(FIRST_DEADLINE_MS);
  expect([lane.started, lane.evicted]).toEqual([["a", "b", "c", "d"], ["a"]]);
  expect(lane.counts).toEqual([1, 2, 1]);
});

test("Scheduler evicts nobody for a second attempt, or while a place can still become free by patience", () => {
  const lane = new Lane(1, 1);
  lane.join("a");
  lane.join("b");
  lane.join("again", { rank: RANK.again });
  lane.clock.advance(20 * FIRST_DEADLINE_MS);
  expect([lane.started, lane.evicted]).toEqual([["a", "b"], []]);
});

test.each([
  [15, []],
  [25, ["a"]],
])("Scheduler with one place left and %p that wait for a first attempt evicts %p", (count, evicted) => {
  verifies("SCHEDULE-PLACES");
  const lane = new Lane(2, 1);
  for (const name of ["a", "b"]) lane.join(name);
  for (let at = 0; at < count; at += 1) {
    const ticket = lane.join(`c${at}`, {
      onStart: () => void lane.clock.after(PATIENCE_MS - 1, () => ticket.done()),
    });
  }
  // At a's first deadline six or sixteen are in line; ten come through one place within another.
  lane.clock.advance(FIRST_DEADLINE_MS + PATIENCE_MS);
  expect(lane.evicted).toEqual(evicted);
  lane.clock.advance(3 * FIRST_DEADLINE_MS);
  expect([lane.evicted, lane.scheduler.queued]).toEqual([evicted, 0]);
});

test("Scheduler with no place left gives those who hold one another patience before it evicts", () => {
  const lane = new Lane(1, 1);
  const parts = { firstDeadlineMs: PATIENCE_MS };
  for (const name of ["a", "b", "c"]) lane.join(name, parts);
  // b holds the place since 100, and is silent since 200.
  lane.clock.advance(3 * PATIENCE_MS - 1);
  expect([lane.started, lane.evicted]).toEqual([["a", "b"], []]);
  lane.clock.advance(1);
  expect([lane.started, lane.evicted]).toEqual([["a", "b", "c"], ["a"]]);
});

test("Scheduler evicts the one that is past its first deadline, though another waits longer", () => {
  const lane = new Lane(1, 2);
  lane.join("patient", { firstDeadlineMs: 50_000 });
  lane.join("b");
  lane.join("c");
  lane.join("d");
  lane.clock.advance(FIRST_DEADLINE_MS + PATIENCE_MS);
  expect(lane.evicted).toEqual(["b"]);
  expect(lane.started).toEqual(["patient", "b", "c", "d"]);
});

test("Scheduler puts an evicted one that asks again behind all who wait for a first attempt", () => {
  verifies("SCHEDULE-PLACES");
  const lane = new Lane(1, 1);
  lane.join("a", { onEvict: () => void lane.join("a again", { rank: RANK.again }) });
  for (const name of ["b", "c", "d"]) lane.join(name);
  lane.clock.advance(FIRST_DEADLINE_MS);
  expect(lane.started).toEqual(["a", "b", "c"]);
  lane.clock.advance(60 * FIRST_DEADLINE_MS);
  // b and c made way in turn; nobody evicts for a second attempt.
  expect(lane.started).toEqual(["a", "b", "c", "d"]);
  expect(lane.scheduler.queued).toBe(1);
});

test("Scheduler without a room leaves the silent ones in their places", () => {
  const lane = new Lane(1, 0);
  const first = lane.join("a");
  lane.join("b");
  lane.clock.advance(100 * FIRST_DEADLINE_MS);
  expect([lane.started, lane.evicted, lane.counts]).toEqual([["a"], [], [1, 0, 1]]);
  first.done();
  expect(lane.started).toEqual(["a", "b"]);
});

test("Scheduler bears it when an attempt ends, asks again or evicts from within its own start", () => {
  const lane = new Lane(2, 1);
  let rest = 5;
  const again = (): void => {
    lane.started.push(`left ${rest}`);
    const ticket = mine;
    rest -= 1;
    ticket?.done();
    ticket?.done();
    if (rest > 0) mine = joinAgain();
  };
  const joinAgain = (): Ticket => {
    const ticket = lane.scheduler.ticket({
      rank: RANK.call,
      patienceMs: PATIENCE_MS,
      firstDeadlineMs: FIRST_DEADLINE_MS,
      onStart: () => {
        mine = ticket;
        again();
      },
      onEvict: () => {},
    });
    ticket.join();
    return ticket;
  };
  let mine: Ticket | undefined;
  joinAgain();
  expect(lane.started).toEqual(["left 5", "left 4", "left 3", "left 2", "left 1"]);
  expect([lane.counts, lane.clock.pending]).toEqual([[0, 0, 0], 0]);
});

test("Scheduler.close() starts and evicts nobody any more, and leaves no timer when all have left", () => {
  const lane = new Lane(1, 1);
  const tickets = ["a", "b", "c"].map((name) => lane.join(name));
  lane.clock.advance(PATIENCE_MS * 2);
  lane.scheduler.close();
  for (const ticket of tickets) ticket.done();
  expect([lane.started, lane.evicted, lane.counts]).toEqual([["a", "b"], [], [0, 0, 0]]);
  expect(lane.clock.pending).toBe(0);
});

test("Scheduler lets a hanging server cost the others patience ÷ places at most", () => {
  verifies("SCHEDULE-NO-BARRIER");
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.array(fc.boolean(), { minLength: 1, maxLength: 60 }),
      (places, hang) => {
        const lastStart = (isAlone: boolean): number => {
          const lane = new Lane(places, 64);
          let last = 0;
          for (const hangs of hang) {
            if (isAlone && hangs) continue;
            const ticket = lane.join("x", {
              onStart: () => {
                if (hangs) return;
                last = lane.clock.now();
                lane.clock.after(10, () => ticket.done());
              },
            });
          }
          lane.clock.advance(100_000);
          return last;
        };
        const hanging = hang.filter(Boolean).length;
        const share = (PATIENCE_MS * hanging) / places;
        expect(lastStart(false) - lastStart(true)).toBeLessThanOrEqual(share + 10);
      },
    ),
  );
});

type Where = "line" | "on" | "gone";
interface Modelled {
  readonly rank: number;
  readonly key: number;
  readonly order: number;
  where: Where;
  answered: boolean;
  startedAt: number;
}

const anyStep = fc.record({
  act: fc.constantFrom("join", "join", "join", "answer", "done", "pass", "pass"),
  rank: fc.constantFrom(...Object.values(RANK)),
  key: fc.nat({ max: 3 }),
  which: fc.nat(),
  ms: fc.integer({ min: 1, max: 400 }),
  asksAgain: fc.boolean(),
});

test("Scheduler keeps its rules whatever is done: sizes, order, no waste, eviction only by the rule", () => {
  verifies("SCHEDULE-PLACES", "SCHEDULE-NO-BARRIER");
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 0, max: 3 }),
      fc.array(anyStep, { maxLength: 120 }),
      (places, room, steps) => {
        const { clock, scheduler } = new Lane(places, room);
        const lane = new Scheduler({ places, room, clock });
        expect(scheduler.starting).toBe(0);
        const all: Modelled[] = [];
        const tickets = new Map<Modelled, Ticket>();
        const silentSince = (entry: Modelled): boolean =>
          entry.where === "on" && !entry.answered && clock.now() >= entry.startedAt + PATIENCE_MS;
        const ask = (rank: number, key: number, asksAgain: boolean): void => {
          const entry: Modelled = {
            rank,
            key,
            order: all.length,
            where: "line",
            answered: false,
            startedAt: 0,
          };
          all.push(entry);
          const ticket = lane.ticket({
            rank,
            key,
            patienceMs: PATIENCE_MS,
            firstDeadlineMs: FIRST_DEADLINE_MS,
            onStart: () => {
              // First in line, so nobody was overtaken and no second attempt began before a first.
              const better = all.filter((other) => other.where === "line" && isBefore(other, entry));
              expect(better).toEqual([]);
              entry.where = "on";
              entry.startedAt = clock.now();
            },
            onEvict: () => {
              const silent = all.filter(silentSince);
              expect(clock.now()).toBeGreaterThanOrEqual(entry.startedAt + FIRST_DEADLINE_MS);
              expect(silent.length).toBeGreaterThan(room);
              expect(Math.min(...silent.map(({ startedAt }) => startedAt))).toBe(entry.startedAt);
              // Needed: too few places are left for those who wait for a first attempt.
              const firsts = all.filter((other) => other.where === "line" && other.rank < RANK.again).length;
              const left = places - (silent.length - room);
              expect(firsts * PATIENCE_MS).toBeGreaterThan(left * FIRST_DEADLINE_MS);
              entry.where = "gone";
              if (asksAgain) ask(RANK.again, 0, true);
            },
          });
          tickets.set(entry, ticket);
          ticket.join();
        };
        const check = (): void => {
          expect(lane.starting).toBeLessThanOrEqual(places);
          expect(lane.waiting).toBeLessThanOrEqual(room);
          const inLine = all.filter(({ where }) => where === "line").length;
          expect(lane.queued).toBe(inLine);
          if (inLine > 0) expect(lane.starting).toBe(places);
        };
        for (const { act, rank, key, which, ms, asksAgain } of steps) {
          const target = all[which % Math.max(1, all.length)];
          if (act === "join") ask(rank, key, asksAgain);
          else if (act === "pass") clock.advance(ms, check);
          else if (act === "answer" && target?.where === "on") {
            target.answered = true;
            tickets.get(target)?.answered();
          } else if (act === "done" && target !== undefined) {
            target.where = "gone";
            tickets.get(target)?.done();
          }
          check();
        }
        // Nobody starves: once all others end in time, each in line has its turn.
        for (let turn = 0; turn < all.length * 2 && lane.queued > 0; turn += 1) {
          const on = all.find(({ where }) => where === "on");
          if (on === undefined) break;
          on.where = "gone";
          tickets.get(on)?.done();
        }
        expect(lane.queued).toBe(0);
        for (const ticket of tickets.values()) ticket.done();
        expect([lane.starting, lane.waiting, clock.pending]).toEqual([0, 0, 0]);
      },
    ),
    { numRuns: 300 },
  );
});

function isBefore(a: Modelled, b: Modelled): boolean {
  if (a.rank !== b.rank) return a.rank < b.rank;
  return a.key === b.key ? a.order < b.order : a.key < b.key;
}

test("rankOf() puts those that worked first, by their time, and those that failed last", () => {
  const memory: ServerMemory = {
    name: "s",
    everConnected: true,
    failedLast: false,
    toolCount: 0,
    firstSeenAt: 0,
  };
  expect(rankOf(undefined)).toEqual({ rank: RANK.unknown });
  expect(rankOf({ ...memory, connectMs: 40 })).toEqual({ rank: RANK.known, key: 40 });
  expect(rankOf({ ...memory, everConnected: false })).toEqual({ rank: RANK.unknown });
  expect(rankOf({ ...memory, failedLast: true })).toEqual({ rank: RANK.failedLastTime });
});
