/**
 * One replacement of the configuration: what an editor saves at the worst moment is put back or kept.
 */
import { afterEach, expect, jest, test } from "bun:test";
import {
  closeSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { findTempFiles, LateLooks, Overtaken, Replacement } from "../../src/state/config_swap.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";

const folders: Disposable[] = [];

afterEach(() => {
  jest.useRealTimers();
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

interface Bench {
  readonly folder: string;
  readonly path: string;
  readonly kept: string[];
  readonly looks: LateLooks;
  readonly replacement: Replacement;
  /** As editors do: a new file renamed over the old one. */
  readonly save: (text: string) => void;
  readonly read: () => string;
}

function makeBench(options: {
  readonly onDisk: string | undefined;
  readonly before: string | undefined;
}): Bench {
  const folder = tempDir();
  folders.push(folder);
  const path = join(folder.path, "c.json");
  if (options.onDisk !== undefined) writeFileSync(path, options.onDisk);
  const kept: string[] = [];
  const before = options.before === undefined ? undefined : Buffer.from(options.before);
  const keep = (bytes: Uint8Array): unknown => kept.push(Buffer.from(bytes).toString());
  const looks = new LateLooks(keep);
  const look = (file: number, found: Uint8Array): void => looks.add(file, found);
  return {
    folder: folder.path,
    path,
    kept,
    looks,
    replacement: new Replacement({ path, before, after: Buffer.from("ours"), keep, look }),
    save: (text) => {
      writeFileSync(`${path}~`, text);
      renameSync(`${path}~`, path);
    },
    read: () => readFileSync(path, "utf8"),
  };
}

test("Replacement.run() puts the new text there; finish() leaves nothing beside it and hands over the old file", () => {
  const { replacement, read, folder, kept } = makeBench({ onDisk: "old", before: "old" });
  replacement.run();
  expect(read()).toBe("ours");
  expect(readdirSync(folder)).toHaveLength(2);
  const file = replacement.finish();
  expect(file).toBeNumber();
  if (file !== undefined) closeSync(file);
  expect(readdirSync(folder)).toEqual(["c.json"]);
  expect(kept).toEqual([]);
});

test("Replacement.run() gives way to a text that was saved before the swap: it is back at once", async () => {
  const { replacement, read, folder, kept } = makeBench({ onDisk: "theirs", before: "old" });
  const error = await failureOf(() => replacement.run());
  expect(error).toBeInstanceOf(Overtaken);
  expect(error["actual"]).toBe(new Bun.CryptoHasher("sha256").update("theirs").digest("hex"));
  expect(read()).toBe("theirs");
  expect(readdirSync(folder)).toEqual(["c.json"]);
  expect(kept).toEqual([]);
});

test("Replacement.run() never writes over a file that appears where there was none", async () => {
  const { replacement, read, folder } = makeBench({ onDisk: "theirs", before: undefined });
  expect(await failureOf(() => replacement.run())).toBeInstanceOf(Overtaken);
  expect(read()).toBe("theirs");
  expect(readdirSync(folder)).toEqual(["c.json"]);
});

test("Replacement.run() gives way when the file vanished since it was read", async () => {
  const { replacement, folder } = makeBench({ onDisk: undefined, before: "old" });
  expect(await failureOf(() => replacement.run())).toBeInstanceOf(Overtaken);
  expect(readdirSync(folder)).toEqual([]);
});

test("Replacement.undo() puts the old text back, with its mode and its inode", () => {
  const { replacement, read, folder, path } = makeBench({ onDisk: "old", before: "old" });
  const { ino, mode } = statSync(path);
  replacement.run();
  expect(statSync(path).mode).toBe(mode);
  expect(replacement.undo()).toBe(true);
  expect(read()).toBe("old");
  expect(statSync(path).ino).toBe(ino);
  expect(readdirSync(folder)).toEqual(["c.json"]);
});

test.each([["old"], [undefined]])(
  "Replacement.undo() looks late at ours, which an editor opened before it was taken away (%p before)",
  (before) => {
    const { replacement, path, read, folder, kept, looks } = makeBench({ onDisk: before, before });
    replacement.run();
    const editor = openSync(path, "r+");
    expect(replacement.undo()).toBe(true);
    expect(readdirSync(folder)).toEqual(before === undefined ? [] : ["c.json"]);
    writeSync(editor, "theirs");
    closeSync(editor);
    looks.close();
    expect(kept).toEqual(["theirs"]);
    if (before !== undefined) expect(read()).toBe("old");
  },
);

test("Replacement.undo() leaves what a person saved over ours where it is", () => {
  const { replacement, read, folder, kept, save } = makeBench({ onDisk: "old", before: "old" });
  replacement.run();
  save("theirs");
  expect(replacement.undo()).toBe(true);
  expect(read()).toBe("theirs");
  expect(readdirSync(folder)).toEqual(["c.json"]);
  expect(kept).toEqual([]);
});

test("Replacement.undo() takes a file away that was not there before, but not one of a person", () => {
  const first = makeBench({ onDisk: undefined, before: undefined });
  first.replacement.run();
  expect(first.read()).toBe("ours");
  expect(first.replacement.undo()).toBe(true);
  expect(readdirSync(first.folder)).toEqual([]);
  const second = makeBench({ onDisk: undefined, before: undefined });
  second.replacement.run();
  second.save("theirs");
  expect(second.replacement.undo()).toBe(true);
  expect(second.read()).toBe("theirs");
  expect(readdirSync(second.folder)).toEqual(["c.json"]);
});

test("Replacement.undo() says so when the old file is gone and there is no way back", () => {
  const { replacement, read, path } = makeBench({ onDisk: "old", before: "old" });
  replacement.run();
  for (const stray of findTempFiles(path)) rmSync(stray);
  expect(replacement.undo()).toBe(false);
  expect(read()).toBe("ours");
});

test("LateLooks keeps what an editor writes into the displaced file, once, when it stopped writing", () => {
  jest.useFakeTimers();
  const { replacement, read, path, kept } = makeBench({ onDisk: "old", before: "old" });
  const editor = openSync(path, "r+");
  replacement.run();
  const late: string[] = [];
  const looks = new LateLooks((bytes) => late.push(Buffer.from(bytes).toString()));
  looks.add(replacement.finish() ?? -1, Buffer.from("old"));
  ftruncateSync(editor, 0);
  writeSync(editor, "half", 0);
  jest.advanceTimersByTime(200);
  expect(late).toEqual([]);
  writeSync(editor, " and whole", 4);
  closeSync(editor);
  jest.advanceTimersByTime(400);
  expect(late).toEqual(["half and whole"]);
  jest.advanceTimersByTime(10_000);
  expect(late).toHaveLength(1);
  expect(read()).toBe("ours");
  expect(kept).toEqual([]);
});

test("LateLooks keeps nothing when nothing was written, and close() looks at once", () => {
  jest.useFakeTimers();
  const late: string[] = [];
  const looks = new LateLooks((bytes) => late.push(Buffer.from(bytes).toString()));
  const quiet = makeBench({ onDisk: "old", before: "old" });
  quiet.replacement.run();
  looks.add(quiet.replacement.finish() ?? -1, Buffer.from("old"));
  jest.advanceTimersByTime(1_000);
  const busy = makeBench({ onDisk: "old", before: "old" });
  const editor = openSync(busy.path, "r+");
  busy.replacement.run();
  looks.add(busy.replacement.finish() ?? -1, Buffer.from("old"));
  writeSync(editor, "new", 0);
  closeSync(editor);
  looks.close();
  looks.close();
  expect(late).toEqual(["new"]);
});

test("findTempFiles() finds those of this file only", () => {
  const { folder, path } = makeBench({ onDisk: "old", before: "old" });
  const own = join(folder, ".c.json.12-0.mcpproxy-tmp");
  for (const name of [own, join(folder, ".c.json.b.12-0.mcpproxy-tmp"), join(folder, ".c.json.swp")]) {
    writeFileSync(name, "");
  }
  expect(findTempFiles(path)).toEqual([own]);
});
