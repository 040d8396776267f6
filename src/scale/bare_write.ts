/**
 * The least that is durable: a file replaced with one write, fsync, rename and folder fsync.
 *
 * Owns what every durable change is measured beside, in the suite and in the benches.
 */
import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { syncFolder } from "../lib/atomic_file.ts";

/** Replaces a file; it is on the disk when this returns. */
export function writeBare(path: string, text: string): void {
  const file = openSync(`${path}.tmp`, "w", 0o600);
  writeSync(file, text);
  fsyncSync(file);
  closeSync(file);
  renameSync(`${path}.tmp`, path);
  syncFolder(dirname(path));
}
