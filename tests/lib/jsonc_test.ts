/**
 * JSON with comments: values, places, duplicates, and what is said about broken text.
 *
 * Owns the comparison with `JSON.parse` and with jsonc-parser, which edits the same files later.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { parse } from "jsonc-parser";
import { formatPath, parseJsonc } from "../../src/lib/jsonc.ts";

test.each([
  ["{}", {}],
  ['\uFEFF{"a":1}', { a: 1 }],
  ['// first\n{"a": 1, /* x */ "b": [1, 2,],}', { a: 1, b: [1, 2] }],
  ['{"url": "http://x/*y*/", "s": "a // b"}', { url: "http://x/*y*/", s: "a // b" }],
  ['{"a": [1, // one\n 2, /* , */ ] }', { a: [1, 2] }],
  ['{"q": "\\"//\\"", "b": "\\\\"}', { q: '"//"', b: "\\" }],
  ['{\r\n"a": 1 // x\r\n}\r\n', { a: 1 }],
  ['{"a:b": ":", "c": {"d:": [":"]}}', { "a:b": ":", c: { "d:": [":"] } }],
  ['{"a": 1 /**/ , /**/ }', { a: 1 }],
] as const)("parseJsonc(%j) reads the value", (text, value) => {
  const document = parseJsonc(text);
  expect(document.faults).toEqual([]);
  expect(document.duplicates).toEqual([]);
  expect(document.value).toEqual(value);
});

test.each([
  "[,]",
  "{,}",
  "[1,,]",
  '{"a":,}',
  "[1/**/2]",
  "1 /* x",
  "[1 // ]",
  '{"a":1,,}',
  "'x'",
  "[01]",
  "[+1]",
  "[.5]",
  "NaN",
])("parseJsonc(%j) finds a fault", (text) => {
  const document = parseJsonc(text);
  expect(document.value).toBeUndefined();
  expect(document.faults.length).toBeGreaterThan(0);
});

test("parseJsonc() keeps __proto__ and constructor as data", () => {
  for (const extra of ["", ',"a":1,"a":2']) {
    const { value } = parseJsonc(
      `{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}${extra}}`,
    );
    expect(Object.keys(value as object)).toContain("__proto__");
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect((value as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  }
});

test("parseJsonc() lets the first of two equal keys count and names the second", () => {
  const document = parseJsonc('{\n  "a": 1,\n  "b": {"c": 1, "c": 2},\n  "a": 3\n}');
  expect(document.value).toEqual({ a: 1, b: { c: 1 } });
  expect(document.duplicates).toEqual([
    { line: 3, column: 17, path: ["b", "c"], firstLine: 3 },
    { line: 4, column: 3, path: ["a"], firstLine: 2 },
  ]);
});

test("parseJsonc() knows two spellings of one key as duplicates", () => {
  expect(parseJsonc('{"a": 1, "\\u0061": 2}').duplicates).toHaveLength(1);
});

test("JsoncDocument.place() finds keys and values behind CRLF, BOM and comments", () => {
  const document = parseJsonc('\uFEFF{\r\n  // x\r\n  "a": [\r\n    {"ü": 1, "k": "v"}\r\n  ]\r\n}');
  expect(document.place([])).toEqual({ line: 1, column: 1 });
  expect(document.place(["a"], "key")).toEqual({ line: 3, column: 3 });
  expect(document.place(["a"])).toEqual({ line: 3, column: 8 });
  expect(document.place(["a", 0, "k"])).toEqual({ line: 4, column: 19 });
  expect(document.place(["a", 0, "missing"], "key")).toEqual({ line: 4, column: 5 });
  expect(document.place(["a", 7])).toEqual({ line: 3, column: 8 });
});

test("parseJsonc() refuses nesting past its limit and ends", () => {
  const document = parseJsonc(`{"a":${"[".repeat(200_000)}`);
  expect(document.faults[0]?.message).toContain("nest deeper");
  expect(parseJsonc(`${"[".repeat(100)}${"]".repeat(100)}`).faults).toEqual([]);
  expect(parseJsonc(`${"[".repeat(101)}${"]".repeat(101)}`).faults).toHaveLength(1);
  expect(parseJsonc(`{"a":1,"a":2,"b":${"[".repeat(200_000)}`).place(["a"])).toEqual({ line: 1, column: 1 });
});

test("parseJsonc() stays linear on hostile text", () => {
  const started = performance.now();
  for (const part of ["/*", "'", "{", "[,", '"', '"a":', "]", "//\r", "\\", "{x:", "#", "“", ",]"])
    parseJsonc(part.repeat(500_000));
  // Quadratic time would be minutes.
  expect(performance.now() - started).toBeLessThan(10_000);
});

test("parseJsonc() quotes no string in a fault", () => {
  const broken = [
    '{"k": "x"canary7"}',
    '{"API_KEY": "canary1" "canary2"}',
    '{"k": canary3}',
    '{"k": "canary4',
    "{'k': 'canary5'}",
    '{"k": "\\qcanary6"}',
  ];
  for (const text of broken) expect(JSON.stringify(parseJsonc(text).faults)).not.toContain("canary");
});

test.each([
  [[], "(top level)"],
  [["mcpServers", 3, "args", 0], "mcpServers[3].args[0]"],
  [["mcpServers", "a b", "env", "X"], 'mcpServers["a b"].env.X'],
  [["a", "x\u001b[31m"], 'a["x\\u001b[31m"]'],
] as const)("formatPath(%j) is %s", (path, text) => {
  expect(formatPath(path)).toBe(text);
});

test("parseJsonc() agrees with JSON.parse on any JSON", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      const document = parseJsonc(text);
      expect(document.faults).toEqual([]);
      if (document.duplicates.length === 0)
        expect(JSON.stringify(document.value)).toBe(JSON.stringify(JSON.parse(text)));
    }),
  );
});

