/**
 * Auto-disables, written to the configuration file.
 *
 * Owns `persist_auto_disable_to_config`: when file and process are compared, and what is written then. Invariants: those
 * that come together are one change; written is the mode in force at that moment, so nothing that somebody wanted since
 * is undone. A list of who moved was rejected: a rename, or a file that could not be written, made it wrong.
 */
import { messageOf } from "../core/errors.ts";
import type { EventBus, ProxyEvent } from "../core/events.ts";
import type { Log } from "../lib/log.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Upstreams } from "../upstream/upstreams.ts";

/** Those that come within this time are written together. */
const DELAY_MS = 250;

/** Options of {@link AutoDisableWriter}. */
interface AutoDisableWriterOptions {
  readonly bus: EventBus;
  readonly upstreams: Pick<Upstreams, "list">;
  readonly log: Log;
  /** Whether the configuration wants them written. */
  readonly isOn: () => boolean;
  /** Makes the change that `operationsNow` says once nobody else changes anything. */
  readonly write: (operationsNow: () => readonly PlanOperation[]) => Promise<unknown>;
}

/** Writes who is auto-disabled, and who is so no more. */
export class AutoDisableWriter {
  readonly #options: AutoDisableWriterOptions;
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;

  constructor(options: AutoDisableWriterOptions) {
    this.#options = options;
    this.#unsubscribe = options.bus.subscribe((event) => {
      if (mayDiffer(event)) this.#timer ??= setTimeout(() => void this.#write(), DELAY_MS);
    });
  }

  /** Writes what waits, and no more after that. */
  async close(): Promise<void> {
    this.#unsubscribe();
    if (this.#timer !== undefined) await this.#write();
  }

  async #write(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#operations().length === 0) return;
    const { write, log } = this.#options;
    try {
      // Others may change something first.
      await write(() => this.#operations());
    } catch (error) {
      log.error("Cannot write auto-disabled servers to the configuration", {
        cause: messageOf(error),
        hint: "It is tried again when one moves or the file is read again",
      });
    }
  }

  #operations(): PlanOperation[] {
    const { isOn, upstreams } = this.#options;
    if (!isOn()) return [];
    return upstreams.list().flatMap(({ server: { name, startupMode }, mode }): PlanOperation[] => {
      if (mode === startupMode || ![mode, startupMode].includes("auto_disabled")) return [];
      if (mode === "auto_disabled") return [{ op: "auto_disable", name }];
      if (mode === "active") return [{ op: "enable", name }];
      return mode === "lazy_loading" ? [{ op: "make_lazy", name }] : [];
    });
  }
}

/** Whether file and process may differ in an auto-disable, or the file can be written again. */
function mayDiffer({ type, data }: ProxyEvent): boolean {
  if (type === "config_reloaded") return true;
  if (type !== "server_state_changed") return false;
  const [from, to] = [data.before.mode, data.after.mode];
  return from !== to && [from, to].includes("auto_disabled");
}
