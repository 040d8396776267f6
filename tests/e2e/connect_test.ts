/**
 * What `connect` writes, used the way the clients use it: the URL is asked, the command is started.
 */
import { expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { verifies } from "../requirements.ts";
import { bin, openScene, openV1, openV2, replyOf, startProxy } from "./harness.ts";
import type { Answer } from "./harness.ts";

const TEST_MS = 60_000;

test(
  "what connect writes for a client works as it stands there, by URL and by command, with a key and without",
  async () => {
    verifies("CONNECT-WORKS");
    await using scene = openScene();
    const mcpServers = { everything: { command: bin("mcp-server-everything") } };
    for (const isKeyed of [false, true]) {
      await using proxy = await startProxy(scene, { config: { mcpServers, require_mcp_auth: isKeyed } });
      await proxy.connected(["everything"]);
      const home = join(scene.path, "home");
      mkdirSync(join(home, ".cursor"), { recursive: true });
      mkdirSync(join(home, ".config/Claude"), { recursive: true });
      const entryOf = (path: string): Answer => {
        const { mcpServers: all } = JSON.parse(readFileSync(join(home, path), "utf8")) as {
          mcpServers: Answer;
        };
        return all["mcpproxy"] as Answer;
      };
      // The port is chosen at each start here, so the address that is in force now is named.
      const flags = ["--http", "--url", proxy.url];
      expect((await proxy.cli("connect", "cursor", "--force", ...flags)).code).toBe(0);
      const cursor = entryOf(".cursor/mcp.json");
      const headers = (cursor["headers"] ?? {}) as Record<string, string>;
      expect(Object.keys(headers)).toEqual(isKeyed ? ["X-API-Key"] : []);
      await using byUrl = await openV1(String(cursor["url"]), headers);
      const found = replyOf(await byUrl.call("retrieve_tools", { query: "echo a message" }));
      expect(JSON.stringify(found)).toContain("everything:echo");
      expect((await proxy.cli("connect", "claude-desktop")).code).toBe(0);
      const { command, args } = entryOf(".config/Claude/claude_desktop_config.json") as unknown as {
        command: string;
        args: string[];
      };
      await using byCommand = await openV2({ command, args, env: { HOME: home, PATH: "/usr/bin:/bin" } });
      const echo = await byCommand.call("call_tool_read", {
        name: "everything:echo",
        args: { message: "hi" },
      });
      expect(echo).toMatchObject({ content: [{ text: "Echo: hi" }] });
      await byCommand[Symbol.asyncDispose]();
    }
  },
  TEST_MS,
);
