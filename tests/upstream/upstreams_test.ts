/**
 * All upstreams: which are started, who waits for whom, what is tried again, and that closing ends everything.
 */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Fault, StartupMode } from "../../src/core/model.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import { makeCall, makeServer, openUpstreams, readJournal, stdioServer } from "../fixtures/upstreams.ts";
import { failureOf, liveMembers, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const SOON = { timeoutMs: 5_000 };
const FAULT: Fault = { file: "f", line: 1, column: 1, key: "k", message: "It is wrong", advice: "Mend it" };

test.concurrent("Upstreams.start() never starts what is off or faulty, and a call says why", async () => {
  verifies("UPSTREAM-MODES", "CONFIG-BAD-SERVER-ALONE", "CALL-DEAD-SERVER");
  using folder = tempDir();
  const journal = (name: string): string => join(folder.path, name);
  const off: readonly StartupMode[] = ["disabled", "quarantined", "auto_disabled"];
  const servers = [
    ...off.map((startupMode) =>
      stdioServer(["--journal", journal(startupMode)], { name: startupMode, startupMode }),
    ),
    stdioServer(["--journal", journal("faulty")], { name: "faulty", faults: [FAULT] }),
    stdioServer(["--journal", journal("lazy")], { name: "lazy", startupMode: "lazy_loading" }),
    stdioServer(["--journal", journal("active")], { name: "active" }),
  ];
  await using open = openUpstreams(servers);
  open.upstreams.start();
  await waitFor("all are settled", () => open.upstreams.isSettled);
  for (const name of off) {
    const failure = await failureOf(() => open.upstreams.ready(name, SOON));
    expect(failure["code"]).toBe("SERVER_OFF");
    const why = name === "auto_disabled" ? ": the configuration says so" : "";
    expect(failure.message).toBe(`Cannot call '${name}': it is ${name.replace("_", "-")}${why}`);
    expect(failure["hint"]).toContain("startup_mode");
  }
  expect(await failureOf(() => open.upstreams.ready("faulty", SOON))).toMatchObject({
    code: "SERVER_FAULTY",
    hint: "Mend it",
  });
  expect(await failureOf(() => open.upstreams.ready("aktive", SOON))).toMatchObject({
    code: "SERVER_UNKNOWN",
    hint: "Did you mean 'active'?",
  });
  // A lazy server whose tools nobody knows is visited once, and closed.
  const lazy = open.upstreams.find("lazy");
  await waitFor("the visit is over", () => open.lists.has("lazy") && lazy?.connection === "disconnected");
  expect(lazy?.status.attempts).toBe(1);
  expect(readdirSync(folder.path).toSorted()).toEqual(["active", "lazy"]);
  const categories = open.upstreams.list().map((upstream) => upstream.category);
  expect(categories).toEqual([
    "disabled",
    "quarantined",
    "auto_disabled",
    "disconnected",
    "sleeping",
    "connected",
  ]);
});

test.concurrent("Upstreams.ready() connects a lazy server on its first call: ten calls at once, one start", async () => {
  verifies("UPSTREAM-MODES");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  await using open = openUpstreams([
    stdioServer(["--journal", journal, "--slow-start", "100"], { startupMode: "lazy_loading" }),
  ]);
  // Not visited first: its tools are known.
  open.store.rememberServer("s", { everConnected: true, toolCount: 1 });
  open.upstreams.start();
  expect(open.upstreams.isSettled).toBe(true);
  const connections = await Promise.all(Array.from({ length: 10 }, () => open.upstreams.ready("s", SOON)));
  expect(new Set(connections).size).toBe(1);
  expect(readJournal(journal).filter((entry) => entry.started)).toHaveLength(1);
  expect(open.upstreams.find("s")?.connection).toBe("ready");
  expect(open.lists.get("s")?.length).toBeGreaterThan(0);
});

test.concurrent("Upstreams remembers era, time and tools of a server in the store", async () => {
  verifies("UPSTREAM-ERA-REMEMBERED");
  await using http = serveHttp();
  await using open = openUpstreams([makeServer({ url: http.url, transport: "auto" })]);
  open.upstreams.start();
  await waitFor("it is ready", () => open.upstreams.find("s")?.connection === "ready");
  const memory = open.store.findServer("s");
  expect(memory).toMatchObject({
    era: "legacy",
    transport: "streamable_http",
    everConnected: true,
    toolCount: 11,
  });
  expect(memory?.connectMs).toBeGreaterThanOrEqual(0);
});

// Alone, since it measures.
test("Upstreams.ready() gives up when the caller's time or patience ends, and the attempt goes on", async () => {
  verifies("CALL-ENDS-IN-TIME");
  await using http = serveHttp({ delayMs: 400 });
  await using open = openUpstreams([makeServer({ url: http.url, startupMode: "lazy_loading" })]);
  const startedAt = performance.now();
  const failure = await failureOf(() => open.upstreams.ready("s", { timeoutMs: 100 }));
  expect(failure["code"]).toBe("SERVER_NOT_READY");
  expect(performance.now() - startedAt).toBeLessThan(350);
  const abort = new AbortController();
  const cancelled = failureOf(() => open.upstreams.ready("s", { ...SOON, signal: abort.signal }));
  abort.abort(new Error("enough"));
  expect((await cancelled)["code"]).toBe("CALL_CANCELLED");
  expect((await open.upstreams.ready("s", SOON)).inFlight).toBe(0);
  expect(open.upstreams.find("s")?.connection).toBe("ready");
  expect(open.upstreams.find("s")?.status.attempts).toBe(1);
});

test.concurrent("Upstreams.ready() fails at once, with reason and hint, where trying again cannot help", async () => {
  verifies("CALL-DEAD-SERVER");
  await using http = serveHttp({ kind: "status", status: 401 });
  await using open = openUpstreams([
    makeServer({ name: "missing", command: "no-such-command-here" }),
    makeServer({ name: "login", url: http.url }),
    stdioServer(["--exit-with", "2", "--stderr", "no licence"], { name: "leaves" }),
  ]);
  open.upstreams.start();
  await waitFor("all are settled", () => open.upstreams.isSettled);
  for (const [name, code] of [
    ["missing", "UPSTREAM_FAILED"],
    ["login", "UPSTREAM_AUTH"],
  ] as const) {
    const failure = await failureOf(() => open.upstreams.ready(name, SOON));
    expect(failure["code"]).toBe(code);
    expect(failure["hint"]).toBeString();
    expect(open.upstreams.find(name)?.status.attempts).toBe(1);
  }
  const failure = await failureOf(() => open.upstreams.ready("leaves", SOON));
  expect(failure["data"]).toEqual({
    server: "leaves",
    class: "exit",
    stderr: ["no licence"],
    next_attempt_at: expect.any(Number) as number,
  });
});

test.concurrent("Upstreams starts a crashed active server again after its backoff, not at once, and a lazy one never", async () => {
  await using open = openUpstreams([
    stdioServer(),
    stdioServer([], { name: "lazy", startupMode: "lazy_loading" }),
  ]);
  open.upstreams.start();
  const [active, lazy] = [await open.upstreams.ready("s", SOON), await open.upstreams.ready("lazy", SOON)];
  await Promise.all([
    failureOf(() => active.call(makeCall("crash"))),
    failureOf(() => lazy.call(makeCall("crash"))),
  ]);
  const crashedAt = performance.now();
  const [activeOne, lazyOne] = [open.upstreams.find("s"), open.upstreams.find("lazy")];
  const lazyAttempts = lazyOne?.status.attempts ?? 0;
  expect(activeOne?.connection).toBe("error");
  await waitFor(
    "it is up again",
    () => activeOne?.status.attempts === 2 && activeOne.connection === "ready",
    4_000,
  );
  const tookMs = performance.now() - crashedAt;
  expect(tookMs).toBeGreaterThan(700);
  expect(tookMs).toBeLessThan(2_500);
  expect(lazyOne?.status).toMatchObject({
    attempts: lazyAttempts,
    isTrying: false,
    nextAttemptAt: undefined,
  });
  // Each attempt has a connection of its own.
  await failureOf(async () => (await open.upstreams.ready("s", SOON)).call(makeCall("crash")));
  await open.upstreams.ready("s", SOON);
  expect(activeOne?.status.attempts).toBe(3);
});

test.concurrent("Upstreams: twelve hanging servers for two places delay a healthy process by their patience, and a URL not at all", async () => {
  verifies("UPSTREAM-ISOLATION", "START-NEVER-WAITS");
  await using healthy = serveHttp();
  const hanging = Array.from({ length: 12 }, (_, at) =>
    makeServer({ name: `h${at}`, command: "sh", args: ["-c", "exec cat >/dev/null"] }),
  );
  await using open = openUpstreams(
    [...hanging, stdioServer([], { name: "healthy" }), makeServer({ name: "url", url: healthy.url })],
    { maxConcurrentConnections: 2 },
  );
  const startedAt = performance.now();
  open.upstreams.start();
  expect(performance.now() - startedAt).toBeLessThan(100);
  await waitFor("the URL is ready", () => open.upstreams.find("url")?.connection === "ready", 1_500);
  // A call does not stand in line.
  const called = await open.upstreams.ready("healthy", { timeoutMs: 3_000 });
  expect(await called.call(makeCall("echo"))).toBeDefined();
  expect(
    hanging.filter(({ name }) => open.upstreams.find(name)?.connection === "connecting").length,
  ).toBeLessThan(12);
}, 15_000);

test.concurrent("Upstreams: hanging URLs and processes hold a place for their patience and no longer", async () => {
  verifies("UPSTREAM-ISOLATION");
  await using hanging = serveHttp({ kind: "hang" });
  await using healthy = serveHttp();
  const urls = Array.from({ length: 24 }, (_, at) => makeServer({ name: `u${at}`, url: hanging.url }));
  const processes = Array.from({ length: 3 }, (_, at) =>
    makeServer({ name: `p${at}`, command: "sh", args: ["-c", "exec cat >/dev/null"] }),
  );
  await using open = openUpstreams(
    [
      ...urls,
      ...processes,
      makeServer({ name: "url", url: healthy.url }),
      stdioServer([], { name: "process" }),
    ],
    { maxConcurrentConnections: 1 },
  );
  const startedAt = performance.now();
  open.upstreams.start();
  await waitFor("the healthy URL is ready", () => open.upstreams.find("url")?.connection === "ready", 5_000);
  expect(performance.now() - startedAt).toBeLessThan(3 * 250 + 1_200);
  await waitFor(
    "the healthy process is ready",
    () => open.upstreams.find("process")?.connection === "ready",
    10_000,
  );
  expect(performance.now() - startedAt).toBeLessThan(3 * 2_000 + 2_000);
  expect(urls.every(({ name }) => open.upstreams.find(name)?.connection === "connecting")).toBe(true);
}, 20_000);

test.concurrent("Upstreams: a server that crashes or hangs makes no call to another one fail", async () => {
  verifies("UPSTREAM-ISOLATION");
  await using open = openUpstreams([stdioServer([], { name: "good" }), stdioServer([], { name: "bad" })]);
  const [good, bad] = [await open.upstreams.ready("good", SOON), await open.upstreams.ready("bad", SOON)];
  const hung = Array.from({ length: 20 }, () => failureOf(() => bad.call(makeCall("hang"))));
  const calls = Array.from({ length: 100 }, (_, at) => good.call(makeCall("echo", { args: { at } })));
  await failureOf(() => bad.call(makeCall("crash")));
  expect((await Promise.all(hung)).every((failure) => failure["code"] === "CALL_FAILED")).toBe(true);
  expect(await Promise.all(calls)).toHaveLength(100);
  expect(open.upstreams.find("good")?.connection).toBe("ready");
});

test.concurrent("Upstreams.close() leaves no process and no attempt, whatever the servers do, and forbids new ones", async () => {
  verifies("STDIO-NO-SURVIVORS");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  await using http = serveHttp({ kind: "hang" });
  const open = openUpstreams(
    [
      stdioServer(["--journal", journal], { name: "good" }),
      stdioServer(["--journal", journal, "--ignore-eof", "--ignore-term", "--fork"], { name: "stubborn" }),
      stdioServer(["--journal", journal, "--hang", "--ignore-eof"], { name: "hangs" }),
      stdioServer(["--journal", journal, "--exit-with", "1"], { name: "leaves" }),
      stdioServer(["--journal", journal], { name: "waits" }),
      makeServer({ name: "url", url: http.url }),
    ],
    { maxConcurrentConnections: 4 },
  );
  open.upstreams.start();
  await waitFor(
    "some run",
    () =>
      open.upstreams.find("good")?.connection === "ready" &&
      open.upstreams.find("stubborn")?.connection === "ready",
  );
  const startedAt = performance.now();
  await Promise.all([open.upstreams.close(), open.upstreams.close()]);
  expect(performance.now() - startedAt).toBeLessThan(6_500);
  expect(readJournal(journal).flatMap((entry) => liveMembers(entry.pid))).toEqual([]);
  await waitFor("the request was dropped", () => http.seen.every((seen) => seen.isAborted));
  const starts = readJournal(journal).length;
  const refusedAt = performance.now();
  expect((await failureOf(() => open.upstreams.ready("good", SOON)))["code"]).toBe("SERVER_NOT_READY");
  expect(performance.now() - refusedAt).toBeLessThan(100);
  expect(readJournal(journal)).toHaveLength(starts);
  await open[Symbol.asyncDispose]();
}, 15_000);

test("Upstreams.close() lets the process that used them end by itself: no timer and no socket is left", async () => {
  await using http = serveHttp();
  const script = `
    import { openUpstreams, stdioServer, makeServer } from ${JSON.stringify(join(import.meta.dir, "../fixtures/upstreams.ts"))};
    const open = openUpstreams([stdioServer(), makeServer({ name: "url", url: ${JSON.stringify(http.url)} }), makeServer({ name: "refused", url: "http://127.0.0.1:1/" })]);
    open.upstreams.start();
    await open.upstreams.ready("s", { timeoutMs: 5000 });
    await open.upstreams.ready("url", { timeoutMs: 5000 });
    await open[Symbol.asyncDispose]();
    console.log("closed");`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  let exitedAt = 0;
  void child.exited.then(() => {
    exitedAt = performance.now();
  });
  expect(await new Response(child.stdout).text()).toBe("closed\n");
  const closedAt = performance.now();
  await child.exited;
  expect(exitedAt - closedAt).toBeLessThan(1_000);
  expect(child.exitCode).toBe(0);
});
