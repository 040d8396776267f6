/**
 * The store: what was learned survives, one process holds the data dir, and nothing unreadable is lost.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { createLog, SILENT_LOG } from "../../src/lib/log.ts";
import type { CommitEffects } from "../../src/state/commits.ts";
import { Store } from "../../src/state/store.ts";
import type { ServerMemory, StoredTool } from "../../src/state/store.ts";
import { failureOf, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const folders: Disposable[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

function makeDir(): string {
  const folder = tempDir();
  folders.push(folder);
  return folder.path;
}

function open(dataDir: string): Store {
  return Store.open({ dataDir, log: SILENT_LOG });
}

function makeTool(name: string, server = "s"): StoredTool {
  return { server, name, definition: JSON.stringify({ name, inputSchema: {} }), fingerprint: `f-${name}` };
}

test("Store keeps what was learned of servers and tools over a restart", async () => {
  verifies("STORE-MIGRATES");
  const dataDir = join(makeDir(), "deep", "data");
  const learned = {
    era: "modern",
    discovery: '{"a":1}',
    transport: "sse",
    everConnected: true,
    connectedAt: 5,
    connectMs: 7,
    toolCount: 2,
    failedLast: true,
    mode: "quarantined",
    formerMode: "active",
    autoDisabled: { reason: "it failed", at: 5, probes: 2, dueAt: 9 },
    definitionHash: "d1",
    approvedHash: "d0",
  } as const;
  {
    await using store = open(dataDir);
    store.rememberServer("s", { era: "legacy" });
    store.rememberServer("s", learned);
    store.rememberServer("bare", {});
    store.saveTools("s", [makeTool("a"), makeTool("old")]);
    store.saveTools("s", [makeTool("a"), makeTool("b")]);
    store.saveTools("t", [makeTool("a", "t")]);
    expect(store.findServer("s")).toMatchObject(learned);
  }
  await using store = open(dataDir);
  const { firstSeenAt, ...rest } = store.findServer("s") ?? { firstSeenAt: 0 };
  expect(rest).toEqual({ name: "s", ...learned });
  expect(Math.abs(firstSeenAt - Date.now())).toBeLessThan(60_000);
  expect(store.findServer("bare")).toEqual({
    name: "bare",
    everConnected: false,
    failedLast: false,
    toolCount: 0,
    firstSeenAt: expect.any(Number) as number,
  });
  expect(store.findServer("absent")).toBeUndefined();
  expect(store.serverNames()).toEqual(["s", "bare"]);
  expect(store.readTools()).toEqual([makeTool("a"), makeTool("b"), makeTool("a", "t")]);
  expect(statSync(dataDir).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(dataDir)) {
    expect([name, statSync(join(dataDir, name)).mode & 0o777]).toEqual([name, 0o600]);
  }
});

test("Store.readTools() gives the tools of a server in the order it announced them", async () => {
  const dataDir = makeDir();
  const announced = ["m", "a", "z", "b"].map((name) => makeTool(name));
  {
    await using store = open(dataDir);
    store.saveTools("s", announced);
  }
  await using store = open(dataDir);
  expect(store.readTools()).toEqual(announced);
});

test("Store.forgetServer() forgets the server and its tools, and no others", async () => {
  const dataDir = makeDir();
  {
    await using store = open(dataDir);
    for (const name of ["s", "t"]) {
      store.rememberServer(name, { toolCount: 1 });
      store.saveTools(name, [makeTool("a", name)]);
    }
    store.forgetServer("s");
    expect(store.findServer("s")).toBeUndefined();
  }
  await using store = open(dataDir);
  expect(store.serverNames()).toEqual(["t"]);
  expect(store.readTools()).toEqual([makeTool("a", "t")]);
});

test("Store keeps of a mode only the quarantine, also of databases of older versions", async () => {
  const dataDir = makeDir();
  {
    await using store = open(dataDir);
    for (const mode of ["active", "disabled", "quarantined"] as const) store.rememberServer(mode, { mode });
  }
  const db = new Database(join(dataDir, "mcpproxy.db"));
  const statement = db.prepare("SELECT name, mode FROM servers WHERE mode IS NOT NULL");
  expect(statement.all()).toEqual([{ name: "quarantined", mode: "quarantined" }]);
  statement.finalize();
  db.run("UPDATE servers SET mode = 'lazy_loading' WHERE name = 'active'");
  db.close();
  await using store = open(dataDir);
  expect(store.serverNames().map((name) => store.findServer(name)?.mode)).toEqual([
    undefined,
    undefined,
    "quarantined",
  ]);
});

/** What effects do to a server that is known well. */
const EFFECTS: readonly (readonly [
  string,
  CommitEffects,
  Partial<Record<string, Partial<ServerMemory> | undefined>>,
])[] = [
  ["removed", { removed: ["s"] }, { s: undefined }],
  ["renamed", { renamed: [["s", "t"]] }, { s: undefined, t: { toolCount: 2, approvedHash: "old" } }],
  [
    "renamed twice",
    {
      renamed: [
        ["s", "t"],
        ["t", "u"],
      ],
    },
    { s: undefined, t: undefined, u: { toolCount: 2 } },
  ],
  ["renamed onto a known one", { renamed: [["s", "other"]] }, { s: undefined, other: { toolCount: 2 } }],
  [
    "renamed, unknown",
    { renamed: [["absent", "t"]] },
    { absent: undefined, t: undefined, s: { toolCount: 2 } },
  ],
  [
    "renamed and added anew",
    { renamed: [["s", "t"]], defined: [["s", "h"]] },
    { s: { toolCount: 0, definitionHash: "h", approvedHash: undefined }, t: { toolCount: 2 } },
  ],
  [
    "removed and added anew",
    { removed: ["s"], defined: [["s", "h"]] },
    { s: { toolCount: 0, definitionHash: "h", approvedHash: undefined } },
  ],
  [
    "defined and approved",
    {
      defined: [
        ["s", "h"],
        ["n", "h2"],
      ],
      approved: [["s", "h"]],
    },
    {
      s: { definitionHash: "h", approvedHash: "h", toolCount: 2 },
      n: { definitionHash: "h2", approvedHash: undefined },
    },
  ],
  [
    "quarantined with the mode before",
    { quarantined: [["s", true, "lazy_loading"]] },
    { s: { mode: "quarantined", formerMode: "lazy_loading" } },
  ],
  ["quarantined", { quarantined: [["s", true]] }, { s: { mode: "quarantined", formerMode: "active" } }],
  ["let go", { quarantined: [["s", false]] }, { s: { mode: undefined, formerMode: undefined } }],
  ["cleared", { cleared: ["s"] }, { s: { autoDisabled: undefined, formerMode: undefined } }],
  [
    "cleared in quarantine",
    { quarantined: [["s", true]], cleared: ["s"] },
    { s: { autoDisabled: undefined, formerMode: "active", mode: "quarantined" } },
  ],
];

