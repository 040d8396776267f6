/**
 * A definition connected on trial, before anything depends on it.
 *
 * Owns one attempt outside of any keeper. Invariants: it is given up in time, and always closed; when the promise
 * settles nothing of it runs any more; nothing is learned and no event is told. A hidden keeper was rejected: it would
 * try again, and remember.
 */
import { ProxyError } from "../core/errors.ts";
import type { Server } from "../core/model.ts";
import type { SupervisionSettings } from "../core/settings.ts";
import { orAborted } from "../lib/abort.ts";
import type { Clock } from "../lib/clock.ts";
import { Attempt } from "./attempt.ts";
import type { Failure, Link, LinkHooks } from "./link.ts";
import { RANK } from "./scheduler.ts";
import type { Scheduler } from "./scheduler.ts";

/** What a trial works with. */
export interface TrialDeps<L extends Link> {
  readonly supervision: SupervisionSettings;
  /** The lane in which the attempt starts: a batch of trials is no stampede. */
  readonly lane: Scheduler;
  readonly clock: Clock;
  readonly open: (server: Server, hooks: LinkHooks) => L;
}

/** How long a trial may take. */
export interface TrialOptions {
  /** How long it may take with its time in line; closing comes on top. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Connects until the server is ready, and closes.
 *
 * @throws {ProxyError} `VERIFY_FAILED` with the server, the class of the failure and a hint; `CALL_CANCELLED`.
 */
export async function runTrial<L extends Link & { readonly closed: Promise<void> }>(
  server: Server,
  options: TrialOptions & { readonly deps: TrialDeps<L> },
): Promise<void> {
  const { timeoutMs, signal, deps } = options;
  const [fault] = server.faults;
  if (fault) throw refusal(server, { class: "config", message: fault.message, hint: fault.advice });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const fail = (failure: Refusal): void => reject(refusal(server, failure));
  const { supervision, lane, clock, open } = deps;
  const attempt = new Attempt<L>({
    server,
    request: { rank: RANK.call },
    supervision,
    scheduler: lane,
    clock,
    open,
    onStart: () => timeoutMs,
    onMove: () => {},
    onReady: resolve,
    onFail: fail,
    onEvict: () => fail(CROWDED),
  });
  const late = clock.after(timeoutMs, () => fail(attempt.link?.expire(timeoutMs) ?? CROWDED));
  try {
    signal?.throwIfAborted();
    attempt.begin();
    await (signal ? orAborted(promise, signal) : promise);
  } catch (error) {
    if (error instanceof ProxyError) throw error;
    throw new ProxyError("CALL_CANCELLED", `Cannot try '${server.name}': the caller gave up`, {
      cause: error,
    });
  } finally {
    late();
    attempt.end(0);
    await attempt.link?.closed;
  }
}

type Refusal = Pick<Failure, "class" | "message" | "hint"> & Partial<Pick<Failure, "stderr">>;

function refusal({ name }: Server, { class: kind, message, hint, stderr = [] }: Refusal): ProxyError {
  const detail = message.replace(`Cannot connect '${name}': `, "");
  return new ProxyError("VERIFY_FAILED", `Cannot verify '${name}': ${detail}`, {
    hint,
    data: { server: name, class: kind, ...(stderr.length > 0 ? { stderr } : {}) },
  });
}

const CROWDED: Refusal = {
  class: "timeout",
  message: "others that are starting left it no place",
  hint: "Try again in a minute, or raise 'max_concurrent_connections'",
};
