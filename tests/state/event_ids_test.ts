/**
 * Ids of events over restarts, calm ones and kills.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createLog } from "../../src/lib/log.ts";
import { EventIds } from "../../src/state/event_ids.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";

function open(dataDir: string, lines: string[] = []): EventIds {
  return EventIds.open({ dataDir, block: 100, log: createLog({ write: (line) => lines.push(line) }) });
}

const reservedIn = (path: string): number => Number(readFileSync(join(path, "event_ids"), "utf8"));

test("EventIds.next() counts from 1, and goes on without a hole after a calm end", async () => {
  using folder = tempDir();
  const ids = open(folder.path);
  expect([ids.last, ids.next(), ids.next()]).toEqual([0, 1, 2]);
  await ids.close();
  await ids.close();
  const again = open(folder.path);
  expect([again.last, again.next()]).toEqual([2, 3]);
  await again.close();
});

test("EventIds.next() gives no id twice after a kill, however many were given", async () => {
  using folder = tempDir();
  const ids = open(folder.path);
  let last = 0;
  for (let turn = 0; turn < 20; turn += 1) {
    for (let i = 0; i < 30; i += 1) last = ids.next();
    await waitFor("more is reserved", () => reservedIn(folder.path) >= last);
  }
  expect(last).toBe(600);
  // Not closed: this is what a kill leaves.
  expect(open(folder.path).next()).toBeGreaterThan(last);
});

test("EventIds.next() never writes itself", () => {
  using folder = tempDir();
  const ids = open(folder.path);
  const before = reservedIn(folder.path);
  for (let i = 0; i < 1_000; i += 1) ids.next();
  expect(reservedIn(folder.path)).toBe(before);
});

test("EventIds.open() continues above all earlier ids when its file is not understood", () => {
  using folder = tempDir();
  writeFileSync(join(folder.path, "event_ids"), "garbage");
  expect(open(folder.path).next()).toBeGreaterThan(1_700_000_000_000);
});

test("EventIds goes on when its file cannot be written, and says so", async () => {
  using folder = tempDir();
  const lines: string[] = [];
  const ids = open(join(folder.path, "gone"), lines);
  expect(ids.next()).toBe(1);
  await ids.close();
  expect(lines.join("")).toContain("Cannot note the ids of events");
});
