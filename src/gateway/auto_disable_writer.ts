/**
 * Auto-disables, written to the configuration file.
 *
 * Owns `persist_auto_disable_to_config`: which moves are written, when, and as what. Invariants: those that come together
 * are one change; written is the mode in force by then, so nothing that somebody wanted since is undone.
 */
import { messageOf, ProxyError } from "../core/errors.ts";
import type { EventBus } from "../core/events.ts";
import type { Log } from "../lib/log.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Upstreams } from "../upstream/upstreams.ts";

/** Those that come within this time are written together. */
const DELAY_MS = 250;

/** Options of {@link AutoDisableWriter}. */
interface AutoDisableWriterOptions {
  readonly bus: EventBus;
  readonly upstreams: Upstreams;
  readonly log: Log;
  /** Whether anything is to be written. */
  readonly isOn: () => boolean;
  /** @throws {ProxyError} `CONFIG_CONFLICT` when the configuration changed since the operations were given */
  readonly write: (operations: readonly PlanOperation[]) => Promise<unknown>;
}

/** Writes who is auto-disabled, and who is so no more. */
export class AutoDisableWriter {
  readonly #options: AutoDisableWriterOptions;
  readonly #unsubscribe: () => void;
  /** Servers whose entry in the file may say otherwise. */
  readonly #waiting = new Set<string>();
  #timer: Timer | undefined;

  constructor(options: AutoDisableWriterOptions) {
    this.#options = options;
    this.#unsubscribe = options.bus.subscribe((event) => {
      if (event.type !== "server_state_changed" || event.server === undefined) return;
      const [from, to] = [event.data.before.mode, event.data.after.mode];
      if (from !== to && [from, to].includes("auto_disabled")) this.#add([event.server]);
    });
  }

  /** Writes no more. */
  close(): void {
    this.#unsubscribe();
    clearTimeout(this.#timer);
  }

  #add(names: readonly string[]): void {
    if (!this.#options.isOn()) return;
    for (const name of names) this.#waiting.add(name);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#write();
    }, DELAY_MS);
  }

  async #write(): Promise<void> {
    const { write, log } = this.#options;
    const names = [...this.#waiting];
    this.#waiting.clear();
    try {
      await write(names.flatMap((name) => this.#operationFor(name) ?? []));
    } catch (error) {
      const isOvertaken = error instanceof ProxyError && error.code === "CONFIG_CONFLICT";
      if (isOvertaken) this.#add(names);
      else log.error("Cannot write auto-disabled servers to the configuration", { cause: messageOf(error) });
    }
  }

  #operationFor(name: string): PlanOperation | undefined {
    const mode = this.#options.upstreams.find(name)?.mode;
    if (mode === "auto_disabled") return { op: "auto_disable", name };
    if (mode === "active") return { op: "enable", name };
    return mode === "lazy_loading" ? { op: "make_lazy", name } : undefined;
  }
}
