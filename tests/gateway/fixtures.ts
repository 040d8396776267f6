/**
 * An upstream with tools of the test's choice, and the gateway or a whole proxy over such upstreams.
 *
 * Owns the wiring that `proxy.ts` does, once more by hand, so that a test reaches each feature; all of it runs in the
 * process of the test and ends with `await using`. The upstream knows no SDK: what arrives there is what was sent.
 */
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { EventStreams } from "../../src/api/event_streams.ts";
import { Catalog } from "../../src/catalog/catalog.ts";
import { Intake } from "../../src/catalog/intake.ts";
import { SearchIndex } from "../../src/catalog/search.ts";
import { EventBus } from "../../src/core/events.ts";
import type { ProxyEvent } from "../../src/core/events.ts";
import type { JsonObject, Server, ToolDefinition } from "../../src/core/model.ts";
import type { Settings } from "../../src/core/settings.ts";
import { McpEndpoint } from "../../src/front/endpoint.ts";
import { Access } from "../../src/gateway/access.ts";
import { effectsAtStart } from "../../src/gateway/approval.ts";
import { Batches } from "../../src/gateway/batches.ts";
import { Caller } from "../../src/gateway/caller.ts";
import type { CallReport } from "../../src/gateway/caller.ts";
import { Configuration } from "../../src/gateway/configuration.ts";
import { Doctor } from "../../src/gateway/doctor.ts";
import { Finder } from "../../src/gateway/finder.ts";
import { MetaTools } from "../../src/gateway/meta_tools.ts";
import { Recorder } from "../../src/gateway/recorder.ts";
import type { MetaCallReport } from "../../src/gateway/recorder.ts";
import { Registries } from "../../src/gateway/registries.ts";
import { ResultCache } from "../../src/gateway/result_cache.ts";
import { Sessions } from "../../src/gateway/sessions.ts";
import { Steering } from "../../src/gateway/steering.ts";
import { makeToolsets } from "../../src/gateway/toolsets.ts";
import { createApp } from "../../src/http.ts";
import type { HttpDeps } from "../../src/http.ts";
import { createLog } from "../../src/lib/log.ts";
import { Proxy } from "../../src/proxy.ts";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import { definitionHash } from "../../src/state/definition.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { Metrics } from "../../src/state/metrics.ts";
import { Store } from "../../src/state/store.ts";
import { Upstreams } from "../../src/upstream/upstreams.ts";
import { makeServer, makeSettings } from "../fixtures/upstreams.ts";
import type { SettingsParts } from "../fixtures/upstreams.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";

/** The key of every gateway and proxy made here. */
export const API_KEY = "test-key-0123456789-0123456789-xyz";
/** What agents are offered, in this order. */
export const AGENT_TOOLS = [
  "retrieve_tools",
  "describe_tool",
  "call_tool_read",
  "call_tool_write",
  "call_tool_destructive",
  "read_cache",
];

/** A request an upstream got. */
export interface UpstreamRequest {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: JsonObject;
}

/** Options of {@link serveTools}. */
export interface ToolUpstreamOptions {
  /** @default answers with the name and the arguments as JSON text */
  readonly call?: (name: string, args: JsonObject, request: UpstreamRequest) => unknown;
  /** The handshake is answered when this settles. */
  readonly held?: Promise<unknown>;
}

/** An upstream over HTTP in this process. */
export interface ToolUpstream extends AsyncDisposable {
  readonly url: string;
  readonly requests: readonly UpstreamRequest[];
  /** The arguments of each call that arrived. */
  readonly calls: () => readonly JsonObject[];
  readonly count: (method: string) => number;
  /** A definition of a server at this upstream. */
  readonly server: (parts?: Partial<Server>) => Server;
}

