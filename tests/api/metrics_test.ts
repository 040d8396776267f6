/**
 * Numbers over the API: Prometheus reads them, they are right, and they stand behind the key.
 */
import { expect, test } from "bun:test";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer, stdioServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { API_KEY, openGateway, openProxy, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, OpenProxy } from "../gateway/fixtures.ts";
import { askApi } from "./scenario.ts";

const READ = { annotations: { readOnlyHint: true } };
const WITH_KEY = { host: "localhost", "x-api-key": API_KEY };

/** Series by name and labels, as Prometheus reads the text format. */
function readSeries(text: string): ReadonlyMap<string, number> {
  const series = new Map<string, number>();
  const types = new Set<string>();
  for (const line of text.trimEnd().split("\n")) {
    const type = /^# TYPE (\S+) (?:counter|gauge|histogram)$/.exec(line)?.[1];
    if (type !== undefined) {
      expect({ twice: type, is: types.has(type) }).toEqual({ twice: type, is: false });
      types.add(type);
    }
    if (line.startsWith("#")) continue;
    const found = /^([a-z_]+(?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (\S+)$/.exec(line);
    expect({ line, isSample: found !== null }).toEqual({ line, isSample: true });
    const [, name = "", value] = found ?? [];
    const family = name.replace(/\{.*/, "");
    expect(types.has(family) || types.has(family.replace(/_(?:bucket|sum|count)$/, ""))).toBe(true);
    expect(Number.isFinite(Number(value))).toBe(true);
    expect(series.has(name)).toBe(false);
    series.set(name, Number(value));
  }
  return series;
}

async function scrape(gateway: Gateway): Promise<ReadonlyMap<string, number>> {
  const response = await gateway.app().request("/metrics", { headers: WITH_KEY });
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return readSeries(await response.text());
}

/** The same of a whole proxy. */
async function scrapeProxy(opened: OpenProxy): Promise<ReadonlyMap<string, number>> {
  return readSeries((await opened.get("/metrics")).text);
}

async function openBusy() {
  const upstream = serveTools([makeDefinition("look", READ), makeDefinition("fails", READ)], {
    call: (name) => (name === "fails" ? { content: [], isError: true } : undefined),
  });
  const gateway = await openGateway([
    upstream.server({ name: 'quote " back \\ ü' }),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ]);
  await settle(gateway);
  const call = async (id: string): Promise<unknown> =>
    gateway.metaTools.call("call_tool_read", { name: id, args: {} });
  for (const tool of ["look", "look", "fails", "nothing"]) await call(`quote " back \\ ü:${tool}`);
  await call("nobody:x");
  await waitFor("all are counted", () => gateway.metrics.view().callMs.count === 5);
  return {
    gateway,
    [Symbol.asyncDispose]: async () => {
      await gateway[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

/** Enough that they enter the index in slices. */
const MANY_TOOLS = 3_000;
/** All tests run before are in the heap that one of the routes shows. */
const HEAP_TIMEOUT_MS = 60_000;

test("GET /metrics is what Prometheus reads, and counts calls, servers, tools and the process", async () => {
  await using busy = await openBusy();
  const series = await scrape(busy.gateway);
  const server = 'server="quote \\" back \\\\ ü"';
  expect(Object.fromEntries(series)).toMatchObject({
    'mcpproxy_calls_total{outcome="success"}': 2,
    'mcpproxy_calls_total{outcome="tool_error"}': 1,
    'mcpproxy_calls_total{outcome="TOOL_UNKNOWN"}': 1,
    'mcpproxy_calls_total{outcome="SERVER_UNKNOWN"}': 1,
    'mcpproxy_call_duration_seconds_bucket{le="+Inf"}': 5,
    mcpproxy_call_duration_seconds_count: 5,
    mcpproxy_calls_in_flight: 0,
    [`mcpproxy_server_calls_total{${server}}`]: 4,
    [`mcpproxy_server_call_errors_total{${server}}`]: 2,
    'mcpproxy_servers{category="connected"}': 1,
    'mcpproxy_servers{category="disabled"}': 1,
    'mcpproxy_servers{category="quarantined"}': 0,
    'mcpproxy_places_in_use{lane="urls"}': 0,
    mcpproxy_connect_duration_seconds_count: 1,
    mcpproxy_tools_known: 2,
    mcpproxy_tools_indexed: 2,
    mcpproxy_activity_dropped_total: 0,
    mcpproxy_event_lag: 0,
  });
  for (const name of ["process_resident_memory_bytes", "process_heap_bytes", "process_cpu_seconds_total"]) {
    expect(series.get(name)).toBeGreaterThan(0);
  }
  if (process.platform === "linux") expect(series.get("process_open_fds")).toBeGreaterThan(3);
});

test("GET /metrics tells how many calls are in line within the limits, and none when they are through", async () => {
  const { promise: gate, resolve: openGate } = Promise.withResolvers<void>();
  await using upstream = serveTools([makeDefinition("look", READ)], { call: () => gate });
  await using gateway = await openGateway([upstream.server({ maxConcurrentRequests: 1, queueSize: 2 })]);
  await settle(gateway);
  const look = async () => {
    const series = await scrape(gateway);
    const { json } = await askApi(gateway, { ask: "GET /metrics" });
    const { in_flight: inFlight, queued } = (json["data"] as { calls: Record<string, number> }).calls;
    expect([series.get("mcpproxy_calls_in_flight"), series.get("mcpproxy_calls_queued")]).toEqual([
      inFlight,
      queued,
    ]);
    return { inFlight: inFlight ?? NaN, queued: queued ?? NaN };
  };
  // Tests of the same process may have left some.
  const { inFlight, queued } = await look();
  expect(inFlight).toBe(0);
  const call = () => gateway.metaTools.call("call_tool_read", { name: "s:look", args: {} });
  const calls = Array.from({ length: 4 }, call);
  await waitFor("one travels", () => upstream.count("tools/call") === 1);
  // The fourth found the line full.
  expect((await Promise.race(calls))["isError"]).toBe(true);
  expect(await look()).toEqual({ inFlight: 3, queued: queued + 2 });
  openGate();
  await Promise.all(calls);
  expect(await look()).toEqual({ inFlight: 0, queued });
});

test("GET /metrics tells how many events the streams were not given yet, and none once they were", async () => {
  await using gateway = await openGateway([]);
  const response = await gateway.app().request("/events", { headers: WITH_KEY });
  expect((await scrape(gateway)).get("mcpproxy_event_readers")).toBe(1);
  for (let at = 0; at < 40; at += 1) gateway.bus.publish("server_removed", { reason: "gone" }, `s${at}`);
  const { json } = await askApi(gateway, { ask: "GET /metrics" });
  expect((await scrape(gateway)).get("mcpproxy_event_lag")).toBe(40);
  expect(json["data"]).toMatchObject({ events: { lag: 40, readers: 1 } });
  await waitFor("they are given", async () => (await scrape(gateway)).get("mcpproxy_event_lag") === 0);
  await response.body?.cancel();
});

test("GET /metrics tells that the event loop was blocked, and for how long", async () => {
  await using gateway = await openGateway([]);
  using metrics = gateway.metrics;
  const look = async () => {
    const series = await scrape(gateway);
    const count = series.get("mcpproxy_loop_lag_seconds_count") ?? NaN;
    return {
      count,
      late: count - (series.get('mcpproxy_loop_lag_seconds_bucket{le="0.25"}') ?? NaN),
      sum: series.get("mcpproxy_loop_lag_seconds_sum") ?? NaN,
    };
  };
  metrics.start();
  expect(await look()).toEqual({ count: 0, late: 0, sum: 0 });
  // The loop should have been looked at after 250 ms of them.
  Bun.sleepSync(600);
  const seen = await waitFor("it was looked at", async () => {
    const now = await look();
    return now.count > 0 ? now : undefined;
  });
  expect(seen?.late).toBe(1);
  expect(seen?.sum).toBeGreaterThan(0.3);
});

test("GET /metrics of a proxy tells its children, and how late the tools of a ready server are searchable", async () => {
  const many = Array.from({ length: MANY_TOOLS }, (_, at) => makeDefinition(`look-${at}`, READ));
  await using small = serveTools([makeDefinition("look", READ)]);
  await using large = serveTools(many);
  await using opened = await openProxy([
    small.server(),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ]);
  const first = await scrapeProxy(opened);
  expect(first.get("mcpproxy_children")).toBe(0);
  expect(first.get("mcpproxy_index_lag_seconds_count")).toBe(1);
  expect(first.get("mcpproxy_index_lag_seconds_sum")).toBeGreaterThan(0);

  await using busy = await openProxy([
    stdioServer([], { name: "process" }),
    large.server({ name: "large" }),
    small.server({ name: "small" }),
  ]);
  const series = await waitFor("all lists are searchable", async () => {
    const seen = await scrapeProxy(busy);
    return seen.get("mcpproxy_index_lag_seconds_count") === 3 ? seen : undefined;
  });
  const indexed = series?.get("mcpproxy_tools_indexed");
  // Counted no sooner than the last of them can be found.
  expect(indexed).toBe(series?.get("mcpproxy_tools_known"));
  expect(indexed).toBeGreaterThan(MANY_TOOLS);
  expect(series?.get('mcpproxy_index_lag_seconds_bucket{le="0.0025"}')).toBeLessThan(3);
  expect(series?.get("mcpproxy_children")).toBe(1);
  expect((await busy.get("/api/v1/metrics")).data).toMatchObject({
    tools: { known: indexed, indexed, index_lag_ms: { count: 3, max: expect.any(Number) as number } },
    process: { children: 1 },
  });
});

test("the number of series does not grow with what callers send", async () => {
  await using busy = await openBusy();
  const before = (await scrape(busy.gateway)).size;
  for (let at = 0; at < 50; at += 1) {
    await busy.gateway.metaTools.call("call_tool_read", { name: `nobody-${at}:x-${at}`, args: {} });
  }
  await waitFor("all are counted", () => busy.gateway.metrics.view().callMs.count === 55);
  expect((await scrape(busy.gateway)).size).toBe(before);
});

test.each([
  "/metrics",
  "/api/v1/metrics",
  "/api/metrics/current",
  "/api/v1/profile/handles",
  "/api/v1/profile/heap",
  "/api/v1/activity",
  "/api/v1/activity/export",
  "/api/v1/sessions",
])(
  "GET %s needs the key",
  async (path) => {
    await using gateway = await openGateway([]);
    for (const key of ["", "wrong"]) {
      const response = await gateway
        .app()
        .request(path, { headers: { host: "localhost", "x-api-key": key } });
      expect(response.status).toBe(401);
      expect(await response.text()).not.toContain("mcpproxy_");
    }
    const bearer = { host: "localhost", authorization: `Bearer ${API_KEY}` };
    expect((await gateway.app().request(path, { headers: bearer })).status).toBe(200);
  },
  HEAP_TIMEOUT_MS,
);

test.each(["/api/v1/metrics", "/api/metrics/current"])("GET %s tells the same as JSON", async (path) => {
  await using busy = await openBusy();
  const { json } = await askApi(busy.gateway, { ask: `GET ${path}` });
  expect(json["data"]).toMatchObject({
    state: "running",
    calls: { total: 5, success: 2, in_flight: 0, servers: [{ calls: 4, errors: 2 }] },
    servers: { total: 2, connected: 1, disabled: 1 },
    tools: { known: 2, indexed: 2 },
    activity: { dropped: 0 },
    sessions: 0,
    process: { children: 0 },
  });
});

test("profiles are files, one at a time", async () => {
  await using gateway = await openGateway([]);
  const ask = async (path: string, method = "POST") =>
    gateway.app().request(`/api/v1/profile${path}`, { method, headers: WITH_KEY });
  const first = ask("/cpu?seconds=1");
  const second = await ask("/cpu?seconds=1");
  expect(second.status).toBe(409);
  expect(await second.json()).toMatchObject({ code: "PROFILE_BUSY" });
  const profile = await first;
  expect(profile.headers.get("content-disposition")).toContain("mcpproxy.cpuprofile");
  expect(await profile.json()).toMatchObject({ nodes: expect.any(Array) as unknown[] });
  for (const seconds of ["0", "61", "x"]) expect((await ask(`/cpu?seconds=${seconds}`)).status).toBe(400);
  const heap = await ask("/heap", "GET");
  expect(heap.headers.get("content-disposition")).toContain("mcpproxy.heapsnapshot");
  expect(await heap.text()).toStartWith('{"snapshot":');
  const handles = await ask("/handles", "GET");
  expect(await handles.json()).toMatchObject({ data: { total: expect.any(Number) as number } });
});

test("a proxy tells who is connected, what was called under which id, and passes the trace on", async () => {
  const seen: { readonly headers: Headers; readonly body: string }[] = [];
  await using upstream = serveTools([makeDefinition("look", READ)]);
  // Between proxy and upstream, to see what travels.
  await using between = {
    server: Bun.serve({
      port: 0,
      fetch: async (request) => {
        const body = await request.text();
        seen.push({ headers: request.headers, body });
        const { method, headers } = request;
        return fetch(upstream.url, { method, headers, ...(body === "" ? {} : { body }) });
      },
    }),
    [Symbol.asyncDispose]: () => between.server.stop(true),
  };
  await using opened = await openProxy([upstream.server({ url: between.server.url.href })]);
  const rpc = (body: object, headers: Record<string, string> = {}): Promise<Response> =>
    fetch(`${opened.url}/mcp`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "mcp-protocol-version": "2025-06-18",
        ...headers,
      },
      body: JSON.stringify({ jsonrpc: "2.0", ...body }),
    });
  const hello = await rpc({
    id: 0,
    method: "initialize",
    params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "a test", version: "7" } },
  });
  await hello.text();
  const session = hello.headers.get("mcp-session-id") ?? "";
  const inMeta = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const inHeader = inMeta.replace("0af7", "1af7");
  const call = async (parts: { readonly meta?: object; readonly headers?: Record<string, string> }) => {
    const params = { name: "call_tool_read", arguments: { name: "s:look", args: {} }, _meta: parts.meta };
    await (
      await rpc({ id: 1, method: "tools/call", params }, { "mcp-session-id": session, ...parts.headers })
    ).text();
    return seen.findLast(({ body }) => body.includes('"tools/call"'));
  };
  const first = await call({
    meta: { traceparent: inMeta, tracestate: "a=1" },
    headers: { "x-request-id": "mine" },
  });
  expect(JSON.parse(first?.body ?? "")).toMatchObject({
    params: { _meta: { traceparent: inMeta, tracestate: "a=1" } },
  });
  expect(first?.headers.get("traceparent")).toBe(inMeta);
  expect(first?.headers.get("tracestate")).toBe("a=1");
  const second = await call({ headers: { traceparent: inHeader, "x-other": "stays here" } });
  expect(second?.headers.get("traceparent")).toBe(inHeader);
  expect(second?.headers.has("x-other")).toBe(false);
  const third = await call({ meta: { traceparent: "no trace" } });
  expect(third?.headers.has("traceparent")).toBe(false);
  expect(third?.body).not.toContain("traceparent");

  const short = session.slice(0, 8);
  const activities = await waitFor("all are written down", async () => {
    const { data } = await opened.get("/api/v1/activity?type=tool_call");
    const found = (data as { activities: Record<string, unknown>[] }).activities;
    return found.length === 3 ? found : undefined;
  });
  expect(activities?.at(-1)).toMatchObject({
    source: "mcp",
    session_id: short,
    request_id: "mine",
    metadata: { client: "a test 7", traceparent: inMeta },
  });
  const list = await opened.get("/api/v1/sessions?status=active");
  const known = {
    id: short,
    client_name: "a test",
    client_version: "7",
    status: "active",
    tool_call_count: 3,
  };
  expect(list.data).toMatchObject({ total: 1, limit: 50, offset: 0, sessions: [known] });
  expect(list.text).not.toContain(session);
  expect((await opened.get(`/api/v1/sessions/${short}`)).data).toMatchObject({ session: known });
  expect(await opened.get("/api/v1/sessions/nobody")).toMatchObject({ status: 404 });
  await fetch(`${opened.url}/mcp`, {
    method: "DELETE",
    headers: { "mcp-session-id": session, "mcp-protocol-version": "2025-06-18" },
  });
  expect((await opened.get(`/api/v1/sessions/${short}`)).data).toMatchObject({
    session: { status: "closed" },
  });
  expect((await opened.get("/api/v1/sessions?status=active")).data).toMatchObject({ sessions: [], total: 0 });
});
