/**
 * Arguments: faults in words, both ways to send them, and schemas that mean harm.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { JsonObject } from "../../src/core/model.ts";
import { ArgumentChecker, readArguments } from "../../src/gateway/arguments.ts";
import { failureOf } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

let count = 0;

function check(inputSchema: unknown, args: unknown): void {
  count += 1;
  new ArgumentChecker().check(
    { id: "s:t", fingerprint: String(count), inputSchema: inputSchema as JsonObject },
    args as JsonObject,
  );
}

async function faultsOf(inputSchema: unknown, args: unknown): Promise<unknown> {
  const { data } = await failureOf(() => check(inputSchema, args));
  return (data as { faults: unknown }).faults;
}

const SCHEMA = {
  type: "object",
  properties: {
    path: { type: "string", minLength: 1 },
    depth: { type: "integer", minimum: 0 },
    mode: { enum: ["read", "write"] },
    edits: {
      type: "array",
      items: { type: "object", properties: { at: { type: "number" } }, required: ["at"] },
    },
  },
  required: ["path"],
  additionalProperties: false,
};

test.each<[unknown, string[]]>([
  [{}, ['arguments: Instance does not have required property "path"']],
  [{ path: 3 }, ['arguments.path: Instance type "number" is invalid. Expected "string"']],
  [{ path: "a", depth: 1.5 }, ['arguments.depth: Instance type "number" is invalid. Expected "integer"']],
  [{ path: "a", depth: -1 }, ["arguments.depth: -1 is less than 0"]],
  [{ path: "a", mode: "x" }, ['arguments.mode: Instance does not match any of ["read","write"]']],
  [
    { path: "a", edits: [{ at: 1 }, {}] },
    ['arguments.edits.1: Instance does not have required property "at"'],
  ],
  [{ path: "a", more: 1 }, ['arguments: Property "more" does not match additional properties schema']],
])("ArgumentChecker.check() says where the fault is and what it is (%#)", async (args, faults) => {
  verifies("CALL-ARGS-CHECKED");
  const before = structuredClone(SCHEMA);
  const failure = await failureOf(() => check(SCHEMA, args));
  expect(failure["code"]).toBe("ARGUMENTS_INVALID");
  expect(SCHEMA).toEqual(before);
  expect(failure["data"]).toEqual({ faults, inputSchema: SCHEMA });
  expect(failure.message).toBe(`Cannot call 's:t': ${faults.join("; ")}`);
});

test("ArgumentChecker.check() lets arguments pass that fit, in every draft", () => {
  verifies("CALL-ARGS-CHECKED");
  check(SCHEMA, { path: "a", depth: 2, mode: "read", edits: [{ at: 1 }] });
  for (const draft of [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
    7,
    null,
  ]) {
    check({ ...SCHEMA, $schema: draft }, { path: "a" });
  }
  check({}, { anything: 1 });
  check(true, { anything: 1 });
});

test("ArgumentChecker.check() keeps schemas of one fingerprint, and forgets the longest unused", async () => {
  const checker = new ArgumentChecker();
  const strict = { type: "object", required: ["a"] };
  const tool = { id: "s:t", fingerprint: "one", inputSchema: strict };
  expect((await failureOf(() => checker.check(tool, {})))["code"]).toBe("ARGUMENTS_INVALID");
  checker.check({ ...tool, fingerprint: "two", inputSchema: {} }, {});
  expect((await failureOf(() => checker.check({ ...tool, inputSchema: {} }, {})))["code"]).toBe(
    "ARGUMENTS_INVALID",
  );
  for (let at = 0; at < 600; at += 1) checker.check({ ...tool, fingerprint: `f${at}`, inputSchema: {} }, {});
  checker.check({ ...tool, inputSchema: {} }, {});
});

test("ArgumentChecker.check() names at most five faults of a thousand, quickly and in few words", async () => {
  const schema = {
    type: "object",
    properties: {
      list: { type: "array", items: { anyOf: [{ type: "string" }, { enum: [["x".repeat(10_000)]] }] } },
    },
  };
  const startedAt = performance.now();
  const failure = await failureOf(() =>
    check(schema, { list: Array.from({ length: 20_000 }, (_, at) => at) }),
  );
  expect(performance.now() - startedAt).toBeLessThan(1_500);
  expect((failure["data"] as { faults: unknown[] }).faults).toHaveLength(5);
  expect(failure.message.length).toBeLessThan(2_500);
});

function nest(depth: number, leaf: unknown): unknown {
  let schema = leaf;
  for (let level = 0; level < depth; level += 1) schema = { type: "object", properties: { a: schema } };
  return schema;
}

const CYCLIC: Record<string, unknown> = { type: "object" };
CYCLIC["properties"] = { self: CYCLIC };

/** Schemas that cannot be used; the call passes, since the upstream checks again. */
const HOSTILE: readonly (readonly [string, unknown])[] = [
  ["a remote $ref", { $ref: "http://127.0.0.1:1/schema.json" }],
  ["a remote $ref below", { properties: { a: { $ref: "file:///etc/passwd" } } }],
  ["a $ref to nowhere", { $ref: "#/$defs/absent" }],
  ["a $ref to itself", { $ref: "#" }],
  [
    "two $refs in a circle",
    { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } } },
  ],
  ["a million levels of nothing", nest(100_000, {})],
  ["an object that holds itself", CYCLIC],
  [
    "a regular expression that is none",
    { properties: { a: { pattern: "(((" } }, patternProperties: { "[": {} } },
  ],
  [
    "keywords of the wrong type",
    { type: 7, properties: "x", required: 3, items: 1, allOf: {}, enum: "x", $id: 5 },
  ],
  [
    "null for keywords",
    { type: null, properties: null, required: null, anyOf: null, pattern: null, format: null },
  ],
  ["an $id that is no URL", { $id: "::::", $ref: "x" }],
  ["an unknown format", { properties: { a: { type: "string", format: "constructor" } } }],
];

