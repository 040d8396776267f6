/**
 * When the configuration file is looked at again.
 *
 * Owns every way an editor, a person or a deployment changes the file, against the real file system; the waiting itself
 * runs on a virtual clock with a made-up file system. A change made right after a watch began is seen by it.
 */
import { expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { ProxyError } from "../../src/core/errors.ts";
import { readSettled, takeSettled, watchConfig } from "../../src/state/config_watch.ts";
import { failureOf, tempDir, waitFor } from "../fixtures/wait.ts";
import { VirtualClock } from "../upstream/virtual_clock.ts";
import type { ConfigWatchOptions, WatchFolder } from "../../src/state/config_watch.ts";
import { verifies } from "../requirements.ts";

/** The net would find all of this too, five seconds later; so wait for less. */
const IN_TIME_MS = 4_000;

/** A watch on a file, and the texts that lay there when it said "look". */
class Seen implements Disposable {
  readonly #dir = tempDir();
  readonly folder: string;
  readonly path: string;
  readonly texts: (string | undefined)[] = [];
  readonly errors: unknown[] = [];
  #watch: Disposable | undefined;

  constructor(prepare: (folder: string) => void = (folder) => writeFileSync(join(folder, "c.json"), "0")) {
    this.folder = join(this.#dir.path, "conf");
    this.path = join(this.folder, "c.json");
    mkdirSync(this.folder);
    prepare(this.folder);
  }

  open(options: Partial<ConfigWatchOptions> = {}): this {
    this.#watch = watchConfig({
      path: this.path,
      onChange: () => this.texts.push(this.#read()),
      onError: (error) => this.errors.push(error),
      ...options,
    });
    return this;
  }

  in(...steps: readonly string[]): string {
    return join(this.folder, ...steps);
  }

  /** Waits until `text` is seen; undefined for no file. */
  async sees(text: string | undefined): Promise<void> {
    const isSeen = (): boolean => this.texts.length > 0 && this.texts.at(-1) === text;
    await waitFor(`'${text}' is seen`, isSeen, IN_TIME_MS);
    expect(this.errors).toEqual([]);
  }

  [Symbol.dispose](): void {
    this.#watch?.[Symbol.dispose]();
    this.#dir[Symbol.dispose]();
  }

  #read(): string | undefined {
    try {
      return readFileSync(this.path, "utf8");
    } catch {
      return undefined;
    }
  }
}

