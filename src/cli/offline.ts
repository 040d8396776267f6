/**
 * What the command line does while no proxy runs.
 *
 * Owns finding out that none runs, and changing the file in its stead. Invariants: a proxy that was named by its address
 * is never passed over; where a proxy holds the data dir but does not answer, nothing is done. Asking for a proxy
 * always was rejected: one sets up servers before the first start, and after a configuration that does not start.
 */
import { ProxyError } from "../core/errors.ts";
import { createLog } from "../lib/log.ts";
import type { PlanOperation, Refusal } from "../state/config_plan.ts";
import { LoadedConfig } from "../state/loaded_config.ts";
import { findDaemon } from "./client.ts";
import type { ApiClient } from "./client.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";

/** Finds the proxy of the data dir; undefined when none runs there. */
export async function findRunning(flags: GlobalFlags, io: CommandIo): Promise<ApiClient | undefined> {
  try {
    const api = await findDaemon(flags, io);
    // A note may be what a killed one left.
    await api.get("/info");
    return api;
  } catch (error) {
    const isNamed = flags.url !== undefined || (io.env["MCPPROXY_URL"] ?? "") !== "";
    if (isNamed || !(error instanceof ProxyError) || error.code !== "NOT_REACHABLE") throw error;
    return undefined;
  }
}

/**
 * Reads the configuration.
 *
 * @throws {ProxyError} `CONFIG_UNREADABLE`, `CONFIG_INVALID`
 */
export function readOffline(
  { config, dataDir }: GlobalFlags,
  { io, create }: { readonly io: CommandIo; readonly create: boolean },
): Promise<LoadedConfig> {
  const { env, cwd, home } = io;
  return LoadedConfig.read({ path: config, overrides: { dataDir }, env, cwd, home, create });
}

/** What a change of the file came to, as the API would tell it. */
export interface FileChange {
  readonly revision: number;
  readonly updated: readonly string[];
  readonly unchanged: readonly string[];
  /** Of a lenient change what was not done. */
  readonly refused: readonly Refusal[];
  /** Servers that are held until somebody approves them. */
  readonly quarantined: readonly string[];
  readonly path: string;
}

/**
 * Changes the file as a proxy would, and says on stderr that it is the file.
 *
 * @throws {ProxyError} `DATA_DIR_IN_USE`, `MANAGEMENT_REFUSED`, and what a plan refuses
 */
export async function changeFile(
  operations: readonly PlanOperation[],
  options: { readonly flags: GlobalFlags; readonly io: CommandIo; readonly isLenient?: boolean },
): Promise<FileChange> {
  const { flags, io, isLenient } = options;
  const { changeOffline } = await import("../gateway/offline.ts");
  const loaded = await readOffline(flags, { io, create: operations.some(({ op }) => op === "add") });
  const log = createLog({ level: "warn", write: io.stderr });
  const { revision, plan, warning } = await changeOffline(loaded, { operations, isLenient, log });
  const { path } = plan.config;
  if (plan.isChange) io.stderr(`No proxy runs: '${path}' was changed. The next start takes it up\n`);
  if (warning !== undefined) io.stderr(`${warning}\n`);
  const held = new Set(plan.effects.quarantined?.filter(([, isHeld]) => isHeld).map(([name]) => name));
  const { updated, unchanged, refused } = plan;
  return { revision, updated, unchanged, refused, quarantined: [...held], path };
}
