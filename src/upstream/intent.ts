/**
 * What is wanted of one server: the startup mode in force.
 *
 * Owns the mode, the mode before it, an operator's stop, and the auto-disable with its count; no timers, no events, no links. Invariants:
 * a definition that is not approved means quarantine, whatever file and database say; an auto-disable ends with every
 * other mode; the mode to come back to can always be called. Reading the mode from file and database at each use was
 * rejected: a move would have no moment, and an event needs one.
 */
import type { ServerStanding } from "../core/events.ts";
import type { ConnectionState, Server, StartupMode } from "../core/model.ts";
import { categoryOf } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import type { Learned, ServerMemory } from "../state/store.ts";
import { AutoDisable } from "./auto_disable.ts";
import type { Failure } from "./link.ts";
import { isCallable, modeInForce } from "./transition.ts";

/** What is known of a server once its definition starts something else. */
export const UNLEARNED: Learned = {
  era: undefined,
  discovery: undefined,
  transport: undefined,
  everConnected: false,
  connectMs: undefined,
  toolCount: 0,
  failedLast: false,
  autoDisabled: undefined,
};

/** What an intent is read from; all of it changes, so it is asked each time. */
export interface IntentSources {
  readonly server: () => Server;
  readonly settings: () => Settings;
  readonly recall: () => ServerMemory | undefined;
  /** Whether what the definition starts was approved. */
  readonly mayStart: (server: Server) => boolean;
  /** Unix milliseconds. */
  readonly wallNow: () => number;
}

/** Holds the mode of one server. */
export class Intent {
  readonly autoDisable: AutoDisable;
  readonly #sources: IntentSources;
  /** An operator stopped it until further notice. */
  isStopped = false;
  #mode: StartupMode;
  #former: StartupMode;

  constructor(sources: IntentSources) {
    const { server, settings, recall, wallNow } = sources;
    const { formerMode, autoDisabled } = recall() ?? {};
    this.#sources = sources;
    this.#mode = this.meant();
    this.#former = formerMode ?? (server().startupMode === "lazy_loading" ? "lazy_loading" : "active");
    const isOff = this.#mode === "auto_disabled";
    this.autoDisable = new AutoDisable({
      threshold: () => server().autoDisableThreshold ?? settings().autoDisableThreshold,
      recoverAfterMs: () => settings().supervision.recoverAfterMs,
      remembered: isOff ? autoDisabled : undefined,
    });
    if (isOff) this.autoDisable.assume(wallNow());
  }

  /** The mode in force. */
  get mode(): StartupMode {
    return this.#mode;
  }

  /** The mode before the server was quarantined or auto-disabled. */
  get former(): StartupMode {
    return this.#former;
  }

  /** The mode an auto-disabled server comes back to. */
  get awake(): StartupMode {
    return isCallable(this.#former) ? this.#former : "active";
  }

  /** Neither stopped nor faulty. */
  get isFree(): boolean {
    return !this.isStopped && this.#sources.server().faults.length === 0;
  }

  /** Lazy by its own mode, or by the setting once its tools are known. */
  get isSleepy(): boolean {
    const { settings, recall } = this.#sources;
    if (this.#mode === "lazy_loading") return true;
    return settings().enableLazyLoading && (recall()?.toolCount ?? 0) > 0;
  }

  /** Whether it is connected, and kept so, without anybody asking. */
  get isWanted(): boolean {
    return this.#mode === "active" && !this.isSleepy && this.isFree;
  }

  /** Whether it is lazy and its tools were never learned. */
  get wantsVisit(): boolean {
    const memory = this.#sources.recall();
    const isUnknown = !memory?.everConnected && !memory?.toolCount;
    return this.#mode === "lazy_loading" && this.isFree && isUnknown;
  }

  /** Where the server stands with such a connection; a sleepy one sleeps until it is ready. */
  standing(connection: ConnectionState): ServerStanding {
    const mode = this.#mode;
    const isFaulty = this.#sources.server().faults.length > 0;
    const sleeps = mode === "active" && this.isSleepy && connection !== "ready" && !isFaulty;
    return { mode, connection, category: sleeps ? "sleeping" : categoryOf(mode, connection, isFaulty) };
  }

  /**
   * The mode that file, database and approval mean now.
   *
   * @param isEnabled a person wants it on, so an auto-disable is over.
   */
  meant(isEnabled = false): StartupMode {
    const { server, recall, mayStart } = this.#sources;
    const { mode, autoDisabled } = recall() ?? {};
    const { startupMode } = server();
    return modeInForce(startupMode, {
      // What was rejected is disabled, and starts nothing: enabling it asks for the approval.
      isHeld: mode === "quarantined" || (startupMode !== "disabled" && !mayStart(server())),
      isAutoDisabled: autoDisabled !== undefined && !isEnabled,
    });
  }

  /** The mode that a changed definition has: it was not what failed, so an auto-disable is over. */
  meantAnew(): StartupMode {
    const mode = this.meant(true);
    return mode === "auto_disabled" ? this.awake : mode;
  }

  /** Takes a mode somebody asked for; one to come back to is remembered. */
  take(mode: StartupMode): void {
    // What was auto-disabled is on again once approved: a person's word comes later than the failures.
    if (mode === "quarantined" && this.#mode !== "auto_disabled") this.#former = this.#mode;
    if (mode === "auto_disabled" && isCallable(this.#mode)) this.#former = this.#mode;
    this.autoDisable.end();
    if (mode === "auto_disabled") this.autoDisable.assume(this.#sources.wallNow());
    this.#mode = mode;
  }

  /** Is switched off after too many failures; returns why. */
  switchOff(failure: Failure): string {
    const reason = this.autoDisable.begin(failure, this.#sources.wallNow());
    this.#former = this.#mode;
    this.#mode = "auto_disabled";
    return reason;
  }
}
