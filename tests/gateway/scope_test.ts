/**
 * What a token may call, tried on every path there is: the upstream counts what arrives.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import type { JsonObject } from "../../src/core/model.ts";
import { ADMIN, OPEN } from "../../src/core/principal.ts";
import type { Principal } from "../../src/core/principal.ts";
import { listen } from "../../src/http.ts";
import type { Listener } from "../../src/http.ts";
import type { TokenGrant } from "../../src/state/tokens.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { API_KEY, openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway, ToolUpstream } from "./fixtures.ts";

const TOOLS = [
  makeDefinition("look", { annotations: { readOnlyHint: true } }),
  makeDefinition("change", { annotations: { readOnlyHint: false, destructiveHint: false } }),
  makeDefinition("wipe", { annotations: { destructiveHint: true } }),
  // What says both is what is worse.
  makeDefinition("torn", { annotations: { readOnlyHint: true, destructiveHint: true } }),
  makeDefinition("plain"),
];
const NOT_READ = ["change", "wipe", "torn", "plain"];
const META_CALLS = ["call_tool_read", "call_tool_write", "call_tool_destructive", "call_tool"];
const LEGACY = "2025-11-25";
const MODERN = "2026-07-28";
const CLIENT = { name: "by hand", version: "1" };
const LONG = "x".repeat(400);

let gateway: Gateway;
let listener: Listener;
let upstream: ToolUpstream;
let url = "";
let serial = 0;

beforeAll(async () => {
  upstream = serveTools(TOOLS, {
    call: (name, args) =>
      args["long"] === true ? { content: [{ type: "text", text: `${name} ${LONG}` }] } : undefined,
  });
  const servers = ["mine", "other"].map((name) => ({
    name,
    url: upstream.url,
    groups: name === "mine" ? ["team"] : ["rest"],
  }));
  gateway = await openGateway([], {
    file: JSON.stringify({
      tool_response_limit: 100,
      admin_tools: "inline",
      groups: [
        { id: 1, name: "team" },
        { id: 2, name: "rest" },
      ],
      mcpServers: servers,
    }),
  });
  listener = listen(gateway.app(), { hostname: "127.0.0.1", port: 0 }, gateway.streams);
  url = `http://127.0.0.1:${listener.port}`;
  await settle(gateway);
});

afterAll(async () => {
  await listener.close();
  await gateway[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

function makeToken(parts: Partial<TokenGrant> = {}): string {
  const grant = {
    servers: ["mine"],
    groups: [],
    permissions: ["read"],
    expiresAt: Date.now() + 1e7,
  } as const;
  return gateway.tokens.create({ name: `t${(serial += 1)}`, ...grant, ...parts }).secret;
}

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly session: string | null;
}

async function send(path: string, body: unknown, headers: Readonly<Record<string, string>>): Promise<Reply> {
  const response = await fetch(`${url}${path}`, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
    body: JSON.stringify(body),
  });
  return {
    status: response.status,
    text: await response.text(),
    session: response.headers.get("mcp-session-id"),
  };
}

function callOf(name: string, args: JsonObject, id: number): JsonObject {
  return { jsonrpc: "2.0", id, method: "tools/call", params: { name, arguments: args } };
}

/** Calls in a session of the legacy era, then all of them once more as one batch. */
async function callLegacy(path: string, calls: readonly Call[], token: string): Promise<readonly Reply[]> {
  const headers = { authorization: `Bearer ${token}`, "mcp-protocol-version": LEGACY };
  const params = { protocolVersion: LEGACY, capabilities: {}, clientInfo: CLIENT };
  const opened = await send(path, { jsonrpc: "2.0", id: 0, method: "initialize", params }, headers);
  if (opened.session === null) return [opened];
  const inSession = { ...headers, "mcp-session-id": opened.session };
  await send(path, { jsonrpc: "2.0", method: "notifications/initialized" }, inSession);
  const replies: Reply[] = [];
  for (const [at, { name, args }] of calls.entries()) {
    replies.push(await send(path, callOf(name, args, at + 1), inSession));
  }
  const batch = calls.map(({ name, args }, at) => callOf(name, args, at + 1));
  await send(path, batch, inSession);
  await send(path, batch, headers);
  return replies;
}

