/**
 * Changes of the configuration while no proxy runs.
 *
 * Owns doing on the file alone what a running proxy does: the same plan, the same two-phase commit, the same rules of
 * approval and of settings that forbid changes. Invariants: the data dir is held for as long as it takes, so no proxy
 * runs meanwhile; what stands in the file is taken first, as a start would; nothing is connected. Editing the file
 * without the database was rejected: a server that was added so would pass for one a person wrote there.
 */
import { ConfigCommit } from "../state/config_commit.ts";
import { preparePlan } from "../state/config_plan.ts";
import { definitionHash } from "../state/definition.ts";
import { Store } from "../state/store.ts";
import { modeInForce } from "../upstream/transition.ts";
import { takeFile } from "./approval.ts";
import { summaryOf } from "./change_summary.ts";
import { assertMayChange } from "./permission.ts";
import type { StartupMode, Server } from "../core/model.ts";
import type { Log } from "../lib/log.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { LoadedConfig } from "../state/loaded_config.ts";
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
