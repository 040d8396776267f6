/**
 * What the supervisor knows of a connection: a narrow seam, so that the same supervisor runs over virtual
 * links in a simulation.
 *
 * Owns the interface only. Invariants every link keeps: hooks are called after `open` returned, in the
 * order answer, moves, ready, fail, and never after `stop` or a failure. Letting the supervisor see the
 * MCP client was rejected: an hour of faults could not be simulated in a millisecond.
 */
import type { Failure } from "./failure.ts";

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
