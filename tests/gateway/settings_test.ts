/**
 * Settings that are changed while the proxy runs, by a plan and by hand.
 */
import { expect, test } from "bun:test";
import { makeDefinition } from "../catalog/fixtures.ts";
import { verifies } from "../requirements.ts";
import { serveTools } from "./fixtures.ts";
import { openLiveProxy } from "./live_proxy.ts";

test("settings hold for the next request, those of the start are named, and overrides stay above the file", async () => {
  verifies("SETTINGS-LIVE");
  const many = Array.from({ length: 12 }, (_, at) => makeDefinition(`find_${at}`, { description: "Finds" }));
  await using upstream = serveTools(many, {
    call: async (name) => {
      if (name === "find_1") await new Promise(() => {});
      return { content: [{ type: "text", text: "x".repeat(3_000) }] };
    },
  });
  await using proxy = await openLiveProxy(
    { mcpServers: [{ name: "s", url: upstream.url }], tool_response_mode: "compact" },
    { env: { MCPPROXY_TOOL_RESPONSE_MODE: "full" } },
  );
  await proxy.untilReady("s");
  const search = async (): Promise<{ tools: Record<string, unknown>[] }> => {
    const args = { tool_name: "retrieve_tools", arguments: { query: "find" } };
    const [block] = (await proxy.ask("POST /tools/call", args)).data as unknown as { text: string }[];
    return JSON.parse(block?.text ?? "") as { tools: Record<string, unknown>[] };
  };
  const call = (name: string) =>
    proxy.ask("POST /tools/call", { tool_name: "call_tool", arguments: { name: `s:${name}`, args: {} } });
  const foreign = { host: "box.example", origin: "http://box.example" };
  const init = {
    jsonrpc: "2.0",
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "c", version: "1" } },
  };
  const keyless = async () => {
    const response = await fetch(`${proxy.url()}/mcp`, {
      method: "POST",
      body: JSON.stringify(init),
      headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
    });
    await response.body?.cancel();
    return response.status;
  };
  expect((await search()).tools).toHaveLength(12);
  expect((await call("find_0")).text).toContain("x".repeat(3_000));
  expect((await proxy.ask("GET /status", undefined, foreign)).status).toBe(403);
  expect(await keyless()).toBe(200);

  const patch = {
    tools_limit: 4,
    tool_response_limit: 500,
    call_tool_timeout: "50ms",
    trusted_hosts: ["box.example"],
    require_mcp_auth: true,
    tool_response_mode: "compact",
    logging: { level: "warn" },
    listen: "127.0.0.1:1",
    data_dir: "/nonexistent/elsewhere",
    tls: { enabled: true },
  };
  const changed = await proxy.ask("POST /config/apply", { operations: [{ op: "settings", patch }] });
  expect(changed).toMatchObject({ status: 200 });
  expect((changed.data["restart_required"] as string[]).toSorted()).toEqual([
    "data_dir",
    "listen",
    "logging",
    "tls",
  ]);
  const found = await search();
  expect(found.tools).toHaveLength(4);
  // By the environment, above what the file says.
  expect(found.tools[0]).toHaveProperty("inputSchema");
  expect((await call("find_0")).text).not.toContain("x".repeat(600));
  const startedAt = performance.now();
  expect((await call("find_1")).json).toMatchObject({ code: "CALL_TIMEOUT" });
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  expect((await proxy.ask("GET /status", undefined, foreign)).status).toBe(200);
  expect(await keyless()).toBe(401);

  // By hand as well.
  await proxy.edit(proxy.text().replace('"tools_limit": 4', '"tools_limit": 6'));
  expect((await search()).tools).toHaveLength(6);
  expect((await proxy.ask("GET /status")).data).toMatchObject({ data_dir: expect.any(String) as string });
});
