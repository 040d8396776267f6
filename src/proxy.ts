/**
 * The composition root: makes each feature once, and opens and closes them in order.
 *
 * Owns who is connected to whom. Invariants: known tools are searchable before the first upstream is
 * connected, and before anything of the MCP SDK is read; stopping answers what is in flight, then ends every
 * upstream, then lets go of the data dir. A container that wires by name was rejected: this file is the
 * picture.
 */
import { join } from "node:path";

import { EventStreams } from "./api/event_streams.ts";
import { Catalog } from "./catalog/catalog.ts";
import { Intake } from "./catalog/intake.ts";
import type { ToolsChange } from "./catalog/intake.ts";
import { SearchIndex } from "./catalog/search.ts";
import { messageOf, ProxyError } from "./core/errors.ts";
import { EventBus } from "./core/events.ts";
import { LogEvents } from "./core/log_events.ts";
import { VERSION } from "./core/version.ts";
import { McpEndpoint } from "./front/endpoint.ts";
import type { SessionNews } from "./front/legacy_sessions.ts";
import { Access } from "./gateway/access.ts";
import { takeFile } from "./gateway/approval.ts";
import { Batches } from "./gateway/batches.ts";
import { Caller } from "./gateway/caller.ts";
import type { CallerDeps, CallReport } from "./gateway/caller.ts";
import { Configuration } from "./gateway/configuration.ts";
import type { Diagnosis } from "./gateway/doctor.ts";
import { Finder } from "./gateway/finder.ts";
import { GrantedGroups } from "./gateway/granted_groups.ts";
import { MetaTools } from "./gateway/meta_tools.ts";
import { MoveNotes } from "./gateway/move_notes.ts";
import { Recorder } from "./gateway/recorder.ts";
import { Registries } from "./gateway/registries.ts";
import type { MetaCallReport } from "./gateway/recorder.ts";
import { ResultCache } from "./gateway/result_cache.ts";
import { Sessions } from "./gateway/sessions.ts";
import { Steering } from "./gateway/steering.ts";
import { makeToolsets } from "./gateway/toolsets.ts";
import { openTraces } from "./gateway/traces.ts";
import type { Traces } from "./gateway/traces.ts";
import { createApp, listen, listenOnSocket } from "./http.ts";
import type { App, Listener, UnixListener } from "./http.ts";
import { Guard } from "./lib/guard.ts";
import type { Settings } from "./core/settings.ts";
import type { Log } from "./lib/log.ts";
import { unlockApiKey } from "./state/api_key.ts";
import { Children } from "./state/children.ts";
import { parseAside } from "./state/config_aside.ts";
import { ConfigCommit } from "./state/config_commit.ts";
import { removeDaemonNote, writeDaemonNote } from "./state/daemon.ts";
import { definitionHash } from "./state/definition.ts";
import { EventIds } from "./state/event_ids.ts";
import { secretLookup, SYSTEM_KEYRING } from "./state/keyring.ts";
import type { Keyring } from "./state/keyring.ts";
import { LoadedConfig } from "./state/loaded_config.ts";
import { Metrics } from "./state/metrics.ts";
import type { Environment } from "./state/secrets.ts";
import { Store } from "./state/store.ts";
import { systemPreparation } from "./upstream/preparation.ts";
import { ServerLogs } from "./upstream/server_log.ts";
import type { ProcessCare } from "./upstream/transport.ts";
import { Upstreams } from "./upstream/upstreams.ts";

/** How long calls in flight may take to end when the proxy stops. */
const DRAIN_MS = 5_000;
/** Whoever polls for readiness is answered in this time; then reading the MCP client holds the event loop. */
const ANSWER_MS = 10;

/** Options of {@link Proxy.open}. */
export interface ProxyOptions {
  readonly loaded: LoadedConfig;
  readonly env: Environment;
  readonly log: Log;
  /** @default that of the system */
  readonly keyring?: Keyring;
  /** Listen on any free port when the configured one is taken. @default false */
  readonly takesAnyPort?: boolean;
}

/** A running proxy. */
export class Proxy implements AsyncDisposable {
  readonly listener: Listener;
  readonly apiKey: string;
  readonly #parts: Parts;
  readonly #opened: AsyncDisposableStack;
  /** The one it was opened with; another in the file holds from the next start. */
  readonly #dataDir: string;
  #closing: Promise<void> | undefined;

  private constructor(parts: Parts, opened: Opened) {
    this.#parts = parts;
    this.#opened = opened.stack;
    this.#dataDir = parts.configuration.settings.dataDir;
    this.listener = opened.listener;
    this.apiKey = opened.apiKey;
  }