for (const [name, effects, expected] of EFFECTS) {
  test(`Store.applyEffects() with a server ${name}: memory and database agree`, async () => {
    const dataDir = makeDir();
    const check = (store: Store): void => {
      for (const [server, wanted] of Object.entries(expected)) {
        if (wanted === undefined) expect(store.findServer(server)).toBeUndefined();
        else {
          const found = new Map(Object.entries(store.findServer(server) ?? {}));
          for (const [key, value] of Object.entries({ name: server, ...wanted }))
            expect(found.get(key)).toBe(value);
        }
      }
    };
    {
      await using store = open(dataDir);
      const autoDisabled = { reason: "r", at: 1, probes: 0, dueAt: 2 };
      store.rememberServer("s", { toolCount: 2, approvedHash: "old", formerMode: "active", autoDisabled });
      store.saveTools("s", [makeTool("a")]);
      store.rememberServer("other", { toolCount: 1 });
      store.saveTools("other", [makeTool("x", "other")]);
      // What was queued for the old name must not come back behind the effects.
      expect(store.applyEffects(effects, { isSynced: true, alongside: () => 7 })).toBe(7);
      check(store);
    }
    await using store = open(dataDir);
    check(store);
    const owners = new Set(store.readTools().map(({ server }) => server));
    const keepsTools = (effects.removed ?? effects.renamed) === undefined || name === "renamed, unknown";
    expect(owners.has("s")).toBe(keepsTools);
    const last = effects.renamed?.at(-1)?.[1];
    if (last !== undefined && name !== "renamed, unknown") {
      expect(store.readTools().filter(({ server }) => server === last)).toEqual([makeTool("a", last)]);
    }
  });
}

