/**
 * The fault table of PROMISES.md over stdio and HTTP: what an upstream does wrong costs that call or that line only, ends in
 * time, and takes bounded memory. Each row runs beside a healthy upstream that must not notice.
 */
import { afterAll, expect, test } from "bun:test";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipBomb } from "../../src/mock/noise.ts";
import type { Fault, MockTransport } from "../../src/mock/server.ts";
import type { Connection } from "../../src/upstream/connection.ts";
import { FAST, hostMocks, mock, statusOf, untilState } from "../fixtures/mocks.ts";
import type { Mocks } from "../fixtures/mocks.ts";
import { makeCall, makeServer, openUpstreams } from "../fixtures/upstreams.ts";
import type { OpenUpstreams } from "../fixtures/upstreams.ts";
import { failureOf, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const SOON = { timeoutMs: 5_000 };
const CALL_MS = 400;
const SLACK_MS = 250;
const DEADLINE_MS = 600;
const MIB = 1024 * 1024;
/** What a message may have; the same for a line and for a body. */
const CAP_BYTES = 64 * MIB;
const NEVER_MS = 600_000;
const QUIET = {
  ...FAST,
  firstDeadlineMs: 10_000,
  firstRunTimeoutMs: DEADLINE_MS,
  backoffBaseMs: NEVER_MS,
  backoffCapMs: NEVER_MS,
};
const HTTP = ["streamable_http"] as const;
const STDIO = ["stdio"] as const;
const BOTH = ["stdio", "streamable_http"] as const;

/** What each row came to, shown at the end. */
const measured: string[] = [];

afterAll(() => console.info(measured.join("\n")));

/** A healthy upstream beside the sick one, with calls going on the whole time. */
async function beside<T>(
  fault: Fault | undefined,
  transport: MockTransport,
  work: (open: OpenUpstreams, mocks: Mocks) => Promise<T>,
): Promise<T> {
  await using mocks = hostMocks(
    mock({ transport, ...(fault ? { faults: [fault] } : {}) }),
    mock({ name: "good", transport }),
  );
  await using open = openUpstreams([mocks.server("good"), mocks.server("s")], {
    supervision: QUIET,
    autoDisableThreshold: 0,
    healthCheckIntervalMs: 0,
  });
  // Its start is not what is measured, and may take longer.
  open.store.rememberServer("good", { everConnected: true });
  const good = await open.upstreams.ready("good", SOON);
  const over = new AbortController();
  const neighbour = (async () => {
    do {
      expect(await good.call(makeCall("echo"))).toMatchObject({ isError: false });
      await Bun.sleep(5);
    } while (!over.signal.aborted);
  })();
  try {
    return await work(open, mocks);
  } finally {
    over.abort();
    await neighbour;
    expect(statusOf(open, "good")).toMatchObject({ connection: "ready", attempts: 1 });
  }
}

interface StartRow {
  readonly what: string;
  readonly fault: Fault;
  readonly over: readonly MockTransport[];
  /** The class, by transport where they differ. */
  readonly becomes: string | Readonly<Partial<Record<MockTransport, string>>>;
  /** It takes the whole deadline; else less. @default false */
  readonly waits?: boolean;
  /** What the failure must say. */
  readonly says?: RegExp;
}

const STARTS: readonly StartRow[] = [
  {
    what: "exits in the handshake",
    fault: { kind: "exit", at: "handshake", code: 3, stderr: "a\nfatal: no licence\n" },
    over: STDIO,
    becomes: "exit",
    says: /code 3; it last said: fatal: no licence$/,
  },
  {
    what: "exits with 0",
    fault: { kind: "exit", at: "start", code: 0 },
    over: STDIO,
    becomes: "exit",
    says: /exited with code 0/,
  },
  {
    what: "is not installed",
    fault: { kind: "not_found" },
    over: STDIO,
    becomes: "config",
    says: /was not found in PATH/,
  },
  {
    what: "is not listening",
    fault: { kind: "refuse" },
    over: HTTP,
    becomes: "network",
    says: /cannot reach http/,
  },
  {
    what: "hangs in initialize",
    fault: { kind: "hang", at: "handshake" },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  {
    what: "accepts and never answers",
    fault: { kind: "hang", at: "connect" },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  {
    what: "hangs in tools/list",
    fault: { kind: "hang", at: "list" },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  {
    what: "sends a byte at a time",
    fault: { kind: "drip", shape: "byte", at: "any", everyMs: 20 },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  {
    what: "sends blanks without end",
    fault: { kind: "drip", shape: "chunked", at: "any", everyMs: 20 },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  {
    what: "sends comments without end",
    fault: { kind: "drip", shape: "comments", at: "any", everyMs: 20 },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  {
    what: "sends garbage only",
    fault: { kind: "garbage", only: true },
    over: BOTH,
    becomes: "timeout",
    waits: true,
  },
  { what: "cuts the handshake", fault: { kind: "drop", at: "handshake" }, over: STDIO, becomes: "exit" },
  {
    what: "answers 401",
    fault: { kind: "status", status: 401 },
    over: HTTP,
    becomes: "auth",
    says: /HTTP 401/,
  },
  {
    what: "answers 403",
    fault: { kind: "status", status: 403 },
    over: HTTP,
    becomes: "auth",
    says: /HTTP 403/,
  },
  {
    what: "answers 404",
    fault: { kind: "status", status: 404 },
    over: HTTP,
    becomes: "protocol",
    says: /HTTP 404/,
  },
  {
    what: "answers 429",
    fault: { kind: "status", status: 429, retryAfterSeconds: 7 },
    over: HTTP,
    becomes: "rate_limited",
    says: /HTTP 429/,
  },
  {
    what: "answers 503",
    fault: { kind: "status", status: 503 },
    over: HTTP,
    becomes: "network",
    says: /HTTP 503/,
  },
  {
    what: "answers 302 to nowhere",
    fault: { kind: "status", status: 302 },
    over: HTTP,
    becomes: "protocol",
    says: /HTTP 302/,
  },
];

for (const row of STARTS) {
  for (const transport of row.over) {
    // One at a time: each is measured.
    test(`an upstream that ${row.what} (${transport}) has its class, in time, and nobody else notices`, async () => {
      verifies("SUPERVISE-FAULT-TABLE", "UPSTREAM-ISOLATION");
      await beside(row.fault, transport, async (open, mocks) => {
        const startedAt = performance.now();
        const failure = await failureOf(() => open.upstreams.ready("s", { timeoutMs: 10_000 }));
        const tookMs = performance.now() - startedAt;
        measured.push(
          `start  ${row.what} (${transport}): ${Math.round(tookMs)} ms, ${statusOf(open).failure?.class}`,
        );
        const becomes = typeof row.becomes === "string" ? row.becomes : row.becomes[transport];
        expect(statusOf(open)).toMatchObject({
          connection: "error",
          attempts: 1,
          failure: { class: becomes },
        });
        expect(failure.message).toMatch(row.says ?? /^Cannot connect 's'/);
        if (row.waits) expect(tookMs).toBeGreaterThan(DEADLINE_MS - 20);
        expect(tookMs).toBeLessThan(row.waits ? DEADLINE_MS + SLACK_MS : DEADLINE_MS);
        if (row.fault.kind === "not_found") return;
        // It is well again as soon as it behaves: after what the class allows.
        mocks.host.setFault("s", undefined);
        open.store.rememberServer("s", { everConnected: true });
        open.upstreams.find("s")?.restart("asked for");
        await untilState(open, "s", "ready");
      });
    }, 15_000);
  }
}

test.concurrent("an upstream whose program may not be executed (stdio) is a fault of the configuration", async () => {
  verifies("SUPERVISE-FAULT-TABLE");
  using folder = tempDir();
  const command = join(folder.path, "server");
  writeFileSync(command, "#!/bin/sh\n");
  chmodSync(command, 0o644);
  await using open = openUpstreams([makeServer({ command })], { supervision: QUIET });
  open.upstreams.start();
  await untilState(open, "s", "error");
  expect(statusOf(open)).toMatchObject({
    attempts: 1,
    nextAttemptAt: undefined,
    failure: { class: "config" },
  });
  expect(statusOf(open).failure?.hint).toContain("chmod +x");
});

interface CallRow {
  readonly what: string;
  readonly fault: Fault;
  readonly over: readonly MockTransport[];
  /** What the call gives: a code, or the result. */
  readonly gives:
    | "CALL_TIMEOUT"
    | "CALL_FAILED"
    | "result"
    | Readonly<Partial<Record<MockTransport, string>>>;
  readonly says?: RegExp;
  /** @default 400 */
  readonly callMs?: number;
  /** The link is lost with it. @default false */
  readonly loses?: boolean;
  /** How often the call may arrive. @default 1 */
  readonly arrives?: number;
  /** Memory may grow by three times the cap. */
  readonly isMeasured?: boolean;
  readonly after?: (mocks: Mocks) => unknown;
}

const CALLS: readonly CallRow[] = [
  {
    what: "hangs",
    fault: { kind: "hang", at: "call" },
    over: BOTH,
    gives: "CALL_TIMEOUT",
    after: (mocks) => waitFor("the upstream was told", () => mocks.host.counters("s").cancelled === 1, 500),
  },
  {
    what: "sends a byte at a time",
    fault: { kind: "drip", shape: "byte", everyMs: 20 },
    over: BOTH,
    gives: "CALL_TIMEOUT",
  },
  {
    what: "sends blanks without end",
    fault: { kind: "drip", shape: "chunked", everyMs: 20 },
    over: BOTH,
    gives: "CALL_TIMEOUT",
  },
  {
    what: "sends comments without end",
    fault: { kind: "drip", shape: "comments", everyMs: 20 },
    over: BOTH,
    gives: "CALL_TIMEOUT",
  },
  {
    what: "sends garbage around each answer",
    fault: {
      kind: "garbage",
      shapes: ["text", "half_json", "crlf", "unknown_id", "duplicate_id", "batch", "deep_nesting", "binary"],
    },
    over: BOTH,
    gives: "result",
  },
  {
    what: "begins its lines with a BOM",
    fault: { kind: "garbage", shapes: ["bom"] },
    over: STDIO,
    gives: "result",
  },
  {
    what: "sends garbage and no answer",
    fault: { kind: "garbage", only: true },
    over: BOTH,
    gives: "CALL_TIMEOUT",
  },
  {
    what: "is killed",
    fault: { kind: "crash_after", calls: 1 },
    over: STDIO,
    gives: "CALL_FAILED",
    loses: true,
    says: /exited with code 1/,
  },
  {
    what: "cuts the answer",
    fault: { kind: "drop", at: "call" },
    over: STDIO,
    gives: "CALL_FAILED",
    loses: true,
  },
  {
    what: "answers 401",
    fault: { kind: "status", status: 401, at: "call" },
    over: HTTP,
    gives: "CALL_FAILED",
    says: /HTTP 401/,
  },
  {
    what: "answers 403",
    fault: { kind: "status", status: 403, at: "call" },
    over: HTTP,
    gives: "CALL_FAILED",
    says: /HTTP 403/,
  },
  {
    what: "answers 429",
    fault: { kind: "status", status: 429, at: "call", retryAfterSeconds: 9 },
    over: HTTP,
    gives: "CALL_FAILED",
    says: /HTTP 429/,
  },
  {
    what: "answers 503",
    fault: { kind: "status", status: 503, at: "call" },
    over: HTTP,
    gives: "CALL_FAILED",
    loses: true,
    says: /HTTP 503/,
  },
  {
    what: "answers 302 to nowhere",
    fault: { kind: "status", status: 302, at: "call" },
    over: HTTP,
    gives: "CALL_FAILED",
    says: /HTTP 302/,
  },
  {
    what: "answers 404, as if the session were gone",
    fault: { kind: "status", status: 404, at: "call" },
    over: HTTP,
    gives: "CALL_FAILED",
    says: /HTTP 404/,
    arrives: 2,
    after: (mocks) => expect(mocks.host.counters("s").initializes).toBe(2),
  },
  // The client cannot tell a cut event stream from one that is to be resumed.
  { what: "cuts the answer", fault: { kind: "drop", at: "call" }, over: HTTP, gives: "CALL_TIMEOUT" },
  {
    what: "replies with more than the cap",
    fault: { kind: "flood", replyBytes: CAP_BYTES + MIB },
    over: BOTH,
    gives: { stdio: "CALL_TIMEOUT", streamable_http: "CALL_FAILED" },
    callMs: 3_000,
    isMeasured: true,
  },
  {
    what: "sends a gzip bomb of 256 MiB",
    fault: { kind: "drip", shape: "gzip_bomb", bytes: 4 * CAP_BYTES },
    over: HTTP,
    gives: "CALL_FAILED",
    callMs: 5_000,
    isMeasured: true,
  },
];

async function callOnce(
  link: Connection,
  timeoutMs: number,
): Promise<{ readonly came: string; readonly message: string }> {
  try {
    const { isError } = await link.call(makeCall("echo", { args: { a: 1 }, timeoutMs }));
    return { came: "result", message: JSON.stringify(isError) };
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return { came: code, message };
  }
}

for (const row of CALLS) {
  const { callMs = CALL_MS } = row;
  for (const transport of row.over) {
    // One at a time: each is measured.
    test(`a call of an upstream that ${row.what} (${transport}) ends once, in time, and alone`, async () => {
      verifies("SUPERVISE-FAULT-TABLE", "UPSTREAM-ISOLATION", "CALL-ENDS-IN-TIME");
      if (row.fault.kind === "drip" && row.fault.shape === "gzip_bomb") gzipBomb(row.fault.bytes);
      await beside(undefined, transport, async (open, mocks) => {
        open.store.rememberServer("s", { everConnected: true });
        const link = await open.upstreams.ready("s", SOON);
        mocks.host.setFault("s", row.fault);
        Bun.gc(true);
        const [baseline, startedAt] = [process.memoryUsage.rss(), performance.now()];
        let peak = baseline;
        const meter = setInterval(() => (peak = Math.max(peak, process.memoryUsage.rss())), 10);
        const { came, message } = await callOnce(link, callMs);
        const tookMs = performance.now() - startedAt;
        clearInterval(meter);
        const grown = Math.round((peak - baseline) / MIB);
        measured.push(
          `call   ${row.what} (${transport}): ${Math.round(tookMs)} of ${callMs} ms, ${came}, +${grown} MiB: ${message.slice(0, 90)}`,
        );
        expect(came).toBe(typeof row.gives === "string" ? row.gives : (row.gives[transport] ?? ""));
        if (row.says) expect(message).toMatch(row.says);
        if (row.loses) expect(tookMs).toBeLessThan(150);
        if (came === "CALL_TIMEOUT") expect(tookMs).toBeGreaterThan(callMs - 10);
        expect(tookMs).toBeLessThan(callMs + SLACK_MS);
        // The mock over HTTP lives in this process and has the reply twice itself.
        const ownMiB = transport === "stdio" ? 0 : 4 * (CAP_BYTES / MIB);
        if (row.isMeasured) expect(grown).toBeLessThan(3 * (CAP_BYTES / MIB) + ownMiB);
        await row.after?.(mocks);
        expect(mocks.host.counters("s").calls).toBe(row.arrives ?? 1);
        await waitFor(
          "the link stands as it should",
          () => (statusOf(open).connection === "error") === (row.loses ?? false),
        );
        mocks.host.setFault("s", undefined);
        const again = await open.upstreams.ready("s", SOON);
        await waitFor("it answers again", async () => (await callOnce(again, CALL_MS)).came === "result");
      });
    }, 20_000);
  }
}

test("an upstream that is killed in a call is tried again within 1.3 s", async () => {
  verifies("SUPERVISE-FAULT-TABLE");
  await using mocks = hostMocks(mock({ transport: "stdio", faults: [{ kind: "crash_after", calls: 1 }] }));
  await using open = openUpstreams([mocks.server()], { supervision: { ...FAST, backoffBaseMs: 1_000 } });
  open.upstreams.start();
  const link = await open.upstreams.ready("s", SOON);
  expect((await callOnce(link, CALL_MS)).came).toBe("CALL_FAILED");
  const killedAt = performance.now();
  await waitFor("the next attempt", () => statusOf(open).attempts === 2);
  expect(performance.now() - killedAt).toBeLessThan(1_300);
  await untilState(open, "s", "ready");
});

for (const transport of BOTH) {
  test(`an upstream that floods with notifications (${transport}) delays no call beyond reason, its own included`, async () => {
    verifies("SUPERVISE-FAULT-TABLE", "UPSTREAM-ISOLATION");
    await beside({ kind: "flood", perSecond: 10_000 }, transport, async (open) => {
      open.store.rememberServer("s", { everConnected: true });
      const link = await open.upstreams.ready("s", SOON);
      const startedAt = performance.now();
      for (let at = 0; at < 50; at += 1) expect((await callOnce(link, CALL_MS)).came).toBe("result");
      measured.push(
        `flood  10,000/s (${transport}): 50 calls in ${Math.round(performance.now() - startedAt)} ms`,
      );
      expect(statusOf(open).connection).toBe("ready");
    });
  }, 15_000);

  test.concurrent(`an upstream with 10,000 tools in pages and a description of 1 MB (${transport}) is read whole`, async () => {
    verifies("SUPERVISE-FAULT-TABLE", "UPSTREAM-PAGES");
    const fault = { kind: "huge_list", tools: 10_000, pageSize: 1_000, descriptionBytes: 1_000_000 } as const;
    await using mocks = hostMocks(mock({ transport, faults: [fault] }));
    await using open = openUpstreams([mocks.server()], { supervision: FAST });
    open.upstreams.start();
    await untilState(open, "s", "ready");
    expect(open.lists.get("s")).toHaveLength(10_000);
    expect(mocks.host.counters("s").lists).toBe(10);
  });

  test.concurrent(`an upstream whose cursor leads in a circle (${transport}) is read to its end once`, async () => {
    verifies("SUPERVISE-FAULT-TABLE", "UPSTREAM-PAGES");
    const fault = { kind: "huge_list", tools: 50, pageSize: 10, loop: true } as const;
    await using mocks = hostMocks(mock({ transport, faults: [fault] }));
    await using open = openUpstreams([mocks.server()], { supervision: FAST });
    open.upstreams.start();
    await untilState(open, "s", "ready");
    const names = new Set((open.lists.get("s") ?? []).map((one) => (one as { readonly name: string }).name));
    expect(names.size).toBe(50);
    expect(mocks.host.counters("s").lists).toBeLessThan(12);
  });
}

/** What is reachable; resident memory also counts what the allocator keeps for later. */
function heldBytes(): number {
  Bun.gc(true);
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

test("an upstream that writes 64 MiB to stderr costs no memory, and the last lines are kept", async () => {
  verifies("SUPERVISE-FAULT-TABLE");
  await using mocks = hostMocks(
    mock({ transport: "stdio", faults: [{ kind: "flood", stderrBytes: CAP_BYTES }] }),
  );
  await using open = openUpstreams([mocks.server()], { supervision: FAST });
  const baseline = heldBytes();
  open.upstreams.start();
  const link = await open.upstreams.ready("s", { timeoutMs: 15_000 });
  const grown = Math.round((heldBytes() - baseline) / MIB);
  measured.push(`flood  64 MiB of stderr: +${grown} MiB`);
  expect(grown).toBeLessThan(32);
  expect((await callOnce(link, CALL_MS)).came).toBe("result");
  expect(link.stderr(1_000).length).toBeLessThanOrEqual(200);
}, 20_000);

test("an upstream that cuts its standing stream (HTTP) stays ready, and its calls go on", async () => {
  verifies("SUPERVISE-FAULT-TABLE");
  await beside({ kind: "drop", at: "stream", afterMs: 50 }, "streamable_http", async (open) => {
    open.store.rememberServer("s", { everConnected: true });
    const link = await open.upstreams.ready("s", SOON);
    for (let at = 0; at < 30; at += 1) {
      expect((await callOnce(link, CALL_MS)).came).toBe("result");
      await Bun.sleep(5);
    }
    expect(statusOf(open)).toMatchObject({ connection: "ready", attempts: 1 });
  });
});
