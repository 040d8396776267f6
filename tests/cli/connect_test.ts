/**
 * `connect`: the entry in each client's file, on each system; what stays, what is refused, and the way back.
 */
import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { CLIENTS } from "../../src/cli/clients.ts";
import type { McpClient } from "../../src/cli/clients.ts";
import { printFailure } from "../../src/cli/command.ts";
import { runConnect } from "../../src/cli/connect.ts";
import type { ConnectIo } from "../../src/cli/connect.ts";
import { fakeKeyring } from "../fixtures/keyring.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { makeIo } from "./fixtures.ts";

const URL = "http://127.0.0.1:8080/mcp";
const PROGRAM = ["/opt/mcpproxy"];

interface Machine extends Disposable {
  readonly home: string;
  /** Runs `connect` and returns the exit code and all that was printed. */
  readonly run: (...args: string[]) => Promise<{ code: number; out: string; err: string }>;
  /** Writes a file below the home folder. */
  readonly write: (path: string, text: string, mode?: number) => string;
  readonly read: (path: string) => string;
  readonly backups: (path: string) => string[];
}

function openMachine(config = "{}", parts: Partial<ConnectIo> = {}): Machine {
  const folder = tempDir();
  const home = join(folder.path, "home");
  const write = (path: string, text: string, mode = 0o600): string => {
    const file = join(home, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text, { mode });
    chmodSync(file, mode);
    return file;
  };
  write(".mcpproxy/mcp_config.json", config);
  return {
    home,
    write,
    read: (path) => readFileSync(join(home, path), "utf8"),
    backups: (path) => readdirSync(dirname(join(home, path))).filter((name) => name.includes(".mcpproxy-")),
    run: async (...args) => {
      const io = makeIo({ home, cwd: join(folder.path, "home"), ...parts });
      const machine: ConnectIo = { ...io, platform: "linux", program: PROGRAM, ...parts };
      let code: number;
      try {
        code = await runConnect(args, machine);
      } catch (error) {
        code = printFailure(error, io, args.includes("--json") ? "json" : "table");
      }
      return { code, out: io.out(), err: io.err() };
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

/** The path of a client's file below the home folder, as on Linux. */
const FILES: Readonly<Record<string, string>> = {
  "claude-desktop": ".config/Claude/claude_desktop_config.json",
  "claude-code": ".claude.json",
  cursor: ".cursor/mcp.json",
  vscode: ".config/Code/User/mcp.json",
  windsurf: ".codeium/windsurf/mcp_config.json",
  zed: ".config/zed/settings.json",
  goose: ".config/goose/config.yaml",
  codex: ".codex/config.toml",
  gemini: ".gemini/settings.json",
};

/** What each client's file may look like before, comments and foreign keys among it. */
function sampleOf({ format, key }: McpClient): string {
  if (format === "toml") return '# mine\nmodel = "m"\n\n[mcp_servers.other]\ncommand = "x" # kept\n';
  if (format === "yaml")
    return "# mine\nMODEL: m\nextensions:\n  other:\n    cmd: x # kept\n    enabled: true\n\nlast: 1\n";
  return `{\n\t// mine\n\t"theme": "dark",\n\t"${key}": {\n\t\t"other": { "command": "x" }, // kept\n\t},\n}\n`;
}

function parse({ format }: McpClient, text: string): Record<string, Record<string, unknown>> {
  const value =
    format === "toml"
      ? Bun.TOML.parse(text)
      : format === "yaml"
        ? Bun.YAML.parse(text)
        : Bun.JSONC.parse(text);
  return value as Record<string, Record<string, unknown>>;
}

const CASES = CLIENTS.map((client) => [client.id, client] as const);

test.each(CASES)(
  "connect %s writes the client's own shape, once, and undo gives back every byte",
  async (id, client) => {
    verifies("CONNECT-KEEPS-FILE", "CONNECT-UNDO");
    using machine = openMachine();
    const path = FILES[id] ?? "";
    const before = sampleOf(client);
    machine.write(path, before, 0o640);
    const written = await machine.run(id);
    expect(written).toMatchObject({ code: 0, err: "" });
    const after = machine.read(path);
    const entries = parse(client, after)[client.key] ?? {};
    const isByUrl = client.http !== undefined;
    const target = { command: "/opt/mcpproxy", args: ["serve", "--stdio"] };
    expect(entries["mcpproxy"]).toEqual(
      isByUrl ? client.http?.({ url: URL, headers: {} }, "mcpproxy") : client.stdio(target, "mcpproxy"),
    );
    expect(JSON.stringify(entries["mcpproxy"])).toContain(isByUrl ? URL : "--stdio");
    for (const line of before.split("\n")) expect(after).toContain(line);
    expect(statSync(join(machine.home, path)).mode & 0o777).toBe(0o640);
    expect(machine.backups(path)).toHaveLength(1);
    expect((await machine.run(id)).out).toContain("already");
    expect([machine.read(path), machine.backups(path).length]).toEqual([after, 1]);
    expect((await machine.run(id, "--undo")).out).toContain("as it was");
    expect([machine.read(path), machine.backups(path)]).toEqual([before, []]);
  },
);

test.each(CASES)(
  "connect %s makes a file that was not there 0600, and undo removes it",
  async (id, client) => {
    verifies("CONNECT-UNDO");
    using machine = openMachine();
    const path = FILES[id] ?? "";
    expect(await machine.run(id)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/is not installed/) as string,
    });
    expect(existsSync(join(machine.home, path))).toBe(false);
    expect((await machine.run(id, "--force", "--stdio")).code).toBe(0);
    expect(statSync(join(machine.home, path)).mode & 0o777).toBe(0o600);
    expect(JSON.stringify(parse(client, machine.read(path)))).toContain("/opt/mcpproxy");
    expect((await machine.run(id, "--undo")).code).toBe(0);
    expect([existsSync(join(machine.home, path)), machine.backups(path)]).toEqual([false, []]);
  },
);

test.each<[string, NodeJS.Platform, Readonly<Record<string, string>>, string]>([
  ["claude-desktop", "darwin", {}, "/h/Library/Application Support/Claude/claude_desktop_config.json"],
  [
    "claude-desktop",
    "win32",
    { APPDATA: String.raw`C:\Data` },
    String.raw`C:\Data\Claude\claude_desktop_config.json`,
  ],
  ["claude-desktop", "linux", { XDG_CONFIG_HOME: "/x" }, "/x/Claude/claude_desktop_config.json"],
  ["claude-code", "linux", { CLAUDE_CONFIG_DIR: "/c" }, "/c/.claude.json"],
  ["vscode", "darwin", {}, "/h/Library/Application Support/Code/User/mcp.json"],
  ["vscode", "win32", { APPDATA: String.raw`C:\Data` }, String.raw`C:\Data\Code\User\mcp.json`],
  ["zed", "darwin", {}, "/h/.config/zed/settings.json"],
  ["zed", "win32", { APPDATA: String.raw`C:\Data` }, String.raw`C:\Data\Zed\settings.json`],
  ["goose", "win32", { APPDATA: String.raw`C:\Data` }, String.raw`C:\Data\Block\goose\config\config.yaml`],
  ["codex", "linux", { CODEX_HOME: "/c" }, "/c/config.toml"],
  ["cursor", "win32", {}, String.raw`\h\.cursor\mcp.json`],
])("the file of %s on %s with %p is %s", (id, platform, env, path) => {
  const client = CLIENTS.find((one) => one.id === id);
  expect(client?.file({ platform, home: "/h", env, cwd: "/" })).toBe(path);
});

test("an entry that leads elsewhere is refused without --force, and what was forced away comes back", async () => {
  verifies("CONNECT-UNDO");
  using machine = openMachine();
  const before = '{"mcpServers": {"mcpproxy": {"url": "http://127.0.0.1:9999/mcp", "note": "mine"}}}';
  machine.write(".cursor/mcp.json", before);
  for (const args of [["cursor"], ["cursor", "--undo"]]) {
    expect(await machine.run(...args)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/leads elsewhere\n.*--force/) as string,
    });
    expect(machine.read(".cursor/mcp.json")).toBe(before);
  }
  expect((await machine.run("cursor", "--force")).code).toBe(0);
  expect(machine.read(".cursor/mcp.json")).toBe(before.replace("9999", "8080"));
  expect((await machine.run("cursor", "--undo")).code).toBe(0);
  expect(machine.read(".cursor/mcp.json")).toBe(before);
});

