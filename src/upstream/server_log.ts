/**
 * What the processes of servers write to stderr, one file a server.
 *
 * Owns which file a server's lines go to and the form of a line. Invariants: lines come with their secrets
 * hidden, by the transport; a server that writes nothing has no file; with `logging.enable_file` off there
 * are none. One file for all was rejected: a server that floods would push out what the others said.
 */
import { join } from "node:path";

import type { LoggingSettings } from "../core/settings.ts";
import { oneLine } from "../lib/log.ts";
import type { Log } from "../lib/log.ts";
import { fileNameOf, LogFile } from "../lib/log_file.ts";

/** The logs of all servers. */
export class ServerLogs implements AsyncDisposable {
  readonly #settings: LoggingSettings;
  readonly #log: Log;
  readonly #files = new Map<string, LogFile>();

  constructor(settings: LoggingSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
  }

  /** Makes the receiver of a server's lines; the same file each time. */
  logOf(server: string): (line: string) => void {
    if (!this.#settings.enableFile) return () => {};
    const file = this.#files.get(server) ?? this.#open(server);
    const { jsonFormat } = this.#settings;
    return (line) => {
      const time = new Date().toISOString();
      file.write(jsonFormat ? JSON.stringify({ time, server, line }) : `${time} ${oneLine(line)}`);
    };
  }

  /** Lines that were never written, over all servers. */
  get dropped(): number {
    return [...this.#files.values()].reduce((sum, file) => sum + file.dropped, 0);
  }

  /** Writes what waits, in bounded time. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.close()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(server: string): LogFile {
    const path = serverLogPath(this.#settings.logDir, server);
    const onError = (error: unknown): void =>
      this.#log.warn("Cannot write a server's log", { server, path, cause: String(error) });
    const file = new LogFile({ ...this.#settings, path, onError });
    this.#files.set(server, file);
    return file;
  }
}

/** The path of a server's log. */
export function serverLogPath(logDir: string, server: string): string {
  return join(logDir, `server-${fileNameOf(server)}.log`);
}
