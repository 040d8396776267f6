/**
 * Events on their way to everybody who reads them.
 *
 * Owns the readers, the pace at which events go out, and the end of slow readers. Invariants: publishing costs a timer
 * at most, all else happens later and in slices; events wait in the ring alone, which is bounded; a healthy reader
 * gets each event it wants once and in order; a reader for whom more waits in this process than 256 KiB, or that
 * answers no ping, is let go before anything is lost on it. A queue for each reader was rejected: see the ring.
 */
import type { Groups } from "../catalog/groups.ts";
import { ProxyError } from "../core/errors.ts";
import { EventRing } from "../core/event_ring.ts";
import type { EventBus } from "../core/events.ts";
import type { EventFilter } from "./event_filter.ts";
import { ResponseReader, SocketReader, toChunk } from "./event_readers.ts";
import type { Farewell, Message, ReaderOptions } from "./event_readers.ts";

/** Readers at once; each costs up to the limit of its buffer. */
const MAX_READERS = 2_000;
/**
 * A socket that holds more drops what is published. Readers are looked at before each slice and let go above the
 * soft limit; a slice and its last event are what may come on top, so that nothing is ever dropped unseen.
 */
const BUFFER_BYTES = 256 * 1024;
const SOFT_LIMIT_BYTES = 128 * 1024;
const SLICE_BYTES = 64 * 1024;
/** About 10 ms of work; then the event loop turns. */
const SLICE_DELIVERIES = 20_000;
/** Between two rounds; a round costs a system call for each reader, so that many readers make it longer. */
const ROUND_MS = 5;
const ROUND_MS_PER_READER = 0.025;
const HEARTBEAT_MS = 5_000;
const PING_TIMEOUT_MS = 20_000;
/** A peer that gives no sign of life is cut after this; a slow one that wakes before reads its 1013. */
const SOCKET_IDLE_S = 60;
/** Readers say nothing. */
const MAX_INCOMING_BYTES = 4 * 1024;

/** Options of {@link EventStreams}. */
export interface EventStreamsOptions {
  readonly bus: EventBus;
  /** The groups in force. */
  readonly groups: () => Groups;
  /** @default 2000 */
  readonly maxReaders?: number;
  /** @default 5000 */
  readonly heartbeatMs?: number;
  /** @default 20000 */
  readonly pingTimeoutMs?: number;
  /** Events kept for those who come back. @default 10000 */
  readonly maxEvents?: number;
}

/** The part of the listener that serves sockets. */
export type SocketListener = Pick<Bun.Server<SocketReader>, "publish" | "timeout" | "upgrade">;

/** All readers with one filter. */
interface Audience {
  readonly filter: EventFilter;
  readonly topic: string;
  readonly sockets: Set<SocketReader>;
  readonly responses: Set<ResponseReader>;
  /** What goes out in this slice. */
  picked: Message[];
}

type Reader = SocketReader | ResponseReader;

/** What a reader asks for. */
export interface StreamRequest extends ReaderOptions {
  readonly request: Request;
  /** The listener the request came by. @default the one that was attached */
  readonly listener?: SocketListener | undefined;
}

/** Serves streams of events. */
export class EventStreams implements AsyncDisposable {
  /** What `Bun.serve` is given. */
  readonly websocket: Bun.WebSocketHandler<SocketReader>;
  /** The groups in force. */
  readonly groups: () => Groups;
  readonly #options: EventStreamsOptions;
  readonly #ring: EventRing;
  readonly #unsubscribe: () => void;
  /** All that are connected; those that are in no audience catch up. */
  readonly #readers = new Set<Reader>();
  readonly #catchingUp = new Set<Reader>();
  /** Those that were too slow, until they read that. */
  readonly #leaving = new Set<SocketReader>();
  readonly #audiences = new Map<string, Audience>();
  #listener: SocketListener | undefined;
  /** All that upgraded a request: each publishes to its own sockets. */
  readonly #publishers = new Set<SocketListener>();
  /** The id up to which the audiences were served. */
  #cursor: number;
  #round: Timer | undefined;
  #nextSlice: NodeJS.Immediate | undefined;
  #roundedAt = 0;
  #heart: Timer | undefined;
  #isClosed = false;

  constructor(options: EventStreamsOptions) {
    const { bus, groups, maxEvents } = options;
    this.#options = options;
    this.groups = groups;
    this.#ring = new EventRing({ bus, ...(maxEvents === undefined ? {} : { maxEvents }) });
    this.#cursor = this.#ring.last;
    this.#unsubscribe = bus.subscribe(() => this.#schedule());
    this.websocket = {
      backpressureLimit: BUFFER_BYTES,
      maxPayloadLength: MAX_INCOMING_BYTES,
      idleTimeout: SOCKET_IDLE_S,
      sendPings: false,
      perMessageDeflate: false,
      open: (socket) => {
        socket.data.open(socket);
        this.#begin(socket.data);
      },
      message: () => {},
      drain: (socket) => {
        socket.data.noteLife();
        this.#advance(socket.data);
      },
      pong: (socket) => socket.data.noteLife(),
      close: (socket) => {
        this.#leaving.delete(socket.data);
        this.#forget(socket.data);
      },
    };
  }

