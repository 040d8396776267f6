/**
 * The look of edited JSON with comments: lines, indentation, commas, comments.
 *
 * Owns the tables before → after; what edits mean is tested in `jsonc_text_test.ts`.
 */
import { expect, test } from "bun:test";
import type { JsonPath } from "../../src/lib/jsonc.ts";
import { parseJsonc } from "../../src/lib/jsonc.ts";
import type { JsoncEdit } from "../../src/lib/jsonc_text.ts";
import { JsoncText } from "../../src/lib/jsonc_text.ts";

const set = (path: JsonPath, value: unknown): JsoncEdit => ({ kind: "set", path, value });
const remove = (...path: JsonPath): JsoncEdit => ({ kind: "remove", path });
const append = (path: JsonPath, value: unknown): JsoncEdit => ({ kind: "append", path, value });

type Row = readonly [name: string, before: string, edits: readonly JsoncEdit[], after: string];

const SETTING: readonly Row[] = [
  ["a value", '{"a": 1, "b": 2}', [set(["a"], "x")], '{"a": "x", "b": 2}'],
  [
    "an equal value, which keeps its spelling",
    '{"a": 1.0, "b": [1, /* c */ 2]}',
    [set(["a"], 1), set(["b"], [1, 2])],
    '{"a": 1.0, "b": [1, /* c */ 2]}',
  ],
  ["the whole", "\uFEFF// top\n{}\n// end", [set([], [1])], "\uFEFF// top\n[\n  1\n]\n// end"],
  [
    "an object, in several lines",
    '{\n    "a": 1, // one\n    "b": 2\n}',
    [set(["a"], { x: [1], y: {} })],
    '{\n    "a": {\n        "x": [\n            1\n        ],\n        "y": {}\n    }, // one\n    "b": 2\n}',
  ],
  [
    "a list on one line, which stays there",
    '{\n  "args": ["-y", "x"]\n}',
    [set(["args"], ["-y", { a: 1, b: "{\n" }])],
    '{\n  "args": ["-y", {"a": 1, "b": "{\\n"}]\n}',
  ],
  [
    "a value among others on a line",
    '{ "a": 1, "b": 2 }',
    [set(["a"], { x: [] })],
    '{ "a": {"x": []}, "b": 2 }',
  ],
  [
    "with CRLF and tabs",
    '{\r\n\t"a": 1\r\n}',
    [set(["a"], { x: 1 })],
    '{\r\n\t"a": {\r\n\t\t"x": 1\r\n\t}\r\n}',
  ],
  ["the first of two equal keys", '{"a": 1, "a": 2}', [set(["a"], 3)], '{"a": 3, "a": 2}'],
  ["an escaped key", '{"\\u0061": 1}', [set(["a"], 3)], '{"\\u0061": 3}'],
  [
    "__proto__",
    '{"__proto__": 1}',
    [set(["__proto__"], 2), set(["b", "__proto__"], 3)],
    '{"__proto__": 2, "b": {"__proto__": 3}}',
  ],
  [
    "a member of a scalar, as a merge patch does",
    '{"a": null, "b": "x"}',
    [set(["a", "x"], 1), set(["b", "y", "z"], 2)],
    '{"a": {"x": 1}, "b": {"y": {"z": 2}}}',
  ],
];

