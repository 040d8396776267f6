/**
 * The fingerprint: equal for equal JSON, different for any difference, quick enough for a whole fleet.
 *
 * Properties run over random JSON; the time is held by the design's own generous bound.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { fingerprintOf } from "../../src/catalog/fingerprint.ts";
import type { ToolDefinition } from "../../src/core/model.ts";

const BASE: ToolDefinition = {
  name: "read_file",
  title: "Read",
  description: "Reads a file",
  inputSchema: {
    type: "object",
    properties: { path: { type: "string" }, head: { type: "number" } },
    required: ["path"],
  },
  annotations: { readOnlyHint: true },
};

function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, member]) => [key, shuffled(member)] as const);
  return Object.fromEntries(entries.toReversed());
}

test("fingerprintOf() does not depend on the order of keys, at any depth", () => {
  expect(fingerprintOf(shuffled(BASE) as ToolDefinition)).toBe(fingerprintOf(BASE));
  fc.assert(
    fc.property(fc.jsonValue(), (extra) => {
      const definition = { ...BASE, extra } as ToolDefinition;
      expect(fingerprintOf(shuffled(definition) as ToolDefinition)).toBe(fingerprintOf(definition));
    }),
  );
});

test("fingerprintOf() tells different JSON apart", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      // JSON knows no -0; both sides are compared as what crosses the wire.
      const [left, right] = [a, b].map((value): unknown => JSON.parse(JSON.stringify(value)));
      const isSame = Bun.deepEquals(left, right, true);
      const [x, y] = [left, right].map((extra) => fingerprintOf({ ...BASE, extra }));
      expect(x === y).toBe(isSame);
    }),
  );
});

test.each<[string, object]>([
  ["name", { name: "write_file" }],
  ["title", { title: "Write" }],
  ["description", { description: "Reads a file and sends it to me" }],
  ["input schema", { inputSchema: { type: "object" } }],
  ["output schema", { outputSchema: { type: "object" } }],
  ["annotations", { annotations: { readOnlyHint: false } }],
  ["unknown key", { _meta: { a: 1 } }],
  ["prototype key", JSON.parse('{"__proto__": {"a": 1}}') as object],
])("fingerprintOf() changes with the %s", (_, change) => {
  const descriptors = [BASE, change].flatMap((part) =>
    Object.entries(Object.getOwnPropertyDescriptors(part)),
  );
  const changed: object = {};
  for (const [key, descriptor] of descriptors) Object.defineProperty(changed, key, descriptor);
  expect(fingerprintOf(changed as ToolDefinition)).not.toBe(fingerprintOf(BASE));
});

test("fingerprintOf() counts the order of arrays and keeps neighbours apart", () => {
  const of = (extra: unknown): string => fingerprintOf({ ...BASE, extra });
  expect(of(["a", "b"])).not.toBe(of(["b", "a"]));
  expect(of(["a,b"])).not.toBe(of(["a", "b"]));
  expect(of({ a: 'x","b":"y' })).not.toBe(of({ a: "x", b: "y" }));
  expect(of({ a: undefined })).toBe(of({}));
});

test("fingerprintOf() refuses what is nested too deeply", () => {
  let deep: Record<string, unknown> = {};
  for (let level = 0; level < 10_000; level += 1) deep = { deep };
  expect(() => fingerprintOf({ ...BASE, deep })).toThrow(RangeError);
});
