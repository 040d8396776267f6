/**
 * All upstreams: which are connected, when, and who may wait for one.
 *
 * Owns the connections and the places in which attempts start. Invariants: starting never waits for an
 * upstream; an attempt keeps its place for its patience at most, so a server that hangs delays the next
 * in line by that and nothing else; a server with faults, or one that is disabled, quarantined or
 * auto-disabled, is never started. One place per server for the whole attempt was rejected: ten hanging
 * servers would hold up all others for minutes.
 */
import { messageOf, ProxyError } from "../core/errors.ts";
import type { Category, Era, Server } from "../core/model.ts";
import { categoryOf } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { backoffMs } from "../lib/backoff.ts";
import type { Log } from "../lib/log.ts";
import { nearestWord } from "../lib/nearest.ts";
import { Semaphore } from "../lib/semaphore.ts";
import type { ServerMemory, Store } from "../state/store.ts";
import { Connection } from "./connection.ts";
import { isRetriable } from "./failure.ts";
import { orAborted } from "./handshake.ts";
import type { Verdict } from "./handshake.ts";
import type { Environment } from "../state/secrets.ts";

/** An HTTP handshake costs no process: as many more may be under way. */
const HTTP_PLACES_FACTOR = 8;
/** How long an attempt keeps its place. */
const PATIENCE_MS = { process: 2_000, url: 250 } as const;
/** A server that never connected may be downloading itself. */
const FIRST_RUN_MS = 180_000;
const FIRST_RUN_FACTOR = 3;

/** Options of {@link Upstreams}. */
export interface UpstreamsOptions {
  readonly servers: readonly Server[];
  readonly settings: Settings;
  readonly store: Store;
  readonly env: Environment;
  readonly log: Log;
  /** A server's whole list of tools, unchecked, each time it was read. */
  readonly onTools: (server: string, definitions: readonly unknown[]) => void;
  /** Called on every move of every connection. */
  readonly onState: (connection: Connection) => void;
}

/** Options of {@link Upstreams.ready}. */
export interface ReadyOptions {
  /** How long the caller can wait. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** The set of connections. */
export class Upstreams implements AsyncDisposable {
  readonly #options: UpstreamsOptions;
  readonly #connections = new Map<string, Connection>();
  readonly #failures = new Map<string, number>();
  readonly #retries = new Map<string, Timer>();
  readonly #processes: Semaphore;
  readonly #urls: Semaphore;
  readonly #stop = new AbortController();
  #unsettled = 0;

  constructor(options: UpstreamsOptions) {
    const { servers, settings } = options;
    this.#options = options;
    this.#processes = new Semaphore(settings.maxConcurrentConnections);
    this.#urls = new Semaphore(settings.maxConcurrentConnections * HTTP_PLACES_FACTOR);
    for (const server of servers) this.#connections.set(server.name, this.#make(server));
  }

