/**
 * `serve --stdio` as a program: alone, and beside a proxy that holds the data dir already.
 */
import { afterEach, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioTransportV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { makeDefinition } from "../catalog/fixtures.ts";
import { STDIO_SERVER } from "../fixtures/upstreams.ts";
import { processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { AGENT_TOOLS, API_KEY, serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream, ToolUpstreamOptions } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");
const MODERN = "2026-07-28";
const READ = { annotations: { readOnlyHint: true } };
const TOOLS = [makeDefinition("echo", READ), makeDefinition("hang", READ)];
const START_MS = 15_000;

const closing: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

interface Place {
  readonly dir: string;
  readonly args: string[];
  readonly upstream: ToolUpstream;
}

/** A data dir with a configuration of one upstream in this process and one child. */
function makePlace(
  options: ToolUpstreamOptions & { readonly listen?: string; readonly flags?: string[] } = {},
): Place {
  const folder = tempDir();
  const upstream = serveTools(TOOLS, options);
  closing.push(
    () => folder[Symbol.dispose](),
    () => upstream[Symbol.asyncDispose](),
  );
  const dir = folder.path;
  const config = join(dir, "mcp_config.json");
  const servers = [
    { name: "s", protocol: "http", url: upstream.url },
    {
      name: "child",
      command: process.execPath,
      args: [STDIO_SERVER, "--journal", join(dir, "journal"), ...(options.flags ?? [])],
    },
  ];
  const { listen = "127.0.0.1:0" } = options;
  writeFileSync(
    config,
    JSON.stringify({ listen, data_dir: join(dir, "data"), api_key: API_KEY, mcpServers: servers }),
  );
  return { dir, args: [MAIN, "serve", "--stdio", "--config", config], upstream };
}

interface Child {
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly send: (message: unknown) => void;
  /** Everything on stdout, line by line. */
  readonly lines: string[];
  readonly errors: () => string;
  readonly end: () => void;
  readonly answerTo: (id: number | string) => Promise<Record<string, unknown>>;
}

function start(place: Place, flags: readonly string[] = []): Child {
  const child = Bun.spawn([process.execPath, ...place.args, ...flags], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    cwd: place.dir,
  });
  const lines: string[] = [];
  let errors = "";
  const read = async (stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
  };
  let rest = "";
  void read(child.stdout, (text) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  });
  void read(child.stderr, (text) => {
    errors += text;
  });
  closing.push(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  return {
    pid: child.pid,
    exited: child.exited,
    send: (message) => {
      void child.stdin.write(typeof message === "string" ? message : `${JSON.stringify(message)}\n`);
      void child.stdin.flush();
    },
    lines,
    errors: () => errors,
    end: () => void child.stdin.end(),
    answerTo: async (id) =>
      (await waitFor(
        `an answer to ${id}`,
        () =>
          lines
            .map((line) => JSON.parse(line) as Record<string, unknown>)
            .find((message) => message["id"] === id && !("method" in message)),
        START_MS,
      )) ?? {},
  };
}

const INITIALIZE = {
  jsonrpc: "2.0",
  id: "init",
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "by hand", version: "1" } },
};
const INITIALIZED = { jsonrpc: "2.0", method: "notifications/initialized" };

function callOf(
  id: number | string,
  tool: string,
  args: Record<string, unknown> = {},
): Record<string, unknown> {
  return {
    jsonrpc: "2.0",
    id,
    method: "tools/call",
    params: { name: "call_tool_read", arguments: { name: `s:${tool}`, args } },
  };
}

function modern(message: Record<string, unknown>): Record<string, unknown> {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": { name: "by hand", version: "1" },
  };
  return { ...message, params: { ...(message["params"] as object | undefined), _meta } };
}

/** Waits until the proxy of the data dir listens, and returns its address. */
async function urlOf(place: Place): Promise<string> {
  const url = await waitFor(
    "the daemon's note",
    () => {
      try {
        return (JSON.parse(readFileSync(join(place.dir, "data/daemon.json"), "utf8")) as { url: string }).url;
      } catch {
        return undefined;
      }
    },
    START_MS,
  );
  return url ?? "";
}

type AnyClient = Pick<Client, "listTools" | "callTool" | "close">;