/** A request of the modern era for each call. */
async function callModern(path: string, calls: readonly Call[], token: string): Promise<readonly Reply[]> {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT,
  };
  const replies: Reply[] = [];
  for (const { name, args } of calls) {
    const headers = {
      "x-api-key": token,
      "mcp-protocol-version": MODERN,
      "mcp-method": "tools/call",
      "mcp-name": name,
    };
    const body = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name, arguments: args, _meta } };
    replies.push(await send(path, body, headers));
  }
  return replies;
}

interface Call {
  readonly name: string;
  readonly args: JsonObject;
}

/** A tool of a server under every name it might be called by. */
function waysTo(server: string, tool: string): readonly Call[] {
  const id = `${server}:${tool}`;
  return [
    ...META_CALLS.flatMap((name) => [
      { name, args: { name: id, args: {} } },
      { name, args: { name: id, args_json: "{}", reason: "please" } },
    ]),
    { name: `${server}__${tool}`, args: {} },
    { name: tool, args: {} },
    { name: id, args: {} },
  ];
}

const MCP_PATHS = [
  "/mcp",
  "/mcp/call",
  "/mcp/all",
  "/mcp/g/team",
  "/mcp/g/rest",
  "/mcp/s/mine",
  "/mcp/s/other",
];

test("a read token calls no tool that writes, destroys or says nothing, by any path; what it reads arrives", async () => {
  verifies("CALL-SCOPED", "TOKEN-SCOPE");
  const token = makeToken();
  const before = upstream.count("tools/call");
  let tries = 0;
  const calls = [
    ...NOT_READ.flatMap((tool) => waysTo("mine", tool)),
    ...TOOLS.flatMap(({ name }) => waysTo("other", name)),
    { name: "upstream_servers", args: { operation: "add", name: "evil", command: "true" } },
    { name: "upstream_servers", args: { operation: "list" } },
    { name: "groups", args: { operation: "delete", group: "team" } },
    { name: "quarantine_security", args: { operation: "quarantine", name: "mine" } },
    // As if it only read, but the caller says it writes.
    ...["call_tool_write", "call_tool_destructive"].map((name) => ({
      name,
      args: { name: "mine:look", args: {} },
    })),
  ];
  for (const path of [...MCP_PATHS, "/mcp/admin"]) {
    // Where one server is served, `look` is its own tool, and it only reads.
    const isOwn = path === "/mcp/s/mine";
    const asked = calls.filter(({ name }) => !(isOwn && name === "look"));
    for (const replies of [await callLegacy(path, asked, token), await callModern(path, asked, token)]) {
      tries += replies.length;
      for (const { status, text } of replies) {
        const isRefused = status >= 400 || text.includes('"isError":true') || text.includes('"error":{');
        expect([path, isRefused, text.slice(0, 300)]).toEqual([path, true, text.slice(0, 300)]);
      }
    }
  }
  for (const { name, args } of calls) {
    const reply = await send(
      "/api/v1/tools/call",
      { tool_name: name, arguments: args },
      { "x-api-key": token },
    );
    expect([name, args, reply.status >= 400]).toEqual([name, args, true]);
    tries += 1;
  }
  expect(upstream.count("tools/call")).toBe(before);
  expect(tries).toBeGreaterThan(800);
  expect(gateway.configuration.config.servers.map(({ name }) => name)).toEqual(["mine", "other"]);
  expect(gateway.configuration.groups.list().length).toBe(2);

  const good = [{ name: "call_tool_read", args: { name: "mine:look", args: {} } }];
  for (const reply of [
    ...(await callLegacy("/mcp", good, token)).slice(0, 1),
    ...(await callModern("/mcp", good, token)),
    ...(await callModern("/mcp/all", [{ name: "mine__look", args: {} }], token)),
    ...(await callModern("/mcp/s/mine", [{ name: "look", args: {} }], token)),
    ...(await callModern("/mcp/g/team", [{ name: "mine__look", args: {} }], token)),
    await send(
      "/api/v1/tools/call",
      { tool_name: "call_tool", arguments: { name: "mine:look" } },
      { "x-api-key": token },
    ),
  ]) {
    expect(reply.text).toContain("look");
    expect([reply.status, reply.text.includes('"isError":true')]).toEqual([200, false]);
  }
  // A legacy session may carry a batch as well.
  expect(upstream.count("tools/call") - before).toBeGreaterThanOrEqual(6);
});

