/**
 * Ids of events that go on after a restart.
 *
 * Owns the file `event_ids` in the data dir: the id up to which a run may have given ids away. Invariants: a block is
 * on the disk before its first id is given; the next one is reserved long before it is needed, and never by whoever
 * asks for an id; a run that ended calmly leaves no hole, so that a client that saw its last event missed nothing. A
 * row in the database was rejected: a database that is set aside as corrupt would take the ids back to 1, and a
 * client would be told that it missed nothing when it missed all.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { messageOf } from "../core/errors.ts";
import type { EventIdSource } from "../core/events.ts";
import { writeFileAtomic } from "../lib/atomic_file.ts";
import type { Log } from "../lib/log.ts";

/** Ids reserved at once. At 5,000 events a second one is written every 100 s. */
const BLOCK = 1_000_000;
/** After a block could not be written. */
const RETRY_AFTER_IDS = 10_000;

/** Options of {@link EventIds.open}. */
export interface EventIdsOptions {
  readonly dataDir: string;
  readonly log: Log;
  /** @default 1000000 */
  readonly block?: number;
}

/** Gives ids away. */
export class EventIds implements EventIdSource, AsyncDisposable {
  readonly #path: string;
  readonly #log: Log;
  readonly #block: number;
  #last: number;
  #reserved: number;
  /** From this id on more is reserved. */
  #reserveAt: number;
  #reserving: NodeJS.Immediate | undefined;
  #isClosed = false;

  private constructor(options: EventIdsOptions, last: number) {
    this.#path = pathIn(options.dataDir);
    this.#log = options.log;
    this.#block = options.block ?? BLOCK;
    this.#last = last;
    this.#reserved = last;
    this.#reserveAt = last;
  }

  /** Goes on where the earlier run may have ended; a first run begins with 1. */
  static open(options: EventIdsOptions): EventIds {
    const ids = new EventIds(options, readLast(pathIn(options.dataDir)));
    ids.#reserve();
    return ids;
  }

  get last(): number {
    return this.#last;
  }

  next(): number {
    this.#last += 1;
    if (this.#last >= this.#reserveAt && this.#reserving === undefined && !this.#isClosed) {
      this.#reserving = setImmediate(() => {
        this.#reserving = undefined;
        this.#reserve();
      });
    }
    return this.#last;
  }

  /** Notes where this run ended. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearImmediate(this.#reserving);
    this.#write(this.#last);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #reserve(): void {
    const reserved = Math.max(this.#reserved, this.#last) + this.#block;
    if (this.#write(reserved)) {
      this.#reserved = reserved;
      this.#reserveAt = reserved - Math.floor(this.#block / 2);
    } else {
      this.#reserveAt = this.#last + RETRY_AFTER_IDS;
    }
  }

  #write(id: number): boolean {
    try {
      writeFileAtomic(this.#path, `${id}\n`);
      return true;
    } catch (error) {
      this.#log.warn("Cannot note the ids of events: after a kill some may be given twice", {
        path: this.#path,
        cause: messageOf(error),
      });
      return false;
    }
  }
}

function pathIn(dataDir: string): string {
  return join(dataDir, "event_ids");
}

/** Of a file that cannot be understood nothing is known: the time is larger than any id that was given. */
function readLast(path: string): number {
  try {
    const text = readFileSync(path, "utf8").trim();
    return /^\d{1,15}$/.test(text) ? Number(text) : Date.now();
  } catch (error) {
    return (error as { readonly code?: unknown }).code === "ENOENT" ? 0 : Date.now();
  }
}
