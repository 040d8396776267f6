/**
 * The note a running proxy leaves in its data dir, so that the command line finds it.
 *
 * Owns `daemon.json`. Invariant: the note names a process that held the data dir when it was written; it
 * may be stale after a kill, so readers check that somebody answers. A fixed port was rejected: several
 * data dirs may be served at once.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { writeFileAtomic } from "../lib/atomic_file.ts";

/** Where a running proxy is reached. */
export interface DaemonNote {
  readonly pid: number;
  /** As in `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly version: string;
  readonly config: string;
  /** ISO 8601. */
  readonly startedAt: string;
}

function notePath(dataDir: string): string {
  return join(dataDir, "daemon.json");
}

/** Leaves the note, readable to its owner only. */
export function writeDaemonNote(dataDir: string, note: DaemonNote): void {
  writeFileAtomic(notePath(dataDir), `${JSON.stringify(note, null, 2)}\n`);
}

/** Reads the note; undefined when there is none or it cannot be read. */
export function readDaemonNote(dataDir: string): DaemonNote | undefined {
  try {
    const note: unknown = JSON.parse(readFileSync(notePath(dataDir), "utf8"));
    return isNote(note) ? note : undefined;
  } catch {
    return undefined;
  }
}

/** Takes the note away. */
export function removeDaemonNote(dataDir: string): void {
  rmSync(notePath(dataDir), { force: true });
}

function isNote(value: unknown): value is DaemonNote {
  const note = value as Partial<Record<keyof DaemonNote, unknown>> | null;
  return (
    typeof note === "object" && note !== null && typeof note.pid === "number" && typeof note.url === "string"
  );
}
