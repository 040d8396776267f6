/**
 * `mcpproxy serve`: runs the proxy until it is told to stop.
 *
 * Owns signals, the bridge to a daemon in `--stdio` mode, and the report when a start fails. Invariants:
 * logs go to stderr only; the first INT or TERM stops calmly, the second at once; with `--stdio` the end
 * of stdin is the end. Detaching itself into the background was rejected: service managers do it better.
 */
import { join } from "node:path";

import { ERRORS, messageOf, ProxyError } from "../core/errors.ts";
import { bridgeStdio } from "../front/stdio.ts";
import { createLog } from "../lib/log.ts";
import type { Log } from "../lib/log.ts";
import { LogFile } from "../lib/log_file.ts";
import { Proxy } from "../proxy.ts";
import { unlockApiKey } from "../state/api_key.ts";
import { faultsOf, formatFaults } from "../state/config.ts";
import { readDaemonNote } from "../state/daemon.ts";
import { LoadedConfig } from "../state/loaded_config.ts";
import type { Config, LoggingSettings } from "../core/settings.ts";
import { readCommand, textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";

const USAGE =
  "mcpproxy serve [--stdio] [--listen HOST:PORT] [-c FILE] [-d DIR] [--log-level LEVEL] [--tool-response-mode compact|full]";
/** Standing in a shell for 128 + SIGINT. */
const FORCED_EXIT = 130;
/** One Ctrl-C arrives more than once: from the terminal, and passed on by `bun run` and `npx`. */
const SIGNAL_ECHO_MS = 250;

/** The parts of the process that serving needs beside what every command gets. */
export interface ServeIo extends CommandIo {
  readonly stdin: () => ReadableStream<Uint8Array>;
  readonly onSignal: (listener: () => void) => void;
  readonly exit: (code: number) => never;
}

/** Serves; resolves with the exit code when it ended. */
export async function runServe(args: readonly string[], io: ServeIo): Promise<number> {
  const options = {
    stdio: { type: "boolean" },
    listen: { type: "string", short: "l" },
    "tool-response-mode": { type: "string" },
  } as const;
  const { flags, values } = readCommand(args, { usage: USAGE, options, maxPositionals: 0 });
  const { env, cwd, home } = io;
  const overrides = {
    listen: textFlag(values["listen"]),
    dataDir: flags.dataDir,
    logLevel: flags.logLevel,
    toolResponseMode: textFlag(values["tool-response-mode"]),
  };
  const loaded = await loadReported({ path: flags.config, env, cwd, home, overrides }, io);
  if (loaded === undefined) return ERRORS.CONFIG_INVALID.exit;
  const { config } = loaded;
  await using file = openLogFile(config.settings.logging, io);
  const { enableConsole } = config.settings.logging;
  const write = (line: string): void => {
    if (enableConsole) io.stderr(line);
    file?.write(line);
  };
  const log = createLog({ level: config.settings.logLevel, write });
  reportConfig(config, log);
  return values["stdio"] === true
    ? await serveStdio(loaded, { io, log })
    : await serveHttp(loaded, { io, log });
}

/** The proxy's own log, beside those of its servers. */
function openLogFile(settings: LoggingSettings, io: CommandIo): LogFile | undefined {
  if (!settings.enableFile) return undefined;
  const path = join(settings.logDir, "main.log");
  const onError = (error: unknown): void => io.stderr(`Cannot write '${path}': ${messageOf(error)}\n`);
  return new LogFile({ ...settings, path, onError });
}

interface Serving {
  readonly io: ServeIo;
  readonly log: Log;
}

async function loadReported(
  options: Parameters<typeof LoadedConfig.read>[0],
  io: CommandIo,
): Promise<LoadedConfig | undefined> {
  try {
    return await LoadedConfig.read(options);
  } catch (error) {
    const faults = faultsOf(error);
    if (faults.length === 0) throw error;
    io.stderr(`${messageOf(error)}\n${formatFaults(faults)}\n`);
    return undefined;
  }
}

/** What an operator should know of a file that was taken all the same. */
function reportConfig(config: Config, log: Log): void {
  log.info("Configuration loaded", { config: config.path, servers: config.servers.length });
  for (const { server, message, advice, line, column } of config.faults) {
    log.error(message, { server, at: `${config.path}:${line}:${column}`, advice });
  }
  for (const { level, message, hint, server } of config.findings) {
    if (level === "info") log.info(message, { server, hint });
    else log.warn(message, { server, hint });
  }
}

async function serveHttp(loaded: LoadedConfig, { io, log }: Serving): Promise<number> {
  // Asked for first: a signal during a long start is a calm stop as well.
  const stopped = stopRequested({ io, log });
  const proxy = await Proxy.open({ loaded, env: io.env, log });
  if (loaded.config.settings.enableWebUi) log.info("The web page is open", { url: `${proxy.url}/ui/` });
  await stopped;
  await proxy.close();
  log.info("Stopped");
  return 0;
}

/** Serves the pipe itself, or through the daemon that already holds the data dir. */
async function serveStdio(loaded: LoadedConfig, { io, log }: Serving): Promise<number> {
  const stopped = stopRequested({ io, log });
  let proxy: Proxy;
  try {
    proxy = await Proxy.open({ loaded, env: io.env, log, takesAnyPort: true });
  } catch (error) {
    if (!(error instanceof ProxyError) || error.code !== "DATA_DIR_IN_USE") throw error;
    return bridge(loaded.config, { io, log, stopped });
  }
  await Promise.race([proxy.serveStdio(), stopped]);
  await proxy.close();
  return 0;
}

async function bridge(
  config: Config,
  { io, log, stopped }: Serving & { readonly stopped: Promise<void> },
): Promise<number> {
  const { settings } = config;
  const note = readDaemonNote(settings.dataDir);
  if (note === undefined) {
    throw new ProxyError(
      "DATA_DIR_IN_USE",
      `Cannot open '${settings.dataDir}': another process holds it and does not say where it listens`,
      {
        hint: "End that process, or give another --data-dir",
      },
    );
  }
  log.info("Passing on to the proxy that serves this data dir", { url: note.url, pid: note.pid });
  const bridging = bridgeStdio({
    url: `${note.url}/mcp`,
    headers: { "x-api-key": await unlockApiKey(settings, io) },
    pipe: { input: io.stdin(), write: io.stdout },
    log,
  });
  await Promise.race([bridging, stopped]);
  return 0;
}

/** Resolves at the first signal; the second ends the process, unless it is an echo of the first. */
function stopRequested({ io, log }: Serving): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let firstAt: number | undefined;
  io.onSignal(() => {
    if (firstAt !== undefined) {
      if (performance.now() - firstAt > SIGNAL_ECHO_MS) io.exit(FORCED_EXIT);
      return;
    }
    firstAt = performance.now();
    log.info("Stopping");
    resolve();
  });
  return promise;
}