test("a file that was changed since keeps the change; only the entry goes", async () => {
  verifies("CONNECT-UNDO");
  using machine = openMachine();
  machine.write(".cursor/mcp.json", '{\n  "mcpServers": {}\n}\n');
  await machine.run("cursor");
  const changed = machine.read(".cursor/mcp.json").replace('{\n  "mcp', '{\n  "new": 1, // mine\n  "mcp');
  machine.write(".cursor/mcp.json", changed);
  const undone = await machine.run("cursor", "--undo");
  expect(undone.out).toContain("changed since");
  expect(machine.read(".cursor/mcp.json")).toBe('{\n  "new": 1, // mine\n  "mcpServers": {}\n}\n');
  expect((await machine.run("cursor", "--undo")).out).toContain("is not in");
});

test("an own entry follows a new port, and undo still finds the first text", async () => {
  using machine = openMachine();
  const before = '{"mcpServers": {"a": {"url": "u"}}}\n';
  machine.write(".cursor/mcp.json", before);
  await machine.run("cursor");
  machine.write(".mcpproxy/mcp_config.json", '{"listen": "127.0.0.1:9090"}');
  expect((await machine.run("cursor")).code).toBe(0);
  expect(machine.read(".cursor/mcp.json")).toContain("http://127.0.0.1:9090/mcp");
  await machine.run("cursor", "--undo");
  expect([machine.read(".cursor/mcp.json"), machine.backups(".cursor/mcp.json")]).toEqual([before, []]);
});

