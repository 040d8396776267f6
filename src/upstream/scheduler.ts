/**
 * Who may start now, who waits outside, who waits in line.
 *
 * Owns the places of one lane (processes, or URLs), its waiting room and its line. A place bounds what is
 * starting: an attempt that is silent for its patience gives its place back and waits in the room, or keeps it
 * while the room is full; one that has answered goes on without either. Invariants: never more than `places` in
 * places and `room` in the room; nobody overtakes within a rank; while someone waits for a first attempt, no
 * second attempt starts. One place for the whole of an attempt was rejected: ten hanging servers would stop all
 * others. Evicting as soon as the room is full was rejected too: it cuts downloads short for a line of three.
 *
 *   line ──place free──▶ place ──patience, silent──▶ room ──answer, end──▶ gone
 *    ▲                     │ answer + patience, end ──────────────────────▶ gone
 *    └──── evicted: past its first deadline, too few places left for first attempts ────────┘ (by the owner)
 */
import type { CancelTimer, Clock } from "../lib/clock.ts";
import type { ServerMemory } from "../state/store.ts";

/** The order of the line; lower starts first, and within a rank the lower `key`, then who came first. */
export const RANK = {
  /** Somebody waits for this very server. */
  call: 0,
  /** Worked before; `key` is how long its last start took. */
  known: 1,
  unknown: 2,
  failedLastTime: 3,
  /** Not the first attempt since the proxy started. */
  again: 4,
} as const;

/** A place in the order of the line. */
export interface RankedRequest {
  readonly rank: number;
  /** @default 0 */
  readonly key?: number;
}

/** The rank of a server's first attempt: those that worked before come first, the fastest in front. */
export function rankOf(memory: ServerMemory | undefined): RankedRequest {
  if (memory?.failedLast) return { rank: RANK.failedLastTime };
  return memory?.everConnected ? { rank: RANK.known, key: memory.connectMs ?? 0 } : { rank: RANK.unknown };
}

/** Compares two in the order of the line; 0 leaves it to who came first. */
export function byRank(a: RankedRequest, b: RankedRequest): number {
  return a.rank - b.rank || (a.key ?? 0) - (b.key ?? 0);
}

/** What is asked of the scheduler for one attempt. */
export interface Request extends RankedRequest {
  /** Silence after which the place is given back, milliseconds. */
  readonly patienceMs: number;
  /** Age after which the attempt may be sent back to the line for others; they may wait as long. Milliseconds. */
  readonly firstDeadlineMs: number;
  /** The place is there: begin. */
  readonly onStart: () => void;
  /** The room is needed: end the attempt, uncounted, and ask again at the end of the line. */
  readonly onEvict: () => void;
}

/** One attempt's standing with the scheduler. */
export interface Ticket {
  /** Joins the line; `onStart` may be called before this returns. */
  readonly join: () => void;
  /** The server has said its first byte. */
  readonly answered: () => void;
  /** The attempt has ended, or nobody wants it any more. */
  readonly done: () => void;
}

/** Sizes of a lane. */
export interface SchedulerOptions {
  readonly places: number;
  readonly room: number;
  readonly clock: Clock;
}

type Where = "line" | "place" | "room" | "gone";

interface Entry extends Request {
  where: Where;
  hasAnswered: boolean;
  isPatienceOver: boolean;
  startedAt: number;
  cancelTimer: CancelTimer;
}

/** The places of one lane. */
export class Scheduler {
  #options: SchedulerOptions;
  readonly #line: Entry[] = [];
  readonly #inPlace = new Set<Entry>();
  /** In the order they came. */
  readonly #inRoom = new Set<Entry>();
  #cancelEviction: CancelTimer = () => {};
  #isServing = false;
  #isClosed = false;

  /** @throws {RangeError} when a size is not an integer, or there is no place; there may be no room. */
  constructor(options: SchedulerOptions) {
    checkSizes(options);
    this.#options = options;
  }

  /** Attempts in places. */
  get starting(): number {
    return this.#inPlace.size;
  }

  /** Attempts in the waiting room. */
  get waiting(): number {
    return this.#inRoom.size;
  }

  /** Requests in line. */
  get queued(): number {
    return this.#line.length;
  }

  /** Starts and evicts nobody any more: whoever leaves makes room for no other. */
  close(): void {
    this.#isClosed = true;
    this.#cancelEviction();
  }

  /**
   * Has other sizes from now on; whoever is in a place or in the room stays there.
   *
   * @throws {RangeError} as the constructor does; nothing changes then.
   */
  resize(sizes: Omit<SchedulerOptions, "clock">): void {
    checkSizes(sizes);
    this.#options = { ...this.#options, ...sizes };
    this.#serve();
  }

