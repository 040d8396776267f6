/** Walks the error table: every edge maps from it, so a wrong row is a wrong answer everywhere. */
import { expect, test } from "bun:test";
import { ERRORS, messageOf, ProxyError, toProxyError } from "../../src/core/errors.ts";

const ROWS = Object.entries(ERRORS);

/** SPEC §10: failure, usage, not reachable, configuration. */
const EXIT_CODES = [1, 2, 3, 4];

/** Client Closed Request: no standard status, but the one proxies log for it. */
const HTTP_CLIENT_CLOSED = 499;

/** JSON-RPC 2.0 section 5.1, and its range for implementations. */
function isRpcCode(code: number): boolean {
  return [-32700, -32600, -32601, -32602, -32603].includes(code) || (code >= -32099 && code <= -32000);
}

test.each(ROWS)("ERRORS.%s is a sound row", (code, row) => {
  expect(code).toMatch(/^[A-Z]+(?:_[A-Z]+)*$/);
  expect(row.http).toBeWithin(400, 600);
  if (row.http !== HTTP_CLIENT_CLOSED) expect(new Response(null, { status: row.http }).status).toBe(row.http);
  expect(isRpcCode(row.rpc)).toBe(true);
  expect(EXIT_CODES).toContain(row.exit);
});

test.each(ROWS)("ERRORS.%s has one sentence of doc without a full stop", (_code, { doc }) => {
  expect(doc).toMatch(/^[A-Z][^\n]*[^.!?\s]$/);
  expect(doc.length).toBeWithin(12, 80);
});

test("ERRORS has each doc once", () => {
  const docs = ROWS.map(([, row]) => row.doc.toLowerCase());
  expect(docs.filter((doc, at) => docs.indexOf(doc) !== at)).toEqual([]);
});

test("ERRORS is in alphabetical order", () => {
  const codes = ROWS.map(([code]) => code);
  expect(codes).toEqual(codes.toSorted());
});

test("ERRORS never asks to retry what the caller has to change", () => {
  const retriable = ROWS.filter(([, row]) => row.retriable);
  expect(retriable.length).toBeGreaterThan(0);
  for (const [, { exit }] of retriable) expect([1, 3]).toContain(exit);
});

test("ProxyError carries code, data, hint and cause", () => {
  const cause = new Error("disk full");
  const error = new ProxyError("INTERNAL", "Cannot save", { data: { a: 1 }, hint: "mcpproxy doctor", cause });
  expect(error).toBeInstanceOf(Error);
  expect(error).toMatchObject({ name: "ProxyError", code: "INTERNAL", message: "Cannot save" });
  expect(error).toMatchObject({ data: { a: 1 }, hint: "mcpproxy doctor", cause });
});

test("ProxyError has no cause of its own when none was given", () => {
  const error = new ProxyError("USAGE", "Cannot read the command");
  expect(Object.hasOwn(error, "cause")).toBe(false);
  expect([error.data, error.hint]).toEqual([undefined, undefined]);
});

test("toProxyError() returns an error of ours as it is", () => {
  const error = new ProxyError("TOOL_UNKNOWN", "No tool 'a:b'");
  expect(toProxyError(error)).toBe(error);
});

test("toProxyError() keeps a foreign message for the log only", () => {
  const cause = new Error("token=s3cret");
  const error = toProxyError(cause);
  expect(error.code).toBe("INTERNAL");
  expect(error.cause).toBe(cause);
  expect(`${error.message} ${error.hint}`).not.toContain("s3cret");
});

test("messageOf() reads whatever was thrown", () => {
  expect([messageOf(new Error("a")), messageOf("b"), messageOf(undefined)]).toEqual(["a", "b", "undefined"]);
});
