/**
 * MCP over this process's own stdin and stdout.
 *
 * Owns serving one client on the pipe, either by this process or, when a daemon holds the data dir, by
 * passing messages to that daemon's `/mcp`. Invariants: stdout carries MCP messages only; the end of
 * stdin ends the serving. Starting a second set of upstreams beside a daemon was rejected: servers with
 * state, such as a memory, would be split in two.
 */
import type { Server } from "@modelcontextprotocol/server";

import { messageOf } from "../core/errors.ts";
import { explainFetch } from "../lib/fetch_fault.ts";
import type { EventBus } from "../core/events.ts";
import { OPEN } from "../core/principal.ts";
import type { Principal } from "../core/principal.ts";
import type { CallOrigin } from "../gateway/caller.ts";
import type { Toolset } from "../gateway/toolset.ts";
import { LineSplitter } from "../lib/lines.ts";
import type { Log } from "../lib/log.ts";
import { ListNews } from "./list_news.ts";

const MAX_LINE_BYTES = 64 * 1024 * 1024;
/** JSON-RPC 2.0 section 5.1: an internal error. */
const INTERNAL_ERROR = -32603;
/** Whoever started this process and holds its pipe. */
export const STDIO: Principal = { ...OPEN, id: "stdio" };

/** The pipe to the client. */
export interface Pipe {
  readonly input: ReadableStream<Uint8Array>;
  readonly write: (line: string) => void;
}

/** Options of {@link serveOwnStdio}. */
export interface OwnStdioOptions {
  readonly toolset: Toolset;
  readonly bus: EventBus;
  readonly log: Log;
  /** Asked once for each call of a tool. */
  readonly originOf: () => CallOrigin;
  /** Told of what speaks to the client; more than once when the client first asks which era is spoken. */
  readonly onServer: (server: Server) => void;
}

/** Serves until the client closes its end. */
export async function serveOwnStdio(options: OwnStdioOptions): Promise<void> {
  const { toolset, bus, log, originOf, onServer } = options;
  // Passing on to a daemon does without.
  const { serveStdio } = await import("@modelcontextprotocol/server/stdio");
  const { OwnStdioTransport } = await import("./stdio_transport.ts");
  const { createMcpServer } = await import("./mcp.ts");
  let server: Server | undefined;
  const create = (): Server => {
    server = createMcpServer(toolset, { principalOf: () => STDIO, originOf });
    onServer(server);
    return server;
  };
  const handle = serveStdio(create, {
    transport: new OwnStdioTransport({ maxLineBytes: MAX_LINE_BYTES }),
    onerror: (error) =>
      log.debug("An MCP client on stdio was answered with an error", { cause: messageOf(error) }),
  });
  const onChange = (): void => void server?.sendToolListChanged().catch(() => {});
  const news = new ListNews({ bus, onChange });
  news.follow({ toolset });
  await endOfInput();
  news.close();
  await handle.close();
}

function endOfInput(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  process.stdin.once("end", resolve);
  process.stdin.once("close", resolve);
  return promise;
}

/** Options of {@link bridgeStdio}. */
export interface BridgeOptions {
  /** The daemon's MCP endpoint. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly pipe: Pipe;
  readonly log: Log;
}

/** Passes the messages of a pipe to a daemon and its answers back, until the pipe ends. */
export async function bridgeStdio(options: BridgeOptions): Promise<void> {
  const bridge = new Bridge(options);
  const lines = new LineSplitter({
    maxBytes: MAX_LINE_BYTES,
    onLine: (line) => bridge.take(line),
    onOverflow: () => options.log.warn("Skipped a message over the size limit"),
  });
  for await (const chunk of options.pipe.input) lines.push(chunk);
  await bridge.close();
}

interface Message {
  readonly id?: string | number | null;
  readonly method?: string;
  readonly params?: {
    readonly name?: unknown;
    readonly uri?: unknown;
    readonly requestId?: unknown;
    readonly _meta?: Readonly<Record<string, unknown>>;
  };
  readonly result?: { readonly protocolVersion?: unknown };
}

/** One client's conversation with the daemon. */
class Bridge {
  readonly #options: BridgeOptions;
  readonly #pending = new Map<
    string | number,
    { readonly abort: AbortController; readonly isModern: boolean }
  >();
  readonly #stop = new AbortController();
  /** Later messages need the session that `initialize` opens. */
  #opening: Promise<void> = Promise.resolve();
  #session: string | undefined;
  #protocol: string | undefined;

  constructor(options: BridgeOptions) {
    this.#options = options;
  }

