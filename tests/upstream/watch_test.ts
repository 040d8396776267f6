/** Holds what is done while a link is ready: probes, reading the tools again, sleep. */
import { expect, test } from "bun:test";
import { watch } from "../../src/upstream/watch.ts";
import type { WatchOptions } from "../../src/upstream/watch.ts";
import { FakeLink } from "./fake_link.ts";
import { simServer } from "./simulation.ts";
import { VirtualClock } from "./virtual_clock.ts";

const HOOKS = { onAnswer: () => {}, onMove: () => {}, onReady: () => {}, onFail: () => {} };

function watched(parts: Partial<WatchOptions>): {
  readonly clock: VirtualClock;
  readonly link: FakeLink;
  readonly told: string[];
  readonly stop: () => void;
} {
  const [clock, link, told] = [new VirtualClock(), new FakeLink(simServer("s"), HOOKS), [] as string[]];
  const stop = watch({
    link,
    clock,
    healthIntervalMs: 0,
    discoveryIntervalMs: 0,
    idleMs: 0,
    onLost: () => told.push(`lost at ${clock.now()}`),
    onIdle: () => told.push(`idle at ${clock.now()}`),
    ...parts,
  });
  return { clock, link, told, stop };
}

test("watch() does nothing where all intervals are 0", () => {
  expect(watched({}).clock.pending).toBe(0);
});

test("watch() says lost after three probes without an answer, and then leaves no timer", () => {
  const { clock, link, told } = watched({ healthIntervalMs: 100, discoveryIntervalMs: 70, idleMs: 5_000 });
  clock.advance(1_000);
  expect([told, link.probes.length, clock.pending]).toEqual([["lost at 400"], 3, 0]);
});

test("watch() takes one answer, even a late one, for well", () => {
  const { clock, link, told } = watched({ healthIntervalMs: 100 });
  clock.advance(350);
  expect(link.probes).toHaveLength(3);
  link.probes[1]?.(true);
  clock.advance(100);
  expect(told).toEqual([]);
  clock.advance(149);
  expect(told).toEqual([]);
  clock.advance(1);
  expect(told).toEqual(["lost at 600"]);
});

test("watch() counts three refusals in a row, and a hit between them takes them back", () => {
  const { clock, link, told } = watched({ healthIntervalMs: 100 });
  for (const isAlive of [false, false, true, false, false]) {
    clock.advance(100);
    link.probes.at(-1)?.(isAlive);
  }
  expect(told).toEqual([]);
  clock.advance(100);
  link.probes.at(-1)?.(false);
  clock.advance(100);
  expect(told).toEqual(["lost at 700"]);
});

test("watch() reads the tools again at each interval", () => {
  const { clock, link, stop } = watched({ discoveryIntervalMs: 100 });
  clock.advance(350);
  expect(link.refreshes).toBe(3);
  stop();
  stop();
  clock.advance(1_000);
  expect([link.refreshes, clock.pending]).toEqual([3, 0]);
});

test("watch() lets a link sleep once idle for the whole time, never while calls are in flight", () => {
  const { clock, link, told } = watched({ idleMs: 100 });
  clock.advance(60);
  link.usedAt = clock.now();
  clock.advance(90);
  expect(told).toEqual([]);
  link.inFlight = 1;
  clock.advance(500);
  expect(told).toEqual([]);
  link.inFlight = 0;
  link.usedAt = clock.now();
  const endedAt = clock.now();
  clock.advance(1_000);
  expect([told, clock.pending]).toEqual([[`idle at ${endedAt + 100}`], 0]);
});
