/**
 * Changes of the configuration while no proxy runs.
 *
 * Owns doing on the file alone what a running proxy does: the same plan, the same two-phase commit, the same rules of
 * approval and of settings that forbid changes. Invariants: the data dir is held for as long as it takes, so no proxy
 * runs meanwhile; what stands in the file is taken first, as a start would; nothing is connected. Editing the file
 * without the database was rejected: a server that was added so would pass for one a person wrote there.
 */
import { ProxyError } from "../core/errors.ts";
import { ConfigCommit } from "../state/config_commit.ts";
import { preparePlan } from "../state/config_plan.ts";
import { restoreConfig } from "../state/config_restore.ts";
import { definitionHash } from "../state/definition.ts";
import { LoadedConfig } from "../state/loaded_config.ts";
import { Store } from "../state/store.ts";
import { modeInForce } from "../upstream/transition.ts";
import { takeFile } from "./approval.ts";
import { summaryOf } from "./change_summary.ts";
import { assertMayChange } from "./permission.ts";
import { planRollback } from "./rollback.ts";
import type { StartupMode, Server } from "../core/model.ts";
import type { Log } from "../lib/log.ts";
import type { ParseOptions } from "../state/config.ts";
import type { ConfigHistory } from "../state/config_history.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Change } from "./configuration.ts";

/** What is asked for. */
export interface OfflineChange {
  readonly operations: readonly PlanOperation[];
  /** List what is refused and do the rest. @default false: the first refusal is the answer */
  readonly isLenient?: boolean | undefined;
  readonly log: Log;
}

/**
 * Plans a change and makes it durable, as a person with the admin key would.
 *
 * @throws {ProxyError} `DATA_DIR_IN_USE` when a proxy holds the data dir; `MANAGEMENT_REFUSED`; what a plan refuses and
 * a commit fails with. Nothing was changed then.
 */
export async function changeOffline(
  given: LoadedConfig,
  { operations, isLenient = false, log }: OfflineChange,
): Promise<Change> {
  const { path, settings } = given.config;
  const { dataDir } = settings;
  await using store = Store.open({ dataDir, log });
  await using commit = ConfigCommit.open({ path, store, dataDir, log });
  const loaded = takeFile(given, { store, commit });
  assertMayChange(operations, loaded.config.settings);
  const servers = new Map(loaded.config.servers.map((server) => [server.name, server]));
  const plan = preparePlan(loaded, {
    operations,
    isLenient,
    isByPerson: true,
    memoryOf: (name) => {
      const server = servers.get(name);
      if (server === undefined) return undefined;
      const { definitionHash: defined, approvedHash, formerMode } = store.findServer(name) ?? {};
      return { mode: modeOf(server, store), definitionHash: defined, approvedHash, formerMode };
    },
  });
  if (!plan.isChange) return { revision: commit.revision, plan };
  const { text, effects } = plan;
  const done = commit.commit({ text, effects, summary: `${summaryOf(operations)}, while no proxy ran` });
  return { ...done, plan };
}

/** A way back to a kept text. */
export interface OfflineRollback {
  /** As the history lists it. */
  readonly id: string;
  /** Whether a person vouches for all that is started by it. */
  readonly approve: boolean;
  readonly history: ConfigHistory;
  readonly dataDir: string;
  /** How the file is read. */
  readonly options: ParseOptions;
  readonly log: Log;
}

/**
 * Puts a kept text in the file, and makes it durable.
 *
 * @param given undefined when the file cannot be used: then it gives way, and is kept beside the backups
 * @throws {ProxyError} as {@link changeOffline} does; `REVISION_UNKNOWN`; `CONFIG_INVALID` when the text is of another data dir
 */
export async function rollbackOffline(
  given: LoadedConfig | undefined,
  { id, approve, history, dataDir, options, log }: OfflineRollback,
): Promise<Change> {
  const { path } = options;
  const target = LoadedConfig.parse(history.read(id), options);
  await using store = Store.open({ dataDir, log });
  const kept = given === undefined ? restoreOver(target, { history, dataDir }) : {};
  await using commit = ConfigCommit.open({ path, store, dataDir, log });
  const from = given && takeFile(given, { store, commit }).config;
  const servers = new Map((from ?? target.config).servers.map((server) => [server.name, server]));
  const plan = planRollback(target, {
    from,
    approve,
    known: (name) => {
      const server = servers.get(name);
      return server && { mode: modeOf(server, store), approvedHash: store.findServer(name)?.approvedHash };
    },
  });
  const { text, effects } = plan;
  const summary = `rollback to ${id}, while no proxy ran`;
  return { ...kept, ...commit.commit({ text, effects, summary, isRollback: true }), plan };
}

/** Where nothing could be read of the file but its data dir, perhaps not that, the text has to name the same one. */
function restoreOver(
  { config, text }: LoadedConfig,
  { history, dataDir }: Pick<OfflineRollback, "history" | "dataDir">,
): { readonly warning: string } {
  const { path, settings } = config;
  if (settings.dataDir !== dataDir) {
    throw new ProxyError(
      "CONFIG_INVALID",
      `Cannot go back: the text is of the data dir '${settings.dataDir}'`,
      {
        hint: "Name it with --data-dir",
      },
    );
  }
  return { warning: `What stood in the file is kept as '${restoreConfig({ path, text, history })}'` };
}

/** The mode that file, database and approval mean. */
function modeOf(server: Server, store: Store): StartupMode {
  const { mode, approvedHash, autoDisabled } = store.findServer(server.name) ?? {};
  const { startupMode } = server;
  const isApproved = approvedHash === definitionHash(server);
  return modeInForce(startupMode, {
    isHeld: mode === "quarantined" || (startupMode !== "disabled" && !isApproved),
    isAutoDisabled: autoDisabled !== undefined,
  });
}
