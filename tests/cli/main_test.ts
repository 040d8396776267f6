/**
 * The program as a process: what it prints, how it ends, and that nothing of it is left.
 */
import { afterEach, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VERSION } from "../../src/core/version.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { STDIO_SERVER } from "../fixtures/upstreams.ts";
import { processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";
import { MAIN, runMain } from "./fixtures.ts";
import type { MainResult } from "./fixtures.ts";

const START_MS = 15_000;
const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

function makeDir(): string {
  const folder = tempDir();
  closing.push(() => folder[Symbol.dispose]());
  return folder.path;
}

function writeConfig(dir: string, parts: object = {}): string {
  const path = join(dir, "c.json");
  writeFileSync(
    path,
    JSON.stringify({ listen: "127.0.0.1:0", data_dir: join(dir, "data"), mcpServers: [], ...parts }),
  );
  return path;
}

function noteOf(dir: string, pid: number): string | undefined {
  try {
    const note = JSON.parse(readFileSync(join(dir, "data/daemon.json"), "utf8")) as {
      url: string;
      pid: number;
    };
    return note.pid === pid ? note.url : undefined;
  } catch {
    return undefined;
  }
}

interface Served {
  readonly pid: number;
  readonly url: string;
  readonly exited: Promise<number>;
  readonly kill: (signal: NodeJS.Signals) => void;
  readonly err: () => string;
}

async function serve(dir: string, args: readonly string[]): Promise<Served> {
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    cwd: dir,
    env: { PATH: process.env["PATH"], HOME: dir },
  });
  closing.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
    for (const pid of processesWith(dir)) process.kill(pid, "SIGKILL");
  });
  let err = "";
  void (async () => {
    for await (const chunk of child.stderr) err += new TextDecoder().decode(chunk);
  })();
  // The note of a killed one lies there still.
  const url = await waitFor("the proxy listens", () => noteOf(dir, child.pid), START_MS);
  return {
    pid: child.pid,
    url: url ?? "",
    exited: child.exited,
    kill: (signal) => child.kill(signal),
    err: () => err,
  };
}

test.each<[string[], number, RegExp, RegExp]>([
  [["--version"], 0, new RegExp(`^${VERSION}\n$`), /^$/],
  [["-V"], 0, new RegExp(`^${VERSION}\n$`), /^$/],
  [["--help"], 0, /^mcpproxy [\s\S]*Usage: mcpproxy COMMAND/, /^$/],
  [["help"], 0, /Usage/, /^$/],
  [[], 0, /Usage/, /^$/],
  [["status", "--help"], 0, /Usage/, /^$/],
  [["dance"], 2, /^$/, /'dance'[\s\S]*--help/],
  [["--json"], 2, /Name a command.*USAGE/, /^$/],
  [["serve", "extra"], 2, /^$/, /extra/],
  [["serve", "--nope"], 2, /^$/, /--nope[\s\S]*Usage: mcpproxy serve/],
  [["serve", "--listen", "nonsense:port"], 2, /^$/, /--listen/],
  [["status"], 3, /^$/, /Cannot reach mcpproxy/],
  [["--json", "status"], 3, /^\{"success":false.*\}\n$/, /^$/],
  [["tools", "list"], 3, /^$/, /Cannot reach mcpproxy/],
  [["tools"], 2, /^$/, /tools list/],
  [["config", "check", "no-such-file.json"], 4, /^$/, /no-such-file/],
])("mcpproxy %j exits with %d", async (args, code, out, err) => {
  verifies("CLI-EXIT-CODES");
  const dir = makeDir();
  const result = await runMain(args, { cwd: dir });
  expect(result).toEqual({
    code,
    out: expect.stringMatching(out) as string,
    err: expect.stringMatching(err) as string,
  });
  // Only serving may make a default configuration.
  if (args[0] !== "serve") expect(readdirSync(dir)).toEqual([]);
});

test("flags stand before the verb, after it and between its words", async () => {
  verifies("CLI-EXIT-CODES", "CLI-JSON");
  await using upstream = serveTools([makeDefinition("echo", { annotations: { readOnlyHint: true } })]);
  const dir = makeDir();
  const config = writeConfig(dir, { mcpServers: [{ name: "s", protocol: "http", url: upstream.url }] });
  const served = await serve(dir, ["--config", config, "serve"]);
  await waitFor(
    "the server is ready",
    async () => (await fetch(`${served.url}/startupz`)).status === 200,
    START_MS,
  );
  const lines: string[][] = [
    ["-c", config, "--json", "tools", "call", "s:echo", '{"a":1}'],
    ["tools", "-c", config, "call", "--json", "s:echo", '{"a":1}'],
    ["tools", "call", "s:echo", '{"a":1}', "-o", "json", `--config=${config}`],
    ["-d", join(dir, "data"), "tools", "call", "s:echo", '{"a":1}', "--json"],
  ];
  const results: MainResult[] = await Promise.all(lines.map((args) => runMain(args, { cwd: dir })));
  for (const { code, out, err } of results) {
    expect([code, err]).toEqual([0, ""]);
    expect(JSON.parse(out)).toMatchObject({
      success: true,
      data: [{ text: '{"name":"echo","args":{"a":1}}' }],
    });
  }
  expect(served.err()).toContain(`${served.url}/ui/`);
  served.kill("SIGTERM");
  expect(await served.exited).toBe(0);
}, 30_000);

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
  "serve ends calmly with 0 on %s and leaves no process, port or note",
  async (signal) => {
    verifies("STDIO-NO-SURVIVORS", "KEY-0600");
    const dir = makeDir();
    const servers = [
      { name: "child", command: process.execPath, args: [STDIO_SERVER, "--journal", join(dir, "journal")] },
    ];
    const served = await serve(dir, ["serve", "-c", writeConfig(dir, { mcpServers: servers })]);
    await waitFor(
      "the server is ready",
      async () => (await fetch(`${served.url}/startupz`)).status === 200,
      START_MS,
    );
    const keyFile = join(dir, "data/api_key");
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(processesWith(join(dir, "journal"))).toHaveLength(1);
    served.kill(signal);
    expect(await served.exited).toBe(0);
    expect(processesWith(dir)).toEqual([]);
    expect(existsSync(join(dir, "data/daemon.json"))).toBe(false);
    expect(await fetch(served.url).catch(() => "refused")).toBe("refused");
    expect(served.err()).toContain("Stopped");
    expect(served.err()).not.toContain(readFileSync(keyFile, "utf8").trim());
  },
  30_000,
);

