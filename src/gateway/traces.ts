/**
 * Calls of tools as spans of distributed traces.
 *
 * Owns which calls are traced, and what a span tells: server, tool, how it ended, how long it took. Invariants: without a
 * collector nothing is made and nothing is loaded; a caller that says a trace is not sampled is believed; a span
 * holds no argument, no result, no message, and no name but those the configuration and the upstreams have. The calls
 * of the proxy's own tools were left out: they end in memory.
 */

import { messageOf } from "../core/errors.ts";
import { explainFetch } from "../lib/fetch_fault.ts";
import type { TracingSettings } from "../core/settings.ts";
import { VERSION } from "../core/version.ts";
import type { Log } from "../lib/log.ts";
import type { OtlpCounts, Span } from "../lib/otlp.ts";
import type { TraceContext, TraceSpan } from "../lib/trace.ts";
import { resolveSecrets } from "../state/secrets.ts";
import type { Environment } from "../state/secrets.ts";
import type { CallReport } from "./caller.ts";

/** Takes spans; never waits. */
export interface SpanSink extends AsyncDisposable {
  readonly counts: OtlpCounts;
  readonly push: (span: Span) => void;
}

const ROUTE = "/v1/traces";
const TRACE_BYTES = 16;
const SPAN_BYTES = 8;
const SAMPLED = 1;

/**
 * Opens the way to the collector that the configuration or the standard `OTEL_EXPORTER_OTLP_…` variables name.
 *
 * @returns undefined when there is none, or it cannot be used, which is logged: nobody is to miss the proxy for it
 */
export async function openTraces(options: {
  readonly settings: TracingSettings;
  readonly env: Environment;
  readonly log: Log;
}): Promise<Traces | undefined> {
  const { settings, env, log } = options;
  try {
    const url = urlOf(settings, env);
    if (url === undefined) return undefined;
    const { OtlpExporter } = await import("../lib/otlp.ts");
    const sink = new OtlpExporter({
      url,
      headers: headersOf(settings, env),
      resource: { "service.name": env["OTEL_SERVICE_NAME"] || "mcpproxy", "service.version": VERSION },
      onFailure: (error) => {
        if (error === undefined) log.info("Traces reach their collector again", { url: originOf(url) });
        else
          log.warn("Traces do not reach their collector", { url: originOf(url), cause: explainFetch(error) });
      },
    });
    log.info("Calls are traced", { url: originOf(url), sample_ratio: settings.sampleRatio });
    return new Traces({ sink, sampleRatio: settings.sampleRatio });
  } catch (error) {
    log.error("Calls are not traced", { cause: messageOf(error) });
    return undefined;
  }
}

/** Makes spans of calls. */
export class Traces implements AsyncDisposable {
  readonly #sink: SpanSink;
  readonly #sampleRatio: number;

  constructor(options: { readonly sink: SpanSink; readonly sampleRatio: number }) {
    this.#sink = options.sink;
    this.#sampleRatio = options.sampleRatio;
  }

  /** What became of the spans so far. */
  get counts(): OtlpCounts {
    return this.#sink.counts;
  }

  /** Begins a span below the caller's, or a trace of its own; undefined when this call is not sampled. */
  begin(from: TraceContext | undefined): TraceSpan | undefined {
    const [, traceOfCaller, parent, flags = "0"] = from?.traceparent.split("-") ?? [];
    const isSampled =
      from === undefined
        ? Math.random() < this.#sampleRatio
        : (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED;
    if (!isSampled) return undefined;
    const traceId = traceOfCaller ?? crypto.getRandomValues(new Uint8Array(TRACE_BYTES)).toHex();
    const spanId = crypto.getRandomValues(new Uint8Array(SPAN_BYTES)).toHex();
    return {
      context: { ...from, traceparent: `00-${traceId}-${spanId}-01` },
      traceId,
      spanId,
      ...(parent === undefined ? {} : { parentSpanId: parent }),
      startMs: performance.timeOrigin + performance.now(),
    };
  }

  /** Takes calls that ended; those that were not sampled have no span. */
  end(calls: readonly CallReport[]): void {
    for (const call of calls) if (call.span !== undefined) this.#sink.push(spanOf(call, call.span));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sink[Symbol.asyncDispose]();
  }
}

function spanOf(
  { server, tool, variant, durationMs, isError, code, request }: CallReport,
  span: TraceSpan,
): Span {
  const { context, ...place } = span;
  // Whoever names a tool that is none may have meant to name something else.
  const isKnown = server !== undefined && code !== "TOOL_UNKNOWN";
  const known = isKnown ? { "gen_ai.tool.name": tool, "mcpproxy.server": server } : {};
  return {
    ...place,
    ...(context.tracestate === undefined ? {} : { traceState: context.tracestate }),
    name: isKnown ? `tools/call ${tool}` : "tools/call",
    durationMs,
    isError,
    attributes: {
      "mcp.method.name": "tools/call",
      ...known,
      ...(variant === undefined ? {} : { "mcpproxy.call_with": variant }),
      ...(request.origin === undefined ? {} : { "mcpproxy.source": request.origin.source }),
      ...(isError ? { "error.type": code ?? "tool_error" } : {}),
    },
  };
}

/** The configuration wins; the base of the variable gets its path, as the specification of the variables says. */
function urlOf({ otlpEndpoint }: TracingSettings, env: Environment): string | undefined {
  if (otlpEndpoint !== undefined) {
    const url = new URL(resolveSecrets(otlpEndpoint, env, { key: "tracing.otlp_endpoint" }));
    if (!url.pathname.endsWith(ROUTE)) url.pathname = url.pathname.replace(/\/*$/, ROUTE);
    return url.href;
  }
  if (env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true") return undefined;
  const own = env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
  if (own) return new URL(own).href;
  const base = env["OTEL_EXPORTER_OTLP_ENDPOINT"];
  return base ? new URL(base.replace(/\/*$/, ROUTE)).href : undefined;
}

function headersOf({ headers }: TracingSettings, env: Environment): Record<string, string> {
  const variable = env["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] || env["OTEL_EXPORTER_OTLP_HEADERS"] || "";
  const pairs = variable.split(",").flatMap((pair) => {
    const at = pair.indexOf("=");
    return at < 1 ? [] : [[pair.slice(0, at).trim(), decodeURIComponent(pair.slice(at + 1).trim())] as const];
  });
  const given = [...headers].map(
    ([name, text]) => [name, resolveSecrets(text, env, { key: `tracing.headers.${name}` })] as const,
  );
  return Object.fromEntries([...pairs, ...given]);
}

/** What of an address may be logged. */
function originOf(url: string): string {
  return new URL(url).origin;
}
