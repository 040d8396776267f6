/**
 * Words of texts and identifiers: splitting, folding, stems, stop words, scripts without spaces, bounds.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { tokenize } from "../../src/catalog/tokenizer.ts";

test.each([
  ["read_file", ["read", "file"]],
  ["readFile", ["read", "file"]],
  ["ReadHTTPFile", ["read", "http", "file"]],
  ["read-file.v2", ["read", "file", "v2"]],
  ["ns/read:file", ["ns", "read", "file"]],
  ["Übergrößen café", ["ubergroßen", "cafe"]],
  ["ÄrgerÖl", ["arger", "ol"]],
  ["ﬁle ＡＢＣ", ["file", "abc"]],
  ["the files of a user", ["file", "user"]],
  ["constructor __proto__ toString", ["constructor", "proto", "string"]],
  ["搜索文件", ["搜索", "索文", "文件"]],
  ["AI搜索", ["ai", "搜索"]],
  ["図", ["図"]],
  ["🦊 !? \u0000", []],
  ["", []],
])("tokenize() splits %j", (text, words) => {
  expect(tokenize(text)).toEqual(words.map((word) => tokenize(word)[0] ?? word));
  expect(tokenize(text)).toHaveLength(words.length);
});

test("tokenize() stems, so that forms of a word meet", () => {
  for (const [a, b] of [
    ["files", "file"],
    ["searching", "search"],
    ["queries", "query"],
    ["created", "create"],
  ] as const) {
    expect(tokenize(a)).toEqual(tokenize(b));
  }
});

test("tokenize() keeps stop words and joins identifiers when told", () => {
  expect(tokenize("get_all", {})).toEqual(["get"]);
  expect(tokenize("get_all", { keepsStopWords: true })).toEqual(["get", "all"]);
  expect(tokenize("git_log", { joinsIdentifiers: true })).toEqual(["git", "log", "gitlog"]);
  expect(tokenize("gitLog", { joinsIdentifiers: true })).toEqual(["git", "log", "gitlog"]);
  expect(tokenize("plain words", { joinsIdentifiers: true })).toEqual(["plain", "word"]);
});

test("tokenize() takes an identifier apart once, whatever joins it, and puts what is joined last", () => {
  const options = { joinsIdentifiers: true, keepsStopWords: true };
  expect(tokenize("get-all_rows x", options)).toEqual(["get", "all", "row", "x", "getallrow"]);
  expect(tokenize("pageSize (page_size)", options)).toEqual(["page", "size", "page", "size", "pages"]);
  // Capitals alone join nothing.
  expect(tokenize("HTTPFile", options)).toEqual(["http", "file"]);
  expect(tokenize("_a_ -b- c__d", options)).toEqual(["a", "b", "c", "d"]);
});

test("tokenize() says the same of a run it remembers, is about to forget, and has forgotten", () => {
  const options = { joinsIdentifiers: true };
  const texts = ["running_tests", "listUsers", "the queries"];
  const before = texts.map((text) => tokenize(text, options));
  let filler = 0;
  for (const others of [3_000, 3_000, 3_000, 20_000]) {
    for (let at = 0; at < others; at += 1) tokenize(`filler${(filler += 1)}`);
    expect(texts.map((text) => tokenize(text, options))).toEqual(before);
  }
});

test("tokenize() is bounded and never throws", () => {
  const huge = tokenize(`${"x".repeat(100_000)} ${"ab ".repeat(100_000)}`);
  expect(huge.length).toBeLessThanOrEqual(1_000);
  expect(Math.max(...huge.map((word) => word.length))).toBeLessThanOrEqual(40);
  expect(tokenize("搜".repeat(100_000)).length).toBeLessThanOrEqual(1_000);
  expect(tokenize("a_".repeat(50_000), { joinsIdentifiers: true }).length).toBeLessThanOrEqual(1_000);
  expect(
    tokenize("b_".repeat(50_000), { joinsIdentifiers: true, keepsStopWords: true }).length,
  ).toBeLessThanOrEqual(1_000);
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
      for (const word of tokenize(text, { joinsIdentifiers: true, keepsStopWords: true }))
        expect(word).not.toBe("");
    }),
  );
});
