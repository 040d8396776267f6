/**
 * Links to servers that exist in a simulation only.
 *
 * Owns what one attempt at a virtual server does: when it says its first byte, when it is ready or fails, how
 * long it lives. Invariants: hooks are called after `open` returned; a link keeps its contract, unless the
 * world asks it for echoes, which come after `stop` as no real link's may. Mocking the MCP client was
 * rejected: a simulated hour would take seconds.
 */
import type { FailureClass, Server } from "../../src/core/model.ts";
import type { CancelTimer, Clock } from "../../src/lib/clock.ts";
import type { Failure, Link, LinkHooks } from "../../src/upstream/link.ts";

/** How a server behaves in one attempt. */
export interface Nature {
  /** Until the first byte; Infinity hangs in silence. */
  readonly silentMs: number;
  /** Until it is ready or fails; Infinity answers and hangs then. */
  readonly workMs: number;
  /** Fails so; undefined becomes ready. */
  readonly fails?: FailureClass;
  readonly retryAfterMs?: number;
  /** Our own limit was reached. */
  readonly isOurs?: true;
  /** No host answered. */
  readonly isUnreached?: true;
  /** Breaks so long after it was ready. */
  readonly livesMs?: number;
  /** Fetches a token first. */
  readonly authenticates?: true;
  /** Time its package takes to download the first time; lost when the attempt is ended. */
  readonly firstRunMs?: number;
}

/** A server that is ready after so long. */
export function healthy(readyMs: number): Nature {
  return { silentMs: readyMs * 0.75, workMs: readyMs };
}

/** A server that never says anything. */
export const HANGS: Nature = { silentMs: Infinity, workMs: Infinity };

/** A server that fails after so long, without a word before. */
export function failing(fails: FailureClass, afterMs: number, parts: Partial<Nature> = {}): Nature {
  return { silentMs: Infinity, workMs: afterMs, fails, ...parts };
}

/** What a virtual link tells the world. */
export interface LinkWorld {
  readonly clock: Clock;
  readonly onTools: (link: VirtualLink) => void;
  /** The attempt or the link failed, whoever found out; called before its owner hears of it. */
  readonly onFailure: (link: VirtualLink, failure: Failure) => void;
  readonly onStop: (link: VirtualLink) => void;
  /** After so long a stopped link calls back though it must not; undefined: it does not. */
  readonly echoMs: number | undefined;
}

/** One attempt at a virtual server. */
export class VirtualLink implements Link {
  server: Server;
  readonly openedAt: number;
  readonly #world: LinkWorld;
  readonly #hooks: LinkHooks;
  readonly #cancels: CancelTimer[] = [];
  /** Answers no probe. */
  isFrozen = false;
  isLive = true;
  isReady = false;
  hasAnswered = false;
  inFlight = 0;
  usedAt: number;

  constructor(
    server: Server,
    options: { readonly nature: Nature; readonly world: LinkWorld; readonly hooks: LinkHooks },
  ) {
    const { nature, world, hooks } = options;
    this.server = server;
    this.#world = world;
    this.#hooks = hooks;
    this.openedAt = world.clock.now();
    this.usedAt = this.openedAt;
    this.#after(nature.silentMs, () => {
      this.#answer();
      hooks.onMove(nature.authenticates ? "authenticate" : "discover");
    });
    this.#after(nature.workMs, () => {
      if (nature.fails) this.fail(failureOf(nature.fails, nature));
      else this.#ready(nature);
    });
  }

  stop(_graceMs: number): void {
    if (!this.isLive) return;
    this.#end();
    const { echoMs, clock, onStop } = this.#world;
    onStop(this);
    if (echoMs === undefined) return;
    clock.after(echoMs, () => {
      this.#hooks.onAnswer();
      this.#hooks.onMove("discover");
      this.#hooks.onReady();
      this.#hooks.onFail(failureOf("exit", {}));
    });
  }

  expire(deadlineMs: number): Failure {
    const failure = failureOf("timeout", {}, `no answer within ${deadlineMs} ms`);
    if (this.isLive) this.#world.onFailure(this, failure);
    return failure;
  }

  probe(done: (isAlive: boolean) => void): void {
    if (!this.isFrozen) this.#after(5, () => done(true));
  }

  refresh(): void {
    this.#after(10, () => this.#world.onTools(this));
  }

  adopt(server: Server): void {
    this.server = server;
  }

  /** A call travels for so long. */
  use(ms: number): void {
    this.inFlight += 1;
    this.#after(ms, () => {
      this.inFlight -= 1;
      this.usedAt = this.#world.clock.now();
    });
  }

  /** The server breaks, or refuses. */
  fail(failure: Failure): void {
    if (!this.isLive) return;
    this.#world.onFailure(this, failure);
    this.#hooks.onFail(failure);
  }

  #ready(nature: Nature): void {
    if (nature.authenticates || !this.hasAnswered) this.#hooks.onMove("discover");
    this.#answer();
    this.#world.onTools(this);
    this.isReady = true;
    if (nature.livesMs !== undefined) this.#after(nature.livesMs, () => this.fail(failureOf("exit", {})));
    this.#hooks.onReady();
  }

  #answer(): void {
    if (this.hasAnswered) return;
    this.hasAnswered = true;
    this.#hooks.onAnswer();
  }

  #after(ms: number, run: () => void): void {
    if (ms !== Infinity) this.#cancels.push(this.#world.clock.after(ms, run));
  }

  #end(): void {
    this.isLive = false;
    for (const cancel of this.#cancels) cancel();
  }
}

/** A failure of the class. */
export function failureOf(
  failureClass: FailureClass,
  { retryAfterMs, isOurs, isUnreached }: Partial<Nature>,
  message = `it failed: ${failureClass}`,
): Failure {
  return {
    class: failureClass,
    message,
    hint: "",
    stderr: [],
    at: 0,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(isOurs ? { isOurs } : {}),
    ...(isUnreached ? { isUnreached } : {}),
  };
}
