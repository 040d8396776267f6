/**
 * The routes of the configuration: plan, apply, history, difference, rollback; bad bodies; and no secret anywhere.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { openGateway } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

const OFF = "http://127.0.0.1:9/mcp";
const FILE = `{
  "tools_limit": 15,
  "groups": [{ "id": 1, "name": "Team" }],
  "mcpServers": [
    { "name": "a", "url": "${OFF}", "startup_mode": "disabled" },
    { "name": "held", "url": "${OFF}", "startup_mode": "quarantined" }
  ]
}
`;

let gateway: Gateway;

beforeAll(async () => {
  gateway = await openGateway([], { file: FILE });
});

afterAll(() => gateway[Symbol.asyncDispose]());

const change = (...operations: readonly unknown[]) => ({ operations });
const usage = { status: 400, like: { code: "USAGE" } } as const;
const DEEP = `${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`;

testScenarios(
  () => gateway,
  [
    {
      name: "tells what would change and restart",
      ask: "POST /config/plan",
      body: change(
        { op: "patch", name: "a", patch: { url: `${OFF}/x`, tags: ["t"] }, approve: true },
        { op: "settings", patch: { tools_limit: 3, listen: "127.0.0.1:1" } },
      ),
      like: {
        data: {
          revision: 1,
          changes: [{ server: "a", kind: "change", keys: ["url", "tags"], restarts: true }],
          settings: ["tools_limit", "listen"],
          restart_required: ["listen"],
          updated: ["a"],
          unchanged: [],
          refused: [],
        },
      },
    },
    {
      name: "as a dry run is a plan",
      ask: "POST /config/apply",
      body: { ...change({ op: "enable", name: "a" }), dry_run: true },
      like: {
        data: { revision: 1, changes: [{ server: "a", mode: { before: "disabled", after: "active" } }] },
      },
    },
    {
      name: "another revision",
      ask: "POST /config/apply",
      body: { ...change({ op: "enable", name: "a" }), revision: 0 },
      status: 409,
      like: { code: "CONFIG_CONFLICT", details: { expected: 0, actual: 1 } },
    },
    {
      name: "a trial of what nobody approved",
      ask: "POST /config/apply",
      body: { ...change({ op: "add", server: { name: "n", url: OFF } }), verify: true },
      status: 409,
      like: { code: "QUARANTINED" },
    },
    {
      name: "a trial that fails",
      ask: "POST /config/apply",
      body: { ...change({ op: "add", server: { name: "n", url: OFF }, approve: true }), verify: true },
      status: 422,
      like: { code: "VERIFY_FAILED", details: { server: "n", class: "network" } },
    },
    {
      name: "a setting that is wrong, with its place",
      ask: "POST /config/apply",
      body: change({ op: "settings", patch: { tools_limit: -3 } }),
      status: 400,
      like: { code: "CONFIG_INVALID", details: { faults: [{ key: "tools_limit", line: 2 }] } },
      contains: ["tools_limit"],
    },
    {
      name: "settings are not the way to servers",
      ask: "POST /config/apply",
      body: change({ op: "settings", patch: { mcpServers: [] } }),
      status: 400,
      like: { code: "ARGUMENTS_INVALID" },
    },
    {
      name: "a quarantined server cannot be enabled",
      ask: "POST /config/apply",
      body: change({ op: "enable", name: "held" }),
      status: 409,
      like: { code: "QUARANTINED" },
      contains: ["approve"],
    },
    {
      name: "an unknown server",
      ask: "POST /config/apply",
      body: change({ op: "remove", name: "nobody" }),
      status: 404,
      like: { code: "SERVER_UNKNOWN" },
    },
    { name: "no operation", ask: "POST /config/apply", body: { operations: [] }, ...usage },
    { name: "no body", ask: "POST /config/apply", ...usage },
    { name: "no JSON", ask: "POST /config/apply", body: "{bad", ...usage, lacks: ["SyntaxError"] },
    { name: "a list", ask: "POST /config/apply", body: "[]", ...usage },
    { name: "null", ask: "POST /config/apply", body: "null", ...usage },
    { name: "a number", ask: "POST /config/apply", body: "1e999", ...usage },
    { name: "deep nesting", ask: "POST /config/apply", body: DEEP, ...usage },
    {
      name: "an unknown operation",
      ask: "POST /config/apply",
      body: change({ op: "launch", name: "a" }),
      ...usage,
      contains: ["operations.0"],
    },
    {
      name: "an operation only the proxy makes",
      ask: "POST /config/apply",
      body: change({ op: "auto_disable", name: "a" }),
      ...usage,
    },
    {
      name: "a wrong type",
      ask: "POST /config/apply",
      body: change({ op: "patch", name: "a", patch: [] }),
      ...usage,
      contains: ["operations.0.patch"],
    },
    {
      name: "a name that is none",
      ask: "POST /config/apply",
      body: change({ op: "enable", name: 5 }),
      ...usage,
    },
    {
      name: "a misspelt dry_run changes nothing",
      ask: "POST /config/apply",
      body: { ...change({ op: "enable", name: "a" }), dryRun: true },
      ...usage,
      contains: ["dryRun"],
    },
    {
      name: "a revision that is no number",
      ask: "POST /config/apply",
      body: { ...change({ op: "enable", name: "a" }), revision: "1" },
      ...usage,
    },
    ...["x".repeat(300), "a:b", "a__b", "a\u0000b", " ", "x".repeat(1_000_000)].map((name) => ({
      name: `a server cannot be named '${name.slice(0, 8)}…'`,
      ask: "POST /config/apply",
      body: change({ op: "add", server: { name, url: OFF }, approve: true }),
      status: 400,
      like: { code: "ARGUMENTS_INVALID" },
    })),
    {
      name: "a huge name is not repeated",
      ask: "POST /config/apply",
      body: change({ op: "enable", name: "x".repeat(1_000_000) }),
      ...usage,
      lacks: ["xxxx"],
    },
    ...["x".repeat(129), "a\u0000b", "a\nb"].map((name) => ({
      name: `a group cannot be named '${name.slice(0, 8)}…'`,
      ask: "POST /config/apply",
      body: change({ op: "add_group", group: { name } }),
      status: 400,
      like: { code: "ARGUMENTS_INVALID" },
    })),
    {
      name: "a key named __proto__ is a key",
      ask: "POST /config/plan",
      body: '{"operations":[{"op":"patch","name":"a","patch":{"__proto__":{"command":"sh"},"constructor":1}}]}',
      like: { data: { changes: [{ server: "a", keys: ["__proto__", "constructor"], restarts: false }] } },
    },
    {
      name: "a body that is only __proto__",
      ask: "POST /config/apply",
      body: '{"__proto__":{"operations":[{"op":"enable","name":"a"}]}}',
      ...usage,
    },
    {
      name: "nothing was kept yet",
      ask: "GET /config/history",
      like: { data: { revision: 1, entries: [] } },
    },
    { name: "from where?", ask: "GET /config/diff", ...usage, contains: ["from"] },
    ...["nope", "../../etc/passwd", "999", ""].map((id) => ({
      name: `no version '${id}'`,
      ask: `GET /config/diff?from=${encodeURIComponent(id)}`,
      status: 404,
      like: { code: "REVISION_UNKNOWN" },
    })),
    {
      name: "to a version that is not kept",
      ask: "POST /config/rollback",
      body: { id: "../../etc/passwd" },
      status: 404,
      like: { code: "REVISION_UNKNOWN" },
    },
    { name: "to nothing", ask: "POST /config/rollback", body: {}, ...usage },
    {
      name: "a method that is none",
      ask: "DELETE /config/history",
      status: 404,
      like: { code: "ROUTE_UNKNOWN" },
    },
  ],
);

test("none of the requests above changed anything", () => {
  verifies("CONFIG-PLAN-DRY");
  expect(readFileSync(gateway.path, "utf8")).toBe(FILE);
  expect(gateway.events).toEqual([]);
  expect(gateway.configuration.revision).toBe(1);
});

test("POST /config/apply takes 10,000 operations as one change, in bounded time", async () => {
  await using many = await openGateway([], { file: FILE });
  const operations = Array.from({ length: 10_000 }, (_, at) =>
    at % 2 === 0 ? { op: "assign", name: "a", group: 1 } : { op: "unassign", name: "a", group: 1 },
  );
  const startedAt = performance.now();
  const done = await askApi(many, { ask: "POST /config/apply", body: { operations } });
  expect(done.status).toBe(200);
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  const bad = operations.map(({ name }) => ({ op: "enable", name: `no-${name}` }));
  const lenient = await askApi(many, {
    ask: "POST /config/apply",
    body: { operations: bad, lenient: true },
  });
  expect((lenient.json["data"] as { refused: unknown[] }).refused).toHaveLength(10_000);
  expect(performance.now() - startedAt).toBeLessThan(6_000);
});

test("the routes of the configuration show no secret, change by change and back", async () => {
  verifies("SECRETS-MASKED", "CONFIG-ROLLBACK");
  const canary = (of: string): string => `canary-of-${of}`;
  const server = {
    name: "s",
    url: `http://user:${canary("password")}@127.0.0.1:9/mcp?api_key=${canary("query")}`,
    headers: { Authorization: `Bearer ${canary("header")}`, "X-Plain": canary("plain-header") },
    env: { PLAIN: canary("env") },
    startup_mode: "disabled",
  };
  const local = {
    name: "local",
    command: "tool",
    args: ["--token", canary("arg"), `API_KEY=${canary("pair")}`],
    startup_mode: "disabled",
  };
  await using proxy = await openLiveProxy({
    api_key: `${canary("key")}-0123456789-0123456789`,
    mcpServers: [server, local],
  });
  const answers: string[] = [];
  const ask = async (what: string, body?: unknown) => {
    const reply = await proxy.ask(what, body);
    answers.push(reply.text);
    return reply;
  };
  const patch = { env: { PLAIN: canary("env-2") }, headers: { Authorization: canary("header-2") } };
  await ask("POST /config/plan", change({ op: "patch", name: "s", patch, approve: true }));
  expect((await ask("PATCH /servers/s", { ...patch, approve: true })).status).toBe(200);
  await ask("PATCH /servers/local", { args: ["--token", canary("arg-2")], approve: true });
  await ask("POST /servers", { ...server, name: "t", env: { A_TOKEN: canary("new") } });
  await ask("PATCH /servers/s", { env: { PLAIN: 5 } });
  await ask("PATCH /servers/s", { url: `http://u:${canary("bad-url")}@`, approve: true });
  await ask("POST /config/apply", change({ op: "settings", patch: { api_key: [canary("bad-key")] } }));
  await ask("POST /servers/s/enable", {});
  const { data } = await ask("GET /config/history");
  const [first] = data["entries"] as { id: string; revision: number }[];
  expect(first).toMatchObject({ revision: 1 });
  const diff = await ask(`GET /config/diff?from=${first?.id}`);
  expect(diff.data["diff"]).toContain("PLAIN");
  expect(diff.data["to"]).toBe("now");
  expect((await ask(`GET /config/diff?from=1&to=${first?.id}`)).data["diff"]).toBe("");
  const back = await ask("POST /config/rollback", { id: first?.id });
  expect(back).toMatchObject({ status: 200, data: { changes: expect.any(Array) as unknown[] } });
  for (const path of ["/servers", "/servers/s", "/servers/local", "/status", "/config/history", "/groups"]) {
    await ask(`GET ${path}`);
  }
  const leaks = [...answers, ...proxy.lines].filter((text) => text.includes("canary-of"));
  expect(leaks).toEqual([]);
  expect(proxy.text()).toContain(canary("env"));
  // Its definition of now was never the first one's again: nothing is started that was not approved.
  expect(await proxy.server("s")).toMatchObject({ connected: false });
});

test("POST /config/rollback brings back what was removed, held, and lets go of it with approve", async () => {
  verifies("CONFIG-ROLLBACK", "APPROVAL-GATE");
  await using proxy = await openLiveProxy({
    mcpServers: [{ name: "s", url: OFF, startup_mode: "disabled" }],
  });
  await proxy.ask("DELETE /servers/s");
  const { data } = await proxy.ask("GET /config/history");
  const [first] = data["entries"] as { id: string }[];
  expect((await proxy.ask("POST /config/rollback", { id: first?.id })).data).toMatchObject({
    changes: [{ server: "s", kind: "add" }],
  });
  expect(await proxy.server("s")).toMatchObject({ startup_mode: "quarantined" });
  await proxy.ask("DELETE /servers/s");
  await proxy.ask("POST /config/rollback", { id: first?.id, approve: true });
  expect(await proxy.server("s")).toMatchObject({ startup_mode: "disabled" });
});