  /**
   * Opens the data dir, listens, restores what is known and begins to connect.
   *
   * @throws {ProxyError} `DATA_DIR_IN_USE`, `STORE_CORRUPT`, `LISTEN_FAILED`, `CONFIG_INVALID`, `CONFIG_UNREADABLE`.
   */
  static async open(asked: ProxyOptions): Promise<Proxy> {
    const log = new LogEvents(asked.log);
    const given = { ...asked, log };
    const { env } = asked;
    const { settings } = asked.loaded.config;
    const startedAt = Date.now();
    await using stack = new AsyncDisposableStack();
    const store = stack.use(Store.open({ dataDir: settings.dataDir, log }));
    const commit = stack.use(openCommit(given, store));
    const options = { ...given, loaded: takeFile(given.loaded, { store, commit }) };
    const ids = stack.use(EventIds.open({ dataDir: settings.dataDir, log }));
    const bus = new EventBus({
      ids,
      // Not as an event: the listener that failed would be told of it.
      onListenerError: (error) => asked.log.error("A listener failed", { cause: messageOf(error) }),
    });
    log.publishTo(bus);
    const traces = await openTraces({ settings: settings.tracing, env, log });
    stack.use(traces);
    const parts = assemble(options, { store, commit, bus, traces });
    // In the order they end, the last first: what is in flight is answered before anything else ends.
    for (const part of [parts.serverLogs, parts.children, parts.upstreams]) stack.use(part);
    const apiKey = await unlockApiKey(settings, asked);
    const ways: Ways = {};
    const app = makeApp(options, { parts, apiKey, startedAt, ways });
    const listener = startListening(options, { app, streams: parts.streams });
    ways.listener = listener;
    stack.defer(() => listener.close());
    const socket = await openSocket(options, { app, streams: parts.streams });
    ways.socket = socket;
    stack.defer(() => socket?.close());
    stack.use(parts.metrics);
    stack.use(parts.streams);
    stack.use(parts.mcp);
    stack.defer(() => drain(parts.caller));
    stack.use(parts.configuration);
    const proxy = new Proxy(parts, { listener, apiKey, stack: stack.move() });
    try {
      await proxy.#begin(startedAt, log);
    } catch (error) {
      await proxy.close();
      throw error;
    }
    return proxy;
  }

  /** `http://host:port`. */
  get url(): string {
    return urlOf(this.listener);
  }

  /** Serves one MCP client on this process's own pipe, until it closes its end. */
  serveStdio(): Promise<void> {
    return this.#parts.mcp.serveStdio();
  }

  /** Answers what is in flight, then ends everything. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #begin(startedAt: number, log: Log): Promise<void> {
    const parts = this.#parts;
    const { config } = parts.configuration;
    const dataDir = this.#dataDir;
    writeDaemonNote(dataDir, {
      pid: process.pid,
      url: this.url,
      version: VERSION,
      config: config.path,
      startedAt: new Date(startedAt).toISOString(),
    });
    parts.metrics.start();
    parts.recorder.noteSystem("system_start", { version: VERSION, url: this.url });
    log.info("Listening", { url: this.url, data_dir: dataDir, version: VERSION });
    const swept = parts.children.sweep().catch((error: unknown) => {
      log.error("Cannot end what an earlier run left", { cause: messageOf(error) });
    });
    await parts.intake.restore(new Set(config.servers.map((server) => server.name)));
    log.info("Known tools are searchable", { tools: parts.catalog.size, after_ms: Date.now() - startedAt });
    // A server of the earlier run may still hold what its successor needs.
    await swept;
    await Bun.sleep(ANSWER_MS);
    parts.upstreams.start();
    parts.configuration.start();
    // So that the first client does not wait for it; one that comes earlier does.
    void parts.mcp.load().catch((error: unknown) => {
      log.error("Cannot serve MCP clients", { cause: messageOf(error) });
    });
  }

  async #close(): Promise<void> {
    this.#parts.recorder.noteSystem("system_stop", { version: VERSION });
    await this.#opened.disposeAsync();
    removeDaemonNote(this.#dataDir);
  }
}

interface Opened {
  readonly listener: Listener;
  readonly apiKey: string;
  /** Ends all that was opened. */
  readonly stack: AsyncDisposableStack;
}

type Parts = ReturnType<typeof assemble>;

interface Foundation {
  readonly store: Store;
  readonly commit: ConfigCommit;
}