/** Serves tools; `call` may return a result, a promise of one, or a `Response`. */
export function serveTools(
  tools: readonly ToolDefinition[],
  options: ToolUpstreamOptions = {},
): ToolUpstream {
  const requests: UpstreamRequest[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    fetch: async (request) => {
      if (request.method !== "POST") return new Response(null, { status: 405 });
      const message = (await request.json()) as UpstreamRequest;
      requests.push(message);
      if (message.id === undefined) return new Response(null, { status: 202 });
      const result = await resultOf(message, { tools, ...options });
      if (result instanceof Response) return result;
      if (result === undefined) {
        return Response.json({
          jsonrpc: "2.0",
          id: message.id,
          error: { code: -32601, message: "Method not found" },
        });
      }
      return Response.json({ jsonrpc: "2.0", id: message.id, result });
    },
  });
  const url = `http://127.0.0.1:${server.port}/mcp`;
  const of = (method: string): UpstreamRequest[] => requests.filter((request) => request.method === method);
  return {
    url,
    requests,
    calls: () => of("tools/call").map(({ params }) => (params?.["arguments"] ?? {}) as JsonObject),
    count: (method) => of(method).length,
    server: (parts = {}) => makeServer({ name: "s", url, ...parts }),
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

async function resultOf(
  message: UpstreamRequest,
  options: ToolUpstreamOptions & { readonly tools: readonly ToolDefinition[] },
): Promise<unknown> {
  const { method, params } = message;
  if (method === "initialize") {
    await options.held;
    const serverInfo = { name: "upstream of a test", version: "1" };
    return { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo };
  }
  if (method === "ping") return {};
  if (method === "tools/list") return { tools: options.tools };
  if (method !== "tools/call") return undefined;
  const name = params?.["name"] as string;
  const args = (params?.["arguments"] ?? {}) as JsonObject;
  const result: unknown = await options.call?.(name, args, message);
  return result ?? { content: [{ type: "text", text: JSON.stringify({ name, args }) }] };
}

/** The features of a gateway, wired; nothing is connected until `upstreams.start()` or a call. */
export type Gateway = Awaited<ReturnType<typeof openGateway>>;

/** Options of {@link openGateway}. */
interface GatewayOptions {
  readonly settings?: SettingsParts;
  /** What was learned of tools before this start. */
  readonly known?: Readonly<Record<string, readonly ToolDefinition[]>>;
  /** The configuration file, from which servers and settings are then; approvals are asked for as in a proxy. */
  readonly file?: string;
}

/** Writes down tools as an earlier run would have. */
function remember(store: Store, known: NonNullable<GatewayOptions["known"]>): void {
  for (const [server, tools] of Object.entries(known)) {
    const rows = tools.map((tool) => ({
      server,
      name: tool.name,
      definition: JSON.stringify(tool),
      fingerprint: tool.name,
    }));
    store.rememberServer(server, { everConnected: true });
    store.saveTools(server, rows);
  }
  store.flush();
}

/** Makes a gateway over a store of its own. */
export async function openGateway(given: readonly Server[], options: GatewayOptions = {}) {
  const folder = tempDir();
  const lines: string[] = [];
  const log = createLog({ level: "debug", write: (line) => lines.push(line) });
  const path = join(folder.path, "mcp_config.json");
  const loaded =
    options.file === undefined
      ? loadedOf({
          path,
          settings: makeSettings({ dataDir: folder.path, ...options.settings }),
          servers: given,
        })
      : fileOf(options.file, path);
  const { settings, servers } = loaded.config;
  const store = Store.open({ dataDir: folder.path, log });
  const commit = ConfigCommit.open({ path, store, dataDir: folder.path, log });
  if (options.file !== undefined) commit.adopt(loaded.text, effectsAtStart(servers, store));
  const catalog = new Catalog();
  const index = new SearchIndex();
  const intake = new Intake({ catalog, index, store, log });
  remember(store, options.known ?? {});
  await intake.restore(new Set(servers.map(({ name }) => name)));
  const bus = new EventBus();
  const events: ProxyEvent[] = [];
  bus.subscribe((event) => {
    events.push(event);
    if (event.server === undefined) return;
    if (event.type === "server_removed") intake.forget(event.server);
    if (event.type === "server_renamed") intake.rename(new Map([[event.data.from, event.server]]));
    if (event.type !== "server_state_changed") return;
    if (event.data.after.connection === "ready") catalog.markFresh(event.server);
    else catalog.markStale(event.server);
  });
  const upstreams = new Upstreams({
    servers,
    settings,
    store,
    bus,
    context: { env: process.env, environment: settings.environment },
    log,
    onTools: (server, definitions) => intake.take(server, definitions),
    ...(options.file === undefined
      ? {}
      : { mayStart: (server) => store.findServer(server.name)?.approvedHash === definitionHash(server) }),
  });
  const readAgain = async (text: string) => LoadedConfig.parse(text, loaded.options);
  const configuration = new Configuration({ loaded, commit, store, upstreams, bus, log, parse: readAgain });
  const batches = new Batches({ configuration, upstreams, store, bus });
  const current = () => configuration.settings;
  const finder = new Finder({
    catalog,
    index,
    upstreams,
    settings: current,
    groups: () => configuration.groups,
  });
  const cache = new ResultCache({ limitChars: () => current().toolResponseLimit });
  store.activity.apply(settings.activity);
  const { activity } = store;
  const metrics = new Metrics();
  const sessions = new Sessions();
  const redact = (server: string, text: string) => upstreams.find(server)?.link?.redact(text) ?? text;
  const recorder = new Recorder({ activity, redact });
  bus.subscribe((event) => metrics.countEvent(event));
  bus.subscribe((event) => recorder.noteEvent(event));
  const onCalls = (calls: readonly CallReport[]) => {
    metrics.countCalls(calls);
    recorder.noteCalls(calls);
  };
  const onCall = (call: MetaCallReport) => recorder.noteMetaCall(call);
  const caller = new Caller({ finder, upstreams, settings: current, cache, onCalls });
  const metaTools = new MetaTools({ finder, caller, cache, settings: current, onCall });
  const steering = new Steering({ configuration, batches, upstreams, catalog });
  const registries = new Registries({ settings: current });
  const { directTools, toolsets } = makeToolsets({
    catalog,
    upstreams,
    configuration,
    finder,
    caller,
    metaTools,
    steering,
    registries,
    recorder,
    log,
    onCall,
  });
  const mcp = new McpEndpoint({ toolsets, bus, log, sessions });
  const streams = new EventStreams({ bus, groups: () => configuration.groups });
  const parts = {
    activity,
    tokens: store.tokens,
    metrics,
    sessions,
    recorder,
    children: { size: 0 },
    streams,
    settings,
    store,
    catalog,
    index,
    intake,
    upstreams,
    finder,
    cache,
    caller,
    metaTools,
    steering,
    registries,
    directTools,
    toolsets,
    doctor: new Doctor({ upstreams, catalog, index, configuration, store, env: process.env }),
    mcp,
    bus,
    events,
    /** Of the configuration file. */
    path,
    commit,
    log,
    lines,
    configuration,
    batches,
    history: commit.history,
  };
  return {
    ...parts,
    /** All routes over this gateway, reached by `app.request()`; `instead` replaces what they work with. */
    app: (instead: Partial<HttpDeps> = {}) =>
      createApp({
        ...parts,
        settings: current,
        access: new Access({ settings, apiKey: API_KEY, tokens: store.tokens }),
        isReady: () => intake.isRestored,
        configPath: "/etc/mcp_config.json",
        listenAddress: () => "127.0.0.1:8080",
        socketPath: () => "/tmp/mcpproxy.sock",
        sessionCount: () => mcp.sessionCount,
        startedAt: Date.now(),
        ...instead,
      }),
    [Symbol.asyncDispose]: async () => {
      await configuration.close();
      await streams.close();
      await mcp.close();
      await upstreams.close();
      await commit.close();
      await store.close();
      folder[Symbol.dispose]();
    },
  };
}

/** Starts the upstreams of a gateway and waits until each had its first attempt. */
export async function settle(gateway: Gateway): Promise<void> {
  gateway.upstreams.start();
  await waitFor("every server had its first attempt", () => gateway.upstreams.isSettled);
}

/** What a meta tool answered, its JSON read. */
export interface MetaAnswer {
  readonly isError: boolean;
  readonly text: string;
  /** Undefined when the text is no JSON. */
  readonly json: Record<string, unknown>;
  readonly result: JsonObject;
}

/** Calls a meta tool and reads its answer. */
export async function ask(gateway: Gateway, name: string, args: unknown): Promise<MetaAnswer> {
  const result = await gateway.metaTools.call(name, args as JsonObject);
  const [block] = result["content"] as readonly { readonly text?: string }[];
  const text = block?.text ?? "";
  return { isError: result["isError"] === true, text, json: parse(text), result };
}

function parse(text: string): Record<string, unknown> {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

/** A configuration that stands in no file: the file that is written, and known, is an empty one. */
function loadedOf(parts: {
  readonly path: string;
  readonly settings: Settings;
  readonly servers: readonly Server[];
}): LoadedConfig {
  const text = "{}\n";
  writeFileSync(parts.path, text, { mode: 0o600 });
  const faults = parts.servers.flatMap((server) => server.faults);
  return new LoadedConfig(text, {
    config: { ...parts, faults, findings: [] },
    options: { path: parts.path },
  });
}

/** A configuration that stands in its file, with its data beside it. */
function fileOf(text: string, path: string): LoadedConfig {
  writeFileSync(path, text, { mode: 0o600 });
  return LoadedConfig.parse(text, { path, dataDir: dirname(path) });
}

/** A whole proxy in this process. */
export interface OpenProxy extends AsyncDisposable {
  readonly proxy: Proxy;
  readonly url: string;
  readonly dataDir: string;
  readonly lines: string[];
  /** Asks the API with the key. */
  readonly get: (
    path: string,
  ) => Promise<{ readonly status: number; readonly text: string; readonly data: unknown }>;
}

/** Opens a proxy on a free port and waits until every server had its first attempt. */
export async function openProxy(
  servers: readonly Server[],
  settings: SettingsParts = {},
): Promise<OpenProxy> {
  const folder = tempDir();
  const lines: string[] = [];
  const log = createLog({ level: "debug", write: (line) => lines.push(line) });
  const loaded = loadedOf({
    path: join(folder.path, "mcp_config.json"),
    settings: makeSettings({ dataDir: folder.path, apiKey: API_KEY, ...settings }),
    servers,
  });
  const proxy = await Proxy.open({ loaded, env: process.env, log });
  const get: OpenProxy["get"] = async (path) => {
    const response = await fetch(`${proxy.url}${path}`, { headers: { "x-api-key": API_KEY } });
    const text = await response.text();
    return { status: response.status, text, data: parse(text)["data"] };
  };
  await waitFor(
    "every server had its first attempt",
    async () => (await get("/startupz")).status === 200,
    15_000,
  );
  return {
    proxy,
    url: proxy.url,
    dataDir: folder.path,
    lines,
    get,
    [Symbol.asyncDispose]: async () => {
      await proxy.close();
      folder[Symbol.dispose]();
    },
  };
}
