/**
 * Tools over the API: all of them, the search, and a call under the same rules as an agent's.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { JsonObject } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { openGateway, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

let gateway: Gateway;
let upstream: ToolUpstream;
const READ = { annotations: { readOnlyHint: true } };
const RESULTS: Readonly<Record<string, JsonObject>> = {
  fails: { content: [{ type: "text", text: "the zebra is out" }], isError: true },
  structured: { content: [{ type: "text", text: "{}" }], structuredContent: { stripes: 7 }, _meta: { a: 1 } },
};

beforeAll(async () => {
  const tools = [
    makeDefinition("read_note", {
      description: "Reads one zebrafish note",
      title: "Read a note",
      properties: { id: { type: "integer" } },
      ...READ,
    }),
    makeDefinition("save_note", {
      description: "Saves a zebrafish note",
      annotations: { readOnlyHint: false },
    }),
    makeDefinition("erase_notes", {
      description: "Erases every zebrafish note",
      annotations: { destructiveHint: true },
    }),
    makeDefinition("fails", READ),
    makeDefinition("structured", READ),
    makeDefinition("unannotated", { description: "zebrafish" }),
  ];
  upstream = serveTools(tools, { call: (name) => RESULTS[name] });
  const servers = [
    upstream.server({ disabledTools: ["unannotated"] }),
    makeServer({ name: "off", url: "http://127.0.0.1:9/", startupMode: "disabled" }),
  ];
  gateway = await openGateway(servers, { known: { off: [makeDefinition("zebrafish_secret")] } });
  await settle(gateway);
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

function call(
  tool: string,
  name: string,
  extra: object = { args: {} },
): { readonly ask: string; readonly body: unknown } {
  return { ask: "POST /tools/call", body: { tool_name: tool, arguments: { name, ...extra } } };
}

testScenarios(
  () => gateway,
  [
    {
      name: "all of them, switched off or not",
      ask: "GET /tools",
      like: { data: { stats: { total: 7, enabled: 5, disabled: 2, pending_approval: 0 } } },
      contains: ["read_note", '"server_name":"s"', '"id":"off:zebrafish_secret"'],
    },
    {
      name: "of one server",
      ask: "GET /tools?server=s",
      like: { data: { stats: { total: 6, enabled: 5 } } },
      lacks: ["off:"],
    },
    {
      name: "of an unknown server",
      ask: "GET /tools?server=nobody",
      like: { data: { tools: [], stats: { total: 0 } } },
    },
    {
      name: "hits have tool, score and state",
      ask: "GET /index/search?q=zebrafish%20note&limit=20",
      like: {
        data: {
          query: "zebrafish note",
          total: 3,
          took: expect.stringMatching(/ms$/) as string,
          took_ms: expect.any(Number) as number,
        },
      },
      contains: [
        '"name":"read_note"',
        '"server_state":"connected"',
        '"stale":false',
        '"call_with":"call_tool_destructive"',
      ],
      lacks: ["secret", "unannotated"],
    },
    {
      name: "no more than the limit",
      ask: "GET /index/search?q=note&limit=1",
      like: { data: { results: [{ score: expect.any(Number) as number }], total: 3 } },
    },
    {
      name: "within a server",
      ask: "GET /index/search?q=zebrafish&server=off",
      like: { data: { results: [] } },
    },
    { name: "without a query", ask: "GET /index/search", status: 400, like: { code: "USAGE" } },
    { name: "with an empty query", ask: "GET /index/search?q=%20%20", status: 400, like: { code: "USAGE" } },
    ...["0", "101", "x", "-5"].map((limit) => ({
      name: "a wrong limit",
      ask: `GET /index/search?q=a&limit=${limit}`,
      status: 400,
      like: { code: "USAGE" },
    })),
    {
      name: "a reading call",
      ...call("call_tool_read", "s:read_note", { args: { id: 7 } }),
      like: { data: [{ type: "text", text: '{"name":"read_note","args":{"id":7}}' }] },
    },
    {
      name: "arguments as text",
      ...call("call_tool_read", "s:read_note", { args_json: '{"id":7}' }),
      contains: [String.raw`\"id\":7`],
    },
    {
      name: "a result that is an error",
      ...call("call_tool_read", "s:fails"),
      like: { is_error: true, data: [{ text: "the zebra is out" }] },
    },
    {
      name: "structured content",
      ...call("call_tool_read", "s:structured"),
      like: { structured_content: { stripes: 7 } },
    },
    {
      name: "a search by the meta tool",
      ask: "POST /tools/call",
      body: { tool_name: "retrieve_tools", arguments: { query: "zebrafish" } },
      contains: ["read_note"],
      lacks: ["secret"],
    },
    {
      name: "a destructive tool through read",
      ...call("call_tool_read", "s:erase_notes"),
      status: 403,
      like: { code: "TOOL_REFUSED", details: { call_with: "call_tool_destructive" } },
    },
    {
      name: "wrong arguments",
      ...call("call_tool_read", "s:read_note", { args: { id: "x" } }),
      status: 400,
      like: { code: "ARGUMENTS_INVALID", details: { inputSchema: { type: "object" } } },
    },
    {
      name: "a tool that is switched off",
      ...call("call_tool_write", "s:unannotated"),
      status: 403,
      like: { code: "TOOL_REFUSED" },
    },
    {
      name: "a server that is off",
      ...call("call_tool_write", "off:zebrafish_secret"),
      status: 409,
      like: { code: "SERVER_OFF" },
    },
    {
      name: "an unknown server",
      ...call("call_tool_read", "nobody:x"),
      status: 404,
      like: { code: "SERVER_UNKNOWN" },
    },
    {
      name: "an unknown tool",
      ...call("call_tool_read", "s:read_notes"),
      status: 404,
      like: { code: "TOOL_UNKNOWN" },
      contains: ['"did_you_mean":["s:read_note"'],
    },
    { name: "an unknown meta tool", ...call("no_such_tool", "s:x"), status: 404, contains: ["no_such_tool"] },
    {
      name: "no tool name",
      ask: "POST /tools/call",
      body: { arguments: {} },
      status: 400,
      like: { code: "USAGE" },
    },
    {
      name: "a body that is no JSON",
      ask: "POST /tools/call",
      body: "{",
      status: 400,
      like: { code: "USAGE" },
    },
    { name: "no body", ask: "POST /tools/call", status: 400, like: { code: "USAGE" } },
    {
      name: "a body that is null",
      ask: "POST /tools/call",
      body: "null",
      status: 400,
      like: { code: "USAGE" },
    },
    {
      name: "a body that is a list",
      ask: "POST /tools/call",
      body: [],
      status: 400,
      like: { code: "USAGE" },
    },
    {
      name: "arguments that are a list",
      ask: "POST /tools/call",
      body: { tool_name: "retrieve_tools", arguments: [] },
      status: 400,
      like: { code: "USAGE" },
    },
    {
      name: "a tool name that is no text",
      ask: "POST /tools/call",
      body: { tool_name: 7 },
      status: 400,
      like: { code: "USAGE" },
    },
  ],
);

test("POST /tools/call reaches the upstream only when every check passed", async () => {
  verifies("CALL-ARGS-CHECKED", "CALL-DESTRUCTIVE-GATE");
  const before = upstream.count("tools/call");
  for (const refused of [
    call("call_tool_read", "s:erase_notes"),
    call("call_tool_read", "s:read_note", { args: { id: "x" } }),
    call("call_tool_write", "s:unannotated"),
  ]) {
    expect((await askApi(gateway, refused)).status).toBeGreaterThanOrEqual(400);
  }
  expect(upstream.count("tools/call")).toBe(before);
});
