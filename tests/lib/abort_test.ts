/** Holds that waiting ends with the signal, and leaves nothing behind. */
import { expect, test } from "bun:test";
import { orAborted } from "../../src/lib/abort.ts";

test("orAborted() settles as the work does", async () => {
  const { signal } = new AbortController();
  expect(await orAborted(Promise.resolve(1), signal)).toBe(1);
  const failing = orAborted(Promise.reject(new Error("no")), signal);
  expect(await failing.catch((error: unknown) => error)).toEqual(new Error("no"));
});

test("orAborted() rejects with the signal's reason, during the work or at once", async () => {
  const controller = new AbortController();
  const { promise: work } = Promise.withResolvers<void>();
  const during = orAborted(work, controller.signal).catch((error: unknown) => error);
  controller.abort(new Error("enough"));
  expect(await during).toEqual(new Error("enough"));
  expect(await orAborted(work, controller.signal).catch((error: unknown) => error)).toEqual(
    new Error("enough"),
  );
});

test("orAborted() takes the rejection of work it gave up on before it began", async () => {
  const { promise: work, reject } = Promise.withResolvers<void>();
  const given = await orAborted(work, AbortSignal.abort("enough")).catch((error: unknown) => error);
  expect(given).toBe("enough");
  // Nobody else takes it: unhandled, it would fail this test.
  reject(new Error("too late"));
  await new Promise<void>((resolve) => setImmediate(resolve));
});

test("orAborted() leaves no listener at the signal", async () => {
  const { signal } = new AbortController();
  const left = new Set<unknown>();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (type: string, listener: () => void): void => {
    left.add(listener);
    add(type, listener);
  };
  signal.removeEventListener = (type: string, listener: () => void): void => {
    left.delete(listener);
    remove(type, listener);
  };
  await orAborted(Promise.resolve(), signal);
  expect(left.size).toBe(0);
});
