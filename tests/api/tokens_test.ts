/**
 * `/tokens` as scripts for the Go proxy know it, and where its secrets are not.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import { hashToken } from "../../src/state/tokens.ts";
import { openGateway } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { askApi, testScenarios } from "./scenario.ts";

const FILE = JSON.stringify({
  groups: [{ id: 7, name: "Dev Tools" }],
  mcpServers: ["alpha", "beta"].map((name) => ({
    name,
    url: "http://127.0.0.1:1/",
    startup_mode: "disabled",
  })),
});
const DAY_MS = 86_400_000;

let gateway: Gateway;

beforeAll(async () => {
  gateway = await openGateway([], { file: FILE });
});

afterAll(() => gateway[Symbol.asyncDispose]());

testScenarios(
  () => gateway,
  [
    {
      name: "no tokens yet",
      ask: "GET /tokens",
      like: { data: { tokens: [], total: 0 } },
    },
    {
      name: "one for two servers, read and write",
      ask: "POST /tokens",
      body: {
        name: "ci-bot_1",
        allowed_servers: ["alpha", "beta", "alpha"],
        permissions: ["write", "read"],
        expires_in: "12h",
      },
      status: 201,
      like: {
        data: {
          name: "ci-bot_1",
          token: expect.stringMatching(/^mcp_agt_[0-9a-f]{64}$/) as string,
          token_prefix: expect.stringMatching(/^mcp_agt_[0-9a-f]{4}$/) as string,
          allowed_servers: ["alpha", "beta"],
          allowed_groups: [],
          permissions: ["read", "write"],
          revoked: false,
          expired: false,
        },
      },
      lacks: [/last_used_at/, /hash/],
    },
    {
      name: "one with nothing said: it reads, everywhere, for 30 days",
      ask: "POST /tokens",
      body: { name: "plain" },
      status: 201,
      like: { data: { allowed_servers: ["*"], allowed_groups: [], permissions: ["read"] } },
    },
    {
      name: "empty lists and an empty time count as nothing said",
      ask: "POST /tokens",
      body: { name: "empty", allowed_servers: [], allowed_groups: null, permissions: [], expires_in: "" },
      status: 201,
      like: { data: { allowed_servers: ["*"], permissions: ["read"] } },
    },
    {
      name: "one for a group by its name, and no server beside it",
      ask: "POST /tokens",
      body: { name: "grouped", allowed_groups: ["Dev Tools", 7, "dev-tools"] },
      status: 201,
      like: { data: { allowed_servers: [], allowed_groups: ["Dev Tools"] } },
    },
    {
      name: "a name that is taken",
      ask: "POST /tokens",
      body: { name: "plain" },
      status: 409,
      like: { code: "TOKEN_EXISTS" },
      contains: ["plain"],
    },
    ...["", "-a", "_a", "a b", "ä", "a/b", "a".repeat(65), "a\n", "../a", "a:b"].map((name) => ({
      name: `a name that is none: ${JSON.stringify(name).slice(0, 12)}`,
      ask: "POST /tokens",
      body: { name },
      status: 400,
      like: { code: "USAGE", hint: expect.stringContaining("64") as string },
    })),
    {
      name: "no name",
      ask: "POST /tokens",
      body: { permissions: ["read"] },
      status: 400,
      like: { code: "USAGE" },
      contains: ["name"],
    },
    {
      name: "a permission nobody has",
      ask: "POST /tokens",
      body: { name: "x", permissions: ["read", "admin"] },
      status: 400,
      like: { code: "USAGE" },
      contains: ["permissions", "destructive"],
    },
    {
      name: "permissions without reading",
      ask: "POST /tokens",
      body: { name: "x", permissions: ["write"] },
      status: 400,
      like: { code: "USAGE" },
      contains: ["must include 'read'"],
    },
    {
      name: "a server that is misspelt",
      ask: "POST /tokens",
      body: { name: "x", allowed_servers: ["alpah"] },
      status: 400,
      like: { code: "USAGE", hint: "Did you mean 'alpha'?" },
      contains: ["alpah"],
    },
    {
      name: "a group that is none",
      ask: "POST /tokens",
      body: { name: "x", allowed_groups: ["Def Tools"] },
      status: 404,
      like: { code: "GROUP_UNKNOWN", hint: "Did you mean 'Dev Tools'?" },
    },
    ...["yesterday", "0s", "-1h", "366d", "8761h", "1w", "90", "0d", "1e9h"].map((period) => ({
      name: `a time that is none: ${period}`,
      ask: "POST /tokens",
      body: { name: "x", expires_in: period },
      status: 400,
      like: { code: "USAGE" },
      contains: ["expires_in"],
    })),
    {
      name: "a word it does not know would make it wider",
      ask: "POST /tokens",
      body: { name: "x", allowed_server: ["alpha"] },
      status: 400,
      like: { code: "USAGE" },
      contains: ["allowed_server"],
    },
    { name: "no JSON", ask: "POST /tokens", body: "{", status: 400, like: { code: "USAGE" } },
    { name: "a list", ask: "POST /tokens", body: [], status: 400, like: { code: "USAGE" } },
    {
      name: "one of them",
      ask: "GET /tokens/ci-bot_1",
      like: { data: { name: "ci-bot_1", permissions: ["read", "write"] } },
      lacks: [/"token"/, /mcp_agt_[0-9a-f]{5}/],
    },
    {
      name: "all of them, the oldest first",
      ask: "GET /tokens",
      like: { data: { total: 4 } },
      contains: [/ci-bot_1.*plain.*empty.*grouped/],
      lacks: [/"token"/, /mcp_agt_[0-9a-f]{5}/],
    },
    { name: "an unknown one", ask: "GET /tokens/nobody", status: 404, like: { code: "TOKEN_UNKNOWN" } },
    {
      name: "an unknown one made anew",
      ask: "POST /tokens/nobody/regenerate",
      status: 404,
      like: { code: "TOKEN_UNKNOWN" },
    },
    {
      name: "an unknown one ended",
      ask: "DELETE /tokens/nobody",
      status: 404,
      like: { code: "TOKEN_UNKNOWN" },
    },
    {
      name: "an unknown one removed",
      ask: "DELETE /tokens/nobody/permanent",
      status: 404,
      like: { code: "TOKEN_UNKNOWN" },
    },
    {
      name: "another secret",
      ask: "POST /tokens/plain/regenerate",
      like: { data: { name: "plain", token: expect.stringMatching(/^mcp_agt_/) as string } },
    },
    {
      name: "another secret with a time that is none",
      ask: "POST /tokens/plain/regenerate",
      body: { expires_in: "soon" },
      status: 400,
      like: { code: "USAGE" },
    },
  ],
);

async function create(
  body: object,
): Promise<{ readonly token: string; readonly data: Record<string, unknown> }> {
  const { json, headers } = await askApi(gateway, { ask: "POST /tokens", body });
  expect(headers.get("cache-control")).toBe("no-store");
  const data = json["data"] as Record<string, unknown>;
  return { token: data["token"] as string, data };
}

/** A request without a body in its answer. */
async function statusOf(ask: string, key?: string): Promise<number> {
  const [method = "", path = ""] = ask.split(" ");
  const headers = { host: "localhost", "x-api-key": key ?? "test-key-0123456789-0123456789-xyz" };
  return (await gateway.app().request(`/api/v1${path}`, { method, headers })).status;
}

