/**
 * The one line of a tool in a compact reply: readable for usual schemas, bounded for hostile ones.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { signatureOf, summaryOf } from "../../src/catalog/signature.ts";
import type { JsonObject } from "../../src/core/model.ts";

function sign(properties: JsonObject, required: readonly string[] = [], name = "t"): string {
  return signatureOf({ name, inputSchema: { type: "object", properties, required } });
}

test("signatureOf() marks required parameters and puts them first", () => {
  const properties: JsonObject = {
    head: { type: "number" },
    path: { type: "string" },
    mode: { enum: ["a", "b"] },
  };
  expect(sign(properties, ["path"], "read_file")).toBe(
    'read_file(path*: string, head: number, mode: "a"|"b")',
  );
});

test.each<[string, JsonObject, string]>([
  ["integer", { type: "integer" }, "int"],
  ["boolean", { type: "boolean" }, "bool"],
  ["array", { type: "array", items: { type: "string" } }, "string[]"],
  ["array of a union", { type: "array", items: { enum: ["a", "b"] } }, '("a"|"b")[]'],
  ["array of anything", { type: "array" }, "any[]"],
  ["nullable", { anyOf: [{ type: "string" }, { type: "null" }] }, "string"],
  ["type list", { type: ["string", "null"] }, "string"],
  ["union", { oneOf: [{ type: "string" }, { type: "integer" }] }, "string|int"],
  ["const", { const: 3 }, "3"],
  ["long enum", { type: "string", enum: ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "c"] }, "string"],
  ["no type", {}, "any"],
  ["properties alone", { properties: {} }, "object"],
])("signatureOf() abbreviates: %s", (_, schema, type) => {
  expect(sign({ p: schema })).toBe(`t(p: ${type})`);
});

test("signatureOf() leaves the name out when told", () => {
  expect(signatureOf({ name: "t", inputSchema: { properties: { p: {} } } }, { hasName: false })).toBe(
    "(p: any)",
  );
});

test("signatureOf() cuts optional parameters first and says so", () => {
  const properties: JsonObject = Object.fromEntries(
    Array.from({ length: 40 }, (_, at) => [`parameter_${at}`, { type: "string" }]),
  );
  const line = sign(properties, ["parameter_39"]);
  expect(line).toStartWith("t(parameter_39*: string, parameter_0: string, ");
  expect(line).toEndWith(", …)");
  expect(line.length).toBeLessThanOrEqual(120);
});

test("signatureOf() and summaryOf() are one bounded line for whatever an upstream sends", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "binary" }),
      fc.jsonValue(),
      fc.integer({ min: 80, max: 300 }),
      (text, schema, limit) => {
        const definition = {
          name: text || "t",
          inputSchema: { properties: { [text]: schema } } as JsonObject,
        };
        for (const line of [signatureOf(definition, { maxChars: limit }), summaryOf(text, limit)]) {
          expect(line.length).toBeLessThanOrEqual(limit);
          expect(line).not.toMatch(/\p{Cc}|\p{Zl}|\p{Zp}/u);
        }
      },
    ),
  );
  expect(signatureOf({ name: "t", inputSchema: { properties: null, required: 3 } })).toBe("t()");
});

test.each([
  ["Reads a file. Then more.", "Reads a file"],
  ["Reads v1.2 of a file", "Reads v1.2 of a file"],
  ["One\n\n  two\u0007\u202e three", "One two three"],
  ["搜索文件。然后返回", "搜索文件"],
  ["", ""],
  [undefined, ""],
])("summaryOf() takes the first sentence on one line: %j", (text, summary) => {
  expect(summaryOf(text)).toBe(summary);
});

test("summaryOf() cuts long sentences at a word", () => {
  const summary = summaryOf("word ".repeat(100));
  expect(summary.length).toBeLessThanOrEqual(80);
  expect(summary).toEndWith("word…");
});
