/**
 * The latest events, kept for those who come back, and the only place where events wait for anybody.
 *
 * Owns how many are kept, their text on the wire, and what of a long one is cut. Invariants: taking an event in costs
 * the same however many read; it is bounded in number and in size, the oldest go first; an event is written as JSON
 * once at most, and only when somebody reads it; ids follow each other by one, so a place is an id. A queue for each
 * reader was rejected: a thousand readers would hold a thousand copies.
 */
import type { EventBus, ProxyEvent } from "./events.ts";

/** What is kept for replay. */
const MAX_EVENTS = 10_000;
/** Texts and lists of all that is kept; names of thousands of tools in one event would add up. */
const MAX_CHARS = 24 * 1024 * 1024;
/** A longer one is cut, so that a reader's buffer holds a few of the longest. */
export const MAX_EVENT_BYTES = 32 * 1024;
const CUT_ITEMS = 50;
const CUT_CHARS = 500;
/** A list's item: a name, or a fault of the configuration. */
const ITEM_CHARS = 60;

/** Instead of events that are not kept any more; `id` is the last of them. */
export interface GapEvent {
  readonly id: number;
  /** Unix milliseconds. */
  readonly time: number;
  readonly type: "gap";
  readonly data: { readonly from: number; readonly to: number };
}

/** Options of {@link EventRing}. */
export interface EventRingOptions {
  readonly bus: EventBus;
  /** @default 10000 */
  readonly maxEvents?: number;
  /** @default 24 Mi */
  readonly maxChars?: number;
}

interface Kept {
  readonly event: ProxyEvent;
  readonly chars: number;
  text: string | undefined;
}

/** Keeps the latest events of a bus; the ids up to `last` stand for a place in it. */
export class EventRing implements Disposable {
  readonly #kept: (Kept | undefined)[];
  readonly #maxChars: number;
  readonly #unsubscribe: () => void;
  #chars = 0;
  #oldest: number;
  #last: number;

  constructor(options: EventRingOptions) {
    const { bus, maxEvents = MAX_EVENTS, maxChars = MAX_CHARS } = options;
    this.#kept = Array.from({ length: maxEvents }, () => undefined);
    this.#maxChars = maxChars;
    this.#last = bus.lastId;
    this.#oldest = this.#last + 1;
    this.#unsubscribe = bus.subscribe((event) => this.#take(event));
  }

  /** The id of the latest event. */
  get last(): number {
    return this.#last;
  }

  /** The smallest id that is kept; one more than `last` when there is none. */
  get oldest(): number {
    return this.#oldest;
  }

  /** Whether all that came after an event is here. */
  reachesBackTo(id: number): boolean {
    return id >= this.#oldest - 1 && id <= this.#last;
  }

  /** Reads an event; undefined when it is not kept any more, or not yet there. */
  find(id: number): ProxyEvent | undefined {
    return this.#at(id)?.event;
  }

  /** An event as JSON; empty when it is not there. */
  textOf(id: number): string {
    const kept = this.#at(id);
    if (kept === undefined) return "";
    kept.text ??= toText(kept.event);
    return kept.text;
  }

  /** What stands for the events after `since` up to now, when somebody cannot have them. */
  gapSince(since: number): GapEvent {
    // Ids from another life of the data dir may be larger than ours.
    const from = since < this.#last ? since + 1 : this.#last;
    return { id: this.#last, time: Date.now(), type: "gap", data: { from, to: this.#last } };
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  #at(id: number): Kept | undefined {
    return id < this.#oldest || id > this.#last ? undefined : this.#kept[id % this.#kept.length];
  }

  #take(event: ProxyEvent): void {
    if (this.#last - this.#oldest + 1 === this.#kept.length) this.#dropOldest();
    const chars = sizeOf(event);
    this.#last = event.id;
    this.#kept[event.id % this.#kept.length] = { event, chars, text: undefined };
    this.#chars += chars;
    while (this.#chars > this.#maxChars && this.#oldest < this.#last) this.#dropOldest();
  }

  #dropOldest(): void {
    const place = this.#oldest % this.#kept.length;
    this.#chars -= this.#kept[place]?.chars ?? 0;
    this.#kept[place] = undefined;
    this.#oldest += 1;
  }
}

/** About how long its text is; exact enough for a bound, and cheap enough for each publish. */
function sizeOf(event: ProxyEvent): number {
  let chars = 200;
  for (const value of Object.values(event.data) as unknown[]) {
    if (typeof value === "string") chars += value.length;
    else if (Array.isArray(value)) chars += value.length * ITEM_CHARS;
  }
  return chars;
}

function toText(event: ProxyEvent): string {
  const text = JSON.stringify(event);
  if (Buffer.byteLength(text) <= MAX_EVENT_BYTES) return text;
  const shorter = JSON.stringify({ ...event, data: cut(event.data), truncated: true });
  if (Buffer.byteLength(shorter) <= MAX_EVENT_BYTES) return shorter;
  return JSON.stringify({ ...event, data: cut(event.data, 10), truncated: true });
}

/** Cuts texts and lists; `share` times shorter than usual. */
function cut(value: unknown, share = 1): unknown {
  if (typeof value === "string") return value.slice(0, CUT_CHARS / share);
  if (Array.isArray(value)) return value.slice(0, CUT_ITEMS / share).map((item) => cut(item, share));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, cut(item, share)]));
}
