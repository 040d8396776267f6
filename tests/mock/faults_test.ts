/**
 * Every fault of a mock as a client sees it, over stdio and HTTP, and switching them while the mock runs.
 *
 * Owns one row for each fault and transport. What a client library hides (headers, broken bytes) is read from the wire.
 */
import { expect, test } from "bun:test";
import { startMockHost } from "../../src/mock/http_host.ts";
import type { MockHost } from "../../src/mock/http_host.ts";
import type { Fault, MockTransport } from "../../src/mock/server.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { faulty, mock, openV2, tool } from "./clients.ts";

const SHORT_MS = 250;
const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "t", version: "1" } },
};

/** Posts one message and gives the bare response. */
async function post(host: MockHost, message: object = INITIALIZE, init: RequestInit = {}): Promise<Response> {
  return fetch(host.url("m"), {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json, text/event-stream" },
    body: JSON.stringify(message),
    redirect: "manual",
    ...init,
  });
}

/** Starts the mock's own command, says one thing, and gives what it printed until it left or `until` was seen. */
async function talk(
  host: MockHost,
  options: {
    readonly lines?: readonly object[];
    readonly until?: string;
    /** So much has to stand on stderr before it is ended. */
    readonly stderrChars?: number;
    readonly withinMs?: number;
  } = {},
): Promise<{ readonly stdout: string; readonly stderr: string; readonly code: number }> {
  const { command = "", args = [] } = host.definition("m");
  const child = Bun.spawn([command, ...args], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  const text = { stdout: "", stderr: "" };
  const read = async (stream: ReadableStream<Uint8Array>, key: "stdout" | "stderr"): Promise<void> => {
    for await (const chunk of stream) text[key] += new TextDecoder().decode(chunk);
  };
  const reading = Promise.all([read(child.stdout, "stdout"), read(child.stderr, "stderr")]);
  for (const line of options.lines ?? [INITIALIZE]) void child.stdin.write(`${JSON.stringify(line)}\n`);
  void child.stdin.flush();
  const { until, stderrChars = 0 } = options;
  if (until !== undefined) {
    await waitFor(`'${until}'`, () => text.stdout.includes(until), options.withinMs);
    await waitFor("stderr", () => text.stderr.length >= stderrChars, options.withinMs);
    child.kill();
  }
  const code = await child.exited;
  await reading;
  return { ...text, code };
}

const HANGS: readonly (readonly [MockTransport, "connect" | "handshake" | "list" | "call"])[] = (
  ["stdio", "streamable_http", "sse"] as const
).flatMap((transport) =>
  (["connect", "handshake", "list", "call"] as const).map((at) => [transport, at] as const),
);

test.each(HANGS)(
  "hang over %s in %s leaves the client waiting there and nowhere before",
  async (transport, at) => {
    await using host = startMockHost({ servers: [faulty(transport, { kind: "hang", at })] });
    if (at === "connect" || at === "handshake") {
      const failure = await failureOf(() => openV2(host, "m", { timeoutMs: SHORT_MS }));
      expect(String(failure)).toContain("timed out");
      expect(host.counters("m").connections).toBe(0);
      return;
    }
    await using open = await openV2(host, "m");
    const options = { timeout: SHORT_MS };
    const failure = await failureOf(() =>
      at === "list"
        ? open.client.listTools({}, options)
        : open.client.callTool({ name: "echo", arguments: {} }, options),
    );
    expect(String(failure)).toContain("timed out");
    if (at === "call") await waitFor("the cancellation", () => host.counters("m").cancelled === 1);
  },
);

test("exit at the start ends with its code and stderr", async () => {
  const fault = { kind: "exit", at: "start", code: 3, stderr: "no licence\n", afterMs: 20 } as const;
  await using host = startMockHost({ servers: [faulty("stdio", fault)] });
  expect(await talk(host)).toEqual({ stdout: "", stderr: "no licence\n", code: 3 });
  expect(host.counters("m")).toMatchObject({ starts: 1, initializes: 0 });
});

test.each(["stdio", "streamable_http", "sse"] as const)(
  "exit in the handshake over %s fails it",
  async (transport) => {
    const fault = { kind: "exit", at: "handshake", code: 0 } as const;
    await using host = startMockHost({ servers: [faulty(transport, fault)] });
    await failureOf(() => openV2(host, "m", { timeoutMs: SHORT_MS }));
    expect(host.counters("m")).toMatchObject({ starts: 1, initializes: 1, connections: 0 });
  },
);

test.each(["stdio", "streamable_http", "sse"] as const)(
  "exit after two calls over %s fails the third",
  async (transport) => {
    const fault = { kind: "exit", at: "call", code: 1, afterCalls: 2 } as const;
    await using host = startMockHost({ servers: [faulty(transport, fault)] });
    await using open = await openV2(host, "m", { timeoutMs: 1_000 });
    await open.call();
    await open.call();
    await failureOf(() => open.call());
    expect(host.counters("m")).toMatchObject({ calls: 3, completed: 2, inFlight: 0 });
  },
);

test.each(["stdio", "streamable_http"] as const)(
  "garbage over %s stands around answers a client still finds",
  async (transport) => {
    await using host = startMockHost({ servers: [faulty(transport, { kind: "garbage" })] });
    const noise = ["have fun", "999999", "[[[[", '"second":true', "notifications/none", "\r"];
    const text =
      transport === "stdio"
        ? (await talk(host, { until: '"second":true' })).stdout
        : await (await post(host)).text();
    for (const part of noise) expect(text).toContain(part);
    await using open = await openV2(host);
    expect(await open.call()).toMatchObject({ isError: false });
  },
);

test.each([
  [{ kind: "garbage", shapes: ["bom"] }, "\uFEFF{"],
  [{ kind: "garbage", shapes: ["half_json"], only: true }, '{"jsonrpc":"2.0","id":1,"result"'],
] as const)("garbage of shape %j is what was asked for", async (fault, part) => {
  await using host = startMockHost({ servers: [faulty("streamable_http", fault)] });
  // Text() of a response keeps a byte order mark inside the text.
  expect(await (await post(host)).text()).toContain(part);
});

test.each(["stdio", "streamable_http", "sse"] as const)(
  "slow_start over %s delays the handshake once",
  async (transport) => {
    const fault = { kind: "slow_start", ms: 200, firstRunOnly: true } as const;
    await using host = startMockHost({ servers: [faulty(transport, fault)] });
    const startedAt = performance.now();
    await using first = await openV2(host);
    expect(performance.now() - startedAt).toBeGreaterThan(150);
    await first[Symbol.asyncDispose]();
    const againAt = performance.now();
    await using again = await openV2(host);
    expect(performance.now() - againAt).toBeLessThan(150);
    await again.call();
  },
);

test("refuse closes the port, and healing opens the same one", async () => {
  await using host = startMockHost({ servers: [faulty("streamable_http", { kind: "refuse" })] });
  expect(String(await failureOf(() => post(host)))).toContain("ECONNREFUSED");
  host.setFault("m", undefined);
  await using open = await openV2(host);
  await open.call();
  host.setFault("m", { kind: "refuse" });
  expect(String(await failureOf(() => post(host)))).toContain("ECONNREFUSED");
});

test("refuse on a shared port cuts the connection before any byte", async () => {
  await using host = startMockHost({ servers: [mock(), mock({ name: "other" })] });
  host.setFault("m", { kind: "refuse" });
  expect(await failureOf(() => post(host))).toMatchObject({ code: "ECONNRESET" });
  await using open = await openV2(host, "other");
  await open.call();
});

test.each([
  [{ kind: "status", status: 401 }, { "www-authenticate": 'Bearer realm="mock"' }],
  [{ kind: "status", status: 403 }, {}],
  [{ kind: "status", status: 404 }, {}],
  [{ kind: "status", status: 429, retryAfterSeconds: 7 }, { "retry-after": "7" }],
  [{ kind: "status", status: 503 }, {}],
  [{ kind: "status", status: 302, location: "http://127.0.0.1:1/" }, { location: "http://127.0.0.1:1/" }],
] as const)("%j is answered over HTTP, and a client fails", async (fault, headers) => {
  await using host = startMockHost({
    servers: [faulty("streamable_http", fault), { ...faulty("sse", fault), name: "s" }],
  });
  const response = await post(host);
  expect(response.status).toBe(fault.status);
  for (const [name, value] of Object.entries(headers)) expect(response.headers.get(name)).toBe(value);
  await failureOf(() => openV2(host));
  await failureOf(() => openV2(host, "s"));
});

test.each(["stdio", "streamable_http", "sse"] as const)(
  "drop in a call over %s cuts the answer",
  async (transport) => {
    await using host = startMockHost({ servers: [faulty(transport, { kind: "drop", at: "call" })] });
    await using open = await openV2(host, "m", { timeoutMs: 500 });
    await failureOf(() => open.call());
    expect(host.counters("m")).toMatchObject({ calls: 1, completed: 0, inFlight: 0 });
  },
);

test("drop cuts bytes in the middle of an event, and standing streams", async () => {
  await using host = startMockHost({
    servers: [faulty("streamable_http", { kind: "drop", at: "handshake" })],
  });
  const response = await post(host);
  expect(response.status).toBe(200);
  expect(await failureOf(() => response.text())).toMatchObject({ code: "ECONNRESET" });
  host.setFault("m", { kind: "drop", at: "stream", afterMs: 20 });
  const session = (await post(host)).headers.get("mcp-session-id") ?? "";
  const stream = await fetch(host.url("m"), { headers: { "mcp-session-id": session } });
  expect(await failureOf(() => stream.text())).toMatchObject({ code: "ECONNRESET" });
});

test.each(["stdio", "streamable_http"] as const)(
  "change_schema over %s changes a tool and says so",
  async (transport) => {
    const fault = { kind: "change_schema", afterCalls: 2 } as const;
    await using host = startMockHost({ servers: [faulty(transport, fault)] });
    let changes = 0;
    await using open = await openV2(host, "m", {
      client: {
        listChanged: { tools: { autoRefresh: false, debounceMs: 0, onChanged: () => void (changes += 1) } },
      },
    });
    await open.call();
    const before = await open.client.listTools();
    await waitFor("the change", async () => {
      await open.call();
      if (changes === 0) host.setFault("m", { kind: "change_schema", everyMs: 20 });
      return changes > 0;
    });
    const after = await open.client.listTools();
    expect(after.tools[0]?.description).toContain("(changed ");
    expect(after.tools[0]?.inputSchema).not.toEqual(before.tools[0]?.inputSchema ?? {});
  },
);

test.each(["stdio", "streamable_http", "sse"] as const)(
  "crash_after over %s breaks that call and ends sessions",
  async (transport) => {
    await using host = startMockHost({ servers: [faulty(transport, { kind: "crash_after", calls: 2 })] });
    await using open = await openV2(host, "m", { timeoutMs: 500 });
    await open.call();
    await failureOf(() => open.call());
    await failureOf(() => open.call());
    await using again = await openV2(host);
    await again.call();
    expect(host.counters("m")).toMatchObject({ starts: 2, connections: 2 });
  },
);

test("crash_after a time ends a process by itself", async () => {
  await using host = startMockHost({ servers: [faulty("stdio", { kind: "crash_after", ms: 60 })] });
  expect(await talk(host)).toMatchObject({ code: 1 });
});

test.each(["stdio", "streamable_http", "sse"] as const)(
  "flood over %s sends notifications while calls go on",
  async (transport) => {
    await using host = startMockHost({ servers: [faulty(transport, { kind: "flood", perSecond: 2_000 })] });
    await using open = await openV2(host);
    let seen = 0;
    open.client.setNotificationHandler("notifications/message", () => void (seen += 1));
    await waitFor("a flood", () => seen > 200);
    await open.call();
  },
);

test("flood fills stderr and replies", async () => {
  const fault = { kind: "flood", stderrBytes: 1_000_000, replyBytes: 2_000_000 } as const;
  await using host = startMockHost({ servers: [faulty("stdio", fault)] });
  expect((await talk(host, { until: '"result"', stderrChars: 1_000_000 })).stderr.length).toBe(1_000_000);
  await using open = await openV2(host);
  expect(JSON.stringify(await open.call()).length).toBeGreaterThan(2_000_000);
});

test("zero_tools lists none", async () => {
  await using host = startMockHost({ servers: [faulty("streamable_http", { kind: "zero_tools" })] });
  await using open = await openV2(host);
  expect((await open.client.listTools()).tools).toEqual([]);
});

test("huge_list has 10,000 tools in pages, a description of 1 MB, and a cursor that goes round", async () => {
  const fault = { kind: "huge_list", descriptionBytes: 1_000_000 } as const;
  await using host = startMockHost({ servers: [faulty("streamable_http", fault)] });
  await using open = await openV2(host);
  const { tools } = await open.client.listTools();
  expect(tools.length).toBe(10_000);
  expect(tools[0]?.description?.length).toBe(1_000_000);
  expect(host.counters("m").lists).toBe(10);
  host.setFault("m", { kind: "huge_list", tools: 20, pageSize: 10, loop: true });
  const page = async (cursor: string): Promise<unknown> =>
    open.client.request({ method: "tools/list", params: { cursor } });
  expect(await page("10")).toMatchObject({ nextCursor: "0" });
});

test.each(["streamable_http", "sse"] as const)("flap over %s is down and up in turn", async (transport) => {
  await using host = startMockHost({ servers: [faulty(transport, { kind: "flap", upMs: 60, downMs: 60 })] });
  const isUp = async (): Promise<boolean> => {
    const probe = transport === "sse" ? fetch(host.url("m")) : post(host);
    return probe.then(async (response) => (await response.body?.cancel(), true)).catch(() => false);
  };
  for (const wanted of [true, false, true, false])
    await waitFor(String(wanted), async () => (await isUp()) === wanted);
});

test("flap over stdio leaves after its time up", async () => {
  await using host = startMockHost({ servers: [faulty("stdio", { kind: "flap", upMs: 60, downMs: 60 })] });
  expect(await talk(host)).toMatchObject({ code: 1 });
});

const DRIPS: readonly (readonly [Extract<Fault, { kind: "drip" }>, RegExp])[] = [
  [{ kind: "drip", shape: "byte", at: "any", everyMs: 2 }, /^\{"json/],
  [{ kind: "drip", shape: "chunked", at: "any", everyMs: 2 }, /^ {6}/],
  [{ kind: "drip", shape: "comments", at: "any", everyMs: 2 }, /^(: still here\n\n){6}/],
];

test.each(DRIPS)("%j comes byte by byte over HTTP", async (fault, start) => {
  await using host = startMockHost({ servers: [faulty("streamable_http", fault)] });
  const control = new AbortController();
  const response = await post(host, INITIALIZE, { signal: control.signal });
  let [text, chunks] = ["", 0];
  for await (const chunk of response.body ?? []) {
    text += new TextDecoder().decode(chunk as Uint8Array);
    chunks += 1;
    if (start.test(text)) break;
  }
  control.abort();
  expect(text).toMatch(start);
  expect(chunks).toBeGreaterThan(2);
});

test("a gzip bomb is small on the wire and large in memory", async () => {
  const fault = { kind: "drip", shape: "gzip_bomb", at: "any", bytes: 8_000_000 } as const;
  await using host = startMockHost({ servers: [faulty("streamable_http", fault)] });
  const response = await post(host);
  expect(Number(response.headers.get("content-length") ?? 0)).toBeLessThan(100_000);
  expect((await response.bytes()).length).toBe(8_000_000);
});

test.each([
  ["byte", '{"jsonrpc"'],
  ["chunked", "   "],
  ["comments", "\n\n\n"],
] as const)("drip of shape %s runs over stdio too", async (shape, until) => {
  const fault = { kind: "drip", shape, at: "any", everyMs: 2 } as const;
  await using host = startMockHost({ servers: [faulty("stdio", fault)] });
  await talk(host, { until });
});

test("not_found names a command that does not exist", async () => {
  await using host = startMockHost({ servers: [faulty("stdio", { kind: "not_found" })] });
  expect(await failureOf(() => openV2(host))).toMatchObject({ code: "ENOENT" });
});

test("a running stdio mock follows a switched fault and heals again", async () => {
  await using host = startMockHost({ servers: [mock({ transport: "stdio" })] });
  await using open = await openV2(host);
  await open.call();
  host.setFault("m", { kind: "hang", at: "call" });
  const call = (timeout: number): Promise<unknown> =>
    open.client.callTool({ name: "echo", arguments: {} }, { timeout });
  await failureOf(() => call(SHORT_MS));
  host.setFault("m", undefined);
  await call(2_000);
  expect(host.counters("m")).toMatchObject({ starts: 1, calls: 3, completed: 2 });
});

test("tools of a stdio mock that starts later are those of now", async () => {
  await using host = startMockHost({ servers: [mock({ transport: "stdio" })] });
  host.changeTools("m", { add: [tool("late")] });
  await using open = await openV2(host);
  expect((await open.client.listTools()).tools.map(({ name }) => name)).toEqual(["echo", "late"]);
});
