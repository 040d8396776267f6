/**
 * The smoke test: what a user does on the first day, as one function.
 *
 * Owns the steps; the command line to start, source or compiled binary, is given. It runs in an empty temp folder with a
 * HOME of its own, and nothing there is named by flags but the port, which the machine chooses.
 */
import { Database } from "bun:sqlite";
import { expect } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { VERSION } from "../../src/core/version.ts";
import { bin, openScene, openV2, replyOf, runProgram, startProxy } from "./harness.ts";
import type { Answer, RunningProxy, Scene } from "./harness.ts";

const VERSION_RUNS = 5;
const SUM = { name: "everything:get-sum", args: { a: 2, b: 40 } } as const;

/** What was measured on the way, in milliseconds. */
export interface SmokeFigures {
  /** `--version`, the median of some runs. */
  readonly versionMs: number;
  /** From the start of `serve` on an empty folder to `/readyz`. */
  readonly firstReadyMs: number;
  /** The same on a data dir with known tools. */
  readonly againReadyMs: number;
}

/** Takes the first day's steps with `command`. */
export async function smoke(command: readonly string[]): Promise<SmokeFigures> {
  await using scene = openScene();
  const versionMs = await showVersion(command, scene);
  const firstReadyMs = await showFirstStart(command, scene);
  await showWork(command, scene);
  const againReadyMs = await showSecondStart(command, scene);
  return { versionMs, firstReadyMs, againReadyMs };
}

async function showVersion(command: readonly string[], scene: Scene): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < VERSION_RUNS; run += 1) {
    const startedAt = performance.now();
    const ended = await runProgram([...command, "--version"], { env: scene.env, cwd: scene.path });
    times.push(performance.now() - startedAt);
    expect(ended).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: "" });
  }
  const help = await runProgram([...command, "--help"], { env: scene.env, cwd: scene.path });
  expect(help.code).toBe(0);
  expect(help.stdout).toContain("Usage: mcpproxy COMMAND");
  return times.toSorted((a, b) => a - b)[Math.floor(VERSION_RUNS / 2)] ?? 0;
}

/** On an empty folder: a configuration, a key and a database are made, for the user's eyes only. */
async function showFirstStart(command: readonly string[], scene: Scene): Promise<number> {
  const none = await runProgram([...command, "status"], { env: scene.env, cwd: scene.path });
  expect(none.code).toBe(3);
  await using proxy = await startProxy(scene, { command, isAtHome: true });
  const { url, dataDir } = proxy;
  expect(proxy.configPath).toBe(join(scene.path, "home/.mcpproxy/mcp_config.json"));
  for (const file of [proxy.configPath, join(dataDir, "api_key")]) {
    expect([file, (statSync(file).mode & 0o777).toString(8)]).toEqual([file, "600"]);
  }
  expect(await (await fetch(`${url}/livez`)).json()).toEqual({ status: "ok" });
  expect(await (await fetch(`${url}/readyz`)).json()).toEqual({ ready: true });
  expect((await fetch(`${url}/api/v1/status`)).status).toBe(401);
  for (const path of [
    "/openapi.json",
    "/docs",
    "/docs/reference.js",
    "/ui/",
    "/ui/page.js",
    "/ui/page.css",
  ]) {
    expect({ path, status: (await fetch(`${url}${path}`)).status }).toEqual({ path, status: 200 });
  }
  expect((await proxy.cli("config", "check")).code).toBe(0);
  await showEnd(proxy, scene);
  using database = new Database(join(dataDir, "mcpproxy.db"), { readonly: true });
  const tables = database.query<{ name: string }, []>("select name from sqlite_master").all();
  const names = new Set(tables.map(({ name }) => name));
  expect(new Set(["servers", "tools"]).isSubsetOf(names)).toBe(true);
  return proxy.readyMs;
}

/** A server from npm: found and called over MCP and from a shell. */
async function showWork(command: readonly string[], scene: Scene): Promise<void> {
  const config = { mcpServers: { everything: { command: bin("mcp-server-everything") } } };
  await using proxy = await startProxy(scene, { command, isAtHome: true, config });
  await proxy.connected(["everything"]);
  await showMcp(proxy);
  const [program = "", ...args] = command;
  await using bridged = await openV2({
    command: program,
    args: [...args, "serve", "--stdio"],
    env: { ...scene.env },
  });
  expect(await bridged.call("call_tool_read", SUM)).toMatchObject({ content: [{ text: SUM_TEXT }] });
  await showShell(proxy);
  await bridged[Symbol.asyncDispose]();
  await showEnd(proxy, scene);
}

const SUM_TEXT = "The sum of 2 and 40 is 42.";

async function showMcp(proxy: RunningProxy): Promise<void> {
  await using client = await openV2(`${proxy.url}/mcp`);
  const found = replyOf(await client.call("retrieve_tools", { query: "add two numbers" }));
  expect((found["tools"] as readonly Answer[]).map(({ id }) => id)).toContain(SUM.name);
  expect(await client.call("call_tool_read", SUM)).toMatchObject({ content: [{ text: SUM_TEXT }] });
}

async function showShell(proxy: RunningProxy): Promise<void> {
  const search = await proxy.cli("tools", "search", "tiny", "image");
  expect(search.code).toBe(0);
  expect(search.stdout).toContain("everything:get-tiny-image");
  const call = await proxy.cli("tools", "call", SUM.name, JSON.stringify(SUM.args));
  expect(call).toEqual({ code: 0, stdout: `${SUM_TEXT}\n`, stderr: "" });
  const status = await proxy.cli("status", "--json");
  expect([status.code, status.stderr]).toEqual([0, ""]);
  expect(JSON.parse(status.stdout)).toMatchObject({
    state: "running",
    version: VERSION,
    pid: proxy.pid,
    servers: [{ name: "everything", connection_state: "ready" }],
  });
}

/** With known tools: a migrated database opens again. */
async function showSecondStart(command: readonly string[], scene: Scene): Promise<number> {
  await using proxy = await startProxy(scene, { command, isAtHome: true });
  const search = await proxy.cli("tools", "search", "sum", "of", "numbers", "--json");
  expect(search.stdout).toContain(SUM.name);
  await showEnd(proxy, scene);
  return proxy.readyMs;
}

/** SIGTERM: exit code 0, no survivors, no note of a daemon that is gone. */
async function showEnd(proxy: RunningProxy, scene: Scene): Promise<void> {
  expect([await proxy.stop(), proxy.stderr().includes("ERROR")]).toEqual([0, false]);
  expect(scene.processes()).toEqual([]);
  expect(existsSync(join(proxy.dataDir, "daemon.json"))).toBe(false);
}
