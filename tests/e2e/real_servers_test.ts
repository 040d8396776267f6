/**
 * Real servers from npm and PyPI behind the proxy, and every kind of client in front of it.
 *
 * Owns the proof that finding a tool in plain words and calling it gives what the server itself gives: each result is
 * compared with one taken from the server's own wire.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import {
  bin,
  callDirectly,
  openInspector,
  openScene,
  openV1,
  openV2,
  replyOf,
  runProgram,
  SOURCE,
  startProxy,
  uvx,
} from "./harness.ts";
import type { AnyClient, Answer, Entry, RunningProxy, Scene, StdioCommand } from "./harness.ts";

const CLIENT_MS = 30_000;
const MENU = [
  "retrieve_tools",
  "describe_tool",
  "call_tool_read",
  "call_tool_write",
  "call_tool_destructive",
];
const HAS_UVX = Bun.which("uvx") !== null;

const started = new AsyncDisposableStack();
let scene: Scene;
let proxy: RunningProxy;
let servers: Readonly<Record<string, Entry>>;
let note: string;

/** Something a user wants, in words, and the call that it leads to. */
interface Wish {
  readonly words: string;
  readonly id: string;
  readonly args: Answer;
}

function makeServers(memoryFile: string): Readonly<Record<string, Entry>> {
  return {
    everything: { command: bin("mcp-server-everything") },
    filesystem: { command: bin("mcp-server-filesystem"), args: [join(scene.path, "files")] },
    memory: { command: bin("mcp-server-memory"), env: { MEMORY_FILE_PATH: join(scene.path, memoryFile) } },
    "sequential-thinking": { command: bin("mcp-server-sequential-thinking") },
  };
}

/** Each client has an entity of its own, so that the order of tests changes no result. */
function wishes(client: string): readonly Wish[] {
  const entity = {
    name: `Ada of ${client}`,
    entityType: "person",
    observations: ["wrote the first program"],
  };
  return [
    { words: "read the contents of a text file", id: "filesystem:read_text_file", args: { path: note } },
    { words: "read a file", id: "filesystem:read_text_file", args: { path: join(scene.path, "elsewhere") } },
    { words: "store a new entity", id: "memory:create_entities", args: { entities: [entity] } },
    { words: "open entities by name", id: "memory:open_nodes", args: { names: [entity.name] } },
    { words: "tiny image", id: "everything:get-tiny-image", args: {} },
    {
      words: "annotated message",
      id: "everything:get-annotated-message",
      args: { messageType: "error", includeImage: true },
    },
    { words: "resource links", id: "everything:get-resource-links", args: { count: 2 } },
    {
      words: "structured content of the weather",
      id: "everything:get-structured-content",
      args: { location: "Chicago" },
    },
  ];
}

/** Asks each server itself. */
async function direct(list: readonly Wish[], from: Readonly<Record<string, Entry>>): Promise<Answer[]> {
  const results = new Map<Wish, Answer>();
  const byServer = Map.groupBy(list, ({ id }) => id.split(":")[0] ?? "");
  for (const [server, own] of byServer) {
    const entry = from[server];
    if (entry === undefined) throw new Error(`There is no server '${server}'`);
    const calls = own.map(({ id, args }) => ({ name: id.slice(server.length + 1), args }));
    const answers = await callDirectly(entry, calls, scene);
    for (const [at, wish] of own.entries()) results.set(wish, answers[at] ?? {});
  }
  return list.map((wish) => results.get(wish) ?? {});
}

/** A modern server signs each of its results with this (2026-07-28); here the server is the proxy. */
const SIGNATURE = "io.modelcontextprotocol/serverInfo";

/** What of a result comes from the upstream. */
function payload({ content, structuredContent, isError, _meta }: Answer): Answer {
  const { [SIGNATURE]: _, ...meta } = (_meta ?? {}) as Answer;
  return { content, structuredContent, isError, meta };
}

/** Finds the tool in words among the first hits and calls it with what the hit says. */
async function fulfil(client: AnyClient, wish: Wish): Promise<Answer> {
  const reply = replyOf(await client.call("retrieve_tools", { query: wish.words, limit: 5 }));
  const hits = reply["tools"] as readonly Answer[];
  const hit = hits.find(({ id }) => id === wish.id);
  expect(hits.map(({ id }) => id)).toContain(wish.id);
  return client.call(String(hit?.["call_with"]), { name: wish.id, args: wish.args });
}

