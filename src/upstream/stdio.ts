/**
 * MCP over the stdin and stdout of a child process.
 *
 * Owns one child for the life of a connection: starting it, framing messages as lines, keeping the last
 * lines it wrote to stderr, ending its whole group. Invariants: a line that is not a JSON-RPC message
 * costs that line only; a line over the cap is skipped, not buffered; `close()` returns when no process
 * of the group is left. The SDK's stdio transport was rejected: it closes the connection on a line over
 * 10 MiB and leaves grandchildren alive (seen in 2.4.0).
 */
import type { JSONRPCMessage, Transport } from "@modelcontextprotocol/client";

import { Child } from "../lib/child.ts";
import type { ChildRegistry, ExitStatus, StopOptions } from "../lib/child.ts";
import { LineRing, LineSplitter } from "../lib/lines.ts";

/** A message of more bytes is skipped; a call that waits for it ends by its timeout. */
const MAX_LINE_BYTES = 64 * 1024 * 1024;
const MAX_STDERR_LINE_BYTES = 64 * 1024;
const STDERR_LINES = 200;
/** How long after a broken pipe the exit of the process may be noticed. */
const EXIT_NOTICE_MS = 500;
/** How much of an unreadable line is reported. */
const SNIPPET_CHARS = 120;

/** What to start. */
export interface StdioOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  readonly env: Readonly<Record<string, string>>;
  /** Hides secrets in what the process prints. */
  readonly redact: (line: string) => string;
  /** Told of the first byte on stdout. */
  readonly onAnswer?: () => void;
  /** The server's name. */
  readonly name?: string;
  /** Who is told of the process. */
  readonly registry?: ChildRegistry | undefined;
  readonly grace?: StopOptions | undefined;
  /** Receives each line of stderr, secrets hidden, and when the process began and ended. */
  readonly onLine?: ((line: string) => void) | undefined;
}

/** A connection to a child process, as the SDK's client wants it. */
export class StdioTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: Transport["onmessage"];
  /** Tells the SDK that this is a pipe, so that it probes for the era here and a silent server is a legacy one. */
  readonly stderr: LineRing = new LineRing(STDERR_LINES);
  /** How the child ended; undefined while it runs. */
  exit: ExitStatus | undefined;
  readonly #options: StdioOptions;
  #child: Child | undefined;
  #isClosed = false;

  constructor(options: StdioOptions) {
    this.#options = options;
  }

  /** The child's process id, which is its group's as well; null when none runs. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  /** Starts the child; rejects with the system's error when it cannot be started. */
  async start(): Promise<void> {
    const stdout = new LineSplitter({
      maxBytes: MAX_LINE_BYTES,
      onLine: (line) => this.#receive(line),
      onOverflow: () => this.onerror?.(new Error(`skipped a message over ${MAX_LINE_BYTES} bytes`)),
    });
    const stderr = new LineSplitter({
      maxBytes: MAX_STDERR_LINE_BYTES,
      onLine: (line) => this.#said(this.#options.redact(line)),
    });
    this.#child = Child.spawn({
      ...this.#options,
      onStdout: (chunk) => {
        this.#options.onAnswer?.();
        stdout.push(chunk);
      },
      onStderr: (chunk) => stderr.push(chunk),
    });
    this.#options.onLine?.(`(process ${this.#child.pid} started)`);
    void this.#child.exited.then((status) => {
      stderr.end();
      this.#ended(status);
    });
  }

  async send(message: JSONRPCMessage): Promise<void> {
    if (this.#child === undefined || this.exit !== undefined) throw new Error("the process is not running");
    try {
      this.#child.write(`${JSON.stringify(message)}\n`);
    } catch (error) {
      // A broken pipe is the first sign of an exit; its code and the last words, which tell more, follow at once.
      await Promise.race([this.#child.exited, Bun.sleep(EXIT_NOTICE_MS)]);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#child?.stop(this.#options.grace);
    this.#closed();
  }

  #said(line: string): void {
    this.stderr.push(line);
    this.#options.onLine?.(line);
  }

  #receive(line: string): void {
    if (line.trim() === "") return;
    let message: unknown;
    try {
      message = JSON.parse(line.charCodeAt(0) === 0xfeff ? line.slice(1) : line);
    } catch {
      message = undefined;
    }
    if (isMessage(message)) this.onmessage?.(message);
    else
      this.onerror?.(
        new Error(
          `skipped a line on stdout that is no message: ${this.#options.redact(line.slice(0, SNIPPET_CHARS))}`,
        ),
      );
  }

  #ended(status: ExitStatus): void {
    this.exit = status;
    const { code, signal } = status;
    this.#options.onLine?.(`(process ${this.pid} ended with ${signal ?? `code ${code}`})`);
    // What the child started may outlive it; the group goes with it.
    void this.#child?.stop({ ...this.#options.grace, stopGraceMs: 0 }).catch(() => {});
    this.#closed();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.onclose?.();
  }
}

function isMessage(value: unknown): value is JSONRPCMessage {
  return typeof value === "object" && value !== null && (value as { jsonrpc?: unknown }).jsonrpc === "2.0";
}