test("parseJsonc() reads plain JSON as it reads the same text with a comment, keys that stand twice included", () => {
  const key = fc.constantFrom("a", "b", "__proto__", "1", '"', "\\", "é:");
  const json = fc.letrec<{ value: string; object: string }>((tie) => ({
    value: fc.oneof({ depthSize: "small" }, fc.json({ maxDepth: 0 }), tie("object")),
    object: fc
      .array(fc.tuple(key, fc.constantFrom("", " ", "\n"), tie("value")), { maxLength: 4 })
      .map(
        (rows) => `{${rows.map(([name, gap, value]) => `${JSON.stringify(name)}${gap}:${value}`).join(",")}}`,
      ),
  })).object;
  fc.assert(
    fc.property(json, (text) => {
      const [plain, noted] = [parseJsonc(text), parseJsonc(`${text} // x`)];
      expect(JSON.stringify(plain.value)).toBe(JSON.stringify(noted.value));
      expect(plain.duplicates).toEqual(noted.duplicates);
      expect([plain.faults, noted.faults]).toEqual([[], []]);
    }),
  );
});

const token = fc.constantFrom(
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"a"',
  '"b"',
  "1",
  "-2.5e3",
  "true",
  "null",
  "//x\n",
  "/*y*/",
  " ",
  "\n",
  '"',
  "'",
  "x",
  "\\",
  "\u00a0",
  "\t",
  "/",
  "01",
  "#",
);

test("parseJsonc() takes exactly the texts that jsonc-parser takes", () => {
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
      const text = tokens.join("");
      const errors: unknown[] = [];
      parse(text, errors as never, { allowTrailingComma: true });
      expect([text, parseJsonc(text).faults.length === 0]).toEqual([text, errors.length === 0]);
    }),
    { numRuns: 3000 },
  );
});

test("parseJsonc() ends on any text with places inside it", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.array(token, { maxLength: 60 }).map((parts) => parts.join("")),
      ),
      (text) => {
        for (const fault of parseJsonc(text).faults) {
          expect(fault.line).toBeGreaterThan(0);
          expect(fault.line).toBeLessThanOrEqual(text.split(/\r\n|\r|\n/).length);
          expect(fault.column).toBeGreaterThan(0);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