for (const [name, schema] of HOSTILE) {
  test(`ArgumentChecker.check() does not crash on ${name}`, async () => {
    const startedAt = performance.now();
    for (const args of [{}, { a: "x" }, { a: { a: {} }, self: {} }]) {
      try {
        check(schema, args);
      } catch (error) {
        expect((error as { code?: string }).code).toBe("ARGUMENTS_INVALID");
      }
    }
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
}

test("ArgumentChecker.check() is not held up by a pattern that backtracks for ever", () => {
  const patterns = [
    "^(a+)+$",
    "^(a|aa)+$",
    "(x+x+)+y",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "(.*a){20}",
    String.raw`^(\w+\s?)*$`,
  ];
  const properties = Object.fromEntries(
    patterns.map((pattern, at) => [`p${at}`, { type: "string", pattern }]),
  );
  const args = Object.fromEntries(patterns.map((_, at) => [`p${at}`, `${"a".repeat(60)}!${"x".repeat(60)}`]));
  const startedAt = performance.now();
  check({ type: "object", properties }, args);
  check(
    { type: "object", patternProperties: { "^(a+)+$": { type: "string" } }, additionalProperties: false },
    { [`${"a".repeat(60)}!`]: "x" },
  );
  expect(performance.now() - startedAt).toBeLessThan(200);
});

test("ArgumentChecker.check() is not held up by a format and a long text", () => {
  for (const format of [
    "email",
    "uri",
    "uri-reference",
    "hostname",
    "ipv4",
    "ipv6",
    "date-time",
    "duration",
    "regex",
    "json-pointer",
    "uri-template",
    "uuid",
    "time",
  ]) {
    for (const sign of ["a", "a.", "1", ":", "%", "/", "-"]) {
      const startedAt = performance.now();
      try {
        check({ properties: { a: { format } } }, { a: `${sign.repeat(20_000)}!` });
      } catch {
        // Refused is fine; slow is not.
      }
      expect(`${format} ${sign} ${performance.now() - startedAt < 700}`).toBe(`${format} ${sign} true`);
    }
  }
});

test("ArgumentChecker.check() still checks plain patterns, and properties that are called pattern", async () => {
  const schema = {
    type: "object",
    properties: {
      pattern: { type: "string" },
      day: { type: "string", pattern: String.raw`^\d{4}-\d{2}(-\d{2})?$` },
    },
  };
  check(schema, { pattern: "(a+)+", day: "2026-11" });
  expect(await faultsOf(schema, { day: "tomorrow" })).toEqual([
    "arguments.day: String does not match pattern",
  ]);
  expect(await faultsOf(schema, { pattern: 1 })).toEqual([
    'arguments.pattern: Instance type "number" is invalid. Expected "string"',
  ]);
});

test("ArgumentChecker.check() treats __proto__, constructor and toString as keys like any other", async () => {
  verifies("CALL-ARGS-CHECKED");
  const schema = JSON.parse(
    '{"type":"object","properties":{"__proto__":{"type":"string"},"constructor":{"type":"string"},"toString":{"type":"string"}},"required":["x"]}',
  ) as unknown;
  check(schema, { x: 1 });
  check(schema, JSON.parse('{"x":1,"__proto__":"a","constructor":"b"}'));
  expect(await faultsOf(schema, {})).toEqual(['arguments: Instance does not have required property "x"']);
  expect(await faultsOf(schema, JSON.parse('{"x":1,"__proto__":5}'))).toEqual([
    'arguments.__proto__: Instance type "number" is invalid. Expected "string"',
  ]);
  expect(await faultsOf({ required: ["toString"] }, {})).toEqual([
    'arguments: Instance does not have required property "toString"',
  ]);
  expect(({} as Record<string, unknown>)["a"]).toBeUndefined();
});

test("ArgumentChecker.check() throws nothing but ARGUMENTS_INVALID, whatever schema and arguments are, and changes neither", () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.dictionary(fc.string(), fc.jsonValue()), (schema, args) => {
      const inputSchema =
        typeof schema === "object" && schema !== null && !Array.isArray(schema)
          ? schema
          : { allOf: [schema] };
      const before = JSON.stringify([inputSchema, args]);
      try {
        check(inputSchema, args);
      } catch (error) {
        expect((error as { code?: string }).code).toBe("ARGUMENTS_INVALID");
      }
      expect(JSON.stringify([inputSchema, args])).toBe(before);
    }),
  );
});