test("the user's own keys in the entry stay, and those of the other form go", async () => {
  using machine = openMachine();
  machine.write(".cursor/mcp.json", "{}");
  await machine.run("cursor", "--stdio");
  machine.write(
    ".cursor/mcp.json",
    machine.read(".cursor/mcp.json").replace('"command"', '"allow": ["x"], "command"'),
  );
  expect((await machine.run("cursor", "--http")).code).toBe(0);
  const { mcpServers } = JSON.parse(machine.read(".cursor/mcp.json")) as { mcpServers: unknown };
  expect(mcpServers).toEqual({ mcpproxy: { allow: ["x"], url: URL } });
});

test("--preview prints a difference, hides what is secret, and writes nothing", async () => {
  using machine = openMachine('{"require_mcp_auth": true, "api_key": "canary-preview-0001"}');
  const before =
    '{\n  "mcpServers": {\n    "a": {"url": "u", "headers": {"X-API-Key": "canary-preview-0002"}}\n  }\n}\n';
  machine.write(".cursor/mcp.json", before);
  for (const flags of [[], ["--json"]]) {
    const { code, out } = await machine.run("cursor", "--preview", ...flags);
    expect(code).toBe(0);
    expect(out).toMatch(/\+ {4,}"mcpproxy"|\\"mcpproxy\\"/);
    expect(out).not.toContain("canary");
  }
  expect([machine.read(".cursor/mcp.json"), machine.backups(".cursor/mcp.json")]).toEqual([before, []]);
});

test("the key goes in only where the proxy asks for one, and never where others can read it", async () => {
  verifies("CONNECT-KEY-PRIVATE");
  using open = openMachine('{"api_key": "canary-key-0001"}');
  open.write(".cursor/mcp.json", "{}", 0o644);
  await open.run("cursor");
  expect(open.read(".cursor/mcp.json")).not.toContain("canary");
  using machine = openMachine('{"require_mcp_auth": true, "api_key": "canary-key-0001"}');
  machine.write(".cursor/mcp.json", "{}", 0o644);
  for (const args of [["cursor"], ["claude-code", "--project"]]) {
    const refused = await machine.run(...args);
    expect(refused).toMatchObject({
      code: 1,
      out: "",
      err: expect.stringMatching(/--stdio, which needs no key/) as string,
    });
  }
  expect(machine.read(".cursor/mcp.json")).toBe("{}");
  expect((await machine.run("cursor", "--stdio")).code).toBe(0);
  expect(machine.read(".cursor/mcp.json")).not.toContain("canary");
  const file = machine.write(".gemini/settings.json", "{}", 0o600);
  const { out, code } = await machine.run("gemini");
  expect([code, out.includes("canary")]).toEqual([0, false]);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({
    mcpServers: { mcpproxy: { httpUrl: URL, headers: { "X-API-Key": "canary-key-0001" } } },
  });
  const token = await machine.run("windsurf", "--force", "--token", "mcp_agt_x");
  expect(token.code).toBe(0);
  expect(machine.read(FILES["windsurf"] ?? "")).toContain('"X-API-Key": "mcp_agt_x"');
});

test("a link stays a link, and its target is what is written", async () => {
  verifies("CONNECT-KEEPS-FILE");
  using machine = openMachine();
  const real = machine.write("dotfiles/cursor.json", "{}\n");
  mkdirSync(join(machine.home, ".cursor"));
  const link = join(machine.home, ".cursor/mcp.json");
  symlinkSync(real, link);
  expect((await machine.run("cursor")).code).toBe(0);
  expect([lstatSync(link).isSymbolicLink(), readFileSync(real, "utf8").includes(URL)]).toEqual([true, true]);
  await machine.run("cursor", "--undo");
  expect([lstatSync(link).isSymbolicLink(), readFileSync(real, "utf8")]).toEqual([true, "{}\n"]);
});

