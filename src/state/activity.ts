/**
 * The record of what was done: calls of tools, changes by operators, moves of the proxy's own.
 *
 * Owns the table `activity`, the queue before it, and how long entries stay. Invariants: adding never waits, never
 * throws and costs a push; a queue that is full drops its oldest and counts it; reading and pruning go in slices
 * between which the event loop turns, however long the table is. An index for each filter was rejected: one on the
 * server made writing an entry four times as dear, and every call pays for it.
 */
import type { Database } from "bun:sqlite";
import { messageOf } from "../core/errors.ts";
import type { ActivitySettings } from "../core/settings.ts";
import { BatchQueue } from "../lib/batch_queue.ts";
import type { QueueCounts } from "../lib/batch_queue.ts";
import type { Log } from "../lib/log.ts";
import { ACTIVITY_COLUMNS, prepareActivity } from "./activity_statements.ts";
import type { StoredActivity } from "./activity_statements.ts";

/** How long an entry may wait for others to share its transaction. */
const BATCH_DELAY_MS = 25;
/** Entries of one transaction: about a millisecond. */
const BATCH_ROWS = 500;
/** What may wait; beyond that the disk is too slow, or gone. */
const QUEUE_ROWS = 10_000;
const QUEUE_CHARS = 16 * 1024 * 1024;
/** Rows that are read or counted in one turn of the event loop. */
const SLICE_ROWS = 5_000;
const PRUNE_ROWS = 2_000;
const PRUNE_INTERVAL_MS = 60_000;
/** A disk that is full is reported once in this time. */
const REPORT_INTERVAL_MS = 60_000;

/** How something ended; `blocked` is what the proxy itself refused. */
export type ActivityStatus = "success" | "error" | "blocked";

/** Something that was done; nothing in it is secret. */
export interface ActivityEntry {
  /** Unix milliseconds. */
  readonly at: number;
  /** As in `tool_call`. */
  readonly type: string;
  /** Where it came from. */
  readonly source: "mcp" | "api" | "cli" | "proxy";
  readonly status: ActivityStatus;
  readonly server?: string | undefined;
  readonly tool?: string | undefined;
  /** What a call was meant to be: `read`, `write` or `destructive`. */
  readonly intent?: string | undefined;
  readonly durationMs?: number | undefined;
  readonly requestId?: string | undefined;
  /** The beginning of a session's id. */
  readonly session?: string | undefined;
  /** Who did it. */
  readonly principal?: string | undefined;
  /** What went wrong. */
  readonly message?: string | undefined;
  /** Arguments and further facts, JSON. */
  readonly detail?: string | undefined;
}

/** An entry that was written; ids only grow. */
export interface ActivityRow extends ActivityEntry {
  readonly id: number;
}

/** Which entries are meant; what is absent does not narrow. */
export interface ActivityFilter {
  readonly types?: readonly string[] | undefined;
  readonly status?: ActivityStatus | undefined;
  readonly server?: string | undefined;
  readonly tool?: string | undefined;
  readonly intent?: string | undefined;
  readonly requestId?: string | undefined;
  readonly session?: string | undefined;
  /** Unix milliseconds, inclusive. */
  readonly from?: number | undefined;
  /** Unix milliseconds, exclusive. */
  readonly to?: number | undefined;
}

/** Entries that belong together, counted. */
export interface ActivityTally {
  readonly status: ActivityStatus;
  readonly server: string | undefined;
  readonly tool: string | undefined;
  readonly count: number;
}

/** Options of {@link Activity.read}. */
export interface ReadOptions {
  /** Only entries with smaller ids. */
  readonly before?: number | undefined;
  readonly pageRows: number;
}

/** Options of {@link Activity}. */
export interface ActivityOptions {
  readonly db: Database;
  readonly log: Log;
  /** @default 10000 */
  readonly queueRows?: number;
  /** Unix milliseconds. @default Date.now */
  readonly now?: () => number;
}

