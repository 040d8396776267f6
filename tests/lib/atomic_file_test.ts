/**
 * Files that are wholly old or wholly new, in one call and in steps.
 */
import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  displaceFile,
  holdsBytes,
  placeFile,
  removeFile,
  swapFile,
  syncFolder,
  writeFileAtomic,
  writeNewFile,
} from "../../src/lib/atomic_file.ts";
import { exchangeFiles } from "../../src/lib/exchange.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";

const folders: Disposable[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

function makeDir(): string {
  const folder = tempDir();
  folders.push(folder);
  return folder.path;
}

test("holdsBytes() tells a file from one that differs anywhere, or is longer or shorter", () => {
  const path = join(makeDir(), "f");
  const bytes = Buffer.alloc(700_000, "text ");
  const holds = (content: Uint8Array): boolean => {
    writeFileSync(path, content);
    const file = openSync(path, "r");
    try {
      return holdsBytes(file, bytes);
    } finally {
      closeSync(file);
    }
  };
  const differing = (at: number): Buffer => {
    const other = Buffer.from(bytes);
    other[at] = 0;
    return other;
  };
  expect(holds(bytes)).toBe(true);
  for (const at of [0, 262_143, 262_144, 400_000, 699_999])
    expect([at, holds(differing(at))]).toEqual([at, false]);
  expect(holds(bytes.subarray(0, 699_999))).toBe(false);
  expect(holds(Buffer.concat([bytes, Buffer.from("t")]))).toBe(false);
  expect(holds(Buffer.alloc(0))).toBe(false);
});

test("writeFileAtomic() replaces the file, with the mode asked for, and leaves nothing beside it", () => {
  const folder = makeDir();
  const path = join(folder, "a");
  writeFileAtomic(path, "one");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  // Left by a killed run with the same process number.
  writeFileSync(`${path}.${process.pid}.tmp`, "stale");
  writeFileAtomic(path, "ümlaut", { mode: 0o644 });
  expect(readFileSync(path, "utf8")).toBe("ümlaut");
  expect(statSync(path).mode & 0o777).toBe(0o644);
  expect(readdirSync(folder)).toEqual(["a"]);
});

test("writeFileAtomic() throws the system's error and leaves the old file and nothing else", async () => {
  const folder = makeDir();
  mkdirSync(join(folder, "taken"));
  expect((await failureOf(() => writeFileAtomic(join(folder, "taken"), "x")))["code"]).toBe("EISDIR");
  expect((await failureOf(() => writeFileAtomic(join(folder, "no", "where"), "x")))["code"]).toBe("ENOENT");
  expect(readdirSync(folder)).toEqual(["taken"]);
});

test("writeNewFile() makes a file that was not there, and follows no link", async () => {
  const folder = makeDir();
  const path = join(folder, "a");
  writeNewFile(path, Buffer.alloc(3_000_000, 7), { mode: 0o640 });
  expect([statSync(path).size, statSync(path).mode & 0o777]).toEqual([3_000_000, 0o640]);
  expect((await failureOf(() => writeNewFile(path, Buffer.from("x"), { mode: 0o600 })))["code"]).toBe(
    "EEXIST",
  );
  expect(statSync(path).size).toBe(3_000_000);
  symlinkSync("elsewhere", join(folder, "link"));
  const error = await failureOf(() => writeNewFile(join(folder, "link"), Buffer.from("x"), { mode: 0o600 }));
  expect(error["code"]).toBe("EEXIST");
  expect(existsSync(join(folder, "elsewhere"))).toBe(false);
});

test("exchangeFiles() lets two files change places, also with names that are no ASCII", () => {
  const folder = makeDir();
  const [one, other] = [join(folder, "ä 1"), join(folder, "\u{1f600}")];
  writeFileSync(one, "1");
  writeFileSync(other, "2");
  const { ino } = statSync(one);
  expect(exchangeFiles(one, other)).toBe(process.platform === "linux");
  if (process.platform !== "linux") return;
  expect([readFileSync(one, "utf8"), readFileSync(other, "utf8")]).toEqual(["2", "1"]);
  expect(statSync(other).ino).toBe(ino);
});

test.skipIf(process.platform !== "linux")("exchangeFiles() throws the system's error", async () => {
  const folder = makeDir();
  writeFileSync(join(folder, "a"), "1");
  const missing = await failureOf(() => exchangeFiles(join(folder, "a"), join(folder, "b")));
  expect([missing["code"], missing["syscall"]]).toEqual(["ENOENT", "renameat2"]);
  const notFolder = await failureOf(() => exchangeFiles(join(folder, "a"), join(folder, "a", "b")));
  expect(notFolder["code"]).toBe("ENOTDIR");
  expect((await failureOf(() => exchangeFiles(join(folder, "a"), "/proc/version")))["code"]).toBe("EXDEV");
  expect(readFileSync(join(folder, "a"), "utf8")).toBe("1");
});

test("swapFile() puts the new file there and says where the old one lies", () => {
  const folder = makeDir();
  const [path, incoming, outgoing] = [join(folder, "a"), join(folder, "in"), join(folder, "out")];
  writeFileSync(path, "old");
  writeFileSync(incoming, "new");
  const displaced = swapFile(path, incoming, outgoing);
  expect(readFileSync(path, "utf8")).toBe("new");
  expect(readFileSync(displaced, "utf8")).toBe("old");
  expect(readdirSync(folder)).toHaveLength(2);
});

test("displaceFile() does the same with a second name, and takes that back when the rename fails", async () => {
  const folder = makeDir();
  const [path, incoming, outgoing] = [join(folder, "a"), join(folder, "in"), join(folder, "out")];
  writeFileSync(path, "old");
  const { ino } = statSync(path);
  expect((await failureOf(() => displaceFile(path, incoming, outgoing)))["code"]).toBe("ENOENT");
  expect(readdirSync(folder)).toEqual(["a"]);
  writeFileSync(incoming, "new");
  displaceFile(path, incoming, outgoing);
  expect(readdirSync(folder).toSorted()).toEqual(["a", "out"]);
  expect([readFileSync(path, "utf8"), readFileSync(outgoing, "utf8")]).toEqual(["new", "old"]);
  expect(statSync(outgoing).ino).toBe(ino);
  expect((await failureOf(() => displaceFile(join(folder, "b"), path, outgoing)))["code"]).toBe("ENOENT");
  expect((await failureOf(() => displaceFile(path, path, outgoing)))["code"]).toBe("EEXIST");
});

test("placeFile() gives a name that is free, and refuses one that is taken", async () => {
  const folder = makeDir();
  const [path, incoming] = [join(folder, "a"), join(folder, "in")];
  writeFileSync(incoming, "new");
  placeFile(path, incoming);
  expect(readdirSync(folder)).toEqual(["a"]);
  writeFileSync(incoming, "newer");
  expect((await failureOf(() => placeFile(path, incoming)))["code"]).toBe("EEXIST");
  expect(readFileSync(path, "utf8")).toBe("new");
});

test("removeFile() says whether the file is gone; syncFolder() throws when there is no folder", async () => {
  const folder = makeDir();
  writeFileSync(join(folder, "a"), "");
  mkdirSync(join(folder, "b"));
  expect(removeFile(join(folder, "a"))).toBe(true);
  expect(removeFile(join(folder, "a"))).toBe(true);
  expect(removeFile(join(folder, "b"))).toBe(false);
  syncFolder(folder);
  rmSync(join(folder, "b"), { recursive: true });
  expect((await failureOf(() => syncFolder(join(folder, "b"))))["code"]).toBe("ENOENT");
});
