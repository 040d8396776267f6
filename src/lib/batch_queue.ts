/**
 * A queue that hands on in batches what is pushed, a little later.
 *
 * Owns what waits, and what is given up when it is too much. Invariants: a push never waits and never throws; what
 * waits is bounded in number and in size, the oldest is dropped first, and everything dropped is counted; between
 * two batches the event loop turns. Refusing the newest was rejected: what just happened is what people look for.
 */

/** Options of {@link BatchQueue}. */
export interface BatchQueueOptions<Item> {
  /** Takes a batch; what it throws is told to `onFailure`, and the batch counts as dropped. */
  readonly write: (batch: readonly Item[]) => void;
  readonly onFailure: (error: unknown) => void;
  /** How long an item may wait for others. */
  readonly delayMs: number;
  readonly batchItems: number;
  readonly maxItems: number;
  /** The sum of `sizeOf` over what waits. */
  readonly maxSize: number;
  readonly sizeOf: (item: Item) => number;
}

/** What became of the items. */
export interface QueueCounts {
  readonly queued: number;
  readonly written: number;
  readonly dropped: number;
}

/** Hands items on in batches. */
export class BatchQueue<Item> {
  readonly #options: BatchQueueOptions<Item>;
  /** What waits, from `#head` on. */
  #items: Item[] = [];
  #head = 0;
  #size = 0;
  #written = 0;
  #dropped = 0;
  #timer: Timer | undefined;

  constructor(options: BatchQueueOptions<Item>) {
    this.#options = options;
  }

  /** What became of all items so far. */
  get counts(): QueueCounts {
    return { queued: this.#length, written: this.#written, dropped: this.#dropped };
  }

  /** Queues an item; the oldest make way when it is too much. */
  push(item: Item): void {
    const { delayMs, maxItems, maxSize, sizeOf } = this.#options;
    this.#items.push(item);
    this.#size += sizeOf(item);
    while (this.#length > maxItems || (this.#size > maxSize && this.#length > 0)) {
      this.#take();
      this.#dropped += 1;
    }
    this.#timer ??= setTimeout(() => this.#flushOnTimer(), delayMs);
  }

  /** Hands on all that waits, before it returns. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#length > 0) this.#flushBatch();
  }

  get #length(): number {
    return this.#items.length - this.#head;
  }

  #flushOnTimer(): void {
    this.#timer = undefined;
    this.#flushBatch();
    if (this.#length > 0) this.#timer ??= setTimeout(() => this.#flushOnTimer(), 0);
  }

  #flushBatch(): void {
    const { batchItems, write, onFailure } = this.#options;
    const batch: Item[] = [];
    while (batch.length < batchItems && this.#length > 0) batch.push(this.#take());
    if (batch.length === 0) return;
    try {
      write(batch);
      this.#written += batch.length;
    } catch (error) {
      this.#dropped += batch.length;
      onFailure(error);
    }
  }

  #take(): Item {
    const item = this.#items[this.#head] as Item;
    this.#size -= this.#options.sizeOf(item);
    this.#head += 1;
    // What was taken is let go in one step, once it is most of the list.
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
