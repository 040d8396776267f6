/**
 * Diagnostics as lines on stderr.
 *
 * Owns the form of a log line and the level that decides whether it is written; stdout stays free for
 * MCP over stdio and for machine-readable output. Invariant: writing never throws into the caller and
 * control characters never reach the terminal. A logging library was rejected: none writes one line
 * synchronously for less, and nothing here needs transports or child loggers.
 */

const LEVELS = { debug: 0, info: 1, warn: 2, error: 3 } as const;
type Level = keyof typeof LEVELS;

/** Facts that stand behind the message as `key=value`. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where the lines of one process go. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Options of {@link createLog}. */
export interface LogOptions {
  /** @default "info" */
  readonly level?: Level;
  /** Receives each finished line, newline included. @default writes to stderr */
  readonly write?: (line: string) => void;
}

/** Makes a log that writes `time level message key=value …` lines. */
export function createLog(options: LogOptions = {}): Log {
  const { level = "info", write = writeToStderr } = options;
  const emit = (at: Level, message: string, fields: LogFields = {}): void => {
    if (LEVELS[at] < LEVELS[level]) return;
    let line = `${new Date().toISOString()} ${at.toUpperCase().padEnd(5)} ${oneLine(message)}`;
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${printable(value)}`;
    }
    write(`${line}\n`);
  };
  return {
    debug: (message, fields) => emit("debug", message, fields),
    info: (message, fields) => emit("info", message, fields),
    warn: (message, fields) => emit("warn", message, fields),
    error: (message, fields) => emit("error", message, fields),
  };
}

/** A log that writes nothing. */
export const SILENT_LOG: Log = createLog({ write: () => {} });

/** Replaces control characters, escape sequences among them, so that foreign text cannot steer a terminal. */
export function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this removes
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, " ");
}

function printable(value: unknown): string {
  const text = oneLine(typeof value === "string" ? value : (JSON.stringify(value) ?? String(value)));
  return /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}

function writeToStderr(line: string): void {
  try {
    process.stderr.write(line);
  } catch {
    // A closed stderr must not end the process.
  }
}
