/**
 * The news that a list of tools is another one now.
 *
 * Owns when clients are told: soon after a change, what changes together once, and each list at most once a second.
 * Invariants: an event that changes no list costs one look-up; a list whose subject is gone is told of as gone, once.
 * Telling at each event was rejected: a server that flaps would make every client read its list for ever.
 */
import type { EventBus, EventType, ProxyEvent } from "../core/events.ts";
import type { Toolset } from "../gateway/toolset.ts";

/** Between two pieces of news. */
const NEWS_INTERVAL_MS = 1_000;
/** What changes together is told together. */
const NEWS_DELAY_MS = 50;
/** Events after which a list may be another one; the others, of which there are many, are not looked at. */
const NEWS_EVENTS: ReadonlySet<EventType> = new Set([
  "config_committed",
  "config_reloaded",
  "server_changed",
  "server_group_updated",
  "server_removed",
  "server_renamed",
  "server_state_changed",
  "tools_changed",
]);

/** Whose list it is. */
export interface ListHolder {
  readonly toolset: Pick<Toolset, "isTouchedBy" | "isThere">;
}

/** Options of {@link ListNews}. */
export interface ListNewsOptions<Holder extends ListHolder> {
  readonly bus: EventBus;
  /** The list may be another one. */
  readonly onChange: (holder: Holder) => void;
  /** What is listed is not there any more; it is not followed from then on. */
  readonly onGone?: (holder: Holder) => void;
}

/** Follows events and tells of lists. */
export class ListNews<Holder extends ListHolder> {
  readonly #options: ListNewsOptions<Holder>;
  readonly #holders = new Set<Holder>();
  /** Those whose list may have changed since it was told. */
  readonly #touched = new Set<Holder>();
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  /** On the monotonic clock. */
  #toldAt = -Infinity;

  constructor(options: ListNewsOptions<Holder>) {
    this.#options = options;
    this.#unsubscribe = options.bus.subscribe((event) => this.#hear(event));
  }

  /** Tells of a list from now on. */
  follow(holder: Holder): void {
    this.#holders.add(holder);
  }

  /** Tells nothing any more. Idempotent. */
  close(): void {
    this.#unsubscribe();
    clearTimeout(this.#timer);
    this.#holders.clear();
    this.#touched.clear();
  }

  #hear(event: ProxyEvent): void {
    if (!NEWS_EVENTS.has(event.type)) return;
    for (const holder of this.#holders) {
      if (holder.toolset.isThere()) {
        if (holder.toolset.isTouchedBy(event)) this.#touched.add(holder);
        continue;
      }
      this.#holders.delete(holder);
      this.#touched.delete(holder);
      this.#options.onGone?.(holder);
    }
    if (this.#touched.size === 0 || this.#timer !== undefined) return;
    const wait = this.#toldAt + NEWS_INTERVAL_MS - performance.now();
    this.#timer = setTimeout(() => this.#tell(), Math.max(NEWS_DELAY_MS, wait));
  }

  #tell(): void {
    this.#timer = undefined;
    this.#toldAt = performance.now();
    const touched = [...this.#touched];
    this.#touched.clear();
    for (const holder of touched) this.#options.onChange(holder);
  }
}