/** Lets the events that are there come in. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function replace(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}

test("watchConfig() tells of a file that is renamed over it", async () => {
  using seen = new Seen().open();
  for (const text of ["1", "2", "3"]) {
    replace(seen.path, text);
    await seen.sees(text);
  }
  expect(seen.texts).toEqual(["1", "2", "3"]);
});

test("watchConfig() tells of a write in place, of the same length and time too", async () => {
  using seen = new Seen().open();
  const past = new Date("2020-01-01");
  writeFileSync(seen.path, "1");
  utimesSync(seen.path, past, past);
  await seen.sees("1");
  writeFileSync(seen.path, "2");
  utimesSync(seen.path, past, past);
  await seen.sees("2");
});

test("watchConfig() tells that the file is gone, and that it is back", async () => {
  using seen = new Seen().open();
  unlinkSync(seen.path);
  await seen.sees(undefined);
  writeFileSync(seen.path, "1");
  await seen.sees("1");
});

test("watchConfig() tells of a file and a folder that come to be only later", async () => {
  using seen = new Seen((folder) => rmSync(folder, { recursive: true })).open();
  mkdirSync(seen.folder);
  writeFileSync(seen.path, "1");
  await seen.sees("1");
  replace(seen.path, "2");
  await seen.sees("2");
});

test("watchConfig() tells of a link that is pointed elsewhere, and of what changes there", async () => {
  using seen = new Seen((folder) => {
    for (const name of ["a", "b"]) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "real.json"), name);
    }
    symlinkSync("a/real.json", join(folder, "c.json"));
  }).open();
  symlinkSync(seen.in("b", "real.json"), seen.in("new"));
  renameSync(seen.in("new"), seen.path);
  await seen.sees("b");
  replace(seen.in("b", "real.json"), "b2");
  await seen.sees("b2");
  const { length } = seen.texts;
  // What it pointed at no longer counts.
  replace(seen.in("a", "real.json"), "a2");
  replace(seen.in("b", "real.json"), "b3");
  await seen.sees("b3");
  expect(seen.texts).toHaveLength(length + 1);
});

test("watchConfig() tells of a target that is replaced or written, at the end of a chain of links", async () => {
  verifies("RELOAD-WATCH");
  using seen = new Seen((folder) => {
    for (const name of ["x", "y", "z"]) mkdirSync(join(folder, name));
    writeFileSync(join(folder, "z", "end.json"), "0");
    symlinkSync("../z/end.json", join(folder, "y", "middle.json"));
    symlinkSync(join(folder, "y", "middle.json"), join(folder, "x", "first.json"));
    symlinkSync("x/../x/./first.json", join(folder, "c.json"));
  }).open();
  replace(seen.in("z", "end.json"), "1");
  await seen.sees("1");
  appendFileSync(seen.in("z", "end.json"), "2");
  await seen.sees("12");
  writeFileSync(seen.in("z", "other.json"), "other");
  symlinkSync("../z/other.json", seen.in("y", "new"));
  renameSync(seen.in("y", "new"), seen.in("y", "middle.json"));
  await seen.sees("other");
});

test("watchConfig() tells of a folder behind a link that is exchanged, as Kubernetes does it", async () => {
  using seen = new Seen((folder) => {
    for (const name of ["..1", "..2"]) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, "c.json"), name);
    }
    symlinkSync("..1", join(folder, "..data"));
    symlinkSync("..data/c.json", join(folder, "c.json"));
  }).open();
  symlinkSync("..2", seen.in("..data_tmp"));
  renameSync(seen.in("..data_tmp"), seen.in("..data"));
  rmSync(seen.in("..1"), { recursive: true });
  await seen.sees("..2");
});

test("watchConfig() tells of a folder that is replaced, and of what changes in the new one", async () => {
  using seen = new Seen().open();
  renameSync(seen.folder, `${seen.folder}.old`);
  mkdirSync(seen.folder);
  writeFileSync(seen.path, "1");
  await seen.sees("1");
  replace(seen.path, "2");
  await seen.sees("2");
  rmSync(seen.folder, { recursive: true });
  await seen.sees(undefined);
  mkdirSync(seen.folder);
  writeFileSync(seen.path, "3");
  await seen.sees("3");
  expect(seen.texts.length).toBeLessThan(8);
});

test("watchConfig() says nothing while a neighbour is written 500 times", async () => {
  using seen = new Seen().open();
  for (let index = 0; index < 500; index += 1) {
    appendFileSync(seen.in("mcpproxy.db-wal"), "x");
    if (index % 25 === 0) replace(seen.in("other.json"), "x");
    if (index % 10 === 0) await turn();
  }
  expect(seen.texts).toEqual([]);
  // The watch is alive, and events come in order.
  replace(seen.path, "1");
  await seen.sees("1");
  expect(seen.texts).toEqual(["1"]);
});

test("watchConfig() tells little of a burst of 100 saves, and always the last one", async () => {
  using seen = new Seen().open();
  for (let index = 1; index <= 100; index += 1) {
    if (index % 2 === 0) replace(seen.path, String(index));
    else writeFileSync(seen.path, String(index));
    if (index % 10 === 0) await turn();
  }
  await seen.sees("100");
  expect(seen.texts.length).toBeLessThanOrEqual(5);
});

test("watchConfig() says nothing when the file is only read", async () => {
  using seen = new Seen().open();
  for (let index = 0; index < 10; index += 1) readFileSync(seen.path, "utf8");
  chmodSync(seen.path, 0o600);
  await seen.sees("0");
  expect(seen.texts).toEqual(["0"]);
});

interface FakeFolder {
  readonly folder: string;
  readonly listener: Parameters<WatchFolder>[1];
  isOpen: boolean;
}

/** Folders that tell only what a test lets them tell. */
function fakeFolders(): { readonly watched: FakeFolder[]; readonly watchFolder: WatchFolder } {
  const watched: FakeFolder[] = [];
  return {
    watched,
    watchFolder: (folder, listener) => {
      const one = { folder, listener, isOpen: true };
      watched.push(one);
      return {
        close: () => {
          one.isOpen = false;
        },
      };
    },
  };
}

test("watchConfig() waits for a writer that truncates and goes on in pieces", () => {
  const clock = new VirtualClock();
  const { watched, watchFolder } = fakeFolders();
  using seen = new Seen();
  seen.open({ clock, watchFolder });
  const file = openSync(seen.path, "w");
  for (const piece of ["a", "b", "c", "d", "e", "f"]) {
    writeSync(file, piece);
    watched[0]?.listener.onEvent("c.json");
    clock.advance(90);
  }
  closeSync(file);
  clock.advance(90);
  expect(seen.texts).toEqual(["abcdef"]);
});

