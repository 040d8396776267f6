#!/usr/bin/env bun
/**
 * The program's entry: the real process around the commands of `cli/program.ts`.
 *
 * Owns argv, the streams, signals and the end of the process. Invariants: `--version` loads nothing but this file, the
 * version, the list of commands and the reading of verbs; a stream of the process is touched when it is needed, since
 * the first one takes longer than the rest of this file. Giving each command the process itself was rejected: tests run
 * commands in their own.
 */
import { homedir } from "node:os";

import { runProgram } from "./cli/program.ts";
import type { ServeIo } from "./cli/serve.ts";
import { formatOf, takeVerb } from "./cli/verb.ts";
import { suspendSelf } from "./lib/suspend.ts";

/** Standing streams of upstreams count against Bun's limit of 256 requests at once, which only the environment sets. */
const HTTP_REQUESTS_VARIABLE = "BUN_CONFIG_MAX_HTTP_REQUESTS";
const MAX_HTTP_REQUESTS = "16384";
/** What a shell expects of a program whose reader went away, as `head` does: 128 + SIGPIPE. */
const BROKEN_PIPE_EXIT = 141;
/** 128 + SIGINT. */
const INTERRUPTED_EXIT = 130;

const io: ServeIo = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  env: process.env,
  cwd: process.cwd(),
  home: process.env["HOME"] ?? homedir(),
  get columns() {
    return process.stdout.isTTY ? process.stdout.columns : undefined;
  },
  get terminal() {
    return process.stdout.isTTY ? TERMINAL : undefined;
  },
  stdin: () => Bun.stdin.stream(),
  onSignal: (listener) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, listener);
  },
  exit: (code) => process.exit(code),
  get ask() {
    return process.stdin.isTTY && process.stderr.isTTY ? ask : undefined;
  },
};

const TERMINAL: NonNullable<ServeIo["terminal"]> = {
  size: () => ({ columns: process.stdout.columns, rows: process.stdout.rows }),
  onResize: (listener) => void process.stdout.on("resize", listener),
  onContinue,
};

/** Takes Ctrl-Z over, so that the listener runs before any timer that is due by then. */
function onContinue(listener: () => void): void {
  if (process.platform === "win32") return;
  process.on("SIGTSTP", () => {
    suspendSelf();
    listener();
  });
}

/** Asks at the terminal; the end of input is an empty answer. */
async function ask(question: string): Promise<string> {
  const { createInterface } = await import("node:readline");
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  const { promise, resolve } = Promise.withResolvers<string>();
  reader.on("close", () => resolve(""));
  reader.question(question, resolve);
  return promise.finally(() => reader.close());
}

/** Starts this program once more in place of itself when the limit on requests is not set. */
function raiseRequestLimit(): void {
  if (
    process.env[HTTP_REQUESTS_VARIABLE] !== undefined ||
    process.execve === undefined ||
    process.platform === "win32"
  )
    return;
  const isCompiled = import.meta.url.includes("$bunfs");
  const args = isCompiled ? process.argv.slice(2) : [...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [HTTP_REQUESTS_VARIABLE]: MAX_HTTP_REQUESTS };
  try {
    process.execve(process.execPath, [process.execPath, ...args], env);
  } catch {
    // Where it cannot be done the proxy runs with Bun's own limit.
  }
}

async function main(): Promise<never> {
  const argv = process.argv.slice(2);
  const { verb } = takeVerb(argv);
  if (verb === "serve" && !argv.includes("--help")) raiseRequestLimit();
  // A proxy has children to end, whoever reads what it prints.
  if (verb !== "serve" && verb !== "mock") {
    process.stdout.on("error", (error: NodeJS.ErrnoException) =>
      process.exit(error.code === "EPIPE" ? BROKEN_PIPE_EXIT : 1),
    );
  }
  try {
    return await end(await runProgram(argv, io));
  } catch (error) {
    const { printFailure } = await import("./cli/command.ts");
    return end(printFailure(error, io, formatOf(argv, io.env)));
  }
}

/** Ends once a pipe took all that was printed; a signal ends at once. */
async function end(code: number): Promise<never> {
  io.onSignal(() => process.exit(INTERRUPTED_EXIT));
  const { promise, resolve } = Promise.withResolvers<void>();
  process.stdout.end(resolve);
  await promise;
  process.exit(code);
}

void main();
