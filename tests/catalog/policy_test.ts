/**
 * Who may call what: the table of SPEC section 6, walked in full.
 *
 * Each row is a tool's hints and the weakest meta tool it may be called through.
 */
import { expect, test } from "bun:test";
import { assertAllowed, callVariantOf, isAllowed, isOffered } from "../../src/catalog/policy.ts";
import { ProxyError } from "../../src/core/errors.ts";
import type { CallVariant, ToolAnnotations, ToolDefinition } from "../../src/core/model.ts";

const VARIANTS: readonly CallVariant[] = ["call_tool_read", "call_tool_write", "call_tool_destructive"];

function tool(annotations?: unknown): { id: string; definition: ToolDefinition } {
  const base = { name: "t", inputSchema: { type: "object" } };
  return {
    id: "s:t",
    definition: annotations === undefined ? base : { ...base, annotations: annotations as ToolAnnotations },
  };
}

const TABLE: readonly [hints: unknown, strict: CallVariant, lax: CallVariant][] = [
  [undefined, "call_tool_write", "call_tool_read"],
  [{}, "call_tool_write", "call_tool_read"],
  [{ title: "T", idempotentHint: true }, "call_tool_write", "call_tool_read"],
  [{ readOnlyHint: "true", destructiveHint: 1 }, "call_tool_write", "call_tool_read"],
  [{ readOnlyHint: true }, "call_tool_read", "call_tool_read"],
  [{ readOnlyHint: true, destructiveHint: false }, "call_tool_read", "call_tool_read"],
  [{ readOnlyHint: false }, "call_tool_write", "call_tool_write"],
  [{ readOnlyHint: false, destructiveHint: false }, "call_tool_write", "call_tool_write"],
  [{ destructiveHint: false }, "call_tool_write", "call_tool_write"],
  [{ destructiveHint: true }, "call_tool_destructive", "call_tool_destructive"],
  [{ readOnlyHint: true, destructiveHint: true }, "call_tool_destructive", "call_tool_destructive"],
];

test.each(TABLE)(
  "callVariantOf() with the hints %j is %s, or %s when unannotated tools count as read",
  (hints, strict, lax) => {
    expect(callVariantOf(tool(hints))).toBe(strict);
    expect(callVariantOf(tool(hints), "read")).toBe(lax);
  },
);

test("isAllowed() lets a stronger meta tool call a weaker tool and never the reverse", () => {
  for (const [hints, strict] of TABLE) {
    for (const variant of VARIANTS) {
      expect(isAllowed(variant, tool(hints))).toBe(VARIANTS.indexOf(variant) >= VARIANTS.indexOf(strict));
    }
  }
});

test("assertAllowed() names the right meta tool when it refuses", () => {
  const refusal = (variant: CallVariant, hints?: unknown): ProxyError | undefined => {
    try {
      assertAllowed(variant, tool(hints));
      return undefined;
    } catch (error) {
      expect(error).toBeInstanceOf(ProxyError);
      return error as ProxyError;
    }
  };
  const unannotated = refusal("call_tool_read");
  expect(unannotated?.code).toBe("TOOL_REFUSED");
  expect(unannotated?.data).toEqual({ tool: "s:t", call_with: "call_tool_write" });
  expect(refusal("call_tool_write", { destructiveHint: true })?.data?.["call_with"]).toBe(
    "call_tool_destructive",
  );
  expect(refusal("call_tool_destructive", { readOnlyHint: true })).toBeUndefined();
});

test("isOffered() takes enabled_tools as the whole list and lets disabled_tools win", () => {
  expect(isOffered({ disabledTools: [] }, "a")).toBe(true);
  expect(isOffered({ disabledTools: ["a"] }, "a")).toBe(false);
  expect(isOffered({ enabledTools: ["b"], disabledTools: [] }, "a")).toBe(false);
  expect(isOffered({ enabledTools: ["a"], disabledTools: [] }, "a")).toBe(true);
  expect(isOffered({ enabledTools: [], disabledTools: [] }, "a")).toBe(false);
  expect(isOffered({ enabledTools: ["a"], disabledTools: ["a"] }, "a")).toBe(false);
});