test("Store.applyEffects() that fails changes neither memory nor database, and the next one works", async () => {
  const dataDir = makeDir();
  await using store = open(dataDir);
  store.rememberServer("s", { toolCount: 1 });
  const effects = { renamed: [["s", "t"]], defined: [["t", "h"]] } as const;
  const alongside = (): never => {
    store.commits.record({ kind: "external", oldHash: "", newHash: "n", summary: "" });
    throw new Error("not today");
  };
  expect((await failureOf(() => store.applyEffects(effects, { isSynced: true, alongside }))).message).toBe(
    "not today",
  );
  expect(store.serverNames()).toEqual(["s"]);
  expect(store.commits.list(5)).toEqual([]);
  store.applyEffects(effects, { isSynced: false, alongside: () => {} });
  expect(store.findServer("t")).toMatchObject({ toolCount: 1, definitionHash: "h" });
});

test("Store.settleEffects() writes what was assumed as memory has it by then, and keeps newer tools", async () => {
  const dataDir = makeDir();
  {
    await using store = open(dataDir);
    store.rememberServer("s", { toolCount: 1 });
    store.saveTools("s", [makeTool("old"), makeTool("both")]);
    store.flush();
    const effects = { renamed: [["s", "t"]], defined: [["t", "h"]], removed: ["gone"] } as const;
    store.assumeEffects(effects);
    expect(store.findServer("t")).toMatchObject({ toolCount: 1, definitionHash: "h" });
    store.rememberServer("t", { toolCount: 5 });
    store.saveTools("t", [{ ...makeTool("both", "t"), fingerprint: "newer" }]);
    store.settleEffects(effects, () => {});
  }
  await using store = open(dataDir);
  expect(store.findServer("t")).toMatchObject({ toolCount: 5, definitionHash: "h" });
  expect(store.serverNames()).toEqual(["t"]);
  const tools = store.readTools().map(({ server, name, fingerprint }) => [server, name, fingerprint].join());
  expect(tools.toSorted()).toEqual(["t,both,newer", "t,old,f-old"]);
});

test("Store.renameServer() moves what is known of a server and its tools", async () => {
  const dataDir = makeDir();
  {
    await using store = open(dataDir);
    store.rememberServer("s", { toolCount: 1 });
    store.saveTools("s", [makeTool("a")]);
    store.renameServer("s", "t");
    store.renameServer("absent", "u");
    store.rememberServer("t", { toolCount: 2 });
    expect(store.serverNames()).toEqual(["t"]);
  }
  await using store = open(dataDir);
  expect(store.findServer("t")).toMatchObject({ name: "t", toolCount: 2 });
  expect(store.readTools().map(({ server }) => server)).toEqual(["t"]);
});

