/**
 * Progress: for a terminal alone, after a while, and gone afterwards.
 */
import { afterEach, expect, jest, test } from "bun:test";
import { withProgress } from "../../src/cli/progress.ts";
import { failureOf } from "../fixtures/wait.ts";
import { makeIo } from "./fixtures.ts";

const CLEAR = "\r\u001b[K";
const TERMINAL = { size: () => ({ columns: 80, rows: 24 }), onResize: (): void => {} };

afterEach(() => void jest.useRealTimers());

test.each([true, false])(
  "withProgress() tells a terminal what is under way, and takes it away (well: %p)",
  async (isWell) => {
    jest.useFakeTimers();
    const io = makeIo({ terminal: TERMINAL });
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const done = withProgress("Connecting on trial", { io, work: () => promise });
    jest.advanceTimersByTime(300);
    expect(io.err()).toBe("");
    jest.advanceTimersByTime(2_000);
    expect(io.err().startsWith(CLEAR)).toBe(true);
    expect(io.err()).toMatch(/\S Connecting on trial/u);
    expect(io.err()).toMatch(/ 2s$/);
    if (isWell) {
      resolve("result");
      expect(await done).toBe("result");
    } else {
      reject(new Error("no"));
      expect((await failureOf(() => done)).message).toBe("no");
    }
    expect(io.err().endsWith(`2s${CLEAR}`)).toBe(true);
    jest.advanceTimersByTime(5_000);
    expect(io.err().endsWith(`2s${CLEAR}`)).toBe(true);
    expect(io.out()).toBe("");
  },
);

test("withProgress() tells nothing of what is done at once, and nothing but a terminal", async () => {
  jest.useFakeTimers();
  const quick = makeIo({ terminal: TERMINAL });
  expect(await withProgress("Quick", { io: quick, work: () => Promise.resolve(1) })).toBe(1);
  const piped = makeIo();
  const { promise, resolve } = Promise.withResolvers<number>();
  const done = withProgress("Long", { io: piped, work: () => promise });
  jest.advanceTimersByTime(9_000);
  resolve(2);
  expect(await done).toBe(2);
  expect(quick.err() + piped.err()).toBe("");
});
