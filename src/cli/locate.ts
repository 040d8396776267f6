/**
 * Where the proxy of a command line is, as flags and configuration say.
 *
 * Owns what holds while the configuration cannot be used: its data dir and its key, as far as they can be read. Invariants:
 * nothing is written; a proxy found by such a file alone is the one that runs on it. Falling back to the data dir of the
 * home folder was rejected: what was meant for one proxy would be done by another.
 */
import { join } from "node:path";
import { parse } from "jsonc-parser";

import { ProxyError } from "../core/errors.ts";
import type { Config, Settings } from "../core/settings.ts";
import { loadConfig, parseConfig } from "../state/config.ts";
import type { LoadOptions } from "../state/config.ts";
import { isRecord } from "../state/config_fault.ts";
import { findConfigFile, readConfigFile } from "../state/config_file.ts";
import { readDaemonNote } from "../state/daemon.ts";
import type { DaemonNote } from "../state/daemon.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";

/** A data dir, and who serves it. */
export interface Located {
  readonly dataDir: string;
  /** Undefined when nothing can be read of the configuration. */
  readonly settings: Settings | undefined;
  readonly note: DaemonNote | undefined;
}

/**
 * Finds the data dir and the note of its proxy.
 *
 * @throws {ProxyError} `CONFIG_INVALID`, or what else keeps a file from being read that `--config` names, when no proxy runs on it
 */
export async function locate(flags: GlobalFlags, { env, cwd, home }: CommandIo): Promise<Located> {
  const options = { path: flags.config, dataDir: flags.dataDir, env, cwd, home, create: false };
  try {
    const { settings } = await loadConfig(options);
    const { dataDir } = settings;
    return { dataDir, settings, note: readDaemonNote(dataDir) };
  } catch (error) {
    // A broken or missing file must not keep an operator from a proxy that runs.
    const settings = salvage(options)?.settings;
    const named = flags.dataDir ?? (env["MCPPROXY_DATA_DIR"] || undefined);
    const dataDir = settings?.dataDir ?? named ?? join(home, ".mcpproxy");
    const note = readDaemonNote(dataDir);
    const isFound = note !== undefined && (named !== undefined || note.config === pathIn(error));
    const isMeant = flags.config !== undefined || (named === undefined && isInvalid(error));
    if (isMeant && !isFound) throw error;
    return { dataDir, settings, note };
  }
}

/** The settings by which a proxy is found, from a file with faults elsewhere; undefined when it has them there too. */
export function salvage(options: LoadOptions): Config | undefined {
  try {
    const path = findConfigFile(options);
    const value: unknown = parse(readConfigFile(path), [], { allowTrailingComma: true });
    const { data_dir, api_key } = isRecord(value) ? value : {};
    return parseConfig(JSON.stringify({ data_dir, api_key }), { ...options, path });
  } catch {
    return undefined;
  }
}

/** Whether a configuration is there, and has faults. */
export function isInvalid(error: unknown): boolean {
  return error instanceof ProxyError && error.code === "CONFIG_INVALID";
}

function pathIn(error: unknown): unknown {
  return error instanceof ProxyError ? error.data?.["path"] : undefined;
}
