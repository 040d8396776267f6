/**
 * The smoke test for the source and for the binary that the project's own build makes.
 *
 * Owns the build into a temp folder and the figures that are printed.
 */
import { test } from "bun:test";
import { statSync } from "node:fs";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { buildBinary, SOURCE } from "./harness.ts";
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
    const binary = await buildBinary(folder.path);
    const megabytes = statSync(binary).size / 1_000_000;
    print("binary", await smoke([binary]), ` ${megabytes.toFixed(1)} MB,`);
  },
  BUILD_MS,
);
