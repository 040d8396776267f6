/**
 * The event streams over a real listener: who may read, what arrives, who is too slow, and the end of it all.
 */
import { afterEach, expect, spyOn, test } from "bun:test";
import { EventStreams } from "../../src/api/event_streams.ts";
import type { EventStreamsOptions } from "../../src/api/event_streams.ts";
import { listen } from "../../src/http.ts";
import { EventClient } from "../fixtures/event_clients.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { API_KEY, openGateway } from "../gateway/fixtures.ts";
import { askApi } from "./scenario.ts";
import { verifies } from "../requirements.ts";

const KEY = { "x-api-key": API_KEY };
/** The kernel takes some 4 MB for a reader that reads nothing. */
const LONG = "x".repeat(20_000);
const MANY_LONG = 500;
/** A reader that reads nothing is full by then; there is nothing to wait for. */
const KERNEL_MS = 300;
/** Bun cuts a socket that was closed some 15 s before, when its peer reads nothing. */
const WAKES_AFTER_MS = 20_000;

const open: AsyncDisposable[] = [];
afterEach(async () => {
  while (open.length > 0) await open.pop()?.[Symbol.asyncDispose]();
});

async function serve(options: Partial<EventStreamsOptions> = {}) {
  const gateway = await openGateway([
    makeServer({ name: "one", startupMode: "disabled" }),
    makeServer({ name: "two", startupMode: "disabled" }),
  ]);
  open.push(gateway);
  const { bus, configuration } = gateway;
  const streams = new EventStreams({ bus, groups: () => configuration.groups, ...options });
  const app = gateway.app({ streams });
  const listener = listen(app, { hostname: "127.0.0.1", port: 0 }, streams);
  open.push({ [Symbol.asyncDispose]: () => listener.close() }, streams);
  const authority = `127.0.0.1:${listener.port}`;
  return { gateway, bus, streams, listener, port: listener.port, authority, url: `http://${authority}` };
}

type Served = Awaited<ReturnType<typeof serve>>;

function removed({ bus }: Served, server = "one", reason = "a test"): number {
  return bus.publish("server_removed", { reason }, server);
}

interface Socket {
  readonly events: Record<string, unknown>[];
  readonly ids: () => unknown[];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

async function openSocket({ authority }: Served, path: string): Promise<Socket> {
  const socket = new WebSocket(`ws://${authority}${path}`, { headers: KEY });
  const events: Record<string, unknown>[] = [];
  const closed = Promise.withResolvers<{ code: number; reason: string }>();
  socket.addEventListener("message", ({ data }) =>
    events.push(JSON.parse(String(data)) as Record<string, unknown>),
  );
  socket.addEventListener("close", ({ code, reason }) => closed.resolve({ code, reason }));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.addEventListener("open", () => resolve());
  socket.addEventListener("error", () => reject(new Error("the socket failed")));
  await promise;
  open.push({ [Symbol.asyncDispose]: async () => socket.terminate() });
  return { events, ids: () => events.map(({ id }) => id), closed: closed.promise };
}

/** Reads an SSE response; blocks by blank lines. */
async function openResponse({ url }: Served, path: string, headers: Record<string, string> = KEY) {
  const abort = new AbortController();
  const response = await fetch(`${url}${path}`, { headers, signal: abort.signal });
  const blocks: Record<string, string>[] = [];
  const ended = (async () => {
    let text = "";
    const decoder = new TextDecoder();
    const body: ReadableStream<Uint8Array> | null = response.body;
    if (body === null) return;
    for await (const chunk of body) {
      text += decoder.decode(chunk, { stream: true });
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const fields = part.split("\n").map((line) => /^(\w*): ?(.*)$/.exec(line)?.slice(1) ?? []);
        blocks.push(Object.fromEntries(fields) as Record<string, string>);
      }
    }
  })().catch(() => {});
  open.push({ [Symbol.asyncDispose]: async () => abort.abort() });
  return { response, blocks, ended, abort, ids: () => blocks.map((block) => block["id"]) };
}