  /** Readers that are served. */
  get readerCount(): number {
    return this.#readers.size;
  }

  /** Events that those who listen have not been given yet. */
  get lag(): number {
    return this.#audiences.size === 0 ? 0 : Math.max(0, this.#ring.last - this.#cursor);
  }

  /** The id of the latest event. */
  get lastId(): number {
    return this.#ring.last;
  }

  /** Takes the listener that upgrades and publishes. */
  attach(listener: SocketListener): void {
    this.#listener = listener;
  }

  /**
   * Makes a WebSocket of a request; returns whether it was one that may become one.
   *
   * @throws {ProxyError} `STREAMS_REFUSED`
   */
  openSocket({ request, listener = this.#listener, ...options }: StreamRequest): boolean {
    this.#checkPlace();
    const reader = new SocketReader(options);
    this.#readers.add(reader);
    if (listener !== undefined) this.#publishers.add(listener);
    if (listener?.upgrade(request, { data: reader }) === true) return true;
    this.#forget(reader);
    return false;
  }

  /**
   * Makes an SSE response; `status` is what it begins with.
   *
   * @throws {ProxyError} `STREAMS_REFUSED`
   */
  openResponse(
    { request, listener = this.#listener, ...options }: StreamRequest,
    status: unknown,
  ): ReadableStream<Uint8Array> {
    this.#checkPlace();
    const reader = new ResponseReader({
      ...options,
      signal: request.signal,
      onRoom: () => this.#advance(reader),
      onGone: () => this.#forget(reader),
      cutWhenIdle: (seconds) => listener?.timeout(request, seconds),
    });
    this.#readers.add(reader);
    this.#begin(reader, (id) => reader.greet("status", status, options.since === undefined ? id : undefined));
    return reader.body;
  }

  /** Ends all streams and takes no more. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unsubscribe();
    // What was published last says why it ends.
    while (this.#heart !== undefined && this.#cursor < this.#ring.last) this.#serveSlice();
    this.#ring[Symbol.dispose]();
    for (const reader of this.#readers) this.#end(reader, "stopping");
    for (const reader of this.#leaving) reader.end("slow");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #checkPlace(): void {
    const { maxReaders = MAX_READERS } = this.#options;
    if (!this.#isClosed && this.#readers.size + this.#leaving.size < maxReaders) return;
    throw new ProxyError(
      "STREAMS_REFUSED",
      `Cannot open a stream of events: ${this.#isClosed ? "the proxy stops" : `${maxReaders} are open`}`,
      { hint: "Close others, or try again later with ?since= the last id" },
    );
  }

  #begin(reader: Reader, greet: (id: number) => void = () => {}): void {
    const ring = this.#ring;
    if (this.#heart === undefined) {
      const { heartbeatMs = HEARTBEAT_MS } = this.#options;
      this.#heart = setInterval(() => this.#beat(), heartbeatMs);
      // Nobody was there to be served.
      this.#cursor = ring.last;
    }
    const { since = this.#cursor } = reader;
    greet(since);
    reader.cursor = since;
    if (!ring.reachesBackTo(since)) {
      const gap = ring.gapSince(since);
      reader.send([{ id: gap.id, type: gap.type, text: JSON.stringify(gap) }]);
      reader.cursor = gap.id;
    }
    this.#catchingUp.add(reader);
    this.#advance(reader);
  }

  /** Brings a reader that catches up closer to the others, as far as it has room; once there, it is one of them. */
  #advance(reader: Reader): void {
    if (!this.#catchingUp.has(reader)) return;
    if (!this.#ring.reachesBackTo(reader.cursor)) return this.#end(reader, "slow");
    if (reader.cursor < this.#cursor && reader.hasRoom) {
      reader.send(this.#readOn(reader));
      // The loop turns between two slices, here as well.
      if (reader.cursor < this.#cursor && reader.hasRoom) setImmediate(() => this.#advance(reader));
    }
    if (reader.cursor === this.#cursor) this.#admit(reader);
  }

  /** The next events for a reader that catches up. */
  #readOn(reader: Reader): Message[] {
    const messages: Message[] = [];
    for (let bytes = 0; reader.cursor < this.#cursor && bytes < SLICE_BYTES;) {
      reader.cursor += 1;
      const event = this.#ring.find(reader.cursor);
      if (event === undefined || !reader.filter.matches(event)) continue;
      const text = this.#ring.textOf(event.id);
      messages.push({ id: event.id, type: event.type, text });
      bytes += Buffer.byteLength(text);
    }
    return messages;
  }

  #admit(reader: Reader): void {
    this.#catchingUp.delete(reader);
    const { filter } = reader;
    let audience = this.#audiences.get(filter.key);
    if (audience === undefined) {
      audience = { filter, topic: filter.key, sockets: new Set(), responses: new Set(), picked: [] };
      this.#audiences.set(filter.key, audience);
    }
    if (reader instanceof SocketReader) {
      audience.sockets.add(reader);
      reader.follow(audience.topic);
    } else {
      audience.responses.add(reader);
    }
  }

  #schedule(): void {
    if (this.#round !== undefined || this.#nextSlice !== undefined || this.#heart === undefined) return;
    const waitMs = ROUND_MS + this.#readers.size * ROUND_MS_PER_READER;
    const delayMs = Math.max(0, this.#roundedAt + waitMs - performance.now());
    this.#round = setTimeout(() => {
      this.#round = undefined;
      this.#deliver();
    }, delayMs);
  }

  /** Serves slices until nothing waits in the ring; the loop turns between two. */
  #deliver(): void {
    this.#nextSlice = undefined;
    this.#serveSlice();
    this.#roundedAt = performance.now();
    if (this.#heart !== undefined && this.#cursor < this.#ring.last) {
      this.#nextSlice = setImmediate(() => this.#deliver());
    }
  }

  #serveSlice(): void {
    this.#endSlow();
    if (this.#ring.oldest > this.#cursor + 1) this.#skip();
    this.#pick();
    for (const audience of this.#audiences.values()) this.#send(audience);
    for (const reader of this.#catchingUp) this.#advance(reader);
  }

  #endSlow(): void {
    for (const reader of this.#readers) {
      if (reader.buffered > SOFT_LIMIT_BYTES) this.#end(reader, "slow");
    }
  }

  /** More was published in one turn than the ring holds: nobody can have all of it. */
  #skip(): void {
    const { id, ...rest } = this.#ring.gapSince(this.#cursor);
    const message = { id, type: "gap", text: JSON.stringify({ id, ...rest }) };
    for (const audience of this.#audiences.values()) audience.picked.push(message);
    this.#cursor = id;
  }

  /** Sorts the next events into the audiences. */
  #pick(): void {
    let bytes = 0;
    let deliveries = 0;
    while (this.#cursor < this.#ring.last && bytes < SLICE_BYTES && deliveries < SLICE_DELIVERIES) {
      this.#cursor += 1;
      const event = this.#ring.find(this.#cursor);
      if (event === undefined) continue;
      const { id, type } = event;
      let message: Message | undefined;
      for (const audience of this.#audiences.values()) {
        if (!audience.filter.matches(event)) continue;
        message ??= { id, type, text: this.#ring.textOf(id) };
        audience.picked.push(message);
        deliveries += audience.sockets.size + 1;
      }
      if (message !== undefined) bytes += Buffer.byteLength(message.text);
    }
  }

  #send(audience: Audience): void {
    const { picked, sockets, responses, topic } = audience;
    if (picked.length === 0) return;
    audience.picked = [];
    if (sockets.size > 0) this.#publish(topic, picked);
    if (responses.size === 0) return;
    const chunk = toChunk(picked);
    for (const reader of responses) reader.enqueue(chunk);
  }

  #publish(topic: string, messages: readonly Message[]): void {
    for (const publisher of this.#publishers) {
      for (const { text } of messages) publisher.publish(topic, text, false);
    }
  }

  #beat(): void {
    const { pingTimeoutMs = PING_TIMEOUT_MS } = this.#options;
    const now = performance.now();
    this.#endSlow();
    for (const reader of this.#catchingUp) this.#advance(reader);
    for (const reader of this.#readers) {
      if (reader.filter.isOver?.() === true) this.#end(reader, "refused");
      else if (reader instanceof ResponseReader) reader.beat();
      else if (reader.isSilent(now, pingTimeoutMs)) this.#end(reader, "slow");
    }
  }

  #end(reader: Reader, why: Farewell): void {
    this.#forget(reader);
    if (why !== "slow" || reader instanceof ResponseReader) return reader.end(why);
    this.#leaving.add(reader);
    reader.leave();
  }

  #forget(reader: Reader): void {
    this.#readers.delete(reader);
    this.#catchingUp.delete(reader);
    const { key } = reader.filter;
    const audience = this.#audiences.get(key);
    if (audience !== undefined) {
      if (reader instanceof SocketReader) audience.sockets.delete(reader);
      else audience.responses.delete(reader);
      if (audience.sockets.size + audience.responses.size === 0) this.#audiences.delete(key);
    }
    if (this.#readers.size === 0) this.#rest();
  }

  /** Nobody reads. */
  #rest(): void {
    clearInterval(this.#heart);
    clearTimeout(this.#round);
    clearImmediate(this.#nextSlice);
    this.#heart = undefined;
    this.#round = undefined;
    this.#nextSlice = undefined;
  }
}
