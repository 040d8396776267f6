/**
 * Trace contexts: well-formed ones pass, nothing else does.
 */
import { expect, test } from "bun:test";
import { traceOf } from "../../src/lib/trace.ts";

const PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

test("traceOf() takes what W3C Trace Context calls valid", () => {
  expect(traceOf(PARENT, undefined)).toEqual({ traceparent: PARENT });
  expect(traceOf(PARENT, "a=1,b=2")).toEqual({ traceparent: PARENT, tracestate: "a=1,b=2" });
});

test.each([
  ["nothing", undefined],
  ["a number", 7],
  ["an empty text", ""],
  ["zeros for the trace", `00-${"0".repeat(32)}-b7ad6b7169203331-01`],
  ["zeros for the parent", `00-0af7651916cd43dd8448eb211c80319c-${"0".repeat(16)}-01`],
  ["the version that is forbidden", PARENT.replace(/^00/, "ff")],
  ["upper case", PARENT.toUpperCase()],
  ["a line end", `${PARENT}\r\nX-Evil: 1`],
])("traceOf() refuses %s", (_name, traceparent) => {
  expect(traceOf(traceparent, "a=1")).toBeUndefined();
});

test.each([
  ["a line end", "a=1\r\nX-Evil: 1"],
  ["an empty one", ""],
  ["a long one", "a".repeat(513)],
  ["no text", 7],
])("traceOf() drops a state that is no state: %s", (_name, tracestate) => {
  expect(traceOf(PARENT, tracestate)).toEqual({ traceparent: PARENT });
});
