/**
 * Bad configurations, bad servers and bad calls against a running proxy.
 *
 * Owns the proof that each gets a clear answer while one good server, asked after every blow, goes on.
 */
import { expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { STDIO_SERVER } from "../fixtures/upstreams.ts";
import { StdioTransport } from "../../src/upstream/stdio.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openScene, openV2, replyOf, startProxy } from "./harness.ts";
import type { AnyClient, Answer, Entry, RunningProxy, Scene } from "./harness.ts";

const TEST_MS = 60_000;
const STRANGE = [
  "with space",
  "dots.in.name",
  "Ümläut ß 東京 🦊",
  "a/b",
  "../up",
  "%2e%2e%2f",
  "constructor",
  "toString",
  "hasOwnProperty",
  "then",
  "-rf",
  "$(id)",
  "a?b#c",
];

/** Each would be taken for something else: a key of the object below all others, two folders of an address. */
const REFUSED = ["__proto__", "..", "."];

function fixture(...flags: string[]): Entry {
  return { command: process.execPath, args: [STDIO_SERVER, ...flags] };
}

/** The good server answers, and the proxy is the process that was started. */
async function expectGoesOn(proxy: RunningProxy, client: AnyClient): Promise<void> {
  const result = await client.call("call_tool_write", { name: "good:echo", args: { a: 1 } });
  expect(result["content"]).toEqual([{ type: "text", text: '{"a":1}' }]);
  expect(proxy.isRunning()).toBe(true);
}

/** Calls a tool and reads the error the model is given. */
async function errorOf(client: AnyClient, name: string, args?: unknown): Promise<Answer> {
  const given = args === undefined ? { name } : { name, args };
  const result = await client.call("call_tool_write", given);
  expect(result["isError"]).toBe(true);
  return replyOf(result);
}

/** A program that takes no arguments, as `args: null` says. */
function script(scene: Scene): string {
  const path = join(scene.path, "server.sh");
  writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${STDIO_SERVER}'\n`);
  chmodSync(path, 0o755);
  return path;
}

test(
  "dead servers, garbage and null arguments each give a clear answer, and the others go on",
  async () => {
    verifies("CALL-DEAD-SERVER", "STDIO-GARBAGE", "UPSTREAM-ISOLATION", "CONFIG-BAD-SERVER-ALONE");
    await using scene = openScene();
    const dead = { command: "sh", args: ["-c", "echo 'Error: the licence file is missing' >&2; exit 7"] };
    const config = {
      mcpServers: [
        { name: "good", ...fixture() },
        { name: "dead", ...dead },
        { name: "gone", command: "no-such-program-here" },
        { name: "folder", command: scene.path },
        { name: "garbage", ...fixture("--garbage") },
        { name: "noise", command: "sh", args: ["-c", "yes '{\"jsonrpc\":' | head -c 3000000; exit 0"] },
        { name: "null args", command: script(scene), args: null, env: null },
        { name: "faulty", command: 5 },
        { name: "empty" },
        null,
      ],
    };
    await using proxy = await startProxy(scene, { config });
    await proxy.connected(["good", "garbage", "null args"]);
    await proxy.settled();
    await using client = await openV2(`${proxy.url}/mcp`);
    await expectGoesOn(proxy, client);

    const reasons: readonly (readonly [server: string, reason: RegExp, hint: RegExp])[] = [
      ["dead", /exited with code 7; it last said: Error: the licence file is missing/, /by hand/],
      ["gone", /command 'no-such-program-here' was not found/, /Install 'no-such-program-here'/],
      ["folder", /may not be executed|was not found/, /./],
      ["noise", /exited with code 0/, /./],
      ["faulty", /Expected a string/, /./],
      ["empty", /neither a command nor a url/, /Add "command" or "url"/],
    ];
    for (const [server, reason, hint] of reasons) {
      const answer = await errorOf(client, `${server}:anything`);
      expect(`${server}: ${String(answer["error"])}`).toMatch(reason);
      expect(`${server}: ${String(answer["hint"])}`).toMatch(hint);
    }
    const { code, stdout } = await proxy.cli("status", "--json");
    expect(code).toBe(0);
    expect((JSON.parse(stdout) as { readonly servers: unknown[] }).servers).toHaveLength(10);
    for (const name of ["garbage:echo", "null args:echo"]) {
      const result = await client.call("call_tool_write", { name, args: { b: [2] } });
      expect(result["content"]).toEqual([{ type: "text", text: '{"b":[2]}' }]);
    }
    await expectGoesOn(proxy, client);
    expect(await proxy.stop()).toBe(0);
  },
  TEST_MS,
);

test.each(["array", "map"] as const)(
  "strange server names work or are refused at one place, in the %s form",
  async (form) => {
    verifies("CONFIG-STRANGE-NAMES");
    await using scene = openScene();
    const entries = ["good", ...STRANGE, ...REFUSED].map((name) => [name, fixture()] as const);
    // An own key, as JSON.parse makes it.
    const map = Object.fromEntries(entries);
    const array = entries.map(([name, entry]) => ({ name, ...entry }));
    await using proxy = await startProxy(scene, { config: { mcpServers: form === "map" ? map : array } });
    await proxy.connected(["good", ...STRANGE]);
    const servers = await proxy.servers();
    expect(servers.size).toBe(entries.length);
    const refused = [...servers.values()].filter(
      (server) => !["good", ...STRANGE].includes(String(server["name"])),
    );
    expect(refused).toMatchObject([
      { last_error: "The name '__proto__' holds '__'", connected: false },
      { last_error: "The name is '..', which no address can hold", connected: false },
      { last_error: "The name is '.', which no address can hold", connected: false },
    ]);
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);

    await using client = await openV2(`${proxy.url}/mcp`);
    for (const name of STRANGE) {
      const result = await client.call("call_tool_write", { name: `${name}:echo`, args: { name } });
      expect(result["content"]).toEqual([{ type: "text", text: JSON.stringify({ name }) }]);
      const found = replyOf(await client.call("retrieve_tools", { query: "echo", server: name }));
      expect((found["tools"] as readonly Answer[])[0]).toMatchObject({ id: `${name}:echo` });
      const { data } = await proxy.api(`/servers/${encodeURIComponent(name)}/tools`);
      expect({ name, ...(data as Answer) }).toMatchObject({ name, server_name: name });
    }
    for (const name of ["__proto__", "prototype", "valueOf"]) {
      const answer = await errorOf(client, `${name}:echo`);
      expect(answer).toMatchObject({ code: "SERVER_UNKNOWN" });
    }
    const { code, stdout } = await proxy.cli("tools", "call", "Ümläut ß 東京 🦊:echo", '{"x": 1}');
    expect([code, stdout.trim()]).toEqual([0, '{"x":1}']);
    await expectGoesOn(proxy, client);
    expect(await proxy.stop()).toBe(0);
  },
  TEST_MS,
);