test("serve answers calls in flight before it ends, and a second signal forces the end", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<unknown>();
  await using upstream = serveTools([makeDefinition("slow", { annotations: { readOnlyHint: true } })], {
    call: () => held,
  });
  const dir = makeDir();
  const servers = [{ name: "s", protocol: "http", url: upstream.url }];
  const config = writeConfig(dir, { mcpServers: servers, api_key: "k".repeat(32) });
  const call = (url: string): Promise<Response> =>
    fetch(`${url}/api/v1/tools/call`, {
      method: "POST",
      headers: { "x-api-key": "k".repeat(32) },
      body: JSON.stringify({ tool_name: "call_tool_read", arguments: { name: "s:slow", args: {} } }),
    });
  const first = await serve(dir, ["serve", "-c", config]);
  const forced = call(first.url).catch(() => "cut");
  await waitFor("the call is there", () => upstream.count("tools/call") === 1, START_MS);
  first.kill("SIGTERM");
  await waitFor("it is stopping", () => first.err().includes("Stopping"));
  // Signals that come at once are echoes of one; so this repeats until one counts.
  const forcing = setInterval(() => first.kill("SIGINT"), 50);
  expect(await first.exited).toBe(130);
  clearInterval(forcing);
  expect(await forced).toBe("cut");

  const second = await serve(dir, ["serve", "-c", config]);
  const answered = call(second.url);
  await waitFor("the call is there", () => upstream.count("tools/call") === 2, START_MS);
  second.kill("SIGTERM");
  await waitFor("it is stopping", () => second.err().includes("Stopping"));
  release({ content: [{ type: "text", text: "in time" }] });
  expect(await (await answered).text()).toContain("in time");
  expect(await second.exited).toBe(0);
}, 40_000);

test("serve with a broken configuration tells every fault and exits 4", async () => {
  verifies("CLI-EXIT-CODES", "CONFIG-FAULT-PLACE");
  const dir = makeDir();
  writeFileSync(
    join(dir, "c.json"),
    '{\n  "tools_limit": "x",\n  "call_tool_timeout": 5,\n  "mcpServers": 7\n}',
  );
  const { code, out, err } = await runMain(["serve", "-c", "c.json"], { cwd: dir });
  expect([code, out]).toEqual([4, ""]);
  for (const part of [
    /c\.json:2:/,
    /c\.json:3:/,
    /c\.json:4:/,
    /tools_limit/,
    /call_tool_timeout/,
    /mcpServers/,
  ])
    expect(err).toMatch(part);
  expect(existsSync(join(dir, ".mcpproxy"))).toBe(false);
  expect((await runMain(["serve", "-c", "absent.json"], { cwd: dir })).code).toBe(4);
});

test("a second serve on the data dir is refused with a clear message, and the first goes on", async () => {
  verifies("STORE-SECOND-PROCESS");
  const dir = makeDir();
  const config = writeConfig(dir);
  const first = await serve(dir, ["serve", "-c", config]);
  const second = await runMain(["serve", "-c", config], { cwd: dir });
  expect(second).toMatchObject({ code: 1, out: "" });
  expect(second.err).toMatch(/another (?:process|proxy)/i);
  expect(second.err).toContain(join(dir, "data"));
  expect((await fetch(`${first.url}/livez`)).status).toBe(200);
  expect((await runMain(["status", "-c", config], { cwd: dir })).code).toBe(0);
  first.kill("SIGKILL");
  await first.exited;
  const stale = await runMain(["status", "-c", config], { cwd: dir });
  expect(stale.code).toBe(3);
  const third = await serve(dir, ["serve", "-c", config]);
  third.kill("SIGTERM");
  expect(await third.exited).toBe(0);
}, 30_000);

test("serve on a port in use is refused with a hint, and leaves no note", async () => {
  verifies("CLI-EXIT-CODES");
  const taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("taken") });
  closing.push(() => taken.stop(true));
  const dir = makeDir();
  const { code, err } = await runMain(
    ["serve", "-c", writeConfig(dir), "--listen", `127.0.0.1:${taken.port}`],
    { cwd: dir },
  );
  expect(code).toBe(1);
  expect(err).toContain(`127.0.0.1:${taken.port}`);
  expect(err).toContain("--listen");
  expect(existsSync(join(dir, "data/daemon.json"))).toBe(false);
});

test("serve beyond this machine without a key is refused, and by default it listens on loopback", async () => {
  verifies("HTTP-BIND");
  const dir = makeDir();
  const open = await runMain(["serve", "-c", writeConfig(dir), "--listen", "0.0.0.0:0"], { cwd: dir });
  expect(open.code).toBe(4);
  expect(open.err).toContain("require_mcp_auth");
  const closed = await serve(dir, [
    "serve",
    "-c",
    writeConfig(dir, { listen: ":0", api_key: "k".repeat(32) }),
    "--listen",
    "127.0.0.1:0",
  ]);
  expect(closed.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  closed.kill("SIGTERM");
  expect(await closed.exited).toBe(0);
}, 30_000);
