/**
 * Giving up on work that has no signal of its own.
 *
 * Owns the race between a promise and an `AbortSignal`. Invariant: neither a listener nor a rejection that
 * nobody takes is left behind. `Promise.race` alone was rejected: it leaves both.
 */

/** Settles as `work` does, or rejects with the signal's reason as soon as it aborts. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  // Whoever gives up early must not leave a rejection that nobody takes.
  void work.catch(() => {});
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = (): void => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
