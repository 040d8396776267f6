/**
 * The command line's way to a running proxy.
 *
 * Owns finding the daemon of a data dir and its key or its socket, and reading the API's envelope and its streams.
 * Invariants: nothing is written, not even a default configuration, by asking; the key of a data dir goes to the proxy
 * that serves it, never to an address somebody named. Reading the database directly was rejected: a
 * running proxy holds it, and two readers of the truth differ.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";

import { ERRORS, ProxyError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Settings } from "../core/settings.ts";
import { VERSION } from "../core/version.ts";
import { explainFetch } from "../lib/fetch_fault.ts";
import { openApiKey, readApiKey } from "../state/api_key.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";
import { locate } from "./locate.ts";

const REQUEST_TIMEOUT_MS = 10_000;
/** A registry may take its time for each of several pages. */
const SLOW_TIMEOUT_MS = 120_000;
/** A call may take as long as the proxy lets it; this only ends a dead connection. */
const CALL_TIMEOUT_MS = 15 * 60_000;
/** By which the record knows the command line. */
const USER_AGENT = `mcpproxy-cli/${VERSION}`;
/** In the data dir. */
const SOCKET_NAME = "mcpproxy.sock";

/** An answer of the API. */
export interface ApiAnswer {
  readonly data: unknown;
  /** The envelope around the data. */
  readonly envelope: Readonly<Record<string, unknown>>;
}

/** An event as the stream of the proxy carries it. */
export interface StreamedEvent {
  /** Undefined for what is no event of the bus, such as the first status. */
  readonly id: string | undefined;
  readonly type: string;
  /** JSON. */
  readonly data: string;
}

/** How a proxy is reached. */
export interface ApiAddress {
  /** As in `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly key?: string | undefined;
  /** The path of its Unix socket, which needs no key. */
  readonly socket?: string | undefined;
}

type Init = Omit<RequestInit, "headers"> & { readonly headers?: Readonly<Record<string, string>> };

/** Speaks to one running proxy. */
export class ApiClient {
  readonly url: string;
  readonly #key: string | undefined;
  readonly #socket: string | undefined;

  constructor({ url, key, socket }: ApiAddress) {
    this.url = url;
    this.#key = key;
    this.#socket = socket;
  }

  /** Reads a route below `/api/v1`; a slow one asks others before it answers. */
  get(path: string, { isSlow = false }: { readonly isSlow?: boolean } = {}): Promise<ApiAnswer> {
    return this.#ask(path, { signal: AbortSignal.timeout(isSlow ? SLOW_TIMEOUT_MS : REQUEST_TIMEOUT_MS) });
  }

  /** Posts JSON to a route below `/api/v1`. */
  post(
    path: string,
    body: unknown = {},
    { timeoutMs = CALL_TIMEOUT_MS }: { readonly timeoutMs?: number | undefined } = {},
  ): Promise<ApiAnswer> {
    return this.#ask(path, withBody("POST", body, timeoutMs));
  }

  /** Sends a merge patch to a route below `/api/v1`. */
  patch(path: string, body: unknown): Promise<ApiAnswer> {
    return this.#ask(path, withBody("PATCH", body, CALL_TIMEOUT_MS));
  }

  /** Deletes what a route below `/api/v1` names. */
  delete(path: string): Promise<ApiAnswer> {
    return this.#ask(path, { method: "DELETE", signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
  }

  /**
   * Opens what is longer than an answer; `path` is a whole one, such as `/api/v1/activity/export`.
   *
   * @throws {ProxyError} as the other verbs do, before the first byte
   */
  async stream(path: string, signal?: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#fetch(path, signal === undefined ? {} : { signal });
    if (!response.ok) throw this.#failure(await readEnvelope(response, this.url), response);
    const chunks = this.#chunks(response, signal);
    return new ReadableStream<Uint8Array>({
      pull: async (into) => {
        const { done, value } = await chunks.next();
        if (done) into.close();
        else into.enqueue(value);
      },
      cancel: () => void chunks.return(undefined),
    });
  }

  /** A proxy that ends meanwhile is told of as one that was not there. */
  async *#chunks({ body }: Response, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, undefined> {
    try {
      if (body !== null) for await (const chunk of body) yield chunk;
    } catch (error) {
      throw this.#notAnswered(error, signal);
    }
    return undefined;
  }

  /**
   * The events of the proxy from now on, until the proxy ends the stream; heartbeats come as type `heartbeat`.
   *
   * @param path as in `/events?types=tool_called`
   */
  async *events(path: string, signal?: AbortSignal): AsyncGenerator<StreamedEvent, undefined> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of await this.stream(path, signal)) {
      const blocks = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) yield readEvent(block);
    }
    return undefined;
  }

  async #ask(path: string, init: Init): Promise<ApiAnswer> {
    const response = await this.#fetch(`/api/v1${path}`, init);
    if (response.status === 204) return { data: undefined, envelope: { success: true } };
    const envelope = await readEnvelope(response, this.url).catch((error: unknown) => {
      throw error instanceof ProxyError ? error : this.#notAnswered(error, init.signal);
    });
    if (envelope["success"] !== true) throw this.#failure(envelope, response);
    return { data: envelope["data"], envelope };
  }

  #failure(envelope: Readonly<Record<string, unknown>>, { status }: Response): ProxyError {
    return failureOf(envelope, { status, hasKey: this.#key !== undefined });
  }

  async #fetch(path: string, init: Init): Promise<Response> {
    const key = this.#key === undefined ? {} : { "x-api-key": this.#key };
    const socket = this.#socket === undefined ? {} : { unix: this.#socket };
    try {
      return await fetch(`${this.url}${path}`, {
        ...init,
        ...socket,
        headers: { "user-agent": USER_AGENT, ...init.headers, ...key },
      });
    } catch (error) {
      throw this.#notAnswered(error, init.signal);
    }
  }

  /** What whoever gave up is told is his own reason. */
  #notAnswered(error: unknown, signal: AbortSignal | null | undefined): unknown {
    if (signal?.aborted === true && !isTimeout(signal.reason)) return error;
    return notRunning(`nobody answers at ${this.#socket ?? this.url}: ${explainFetch(error)}`, error);
  }
}

