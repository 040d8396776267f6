/**
 * The routes of numbers: for Prometheus as text, for people and scripts as JSON.
 *
 * Owns the names of the series and what is asked at the moment of the question. Invariants: names and labels come
 * from the configuration and the code, never from callers; answering reads memory and one folder of `/proc`. The
 * route stands behind the key: names of servers are nobody else's business.
 */
import { Hono } from "hono";
import type { Context } from "hono";

import type { Catalog } from "../catalog/catalog.ts";
import type { Category } from "../core/model.ts";
import { VERSION } from "../core/version.ts";
import type { Caller } from "../gateway/caller.ts";
import type { Traces } from "../gateway/traces.ts";
import type { HistogramView } from "../lib/histogram.ts";
import { openHandleCount } from "../lib/profiler.ts";
import type { Activity } from "../state/activity.ts";
import type { Metrics } from "../state/metrics.ts";
import type { Upstreams } from "../upstream/upstreams.ts";
import { answer } from "./envelope.ts";
import type { ApiEnv } from "./envelope.ts";
import type { EventStreams } from "./event_streams.ts";

/** What the routes of numbers read. */
export interface MetricsDeps {
  readonly metrics: Metrics;
  readonly activity: Activity;
  /** Absent: no collector is named. */
  readonly traces?: Pick<Traces, "counts"> | undefined;
  readonly caller: Caller;
  readonly catalog: Catalog;
  readonly index: { readonly size: number };
  readonly upstreams: Upstreams;
  readonly streams: Pick<EventStreams, "lag" | "lastId" | "readerCount">;
  readonly children: { readonly size: number };
  readonly sessionCount: () => number;
  readonly startedAt: number;
}

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
const CATEGORIES = [
  "connected",
  "disconnected",
  "sleeping",
  "disabled",
  "auto_disabled",
  "quarantined",
] as const satisfies readonly Category[];
const MS_PER_S = 1_000;
const US_PER_S = 1_000_000;

/** Makes the route at the root. */
export function prometheusRoute(deps: MetricsDeps): (context: Context<ApiEnv>) => Response {
  return (context) =>
    context.text(toText(familiesOf(numbersOf(deps))), 200, { "Content-Type": CONTENT_TYPE });
}

/** Makes the routes below the API's root. */
export function metricsRoutes(deps: MetricsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/metrics", (context) => answer(context, metricsView(numbersOf(deps))));
  return routes;
}

/** Makes the path of the Go proxy's forks, below `/api`. */
export function metricsAliases(deps: MetricsDeps): Hono<ApiEnv> {
  const routes = new Hono<ApiEnv>();
  routes.get("/metrics/current", (context) => answer(context, metricsView(numbersOf(deps))));
  return routes;
}

type Numbers = ReturnType<typeof numbersOf>;

function numbersOf(deps: MetricsDeps) {
  const { upstreams, streams, metrics } = deps;
  const all = upstreams.list();
  const memory = process.memoryUsage();
  const cpu = process.cpuUsage();
  const categories = new Map<Category, number>(CATEGORIES.map((category) => [category, 0]));
  for (const { category } of all) categories.set(category, (categories.get(category) ?? 0) + 1);
  return {
    counted: metrics.view(),
    state: upstreams.state,
    servers: { total: all.length, categories },
    lanes: upstreams.lanes,
    calls: { inFlight: deps.caller.inFlight, queued: deps.caller.queued },
    tools: { known: deps.catalog.size, indexed: deps.index.size },
    events: { lastId: streams.lastId, lag: streams.lag, readers: streams.readerCount },
    activity: deps.activity.counts,
    traces: deps.traces?.counts ?? { queued: 0, sent: 0, dropped: 0 },
    sessions: deps.sessionCount(),
    process: {
      startedAt: deps.startedAt,
      residentBytes: memory.rss,
      heapBytes: memory.heapUsed,
      heapTotalBytes: memory.heapTotal,
      cpuSeconds: (cpu.user + cpu.system) / US_PER_S,
      children: deps.children.size,
      openHandles: openHandleCount(),
    },
  };
}

