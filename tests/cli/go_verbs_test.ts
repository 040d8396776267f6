/**
 * Command lines that users of the Go proxy have in scripts, with a running proxy and without one.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { printFailure } from "../../src/cli/command.ts";
import { runProgram } from "../../src/cli/program.ts";
import type { ServeIo } from "../../src/cli/serve.ts";
import { formatOf } from "../../src/cli/verb.ts";
import { writeDaemonNote } from "../../src/state/daemon.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { makeIo, runMain } from "./fixtures.ts";
import { CANARY, WITH_PROXY, WITHOUT_PROXY } from "./go_lines.ts";
import type { Data, Line } from "./go_lines.ts";

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

// oxlint-disable-next-line no-control-regex -- what a terminal may obey
const STEERING = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/;

let upstream: ToolUpstream;
let live: LiveProxy;
let registry: Bun.Server<undefined>;

beforeAll(async () => {
  const tools = [
    makeDefinition("list_things", {
      description: "Lists\u001b[2J things\nall of them",
      annotations: { readOnlyHint: true },
    }),
    makeDefinition("make_thing", {
      description: "Makes a thing",
      annotations: { readOnlyHint: false, destructiveHint: false },
    }),
    makeDefinition("wipe", { description: "Wipes all", annotations: { destructiveHint: true } }),
    makeDefinition("fails", { description: "Fails", annotations: { readOnlyHint: true } }),
  ];
  upstream = serveTools(tools, {
    call: (name, args) =>
      name === "fails"
        ? { content: [{ type: "text", text: "it\u001b[31m failed" }], isError: true }
        : { content: [{ type: "text", text: `${name} ${JSON.stringify(args)}\u009b2J` }] },
  });
  const offered = [
    {
      id: "weather",
      name: "weather",
      description: "Weather\u001b[2J of today",
      command: "npx",
      args: ["-y", "weather-mcp"],
    },
    { id: "docs", name: "docs", description: "Documents", url: "https://docs.example/mcp" },
  ];
  registry = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => Response.json({ servers: offered }) });
  live = await openLiveProxy({
    mcpServers: [
      { name: "github", url: upstream.url, protocol: "http", headers: { Authorization: `Bearer ${CANARY}` } },
      { name: "off", command: "/nonexistent/off", enabled: false },
      { name: "held", command: "/nonexistent/held", env: { TOKEN: CANARY }, quarantined: true },
      { name: "a b/ü", url: upstream.url, protocol: "http", enabled: false },
    ],
    registries: [
      { id: "local", name: "Local", url: registry.url.href, servers_url: `${registry.url.href}servers` },
    ],
  });
  await live.untilReady("github");
  const theirs = { mcpServers: { one: { command: "/nonexistent/1" }, two: { command: "/nonexistent/2" } } };
  writeFileSync(join(live.folder, "theirs.json"), JSON.stringify(theirs));
});

afterAll(async () => {
  await live[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
  await registry.stop(true);
});

/** Splits a line as a shell does, as far as these lines need it. */
function words(line: string): string[] {
  const found = line.match(/(?:[^\s'"]|'[^']*'|"[^"]*")+/g) ?? [];
  return found.map((word) =>
    word.replaceAll(/'([^']*)'|"([^"]*)"/g, (_, single?: string, double?: string) => single ?? double ?? ""),
  );
}

async function run(argv: readonly string[], parts: Partial<ServeIo> = {}): Promise<Ran> {
  const io = makeIo({ cwd: live.folder, home: live.folder, ...parts });
  const serve: ServeIo = {
    ...io,
    stdin: () => new Blob([]).stream(),
    onSignal: () => {},
    exit: () => {
      throw new Error("A command ended the process");
    },
    ...parts,
  };
  let code: number;
  try {
    code = await runProgram(argv, serve);
  } catch (error) {
    code = printFailure(error, io, formatOf(argv, io.env));
  }
  return { code, out: io.out(), err: io.err() };
}

function check({ code, out = [], err = [], not = [], data }: Line, ran: Ran): void {
  expect({ code: ran.code, said: ran.code === code ? "" : ran.out + ran.err }).toEqual({ code, said: "" });
  for (const part of out) expect(ran.out).toMatch(part);
  for (const part of err) expect(ran.err).toMatch(part);
  if (err.length === 0) expect(ran.err).toBe("");
  for (const part of [...not, CANARY]) expect(ran.out + ran.err).not.toContain(part);
  expect(ran.out + ran.err).not.toMatch(STEERING);
  // No stack of ours, ever.
  expect(ran.out + ran.err).not.toMatch(/^\s+at .*\.ts:\d/m);
  data?.(read(ran.out));
}

function read(text: string): Data {
  try {
    return JSON.parse(text) as Data;
  } catch {
    return Bun.YAML.parse(text) as Data;
  }
}

test.each(WITH_PROXY.map((line, at) => [line.line, at] as const))(
  "with a proxy: mcpproxy %s (%#)",
  async (text, at) => {
    verifies("CLI-GO-VERBS", "CLI-EXIT-CODES", "CLI-JSON");
    const line = WITH_PROXY[at] as Line;
    const place = ["-c", live.path, "-d", join(live.folder, "data")];
    // Global flags stand before the verb in one line and behind the last word in the next.
    const given = words(text);
    const end = given.indexOf("--");
    const behind = end === -1 ? [...given, ...place] : given.toSpliced(end, 0, ...place);
    const argv = at % 2 === 0 ? [...place, ...given] : behind;
    check(line, await run(argv, { env: { ...line.env } }));
  },
);

const FILE = `{
  // Kept.
  "mcpServers": [
    { "name": "github", "url": "https://127.0.0.1:9/mcp", "protocol": "http" }, // As is.
    { "name": "off", "command": "/nonexistent/off", "enabled": false },
  ],
}
`;
const alone = tempDir();
const file = join(alone.path, "mcp_config.json");
writeFileSync(file, FILE, { mode: 0o600 });

afterAll(() => alone[Symbol.dispose]());

test.each(WITHOUT_PROXY.map((line, at) => [line.line, at] as const))(
  "without a proxy: mcpproxy %s (%#)",
  async (text, at) => {
    verifies("CLI-GO-VERBS", "CLI-NO-DAEMON", "CLI-EXIT-CODES");
    const line = WITHOUT_PROXY[at] as Line;
    const given = words(text);
    const place = ["-d", join(alone.path, "data")];
    // The file is the one of the folder.
    const argv =
      at % 2 === 0
        ? [...place, ...given]
        : given.toSpliced(given.indexOf("--") === -1 ? given.length : given.indexOf("--"), 0, ...place);
    check(line, await run(argv, { cwd: alone.path, home: alone.path }));
  },
);

test("what was changed without a proxy is edited in place, and a start takes it up as the proxy's own change", async () => {
  verifies("CLI-NO-DAEMON", "APPROVAL-GATE");
  const text = readFileSync(file, "utf8");
  expect(text).toContain("// Kept.");
  expect(text).toContain('{ "name": "github", "url": "https://127.0.0.1:9/mcp", "protocol": "http"');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const { Proxy } = await import("../../src/proxy.ts");
  const { LoadedConfig } = await import("../../src/state/loaded_config.ts");
  const { SILENT_LOG } = await import("../../src/lib/log.ts");
  const overrides = { listen: "127.0.0.1:0", dataDir: join(alone.path, "data") };
  const env = {};
  const loaded = await LoadedConfig.read({ path: file, env, cwd: alone.path, home: alone.path, overrides });
  await using proxy = await Proxy.open({ loaded, env, log: SILENT_LOG });
  const { code, out } = await run([
    "upstream",
    "list",
    "-o",
    "json",
    "-c",
    file,
    "-d",
    join(alone.path, "data"),
  ]);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject([
    { name: "db", startup_mode: "disabled", quarantined: false },
    { name: "fs", startup_mode: "quarantined" },
    { name: "github", startup_mode: "disabled" },
    // What nobody approved stays held, also where the file's mode would be another.
    { name: "notion", startup_mode: "quarantined", quarantined: true },
  ]);
  expect(proxy.url).toStartWith("http://127.0.0.1:");
});

test("a change of the file is refused while somebody holds the data dir without saying where he listens", async () => {
  verifies("CLI-NO-DAEMON");
  using folder = tempDir();
  const data = join(folder.path, "data");
  mkdirSync(data);
  const path = join(folder.path, "mcp_config.json");
  writeFileSync(path, '{"mcpServers": []}');
  const { Store } = await import("../../src/state/store.ts");
  const { SILENT_LOG } = await import("../../src/lib/log.ts");
  // What a proxy that was killed left, and another that does not answer yet.
  writeDaemonNote(data, {
    pid: 999_999,
    url: "http://127.0.0.1:9",
    version: "1",
    config: path,
    startedAt: "",
  });
  writeFileSync(join(data, "api_key"), "key\n");
  const child = Bun.spawn(
    [
      process.execPath,
      "-e",
      `
      const { Store } = await import(${JSON.stringify(join(import.meta.dir, "../../src/state/store.ts"))});
      const { SILENT_LOG } = await import(${JSON.stringify(join(import.meta.dir, "../../src/lib/log.ts"))});
      const store = Store.open({ dataDir: ${JSON.stringify(data)}, log: SILENT_LOG });
      console.log("held");
      for await (const _ of Bun.stdin.stream()) store.flush();
    `,
    ],
    { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
  );
  try {
    for await (const _ of child.stdout) break;
    const place = ["-c", path, "-d", data];
    const held = await run([...place, "upstream", "add", "x", "https://127.0.0.1:9/mcp"]);
    expect([held.code, held.out]).toEqual([1, ""]);
    expect(held.err).toMatch(/Another|another/);
    expect(readFileSync(path, "utf8")).toBe('{"mcpServers": []}');
    expect((await run([...place, "upstream", "list"])).code).toBe(0);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
  const store = Store.open({ dataDir: data, log: SILENT_LOG });
  await store.close();
});

test("without any configuration a list says so and makes none, and an addition makes the default one", async () => {
  verifies("CLI-NO-DAEMON");
  using folder = tempDir();
  const at = { cwd: folder.path, home: folder.path };
  const none = await run(["upstream", "list"], at);
  expect([none.code, none.out]).toEqual([4, ""]);
  expect(none.err).toContain("mcpproxy serve");
  expect(existsSync(join(folder.path, ".mcpproxy"))).toBe(false);
  expect((await run(["upstream", "add", "x", "https://127.0.0.1:9/mcp"], at)).code).toBe(0);
  expect(readFileSync(join(folder.path, ".mcpproxy/mcp_config.json"), "utf8")).toContain('"x"');
});

test.each([
  ["y", 0, /^Removed/],
  ["YES", 0, /^Removed/],
  ["", 1, /^$/],
  ["n", 1, /^$/],
  ["yesterday", 1, /^$/],
])("at a terminal a removal is asked for, and %j means exit code %d", async (answer, code, out) => {
  verifies("CLI-EXIT-CODES");
  using folder = tempDir();
  const path = join(folder.path, "c.json");
  writeFileSync(path, '{"mcpServers": [{"name": "x\\u00e9", "command": "/nonexistent"}]}');
  const asked: string[] = [];
  const ask = (question: string): Promise<string> => {
    asked.push(question);
    return Promise.resolve(answer);
  };
  const ran = await run(["upstream", "remove", "xé", "-c", path, "-d", join(folder.path, "data")], { ask });
  expect(asked).toEqual(["Remove server 'xé'? [y/N] "]);
  expect(ran.code).toBe(code);
  expect(ran.out).toMatch(out);
  expect(readFileSync(path, "utf8").includes("name")).toBe(code !== 0);
});

test("the proxy is found by its data dir alone, by its socket where the key is not to be had, and by its address", async () => {
  verifies("CLI-GO-VERBS");
  const data = join(live.folder, "data");
  const by = (argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ran> =>
    run([...argv, "upstream", "list", "-o", "json"], { env, cwd: "/nonexistent", home: "/nonexistent" });
  expect((await by(["-d", data])).code).toBe(0);
  expect((await by([], { MCPPROXY_DATA_DIR: data })).code).toBe(0);
  const key = readFileSync(join(data, "api_key"), "utf8").trim();
  expect((await by(["--url", `${live.url()}/`], { MCPPROXY_API_KEY: key })).code).toBe(0);
  expect((await by([], { MCPPROXY_URL: live.url(), MCPPROXY_API_KEY: key })).code).toBe(0);
  // The key of the data dir is not sent to an address somebody named.
  const keyless = await by(["-d", data, "--url", live.url()]);
  expect(keyless.code).toBe(1);
  expect(keyless.out).toContain("MCPPROXY_API_KEY");
  const path = join(live.folder, "elsewhere.json");
  writeFileSync(path, JSON.stringify({ data_dir: data, api_key: "${env:NOBODY_SET_THIS}" }));
  const bySocket = await by(["-c", path]);
  expect([bySocket.code, bySocket.err]).toEqual([0, ""]);
});

test.each([
  [[], /^\[\d\d:\d\d:\d\d\] \[CLI\] tool_call github:wipe success [\d.]+ms$/m],
  [["-o", "json"], /^\{"id":"\d+","type":"tool_call",.*"tool_name":"wipe".*\}$/m],
  [["-o", "yaml"], /^---\nid: "\d+"\ntype: tool_call\n/m],
] as const)(
  "activity watch %j prints each entry once, as it is made, until it is told to end",
  async (flags, line) => {
    verifies("CLI-GO-VERBS");
    await live.untilReady("github");
    const place = ["-d", join(live.folder, "data"), "-c", live.path];
    let out = "";
    const ends: (() => void)[] = [];
    const watching = run(
      [...place, "activity", "watch", "--type", "tool_call", "--server", "github", ...flags],
      {
        stdout: (text) => {
          out += text;
        },
        onSignal: (end) => ends.push(end),
      },
    );
    const call = (tool: string) => run([...place, "call", "tool-destructive", "-t", `github:${tool}`]);
    const isPrinted = async (): Promise<boolean> => {
      await call("wipe");
      return out.includes("wipe");
    };
    await waitFor("an entry is printed", isPrinted, 10_000);
    for (const end of ends) end();
    expect((await watching).code).toBe(0);
    expect(out).toMatch(line);
    const ids = [...out.matchAll(/"id":"(\d+)"/g)].map(([, id]) => Number(id));
    expect(ids).toEqual([...new Set(ids)].toSorted((a, b) => a - b));
  },
);

test("the program itself takes these lines", async () => {
  verifies("CLI-GO-VERBS", "CLI-EXIT-CODES");
  const data = join(live.folder, "data");
  const main = (line: string) => runMain(words(line), { cwd: live.folder });
  const [list, add, help, wrong] = await Promise.all([
    main(`-d ${data} upstream list --output json`),
    main(`upstream add real -d ${data} -c ${live.path} -- docker run -h host --help image`),
    main("upstream add --help"),
    main("upstream remove real -o yaml"),
  ]);
  expect([list.code, list.err]).toEqual([0, ""]);
  expect(JSON.parse(list.out)).toBeArray();
  expect([add.code, add.err]).toEqual([0, ""]);
  expect(add.out).toContain("Added server 'real'");
  expect(live.text()).toContain('"host"');
  expect([help.code, help.err]).toEqual([0, ""]);
  expect(help.out).toContain("Usage: mcpproxy upstream add NAME");
  expect([wrong.code, wrong.err]).toEqual([2, ""]);
  expect(Bun.YAML.parse(wrong.out)).toMatchObject({ success: false, code: "USAGE" });
});