test("a token that may write destroys nothing, and one that may all calls all of its own", async () => {
  verifies("CALL-SCOPED");
  const call = async (name: string, tool: string, token: string): Promise<string> => {
    const [reply] = await callModern("/mcp", [{ name, args: { name: tool, args: {} } }], token);
    return /"code\\?":\\?"([A-Z_]+)/.exec(reply?.text ?? "")?.[1] ?? "done";
  };
  const write = makeToken({ permissions: ["read", "write"] });
  expect(await call("call_tool_write", "mine:change", write)).toBe("done");
  expect(await call("call_tool_write", "mine:plain", write)).toBe("done");
  expect(await call("call_tool_write", "mine:look", write)).toBe("done");
  for (const name of META_CALLS) {
    expect([name, await call(name, "mine:wipe", write)]).toEqual([name, "SCOPE_REFUSED"]);
    expect([name, await call(name, "mine:torn", write)]).toEqual([name, "SCOPE_REFUSED"]);
  }
  const all = makeToken({ permissions: ["read", "write", "destructive"] });
  expect(await call("call_tool_destructive", "mine:wipe", all)).toBe("done");
  expect(await call("call_tool", "mine:torn", all)).toBe("done");
  expect(await call("call_tool_destructive", "other:wipe", all)).toBe("SERVER_UNKNOWN");
});

test("a token that was revoked, or made anew with less, calls nothing in the session it has open", async () => {
  verifies("CALL-SCOPED", "TOKEN-EXPIRES");
  const token = makeToken({ name: "open-session" });
  const headers = { "x-api-key": token, "mcp-protocol-version": LEGACY };
  const params = { protocolVersion: LEGACY, capabilities: {}, clientInfo: CLIENT };
  const { session } = await send("/mcp", { jsonrpc: "2.0", id: 0, method: "initialize", params }, headers);
  const inSession = { ...headers, "mcp-session-id": session ?? "" };
  const look = callOf("call_tool_read", { name: "mine:look", args: {} }, 1);
  expect((await send("/mcp", look, inSession)).text).not.toContain('"isError":true');
  const stranger = { ...inSession, "x-api-key": makeToken() };
  expect((await send("/mcp", look, stranger)).status).toBe(404);
  gateway.tokens.revoke("open-session");
  const before = upstream.count("tools/call");
  expect((await send("/mcp", look, inSession)).status).toBe(401);
  const { "x-api-key": _, ...without } = inSession;
  expect((await send("/mcp", look, without)).status).toBe(404);
  expect(upstream.count("tools/call")).toBe(before);
});

test("search, describe and suggestions hold what a token reaches and may call", async () => {
  verifies("TOKEN-SCOPE");
  const principal = principalOf(makeToken());
  const { finder, metaTools } = gateway;
  expect(finder.list({ principal }).map(({ id }) => id)).toEqual(["mine:look"]);
  expect(finder.find({ query: "look change wipe plain", principal, limit: 50 }).found.length).toBe(1);
  expect(finder.find({ query: "look", principal, server: "other" }).total).toBe(0);
  expect(finder.find({ query: "look", principal, group: "rest" }).total).toBe(0);
  expect(finder.find({ query: "look", principal: OPEN }).total).toBe(2);
  const describe = async (id: string): Promise<string> => {
    const answer = await metaTools.call("describe_tool", { tool_ids: [id] }, { principal });
    return JSON.stringify(answer);
  };
  expect(await describe("mine:look")).toContain("inputSchema");
  expect(await describe("mine:change")).toContain("SCOPE_REFUSED");
  // Words that are as far from all names say the same, whether there is such a server or not.
  expect(await describe("other:look")).toBe((await describe("othes:look")).replaceAll("othes", "other"));
  for (const id of ["oter:look", "mine:chang", "mine:lok"]) {
    expect(await describe(id)).not.toMatch(/other|mine:change/);
  }
  expect(await describe("mine:lok")).toContain("mine:look");
});

