/**
 * Reading a configuration without holding up everything else.
 *
 * Owns the choice between here and a worker, and the worker's life. Invariants: the result, or the error
 * with its faults, is the one `parseConfig` gives; a worker reads one text and is gone when the promise
 * settles; where none can be had, the text is read here, late but surely. Keeping a worker for next time was rejected:
 * a thread and its heap would wait for something that happens when a person saves a file.
 */
import { Worker } from "node:worker_threads";
import { ProxyError } from "../core/errors.ts";
import { parseConfig } from "./config.ts";
import type { Server } from "../core/model.ts";
import type { Config } from "../core/settings.ts";
import type { ParseOptions } from "./config.ts";
import type { FromWorker, ToWorker } from "./config_worker.ts";

/** A shorter text is read here within 50 ms, about what a worker takes to start. */
const ASIDE_CHARACTERS = 1_000_000;

/** Options of {@link parseAside}, beside those of reading. */
export interface AsideOptions extends ParseOptions {
  /** Gives up, and ends the worker. */
  readonly signal?: AbortSignal;
  /** Told why there is no worker, when the text is read here instead. */
  readonly onNoWorker?: (error: unknown) => void;
  /** Where the worker's program is. @default `config_worker.ts`, beside this file, in the binary too (`--entry-naming` in package.json) */
  readonly worker?: URL;
}

const WORKER = new URL("./config_worker.ts", import.meta.url);

/**
 * Reads a configuration text as `parseConfig` does; one of more than 1,000,000 characters in a worker.
 *
 * @throws ProxyError as `parseConfig` does; the signal's reason
 */
export async function parseAside(text: string, options: AsideOptions): Promise<Config> {
  const { signal, onNoWorker, worker = WORKER, ...parseOptions } = options;
  signal?.throwIfAborted();
  if (text.length <= ASIDE_CHARACTERS) return parseConfig(text, parseOptions);
  let talk: Talk | undefined;
  try {
    talk = new Talk(worker, { options: parseOptions, signal });
    return await readBy(talk, text);
  } catch (error) {
    if (!(error instanceof NoWorkerError)) throw error;
    onNoWorker?.(error.cause);
    return parseConfig(text, parseOptions);
  } finally {
    await talk?.close();
  }
}

async function readBy(talk: Talk, text: string): Promise<Config> {
  const answer = await talk.ask(text);
  if (answer.kind !== "parsed") throw errorOf(answer);
  const servers: Server[] = [];
  for (;;) {
    const more = await talk.ask(null);
    if (more.kind !== "servers") throw errorOf(more);
    if (more.servers.length === 0) return { ...answer.config, servers };
    servers.push(...more.servers);
  }
}

function errorOf(answer: FromWorker): Error {
  if (answer.kind !== "failed") return new Error(`Cannot read the configuration aside: got '${answer.kind}'`);
  const { code, message, data, hint } = answer;
  if (code === undefined) return new Error(message);
  return new ProxyError(code, message, {
    ...(data !== undefined && { data }),
    ...(hint !== undefined && { hint }),
  });
}

/** The worker does not start, or ends before its answer. */
class NoWorkerError extends Error {}

/** Question and answer with one worker. */
class Talk {
  readonly #worker: Worker;
  readonly #signal: AbortSignal | undefined;
  #waiting: PromiseWithResolvers<FromWorker> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(
    program: URL,
    made: { readonly options: ParseOptions; readonly signal: AbortSignal | undefined },
  ) {
    const { options, signal } = made;
    this.#signal = signal;
    // A copy: the environment of the process is no plain object.
    const workerData = options.env === undefined ? options : { ...options, env: { ...options.env } };
    try {
      this.#worker = new Worker(program, { workerData });
    } catch (cause) {
      throw new NoWorkerError("No worker", { cause });
    }
    this.#worker.on("message", (answer: FromWorker) => this.#waiting?.resolve(answer));
    this.#worker.on("error", (cause) => this.#fail(new NoWorkerError("No worker", { cause })));
    this.#worker.on("exit", (code) => {
      this.#fail(new NoWorkerError("No worker", { cause: `The worker ended with code ${code}` }));
    });
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  /** Asks one thing at a time. */
  async ask(message: ToWorker): Promise<FromWorker> {
    if (this.#failure !== undefined) throw this.#failure.error;
    this.#waiting = Promise.withResolvers();
    // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    this.#worker.postMessage(message);
    return await this.#waiting.promise;
  }

  async close(): Promise<void> {
    this.#signal?.removeEventListener("abort", this.#abort);
    await this.#worker.terminate();
  }

  readonly #abort = (): void => this.#fail(this.#signal?.reason);

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#waiting?.reject(error);
  }
}
