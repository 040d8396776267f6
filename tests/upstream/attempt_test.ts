/** Holds that what belongs to one try goes with it, wholly. */
import { expect, test } from "bun:test";
import { Attempt } from "../../src/upstream/attempt.ts";
import type { AttemptOptions } from "../../src/upstream/attempt.ts";
import { RANK, Scheduler } from "../../src/upstream/scheduler.ts";
import { verifies } from "../requirements.ts";
import { FakeLink } from "./fake_link.ts";
import { simServer, SUPERVISION } from "./simulation.ts";
import { VirtualClock } from "./virtual_clock.ts";
import { failureOf } from "./virtual_link.ts";

const DEADLINE_MS = 20_000;

function setUp(parts: Partial<AttemptOptions<FakeLink>> = {}): {
  readonly clock: VirtualClock;
  readonly scheduler: Scheduler;
  readonly links: FakeLink[];
  readonly told: string[];
  readonly make: () => Attempt<FakeLink>;
} {
  const clock = new VirtualClock();
  const scheduler = new Scheduler({ places: 1, room: 1, clock });
  const [links, told] = [[] as FakeLink[], [] as string[]];
  const make = (): Attempt<FakeLink> =>
    new Attempt<FakeLink>({
      server: simServer("s", { command: "npx" }),
      request: { rank: RANK.unknown },
      supervision: SUPERVISION,
      scheduler,
      clock,
      open: (server, hooks) => {
        const link = new FakeLink(server, hooks);
        links.push(link);
        return link;
      },
      onStart: () => {
        told.push("start");
        return DEADLINE_MS;
      },
      onMove: (event) => told.push(event),
      onReady: () => told.push("ready"),
      onFail: ({ message }) => told.push(message),
      onEvict: () => told.push("evict"),
      ...parts,
    });
  return { clock, scheduler, links, told, make };
}

test("Attempt tells its moves in order, gives its place back when ready, and keeps the link", () => {
  const { clock, scheduler, links, told, make } = setUp();
  const attempt = make();
  attempt.begin();
  expect([scheduler.starting, attempt.link]).toEqual([1, links[0]]);
  links[0]?.becomeReady();
  expect([told, scheduler.starting, clock.pending]).toEqual([["start", "discover", "ready"], 0, 0]);
  links[0]?.hooks.onFail(failureOf("exit", {}, "it left"));
  expect(told.at(-1)).toBe("it left");
});

test("Attempt ends at its deadline, counted from its place and not from the line", () => {
  const { clock, told, make } = setUp();
  const first = make();
  first.begin();
  const second = make();
  clock.advance(500);
  second.begin();
  clock.advance(1_500);
  expect(told).toEqual(["start", "start"]);
  clock.advance(DEADLINE_MS - 2_000);
  expect(told).toEqual(["start", "start", "no answer within 20000 ms"]);
  first.end(0);
  clock.advance(2_000);
  expect(told).toHaveLength(4);
  second.end(0);
  expect(clock.pending).toBe(0);
});

test("Attempt.end() stops the link once, with the grace, and nothing of it calls back", () => {
  verifies("SUPERVISE-ONE-OWNER");
  const { clock, scheduler, links, told, make } = setUp();
  const attempt = make();
  attempt.begin();
  attempt.end(5_000);
  attempt.end(0);
  links[0]?.becomeReady();
  links[0]?.hooks.onFail(failureOf("exit", {}));
  clock.advance(60_000);
  expect([told, links[0]?.stops, scheduler.starting, clock.pending]).toEqual([["start"], [5_000], 0, 0]);
});

test("Attempt.end() leaves the line before it began", () => {
  const { scheduler, links, make } = setUp();
  make().begin();
  const second = make();
  second.begin();
  expect(scheduler.queued).toBe(1);
  second.end(0);
  expect([scheduler.queued, links.length, second.link]).toEqual([0, 1, undefined]);
});

test("Attempt opens no link when whoever heard of its start ended it", () => {
  verifies("SUPERVISE-ONE-OWNER");
  const attempts: Attempt<FakeLink>[] = [];
  const { clock, scheduler, links, make } = setUp({
    onStart: () => {
      attempts[0]?.end(0);
      return DEADLINE_MS;
    },
  });
  attempts.push(make());
  attempts[0]?.begin();
  expect([links.length, scheduler.starting, clock.pending]).toEqual([0, 0, 0]);
});

test.each([
  ["stdio", { command: "npx" }, SUPERVISION.startPatience.stdioMs],
  ["http", {}, SUPERVISION.startPatience.httpMs],
])("Attempt gives the place back after the patience of %s", (_kind, parts, patienceMs) => {
  const { clock, scheduler, make } = setUp({ server: simServer("s", parts) });
  make().begin();
  clock.advance(patienceMs - 1);
  expect([scheduler.starting, scheduler.waiting]).toEqual([1, 0]);
  clock.advance(1);
  expect([scheduler.starting, scheduler.waiting]).toEqual([0, 1]);
});