/** Shows that a client gets through the proxy what the servers give. */
async function showSame(client: AnyClient, list: readonly Wish[], memoryFile: string): Promise<Answer[]> {
  expect((await client.tools()).map(({ name }) => name)).toEqual([...MENU, "read_cache"]);
  const expected = await direct(list, { ...servers, ...makeServers(memoryFile), ...pypi() });
  const seen: Answer[] = [];
  for (const [at, wish] of list.entries()) {
    const result = await fulfil(client, wish);
    expect({ wish: wish.id, ...payload(result) }).toEqual({ wish: wish.id, ...payload(expected[at] ?? {}) });
    seen.push(result);
  }
  return seen;
}

/** The comparison is worth something only when the results are of all these kinds. */
function expectKinds(results: readonly Answer[]): void {
  const [text, refused, , , image, annotated, links, structured] = results;
  expect(text).toMatchObject({ content: [{ type: "text", text: "Grüße\n" }], structuredContent: {} });
  expect(refused).toMatchObject({ isError: true });
  expect(JSON.stringify(image)).toContain('"type":"image"');
  expect(JSON.stringify(annotated)).toContain('"annotations"');
  expect(JSON.stringify(links)).toContain('"type":"resource_link"');
  expect(structured).toHaveProperty("structuredContent.conditions");
}

function pypi(): Readonly<Record<string, Entry>> {
  return { time: uvx("mcp-server-time"), git: uvx("mcp-server-git") };
}

function stdioCommand(dataDir: string): StdioCommand {
  const [command = "", ...args] = SOURCE;
  return {
    command,
    args: [...args, "serve", "--stdio", "--config", proxy.configPath, "--data-dir", dataDir],
    env: { ...scene.env },
  };
}

beforeAll(async () => {
  scene = started.use(openScene());
  mkdirSync(join(scene.path, "files"));
  note = join(scene.path, "files", "note.txt");
  writeFileSync(note, "Grüße\n");
  servers = makeServers("memory.jsonl");
  const all = {
    ...servers,
    brave: { command: bin("brave-search-mcp-server") },
    ...(HAS_UVX ? pypi() : {}),
  };
  proxy = started.use(await startProxy(scene, { config: { mcpServers: all } }));
  await proxy.connected(Object.keys(servers));
}, 60_000);

afterAll(() => started.disposeAsync(), CLIENT_MS);

const CLIENTS: readonly (readonly [kind: string, open: () => Promise<AnyClient>])[] = [
  ["SDK v2 modern", () => openV2(`${proxy.url}/mcp`, "modern")],
  ["SDK v2 legacy", () => openV2(`${proxy.url}/mcp`, "legacy")],
  ["SDK v1", () => openV1(`${proxy.url}/mcp`)],
];

test.each(CLIENTS)(
  "/mcp finds tools in words and gives %s the results of real servers unchanged",
  async (kind, open) => {
    verifies("MCP-CLIENTS", "MCP-BOTH-ERAS", "SEARCH-FINDS-IN-WORDS", "CALL-RESULT-UNCHANGED");
    await using client = await open();
    expectKinds(await showSame(client, wishes(kind), `direct ${kind}.jsonl`));
  },
  CLIENT_MS,
);

test("/mcp lists and calls tools of real servers for the inspector's command line", async () => {
  verifies("MCP-CLIENTS", "CALL-RESULT-UNCHANGED");
  const client = openInspector(`${proxy.url}/mcp`, scene);
  const list = wishes("the inspector").filter(({ id }) =>
    ["filesystem:read_text_file", "everything:get-tiny-image", "everything:get-structured-content"].includes(
      id,
    ),
  );
  const results = await showSame(client, list, "direct inspector.jsonl");
  expect(results.map((result) => result["isError"] === true)).toEqual([false, true, false, false]);
}, 60_000);

const STDIO_CLIENTS: readonly (readonly [kind: string, open: (at: StdioCommand) => Promise<AnyClient>])[] = [
  ["SDK v1", openV1],
  ["SDK v2 modern", (at) => openV2(at, "modern")],
  ["SDK v2 legacy", (at) => openV2(at, "legacy")],
];