/** The open record. */
export class Activity {
  readonly #db: Database;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #statements: ReturnType<typeof prepareActivity>;
  readonly #queue: BatchQueue<ActivityRow>;
  #lastId: number;
  #reportedAt = -Infinity;
  #settings: ActivitySettings = { retentionMs: 0, maxRows: 0 };
  #pruner: Timer | undefined;
  #isClosed = false;

  constructor(options: ActivityOptions) {
    const { db, log, queueRows = QUEUE_ROWS, now = Date.now } = options;
    this.#db = db;
    this.#log = log;
    this.#now = now;
    this.#statements = prepareActivity(db, PRUNE_ROWS);
    this.#lastId = this.#statements.last.get()?.id ?? 0;
    this.#queue = new BatchQueue<ActivityRow>({
      write: (batch) => this.#write(batch),
      onFailure: (error) => this.reportLoss(error),
      delayMs: BATCH_DELAY_MS,
      batchItems: BATCH_ROWS,
      maxItems: queueRows,
      maxSize: QUEUE_CHARS,
      sizeOf: charsOf,
    });
  }

  /** Whether entries are kept at all. */
  get isOn(): boolean {
    return this.#settings.maxRows > 0 && !this.#isClosed;
  }

  /** What became of the entries of this run. */
  get counts(): QueueCounts {
    return this.#queue.counts;
  }

  /** Puts other limits in force; what is beyond them goes within a minute. Before the first, nothing is kept. */
  apply(settings: ActivitySettings): void {
    this.#settings = settings;
    clearTimeout(this.#pruner);
    this.#pruner = this.#isClosed ? undefined : setTimeout(() => this.#prune(), PRUNE_INTERVAL_MS);
    this.#pruner?.unref();
  }

  /** Writes an entry down within 50 ms. */
  add(entry: ActivityEntry): void {
    if (!this.isOn) return;
    this.#lastId += 1;
    this.#queue.push({ ...entry, id: this.#lastId });
  }

  /** Tells the log, now and then, that entries are lost. */
  reportLoss(error: unknown): void {
    const now = performance.now();
    if (now - this.#reportedAt < REPORT_INTERVAL_MS) return;
    this.#reportedAt = now;
    this.#log.error("Cannot write the activity down: entries are lost", {
      cause: messageOf(error),
      hint: "Check free space and permissions of the data dir",
    });
  }

  /** Reads an entry. */
  find(id: number): ActivityRow | undefined {
    this.flush();
    const row = this.#isClosed ? undefined : this.#statements.one.get({ id });
    return row && fromRow(row);
  }

  /** Reads entries, the newest first, in lists of at most `pageRows`; the event loop turns between them. */
  async *read(filter: ActivityFilter, options: ReadOptions): AsyncGenerator<readonly ActivityRow[]> {
    const { before = Infinity, pageRows } = options;
    const { rows: statement } = this.#readsOf(filter);
    for await (const { low, high } of this.#slices(filter, before)) {
      for (let end = high; !this.#isClosed; await turn()) {
        const params = { ...paramsOf(filter), low, high: end, limit: pageRows };
        const rows = statement.all(params).map(fromRow);
        if (rows.length > 0) yield rows;
        if (rows.length < pageRows) break;
        end = rows.at(-1)?.id ?? low;
      }
    }
  }

  /** Counts entries; without a filter from the ids alone, of which few are missing. */
  async count(filter: ActivityFilter): Promise<number> {
    const isWhole = Object.values(filter).every((value) => value === undefined);
    if (isWhole) return this.#isClosed ? 0 : this.#lastId + 1 - this.#firstId();
    const { count: statement } = this.#readsOf(filter);
    let count = 0;
    for await (const slice of this.#slices(filter, Infinity)) {
      count += statement.get({ ...paramsOf(filter), ...slice })?.count ?? 0;
    }
    return count;
  }

  /** Counts entries by how they ended and what they were about. */
  async tally(filter: ActivityFilter): Promise<ActivityTally[]> {
    const tallies = new Map<string, ActivityTally>();
    const { tally: statement } = this.#readsOf(filter);
    for await (const slice of this.#slices(filter, Infinity)) {
      for (const row of statement.all({ ...paramsOf(filter), ...slice })) {
        const { status, server, tool } = row;
        const key = JSON.stringify([status, server, tool]);
        tallies.set(key, {
          status: status as ActivityStatus,
          server: server ?? undefined,
          tool: tool ?? undefined,
          count: row.count + (tallies.get(key)?.count ?? 0),
        });
      }
    }
    return [...tallies.values()];
  }

  /** Writes what waits; what cannot be written is dropped and counted. */
  flush(): void {
    this.#queue.flush();
  }

  /** Removes what is past its time or beyond the number; the event loop turns between slices. */
  async prune(): Promise<void> {
    this.flush();
    while (!this.#isClosed && this.#pruneSlice() === PRUNE_ROWS) await turn();
  }

  /** Flushes; nothing is added or read any more. The database is closed by who opened it. */
  close(): void {
    if (this.#isClosed) return;
    this.flush();
    this.#isClosed = true;
    clearTimeout(this.#pruner);
  }

  #readsOf({ requestId }: ActivityFilter) {
    return requestId === undefined ? this.#statements.any : this.#statements.ofRequest;
  }

  #firstId(): number {
    return this.#statements.first.get()?.id ?? this.#lastId + 1;
  }

  /** Ranges of ids from the newest down, as long as there may be something. */
  async *#slices(
    { from }: ActivityFilter,
    before: number,
  ): AsyncGenerator<{ readonly low: number; readonly high: number }> {
    this.flush();
    if (this.#isClosed) return;
    const first = this.#firstId();
    const last = Math.min(before, this.#lastId + 1);
    for (let high = last; high > first && !this.#isClosed; high -= SLICE_ROWS) {
      const low = Math.max(first, high - SLICE_ROWS);
      // Clocks are set back now and then, but not by so many entries.
      const newest = from === undefined ? undefined : this.#statements.newest.get({ low, high })?.at;
      if (typeof newest === "number" && newest < (from ?? 0)) return;
      yield { low, high };
      await turn();
    }
  }

  #write(batch: readonly ActivityRow[]): void {
    this.#db.transaction(() => {
      for (const row of batch) this.#statements.add.run(...toRow(row));
    })();
  }

  #prune(): void {
    void this.prune()
      .catch((error: unknown) => this.reportLoss(error))
      .finally(() => this.apply(this.#settings));
  }

  #pruneSlice(): number {
    const { retentionMs, maxRows } = this.#settings;
    const before = retentionMs > 0 ? this.#now() - retentionMs : 0;
    const floor = this.#lastId - maxRows;
    return this.#statements.prune.all({ before, floor }).length;
  }
}

function paramsOf(filter: ActivityFilter): Record<string, unknown> {
  const { types, from = 0, to = Number.MAX_SAFE_INTEGER, ...rest } = filter;
  const { status, server, tool, intent, session, requestId } = rest;
  return {
    types: types === undefined ? null : `,${types.join(",")},`,
    from,
    to,
    status: status ?? null,
    server: server ?? null,
    tool: tool ?? null,
    intent: intent ?? null,
    session: session ?? null,
    requestId: requestId ?? null,
  };
}

function toRow(row: ActivityRow): (string | number | null)[] {
  return ACTIVITY_COLUMNS.map((name) => row[name] ?? null);
}

function fromRow(row: StoredActivity): ActivityRow {
  const present = Object.entries(row).filter(([, value]) => value !== null);
  return Object.fromEntries(present) as unknown as ActivityRow;
}

/** About what it holds in memory beyond its fixed parts. */
function charsOf({ detail = "", message = "" }: ActivityEntry): number {
  return detail.length + message.length;
}

/** Lets the event loop turn. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