test("watchConfig() tells 100 ms after the last event, and after 1 s at the latest", () => {
  const clock = new VirtualClock();
  const { watched, watchFolder } = fakeFolders();
  const times: number[] = [];
  using seen = new Seen();
  seen.open({ clock, watchFolder, onChange: () => times.push(clock.now()) });
  const tell = (name: string | null = "c.json"): void => watched[0]?.listener.onEvent(name);

  tell();
  clock.advance(60);
  tell();
  clock.advance(500);
  expect(times).toEqual([160]);

  for (; clock.now() < 3_000; clock.advance(50)) tell();
  clock.advance(200);
  expect(times).toEqual([160, 1_560, 2_560, 3_060]);

  // A system that does not say which name may mean this one.
  tell("d.json");
  clock.advance(500);
  tell(null);
  clock.advance(500);
  expect(times).toEqual([160, 1_560, 2_560, 3_060, 3_810]);
});

test("watchConfig() finds within 5 s what the system does not tell, and says it once", () => {
  const clock = new VirtualClock();
  const { watched, watchFolder } = fakeFolders();
  using seen = new Seen();
  seen.open({ clock, watchFolder });
  clock.advance(20_000);
  expect(seen.texts).toEqual([]);
  writeFileSync(seen.path, "1");
  clock.advance(5_100);
  expect(seen.texts).toEqual(["1"]);

  renameSync(seen.folder, `${seen.folder}.old`);
  mkdirSync(seen.folder);
  writeFileSync(seen.path, "2");
  clock.advance(20_000);
  expect(seen.texts).toEqual(["1", "2"]);
  expect(watched.map(({ isOpen }) => isOpen)).toEqual([false, true]);

  symlinkSync(`${seen.folder}.old/c.json`, seen.in("link"));
  renameSync(seen.in("link"), seen.path);
  clock.advance(20_000);
  expect(seen.texts).toEqual(["1", "2", "1"]);
  expect(watched.filter(({ isOpen }) => isOpen).map(({ folder }) => folder)).toEqual([
    seen.folder,
    `${seen.folder}.old`,
  ]);
  replace(seen.path, "3");
  clock.advance(20_000);
  expect(seen.texts.at(-1)).toBe("3");
  expect(watched.filter(({ isOpen }) => isOpen).map(({ folder }) => folder)).toEqual([seen.folder]);
});

test("watchConfig() goes on by looking when a folder cannot be watched, says so once, and tries again", () => {
  const clock = new VirtualClock();
  const { watched, watchFolder } = fakeFolders();
  const full = Object.assign(new Error("ENOSPC: no watches left"), { code: "ENOSPC" });
  let isFull = true;
  using seen = new Seen();
  seen.open({
    clock,
    watchFolder: (folder, listener) => {
      if (isFull) throw full;
      return watchFolder(folder, listener);
    },
  });
  writeFileSync(seen.path, "1");
  clock.advance(20_000);
  expect(seen.texts).toEqual(["1"]);
  expect(seen.errors).toEqual([full]);

  isFull = false;
  clock.advance(5_000);
  expect(watched).toHaveLength(1);
  watched[0]?.listener.onError(new Error("lost"));
  expect(watched[0]?.isOpen).toBe(false);
  clock.advance(5_000);
  expect(watched.map(({ isOpen }) => isOpen)).toEqual([false, true]);
  expect(seen.errors).toHaveLength(2);
});

test("watchConfig() survives a circle of links, and an onChange that throws", async () => {
  const clock = new VirtualClock();
  using seen = new Seen((folder) => {
    symlinkSync("d.json", join(folder, "c.json"));
    symlinkSync("c.json", join(folder, "d.json"));
  });
  const { watched, watchFolder } = fakeFolders();
  const failure = new Error("broken");
  seen.open({
    clock,
    watchFolder,
    onChange: () => {
      throw failure;
    },
  });
  expect(watched.map(({ folder }) => folder)).toEqual([seen.folder]);
  unlinkSync(seen.path);
  writeFileSync(seen.path, "1");
  clock.advance(6_000);
  expect(seen.errors).toEqual([failure]);
});

/** Folders this process watches, as the kernel counts them. */
function kernelWatches(): number {
  return readdirSync("/proc/self/fd").reduce((count, fd) => {
    try {
      if (!readlinkSync(`/proc/self/fd/${fd}`).includes("inotify")) return count;
      return count + readFileSync(`/proc/self/fdinfo/${fd}`, "utf8").split("inotify wd:").length - 1;
    } catch {
      return count;
    }
  }, 0);
}