const CLIENTS: Readonly<Record<string, (place: Place) => Promise<AnyClient>>> = {
  "SDK v1": async (place) => {
    const client = new ClientV1({ name: "c", version: "1" });
    await client.connect(
      new StdioTransportV1({ command: process.execPath, args: place.args, stderr: "ignore" }),
    );
    return client as unknown as AnyClient;
  },
  "SDK v2 legacy": async (place) => {
    const client = new Client({ name: "c", version: "1" });
    await client.connect(
      new StdioClientTransport({ command: process.execPath, args: place.args, stderr: "ignore" }),
    );
    return client;
  },
  "SDK v2 modern": async (place) => {
    const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: { pin: MODERN } } });
    await client.connect(
      new StdioClientTransport({ command: process.execPath, args: place.args, stderr: "ignore" }),
    );
    return client;
  },
};

async function useClient(client: AnyClient): Promise<void> {
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toEqual(AGENT_TOOLS);
  const called = await client.callTool({
    name: "call_tool_read",
    arguments: { name: "s:echo", args: { a: [1] } },
  });
  expect(called.content).toEqual([
    { type: "text", text: JSON.stringify({ name: "echo", args: { a: [1] } }) },
  ]);
  const found = await client.callTool({ name: "retrieve_tools", arguments: { query: "echo" } });
  expect(JSON.stringify(found)).toContain("s:echo");
}

test.each(Object.keys(CLIENTS))(
  "serve --stdio serves a client of %s, alone and beside another one",
  async (kind) => {
    verifies("MCP-STDIO", "MCP-CLIENTS");
    const place = makePlace();
    const alone = await CLIENTS[kind]?.(place);
    if (alone === undefined) throw new Error("No such client");
    await useClient(alone);
    const attempts = place.upstream.count("initialize");
    const beside = await CLIENTS[kind]?.(place);
    if (beside === undefined) throw new Error("No such client");
    await useClient(beside);
    expect(place.upstream.count("initialize")).toBe(attempts);
    await beside.close();
    await useClient(alone);
    await alone.close();
    await waitFor("nothing is left", () => processesWith(place.dir).length === 0, START_MS);
  },
  30_000,
);

test("serve --stdio writes messages alone to stdout, and ends with its input, leaving no process", async () => {
  verifies("MCP-STDIO", "STDIO-NO-SURVIVORS");
  const place = makePlace({ flags: ["--fork"] });
  const child = start(place, ["--log-level", "debug"]);
  child.send(INITIALIZE);
  await child.answerTo("init");
  child.send(INITIALIZED);
  child.send('garbage\n\n  \n{"jsonrpc":"2.0"}\n[]\nnull\n');
  child.send(callOf(0, "echo", { n: 0 }));
  expect(await child.answerTo(0)).toMatchObject({
    result: { content: [{ text: '{"name":"echo","args":{"n":0}}' }] },
  });
  await waitFor(
    "the child server has started",
    () => processesWith(join(place.dir, "journal")).length > 0,
    START_MS,
  );
  child.end();
  expect(await child.exited).toBe(0);
  for (const line of child.lines) expect(JSON.parse(line)).toMatchObject({ jsonrpc: "2.0" });
  expect(child.errors()).toContain("Listening");
  expect(processesWith(place.dir)).toEqual([]);
}, 30_000);

test("serve --stdio answers what was asked before its input ended", async () => {
  const place = makePlace();
  const child = start(place);
  child.send(INITIALIZE);
  child.send(INITIALIZED);
  child.send({ jsonrpc: "2.0", id: 9, method: "tools/list" });
  await child.answerTo(9);
  child.end();
  expect(await child.exited).toBe(0);
}, 30_000);

test("serve --stdio answers a line that is no message with a JSON-RPC error, and goes on", async () => {
  verifies("MCP-STDIO");
  const place = makePlace();
  const child = start(place);
  child.send(INITIALIZE);
  await child.answerTo("init");
  child.send(INITIALIZED);
  const ping = { jsonrpc: "2.0", method: "ping" };
  child.send('{"id":3}\n{"id":"four","jsonrpc":"1.0","method":"ping"}\n');
  child.send([
    { ...ping, id: 5 },
    { ...ping, id: 6 },
  ]);
  child.send('garbage\n7\n  \n{"jsonrpc":"2.0","method":7}\n');
  // Answers, well-formed or not, are answered by nothing.
  child.send('{"id":8,"result":{}}\n{"jsonrpc":"2.0","id":9,"result":{}}\n{"id":10,"error":null}\n');
  child.send({ ...ping, id: "last" });
  expect(await child.answerTo("last")).toMatchObject({ result: {} });
  const answers = child.lines.slice(1).map((line) => JSON.parse(line) as Record<string, unknown>);
  const errors = answers.flatMap(({ id, error }) => (error ? [[id, (error as { code: number }).code]] : []));
  expect(errors).toEqual([
    [3, -32600],
    ["four", -32600],
    [null, -32600],
    [null, -32700],
    [null, -32600],
    [null, -32600],
  ]);
  expect(child.lines.join()).toContain("batches are not taken here");
  expect(answers).toHaveLength(7);
  child.end();
  expect(await child.exited).toBe(0);
}, 30_000);

