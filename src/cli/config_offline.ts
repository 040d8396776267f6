/**
 * The kept texts of the configuration, with a proxy and without.
 *
 * Owns who is asked for them: the proxy that runs, else the data dir itself. Invariants: what comes back is what the API
 * answers, but for the revision in force where no proxy runs; a file that cannot be used keeps nobody from an earlier text.
 * Reading the folder always was rejected: a proxy may be another machine's.
 */
import { createLog } from "../lib/log.ts";
import type { Config } from "../core/settings.ts";
import { readConfigFile } from "../state/config_file.ts";
import { ConfigHistory } from "../state/config_history.ts";
import type { LoadedConfig } from "../state/loaded_config.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";
import { isInvalid, salvage } from "./locate.ts";
import { findRunning, readOffline } from "./offline.ts";

/** Who has the kept texts; what each answers is the API's `data`. */
export interface Keeper {
  readonly list: () => Promise<unknown>;
  readonly diff: (from: string, to: string | undefined) => Promise<unknown>;
  readonly rollback: (id: string, approve: boolean) => Promise<unknown>;
}

/**
 * Finds the proxy, or else the data dir.
 *
 * @throws {ProxyError} `CONFIG_UNREADABLE`; `CONFIG_INVALID` when not even the data dir can be read
 */
export async function findKeeper(flags: GlobalFlags, io: CommandIo): Promise<Keeper> {
  const api = await findRunning(flags, io).catch(unlessInvalid);
  if (api === undefined) return keeperOf(flags, io);
  return {
    list: async () => (await api.get("/config/history")).data,
    diff: async (from, to) => {
      const query = new URLSearchParams({ from, ...(to === undefined ? {} : { to }) });
      return (await api.get(`/config/diff?${query.toString()}`)).data;
    },
    rollback: async (id, approve) => (await api.post("/config/rollback", { id, approve })).data,
  };
}

async function keeperOf(flags: GlobalFlags, io: CommandIo): Promise<Keeper> {
  const { env, cwd, home } = io;
  const options = {
    path: flags.config,
    overrides: { dataDir: flags.dataDir },
    env,
    cwd,
    home,
    create: false,
  };
  let given: LoadedConfig | undefined;
  let place: Pick<Config, "path" | "settings">;
  try {
    given = await readOffline(flags, { io, create: false });
    place = given.config;
  } catch (error) {
    const rest = isInvalid(error) ? salvage(options) : undefined;
    if (rest === undefined) throw error;
    place = rest;
  }
  const { path, settings } = place;
  const { dataDir } = settings;
  const history = new ConfigHistory(dataDir);
  return {
    list: async () => ({ entries: history.list() }),
    diff: async (from, to) => {
      const after = to === undefined ? readConfigFile(path) : history.read(to);
      return { from, to: to ?? "now", diff: history.diff(history.read(from), after) };
    },
    rollback: async (id, approve) => {
      const { rollbackOffline } = await import("../gateway/offline.ts");
      const { changeView } = await import("../gateway/change_summary.ts");
      const log = createLog({ level: "error", write: io.stderr });
      const back = { id, approve, history, dataDir, options: { ...options, path }, log };
      const done = changeView(await rollbackOffline(given, back));
      io.stderr(`No proxy runs: '${path}' was changed. The next start takes it up\n`);
      return done;
    },
  };
}

function unlessInvalid(error: unknown): undefined {
  if (!isInvalid(error)) throw error;
}
