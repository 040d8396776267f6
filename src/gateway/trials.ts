/**
 * The trial of what a plan would start, before anything is written.
 *
 * Owns how many are tried at once and for how long. Invariants: the first that fails ends all others; when this settles
 * nothing of any trial runs any more. Trying them while the change is made was rejected: a server that hangs would keep
 * an operator from quarantining another one.
 */
import type { Server } from "../core/model.ts";
import { Semaphore } from "../lib/semaphore.ts";
import type { Upstreams } from "../upstream/upstreams.ts";

/** A person waits for it. */
const TRIAL_TIMEOUT_MS = 60_000;
/** At once. */
const MAX_TRIALS = 8;

/** What trials work with. */
export interface TrialsOptions {
  readonly upstreams: Pick<Upstreams, "trial">;
  /** Ends them. */
  readonly signal: AbortSignal;
}

/**
 * Connects each definition and closes it again.
 *
 * @throws {ProxyError} `VERIFY_FAILED` for the first that fails; `CALL_CANCELLED`.
 */
export async function tryOut(servers: readonly Server[], options: TrialsOptions): Promise<void> {
  const { upstreams } = options;
  const places = new Semaphore(MAX_TRIALS);
  const controller = new AbortController();
  const signal = AbortSignal.any([controller.signal, options.signal]);
  let failure: unknown;
  const trial = async (server: Server): Promise<void> => {
    const release = await places.acquire(signal);
    try {
      await upstreams.trial(server, { timeoutMs: TRIAL_TIMEOUT_MS, signal });
    } catch (error) {
      failure ??= error;
      controller.abort(error);
      throw error;
    } finally {
      release();
    }
  };
  const results = await Promise.allSettled(servers.map(trial));
  const rejected = results.find((result) => result.status === "rejected");
  if (rejected !== undefined) throw failure ?? rejected.reason;
}