test("a token reaches the servers of its groups, and follows who joins and leaves", async () => {
  verifies("TOKEN-SCOPE");
  const principal = principalOf(makeToken({ servers: [], groups: [2] }));
  const reached = (): readonly string[] => [
    ...new Set(gateway.finder.list({ principal }).map(({ server }) => server)),
  ];
  expect(reached()).toEqual(["other"]);
  const change = (operations: Parameters<Gateway["configuration"]["change"]>[0]["operations"]) =>
    gateway.configuration.change({ operations, isByPerson: true });
  await change([{ op: "assign", name: "mine", group: 2 }]);
  expect(reached().toSorted()).toEqual(["mine", "other"]);
  await change([{ op: "unassign", name: "mine", group: 2 }]);
  expect(reached()).toEqual(["other"]);
});

test("read_cache opens to whoever made the call, and to a token made anew under the same name no more", async () => {
  verifies("CACHE-PRIVATE");
  const grant = { name: "reader", servers: ["mine"], groups: [], expiresAt: Date.now() + 1e7 } as const;
  const first = principalOf(gateway.tokens.create({ ...grant, permissions: ["read"] }).secret);
  const result = await gateway.metaTools.call(
    "call_tool_read",
    { name: "mine:look", args: { long: true } },
    { principal: first },
  );
  const key = /key=\\?"([^"\\]+)/.exec(JSON.stringify(result))?.[1] ?? "";
  expect(key).not.toBe("");
  const read = async (principal: Principal): Promise<boolean> => {
    const page = await gateway.metaTools.call("read_cache", { key, path: "$" }, { principal });
    return JSON.stringify(page).includes("xxxx");
  };
  expect(await read(first)).toBe(true);
  for (const principal of [
    OPEN,
    ADMIN,
    principalOf(makeToken()),
    principalOf(makeToken({ servers: ["*"] })),
  ]) {
    expect([principal.id, await read(principal)]).toEqual([principal.id, false]);
  }
  gateway.tokens.remove("reader");
  const second = principalOf(gateway.tokens.create({ ...grant, permissions: ["read"] }).secret);
  expect(second.id).toBe(first.id);
  expect(await read(second)).toBe(false);
  expect(await read(first)).toBe(true);
  const reply = await send(
    "/api/v1/tools/call",
    { tool_name: "read_cache", arguments: { key, path: "$" } },
    { "x-api-key": API_KEY },
  );
  expect([reply.status, reply.text.includes("CACHE_UNKNOWN")]).toEqual([404, true]);
});

test("calls of a token are written down under its name, wherever they came by", async () => {
  verifies("CALL-SCOPED");
  const token = makeToken({ name: "written" });
  await callModern("/mcp", [{ name: "call_tool_read", args: { name: "mine:look", args: {} } }], token);
  await send(
    "/api/v1/tools/call",
    { tool_name: "call_tool_write", arguments: { name: "mine:wipe" } },
    { "x-api-key": token },
  );
  const written = async (): Promise<readonly string[]> => {
    const response = await fetch(`${url}/api/v1/activity?limit=200`, { headers: { "x-api-key": API_KEY } });
    const { data } = (await response.json()) as { data: { activities: readonly Written[] } };
    return data.activities.flatMap(({ principal, status }) =>
      principal === "agent:written" ? [status] : [],
    );
  };
  await waitFor("both calls are written down", async () => (await written()).length === 2);
  expect((await written()).toSorted()).toEqual(["blocked", "success"]);
});

interface Written {
  readonly principal?: string;
  readonly status: string;
}

function principalOf(secret: string): Principal {
  const hash = new Bun.CryptoHasher("sha256").update(secret).digest("hex");
  const verdict = gateway.tokens.recognize(hash);
  if (verdict?.kind !== "valid") throw new Error("the token does not hold");
  return verdict.principal;
}