test(
  "unknown tools, wrong arguments and broken requests each give a clear answer",
  async () => {
    verifies("CALL-UNKNOWN-TOOL", "CALL-ARGS-CHECKED", "CLI-EXIT-CODES", "CLI-JSON");
    await using scene = openScene();
    await using proxy = await startProxy(scene, { config: { mcpServers: { good: fixture() } } });
    await proxy.connected(["good"]);
    await using client = await openV2(`${proxy.url}/mcp`);

    expect(await errorOf(client, "good:ecko")).toMatchObject({
      code: "TOOL_UNKNOWN",
      did_you_mean: ["good:echo"],
    });
    expect(await errorOf(client, "god:echo")).toMatchObject({
      code: "SERVER_UNKNOWN",
      hint: "Did you mean 'good'?",
    });
    expect(await errorOf(client, "echo")).toMatchObject({ code: "TOOL_UNKNOWN" });
    expect(await errorOf(client, "good:__proto__")).toMatchObject({ code: "TOOL_UNKNOWN" });
    expect(await errorOf(client, "")).toHaveProperty("error");
    expect(await errorOf(client, "good:echo", [1])).toMatchObject({ code: "ARGUMENTS_INVALID" });
    const wrong = replyOf(await client.call("retrieve_tools", { query: 5 }));
    expect(wrong).toMatchObject({ code: "ARGUMENTS_INVALID" });
    expect(replyOf(await client.call("read_cache", { key: "none" }))).toMatchObject({
      code: "CACHE_UNKNOWN",
    });
    const text = await client.call("call_tool_write", { name: "good:echo", args_json: "{broken" });
    expect(replyOf(text)).toMatchObject({ code: "ARGUMENTS_INVALID" });
    expect((await failureOf(() => client.call("no_such_tool", {}))).message).toContain("retrieve_tools");

    for (const body of ["", "{", "[]", "null", '"x"', '{"jsonrpc":"2.0"}', "[".repeat(20_000), "\u0000"]) {
      const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
      const response = await fetch(`${proxy.url}/mcp`, { method: "POST", headers, body });
      expect([body.slice(0, 20), response.status]).toEqual([body.slice(0, 20), 400]);
      const answer = await proxy.api("/tools/call", { method: "POST", body });
      expect(answer).toMatchObject({
        success: false,
        error: expect.stringContaining("Cannot call a tool") as unknown,
      });
    }
    const commands: readonly (readonly [args: readonly string[], code: number, said: string])[] = [
      [["tools", "call", "good:ecko"], 1, "good:echo"],
      [["tools", "call", "good:echo", "{broken"], 2, "Cannot call a tool: its arguments are no JSON object"],
      [["tools", "call", "good:fails"], 1, "it failed"],
      [["tools", "search"], 2, "WORD is missing"],
    ];
    for (const [args, code, said] of commands) {
      const ended = await proxy.cli(...args);
      expect({ args, code: ended.code, stdout: ended.stdout }).toEqual({ args, code, stdout: "" });
      expect(ended.stderr).toContain(said);
    }
    const json = await proxy.cli("tools", "call", "good:ecko", "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({ success: false, code: "TOOL_UNKNOWN" });
    await expectGoesOn(proxy, client);
    expect(await proxy.stop()).toBe(0);
  },
  TEST_MS,
);

test(
  "a server that dies in a call ends that call with its last words and comes back",
  async () => {
    verifies("CALL-DEAD-SERVER", "UPSTREAM-ISOLATION");
    await using scene = openScene();
    const config = { mcpServers: { good: fixture(), frail: fixture() } };
    await using proxy = await startProxy(scene, { config });
    await proxy.connected(["good", "frail"]);
    await using client = await openV2(`${proxy.url}/mcp`);
    const [crash] = await Promise.all([errorOf(client, "frail:crash"), expectGoesOn(proxy, client)]);
    expect(String(crash["error"])).toContain("fatal: the disk is on fire");
    const echoed = await waitFor(
      "it is called again",
      async () => {
        const result = await client.call("call_tool_write", { name: "frail:echo", args: {} });
        return result["isError"] === true ? undefined : result;
      },
      20_000,
    );
    expect(echoed?.["content"]).toEqual([{ type: "text", text: "{}" }]);
    expect(await proxy.stop()).toBe(0);
  },
  TEST_MS,
);

test("a process that closed its stdin before it left is explained by its exit, not by the broken pipe", async () => {
  verifies("CALL-DEAD-SERVER");
  await using scene = openScene();
  const gate = join(scene.path, "gate");
  const lines = ["exec 0<&-", "echo closed >&2", `while [ ! -e '${gate}' ]; do sleep 0.01; done`, "exit 7"];
  const transport = new StdioTransport({
    command: "sh",
    args: ["-c", lines.join("; ")],
    env: { ...scene.env },
    redact: (line) => line,
  });
  await transport.start();
  await waitFor("stdin is closed", () => transport.stderr.last(1).includes("closed"));
  const sent = failureOf(() => transport.send({ jsonrpc: "2.0", id: 1, method: "ping" }));
  writeFileSync(gate, "");
  await sent;
  expect(transport.exit).toEqual({ code: 7, signal: null });
  await transport.close();
});
