/**
 * What broken servers say: lines that are no answer, lists without end, sizes nobody asked for.
 *
 * Owns the texts of faults; when they are said is for the transports. Invariant: noise made for a reply never
 * holds that reply's result, except the doubled one. Random bytes were rejected: a failure must name its shape.
 */
import type { ToolDefinition } from "../core/model.ts";
import type { Fault, GarbageShape } from "./server.ts";

const DEEP_LEVELS = 10_000;
const ALL_SHAPES: readonly GarbageShape[] = [
  "text",
  "half_json",
  "crlf",
  "unknown_id",
  "duplicate_id",
  "batch",
  "deep_nesting",
  "binary",
];

/** An answer that is about to be sent. */
export interface Reply {
  readonly id: string | number;
  readonly [key: string]: unknown;
}

/** A reply among garbage: the lines in order. */
export interface NoisyReply {
  readonly before: readonly string[];
  /** The reply as it is sent; undefined when there is to be none. */
  readonly line: string | undefined;
  readonly after: readonly string[];
}

/** Surrounds a reply with garbage. */
export function addNoise(reply: Reply, fault: Extract<Fault, { kind: "garbage" }>): NoisyReply {
  const shapes = new Set(fault.shapes ?? ALL_SHAPES);
  const text = JSON.stringify(reply);
  const before = [...shapes].flatMap((shape) => garbageLines(shape, text));
  if (fault.only === true) return { before, line: undefined, after: [] };
  const start = shapes.has("bom") ? "\uFEFF" : "";
  const end = shapes.has("crlf") ? "\r" : "";
  const { id } = reply;
  const after = shapes.has("duplicate_id")
    ? [JSON.stringify({ jsonrpc: "2.0", id, result: { second: true } })]
    : [];
  return { before, line: `${start}${text}${end}`, after };
}

function garbageLines(shape: GarbageShape, reply: string): readonly string[] {
  switch (shape) {
    case "text":
      return [
        "Server listening, have fun!",
        "",
        "   ",
        "null",
        "[]",
        '{"jsonrpc":"2.0"}',
        '{"id":{},"method":7}',
      ];
    case "half_json":
      return [reply.slice(0, Math.floor(reply.length / 2))];
    case "unknown_id":
      return ['{"jsonrpc":"2.0","id":999999,"result":{}}', '{"jsonrpc":"2.0","id":"nobody","result":{}}'];
    case "batch":
      return ['[{"jsonrpc":"2.0","id":999998,"result":{}},{"jsonrpc":"2.0","method":"notifications/none"}]'];
    case "deep_nesting":
      return [
        `{"jsonrpc":"2.0","method":"notifications/deep","params":${"[".repeat(DEEP_LEVELS)}${"]".repeat(DEEP_LEVELS)}}`,
      ];
    case "binary":
      return ["\u0000\u0001\u001b[31m\u0007\uFFFD"];
    case "bom":
    case "crlf":
    case "duplicate_id":
      break;
  }
  return [];
}

/** A list as `huge_list` wants it: so many tools beside the real ones, the first with a long description. */
export function enlarge(
  tools: readonly ToolDefinition[],
  fault: Extract<Fault, { kind: "huge_list" }>,
): readonly ToolDefinition[] {
  const { tools: count = 10_000, descriptionBytes = 0 } = fault;
  const more = Array.from({ length: Math.max(0, count - tools.length) }, (_, at) => ({
    name: `bulk_${at}`,
    description: `Bulk tool ${at}`,
    inputSchema: { type: "object" },
  }));
  const all: ToolDefinition[] = [...tools, ...more];
  const [first] = all;
  if (first !== undefined && descriptionBytes > 0)
    all[0] = { ...first, description: bigText(descriptionBytes) };
  return all;
}

/** The text of a given length. */
export function bigText(length: number): string {
  return "All work and no play. ".repeat(Math.ceil(length / 22)).slice(0, length);
}

/** Lines for stderr that come to `bytes`, in pieces. */
export function* stderrFlood(bytes: number): Generator<string> {
  const piece = "WARN something that nobody reads happened again\n".repeat(1_365);
  for (let sent = 0; sent < bytes; sent += piece.length)
    yield piece.slice(0, Math.min(piece.length, bytes - sent));
}

const bombs = new Map<number, Uint8Array>();

/** A gzip of blanks that inflates to `bytes`. */
export function gzipBomb(bytes = 64 * 1024 * 1024): Uint8Array {
  const known = bombs.get(bytes) ?? Bun.gzipSync(new Uint8Array(bytes).fill(32));
  bombs.set(bytes, known);
  return known;
}