test("Commits: numbers grow over restarts, one is pending at most, old rows go", async () => {
  const dataDir = makeDir();
  const entry = { kind: "change", oldHash: "a", newHash: "b", summary: "s" } as const;
  {
    await using store = open(dataDir);
    const { commits } = store;
    store.transact(
      () => {
        expect(commits.record(entry)).toBe(1);
        expect(commits.intend(entry, { removed: ["x"] })).toBe(2);
        expect(commits.intend(entry, {})).toBe(3);
        expect(commits.list(2).map(({ state }) => state)).toEqual(["pending", "abandoned"]);
        commits.abandon(3);
        commits.finish(3);
        expect(commits.findPending()).toBeUndefined();
        expect(commits.intend(entry, { removed: ["y"] })).toBe(4);
        expect(commits.findPending()).toMatchObject({ id: 4, effects: { removed: ["y"] } });
        commits.finish(4);
        expect(commits.findLast()?.id).toBe(4);
        expect(commits.intend(entry, {})).toBe(5);
        expect(commits.record(entry)).toBe(6);
        expect(commits.findPending()).toBeUndefined();
        expect(commits.record(entry, 9)).toBe(9);
      },
      { isSynced: true },
    );
  }
  await using store = open(dataDir);
  store.transact(
    () => {
      for (let count = 0; count < 1_100; count += 1) store.commits.intend(entry, {});
    },
    { isSynced: false },
  );
  const rows = store.commits.list(5_000);
  expect([rows.length, rows[0]?.id, rows.at(-1)?.id]).toEqual([1_000, 1_109, 110]);
});

test("Store keeps strange names apart: quotes, __proto__, emoji, 300 characters, an empty one", async () => {
  verifies("CONFIG-STRANGE-NAMES");
  const dataDir = makeDir();
  const names = [
    "'; DROP TABLE servers; --",
    "__proto__",
    "constructor",
    "then",
    "../x",
    "\u{1f600}",
    "x".repeat(300),
    "",
    "ü",
    "U",
    "u",
  ];
  {
    await using store = open(dataDir);
    for (const name of names) {
      store.rememberServer(name, { toolCount: 1 });
      store.saveTools(name, [makeTool(name, name)]);
    }
  }
  await using store = open(dataDir);
  expect(store.serverNames().toSorted()).toEqual(names.toSorted());
  expect(
    store
      .readTools()
      .map((tool) => tool.name)
      .toSorted(),
  ).toEqual(names.toSorted());
});

test("Store writes in batches: none at once, all of them within the delay, in the order they came", async () => {
  const dataDir = makeDir();
  await using store = open(dataDir);
  for (let count = 1; count <= 500; count += 1) store.rememberServer("s", { toolCount: count });
  const rows = Array.from({ length: 2_500 }, (_, at) => makeTool(`t${at}`));
  store.saveTools("s", rows);
  store.saveTools("u", [makeTool("a", "u")]);
  expect(store.readTools()).toEqual([]);
  await waitFor("the batches are written", () => store.readTools().length === rows.length + 1, 2_000);
  expect(store.findServer("s")?.toolCount).toBe(500);
  store.saveTools("s", []);
  store.flush();
  expect(store.readTools()).toEqual([makeTool("a", "u")]);
});

test("Store: a write that cannot be made costs no other server its own", async () => {
  const dataDir = makeDir();
  const lines: string[] = [];
  await using store = Store.open({ dataDir, log: createLog({ write: (line) => lines.push(line) }) });
  store.saveTools("good", [makeTool("a", "good")]);
  store.saveTools("twice", [makeTool("a", "twice"), makeTool("a", "twice")]);
  store.saveTools("bad", [{ ...makeTool("a", "bad"), definition: null as unknown as string }]);
  store.rememberServer("late", { toolCount: 3 });
  store.flush();
  expect(store.readTools().map((tool) => tool.server)).toEqual(["good", "twice"]);
  expect(lines.filter((line) => line.includes("Cannot write to the database"))).toHaveLength(1);
  await store.close();
  await using again = open(dataDir);
  expect(again.findServer("late")?.toolCount).toBe(3);
});

