/**
 * One connection: eras and transports found out and remembered, lists, results as they came, and every way a call ends.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { serveHttp } from "../fixtures/http_server.ts";
import {
  makeCall,
  makeServer,
  openConnection,
  readJournal,
  stdioServer,
  STDIO_SERVER,
} from "../fixtures/upstreams.ts";
import type { OpenConnection } from "../fixtures/upstreams.ts";
import { failureOf, liveMembers, processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { ODD_RESULT, RICH_RESULT } from "../fixtures/wire.ts";
import { verifies } from "../requirements.ts";

const DEADLINE = { deadlineMs: 8_000 };

async function connected(open: OpenConnection): Promise<OpenConnection> {
  await open.connect(DEADLINE);
  expect(open.failure?.message).toBeUndefined();
  expect(open.state).toBe("ready");
  return open;
}

function names(list: readonly unknown[] | undefined): string[] {
  return (list ?? []).map((tool) => (tool as { name: string }).name);
}

function textOf(result: unknown): unknown {
  return JSON.parse((result as { content: { text: string }[] }).content[0]?.text ?? "null");
}

test.concurrent("Connection.open() finds a legacy process, remembers it, and asks no second time", async () => {
  verifies("UPSTREAM-ERA-REMEMBERED", "UPSTREAM-TRANSPORTS");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const server = stdioServer(["--journal", journal]);
  const first = openConnection(server);
  await connected(first);
  expect(first.verdicts).toEqual([{ era: "legacy" }]);
  expect(first.states).toEqual(["connecting", "discovering", "ready"]);
  await first.close();
  await using second = await connected(openConnection(server, { known: { era: "legacy" } }));
  expect(second.verdicts.at(-1)).toEqual({ era: "legacy" });
  const methods = readJournal(journal).map((entry) => entry.method ?? "start");
  expect(methods).toEqual([
    "start",
    "server/discover",
    "initialize",
    "notifications/initialized",
    "tools/list",
    "start",
    "initialize",
    "notifications/initialized",
    "tools/list",
  ]);
});

test.concurrent("Connection.open() gives a process that leaves at the probe a second start, and none the next time", async () => {
  verifies("UPSTREAM-ERA-REMEMBERED");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const server = stdioServer(["--journal", journal, "--exit-at-probe"]);
  const starts = (): number => readJournal(journal).filter((entry) => entry.started).length;
  const first = openConnection(server);
  await connected(first);
  expect(starts()).toBe(2);
  await first.close();
  await using second = await connected(
    openConnection(server, { known: first.verdicts.at(-1) ?? { era: "modern" } }),
  );
  expect(second.verdicts.at(-1)).toEqual({ era: "legacy" });
  expect(starts()).toBe(3);
});

test.concurrent("Connection.open() finds a modern process, and proves it again by one question the next time", async () => {
  verifies("UPSTREAM-ERA-REMEMBERED");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const server = stdioServer(["--journal", journal, "--modern"]);
  const first = openConnection(server);
  await connected(first);
  const [verdict] = first.verdicts;
  expect(verdict?.era).toBe("modern");
  expect(JSON.parse(verdict?.discovery ?? "{}")).toMatchObject({ supportedVersions: ["2026-07-28"] });
  await first.close();
  await using second = await connected(openConnection(server, { known: verdict ?? { era: "legacy" } }));
  expect(second.verdicts.at(-1)).toEqual(verdict ?? { era: "legacy" });
  const asked = readJournal(journal).map((entry) => entry.method);
  expect(asked.filter((method) => method === "server/discover")).toHaveLength(2);
  expect(asked).not.toContain("initialize");
  expect(names(second.lists[0])).toContain("echo");
});

const STALE_MODERN = {
  era: "modern",
  discovery: JSON.stringify({
    supportedVersions: ["2026-07-28"],
    capabilities: { tools: {} },
    ttlMs: 0,
    cacheScope: "private",
  }),
} as const;

test.concurrent("Connection.open() gets over a remembered era that no longer holds, over stdio and HTTP", async () => {
  verifies("UPSTREAM-ERA-REMEMBERED");
  await using legacyHttp = serveHttp();
  await using modernHttp = serveHttp({ kind: "modern" });
  for (const server of [
    stdioServer(),
    stdioServer(["--exit-at-probe"]),
    makeServer({ url: legacyHttp.url }),
  ]) {
    await using open = await connected(openConnection(server, { known: STALE_MODERN }));
    expect(open.verdicts.at(-1)?.era).toBe("legacy");
    expect(open.lists).toHaveLength(1);
  }
  for (const server of [stdioServer(["--modern"]), makeServer({ url: modernHttp.url })]) {
    await using open = await connected(openConnection(server, { known: { era: "legacy" } }));
    expect(open.verdicts.at(-1)?.era).toBe("modern");
  }
  await using garbled = await connected(
    openConnection(stdioServer(), { known: { era: "modern", discovery: "{" } }),
  );
  expect(garbled.verdicts.at(-1)?.era).toBe("legacy");
});

test.concurrent("Connection.open() reaches streamable HTTP, modern HTTP of the SDK, and SSE, with the headers of the entry", async () => {
  verifies("UPSTREAM-TRANSPORTS", "CONFIG-ENV-REFERENCE");
  const headers = new Map([["X-Test", "a ${env:SOME_VALUE}"]]);
  const env = { ...process.env, SOME_VALUE: "resolved" };
  for (const [kind, transport, era] of [
    ["streamable", "streamable_http", "legacy"],
    ["modern", "streamable_http", "modern"],
    ["sse", "sse", "legacy"],
  ] as const) {
    await using http = serveHttp({ kind });
    await using open = await connected(
      openConnection(makeServer({ url: http.url, transport, headers }), { env }),
    );
    expect(open.verdicts).toEqual([expect.objectContaining({ era, transport }) as never]);
    expect(names(open.lists[0])).toContain("echo");
    expect(textOf(await open.connection.call(makeCall("echo", { args: { a: 1 } })))).toEqual({ a: 1 });
    expect(http.seen.every((seen) => seen.headers.get("x-test") === "a resolved")).toBe(true);
  }
  await using sdk = serveHttp({ kind: "sdk" });
  await using open = await connected(openConnection(makeServer({ url: sdk.url })));
  expect(open.verdicts[0]?.era).toBe("modern");
  expect(await open.connection.call(makeCall("echo"))).toMatchObject({
    content: [{ type: "text", text: "from the SDK" }],
    structuredContent: { a: 1 },
    _meta: { "example.com/x": 1 },
  });
});

test.concurrent("Connection.open() with auto falls back to SSE, remembers it, and finds the way back", async () => {
  verifies("UPSTREAM-TRANSPORTS");
  await using http = serveHttp({ kind: "sse" });
  const server = makeServer({ url: http.url, transport: "auto" });
  const first = openConnection(server);
  await connected(first);
  expect(first.verdicts).toEqual([{ era: "legacy", transport: "sse" }]);
  await first.close();
  const before = http.seen.length;
  const second = await connected(openConnection(server, { known: { era: "legacy", transport: "sse" } }));
  expect(http.seen[before]?.method).toBe("GET");
  await second.close();
  http.become("streamable");
  await using third = await connected(openConnection(server, { known: { era: "legacy", transport: "sse" } }));
  expect(third.verdicts.at(-1)).toEqual({ era: "legacy", transport: "streamable_http" });
});

test.concurrent("Connection.open() starts the process itself when the entry has a command and a URL, and ends it", async () => {
  verifies("UPSTREAM-TRANSPORTS", "STDIO-NO-SURVIVORS");
  const port = freePort();
  const url = `http://127.0.0.1:${port}/mcp`;
  const server = stdioServer(["--http", String(port), "--slow-start", "300"], {
    url,
    transport: "streamable_http",
  });
  const open = await connected(openConnection(server));
  expect(textOf(await open.connection.call(makeCall("echo", { args: { a: 1 } })))).toEqual({ a: 1 });
  const [pid = 0] = processesWith(`--http\u0000${port}`);
  expect(pid).toBeGreaterThan(0);
  process.kill(pid, "SIGKILL");
  await waitFor("the loss is noticed without a call", () => open.state === "error", 2_000);
  expect(open.failure).toMatchObject({ class: "exit" });
  await open.connect(DEADLINE);
  expect(open.state).toBe("ready");
  await open.close();
  expect(processesWith(`--http\u0000${port}`)).toEqual([]);
});

function freePort(): number {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  void server.stop(true);
  return port ?? 0;
}

test.concurrent("Connection.open() reads the list to its last page, and cuts a cursor that goes in circles", async () => {
  verifies("UPSTREAM-PAGES");
  await using paged = await connected(openConnection(stdioServer(["--tools", "95", "--page-size", "10"])));
  expect(paged.lists[0]).toHaveLength(106);
  expect(new Set(names(paged.lists[0])).size).toBe(106);
  await using looped = await connected(
    openConnection(stdioServer(["--tools", "20", "--page-size", "7", "--loop"])),
  );
  expect(new Set(names(looped.lists[0])).size).toBe(31);
  expect(looped.lists[0]?.length).toBeLessThan(80);
});

test.concurrent("Connection reads the tools again on list_changed, a burst once, in both eras and with a remembered verdict", async () => {
  verifies("UPSTREAM-PAGES");
  await using stdio = await connected(openConnection(stdioServer(["--list-changed-after", "20"])));
  await using http = serveHttp({ kind: "modern" });
  await using fresh = await connected(openConnection(makeServer({ url: http.url })));
  await using remembered = await connected(
    openConnection(makeServer({ url: http.url }), { known: fresh.verdicts[0] ?? { era: "legacy" } }),
  );
  for (let count = 0; count < 10; count += 1) http.addTool("late");
  for (const open of [stdio, fresh, remembered]) {
    await waitFor("the new tool is read", () => names(open.lists.at(-1)).includes("late"), 3_000);
    expect(open.lists.length).toBe(2);
    expect(open.state).toBe("ready");
  }
});

test.concurrent("Connection.call() gives back the upstream's result as it came, unknown keys and blocks included", async () => {
  verifies("CALL-RESULT-UNCHANGED");
  await using http = serveHttp();
  await using modern = serveHttp({ kind: "modern" });
  await using sse = serveHttp({ kind: "sse" });
  const servers = [
    stdioServer(),
    stdioServer(["--modern"]),
    makeServer({ url: http.url }),
    makeServer({ url: modern.url }),
    makeServer({ url: sse.url, transport: "sse" }),
  ];
  for (const server of servers) {
    await using open = await connected(openConnection(server));
    expect(await open.connection.call(makeCall("rich"))).toEqual(RICH_RESULT as never);
    expect(await open.connection.call(makeCall("fails"))).toEqual({
      content: [{ type: "text", text: '"it failed"' }],
      isError: true,
    });
    expect(open.lists[0]?.[0]).toEqual({ name: "echo", inputSchema: { type: "object" }, x_unknown: "echo" });
  }
});

test.concurrent("Connection.call() lets a block of an unknown type pass from a legacy upstream", async () => {
  verifies("CALL-RESULT-UNCHANGED");
  await using open = await connected(openConnection(stdioServer()));
  expect(await open.connection.call(makeCall("odd"))).toEqual(ODD_RESULT as never);
});

test.concurrent("Connection: garbage on stdout costs those lines only, in every phase", async () => {
  verifies("STDIO-GARBAGE");
  await using open = await connected(openConnection(stdioServer(["--garbage"])));
  const calls = Array.from({ length: 50 }, (_, at) =>
    open.connection.call(makeCall("echo", { args: { at } })),
  );
  expect((await Promise.all(calls)).map(textOf)).toEqual(Array.from({ length: 50 }, (_, at) => ({ at })));
  expect(await open.connection.call(makeCall("rich"))).toEqual(RICH_RESULT as never);
  expect(open.state).toBe("ready");
});

test.concurrent("Connection.call() carries arguments and many calls at once, each answer to its own call", async () => {
  await using open = await connected(openConnection(stdioServer()));
  const args = { text: "ü\u{1f600}\n\u2028\u0000", deep: { a: [null, 1.5, true] }, "": "" };
  expect(textOf(await open.connection.call(makeCall("echo", { args })))).toEqual(args);
  const big = "x".repeat(3_000_000);
  expect(textOf(await open.connection.call(makeCall("echo", { args: { big } })))).toEqual({ big });
});

// Alone, since it measures.
test("Connection.call() ends within its timeout + 250 ms and tells the upstream, over stdio and HTTP", async () => {
  verifies("CALL-ENDS-IN-TIME");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  await using http = serveHttp();
  await using modern = serveHttp({ kind: "modern" });
  for (const server of [
    stdioServer(["--journal", journal]),
    makeServer({ url: http.url }),
    makeServer({ url: modern.url }),
  ]) {
    await using open = await connected(openConnection(server));
    const startedAt = performance.now();
    const failure = await failureOf(() => open.connection.call(makeCall("hang", { timeoutMs: 200 })));
    const tookMs = performance.now() - startedAt;
    expect(failure["code"]).toBe("CALL_TIMEOUT");
    expect(failure.message).toBe("Cannot call 's:hang': no answer within 200 ms");
    expect(tookMs).toBeGreaterThan(190);
    expect(tookMs).toBeLessThan(450);
    expect(open.state).toBe("ready");
    expect(textOf(await open.connection.call(makeCall("echo", { args: { a: 1 } })))).toEqual({ a: 1 });
  }
  expect(readJournal(journal).some((entry) => entry.method === "notifications/cancelled")).toBe(true);
  expect(http.calls("notifications/cancelled")).toHaveLength(1);
  await waitFor("the stream was closed", () => modern.calls("tools/call")[0]?.isAborted);
});

// Alone, since it measures.
test("Connection.call() that is cancelled ends at once, and the upstream knows", async () => {
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  await using open = await connected(openConnection(stdioServer(["--journal", journal])));
  const abort = new AbortController();
  const call = failureOf(() => open.connection.call(makeCall("hang", { signal: abort.signal })));
  await waitFor("the call arrived", () =>
    readJournal(journal).some((entry) => entry.method === "tools/call"),
  );
  const startedAt = performance.now();
  abort.abort(new Error("enough"));
  expect((await call)["code"]).toBe("CALL_CANCELLED");
  expect(performance.now() - startedAt).toBeLessThan(50);
  await waitFor(
    "the cancellation arrived",
    () => readJournal(journal).some((entry) => entry.method === "notifications/cancelled"),
    200,
  );
  expect(
    (await failureOf(() => open.connection.call(makeCall("echo", { signal: abort.signal }))))["code"],
  ).toBe("CALL_CANCELLED");
});

// Alone, since it measures.
test("Connection.call() of a process that is killed fails at once with its last words, and so do all calls under way", async () => {
  verifies("CALL-DEAD-SERVER");
  await using open = await connected(openConnection(stdioServer()));
  const hanging = [1, 2, 3].map(() =>
    failureOf(() => open.connection.call(makeCall("hang", { timeoutMs: 60_000 }))),
  );
  const startedAt = performance.now();
  const failures = await Promise.all([failureOf(() => open.connection.call(makeCall("crash"))), ...hanging]);
  expect(performance.now() - startedAt).toBeLessThan(300);
  for (const failure of failures) {
    expect(failure["code"]).toBe("CALL_FAILED");
    expect(failure.message).toMatch(
      /^Cannot call 's:(?:crash|hang)': the process was ended by SIGKILL; it last said: fatal: the disk is on fire$/,
    );
    expect(failure["data"]).toEqual({ stderr: ["about to crash", "fatal: the disk is on fire"] });
    expect(failure["hint"]).toBeString();
  }
  expect(open.state).toBe("error");
  expect(open.connection.stderr(10)).toEqual(["about to crash", "fatal: the disk is on fire"]);
  expect((await failureOf(() => open.connection.call(makeCall("echo"))))["code"]).toBe("SERVER_NOT_READY");
});

test.concurrent("Connection notices that the process died while nobody called", async () => {
  await using open = await connected(openConnection(stdioServer(["--die-after", "600"])));
  await waitFor("the loss is noticed", () => open.state === "error", 3_000);
  expect(open.failure).toMatchObject({
    class: "exit",
    message: "Cannot connect 's': the process was ended by SIGKILL",
  });
});

test.concurrent("Connection.open() never ends ready when the process leaves right after its list", async () => {
  await using open = openConnection(stdioServer(["--exit-after-list"]));
  await open.connect(DEADLINE);
  await waitFor("the loss is noticed", () => open.state === "error", 2_000);
  expect(open.failure?.message).toContain("exited with code 3");
});

test.concurrent("Connection.call() starts a new session, once and unseen, when the server has forgotten the old one", async () => {
  await using http = serveHttp();
  await using open = await connected(openConnection(makeServer({ url: http.url })));
  http.forgetSessions();
  expect(textOf(await open.connection.call(makeCall("echo", { args: { a: 1 } })))).toEqual({ a: 1 });
  expect(http.calls("initialize")).toHaveLength(2);
  http.become("status");
  const failure = await failureOf(() => open.connection.call(makeCall("echo")));
  expect(failure["code"]).toBe("CALL_FAILED");
  expect(failure.message).toContain("HTTP 500");
});

test.concurrent("Connection.call() shows the words of the upstream's error, secrets hidden", async () => {
  verifies("SECRETS-MASKED");
  const canary = "canary-4711-in-the-coal-mine";
  const server = stdioServer([], {
    env: new Map([
      ["OPAQUE", "${env:FROM_PARENT}"],
      ["TOKEN_OF_TEST", "plain-canary-4712"],
    ]),
  });
  await using open = await connected(
    openConnection(server, { env: { ...process.env, FROM_PARENT: canary } }),
  );
  for (const secret of [canary, "plain-canary-4712"]) {
    const failure = await failureOf(() =>
      open.connection.call(makeCall("rpc_error", { args: { say: secret } })),
    );
    expect(failure["code"]).toBe("CALL_FAILED");
    expect(failure["data"]).toEqual({ upstream_code: -32_050 });
    expect(failure.message).toBe(`Cannot call 's:rpc_error': The server is unwilling: "***"`);
  }
});

test.concurrent("Connection.open() passes no variable of the proxy that nobody named, and the configured ones", async () => {
  verifies("CHILD-ENV-ALLOW-LIST", "CONFIG-ENV-REFERENCE", "STDIO-ARGV-NO-SHELL");
  using folder = tempDir();
  const server = stdioServer(["$(touch x)", "a b", "${env:GIVEN}"], {
    env: new Map([["CONFIGURED", "<${env:GIVEN}>"]]),
    workingDir: folder.path,
  });
  const env = { ...process.env, CANARY_OF_PARENT: "leak", GIVEN: "given" };
  await using open = await connected(openConnection(server, { env }));
  const seen = textOf(await open.connection.call(makeCall("env"))) as Record<string, string>;
  expect(seen["CANARY_OF_PARENT"]).toBeUndefined();
  expect(seen["GIVEN"]).toBeUndefined();
  expect(seen["CONFIGURED"]).toBe("<given>");
  expect(seen["PATH"]).toBe(process.env["PATH"] ?? "");
  expect(textOf(await open.connection.call(makeCall("argv")))).toEqual(["$(touch x)", "a b", "given"]);
  expect(textOf(await open.connection.call(makeCall("cwd")))).toBe(folder.path);
});

test.concurrent("Connection.stop() leaves nothing of a stubborn process, during an attempt too, and nothing calls back", async () => {
  verifies("STDIO-NO-SURVIVORS");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const flags = ["--journal", journal, "--ignore-eof", "--ignore-term", "--fork"];
  const ready = await connected(openConnection(stdioServer(flags)));
  const during = openConnection(stdioServer([...flags, "--hang"]));
  const attempt = during.connect(DEADLINE);
  await waitFor("both run", () => new Set(readJournal(journal).map((entry) => entry.pid)).size === 2);
  const startedAt = performance.now();
  await Promise.all([ready.close(), ready.close(), during.close(), attempt]);
  expect(performance.now() - startedAt).toBeLessThan(6_500);
  expect(readJournal(journal).flatMap((entry) => liveMembers(entry.pid))).toEqual([]);
  expect([ready.state, during.state]).toEqual(["disconnected", "disconnected"]);
  expect([ready.failure, during.failure]).toEqual([undefined, undefined]);
  expect((await failureOf(() => ready.connection.call(makeCall("echo"))))["code"]).toBe("SERVER_NOT_READY");
  expect(processesWith(`${STDIO_SERVER}\u0000--journal\u0000${journal}`)).toEqual([]);
}, 15_000);
