/**
 * System calls of a running program: recorded, killed at, or made to fail.
 *
 * Owns attaching `strace` to one thread and reading its lines. Invariant: counters of an injection begin with
 * the attach, so the n-th call is the n-th of what the program does next. Faking `node:fs` was rejected:
 * SQLite's calls are not among it.
 */
import { existsSync, readFileSync } from "node:fs";
import { waitFor } from "../fixtures/wait.ts";

/** One recorded call. */
export interface SystemCall {
  readonly name: string;
  /** As strace wrote them, strings decoded to Latin-1. */
  readonly args: string;
  readonly result: string;
  readonly isInjected: boolean;
}

/** Options of {@link attach}. */
export interface AttachOptions {
  /** File the lines go to. */
  readonly output: string;
  /** Calls to look at, as `-e trace=` takes them. */
  readonly trace: string;
  /** Only calls on these paths; none means all. */
  readonly paths?: readonly string[];
  /** As `-e inject=` takes them. */
  readonly inject?: readonly string[];
  /** Whether data is recorded whole. @default false */
  readonly isWhole?: boolean;
}

/** An attached strace. */
export interface Tracer {
  /** Lets the program go, if it lives, and returns what was recorded. */
  detach(): Promise<SystemCall[]>;
}

/** Whether strace is here and may attach. */
export const hasStrace: boolean = probe();

/** Attaches to the main thread of a process. */
export async function attach(pid: number, options: AttachOptions): Promise<Tracer> {
  const { output } = options;
  const command = [...traceCommand(options), "-p", String(pid)];
  const strace = Bun.spawn(command, { stdout: "ignore", stderr: "pipe" });
  const isTraced = (): boolean => /^TracerPid:\s*[1-9]/m.test(readStatus(pid));
  await waitFor("strace is attached", () => isTraced() || strace.exitCode !== null);
  if (strace.exitCode !== null) {
    throw new Error(`strace ended: ${await new Response(strace.stderr).text()}`);
  }
  return {
    detach: async () => {
      strace.kill("SIGINT");
      await strace.exited;
      return parseCalls(readFileSync(output, "latin1"));
    },
  };
}

/** The command that traces; a process or a command to run is put behind it. */
export function traceCommand(options: AttachOptions): string[] {
  const { output, trace, paths = [], inject = [], isWhole = false } = options;
  const size = isWhole ? "1000000" : "64";
  const command = ["strace", "-qq", "-y", "-xx", "-s", size, "-o", output, "-e", `trace=${trace}`];
  for (const path of paths) command.push("-P", path);
  for (const one of inject) command.push("-e", `inject=${one}`);
  return command;
}

/** The calls of a recording, in order. */
export function parseCalls(text: string): SystemCall[] {
  return text.split("\n").flatMap((line) => {
    const found = /^(\w+)\((.*)\)\s+= (.*)$/s.exec(decode(line));
    if (found === null) return [];
    const [, name = "", args = "", result = ""] = found;
    return [{ name, args, result, isInjected: result.includes("INJECTED") }];
  });
}

function decode(line: string): string {
  return line.replaceAll(/\\x([\da-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    return "";
  }
}

function probe(): boolean {
  if (process.platform !== "linux" || Bun.which("strace") === null) return false;
  const yama = "/proc/sys/kernel/yama/ptrace_scope";
  const scope = existsSync(yama) ? Number(readFileSync(yama, "latin1")) : 0;
  // From 1 on only root attaches to what is not its own child, from 3 on nobody.
  if (scope > (process.getuid?.() === 0 ? 2 : 0)) return false;
  return Bun.spawnSync(["strace", "-qq", "-o", "/dev/null", "true"], { stderr: "ignore" }).exitCode === 0;
}
