/**
 * How many calls travel at once, over all servers and to each.
 *
 * Owns the places and the lines before them; settings are asked at use, so changed ones hold for whoever comes next.
 * Invariants: a call has its server's place before it waits for one of all, so that a busy server holds up nobody
 * else's; whoever gives up or comes too late leaves the line; without a limit nothing is made and nothing is awaited.
 * Limiting in the connection was rejected: its places would be new ones after each reconnect.
 */
import { ProxyError } from "../core/errors.ts";
import type { Server } from "../core/model.ts";
import type { ConcurrencySettings, Settings } from "../core/settings.ts";
import { NoRoomError, Semaphore } from "../lib/semaphore.ts";
import type { Release } from "../lib/semaphore.ts";

/** Options of {@link CallLimits.enter}. */
export interface EnterOptions {
  /** What is called, for errors. */
  readonly id: string;
  /** How long the caller can wait at most, milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface Line {
  readonly semaphore: Semaphore;
  /** As it was when the last call came. */
  server: Server;
}

/** The limits on calls. */
export class CallLimits {
  readonly #settings: () => Settings;
  readonly #all: Semaphore;
  /** Of the servers that are called now. */
  readonly #lines = new Map<string, Line>();
  #queued = 0;

  constructor(settings: () => Settings) {
    this.#settings = settings;
    this.#all = new Semaphore(() => placesOf(settings().concurrency), {
      room: () => settings().concurrency.queueSize,
    });
  }

  /** Calls in line: for a place at their server, or for one of all. */
  get queued(): number {
    return this.#queued;
  }

  /** Whether a call of the server needs a place at all. */
  isOn({ maxConcurrentRequests }: Server): boolean {
    const { concurrency, serverConcurrency } = this.#settings();
    const own = maxConcurrentRequests ?? serverConcurrency.maxConcurrentRequests;
    return own > 0 || concurrency.maxConcurrentRequests > 0;
  }

  /**
   * Waits for a place, which whoever asked has to give back.
   *
   * @throws {ProxyError} `SERVER_BUSY`, `CALL_CANCELLED`.
   */
  async enter(server: Server, options: EnterOptions): Promise<Release> {
    const line = this.#lineOf(server);
    const waitMs = Math.min(options.timeoutMs, this.#settings().concurrency.queueTimeoutMs);
    const own = line.semaphore.tryAcquire();
    const shared = own && this.#all.tryAcquire();
    try {
      const release = shared ? both(shared, own) : await this.#wait({ line, own, waitMs }, options);
      return () => {
        release();
        this.#tidy(line);
      };
    } catch (error) {
      this.#tidy(line);
      throw error;
    }
  }

  /** Servers whose calls take or await a place now. */
  get lines(): number {
    return this.#lines.size;
  }

  #tidy(line: Line): void {
    const { name } = line.server;
    const isIdle = line.semaphore.held + line.semaphore.waiting === 0;
    if (isIdle && this.#lines.get(name) === line) this.#lines.delete(name);
  }

  async #wait(
    {
      line,
      own,
      waitMs,
    }: { readonly line: Line; readonly own: Release | undefined; readonly waitMs: number },
    { id, signal }: EnterOptions,
  ): Promise<Release> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), waitMs);
    const ends = signal ? AbortSignal.any([late.signal, signal]) : late.signal;
    let held = own;
    this.#queued += 1;
    try {
      held ??= await line.semaphore.acquire(ends);
      return both(await this.#all.acquire(ends), held);
    } catch (error) {
      held?.();
      if (signal?.aborted) {
        throw new ProxyError("CALL_CANCELLED", `Cannot call '${id}': the caller gave up`, { cause: error });
      }
      const why =
        error instanceof NoRoomError
          ? "as many calls as allowed are under way, and as many wait"
          : `as many calls as allowed are under way, and none ended within ${Math.round(waitMs)} ms`;
      throw new ProxyError("SERVER_BUSY", `Cannot call '${id}': ${why}`, {
        cause: error,
        hint: "Try again soon, or raise 'max_concurrent_requests', 'queue_size' or 'queue_timeout'",
      });
    } finally {
      clearTimeout(timer);
      this.#queued -= 1;
    }
  }

  #lineOf(server: Server): Line {
    const known = this.#lines.get(server.name);
    if (known !== undefined) return Object.assign(known, { server });
    const line: Line = {
      server,
      semaphore: new Semaphore(() => placesOf(this.#limitsOf(line.server)), {
        room: () => this.#limitsOf(line.server).queueSize,
      }),
    };
    this.#lines.set(server.name, line);
    return line;
  }

  /** Its own where the entry says so. */
  #limitsOf({ maxConcurrentRequests, queueSize }: Server): ConcurrencySettings {
    const { serverConcurrency } = this.#settings();
    return {
      maxConcurrentRequests: maxConcurrentRequests ?? serverConcurrency.maxConcurrentRequests,
      queueSize: queueSize ?? serverConcurrency.queueSize,
    };
  }
}

function placesOf({ maxConcurrentRequests }: ConcurrencySettings): number {
  return maxConcurrentRequests > 0 ? maxConcurrentRequests : Infinity;
}

/** The one for all first: whoever waits for that has a place at its server already. */
function both(shared: Release, own: Release): Release {
  return () => {
    shared();
    own();
  };
}
