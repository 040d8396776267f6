/**
 * The composition root: makes each feature once, and opens and closes them in order.
 *
 * Owns who is connected to whom. Invariants: known tools are searchable before the first upstream is
 * connected; stopping answers what is in flight, then ends every upstream, then lets go of the data dir.
 * A container that wires by name was rejected: this file is the picture.
 */
import { Catalog } from "./catalog/catalog.ts";
import { Intake } from "./catalog/intake.ts";
import { SearchIndex } from "./catalog/search.ts";
import { messageOf, ProxyError } from "./core/errors.ts";
import { EventBus } from "./core/events.ts";
import type { ProxyEvent } from "./core/events.ts";
import type { Config } from "./core/settings.ts";
import { VERSION } from "./core/version.ts";
import { McpEndpoint } from "./front/endpoint.ts";
import { createMcpServer } from "./front/mcp.ts";
import { Access } from "./gateway/access.ts";
import { Caller } from "./gateway/caller.ts";
import { Finder } from "./gateway/finder.ts";
import { MetaTools } from "./gateway/meta_tools.ts";
import { ResultCache } from "./gateway/result_cache.ts";
import { createApp, listen } from "./http.ts";
import type { Listener } from "./http.ts";
import { Guard } from "./lib/guard.ts";
import type { Log } from "./lib/log.ts";
import { openApiKey } from "./state/api_key.ts";
import { Children } from "./state/children.ts";
import { removeDaemonNote, writeDaemonNote } from "./state/daemon.ts";
import type { Environment } from "./state/secrets.ts";
import { Store } from "./state/store.ts";
import { ServerLogs } from "./upstream/server_log.ts";
import type { ProcessCare } from "./upstream/transport.ts";
import { Upstreams } from "./upstream/upstreams.ts";

/** How long calls in flight may take to end when the proxy stops. */
const DRAIN_MS = 5_000;

/** Options of {@link Proxy.open}. */
export interface ProxyOptions {
  readonly config: Config;
  readonly env: Environment;
  readonly log: Log;
  /** Listen on any free port when the configured one is taken. @default false */
  readonly takesAnyPort?: boolean;
}

/** A running proxy. */
export class Proxy implements AsyncDisposable {
  readonly listener: Listener;
  readonly apiKey: string;
  readonly #parts: ReturnType<typeof assemble>;
  readonly #options: ProxyOptions;
  #closing: Promise<void> | undefined;

  private constructor(options: ProxyOptions, parts: ReturnType<typeof assemble>, opened: Opened) {
    this.#options = options;
    this.#parts = parts;
    this.listener = opened.listener;
    this.apiKey = opened.apiKey;
  }

  /**
   * Opens the data dir, listens, restores what is known and begins to connect.
   *
   * @throws {ProxyError} `DATA_DIR_IN_USE`, `STORE_CORRUPT`, `LISTEN_FAILED`, `CONFIG_INVALID`.
   */
  static async open(options: ProxyOptions): Promise<Proxy> {
    const { config, env, log } = options;
    const startedAt = Date.now();
    const store = Store.open({ dataDir: config.settings.dataDir, log });
    const parts = assemble(options, store);
    try {
      const apiKey = openApiKey(config.settings, env);
      const listener = startListening(options, { parts, apiKey, startedAt });
      const proxy = new Proxy(options, parts, { listener, apiKey });
      await proxy.#begin(startedAt);
      return proxy;
    } catch (error) {
      await parts.upstreams.close();
      await parts.mcp.close();
      await parts.children.close();
      await parts.serverLogs.close();
      await store.close();
      throw error;
    }
  }

  /** `http://host:port`. */
  get url(): string {
    return urlOf(this.listener);
  }

