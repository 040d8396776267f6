/**
 * Spans on their way to a collector, as OTLP over HTTP in JSON.
 *
 * Owns the queue, its batches and their repetition. Invariants: a push never waits and never throws; what waits is
 * bounded, and what is too much is dropped and counted; one request is under way at a time, and each ends within its
 * time; a collector that is gone costs nothing but its spans. The official SDK was rejected: it takes longer to load than
 * this program to start, for one route of one signal. (OTLP 1.7: bodies, headers, which answers may be repeated.)
 */
import { backoffMs } from "./backoff.ts";

/** One timed piece of work. */
export interface Span {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly traceState?: string;
  readonly name: string;
  /** Unix milliseconds, with fractions. */
  readonly startMs: number;
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly isError: boolean;
}

/** Options of {@link OtlpExporter}. */
export interface OtlpOptions {
  /** The whole address, with its path. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Who sends: `service.name` and the like. */
  readonly resource: Readonly<Record<string, string>>;
  /** Told when sending begins to fail, and with undefined when it works again. */
  readonly onFailure?: (error: unknown) => void;
  /** @default 1_000 */
  readonly delayMs?: number;
  /** Spans that may wait. @default 4_096 */
  readonly maxSpans?: number;
  /** Spans of one request. @default 512 */
  readonly batchSpans?: number;
  /** @default 5_000 */
  readonly timeoutMs?: number;
  /** The first wait before a request is repeated. @default 1_000 */
  readonly retryMs?: number;
  /** How long the end may take. @default 2_000 */
  readonly closeMs?: number;
}

/** What became of the spans so far. */
export interface OtlpCounts {
  readonly queued: number;
  readonly sent: number;
  readonly dropped: number;
}

const RETRIES_MAX = 4;
const RETRY_CAP_MS = 30_000;
/** The server side of a request; section "SpanKind" of the trace protocol. */
const KIND_SERVER = 2;
const STATUS_ERROR = 2;
const RETRIABLE: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** Sends spans. */
export class OtlpExporter implements AsyncDisposable {
  readonly #options: Required<Omit<OtlpOptions, "onFailure">> & Pick<OtlpOptions, "onFailure">;
  readonly #ended = new AbortController();
  #waiting: Span[] = [];
  #sent = 0;
  #dropped = 0;
  #underWay = 0;
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  #isFailing = false;

  constructor(options: OtlpOptions) {
    const { delayMs = 1_000, maxSpans = 4_096, batchSpans = 512 } = options;
    const { timeoutMs = 5_000, retryMs = 1_000, closeMs = 2_000 } = options;
    this.#options = { ...options, delayMs, maxSpans, batchSpans, timeoutMs, retryMs, closeMs };
  }

  /** What became of all spans so far. */
  get counts(): OtlpCounts {
    return { queued: this.#waiting.length + this.#underWay, sent: this.#sent, dropped: this.#dropped };
  }

  /** Queues a span; one too many is dropped. */
  push(span: Span): void {
    if (this.#waiting.length + this.#underWay >= this.#options.maxSpans || this.#ended.signal.aborted) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push(span);
    if (this.#sending === undefined) this.#timer ??= setTimeout(() => this.#begin(), this.#options.delayMs);
  }

  /** Sends what waits, as far as it gets within `closeMs`; what is left is dropped. Idempotent. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    const late = setTimeout(() => this.#ended.abort(), this.#options.closeMs);
    if (this.#sending === undefined) this.#begin();
    await this.#sending;
    if (this.#waiting.length > 0) {
      this.#begin();
      await this.#sending;
    }
    clearTimeout(late);
    this.#ended.abort();
    this.#dropped += this.#waiting.splice(0).length;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #begin(): void {
    this.#timer = undefined;
    if (this.#waiting.length === 0 || this.#ended.signal.aborted) return;
    this.#sending = this.#sendAll().finally(() => {
      this.#sending = undefined;
      if (this.#waiting.length > 0) this.#timer ??= setTimeout(() => this.#begin(), this.#options.delayMs);
    });
  }

  async #sendAll(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#ended.signal.aborted) {
      const batch = this.#waiting.splice(0, this.#options.batchSpans);
      this.#underWay = batch.length;
      const isSent = await this.#send(batch);
      this.#underWay = 0;
      if (isSent) this.#sent += batch.length;
      else this.#dropped += batch.length;
    }
  }

  async #send(batch: readonly Span[]): Promise<boolean> {
    const body = JSON.stringify(bodyOf(batch, this.#options.resource));
    for (let attempt = 0; attempt <= RETRIES_MAX; attempt += 1) {
      const outcome = await this.#post(body);
      if (outcome.isSent || !outcome.isRetriable || attempt === RETRIES_MAX) {
        this.#tell(outcome.error);
        return outcome.isSent;
      }
      const { retryMs } = this.#options;
      await this.#wait(backoffMs(attempt + 1, { baseMs: retryMs, capMs: RETRY_CAP_MS }));
      if (this.#ended.signal.aborted) return false;
    }
    return false;
  }

  async #post(
    body: string,
  ): Promise<{ readonly isSent: boolean; readonly isRetriable: boolean; readonly error?: unknown }> {
    const { url, headers, timeoutMs } = this.#options;
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body,
        redirect: "error",
        signal: AbortSignal.any([this.#ended.signal, AbortSignal.timeout(timeoutMs)]),
      });
      await response.body?.cancel();
      if (response.ok) return { isSent: true, isRetriable: false };
      const error = new Error(`the collector answered HTTP ${response.status}`);
      return { isSent: false, isRetriable: RETRIABLE.has(response.status), error };
    } catch (error) {
      return { isSent: false, isRetriable: true, error };
    }
  }

  #tell(error: unknown): void {
    const isFailing = error !== undefined;
    if (isFailing !== this.#isFailing) this.#options.onFailure?.(error);
    this.#isFailing = isFailing;
  }

  #wait(delayMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, delayMs);
    this.#ended.signal.addEventListener("abort", () => resolve(), { once: true });
    return promise.finally(() => clearTimeout(timer));
  }
}

function bodyOf(spans: readonly Span[], resource: OtlpOptions["resource"]): object {
  const scope = { name: resource["service.name"] ?? "", version: resource["service.version"] ?? "" };
  const written = spans.map(writeSpan);
  return {
    resourceSpans: [
      { resource: { attributes: attributesOf(resource) }, scopeSpans: [{ scope, spans: written }] },
    ],
  };
}

function writeSpan(span: Span): object {
  const { traceId, spanId, parentSpanId, traceState, name, startMs, durationMs, attributes, isError } = span;
  return {
    traceId,
    spanId,
    ...(parentSpanId === undefined ? {} : { parentSpanId }),
    ...(traceState === undefined ? {} : { traceState }),
    name,
    kind: KIND_SERVER,
    startTimeUnixNano: nanos(startMs),
    endTimeUnixNano: nanos(startMs + durationMs),
    attributes: attributesOf(attributes),
    status: isError ? { code: STATUS_ERROR } : {},
  };
}

/** 64-bit numbers are texts in JSON; a double holds microseconds of today. */
function nanos(ms: number): string {
  return `${Math.round(ms * 1_000)}000`;
}

function attributesOf(values: Readonly<Record<string, string | number | boolean>>): object[] {
  return Object.entries(values).map(([key, value]) => ({ key, value: valueOf(value) }));
}

function valueOf(value: string | number | boolean): object {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}