test("Store.close() is idempotent, writes what waits, lets go of the file, and later writes do nothing", async () => {
  verifies("STORE-SECOND-PROCESS");
  const dataDir = makeDir();
  const store = open(dataDir);
  store.rememberServer("s", { toolCount: 9 });
  await Promise.all([store.close(), store.close()]);
  await store.close();
  store.rememberServer("s", { toolCount: 10 });
  store.saveTools("s", [makeTool("a")]);
  store.flush();
  const held = readdirSync("/proc/self/fd").length;
  for (let count = 0; count < 20; count += 1) await open(dataDir).close();
  expect(readdirSync("/proc/self/fd").length).toBe(held);
  await using again = open(dataDir);
  expect(again.findServer("s")?.toolCount).toBe(9);
});

test("Store.open() refuses a data dir that this process holds already, and leaves the holder whole", async () => {
  verifies("STORE-SECOND-PROCESS", "STORE-CORRUPT-SET-ASIDE");
  const dataDir = makeDir();
  await using store = open(dataDir);
  store.rememberServer("s", { toolCount: 1 });
  const failure = await failureOf(() => open(dataDir));
  expect(failure["code"]).toBe("DATA_DIR_IN_USE");
  expect(failure.message).toBe(
    `Cannot open '${join(dataDir, "mcpproxy.db")}': another process is using this data dir`,
  );
  expect(failure["hint"]).toContain("--data-dir");
  expect(readdirSync(dataDir).filter((name) => name.includes("corrupt"))).toEqual([]);
  store.flush();
  expect(store.findServer("s")?.toolCount).toBe(1);
});

test("Store.open() refuses a data dir that another process holds, until that one is killed, and then has all it wrote", async () => {
  verifies("STORE-SECOND-PROCESS", "STORE-CORRUPT-SET-ASIDE");
  const dataDir = makeDir();
  const script = `
    import { Store } from ${JSON.stringify(join(import.meta.dir, "../../src/state/store.ts"))};
    import { SILENT_LOG } from ${JSON.stringify(join(import.meta.dir, "../../src/lib/log.ts"))};
    const store = Store.open({ dataDir: ${JSON.stringify(dataDir)}, log: SILENT_LOG });
    store.rememberServer("s", { toolCount: 42 });
    store.flush();
    console.log("held");
    setInterval(() => {}, 1000);`;
  const holder = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
  const reader = holder.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe("held\n");
  const startedAt = performance.now();
  expect((await failureOf(() => open(dataDir)))["code"]).toBe("DATA_DIR_IN_USE");
  expect(performance.now() - startedAt).toBeLessThan(500);
  holder.kill("SIGKILL");
  await holder.exited;
  await using store = open(dataDir);
  expect(store.findServer("s")?.toolCount).toBe(42);
  expect(readdirSync(dataDir).filter((name) => name.includes("corrupt"))).toEqual([]);
});

/** Makes a database with content and spoils it. */
const SPOILERS: readonly (readonly [string, (path: string) => void])[] = [
  ["is no database", (path) => writeFileSync(path, "this is a text file, and not a short one\n".repeat(100))],
  [
    "is cut in the middle",
    (path) => truncateSync(path, Math.floor(statSync(path).size / 2 / 4096) * 4096 + 100),
  ],
  [
    "has a page of noise",
    (path) => {
      const bytes = readFileSync(path);
      bytes.fill(0xa5, 4096, 8192);
      writeFileSync(path, bytes);
    },
  ],
];

