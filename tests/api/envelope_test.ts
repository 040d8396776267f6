/**
 * The envelope: request ids, errors in one shape, and nothing of what went wrong inside.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGateway } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

let gateway: Gateway;

beforeAll(async () => {
  gateway = await openGateway([]);
});

afterAll(() => gateway[Symbol.asyncDispose]());

testScenarios(
  () => gateway,
  [
    {
      name: "empty lists are lists",
      ask: "GET /servers",
      like: { data: { servers: [], stats: { total_servers: 0 } } },
    },
    {
      name: "no tools are a list",
      ask: "GET /tools",
      like: { data: { tools: [], stats: { total: 0, enabled: 0, disabled: 0, pending_approval: 0 } } },
    },
    {
      name: "no hits are a list",
      ask: "GET /index/search?q=qqqzzzxxy",
      like: { data: { results: [], total: 0, query: "qqqzzzxxy" } },
    },
    {
      name: "an unknown route",
      ask: "GET /no/such",
      status: 404,
      like: { code: "ROUTE_UNKNOWN" },
      contains: ["GET /api/v1/no/such"],
    },
    { name: "an unknown method", ask: "DELETE /status", status: 404, like: { code: "ROUTE_UNKNOWN" } },
    { name: "control characters in a path", ask: "GET /%00%1b[31m", status: 404 },
    { name: "a broken escape in a path", ask: "GET /servers/%E0%A4%A", status: 404 },
    {
      name: "a path that climbs",
      ask: "GET /servers/..%2f..%2fetc%2fpasswd",
      status: 404,
      like: { code: "SERVER_UNKNOWN" },
    },
    {
      name: "no server of this name",
      ask: "GET /servers/__proto__",
      status: 404,
      like: { code: "SERVER_UNKNOWN" },
    },
  ],
);

test.each<[string, boolean]>([
  ["contract-req-1", true],
  ["a:b.c_d-0", true],
  ["x".repeat(128), true],
  ["x".repeat(129), false],
  ["with space", false],
  ["<script>", false],
  ["", false],
])("a request id '%s' comes back only when it is a plain one", async (id, isKept) => {
  verifies("API-SHAPE");
  for (const ask of ["GET /status", "GET /servers/nobody"]) {
    const { headers, json } = await askApi(gateway, { ask, headers: { "x-request-id": id } });
    const sent = headers.get("x-request-id");
    expect(sent === id).toBe(isKept);
    if (!isKept) expect(sent).toMatch(/^[0-9a-f-]{36}$/);
    if (json["success"] === false) expect(json["request_id"]).toBe(sent);
  }
});

test("each request has an id of its own", async () => {
  const ids = await Promise.all(
    Array.from({ length: 20 }, async () =>
      (await askApi(gateway, { ask: "GET /status" })).headers.get("x-request-id"),
    ),
  );
  expect(new Set(ids).size).toBe(20);
});

test("an error that is not ours is told as INTERNAL, and its cause is in the log alone, under the request id", async () => {
  verifies("API-SHAPE");
  const app = gateway.app();
  const broken: Gateway = { ...gateway, app: () => app };
  const list = gateway.upstreams.list.bind(gateway.upstreams);
  gateway.upstreams.list = () => {
    throw new Error("the secret cause");
  };
  try {
    const { status, json, text } = await askApi(broken, {
      ask: "GET /servers",
      headers: { "x-request-id": "req-7" },
    });
    expect(status).toBe(500);
    expect(json).toMatchObject({ success: false, code: "INTERNAL", request_id: "req-7" });
    expect(text).not.toContain("secret cause");
    expect(gateway.lines.join("")).toMatch(/request_id=req-7.*the secret cause/);
  } finally {
    gateway.upstreams.list = list;
  }
});
