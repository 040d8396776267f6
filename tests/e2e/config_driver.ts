/**
 * The configuration as a process of its own, for tests that kill it and measure what it writes.
 *
 * Owns the wiring `proxy.ts` does for store, commit, upstreams and configuration, without anything that connects, and a small
 * protocol on stdin and stdout, one JSON line each way: what was found, then an answer to each request. Run:
 * `bun tests/e2e/config_driver.ts CONFIG DATA_DIR`; it ends with its stdin. The whole proxy was rejected: it starts in thrice the time.
 */
import { EventBus } from "../../src/core/events.ts";
import type { StartupMode } from "../../src/core/model.ts";
import { effectsAtStart } from "../../src/gateway/approval.ts";
import { Batches } from "../../src/gateway/batches.ts";
import { Configuration } from "../../src/gateway/configuration.ts";
import type { ChangeRequest } from "../../src/gateway/configuration.ts";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import { definitionHash } from "../../src/state/definition.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { Store } from "../../src/state/store.ts";
import { Upstreams } from "../../src/upstream/upstreams.ts";

/** What is asked of the driver. */
export type DriverAsk =
  | ({ readonly ask: "change" } & ChangeRequest)
  | { readonly ask: "batch"; readonly action: "enable" | "disable"; readonly names: readonly string[] }
  | { readonly ask: "reload" };

/** What is known of a server of the file: in force, and in the database. */
export interface ServerState {
  readonly name: string;
  readonly mode: StartupMode | undefined;
  /** Whether the database has the definition of the file, as seen, and as approved. */
  readonly isDefined: boolean;
  readonly isApproved: boolean;
  /** Quarantined by the database. */
  readonly isHeld: boolean;
}

/** What the driver answers, and says at its start. */
export interface DriverReply {
  readonly ok: boolean;
  readonly code?: string;
  readonly message?: string;
  readonly refused?: readonly (readonly [at: number, code: string])[];
  readonly revision: number;
  /** Of the text in force. */
  readonly hash: string;
  readonly isDegraded: boolean;
  readonly servers: readonly ServerState[];
  /** States of the journal's rows, newest first, with the hash of the newest finished one. */
  readonly journal: { readonly ids: readonly number[]; readonly pending: number; readonly last: string };
  /** Events since the last answer, by type. */
  readonly events: Readonly<Record<string, number>>;
}

/** Opens a configuration as the proxy does; nothing is connected, and no edit is followed unless `reload` is called. */
export async function openConfiguration(path: string, dataDir: string) {
  await using stack = new AsyncDisposableStack();
  const log = SILENT_LOG;
  const store = stack.use(Store.open({ dataDir, log }));
  const loaded = await LoadedConfig.read({ path, dataDir, env: {}, cwd: dataDir, home: dataDir });
  const commit = stack.use(ConfigCommit.open({ path, store, dataDir, log }));
  const { settings, servers } = loaded.config;
  if (commit.text === loaded.text) commit.adopt(loaded.text, effectsAtStart(servers, store));
  const bus = new EventBus();
  const upstreams = stack.use(
    new Upstreams({
      servers,
      settings,
      store,
      bus,
      context: { env: {}, environment: settings.environment },
      log,
      onTools: () => {},
      mayStart: (server) => store.findServer(server.name)?.approvedHash === definitionHash(server),
    }),
  );
  const parse = (text: string): Promise<LoadedConfig> =>
    Promise.resolve().then(() => LoadedConfig.parse(text, loaded.options));
  const configuration = stack.use(new Configuration({ loaded, commit, store, upstreams, bus, log, parse }));
  const batches = new Batches({ configuration, upstreams, store, bus });
  const opened = stack.move();
  return {
    configuration,
    batches,
    upstreams,
    store,
    commit,
    bus,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

type Opened = Awaited<ReturnType<typeof openConfiguration>>;

async function drive(path: string, dataDir: string): Promise<void> {
  await using opened = await openConfiguration(path, dataDir);
  let events: Record<string, number> = {};
  opened.bus.subscribe(({ type }) => {
    events[type] = (events[type] ?? 0) + 1;
  });
  const answer = (given: Pick<DriverReply, "ok"> & Partial<DriverReply>): void => {
    const reply: DriverReply = { ...stateOf(opened), events, ...given };
    events = {};
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  };
  answer({ ok: true });
  for await (const line of console) {
    if (line === "") continue;
    try {
      answer({ ok: true, ...(await obey(opened, JSON.parse(line) as DriverAsk)) });
    } catch (error) {
      const { code = "", message } = error as Error & { readonly code?: string };
      answer({ ok: false, code, message });
    }
  }
}

async function obey(opened: Opened, ask: DriverAsk): Promise<Partial<DriverReply>> {
  const { configuration, batches } = opened;
  if (ask.ask === "reload") {
    await configuration.reload();
    return {};
  }
  if (ask.ask === "batch") {
    const { action, names } = ask;
    const { failed_servers: failed } = await batches.run({ action, selection: { names } });
    return { refused: failed.map(({ code }, at) => [at, code] as const) };
  }
  const { plan } = await configuration.change(ask);
  return { refused: plan.refused.map(({ at = -1, code }) => [at, code] as const) };
}

function stateOf({ configuration, commit, store, upstreams }: Opened): Omit<DriverReply, "ok" | "events"> {
  const servers = configuration.config.servers.map((server): ServerState => {
    const { name } = server;
    const { mode, definitionHash: defined, approvedHash } = store.findServer(name) ?? {};
    const hash = definitionHash(server);
    return {
      name,
      mode: upstreams.find(name)?.mode,
      isDefined: defined === hash,
      isApproved: approvedHash === hash,
      isHeld: mode === "quarantined",
    };
  });
  const rows = store.commits.list(1_000);
  const journal = {
    ids: rows.map(({ id }) => id),
    pending: rows.filter(({ state }) => state === "pending").length,
    last: rows.find(({ state }) => state === "done")?.newHash ?? "",
  };
  const { revision, hash, isDegraded } = commit;
  return { revision, hash, isDegraded, servers, journal };
}

if (import.meta.main) {
  const [path = "", dataDir = ""] = process.argv.slice(2);
  await drive(path, dataDir);
}
