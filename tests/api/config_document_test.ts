/**
 * The routes of the whole configuration over a file that is really written, and the keys that are refused on every way in.
 */
import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { openGateway } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi } from "./scenario.ts";

const OFF = "http://127.0.0.1:9/mcp";
const SECRET = "canary-of-the-file";
const ARRAY = `{
  // the head
  "tools_limit": 15, // behind
  "x_own": { "n": 1.50 },
  "api_key": "${SECRET}-0123456789-0123456789",
  "mcpServers": [
    { "name": "a", "url": "${OFF}?token=${SECRET}", "headers": { "K": "${SECRET}" }, "startup_mode": "disabled" }, /* a */
    { "name": "b", "command": "b", "args": null, "enabled": false, "x_b": 1e3 },
  ],
}
`;
const MAP = `{ "mcpServers": { "a": { "url": "${OFF}", "disabled": true }, "b": { "command": "b", "enabled": false } } }`;

type Reply = Awaited<ReturnType<typeof askApi>>;
interface Shown {
  readonly config: Record<string, unknown> & { readonly mcpServers: Record<string, unknown>[] };
  readonly config_path: string;
  readonly revision: number;
}

async function show(gateway: Gateway): Promise<Shown & { readonly reply: Reply }> {
  const reply = await askApi(gateway, { ask: "GET /config" });
  return { ...(reply.json["data"] as Shown), reply };
}

test.each([
  ["a list", ARRAY],
  ["a map", MAP],
])("POST /config/apply of what GET /config shows writes nothing: %s", async (_, file) => {
  verifies("CONFIG-DOCUMENT-ROUNDTRIP", "SECRETS-MASKED");
  await using gateway = await openGateway([], { file });
  const { config, revision, reply } = await show(gateway);
  expect(reply.text).not.toContain(SECRET);
  expect(reply.headers.get("etag")).toBe(`"${revision}"`);
  const { ino, mtimeMs } = statSync(gateway.path);
  for (const body of [config, { config, revision }, { ...config, revision }]) {
    const { json, status } = await askApi(gateway, { ask: "POST /config/apply", body });
    expect({ status, json }).toMatchObject({
      status: 200,
      json: { data: { success: true, changed_fields: [], requires_restart: false, revision } },
    });
  }
  expect(statSync(gateway.path)).toMatchObject({ ino, mtimeMs });
  expect([readFileSync(gateway.path, "utf8"), gateway.events]).toEqual([file, []]);
});

test("POST /config/apply of a changed document is one change, and keeps comments, references and secrets", async () => {
  verifies("CONFIG-DOCUMENT-DIFFERENCE", "CONFIG-MASK-STAYS");
  await using gateway = await openGateway([], { file: ARRAY });
  const { config, revision } = await show(gateway);
  config["tools_limit"] = 21;
  config["listen"] = "127.0.0.1:1";
  Object.assign(config.mcpServers[0] ?? {}, { description: "d" });
  config.mcpServers.push({ name: "n", command: "c" });
  const { json } = await askApi(gateway, { ask: "POST /config/apply", body: config });
  expect(json["data"]).toMatchObject({
    success: true,
    applied_immediately: false,
    requires_restart: true,
    restart_reason: "listen takes effect at the next start",
    changed_fields: ["tools_limit", "listen", "mcpServers"],
    revision: revision + 1,
  });
  const text = readFileSync(gateway.path, "utf8");
  for (const part of [
    "// the head",
    "// behind",
    "/* a */",
    "1.50",
    "1e3",
    `?token=${SECRET}`,
    `"K": "${SECRET}"`,
  ])
    expect(text).toContain(part);
  expect(text).not.toContain("***");
  // Nobody approved what it starts.
  expect(gateway.configuration.config.servers.at(-1)).toMatchObject({
    name: "n",
    startupMode: "quarantined",
  });
  expect(gateway.events.filter(({ type }) => type === "config_committed")).toHaveLength(1);
  const again = await show(gateway);
  Object.assign(again.config.mcpServers[2] ?? {}, { args: ["x"] });
  const approved = await askApi(gateway, {
    ask: "POST /config/apply",
    body: { ...again.config, approve: true },
  });
  expect(approved.status).toBe(200);
  expect(gateway.configuration.config.servers.at(-1)).toMatchObject({ args: ["x"], startupMode: "active" });
});

