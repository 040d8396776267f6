/**
 * Readers of the proxy's event streams.
 *
 * Owns a WebSocket or SSE connection and what arrived on it, with the time of arrival. Invariants: what is no event
 * (snapshots, heartbeats) is passed over; ids are kept in the order of arrival, so that gaps, doubles and disorder show.
 */

/** What the proxy closes a reader with that does not keep up. */
const TOO_SLOW = 1013;

/** An event as it arrived. */
export interface Arrival {
  readonly id: number;
  readonly type: string;
  readonly server?: string;
  /** Of the configuration, when it is the effect of a change. */
  readonly revision?: number;
  readonly data: Readonly<Record<string, unknown>>;
  /** Unix milliseconds of the publish. */
  readonly time: number;
  /** Unix milliseconds with a fraction. */
  readonly at: number;
}

/** Reads events until closed; what arrives is parsed when it is looked at, so that a crowd of readers costs little. */
export class EventReader implements Disposable {
  #gaps = 0;
  readonly #arrivals: Arrival[] = [];
  #unread: { readonly text: string; readonly at: number }[] = [];
  readonly #end: () => void;
  #lastId: number | undefined;

  private constructor(end: () => void) {
    this.#end = end;
  }

  /** What arrived; it is emptied by whoever wants it to be. */
  get arrivals(): Arrival[] {
    this.#readAll();
    return this.#arrivals;
  }

  /** How often it was told that something is missing, which the proxy no longer has. */
  get gaps(): number {
    this.#readAll();
    return this.#gaps;
  }

  /** Messages that were not looked at yet, events or not. */
  get unread(): number {
    return this.#unread.length;
  }

  /**
   * Opens a WebSocket and waits until it is open; closed for being slow it comes back for what it missed, as clients do.
   *
   * @param types only events of these, parted by commas; the ids of such a stream have holes
   */
  static async overSocket(url: string, key: string, types?: string): Promise<EventReader> {
    let socket: WebSocket | undefined;
    let isOver = false;
    const reader = new EventReader(() => {
      isOver = true;
      socket?.close();
    });
    const open = (): Promise<void> => {
      const last = reader.#last();
      const query = new URLSearchParams({
        ...(types === undefined ? {} : { types }),
        ...(last === undefined ? {} : { since: `${last}` }),
      });
      const opened = new WebSocket(`${url.replace(/^http/, "ws")}/ws/events?${query.toString()}`, {
        headers: { "x-api-key": key },
      } as unknown as string[]);
      socket = opened;
      opened.addEventListener("message", ({ data }) => reader.#take(String(data)));
      opened.addEventListener("close", ({ code }) => {
        if (code === TOO_SLOW && !isOver) void open().catch(() => {});
      });
      return new Promise((resolve, reject) => {
        opened.addEventListener("open", () => resolve());
        opened.addEventListener("error", () => reject(new Error("The WebSocket was refused")));
      });
    };
    await open();
    return reader;
  }

  /** Opens an SSE stream and waits until it answered. */
  static async overStream(url: string, key: string): Promise<EventReader> {
    const ended = new AbortController();
    const response = await fetch(`${url}/events`, { headers: { "x-api-key": key }, signal: ended.signal });
    if (!response.ok || response.body === null) throw new Error(`The stream was refused: ${response.status}`);
    const reader = new EventReader(() => ended.abort());
    void reader.#follow(response.body).catch(() => {});
    return reader;
  }

  /** Ends the connection. */
  [Symbol.dispose](): void {
    this.#end();
  }

  async #follow(body: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of body) {
      rest += decoder.decode(chunk, { stream: true });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data:")) this.#take(line.slice("data:".length));
    }
  }

  /** The id to come back with. */
  #last(): number | undefined {
    this.#readAll();
    return this.#lastId;
  }

  #readAll(): void {
    const unread = this.#unread;
    this.#unread = [];
    for (const { text, at } of unread) this.#read(text, at);
  }

  #take(text: string): void {
    this.#unread.push({ text, at: performance.timeOrigin + performance.now() });
  }

  #read(text: string, at: number): void {
    try {
      const event = JSON.parse(text) as Partial<Arrival>;
      if (event.type === "gap") this.#gaps += 1;
      if (typeof event.id !== "number" || typeof event.type !== "string") return;
      this.#lastId = event.id;
      this.#arrivals.push({ ...(event as Arrival), at });
    } catch {
      // A heartbeat.
    }
  }
}

/**
 * How many events are missing, doubled or out of order; ids of one stream follow one another.
 *
 * @param isFiltered they may have holes then: what is missing does not show
 */
export function faultsOf(arrivals: readonly Arrival[], { isFiltered = false } = {}): number {
  let faults = 0;
  for (const [index, { id }] of arrivals.entries()) {
    const before = arrivals[index - 1];
    if (before !== undefined && (isFiltered ? id <= before.id : id !== before.id + 1)) faults += 1;
  }
  return faults;
}