test("a token lives for as long as was asked for, 30 days when nothing was", async () => {
  verifies("TOKEN-EXPIRES");
  for (const [period, days] of [
    ["48h", 2],
    ["365d", 365],
    ["90m", 90 / (24 * 60)],
    [undefined, 30],
  ] as const) {
    const { data } = await create({ name: `lives-${period}`, expires_in: period });
    const lives = Date.parse(data["expires_at"] as string) - Date.parse(data["created_at"] as string);
    expect(Math.abs(lives - days * DAY_MS)).toBeLessThan(DAY_MS / 1_000);
  }
});

test("a secret opens what it should until it is replaced, revoked or removed, and is never told again", async () => {
  verifies("TOKEN-EXPIRES", "TOKEN-HASHED");
  const { token } = await create({ name: "life" });
  expect(await statusOf("GET /servers", token)).toBe(200);
  const used = await askApi(gateway, { ask: "GET /tokens/life" });
  expect(used.text).toContain("last_used_at");
  const again = await askApi(gateway, { ask: "POST /tokens/life/regenerate" });
  const second = (again.json["data"] as { token: string }).token;
  expect(second).not.toBe(token);
  expect([await statusOf("GET /servers", token), await statusOf("GET /servers", second)]).toEqual([401, 200]);
  expect(await statusOf("DELETE /tokens/life")).toBe(204);
  expect(await statusOf("DELETE /tokens/life")).toBe(204);
  expect(await statusOf("GET /servers", second)).toBe(401);
  const refused = await askApi(gateway, { ask: "POST /tokens/life/regenerate" });
  expect([refused.status, refused.json["code"]]).toEqual([409, "TOKEN_REVOKED"]);
  expect((await askApi(gateway, { ask: "GET /tokens/life" })).json).toMatchObject({
    data: { revoked: true },
  });
  expect(await statusOf("DELETE /tokens/life/permanent")).toBe(204);
  expect(await statusOf("GET /tokens/life")).toBe(404);
  expect((await create({ name: "life" })).token).toMatch(/^mcp_agt_/);

  const listed = await askApi(gateway, { ask: "GET /tokens" });
  gateway.store.flush();
  const recorded = await askApi(gateway, { ask: "GET /activity?limit=500" });
  const everywhere = [
    listed.text,
    recorded.text,
    used.text,
    JSON.stringify(gateway.events),
    ...gateway.lines,
  ];
  for (const secret of [token, second]) {
    for (const part of [secret, secret.slice(8), hashToken(secret), hashToken(secret).slice(0, 16)]) {
      expect(everywhere.join("\n")).not.toContain(part);
    }
  }
});

