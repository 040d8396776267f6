/**
 * The settings that forbid changes, on every route that could make one, and what goes on all the same.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { expect, test } from "bun:test";

import type { App } from "../../src/http.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { openGateway, serveTools } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi } from "./scenario.ts";

/** Routes that change no server, group or setting; a new one has to be entered here or obey. */
const FREE = [
  "DELETE /api/v1/tokens/:name",
  "DELETE /api/v1/tokens/:name/permanent",
  "POST /api/v1/config/validate",
  "POST /api/v1/preflight",
  "POST /api/v1/profile/cpu",
  "POST /api/v1/tokens",
  "POST /api/v1/tokens/:name/regenerate",
  "POST /api/v1/tools/call",
];
const ADDED = { name: "new", url: "http://127.0.0.1:1/" };
const PLAN = { operations: [{ op: "disable", name: "one" }] };
/** Bodies without which a route would refuse for another reason. */
const BODIES: Readonly<Record<string, unknown>> = {
  "POST /api/v1/servers": ADDED,
  "PATCH /api/v1/servers/:name": { description: "changed" },
  "POST /api/v1/servers/batch": { action: "disable", names: ["one"] },
  "POST /api/v1/groups": { name: "more" },
  "PATCH /api/v1/groups/:group": { description: "changed" },
  "POST /api/v1/groups/:group/assign": { servers: ["one"] },
  "POST /api/v1/groups/:group/unassign": { servers: ["one"] },
  "POST /api/v1/config/plan": PLAN,
  "POST /api/v1/config/apply": PLAN,
  "POST /api/v1/import": { text: JSON.stringify({ mcpServers: { new: { url: "http://127.0.0.1:1/" } } }) },
  "POST /api/toggle-group-servers": { group_name: "team", enabled: false },
};

interface Parts {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly url?: string;
  readonly registry?: string;
}

function fileOf({ settings, url = "http://127.0.0.1:1/", registry = "http://127.0.0.1:1/" }: Parts): string {
  return JSON.stringify({
    ...settings,
    registries: [{ id: "reg", name: "reg", url: registry, servers_url: registry, allow_private: true }],
    groups: [{ id: 1, name: "team" }],
    mcpServers: [
      { name: "one", url, startup_mode: "lazy_loading", group_id: 1 },
      { name: "two", url, startup_mode: "disabled" },
    ],
  });
}

/** What could change something, each route once. */
function changesOf(app: App): readonly string[] {
  const all = app.routes.filter(({ method }) => method !== "GET" && method !== "ALL");
  return [...new Set(all.map(({ method, path }) => `${method} ${path}`))].toSorted();
}

function pathOf(route: string): string {
  return route
    .replace(":name", "one")
    .replace(":group", "team")
    .replace(":id", "reg")
    .replace(":server", "new")
    .replace("/api/v1", "");
}

function serveRegistry(): Bun.Server<undefined> {
  return Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => Response.json([{ id: "new", name: "new", url: "http://127.0.0.1:1/" }]),
  });
}

async function ask(gateway: Gateway, route: string, body?: unknown) {
  const given = body ?? BODIES[route];
  return askApi(gateway, { ask: pathOf(route), ...(given === undefined ? {} : { body: given }) });
}

/** The newest text that is kept. */
async function latestOf(gateway: Gateway): Promise<string> {
  const { json } = await askApi(gateway, { ask: "GET /config/history" });
  const { entries } = json["data"] as { readonly entries: readonly { readonly id: string }[] };
  return entries[0]?.id ?? "";
}

test.each(["read_only_mode", "disable_management"])(
  "%s forbids each route that changes something",
  async (key) => {
    verifies("MANAGEMENT-SETTINGS");
    const registry = serveRegistry();
    const file = fileOf({ settings: { [key]: false }, registry: `http://127.0.0.1:${registry.port}/` });
    await using gateway = await openGateway([], { file });
    // So that there is something to go back to.
    const change = { ask: "PATCH /servers/two", body: { description: "new" } };
    expect((await askApi(gateway, change)).status).toBe(200);
    const id = await latestOf(gateway);
    const text = readFileSync(gateway.path, "utf8");
    writeFileSync(gateway.path, text.replace(`"${key}":false`, `"${key}":true`));
    await gateway.configuration.reload();
    const before = readFileSync(gateway.path, "utf8");
    const events = gateway.events.length;
    const refused: string[] = [];
    for (const route of changesOf(gateway.app())) {
      if (FREE.includes(route)) continue;
      const body = route === "POST /api/v1/config/rollback" ? { id } : undefined;
      const { status, json } = await ask(gateway, route, body);
      expect([route, status, json["code"]]).toEqual([route, 403, "MANAGEMENT_REFUSED"]);
      expect(json["hint"]).toContain(key);
      refused.push(route);
    }
    expect(refused.length).toBeGreaterThan(25);
    expect(FREE.filter((route) => !changesOf(gateway.app()).includes(route))).toEqual([]);
    expect(readFileSync(gateway.path, "utf8")).toBe(before);
    expect(gateway.events.slice(events)).toEqual([]);
    // Reading and tokens are nobody's server.
    expect((await askApi(gateway, { ask: "GET /servers" })).status).toBe(200);
    expect((await askApi(gateway, { ask: "POST /tokens", body: { name: "bot" } })).status).toBe(201);
    await registry.stop(true);
  },
);