const ADDING: readonly Row[] = [
  ["to an empty object", "{}\n", [set(["a"], 1), set(["b"], [])], '{\n  "a": 1,\n  "b": []\n}\n'],
  [
    "to an empty array",
    '{\n  "s": []\n}',
    [append(["s"], { n: 1 }), append(["s"], 2)],
    '{\n  "s": [\n    {\n      "n": 1\n    },\n    2\n  ]\n}',
  ],
  [
    "to an empty array with blanks",
    '{\r\n\t"s": [\r\n\t]\r\n}',
    [append(["s"], 2)],
    '{\r\n\t"s": [\r\n\t\t2\r\n\t]\r\n}',
  ],
  [
    "to an empty object within a line",
    '{ "a": {} }',
    [set(["a", "b"], { c: 1 })],
    '{ "a": {"b": {"c": 1}} }',
  ],
  [
    "to one line",
    '{ "a": 1 }',
    [set(["b"], 2), set(["c"], { d: [1, 2] })],
    '{ "a": 1, "b": 2, "c": {"d": [1, 2]} }',
  ],
  [
    "to one tight line",
    '{"a":1,"l":[1]}',
    [set(["b"], { d: [1, 2] }), append(["l"], 2)],
    '{"a":1,"l":[1,2],"b":{"d":[1,2]}}',
  ],
  ["to one line with a trailing comma", "[1, 2,]", [append([], 3)], "[1, 2, 3,]"],
  [
    "on a line of its own",
    '{\n   "a": 1\n}',
    [set(["b"], { c: 1 })],
    '{\n   "a": 1,\n   "b": {\n      "c": 1\n   }\n}',
  ],
  [
    "with a trailing comma",
    '{\n  "a": 1,\n}',
    [set(["b"], 2), set(["c"], 3)],
    '{\n  "a": 1,\n  "b": 2,\n  "c": 3,\n}',
  ],
  ["behind a line comment", '{\n  "a": 1 // one\n}', [set(["b"], 2)], '{\n  "a": 1, // one\n  "b": 2\n}'],
  [
    "behind a line comment and a trailing comma",
    '{\n  "a": 1, // one\n}',
    [set(["b"], 2)],
    '{\n  "a": 1, // one\n  "b": 2,\n}',
  ],
  [
    "before comments at the end",
    '{\n  "a": 1 /* x */ // one\n\n  // end\n}',
    [set(["b"], 2)],
    '{\n  "a": 1, /* x */ // one\n  "b": 2\n\n  // end\n}',
  ],
  [
    "beside comments within a line",
    "[1 /* one */, 2 /* two */ // end\n]",
    [append([], 3)],
    "[1 /* one */, 2 /* two */, 3 // end\n]",
  ],
  [
    "to an object with a comment only",
    "{\n  // none yet\n}",
    [set(["a"], 1)],
    '{\n  // none yet\n  "a": 1\n}',
  ],
  [
    "to an object with a comment behind its bracket",
    "{ // none\n}",
    [set(["a"], 1)],
    '{ // none\n  "a": 1\n}',
  ],
  [
    "to a line with a comment only",
    '{"x": 1, "a": { /* none */ }}',
    [set(["a", "b"], 1)],
    '{"x": 1, "a": { /* none */ "b": 1 }}',
  ],
  [
    "in the style of [{ … }]",
    '{\n  "s": [{\n    "n": 1\n  }]\n}',
    [append(["s"], { n: 2 })],
    '{\n  "s": [{\n    "n": 1\n  }, {\n    "n": 2\n  }]\n}',
  ],
  [
    "a closing bracket beside the last member",
    '{ "a": 1,\n  "b": 2 }',
    [set(["c"], 3)],
    '{ "a": 1,\n  "b": 2,\n  "c": 3 }',
  ],
  [
    "behind a comment over several lines",
    '{\n  /* one\n     two */ "a": 1\n}',
    [set(["b"], 2)],
    '{\n  /* one\n     two */ "a": 1,\n  "b": 2\n}',
  ],
  [
    "missing parents once",
    '{\n  "a": 1\n}',
    [set(["g", "x", "y"], 1), set(["g", "z"], 2), append(["g", "l"], 3), append(["g", "l"], 4)],
    '{\n  "a": 1,\n  "g": {\n    "x": {\n      "y": 1\n    },\n    "z": 2,\n    "l": [\n      3,\n      4\n    ]\n  }\n}',
  ],
  ["a missing or null array", '{"a": null}', [append(["a"], 1), append(["b"], 2)], '{"a": [1], "b": [2]}'],
  [
    "with an indentation of 4",
    '{\n    "m": {\n        "a": {}\n    }\n}',
    [set(["m", "b"], { c: 1 }), set(["m", "a", "x"], 1)],
    '{\n    "m": {\n        "a": {\n            "x": 1\n        },\n        "b": {\n            "c": 1\n        }\n    }\n}',
  ],
];

