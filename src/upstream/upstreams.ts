/**
 * All upstreams, as the floors above see them.
 *
 * Owns what joins the supervisor to real connections: the clock, the store, trials, and the wait until what was
 * stopped is gone. Invariants: a server with faults, or one that is disabled, quarantined or
 * auto-disabled, is never given out; whoever waits for a server gets it or an error that says what to do;
 * after `close()` no process of any upstream is left. Handing the supervisor out was rejected: its
 * waiters know failures, not errors a client can read.
 */
import type { EventBus } from "../core/events.ts";
import { ProxyError } from "../core/errors.ts";
import type { Server } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { orAborted } from "../lib/abort.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import type { Log } from "../lib/log.ts";
import { nearestWord } from "../lib/nearest.ts";
import type { ServerMemory, Store } from "../state/store.ts";
import type { Connection, ConnectionDeps } from "./connection.ts";
import type { Verdict } from "./handshake.ts";
import type { Keeper } from "./keeper.ts";
import type { Failure, LinkHooks } from "./link.ts";
import { Supervisor } from "./supervisor.ts";
import type { Reconciliation } from "./supervisor.ts";
import { isCallable } from "./transition.ts";
import type { ProcessCare, TransportContext } from "./transport.ts";
import { runTrial } from "./trial.ts";
import type { TrialOptions } from "./trial.ts";

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
  /** Whether what a definition starts was approved; nothing else is ever started. @default everything was */
  readonly mayStart?: (server: Server) => boolean;
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
  /** Ends the trials. */
  readonly #ending = new AbortController();
  #settings: Settings;
  #hasStarted = false;
  #closing: Promise<void> | undefined;

  constructor(options: UpstreamsOptions) {
    const { servers, settings, store, bus, mayStart } = options;
    this.#options = options;
    this.#settings = settings;
    this.#supervisor = new Supervisor<Connection>({
      servers,
      settings,
      clock: SYSTEM_CLOCK,
      random: Math.random,
      bus,
      open: (server, hooks) => this.#connect(server, hooks),
      recall: (name) => store.findServer(name),
      remember: (name, learned) => store.rememberServer(name, learned),
      ...(mayStart ? { mayStart } : {}),
    });
  }

  /** Begins to connect what is wanted, in the background. */
  start(): void {
    this.#hasStarted = true;
    this.#supervisor.start();
  }

  /** Starting, running, degraded, stopping or stopped. */
  get state(): Supervisor<Connection>["state"] {
    return this.#supervisor.state;
  }

  /** Who starts, and who waits to: of processes and of URLs. */
  get lanes(): Supervisor<Connection>["lanes"] {
    return this.#supervisor.lanes;
  }

  /** Whether it has started, and every server that is wanted has had its first attempt. */
  get isSettled(): boolean {
    return this.#hasStarted && this.#supervisor.isSettled;
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
   * Makes what runs follow a changed configuration, before it returns; connecting goes on in the background. What is
   * not named keeps its connection and its calls. Call it once the commit is durable, inside of `bus.during`.
   */
  reconcile(change: Reconciliation, reason: string): void {
    this.#supervisor.reconcile(change, reason);
  }

  /**
   * Puts other settings in force. What is connected keeps the environment it was started with, and the times it is
   * given to stop; attempts under way keep their deadline.
   */
  applySettings(settings: Settings, reason = "the settings changed"): void {
    this.#settings = settings;
    this.#supervisor.applySettings(settings, reason);
  }

  /**
   * Connects a definition that nothing depends on yet, and closes it again; nothing is learned and nothing told.
   * Whoever calls has made sure that a person wants it started: no approval is asked here.
   *
   * @throws {ProxyError} `VERIFY_FAILED` with server, class and hint; `CALL_CANCELLED`.
   */
  async trial(server: Server, options: TrialOptions): Promise<{ readonly tools: number }> {
    let tools = 0;
    const { signal: ending } = this.#ending;
    const signal = options.signal ? AbortSignal.any([options.signal, ending]) : ending;
    await runTrial(server, {
      timeoutMs: options.timeoutMs,
      signal,
      deps: {
        supervision: this.#settings.supervision,
        lane: this.#supervisor.laneOf(server),
        clock: SYSTEM_CLOCK,
        open: (definition, hooks) =>
          this.#track(definition, {
            hooks,
            deps: {
              recall: () => undefined,
              onVerdict: () => {},
              onTools: (definitions) => {
                tools = definitions.length;
              },
            },
          }),
      },
    });
    return { tools };
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
    if (isCallable(mode)) return upstream;
    const { autoDisabled, failure } = upstream.status;
    const why = autoDisabled?.reason;
    const isOff = `it is ${mode.replace("_", "-")}${why === undefined ? "" : `: ${why}`}`;
    throw new ProxyError("SERVER_OFF", `Cannot call '${name}': ${isOff}`, {
      hint:
        (why === undefined ? undefined : failure?.hint) ??
        (mode === "quarantined"
          ? `Approve '${name}', or set its 'startup_mode' to 'active' in the configuration file`
          : `Set 'startup_mode' of '${name}' to 'active' in the configuration file`),
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
    this.#ending.abort(new Error("the proxy is stopping"));
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

  /** The name is asked each time: it may be another later. */
  #connect(server: Server, hooks: LinkHooks): Connection {
    const { store, log, onTools } = this.#options;
    const name = (): string => connection.server.name;
    const connection = this.#track(server, {
      hooks: {
        ...hooks,
        onFail: (failure) => {
          const { message, hint } = failure;
          log.warn(message, { server: name(), class: failure.class, hint });
          hooks.onFail(failure);
        },
      },
      deps: {
        recall: () => verdictOf(store.findServer(name())),
        onVerdict: (verdict) => store.rememberServer(name(), verdict),
        onTools: (definitions) => {
          store.rememberServer(name(), { toolCount: definitions.length });
          onTools(name(), definitions);
        },
        logOf: () => logOfNow(name, this.#options.context.care?.logOf),
      },
    });
    return connection;
  }

  /** Opens a connection, and knows of it until nothing of it is left. */
  #track(
    server: Server,
    { hooks, deps }: { readonly hooks: LinkHooks; readonly deps: TrackedDeps },
  ): Connection {
    const { context, log } = this.#options;
    const { logOf, ...told } = deps;
    const { environment, supervision } = this.#settings;
    const { stopGraceMs, termGraceMs } = supervision;
    const care: ProcessCare = {
      ...(context.care?.registry ? { registry: context.care.registry } : {}),
      grace: { stopGraceMs, termGraceMs },
      ...(logOf ? { logOf } : {}),
    };
    const connection = connectionModule().Connection.open(server, {
      hooks,
      deps: {
        ...told,
        context: { ...context, environment, care },
        log,
        onEnd: () => this.#open.delete(connection),
      },
    });
    this.#open.add(connection);
    return connection;
  }
}

type TrackedDeps = Pick<ConnectionDeps, "recall" | "onVerdict" | "onTools"> & Pick<ProcessCare, "logOf">;

/** Each line goes to the log of the name the server has by then. */
function logOfNow(name: () => string, logOf: ProcessCare["logOf"]): (line: string) => void {
  let last: string | undefined;
  let write: ((line: string) => void) | undefined;
  return (line) => {
    if (last !== name()) {
      last = name();
      write = logOf?.(last);
    }
    write?.(line);
  };
}

/**
 * Reads the MCP client with the first attempt: the proxy listens by then. Not by `import()`, since a keeper
 * moves in one turn, and Bun holds the event loop for as long with either.
 */
function connectionModule(): { readonly Connection: typeof Connection } {
  return require("./connection.ts") as { readonly Connection: typeof Connection };
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
