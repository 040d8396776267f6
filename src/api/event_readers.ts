/**
 * Who reads a stream of events: a WebSocket, or an SSE response.
 *
 * Owns how events look on either, how much waits for a reader in this process, and how a reader is let go. Invariants:
 * nothing here waits; a reader that is gone takes nothing more; what ended slowly is cut by the listener in the end.
 * One adapter that hides both behind writing bytes was rejected: a topic serves all sockets at once, and a chunk is
 * shared by all responses, and that is what makes a thousand readers cheap.
 */
import type { EventFilter } from "./event_filter.ts";

/** What a reader on its way may hold before it gets more. */
const CATCH_UP_BYTES = 64 * 1024;
/** Close codes: RFC 6455 section 7.4.1, and 1013 of the IANA registry (try again later). */
const GOING_AWAY = 1001;
const POLICY_VIOLATION = 1008;
const TRY_AGAIN_LATER = 1013;
/** A response that ended, and is not read to its end, is cut after this. */
const LINGER_S = 20;

const encoder = new TextEncoder();
const HEARTBEAT = encoder.encode(": heartbeat\n\n");

/** Why a reader is let go. */
export type Farewell = "slow" | "stopping" | "refused";

/** An event on its way. */
export interface Message {
  readonly id: number;
  readonly type: string;
  /** The event as JSON. */
  readonly text: string;
}

/** The socket of a reader, as far as it is used. */
export type ReaderSocket = Pick<
  Bun.ServerWebSocket<SocketReader>,
  "send" | "ping" | "close" | "getBufferedAmount" | "subscribe" | "unsubscribe"
>;

/** Options of {@link SocketReader} and {@link ResponseReader}. */
export interface ReaderOptions {
  readonly filter: EventFilter;
  /** The last id the reader has; undefined for one that wants what comes from now on. */
  readonly since: number | undefined;
}

/** A WebSocket; each event is one message. */
export class SocketReader {
  readonly filter: EventFilter;
  readonly since: number | undefined;
  /** The id up to which it was served, as long as it catches up. */
  cursor = 0;
  #socket: ReaderSocket | undefined;
  #topic: string | undefined;
  /** It was too slow and gets nothing more; it is told so when it reads on. */
  #isLeaving = false;
  /** When the ping went out that was not answered yet, on the monotonic clock. */
  #pingedAt: number | undefined;

  constructor(options: ReaderOptions) {
    this.filter = options.filter;
    this.since = options.since;
  }

  /** Bytes that wait in this process. */
  get buffered(): number {
    return this.#socket?.getBufferedAmount() ?? 0;
  }

  /** Whether a catch-up may go on; what follows is the socket's `drain`. */
  get hasRoom(): boolean {
    return this.buffered < CATCH_UP_BYTES;
  }

  /** Takes the socket once it is open. */
  open(socket: ReaderSocket): void {
    this.#socket = socket;
  }

  /** Sends to this reader alone. */
  send(messages: readonly Message[]): void {
    for (const { text } of messages) this.#socket?.send(text, false);
  }

  /** Gets what is published to a topic from now on. */
  follow(topic: string): void {
    this.#topic = topic;
    this.#socket?.subscribe(topic);
  }

  /** Asks for a sign of life, one at a time; returns whether the last one is overdue. */
  isSilent(now: number, timeoutMs: number): boolean {
    if (this.#pingedAt !== undefined) return now - this.#pingedAt >= timeoutMs;
    this.#pingedAt = now;
    this.#socket?.ping();
    return false;
  }

  /** Notes that it answered, or took of what waits for it. */
  noteLife(): void {
    this.#pingedAt = undefined;
    if (this.#isLeaving) this.#closeAsSlow();
  }

  /**
   * Sends nothing more, and closes with its first sign of life, behind what was buffered. A socket that is closed
   * while its peer does not read is cut by Bun some 15 s later, and the code is lost on one that wakes after that.
   */
  leave(): void {
    this.#isLeaving = true;
    if (this.#topic !== undefined) this.#socket?.unsubscribe(this.#topic);
    if (this.buffered === 0 && this.#pingedAt === undefined) this.#closeAsSlow();
  }

  /** Closes; what was buffered goes out before. */
  end(why: Farewell): void {
    if (why === "slow") this.#closeAsSlow();
    else if (why === "refused") this.#socket?.close(POLICY_VIOLATION, "The token does not hold any more");
    else this.#socket?.close(GOING_AWAY, "The proxy stops");
  }

  #closeAsSlow(): void {
    this.#socket?.close(TRY_AGAIN_LATER, "Too slow: connect again with ?since=");
  }
}

/** Options of {@link ResponseReader}. */
export interface ResponseReaderOptions extends ReaderOptions {
  /** Ends with the request. */
  readonly signal: AbortSignal;
  /** There is room for more. */
  readonly onRoom: () => void;
  readonly onGone: () => void;
  /** Lets the listener cut the connection when it is idle for so many seconds. */
  readonly cutWhenIdle: (seconds: number) => void;
}

/** An SSE response; events have their id and type as SSE fields too. */
export class ResponseReader {
  readonly filter: EventFilter;
  readonly since: number | undefined;
  cursor = 0;
  /** The body of the response. */
  readonly body: ReadableStream<Uint8Array>;
  readonly #options: ResponseReaderOptions;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(options: ResponseReaderOptions) {
    this.filter = options.filter;
    this.since = options.since;
    this.#options = options;
    const { signal, onGone, onRoom } = options;
    const gone = (): void => {
      this.#controller = undefined;
      onGone();
    };
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => onRoom(),
        cancel: gone,
      },
      new ByteLengthQueuingStrategy({ highWaterMark: CATCH_UP_BYTES }),
    );
    signal.addEventListener("abort", gone, { once: true });
  }

  /** Bytes that wait in this process. */
  get buffered(): number {
    return CATCH_UP_BYTES - (this.#controller?.desiredSize ?? CATCH_UP_BYTES);
  }

  /** Whether a catch-up may go on; what follows is `onRoom`. */
  get hasRoom(): boolean {
    return this.buffered < CATCH_UP_BYTES;
  }

  /** Sends to this reader alone. */
  send(messages: readonly Message[]): void {
    if (messages.length > 0) this.enqueue(toChunk(messages));
  }

  /** Sends text that is no event of the bus, such as a snapshot. */
  greet(type: string, data: unknown, id?: number): void {
    const head = id === undefined ? "" : `id: ${id}\n`;
    this.enqueue(encoder.encode(`retry: 1000\n${head}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`));
  }

  /** Sends a chunk, which is shared with others. */
  enqueue(chunk: Uint8Array): void {
    this.#controller?.enqueue(chunk);
  }

  /** Keeps the connection from looking idle. */
  beat(): void {
    this.enqueue(HEARTBEAT);
  }

  /** Ends the response; what is queued goes out before, to whoever reads on soon. */
  end(): void {
    const controller = this.#controller;
    this.#controller = undefined;
    if (controller === undefined) return;
    controller.close();
    this.#options.cutWhenIdle(LINGER_S);
  }
}

/** Writes events as SSE. */
export function toChunk(messages: readonly Message[]): Uint8Array {
  let text = "";
  for (const { id, type, text: data } of messages) text += `id: ${id}\nevent: ${type}\ndata: ${data}\n\n`;
  return encoder.encode(text);
}
