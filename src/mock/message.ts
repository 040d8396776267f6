/**
 * Messages and the other side of a request, as mocks see them.
 *
 * Owns the unchecked shape of JSON-RPC, what tells the eras apart, and waiting that ends with the request.
 * Invariant: it imports nothing, since each stdio mock loads it. The SDK's message types were rejected: mocks
 * must be able to take and to say what those forbid.
 */

/** A JSON-RPC message, unchecked. */
export interface Message {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: unknown;
}

/** Takes a notification; a promise means that the other side is slow and no more should be made meanwhile. */
export type Sink = (notification: object) => unknown;

/** The other side of one request. */
export interface Peer {
  /** Sends a notification that belongs to the request. */
  readonly notify: Sink;
  /** Asks the client something; legacy only. */
  readonly ask?: (method: string, params: object) => Promise<unknown>;
  /** Aborts when the client gives the request up. */
  readonly signal: AbortSignal;
}

/** What a result or parameters are made of. */
export type Result = Readonly<Record<string, unknown>>;

/** The reason of an abort when the mock itself let go, so that nobody counts it as a cancellation. */
export const LOST = "lost";

/** Start of the keys the protocol reserves in `_meta`. */
export const META = "io.modelcontextprotocol/";

/** Whether a message is of the modern era: it carries the envelope, or its method is known there only. */
export function isModernMessage({ method, params = {} }: Message): boolean {
  if (method === "server/discover" || method === "subscriptions/listen") return true;
  return (params["_meta"] as Result | undefined)?.[`${META}protocolVersion`] !== undefined;
}

/** Resolves when the signal aborts, at once when it has. */
export function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) resolve();
  else signal.addEventListener("abort", () => resolve(), { once: true });
  return promise;
}

/** Waits so long, or until the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const stop = (): void => resolve();
  signal.addEventListener("abort", stop, { once: true });
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
}
