/**
 * Excerpts: short, JSON always, and nothing secret in them.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { excerptOf, excerptOfText } from "../../src/lib/excerpt.ts";

const MAX = { maxChars: 2_000 };

test("excerptOf() shows small data as it is", () => {
  const data = { text: "hello", list: [1, true, null, { deep: "x" }], number: 1.5, "": "empty key" };
  expect(JSON.parse(excerptOf(data, MAX).json)).toEqual(data);
  expect(excerptOf(data, MAX)).toMatchObject({ isCut: false, secrets: [] });
});

test.each([
  ["a value under a secret name", { api_key: "canary-1234" }],
  ["a number under a secret name", { password: 12_341_234 }],
  ["what lies below a secret name", { credentials: { user: "canary-1234", list: ["canary-1234"] } }],
  ["a bearer token in a text", { header: "Authorization: Bearer canary-1234" }],
  ["a token by its form", { text: "use sk-canary-12341234 please" }],
  ["a token as a key", { "sk-canary-12341234": true }],
  ["a password in an address", { url: "https://user:canary-1234@example.com/" }],
  ["a pair in JSON in a text", { body: '{"password": "canary-1234"}' }],
  ["a flag and its value", { command: "run --token=canary-1234" }],
])("excerptOf() hides %s", (_name, data) => {
  const { json } = excerptOf(data, MAX);
  expect(json).not.toMatch(/canary-1234|12341234/);
  expect(json).toContain("***");
  expect(() => JSON.parse(json) as unknown).not.toThrow();
});

test("excerptOf() leaves what says nothing: switches, empty values, references", () => {
  const data = { token: "", password: null, auth: true, api_key: "${env:KEY}" };
  expect(JSON.parse(excerptOf(data, MAX).json)).toEqual(data);
});

test("excerptOf() tells what it hid by name, so that it is hidden elsewhere too", () => {
  const { secrets } = excerptOf({ token: "canary-1234", auth: { a: "canary-5678" }, pwd: "abc" }, MAX);
  expect(secrets).toEqual(["canary-1234", "canary-5678"]);
  expect(excerptOfText("it was canary-1234", { secrets })).toBe("it was ***");
});

test("excerptOf() never shows the beginning of a secret that lies across the cut", () => {
  for (let at = 440; at < 510; at += 1) {
    const text = `${"word ".repeat(200).slice(0, at)} sk-abcdefghijklmnopqrstuvwxyz0123456789`;
    expect(excerptOf({ text }, MAX).json).not.toContain("sk-a");
  }
});

test("excerptOf() reads no more of large data than it shows", () => {
  let reads = 0;
  const watched = new Proxy(
    Array.from({ length: 1_000_000 }, () => 1),
    {
      get: (target, key, receiver) => {
        reads += 1;
        return Reflect.get(target, key, receiver) as unknown;
      },
    },
  );
  const { json, isCut } = excerptOf({ list: watched, text: "word ".repeat(2_000_000) }, MAX);
  expect(isCut).toBe(true);
  expect(reads).toBeLessThan(1_000);
  expect(json.length).toBeLessThan(3_000);
});

test("excerptOf() ends on any depth, and on many long keys", () => {
  let deep: unknown = 1;
  for (let at = 0; at < 100_000; at += 1) deep = [deep];
  expect(excerptOf(deep, MAX).json.length).toBeLessThan(200);
  const wide = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`${"k".repeat(500)}${at}`, at]));
  const { json, isCut } = excerptOf(wide, MAX);
  expect({ isCut, isShort: json.length < 2_500 }).toEqual({ isCut: true, isShort: true });
  expect(() => JSON.parse(json) as unknown).not.toThrow();
});

test("excerptOf() writes JSON, at most a little longer than asked for, of whatever is given", () => {
  fc.assert(
    fc.property(fc.anything({ withBigInt: true, withDate: true, withMap: true }), (value) => {
      const { json } = excerptOf(value, { maxChars: 300 });
      JSON.parse(json);
      expect(json.length).toBeLessThan(300 + 3_000);
    }),
    { numRuns: 500 },
  );
});
