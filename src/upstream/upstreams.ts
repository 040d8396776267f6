/**
 * All upstreams, as the floors above see them.
 *
 * Owns what joins the supervisor to real connections: the clock, the store, and the wait until what was
 * stopped is gone. Invariants: a server with faults, or one that is disabled, quarantined or
 * auto-disabled, is never given out; whoever waits for a server gets it or an error that says what to do;
 * after `close()` no process of any upstream is left. Handing the supervisor out was rejected: its
 * waiters know failures, not errors a client can read.
 */
import type { EventBus } from "../core/events.ts";
import { ProxyError } from "../core/errors.ts";
import type { Server } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { nearestWord } from "../lib/nearest.ts";
import type { ServerMemory, Store } from "../state/store.ts";
import { Connection } from "./connection.ts";
import type { Failure } from "./failure.ts";
import { orAborted } from "./handshake.ts";
import type { Verdict } from "./handshake.ts";
import type { Keeper } from "./keeper.ts";
import type { LinkHooks } from "./link.ts";
import { Supervisor } from "./supervisor.ts";
import type { ModeEvent } from "./transition.ts";
import type { TransportContext } from "./transport.ts";

/** Calls in flight may finish for so long when a server is removed. */
const REMOVE_GRACE_MS = 5_000;

/** A server with its owner. */
export type Upstream = Keeper<Connection>;

/** Options of {@link Upstreams}. */
export interface UpstreamsOptions {
  readonly servers: readonly Server[];
  readonly settings: Settings;
  readonly store: Store;
  readonly bus: EventBus;
  readonly context: TransportContext;
  readonly log: Log;
  /** A server's whole list of tools, unchecked, each time it was read. */
  readonly onTools: (server: string, definitions: readonly unknown[]) => void;
}

/** Options of {@link Upstreams.ready}. */
export interface ReadyOptions {
  /** How long the caller can wait. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The set of upstreams. */
export class Upstreams implements AsyncDisposable {
  readonly #options: UpstreamsOptions;
  readonly #supervisor: Supervisor<Connection>;
  /** Connections that are not gone yet. */
  readonly #open = new Set<Connection>();
  #closing: Promise<void> | undefined;

