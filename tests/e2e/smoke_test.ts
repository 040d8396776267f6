/**
 * The smoke test for the source and for the binary that the project's own build makes.
 *
 * Owns the build into a temp folder and the figures that are printed.
 */
import { expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { ROOT, runProgram, SOURCE } from "./harness.ts";
import { smoke } from "./smoke.ts";
import type { SmokeFigures } from "./smoke.ts";

const TEST_MS = 60_000;
const BUILD_MS = 180_000;

function print(what: string, figures: SmokeFigures, size = ""): void {
  const { versionMs, firstReadyMs, againReadyMs } = figures;
  const ms = (value: number): string => `${Math.round(value)} ms`;
  console.info(
    `${what}:${size} --version ${ms(versionMs)}, serve to /readyz ${ms(firstReadyMs)} on an empty folder, ${ms(againReadyMs)} again`,
  );
}

test(
  "the source passes the smoke test",
  async () => {
    verifies("CONFIG-DEFAULT-MADE", "KEY-0600", "HTTP-PROBES", "STDIO-NO-SURVIVORS", "CLI-EXIT-CODES");
    print("source", await smoke(SOURCE));
  },
  TEST_MS,
);

test(
  "the compiled binary passes the smoke test of the source",
  async () => {
    verifies("BINARY-SMOKE", "STORE-MIGRATES", "CONFIG-DEFAULT-MADE", "KEY-0600", "STDIO-NO-SURVIVORS");
    using folder = tempDir();
    const binary = join(folder.path, "mcpproxy");
    // The last --outfile counts.
    const build = [process.execPath, "run", "build", "--outfile", binary];
    const env = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? folder.path };
    const { code, stderr } = await runProgram(build, { env, cwd: ROOT });
    expect([code, code === 0 ? "" : stderr]).toEqual([0, ""]);
    const megabytes = statSync(binary).size / 1_000_000;
    print("binary", await smoke([binary]), ` ${megabytes.toFixed(1)} MB,`);
  },
  BUILD_MS,
);