test("streams carry each event once and in order, over WebSocket and SSE", async () => {
  verifies("EVENT-ONCE-IN-ORDER");
  const served = await serve();
  const socket = await openSocket(served, "/ws/events");
  const { blocks, response } = await openResponse(served, "/events");
  expect(response.headers.get("content-type")).toBe("text/event-stream");
  expect(response.headers.get("cache-control")).toBe("no-cache");
  await waitFor("the snapshot is there", () => blocks.length === 1);
  for (let i = 0; i < 159; i += 1) removed(served, `s${i}`);
  await waitFor("all arrived", () => socket.events.length === 159 && blocks.length === 160);
  expect(socket.events[158]).toEqual({
    id: 159,
    time: expect.any(Number),
    type: "server_removed",
    server: "s158",
    data: { reason: "a test" },
  });
  expect(socket.ids()).toEqual(Array.from({ length: 159 }, (_, i) => i + 1));
  expect(blocks.map(({ id }) => Number(id))).toEqual(Array.from({ length: 160 }, (_, i) => i));
  expect(blocks[0]).toMatchObject({ event: "status", retry: "1000" });
  expect(JSON.parse(blocks[0]?.["data"] ?? "")).toMatchObject({ running: true, last_event_id: 0 });
  expect(blocks[159]?.["event"]).toBe("server_removed");
  expect(JSON.parse(blocks[159]?.["data"] ?? "")).toEqual(socket.events[158]);
});

test("a stream that returns with its last id misses nothing inside of the ring", async () => {
  verifies("EVENT-REPLAY");
  const served = await serve();
  for (let i = 0; i < 3_000; i += 1) removed(served, "one", "x".repeat(200));
  const socket = await openSocket(served, "/ws/events?since=10");
  const early = await openResponse(served, "/events", { ...KEY, "last-event-id": "2990" });
  const both = await openResponse(served, "/events?since=5", { ...KEY, "last-event-id": "2999" });
  removed(served);
  const expected = Array.from({ length: 2_991 }, (_, i) => i + 11);
  await waitFor("all arrived", () => socket.events.length >= 2_991 && early.blocks.length >= 12);
  expect(socket.ids()).toEqual(expected);
  expect(early.ids()).toEqual([undefined, ...expected.slice(-11).map(String)]);
  await waitFor("the header counts", () => both.blocks.length >= 3);
  expect(both.ids()).toEqual([undefined, "3000", "3001"]);
});

test.each([
  ["older than what is kept", 3, { from: 4, to: 30 }],
  ["of another life of the data dir", 5_000, { from: 30, to: 30 }],
])("a stream that returns with an id %s gets one gap, and goes on live", async (_, since, data) => {
  const served = await serve({ maxEvents: 10 });
  for (let i = 0; i < 30; i += 1) removed(served);
  const socket = await openSocket(served, `/ws/events?since=${since}`);
  const { blocks } = await openResponse(served, `/events?since=${since}`);
  removed(served);
  await waitFor("both went on", () => socket.events.length >= 2 && blocks.length >= 3);
  expect(socket.events).toMatchObject([{ id: 30, type: "gap", data }, { id: 31 }]);
  expect(blocks.slice(1)).toMatchObject([{ id: "30", event: "gap" }, { id: "31" }]);
});

test("a burst over what the ring holds is a gap for everybody, and costs nobody the stream", async () => {
  const served = await serve({ maxEvents: 10 });
  const socket = await openSocket(served, "/ws/events");
  for (let i = 0; i < 50; i += 1) removed(served);
  await waitFor("the gap is told", () => socket.events.length > 0);
  removed(served);
  await waitFor("it goes on", () => socket.ids().includes(51));
  expect(socket.events).toMatchObject([{ id: 50, type: "gap", data: { from: 1, to: 50 } }, { id: 51 }]);
});

