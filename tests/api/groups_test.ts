/**
 * The routes of groups and batches, and the Go proxy's paths for them.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { openGateway, serveTools, settle } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

const OFF = "http://127.0.0.1:9/mcp";
const FILE = `${JSON.stringify(
  {
    groups: [
      { id: 0, name: "Zero" },
      { id: 1, name: "Team A", description: "All of A", color: "#ff0000", icon_emoji: "🐙" },
      { id: 2, name: "Sub", parent: "Team A", enabled: false },
      { id: 7, name: "Loose" },
    ],
    mcpServers: [
      { name: "a", url: OFF, startup_mode: "disabled", groups: ["Team A"], tags: ["x"] },
      { name: "b", url: OFF, startup_mode: "disabled", groups: [2, "Loose"] },
      { name: "c", url: OFF, startup_mode: "disabled", group_id: 7 },
      { name: "held", url: OFF, startup_mode: "quarantined", groups: ["sub"] },
    ],
  },
  null,
  2,
)}\n`;

const usage = { status: 400, like: { code: "USAGE" } } as const;
const TEAM = {
  id: 1,
  name: "Team A",
  slug: "team-a",
  description: "All of A",
  color: "#ff0000",
  icon_emoji: "🐙",
  enabled: true,
  depth: 0,
  own_count: 1,
  server_count: 3,
};
const WOULD = { success: true, message: "Would disable 0 servers, 2 unchanged, 1 refused" };

let gateway: Gateway;

beforeAll(async () => {
  gateway = await openGateway([], { file: FILE });
});

afterAll(() => gateway[Symbol.asyncDispose]());

testScenarios(
  () => gateway,
  [
    ...["GET /groups", "GET /api/groups"].map((ask) => ({
      name: "all of them, with their places",
      ask,
      like: {
        data: {
          groups: [
            { id: 0, name: "Zero", server_count: 0 },
            TEAM,
            { id: 2, name: "Sub", parent: 1, enabled: false, depth: 1, own_count: 2, server_count: 2 },
            { id: 7, name: "Loose", own_count: 2, server_count: 2 },
          ],
        },
      },
    })),
    ...["1", "team-a", "Team%20A"].map((word) => ({
      name: "one, by id, name or slug",
      ask: `GET /groups/${word}`,
      like: { data: TEAM },
    })),
    { name: "the group 0", ask: "GET /groups/0", like: { data: { id: 0, name: "Zero" } } },
    {
      name: "an unknown group, with the one that was meant",
      ask: "GET /groups/Loos",
      status: 404,
      like: { code: "GROUP_UNKNOWN" },
      contains: ["Did you mean 'Loose'"],
    },
    { name: "__proto__ is no group", ask: "GET /groups/__proto__", status: 404 },
    {
      name: "members of a group and those below it",
      ask: "GET /groups/1/members",
      like: { data: { group: 1, servers: ["a", "b", "held"] } },
    },
    { name: "no members are a list", ask: "GET /groups/0/members", like: { data: { servers: [] } } },
    { name: "members of no group", ask: "GET /groups/99/members", status: 404 },
    {
      name: "a dry run",
      ask: "POST /groups/1/disable",
      body: { dry_run: true },
      like: {
        data: {
          ...WOULD,
          updated: 0,
          unchanged: 2,
          partial_failure: true,
          failed_servers: [{ server: "held", code: "QUARANTINED" }],
        },
      },
    },
    {
      name: "a dry run of assigning",
      ask: "POST /groups/zero/assign",
      body: { servers: ["a", "nobody"], dry_run: true },
      like: {
        data: {
          message: "Would assign 1 server, 1 refused",
          failed_servers: [{ server: "nobody", code: "SERVER_UNKNOWN" }],
        },
      },
    },
    {
      name: "a dry run over a filter",
      ask: "POST /servers/batch",
      body: { action: "enable", filter: { category: "disabled", tag: "x" }, dry_run: true },
      like: { data: { message: "Would enable 1 server" } },
    },
    {
      name: "a dry run over a group and names",
      ask: "POST /servers/batch",
      body: { action: "quarantine", group: "Loose", names: ["a", "c"], dry_run: true },
      like: { data: { message: "Would quarantine 1 server" } },
    },
    ...[
      {},
      { action: "enable" },
      { action: "launch", names: ["a"] },
      { action: "approve", names: ["held"] },
      { action: "enable", names: "a" },
      { action: "enable", names: [5] },
      { action: "enable", filter: { category: "asleep" } },
      { action: "enable", group: "Team A", filter: { categorie: "disabled" } },
      { action: "enable", names: ["a"], filter: { not_connected_for_days: -1 } },
      { action: "enable", names: ["a"], dryRun: true },
      { action: "assign", names: ["a"] },
      { action: "enable", filter: {} },
      { action: "enable", names: ["x".repeat(100_000)] },
      [],
      null,
      "text",
    ].map((body) => ({
      name: `the body ${JSON.stringify(body).slice(0, 60)}`,
      ask: "POST /servers/batch",
      body: JSON.stringify(body),
      ...usage,
      lacks: ["xxxx"],
    })),
    { name: "no JSON", ask: "POST /servers/batch", body: "{", ...usage },
    {
      name: "an unknown group",
      ask: "POST /servers/batch",
      body: { action: "enable", group: "x" },
      status: 404,
    },
    { name: "no servers", ask: "POST /groups/1/assign", body: {}, ...usage },
    { name: "an unknown key", ask: "POST /groups/1/enable", body: { dryRun: true }, ...usage },
    { name: "an unknown verb", ask: "POST /groups/1/approve", status: 404, like: { code: "ROUTE_UNKNOWN" } },
    { name: "no name", ask: "POST /groups", body: { id: 5 }, ...usage, contains: ["name"] },
    { name: "a negative id", ask: "POST /groups", body: { id: -1, name: "N" }, ...usage },
    {
      name: "a name that is taken",
      ask: "POST /groups",
      body: { name: "Sub" },
      status: 409,
      like: { code: "GROUP_EXISTS" },
    },
    {
      name: "an id that is taken",
      ask: "POST /groups",
      body: { id: 7, name: "Seven" },
      status: 409,
      like: { code: "GROUP_EXISTS" },
    },
    {
      name: "a parent that is not there",
      ask: "POST /groups",
      body: { name: "N", parent: "nowhere" },
      status: 400,
      like: { code: "CONFIG_INVALID" },
      contains: ["nowhere"],
    },
    {
      name: "a circle",
      ask: "PATCH /groups/1",
      body: { parent: "Sub" },
      status: 400,
      like: { code: "CONFIG_INVALID" },
      contains: ["circle", "Team A → Sub → Team A"],
    },
    { name: "another id", ask: "PATCH /groups/1", body: { id: 9 }, ...usage },
    {
      name: "nothing that is there",
      ask: "DELETE /groups/nope",
      status: 404,
      like: { code: "GROUP_UNKNOWN" },
    },
    {
      name: "an unknown group",
      ask: "POST /api/toggle-group-servers",
      body: { group_name: "nope", enabled: true },
      status: 404,
      like: { code: "GROUP_UNKNOWN" },
    },
    { name: "no word", ask: "POST /api/toggle-group-servers", body: { group_name: "Sub" }, ...usage },
  ],
);

test("none of the requests above changed anything", () => {
  verifies("CONFIG-PLAN-DRY");
  expect(readFileSync(gateway.path, "utf8")).toBe(FILE);
  expect(gateway.events).toEqual([]);
});

test("the routes of a group make, change, fill, empty and delete it, each as one change with one event", async () => {
  verifies("BATCH-ONE-CHANGE");
  await using own = await openGateway([], { file: FILE });
  const { revision } = own.configuration;
  const asks = [
    ["POST /groups", { name: "7", description: "Digits", icon_emoji: "7️⃣", parent: 1 }],
    ["PATCH /groups/8", { name: "Eighth", description: "Letters", parent: null, color: "#00ff00" }],
    ["POST /groups/eighth/assign", { servers: ["a", "c"] }],
    ["GET /groups/8/members"],
    ["POST /servers/batch", { action: "unassign", names: ["a"], to: "Eighth" }],
    ["DELETE /groups/8"],
    ["GET /groups/8"],
  ] as const;
  const answers = [];
  for (const [ask, body] of asks) {
    const { status, json } = await askApi(own, { ask, body });
    answers.push([status, json["data"] ?? json["code"]]);
  }
  expect(answers).toMatchObject([
    [201, { revision: revision + 1, group: { id: 8, name: "7", parent: 1, icon_emoji: "7️⃣" } }],
    [200, { revision: revision + 2, group: { id: 8, name: "Eighth", slug: "eighth", depth: 0 } }],
    [200, { success: true, updated: 2, failed_servers: [] }],
    [200, { servers: ["a", "c"] }],
    [200, { success: true, updated: 1 }],
    [200, { revision: revision + 5, updated: ["c"] }],
    [404, "GROUP_UNKNOWN"],
  ]);
  expect(answers[1]?.[1]).not.toMatchObject({ group: { parent: 1 } });
  const events = own.events.flatMap((event) =>
    event.type === "server_group_updated" ? [[event.data.action, event.group, event.revision]] : [],
  );
  expect(events).toEqual([
    ["create", 8, revision + 1],
    ["update", 8, revision + 2],
    ["assign", 8, revision + 3],
    ["unassign", 8, revision + 4],
    ["delete", 8, revision + 5],
  ]);
  expect(own.events.filter(({ type }) => type === "config_committed")).toHaveLength(5);
  const text = readFileSync(own.path, "utf8");
  const { mcpServers, ...rest } = JSON.parse(FILE) as { mcpServers: { name: string }[] };
  // The list that was made for it stays, empty.
  const servers = mcpServers.map((server) => (server.name === "c" ? { ...server, groups: [] } : server));
  expect(JSON.parse(text)).toEqual({ ...rest, mcpServers: servers });
});

test("the Go proxy's switch of a group turns servers off and on, and frees none from quarantine", async () => {
  verifies("BATCH-NAMES-FAILED", "APPROVAL-GATE");
  await using good = serveTools([makeDefinition("one")]);
  const file = FILE.replaceAll(OFF, good.url).replaceAll('"disabled"', '"active"');
  await using own = await openGateway([], { file });
  await settle(own);
  const toggle = async (enabled: boolean) =>
    (await askApi(own, { ask: "POST /api/toggle-group-servers", body: { group_name: "Team A", enabled } }))
      .json;
  const failed = [{ server: "held", code: "QUARANTINED" }];
  expect(await toggle(false)).toMatchObject({ success: true, data: { updated: 2, failed_servers: failed } });
  const states = () => own.upstreams.list().map(({ server: { name }, connection }) => [name, connection]);
  await waitFor("they are closed", () => states().filter(([, state]) => state === "ready").length === 1);
  expect(await toggle(true)).toMatchObject({ data: { updated: 2, failed_servers: failed } });
  await waitFor("they are back", () => states().filter(([, state]) => state === "ready").length === 3);
  expect(states()).toContainEqual(["held", "disconnected"]);
});
