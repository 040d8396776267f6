/**
 * A child process in a process group of its own.
 *
 * Owns starting it, feeding it, and ending the whole group in bounded time: close stdin, wait, TERM, wait,
 * KILL. Invariant: after `stop()` no process of the group is alive, grandchildren included, and what
 * was not written to a child that stopped reading is bounded. `node:child_process` was rejected: it has
 * no way to wait for a group, and `Bun.spawn` starts faster.
 */
import { signalGroup, standingOf } from "./process_group.ts";

/** How long a child may take to leave by itself once its stdin is closed. */
const STOP_GRACE_MS = 2_000;
/** How long it may take after TERM. */
const TERM_GRACE_MS = 3_000;
/** How long the system may take to end it after KILL. */
const KILL_GRACE_MS = 3_000;
/** How often the group is looked at while it is being ended: at first, and once it takes its time. */
const POLL_MS = 20;
const SLOW_POLL_MS = 50;
const SLOW_AFTER_MS = 400;
/** Looks that must agree: a process that forks and leaves during one look is seen in none of its places. */
const DEAD_LOOKS = 2;
/** Bytes that may wait for a child that does not read its stdin. */
const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** How a child ended. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: string | null;
}

/** Who is told of each group that runs, so that somebody can end it when this process no longer can. */
export interface ChildRegistry {
  /** Laid over the environment of every child, so that it can be known again. */
  readonly marker: Readonly<Record<string, string>>;
  /** Called right after the start; a child's process id is its group's as well. */
  added(child: { readonly pid: number; readonly name: string }): void;
  /** Called once nothing of the group is left. */
  removed(pid: number): void;
}

/** Options of {@link Child.spawn}. */
export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd?: string;
  /** The whole environment; nothing is inherited beside it. */
  readonly env: Readonly<Record<string, string>>;
  readonly onStdout: (chunk: Uint8Array) => void;
  readonly onStderr: (chunk: Uint8Array) => void;
  readonly registry?: ChildRegistry | undefined;
  /** What the registry knows it by. @default the command */
  readonly name?: string | undefined;
}

/** Options of {@link Child.stop}. */
export interface StopOptions {
  /** @default 2000 */
  readonly stopGraceMs?: number;
  /** @default 3000 */
  readonly termGraceMs?: number;
}

/** A running child and its group. */
export class Child {
  /** Settles when the child itself has ended and its output is read to the end. */
  readonly exited: Promise<ExitStatus>;
  readonly pid: number;
  readonly #process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #startedAt = performance.now();
  readonly #registry: ChildRegistry | undefined;
  #unreadBytes = 0;
  #stopping: Promise<void> | undefined;

  private constructor(process: Bun.Subprocess<"pipe", "pipe", "pipe">, options: ChildOptions) {
    this.#process = process;
    this.pid = process.pid;
    this.#registry = options.registry;
    // Before anything else: whoever kills this process now must not leave the child behind.
    this.#registry?.added({ pid: this.pid, name: options.name ?? options.command });
    const outputs = Promise.all([
      drain(process.stdout, options.onStdout),
      drain(process.stderr, options.onStderr),
    ]);
    this.exited = this.#waitForEnd(outputs);
  }

  /** Starts the child; throws the system's error (`code` ENOENT, EACCES, …) when it cannot be started. */
  static spawn(options: ChildOptions): Child {
    const child = Bun.spawn([options.command, ...options.args], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...options.env, ...options.registry?.marker },
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    });
    return new Child(child, options);
  }

  /** Writes to stdin; throws when the child has stopped reading and too much waits already. */
  write(text: string): void {
    if (this.#unreadBytes > MAX_UNREAD_BYTES) throw new Error("the process does not read its input");
    const { stdin } = this.#process;
    const bytes = stdin.write(text);
    const size = typeof bytes === "number" ? bytes : text.length;
    this.#unreadBytes += size;
    const flushed = stdin.flush();
    const settle = (): void => {
      this.#unreadBytes -= size;
    };
    if (flushed instanceof Promise) void flushed.then(settle, settle);
    else settle();
  }

  /** Ends the group; resolves when nothing of it is left. Calling it again waits for the same end. */
  stop(options: StopOptions = {}): Promise<void> {
    this.#stopping ??= this.#end(options);
    return this.#stopping;
  }

  async #end(options: StopOptions): Promise<void> {
    const { stopGraceMs = STOP_GRACE_MS, termGraceMs = TERM_GRACE_MS } = options;
    this.#closeStdin();
    let isGone = await this.#isGone(stopGraceMs);
    if (!isGone) {
      signalGroup(this.pid, "SIGTERM");
      isGone = await this.#isGone(termGraceMs);
    }
    if (!isGone) {
      signalGroup(this.pid, "SIGKILL");
      isGone = await this.#isGone(KILL_GRACE_MS);
    }
    // What not even KILL ends (a process in the kernel) stays registered.
    if (isGone) this.#registry?.removed(this.pid);
  }

  /** Nobody waits for it: a child that does not read keeps what was written, and the end of it, in the pipe. */
  #closeStdin(): void {
    try {
      const ended = this.#process.stdin.end();
      if (ended instanceof Promise) void ended.catch(() => {});
    } catch {
      // The pipe is already broken: the child is gone or closed it.
    }
  }

  async #isGone(withinMs: number): Promise<boolean> {
    const beganAt = performance.now();
    let deadLooks = 0;
    let lastLookAt = -1;
    for (;;) {
      const { state, seenAt } = standingOf(this.pid, this.#startedAt);
      if (state === "none") return true;
      if (state === "alive") deadLooks = 0;
      else if (seenAt !== lastLookAt) deadLooks += 1;
      lastLookAt = seenAt;
      if (deadLooks >= DEAD_LOOKS) return true;
      const passedMs = performance.now() - beganAt;
      if (passedMs >= withinMs && deadLooks === 0) return false;
      await Bun.sleep(passedMs < SLOW_AFTER_MS ? POLL_MS : SLOW_POLL_MS);
    }
  }

  async #waitForEnd(outputs: Promise<unknown>): Promise<ExitStatus> {
    await this.#process.exited;
    // A grandchild may hold the pipes open for ever; the exit must not wait for it.
    await Promise.race([outputs, Bun.sleep(50)]);
    const { exitCode, signalCode } = this.#process;
    return { code: exitCode, signal: signalCode === null ? null : String(signalCode) };
  }
}

async function drain(
  stream: ReadableStream<Uint8Array>,
  onChunk: (chunk: Uint8Array) => void,
): Promise<void> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onChunk(value);
    }
  } catch {
    // A pipe that breaks while it is read is an end like any other.
  }
}