function withBody(method: "POST" | "PATCH", body: unknown, timeoutMs: number): Init {
  const headers = { "content-type": "application/json" };
  return { method, body: JSON.stringify(body), headers, signal: AbortSignal.timeout(timeoutMs) };
}

/**
 * Finds the proxy to speak to: the one at `--url` or `MCPPROXY_URL`, else the one that serves the data dir.
 *
 * @throws {ProxyError} `NOT_REACHABLE` when none runs there; `CONFIG_INVALID` when the configuration says nothing usable.
 */
export async function findDaemon(flags: GlobalFlags, io: CommandIo): Promise<ApiClient> {
  const url = flags.url ?? (io.env["MCPPROXY_URL"] || undefined);
  if (url !== undefined)
    return new ApiClient({ url: readUrl(url), key: io.env["MCPPROXY_API_KEY"] || undefined });
  const { dataDir, settings, note } = await locate(flags, io);
  if (note === undefined) throw notRunning(`no proxy serves the data dir '${dataDir}'`);
  const socket = join(dataDir, SOCKET_NAME);
  const hasSocket = existsSync(socket);
  const key = keyOf({ settings, dataDir, mayFail: hasSocket }, io);
  if (key !== undefined) return new ApiClient({ url: note.url, key });
  if (hasSocket) return new ApiClient({ url: "http://localhost", socket });
  throw notRunning(`the data dir '${dataDir}' has no API key`);
}

/** The key in force; where there is another way in, one that refers to what is not set is none. */
function keyOf(
  from: { readonly settings: Settings | undefined; readonly dataDir: string; readonly mayFail: boolean },
  { env }: CommandIo,
): string | undefined {
  const { settings, dataDir, mayFail } = from;
  try {
    return settings?.apiKey ? openApiKey(settings, env) : readApiKey(dataDir);
  } catch (error) {
    if (!mayFail) throw error;
    return undefined;
  }
}

function readUrl(text: string): string {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:")) return url.origin;
  throw new ProxyError("USAGE", `Cannot reach '${text}': it is no http address`, {
    hint: "Give --url or MCPPROXY_URL as in http://127.0.0.1:8080",
  });
}

function notRunning(detail: string, cause?: unknown): ProxyError {
  return new ProxyError("NOT_REACHABLE", `Cannot reach mcpproxy: ${detail}`, {
    cause,
    hint: "Start it with 'mcpproxy serve', or name its --data-dir or --config",
  });
}

function isTimeout(reason: unknown): boolean {
  return reason instanceof Error && reason.name === "TimeoutError";
}

function failureOf(
  envelope: Readonly<Record<string, unknown>>,
  { status, hasKey }: { readonly status: number; readonly hasKey: boolean },
): ProxyError {
  const { code, error, hint, details, request_id: id } = envelope;
  const isKeyless = code === "AUTH_REQUIRED" && !hasKey;
  const way = isKeyless ? "Set MCPPROXY_API_KEY to the key of that proxy" : hint;
  return new ProxyError(knownCode(code), typeof error === "string" ? error : `HTTP ${status}`, {
    ...(typeof way === "string" ? { hint: way } : {}),
    data: {
      ...(typeof details === "object" && details !== null ? details : {}),
      ...(typeof id === "string" ? { request_id: id } : {}),
    },
  });
}

/** A block of lines `field: value`; a comment alone is a heartbeat. */
function readEvent(block: string): StreamedEvent {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const [, name = "", value = ""] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name === "data" && fields.has(name)) fields.set(name, `${fields.get(name)}\n${value}`);
    else if (name !== "") fields.set(name, value);
  }
  const data = fields.get("data");
  const type = fields.get("event") ?? (data === undefined ? "heartbeat" : "message");
  return { id: fields.get("id"), type, data: data ?? "" };
}

async function readEnvelope(response: Response, url: string): Promise<Readonly<Record<string, unknown>>> {
  const text = await response.text();
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Falls through: whoever answered is no mcpproxy.
  }
  throw notRunning(`what answers at ${url} is no mcpproxy (HTTP ${response.status})`);
}

function knownCode(code: unknown): ErrorCode {
  return typeof code === "string" && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : "INTERNAL";
}