  constructor(options: UpstreamsOptions) {
    const { servers, settings, store, bus } = options;
    this.#options = options;
    this.#supervisor = new Supervisor<Connection>({
      servers,
      settings,
      clock: SYSTEM_CLOCK,
      random: Math.random,
      bus,
      open: (server, hooks) => this.#connect(server, hooks),
      recall: (name) => store.findServer(name),
      remember: (name, learned) => store.rememberServer(name, learned),
    });
  }

  /** Begins to connect what is wanted, in the background. */
  start(): void {
    this.#supervisor.start();
  }

  /** Starting, running, degraded, stopping or stopped. */
  get state(): Supervisor<Connection>["state"] {
    return this.#supervisor.state;
  }

  /** Whether every server that is wanted has had its first attempt. */
  get isSettled(): boolean {
    return this.#supervisor.isSettled;
  }

  /** All upstreams, in the order of the file. */
  list(): Upstream[] {
    return this.#supervisor.keepers();
  }

  /** The upstream of this name. */
  find(name: string): Upstream | undefined {
    return this.#supervisor.find(name);
  }

  /**
   * Moves a server's startup mode, kept in the database.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`, or `SERVER_OFF` when the move is not allowed from its mode.
   */
  changeMode(name: string, event: ModeEvent, reason: string): void {
    const upstream = this.#known(name);
    if (upstream.changeMode(event, reason)) {
      this.#options.store.flush();
      return;
    }
    throw new ProxyError(
      "SERVER_OFF",
      `Cannot ${event.replace("_", "-")} '${name}': it is ${upstream.mode.replace("_", "-")}`,
      {
        hint:
          upstream.mode === "quarantined"
            ? "Approve or reject it first"
            : "It is so already, or has to be switched off first",
      },
    );
  }

  /**
   * Takes a server out; calls in flight may finish. Listeners of the event forget what they know of it.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`.
   */
  remove(name: string, reason: string): void {
    this.#known(name);
    this.#supervisor.remove(name, reason, REMOVE_GRACE_MS);
  }

  /**
   * Gives an upstream that may be called, connected or not.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`, `SERVER_FAULTY`, `SERVER_OFF`.
   */
  callable(name: string): Upstream {
    const upstream = this.#known(name);
    const [fault] = upstream.server.faults;
    if (fault) {
      throw new ProxyError("SERVER_FAULTY", `Cannot call '${name}': ${fault.message}`, {
        hint: fault.advice,
      });
    }
    const { mode } = upstream;
    if (mode === "active" || mode === "lazy_loading") return upstream;
    const { autoDisabled, failure } = upstream.status;
    const why = autoDisabled?.reason;
    const isOff = `it is ${mode.replace("_", "-")}${why === undefined ? "" : `: ${why}`}`;
    throw new ProxyError("SERVER_OFF", `Cannot call '${name}': ${isOff}`, {
      hint:
        (why === undefined ? undefined : failure?.hint) ??
        `Set 'startup_mode' of '${name}' to 'active' in the configuration file`,
      ...(why === undefined ? {} : { data: { reason: why } }),
    });
  }

  /**
   * Gives the connection of a server that can take a call, and connects it when that may help.
   *
   * @throws {ProxyError} what {@link callable} does, `UPSTREAM_AUTH`, `UPSTREAM_FAILED`,
   * `SERVER_NOT_READY`, `CALL_CANCELLED`.
   */
  async ready(name: string, options: ReadyOptions): Promise<Connection> {
    const upstream = this.callable(name);
    if (upstream.link) return upstream.link;
    const { promise, resolve, reject } = Promise.withResolvers<Connection>();
    const giveUp = upstream.want({ resolve, reject: (failure) => reject(notConnected(upstream, failure)) });
    const late = AbortSignal.timeout(options.timeoutMs);
    try {
      return await orAborted(promise, options.signal ? AbortSignal.any([late, options.signal]) : late);
    } catch (error) {
      giveUp();
      if (error instanceof ProxyError) throw error;
      if (options.signal?.aborted) {
        throw new ProxyError("CALL_CANCELLED", `Cannot call '${name}': the caller gave up`, { cause: error });
      }
      throw new ProxyError("SERVER_NOT_READY", `Cannot call '${name}': it is still connecting`, {
        hint: "Try again in a few seconds, or look at 'mcpproxy status'",
      });
    }
  }

  /** Ends everything; resolves when no process of any upstream is left. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(): Promise<void> {
    this.#supervisor.end("the proxy is stopping");
    await Promise.all([...this.#open].map((connection) => connection.closed));
  }

  #known(name: string): Upstream {
    const upstream = this.#supervisor.find(name);
    if (upstream !== undefined) return upstream;
    const names = this.list().map(({ server }) => server.name);
    const similar = nearestWord(name, names);
    throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${name}'`, {
      hint: similar === undefined ? "List the servers with 'mcpproxy status'" : `Did you mean '${similar}'?`,
    });
  }

  #connect(server: Server, hooks: LinkHooks): Connection {
    const { store, context, log, onTools } = this.#options;
    const { name } = server;
    const connection = Connection.open(server, {
      hooks: {
        ...hooks,
        onFail: (failure) => {
          const { message, hint } = failure;
          log.warn(message, { server: name, class: failure.class, hint });
          hooks.onFail(failure);
        },
      },
      deps: {
        context,
        log,
        recall: () => verdictOf(store.findServer(name)),
        onVerdict: (verdict) => store.rememberServer(name, verdict),
        onTools: (definitions) => {
          store.rememberServer(name, { toolCount: definitions.length });
          onTools(name, definitions);
        },
        onEnd: () => this.#open.delete(connection),
      },
    });
    this.#open.add(connection);
    return connection;
  }
}

function verdictOf(memory: ServerMemory | undefined): Verdict | undefined {
  if (memory?.era === undefined) return undefined;
  const { era, discovery, transport } = memory;
  return { era, ...(discovery ? { discovery } : {}), ...(transport ? { transport } : {}) };
}

function notConnected(upstream: Upstream, failure: Failure | undefined): ProxyError {
  const { server, status } = upstream;
  if (failure === undefined) {
    return new ProxyError(
      "SERVER_NOT_READY",
      `Cannot call '${server.name}': ${status.isStopped ? "it was stopped" : "it was closed meanwhile"}`,
      {
        hint: status.isStopped ? "Connect it again" : "Try again",
      },
    );
  }
  const code = failure.class === "auth" ? "UPSTREAM_AUTH" : "UPSTREAM_FAILED";
  return new ProxyError(code, failure.message, {
    hint: failure.hint,
    data: {
      server: server.name,
      class: failure.class,
      stderr: failure.stderr,
      next_attempt_at: status.nextAttemptAt,
    },
  });
}
