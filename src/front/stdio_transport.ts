/**
 * The transport of this process's own pipe: the SDK's, which answers also what is no message.
 *
 * Owns reading lines. Invariant: every line that is not blank is a message, or is answered with a JSON-RPC error, unless it
 * is itself an answer. Worked around here: the SDK (2.4) passes over such a line without a word, and whoever sent it waits;
 * and it closes the pipe at a line that is too long. Taking batches was rejected: no revision has them today.
 */
import { INVALID_REQUEST, isSpecType, PARSE_ERROR } from "@modelcontextprotocol/server";
import type { JSONRPCMessage } from "@modelcontextprotocol/server";
import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";

import { LineSplitter } from "../lib/lines.ts";

/** Serves one client on stdin and stdout. */
export class OwnStdioTransport extends StdioServerTransport {
  readonly #lines: LineSplitter;

  constructor({ maxLineBytes }: { readonly maxLineBytes: number }) {
    super();
    this.#lines = new LineSplitter({
      maxBytes: maxLineBytes,
      onLine: (line) => this.#take(line),
      onOverflow: () => this.#refuse(null, INVALID_REQUEST, "it is over the size limit"),
    });
  }

  override readonly _ondata = (chunk: Buffer): void => this.#lines.push(chunk);

  #take(line: string): void {
    if (line.trim() === "") return;
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      return this.#refuse(null, PARSE_ERROR, "it is not JSON");
    }
    if (isSpecType.JSONRPCMessage(message)) return this.onmessage?.(message);
    const { id, result, error } = (message ?? {}) as Readonly<Record<string, unknown>>;
    if (result !== undefined || error !== undefined) return undefined;
    const isId = typeof id === "string" || typeof id === "number";
    const why = Array.isArray(message) ? "batches are not taken here" : "it is no JSON-RPC 2.0 message";
    return this.#refuse(isId ? id : null, INVALID_REQUEST, why);
  }

  #refuse(id: string | number | null, code: number, why: string): void {
    const error = { code, message: `Cannot take a line of input: ${why}` };
    // JSON-RPC 2.0 section 5: null where the id could not be read; the SDK's types have no word for it.
    const answer = { jsonrpc: "2.0", id, error } as unknown as JSONRPCMessage;
    void this.send(answer).catch((fault: Error) => this.onerror?.(fault));
  }
}