function metricsView(numbers: Numbers) {
  const { counted, servers, lanes, calls, tools, events, activity, process: own } = numbers;
  const outcomes = Object.fromEntries(counted.outcomes);
  const total = [...counted.outcomes.values()].reduce((sum, count) => sum + count, 0);
  return {
    timestamp: new Date().toISOString(),
    state: numbers.state,
    uptime_ms: Date.now() - own.startedAt,
    calls: {
      total,
      success: counted.outcomes.get("success") ?? 0,
      in_flight: calls.inFlight,
      queued: calls.queued,
      outcomes,
      latency_ms: { ...histogramView(counted.callMs), p50: counted.callP50Ms, p99: counted.callP99Ms },
      servers: [...counted.servers].map(([name, { calls: count, errors, sumMs }]) => ({
        name,
        calls: count,
        errors,
        mean_ms: rounded(sumMs / count),
      })),
    },
    search: { latency_ms: histogramView(counted.searchMs) },
    servers: { total: servers.total, ...Object.fromEntries(servers.categories) },
    starting: { processes: laneView(lanes.processes), urls: laneView(lanes.urls) },
    connect_ms: histogramView(counted.connectMs),
    tools: { ...tools, index_lag_ms: histogramView(counted.indexLagMs) },
    events: {
      last_id: events.lastId,
      lag: events.lag,
      readers: events.readers,
      types: Object.fromEntries(counted.events),
    },
    activity,
    traces: numbers.traces,
    sessions: numbers.sessions,
    process: {
      resident_bytes: own.residentBytes,
      heap_bytes: own.heapBytes,
      heap_total_bytes: own.heapTotalBytes,
      cpu_seconds: own.cpuSeconds,
      children: own.children,
      open_handles: own.openHandles,
      loop_lag_ms: { ...histogramView(counted.loopLagMs), p99: counted.loopLagP99Ms },
    },
  };
}

function laneView({ starting, waiting, queued }: Numbers["lanes"]["urls"]) {
  return { in_use: starting, waiting, queued };
}

function histogramView({ count, sum, max }: HistogramView) {
  return { count, mean: count === 0 ? 0 : rounded(sum / count), max: rounded(max) };
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

type Labels = Readonly<Record<string, string>>;

/** Series of one name. */
interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly samples: readonly (readonly [labels: Labels, value: number])[];
  /** In milliseconds; told in seconds. */
  readonly histogram?: HistogramView;
}

function familiesOf(numbers: Numbers): readonly Family[] {
  return [...callFamilies(numbers), ...serverFamilies(numbers), ...ownFamilies(numbers)];
}

function callFamilies({ counted, calls, activity, traces, sessions }: Numbers): readonly Family[] {
  const perServer = [...counted.servers];
  const outcome = [...counted.outcomes].map(([code, count]) => [{ outcome: code }, count] as const);
  return [
    counter("calls_total", "Calls of tools that ended, by how", outcome),
    histogram("call_duration_seconds", "Time of calls of tools", counted.callMs),
    gauge("calls_in_flight", "Calls that wait for their answer", calls.inFlight),
    gauge("calls_queued", "Those of them that are in line for a place within the limits", calls.queued),
    counter(
      "server_calls_total",
      "Calls of a server's tools",
      perServer.map(([server, count]) => [{ server }, count.calls]),
    ),
    counter(
      "server_call_errors_total",
      "Calls of a server's tools that failed",
      perServer.map(([server, count]) => [{ server }, count.errors]),
    ),
    counter(
      "server_call_seconds_total",
      "Time of calls of a server's tools",
      perServer.map(([server, count]) => [{ server }, count.sumMs / MS_PER_S]),
    ),
    histogram("search_duration_seconds", "Time of calls of the proxy's own tools", counted.searchMs),
    gauge("sessions", "Legacy clients with a session", sessions),
    gauge("activity_queue", "Entries of the activity that wait to be written", activity.queued),
    counter("activity_written_total", "Entries of the activity that were written", activity.written),
    counter("activity_dropped_total", "Entries of the activity that were lost", activity.dropped),
    gauge("trace_spans_queued", "Spans that wait for the collector", traces.queued),
    counter("trace_spans_sent_total", "Spans the collector took", traces.sent),
    counter("trace_spans_dropped_total", "Spans that were lost", traces.dropped),
  ];
}

