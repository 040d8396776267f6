/**
 * The events of a proxy for as long as somebody looks, over restarts of the proxy.
 *
 * Owns coming back: where the stream goes on, how long is waited before, and the end of a stream that went silent.
 * Invariants: what the proxy still has is neither missed nor told twice; a proxy that was never reached is a failure, one
 * that is lost is waited for, wherever it listens when it is back. Polling the lists was rejected: what comes and goes
 * between two polls is what one watches for.
 */
import { toProxyError } from "../core/errors.ts";
import type { ErrorCode, ProxyError } from "../core/errors.ts";
import type { ApiClient } from "./client.ts";

const FIRST_WAIT_MS = 250;
const MAX_WAIT_MS = 3_000;
/** The proxy beats every 5 s. */
const SILENCE_MS = 20_000;

/** What a proxy that is away, or on its way, fails with; anything else it refuses the next time as well. */
const PASSING: ReadonlySet<ErrorCode> = new Set(["INTERNAL", "NOT_REACHABLE", "STREAMS_REFUSED"]);

/** An event as a stream has it; the fields are those of `core/events.ts`, and of a newer proxy. */
export interface SeenEvent {
  readonly id: number;
  readonly time: number;
  readonly type: string;
  readonly server?: string;
  readonly group?: number;
  readonly revision?: number;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What following tells. */
export type Followed =
  | { readonly kind: "event"; readonly event: SeenEvent }
  /** The stream begins, or begins again; what is known may be old. */
  | { readonly kind: "open" }
  | { readonly kind: "lost"; readonly error: ProxyError };

/** Options of {@link follow}. */
export interface FollowOptions {
  /** Finds the proxy, each time anew: it may listen elsewhere when it is back. */
  readonly find: () => Promise<ApiClient>;
  /** `types`, `servers`, `groups` of the stream. */
  readonly query: Readonly<Record<string, string | undefined>>;
  /** The last event that is known. @default what comes from now on */
  readonly since?: string | undefined;
  /** Whether the proxy was reached already, so that it is waited for. @default false */
  readonly isKnown?: boolean;
  readonly signal: AbortSignal;
}

/**
 * Follows the events until the signal.
 *
 * @throws {ProxyError} what the first connection fails with, and what the proxy refuses for good.
 */
export async function* follow(options: FollowOptions): AsyncGenerator<Followed, undefined> {
  const { signal, find } = options;
  const place = { since: options.since };
  let { isKnown = false } = options;
  let waitMs = FIRST_WAIT_MS;
  while (!signal.aborted) {
    try {
      for await (const news of readOn(await find(), { ...options, place })) {
        isKnown = true;
        waitMs = FIRST_WAIT_MS;
        yield news;
      }
      if (!signal.aborted) yield { kind: "lost", error: toProxyError(new Error("The stream ended")) };
    } catch (error) {
      if (signal.aborted) return undefined;
      const fault = toProxyError(error);
      if (!isKnown || !PASSING.has(fault.code)) throw error;
      yield { kind: "lost", error: fault };
    }
    await pause(waitMs, signal);
    waitMs = Math.min(MAX_WAIT_MS, waitMs * 2);
  }
  return undefined;
}

interface ReadOnOptions extends Pick<FollowOptions, "query" | "signal"> {
  /** The last event that is known; kept up to date. */
  readonly place: { since: string | undefined };
}

/** What one stream tells. */
async function* readOn(
  api: ApiClient,
  { place, ...options }: ReadOnOptions,
): AsyncGenerator<Followed, undefined> {
  for await (const { id, type, data } of listen(api, { ...options, since: place.since })) {
    if (id !== undefined) Object.assign(place, { since: id });
    if (type === "status") yield { kind: "open" };
    else if (type !== "heartbeat" && data !== "") {
      yield { kind: "event", event: JSON.parse(data) as SeenEvent };
    }
  }
  return undefined;
}

/** One stream, ended when it says nothing for too long. */
async function* listen(
  api: ApiClient,
  { query, since, signal }: Pick<FollowOptions, "query" | "since" | "signal">,
): AsyncGenerator<
  { readonly id: string | undefined; readonly type: string; readonly data: string },
  undefined
> {
  const parts = Object.entries({ ...query, since }).flatMap(([name, value]) =>
    // A comma parts names; one that is in a name cannot be told from it here.
    value === undefined || value === ""
      ? []
      : [`${name}=${value.split(",").map(encodeURIComponent).join(",")}`],
  );
  const path = parts.length === 0 ? "/events" : `/events?${parts.join("&")}`;
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    for await (const event of api.events(path, AbortSignal.any([signal, silence.signal]))) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      yield event;
    }
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** Waits, or returns at once when the signal comes. */
export function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, waitMs);
  signal.addEventListener("abort", () => resolve(), { once: true });
  if (signal.aborted) resolve();
  return promise.finally(() => clearTimeout(timer));
}

/** A signal that comes when the process is told to end. */
export function endOf(io: { readonly onSignal?: (listener: () => void) => void }): AbortSignal {
  const end = new AbortController();
  io.onSignal?.(() => end.abort());
  return end.signal;
}