  /** Begins to connect the active servers, in the background; those that worked before, fastest first. */
  start(): void {
    const wanted = this.list().filter((connection) => isStarted(connection.server));
    this.#unsettled = wanted.length;
    for (const connection of wanted.toSorted((a, b) => this.#rank(a) - this.#rank(b))) {
      void this.#visit(connection)
        .catch((error) => this.#report(connection, error))
        .finally(() => {
          this.#unsettled -= 1;
        });
    }
  }

  /** Whether every server that is started with the proxy has had its first attempt. */
  get isSettled(): boolean {
    return this.#unsettled === 0;
  }

  /** All connections, in the order of the file. */
  list(): Connection[] {
    return [...this.#connections.values()];
  }

  /** The connection of a server; undefined when no server has this name. */
  find(name: string): Connection | undefined {
    return this.#connections.get(name);
  }

  /** The heading a server is listed under. */
  category(connection: Connection): Category {
    const { server, state } = connection;
    return categoryOf(server.startupMode, state, server.faults.length > 0);
  }

  /**
   * Gives the connection of a server that can take a call, and connects it when that may help.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`, `SERVER_FAULTY`, `SERVER_OFF`, `UPSTREAM_AUTH`,
   * `UPSTREAM_FAILED`, `SERVER_NOT_READY`, `CALL_CANCELLED`.
   */
  async ready(name: string, options: ReadyOptions): Promise<Connection> {
    const connection = this.callable(name);
    if (isReady(connection)) return connection;
    if (connection.attempt === undefined && connection.failure && !isRetriable(connection.failure)) {
      throw notConnected(connection);
    }
    const signals = [AbortSignal.timeout(options.timeoutMs), ...(options.signal ? [options.signal] : [])];
    try {
      await orAborted(this.#connectNow(connection), AbortSignal.any(signals));
    } catch (error) {
      if (options.signal?.aborted) {
        throw new ProxyError("CALL_CANCELLED", `Cannot call '${name}': the caller gave up`, { cause: error });
      }
      throw new ProxyError("SERVER_NOT_READY", `Cannot call '${name}': it is still connecting`, {
        hint: "Try again in a few seconds, or look at 'mcpproxy status'",
      });
    }
    if (!isReady(connection)) throw notConnected(connection);
    return connection;
  }

  /** Ends everything; resolves when no process of any upstream is left. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new Error("the proxy is stopping"));
    for (const timer of this.#retries.values()) clearTimeout(timer);
    this.#retries.clear();
    await Promise.all(this.list().map((connection) => connection.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /**
   * Gives the connection of a server that may be called, connected or not.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`, `SERVER_FAULTY`, `SERVER_OFF`.
   */
  callable(name: string): Connection {
    const connection = this.#connections.get(name);
    if (connection === undefined) {
      const similar = nearestWord(name, this.#connections.keys());
      throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${name}'`, {
        hint:
          similar === undefined ? "List the servers with 'mcpproxy status'" : `Did you mean '${similar}'?`,
      });
    }
    const { faults, startupMode } = connection.server;
    const [fault] = faults;
    if (fault) {
      throw new ProxyError("SERVER_FAULTY", `Cannot call '${name}': ${fault.message}`, {
        hint: fault.advice,
      });
    }
    if (startupMode !== "active" && startupMode !== "lazy_loading") {
      throw new ProxyError("SERVER_OFF", `Cannot call '${name}': it is ${startupMode.replace("_", "-")}`, {
        hint: `Set 'startup_mode' of '${name}' to 'active' in the configuration file`,
      });
    }
    return connection;
  }

  /** The worked-before come first, the fastest of them in front. */
  #rank(connection: Connection): number {
    const memory = this.#options.store.findServer(connection.server.name);
    return memory?.everConnected ? (memory.connectMs ?? 0) : Number.MAX_SAFE_INTEGER;
  }

  /** An attempt in its turn: waits for a place, gives it back after the attempt or its patience. */
  async #visit(connection: Connection): Promise<void> {
    const isProcess = connection.server.command !== undefined;
    const places = isProcess ? this.#processes : this.#urls;
    const release = await places.acquire(this.#stop.signal);
    const patience = setTimeout(release, isProcess ? PATIENCE_MS.process : PATIENCE_MS.url);
    try {
      await this.#connectNow(connection);
    } finally {
      clearTimeout(patience);
      release();
    }
  }

  async #connectNow(connection: Connection): Promise<void> {
    const { name } = connection.server;
    clearTimeout(this.#retries.get(name));
    this.#retries.delete(name);
    await connection.connect({ deadlineMs: this.#deadlineMs(connection.server) });
    if (connection.state === "ready") this.#failures.delete(name);
  }

  #deadlineMs(server: Server): number {
    const timeoutMs = server.connectionTimeoutMs ?? this.#options.settings.connectionTimeoutMs;
    if (this.#options.store.findServer(server.name)?.everConnected) return timeoutMs;
    return Math.max(FIRST_RUN_FACTOR * timeoutMs, FIRST_RUN_MS);
  }

  #retryLater(connection: Connection): void {
    const { name } = connection.server;
    const { failure } = connection;
    if (this.#stop.signal.aborted || failure === undefined || !isRetriable(failure)) return;
    if (!isStarted(connection.server)) return;
    const failures = (this.#failures.get(name) ?? 0) + 1;
    this.#failures.set(name, failures);
    clearTimeout(this.#retries.get(name));
    const retry = (): void => {
      this.#retries.delete(name);
      void this.#visit(connection).catch((error) => this.#report(connection, error));
    };
    this.#retries.set(name, setTimeout(retry, backoffMs(failures)));
  }

  #report(connection: Connection, error: unknown): void {
    if (this.#stop.signal.aborted) return;
    this.#options.log.error("Cannot connect a server: an internal error occurred", {
      server: connection.server.name,
      cause: messageOf(error),
    });
  }

  #make(server: Server): Connection {
    const { store, settings, env, log, onTools, onState } = this.#options;
    const { name } = server;
    let startedAt = 0;
    return new Connection(server, {
      context: { env, environment: settings.environment },
      log,
      recall: () => verdictOf(store.findServer(name)),
      onVerdict: (verdict) => store.rememberServer(name, verdict),
      onTools: (definitions) => {
        store.rememberServer(name, { toolCount: definitions.length });
        onTools(name, definitions);
      },
      onState: (connection) => {
        if (connection.state === "connecting") startedAt = performance.now();
        if (connection.state === "error") this.#retryLater(connection);
        if (connection.state === "ready") {
          const connectMs = Math.round(performance.now() - startedAt);
          store.rememberServer(name, { everConnected: true, connectedAt: Date.now(), connectMs });
        }
        onState(connection);
      },
    });
  }
}

function isReady(connection: Connection): boolean {
  return connection.state === "ready";
}

/** Whether the server is connected with the proxy's start and kept connected. */
function isStarted(server: Server): boolean {
  return server.startupMode === "active" && server.faults.length === 0;
}

function verdictOf(memory: ServerMemory | undefined): Verdict | undefined {
  const era: Era | undefined = memory?.era;
  if (memory === undefined || era === undefined) return undefined;
  const { discovery, transport } = memory;
  return { era, ...(discovery ? { discovery } : {}), ...(transport ? { transport } : {}) };
}

function notConnected(connection: Connection): ProxyError {
  const { server, failure } = connection;
  const code = failure?.class === "auth" ? "UPSTREAM_AUTH" : "UPSTREAM_FAILED";
  return new ProxyError(code, failure?.message ?? `Cannot connect '${server.name}': it is not running`, {
    hint: failure?.hint ?? "Try again",
    data: { server: server.name, class: failure?.class, stderr: failure?.stderr ?? [] },
  });
}
