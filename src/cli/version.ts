/**
 * `mcpproxy version`: what runs here.
 *
 * Owns that line. No commit is in it: one source makes the same bytes wherever it is built, with or without its history.
 */
import { VERSION } from "../core/version.ts";
import { readWords } from "./help.ts";
import { printData } from "./output.ts";
import type { ServeIo } from "./serve.ts";

/** Prints version, runtime and platform. */
export async function runVersion(args: readonly string[], io: ServeIo): Promise<number> {
  const { flags } = readWords("version", args);
  const data = { version: VERSION, bun: Bun.version, platform: `${process.platform}-${process.arch}` };
  if (flags.isJson) printData(data, flags, io);
  else io.stdout(`mcpproxy ${data.version} (Bun ${data.bun}, ${data.platform})\n`);
  return 0;
}
