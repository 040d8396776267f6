/**
 * How the proxy stands, and the probes of whoever watches it.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { API_KEY, openGateway, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { VERSION } from "../../src/core/version.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

let gateway: Gateway;
let upstream: ToolUpstream;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("one"), makeDefinition("two")]);
  gateway = await openGateway([
    upstream.server({ name: "up" }),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ]);
  await settle(gateway);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

testScenarios(
  () => gateway,
  [
    {
      name: "all of it",
      ask: "GET /status",
      like: {
        data: {
          running: true,
          state: "running",
          version: VERSION,
          pid: process.pid,
          listen_addr: "127.0.0.1:8080",
          routing_mode: "retrieve_tools",
          timestamp: expect.any(Number) as number,
          sessions: 0,
          upstream_stats: {
            total_servers: 2,
            connected_servers: 1,
            disabled_servers: 1,
            quarantined_servers: 0,
            total_tools: 2,
            servers: {
              up: { status: "ready", connected: true, tool_count: 2, last_error: "" },
              off: { connected: false, category: "disabled" },
            },
          },
        },
      },
    },
    {
      name: "all of it",
      ask: "GET /info",
      like: {
        data: {
          version: VERSION,
          listen_addr: "127.0.0.1:8080",
          pid: process.pid,
          endpoints: { http: "127.0.0.1:8080", socket: expect.any(String) as string },
          web_ui_url: "http://127.0.0.1:8080/ui/",
        },
      },
    },
    {
      name: "the counts alone",
      ask: "GET /stats",
      like: {
        data: {
          total_servers: 2,
          connected_servers: 1,
          disabled_servers: 1,
          total_tools: 2,
          state: "running",
          sessions: 0,
          revision: expect.any(Number) as number,
          last_event_id: expect.any(Number) as number,
        },
      },
      lacks: ['"up"'],
    },
  ],
);

test("state is 'starting' until each wanted server had its first attempt, and the probes say so", async () => {
  verifies("HTTP-PROBES", "START-NEVER-WAITS");
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  await using slow = serveTools([makeDefinition("late")], { held });
  await using starting = await openGateway([slow.server()]);
  starting.upstreams.start();
  await waitFor("the attempt is under way", () => slow.count("initialize") === 1);
  const app = starting.app();
  const probe = async (path: string): Promise<number> =>
    (await app.request(path, { headers: { host: "localhost" } })).status;
  expect((await askApi(starting, { ask: "GET /status" })).json).toMatchObject({
    data: { state: "starting" },
  });
  expect(await Promise.all(["/livez", "/healthz", "/readyz", "/startupz"].map(probe))).toEqual([
    200, 200, 200, 503,
  ]);
  release();
  await waitFor("the attempt is over", () => starting.upstreams.isSettled);
  expect((await askApi(starting, { ask: "GET /status" })).json).toMatchObject({ data: { state: "running" } });
  expect(await probe("/startupz")).toBe(200);
});

test("the probes have the bodies that scripts look at", async () => {
  verifies("HTTP-PROBES");
  const bodyOf = async (path: string): Promise<unknown> =>
    (await gateway.app().request(path, { headers: { host: "localhost" } })).json();
  expect(await bodyOf("/healthz")).toEqual({ status: "ok" });
  expect(await bodyOf("/livez")).toEqual({ status: "ok" });
  expect(await bodyOf("/readyz")).toEqual({ ready: true });
  expect(await bodyOf("/startupz")).toEqual({ settled: true });
});

test("GET /status tells an operator what is to be done about the configuration, and an agent nothing", async () => {
  verifies("CONFIG-FAULT-PLACE");
  await using own = await openGateway([], { file: '{ "mcpServers": [] }' });
  const grant = { servers: ["*"], groups: [], permissions: ["read"], expiresAt: Date.now() + 1e7 } as const;
  const { secret } = own.tokens.create({ name: "bot", ...grant });
  const status = async (key: string): Promise<Readonly<Record<string, unknown>>> => {
    const { json } = await askApi(own, { ask: "GET /status", headers: { "x-api-key": key } });
    return json["data"] as Readonly<Record<string, unknown>>;
  };
  const edit = async (text: string): Promise<void> => {
    writeFileSync(own.path, text);
    await own.configuration.reload();
  };
  expect(await status(API_KEY)).toMatchObject({ restart_required: [] });
  await edit('{ "listen": "127.0.0.1:1", "mcpServers": [] }');
  await edit('{ "listen": "127.0.0.1:1" "mcpServers": [] }');
  expect(await status(API_KEY)).toMatchObject({
    restart_required: ["listen"],
    config_error: expect.stringContaining("1:27") as string,
  });
  const told = await status(secret);
  expect(told).toMatchObject({ running: true });
  expect(told).not.toContainAnyKeys(["config_error", "restart_required"]);
});