test("a second serve --stdio on the data dir passes on to the first: both eras, errors, cancellation, the end", async () => {
  verifies("MCP-STDIO");
  const { promise: never, resolve } = Promise.withResolvers<unknown>();
  const place = makePlace({ call: (name) => (name === "hang" ? never : undefined) });
  closing.push(() => resolve({ content: [] }));
  const first = start(place);
  const url = await urlOf(place);
  const sessions = async (): Promise<number> => {
    const answer = await fetch(`${url}/api/v1/status`, { headers: { "x-api-key": API_KEY } });
    return ((await answer.json()) as { data: { sessions: number } }).data.sessions;
  };
  const legacy = start(place);
  legacy.send(INITIALIZE);
  legacy.send(INITIALIZED);
  legacy.send({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  expect(JSON.stringify(await legacy.answerTo(1))).toContain("retrieve_tools");
  // The pipe of the first, and the session by which the second passes on.
  expect(await sessions()).toBe(2);
  for (let id = 2; id < 30; id += 1) legacy.send(callOf(id, "echo", { id }));
  for (let id = 2; id < 30; id += 1)
    expect(JSON.stringify(await legacy.answerTo(id))).toContain(`{\\"id\\":${id}}`);
  legacy.send({ jsonrpc: "2.0", id: 30, method: "no/such" });
  expect(await legacy.answerTo(30)).toMatchObject({ error: { code: -32601 } });
  legacy.send("garbage\n[]\nnull\n7\n");

  const other = start(place);
  other.send(modern({ jsonrpc: "2.0", id: 1, method: "tools/list" }));
  expect(JSON.stringify(await other.answerTo(1))).toContain("retrieve_tools");
  other.send(modern(callOf(2, "echo", { who: "ünïcode" })));
  expect(JSON.stringify(await other.answerTo(2))).toContain("ünïcode");

  let cancelled = 0;
  for (const [child, wrap] of [
    [legacy, (m: Record<string, unknown>) => m],
    [other, modern],
  ] as const) {
    const calls = place.upstream.count("tools/call");
    child.send(wrap(callOf(77, "hang")));
    await waitFor("the call is there", () => place.upstream.count("tools/call") === calls + 1);
    child.send(wrap({ jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: 77 } }));
    cancelled += 1;
    await waitFor("the upstream knows", () => place.upstream.count("notifications/cancelled") === cancelled);
  }
  legacy.send(callOf(78, "echo"));
  await legacy.answerTo(78);
  for (const child of [legacy, other]) {
    child.end();
    expect(await child.exited).toBe(0);
    for (const line of child.lines) expect(JSON.parse(line)).toMatchObject({ jsonrpc: "2.0" });
  }
  await waitFor("the session is gone", async () => (await sessions()) === 1);
  first.end();
  expect(await first.exited).toBe(0);
}, 40_000);

test("a bridged SDK client of the modern era cancels a call", async () => {
  const { promise: never, resolve } = Promise.withResolvers<unknown>();
  const place = makePlace({ call: (name) => (name === "hang" ? never : undefined) });
  closing.push(() => resolve({ content: [] }));
  const first = start(place);
  await urlOf(place);
  const client = (await CLIENTS["SDK v2 modern"]?.(place)) as Client;
  const abort = new AbortController();
  const params = { name: "call_tool_read", arguments: { name: "s:hang" } };
  const call = client.callTool(params, { signal: abort.signal }).catch((error: unknown) => error);
  await waitFor("the call is there", () => place.upstream.count("tools/call") === 1, START_MS);
  abort.abort();
  expect(await call).toBeInstanceOf(Error);
  await waitFor("the upstream knows", () => place.upstream.count("notifications/cancelled") === 1);
  await client.close();
  first.end();
  expect(await first.exited).toBe(0);
}, 30_000);

test("a bridged client is told when the proxy behind it is gone", async () => {
  const place = makePlace();
  const first = start(place);
  await urlOf(place);
  const second = start(place);
  second.send(INITIALIZE);
  await second.answerTo("init");
  process.kill(first.pid, "SIGKILL");
  await first.exited;
  second.send({ jsonrpc: "2.0", id: 5, method: "tools/list" });
  expect(await second.answerTo(5)).toMatchObject({
    error: { code: -32603, message: expect.stringContaining("Cannot reach the running proxy") as string },
  });
  second.end();
  expect(await second.exited).toBe(0);
  await waitFor("nothing is left", () => {
    for (const pid of processesWith(place.dir)) process.kill(pid, "SIGKILL");
    return processesWith(place.dir).length === 0;
  });
}, 30_000);

test("serve --stdio listens on another port when the configured one is taken", async () => {
  const taken = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("taken") });
  closing.push(() => taken.stop(true));
  const place = makePlace({ listen: `127.0.0.1:${taken.port}` });
  const child = start(place);
  const url = await urlOf(place);
  expect(url).not.toContain(`:${taken.port}`);
  expect((await fetch(`${url}/livez`)).status).toBe(200);
  child.send(INITIALIZE);
  await child.answerTo("init");
  child.end();
  expect(await child.exited).toBe(0);
}, 30_000);

