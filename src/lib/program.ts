/**
 * Other programs, started and waited for.
 *
 * Owns a child that lives as long as whoever started it wants: it stays in our process group and gets our signals, unlike
 * an upstream, which `child.ts` keeps apart. Invariant: it reads no input. A shell was rejected: what is started has its
 * arguments as they are.
 */

/** How a program is started. */
export interface ProgramOptions {
  /** @default ours */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A file that gets what it says on stderr. @default it is thrown away */
  readonly log?: string;
}

/** A running program. */
export interface Program {
  readonly pid: number;
  /** What it prints. */
  readonly stdout: ReadableStream<Uint8Array>;
  readonly isRunning: () => boolean;
  /** Waits for its end; the exit code, or -1 after a signal. */
  readonly ended: () => Promise<number>;
  readonly kill: (signal: NodeJS.Signals) => void;
}

/** Starts a program. */
export function startProgram(argv: readonly string[], options: ProgramOptions = {}): Program {
  const { env, cwd, log } = options;
  const child = Bun.spawn([...argv], {
    ...(env === undefined ? {} : { env: { ...env } }),
    ...(cwd === undefined ? {} : { cwd }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: log === undefined ? "ignore" : Bun.file(log),
  });
  return {
    pid: child.pid,
    stdout: child.stdout,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    ended: async () => {
      await child.exited;
      return child.exitCode ?? -1;
    },
    kill: (signal) => child.kill(signal),
  };
}

/** Runs a program to its end. */
export async function runProgram(
  argv: readonly string[],
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const child = Bun.spawn([...argv], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}
