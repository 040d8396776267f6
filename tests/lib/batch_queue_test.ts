/**
 * The batch queue: everything goes on in order, a little later, or is counted as dropped.
 */
import { expect, jest, test } from "bun:test";
import { BatchQueue } from "../../src/lib/batch_queue.ts";
import type { BatchQueueOptions } from "../../src/lib/batch_queue.ts";

function open(options: Partial<BatchQueueOptions<string>> = {}) {
  const batches: string[][] = [];
  const failures: unknown[] = [];
  const queue = new BatchQueue<string>({
    write: (batch) => void batches.push([...batch]),
    onFailure: (error) => void failures.push(error),
    delayMs: 25,
    batchItems: 3,
    maxItems: 10,
    maxSize: 100,
    sizeOf: (text) => text.length,
    ...options,
  });
  return { queue, batches, failures };
}

test("BatchQueue hands on after its delay, in order, a batch in each turn", () => {
  jest.useFakeTimers();
  try {
    const { queue, batches } = open();
    for (const item of "abcdefg") queue.push(item);
    jest.advanceTimersByTime(24);
    expect(batches).toEqual([]);
    expect(queue.counts).toEqual({ queued: 7, written: 0, dropped: 0 });
    jest.advanceTimersByTime(1);
    expect(batches).toEqual([["a", "b", "c"]]);
    jest.advanceTimersByTime(10);
    expect(batches).toEqual([["a", "b", "c"], ["d", "e", "f"], ["g"]]);
    expect(queue.counts).toEqual({ queued: 0, written: 7, dropped: 0 });
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
});

test("BatchQueue.push() drops the oldest beyond the number, and counts them", () => {
  const { queue, batches } = open();
  for (let at = 0; at < 25; at += 1) queue.push(String(at));
  expect(queue.counts).toEqual({ queued: 10, written: 0, dropped: 15 });
  queue.flush();
  expect(batches.flat()).toEqual(Array.from({ length: 10 }, (_, at) => String(at + 15)));
});

test("BatchQueue.push() drops the oldest beyond the size, an item that is too large itself as well", () => {
  const { queue, batches } = open();
  queue.push("a".repeat(60));
  queue.push("b".repeat(60));
  expect(queue.counts).toEqual({ queued: 1, written: 0, dropped: 1 });
  queue.push("c".repeat(101));
  expect(queue.counts).toEqual({ queued: 0, written: 0, dropped: 3 });
  queue.push("d");
  queue.flush();
  expect(batches).toEqual([["d"]]);
});

test("BatchQueue counts a batch that cannot be written as dropped, and goes on", () => {
  let isBroken = true;
  const written: string[] = [];
  const { queue, failures } = open({
    write: (batch) => {
      if (isBroken) throw new Error("disk full");
      written.push(...batch);
    },
  });
  queue.push("a");
  queue.flush();
  isBroken = false;
  queue.push("b");
  queue.flush();
  expect(written).toEqual(["b"]);
  expect(failures).toHaveLength(1);
  expect(queue.counts).toEqual({ queued: 0, written: 1, dropped: 1 });
});

test("BatchQueue keeps the order over many takes from a long queue", () => {
  const { queue, batches } = open({ maxItems: 1_000, batchItems: 7, maxSize: 1e6 });
  const items = Array.from({ length: 900 }, (_, at) => `item ${at}`);
  for (const item of items) queue.push(item);
  queue.flush();
  expect(batches.flat()).toEqual(items);
  expect(queue.counts).toEqual({ queued: 0, written: 900, dropped: 0 });
});
