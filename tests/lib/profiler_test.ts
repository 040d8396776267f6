/**
 * The profiler: forms that DevTools read, and one profile at a time.
 */
import { expect, test } from "bun:test";
import { openSync, closeSync } from "node:fs";
import { openHandleCount, openHandles, profileCpu, snapshotHeap } from "../../src/lib/profiler.ts";

/** All tests run before this one are in the heap. */
const HEAP_TIMEOUT_MS = 60_000;

test("profileCpu() samples the process, and only once at a time", async () => {
  const first = profileCpu(50);
  expect(await profileCpu(50)).toBeUndefined();
  const profile = (await first) as Record<string, unknown>;
  for (const key of ["nodes", "samples", "timeDeltas"]) expect(profile[key]).toBeArray();
  expect(profile["endTime"]).toBeGreaterThanOrEqual(profile["startTime"] as number);
  // The place is free again.
  expect(await profileCpu(1)).toBeDefined();
});

test("profileCpu() ends early with what it has when nobody waits any more", async () => {
  const beganAt = performance.now();
  const profile = (await profileCpu(60_000, AbortSignal.timeout(20))) as Record<string, unknown>;
  expect(profile["nodes"]).toBeArray();
  expect(performance.now() - beganAt).toBeLessThan(5_000);
});

test(
  "snapshotHeap() is a snapshot as V8 writes it",
  () => {
    const snapshot = JSON.parse(snapshotHeap()) as Record<string, unknown>;
    for (const key of ["snapshot", "nodes", "edges", "strings"]) expect(snapshot).toHaveProperty(key);
  },
  HEAP_TIMEOUT_MS,
);

test.if(process.platform === "linux")("openHandles() counts what is open by its kind", () => {
  const before = { handles: openHandles(), count: openHandleCount() };
  const file = openSync(import.meta.path, "r");
  const after = { handles: openHandles(), count: openHandleCount() };
  closeSync(file);
  expect(after.count).toBe(before.count + 1);
  expect(after.handles.total).toBe(before.handles.total + 1);
  expect(after.handles.kinds["file"]).toBe((before.handles.kinds["file"] ?? 0) + 1);
});
