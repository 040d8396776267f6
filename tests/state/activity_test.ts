/**
 * The record of what was done: written off the path, kept within its limits, read in slices.
 */
import { afterEach, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { createLog, SILENT_LOG } from "../../src/lib/log.ts";
import type { ActivityEntry, ActivityFilter, ActivityRow } from "../../src/state/activity.ts";
import { Activity } from "../../src/state/activity.ts";
import { openDatabase } from "../../src/state/database.ts";
import { Store } from "../../src/state/store.ts";
import { tempDir, waitFor } from "../fixtures/wait.ts";

const KEEP_ALL = { retentionMs: 0, maxRows: 1_000_000 };
const folders: Disposable[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

function makeDir(): string {
  const folder = tempDir();
  folders.push(folder);
  return folder.path;
}

function entry(parts: Partial<ActivityEntry> = {}): ActivityEntry {
  return { at: 1_000, type: "tool_call", source: "mcp", status: "success", ...parts };
}

function open(options: Partial<ConstructorParameters<typeof Activity>[0]> = {}) {
  const db = openDatabase(join(makeDir(), "mcpproxy.db"));
  const activity = new Activity({ db, log: SILENT_LOG, ...options });
  activity.apply(KEEP_ALL);
  return {
    db,
    activity,
    [Symbol.dispose]: () => {
      activity.close();
      db.close();
    },
  };
}

async function all(activity: Activity, filter: ActivityFilter = {}, pageRows = 100): Promise<ActivityRow[]> {
  const rows: ActivityRow[] = [];
  for await (const list of activity.read(filter, { pageRows })) rows.push(...list);
  return rows;
}

async function tools(activity: Activity, filter: ActivityFilter = {}): Promise<(string | undefined)[]> {
  return (await all(activity, filter)).map(({ tool }) => tool);
}

test("Activity.add() is on the disk within 50 ms, and not before it returns", async () => {
  using opened = open();
  const { activity } = opened;
  const beganAt = performance.now();
  activity.add(entry({ tool: "a" }));
  expect(activity.counts).toEqual({ queued: 1, written: 0, dropped: 0 });
  await waitFor("it is written", () => activity.counts.written === 1);
  // Generous: others share the machine.
  expect(performance.now() - beganAt).toBeLessThan(500);
});

test("Activity keeps every field of an entry, and leaves out what is absent", async () => {
  using opened = open();
  const whole: Required<ActivityEntry> = {
    at: 1,
    type: "tool_call",
    source: "api",
    status: "error",
    server: "s ü:",
    tool: "t",
    intent: "read",
    durationMs: 1.5,
    requestId: "r",
    session: "12345678",
    principal: "api_key",
    message: "it failed",
    detail: '{"arguments":{}}',
  };
  opened.activity.add(whole);
  opened.activity.add(entry());
  expect(opened.activity.find(1)).toEqual({ id: 1, ...whole });
  expect(opened.activity.find(2)).toEqual({ id: 2, ...entry() });
  expect(opened.activity.find(3)).toBeUndefined();
});

test("Activity.read() gives the newest first, whatever the page and across slices", async () => {
  using opened = open();
  const { activity } = opened;
  const count = 11_000;
  for (let at = 0; at < count; at += 1) {
    activity.add(entry({ at, tool: String(at % 3) }));
    if (at % 5_000 === 0) activity.flush();
  }
  const expected = Array.from({ length: count }, (_, at) => count - at);
  for (const pageRows of [1_000, 4_999, 20_000]) {
    const ids = (await all(activity, {}, pageRows)).map(({ id }) => id);
    expect(ids).toEqual(expected);
  }
  const some = (await all(activity, { tool: "1" }, 7_000)).map(({ id }) => id);
  expect(some).toEqual(expected.filter((id) => (id - 1) % 3 === 1));
});

test("Activity.read() lets the event loop turn", async () => {
  using opened = open();
  const { activity } = opened;
  for (let at = 0; at < 30_000; at += 1) {
    activity.add(entry({ at }));
    if (at % 5_000 === 0) activity.flush();
  }
  let turns = 0;
  let isDone = false;
  const tick = (): void => {
    turns += 1;
    if (!isDone) setImmediate(tick);
  };
  setImmediate(tick);
  expect(await activity.count({ tool: "no such" })).toBe(0);
  isDone = true;
  expect(turns).toBeGreaterThan(5);
});

const MANY: readonly ActivityEntry[] = [
  entry({ at: 10, tool: "a", server: "one", session: "s1", requestId: "r1", intent: "read" }),
  entry({ at: 20, tool: "b", server: "two", status: "error", requestId: "r1" }),
  entry({ at: 30, tool: "c", server: "one", status: "blocked", type: "policy_decision", intent: "write" }),
  entry({ at: 40, tool: "d", type: "server_change", source: "api", server: "two", session: "s1" }),
  entry({ at: 50, tool: "e", type: "tool", server: "one%" }),
];

test.each<[string, ActivityFilter, string]>([
  ["nothing", {}, "edcba"],
  ["a type", { types: ["tool_call"] }, "ba"],
  ["a type that is the beginning of another", { types: ["tool"] }, "e"],
  ["several types", { types: ["tool_call", "server_change"] }, "dba"],
  ["no type at all", { types: [""] }, ""],
  ["a status", { status: "error" }, "b"],
  ["a server", { server: "one" }, "ca"],
  ["a server with a sign of patterns", { server: "one%" }, "e"],
  ["a tool", { tool: "d" }, "d"],
  ["an intent", { intent: "write" }, "c"],
  ["a session", { session: "s1" }, "da"],
  ["a request", { requestId: "r1" }, "ba"],
  ["a request and a status", { requestId: "r1", status: "error" }, "b"],
  ["a beginning", { from: 30 }, "edc"],
  ["an end, exclusive", { to: 30 }, "ba"],
  ["a time", { from: 20, to: 40 }, "cb"],
  [
    "all at once",
    { types: ["tool_call"], status: "success", server: "one", tool: "a", from: 0, to: 99 },
    "a",
  ],
  ["what is not there", { server: "' or 1=1 --" }, ""],
])("Activity.read() and count() narrow by %s", async (_name, filter, expected) => {
  using opened = open();
  for (const one of MANY) opened.activity.add(one);
  expect((await tools(opened.activity, filter)).join("")).toBe(expected);
  expect(await opened.activity.count(filter)).toBe(expected.length);
});

test("Activity.read() goes on where a page ended, while entries are added", async () => {
  using opened = open();
  const { activity } = opened;
  for (const one of MANY) activity.add(one);
  const pages: string[] = [];
  let before: number | undefined;
  for (let page = 0; page < 3; page += 1) {
    for await (const rows of activity.read({}, { before, pageRows: 2 })) {
      pages.push(rows.map(({ tool }) => tool).join(""));
      before = rows.at(-1)?.id;
      break;
    }
    activity.add(entry({ tool: "new" }));
  }
  expect(pages).toEqual(["ed", "cb", "a"]);
});

test("Activity.tally() counts by outcome, server and tool", async () => {
  using opened = open();
  const { activity } = opened;
  for (const one of [...MANY, ...MANY]) activity.add(one);
  const tallies = await activity.tally({ types: ["tool_call"] });
  expect(tallies.toSorted((a, b) => (a.tool ?? "").localeCompare(b.tool ?? ""))).toEqual([
    { status: "success", server: "one", tool: "a", count: 2 },
    { status: "error", server: "two", tool: "b", count: 2 },
  ]);
});

test("Activity.prune() removes what is too old or too many, and nothing else", async () => {
  using opened = open({ now: () => 10_000 });
  const { activity } = opened;
  for (let at = 0; at < 9_000; at += 1) activity.add(entry({ at }));
  activity.apply({ retentionMs: 5_000, maxRows: 1_000_000 });
  await activity.prune();
  expect((await all(activity, {}, 9_000)).map(({ at }) => at).at(-1)).toBe(5_000);
  activity.apply({ retentionMs: 5_000, maxRows: 100 });
  await activity.prune();
  expect(await all(activity)).toHaveLength(100);
  expect(await activity.count({})).toBe(100);
  activity.apply({ retentionMs: 0, maxRows: 100 });
  await activity.prune();
  expect(await all(activity)).toHaveLength(100);
});

test("Activity keeps nothing when no rows are allowed", async () => {
  using opened = open();
  const { activity } = opened;
  activity.add(entry());
  activity.apply({ retentionMs: 0, maxRows: 0 });
  expect(activity.isOn).toBe(false);
  activity.add(entry());
  await activity.prune();
  expect(await all(activity)).toEqual([]);
  expect(activity.counts.written).toBe(1);
});

test("Activity drops the oldest when the disk is slower than the calls, and counts them", async () => {
  using opened = open({ queueRows: 100 });
  const { activity } = opened;
  for (let at = 0; at < 250; at += 1) activity.add(entry({ at }));
  expect(activity.counts).toEqual({ queued: 100, written: 0, dropped: 150 });
  expect((await all(activity)).map(({ at }) => at).at(-1)).toBe(150);
});

test("Activity.add() bounds what waits by its size as well", () => {
  using opened = open();
  const { activity } = opened;
  for (let at = 0; at < 50; at += 1) activity.add(entry({ detail: "x".repeat(1024 * 1024) }));
  expect(activity.counts.queued).toBe(16);
  expect(activity.counts.dropped).toBe(34);
});

test("Activity goes on when entries cannot be written, tells it once, and writes again when it can", async () => {
  const lines: string[] = [];
  using opened = open({ log: createLog({ write: (line) => lines.push(line) }) });
  const { activity, db } = opened;
  // As on a full disk: every write fails, reads go on.
  db.run("PRAGMA query_only = 1");
  for (let at = 0; at < 3; at += 1) {
    activity.add(entry({ at }));
    activity.flush();
  }
  expect(activity.counts).toEqual({ queued: 0, written: 0, dropped: 3 });
  expect(lines.filter((line) => line.includes("entries are lost"))).toHaveLength(1);
  db.run("PRAGMA query_only = 0");
  activity.add(entry({ at: 7 }));
  expect((await all(activity)).map(({ at }) => at)).toEqual([7]);
});

test("Store keeps the activity over a restart, and ids go on", async () => {
  const dataDir = makeDir();
  for (const round of [1, 2]) {
    await using store = Store.open({ dataDir, log: SILENT_LOG });
    store.activity.apply(KEEP_ALL);
    store.activity.add(entry({ at: round }));
    expect((await all(store.activity)).map(({ id }) => id)[0]).toBe(round);
  }
  const db = new Database(join(dataDir, "mcpproxy.db"), { readonly: true });
  expect(db.query("SELECT id, at FROM activity").all()).toEqual([
    { id: 1, at: 1 },
    { id: 2, at: 2 },
  ]);
  db.close();
});

test("Activity answers nothing, and takes nothing, once it is closed", async () => {
  const opened = open();
  const { activity } = opened;
  activity.add(entry());
  const reading = activity.read({}, { pageRows: 1 });
  opened[Symbol.dispose]();
  activity.add(entry());
  expect(activity.counts).toEqual({ queued: 0, written: 1, dropped: 0 });
  expect(activity.find(1)).toBeUndefined();
  expect(await activity.count({})).toBe(0);
  expect((await reading.next()).done).toBe(true);
});

test("Activity.read() ends quietly when it is closed in between", async () => {
  const opened = open();
  const { activity } = opened;
  for (let at = 0; at < 20; at += 1) activity.add(entry({ at }));
  const reading = activity.read({}, { pageRows: 5 });
  await reading.next();
  opened[Symbol.dispose]();
  expect((await reading.next()).done).toBe(true);
});

test("Activity finds a request by the index, whatever else is there", () => {
  using opened = open();
  const plan = opened.db
    .query<{ detail: string }, []>(
      "EXPLAIN QUERY PLAN SELECT * FROM activity WHERE id >= 0 AND id < 9 AND request_id = 'r' ORDER BY id DESC",
    )
    .all();
  expect(plan.map(({ detail }) => detail).join(" ")).toContain("activity_request");
});
