/**
 * `status`, `tools …` and `config …` against a running proxy, and without one.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CommandIo } from "../../src/cli/command.ts";
import { printFailure } from "../../src/cli/command.ts";
import { runActivity } from "../../src/cli/activity.ts";
import { runConfig } from "../../src/cli/config.ts";
import { runServers } from "../../src/cli/servers.ts";
import { runStatus } from "../../src/cli/status.ts";
import { runTools } from "../../src/cli/tools.ts";
import type { JsonObject } from "../../src/core/model.ts";
import { writeDaemonNote } from "../../src/state/daemon.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { tempDir } from "../fixtures/wait.ts";
import { API_KEY, openProxy, serveTools } from "../gateway/fixtures.ts";
import type { OpenProxy, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { makeIo } from "./fixtures.ts";
import type { TestIo } from "./fixtures.ts";

let upstream: ToolUpstream;
let opened: OpenProxy;
const RESULTS: Readonly<Record<string, JsonObject>> = {
  fails: { content: [{ type: "text", text: "it failed" }], isError: true },
  picture: { content: [{ type: "image", data: "AAAA", mimeType: "image/png" }] },
  steers: { content: [{ type: "text", text: "two\n\u001b[2Jlines\u0007" }] },
  bare: { content: [], structuredContent: { a: 1 } },
};

beforeAll(async () => {
  const names = ["echo", ...Object.keys(RESULTS)];
  const tools = names.map((name) =>
    makeDefinition(name, { description: `Zebra ${name}\nsecond line`, annotations: { readOnlyHint: true } }),
  );
  upstream = serveTools(tools, { call: (name) => RESULTS[name] });
  opened = await openProxy([
    upstream.server({ protocol: "http", disabledTools: ["bare"] }),
    makeServer({ name: "refused", url: "http://127.0.0.1:9/mcp", protocol: "http" }),
    makeServer({ name: "off", url: "http://127.0.0.1:9/mcp", startupMode: "disabled" }),
  ]);
  // As a proxy with a generated key leaves it.
  writeFileSync(join(opened.dataDir, "api_key"), `${API_KEY}\n`);
});

afterAll(async () => {
  await opened[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

type Run = (args: readonly string[], io: CommandIo) => Promise<number>;

interface Ran extends TestIo {
  readonly code: number;
}

async function run(command: Run, args: readonly string[], parts: Partial<CommandIo> = {}): Promise<Ran> {
  const io = makeIo(parts);
  let code: number;
  try {
    code = await command(args, io);
  } catch (error) {
    code = printFailure(error, io, args.includes("--json"));
  }
  return { ...io, code };
}

function here(command: Run, args: readonly string[], parts: Partial<CommandIo> = {}): Promise<Ran> {
  return run(command, [...args, "--data-dir", opened.dataDir], parts);
}

test("status prints one line on the proxy and one on each server, with the reason of what is not connected", async () => {
  verifies("CLI-EXIT-CODES");
  const { code, out, err } = await here(runStatus, []);
  expect([code, err()]).toEqual([0, ""]);
  expect(out()).toMatch(
    /^mcpproxy \S+ running on 127\.0\.0\.1:\d+ \(pid \d+\): 1 of 3 servers connected, 5 tools\n\nSERVER +CATEGORY/,
  );
  expect(out()).toMatch(/^s +connected +5/m);
  expect(out()).toMatch(/^off +disabled/m);
  expect(out()).toMatch(/^refused +disconnected +0 .*ECONNREFUSED/m);
  // On a terminal only what needs a look, its reason below it where there is no room beside it.
  const narrow = await here(runStatus, [], { columns: 40, env: { NO_COLOR: "1" } });
  expect(narrow.out()).toMatch(/^refused +disconnected .*\n {2}\S.*…?$/m);
  expect(narrow.out()).not.toMatch(/^off/m);
});

test("with --json a command prints one JSON document and nothing else", async () => {
  verifies("CLI-JSON");
  const runs: [Run, string[], string[]][] = [
    [runStatus, ["--json"], ["state", "upstream_stats", "servers", "listen_addr"]],
    [runStatus, ["-o", "json"], ["state"]],
    [runTools, ["list", "--json"], ["tools", "stats"]],
    [runTools, ["search", "zebra", "--json"], ["results", "total", "query"]],
    [runTools, ["call", "s:echo", "{}", "--json"], ["success", "data"]],
  ];
  for (const [command, args, keys] of runs) {
    const { code, out, err } = await here(command, args);
    expect([code, err()]).toEqual([0, ""]);
    const document = JSON.parse(out()) as object;
    for (const key of keys) expect(document).toHaveProperty(key);
  }
});

test("tools list prints each tool with the meta tool it is called with", async () => {
  const { code, out } = await here(runTools, ["list"]);
  expect(code).toBe(0);
  expect(out().split("\n")[0]).toMatch(/^TOOL +CALL WITH +DESCRIPTION$/);
  expect(out()).toMatch(/^s:echo +call_tool_read +Zebra echo$/m);
  expect(out()).toMatch(/^s:bare +off/m);
  expect((await here(runTools, ["list", "--server", "nobody"])).out().trim().split("\n")).toHaveLength(1);
});

test("servers tools shows a tool that is switched off as tools list does", async () => {
  const { code, out } = await here(runServers, ["tools", "s"]);
  expect(code).toBe(0);
  expect(out()).toMatch(/^s:echo +call_tool_read/m);
  expect(out()).toMatch(/^s:bare +off/m);
});

test("activity summary counts calls, and nothing else that was done", async () => {
  expect((await here(runTools, ["call", "s:echo"])).code).toBe(0);
  await here(runServers, ["disable", "refused"]);
  const totalOf = async (...filter: string[]): Promise<number> => {
    const { out } = await here(runActivity, ["list", "--json", ...filter]);
    return (JSON.parse(out()) as { readonly total: number }).total;
  };
  const calls = await totalOf("--type", "tool_call,internal_tool_call,policy_decision");
  expect(await totalOf()).toBeGreaterThan(calls);
  const { code, out } = await here(runActivity, ["summary"]);
  expect(code).toBe(0);
  expect(out()).toMatch(new RegExp(`^Total +${calls}$`, "m"));
  expect(out()).not.toMatch(/^refused/m);
});

test("activity list names on a terminal who did it, and in a pipe has the columns of the Go proxy", async () => {
  expect((await here(runTools, ["call", "s:echo"])).code).toBe(0);
  const { out } = await here(runActivity, ["list", "--json", "--limit", "1"]);
  const { activities } = JSON.parse(out()) as {
    readonly activities: readonly { readonly principal: string }[];
  };
  const who = activities[0]?.principal ?? "nobody";
  const wide = await here(runActivity, ["list", "--limit", "1"], { columns: 200 });
  expect(wide.out()).toMatch(new RegExp(`^ID +SRC +WHO +TYPE .*\n\\d+ +\\w+ +${who} +\\w+ `));
  expect((await here(runActivity, ["list", "--limit", "1"])).out()).toMatch(/^ID +SRC +TYPE /);
});

test("tools search prints hits and how many there were", async () => {
  const { code, out } = await here(runTools, ["search", "zebra", "echo", "--limit", "2"]);
  expect(code).toBe(0);
  expect(out()).toMatch(/^s:echo +\d\.\d{3} +call_tool_read +connected +Zebra echo$/m);
  expect(out()).toMatch(/^2 of 4 in [\d.]+ms$/m);
});

test("tools call prints the text of a result, names what a terminal cannot show, and steers no terminal", async () => {
  verifies("CLI-EXIT-CODES");
  const echo = await here(runTools, ["call", "s:echo", '{"a":1}']);
  expect([echo.code, echo.out()]).toEqual([0, '{"name":"echo","args":{"a":1}}\n']);
  expect((await here(runTools, ["call", "s:echo", "--args", '{"a":2}'])).out()).toContain('"a":2');
  expect((await here(runTools, ["call", "s:echo"])).code).toBe(0);
  expect((await here(runTools, ["call", "s:picture"])).out()).toBe(
    "[image image/png, 4 base64 characters; --json has it]\n",
  );
  expect((await here(runTools, ["call", "s:steers"])).out()).toBe("two\n [2Jlines \n");
  const failed = await here(runTools, ["call", "s:fails"]);
  expect([failed.code, failed.out(), failed.err()]).toEqual([1, "", "it failed\n"]);
});

test.each<[string, string[], number, RegExp]>([
  ["an unknown tool", ["call", "s:ecko"], 1, /s:ecko/],
  ["an unknown server", ["call", "nobody:x"], 1, /nobody/],
  ["a server that is off", ["call", "off:x"], 1, /disabled/],
  ["a server that is dead", ["call", "refused:x"], 1, /refused/],
  ["arguments that are no JSON", ["call", "s:echo", "{"], 2, /no JSON object/],
  ["no tool", ["call"], 2, /TOOL is missing/],
  ["no words", ["search"], 2, /WORD is missing/],
  ["words that are none", ["search", " "], 2, /no words/],
  ["a wrong limit", ["search", "a", "--limit", "x"], 2, /limit/],
  ["no verb", [], 2, /Name what to do/],
  ["an unknown verb", ["dance"], 2, /tools dance/],
  ["an unknown flag", ["list", "--nope"], 2, /--nope/],
])("tools with %s fails on stderr, and as JSON with --json", async (_, args, code, message) => {
  verifies("CLI-EXIT-CODES", "CLI-JSON");
  const plain = await here(runTools, args);
  expect([plain.code, plain.out()]).toEqual([code, ""]);
  expect(plain.err()).toMatch(message);
  const json = await here(runTools, [...args, "--json"]);
  expect([json.code, json.err()]).toEqual([code, ""]);
  expect(JSON.parse(json.out())).toMatchObject({
    success: false,
    error: expect.stringMatching(message) as string,
  });
});

test.each<[string, (dir: string) => void, RegExp]>([
  ["where no proxy runs", () => {}, /no proxy serves the data dir/],
  [
    "after a kill, the note being stale",
    (dir) => {
      writeDaemonNote(dir, {
        pid: 999_999,
        url: "http://127.0.0.1:9",
        version: "1",
        config: "",
        startedAt: "",
      });
      writeFileSync(join(dir, "api_key"), "key\n");
    },
    /nobody answers at http:\/\/127\.0\.0\.1:9: connection refused \(ECONNREFUSED\)/,
  ],
  ["with a note that is broken", (dir) => writeFileSync(join(dir, "daemon.json"), "{"), /no proxy serves/],
  [
    "with a note of a wrong form",
    (dir) => writeFileSync(join(dir, "daemon.json"), '{"pid":"x"}'),
    /no proxy serves/,
  ],
  [
    "without a key",
    (dir) =>
      writeDaemonNote(dir, { pid: 1, url: "http://127.0.0.1:9", version: "1", config: "", startedAt: "" }),
    /no API key/,
  ],
])("status exits 3 %s, and writes nothing", async (_, prepare, message) => {
  verifies("CLI-EXIT-CODES");
  using folder = tempDir();
  prepare(folder.path);
  const parts = { home: folder.path, cwd: folder.path };
  for (const command of [
    runStatus,
    (args: readonly string[], io: CommandIo) => runTools(["list", ...args], io),
  ]) {
    const { code, out, err } = await run(command, ["-d", folder.path], parts);
    expect([code, out()]).toEqual([3, ""]);
    expect(err()).toMatch(message);
    expect(err()).toContain("mcpproxy serve");
  }
  expect(existsSync(join(folder.path, "mcp_config.json"))).toBe(false);
  expect(existsSync(join(folder.path, ".mcpproxy"))).toBe(false);
});

test("status exits 3 when what answers is no mcpproxy, and 1 when the key is wrong", async () => {
  using folder = tempDir();
  const other = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("<html>") });
  try {
    writeFileSync(join(folder.path, "api_key"), "wrong\n");
    const note = (url: string): void =>
      writeDaemonNote(folder.path, { pid: 1, url, version: "1", config: "", startedAt: "" });
    note(`http://127.0.0.1:${other.port}`);
    const foreign = await run(runStatus, ["-d", folder.path]);
    expect(foreign.code).toBe(3);
    expect(foreign.err()).toContain("is no mcpproxy");
    note(opened.url);
    const wrong = await run(runStatus, ["-d", folder.path]);
    expect(wrong.code).toBe(1);
    expect(wrong.err()).toContain("key is wrong");
  } finally {
    await other.stop(true);
  }
});

test("a command finds the proxy by its configuration alone, the key of the file winning", async () => {
  using folder = tempDir();
  const config = join(folder.path, "c.json");
  writeFileSync(config, JSON.stringify({ data_dir: opened.dataDir, api_key: "${env:THE_KEY}" }));
  expect((await run(runStatus, ["-c", config], { env: { THE_KEY: API_KEY } })).code).toBe(0);
  // The socket asks for no key; where there is none, the key that is not to be had is the reason.
  expect((await run(runStatus, ["-c", config])).code).toBe(0);
  writeDaemonNote(folder.path, { pid: 1, url: opened.url, version: "1", config, startedAt: "" });
  const unset = await run(runStatus, ["-c", config, "-d", folder.path]);
  expect([unset.code, unset.err()]).toEqual([4, expect.stringContaining("THE_KEY") as string]);
  writeFileSync(config, '{"listen": 7}');
  expect((await run(runStatus, ["-c", config])).code).toBe(4);
});

test("config check tells faults and findings, and exits 4 with a fault of the file or of one server", async () => {
  verifies("CLI-EXIT-CODES", "CONFIG-FAULT-PLACE");
  using folder = tempDir();
  const file = join(folder.path, "c.json");
  const check = (text: string, ...flags: string[]): Promise<Ran> => {
    writeFileSync(file, text);
    return run(runConfig, ["check", file, ...flags], { home: folder.path, cwd: folder.path });
  };
  const good = await check(
    '{"mcpServers": [{"name": "a", "command": "x", "env": {"API_KEY": "canary-0001"}}]}',
  );
  expect([good.code, good.err()]).toEqual([0, ""]);
  expect(good.out()).toContain("1 server");
  expect(good.out()).not.toContain("canary");
  const bad = await check('{\n  "tools_limit": "x",\n  "mcpServers": [{"name": "a:b", "command": "x"}]\n}');
  expect(bad.code).toBe(4);
  expect(bad.out()).toMatch(/c\.json:2:\d+[\s\S]*tools_limit[\s\S]*:3:/);
  const alone = await check('{"mcpServers": [{"name": "a:b", "command": "x"}]}', "--json");
  expect(alone.code).toBe(4);
  expect(JSON.parse(alone.out())).toMatchObject({
    success: false,
    faults: [{ line: 1, key: expect.stringContaining("name") as string }],
  });
  expect((await run(runConfig, ["check", join(folder.path, "absent.json")])).code).toBe(4);
  expect((await run(runConfig, ["check", "a", "b"])).code).toBe(2);
  expect((await run(runConfig, ["check", "a", "-c", "b"])).code).toBe(2);
});

test("config schema prints a JSON Schema, and other verbs are usage errors", async () => {
  verifies("CONFIG-SCHEMA");
  const { code, out } = await run(runConfig, ["schema"]);
  expect(code).toBe(0);
  expect(JSON.parse(out())).toMatchObject({ type: "object", properties: { listen: {}, mcpServers: {} } });
  for (const args of [[], ["dance"], ["schema", "x"]]) expect((await run(runConfig, args)).code).toBe(2);
});
