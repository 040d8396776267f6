/**
 * A response whose body cannot grow without end.
 *
 * Owns the count of bytes as they come out of decompression, so that a small file that inflates is stopped too. For an event
 * stream the limit holds for one event, for anything else for the whole body. Invariant: a body that says how long it
 * is, and means it, is passed on untouched; an event is dropped whole or not at all. Reading the body here and handing it on whole was rejected: streams must flow.
 */

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
/** Behind the empty line that ends an event. */
const EVENT_END = /(?<=\r?\n\r?\n)/;

/** The body was longer than allowed. */
export class BodyTooLongError extends Error {
  override readonly name = "BodyTooLongError";
}

/** Options of {@link capBody}. */
export interface CapOptions {
  readonly maxBytes: number;
  /** Says of an event, as text, that nobody wants it; asked only where whole events came in one piece. */
  readonly isUnwanted?: (event: string) => boolean;
}

/** Gives the response back with a body that fails once it is longer than `maxBytes`. */
export function capBody(response: Response, { maxBytes, isUnwanted }: CapOptions): Response {
  const { body, headers, status, statusText } = response;
  if (body === null) return response;
  const said = Number(headers.get("content-length") ?? Number.NaN);
  if (said <= maxBytes && !headers.has("content-encoding")) return response;
  const isStream = headers.get("content-type")?.includes("text/event-stream") ?? false;
  let bytes = 0;
  let isLineEmpty = true;
  const count = (chunk: Uint8Array): number => {
    if (!isStream) return bytes + chunk.length;
    const end = lastEventEnd(chunk, isLineEmpty);
    const { rest, isEmpty } = end;
    isLineEmpty = isEmpty;
    return rest === undefined ? bytes + chunk.length : rest;
  };
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform: (chunk, controller) => {
      const isAtStart = bytes === 0 && isLineEmpty;
      bytes = count(chunk);
      if (bytes > maxBytes) {
        controller.error(new BodyTooLongError(`the answer is over ${maxBytes} bytes`));
        return;
      }
      const isWhole = isStream && isAtStart && bytes === 0;
      const wanted = isWhole && isUnwanted ? wantedEvents(chunk, isUnwanted) : chunk;
      if (wanted.length > 0) controller.enqueue(wanted);
    },
  });
  return new Response(body.pipeThrough(counted), { status, statusText, headers });
}

/** The events of a piece that holds whole ones only, without those nobody wants. */
function wantedEvents(chunk: Uint8Array, isUnwanted: (event: string) => boolean): Uint8Array {
  const events = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString("utf8").split(EVENT_END);
  const wanted = events.filter((event) => !isUnwanted(event));
  return wanted.length === events.length ? chunk : Buffer.from(wanted.join(""), "utf8");
}

/** How many bytes follow the last empty line, which ends an event; undefined without one. */
function lastEventEnd(
  chunk: Uint8Array,
  wasEmpty: boolean,
): { readonly rest: number | undefined; readonly isEmpty: boolean } {
  let isEmpty = wasEmpty;
  let rest: number | undefined;
  for (let at = chunk.indexOf(LINE_FEED), start = 0; ; at = chunk.indexOf(LINE_FEED, start)) {
    const end = at === -1 ? chunk.length : at;
    const isBlank = end === start || (end === start + 1 && chunk[start] === CARRIAGE_RETURN);
    isEmpty &&= isBlank;
    if (at === -1) return { rest, isEmpty };
    if (isEmpty) rest = chunk.length - at - 1;
    isEmpty = true;
    start = at + 1;
  }
}
