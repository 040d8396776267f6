/**
 * The numbers that are counted as things happen: calls, connects, how late the index and the event loop are.
 *
 * Owns the counters; what can be asked at any time, such as the size of the index, is asked by who shows it.
 * Invariants: counting is a few additions, never waits, never fails; the number of series is bounded, whatever
 * callers send. A metrics library was rejected: it costs a map look-up by labels for each call.
 */
import type { ErrorCode } from "../core/errors.ts";
import type { ProxyEvent } from "../core/events.ts";
import { Histogram } from "../lib/histogram.ts";
import type { HistogramView } from "../lib/histogram.ts";

const CALL_STEPS_MS = [
  1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000,
];
const CONNECT_STEPS_MS = [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 180_000];
const LAG_STEPS_MS = [1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000];
/** How often the loop is asked whether it is late. */
const LAG_INTERVAL_MS = 250;
/** Servers that are counted one by one; names come from the configuration, not from callers. */
const MAX_SERVERS = 20_000;

/** How a call ended: with a result, with one that is an error, or with a code. */
export type CallOutcome = "success" | "tool_error" | ErrorCode;

/** A call that ended. */
export interface CountedCall {
  /** Undefined when there is no such server. */
  readonly server: string | undefined;
  readonly durationMs: number;
  readonly isError: boolean;
  readonly code?: ErrorCode;
}

/** Calls of one server. */
export interface ServerCalls {
  calls: number;
  errors: number;
  /** Milliseconds, all together. */
  sumMs: number;
}

/** All that was counted. */
export interface CountersView {
  readonly outcomes: ReadonlyMap<CallOutcome, number>;
  readonly servers: ReadonlyMap<string, Readonly<ServerCalls>>;
  readonly callMs: HistogramView;
  readonly callP50Ms: number;
  readonly callP99Ms: number;
  readonly searchMs: HistogramView;
  readonly connectMs: HistogramView;
  readonly indexLagMs: HistogramView;
  readonly loopLagMs: HistogramView;
  readonly loopLagP99Ms: number;
  readonly events: ReadonlyMap<string, number>;
}

/** Counts. */
export class Metrics {
  readonly #outcomes = new Map<CallOutcome, number>();
  readonly #servers = new Map<string, ServerCalls>();
  readonly #events = new Map<string, number>();
  readonly #callMs = new Histogram(CALL_STEPS_MS);
  readonly #searchMs = new Histogram(CALL_STEPS_MS);
  readonly #connectMs = new Histogram(CONNECT_STEPS_MS);
  readonly #indexLagMs = new Histogram(LAG_STEPS_MS);
  readonly #loopLagMs = new Histogram(LAG_STEPS_MS);
  /** When each server that connects began to, in Unix milliseconds. */
  readonly #connecting = new Map<string, number>();
  #timer: Timer | undefined;
  #dueAt = 0;

  /** Begins to watch the event loop. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#dueAt = performance.now() + LAG_INTERVAL_MS;
    this.#timer = setInterval(() => this.#lookAtLoop(), LAG_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Watches no more; counting goes on. Idempotent. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Counts calls that ended. */
  countCalls(calls: readonly CountedCall[]): void {
    for (const { server, durationMs, isError, code } of calls) {
      add(this.#outcomes, code ?? (isError ? "tool_error" : "success"));
      this.#callMs.observe(durationMs);
      if (server !== undefined) this.#countFor(server, { durationMs, isError });
    }
  }

  /** Counts a search for tools. */
  countSearch(durationMs: number): void {
    this.#searchMs.observe(durationMs);
  }

  /** Counts a server's list of tools that became searchable so long after it came. */
  countIndexed(lagMs: number): void {
    this.#indexLagMs.observe(lagMs);
  }

  /** Counts what happened; subscribe it to the bus. */
  countEvent(event: ProxyEvent): void {
    add(this.#events, event.type);
    const { server } = event;
    if (server === undefined) return;
    if (event.type === "server_removed") {
      this.#connecting.delete(server);
      this.#servers.delete(server);
    }
    if (event.type !== "server_state_changed") return;
    const { before, after } = event.data;
    if (after.connection === before.connection) return;
    const beganAt = this.#connecting.get(server);
    if (after.connection === "connecting") this.#connecting.set(server, event.time);
    else if (after.connection === "ready" && beganAt !== undefined)
      this.#connectMs.observe(event.time - beganAt);
    const isUnderWay = ["connecting", "authenticating", "discovering"].includes(after.connection);
    if (!isUnderWay) this.#connecting.delete(server);
  }

  /** All that was counted so far. */
  view(): CountersView {
    return {
      outcomes: new Map(this.#outcomes),
      servers: new Map(this.#servers),
      callMs: this.#callMs.view(),
      callP50Ms: this.#callMs.quantile(0.5),
      callP99Ms: this.#callMs.quantile(0.99),
      searchMs: this.#searchMs.view(),
      connectMs: this.#connectMs.view(),
      indexLagMs: this.#indexLagMs.view(),
      loopLagMs: this.#loopLagMs.view(),
      loopLagP99Ms: this.#loopLagMs.quantile(0.99),
      events: new Map(this.#events),
    };
  }

  #countFor(name: string, { durationMs, isError }: Pick<CountedCall, "durationMs" | "isError">): void {
    let server = this.#servers.get(name);
    if (server === undefined) {
      if (this.#servers.size >= MAX_SERVERS) return;
      server = { calls: 0, errors: 0, sumMs: 0 };
      this.#servers.set(name, server);
    }
    server.calls += 1;
    server.sumMs += durationMs;
    if (isError) server.errors += 1;
  }

  #lookAtLoop(): void {
    const now = performance.now();
    this.#loopLagMs.observe(Math.max(0, now - this.#dueAt));
    this.#dueAt = now + LAG_INTERVAL_MS;
  }
}

function add<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
