/**
 * What an agent sees: a cheap menu, cheap replies, and a reason for all that is missing.
 */
import { afterEach, expect, test } from "bun:test";
import { encode } from "gpt-tokenizer/encoding/cl100k_base";
import type { JsonObject, Server, ToolDefinition } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer, stdioServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";
import { ask, openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

const MENU_TOKENS = 1_500;
const REPLY_TOKENS = 900;
const open: AsyncDisposable[] = [];

afterEach(async () => {
  for (const resource of open.splice(0).toReversed()) await resource[Symbol.asyncDispose]();
});

function at(name: string, parts: Partial<Server> = {}): Server {
  return makeServer({ name, url: "http://127.0.0.1:9/mcp", ...parts });
}

async function gatewayOf(
  tools: Readonly<Record<string, readonly ToolDefinition[]>>,
  settings: Parameters<typeof openGateway>[1] = {},
): Promise<Gateway> {
  const gateway = await openGateway(
    Object.keys(tools).map((name) => at(name)),
    settings,
  );
  open.push(gateway);
  for (const [server, list] of Object.entries(tools)) gateway.intake.take(server, list);
  return gateway;
}

const VERBS = ["create", "list", "delete", "update", "search", "get", "close", "merge", "archive", "export"];
const NOUNS = [
  "issue",
  "pull_request",
  "calendar_event",
  "customer_invoice",
  "file",
  "repository",
  "page",
  "message",
];

const PARAMETERS: readonly (readonly [string, JsonObject])[] = [
  ["owner", { type: "string", description: "Owner of it" }],
  ["number", { type: "integer", description: "Number of it" }],
  ["state", { type: "string", enum: ["open", "closed", "all"] }],
  ["labels", { type: "array", items: { type: "string" } }],
  ["include_archived", { type: "boolean" }],
];

/** Tools as they are in public servers: two to three parameters in the median, five at most here. */
function realistic(server: string): ToolDefinition[] {
  return VERBS.flatMap((verb, at_) =>
    NOUNS.map((noun, index) => ({
      name: `${verb}_${noun}`,
      description: `${verb[0]?.toUpperCase()}${verb.slice(1)} a ${noun.replaceAll("_", " ")} of ${server}${index % 2 === 0 ? "" : ", with the rights of its owner"}. Further text that a short reply leaves out.`,
      annotations: { readOnlyHint: verb === "list" || verb === "get", destructiveHint: verb === "delete" },
      inputSchema: {
        type: "object",
        properties: Object.fromEntries(PARAMETERS.slice(0, 1 + ((at_ + index) % PARAMETERS.length))),
        required: ["owner"],
      },
    })),
  );
}

test("MetaTools.list() costs at most 1,500 tokens, with the legacy tool too", async () => {
  verifies("MCP-MENU-TOKENS");
  for (const legacyTools of [false, true]) {
    const gateway = await gatewayOf({}, { settings: { legacyTools } });
    const menu = gateway.metaTools.list();
    expect(encode(JSON.stringify({ tools: menu })).length).toBeLessThanOrEqual(MENU_TOKENS);
    expect(menu.map(({ name }) => name).includes("call_tool")).toBe(legacyTools);
    expect(gateway.metaTools.has("call_tool")).toBe(true);
    for (const { description, inputSchema, annotations } of menu) {
      expect(description?.length).toBeGreaterThan(20);
      expect(inputSchema["type"]).toBe("object");
      expect(annotations).toBeDefined();
    }
  }
});

test("retrieve_tools costs at most 900 tokens for 15 hits in the median, and repeats no sentence", async () => {
  verifies("SEARCH-REPLY-TOKENS");
  const servers = ["github", "gitlab", "jira-cloud", "google-drive", "Slack Workspace"];
  const upstreams = servers.map((server) => serveTools(realistic(server)));
  open.push(...upstreams);
  const gateway = await openGateway(
    upstreams.map((upstream, n) => upstream.server({ name: servers[n] ?? "" })),
  );
  open.push(gateway);
  await settle(gateway);
  const costs: number[] = [];
  for (const verb of VERBS) {
    for (const noun of NOUNS) {
      const { text, json } = await ask(gateway, "retrieve_tools", {
        query: `${verb} ${noun.replaceAll("_", " ")}`,
      });
      expect(json["tools"]).toHaveLength(15);
      costs.push(encode(text).length);
      const keys = (json["tools"] as JsonObject[]).flatMap((tool) => Object.keys(tool));
      expect(new Set(keys)).toEqual(new Set(["id", "score", "sig", "desc", "call_with"]));
      expect(Object.keys(json)).toEqual(["tools", "total", "took_ms", "more"]);
    }
  }
  const median = costs.toSorted((a, b) => a - b)[Math.floor(costs.length / 2)] ?? Infinity;
  expect(median).toBeLessThanOrEqual(REPLY_TOKENS);
});

test("retrieve_tools gives ids, signatures with required marks, call_with and how many more there are", async () => {
  const gateway = await gatewayOf({ github: realistic("github") });
  const { json } = await ask(gateway, "retrieve_tools", { query: "delete repository", limit: 2 });
  const [first] = json["tools"] as JsonObject[];
  expect(first).toMatchObject({
    id: "github:delete_repository",
    call_with: "call_tool_destructive",
    score: expect.any(Number) as number,
  });
  expect(first?.["sig"]).toMatch(/^\(owner\*: string, number: int/);
  expect(json["total"]).toBe(2 + (json["more"] as number));
  const none = await ask(gateway, "retrieve_tools", { query: "qqqzzzxxy" });
  expect(none).toMatchObject({ isError: false, json: { tools: [], total: 0 } });
});

test("retrieve_tools merges the hits of several wordings, each tool once", async () => {
  const gateway = await gatewayOf({ github: realistic("github") });
  const args = {
    query: "delete repository",
    queries: ["list calendar events", "merge pull requests", "delete repository"],
    limit: 12,
  };
  const { json } = await ask(gateway, "retrieve_tools", args);
  const tools = json["tools"] as { id: string; score: number }[];
  const ids = tools.map(({ id }) => id);
  expect(ids).toHaveLength(12);
  expect(new Set(ids).size).toBe(12);
  for (const wanted of ["delete_repository", "list_calendar_event", "merge_pull_request"])
    expect(ids.slice(0, 6)).toContain(`github:${wanted}`);
  expect(tools.map(({ score }) => score)).toEqual(tools.map(({ score }) => score).toSorted((a, b) => b - a));
});

test("retrieve_tools with detail full, by argument or by setting, has the definition as it was announced", async () => {
  const [definition] = realistic("x");
  const odd = {
    ...definition,
    name: "odd",
    title: "Odd",
    outputSchema: { type: "object" },
    _meta: { "a/b": 1 },
    x_unknown: [1],
  } as ToolDefinition;
  const shape = {
    ...odd,
    name: "x:odd",
    server: "x",
    call_with: "call_tool_write",
    server_state: "disconnected",
    score: expect.any(Number) as number,
  };
  const gateway = await gatewayOf({ x: [odd] });
  expect((await ask(gateway, "retrieve_tools", { query: "odd", detail: "full" })).json["tools"]).toEqual([
    shape,
  ]);
  const full = await gatewayOf({ x: [odd] }, { settings: { toolResponseMode: "full" } });
  expect((await ask(full, "retrieve_tools", { query: "odd" })).json["tools"]).toEqual([shape]);
  const [compact] = (await ask(full, "retrieve_tools", { query: "odd", detail: "compact" })).json[
    "tools"
  ] as JsonObject[];
  expect(compact).toHaveProperty("sig");
});

test("retrieve_tools narrows by server, group, read_only_only and exclude_destructive", async () => {
  verifies("SEARCH-FILTER-BEFORE-RANK");
  const gateway = await openGateway([at("a", { groups: ["web"] }), at("b")]);
  open.push(gateway);
  for (const name of ["a", "b"]) gateway.intake.take(name, realistic(name));
  const idsOf = async (args: object): Promise<string[]> => {
    const { json } = await ask(gateway, "retrieve_tools", { query: "delete issue", limit: 15, ...args });
    return (json["tools"] as { id: string }[]).map(({ id }) => id);
  };
  for (const narrowed of [{ server: "b" }, { group: "web" }]) {
    const ids = await idsOf(narrowed);
    expect(ids).toHaveLength(15);
    expect(ids.every((id) => id.startsWith("server" in narrowed ? "b:" : "a:"))).toBe(true);
  }
  expect((await idsOf({ read_only_only: true })).filter((id) => !/:(?:list|get)_/.test(id))).toEqual([]);
  const mild = await idsOf({ exclude_destructive: true });
  expect(mild).toHaveLength(15);
  expect(mild.filter((id) => id.includes("delete"))).toEqual([]);
});

test("retrieve_tools and describe_tool mark as stale what was last seen before this start", async () => {
  verifies("SEARCH-STALE-AFTER-RESTART");
  await using upstream = serveTools([makeDefinition("zebra")]);
  const gateway = await openGateway([upstream.server()], { known: { s: [makeDefinition("zebra")] } });
  open.push(gateway);
  const seen = async (): Promise<unknown[]> => {
    const found = await ask(gateway, "retrieve_tools", { query: "zebra" });
    const described = await ask(gateway, "describe_tool", { tool_ids: ["s:zebra"] });
    return [...(found.json["tools"] as unknown[]), ...(described.json["definitions"] as unknown[])];
  };
  for (const tool of await seen()) expect(tool).toMatchObject({ stale: true, server_state: "disconnected" });
  await settle(gateway);
  for (const tool of await seen()) expect(tool).not.toHaveProperty("stale");
});

test("describe_tool gives definitions, and for each missing tool the reason and the way out", async () => {
  verifies("CALL-UNKNOWN-TOOL", "CALL-DEAD-SERVER");
  await using upstream = serveTools([
    makeDefinition("read_note", { description: "Reads" }),
    makeDefinition("hidden"),
  ]);
  const fault = {
    file: "f",
    line: 1,
    column: 1,
    key: "k",
    message: "Neither url nor command",
    advice: "Give one",
  };
  const servers = [
    upstream.server({ name: "up", disabledTools: ["hidden"] }),
    at("disabled", { startupMode: "disabled" }),
    at("quarantined", { startupMode: "quarantined" }),
    at("tripped", { startupMode: "auto_disabled" }),
    at("faulty", { faults: [fault] }),
    at("sleeping", { startupMode: "lazy_loading" }),
    stdioServer([], { name: "absent", command: "no-such-command-of-mcpproxy" }),
  ];
  // Connected once, so that it is not visited.
  const gateway = await openGateway(servers, { known: { sleeping: [] } });
  open.push(gateway);
  await settle(gateway);
  const missing: [string, string, RegExp][] = [
    ["up:read_notes", "TOOL_UNKNOWN", /no tool of this name/],
    ["up:hidden", "TOOL_REFUSED", /switched off/],
    ["disabled:x", "SERVER_OFF", /it is disabled/],
    ["quarantined:x", "SERVER_OFF", /it is quarantined/],
    ["tripped:x", "SERVER_OFF", /it is auto-disabled/],
    ["faulty:x", "SERVER_FAULTY", /Neither url nor command/],
    ["sleeping:x", "TOOL_UNKNOWN", /were not read yet/],
    ["absent:x", "TOOL_UNKNOWN", /no-such-command-of-mcpproxy/],
    ["nobody:x", "SERVER_UNKNOWN", /nobody/],
    ["nonsense", "TOOL_UNKNOWN", /server:tool/],
  ];
  const { isError, json } = await ask(gateway, "describe_tool", {
    tool_ids: ["up:read_note", ...missing.map(([id]) => id)],
  });
  expect(isError).toBe(false);
  expect(json["definitions"]).toEqual([
    {
      name: "up:read_note",
      server: "up",
      description: "Reads",
      inputSchema: { type: "object", properties: {} },
      call_with: "call_tool_write",
      server_state: "connected",
    },
  ]);
  const errors = json["errors"] as Record<string, string>[];
  for (const [at_, [id, code, message]] of missing.entries()) {
    expect(errors[at_]).toMatchObject({ id, code });
    expect(errors[at_]?.["error"]).toMatch(message);
    expect(errors[at_]?.["hint"]?.length).toBeGreaterThan(5);
  }
  expect(errors[0]?.["did_you_mean"] as unknown).toEqual(["up:read_note"]);
});

test.each<[string, string, unknown, RegExp]>([
  ["no query", "retrieve_tools", {}, /query/],
  ["a limit of 0", "retrieve_tools", { query: "a", limit: 0 }, /limit/],
  ["a limit of 101", "retrieve_tools", { query: "a", limit: 101 }, /limit/],
  ["a query that is a number", "retrieve_tools", { query: 1 }, /query/],
  [
    "eleven more queries",
    "retrieve_tools",
    { query: "a", queries: Array.from({ length: 11 }, () => "b") },
    /queries/,
  ],
  ["a detail nobody knows", "retrieve_tools", { query: "a", detail: "huge" }, /detail/],
  ["no ids", "describe_tool", {}, /tool_ids/],
  ["an empty list of ids", "describe_tool", { tool_ids: [] }, /tool_ids/],
  ["21 ids", "describe_tool", { tool_ids: Array.from({ length: 21 }, (_, n) => `a:${n}`) }, /tool_ids/],
  ["no name", "call_tool_read", { args: {} }, /name/],
  ["a name that is no text", "call_tool_read", { name: { a: 1 } }, /name/],
  ["no key", "read_cache", {}, /key/],
  ["a negative offset", "read_cache", { key: "k", offset: -1 }, /offset/],
  ["an unknown key", "read_cache", { key: "no-such-key" }, /no-such-key/],
  ["a meta tool nobody has", "no_such_tool", {}, /no_such_tool/],
])("MetaTools.call() answers %s to '%s' with an error the model can read", async (_, name, args, text) => {
  verifies("CALL-ARGS-CHECKED");
  const gateway = await gatewayOf({});
  const answer = await ask(gateway, name, args);
  expect(answer.isError).toBe(true);
  expect(answer.text).toMatch(text);
  expect(answer.json["code"]).toMatch(/^[A-Z_]+$/);
});
