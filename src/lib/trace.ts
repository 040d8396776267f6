/**
 * The place of a request in a distributed trace (W3C Trace Context, level 1).
 *
 * Owns what a valid `traceparent` and `tracestate` look like. Invariant: what is passed on was well-formed, since it
 * ends up in headers; nothing else of a request travels with it. A library for tracing was rejected: two texts are all
 * that travels.
 */

/** What travels from caller to callee. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate?: string;
}

/** A piece of work of our own in a trace. */
export interface TraceSpan {
  /** What those it calls are told: this piece is the parent of what they do. */
  readonly context: TraceContext;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  /** Unix milliseconds. */
  readonly startMs: number;
}

/** Version, trace, parent and flags; section 3.2.2. */
const TRACEPARENT = /^(?!ff)[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}$/;
/** Printable ASCII; section 3.3.1 asks to pass on 512 signs at least. */
const TRACESTATE = /^[\u0020-\u007e]{1,512}$/;

/** Makes the context of two texts; undefined when there is none, or a malformed one. */
export function traceOf(traceparent: unknown, tracestate: unknown): TraceContext | undefined {
  if (typeof traceparent !== "string" || !TRACEPARENT.test(traceparent)) return undefined;
  const isGood = typeof tracestate === "string" && TRACESTATE.test(tracestate);
  return { traceparent, ...(isGood ? { tracestate } : {}) };
}
