/** Holds that a definition can be tried without anything coming to depend on it, or being left of it. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Server } from "../../src/core/model.ts";
import { FAST, hostMocks, mock, tool, untilState } from "../fixtures/mocks.ts";
import { makeServer, openUpstreams, readJournal, stdioServer } from "../fixtures/upstreams.ts";
import type { OpenUpstreams } from "../fixtures/upstreams.ts";
import { failureOf, liveMembers, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const SOON = { timeoutMs: 5_000 };
const QUICK = { supervision: FAST };

/** What a trial must not leave behind. */
function traces({ upstreams, store, events, lists }: OpenUpstreams): unknown {
  return { servers: upstreams.list().length, known: store.serverNames(), events, lists: [...lists] };
}
const NONE = { servers: 0, known: [], events: [], lists: [] };

for (const transport of ["stdio", "streamable_http", "sse"] as const) {
  test.concurrent(`Upstreams.trial() counts the tools of a sound definition and leaves nothing of it (${transport})`, async () => {
    const tools = ["a", "b", "c"].map(tool);
    await using mocks = hostMocks(mock({ transport, tools }));
    await using open = openUpstreams([], QUICK);
    expect(await open.upstreams.trial(mocks.server(), SOON)).toEqual({ tools: 3 });
    expect(traces(open)).toEqual(NONE);
    expect(open.lines).toEqual([]);
    await waitFor("it is closed", () => mocks.host.counters("s").inFlight === 0);
  });
}

test.concurrent("Upstreams.trial() ends the process it started, however stubborn, before it answers", async () => {
  verifies("TRIAL-LEAVES-NOTHING");
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const flags = ["--journal", journal, "--ignore-eof", "--ignore-term"];
  await using open = openUpstreams([], QUICK);
  await open.upstreams.trial(stdioServer(flags), SOON);
  const pids = [...new Set(readJournal(journal).map(({ pid }) => pid))];
  expect(pids.length).toBeGreaterThan(0);
  expect(pids.flatMap(liveMembers)).toEqual([]);
});

const BAD: readonly (readonly [what: string, parts: Partial<Server>, expected: Record<string, unknown>])[] = [
  ["a command that is not there", { command: "no-such-command-here" }, { class: "config" }],
  [
    "a process that leaves",
    { command: "sh", args: ["-c", "echo no licence >&2; exit 3"] },
    { class: "exit", stderr: ["no licence"] },
  ],
  ["a URL nobody serves", { url: "http://127.0.0.1:1/" }, { class: "network" }],
  ["a process that says nothing", { command: "sh", args: ["-c", "cat >/dev/null"] }, { class: "timeout" }],
  ["a reference without a value", { url: "http://127.0.0.1/${env:NO_SUCH_VARIABLE}" }, { class: "config" }],
  [
    "an entry with a fault",
    {
      command: "true",
      faults: [{ file: "f", line: 1, column: 1, key: "k", message: "It is wrong", advice: "Mend it" }],
    },
    { class: "config" },
  ],
];

for (const [what, parts, expected] of BAD) {
  test.concurrent(`Upstreams.trial() refuses ${what}, with class and hint`, async () => {
    await using open = openUpstreams([], QUICK);
    const timeoutMs = expected["class"] === "timeout" ? 300 : 10_000;
    const failure = await failureOf(() =>
      open.upstreams.trial(makeServer({ name: "new", ...parts }), { timeoutMs }),
    );
    expect(failure).toMatchObject({ code: "VERIFY_FAILED", data: { server: "new", ...expected } });
    expect(failure.message).toStartWith("Cannot verify 'new': ");
    expect(failure.message).not.toContain("Cannot connect");
    expect(String(failure["hint"]).length).toBeGreaterThan(5);
    expect(traces(open)).toEqual(NONE);
  });
}

test.concurrent("Upstreams.trial() of a server that runs already leaves that one alone", async () => {
  await using mocks = hostMocks(mock(), mock({ name: "other", faults: [{ kind: "status", status: 503 }] }));
  await using open = openUpstreams([mocks.server()], QUICK);
  open.upstreams.start();
  await untilState(open, "s", "ready");
  const [link, events] = [open.upstreams.find("s")?.link, open.events.length];
  const failure = await failureOf(() =>
    open.upstreams.trial({ ...mocks.server("other"), name: "s" }, { timeoutMs: 1_000 }),
  );
  expect(failure["code"]).toBe("VERIFY_FAILED");
  expect(await open.upstreams.trial(mocks.server(), SOON)).toEqual({ tools: 2 });
  expect(open.upstreams.find("s")?.link).toBe(link as never);
  expect(open.events.length).toBe(events);
});

test.concurrent("Upstreams.trial() ends with its caller's patience, and with the proxy", async () => {
  using folder = tempDir();
  const journal = join(folder.path, "journal");
  const hanging = stdioServer(["--journal", journal, "--hang", "--ignore-eof"], { name: "hangs" });
  const open = openUpstreams([], QUICK);
  const abort = new AbortController();
  const cancelled = failureOf(() => open.upstreams.trial(hanging, { ...SOON, signal: abort.signal }));
  const stopped = failureOf(() => open.upstreams.trial(hanging, SOON));
  const pids = (): number[] => [...new Set(readJournal(journal).map(({ pid }) => pid))];
  await waitFor("both run", () => pids().length === 2);
  abort.abort();
  expect((await cancelled)["code"]).toBe("CALL_CANCELLED");
  await open[Symbol.asyncDispose]();
  expect((await stopped)["code"]).toBe("CALL_CANCELLED");
  expect(pids().flatMap(liveMembers)).toEqual([]);
  expect((await failureOf(() => open.upstreams.trial(hanging, SOON)))["code"]).toBe("CALL_CANCELLED");
  expect(pids()).toHaveLength(2);
});

test.concurrent("Upstreams.trial() takes its place in line, so that fifty at once are no stampede", async () => {
  await using open = openUpstreams([], { ...QUICK, maxConcurrentConnections: 2, maxWaitingConnections: 0 });
  const silent = makeServer({ name: "silent", command: "sh", args: ["-c", "cat >/dev/null"] });
  const trials = [2_000, 2_000, 200, 200].map((timeoutMs) =>
    failureOf(() => open.upstreams.trial(silent, { timeoutMs })),
  );
  const crowded = (await Promise.all(trials)).map(({ message }) => message.includes("left it no place"));
  expect(crowded).toEqual([false, false, true, true]);
});
