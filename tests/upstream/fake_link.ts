/**
 * A link that does only what a test tells it to.
 *
 * Owns the record of what was asked of it. Invariant: nothing happens by itself. The virtual link of the simulation
 * was rejected here: it acts by its nature, and these tests are about single moves.
 */
import type { Server } from "../../src/core/model.ts";
import type { Failure, Link, LinkHooks } from "../../src/upstream/link.ts";
import { failureOf } from "./virtual_link.ts";

/** A link moved by hand. */
export class FakeLink implements Link {
  server: Server;
  readonly hooks: LinkHooks;
  readonly stops: number[] = [];
  readonly probes: ((isAlive: boolean) => void)[] = [];
  refreshes = 0;
  inFlight = 0;
  usedAt = 0;

  constructor(server: Server, hooks: LinkHooks) {
    this.server = server;
    this.hooks = hooks;
  }

  stop(graceMs: number): void {
    this.stops.push(graceMs);
  }

  expire(deadlineMs: number): Failure {
    return failureOf("timeout", {}, `no answer within ${deadlineMs} ms`);
  }

  probe(done: (isAlive: boolean) => void): void {
    this.probes.push(done);
  }

  refresh(): void {
    this.refreshes += 1;
  }

  adopt(server: Server): void {
    this.server = server;
  }

  /** Says its first byte, shows its tools. */
  becomeReady(): void {
    this.hooks.onAnswer();
    this.hooks.onMove("discover");
    this.hooks.onReady();
  }
}