test.each<[{ args?: unknown; json?: unknown }, unknown]>([
  [{}, {}],
  [{ args: null, json: null }, {}],
  [{ args: { a: 1 } }, { a: 1 }],
  [{ json: '{"a":1}' }, { a: 1 }],
  [{ json: "" }, {}],
  [{ json: "  \n" }, {}],
  [{ json: { a: 2 } }, { a: 2 }],
  [{ args: { a: 1 }, json: '{"a":2}' }, { a: 1 }],
  [{ json: "null" }, {}],
])("readArguments() reads args or args_json (%#)", (sent, expected) => {
  expect(readArguments("s:t", sent)).toEqual(expected as JsonObject);
});

test.each<[{ args?: unknown; json?: unknown }, string]>([
  [{ args: [1] }, "Cannot call 's:t': the arguments must be an object"],
  [{ args: "text" }, "Cannot call 's:t': the arguments must be an object"],
  [{ args: 0 }, "Cannot call 's:t': the arguments must be an object"],
  [{ json: "[1]" }, "Cannot call 's:t': the arguments must be an object"],
  [{ json: "7" }, "Cannot call 's:t': the arguments must be an object"],
  [{ json: "{a:1}" }, "Cannot call 's:t': args_json is not JSON"],
  [{ json: '{"a":' }, "Cannot call 's:t': args_json is not JSON"],
])("readArguments() refuses what is no object, with a hint (%#)", async (sent, message) => {
  const failure = await failureOf(() => readArguments("s:t", sent));
  expect(failure["code"]).toBe("ARGUMENTS_INVALID");
  expect(failure.message).toStartWith(message);
  expect(failure["hint"]).toContain("args");
});
