/**
 * A child process in a process group of its own.
 *
 * Owns starting it, feeding it, and ending the whole group in bounded time: close stdin, wait, TERM, wait,
 * KILL. Invariant: after `stop()` no process of the group is alive, grandchildren included, and what
 * was not written to a child that stopped reading is bounded. `node:child_process` was rejected: it has
 * no way to wait for a group, and `Bun.spawn` starts faster.
 */
import { readdirSync, readFileSync } from "node:fs";

/** How long a child may take to leave by itself once its stdin is closed. */
const STOP_GRACE_MS = 2_000;
/** How long it may take after TERM. */
const TERM_GRACE_MS = 3_000;
/** How often the group is looked at while it is being ended. */
const POLL_MS = 20;
/** Looks that must agree: a process that forks and leaves during one look is seen in none of its places. */
const DEAD_LOOKS = 2;
/** Bytes that may wait for a child that does not read its stdin. */
const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** How a child ended. */
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: string | null;
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
  #unreadBytes = 0;
  #stopping: Promise<void> | undefined;

  private constructor(process: Bun.Subprocess<"pipe", "pipe", "pipe">, options: ChildOptions) {
    this.#process = process;
    this.pid = process.pid;
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
      env: { ...options.env },
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
    if (await this.#isGone(stopGraceMs)) return;
    signalGroup(this.pid, "SIGTERM");
    if (await this.#isGone(termGraceMs)) return;
    signalGroup(this.pid, "SIGKILL");
    await this.#isGone(termGraceMs);
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
    const deadline = performance.now() + withinMs;
    let misses = 0;
    for (;;) {
      const state = groupState(this.pid, this.#startedAt);
      misses = state === "dead" ? misses + 1 : 0;
      if (state === "none" || misses >= DEAD_LOOKS) return true;
      if (performance.now() >= deadline && misses === 0) return false;
      await Bun.sleep(POLL_MS);
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

/** `none`: no process has the group; `dead`: only zombies, which still answer signal 0, were seen in it. */
function groupState(pgid: number, startedAt: number): "alive" | "dead" | "none" {
  try {
    process.kill(-pgid, 0);
  } catch {
    return "none";
  }
  return process.platform !== "linux" || liveGroups(startedAt).has(pgid) ? "alive" : "dead";
}

let snapshot = { takenAt: -Infinity, groups: new Set<number>() };

/** The groups with a running member, seen after `since`; one look serves all who end groups at the same time. */
function liveGroups(since: number): ReadonlySet<number> {
  if (snapshot.takenAt > since && performance.now() - snapshot.takenAt < POLL_MS / 2) return snapshot.groups;
  const takenAt = performance.now();
  const groups = new Set<number>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      // Fields after the command, which stands in parentheses and may hold any character.
      const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
      const [state, , group] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state !== "Z" && state !== "X") groups.add(Number(group));
    } catch {
      // The process ended between the listing and the look.
    }
  }
  snapshot = { takenAt, groups };
  return groups;
}

function signalGroup(pgid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pgid, signal);
  } catch {
    // Nothing of the group is left.
  }
}
