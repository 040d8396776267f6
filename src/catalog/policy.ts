/**
 * Which meta tool may call which tool, and which tools a server offers.
 *
 * Owns the rules of read, write and destructive calls and of `enabled_tools` / `disabled_tools`;
 * not the lookup of the tool and not the arguments' check. Invariant: a call variant never reaches a
 * tool that does more than the variant says. The order is read < write < destructive: a stronger
 * variant may always be used for a weaker tool. Trusting a tool without annotations as read-only,
 * as the Go proxy does, was rejected as the default.
 */
import { ProxyError } from "../core/errors.ts";
import type { CallVariant, Server, Tool, ToolAnnotations } from "../core/model.ts";

/** What a tool without behaviour hints counts as; the `unannotated_tools` setting. */
export type Unannotated = "read" | "write";

/** A tool as this file looks at it; `annotations` saves reading the whole definition. */
export type JudgedTool = Pick<Tool, "id" | "definition"> & {
  readonly annotations?: ToolAnnotations | undefined;
};

const RANKS: Readonly<Record<CallVariant, number>> = {
  call_tool_read: 0,
  call_tool_write: 1,
  call_tool_destructive: 2,
};

/**
 * Names the weakest meta tool a tool may be called through.
 *
 * Only the booleans `readOnlyHint` and `destructiveHint` count; `destructiveHint: true` wins over
 * everything. With `readOnlyHint: false` an absent `destructiveHint` counts as write.
 */
export function callVariantOf(tool: Omit<JudgedTool, "id">, unannotated: Unannotated = "write"): CallVariant {
  const hints = "annotations" in tool ? tool.annotations : tool.definition.annotations;
  const { readOnlyHint, destructiveHint } = hints ?? {};
  if (destructiveHint === true) return "call_tool_destructive";
  if (readOnlyHint === true) return "call_tool_read";
  if (typeof readOnlyHint === "boolean" || typeof destructiveHint === "boolean") return "call_tool_write";
  return unannotated === "read" ? "call_tool_read" : "call_tool_write";
}

/** Tells whether a tool may be called through a meta tool. */
export function isAllowed(
  variant: CallVariant,
  tool: Omit<JudgedTool, "id">,
  unannotated: Unannotated = "write",
): boolean {
  return RANKS[variant] >= RANKS[callVariantOf(tool, unannotated)];
}

/**
 * Throws when a tool may not be called through a meta tool; the error names the right one.
 *
 * @throws {ProxyError} `TOOL_REFUSED` with `{ tool, call_with }` in its data.
 */
export function assertAllowed(
  variant: CallVariant,
  tool: JudgedTool,
  unannotated: Unannotated = "write",
): void {
  const wanted = callVariantOf(tool, unannotated);
  if (RANKS[variant] >= RANKS[wanted]) return;
  const what = wanted === "call_tool_destructive" ? "it is marked destructive" : "it is not marked read-only";
  throw new ProxyError("TOOL_REFUSED", `Cannot call '${tool.id}' through '${variant}': ${what}`, {
    data: { tool: tool.id, call_with: wanted },
    hint: `Call it through '${wanted}'`,
  });
}

/** Tells whether a server offers one of its tools; `disabled_tools` wins over `enabled_tools`. */
export function isOffered(server: Pick<Server, "enabledTools" | "disabledTools">, toolName: string): boolean {
  if (server.disabledTools.includes(toolName)) return false;
  return server.enabledTools === undefined || server.enabledTools.includes(toolName);
}
