/**
 * Whether many failures are one event.
 *
 * Owns the window in which servers that worked are seen to fail. Pure but for what it remembers: no
 * timers, no effects. A server works when it is ready, and when it is awaited: it was ready when it was last seen
 * (before an operator restarted it, before it slept, in an earlier run of the proxy) and an attempt at it is asked for.
 * Invariant: suspension begins when at least half of the servers that worked, and at least five, failed within the
 * window, and ends when one of those is ready again or after 30 minutes; a server falls once, until it is ready again.
 * A share of all configured servers was rejected: fifty that never worked would hide the fall of the rest.
 */

const LEAST_FAILED = 5;
const LEAST_RATIO = 0.5;
const MAX_SUSPENSION_MS = 30 * 60_000;

/** What a move of one server means for all. */
export type CascadeChange = "begins" | "ends" | undefined;

/** Watches for failures that come together. */
export class Cascade {
  /** Failures within it belong together. */
  windowMs: number;
  #ready = new Set<string>();
  /** Not ready, though it is asked for and was ready when last seen. */
  #awaited = new Set<string>();
  /** Failed since they were last ready: that they fail again says nothing new. */
  #down = new Set<string>();
  /** When each failed, on a clock that never jumps; those ready again are out. */
  #failed = new Map<string, number>();
  #suspendedAt: number | undefined;

  constructor(windowMs: number) {
    this.windowMs = windowMs;
  }

  /** Whether failures do not count. */
  get isSuspended(): boolean {
    return this.#suspendedAt !== undefined;
  }

  /** The servers whose failures belong together. */
  get fallen(): readonly string[] {
    return [...this.#failed.keys()];
  }

  /** A server is ready. */
  ready(name: string): CascadeChange {
    this.#ready.add(name);
    this.#awaited.delete(name);
    this.#down.delete(name);
    return this.#failed.delete(name) && this.isSuspended ? this.#end() : undefined;
  }

  /** An attempt at a server is asked for that was ready when this or an earlier run of the proxy last saw it. */
  awaited(name: string): void {
    if (!this.#ready.has(name) && !this.#down.has(name)) this.#awaited.add(name);
  }

  /** A server failed at `now`; it fell if it worked. */
  failed(name: string, now: number): CascadeChange {
    const hasFallen = this.#ready.delete(name) || this.#awaited.delete(name);
    this.#down.add(name);
    if (!hasFallen) return undefined;
    this.#failed.set(name, now);
    if (this.isSuspended) return undefined;
    for (const [other, at] of this.#failed) if (at < now - this.windowMs) this.#failed.delete(other);
    const failed = this.#failed.size;
    const worked = this.#ready.size + this.#awaited.size + failed;
    if (failed < LEAST_FAILED || failed < LEAST_RATIO * worked) return undefined;
    this.#suspendedAt = now;
    return "begins";
  }

  /** Servers that may never have worked fail for one reason that is none of theirs. */
  blamed(names: readonly string[], now: number): CascadeChange {
    for (const name of names) this.#failed.set(name, now);
    if (this.isSuspended || names.length === 0) return undefined;
    this.#suspendedAt = now;
    return "begins";
  }

  /** A server was closed on purpose, or nobody asks for it any more. */
  closed(name: string): void {
    this.#ready.delete(name);
    this.#awaited.delete(name);
  }

  /** A server is gone. */
  left(name: string): CascadeChange {
    this.closed(name);
    this.#down.delete(name);
    this.#failed.delete(name);
    return this.isSuspended && this.#failed.size === 0 ? this.#end() : undefined;
  }

  /** Servers have other names; two may have swapped theirs. */
  rename(names: ReadonlyMap<string, string>): void {
    const now = (name: string): string => names.get(name) ?? name;
    [this.#ready, this.#awaited, this.#down] = [
      new Set([...this.#ready].map(now)),
      new Set([...this.#awaited].map(now)),
      new Set([...this.#down].map(now)),
    ];
    this.#failed = new Map([...this.#failed].map(([name, at]) => [now(name), at]));
  }

  /** How long the suspension may last from `now` on, milliseconds. */
  leftMs(now: number): number {
    return this.#suspendedAt === undefined ? 0 : Math.max(0, this.#suspendedAt + MAX_SUSPENSION_MS - now);
  }

  /** The suspension has lasted too long. */
  expire(): CascadeChange {
    return this.isSuspended ? this.#end() : undefined;
  }

  #end(): CascadeChange {
    this.#suspendedAt = undefined;
    this.#failed.clear();
    return "ends";
  }
}
