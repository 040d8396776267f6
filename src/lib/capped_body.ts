/**
 * A response whose body cannot grow without end.
 *
 * Owns the count of bytes as they come out of decompression, so that a small file that inflates is stopped too. For an event
 * stream the limit holds for one event, for anything else for the whole body. Invariant: a body that says how long it
 * is, and means it, is passed on untouched. Reading the body here and handing it on whole was rejected: streams must flow.
 */

const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;

/** The body was longer than allowed. */
export class BodyTooLongError extends Error {
  override readonly name = "BodyTooLongError";
}

/** Gives the response back with a body that fails once it is longer than `maxBytes`. */
export function capBody(response: Response, maxBytes: number): Response {
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
      bytes = count(chunk);
      if (bytes <= maxBytes) controller.enqueue(chunk);
      else controller.error(new BodyTooLongError(`the answer is over ${maxBytes} bytes`));
    },
  });
  return new Response(body.pipeThrough(counted), { status, statusText, headers });
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
