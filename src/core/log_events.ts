/**
 * Warnings and errors of the log as events.
 *
 * Owns which lines become events, how they look, and how many. Invariants: the log itself loses nothing and learns
 * nothing of listeners; secrets are masked; a flood of warnings pushes no change out of what is kept for replay.
 * Every line as an event was rejected: the log has its file, and `debug` would drown the rest.
 */
import type { Log, LogFields } from "../lib/log.ts";
import { isSecretName, redactText } from "../lib/redact.ts";
import type { EventBus } from "./events.ts";

/** Events of one window; of what is over only the number is told. */
const MAX_PER_WINDOW = 50;
const WINDOW_MS = 1_000;
const MAX_CHARS = 500;

/** A log that also publishes warnings and errors, once it has a bus. */
export class LogEvents implements Log {
  readonly #log: Log;
  #bus: EventBus | undefined;
  #windowEndsAt = 0;
  #count = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Publishes from now on. */
  publishTo(bus: EventBus): void {
    this.#bus = bus;
  }

  debug(message: string, fields?: LogFields): void {
    this.#log.debug(message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#log.info(message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#log.warn(message, fields);
    this.#publish("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#log.error(message, fields);
    this.#publish("error", message, fields);
  }

  #publish(level: "warn" | "error", message: string, fields: LogFields = {}): void {
    if (this.#bus === undefined) return;
    const now = performance.now();
    if (now >= this.#windowEndsAt) {
      this.#windowEndsAt = now + WINDOW_MS;
      this.#count = 0;
    }
    this.#count += 1;
    if (this.#count > MAX_PER_WINDOW) return;
    const isLast = this.#count === MAX_PER_WINDOW;
    const text = isLast ? "Further warnings of this second are in the log only" : redactText(message);
    const { server } = fields;
    const data = { level, message: text.slice(0, MAX_CHARS), fields: isLast ? {} : fieldsOf(fields) };
    this.#bus.publish("log", data, typeof server === "string" && !isLast ? server : undefined);
  }
}

function fieldsOf(fields: LogFields): Record<string, string> {
  const known = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(
    known.map(([name, value]) => {
      const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
      return [name, isSecretName(name) ? "***" : redactText(text.slice(0, MAX_CHARS))];
    }),
  );
}
