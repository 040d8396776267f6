/**
 * `mcpproxy activity export`: entries as lines, into a file or on.
 *
 * Owns where they go. Invariants: a record of any length passes in pieces; a file is only there under its name once it is
 * whole, readable to its owner only. Reading all pages and writing them here was rejected: the API has an export.
 */
import { chmodSync, renameSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { messageOf, ProxyError } from "../core/errors.ts";
import { queryText } from "../lib/query.ts";
import { filterOf, wholeOf } from "./activity_page.ts";
import { findDaemon } from "./client.ts";
import { textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { readWords } from "./help.ts";
import { withoutControls } from "./output.ts";

const FORMATS: ReadonlySet<string> = new Set(["json", "csv"]);

/** Exports entries. */
export async function exportActivity(args: readonly string[], io: CommandIo): Promise<number> {
  const command = readWords("activity export", args);
  const { flags, values } = command;
  const format = textFlag(values["format"]) ?? "json";
  if (!FORMATS.has(format)) {
    throw new ProxyError("USAGE", `Cannot export as '${format}'`, { hint: "Use --format json or csv" });
  }
  const limit = wholeOf(values["limit"], "--limit");
  const filter = filterOf(command);
  const api = await findDaemon(flags, io);
  const bodies = values["include-bodies"] === true;
  const query = queryText({ ...filter, format, limit, include_bodies: bodies });
  const chunks = await api.stream(`/api/v1/activity/export${query}`);
  const file = textFlag(values["output"]);
  if (file === undefined) {
    const decoder = new TextDecoder();
    for await (const chunk of chunks) io.stdout(withoutControls(decoder.decode(chunk, { stream: true })));
    io.stdout(decoder.decode());
    return 0;
  }
  const path = resolve(io.cwd, file);
  const lines = await writeWhole(path, chunks);
  io.stderr(`Wrote ${lines} lines to '${path}'\n`);
  return 0;
}

/** Writes a file as a whole or not at all; returns how many lines it has. */
async function writeWhole(path: string, chunks: ReadableStream<Uint8Array>): Promise<number> {
  const part = `${path}.part`;
  let lines = 0;
  try {
    const sink = Bun.file(part).writer();
    try {
      for await (const chunk of chunks) {
        await sink.write(chunk);
        lines += chunk.reduce((count, byte) => (byte === 10 ? count + 1 : count), 0);
        await sink.flush();
      }
    } finally {
      await sink.end();
    }
    chmodSync(part, 0o600);
    renameSync(part, path);
    return lines;
  } catch (error) {
    rmSync(part, { force: true });
    if (error instanceof ProxyError) throw error;
    throw new ProxyError("USAGE", `Cannot write '${path}': ${messageOf(error)}`, {
      cause: error,
      hint: "Name a file in a folder you may write to",
    });
  }
}
