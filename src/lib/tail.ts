/**
 * The last lines of a file that grows, and the ones that come.
 *
 * Owns where reading goes on, also when the file is replaced by a new one, as a rotated log is. Invariants: a line is
 * given once and whole; memory is bounded by what is read at once; a file that is not there yet is waited for. Watching
 * the folder was rejected: it is told of each write, and a look four times a second is what an eye needs.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";

const LOOK_MS = 250;
/** How far back the last lines are looked for. */
const MAX_BACK_BYTES = 4 * 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
const NEWLINE = 10;

/** A place in a file: which file, and how far it was read. */
export interface TailPlace {
  readonly file: number;
  readonly offset: number;
}

/** The last lines of a file, and where the next one begins. */
export interface Tail {
  readonly lines: readonly string[];
  readonly place: TailPlace;
}

/** Reads the whole lines at the end of a file, at most 4 MiB of them; undefined when there is none to read. */
export function readTail(path: string): Tail | undefined {
  let handle: number;
  try {
    handle = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    const { size, ino } = fstatSync(handle);
    const start = Math.max(0, size - MAX_BACK_BYTES);
    const bytes = readAt(handle, { offset: start, length: size - start });
    const end = bytes.lastIndexOf(NEWLINE) + 1;
    const lines = linesOf(bytes.subarray(0, end));
    // The first one may have lost its beginning.
    return { lines: start > 0 ? lines.slice(1) : lines, place: { file: ino, offset: start + end } };
  } finally {
    closeSync(handle);
  }
}

/** Gives the lines that come behind a place, until the signal; without a place those from the beginning. */
export async function* followTail(
  path: string,
  { place, signal }: { readonly place: TailPlace | undefined; readonly signal: AbortSignal },
): AsyncGenerator<string, undefined> {
  let { file, offset } = place ?? { file: 0, offset: 0 };
  while (!signal.aborted) {
    const now = statOf(path);
    // Another file, or the same one begun anew.
    if (now !== undefined && (now.ino !== file || now.size < offset))
      ({ file, offset } = { file: now.ino, offset: 0 });
    const bytes = now === undefined || now.size <= offset ? undefined : readFrom(path, offset);
    const end = bytes === undefined ? 0 : bytes.lastIndexOf(NEWLINE) + 1;
    if (bytes !== undefined && end > 0) {
      yield* linesOf(bytes.subarray(0, end));
      offset += end;
    } else {
      // A line longer than what is read at once is let go in pieces.
      if (bytes !== undefined && bytes.length === CHUNK_BYTES) offset += CHUNK_BYTES;
      await look(signal);
    }
  }
  return undefined;
}

function statOf(path: string): { readonly ino: number; readonly size: number } | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

function readFrom(path: string, offset: number): Buffer | undefined {
  let handle: number;
  try {
    handle = openSync(path, "r");
  } catch {
    return undefined;
  }
  try {
    return readAt(handle, { offset, length: CHUNK_BYTES });
  } finally {
    closeSync(handle);
  }
}

function readAt(
  handle: number,
  { offset, length }: { readonly offset: number; readonly length: number },
): Buffer {
  const bytes = Buffer.alloc(length);
  return bytes.subarray(0, readSync(handle, bytes, 0, length, offset));
}

function linesOf(bytes: Buffer): string[] {
  const text = bytes.toString("utf8");
  return text === "" ? [] : text.replace(/\n$/, "").split("\n");
}

function look(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, LOOK_MS);
  signal.addEventListener("abort", () => resolve(), { once: true });
  if (signal.aborted) resolve();
  return promise.finally(() => clearTimeout(timer));
}
