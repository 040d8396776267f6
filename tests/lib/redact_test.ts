/**
 * Masks hide secrets by name, form and place, and leave the rest readable.
 *
 * Owns the canaries: each text holds one, none may come through.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  isSecretName,
  redactArgs,
  redactData,
  redactText,
  redactUrl,
  redactValue,
  secretValues,
} from "../../src/lib/redact.ts";

test.each([
  "API_KEY",
  "apikey",
  "GITHUB_TOKEN",
  "password",
  "DB_PASSWD",
  "Authorization",
  "X-Auth",
  "client_secret",
  "private-key",
  "Cookie",
  "SENTRY_DSN",
])("isSecretName(%j) holds", (name) => expect(isSecretName(name)).toBe(true));

test.each(["PATH", "name", "author", "url", "max_tokens", "keyboard", "monkey", "description", "tokenizer"])(
  "isSecretName(%j) does not hold",
  (name) => expect(isSecretName(name)).toBe(false),
);

test.each([
  ["https://user:canary@example.com/mcp", "https://***@example.com/mcp"],
  ["https://example.com/mcp?api_key=canary&page=2", "https://example.com/mcp?api_key=***&page=2"],
  ["https://example.com/s/canaryAbc123456789xyz0/mcp", "https://example.com/s/***/mcp"],
  ["https://example.com/#canary", "https://example.com/#***"],
  ["https://example.com/mcp", "https://example.com/mcp"],
  ["postgres://me:canary@db:5432/x", "postgres://***@db:5432/x"],
  ["https://example.com/?token=${env:TOKEN}", "https://example.com/?token=${env:TOKEN}"],
])("redactUrl(%j) is %j", (url, shown) => {
  expect(redactUrl(url)).toBe(shown);
});

test.each([
  [
    ["--api-key", "canary", "-y"],
    ["--api-key", "***", "-y"],
  ],
  [["--token=canary"], ["--token=***"]],
  [
    ["-e", "GITHUB_TOKEN=canary", "image"],
    ["-e", "GITHUB_TOKEN=***", "image"],
  ],
  [
    ["-H", "Authorization: Bearer canary"],
    ["-H", "Authorization: Bearer ***"],
  ],
  [
    ["--url", "https://a:canary@b/c"],
    ["--url", "https://***@b/c"],
  ],
  [['{"apiKey":"canary","page":1}'], ['{"apiKey":"***","page":1}']],
  [
    ["-y", "@scope/pkg", "--port", "80"],
    ["-y", "@scope/pkg", "--port", "80"],
  ],
  [
    ["--key", "${env:KEY}"],
    ["--key", "${env:KEY}"],
  ],
  [["sk-canary123456789"], ["***"]],
])("redactArgs(%j) is %j", (args, shown) => {
  expect(redactArgs(args)).toEqual(shown);
});

test.each([
  "Authorization: Bearer canary-token-1",
  "token=canary",
  "password: 'canary x'",
  '{"access_token": "canary"}',
  JSON.stringify({ settings: JSON.stringify({ token: "canary", more: 1 }) }),
  "GET https://x/?key=canary failed",
  "ghp_canary0123456789abcdef",
  "eyJcanary.eyJcanary.canary",
  "cookie=canary; path=/",
])("redactText(%j) hides the canary", (text) => {
  expect(redactText(text)).not.toContain("canary");
});

test("redactText() hides given values and leaves words alone", () => {
  expect(redactText("login as hunter2 failed", ["hunter2"])).toBe("login as *** failed");
  expect(redactText("cannot connect 'github': command 'npx' was not found in PATH")).toBe(
    "cannot connect 'github': command 'npx' was not found in PATH",
  );
});

test("redactText() stays linear on hostile text", () => {
  const started = performance.now();
  for (const part of ["a.", "eyJaaaa-", 'a="', "key=", "http://", "token: '", "sk-", "Bearer "])
    redactText(part.repeat(50_000));
  expect(performance.now() - started).toBeLessThan(10_000);
});

test("redactValue() shows neither sign nor length", () => {
  expect(redactValue("a")).toBe(redactValue("a much longer secret"));
  expect(redactValue("${keyring:X}")).toBe("${keyring:X}");
});

test("redactData() hides by name at any depth and keeps __proto__ as data", () => {
  const value: unknown = JSON.parse(
    '{"a":[{"password":"canary","n":1}],"token":123,"__proto__":{"secret":"canary"}}',
  );
  const shown = redactData(value);
  expect(JSON.stringify(shown)).toBe(
    '{"a":[{"password":"***","n":1}],"token":"***","__proto__":{"secret":"***"}}',
  );
  const cycle: Record<string, unknown> = {};
  cycle["self"] = cycle;
  expect(() => redactData(cycle)).not.toThrow();
});

test("redactText() ends on any text, and repeating it changes nothing", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(redactText(redactText(text))).toBe(redactText(text));
    }),
  );
});

test.each([
  "sk-canary12",
  "ghp_canary12",
  "github_pat_canary12",
  "AKIACANARY0123456789",
  "ASIACANARY0123456789",
  "AIzacanary012345678901234567890",
  "eyJcanary.canary.canary",
  "Bearer canary",
  "basic canary",
  "TOKEN canary",
  "ApiKey canary",
])("redactText() hides %s with nothing around it that tells of a secret", (secret) => {
  const shown = redactText(`word ${secret} word`);
  expect(shown).toStartWith("word ");
  expect(shown).not.toMatch(/canary/i);
});

test("secretValues() takes what is secret by name, by form, and as the password of a URL", () => {
  const values = secretValues([
    ["API_KEY", "short"],
    ["Authorization", "Bearer behind-the-scheme"],
    ["SETTING", "abcdefghij0123456789"],
    ["DATABASE_URL", "postgres://me:in-a-url@host/db"],
    ["TOKEN", "${env:TOKEN}"],
    ["MODE", "production"],
    ["PASSWORD", ""],
  ]);
  expect([...values]).toEqual([
    "short",
    "Bearer behind-the-scheme",
    "behind-the-scheme",
    "abcdefghij0123456789",
    "in-a-url",
  ]);
});

test("redactUrl() hides user and password of an address without its scheme", () => {
  expect(redactUrl("me:canary@host/mcp")).toBe("***@host/mcp");
  expect(redactUrl("host/@scope/package")).toBe("host/@scope/package");
});
