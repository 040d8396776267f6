/**
 * The command line's way to a running proxy.
 *
 * Owns finding the daemon of a data dir and its key, and reading the API's envelope. Invariant: nothing is
 * written, not even a default configuration, by asking. Reading the database directly was rejected: a
 * running proxy holds it, and two readers of the truth differ.
 */
import { join } from "node:path";

import { ERRORS, messageOf, ProxyError } from "../core/errors.ts";
import type { ErrorCode } from "../core/errors.ts";
import { loadConfig } from "../state/config.ts";
import { openApiKey, readApiKey } from "../state/api_key.ts";
import { readDaemonNote } from "../state/daemon.ts";
import type { CommandIo, GlobalFlags } from "./command.ts";

const REQUEST_TIMEOUT_MS = 10_000;
/** A call may take as long as the proxy lets it; this only ends a dead connection. */
const CALL_TIMEOUT_MS = 15 * 60_000;

/** An answer of the API. */
export interface ApiAnswer {
  readonly data: unknown;
  /** The envelope around the data. */
  readonly envelope: Readonly<Record<string, unknown>>;
}

/** Speaks to one running proxy. */
export class ApiClient {
  readonly url: string;
  readonly #key: string;

  constructor(url: string, key: string) {
    this.url = url;
    this.#key = key;
  }

  /** Reads a route below `/api/v1`. */
  get(path: string): Promise<ApiAnswer> {
    return this.#send(path, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) });
  }

  /** Posts JSON to a route below `/api/v1`. */
  post(path: string, body: unknown): Promise<ApiAnswer> {
    return this.#send(path, {
      method: "POST",
      body: JSON.stringify(body),
      headers: { "content-type": "application/json" },
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
  }

  async #send(
    path: string,
    init: Omit<RequestInit, "headers"> & { readonly headers?: Readonly<Record<string, string>> },
  ): Promise<ApiAnswer> {
    let response: Response;
    try {
      response = await fetch(`${this.url}/api/v1${path}`, {
        ...init,
        headers: { ...init.headers, "x-api-key": this.#key },
      });
    } catch (error) {
      throw notRunning(`nobody answers at ${this.url} (${messageOf(error)})`, error);
    }
    const envelope = await readEnvelope(response, this.url);
    if (envelope["success"] === true) return { data: envelope["data"], envelope };
    const { code, error, hint, details } = envelope;
    throw new ProxyError(knownCode(code), typeof error === "string" ? error : `HTTP ${response.status}`, {
      ...(typeof hint === "string" ? { hint } : {}),
      ...(typeof details === "object" && details !== null
        ? { data: details as Record<string, unknown> }
        : {}),
    });
  }
}

/**
 * Finds the proxy that serves the data dir.
 *
 * @throws {ProxyError} `NOT_REACHABLE` when none runs there.
 */
export async function findDaemon(flags: GlobalFlags, io: CommandIo): Promise<ApiClient> {
  const { dataDir, configuredKey } = await locate(flags, io);
  const note = readDaemonNote(dataDir);
  if (note === undefined) throw notRunning(`no proxy serves the data dir '${dataDir}'`);
  const key = configuredKey ?? readApiKey(dataDir);
  if (key === undefined) throw notRunning(`the data dir '${dataDir}' has no API key`);
  return new ApiClient(note.url, key);
}

async function locate(
  flags: GlobalFlags,
  io: CommandIo,
): Promise<{ readonly dataDir: string; readonly configuredKey: string | undefined }> {
  const { env, cwd, home } = io;
  try {
    const config = await loadConfig({
      path: flags.config,
      dataDir: flags.dataDir,
      env,
      cwd,
      home,
      create: false,
    });
    const { settings } = config;
    const configuredKey = settings.apiKey ? openApiKey(settings, env) : undefined;
    return { dataDir: settings.dataDir, configuredKey };
  } catch (error) {
    // A broken or missing file must not keep an operator from a proxy that runs.
    if (flags.config !== undefined) throw error;
    return {
      dataDir: flags.dataDir ?? env["MCPPROXY_DATA_DIR"] ?? join(home, ".mcpproxy"),
      configuredKey: undefined,
    };
  }
}

function notRunning(detail: string, cause?: unknown): ProxyError {
  return new ProxyError("NOT_REACHABLE", `Cannot reach mcpproxy: ${detail}`, {
    cause,
    hint: "Start it with 'mcpproxy serve', or name its --data-dir or --config",
  });
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
