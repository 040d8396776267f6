/**
 * Events from outside: of a real proxy over its restarts, and to a crowd in another process while some of it stalls.
 *
 * The long versions, with figures, are `bench/events_bench.ts`.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Validator } from "@cfworker/json-schema";
import type { Schema } from "@cfworker/json-schema";
import { listen } from "../../src/http.ts";
import { EventClient } from "../fixtures/event_clients.ts";
import type { ClientOptions } from "../fixtures/event_clients.ts";
import { startCrowd } from "../fixtures/event_crowd.ts";
import { waitFor } from "../fixtures/wait.ts";
import { API_KEY, openGateway, serveTools } from "../gateway/fixtures.ts";
import { openScene, openV2, startProxy } from "./harness.ts";
import type { RunningProxy } from "./harness.ts";
import { verifies } from "../requirements.ts";

const SOCKETS = 100;
const RESPONSES = 20;
const BURST = 159;
/** Of so many one stalls. */
const STALLED_EACH = 10;
/** Arguments of calls are in no event. */
const CANARY = "canary-8f2b61";
/** The design's own target. */
const DELIVERY_MS = 3_000;
/** Pairs of publishing beside stalled readers and beside none. */
const PAIRS = 15;
/**
 * One pair is 0.7 to 1.6 on two shared cores. The median of 15 was 0.97 to 1.17 in 12 runs, 7 of them beside two CPU hogs
 * at a load of 20. Two microseconds more for a publish of 0.9 make it 3.0.
 */
const MAX_PUBLISH_RATIO = 1.4;

type Json = Readonly<Record<string, unknown>>;

function keyOf(proxy: RunningProxy): string {
  return readFileSync(join(proxy.dataDir, "api_key"), "utf8").trim();
}

async function follow(proxy: RunningProxy, query = "") {
  const socket = new WebSocket(
    `${proxy.url.replace("http", "ws")}/ws/events?apikey=${keyOf(proxy)}&${query}`,
  );
  const events: Json[] = [];
  const closed = Promise.withResolvers<{ readonly code: number; readonly reason: string }>();
  socket.addEventListener("message", ({ data }) => events.push(JSON.parse(String(data)) as Json));
  socket.addEventListener("close", ({ code, reason }) => closed.resolve({ code, reason }));
  await new Promise((resolve) => socket.addEventListener("open", resolve));
  return {
    events,
    closed: closed.promise,
    heard: (type: string, parts: Json = {}) =>
      waitFor(`the event '${type}'`, () =>
        events.find(
          (event) =>
            event["type"] === type && Object.entries(parts).every(([key, value]) => event[key] === value),
        ),
      ),
    [Symbol.asyncDispose]: async () => socket.terminate(),
  };
}

async function apply(proxy: RunningProxy, operations: readonly Json[]): Promise<number> {
  const answer = await proxy.api("/config/apply", { method: "POST", body: JSON.stringify({ operations }) });
  return (answer["data"] as { readonly revision: number }).revision;
}