  /** Makes an MCP server on top of this proxy, for one connection. */
  createMcpServer(): ReturnType<typeof createMcpServer> {
    return createMcpServer(this.#parts.metaTools);
  }

  /** Answers what is in flight, then ends everything. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #begin(startedAt: number): Promise<void> {
    const parts = this.#parts;
    const { config, log } = this.#options;
    const { dataDir } = config.settings;
    writeDaemonNote(dataDir, {
      pid: process.pid,
      url: this.url,
      version: VERSION,
      config: config.path,
      startedAt: new Date(startedAt).toISOString(),
    });
    log.info("Listening", { url: this.url, data_dir: dataDir, version: VERSION });
    const swept = parts.children.sweep().catch((error: unknown) => {
      log.error("Cannot end what an earlier run left", { cause: messageOf(error) });
    });
    await parts.intake.restore(new Set(config.servers.map((server) => server.name)));
    log.info("Known tools are searchable", { tools: parts.catalog.size, after_ms: Date.now() - startedAt });
    // A server of the earlier run may still hold what its successor needs.
    await swept;
    parts.upstreams.start();
  }

  async #close(): Promise<void> {
    const { caller, mcp, upstreams, children, serverLogs, store } = this.#parts;
    await caller.drain(DRAIN_MS);
    // The results are there; in this turn they are handed to the streams that `close` ends.
    await Bun.sleep(0);
    await mcp.close();
    await this.listener.close();
    await upstreams.close();
    await children.close();
    await serverLogs.close();
    await store.close();
    removeDaemonNote(this.#options.config.settings.dataDir);
  }
}

interface Opened {
  readonly listener: Listener;
  readonly apiKey: string;
}

/** Makes every feature; nothing begins to work. */
function assemble(options: ProxyOptions, store: Store) {
  const { config, env, log } = options;
  const { settings, servers } = config;
  const catalog = new Catalog();
  const index = new SearchIndex();
  const intake = new Intake({ catalog, index, store, log });
  const bus = new EventBus({
    onListenerError: (error) => log.error("A listener failed", { cause: messageOf(error) }),
  });
  bus.subscribe((event) => noteMove(event, { catalog, intake, log }));
  const { children, serverLogs, care } = makeCare(options, store);
  const upstreams = new Upstreams({
    servers,
    settings,
    store,
    bus,
    context: { env, environment: settings.environment, care },
    log,
    onTools: (server, definitions) => intake.take(server, definitions),
  });
  const finder = new Finder({ catalog, index, upstreams, settings });
  const cache = new ResultCache({ limitChars: settings.toolResponseLimit });
  const caller = new Caller({ finder, upstreams, settings, cache });
  const metaTools = new MetaTools({ finder, caller, cache, settings });
  const mcp = new McpEndpoint({ createServer: () => createMcpServer(metaTools), log });
  return { store, children, serverLogs, bus, catalog, intake, upstreams, finder, caller, metaTools, mcp };
}

/** What is done for every process of a server. */
function makeCare({ config: { settings }, log }: ProxyOptions, store: Store) {
  const onLoss = (reason: string): void =>
    log.warn("Children are not guarded against a kill of the proxy", { reason });
  const guard = new Guard({ label: settings.dataDir, onLoss });
  const children = new Children({ store, guard, log });
  const serverLogs = new ServerLogs(settings.logging, log);
  const { stopGraceMs, termGraceMs } = settings.supervision;
  const care: ProcessCare = {
    registry: children,
    grace: { stopGraceMs, termGraceMs },
    logOf: (server) => serverLogs.logOf(server),
  };
  return { children, serverLogs, care };
}

/** What a move of a server means for its tools and the log. */
function noteMove(
  event: ProxyEvent,
  { catalog, intake, log }: { readonly catalog: Catalog; readonly intake: Intake; readonly log: Log },
): void {
  const { server } = event;
  if (event.type === "server_state_changed" && server !== undefined) {
    const { before, after, reason } = event.data;
    log.debug("A server moved", {
      server,
      mode: after.mode,
      from: before.connection,
      to: after.connection,
      reason,
    });
    if (after.connection === "ready") catalog.markFresh(server);
    else catalog.markStale(server);
  } else if (event.type === "server_auto_disabled") {
    log.warn("A server was auto-disabled", { server, reason: event.data.reason });
  } else if (event.type === "server_recovered") {
    log.info("A server is back", { server, mode: event.data.mode });
  } else if (event.type === "server_removed" && server !== undefined) {
    intake.forget(server);
  } else if (event.type === "auto_disable_suspended" || event.type === "proxy_state_changed") {
    log.info(event.type.replaceAll("_", " "), { ...event.data });
  }
}

function startListening(
  options: ProxyOptions,
  made: { readonly parts: ReturnType<typeof assemble>; readonly apiKey: string; readonly startedAt: number },
): Listener {
  const { config, log } = options;
  const { settings } = config;
  let listener: Listener | undefined;
  const app = createApp({
    ...made.parts,
    settings,
    access: new Access({ settings, apiKey: made.apiKey }),
    requireMcpAuth: settings.requireMcpAuth,
    isReady: () => made.parts.intake.isRestored,
    configPath: config.path,
    listenAddress: () => (listener ? authorityOf(listener) : ""),
    sessionCount: () => made.parts.mcp.sessionCount,
    startedAt: made.startedAt,
    log,
  });
  try {
    listener = listen(app, settings.listen);
  } catch (error) {
    if (!options.takesAnyPort || !(error instanceof ProxyError)) throw error;
    log.warn("The configured port is taken: listening on another one", { cause: error.message });
    listener = listen(app, { ...settings.listen, port: 0 });
  }
  return listener;
}

function authorityOf({ hostname, port }: Listener): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

function urlOf(listener: Listener): string {
  return `http://${authorityOf(listener)}`;
}