const REMOVING: readonly Row[] = [
  ["a line", '{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}', [remove("b")], '{\n  "a": 1,\n  "c": 3\n}'],
  ["the last line and the comma before", '{\n  "a": 1,\n  "b": 2\n}', [remove("b")], '{\n  "a": 1\n}'],
  ["the last line before a trailing comma", '{\n  "a": 1,\n  "b": 2,\n}', [remove("b")], '{\n  "a": 1,\n}'],
  ["lines of CRLF", '{\r\n  "a": 1,\r\n  "b": {\r\n  }\r\n}', [remove("a")], '{\r\n  "b": {\r\n  }\r\n}'],
  ["all lines", '{\n  "a": 1,\n  "b": 2\n}', [remove("b"), remove("a")], "{}"],
  ["the only one of a line", '{ "l": [ 1 ] }', [remove("l", 0)], '{ "l": [] }'],
  ["first, middle and last of a line", "[1, 2, 3, 4, 5]", [remove(0), remove(2), remove(4)], "[2, 4]"],
  ["the last two of a line", '{ "a": 1, "b": 2, "c": 3 }', [remove("b"), remove("c")], '{ "a": 1 }'],
  [
    "beside comments before and after",
    '{\n  // before\n  "a": 1,\n  // after\n  "b": 2\n}',
    [remove("a")],
    '{\n  // before\n  // after\n  "b": 2\n}',
  ],
  [
    "beside a comment on its line",
    '{\n  "a": 1, // one\n  "b": 2, // two\n  "c": 3\n}',
    [remove("b")],
    '{\n  "a": 1, // one\n  // two\n  "c": 3\n}',
  ],
  [
    "last beside comments",
    '{\n  "a": 1, // one\n  "b": 2 // two\n}',
    [remove("b")],
    '{\n  "a": 1 // one\n  // two\n}',
  ],
  [
    "last beside a comment of its own",
    '{\n  "a": 1,\n  "b": 2 // two\n}',
    [remove("b")],
    '{\n  "a": 1\n  // two\n}',
  ],
  [
    "a comment before its comma",
    '{\n  "a": 1 // one\n  ,\n  "b": 2\n}',
    [remove("a")],
    '{\n  // one\n  "b": 2\n}',
  ],
  [
    "within comments of a line",
    "[/* a */ 1 /* b */, /* c */ 2 /* d */]",
    [remove(1)],
    "[/* a */ 1 /* b */ /* c */ /* d */]",
  ],
  [
    "behind leading commas",
    '{\n  "a": 1\n  , "b": 2\n  , "c": 3\n}',
    [remove("b")],
    '{\n  "a": 1\n  , "c": 3\n}',
  ],
  ["a doubled key, all of it", '{"a": 1, "b": 2, "a": 3}', [remove("a")], '{"b": 2}'],
  ["the second of a [{ … }, { … }]", '[{\n  "n": 1\n}, {\n  "n": 2\n}]', [remove(1)], '[{\n  "n": 1\n}]'],
  [
    "what is not there",
    '{"a": [1]}',
    [remove("b"), remove("a", 7), remove("a", 0, "x"), remove("a", "x"), remove("b", "c")],
    '{"a": [1]}',
  ],
  [
    "and adding",
    '{\n  "a": 1,\n  "b": 2 // two\n}',
    [remove("b"), set(["c"], 3)],
    '{\n  "a": 1,\n  "c": 3\n  // two\n}',
  ],
  [
    "all and adding",
    '{\n  "a": 1,\n  "b": 2,\n}',
    [remove("a"), remove("b"), set(["c"], 3)],
    '{\n  "c": 3,\n}',
  ],
  ["all of a line and adding", '{ "a": 1 }', [remove("a"), set(["c"], 3)], '{ "c": 3 }'],
  [
    "all beside comments and adding",
    '{\n  // x\n  "a": 1\n}',
    [remove("a"), set(["c"], 3)],
    '{\n  // x\n  "c": 3\n}',
  ],
];

test.each([
  ...SETTING.map((row) => ["sets", ...row] as const),
  ...ADDING.map((row) => ["adds", ...row] as const),
  ...REMOVING.map((row) => ["removes", ...row] as const),
])("JsoncText.edit() %s %s", (_verb, _name, before, edits, after) => {
  expect(new JsoncText(before).edit(edits)).toBe(after);
  expect(parseJsonc(after).faults).toEqual([]);
});