test.each<[string, string, string, RegExp]>([
  ["cursor", ".cursor/mcp.json", '{"mcpServers": {', /line 1, column \d+/],
  ["cursor", ".cursor/mcp.json", "[]", /an object with an object 'mcpServers'/],
  ["cursor", ".cursor/mcp.json", '{"mcpServers": []}', /an object with an object 'mcpServers'/],
  ["cursor", ".cursor/mcp.json", '{"mcpServers": {"mcpproxy": 7}}', /is no object/],
  ["codex", ".codex/config.toml", "a = 'x\n", /TOML/],
  ["codex", ".codex/config.toml", "mcp_servers.mcpproxy.url = 'http://127.0.0.1:8080/x'\n", /elsewhere/],
  ["goose", ".config/goose/config.yaml", "extensions: {a: {b: 1}}\n", /lines of their own/],
  ["goose", ".config/goose/config.yaml", "a: [\n", /Cannot use/],
])(
  "a file of %s that cannot be edited is refused with its fault, and stays",
  async (id, path, text, fault) => {
    verifies("CONNECT-KEEPS-FILE");
    using machine = openMachine();
    machine.write(path, text);
    const { code, err, out } = await machine.run(id);
    expect(code).toBeGreaterThan(0);
    expect(err).toMatch(fault);
    expect([out, machine.read(path), machine.backups(path)]).toEqual(["", text, []]);
  },
);

test.each<[string, string[], number, RegExp]>([
  ["a client nobody knows", ["emacs"], 2, /There are: claude-desktop, .*gemini/],
  ["two forms", ["cursor", "--http", "--stdio"], 2, /--http or --stdio/],
  [
    "a URL for a client that starts programs only",
    ["claude-desktop", "--http", "--force"],
    2,
    /only starts programs/,
  ],
  ["a project for a client that knows none", ["windsurf", "--project"], 2, /no file for projects/],
  ["two clients", ["cursor", "zed"], 2, /Unexpected argument/],
])("connect with %s is refused", async (_, args, exit, message) => {
  using machine = openMachine();
  const { code, err } = await machine.run(...args);
  expect(code).toBe(exit);
  expect(err).toMatch(message);
});

test("a port that is chosen at each start is connected by command, with the configuration it needs", async () => {
  using machine = openMachine();
  const config = machine.write("other/mcp_config.json", '{"listen": "127.0.0.1:0"}');
  machine.write(".cursor/mcp.json", "{}");
  expect((await machine.run("cursor", "-c", config, "-d", join(machine.home, "data"))).code).toBe(0);
  const args = ["serve", "--stdio", "--config", config, "--data-dir", join(machine.home, "data")];
  expect(JSON.parse(machine.read(".cursor/mcp.json"))).toEqual({
    mcpServers: { mcpproxy: { command: "/opt/mcpproxy", args } },
  });
  expect((await machine.run("cursor", "-c", config, "--http")).code).toBe(2);
});

test("connect --list tells each client's state and file, and --json the same", async () => {
  using machine = openMachine();
  machine.write(".cursor/mcp.json", "{}");
  machine.write(".gemini/settings.json", '{"mcpServers": {"mcpproxy": {"command": "other"}}}');
  machine.write(".config/zed/settings.json", "{");
  await machine.run("cursor");
  const { out, code } = await machine.run("--list");
  expect(code).toBe(0);
  expect(out).toMatch(/^cursor +connected +\S+\.cursor\/mcp\.json$/m);
  expect(out).toMatch(/^gemini +leads elsewhere/m);
  expect(out).toMatch(/^zed +unusable/m);
  expect(out).toMatch(/^codex +not installed/m);
  const { clients } = JSON.parse((await machine.run("--json")).out) as {
    clients: readonly { state: string }[];
  };
  expect(clients).toHaveLength(CLIENTS.length);
});

test("a project's file is written in the folder of the project", async () => {
  using machine = openMachine();
  expect((await machine.run("vscode", "--project", "--name", "proxy")).code).toBe(0);
  expect(JSON.parse(machine.read(".vscode/mcp.json"))).toEqual({
    servers: { proxy: { type: "http", url: URL } },
  });
});

test("connect takes a key that lies in the keyring, and asks for it only when it is written", async () => {
  verifies("CONNECT-KEY-PRIVATE");
  const keyring = fakeKeyring({ proxy: "canary-keyring-0001" });
  const config = '{"require_mcp_auth": true, "api_key": "${keyring:proxy}"}';
  using machine = openMachine(config, { keyring });
  machine.write(FILES["cursor"] ?? "", "{}");
  expect((await machine.run("--list")).code).toBe(0);
  expect(keyring.asked).toEqual([]);
  const { code, out } = await machine.run("cursor", "--http");
  expect([code, out.includes("canary")]).toEqual([0, false]);
  expect(machine.read(FILES["cursor"] ?? "")).toContain("canary-keyring-0001");
});