test.each(STDIO_CLIENTS)(
  "serve --stdio passes %s on to the proxy that runs already",
  async (kind, open) => {
    verifies("MCP-STDIO", "CALL-RESULT-UNCHANGED");
    await using client = await open(stdioCommand(proxy.dataDir));
    const name = `${kind} over stdio`;
    expectKinds(await showSame(client, wishes(name), `direct ${name}.jsonl`));
  },
  CLIENT_MS,
);

test.each(STDIO_CLIENTS)(
  "serve --stdio serves %s by itself when no proxy runs",
  async (kind, open) => {
    verifies("MCP-STDIO", "CALL-RESULT-UNCHANGED");
    await using client = await open(stdioCommand(join(scene.path, `data ${kind}`)));
    const wish: Wish = { words: "tiny image", id: "everything:get-tiny-image", args: {} };
    await waitFor(
      "the tool is found",
      async () =>
        JSON.stringify(await client.call("retrieve_tools", { query: wish.words })).includes(wish.id),
      CLIENT_MS,
    );
    await showSame(client, [wish], "unused.jsonl");
  },
  CLIENT_MS,
);

test("a server without its key fails with its own words and a hint, and nothing else suffers", async () => {
  verifies("UPSTREAM-ISOLATION", "CALL-DEAD-SERVER");
  const brave = await waitFor(
    "brave has failed",
    async () => {
      const server = (await proxy.servers()).get("brave");
      // Three times in a row, after which it is auto-disabled.
      return server?.["category"] === "auto_disabled" ? server : undefined;
    },
    CLIENT_MS,
  );
  expect(String(brave?.["last_error"])).toContain("A Brave API key is required");
  expect(brave?.["health"]).toMatchObject({ detail: "Set 'BRAVE_API_KEY' in 'env' of the server's entry" });
  const { code, stderr } = await proxy.cli("tools", "call", "brave:brave_web_search", '{"query": "x"}');
  expect(code).toBe(1);
  expect(stderr).toContain("A Brave API key is required");
  expect(stderr).toContain("Set 'BRAVE_API_KEY' in 'env' of the server's entry");
}, 60_000);

test.skipIf(!HAS_UVX)(
  "servers from PyPI, started by uvx, give their results unchanged",
  async () => {
    verifies("CALL-RESULT-UNCHANGED");
    const repo = join(scene.path, "repo");
    const git = async (...args: string[]): Promise<void> => {
      const { code, stderr } = await runProgram(["git", "-C", repo, ...args], { env: scene.env });
      if (code !== 0) throw new Error(`git ${args.join(" ")}: ${stderr}`);
    };
    mkdirSync(repo);
    await git("init", "-q");
    const author = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    await git(...author, "commit", "-q", "--allow-empty", "-m", "The first one");
    // Packages may have to be downloaded.
    await proxy.connected(["time", "git"], 120_000);
    await using client = await openV2(`${proxy.url}/mcp`);
    const zones = { source_timezone: "UTC", time: "12:00", target_timezone: "Asia/Tokyo" };
    const list: Wish[] = [
      { words: "convert time between timezones", id: "time:convert_time", args: zones },
      { words: "convert time", id: "time:convert_time", args: { ...zones, source_timezone: "Mars" } },
      { words: "show the commit log", id: "git:git_log", args: { repo_path: repo, max_count: 1 } },
      { words: "working tree status", id: "git:git_status", args: { repo_path: repo } },
    ];
    const [time, refused, log] = await showSame(client, list, "unused.jsonl");
    expect(time).toMatchObject({ structuredContent: { time_difference: "+9.0h" } });
    expect(refused).toMatchObject({ isError: true });
    expect(JSON.stringify(log)).toContain("The first one");
  },
  150_000,
);

test(
  "SIGTERM ends the proxy with code 0 and every real server with it",
  async () => {
    verifies("STDIO-NO-SURVIVORS");
    expect(scene.processes().length).toBeGreaterThan(4);
    expect(await proxy.stop()).toBe(0);
    expect(scene.processes()).toEqual([]);
  },
  CLIENT_MS,
);