function serverFamilies({ counted, servers, lanes, tools, events }: Numbers): readonly Family[] {
  const byLane = (read: (lane: Numbers["lanes"]["urls"]) => number): Family["samples"] => [
    [{ lane: "processes" }, read(lanes.processes)],
    [{ lane: "urls" }, read(lanes.urls)],
  ];
  return [
    gauge(
      "servers",
      "Servers by category",
      [...servers.categories].map(([category, count]) => [{ category }, count]),
    ),
    gauge(
      "places_in_use",
      "Attempts that start",
      byLane(({ starting }) => starting),
    ),
    gauge(
      "places_waiting",
      "Silent attempts that wait for their answer",
      byLane(({ waiting }) => waiting),
    ),
    gauge(
      "places_queued",
      "Servers in line for a place",
      byLane(({ queued }) => queued),
    ),
    histogram(
      "connect_duration_seconds",
      "Time from the beginning of an attempt to ready",
      counted.connectMs,
    ),
    gauge("tools_known", "Tools in the catalog", tools.known),
    gauge("tools_indexed", "Tools that can be found", tools.indexed),
    histogram(
      "index_lag_seconds",
      "Time from a server's list, which makes it ready, to all of its tools being searchable",
      counted.indexLagMs,
    ),
    counter(
      "events_total",
      "Events of this run by type",
      [...counted.events].map(([type, count]) => [{ type }, count]),
    ),
    gauge("event_lag", "Events that streams have not been given yet", events.lag),
    gauge("event_readers", "Streams of events that are open", events.readers),
  ];
}

function ownFamilies({ counted, process: own }: Numbers): readonly Family[] {
  return [
    gauge("build_info", "Always 1", [[{ version: VERSION, runtime: `bun ${Bun.version}` }, 1]]),
    gauge("children", "Processes of servers", own.children),
    histogram("loop_lag_seconds", "How late the event loop was", counted.loopLagMs),
    { ...gauge("", "Files, sockets and pipes that are open", own.openHandles), name: "process_open_fds" },
    { ...gauge("", "Memory that is resident", own.residentBytes), name: "process_resident_memory_bytes" },
    { ...gauge("", "Memory of the heap in use", own.heapBytes), name: "process_heap_bytes" },
    { ...counter("", "Processor time", own.cpuSeconds), name: "process_cpu_seconds_total" },
    {
      ...gauge("", "When the proxy was started", own.startedAt / MS_PER_S),
      name: "process_start_time_seconds",
    },
  ];
}

function counter(name: string, help: string, samples: Family["samples"] | number): Family {
  return { ...gauge(name, help, samples), type: "counter" };
}

function gauge(name: string, help: string, samples: Family["samples"] | number): Family {
  const all: Family["samples"] = typeof samples === "number" ? [[{}, samples]] : samples;
  return { name: `mcpproxy_${name}`, type: "gauge", help, samples: all };
}

function histogram(name: string, help: string, view: HistogramView): Family {
  return { name: `mcpproxy_${name}`, type: "histogram", help, samples: [], histogram: view };
}

/** The text format of Prometheus, version 0.0.4. */
function toText(families: readonly Family[]): string {
  const lines: string[] = [];
  for (const { name, type, help, samples, histogram: view } of families) {
    lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
    for (const [labels, value] of samples) lines.push(`${name}${labelText(labels)} ${value}`);
    if (view === undefined) continue;
    for (const { le, count } of view.buckets) lines.push(`${name}_bucket{le="${le / MS_PER_S}"} ${count}`);
    lines.push(`${name}_bucket{le="+Inf"} ${view.count}`);
    lines.push(`${name}_sum ${view.sum / MS_PER_S}`, `${name}_count ${view.count}`);
  }
  return `${lines.join("\n")}\n`;
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