test("POST /config/apply for another revision is a conflict, beside the document and in If-Match", async () => {
  await using gateway = await openGateway([], { file: MAP });
  const { config, revision } = await show(gateway);
  for (const sent of [
    { body: { ...config, revision: revision - 1 } },
    { body: config, headers: { "if-match": '"99"' } },
  ]) {
    const { status, json } = await askApi(gateway, { ask: "POST /config/apply", ...sent });
    expect([status, json["code"]]).toEqual([409, "CONFIG_CONFLICT"]);
  }
  const odd = await askApi(gateway, {
    ask: "POST /config/apply",
    body: config,
    headers: { "if-match": "x" },
  });
  expect([odd.status, odd.json["code"]]).toEqual([400, "USAGE"]);
  const fits = await askApi(gateway, {
    ask: "POST /config/apply",
    body: { ...config, tools_limit: 2 },
    headers: { "if-match": `W/"${revision}"` },
  });
  expect(fits.status).toBe(200);
});

test("POST /config/validate says what is wrong, and /config/apply refuses the same", async () => {
  verifies("CONFIG-DOCUMENT-DIFFERENCE");
  await using gateway = await openGateway([], { file: ARRAY });
  const { config } = await show(gateway);
  const good = await askApi(gateway, { ask: "POST /config/validate", body: config });
  expect(good.json["data"]).toEqual({ valid: true, errors: [], warnings: [] });
  const body = { ...config, tools_limit: -5, call_tool_timeout: 3 };
  const bad = await askApi(gateway, { ask: "POST /config/validate", body });
  expect(bad.json["data"]).toMatchObject({
    valid: false,
    errors: [{ field: "tools_limit", message: expect.any(String) as string }, { field: "call_tool_timeout" }],
  });
  const refused = await askApi(gateway, { ask: "POST /config/apply", body });
  expect({ status: refused.status, ...refused.json }).toMatchObject({
    status: 400,
    code: "CONFIG_INVALID",
    error: expect.stringContaining("'tools_limit'") as string,
  });
  const { mcpServers: _, ...part } = config;
  const partly = await askApi(gateway, { ask: "POST /config/apply", body: part });
  expect({ status: partly.status, ...partly.json }).toMatchObject({
    status: 400,
    code: "USAGE",
    error: expect.stringContaining("mcpServers") as string,
  });
  for (const odd of [
    { ...config, mcpServers: 5 },
    { ...config, mcpServers: [5, null, "x"] },
    { ...config, groups: [1] },
    { ...config, logging: [] },
    { ...config, registries: {} },
  ]) {
    const { status, json } = await askApi(gateway, { ask: "POST /config/apply", body: odd });
    expect([status, json["code"]]).toEqual([400, "CONFIG_INVALID"]);
  }
  expect(readFileSync(gateway.path, "utf8")).toBe(ARRAY);
});

test("a misspelt key is refused on every way in, and foreign ones stay", async () => {
  verifies("CONFIG-KEY-MISSPELT");
  await using gateway = await openGateway([], { file: MAP });
  const refused = async (ask: string, body: unknown, meant: string): Promise<void> => {
    const { status, json } = await askApi(gateway, { ask, body });
    expect({ status, ...json }).toMatchObject({
      status: 400,
      code: "USAGE",
      hint: `Did you mean '${meant}'?`,
    });
  };
  await refused("POST /servers", { name: "n", comand: "x" }, "command");
  await refused("PATCH /servers/a", { workingDir: "/x" }, "working_dir");
  await refused("PATCH /servers/a", { header: { A: "b" } }, "headers");
  await refused(
    "POST /config/apply",
    { operations: [{ op: "settings", patch: { tool_limit: 3 } }] },
    "tools_limit",
  );
  await refused(
    "POST /config/apply",
    { operations: [{ op: "add", server: { name: "n", url: OFF, arg: [] } }] },
    "args",
  );
  expect(readFileSync(gateway.path, "utf8")).toBe(MAP);
  const kept = await askApi(gateway, { ask: "PATCH /servers/a", body: { x_mine: 1, alwaysAllow: ["t"] } });
  expect(kept.status).toBe(200);
  expect(readFileSync(gateway.path, "utf8")).toContain('"alwaysAllow"');
  // What stands there already may be changed and taken away.
  await using odd = await openGateway([], {
    file: '{"mcpServers": [{"name": "a", "command": "x", "comand": 1, "enabled": false}]}',
  });
  for (const value of [2, null]) {
    const { status } = await askApi(odd, { ask: "PATCH /servers/a", body: { comand: value } });
    expect(status).toBe(200);
  }
  expect(readFileSync(odd.path, "utf8")).not.toContain('comand"');
});
