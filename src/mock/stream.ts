/**
 * Response bodies of mocks: event streams, cut connections, and answers that never end.
 *
 * Owns bytes and their timing; what they say is the caller's. Invariant: a stream whose client is gone holds no timer,
 * and one whose client is slow tells its sender. `Bun.serve`'s direct streams were rejected: they cannot be cut from outside.
 */
import { gzipBomb } from "./noise.ts";
import type { Fault } from "./server.ts";

const EVENTS = { "content-type": "text/event-stream", "cache-control": "no-cache" };
/** Events that may wait for a slow client before its sender is held. */
const MAX_WAITING = 64;
const DRIP_MS = 1_000;

/** A standing stream of server-sent events. */
export class EventStream {
  readonly #body: ReadableStream<string>;
  readonly #onClose: () => void;
  #controller: ReadableStreamDefaultController<string> | undefined;
  #drained: PromiseWithResolvers<void> | undefined;

  /** `onClose` is called once, when either side has closed it. */
  constructor(onClose: () => void) {
    this.#onClose = onClose;
    this.#body = new ReadableStream<string>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#drained?.resolve(),
        cancel: () => this.#close(),
      },
      { highWaterMark: MAX_WAITING },
    );
  }

  /** Sends a message; returns a promise while the client is slow. */
  send(message: object): unknown {
    return this.raw(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
  }

  /** Sends text as it is. */
  raw(text: string): unknown {
    const controller = this.#controller;
    if (controller === undefined) return undefined;
    controller.enqueue(text);
    if ((controller.desiredSize ?? 0) > 0) return undefined;
    this.#drained = Promise.withResolvers<void>();
    return this.#drained.promise;
  }

  /** Ends it in good order. */
  end(): void {
    const controller = this.#controller;
    this.#close();
    controller?.close();
  }

  /** Cuts the connection. */
  reset(): void {
    const controller = this.#controller;
    this.#close();
    // Without a reason the connection is cut and nothing is printed.
    controller?.error();
  }

  /** The response that carries it. */
  response(): Response {
    return new Response(this.#body, { headers: EVENTS });
  }

  #close(): void {
    if (this.#controller === undefined) return;
    this.#controller = undefined;
    this.#drained?.resolve();
    this.#onClose();
  }
}

/** A response that cuts the connection, before its first byte or after some text. */
export function resetConnection(text?: string): Response {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const body = new ReadableStream<string>({
    start: (controller) => {
      if (text === undefined) return controller.error();
      controller.enqueue(text);
      // Not at once: the header and the text are to arrive.
      timer = setTimeout(() => controller.error(), 10);
      return undefined;
    },
    cancel: () => clearTimeout(timer),
  });
  return new Response(body, { headers: EVENTS });
}

/** A response that takes for ever, or blows up. */
export function drip(fault: Extract<Fault, { kind: "drip" }>, text: string): Response {
  const { shape, everyMs = DRIP_MS, bytes } = fault;
  const headers = { "content-type": "application/json" };
  switch (shape) {
    case "gzip_bomb":
      return new Response(gzipBomb(bytes), { headers: { ...headers, "content-encoding": "gzip" } });
    case "byte":
      return new Response(
        repeat(everyMs, (at) => (at < text.length ? text.charAt(at) : undefined)),
        { headers },
      );
    case "chunked":
      return new Response(
        repeat(everyMs, () => " "),
        { headers },
      );
    case "comments":
      break;
  }
  return new Response(
    repeat(everyMs, () => ": still here\n\n"),
    { headers: EVENTS },
  );
}

/** A body of pieces at an interval, until there is none. */
function repeat(everyMs: number, piece: (at: number) => string | undefined): ReadableStream<string> {
  let timer: ReturnType<typeof setInterval> | undefined;
  return new ReadableStream<string>({
    start: (controller) => {
      let at = 0;
      timer = setInterval(() => {
        const next = piece(at);
        at += 1;
        if (next !== undefined) return controller.enqueue(next);
        clearInterval(timer);
        return controller.close();
      }, everyMs);
      timer.unref();
    },
    cancel: () => clearInterval(timer),
  });
}