test("an expired token is listed as such, and lives anew when it is regenerated", async () => {
  verifies("TOKEN-EXPIRES");
  const past = { name: "past", servers: ["alpha"], groups: [], permissions: ["read"] } as const;
  gateway.tokens.create({ ...past, expiresAt: Date.now() - 1 });
  expect((await askApi(gateway, { ask: "GET /tokens/past" })).json).toMatchObject({
    data: { expired: true },
  });
  const { json } = await askApi(gateway, { ask: "POST /tokens/past/regenerate" });
  const data = json["data"] as { token: string; expired: boolean; allowed_servers: string[] };
  expect(data).toMatchObject({ expired: false, allowed_servers: ["alpha"] });
  expect(await statusOf("GET /servers", data.token)).toBe(200);
});

test("no token manages tokens, its own neither", async () => {
  verifies("TOKEN-SCOPE");
  const { token } = await create({ name: "mighty", permissions: ["read", "write", "destructive"] });
  for (const ask of [
    "GET /tokens",
    "POST /tokens",
    "GET /tokens/mighty",
    "POST /tokens/mighty/regenerate",
    "DELETE /tokens/mighty",
    "DELETE /tokens/mighty/permanent",
  ]) {
    expect([ask, await statusOf(ask, token)]).toEqual([ask, 403]);
  }
  expect(gateway.tokens.get("mighty").isRevoked).toBe(false);
});

test("a group that gets another name stays the one that was granted", async () => {
  verifies("TOKEN-SCOPE");
  await create({ name: "follows", allowed_groups: ["Dev Tools"] });
  await askApi(gateway, { ask: "PATCH /groups/7", body: { name: "Builders" } });
  const { json } = await askApi(gateway, { ask: "GET /tokens/follows" });
  expect(json).toMatchObject({ data: { allowed_groups: ["Builders"] } });
});