test("a proxy tells what is done to it, and who uses it, with the revision of each change", async () => {
  await using upstream = serveTools([
    { name: "look", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
  ]);
  await using scene = openScene();
  await using proxy = await startProxy(scene, { config: { mcpServers: [] } });
  await using stream = await follow(proxy);
  const revision = await apply(proxy, [
    { op: "add", server: { name: "eye", url: upstream.url }, approve: true },
  ]);
  await stream.heard("server_added", { server: "eye", revision });
  await stream.heard("config_committed", { revision });
  const learned = await stream.heard("tools_changed", { server: "eye" });
  expect(learned?.["data"]).toEqual({ added: ["eye:look"], removed: [], changed: [] });
  await using client = await openV2(`${proxy.url}/mcp`, "legacy");
  await stream.heard("session_opened");
  await client.call("call_tool_read", { name: "eye:look", args: { word: CANARY } });
  const called = await stream.heard("tool_called", { server: "eye" });
  expect(called?.["data"]).toMatchObject({ tool: "eye:look", variant: "call_tool_read", isError: false });
  await client.call("call_tool_read", { name: "nobody:knows", args: {} });
  const failed = await waitFor(
    "the failed call",
    () => stream.events.filter(({ type }) => type === "tool_called")[1],
  );
  expect(failed).toBeDefined();
  expect(failed).not.toHaveProperty("server");
  expect(failed?.["data"]).toMatchObject({ tool: "nobody:knows", isError: true, code: "SERVER_UNKNOWN" });
  await apply(proxy, [{ op: "remove", name: "eye" }]);
  await stream.heard("server_removed", { server: "eye" });
  const forgotten = await waitFor(
    "its tools are gone",
    () => stream.events.filter(({ type }) => type === "tools_changed")[1],
  );
  expect(forgotten?.["data"]).toEqual({ added: [], removed: ["eye:look"], changed: [] });
  expect(JSON.stringify(stream.events)).not.toContain(CANARY);
  const validator = new Validator((await proxy.api("/events/schema"))["data"] as Schema, "2020-12");
  expect(stream.events.filter((event) => !validator.validate(event).valid)).toEqual([]);
  const ids = stream.events.map(({ id }) => id as number);
  expect(ids).toEqual(ids.map((_, index) => (ids[0] ?? 0) + index));
  expect(await proxy.stop()).toBe(0);
  expect(await stream.closed).toEqual({ code: 1001, reason: "The proxy stops" });
}, 30_000);

test("ids go on over a calm restart and over a kill, and who comes back is told what is missing", async () => {
  verifies("EVENT-IDS-GO-ON");
  await using scene = openScene();
  const config = { mcpServers: [{ name: "one", url: "http://127.0.0.1:1/", startup_mode: "disabled" }] };
  const lastOf = async (proxy: RunningProxy): Promise<number> => {
    const status = (await proxy.api("/status"))["data"] as { readonly last_event_id: number };
    return status.last_event_id;
  };
  const first = await startProxy(scene, { config });
  await apply(first, [{ op: "patch", name: "one", patch: { tags: ["x"] } }]);
  const seen = await lastOf(first);
  expect(seen).toBeGreaterThan(0);
  await first.stop();

  const second = await startProxy(scene, { config });
  expect(await lastOf(second)).toBeGreaterThanOrEqual(seen);
  {
    await using stream = await follow(second, `since=${seen}`);
    await apply(second, [{ op: "patch", name: "one", patch: { tags: ["y"] } }]);
    await stream.heard("config_committed");
    expect(Number(stream.events[0]?.["id"])).toBeGreaterThan(seen);
  }
  const before = await lastOf(second);
  await second.kill();

  await using third = await startProxy(scene, { config });
  await using back = await follow(third, `since=${before}`);
  const gap = await back.heard("gap");
  expect(gap?.["data"]).toMatchObject({ from: before + 1 });
  await apply(third, [{ op: "patch", name: "one", patch: { tags: ["z"] } }]);
  await back.heard("config_committed");
  expect(back.events.map(({ id }) => Number(id) > before)).toEqual(back.events.map(() => true));
}, 30_000);

test(`${SOCKETS} + ${RESPONSES} readers get a burst and a storm once and in order, while a tenth stalls`, async () => {
  await using gateway = await openGateway([]);
  const listener = listen(gateway.app(), { hostname: "127.0.0.1", port: 0 }, gateway.streams);
  await using crowd = startCrowd();
  const client = (kind: "ws" | "sse"): ClientOptions => ({ kind, port: listener.port, apiKey: API_KEY });
  const kinds = Array.from({ length: SOCKETS + RESPONSES }, (_, index) => (index < SOCKETS ? "ws" : "sse"));
  await crowd.tell({ do: "open", clients: kinds.map(client) });
  await waitFor("all are connected", () => gateway.streams.readerCount === kinds.length);
  const stalled = kinds
    .keys()
    .filter((index) => index % STALLED_EACH === 0)
    .toArray();
  const healthy = kinds
    .keys()
    .filter((index) => index % STALLED_EACH !== 0)
    .toArray();
  const got = async (indexes: readonly number[], count: number) => {
    const delays: number[] = [];
    await waitFor(
      `${count} at ${indexes.length} readers`,
      async () => {
        const { clients, delay } = await crowd.report();
        if (delay.count > 0) delays.push(delay.p99);
        return indexes.every((index) => (clients[index]?.received ?? 0) >= count);
      },
      20_000,
    );
    const { clients } = await crowd.report();
    const faulty = indexes.filter((index) => {
      const { faults = 1, gaps = [], received = 0, closed } = clients[index] ?? {};
      return faults > 0 || gaps.length > 0 || received !== count || closed !== undefined;
    });
    expect(faulty).toEqual([]);
    return Math.max(...delays);
  };
  const publish = (reason: string): number => gateway.bus.publish("server_removed", { reason }, "one");
  for (let i = 0; i < BURST; i += 1) publish("a burst");
  expect(await got([...stalled, ...healthy], BURST)).toBeLessThan(DELIVERY_MS);

  await crowd.tell({ do: "stall", clients: stalled });
  const LONG = "x".repeat(20_000);
  const STORM = 400;
  // The kernel holds 4 MB for a reader: who reads is never further behind, however little time its process gets.
  const PART = 50;
  for (let published = PART; published <= STORM; published += PART) {
    for (let i = 0; i < PART; i += 1) publish(LONG);
    await got(healthy, BURST + published);
  }
  await waitFor("the stalled ones are let go", () => gateway.streams.readerCount === healthy.length);
  await crowd.tell({ do: "resume", clients: stalled });
  const awake = await waitFor("they learn of it", async () => {
    const { clients } = await crowd.report();
    return stalled.every((index) => clients[index]?.closed !== undefined) ? clients : undefined;
  });
  expect(new Set(stalled.map((index) => awake?.[index]?.closed))).toEqual(new Set([1013, 0]));
  await crowd.tell({ do: "reopen", clients: stalled });
  // They catch up from the ring, which still has it all.
  await got([...stalled, ...healthy], BURST + STORM);
  await gateway.streams.close();
  await listener.close();
}, 60_000);

test("a publish costs the same beside stalled readers as beside none", async () => {
  await using gateway = await openGateway([]);
  await using quiet = await openGateway([]);
  const { streams } = gateway;
  const listener = listen(gateway.app(), { hostname: "127.0.0.1", port: 0 }, streams);
  const clients = Array.from(
    { length: 20 },
    () => new EventClient({ kind: "ws", port: listener.port, apiKey: API_KEY }),
  );
  for (const client of clients) {
    await client.open();
    client.stall();
  }
  const medianOf = (numbers: readonly number[]): number =>
    numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Infinity;
  const measure = async ({ bus }: typeof gateway): Promise<number> => {
    const costs: number[] = [];
    for (let round = 0; round < 10; round += 1) {
      for (let i = 0; i < 50; i += 1) {
        const beganAt = Bun.nanoseconds();
        bus.publish("server_removed", { reason: "x".repeat(200) }, "one");
        costs.push(Bun.nanoseconds() - beganAt);
      }
      await Bun.sleep(1);
    }
    return medianOf(costs);
  };
  await measure(gateway);
  await measure(quiet);
  const ratios: number[] = [];
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const first = pair % 2 === 0 ? await measure(gateway) : await measure(quiet);
    const second = pair % 2 === 0 ? await measure(quiet) : await measure(gateway);
    ratios.push(pair % 2 === 0 ? first / second : second / first);
  }
  // All that was published fits into the kernel's buffers: they were there to the end.
  expect(streams.readerCount).toBe(clients.length);
  expect(medianOf(ratios)).toBeLessThan(MAX_PUBLISH_RATIO);
  for (const client of clients) client.drop();
  await streams.close();
  await listener.close();
}, 30_000);
