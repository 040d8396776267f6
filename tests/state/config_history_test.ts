/**
 * Kept versions of the configuration: listed, read, compared; texts of people that lost a race; no secrets
 * shown.
 */
import { afterEach, expect, setSystemTime, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { ConfigHistory, hashOf } from "../../src/state/config_history.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const folders: Disposable[] = [];

afterEach(() => {
  setSystemTime();
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

function makeHistory(): {
  readonly history: ConfigHistory;
  readonly folder: string;
  readonly dataDir: string;
} {
  const folder = tempDir();
  folders.push(folder);
  return {
    history: new ConfigHistory(folder.path),
    dataDir: folder.path,
    folder: join(folder.path, "backups"),
  };
}

test("ConfigHistory.keep() keeps a text with its time and revision, only for the user, and read() gives it back", async () => {
  setSystemTime(new Date("2026-03-04T05:06:07.089Z"));
  const { history, folder } = makeHistory();
  expect([history.list(), history.newest]).toEqual([[], undefined]);
  const text = "\ufeff{ } // ü\r\n";
  history.keep(Buffer.from(text), { revision: 12, force: false });
  const id = "config-2026-03-04T05-06-07.089Z-r12";
  expect(history.list()).toEqual([
    {
      id,
      time: "2026-03-04T05:06:07.089Z",
      revision: 12,
      hash: hashOf(Buffer.from(text)),
      bytes: Buffer.byteLength(text),
    },
  ]);
  expect(readdirSync(folder)).toEqual([`${id}.json`]);
  expect(statSync(join(folder, `${id}.json`)).mode & 0o777).toBe(0o600);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect([history.read(id), history.read("12")]).toEqual([text, text]);
  expect(history.newest).toBe(join(folder, `${id}.json`));
  for (const unknown of ["13", "", "../x", "config-", `${id}.json`]) {
    const error = await failureOf(() => history.read(unknown));
    expect([error["code"], error["hint"]]).toEqual(["REVISION_UNKNOWN", "Run: mcpproxy config history"]);
  }
});

test("ConfigHistory.keep() keeps one a minute, none twice, also after a restart and a clock set back", () => {
  verifies("COMMIT-BACKUPS");
  const at = (seconds: number): void => {
    setSystemTime(new Date(Date.UTC(2026, 0, 1) + seconds * 1_000));
  };
  const { history, dataDir } = makeHistory();
  const keep = (text: string, force = false, by = history): number => {
    by.keep(Buffer.from(text), { revision: 1, force });
    return by.list().length;
  };
  at(0);
  expect(keep("a")).toBe(1);
  at(59);
  expect(keep("b")).toBe(1);
  expect(keep("b", false, new ConfigHistory(dataDir))).toBe(1);
  expect(keep("b", true)).toBe(2);
  at(60);
  expect(keep("c")).toBe(2);
  at(120);
  expect(keep("b")).toBe(2);
  at(121);
  expect(keep("c", true)).toBe(3);
  at(-1_000);
  expect(keep("d")).toBe(4);
});

test("ConfigHistory.keepConflict() keeps what a person wrote beside the backups; clean() removes what is half written", () => {
  const { history, folder } = makeHistory();
  const path = history.keepConflict(Buffer.from("theirs"));
  expect(path).toMatch(/backups\/conflict-\d{4}-.*-[\da-f]{8}\.json$/);
  expect(readFileSync(path, "utf8")).toBe("theirs");
  writeFileSync(join(folder, "incoming.tmp"), "half");
  writeFileSync(join(folder, "mine.txt"), "a person's");
  history.clean();
  expect(readdirSync(folder).toSorted()).toEqual([path.slice(folder.length + 1), "mine.txt"]);
  expect(history.list()).toEqual([]);
});

test("ConfigHistory.keep() throws the system's error when the folder is none", async () => {
  const { history, folder } = makeHistory();
  writeFileSync(folder, "");
  const error = await failureOf(() => history.keep(Buffer.from("a"), { revision: 1, force: true }));
  expect(error["code"]).toBe("ENOTDIR");
  expect(await failureOf(() => history.keepConflict(Buffer.from("a")))).toHaveProperty("code");
});

const BEFORE = `{
  // first
  "listen": "127.0.0.1:8080",
  "mcpServers": [
    { "name": "a", "command": "npx" },
    { "name": "b", "command": "npx" },
    { "name": "c", "command": "npx" },
    { "name": "c2", "command": "npx" },
    { "name": "c3", "command": "npx" },
    { "name": "d", "command": "npx" }
  ]
}
`;

test("ConfigHistory.diff() shows changed lines with three around them, in unified form", () => {
  const { history } = makeHistory();
  const after = BEFORE.replace("// first", "// second").replace(
    '{ "name": "d", "command": "npx" }',
    '{ "name": "e" }',
  );
  expect(history.diff(BEFORE, after)).toBe(`@@ -1,5 +1,5 @@
 {
-  // first
+  // second
   "listen": "127.0.0.1:8080",
   "mcpServers": [
     { "name": "a", "command": "npx" },
@@ -7,6 +7,6 @@
     { "name": "c", "command": "npx" },
     { "name": "c2", "command": "npx" },
     { "name": "c3", "command": "npx" },
-    { "name": "d", "command": "npx" }
+    { "name": "e" }
   ]
 }`);
  expect(history.diff(BEFORE, BEFORE)).toBe("");
});

/** Applies a unified difference; the independent check of what was made. */
function patch(before: string, diff: string): string {
  const lines = before.split("\n");
  const hunks = diff === "" ? [] : diff.split(/^(?=@@ )/m);
  for (const hunk of hunks.toReversed()) {
    const [head = "", ...body] = hunk.replace(/\n$/, "").split("\n");
    const [, start, count] = /^@@ -(\d+),(\d+) /.exec(head) ?? [];
    const olds = body.filter((line) => !line.startsWith("+")).map((line) => line.slice(1));
    const news = body.filter((line) => !line.startsWith("-")).map((line) => line.slice(1));
    const at = Number(start) - 1;
    expect(lines.slice(at, at + Number(count))).toEqual(olds);
    lines.splice(at, Number(count), ...news);
  }
  return lines.join("\n");
}

test("ConfigHistory.diff() of any two texts, applied to the first, gives the second", () => {
  const { history } = makeHistory();
  const text = fc
    .array(fc.constantFrom("a", "b", "c", "{", "}"), { maxLength: 30 })
    .map((lines) => [...lines, ""].join("\n"));
  fc.assert(
    fc.property(text, text, (before, after) => {
      expect(patch(before, history.diff(before, after))).toBe(after);
    }),
    { numRuns: 300 },
  );
});

test("ConfigHistory.diff() of texts with nothing in common stays quick and right", () => {
  const { history } = makeHistory();
  const lines = (sign: string): string => Array.from({ length: 6_000 }, (_, at) => `${sign}${at}\n`).join("");
  const startedAt = performance.now();
  const diff = history.diff(lines("x"), lines("y"));
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  expect(patch(lines("x"), diff)).toBe(lines("y"));
});

test("ConfigHistory.diff() masks secrets wherever they stand, and still shows that they changed", () => {
  verifies("HISTORY-DIFF");
  const { history } = makeHistory();
  const make = (secret: string): string => `{
  "api_key": "${secret}-1",
  "mcpServers": [{
    "name": "a",
    "url": "https://user:${secret}-2@example.com/x?token=${secret}-3",
    "headers": { "X-Plain-Name": "${secret}-4" },
    "env": {
      "PLAIN": "${secret}-5 \\"quoted\\"",
      "REFERENCE": "\${env:NAME}"
    },
    "args": [
      "--token",
      "${secret}-6",
      "--verbose"
    ]
  }]
}
`;
  const diff = history.diff(make("geheim"), make("anderes"));
  expect(diff).not.toMatch(/geheim|anderes/);
  expect(diff.split("\n").filter((line) => line.startsWith("-"))).toHaveLength(5);
  expect(diff).toContain("--verbose");
  expect(diff).toContain("${env:NAME}");
});

test("ConfigHistory leaves folders and foreign files in its folder alone", () => {
  const { history, folder } = makeHistory();
  mkdirSync(join(folder, "config-2026-01-01T00-00-00.000Z-r1.json"), { recursive: true });
  expect(history.list()).toEqual([]);
});
