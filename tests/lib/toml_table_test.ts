/**
 * Tables of TOML texts that come, change and go, and all that must stay.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { removeTomlTable, setTomlTable } from "../../src/lib/toml_table.ts";
import { verifies } from "../requirements.ts";

const PATH = ["mcp_servers", "proxy"];
const TABLE = { url: "http://127.0.0.1:1/mcp", http_headers: { "X-API-Key": "k" } };
const BLOCK = '[mcp_servers.proxy]\nurl = "http://127.0.0.1:1/mcp"\nhttp_headers = { X-API-Key = "k" }\n';

test.each<[string, string, string]>([
  ["an empty text", "", BLOCK],
  ["a text without a last line break", "a = 1", `a = 1\n\n${BLOCK}`],
  ["a text that ends with a blank line", "a = 1\n\n", `a = 1\n\n${BLOCK}`],
  [
    "comments and order",
    "# top\nb = 2 # two\n\n[x] # x\ny = 1\n# end\n",
    `# top\nb = 2 # two\n\n[x] # x\ny = 1\n# end\n\n${BLOCK}`,
  ],
  [
    "a header inside a long string",
    'a = """\n[mcp_servers.proxy]\n"""\n',
    `a = """\n[mcp_servers.proxy]\n"""\n\n${BLOCK}`,
  ],
  [
    "a header inside an array",
    'a = [\n["mcp_servers.proxy"],\n]\n',
    `a = [\n["mcp_servers.proxy"],\n]\n\n${BLOCK}`,
  ],
  [
    "its own table",
    "[mcp_servers.proxy]\ncommand = 'x'\n\n# next\n[y]\nz = 1\n",
    `${BLOCK}\n# next\n[y]\nz = 1\n`,
  ],
  ["its own table in quotes", '[ "mcp_servers" . "proxy" ] # ours\ncommand = \'x\'\n[y]\n', `${BLOCK}[y]\n`],
  [
    "tables below its own",
    "[mcp_servers.proxy]\na = 1\n\n[mcp_servers.proxy.env]\nA = 'x'\n\n[mcp_servers.z]\nurl = 'u'\n",
    `${BLOCK}\n[mcp_servers.z]\nurl = 'u'\n`,
  ],
])("setTomlTable() into %s", (_, before, after) => {
  verifies("CONNECT-KEEPS-FILE");
  expect(setTomlTable(before, PATH, TABLE)).toBe(after);
  expect(setTomlTable(after, PATH, TABLE)).toBe(after);
});

test("setTomlTable() writes with the line ends of the text, and keeps its mark", () => {
  const text = "\uFEFFa = 1\r\n";
  expect(setTomlTable(text, PATH, { x: true })).toBe(
    "\uFEFFa = 1\r\n\r\n[mcp_servers.proxy]\r\nx = true\r\n",
  );
});

test.each<[string, string, string]>([
  ["that is not there", "a = 1\n", "a = 1\n"],
  ["at the end", `a = 1\n\n${BLOCK}`, "a = 1\n"],
  ["in the middle", `a = 1\n\n${BLOCK}\n[y]\nz = 1\n`, "a = 1\n\n[y]\nz = 1\n"],
  ["alone", BLOCK, ""],
  [
    "with tables below it elsewhere",
    `${BLOCK}\n[y]\nz = 1\n\n[mcp_servers.proxy.env]\nA = "b"\n`,
    "[y]\nz = 1\n",
  ],
])("removeTomlTable() of a table %s", (_, before, after) => {
  verifies("CONNECT-KEEPS-FILE");
  expect(removeTomlTable(before, PATH)).toBe(after);
});

test.each<[string, string]>([
  ["a dotted key", "mcp_servers.proxy.url = 'x'\n"],
  ["a table in braces", "[mcp_servers]\nproxy = { url = 'x' }\n"],
  ["an array of tables", "[[mcp_servers.proxy]]\nurl = 'x'\n[[mcp_servers.proxy]]\nurl = 'y'\n"],
])("%s is refused, as it has no lines of its own", (_, text) => {
  const advice = /Write it below a line '\[mcp_servers\.proxy\]'/;
  expect(() => setTomlTable(text, PATH, TABLE)).toThrow(advice);
  expect(() => removeTomlTable(text, PATH)).toThrow(advice);
});

test("a text that is no TOML is refused", () => {
  expect(() => setTomlTable("a = 'x\n", PATH, TABLE)).toThrow(/TOML/);
});

/** Pieces that keep to themselves: whole lines, a long string, an array. */
const PIECES = [
  "# a comment",
  "",
  "x = 1",
  'text = "[not.a.header]"',
  'more = [\n  "mcp_servers.proxy",\n[1],\n]',
  "[table] # with a comment",
  "[mcp_servers.other]",
  "[mcp_servers.proxy]",
  "[mcp_servers.proxy.env]",
  '[ "mcp_servers" . other-one ]',
  "[[list]]",
  'long = """\n[mcp_servers.proxy]\n"""',
  "mcp_servers.proxy.url = 'x'",
];

/** What stands outside of tables of ours, in order. */
function foreign(pieces: readonly string[]): string[] {
  let isOwn = false;
  return pieces.filter((piece) => {
    if (piece.startsWith("[")) isOwn = piece.startsWith("[mcp_servers.proxy");
    return !isOwn && piece !== "";
  });
}

test("whatever a text is made of, all that is not the table stays in its order, or nothing changes", () => {
  verifies("CONNECT-KEEPS-FILE");
  let edits = 0;
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }), (pieces) => {
      const text = pieces.map((piece) => `${piece}\n`).join("");
      let after: string;
      try {
        after = setTomlTable(text, PATH, TABLE);
      } catch {
        return;
      }
      edits += 1;
      for (const edited of [after, removeTomlTable(after, PATH)]) {
        let at = 0;
        for (const piece of foreign(pieces)) {
          const found = edited.indexOf(`${piece}\n`, at);
          expect([piece, found >= at]).toEqual([piece, true]);
          at = found + piece.length;
        }
      }
      expect(setTomlTable(after, PATH, TABLE)).toBe(after);
    }),
    { numRuns: 3_000 },
  );
  expect(edits).toBeGreaterThan(300);
});