for (const [name, spoil] of SPOILERS) {
  test(`Store.open() sets a file aside that ${name}, reports it, and begins anew`, async () => {
    verifies("STORE-CORRUPT-SET-ASIDE");
    const dataDir = makeDir();
    const path = join(dataDir, "mcpproxy.db");
    {
      await using store = open(dataDir);
      store.saveTools(
        "s",
        Array.from({ length: 200 }, (_, at) => makeTool(`t${at}`)),
      );
    }
    spoil(path);
    const spoiled = readFileSync(path);
    const lines: string[] = [];
    await using store = Store.open({ dataDir, log: createLog({ write: (line) => lines.push(line) }) });
    expect(store.readTools()).toEqual([]);
    store.rememberServer("new", {});
    store.flush();
    const aside = readdirSync(dataDir).filter(
      (file) => file.startsWith("mcpproxy.db.corrupt-") && !file.endsWith("-wal"),
    );
    expect(aside).toHaveLength(1);
    expect(readFileSync(join(dataDir, aside[0] ?? "")).equals(spoiled)).toBe(true);
    expect(lines.join("")).toContain("ERROR The database is corrupt and was set aside");
    expect(lines.join("")).toContain(aside[0] ?? "");
  });
}

test("Store.open() survives a write-ahead log of noise and an empty file", async () => {
  const dataDir = makeDir();
  const path = join(dataDir, "mcpproxy.db");
  writeFileSync(path, "");
  await open(dataDir).close();
  writeFileSync(`${path}-wal`, Buffer.alloc(100_000, 0xa5));
  await using store = open(dataDir);
  expect(store.readTools()).toEqual([]);
});

test("Store.open() refuses a database of a newer version, leaves it as it is, and lets go of it", async () => {
  verifies("STORE-MIGRATES");
  const dataDir = makeDir();
  const path = join(dataDir, "mcpproxy.db");
  await open(dataDir).close();
  const db = new Database(path);
  db.run("INSERT INTO migrations (tag, applied_at) VALUES ('0099_future', 1)");
  db.close();
  const failure = await failureOf(() => open(dataDir));
  expect(failure["code"]).toBe("STORE_CORRUPT");
  expect(failure.message).toBe("Cannot use the database: it has the newer migration '0099_future'");
  expect(readdirSync(dataDir).filter((name) => name.includes("corrupt"))).toEqual([]);
  const later = new Database(path);
  later.run("DELETE FROM migrations WHERE tag = '0099_future'");
  later.close();
  await open(dataDir).close();
});

test.each([
  ["DROP TABLE tools", "tools.server"],
  ["DROP TABLE commits", "commits.id"],
  ["ALTER TABLE children DROP COLUMN born", "children.born"],
  ["ALTER TABLE activity RENAME COLUMN detail TO details", "activity.detail"],
])("Store.open() refuses a database after %j and lets go of it", async (change, missing) => {
  const dataDir = makeDir();
  const path = join(dataDir, "mcpproxy.db");
  await open(dataDir).close();
  const db = new Database(path);
  db.run(change);
  db.close();
  for (let time = 0; time < 2; time += 1) {
    const failure = await failureOf(() => open(dataDir));
    expect(failure["code"]).toBe("STORE_CORRUPT");
    expect(failure.message).toEndWith(`it has no column '${missing}'`);
  }
});

test("Store.open() says what is wrong with a data dir that is a file, or a database that is a folder", async () => {
  const dataDir = makeDir();
  const file = join(dataDir, "file");
  writeFileSync(file, "");
  const failures = [await failureOf(() => open(file)), await failureOf(() => open(join(file, "below")))];
  mkdirSync(join(dataDir, "folder", "mcpproxy.db"), { recursive: true });
  failures.push(await failureOf(() => open(join(dataDir, "folder"))));
  for (const failure of failures) {
    expect(failure["code"]).toBe("STORE_CORRUPT");
    expect(failure.message).toStartWith("Cannot open '");
    expect(failure["hint"]).toBe("Check that the data dir exists, is a folder and may be written");
  }
});

test.skipIf(process.getuid?.() === 0)("Store.open() refuses a data dir that may not be written", async () => {
  const dataDir = makeDir();
  chmodSync(dataDir, 0o500);
  expect((await failureOf(() => open(dataDir)))["code"]).toBe("STORE_CORRUPT");
  expect(existsSync(join(dataDir, "mcpproxy.db"))).toBe(false);
});