test("streams carry what their filters want, /ws/servers the state of servers only", async () => {
  verifies("EVENT-FILTER");
  const served = await serve();
  const one = await openSocket(served, "/ws/events?servers=one");
  const logs = await openSocket(served, "/ws/events?types=log");
  const state = await openSocket(served, "/ws/servers");
  const { blocks } = await openResponse(served, "/events?servers=two&types=server_removed");
  removed(served, "one");
  removed(served, "two");
  served.bus.publish("log", { level: "warn", message: "m", fields: {} }, "one");
  removed(served, "two");
  await waitFor(
    "all arrived",
    () => state.events.length === 3 && blocks.length === 3 && logs.events.length === 1,
  );
  expect(state.ids()).toEqual([1, 2, 4]);
  expect(blocks.slice(1).map(({ id }) => id)).toEqual(["2", "4"]);
  await waitFor("its own arrived", () => one.events.length === 2);
  expect(one.ids()).toEqual([1, 3]);
  expect(logs.ids()).toEqual([3]);
});

const PATHS = ["/events", "/ws/events", "/ws/servers"];

test.each(PATHS)("%s needs the key, in a header or in the address, and here alone there", async (path) => {
  const { url } = await serve();
  const upgrade = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==",
  };
  const ask = async (query: string, headers: Record<string, string>) => {
    const abort = new AbortController();
    const response = await fetch(`${url}${path}${query}`, { headers, signal: abort.signal });
    const { status } = response;
    const body = status === 200 ? "" : await response.text();
    abort.abort();
    return { status, body };
  };
  for (const [query, headers] of [
    ["", {}],
    ["?apikey=wrong", {}],
    ["", { "x-api-key": "wrong" }],
    // A header says who somebody is; the address does not help a wrong one.
    [`?apikey=${API_KEY}`, { "x-api-key": "wrong" }],
  ] as const) {
    const { status, body } = await ask(query, path === "/events" ? headers : { ...headers, ...upgrade });
    expect({ query, status, body }).toMatchObject({ status: 401 });
    expect(JSON.parse(body)).toMatchObject({ success: false, code: "AUTH_REQUIRED" });
    expect(body).not.toContain(API_KEY);
  }
  for (const headers of [{ origin: "http://evil.example" }, { host: "evil.example" }]) {
    const { status, body } = await ask(`?apikey=${API_KEY}`, { ...headers, ...upgrade });
    expect({ status, body }).toMatchObject({ status: 403 });
  }
  if (path === "/events") expect((await ask(`?apikey=${API_KEY}`, {})).status).toBe(200);
  const elsewhere = await fetch(`${url}/api/v1/status?apikey=${API_KEY}`);
  expect(elsewhere.status).toBe(401);
});

test("a WebSocket opens with the key in the address, from our own page", async () => {
  const served = await serve();
  const socket = new WebSocket(`ws://${served.authority}/ws/events?apikey=${API_KEY}`, {
    headers: { origin: `http://${served.authority}` },
  });
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.addEventListener("open", () => resolve("open"));
  socket.addEventListener("error", () => resolve("error"));
  expect(await promise).toBe("open");
  socket.terminate();
  await waitFor("it is forgotten", () => served.streams.readerCount === 0);
});

test("HEAD /events answers with the stream's headers and opens none", async () => {
  const { url, streams } = await serve();
  const response = await fetch(`${url}/events`, { method: "HEAD", headers: KEY });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
  expect(streams.readerCount).toBe(0);
  expect((await fetch(`${url}/events`, { method: "HEAD" })).status).toBe(401);
});

test.each([
  ["/ws/events", 400, "USAGE", "no WebSocket handshake"],
  ["/events?types=nonsense", 400, "USAGE", "nonsense"],
  ["/events?groups=nonsense", 404, "GROUP_UNKNOWN", "nonsense"],
  ["/events?since=yesterday", 400, "USAGE", "the id of an event is a number"],
  ["/ws/servers?types=log", 400, "USAGE", "this stream has none such"],
])("%s is refused with %d %s", async (path, status, code, text) => {
  const { url, streams } = await serve();
  const response = await fetch(`${url}${path}`, { headers: KEY });
  expect({ status: response.status, body: await response.json() }).toMatchObject({
    status,
    body: { success: false, code, error: expect.stringContaining(text) as string },
  });
  expect(streams.readerCount).toBe(0);
});

test("a stream too many is refused with 503; one that ends makes room", async () => {
  const served = await serve({ maxReaders: 2 });
  await openSocket(served, "/ws/events");
  const { abort } = await openResponse(served, "/events");
  const refused = await fetch(`${served.url}/events`, { headers: KEY });
  expect({ status: refused.status, body: await refused.json() }).toMatchObject({
    status: 503,
    body: { code: "STREAMS_REFUSED" },
  });
  abort.abort();
  await waitFor("the place is free", () => served.streams.readerCount === 1);
  await openSocket(served, "/ws/events");
});