  /** Makes a ticket for one attempt. */
  ticket(request: Request): Ticket {
    const entry: Entry = {
      ...request,
      where: "gone",
      hasAnswered: false,
      isPatienceOver: false,
      startedAt: 0,
      cancelTimer: () => {},
    };
    return {
      join: () => this.#join(entry),
      answered: () => this.#answered(entry),
      done: () => this.#leave(entry),
    };
  }

  #join(entry: Entry): void {
    entry.where = "line";
    const at = this.#line.findIndex((other) => byRank(entry, other) < 0);
    this.#line.splice(at === -1 ? this.#line.length : at, 0, entry);
    this.#serve();
  }

  #answered(entry: Entry): void {
    if (entry.hasAnswered) return;
    entry.hasAnswered = true;
    if (entry.where === "room" || entry.isPatienceOver) this.#leave(entry);
  }

  #leave(entry: Entry): void {
    if (entry.where === "gone") return;
    entry.cancelTimer();
    if (entry.where === "line") this.#line.splice(this.#line.indexOf(entry), 1);
    this.#inPlace.delete(entry);
    this.#inRoom.delete(entry);
    entry.where = "gone";
    this.#serve();
  }

  /** Moves whoever can move. Starting one may call back in here; the outer turn goes on for both. */
  #serve(): void {
    if (this.#isServing || this.#isClosed) return;
    this.#isServing = true;
    try {
      this.#fillRoom();
      while (this.#inPlace.size < this.#options.places) {
        const next = this.#line.shift();
        if (next === undefined) break;
        this.#start(next);
        this.#fillRoom();
      }
      this.#evict();
    } finally {
      this.#isServing = false;
    }
  }

  #start(entry: Entry): void {
    entry.where = "place";
    entry.startedAt = this.#options.clock.now();
    this.#inPlace.add(entry);
    entry.cancelTimer = this.#options.clock.after(entry.patienceMs, () => {
      entry.isPatienceOver = true;
      if (entry.hasAnswered) this.#leave(entry);
      else this.#serve();
    });
    entry.onStart();
  }

  /** The silent ones whose patience is over go into the room, as far as there is room. */
  #fillRoom(): void {
    for (const entry of this.#inPlace) {
      if (this.#inRoom.size >= this.#options.room) return;
      if (!entry.isPatienceOver) continue;
      this.#inPlace.delete(entry);
      this.#inRoom.add(entry);
      entry.where = "room";
    }
  }

  /** Room for who waits for a first attempt: the longest-waiting one past its first deadline makes way. */
  #evict(): void {
    this.#cancelEviction();
    this.#cancelEviction = () => {};
    const neededMs = this.#evictionNeededMs();
    if (neededMs === Infinity || this.#inRoom.size === 0) return;
    const { clock } = this.#options;
    const now = clock.now();
    const dueMs = (entry: Entry): number => Math.max(neededMs, entry.startedAt + entry.firstDeadlineMs - now);
    const longest = this.#inRoom.values().find((entry) => dueMs(entry) <= 0);
    if (longest === undefined) {
      const nextMs = Math.min(...this.#inRoom.values().map(dueMs));
      this.#cancelEviction = clock.after(nextMs, () => this.#serve());
      return;
    }
    longest.cancelTimer();
    this.#inRoom.delete(longest);
    longest.where = "gone";
    // Its owner asks again before the next turn, so that it stands at the end of the line.
    longest.onEvict();
    this.#cancelEviction = clock.after(0, () => this.#serve());
  }

  /**
   * How soon somebody has to make way, milliseconds; Infinity while that is not needed: the places that silent ones
   * do not hold bring all who wait for a first attempt through the line within a first deadline. Where no place is
   * left, one more patience shows whether a holder answers after all.
   */
  #evictionNeededMs(): number {
    const { clock, places } = this.#options;
    const firsts = this.#line.filter((entry) => entry.rank < RANK.again);
    const held = [...this.#inPlace].filter(isOver).length;
    const [head] = firsts;
    if (head === undefined || held === 0) return Infinity;
    const passMs = (firsts.length * head.patienceMs) / (places - held);
    if (held < places) return passMs > head.firstDeadlineMs ? 0 : Infinity;
    const graceEnds = [...this.#inPlace].map(({ startedAt, patienceMs }) => startedAt + 2 * patienceMs);
    return Math.max(0, Math.max(...graceEnds) - clock.now());
  }
}

function checkSizes({ places, room }: Omit<SchedulerOptions, "clock">): void {
  for (const [name, size, least] of [
    ["places", places, 1],
    ["room", room, 0],
  ] as const) {
    if (!Number.isInteger(size) || size < least) {
      throw new RangeError(
        `Cannot make a scheduler: '${name}' must be an integer from ${least}, was ${size}`,
      );
    }
  }
}

function isOver(entry: Entry): boolean {
  return entry.isPatienceOver;
}
