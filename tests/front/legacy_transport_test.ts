/**
 * Ids of legacy requests under way, and the streams of those that are cancelled, at `/mcp` and below it.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { JsonObject } from "../../src/core/model.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { openProxy, serveTools } from "../gateway/fixtures.ts";
import type { OpenProxy, ToolUpstream } from "../gateway/fixtures.ts";
import { verifies } from "../requirements.ts";

const LEGACY = "2025-06-18";
const READ = { annotations: { readOnlyHint: true } };
/** A stream that is left open says so only by its silence. */
const SOON_MS = 2_000;

let upstream: ToolUpstream;
let opened: OpenProxy;
let held = Promise.withResolvers<undefined>();

beforeAll(async () => {
  upstream = serveTools([makeDefinition("echo", READ), makeDefinition("hold", READ)], {
    call: (name, args) =>
      name === "hold"
        ? held.promise.then(() => ({ content: [{ type: "text", text: `held ${Number(args["n"])}` }] }))
        : undefined,
  });
  opened = await openProxy([upstream.server()]);
});

beforeEach(() => {
  held = Promise.withResolvers();
});

afterAll(async () => {
  held.resolve(undefined);
  await opened[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

/** One legacy session, spoken by hand. */
class Session {
  readonly #url: string;
  #headers: Record<string, string> = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    "mcp-protocol-version": LEGACY,
  };

  constructor(path: string) {
    this.#url = `${opened.url}${path}`;
  }

  async open(): Promise<void> {
    const params = {
      protocolVersion: LEGACY,
      capabilities: {},
      clientInfo: { name: "by hand", version: "1" },
    };
    const response = await this.post({ jsonrpc: "2.0", id: "init", method: "initialize", params });
    await response.text();
    this.#headers = { ...this.#headers, "mcp-session-id": response.headers.get("mcp-session-id") ?? "" };
  }

  post(body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    const all = { ...this.#headers, ...headers };
    return fetch(this.#url, { method: "POST", headers: all, body: JSON.stringify(body) });
  }

  /** All messages of an answer, once its stream has ended. */
  async ask(body: unknown): Promise<{ readonly status: number; readonly messages: JsonObject[] }> {
    const answer = this.post(body);
    const lines = (await endOf(answer)).split("\n");
    const response = await answer;
    const parts = lines.flatMap((line) => (line.startsWith("data: ") ? [line.slice(6)] : []));
    const texts = response.headers.get("content-type") === "text/event-stream" ? parts : lines;
    const messages = texts.filter(Boolean).map((text) => JSON.parse(text) as JsonObject);
    return { status: response.status, messages };
  }

  cancel(...ids: unknown[]): Promise<Response> {
    const messages = ids.map((requestId) => ({
      jsonrpc: "2.0",
      method: "notifications/cancelled",
      params: { requestId },
    }));
    return this.post(messages.length === 1 ? messages[0] : messages);
  }

  close(): Promise<Response> {
    return fetch(this.#url, { method: "DELETE", headers: this.#headers });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close().then(() => undefined);
  }
}

async function openSession(path = "/mcp"): Promise<Session> {
  const session = new Session(path);
  await session.open();
  return session;
}

/** The whole body of an answer; a stream that is left open fails. */
async function endOf(answer: Promise<Response>): Promise<string> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("The stream is still open")), SOON_MS);
  try {
    return await Promise.race([answer.then((response) => response.text()), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function callOf(path: string, tool: string, n: number): JsonObject {
  return path === "/mcp"
    ? { name: "call_tool_read", arguments: { name: `s:${tool}`, args: { n } } }
    : { name: tool, arguments: { n } };
}

function call(id: number | string, tool: string, path = "/mcp", n = Number(id)): JsonObject {
  return { jsonrpc: "2.0", id, method: "tools/call", params: callOf(path, tool, n) };
}

function ping(id: number): JsonObject {
  return { jsonrpc: "2.0", id, method: "ping" };
}

/** Sends calls that the upstream holds, and waits until they are there; Bun gives no answer before its first byte. */
async function hold(session: Session, calls: readonly JsonObject[]): Promise<() => Promise<string>> {
  const before = upstream.count("tools/call");
  const answer = session.post(calls.length === 1 ? calls[0] : calls);
  const expected = calls.filter((message) => message["method"] === "tools/call").length;
  await waitFor("the calls are there", () => upstream.count("tools/call") === before + expected);
  return () => endOf(answer);
}

const IN_USE = expect.objectContaining({ code: -32_600 }) as JsonObject;

test.each(["/mcp", "/mcp/s/s"])(
  "an id that is under way is refused at once at %s, and the first keeps its answer",
  async (path) => {
    verifies("MCP-SESSION-IDS");
    await using session = await openSession(path);
    const first = await hold(session, [call(5, "hold", path, 1)]);
    const second = await session.ask(call(5, "echo", path, 2));
    expect(second).toMatchObject({ status: 400, messages: [{ id: 5, error: IN_USE }] });
    // Text is another id than the number.
    expect((await session.ask(call("5", "echo", path))).messages).toMatchObject([{ id: "5", result: {} }]);
    held.resolve(undefined);
    const text = await first();
    expect(text).toContain("held 1");
    expect(text.match(/^data: /gm)).toHaveLength(1);
    expect((await session.ask(call(5, "echo", path))).messages).toMatchObject([{ id: 5, result: {} }]);
  },
);

test("a batch that uses an id twice is refused whole, and takes no id", async () => {
  await using session = await openSession();
  const refused = await session.ask([ping(2), ping(1), ping(1)]);
  expect(refused).toMatchObject({ status: 400, messages: [{ id: 1, error: IN_USE }] });
  const { messages } = await session.ask([ping(1), ping(2)]);
  expect(messages.map(({ id }) => id)).toEqual([1, 2]);
});

test("what is refused for another reason takes no id", async () => {
  await using session = await openSession();
  const broken = { ...ping(1), jsonrpc: "1.0" };
  expect((await session.ask(broken)).status).toBe(400);
  expect((await session.post(ping(1), { accept: "application/json" })).status).toBe(406);
  expect((await session.ask(ping(1))).messages).toMatchObject([{ id: 1, result: {} }]);
});

test("a cancelled request gets no answer, its stream ends, and its id is free", async () => {
  await using session = await openSession();
  const stream = await hold(session, [call(8, "hold")]);
  expect((await session.cancel(8)).status).toBe(202);
  expect(await stream()).toBe("");
  expect((await session.ask(call(8, "echo"))).messages).toMatchObject([{ id: 8, result: {} }]);
  held.resolve(undefined);
  // Answered already, never heard of, and no id at all: nothing happens.
  for (const id of [8, 9, { a: 1 }]) expect((await session.cancel(id)).status).toBeLessThan(500);
  expect((await session.ask(ping(8))).messages).toMatchObject([{ id: 8, result: {} }]);
});

test("a malformed cancellation cancels nothing", async () => {
  await using session = await openSession();
  const stream = await hold(session, [call(8, "hold")]);
  const params = { requestId: 8, reason: 7 };
  await session.post({ jsonrpc: "2.0", method: "notifications/cancelled", params });
  held.resolve(undefined);
  expect(await stream()).toContain("held 8");
});

test("the stream of a batch ends when all in it are answered or cancelled, in any order", async () => {
  await using session = await openSession();
  const answeredLast = await hold(session, [call(1, "hold"), call(2, "hold")]);
  await session.cancel(1);
  expect((await session.ask(ping(1))).messages).toMatchObject([{ id: 1, error: IN_USE }]);
  held.resolve(undefined);
  const text = await answeredLast();
  expect(text).toContain("held 2");
  expect(text).not.toContain("held 1");
  held = Promise.withResolvers();
  const cancelledLast = await hold(session, [ping(1), call(2, "hold"), call(3, "hold")]);
  await session.cancel(2, 3);
  const pinged = await cancelledLast();
  expect(pinged.match(/^data: /gm)).toHaveLength(1);
  expect(pinged).toContain('"id":1');
  const { messages } = await session.ask([ping(1), ping(2), ping(3)]);
  expect(messages).toHaveLength(3);
});

test("20 calls that an SDK client gives up leave no stream open", async () => {
  let open = 0;
  const counted = async (url: string | URL, init?: RequestInit): Promise<Response> => {
    if (init?.method !== "POST") return fetch(url, init);
    open += 1;
    try {
      const response = await fetch(url, init);
      return new Response((await response.text()) || null, response);
    } finally {
      open -= 1;
    }
  };
  const client = new Client({ name: "c", version: "1" }, { versionNegotiation: { mode: "legacy" } });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${opened.url}/mcp`), { fetch: counted }));
  const params = callOf("/mcp", "hold", 1) as { name: string };
  const calls = Array.from({ length: 20 }, () => client.callTool(params, { timeout: 80 }));
  const ends = await Promise.allSettled(calls);
  expect(ends.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => "rejected"));
  await waitFor("the streams have ended", () => open === 0, SOON_MS);
  await client.close();
});