/** What features tell without knowing of events. */
function newsOn(
  bus: EventBus,
  { recorder, metrics, traces }: Pick<Records, "recorder" | "metrics" | "traces">,
) {
  return {
    ofTools: {
      onChange: (server: string, change: ToolsChange): void =>
        void bus.publish("tools_changed", change, server),
      onIndexed: (lagMs: number): void => metrics.countIndexed(lagMs),
    },
    onCalls: (calls: readonly CallReport[]): void => {
      metrics.countCalls(calls);
      recorder.noteCalls(calls);
      traces?.end(calls);
      for (const { server, tool, variant, durationMs, isError, code } of calls) {
        // Named one by one: a report has arguments too, and those are in no event.
        const how = { ...(variant && { variant }), durationMs, isError, ...(code && { code }) };
        bus.publish("tool_called", { tool, ...how }, server);
      }
    },
    onOwnCall: (call: MetaCallReport): void => {
      metrics.countSearch(call.durationMs);
      recorder.noteMetaCall(call);
    },
    onSession: ({ reason, ...session }: SessionNews): void => {
      if (reason === undefined) bus.publish("session_opened", session);
      else bus.publish("session_closed", { ...session, reason });
    },
  };
}

async function drain(caller: Caller): Promise<void> {
  await caller.drain(DRAIN_MS);
  // The results are there; in this turn they are handed to the streams that are ended next.
  await Bun.sleep(0);
}

/** Ends what a killed run left half done. */
function openCommit({ loaded, log }: ProxyOptions, store: Store): ConfigCommit {
  const { path, settings } = loaded.config;
  return ConfigCommit.open({
    path,
    store,
    dataDir: settings.dataDir,
    log,
    onConflict: (kept) =>
      log.error("Somebody saved the configuration while it was written: that text was kept", {
        path: kept.path,
        hint: "Compare it with the configuration and take over what is missing",
      }),
  });
}

interface Ground extends Foundation {
  readonly bus: EventBus;
  readonly traces: Traces | undefined;
}

/** Makes every feature; nothing begins to work. */
function assemble(options: ProxyOptions, { store, commit, bus, traces }: Ground) {
  const { loaded, env, log, keyring = SYSTEM_KEYRING } = options;
  const { settings, servers } = loaded.config;
  const catalog = new Catalog();
  const index = new SearchIndex();
  const redact = (server: string, text: string): string => upstreams.find(server)?.link?.redact(text) ?? text;
  const records = makeRecords({ store, bus, redact, traces });
  store.activity.apply(settings.activity);
  const news = newsOn(bus, records);
  const intake = new Intake({ catalog, index, store, log, ...news.ofTools });
  const moves = new MoveNotes({ catalog, intake, tokens: store.tokens, log });
  bus.subscribe((event) => moves.note(event));
  const { children, serverLogs, care } = makeCare(options, store);
  const upstreams: Upstreams = new Upstreams({
    servers,
    settings,
    store,
    bus,
    context: { env, environment: settings.environment, care, prepare: systemPreparation(env, keyring) },
    log,
    onTools: (server, definitions) => intake.take(server, definitions),
    mayStart: (server) => store.findServer(server.name)?.approvedHash === definitionHash(server),
  });
  const configuration: Configuration = new Configuration({
    loaded,
    commit,
    store,
    upstreams,
    bus,
    log,
    parse: (text) => readAgain(text, options),
  });
  const { activity, tokens } = store;
  const granted = new GrantedGroups({ groups: () => configuration.settings.groups, tokens });
  bus.subscribe((event) => granted.note(event));
  const hasSecret = secretLookup(env, keyring);
  const below = { store, env, hasSecret, bus, log, catalog, index, upstreams, configuration };
  const made = { children, serverLogs, bus, catalog, index, intake, upstreams, configuration };
  return {
    ...made,
    activity,
    tokens,
    ...records,
    ...makeGateway({ ...below, news, records }),
    history: commit.history,
  };
}

/** Makes what clients and operators speak to. */
function makeGateway(parts: {
  readonly store: Store;
  readonly env: Environment;
  readonly hasSecret: (reference: string) => Promise<boolean>;
  readonly bus: EventBus;
  readonly log: Log;
  readonly catalog: Catalog;
  readonly index: SearchIndex;
  readonly upstreams: Upstreams;
  readonly configuration: Configuration;
  readonly records: Records;
  readonly news: ReturnType<typeof newsOn>;
}) {
  const { store, bus, log, catalog, index, upstreams, configuration, records, news } = parts;
  const { onCalls, onOwnCall: onCall, onSession } = news;
  const settings = (): Settings => configuration.settings;
  const finder = new Finder({ catalog, index, upstreams, settings, groups: () => configuration.groups });
  const cache = new ResultCache({ limitChars: () => settings().toolResponseLimit });
  const caller = new Caller({ finder, upstreams, settings, cache, onCalls, ...beginnerOf(records.traces) });
  const metaTools = new MetaTools({ finder, caller, cache, settings, onCall });
  const batches = new Batches({ configuration, upstreams, store, bus });
  const steering = new Steering({ configuration, batches, upstreams, catalog });
  const streams = new EventStreams({ bus, groups: () => configuration.groups });
  const registries = new Registries({ settings });
  const made = { finder, caller, metaTools, steering, registries };
  const { directTools, toolsets } = makeToolsets({ ...parts, ...made, recorder: records.recorder, onCall });
  const mcp = new McpEndpoint({ toolsets, bus, log, sessions: records.sessions, onSession });
  const { directNameOf, collisions } = directTools;
  const examine = async (): Promise<Diagnosis> => {
    const { Doctor } = await import("./gateway/doctor.ts");
    return new Doctor({ ...parts, collisions }).examine();
  };
  return { ...made, directNameOf, mcp, streams, doctor: { examine } };
}

