/**
 * The thread that reads a large configuration.
 *
 * Owns the worker's half of the talk with `config_aside.ts`: it is made with the options, is sent the text
 * once, and is then asked for the servers piece by piece. Invariants: it answers each message with exactly
 * one; what goes wrong travels as an answer. Sending the result whole was rejected: rebuilding ten thousand
 * servers in one go would hold up the thread this one is there to keep free.
 */
import { parentPort, workerData } from "node:worker_threads";
import { ProxyError } from "../core/errors.ts";
import { parseConfig } from "./config.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { Server } from "../core/model.ts";
import type { Config } from "../core/settings.ts";
import type { ParseOptions } from "./config.ts";

/** What the worker is asked: to read a text (a string alone travels at no cost), or for the next servers. */
export type ToWorker = string | null;

/** What it answers; `servers` is empty when there are no more. */
export type FromWorker =
  | { readonly kind: "parsed"; readonly config: Config }
  | { readonly kind: "servers"; readonly servers: readonly Server[] }
  | {
      readonly kind: "failed";
      /** Absent when the error was none of the proxy's own. */
      readonly code?: ErrorCode;
      readonly message: string;
      readonly data: Readonly<Record<string, unknown>> | undefined;
      readonly hint: string | undefined;
    };

/** Rebuilding so many takes a millisecond or two. */
const SERVERS_PER_ANSWER = 250;

const options = workerData as ParseOptions;
let servers: readonly Server[] = [];
let sent = 0;

parentPort?.on("message", (message: ToWorker) => {
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
  parentPort?.postMessage(message === null ? next() : read(message));
});

function next(): FromWorker {
  const from = sent;
  sent += SERVERS_PER_ANSWER;
  return { kind: "servers", servers: servers.slice(from, sent) };
}

function read(text: string): FromWorker {
  try {
    const config = parseConfig(text, options);
    ({ servers } = config);
    return { kind: "parsed", config: { ...config, servers: [] } };
  } catch (error) {
    if (!(error instanceof ProxyError)) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      return { kind: "failed", message, data: undefined, hint: undefined };
    }
    const { code, message, data, hint } = error;
    return { kind: "failed", code, message, data, hint };
  }
}
