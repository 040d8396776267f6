/**
 * What the supervisor knows of a connection: a narrow seam, so that the same supervisor runs over virtual
 * links in a simulation.
 *
 * Owns the interface, and what a link says when it fails. Invariants every link keeps: hooks are called after
 * `open` returned, in the order answer, moves, ready, fail, and never after `stop` or a failure. Letting the
 * supervisor see the MCP client was rejected: an hour of faults could not be simulated in a millisecond,
 * and the proxy would read the client's package before it listens.
 */
import type { FailureClass, Server } from "../core/model.ts";

/** Why an upstream is not connected. */
export interface Failure {
  readonly class: FailureClass;
  /** One sentence, fit for a client. */
  readonly message: string;
  readonly hint: string;
  /** The last lines the process wrote to stderr, secrets hidden; empty for a URL. */
  readonly stderr: readonly string[];
  /** Unix milliseconds. */
  readonly at: number;
  /** How long the server asked to be left alone. */
  readonly retryAfterMs?: number;
  /** The proxy's own limit was reached; says nothing of the server. */
  readonly isOurs?: true;
  /** Its host could not be reached at all; says as little of the server where the network is down. */
  readonly isUnreached?: true;
}

const RETRIED: ReadonlySet<FailureClass> = new Set(["timeout", "exit", "network", "rate_limited"]);

/** Whether an attempt after this failure can succeed without anybody acting. */
export function isRetriable(failure: Failure): boolean {
  return RETRIED.has(failure.class);
}

/** One attempt at a server and, when it succeeds, the link that stays. */
export interface Link {
  /** Calls in flight. */
  readonly inFlight: number;
  /** When the last call ended, on the clock that never jumps; the start of the link before any. */
  readonly usedAt: number;
  /** Ends it, after calls in flight had `graceMs`. */
  readonly stop: (graceMs: number) => void;
  /** Says how the attempt stands at its deadline. */
  readonly expire: (deadlineMs: number) => Failure;
  /** Asks whether the upstream is alive; answers once, late, or never. */
  readonly probe: (done: (isAlive: boolean) => void) => void;
  /** Reads the tools again; the link stays as it is. */
  readonly refresh: () => void;
  /** Takes the server's other name or options; what it started is the same. */
  readonly adopt: (server: Server) => void;
}

/** Somebody who waits for a server to be ready; hears once. */
export interface Waiter<L extends Link> {
  readonly resolve: (link: L) => void;
  /** With the failure of the attempt; without one when the server was closed, or may not be started. */
  readonly reject: (failure: Failure | undefined) => void;
}

/** What a link tells its owner. */
export interface LinkHooks {
  /** The first byte came. */
  readonly onAnswer: () => void;
  readonly onMove: (event: "authenticate" | "discover") => void;
  /** The tools are read. */
  readonly onReady: () => void;
  /** The attempt failed, or the link broke. */
  readonly onFail: (failure: Failure) => void;
  /** Asked before a process is started a second time within the attempt. @default it may */
  readonly mayRespawn?: () => boolean;
}