async function publishLong(served: Served): Promise<void> {
  for (let i = 0; i < MANY_LONG; i += 1) {
    removed(served, "one", LONG);
    if (i % 5 === 0) await Bun.sleep(1);
  }
}

test.each(["ws", "sse"] as const)(
  "a stalled %s reader is let go, healthy ones get all, and on return nothing is missed untold",
  async (kind) => {
    const served = await serve();
    const { port } = served;
    const [healthy, stalled] = [
      new EventClient({ kind, port, apiKey: API_KEY }),
      new EventClient({ kind, port, apiKey: API_KEY }),
    ];
    for (const client of [healthy, stalled])
      expect(await client.open()).toMatch(kind === "ws" ? / 101 / : / 200 /);
    removed(served);
    await waitFor("both are served", () => healthy.report.received === 1 && stalled.report.received === 1);
    stalled.stall();
    await publishLong(served);
    await waitFor("the healthy one has all", () => healthy.report.received === MANY_LONG + 1);
    expect(healthy.report).toMatchObject({ faults: 0, closed: undefined, gaps: [] });
    expect(served.streams.readerCount).toBe(1);
    stalled.resume();
    await waitFor("it learns of it", () => stalled.report.closed !== undefined);
    expect(stalled.report).toMatchObject({ closed: kind === "ws" ? 1013 : 0, faults: 0 });
    expect(stalled.report.received).toBeLessThan(MANY_LONG);
    await stalled.open(stalled.report.lastId);
    await waitFor("it has caught up", () => stalled.report.lastId === served.bus.lastId);
    // More than its buffer holds was sent as it read.
    expect(stalled.report).toMatchObject({ received: MANY_LONG + 1, faults: 0, gaps: [], closed: undefined });
    // Neither is anything lost on one that stalls while it catches up.
    const late = new EventClient({ kind, port, apiKey: API_KEY });
    await late.open(0);
    late.stall();
    await Bun.sleep(KERNEL_MS);
    expect(late.report.received).toBeLessThan(MANY_LONG);
    // What waits for it is within its limit: it is not let go.
    removed(served);
    late.resume();
    await waitFor("it has caught up, too", () => late.report.lastId === served.bus.lastId);
    expect(late.report).toMatchObject({ received: MANY_LONG + 2, faults: 0, gaps: [], closed: undefined });
    for (const client of [healthy, stalled, late]) client.drop();
    await waitFor("both are forgotten", () => served.streams.readerCount === 0);
  },
  20_000,
);

test("a stalled reader that returns too late gets a gap", async () => {
  verifies("EVENT-GAP");
  const served = await serve({ maxEvents: 50 });
  const client = new EventClient({ kind: "ws", port: served.port, apiKey: API_KEY });
  await client.open();
  client.stall();
  await publishLong(served);
  await waitFor("it is let go", () => served.streams.readerCount === 0);
  client.resume();
  await waitFor("it learns of it", () => client.report.closed === 1013);
  const { lastId, received } = client.report;
  await client.open(lastId);
  await waitFor("it goes on", () => client.report.lastId === served.bus.lastId);
  expect(client.report.gaps).toEqual([{ from: lastId + 1, to: MANY_LONG }]);
  expect(client.report.received).toBe(received + 1);
  client.drop();
}, 20_000);

test("a WebSocket that answers no ping is closed with 1013", async () => {
  verifies("EVENT-SLOW-CLOSED");
  const served = await serve({ heartbeatMs: 20, pingTimeoutMs: 100 });
  const options = { kind: "ws", port: served.port, apiKey: API_KEY } as const;
  const [healthy, silent] = [new EventClient(options), new EventClient(options)];
  for (const client of [healthy, silent]) await client.open();
  silent.stall();
  await waitFor("it is let go", () => served.streams.readerCount === 1);
  silent.resume();
  await waitFor("it learns of it", () => silent.report.closed === 1013);
  expect(healthy.report.closed).toBeUndefined();
  healthy.drop();
});

