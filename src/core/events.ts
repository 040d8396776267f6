/**
 * What changed, as news for whoever listens.
 *
 * Owns the union of events, which is the contract with every stream, and the bus that numbers and hands
 * them out. Invariants: one publish for each change; ids only grow, by one, and every listener sees them in
 * that order; publishing is synchronous and never waits; a listener that throws stops nobody. `EventTarget`
 * was rejected: it has no order of ids and swallows errors into the global handler.
 */
import type { CallVariant, Category, ConnectionState, Fault, StartupMode } from "./model.ts";

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

/** The kinds of events, and what each tells; `event_schema.ts` holds the same as a JSON Schema. */
export interface EventData {
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
  /** A person has to log in: in addition to the move to `error`, with its id as `cause`. */
  readonly oauth_required: {
    readonly reason: string;
    readonly hint: string;
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
  /** Ids of tools. */
  readonly tools_changed: {
    readonly added: readonly string[];
    readonly removed: readonly string[];
    readonly changed: readonly string[];
  };
  /** A call ended; arguments and results are nobody's business here. */
  readonly tool_called: {
    /** As the caller named it. */
    readonly tool: string;
    /** The meta tool it came through; absent for `call_tool`. */
    readonly variant?: CallVariant;
    readonly durationMs: number;
    /** Whether the upstream called its own result an error, or there is none. */
    readonly isError: boolean;
    /** Why there is no result. */
    readonly code?: string;
  };
  /** A legacy client opened a session; `session` is the beginning of its id, which alone opens nothing. */
  readonly session_opened: { readonly session: string; readonly open: number };
  readonly session_closed: { readonly session: string; readonly open: number; readonly reason: string };
  /** A warning or an error in the proxy's own log. */
  readonly log: {
    readonly level: "warn" | "error";
    readonly message: string;
    readonly fields: Readonly<Record<string, string>>;
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

/** Where the ids of events come from. */
export interface EventIdSource {
  /** The id given last. */
  readonly last: number;
  /** The one after; never waits. */
  next(): number;
}

/** Options of {@link EventBus}. */
export interface EventBusOptions {
  /** @default counts from 1 */
  readonly ids?: EventIdSource;
  /** Unix milliseconds. @default Date.now */
  readonly now?: () => number;
  /** Told what a listener threw; what it publishes itself would reach that listener again. */
  readonly onListenerError?: (error: unknown) => void;
}

/** Numbers events and hands them out. */
export class EventBus {
  readonly #listeners = new Set<EventListener>();
  readonly #ids: EventIdSource;
  readonly #now: () => number;
  readonly #onListenerError: (error: unknown) => void;
  /** What listeners published, until everybody has seen what they were told before. */
  readonly #queue: ProxyEvent[] = [];
  #isHandingOut = false;
  #revision: number | undefined;

  constructor(options: EventBusOptions = {}) {
    this.#ids = options.ids ?? countFrom(0);
    this.#now = options.now ?? Date.now;
    this.#onListenerError = options.onListenerError ?? (() => {});
  }

  /** The id of the latest event; before the first, that of the last one of an earlier run. */
  get lastId(): number {
    return this.#ids.last;
  }

  /**
   * Publishes and returns the event's id. All listeners have seen it by then, each in the order of ids; but what a
   * listener publishes is handed out after the event it listens to.
   */
  publish<Type extends EventType>(type: Type, data: EventData[Type], subject?: EventSubject): number {
    const event = {
      id: this.#ids.next(),
      time: this.#now(),
      type,
      ...(typeof subject === "string" ? { server: subject } : {}),
      ...(typeof subject === "number" ? { group: subject } : {}),
      ...(this.#revision === undefined ? {} : { revision: this.#revision }),
      data,
    } as unknown as ProxyEvent;
    if (this.#isHandingOut) {
      this.#queue.push(event);
      return event.id;
    }
    this.#isHandingOut = true;
    for (let next: ProxyEvent | undefined = event; next !== undefined; next = this.#queue.shift()) {
      this.#handOut(next);
    }
    this.#isHandingOut = false;
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

  #handOut(event: ProxyEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#onListenerError(error);
      }
    }
  }
}

/** Ids that follow a number, for as long as the process runs. */
export function countFrom(last: number): EventIdSource {
  let id = last;
  return {
    get last() {
      return id;
    },
    next: () => (id += 1),
  };
}
