/**
 * An MCP client over HTTP, as small as the protocol allows.
 *
 * Owns one legacy session: the handshake, calls of tools, the end. Invariants: an answer is matched to its request by id;
 * an answer that is an error throws. The SDK's client was rejected: it costs more than what is measured here.
 */

const PROTOCOL = "2025-06-18";

/** A result of `tools/call`. */
export interface ToolResult {
  readonly content: readonly { readonly type: string; readonly text?: string }[];
  readonly isError?: boolean;
}

/** A session with the proxy. */
export class McpClient implements AsyncDisposable {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  #next: number;

  private constructor(url: string, headers: Record<string, string>, firstId: number) {
    this.#url = url;
    this.#headers = headers;
    this.#next = firstId;
  }

  /** Opens a session; ids begin at `firstId`, so that clients can be made to collide. */
  static async open(url: string, options: { readonly firstId?: number } = {}): Promise<McpClient> {
    const headers = { "content-type": "application/json", accept: "application/json, text/event-stream" };
    const client = new McpClient(url, headers, options.firstId ?? 0);
    const params = {
      protocolVersion: PROTOCOL,
      capabilities: {},
      clientInfo: { name: "mcpproxy-scale", version: "1" },
    };
    const { response } = await client.#ask("initialize", params);
    const session = response.headers.get("mcp-session-id");
    if (session !== null) headers["mcp-session-id" as "accept"] = session;
    headers["mcp-protocol-version" as "accept"] = PROTOCOL;
    await client.#send({ jsonrpc: "2.0", method: "notifications/initialized" });
    return client;
  }

  /** Calls a tool of the proxy. */
  async call(name: string, args: object): Promise<ToolResult> {
    const { result } = await this.#ask("tools/call", { name, arguments: args });
    return result as ToolResult;
  }

  /** Calls a tool of the proxy whose result is JSON text. */
  async callJson(name: string, args: object): Promise<Record<string, unknown>> {
    const { content } = await this.call(name, args);
    return JSON.parse(content[0]?.text ?? "null") as Record<string, unknown>;
  }

  /** Ends the session. */
  async [Symbol.asyncDispose](): Promise<void> {
    await (await fetch(this.#url, { method: "DELETE", headers: this.#headers })).body?.cancel();
  }

  async #ask(
    method: string,
    params: object,
  ): Promise<{ readonly result: unknown; readonly response: Response }> {
    const id = this.#next++;
    const response = await this.#send({ jsonrpc: "2.0", id, method, params });
    const text = await response.text();
    const isStream = response.headers.get("content-type")?.includes("text/event-stream") === true;
    const messages = isStream ? dataOf(text) : [text];
    for (const message of messages) {
      const { id: answered, result, error } = JSON.parse(message) as Answer;
      if (answered !== id) continue;
      if (error !== undefined) throw new Error(`${method}: ${error.message}`);
      return { result, response };
    }
    throw new Error(`${method}: HTTP ${response.status} without an answer: ${text.slice(0, 200)}`);
  }

  #send(message: object): Promise<Response> {
    return fetch(this.#url, { method: "POST", headers: this.#headers, body: JSON.stringify(message) });
  }
}

interface Answer {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

function dataOf(stream: string): readonly string[] {
  return stream
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => line.slice("data:".length).trim())
    .filter((data) => data !== "");
}