test("watchConfig().close() leaves no timer and no watch, tells nothing more, and may be called twice", () => {
  const clock = new VirtualClock();
  const before = kernelWatches();
  using seen = new Seen((folder) => {
    mkdirSync(join(folder, "a"));
    writeFileSync(join(folder, "a", "real.json"), "0");
    symlinkSync("a/real.json", join(folder, "c.json"));
  });
  const watch = watchConfig({
    path: seen.path,
    clock,
    onChange: () => seen.texts.push("told"),
    onError: (error) => seen.errors.push(error),
  });
  if (process.platform === "linux") expect(kernelWatches()).toBe(before + 2);
  writeFileSync(seen.path, "1");
  clock.advance(5_000);
  expect(clock.pending).toBe(2);
  watch.close();
  watch.close();
  expect(clock.pending).toBe(0);
  expect(kernelWatches()).toBe(before);
  clock.advance(20_000);
  expect([seen.texts, seen.errors]).toEqual([[], []]);
});

test("takeSettled() takes a half-written file a second time after 250 ms", async () => {
  const clock = new VirtualClock();
  const answers = [new ProxyError("CONFIG_INVALID", "half"), "whole"];
  const taking = takeSettled(
    () => {
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    },
    { clock },
  );
  await waitFor("the first failure", () => clock.pending === 1);
  clock.advance(249);
  expect(answers).toHaveLength(1);
  clock.advance(1);
  expect(await taking).toBe("whole");
});

test("takeSettled() passes on what fails twice, what has nothing to do with the file, and the abort", async () => {
  const clock = new VirtualClock();
  let times = 0;
  const failing = (code: "CONFIG_UNREADABLE" | "USAGE") => () => {
    times += 1;
    throw new ProxyError(code, `time ${times}`);
  };
  const twice = failureOf(() => takeSettled(failing("CONFIG_UNREADABLE"), { clock }));
  await waitFor("the first failure", () => clock.pending === 1);
  clock.advance(250);
  expect((await twice).message).toBe("time 2");

  times = 0;
  expect((await failureOf(() => takeSettled(failing("USAGE"), { clock }))).message).toBe("time 1");

  const stop = new AbortController();
  const aborted = failureOf(() => takeSettled(failing("CONFIG_UNREADABLE"), { clock, signal: stop.signal }));
  await waitFor("the failure", () => clock.pending === 1);
  stop.abort(new Error("stopped"));
  expect((await aborted).message).toBe("stopped");
  expect([times, clock.pending]).toEqual([2, 0]);
  const late = failureOf(() => takeSettled(failing("CONFIG_UNREADABLE"), { clock, signal: stop.signal }));
  expect((await late).message).toBe("stopped");
});

test("readSettled() reads a file again until its writer pauses, and one that has lain there at once", async () => {
  using folder = tempDir();
  const path = join(folder.path, "c.json");
  const clock = new VirtualClock();
  const agesMs = [0, 0, 60_000];
  const texts = ["half", "half and more", "whole"];
  const read = (): string => readFileSync(path, "utf8");
  const reading = readSettled(
    path,
    () => {
      writeFileSync(path, texts.shift() ?? "never");
      const at = new Date(Date.now() - (agesMs.shift() ?? 0));
      utimesSync(path, at, at);
      return read();
    },
    { clock },
  );
  while (agesMs.length > 0) {
    await Promise.resolve();
    clock.step();
  }
  expect([await reading, clock.now(), clock.pending]).toEqual(["whole", 50, 0]);
  expect(await readSettled(path, read, { clock })).toBe("whole");
  // A clock that is wrong keeps nobody waiting, and neither does a file that is gone.
  const wrong = new Date(Date.now() + 60_000);
  utimesSync(path, wrong, wrong);
  expect(await readSettled(path, read, { clock })).toBe("whole");
  expect(await readSettled(`${path}.gone`, () => "read before", { clock })).toBe("read before");
});

test("readSettled() reads what is written without an end after a second", async () => {
  using folder = tempDir();
  const path = join(folder.path, "c.json");
  const clock = new VirtualClock();
  let reads = 0;
  const reading = readSettled(
    path,
    () => {
      reads += 1;
      writeFileSync(path, String(reads));
      return reads;
    },
    { clock },
  );
  for (let step = 0; step < 100; step += 1) {
    await Promise.resolve();
    clock.step();
  }
  expect(await reading).toBe(40);
  expect(clock.now()).toBe(39 * 25);
});
