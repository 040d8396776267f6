/**
 * A process as a command sees it, and the program as a child.
 */
import { join } from "node:path";
import type { CommandIo } from "../../src/cli/command.ts";

/** What a command wrote. */
export interface TestIo extends CommandIo {
  readonly out: () => string;
  readonly err: () => string;
}

/** Makes the process of a command. */
export function makeIo(parts: Partial<CommandIo> = {}): TestIo {
  let out = "";
  let err = "";
  return {
    stdout: (text) => {
      out += text;
    },
    stderr: (text) => {
      err += text;
    },
    env: {},
    cwd: "/nonexistent",
    home: "/nonexistent",
    ...parts,
    out: () => out,
    err: () => err,
  };
}

/** The program's entry. */
export const MAIN = join(import.meta.dir, "../../src/main.ts");

/** What the program did. */
export interface MainResult {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the program to its end. */
export async function runMain(
  args: readonly string[],
  options: { readonly cwd: string; readonly home?: string },
): Promise<MainResult> {
  const { cwd, home = cwd } = options;
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    cwd,
    // Bun would keep its cache of transpiled files in the home folder.
    env: { PATH: process.env["PATH"], HOME: home, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, out, err };
}
