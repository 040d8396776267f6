/**
 * A file that is wholly old or wholly new.
 *
 * Owns the sequence temp file, write, fsync, rename, fsync of the folder. Invariant: a reader never sees
 * half a file, and a file made with mode 0600 is never readable to others, not even for a moment.
 * `Bun.write` was rejected: it truncates in place.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** Options of {@link writeFileAtomic}. */
export interface WriteOptions {
  /** Permission bits of the new file. @default 0o600 */
  readonly mode?: number;
}

/** Writes a file so that it is durable when this returns; throws the system's error. */
export function writeFileAtomic(path: string, text: string, options: WriteOptions = {}): void {
  const { mode = 0o600 } = options;
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(temporary, "w", mode);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function syncFolder(path: string): void {
  // Windows has no handle on a folder; its rename is durable by itself.
  if (process.platform === "win32") return;
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
