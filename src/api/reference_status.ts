/**
 * The reference of how the proxy stands: status, probes, numbers, profiles.
 *
 * Owns those shapes. Invariant: what a probe answers is the same whether it says yes or no.
 */
import { z } from "zod";

import { count, texts, time } from "./reference_entry.ts";
import type { RouteTable } from "./reference_entry.ts";
import { categoryShape, serverStatsShape } from "./reference_servers.ts";

const statusShape = z.strictObject({
  running: z.literal(true),
  state: z.enum(["starting", "running", "degraded", "stopping", "stopped"]),
  version: z.string(),
  pid: z.int(),
  listen_addr: z.string(),
  routing_mode: z.enum(["retrieve_tools", "direct"]),
  timestamp: z.int().describe("Unix seconds"),
  uptime_ms: count,
  config: z.string().describe("Path of the configuration"),
  data_dir: z.string(),
  sessions: count,
  last_event_id: count.describe(
    "A stream that begins after it misses nothing of what comes after this answer",
  ),
  config_error: z
    .string()
    .optional()
    .describe("Why the file as it stands is not in force, with line and column; agents are not told"),
  restart_required: texts
    .optional()
    .describe("Settings of the file that hold from the next start; agents are not told"),
  upstream_stats: serverStatsShape.extend({
    servers: z
      .record(
        z.string(),
        z.strictObject({
          status: z.string(),
          connected: z.boolean(),
          tool_count: count,
          category: categoryShape,
          last_error: z.string(),
        }),
      )
      .optional(),
  }),
});

const spread = z.strictObject({ count, mean: z.number(), max: z.number() });
const lane = z.strictObject({ in_use: count, waiting: count, queued: count });

/** The numbers as JSON. */
export const metricsShape = z.strictObject({
  timestamp: time,
  state: z.string(),
  uptime_ms: count,
  calls: z.strictObject({
    total: count,
    success: count,
    in_flight: count,
    queued: count.describe("Of those in flight: in line for a place within the limits"),
    outcomes: z.record(z.string(), count),
    latency_ms: spread.extend({ p50: z.number(), p99: z.number() }),
    servers: z.array(z.strictObject({ name: z.string(), calls: count, errors: count, mean_ms: z.number() })),
  }),
  search: z.strictObject({ latency_ms: spread }),
  servers: z.strictObject({
    total: count,
    connected: count,
    disconnected: count,
    sleeping: count,
    disabled: count,
    auto_disabled: count,
    quarantined: count,
  }),
  starting: z.strictObject({ processes: lane, urls: lane }),
  connect_ms: spread,
  tools: z.strictObject({
    known: count,
    indexed: count,
    index_lag_ms: spread.describe(
      "From a server's list, which makes it ready, to its tools being searchable",
    ),
  }),
  events: z.strictObject({
    last_id: count,
    lag: count,
    readers: count,
    types: z.record(z.string(), count),
  }),
  activity: z.strictObject({ queued: count, written: count, dropped: count }),
  traces: z.strictObject({ queued: count, sent: count, dropped: count }),
  sessions: count,
  process: z.strictObject({
    resident_bytes: count,
    heap_bytes: count,
    heap_total_bytes: count,
    cpu_seconds: count,
    children: count,
    open_handles: count,
    loop_lag_ms: spread.extend({ p99: z.number() }),
  }),
});

const aliveShape = z.strictObject({ status: z.literal("ok") });
const readyShape = z.strictObject({ ready: z.boolean() });
const settledShape = z.strictObject({ settled: z.boolean() });

/** Routes of the proxy as a whole. */
export const STATUS_ROUTES = {
  "GET /livez": {
    id: "isAlive",
    tag: "status",
    summary: "Says that the event loop turns",
    access: "open",
    others: { 200: { description: "It does", json: aliveShape } },
  },
  "GET /healthz": {
    id: "isHealthy",
    tag: "status",
    summary: "The same as /livez, at the path of the Go proxy",
    access: "open",
    others: { 200: { description: "It does", json: aliveShape } },
  },
  "GET /readyz": {
    id: "isReady",
    tag: "status",
    summary: "Says whether known tools can be searched",
    access: "open",
    others: {
      200: { description: "They can", json: readyShape },
      503: { description: "Not yet", json: readyShape },
    },
  },
  "GET /startupz": {
    id: "isSettled",
    tag: "status",
    summary: "Says whether each wanted server's first attempt has ended",
    access: "open",
    others: {
      200: { description: "They have", json: settledShape },
      503: { description: "Not yet", json: settledShape },
    },
  },
  "GET /api/v1/status": {
    id: "getStatus",
    tag: "status",
    summary: "Tells how the proxy and its servers stand",
    data: statusShape,
  },
  "GET /api/v1/stats": {
    id: "getStats",
    tag: "status",
    summary: "Counts alone, without a word on each server",
    data: serverStatsShape.extend({
      state: z.string(),
      sessions: count,
      revision: z.int(),
      last_event_id: count,
      uptime_ms: count,
    }),
  },
  "GET /api/v1/info": {
    id: "getInfo",
    tag: "status",
    summary: "Tells the version and the addresses",
    data: z.strictObject({
      version: z.string(),
      listen_addr: z.string(),
      pid: z.int(),
      web_ui_url: z.string().describe("Empty when the page is switched off"),
      endpoints: z.strictObject({ http: z.string(), socket: z.string() }),
    }),
  },
  "GET /metrics": {
    id: "readPrometheusMetrics",
    tag: "insight",
    summary: "Numbers for Prometheus, text format 0.0.4",
    others: { 200: { description: "Families of series", media: "text/plain" } },
  },
  "GET /api/v1/metrics": {
    id: "getMetrics",
    tag: "insight",
    summary: "The same numbers as JSON",
    data: metricsShape,
  },
  "GET /api/metrics/current": {
    id: "getMetricsAlias",
    tag: "insight",
    summary: "The same numbers at the path of the Go proxy's forks",
    data: metricsShape,
  },
  "POST /api/v1/profile/cpu": {
    id: "profileCpu",
    tag: "insight",
    summary: "Records where the processor's time goes, as a .cpuprofile",
    query: { seconds: z.int().min(1).max(60).optional().describe("5 unless said") },
    others: { 200: { description: "The profile", json: z.looseObject({}) } },
    errors: ["PROFILE_BUSY", "USAGE"],
  },
  "GET /api/v1/profile/heap": {
    id: "profileHeap",
    tag: "insight",
    summary: "Takes a picture of the heap, as a .heapsnapshot; all stands still meanwhile",
    others: { 200: { description: "The heap, with all texts in it", json: z.looseObject({}) } },
  },
  "GET /api/v1/profile/handles": {
    id: "listHandles",
    tag: "insight",
    summary: "Counts open files, sockets and pipes",
    data: z.strictObject({ total: count, kinds: z.record(z.string(), count) }),
  },
} as const satisfies RouteTable;