  take(line: string): void {
    if (line.trim() === "") return;
    const message = readMessage(line);
    if (message === undefined) {
      this.#options.log.warn("Skipped a line on stdin that is no message");
      return;
    }
    const sent = this.#opening
      .then(() => this.#post(message, line))
      .catch((error) => this.#answerFailure(message, error));
    if (message.method === "initialize") this.#opening = sent;
  }

  /** Ends the daemon's session and all that waits for it. */
  async close(): Promise<void> {
    this.#stop.abort();
    if (this.#session === undefined) return;
    const { url } = this.#options;
    await fetch(url, { method: "DELETE", headers: this.#headers(undefined) }).catch(() => {});
  }

  async #post(message: Message, body: string): Promise<void> {
    const isModern = protocolOf(message) !== undefined;
    const cancelled = message.method === "notifications/cancelled" ? message.params?.requestId : undefined;
    if (typeof cancelled === "string" || typeof cancelled === "number") {
      const pending = this.#pending.get(cancelled);
      // In the modern era closing the response stream is the cancellation, and the notification may be bare.
      if (pending?.isModern) pending.abort.abort();
      if (isModern || pending?.isModern) return;
    }
    const abort = new AbortController();
    const { id } = message;
    const isRequest = id !== undefined && id !== null && message.method !== undefined;
    if (isRequest) this.#pending.set(id, { abort, isModern });
    try {
      const signal = AbortSignal.any([abort.signal, this.#stop.signal]);
      const response = await fetch(this.#options.url, {
        method: "POST",
        headers: this.#headers(message),
        body,
        signal,
      });
      await this.#relay(message, response);
    } finally {
      if (isRequest) this.#pending.delete(id);
    }
  }

  async #relay(message: Message, response: Response): Promise<void> {
    const session = response.headers.get("mcp-session-id");
    const isNew = session !== null && session !== this.#session;
    if (isNew) this.#session = session;
    if (response.headers.get("content-type")?.startsWith("text/event-stream")) {
      await this.#readEvents(response);
    } else {
      const text = await response.text();
      if (text.trim() !== "") this.#write(text);
      else if (!response.ok) throw new Error(`the daemon answered HTTP ${response.status}`);
    }
    if (message.method === "initialize" && isNew) void this.#listen().catch(() => {});
  }

  /** The standing stream on which a legacy session gets what it did not ask for. */
  async #listen(): Promise<void> {
    const headers = { ...this.#headers(undefined), accept: "text/event-stream" };
    const response = await fetch(this.#options.url, { headers, signal: this.#stop.signal });
    if (response.ok) await this.#readEvents(response);
    else await response.body?.cancel();
  }

  async #readEvents(response: Response): Promise<void> {
    const lines = new LineSplitter({
      maxBytes: MAX_LINE_BYTES,
      onLine: (line) => {
        // The daemon writes each message as one data line.
        if (line.startsWith("data:") && line.length > 6) this.#write(line.slice(5));
      },
    });
    const body: ReadableStream<Uint8Array> | null = response.body;
    if (body) for await (const chunk of body) lines.push(chunk);
  }

  #write(text: string): void {
    const message = JSON.parse(text) as Message;
    const version = message.result?.protocolVersion;
    if (typeof version === "string") this.#protocol ??= version;
    this.#options.pipe.write(`${JSON.stringify(message)}\n`);
  }

  #headers(message: Message | undefined): Record<string, string> {
    const modern = message && protocolOf(message);
    const version = modern ?? this.#protocol;
    const name = message?.params?.name ?? message?.params?.uri;
    return {
      ...this.#options.headers,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...(version === undefined ? {} : { "mcp-protocol-version": version }),
      ...(modern === undefined || message?.method === undefined ? {} : { "mcp-method": message.method }),
      ...(modern === undefined || typeof name !== "string" ? {} : { "mcp-name": headerText(name) }),
      ...(this.#session === undefined ? {} : { "mcp-session-id": this.#session }),
    };
  }

  #answerFailure(message: Message, error: unknown): void {
    if (
      this.#stop.signal.aborted ||
      message.id === undefined ||
      message.id === null ||
      message.method === undefined
    )
      return;
    const text = `Cannot reach the running proxy: ${explainFetch(error)}`;
    const failure = { jsonrpc: "2.0", id: message.id, error: { code: INTERNAL_ERROR, message: text } };
    this.#options.pipe.write(`${JSON.stringify(failure)}\n`);
  }
}

/** Reads a line; undefined when it is neither a message nor a batch. */
function readMessage(line: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The revision a modern message names in its envelope. */
function protocolOf(message: Message): string | undefined {
  const version = message.params?._meta?.["io.modelcontextprotocol/protocolVersion"];
  return typeof version === "string" ? version : undefined;
}

/** Header values are ASCII; others travel as the specification's base64 form (SEP-2243). */
function headerText(value: string): string {
  return /^(?! )[\x20-\x7e]*(?<! )$/.test(value) && !value.startsWith("=?")
    ? value
    : `=?base64?${Buffer.from(value).toString("base64")}?=`;
}