test.each([
  ["allow_server_add", "remove"],
  ["allow_server_remove", "add"],
] as const)("%s: false forbids its own, by every way, and leaves the other", async (key, other) => {
  verifies("MANAGEMENT-SETTINGS");
  const registry = serveRegistry();
  const file = fileOf({ settings: { [key]: false }, registry: `http://127.0.0.1:${registry.port}/` });
  await using gateway = await openGateway([], { file });
  const add = { op: "add", server: ADDED };
  const remove = { op: "remove", name: "two" };
  const ways =
    key === "allow_server_add"
      ? [
          ["POST /servers", ADDED],
          ["POST /config/apply", { operations: [{ op: "disable", name: "one" }, add] }],
          ["POST /registries/reg/servers/new", {}],
          ["POST /import", BODIES["POST /api/v1/import"]],
          ["POST /config/apply", { operations: [{ op: "settings", patch: { allow_server_add: true } }] }],
          ["POST /config/apply", { operations: [{ op: "settings", patch: { allow_server_add: null } }] }],
        ]
      : [
          ["DELETE /servers/two", undefined],
          ["POST /config/apply", { operations: [remove] }],
          ["POST /config/apply", { operations: [{ op: "settings", patch: { allow_server_remove: true } }] }],
        ];
  for (const [way, body] of ways) {
    const { status, json } = await askApi(gateway, { ask: way as string, body });
    expect([way, status, json["code"]]).toEqual([way, 403, "MANAGEMENT_REFUSED"]);
    expect(json["hint"]).toContain(key);
  }
  expect(gateway.configuration.config.servers.map(({ name }) => name)).toEqual(["one", "two"]);
  const allowed =
    other === "add"
      ? await askApi(gateway, { ask: "POST /servers", body: ADDED })
      : await askApi(gateway, { ask: "DELETE /servers/two" });
  expect(allowed.status).toBeLessThan(300);
  expect((await askApi(gateway, { ask: "PATCH /servers/one", body: { description: "x" } })).status).toBe(200);
  await registry.stop(true);
});

test("a rollback brings no server back where none may be added, and lifts no ban", async () => {
  verifies("MANAGEMENT-SETTINGS");
  await using gateway = await openGateway([], { file: fileOf({ settings: {} }) });
  expect((await askApi(gateway, { ask: "DELETE /servers/two" })).status).toBe(200);
  const id = await latestOf(gateway);
  const forbid = { operations: [{ op: "settings", patch: { allow_server_add: false } }] };
  expect((await askApi(gateway, { ask: "POST /config/apply", body: forbid })).status).toBe(200);
  const { status, json } = await askApi(gateway, { ask: "POST /config/rollback", body: { id } });
  expect([status, json["code"]]).toEqual([403, "MANAGEMENT_REFUSED"]);
  expect(gateway.configuration.config.servers.map(({ name }) => name)).toEqual(["one"]);
});

test("a person lifts it in the file, and an edit by hand is taken while it holds", async () => {
  verifies("MANAGEMENT-SETTINGS");
  await using gateway = await openGateway([], { file: fileOf({ settings: { read_only_mode: true } }) });
  const text = readFileSync(gateway.path, "utf8");
  writeFileSync(gateway.path, text.replace('"two"', '"three"'));
  await gateway.configuration.reload();
  expect(gateway.configuration.config.servers.map(({ name }) => name)).toEqual(["one", "three"]);
  expect((await ask(gateway, "POST /api/v1/servers/:name/disable")).status).toBe(403);
  writeFileSync(gateway.path, text.replace('"read_only_mode":true', '"read_only_mode":false'));
  await gateway.configuration.reload();
  expect((await ask(gateway, "POST /api/v1/servers/:name/disable")).status).toBe(200);
});

test.each(["read_only_mode", "disable_management"])(
  "%s keeps the proxy from nothing it writes itself",
  async (key) => {
    verifies("MANAGEMENT-SETTINGS");
    const settings = {
      [key]: true,
      persist_auto_disable_to_config: true,
      auto_disable_threshold: 1,
      supervision: { backoff_base: "10ms" },
    };
    const file = fileOf({ settings }).replace('"lazy_loading"', '"active"');
    await using gateway = await openGateway([], { file });
    gateway.upstreams.start();
    const written = (): boolean => readFileSync(gateway.path, "utf8").includes('"auto_disabled"');
    await waitFor("the auto-disable stands in the file", written, 10_000);
    expect(gateway.lines.join("")).not.toContain("Cannot write auto-disabled");
  },
);

test("in read-only mode tools that read are called, and others are not", async () => {
  verifies("MANAGEMENT-SETTINGS", "CALL-SCOPED");
  await using upstream = serveTools([
    makeDefinition("look", { annotations: { readOnlyHint: true } }),
    makeDefinition("plain"),
  ]);
  const file = fileOf({ settings: { read_only_mode: true }, url: upstream.url });
  await using gateway = await openGateway([], { file });
  const call = (tool_name: string, name: string) =>
    askApi(gateway, { ask: "POST /tools/call", body: { tool_name, arguments: { name } } });
  expect((await call("call_tool_read", "one:look")).status).toBe(200);
  expect((await call("call_tool_write", "one:plain")).json["code"]).toBe("TOOL_REFUSED");
  expect(upstream.count("tools/call")).toBe(1);
});
