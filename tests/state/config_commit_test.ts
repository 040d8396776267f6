/**
 * The two-phase commit: what is durable, who wins a race, what a start makes of a killed run, and every odd
 * file.
 */
import { afterEach, expect, jest, setSystemTime, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { createLog, SILENT_LOG } from "../../src/lib/log.ts";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import type { KeptConflict } from "../../src/state/config_commit.ts";
import { findTempFiles } from "../../src/state/config_swap.ts";
import { Store } from "../../src/state/store.ts";
import { failureOf, tempDir, waitFor } from "../fixtures/wait.ts";

const OLD = '{ "mcpServers": [] } // old\n';
const NEW = '{ "mcpServers": [] } // new\n';
const EDITED = '{ "mcpServers": [] } // edited\n';
/** For tests that move much, on a machine that is busy. */
const SLOW_MS = 60_000;
const IS_ROOT = process.getuid?.() === 0;

const opened: AsyncDisposable[] = [];
const folders: Disposable[] = [];

afterEach(async () => {
  jest.useRealTimers();
  setSystemTime();
  for (const resource of opened.splice(0).toReversed()) await resource[Symbol.asyncDispose]();
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

interface Bench {
  readonly root: string;
  readonly path: string;
  readonly dataDir: string;
  readonly store: Store;
  readonly commit: ConfigCommit;
  readonly conflicts: KeptConflict[];
  readonly lines: string[];
  readonly read: () => string;
  /** Closes, as a clean stop does. */
  readonly close: () => Promise<void>;
}

/** Makes the folder; `lay` puts the file there, in its own way. */
function layOut(lay: (path: string) => void = (path) => writeFileSync(path, OLD)): string {
  const folder = tempDir();
  folders.push(folder);
  mkdirSync(join(folder.path, "conf"));
  lay(join(folder.path, "conf", "c.json"));
  return folder.path;
}

function openAt(root: string): Bench {
  const [path, dataDir] = [join(root, "conf", "c.json"), join(root, "data")];
  const lines: string[] = [];
  const log = createLog({ write: (line) => lines.push(line) });
  const store = Store.open({ dataDir, log });
  opened.push(store);
  const conflicts: KeptConflict[] = [];
  const commit = ConfigCommit.open({ path, store, dataDir, log, onConflict: (kept) => conflicts.push(kept) });
  opened.push(commit);
  const close = async (): Promise<void> => {
    await commit.close();
    await store.close();
  };
  return {
    root,
    path,
    dataDir,
    store,
    commit,
    conflicts,
    lines,
    close,
    read: () => readFileSync(path, "utf8"),
  };
}

function open(lay?: (path: string) => void): Bench {
  return openAt(layOut(lay));
}

function draft(text: string, hash = "h"): Parameters<ConfigCommit["commit"]>[0] {
  return { text, effects: { defined: [["s", hash]] }, summary: "test" };
}

function saveOver(path: string, text: string): void {
  writeFileSync(`${path}~`, text);
  renameSync(`${path}~`, path);
}

test("ConfigCommit.open() gives the first text a revision, and the same text keeps it over restarts", async () => {
  const first = open();
  expect(first.commit.text).toBe(OLD);
  expect(first.commit.revision).toBe(1);
  expect(first.commit.hash).toBe(new Bun.CryptoHasher("sha256").update(OLD).digest("hex"));
  expect(first.store.commits.list(5)).toMatchObject([{ id: 1, kind: "start", state: "done" }]);
  await first.close();
  expect(openAt(first.root).commit.revision).toBe(1);
});

test("ConfigCommit.open() gives a text that was edited meanwhile a revision of its own", async () => {
  const first = open();
  expect(first.commit.commit(draft(NEW)).revision).toBe(2);
  await first.close();
  writeFileSync(first.path, EDITED);
  const { commit, store } = openAt(first.root);
  expect([commit.revision, commit.text, commit.readChanged()]).toEqual([3, EDITED, undefined]);
  expect(store.commits.list(1)).toMatchObject([{ kind: "external" }]);
});

test("ConfigCommit.commit() makes text, revision and rows true together, and they are there after a restart", async () => {
  const { commit, store, read, close, root, dataDir } = open();
  store.rememberServer("a", { toolCount: 3 });
  const result = commit.commit({
    text: NEW,
    effects: { renamed: [["a", "b"]], defined: [["b", "h1"]], approved: [["b", "h1"]] },
    summary: "rename",
  });
  expect(result).toEqual({ revision: 2 });
  expect([commit.revision, commit.text, read(), commit.isDegraded]).toEqual([2, NEW, NEW, false]);
  expect(commit.readChanged()).toBeUndefined();
  expect(store.findServer("a")).toBeUndefined();
  expect(store.findServer("b")).toMatchObject({ toolCount: 3, definitionHash: "h1", approvedHash: "h1" });
  await close();
  const again = openAt(root);
  expect(again.commit.revision).toBe(2);
  expect(again.store.findServer("b")).toMatchObject({ name: "b", toolCount: 3, approvedHash: "h1" });
  expect(again.store.serverNames()).toEqual(["b"]);
  const row = again.store.commits.list(1)[0];
  expect(row).toMatchObject({ id: 2, kind: "change", state: "done", summary: "rename" });
  // Hashes only: neither journal nor log of the database holds the text.
  const data = ["mcpproxy.db", "mcpproxy.db-wal"].map((name) => join(dataDir, name)).filter(existsSync);
  for (const file of data) expect(readFileSync(file).includes("mcpServers")).toBe(false);
});

test("ConfigCommit.commit() does nothing for an equal text, and writes rows alone when there are some", async () => {
  const { commit, path, store, close, root } = open();
  const { ino } = statSync(path);
  expect(commit.commit({ text: OLD, effects: {}, summary: "" })).toEqual({ revision: 1 });
  expect(commit.commit({ text: OLD, effects: { approved: [["s", "h"]] }, summary: "" })).toEqual({
    revision: 1,
  });
  expect(statSync(path).ino).toBe(ino);
  expect(store.commits.list(5)).toHaveLength(1);
  expect(commit.history.list()).toEqual([]);
  await close();
  expect(openAt(root).store.findServer("s")?.approvedHash).toBe("h");
});

test("ConfigCommit.commit() refuses when the file was changed, until the change was adopted", async () => {
  const { commit, path, read, store } = open();
  const before = commit.hash;
  saveOver(path, EDITED);
  const error = await failureOf(() => commit.commit(draft(NEW)));
  expect(error["code"]).toBe("CONFIG_CONFLICT");
  const actual = new Bun.CryptoHasher("sha256").update(EDITED).digest("hex");
  expect(error["data"]).toEqual({ expected: before, actual });
  expect([read(), commit.text, commit.revision]).toEqual([EDITED, OLD, 1]);
  expect(store.findServer("s")).toBeUndefined();
  expect(commit.readChanged()).toBe(EDITED);
  expect(commit.adopt(EDITED, { defined: [["s", "by hand"]] })).toBe(2);
  expect(commit.readChanged()).toBeUndefined();
  expect(store.findServer("s")?.definitionHash).toBe("by hand");
  expect(commit.commit(draft(NEW)).revision).toBe(3);
  expect(read()).toBe(NEW);
});

test("ConfigCommit.adopt() keeps the text before, and an equal text its revision", () => {
  const { commit, store } = open();
  expect(commit.adopt(OLD, {})).toBe(1);
  expect(commit.adopt(OLD, { defined: [["s", "h"]] })).toBe(1);
  expect(store.findServer("s")?.definitionHash).toBe("h");
  commit.adopt(EDITED, {});
  expect(commit.history.list()).toMatchObject([{ revision: 1 }]);
  expect(commit.history.read("1")).toBe(OLD);
});

test("ConfigCommit.commit() keeps what was learned before it, in the order it was learned", async () => {
  const { commit, store, close, root } = open();
  const tool = (server: string, name: string) => ({ server, name, definition: "{}", fingerprint: "f" });
  store.rememberServer("a", { toolCount: 7 });
  store.saveTools("a", [tool("a", "t")]);
  store.saveTools("gone", [tool("gone", "t")]);
  commit.commit({ text: NEW, effects: { renamed: [["a", "b"]], removed: ["gone"] }, summary: "" });
  store.rememberServer("b", { toolCount: 8 });
  await close();
  const again = openAt(root).store;
  expect(again.serverNames()).toEqual(["b"]);
  expect(again.findServer("b")?.toolCount).toBe(8);
  expect(again.readTools()).toEqual([tool("b", "t")]);
});

/** What a killed run left, and what the next start makes of it. */
const KILLED: readonly {
  readonly name: string;
  readonly file: string;
  readonly stray?: string;
  readonly expected: {
    readonly revision: number;
    readonly hash: string;
    readonly state: string;
    readonly kept?: readonly string[];
  };
}[] = [
  { name: "before the temp file", file: OLD, expected: { revision: 1, hash: "h-old", state: "abandoned" } },
  {
    name: "in the middle of the temp file",
    file: OLD,
    stray: NEW.slice(0, 9),
    expected: { revision: 1, hash: "h-old", state: "abandoned" },
  },
  {
    name: "after the swap",
    file: NEW,
    stray: OLD,
    expected: { revision: 2, hash: "h-new", state: "done" },
  },
  {
    name: "after the swap that displaced the text of a person",
    file: NEW,
    stray: EDITED,
    expected: { revision: 2, hash: "h-new", state: "done", kept: [EDITED] },
  },
  {
    name: "and the file was edited since",
    file: EDITED,
    stray: NEW,
    expected: { revision: 3, hash: "h-old", state: "abandoned" },
  },
];

for (const { name, file, stray, expected } of KILLED) {
  test(`ConfigCommit.open() after a kill ${name}: file and database agree, nothing is left, nothing is lost`, async () => {
    const root = layOut();
    const first = openAt(root);
    first.commit.adopt(OLD, { defined: [["s", "h-old"]] });
    const newHash = new Bun.CryptoHasher("sha256").update(NEW).digest("hex");
    const entry = { kind: "change", oldHash: first.commit.hash, newHash, summary: "killed" } as const;
    const effects = { defined: [["s", "h-new"]] } as const;
    first.store.transact(() => first.store.commits.intend(entry, effects), { isSynced: true });
    await first.close();
    writeFileSync(first.path, file);
    if (stray !== undefined) writeFileSync(join(root, "conf", ".c.json.1-0.mcpproxy-tmp"), stray);
    const { commit, store, conflicts, path, dataDir } = openAt(root);
    expect([commit.text, commit.revision]).toEqual([file, expected.revision]);
    expect(store.findServer("s")?.definitionHash).toBe(expected.hash);
    expect(store.commits.list(5).find(({ id }) => id === 2)?.state).toBe(expected.state as "done");
    expect(store.commits.findPending()).toBeUndefined();
    expect(findTempFiles(path)).toEqual([]);
    expect(conflicts.map(({ text }) => text)).toEqual([...(expected.kept ?? [])]);
    for (const kept of conflicts) {
      expect(readFileSync(kept.path ?? "", "utf8")).toBe(kept.text);
      expect(kept.path).toStartWith(join(dataDir, "backups", "conflict-"));
    }
    expect(commit.commit(draft("{}")).revision).toBe(expected.revision === 1 ? 3 : expected.revision + 1);
  });
}

test("ConfigCommit.commit() puts the old text back when the database cannot follow", async () => {
  const { commit, store, read, path, close, root } = open();
  const applyEffects = store.applyEffects.bind(store);
  store.applyEffects = () => {
    throw Object.assign(new Error("disk I/O error"), { code: "SQLITE_IOERR_WRITE" });
  };
  const error = await failureOf(() => commit.commit(draft(NEW)));
  expect(error["code"]).toBe("CONFIG_UNWRITABLE");
  expect(error.message).toBe(`Cannot write configuration '${path}': the database answers 'disk I/O error'`);
  expect([read(), commit.text, commit.revision, commit.isDegraded]).toEqual([OLD, OLD, 1, false]);
  expect(store.findServer("s")).toBeUndefined();
  expect(readdirSync(join(root, "conf"))).toEqual(["c.json"]);
  store.applyEffects = applyEffects;
  expect(store.commits.list(1)).toMatchObject([{ state: "abandoned" }]);
  expect(commit.commit(draft(NEW)).revision).toBe(3);
  await close();
});

/** Makes the rows fail, and the way back too. */
function breakForward({ store, path }: Bench): () => void {
  const applyEffects = store.applyEffects.bind(store);
  const settleEffects = store.settleEffects.bind(store);
  store.applyEffects = () => {
    for (const stray of findTempFiles(path)) rmSync(stray);
    throw new Error("no rows today");
  };
  store.settleEffects = () => {
    throw new Error("no rows yet");
  };
  return () => {
    store.applyEffects = applyEffects;
    store.settleEffects = settleEffects;
  };
}

test("ConfigCommit goes forward with a warning when there is no way back, and settles as soon as it can", async () => {
  jest.useFakeTimers();
  const bench = open();
  const { commit, store, read, close, root } = bench;
  const mend = breakForward(bench);
  const result = commit.commit(draft(NEW, "h-new"));
  expect(result.revision).toBe(2);
  expect(result.warning).toBe(
    "The change is in force, but could not be finished: no rows today. It is tried again",
  );
  expect([commit.isDegraded, commit.text, read()]).toEqual([true, NEW, NEW]);
  expect(store.findServer("s")?.definitionHash).toBe("h-new");
  expect((await failureOf(() => commit.commit(draft("{}"))))["code"]).toBe("CONFIG_UNWRITABLE");
  expect(read()).toBe(NEW);
  jest.advanceTimersByTime(5_000);
  expect(commit.isDegraded).toBe(true);
  store.rememberServer("s", { toolCount: 4 });
  mend();
  jest.advanceTimersByTime(60_000);
  expect(commit.isDegraded).toBe(false);
  expect(store.commits.list(1)).toMatchObject([{ id: 2, state: "done" }]);
  jest.useRealTimers();
  await close();
  const again = openAt(root);
  expect(again.store.findServer("s")).toMatchObject({ definitionHash: "h-new", toolCount: 4 });
  expect(again.commit.revision).toBe(2);
});

test("ConfigCommit that is killed while it is degraded rolls forward at the next start", async () => {
  const bench = open();
  const mend = breakForward(bench);
  expect(bench.commit.commit(draft(NEW, "h-new")).warning).toBeDefined();
  // A close that cannot settle either is as good as a kill.
  await bench.close();
  mend();
  const again = openAt(bench.root);
  expect([again.commit.revision, again.commit.text, again.commit.isDegraded]).toEqual([2, NEW, false]);
  expect(again.store.findServer("s")?.definitionHash).toBe("h-new");
  expect(bench.lines.join("")).toContain("The database was not told of the last change");
});

test("ConfigCommit.adopt() never fails: without the database it is owed, in order, under the same number", async () => {
  const bench = open();
  const { commit, store, path, close, root } = bench;
  const mend = breakForward(bench);
  expect(commit.adopt(EDITED, { defined: [["s", "h1"]] })).toBe(2);
  expect(commit.adopt(NEW, { renamed: [["s", "t"]] })).toBe(3);
  expect([commit.isDegraded, commit.text]).toEqual([true, NEW]);
  expect(store.findServer("t")?.definitionHash).toBe("h1");
  mend();
  writeFileSync(path, NEW);
  expect(commit.commit(draft("{}")).revision).toBe(4);
  expect(store.commits.list(4).map(({ id, kind }) => [id, kind])).toEqual([
    [4, "change"],
    [3, "external"],
    [2, "external"],
    [1, "start"],
  ]);
  await close();
  expect(openAt(root).store.serverNames().toSorted()).toEqual(["s", "t"]);
});

test("ConfigCommit keeps a backup a minute at most, one before each rollback, ten in all", () => {
  setSystemTime(new Date("2026-01-01T00:00:00Z"));
  const { commit } = open();
  const texts = Array.from({ length: 14 }, (_, at) => `{ "x": ${at} }`);
  commit.commit(draft("{ }"));
  commit.commit(draft("{  }"));
  expect(commit.history.list().map(({ revision }) => revision)).toEqual([1]);
  setSystemTime(new Date("2026-01-01T00:00:01Z"));
  commit.commit({ ...draft(OLD), isRollback: true });
  expect(commit.history.list().map(({ revision }) => revision)).toEqual([3, 1]);
  expect(commit.history.read("3")).toBe("{  }");
  for (const [at, text] of texts.entries()) {
    setSystemTime(new Date(Date.UTC(2026, 0, 1, 0, at + 2)));
    commit.commit(draft(text));
  }
  const kept = commit.history.list();
  expect(kept).toHaveLength(10);
  expect(kept[0]).toMatchObject({ revision: commit.revision - 1, bytes: 11 });
  expect(commit.history.read(kept[0]?.id ?? "")).toBe('{ "x": 12 }');
});

test("ConfigCommit.commit() refuses when the backup cannot be written, and nothing changed", async () => {
  const { commit, dataDir, read, store } = open();
  writeFileSync(join(dataDir, "backups"), "in the way");
  const error = await failureOf(() => commit.commit(draft(NEW)));
  expect(error["code"]).toBe("CONFIG_UNWRITABLE");
  expect([read(), commit.revision, store.findServer("s")]).toEqual([OLD, 1, undefined]);
  rmSync(join(dataDir, "backups"));
  expect(commit.commit(draft(NEW)).revision).toBe(2);
});

test(
  "ConfigCommit: what an editor saves while commits run is adopted, in the file, or kept",
  async () => {
    const bench = open();
    const { commit, path, conflicts, read, root } = bench;
    const script = `
    const { writeFileSync, renameSync, openSync, ftruncateSync, writeSync, closeSync } = require("node:fs");
    const path = ${JSON.stringify(path)};
    for await (const line of console) {
      if (line === "") continue;
      const text = JSON.stringify({ save: Number(line) }) + " ".repeat(3000);
      writeFileSync(path + "~", text);
      if (Number(line) % 3 === 0) { const f = openSync(path, "r+"); ftruncateSync(f, 0); writeSync(f, text); closeSync(f); }
      else renameSync(path + "~", path);
      process.stdout.write("saved\\n");
    }`;
    const editor = Bun.spawn([process.execPath, "-e", script], { stdin: "pipe", stdout: "pipe" });
    const reader = editor.stdout.getReader();
    const seen = new Set<string>();
    const take = (): void => {
      const text = commit.readChanged();
      if (text === undefined) return;
      seen.add(text.trim());
      commit.adopt(text, {});
    };
    let [commits, refused] = [0, 0];
    for (let save = 0; save < 150; save += 1) {
      const progress = { isSaved: false };
      void editor.stdin.write(`${save}\n`);
      void editor.stdin.flush();
      void reader.read().then(() => (progress.isSaved = true));
      while (!progress.isSaved) {
        try {
          commit.commit(draft(`{ "commit": ${(commits += 1)} }`, String(commits)));
        } catch (error) {
          expect((error as Error & { code: string }).code).toBe("CONFIG_CONFLICT");
          refused += 1;
          take();
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      const wanted = JSON.stringify({ save });
      take();
      const isThere = (): boolean =>
        seen.has(wanted) || conflicts.some(({ text }) => text.trim() === wanted) || read().trim() === wanted;
      await waitFor(`save ${save} is somewhere`, isThere, 1_000);
    }
    void editor.stdin.end();
    await editor.exited;
    rmSync(`${path}~`, { force: true });
    expect(refused).toBeGreaterThan(0);
    expect(readdirSync(join(root, "conf"))).toEqual(["c.json"]);
    expect(bench.lines.filter((line) => line.includes(" ERROR "))).toEqual([]);
  },
  SLOW_MS,
);

/** Odd files: each has one answer. `lay` makes it, `check` looks after a commit. */
const ODD: readonly {
  readonly name: string;
  readonly lay: (path: string) => void;
  readonly text?: string;
  readonly check?: (path: string) => void;
}[] = [
  {
    name: "a link: it stays, its target is replaced",
    lay: (path) => {
      mkdirSync(join(path, "..", "deep"));
      writeFileSync(join(path, "..", "deep", "real.json"), OLD);
      symlinkSync("deep/real.json", path);
    },
    check: (path) => {
      expect(lstatSync(path).isSymbolicLink()).toBe(true);
      expect(readFileSync(join(path, "..", "deep", "real.json"), "utf8")).toBe(NEW);
      expect(readdirSync(join(path, "..", "deep"))).toEqual(["real.json"]);
    },
  },
  {
    name: "a link to a link through a linked folder",
    lay: (path) => {
      mkdirSync(join(path, "..", "..", "v1"));
      writeFileSync(join(path, "..", "..", "v1", "c"), OLD);
      symlinkSync("../v1", join(path, "..", "now"));
      symlinkSync("now/c", join(path, "..", "middle"));
      symlinkSync("middle", path);
    },
    check: (path) => expect(readFileSync(join(path, "..", "..", "v1", "c"), "utf8")).toBe(NEW),
  },
  {
    name: "mode 0444: replaced, since that takes rights on the folder; the mode stays",
    lay: (path) => writeFileSync(path, OLD, { mode: 0o444 }),
    check: (path) => expect(statSync(path).mode & 0o777).toBe(0o444),
  },
  {
    name: "mode 0600 stays",
    lay: (path) => writeFileSync(path, OLD, { mode: 0o600 }),
    check: (path) => expect(statSync(path).mode & 0o777).toBe(0o600),
  },
  {
    name: "mode 0666 stays, whatever the umask",
    lay: (path) => {
      writeFileSync(path, OLD);
      chmodSync(path, 0o666);
    },
    check: (path) => expect(statSync(path).mode & 0o777).toBe(0o666),
  },
  {
    name: "a byte order mark is part of the text",
    lay: (path) => writeFileSync(path, `\ufeff${OLD}`),
    text: `\ufeff${OLD}`,
  },
  { name: "CRLF stays", lay: (path) => writeFileSync(path, "{\r\n}\r\n"), text: "{\r\n}\r\n" },
  { name: "NUL is text like any other here", lay: (path) => writeFileSync(path, "{}\0\0"), text: "{}\0\0" },
  { name: "an empty file", lay: (path) => writeFileSync(path, ""), text: "" },
  {
    name: "a second hard link keeps the old text",
    lay: (path) => {
      writeFileSync(path, OLD);
      linkSync(path, join(path, "..", "..", "other"));
    },
    check: (path) => expect(readFileSync(join(path, "..", "..", "other"), "utf8")).toBe(OLD),
  },
  {
    name: "exactly 50 MB",
    lay: (path) => {
      writeFileSync(path, OLD);
      truncateSync(path, 50 * 1024 * 1024);
    },
    text: OLD + "\0".repeat(50 * 1024 * 1024 - OLD.length),
  },
];

for (const { name, lay, text = OLD, check } of ODD) {
  const isLarge = text.length > 1_000_000;
  const look = (): void => {
    const { commit, read, path } = open(lay);
    expect(commit.text === text).toBe(true);
    expect(commit.readChanged()).toBeUndefined();
    commit.commit(draft(NEW));
    expect(read()).toBe(NEW);
    check?.(path);
    expect(commit.history.read("1") === text).toBe(true);
    commit.commit(draft(text));
    expect(readFileSync(path).equals(Buffer.from(text))).toBe(true);
    expect(findTempFiles(path)).toEqual([]);
  };
  test(`ConfigCommit with an odd file: ${name}`, look, isLarge ? SLOW_MS : undefined);
}

test.skipIf(!IS_ROOT)("ConfigCommit keeps the owner of the file when it may", () => {
  const { commit, path } = open((at) => {
    writeFileSync(at, OLD, { mode: 0o640 });
    chownSync(at, 1234, 2345);
  });
  commit.commit(draft(NEW));
  const { uid, gid, mode } = statSync(path);
  expect([uid, gid, mode & 0o777]).toEqual([1234, 2345, 0o640]);
});

test.skipIf(IS_ROOT)(
  "ConfigCommit refuses when the folder may not be written, and nothing changed",
  async () => {
    const { commit, path, read } = open();
    chmodSync(join(path, ".."), 0o500);
    const error = await failureOf(() => commit.commit(draft(NEW)));
    chmodSync(join(path, ".."), 0o700);
    expect(error["code"]).toBe("CONFIG_UNWRITABLE");
    expect(error.message).toContain("EACCES");
    expect(error["hint"]).toBe("Let the user of the proxy write into the folder of the file");
    expect([read(), commit.revision]).toEqual([OLD, 1]);
  },
);

/** What may come to lie at the path while the proxy runs, or be there at the start. */
const BAD: readonly {
  readonly name: string;
  readonly lay: (path: string) => void;
  readonly start: string;
  readonly commit: string;
  readonly code?: string;
}[] = [
  {
    name: "a directory",
    lay: (path) => mkdirSync(path),
    start: "it is a directory",
    commit: "it is a directory",
  },
  {
    name: "a FIFO",
    lay: (path) => Bun.spawnSync(["mkfifo", path]),
    start: "it is no regular file",
    commit: "it is no regular file",
  },
  {
    name: "a link to itself",
    lay: (path) => symlinkSync("c.json", path),
    start: "its links go in a circle",
    commit: "its links go in a circle",
  },
  {
    name: "a file past 50 MB",
    lay: (path) => {
      writeFileSync(path, OLD);
      truncateSync(path, 50 * 1024 * 1024 + 1);
    },
    start: "it is larger than 50 MB",
    commit: "it is larger than 50 MB",
  },
  {
    name: "text that is not UTF-8",
    lay: (path) => writeFileSync(path, Buffer.from([0x7b, 0xff, 0x7d])),
    start: "it is not UTF-8 text",
    commit: "it was changed outside of the proxy",
    code: "CONFIG_CONFLICT",
  },
];

for (const bad of BAD) {
  test(`ConfigCommit with ${bad.name} at the path: refused at the start; while running the last good text stays`, async () => {
    const atStart = await failureOf(() => open(bad.lay));
    expect([atStart["code"], atStart.message]).toEqual([
      "CONFIG_UNREADABLE",
      expect.stringContaining(bad.start),
    ]);
    const { commit, path } = open();
    rmSync(path);
    bad.lay(path);
    const kind = lstatSync(path).mode;
    expect((await failureOf(() => commit.readChanged()))["code"]).toBe("CONFIG_UNREADABLE");
    const error = await failureOf(() => commit.commit(draft(NEW)));
    expect([error["code"], error.message]).toEqual([
      bad.code ?? "CONFIG_UNWRITABLE",
      `Cannot write configuration '${path}': ${bad.commit}`,
    ]);
    expect(lstatSync(path).mode).toBe(kind);
    expect([commit.text, commit.revision]).toEqual([OLD, 1]);
    expect(readdirSync(join(path, ".."))).toEqual(["c.json"]);
  });
}

test("ConfigCommit with a file deleted while it runs: the last good text stays, the next commit writes it anew", async () => {
  const { commit, path, read, close, root } = open();
  rmSync(path);
  const error = await failureOf(() => commit.readChanged());
  expect([error["code"], error.message]).toEqual([
    "CONFIG_UNREADABLE",
    `Cannot read configuration '${path}': there is no such file`,
  ]);
  expect(commit.text).toBe(OLD);
  expect(commit.commit(draft(OLD)).revision).toBe(2);
  expect(read()).toBe(OLD);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  commit.commit(draft(NEW));
  rmSync(path);
  await close();
  const atStart = await failureOf(() => openAt(root));
  expect(atStart["code"]).toBe("CONFIG_UNREADABLE");
  expect(atStart["hint"]).toContain("the last kept version is '");
});

test("ConfigCommit with a link whose target is deleted: refused at the start; while running the target is written anew", async () => {
  const dangling = (path: string): void => symlinkSync("nowhere.json", path);
  expect((await failureOf(() => open(dangling)))["code"]).toBe("CONFIG_UNREADABLE");
  const { commit, path } = open((at) => {
    writeFileSync(join(at, "..", "real.json"), OLD);
    symlinkSync("real.json", at);
  });
  rmSync(join(path, "..", "real.json"));
  commit.commit(draft(NEW));
  expect(lstatSync(path).isSymbolicLink()).toBe(true);
  expect(readFileSync(join(path, "..", "real.json"), "utf8")).toBe(NEW);
});

test("ConfigCommit with its folder gone refuses and says what to do", async () => {
  const { commit, path } = open();
  rmSync(join(path, ".."), { recursive: true });
  const error = await failureOf(() => commit.commit(draft(NEW)));
  expect([error["code"], error["hint"]]).toEqual(["CONFIG_UNWRITABLE", "Make the folder of the file again"]);
  expect(commit.text).toBe(OLD);
});

test("ConfigCommit.commit() refuses a text that it could not read again", async () => {
  const { commit, read } = open();
  const error = await failureOf(() => commit.commit(draft(" ".repeat(50 * 1024 * 1024 + 1))));
  expect([error["code"], error.message]).toEqual([
    "CONFIG_UNWRITABLE",
    expect.stringContaining("it would be larger than 50 MB"),
  ]);
  expect(read()).toBe(OLD);
});

test("ConfigCommit.open() takes a few milliseconds for 139 KB when nothing is pending", async () => {
  const text = `{ "mcpServers": [] } //${"x".repeat(139_000)}`;
  const root = layOut((path) => writeFileSync(path, text));
  await openAt(root).close();
  const times: number[] = [];
  for (let run = 0; run < 7; run += 1) {
    const store = Store.open({ dataDir: join(root, "data"), log: SILENT_LOG });
    const startedAt = performance.now();
    const commit = ConfigCommit.open({
      path: join(root, "conf", "c.json"),
      dataDir: join(root, "data"),
      store,
      log: SILENT_LOG,
    });
    times.push(performance.now() - startedAt);
    await commit.close();
    await store.close();
  }
  expect(Math.min(...times)).toBeLessThan(20);
});
