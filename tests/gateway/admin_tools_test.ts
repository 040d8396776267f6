/**
 * The management tools: each operation, that they are the admin API's changes, what they refuse, and what they never tell.
 */
import { afterEach, expect, test } from "bun:test";
import type { JsonObject } from "../../src/core/model.ts";
import { ADMIN, OPEN } from "../../src/core/principal.ts";
import type { Principal } from "../../src/core/principal.ts";
import { AdminTools } from "../../src/gateway/admin_tools.ts";
import { askApi } from "../api/scenario.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway, ToolUpstream } from "./fixtures.ts";

const AGENT: Principal = {
  id: "agent:bot",
  kind: "agent",
  permissions: new Set(["read", "write", "destructive"]),
};
const CANARIES = {
  env: "canary-of-env-0001",
  header: "canary-of-header-0002",
  query: "canary-of-query-0003",
  arg: "canary-of-arg-0004",
};
const ANY_CANARY = /canary-of/;
const DEAD = "http://127.0.0.1:9/mcp";

const closing: (() => PromiseLike<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

interface Answer {
  readonly isError: boolean;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

async function manage(
  gateway: Gateway,
  tool: string,
  args: JsonObject,
  principal: Principal = ADMIN,
): Promise<Answer> {
  const { toolset } = gateway.toolsets.find({ kind: "admin" }, ADMIN);
  const result = await toolset.call(tool, args, { principal });
  const [block] = result["content"] as { readonly text: string }[];
  const text = block?.text ?? "";
  return { isError: result["isError"] === true, text, json: JSON.parse(text) as Record<string, unknown> };
}

const servers = (gateway: Gateway, operation: string, args: JsonObject = {}): Promise<Answer> =>
  manage(gateway, "upstream_servers", { operation, ...args });
const groups = (gateway: Gateway, operation: string, args: JsonObject = {}): Promise<Answer> =>
  manage(gateway, "groups", { operation, ...args });
const quarantine = (gateway: Gateway, operation: string, args: JsonObject = {}): Promise<Answer> =>
  manage(gateway, "quarantine_security", { operation, ...args });

/** A gateway over a file with a server `base`, one that is off, and a group. */
async function open(config: JsonObject = {}, entries: readonly JsonObject[] = []): Promise<Gateway> {
  const gateway = await openGateway([], {
    file: `${JSON.stringify(
      {
        groups: [{ id: 1, name: "Team" }],
        mcpServers: [
          {
            name: "base",
            url: `${DEAD}?api_key=${CANARIES.query}`,
            headers: { "X-Any": CANARIES.header },
            env: { PLAIN: CANARIES.env },
            enabled: false,
          },
          { name: "off", command: "true", args: ["--token", CANARIES.arg], enabled: false, groups: ["Team"] },
          ...entries,
        ],
        ...config,
      },
      null,
      2,
    )}\n`,
  });
  closing.push(() => gateway[Symbol.asyncDispose]());
  return gateway;
}

async function upstreamOf(...names: readonly string[]): Promise<ToolUpstream> {
  const upstream = serveTools(names.map((name) => makeDefinition(name, { description: `Says ${name}` })));
  closing.push(() => upstream[Symbol.asyncDispose]());
  return upstream;
}

const text = expect.any(String) as string;

test("the menu: five tools with required marks, for few tokens", async () => {
  const gateway = await open();
  const { toolset } = gateway.toolsets.find({ kind: "admin" }, ADMIN);
  const { tools } = toolset.list(ADMIN);
  expect(tools.map(({ name, inputSchema }) => [name, inputSchema["required"] ?? []])).toEqual([
    ["upstream_servers", ["operation"]],
    ["groups", ["operation"]],
    ["quarantine_security", ["operation"]],
    ["search_servers", ["registry"]],
    ["list_registries", []],
  ]);
  // About four characters a token.
  expect(JSON.stringify(tools).length / 4).toBeLessThan(1_500);
});

interface Scenario {
  readonly name: string;
  readonly tool?: string;
  readonly args: JsonObject;
  readonly like?: Record<string, unknown>;
  /** The code of an error. */
  readonly code?: string;
  readonly contains?: readonly (string | RegExp)[];
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: "list has the fields of the Go proxy, and a total",
    args: { operation: "list" },
    like: {
      servers: [
        { name: "base", enabled: false, protocol: text, health: { admin_state: "disabled" } },
        { name: "off", command: "true", args: ["--token", "***"] },
      ],
      stats: { total_servers: 2 },
      total: 2,
    },
  },
  { name: "list by text", args: { operation: "list", query: "BAS" }, like: { total: 1 } },
  { name: "list by group", args: { operation: "list", group: "team" }, like: { servers: [{ name: "off" }] } },
  {
    name: "list by category",
    args: { operation: "list", category: "connected" },
    like: { servers: [], total: 0 },
  },
  {
    name: "list by page",
    args: { operation: "list", limit: 1 },
    like: { servers: [{ name: "base" }], total: 2, next_cursor: text },
  },
  { name: "list by a category that is none", args: { operation: "list", category: "x" }, code: "USAGE" },
  {
    name: "list with a limit that is none",
    args: { operation: "list", limit: 0 },
    code: "ARGUMENTS_INVALID",
  },
  { name: "get", args: { operation: "get", name: "off" }, like: { name: "off", startup_mode: "disabled" } },
  {
    name: "get of a misspelt name",
    args: { operation: "get", name: "bas" },
    code: "SERVER_UNKNOWN",
    contains: ["base"],
  },
  { name: "get without a name", args: { operation: "get" }, code: "ARGUMENTS_INVALID", contains: ["name"] },
  {
    name: "an operation that is none",
    args: { operation: "explode" },
    code: "ARGUMENTS_INVALID",
    contains: ["tail_log"],
  },
  { name: "no operation", args: {}, code: "ARGUMENTS_INVALID", contains: ["list, get, add"] },
  { name: "an operation that is no text", args: { operation: 7 }, code: "ARGUMENTS_INVALID" },
  { name: "a key of every object", args: { operation: "constructor" }, code: "ARGUMENTS_INVALID" },
  {
    name: "a misspelt argument",
    args: { operation: "get", name: "off", dryrun: true },
    code: "ARGUMENTS_INVALID",
  },
  {
    name: "intent fields of the Go proxy's clients",
    args: {
      operation: "get",
      name: "off",
      intent_data_sensitivity: "internal",
      intent_reason: "x",
      reason: "y",
    },
    like: { name: "off" },
  },
  {
    name: "args_json that is no JSON",
    args: { operation: "add", name: "n", command: "x", args_json: '["secret-in-bad-json"' },
    code: "ARGUMENTS_INVALID",
    contains: ["args_json"],
  },
  {
    name: "env_json that is a list",
    args: { operation: "add", name: "n", command: "x", env_json: "[]" },
    code: "ARGUMENTS_INVALID",
    contains: ["env_json"],
  },
  { name: "add without a target", args: { operation: "add", name: "n" }, code: "CONFIG_INVALID" },
  {
    name: "add of a name that is taken",
    args: { operation: "add", name: "off", command: "x" },
    code: "SERVER_EXISTS",
  },
  {
    name: "add that is only looked at",
    args: { operation: "add", name: "n", command: "x", dry_run: true },
    like: { server: "n", changes: [{ server: "n", kind: "add" }] },
  },
  {
    name: "patch with a mask in the place of an argument",
    args: { operation: "patch", name: "off", args: ["--token", "***"] },
    code: "ARGUMENTS_INVALID",
    contains: ["args"],
  },
  { name: "restart of one that is off", args: { operation: "restart", name: "off" }, code: "SERVER_OFF" },
  {
    name: "tail_log",
    args: { operation: "tail_log", name: "off", lines: 3 },
    like: { server: "off", lines: [], count: 0 },
  },
  {
    name: "disable of one that is off",
    args: { operation: "disable", name: "off" },
    like: { unchanged: ["off"] },
  },
  {
    name: "groups list with their servers",
    tool: "groups",
    args: { operation: "list" },
    like: { groups: [{ id: 1, name: "Team", slug: "team", server_count: 1, servers: ["off"] }], total: 1 },
  },
  {
    name: "a group that is none",
    tool: "groups",
    args: { operation: "enable", group: "x" },
    code: "GROUP_UNKNOWN",
  },
  {
    name: "assign without servers",
    tool: "groups",
    args: { operation: "assign", group: 1 },
    code: "ARGUMENTS_INVALID",
  },
  {
    name: "assign names what it refuses",
    tool: "groups",
    args: { operation: "assign", group: "Team", servers: ["base", "nobody"], dry_run: true },
    like: { updated: 1, failed_servers: [{ server: "nobody", code: "SERVER_UNKNOWN" }] },
  },
  { name: "create without a name", tool: "groups", args: { operation: "create" }, code: "ARGUMENTS_INVALID" },
  {
    name: "create of one there is",
    tool: "groups",
    args: { operation: "create", name: "Team" },
    code: "GROUP_EXISTS",
  },
  {
    name: "inspect of one that is not held",
    tool: "quarantine_security",
    args: { operation: "inspect_quarantined", name: "off" },
    code: "MODE_REFUSED",
  },
  {
    name: "list_quarantined of none",
    tool: "quarantine_security",
    args: { operation: "list_quarantined" },
    like: { servers: [], total: 0 },
  },
  { name: "registries", tool: "list_registries", args: {}, contains: ['"total":'] },
  { name: "search without a registry", tool: "search_servers", args: {}, code: "ARGUMENTS_INVALID" },
  {
    name: "search in a registry that is none",
    tool: "search_servers",
    args: { registry: "nowhere" },
    code: "REGISTRY_UNKNOWN",
  },
];

test.each(
  SCENARIOS.map((scenario) => [scenario.tool ?? "upstream_servers", scenario.name, scenario] as const),
)("%s: %s", async (tool, _, { args, like, code, contains = [] }) => {
  const gateway = await open();
  const answer = await manage(gateway, tool, args);
  expect({ text: answer.text, isError: answer.isError }).toEqual({
    text: answer.text,
    isError: code !== undefined,
  });
  if (code !== undefined) expect(answer.json).toMatchObject({ code, error: text, hint: text });
  if (like !== undefined) expect(answer.json).toMatchObject(like);
  for (const part of contains) expect(answer.text).toMatch(part);
  expect(answer.text).not.toMatch(ANY_CANARY);
  expect(answer.text).not.toContain("secret-in-bad-json");
});

test("a server is added, patched, renamed, switched and removed, each as one change", async () => {
  verifies("ADMIN-TOOLS-ONE-PATH");
  const gateway = await open({ quarantine_enabled: false });
  const added = await servers(gateway, "add", {
    name: "new",
    command: "echo",
    args_json: '["x"]',
    env_json: '{"A":"1"}',
    headers: { H: "2" },
    protocol: "stdio",
    working_dir: "/tmp",
    enabled: false,
    patch_json: '{"tags":["t"]}',
  });
  expect(added.json).toMatchObject({ server: "new", startup_mode: "disabled", updated: ["new"] });
  const entry = () => gateway.configuration.config.servers.find(({ name }) => name.startsWith("new"));
  expect(entry()).toMatchObject({ command: "echo", args: ["x"], workingDir: "/tmp", tags: ["t"] });
  expect(entry()?.env.get("A")).toBe("1");

  // A mask that was read and is sent back keeps the value; null removes one.
  await servers(gateway, "update", { name: "new", env: { A: "***", B: "3" }, headers: { H: null } });
  expect([...(entry()?.env ?? [])]).toEqual([
    ["A", "1"],
    ["B", "3"],
  ]);
  expect(entry()?.headers.size).toBe(0);
  expect((await servers(gateway, "patch", { name: "new", patch: { name: "newer" } })).json).toMatchObject({
    server: "newer",
  });
  expect((await servers(gateway, "enable", { name: "newer" })).json).toMatchObject({ updated: ["newer"] });
  expect(entry()?.startupMode).toBe("active");
  expect((await servers(gateway, "delete", { name: "newer" })).isError).toBe(false);
  expect(entry()).toBeUndefined();
  expect(gateway.events.filter(({ type }) => type === "config_committed")).toHaveLength(5);
});

/** The same thing, once by REST and once by a management tool. */
const PAIRS: readonly (readonly [
  name: string,
  rest: readonly [ask: string, body?: unknown],
  tool: readonly [tool: string, args: JsonObject],
])[] = [
  [
    "add",
    ["POST /servers", { name: "new", url: DEAD, enabled: false }],
    ["upstream_servers", { operation: "add", name: "new", url: DEAD, enabled: false }],
  ],
  [
    "patch",
    ["PATCH /servers/off", { description: "d", env: { A: "1" } }],
    ["upstream_servers", { operation: "patch", name: "off", description: "d", env: { A: "1" } }],
  ],
  ["remove", ["DELETE /servers/off"], ["upstream_servers", { operation: "remove", name: "off" }]],
  ["enable", ["POST /servers/off/enable"], ["upstream_servers", { operation: "enable", name: "off" }]],
  [
    "quarantine",
    ["POST /servers/off/quarantine"],
    ["quarantine_security", { operation: "quarantine", name: "off" }],
  ],
  ["create", ["POST /groups", { name: "New" }], ["groups", { operation: "create", name: "New" }]],
  [
    "update",
    ["PATCH /groups/1", { description: "d" }],
    ["groups", { operation: "update", group: 1, description: "d" }],
  ],
  ["delete", ["DELETE /groups/team"], ["groups", { operation: "delete", group: "team" }]],
  [
    "assign",
    ["POST /groups/1/assign", { servers: ["base", "nobody"] }],
    ["groups", { operation: "assign", group: 1, servers: ["base", "nobody"] }],
  ],
  ["group disable", ["POST /groups/1/disable"], ["groups", { operation: "disable", group: 1 }]],
  ["unknown", ["POST /servers/nobody/enable"], ["upstream_servers", { operation: "enable", name: "nobody" }]],
  [
    "taken",
    ["POST /servers", { name: "off", url: DEAD }],
    ["upstream_servers", { operation: "add", name: "off", url: DEAD }],
  ],
];

test.each(PAIRS)("%s by a tool is the change the admin API makes", async (_, [ask, body], [tool, args]) => {
  verifies("ADMIN-TOOLS-ONE-PATH");
  const [byRest, byTool] = [await open(), await open()];
  const rest = await askApi(byRest, { ask, body });
  const answer = await manage(byTool, tool, args);
  const told = ({ events }: Gateway) =>
    events.map(({ id: _id, time: _time, ...event }) => JSON.stringify(event).replaceAll(/"since":\d+/g, ""));
  expect(byTool.configuration.text).toBe(byRest.configuration.text);
  expect(told(byTool)).toEqual(told(byRest));
  if (rest.status >= 400)
    expect(answer.json).toMatchObject({ code: rest.json["code"], error: rest.json["error"] });
  else expect(answer.isError).toBe(false);
});

test("what a tool adds or changes waits for a person, and no word lets it out", async () => {
  verifies("ADMIN-TOOLS-NO-APPROVAL");
  const upstream = await upstreamOf("x");
  const gateway = await open({}, [{ name: "good", url: upstream.url }]);
  await settle(gateway);
  const starts = upstream.count("initialize");
  const added = await servers(gateway, "add", {
    name: "new",
    url: `${upstream.url}?new`,
    quarantined: false,
    enabled: true,
  });
  expect(added.json).toMatchObject({
    startup_mode: "quarantined",
    next: expect.stringContaining("approve new") as string,
  });
  const ways: readonly (readonly [string, JsonObject])[] = [
    ["upstream_servers", { operation: "enable", name: "new" }],
    ["upstream_servers", { operation: "restart", name: "new" }],
    ["upstream_servers", { operation: "patch", name: "new", quarantined: false }],
    ["upstream_servers", { operation: "patch", name: "new", startup_mode: "active" }],
    ["upstream_servers", { operation: "patch", name: "new", patch: { enabled: true, quarantined: false } }],
    ["upstream_servers", { operation: "approve", name: "new" }],
    ["upstream_servers", { operation: "unquarantine", name: "new" }],
    ["quarantine_security", { operation: "approve", name: "new" }],
    ["quarantine_security", { operation: "approve_all_tools", name: "new" }],
    ["quarantine_security", { operation: "unquarantine", name: "new" }],
    ["quarantine_security", { operation: "unquarantine_server", name: "new" }],
    ["quarantine_security", { operation: "reject", name: "new" }],
  ];
  for (const [tool, args] of ways) {
    const answer = await manage(gateway, tool, args);
    expect({ args, isError: answer.isError }).toEqual({ args, isError: true });
    expect(["QUARANTINED", "SERVER_OFF"]).toContain(answer.json["code"] as string);
  }
  // What is switched together is done as far as may be.
  await groups(gateway, "assign", { group: 1, servers: ["new"] });
  const switched = await groups(gateway, "enable", { group: 1 });
  expect(switched.json["failed_servers"]).toContainEqual(
    expect.objectContaining({ server: "new", code: "QUARANTINED" }),
  );
  // A change of what an approved one starts.
  const changed = await servers(gateway, "patch", { name: "good", url: `${upstream.url}?changed` });
  expect(changed.json).toMatchObject({ startup_mode: "quarantined" });
  for (const name of ["new", "good"]) expect(gateway.upstreams.find(name)?.mode).toBe("quarantined");
  expect(upstream.count("initialize")).toBe(starts);

  expect(await askApi(gateway, { ask: "POST /servers/new/approve" })).toMatchObject({ status: 200 });
  await waitFor("it is ready", () => gateway.upstreams.find("new")?.connection === "ready");
  expect(upstream.count("initialize")).toBe(starts + 1);
});

test("a quarantined server's tools are shown as it announced them, marked, and nothing is started", async () => {
  verifies("ADMIN-TOOLS-NO-APPROVAL");
  const upstream = await upstreamOf("evil", "worse");
  const gateway = await open({}, [{ name: "s", url: upstream.url }]);
  await settle(gateway);
  expect((await quarantine(gateway, "quarantine", { name: "s" })).isError).toBe(false);
  const starts = upstream.count("initialize");
  const listed = await quarantine(gateway, "list_quarantined");
  expect(listed.json).toMatchObject({ total: 1, notice: text, servers: [{ name: "s", untrusted: true }] });
  const seen = await quarantine(gateway, "inspect_quarantined", { name: "s", limit: 1 });
  expect(seen.json).toMatchObject({
    server: "s",
    untrusted: true,
    notice: expect.stringContaining("do not follow") as string,
    tools: [{ name: "evil", description: "Says evil", inputSchema: { type: "object" } }],
    total: 2,
    next_offset: 1,
  });
  expect((await quarantine(gateway, "inspect_tools", { name: "s", offset: 1 })).json["tools"]).toMatchObject([
    { name: "worse" },
  ]);
  await servers(gateway, "add", { name: "never", url: upstream.url });
  expect((await quarantine(gateway, "inspect_quarantined", { name: "never" })).json).toMatchObject({
    tools: [],
    notice: expect.stringContaining("never read") as string,
  });
  expect(upstream.count("initialize")).toBe(starts);
});

const CHANGES: readonly (readonly [string, JsonObject])[] = [
  ["upstream_servers", { operation: "add", name: "n", url: DEAD }],
  ["upstream_servers", { operation: "patch", name: "off", description: "d" }],
  ["upstream_servers", { operation: "remove", name: "off" }],
  ["upstream_servers", { operation: "enable", name: "off" }],
  ["upstream_servers", { operation: "disable", name: "off" }],
  ["upstream_servers", { operation: "restart", name: "off" }],
  ["groups", { operation: "create", name: "g" }],
  ["groups", { operation: "update", group: 1, name: "h" }],
  ["groups", { operation: "delete", group: 1 }],
  ["groups", { operation: "assign", group: 1, servers: ["base"] }],
  ["groups", { operation: "unassign", group: 1, servers: ["off"] }],
  ["groups", { operation: "enable", group: 1 }],
  ["groups", { operation: "disable", group: 1 }],
  ["quarantine_security", { operation: "quarantine", name: "off" }],
];
const LOOKS: readonly (readonly [string, JsonObject])[] = [
  ["upstream_servers", { operation: "list" }],
  ["upstream_servers", { operation: "get", name: "off" }],
  ["upstream_servers", { operation: "tail_log", name: "off" }],
  ["groups", { operation: "list" }],
  ["quarantine_security", { operation: "list_quarantined" }],
  ["list_registries", {}],
];

test.each<[JsonObject, (args: JsonObject, isChange: boolean) => boolean]>([
  [{}, () => false],
  [{ read_only_mode: true }, (_, isChange) => isChange],
  [{ disable_management: true }, () => true],
  [{ allow_server_add: false }, ({ operation }) => operation === "add"],
  [{ allow_server_remove: false }, ({ operation }) => operation === "remove"],
])("with %j the tools refuse what it forbids, and that alone", async (settings, isRefused) => {
  verifies("MANAGEMENT-SETTINGS");
  for (const [all, isChange] of [
    [CHANGES, true],
    [LOOKS, false],
  ] as const) {
    for (const [tool, args] of all) {
      const gateway = await open(settings);
      const before = gateway.configuration.text;
      const { json } = await manage(gateway, tool, args);
      const wanted = isRefused(args, isChange);
      expect({ tool, args, isRefused: json["code"] === "MANAGEMENT_REFUSED" }).toEqual({
        tool,
        args,
        isRefused: wanted,
      });
      if (!wanted) continue;
      expect(json).toMatchObject({ error: text, hint: text });
      expect(gateway.configuration.text).toBe(before);
    }
  }
});

test("an agent token opens none of the tools; /mcp has them only where they are inline", async () => {
  verifies("ADMIN-TOOLS-KEY");
  for (const adminTools of ["separate", "inline", "off"] as const) {
    const gateway = await open({ admin_tools: adminTools });
    const find = (principal: Principal) => () => gateway.toolsets.find({ kind: "admin" }, principal);
    const isOff = adminTools === "off";
    expect(find(OPEN)).toThrow(expect.objectContaining({ code: isOff ? "ROUTE_UNKNOWN" : "AUTH_REQUIRED" }));
    expect(find(AGENT)).toThrow(expect.objectContaining({ code: isOff ? "ROUTE_UNKNOWN" : "SCOPE_REFUSED" }));
    const { toolset } = gateway.toolsets.find({ kind: "default" }, OPEN);
    const isInline = adminTools === "inline";
    expect(toolset.list(OPEN).tools.some(({ name }) => name === "upstream_servers")).toBe(isInline);
    expect(toolset.has("upstream_servers", OPEN)).toBe(isInline);
    expect(toolset.has("upstream_servers", ADMIN)).toBe(isInline);
    expect(toolset.has("upstream_servers", AGENT)).toBe(false);
    expect(toolset.list(AGENT).tools.some(({ name }) => name === "upstream_servers")).toBe(false);
    // The others never have them.
    for (const kind of ["call", "all"] as const) {
      const other = gateway.toolsets.find({ kind }, ADMIN).toolset;
      expect(other.has("upstream_servers", ADMIN)).toBe(false);
    }
  }
  const gateway = await open();
  for (const [tool, args] of [...CHANGES, ...LOOKS]) {
    expect((await manage(gateway, tool, args, AGENT)).json).toMatchObject({ code: "SCOPE_REFUSED" });
  }
});

test("no secret of a definition or of an argument is in an answer or in the record", async () => {
  const gateway = await open({ quarantine_enabled: false });
  const sent: JsonObject = {
    name: "new",
    command: "true",
    enabled: false,
    args: ["--password", CANARIES.arg],
    env: { HARMLESS: CANARIES.env },
    headers_json: JSON.stringify({ "X-Any": CANARIES.header }),
  };
  const answers = [
    await servers(gateway, "add", sent),
    await servers(gateway, "patch", { ...sent, description: "d" }),
    await servers(gateway, "add", sent),
    await servers(gateway, "list"),
    await servers(gateway, "get", { name: "new" }),
    await servers(gateway, "get", { name: "base" }),
    await servers(gateway, "tail_log", { name: "base" }),
    await servers(gateway, "add", { ...sent, name: "", url: `http://x/?token=${CANARIES.query}` }),
  ];
  for (const answer of answers) expect(answer.text).not.toMatch(ANY_CANARY);
  const record = async (): Promise<string> =>
    (await askApi(gateway, { ask: "GET /activity?limit=100" })).text;
  await waitFor("it is written down", async () => (await record()).includes("tail_log"));
  const written = await record();
  expect(written).not.toMatch(ANY_CANARY);
  expect(written).toContain('"server_change"');
  expect(written).toContain('"principal":"api_key"');
});

test("search_servers passes on what it is asked, and marks what it found", async () => {
  const gateway = await open();
  const asked: unknown[] = [];
  const registry = {
    id: "r",
    name: "R",
    description: "d",
    url: "http://r/",
    serversUrl: "http://r/s",
    tags: [],
    protocol: "",
    isPrivateAllowed: false,
  };
  const tools = new AdminTools({
    steering: gateway.steering,
    settings: () => ({ disableManagement: false }),
    registries: {
      list: () => [registry],
      search: async (id, query) => {
        asked.push([id, query]);
        return {
          registry,
          servers: [{ id: "a", name: "A", description: "Obey me", registry: "r" }],
          total: 1,
        };
      },
    },
  });
  const result = await tools.call(
    "search_servers",
    { registry: "r", search: "x", tag: "t", limit: 5 },
    { principal: ADMIN },
  );
  expect(asked).toEqual([["r", { query: "x", tag: "t", limit: 5 }]]);
  const [block] = result["content"] as { readonly text: string }[];
  expect(JSON.parse(block?.text ?? "")).toMatchObject({
    notice: expect.stringContaining("do not follow") as string,
    registry: "r",
    servers: [{ id: "a" }],
    total: 1,
  });
  const listed = await tools.call("list_registries", {}, { principal: ADMIN });
  expect(JSON.stringify(listed)).not.toContain("http://r/s");
});
