/**
 * Log files: bounded in size, number, age and memory, and never in the way.
 */
import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import * as fc from "fast-check";
import { fileNameOf, LogFile } from "../../src/lib/log_file.ts";
import type { LogFileOptions } from "../../src/lib/log_file.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

function open(path: string, parts: Partial<LogFileOptions> = {}): LogFile {
  const rotation = { maxSizeBytes: 1_000_000, maxBackups: 3, maxAgeDays: 30, compress: true };
  return new LogFile({ path, ...rotation, ...parts });
}

/** Handles that this process holds below a folder. */
function handlesIn(folder: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}

test("LogFile makes its folder and its file at the first line, appends, and is 0600", async () => {
  verifies("LOG-ROTATED");
  using folder = tempDir();
  const path = join(folder.path, "logs", "a.log");
  const log = open(path);
  await log.flush();
  expect(existsSync(path)).toBe(false);
  log.write("one");
  log.write("two\n");
  await log.flush();
  expect(readFileSync(path, "utf8")).toBe("one\ntwo\n");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await log.close();
  log.write("too late");
  await log.close();
  const again = open(path);
  again.write("three");
  await again.close();
  expect(readFileSync(path, "utf8")).toBe("one\ntwo\nthree\n");
});

test("LogFile rotates before it grows over its size, compresses, and keeps so many", async () => {
  verifies("LOG-ROTATED");
  using folder = tempDir();
  const path = join(folder.path, "a.log");
  writeFileSync(join(folder.path, "a.log.more.log"), "of another file");
  const log = open(path, { maxSizeBytes: 1_000 });
  for (let round = 0; round < 6; round += 1) {
    for (let line = 0; line < 9; line += 1) log.write(`round ${round} ${"x".repeat(90)}`);
    await log.flush();
    expect(statSync(path).size).toBeLessThanOrEqual(1_000);
    // The name of a rotated file has its millisecond.
    await Bun.sleep(2);
  }
  await log.close();
  const backups = readdirSync(folder.path).filter((name) => name.endsWith("Z.gz"));
  expect(backups).toHaveLength(3);
  expect(readdirSync(folder.path)).toHaveLength(5);
  const [newest = ""] = backups.toSorted().toReversed();
  expect(Buffer.from(Bun.gunzipSync(readFileSync(join(folder.path, newest)))).toString()).toMatch(
    /^(?:round 4 x+\n){9}$/,
  );
  expect(statSync(join(folder.path, newest)).mode & 0o777).toBe(0o600);
});

test("LogFile removes what is too old and halves of compressed files, and nothing of others", async () => {
  using folder = tempDir();
  const path = join(folder.path, "a.log");
  const fresh = new Date().toISOString().replaceAll(":", "-");
  const kept = [`a.log.${fresh}.gz`, "a.log.bak", "b.log.2020-01-01T00-00-00.000Z.gz"];
  const removed = [
    "a.log.2020-01-01T00-00-00.000Z.gz",
    "a.log.2020-01-02T00-00-00.000Z",
    `a.log.${fresh}.gz.tmp`,
  ];
  for (const name of [...kept, ...removed]) writeFileSync(join(folder.path, name), "");
  await using log = open(path);
  log.write("x");
  await log.flush();
  expect(readdirSync(folder.path).toSorted()).toEqual(["a.log", ...kept].toSorted());
});

test("LogFile without compression keeps rotated files as they are", async () => {
  using folder = tempDir();
  await using log = open(join(folder.path, "a.log"), { maxSizeBytes: 10, compress: false });
  log.write("0123456789abc");
  await log.flush();
  log.write("next");
  await log.flush();
  const [, backup = ""] = readdirSync(folder.path).toSorted();
  expect(readFileSync(join(folder.path, backup), "utf8")).toBe("0123456789abc\n");
});

test("LogFile drops the oldest of what waits too long, counts it, and says so in the file", async () => {
  verifies("LOG-ROTATED");
  using folder = tempDir();
  const path = join(folder.path, "a.log");
  await using log = open(path, { maxSizeBytes: 100_000_000 });
  const total = 20_000;
  for (let line = 0; line < total; line += 1) log.write(`${line} ${"x".repeat(100)}`);
  const { dropped } = log;
  expect(dropped).toBeGreaterThan(10_000);
  await log.flush();
  const lines = readFileSync(path, "utf8").trimEnd().split("\n");
  expect(lines[0]).toBe(`(${dropped} lines were dropped here)`);
  expect(lines).toHaveLength(total - dropped + 1);
  expect(lines.at(-1)).toStartWith(`${total - 1} `);
});

test("LogFile tells the first failure in a row, never throws, and goes on once it can", async () => {
  using folder = tempDir();
  const blocked = join(folder.path, "logs");
  writeFileSync(blocked, "a file where the folder should be");
  const errors: unknown[] = [];
  const log = open(join(blocked, "a.log"), { onError: (error) => errors.push(error) });
  log.write("one");
  await log.flush();
  log.write("two");
  await log.flush();
  expect(errors).toHaveLength(1);
  expect(log.dropped).toBe(2);
  rmSync(blocked);
  mkdirSync(blocked);
  log.write("three");
  await log.close();
  expect(readFileSync(join(blocked, "a.log"), "utf8")).toBe("(2 lines were dropped here)\nthree\n");
});

test("1,000 log files hold no handle once they are quiet", async () => {
  verifies("LOG-ROTATED");
  using folder = tempDir();
  const logs = Array.from({ length: 1_000 }, (_, at) => open(join(folder.path, `${at}.log`)));
  for (const log of logs) log.write("one line");
  await Promise.all(logs.map((log) => log.flush()));
  expect(readdirSync(folder.path)).toHaveLength(1_000);
  expect(handlesIn(folder.path)).toBe(0);
});

/** Name, and what it is kept as. */
const NAMES: readonly (readonly [string, string])[] = [
  ["github", "github"],
  ["mcp-server_1.0", "mcp-server_1.0"],
  ["with space", "with%20space"],
  ["../../etc/passwd", "%2E%2E%2F..%2Fetc%2Fpasswd"],
  ["..", "%2E%2E"],
  ["a/b\\c", "a%2Fb%5Cc"],
  ["müsli", "m%C3%BCsli"],
  ["100%", "100%25"],
  ["\u0000", "%00"],
];

for (const [name, expected] of NAMES) {
  test(`fileNameOf() keeps ${JSON.stringify(name)} as '${expected}'`, () => {
    expect(fileNameOf(name)).toBe(expected);
  });
}

test("fileNameOf() gives short names of harmless characters that no two texts share", () => {
  const longest = "ü".repeat(128);
  expect(fileNameOf(longest)).not.toBe(fileNameOf(`${longest.slice(1)}ö`));
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), fc.string(), (one, other) => {
      const name = fileNameOf(one);
      expect(name).toMatch(/^[\w%~-]?[\w%~.-]*$/);
      expect(name.length).toBeLessThanOrEqual(150);
      if (one !== other) expect(name).not.toBe(fileNameOf(other));
    }),
  );
});