test("a stalled WebSocket is told 1013 however late it wakes, and what leaves so slowly has a bound", async () => {
  verifies("EVENT-SLOW-CLOSED");
  const served = await serve({ maxReaders: 2 });
  const options = { kind: "ws", port: served.port, apiKey: API_KEY } as const;
  const stalled = new EventClient(options);
  await stalled.open();
  stalled.stall();
  await publishLong(served);
  await waitFor("it is let go", () => served.streams.readerCount === 0);
  const beside = new EventClient(options);
  expect(await beside.open()).toContain(" 101 ");
  // The one that leaves still has its place: its buffer is there.
  expect(await new EventClient(options).open()).toContain(" 503 ");
  await Bun.sleep(WAKES_AFTER_MS);
  expect(stalled.report.closed).toBeUndefined();
  stalled.resume();
  await waitFor("it learns of it", () => stalled.report.closed !== undefined);
  expect(stalled.report).toMatchObject({ closed: 1013, faults: 0, gaps: [] });
  await waitFor("it has left", async () => (await stalled.open(stalled.report.lastId)).includes(" 101 "));
  await waitFor("it has caught up", () => stalled.report.lastId === served.bus.lastId);
  for (const client of [beside, stalled]) client.drop();
}, 60_000);

test("an SSE stream with nothing to tell has heartbeats", async () => {
  const served = await serve({ heartbeatMs: 20 });
  const { response, abort } = await openResponse(served, "/events");
  expect(response.status).toBe(200);
  const client = await fetch(`${served.url}/events`, { headers: KEY });
  let text = "";
  for await (const chunk of client.body as unknown as AsyncIterable<Uint8Array>) {
    text += new TextDecoder().decode(chunk);
    if (text.split(": heartbeat\n\n").length > 3) break;
  }
  abort.abort();
  expect(text).toContain("event: status");
});

test("EventStreams.close() ends all streams, WebSockets with 1001, and takes no more", async () => {
  const served = await serve();
  const socket = await openSocket(served, "/ws/events");
  const { ended } = await openResponse(served, "/events");
  await served.streams.close();
  await served.streams.close();
  expect(await socket.closed).toMatchObject({ code: 1001 });
  await ended;
  expect(served.streams.readerCount).toBe(0);
  const late = await fetch(`${served.url}/events`, { headers: KEY });
  expect([late.status, await late.json()]).toMatchObject([503, { code: "STREAMS_REFUSED" }]);
  const beganAt = performance.now();
  await served.listener.close();
  expect(performance.now() - beganAt).toBeLessThan(900);
});

test("EventStreams keeps no timer when nobody reads", async () => {
  const begun: unknown[] = [];
  const ended: unknown[] = [];
  const begin = spyOn(globalThis, "setInterval");
  const end = spyOn(globalThis, "clearInterval");
  try {
    const served = await serve();
    for (let turn = 1; turn <= 2; turn += 1) {
      const socket = new WebSocket(`ws://${served.authority}/ws/events`, { headers: KEY });
      await waitFor("it is open", () => served.streams.readerCount === 1);
      socket.terminate();
      await waitFor("it is forgotten", () => served.streams.readerCount === 0);
    }
    begun.push(...begin.mock.results.map(({ value }) => value));
    ended.push(...end.mock.calls.map(([timer]) => timer));
  } finally {
    begin.mockRestore();
    end.mockRestore();
  }
  expect(begun.length).toBeGreaterThanOrEqual(2);
  expect(begun.filter((timer) => !ended.includes(timer))).toEqual([]);
});

test("GET /api/v1/events/schema serves the schema, GET /status the id to begin after", async () => {
  const { gateway } = await serve();
  gateway.bus.publish("server_removed", { reason: "a test" }, "one");
  const { status, json } = await askApi(gateway, { ask: "GET /events/schema" });
  expect(status).toBe(200);
  expect(JSON.stringify(json["data"])).toContain("server_state_changed");
  const { json: about } = await askApi(gateway, { ask: "GET /status" });
  expect(about["data"]).toMatchObject({ last_event_id: 1 });
});
