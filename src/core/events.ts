/**
 * What changed, as news for whoever listens.
 *
 * Owns the union of events, which is the contract with every stream, and the bus that numbers and hands
 * them out. Invariants: one publish for each change; ids only grow; publishing is synchronous and never
 * waits; a listener that throws stops nobody. `EventTarget` was rejected: it has no order of ids and
 * swallows errors into the global handler.
 */
import type { Category, ConnectionState, Fault, StartupMode } from "./model.ts";

/** State of the whole proxy. */
export type ProxyState = "starting" | "running" | "degraded" | "stopping" | "stopped";

/** Where a server stands: what is wanted, what is, and the heading over both. */
export interface ServerStanding {
  readonly mode: StartupMode;
  readonly connection: ConnectionState;
  readonly category: Category;
}

/** What was done with a group. */
export type GroupAction =
  | "create"
  | "update"
  | "delete"
  | "assign"
  | "unassign"
  | "enable"
  | "disable"
  | "restart"
  | "quarantine";

/** What one commit or reload changed: names of servers, keys of settings. */
export interface ConfigChange {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
  readonly settings: readonly string[];
  /** Settings that take effect at the next start. */
  readonly restartRequired: readonly string[];
}

interface EventData {
  readonly proxy_state_changed: {
    readonly before: ProxyState;
    readonly after: ProxyState;
    readonly reason: string;
  };
  readonly server_added: ServerStanding;
  readonly server_removed: { readonly reason: string };
  /** Its definition or its options; `isRestarted` when what is started changed. */
  readonly server_changed: { readonly keys: readonly string[]; readonly isRestarted: boolean };
  /** A server has another name; its tools have other ids. The event's `server` is the new one. */
  readonly server_renamed: { readonly from: string };
  /** The record of every move of mode or connection. */
  readonly server_state_changed: {
    readonly before: ServerStanding;
    readonly after: ServerStanding;
    readonly reason: string;
    readonly attempt: number;
    /** Unix milliseconds. */
    readonly since: number;
  };
  /** In addition to the move, with its id as `cause`. */
  readonly server_auto_disabled: {
    readonly reason: string;
    readonly failures: number;
    readonly cause: number;
  };
  readonly server_recovered: { readonly mode: StartupMode; readonly cause: number };
  readonly quarantine_changed: {
    readonly isQuarantined: boolean;
    readonly reason: string;
    readonly cause: number;
  };
  readonly auto_disable_suspended: {
    readonly isSuspended: boolean;
    readonly reason: string;
    readonly servers: readonly string[];
  };
  /** One for a whole batch; the changes of its servers are events of their own. */
  readonly server_group_updated: {
    readonly action: GroupAction;
    readonly name: string;
    readonly updated: number;
    readonly unchanged: number;
    readonly failed: number;
  };
  readonly config_committed: ConfigChange & { readonly warning?: string };
  readonly config_reloaded: ConfigChange;
  /** The file cannot be used; the last good configuration stays. */
  readonly config_invalid: { readonly message: string; readonly faults: readonly Fault[] };
  readonly tools_changed: {
    readonly added: readonly string[];
    readonly removed: readonly string[];
    readonly changed: readonly string[];
  };
}

/** The name of a kind of event. */
export type EventType = keyof EventData;

/** One event of a kind, or of any. */
export type ProxyEvent<Type extends EventType = EventType> = {
  readonly [Kind in Type]: {
    /** Larger than every earlier one. */
    readonly id: number;
    /** Unix milliseconds. */
    readonly time: number;
    readonly type: Kind;
    readonly server?: string;
    /** Id of the group. */
    readonly group?: number;
    /** The revision of the configuration this is an effect of. */
    readonly revision?: number;
    readonly data: EventData[Kind];
  };
}[Type];

/** What an event is about: a server by its name, or a group by its id. */
export type EventSubject = string | number;

/** Takes events. */
export type EventListener = (event: ProxyEvent) => void;

/** Options of {@link EventBus}. */
export interface EventBusOptions {
  /** Unix milliseconds. @default Date.now */
  readonly now?: () => number;
  /** Told what a listener threw. */
  readonly onListenerError?: (error: unknown) => void;
}

/** Numbers events and hands them out. */
export class EventBus {
  readonly #listeners = new Set<EventListener>();
  readonly #now: () => number;
  readonly #onListenerError: (error: unknown) => void;
  #lastId = 0;
  #revision: number | undefined;

  constructor(options: EventBusOptions = {}) {
    this.#now = options.now ?? Date.now;
    this.#onListenerError = options.onListenerError ?? (() => {});
  }

  /** Publishes and returns the event's id; all listeners have seen it by then. */
  publish<Type extends EventType>(type: Type, data: EventData[Type], subject?: EventSubject): number {
    this.#lastId += 1;
    const event = {
      id: this.#lastId,
      time: this.#now(),
      type,
      ...(typeof subject === "string" ? { server: subject } : {}),
      ...(typeof subject === "number" ? { group: subject } : {}),
      ...(this.#revision === undefined ? {} : { revision: this.#revision }),
      data,
    };
    for (const listener of this.#listeners) {
      try {
        listener(event as unknown as ProxyEvent);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
    return event.id;
  }

  /** Runs `act`; what is published meanwhile carries the revision. */
  during(revision: number, act: () => void): void {
    const outer = this.#revision;
    this.#revision = revision;
    try {
      act();
    } finally {
      this.#revision = outer;
    }
  }

  /** Listens until the returned function is called. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
