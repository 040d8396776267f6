/**
 * The end of a file that grows: each line once and whole, over a file that takes its place.
 */
import { expect, test } from "bun:test";
import { appendFileSync, renameSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { followTail, readTail } from "../../src/lib/tail.ts";
import { tempDir } from "../fixtures/wait.ts";

test("readTail() gives whole lines, and nothing of a file that is not there", () => {
  using folder = tempDir();
  const path = join(folder.path, "a.log");
  expect(readTail(path)).toBeUndefined();
  writeFileSync(path, "");
  expect(readTail(path)?.lines).toEqual([]);
  writeFileSync(path, "one\n\ntwo\nhalf");
  expect(readTail(path)).toMatchObject({ lines: ["one", "", "two"], place: { offset: 9 } });
  writeFileSync(path, `${"x".repeat(5 * 1024 * 1024)}\nlast ä\n`);
  expect(readTail(path)?.lines).toEqual(["last ä"]);
});

test("followTail() gives what comes, once and whole, when the file is written, replaced, emptied or made", async () => {
  using folder = tempDir();
  const path = join(folder.path, "a.log");
  writeFileSync(path, "old\nha");
  const end = new AbortController();
  /** What happens to the file once a line was seen. */
  const then: Readonly<Record<string, () => void>> = {
    half: () => appendFileSync(path, "rd\n"),
    third: () => {
      renameSync(path, `${path}.1`);
      writeFileSync(path, "new file\n");
    },
    "new file": () => {
      truncateSync(path);
      appendFileSync(path, "e\n");
    },
    e: () => {
      renameSync(path, `${path}.2`);
      // More than is read at once.
      setImmediate(() => writeFileSync(path, `${"long line\n".repeat(150_000)}after\n`));
    },
    after: () => end.abort(),
  };
  const place = readTail(path)?.place;
  appendFileSync(path, "lf\nsecond\nthi");
  const seen: string[] = [];
  for await (const line of followTail(path, { place, signal: end.signal })) {
    seen.push(line);
    then[line]?.();
  }
  expect(seen.filter((line) => line !== "long line")).toEqual([
    "half",
    "second",
    "third",
    "new file",
    "e",
    "after",
  ]);
  expect(seen.filter((line) => line === "long line")).toHaveLength(150_000);
});

test("followTail() waits for a file that is not there yet, and ends while it waits", async () => {
  using folder = tempDir();
  const path = join(folder.path, "a.log");
  const end = new AbortController();
  const reading = (async () => {
    for await (const line of followTail(path, { place: undefined, signal: end.signal })) {
      expect(line).toBe("first");
      setImmediate(() => end.abort());
    }
    return "ended";
  })();
  writeFileSync(path, "first\n");
  expect(await reading).toBe("ended");
});
