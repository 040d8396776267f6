/**
 * A file that is wholly old or wholly new.
 *
 * Owns the sequence temp file, write, fsync, rename, fsync of the folder, in one call and in steps for those
 * who must look at what they displace. Invariants: a reader never sees half a file; a file made with mode 0600
 * is never readable to others, not even for a moment; a temp file is new and no link is followed; after a
 * failed step nothing is left of it. `Bun.write` was rejected: it truncates in place.
 */
import {
  closeSync,
  constants,
  copyFileSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { exchangeFiles } from "./exchange.ts";

const COMPARE_BYTES = 256 * 1024;

/** Options of {@link writeFileAtomic}. */
export interface WriteOptions {
  /** Permission bits of the new file. @default 0o600 */
  readonly mode?: number;
}

/** Whose a file is, and who may use it. */
export interface Ownership {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** Writes a file so that it is durable when this returns; throws the system's error. */
export function writeFileAtomic(path: string, text: string, options: WriteOptions = {}): void {
  const { mode = 0o600 } = options;
  const temporary = `${path}.${process.pid}.tmp`;
  removeFile(temporary);
  writeNewFile(temporary, Buffer.from(text), { mode });
  try {
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (error) {
    removeFile(temporary);
    throw error;
  }
}

/**
 * Makes a file that was not there and syncs it; when that fails it is gone again.
 *
 * @param like mode it has in the end, and owner where the system lets us
 * @throws the system's error, `EEXIST` among them
 */
export function writeNewFile(
  path: string,
  bytes: Uint8Array,
  like: { readonly mode: number } & Partial<Ownership>,
): void {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
  const file = openSync(path, flags, 0o600);
  try {
    try {
      writeAll(file, bytes);
      own(file, like);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    removeFile(path);
    throw error;
  }
}

/**
 * Puts `incoming` at `path`; what lay there lies at `outgoing` or `incoming` afterwards, whichever is returned.
 *
 * @throws the system's error; `path` is as it was
 */
export function swapFile(path: string, incoming: string, outgoing: string): string {
  if (exchangeFiles(incoming, path)) return incoming;
  displaceFile(path, incoming, outgoing);
  return outgoing;
}

/**
 * Puts `incoming` at `path` where files cannot be exchanged: `outgoing` becomes a second name of the old file,
 * then a rename follows. A file that somebody put there between the two is lost, within some microseconds.
 *
 * @throws the system's error; `path` is as it was
 */
export function displaceFile(path: string, incoming: string, outgoing: string): void {
  try {
    linkSync(path, outgoing);
  } catch (error) {
    if (!isUnsupported(error)) throw error;
    copyFileSync(path, outgoing, constants.COPYFILE_EXCL);
  }
  try {
    renameSync(incoming, path);
  } catch (error) {
    removeFile(outgoing);
    throw error;
  }
}

/**
 * Gives `incoming` the name `path`, where nothing may lie.
 *
 * @throws the system's error, `EEXIST` when something lies there
 */
export function placeFile(path: string, incoming: string): void {
  try {
    linkSync(incoming, path);
  } catch (error) {
    if (!isUnsupported(error)) throw error;
    renameSync(incoming, path);
    return;
  }
  removeFile(incoming);
}

/**
 * Whether an open file holds these bytes and no others, from its beginning; nothing as large as the file is allocated.
 *
 * @throws the system's error
 */
export function holdsBytes(file: number, bytes: Uint8Array): boolean {
  const chunk = Buffer.allocUnsafe(Math.min(bytes.length + 1, COMPARE_BYTES));
  for (let position = 0; ;) {
    const count = readSync(file, chunk, 0, chunk.length, position);
    if (count === 0) return position === bytes.length;
    const end = position + count;
    // It may grow while it is read.
    if (end > bytes.length || chunk.compare(bytes, position, end, 0, count) !== 0) return false;
    position = end;
  }
}

/** Makes the names in a folder durable. */
export function syncFolder(path: string): void {
  // Windows has no handle on a folder; its rename is durable by itself.
  if (process.platform === "win32") return;
  const folder = openSync(path, "r");
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** Removes a file; one that cannot be removed is left to a later look. Returns whether it is gone. */
export function removeFile(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    // What failed before this is the error worth reporting.
    return error instanceof Error && "code" in error && error.code === "ENOENT";
  }
}

function writeAll(file: number, bytes: Uint8Array): void {
  let offset = 0;
  while (offset < bytes.length) offset += writeSync(file, bytes, offset);
}

function own(file: number, like: { readonly mode: number } & Partial<Ownership>): void {
  const { mode, uid = -1, gid = -1 } = like;
  const isOurs = uid === -1 || (uid === process.getuid?.() && gid === process.getgid?.());
  if (!isOurs) {
    try {
      fchownSync(file, uid, gid);
    } catch {
      // Only root may give files away.
    }
  }
  if (mode !== 0o600) fchmodSync(file, mode);
}

/** Whether a file system has no second names, as FAT and some network ones. */
function isUnsupported(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "EPERM" || code === "ENOTSUP" || code === "EOPNOTSUPP" || code === "ENOSYS";
}