/** Reads a text as the file was read at the start. */
async function readAgain(text: string, { loaded, log }: ProxyOptions): Promise<LoadedConfig> {
  const onNoWorker = (error: unknown): void =>
    log.warn("A large configuration is read without a thread of its own", { cause: messageOf(error) });
  const config = await parseAside(text, { ...loaded.options, onNoWorker });
  return new LoadedConfig(text, { config, options: loaded.options });
}

type Records = ReturnType<typeof makeRecords>;

/** What is written down and counted of all that happens. */
function makeRecords(parts: {
  readonly store: Store;
  readonly bus: EventBus;
  readonly redact: (server: string, text: string) => string;
  readonly traces: Traces | undefined;
}) {
  const { store, bus, redact, traces } = parts;
  const recorder = new Recorder({ activity: store.activity, redact });
  const metrics = new Metrics();
  bus.subscribe((event) => metrics.countEvent(event));
  bus.subscribe((event) => recorder.noteEvent(event));
  return { recorder, metrics, traces, sessions: new Sessions() };
}

function beginnerOf(traces: Traces | undefined): Pick<CallerDeps, "beginSpan"> {
  return traces === undefined ? {} : { beginSpan: (from) => traces.begin(from) };
}

/** What is done for every process of a server. */
function makeCare({ loaded, log }: ProxyOptions, store: Store) {
  const { settings } = loaded.config;
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

/** Where the proxy is reached, as soon as it is. */
interface Ways {
  listener?: Listener;
  socket?: UnixListener | undefined;
}

function makeApp(
  { loaded, log }: ProxyOptions,
  made: { readonly parts: Parts; readonly apiKey: string; readonly startedAt: number; readonly ways: Ways },
): App {
  const { parts, apiKey, startedAt, ways } = made;
  const { path, settings } = loaded.config;
  const onLimit = (address: string): void => log.warn("Too many wrong keys from one address", { address });
  const access = new Access({ settings, apiKey, tokens: parts.tokens, onLimit });
  parts.bus.subscribe((event) => {
    const isChange = event.type === "config_committed" || event.type === "config_reloaded";
    if (!isChange || event.data.settings.length === 0) return;
    access.apply(parts.configuration.settings);
    parts.activity.apply(parts.configuration.settings.activity);
  });
  return createApp({
    ...parts,
    settings: () => parts.configuration.settings,
    access,
    isReady: () => parts.intake.isRestored,
    configPath: path,
    listenAddress: () => (ways.listener ? authorityOf(ways.listener) : ""),
    socketPath: () => ways.socket?.path ?? "",
    sessionCount: () => parts.mcp.sessionCount,
    startedAt,
    log,
  });
}

interface Served {
  readonly app: App;
  readonly streams: EventStreams;
}

function startListening({ loaded, takesAnyPort, log }: ProxyOptions, { app, streams }: Served): Listener {
  const address = loaded.config.settings.listen;
  try {
    return listen(app, address, streams);
  } catch (error) {
    if (!takesAnyPort || !(error instanceof ProxyError)) throw error;
    log.warn("The configured port is taken: listening on another one", { cause: error.message });
    return listen(app, { ...address, port: 0 }, streams);
  }
}

/** The proxy works without it, so that whatever forbids it is told and no more. */
async function openSocket(
  { loaded, log }: ProxyOptions,
  { app, streams }: Served,
): Promise<UnixListener | undefined> {
  const { dataDir, enableSocket } = loaded.config.settings;
  if (!enableSocket) return undefined;
  const path = join(dataDir, "mcpproxy.sock");
  try {
    return await listenOnSocket(app, path, streams);
  } catch (error) {
    log.warn("There is no Unix socket: programs of this machine need the key", {
      path,
      cause: messageOf(error),
    });
    return undefined;
  }
}

function authorityOf({ hostname, port }: Listener): string {
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

function urlOf(listener: Listener): string {
  return `http://${authorityOf(listener)}`;
}
