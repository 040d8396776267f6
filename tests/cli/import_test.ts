/**
 * `import`: the servers of clients' files come in quarantined, our own entry stays out, and nothing else leaves the file.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { printFailure } from "../../src/cli/command.ts";
import type { ConnectIo } from "../../src/cli/connect.ts";
import { runConnect } from "../../src/cli/connect.ts";
import { runImport } from "../../src/cli/import.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { makeIo } from "./fixtures.ts";

let proxy: LiveProxy;
let home: string;

beforeAll(async () => {
  proxy = await openLiveProxy({
    mcpServers: [{ name: "there", command: "sleep", startup_mode: "disabled" }],
  });
  home = join(proxy.folder, "home");
});

afterAll(() => proxy[Symbol.asyncDispose]());

function write(path: string, text: string): void {
  mkdirSync(dirname(join(home, path)), { recursive: true });
  writeFileSync(join(home, path), text);
}

async function run(command: typeof runImport, ...args: string[]) {
  const io = makeIo({ home, cwd: home });
  const machine: ConnectIo = { ...io, platform: "linux", program: ["/opt/mcpproxy"] };
  const data = ["-c", proxy.path, "-d", join(proxy.folder, "data")];
  let code: number;
  try {
    code = await command([...args, ...data], machine);
  } catch (error) {
    code = printFailure(error, io, args.includes("--json") ? "json" : "table");
  }
  return { code, out: io.out(), err: io.err() };
}

async function names(): Promise<string[]> {
  const { data } = await proxy.ask("GET /servers");
  return (data["servers"] as { name: string }[]).map(({ name }) => name);
}

test("import brings a client's servers in quarantined, leaves ours out, and says how to go on", async () => {
  verifies("IMPORT-QUARANTINED");
  write(
    ".cursor/mcp.json",
    '{ // mine\n "mcpServers": {"files": {"command": "canary-program", "args": ["a"]}, "there": {"command": "x"}} }',
  );
  expect((await run(runConnect, "cursor")).code).toBe(0);
  const dry = await run(runImport, "cursor", "--dry-run");
  expect([dry.code, dry.out]).toEqual([0, expect.stringContaining("Nothing was changed") as string]);
  expect(await names()).toEqual(["there"]);
  const { code, out, err } = await run(runImport, "cursor");
  expect([code, err]).toEqual([0, ""]);
  expect(out).toMatch(/^files +added/m);
  expect(out).toMatch(/^there +exists +\S/m);
  expect(out).toMatch(/^mcpproxy +skipped +it is this proxy$/m);
  expect(out).toContain("mcpproxy servers approve files");
  expect(await proxy.server("files")).toMatchObject({ quarantined: true, startup_mode: "quarantined" });
  expect(await names()).toEqual(["there", "files"]);
  expect((await run(runImport, "cursor")).out).toContain("Nothing was added");
});

test.each<[string, string, string, string]>([
  ["codex", ".codex/config.toml", "[mcp_servers.from-codex]\ncommand = 'x'\n", "from-codex"],
  [
    "goose",
    ".config/goose/config.yaml",
    "extensions:\n  from-goose:\n    enabled: true\n    type: stdio\n    cmd: x\n    args: []\n",
    "from-goose",
  ],
  [
    "zed",
    ".config/zed/settings.json",
    '{"context_servers": {"from-zed": {"command": "x", "args": []}}}',
    "from-zed",
  ],
  [
    "vscode",
    ".config/Code/User/mcp.json",
    '{"servers": {"from-code": {"type": "http", "url": "http://127.0.0.1:9/mcp"}}}',
    "from-code",
  ],
  [
    "windsurf",
    ".codeium/windsurf/mcp_config.json",
    '{"mcpServers": {"from-surf": {"serverUrl": "http://127.0.0.1:9/mcp"}}}',
    "from-surf",
  ],
  [
    "gemini",
    ".gemini/settings.json",
    '{"mcpServers": {"from-gemini": {"httpUrl": "http://127.0.0.1:9/mcp"}}}',
    "from-gemini",
  ],
  [
    "claude-desktop",
    ".config/Claude/claude_desktop_config.json",
    '{"mcpServers": {"from-desktop": {"command": "x"}}}',
    "from-desktop",
  ],
])("import understands the file of %s, with our own entry in it", async (id, path, text, name) => {
  verifies("IMPORT-QUARANTINED");
  write(path, text);
  expect((await run(runConnect, id)).code).toBe(0);
  const { code, out } = await run(runImport, id, "--json");
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ added: 1, servers: [{ name, status: "added" }] });
  expect(await proxy.server(name)).toMatchObject({ quarantined: true });
});

test("of a file that holds more than servers, only the servers leave it", async () => {
  verifies("IMPORT-QUARANTINED");
  const seen: string[] = [];
  const other = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      seen.push(await request.text());
      return Response.json({ success: true, data: { servers: [], added: 0 } });
    },
  });
  const project = { mcpServers: { b: { command: "y" } }, history: ["canary-history"] };
  const whole = { oauth: "canary-token", mcpServers: { a: { command: "x" } }, projects: { "/p": project } };
  write(".claude.json", JSON.stringify(whole));
  const { code } = await run(runImport, "claude-code", "--url", `http://127.0.0.1:${other.port}`);
  await other.stop(true);
  expect(code).toBe(0);
  expect(JSON.parse(seen[0] ?? "{}")).toEqual({
    format: "claude_code",
    text: JSON.stringify({
      mcpServers: { a: { command: "x" } },
      projects: { "/p": { mcpServers: { b: { command: "y" } } } },
    }),
    dry_run: false,
  });
});

test("import of a file takes its form from what is in it, and only the names that are asked for", async () => {
  write("some/where.json", '{"mcpServers": {"one": {"command": "x"}, "two": {"command": "x"}}}');
  const { code, out } = await run(runImport, "some/where.json", "--names", "two");
  expect(code).toBe(0);
  expect(out).toMatch(/^two +added/m);
  expect(await names()).not.toContain("one");
});

test.each<[string, string[], number, RegExp]>([
  ["a client nobody knows", ["emacs"], 2, /There are: claude-desktop/],
  ["a file that is not there", ["./none.json"], 4, /there is no such file\n.*connect --list/],
  ["nothing", [], 2, /CLIENT\|FILE is missing/],
  ["a text without servers", ["./empty.json"], 2, /./],
])("import of %s fails and says why", async (_, args, exit, message) => {
  write("empty.json", '{"nothing": true}');
  const { code, out, err } = await run(runImport, ...args);
  expect([code, out]).toEqual([exit, ""]);
  expect(err).toMatch(message);
});
