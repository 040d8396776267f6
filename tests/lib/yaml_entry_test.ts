/**
 * Entries of YAML texts that come, change and go, and all that must stay.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { removeYamlEntry, setYamlEntry } from "../../src/lib/yaml_entry.ts";
import { verifies } from "../requirements.ts";

const PATH = ["extensions", "proxy"] as const;
const ENTRY = { enabled: true, uri: "http://127.0.0.1:1/mcp", envs: {} };
const BLOCK = "  proxy:\n    enabled: true\n    uri: http://127.0.0.1:1/mcp\n    envs: {}\n";

test.each<[string, string, string]>([
  ["an empty text", "", `extensions:\n${BLOCK}`],
  ["a text without the mapping", "# top\na: 1 # one\n", `# top\na: 1 # one\nextensions:\n${BLOCK}`],
  ["an empty mapping", "extensions: {} # none\nb: 2\n", `extensions: # none\n${BLOCK}b: 2\n`],
  ["a null mapping", "extensions:\nb: 2\n", `extensions:\n${BLOCK}b: 2\n`],
  [
    "a mapping in the middle",
    "extensions:\n  a:\n    x: 1\n\n# b\nb: 2\n",
    `extensions:\n  a:\n    x: 1\n${BLOCK}\n# b\nb: 2\n`,
  ],
  [
    "its own entry",
    "extensions:\n  proxy:\n    cmd: x\n    args:\n    - a\n\n  # next\n  z:\n    y: 1\n",
    `extensions:\n${BLOCK}\n  # next\n  z:\n    y: 1\n`,
  ],
  ["its own entry in quotes", 'extensions:\n  "proxy":\n    cmd: x\n', `extensions:\n${BLOCK}`],
  [
    "a long text that looks like it",
    "extensions:\n  a:\n    d: |\n      proxy:\n        x\n",
    `extensions:\n  a:\n    d: |\n      proxy:\n        x\n${BLOCK}`,
  ],
])("setYamlEntry() into %s", (_, before, after) => {
  verifies("CONNECT-KEEPS-FILE");
  expect(setYamlEntry(before, PATH, ENTRY)).toBe(after);
  expect(setYamlEntry(after, PATH, ENTRY)).toBe(after);
});

test("setYamlEntry() takes the indentation and the line ends of its neighbours", () => {
  const after = setYamlEntry("extensions:\r\n    a:\r\n        x: 1\r\n", PATH, { b: "c: d" });
  expect(after).toBe('extensions:\r\n    a:\r\n        x: 1\r\n    proxy:\r\n      b: "c: d"\r\n');
});

test.each<[string, string, string]>([
  ["that is not there", "extensions:\n  a:\n    x: 1\n", "extensions:\n  a:\n    x: 1\n"],
  ["at the end", `extensions:\n  a:\n    x: 1\n${BLOCK}`, "extensions:\n  a:\n    x: 1\n"],
  ["in the middle", `extensions:\n${BLOCK}  z: {}\nb: 1\n`, "extensions:\n  z: {}\nb: 1\n"],
  ["alone", `extensions:\n${BLOCK}b: 1\n`, "extensions:\nb: 1\n"],
])("removeYamlEntry() of an entry %s", (_, before, after) => {
  verifies("CONNECT-KEEPS-FILE");
  expect(removeYamlEntry(before, PATH)).toBe(after);
});

test.each<[string, string]>([
  ["a mapping in braces", "extensions: {a: {x: 1}}\n"],
  ["a list", "extensions:\n  - a\n"],
  ["a list at the top", "- a\n"],
  ["several documents", "a: 1\n---\nb: 2\n"],
  ["text where a mapping should be", "extensions: none\n"],
])("%s is refused, and nothing is guessed", (_, text) => {
  expect(() => setYamlEntry(text, PATH, ENTRY)).toThrow(/Write 'proxy:' below 'extensions:'/);
});

test("a text that is no YAML is refused", () => {
  expect(() => setYamlEntry("a: [\n", PATH, ENTRY)).toThrow();
});

const TOPS = [
  "# a comment",
  "",
  "plain: 1 # kept",
  "list:\n- x\n- extensions",
  "text: |\n  extensions:\n    proxy: no",
  'quoted: "extensions: {}"',
  "deep:\n  extensions:\n    proxy: 1",
  "empty:",
];
const CHILDREN = [
  "  # of the next",
  "",
  "  one:\n    cmd: x # kept\n    args:\n      - a",
  "  two: {}",
  "  three:\n    text: |\n      proxy:\n        x",
  "  proxy-like:\n    a: 1",
];

test("whatever a text is made of, all that is not the entry stays in its order, or nothing changes", () => {
  verifies("CONNECT-KEEPS-FILE");
  let edits = 0;
  const some = (pieces: readonly string[]) => fc.shuffledSubarray([...pieces]);
  fc.assert(
    fc.property(some(TOPS), some(CHILDREN), some(TOPS), fc.boolean(), (above, children, below, isOwn) => {
      const own = isOwn ? ["  proxy:\n    old: 1"] : [];
      const taken = new Set(above);
      const left = below.filter((piece) => !taken.has(piece));
      const pieces = [...above, "extensions:", ...own, ...children, ...left];
      const text = pieces.map((piece) => `${piece}\n`).join("");
      let after: string;
      try {
        after = setYamlEntry(text, PATH, ENTRY);
      } catch {
        return;
      }
      edits += 1;
      for (const edited of [after, removeYamlEntry(after, PATH)]) {
        let at = 0;
        for (const piece of [...above, ...children, ...left]) {
          if (piece === "") continue;
          const found = edited.indexOf(`${piece}\n`, at);
          expect([piece, found >= at]).toEqual([piece, true]);
          at = found + piece.length;
        }
      }
      expect(setYamlEntry(after, PATH, ENTRY)).toBe(after);
    }),
    { numRuns: 3_000 },
  );
  expect(edits).toBeGreaterThan(2_000);
});
