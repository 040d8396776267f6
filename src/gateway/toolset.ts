/**
 * What one MCP endpoint serves: a list of tools, page by page, and their calls.
 *
 * Owns the interface between the endpoints and those who have tools, how a list is cut into pages, and the form of an
 * answer the model reads. Invariants: whoever is asked is told who asks; a call never rejects, a failure is a result
 * with `isError`; a cursor goes on behind the tool it names. One list in one piece was rejected: ten thousand schemas
 * are tens of megabytes in one reply.
 */
import type { ProxyEvent } from "../core/events.ts";
import { ProxyError, toProxyError } from "../core/errors.ts";
import type { Json, JsonObject, ToolDefinition } from "../core/model.ts";
import type { Principal } from "../core/principal.ts";
import type { CallRequest } from "./caller.ts";

/** Most tools of one page: more than a model reads, and few enough to be made at once. */
const MAX_PAGE_TOOLS = 1_000;
/** A page ends with the definition that reaches this; there are some of a million characters. */
const MAX_PAGE_CHARS = 4_000_000;

/** Some of the tools. */
export interface ToolPage {
  readonly tools: readonly ToolDefinition[];
  /** Where the next page begins; absent on the last one. */
  readonly nextCursor?: string;
}

/** What travels with a call. */
export type ToolsetContext = Pick<CallRequest, "signal" | "onProgress" | "origin" | "trace"> & {
  readonly principal: Principal;
};

/** The tools of one endpoint. */
export interface Toolset {
  /** What a client is told at the handshake. */
  readonly instructions: string;
  /** @throws {ProxyError} `USAGE` for a cursor that is none. */
  list(principal: Principal, cursor?: string): ToolPage;
  /** Whether there is such a tool for the principal; a call of another one is the client's mistake. */
  has(name: string, principal: Principal): boolean;
  /** Calls a tool; never rejects. */
  call(name: string, args: JsonObject, context: ToolsetContext): Promise<JsonObject>;
  /** Whether an event may have changed the list. */
  isTouchedBy(event: ProxyEvent): boolean;
  /** Whether what it serves is still there; the endpoint of a group ends with the group. */
  isThere(): boolean;
}

/** A tool under the name it has in a list. */
export interface ListedTool {
  readonly name: string;
  /** Length of its definition as JSON. */
  readonly chars: number;
  readonly define: () => ToolDefinition;
}

/**
 * Cuts a list into pages.
 *
 * @throws {ProxyError} `USAGE` for a cursor that is none.
 */
export function pageOf(listed: readonly ListedTool[], cursor: string | undefined): ToolPage {
  const start = cursor ? startOf(listed, cursor) : 0;
  const tools: ToolDefinition[] = [];
  let at = start;
  for (
    let chars = 0;
    at < listed.length && tools.length < MAX_PAGE_TOOLS && chars < MAX_PAGE_CHARS;
    at += 1
  ) {
    const tool = listed[at];
    if (tool === undefined) break;
    tools.push(tool.define());
    chars += tool.chars;
  }
  const last = listed[at - 1];
  return at < listed.length && last !== undefined
    ? { tools, nextCursor: writeCursor([last.name, at]) }
    : { tools };
}

/** Refuses a cursor of a list that has one page. @throws {ProxyError} `USAGE` */
export function assertNoCursor(cursor: string | undefined): void {
  if (cursor) throw noCursor();
}

/** A value as a result. */
export function jsonResult(value: object): JsonObject {
  return { content: [{ type: "text", text: JSON.stringify(value) }] };
}

/** A failure as the model should read it. */
export function errorResult(error: unknown): JsonObject {
  return { content: [{ type: "text", text: JSON.stringify(faultOf(error)) }], isError: true };
}

/** What a failure tells: message, code, hint, and the facts beside it. */
export function faultOf(error: unknown): JsonObject {
  const { code, message, hint, data } = toProxyError(error);
  return {
    error: message,
    code,
    ...(hint === undefined ? {} : { hint }),
    ...(data as { [key: string]: Json }),
  };
}

/** Behind the tool that is named; when it is gone, at the place where its successor stood. */
function startOf(listed: readonly ListedTool[], cursor: string): number {
  const [name, place] = readCursor(cursor);
  const at = listed.findIndex((tool) => tool.name === name);
  return at >= 0 ? at + 1 : Math.min(place, listed.length);
}

function writeCursor(parts: readonly [name: string, place: number]): string {
  return Buffer.from(JSON.stringify(parts)).toString("base64url");
}

function readCursor(text: string): readonly [name: string, place: number] {
  try {
    const [name, place] = JSON.parse(Buffer.from(text, "base64url").toString()) as readonly unknown[];
    if (typeof name === "string" && Number.isInteger(place) && (place as number) >= 0)
      return [name, place as number];
  } catch {
    // Falls through: it is none of ours.
  }
  throw noCursor();
}

function noCursor(): ProxyError {
  return new ProxyError("USAGE", "Cannot list tools: the cursor is none of this list", {
    hint: "Send 'nextCursor' of the page before as it is, or leave it out for the first page",
  });
}
