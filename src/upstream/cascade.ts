/**
 * Whether many failures are one event.
 *
 * Owns the window in which servers that were ready are seen to fail. Pure but for what it remembers: no
 * timers, no effects. Invariant: suspension begins when at least half of the servers that were ready, and
 * at least five, failed within the window, and ends when one of those is ready again or after 30 minutes.
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
  get failed(): readonly string[] {
    return [...this.#failed.keys()];
  }

  /** A server is ready. */
  ready(name: string): CascadeChange {
    this.#ready.add(name);
    return this.#failed.delete(name) && this.isSuspended ? this.#end() : undefined;
  }

  /** A server that was ready failed at `now`. */
  lost(name: string, now: number): CascadeChange {
    if (!this.#ready.delete(name)) return undefined;
    this.#failed.set(name, now);
    if (this.isSuspended) return undefined;
    for (const [other, at] of this.#failed) if (at < now - this.windowMs) this.#failed.delete(other);
    const failed = this.#failed.size;
    if (failed < LEAST_FAILED || failed < LEAST_RATIO * (this.#ready.size + failed)) return undefined;
    this.#suspendedAt = now;
    return "begins";
  }

  /** A server was closed on purpose, or is gone. */
  left(name: string): CascadeChange {
    this.#ready.delete(name);
    this.#failed.delete(name);
    return this.isSuspended && this.#failed.size === 0 ? this.#end() : undefined;
  }

  /** Servers have other names; two may have swapped theirs. */
  rename(names: ReadonlyMap<string, string>): void {
    const now = (name: string): string => names.get(name) ?? name;
    this.#ready = new Set([...this.#ready].map(now));
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
