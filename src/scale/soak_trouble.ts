/**
 * What the soak did to its servers, and how long a call may fail for it.
 *
 * Owns who is in trouble, for what, and until when; doing it is the soak's. Invariants: a server is in trouble from its
 * first cause until it is seen connected, a grace after the last cause was taken back; who is not back in time is late and
 * in trouble no longer, so that what fails then counts. Excusing a call by the error it ends in was rejected: a proxy that
 * loses a healthy server says the same.
 */

/** What is done to a server. */
export type Cause = "fault" | "network cut" | "switch";

/**
 * How long after a cause was taken back a server may be connected in name only: until the next probe, every 2 s, found the
 * connection or the session dead. After an operator's switch nothing is.
 */
const GRACE_MS: Readonly<Record<Cause, number>> = { fault: 4_000, "network cut": 4_000, switch: 0 };
/** By when a server has to be back: the longest wait between two attempts, 5 s, and what a busy machine may add. */
const BACK_MS = 20_000;

interface Trouble {
  /** What is not taken back yet. */
  readonly held: Set<Cause>;
  /** The latest. */
  cause: Cause;
  graceUntil: number;
  backBy: number;
  /** Infinite while it lasts. */
  endedAt: number;
}

/** Who is in trouble. Moments are given, in milliseconds of one monotonic clock. */
export class Troubles {
  readonly #byServer = new Map<string, Trouble>();
  readonly #late: string[] = [];

  /** Servers that were not back in time; one that was late twice is there twice. */
  get late(): readonly string[] {
    return this.#late;
  }

  /** Whether there is anybody to look for. */
  get isOpen(): boolean {
    return this.#byServer.values().some(({ endedAt }) => !Number.isFinite(endedAt));
  }

  /** Something is about to be done to a server. */
  begin(server: string, cause: Cause): void {
    let trouble = this.#byServer.get(server);
    if (trouble === undefined || Number.isFinite(trouble.endedAt)) {
      trouble = { held: new Set(), cause, graceUntil: 0, backBy: 0, endedAt: Number.POSITIVE_INFINITY };
      this.#byServer.set(server, trouble);
    }
    trouble.held.add(cause);
    trouble.cause = cause;
  }

  /** It was taken back. */
  lift(server: string, cause: Cause, atMs: number): void {
    const trouble = this.#byServer.get(server);
    if (trouble?.held.delete(cause) !== true) return;
    trouble.graceUntil = Math.max(trouble.graceUntil, atMs + GRACE_MS[cause]);
    trouble.backBy = atMs + BACK_MS;
  }

  /** Takes what the list of servers said when it was asked for at that moment; the names still waited for. */
  look(isConnected: (server: string) => boolean, atMs: number): readonly string[] {
    const waitedFor: string[] = [];
    for (const [server, trouble] of this.#byServer) {
      if (Number.isFinite(trouble.endedAt) || trouble.held.size > 0) continue;
      if (atMs >= trouble.graceUntil && isConnected(server)) trouble.endedAt = atMs;
      else if (atMs <= trouble.backBy) waitedFor.push(server);
      else {
        trouble.endedAt = atMs;
        this.#late.push(server);
      }
    }
    return waitedFor;
  }

  /** Why a call that began then and ends now may fail; undefined when it may not. */
  causeOf(server: string, sinceMs: number): Cause | undefined {
    const trouble = this.#byServer.get(server);
    return trouble === undefined || trouble.endedAt < sinceMs ? undefined : trouble.cause;
  }
}