test("serve --stdio is one session: listed with its client and its calls, and told of when it opens and ends", async () => {
  verifies("MCP-STDIO");
  const place = makePlace();
  const child = start(place);
  child.send(INITIALIZE);
  await child.answerTo("init");
  child.send(INITIALIZED);
  const url = await urlOf(place);
  child.send(callOf(1, "echo"));
  await child.answerTo(1);
  const answer = await fetch(`${url}/api/v1/sessions`, { headers: { "x-api-key": API_KEY } });
  const { data } = (await answer.json()) as { data: { sessions: Record<string, unknown>[] } };
  expect(data.sessions).toHaveLength(1);
  expect(JSON.stringify(data.sessions)).toContain("by hand");
  const events = await fetch(`${url}/events?types=session_opened,session_closed&since=0`, {
    headers: { "x-api-key": API_KEY },
  });
  let told = "";
  const read = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of events.body ?? []) told += decoder.decode(chunk as Uint8Array);
  })().catch(() => {});
  await waitFor("it was told that it opened", () => told.includes('"session_opened"'));
  expect(told).toContain('"open":1');
  child.end();
  await waitFor("it was told that it ended", () => told.includes('"session_closed"'));
  expect(told).toContain('"reason":"the client ended it"');
  expect(await child.exited).toBe(0);
  await read;
}, 20_000);

test("a client on stdio hears that its list changed, also through a second process", async () => {
  verifies("LIST-CHANGED");
  const place = makePlace();
  const first = start(place);
  const url = await urlOf(place);
  const second = start(place);
  for (const child of [first, second]) {
    child.send(INITIALIZE);
    await child.answerTo("init");
    child.send(INITIALIZED);
    child.send({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    expect(JSON.stringify(await child.answerTo(1))).toContain("retrieve_tools");
  }
  const apply = async (mode: string): Promise<void> => {
    const answer = await fetch(`${url}/api/v1/config/apply`, {
      method: "POST",
      headers: { "x-api-key": API_KEY, "content-type": "application/json" },
      body: JSON.stringify({ operations: [{ op: "settings", patch: { routing_mode: mode } }] }),
    });
    expect(answer.status).toBe(200);
  };
  const hasHeard = (child: Child) => () =>
    child.lines.some((line) => line.includes("notifications/tools/list_changed"));
  await apply("direct");
  await waitFor("the first heard", hasHeard(first), 5_000);
  // Its standing stream may open after the first change.
  let mode = "direct";
  await waitFor(
    "the second heard",
    async () => {
      if (hasHeard(second)()) return true;
      mode = mode === "direct" ? "retrieve_tools" : "direct";
      await apply(mode);
      return undefined;
    },
    10_000,
  );
  for (const child of [second, first]) {
    child.end();
    expect(await child.exited).toBe(0);
  }
}, 30_000);
