/**
 * One replacement of the configuration file, and a look at what it displaced.
 *
 * Owns the temp files beside the configuration. Invariants: the path holds one whole text at every instant;
 * after a failure it holds what it held before, or what a person saved since; a text that is neither the old
 * nor the new one is put back or handed to `keep`, never dropped; a displaced file stays open for a while,
 * because an editor may still write into it. A comparison just before a plain rename was rejected: what is
 * saved in between is gone.
 */
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { holdsBytes, placeFile, removeFile, swapFile, syncFolder, writeNewFile } from "../lib/atomic_file.ts";
import { hashOf } from "./config_history.ts";

/** An editor that opened the file before the swap has written by then. */
const LATE_LOOK_MS = 200;
/** Looks at a file that is still being written. */
const LATE_LOOKS_MAX = 20;
/** Saves of a person that may come while one is put back; more than any editor makes. */
const ROUNDS_MAX = 8;
/** So much of the file's name stands in that of its temp files. */
const NAME_SIGNS_MAX = 60;
const PERMISSION_BITS = 0o777;
const TEMP_REST = /^\d+-\d+\.mcpproxy-tmp$/;

/** A person's text came first: it is at the path, ours is not. */
export class Overtaken extends Error {
  /** SHA-256 of the text that is there; empty when there is none. */
  readonly actual: string;

  constructor(actual: string) {
    super("another program changed the file at the same moment");
    this.name = "Overtaken";
    this.actual = actual;
  }
}

/** What a {@link Replacement} is made of. */
export interface ReplacementOptions {
  /** Where the file lies, links resolved. */
  readonly path: string;
  /** The text that should lie there; undefined when there should be none. */
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array;
  /** Takes a person's text that has no place any more. */
  readonly keep: (bytes: Uint8Array) => void;
  /** Takes an open file, and what is in it, that lay at the path for a moment and has no name any more. */
  readonly look: (file: number, found: Uint8Array) => void;
}

/** One replacement: `run`, then `undo` or `finish`. */
export class Replacement {
  readonly #options: ReplacementOptions;
  /** Where the displaced file lies, and the open file. */
  #displaced: string | undefined;
  #file: number | undefined;

  constructor(options: ReplacementOptions) {
    this.#options = options;
  }

  /**
   * Writes, syncs and swaps; the folder is not synced yet.
   *
   * @throws {Overtaken} when a person's text came first, or the system's error; nothing is left of it
   */
  run(): void {
    const { path, before, after } = this.#options;
    const incoming = tempName(path);
    writeNewFile(incoming, after, before === undefined ? { mode: 0o600 } : ownershipOf(path));
    try {
      if (before === undefined) placeFile(path, incoming);
      else this.#displaced = swapFile(path, incoming, tempName(path));
    } catch (error) {
      removeFile(incoming);
      const code = codeOf(error);
      // It appeared or vanished since it was read.
      if (code === "EEXIST" || code === "ENOENT") throw new Overtaken("");
      throw error;
    }
    if (before !== undefined) this.#inspect(before);
  }

  /** Puts the old text back, and makes that durable where it can; returns whether ours is away from the path. */
  undo(): boolean {
    this.#closeFile();
    const isAway = this.#displaced === undefined ? this.#takeAway() : this.#putBack(this.#displaced);
    try {
      if (isAway) syncFolder(dirname(this.#options.path));
    } catch {
      // Whichever text a power cut leaves, it is a whole one.
    }
    return isAway;
  }

  /** Removes the displaced file; what is returned is still open, for {@link LateLooks}. */
  finish(): number | undefined {
    if (this.#displaced !== undefined) removeFile(this.#displaced);
    const file = this.#file;
    this.#file = undefined;
    return file;
  }

  #inspect(before: Uint8Array): void {
    let found: Uint8Array;
    try {
      this.#file = openSync(this.#displaced ?? "", "r");
      if (holdsBytes(this.#file, before)) return;
      found = readAll(this.#file);
    } catch (error) {
      if (this.undo()) throw error;
      return;
    }
    if (isEqual(found, before) || isEqual(found, this.#options.after)) return;
    if (this.undo()) throw new Overtaken(hashOf(found));
    // Ours cannot be taken away any more, so theirs is kept.
    this.#options.keep(found);
  }

  /** @param held where the text lies that belongs at the path */
  #putBack(held: string): boolean {
    const { path, before, after } = this.#options;
    let [incoming, expected] = [held, after];
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      let outgoing: string;
      try {
        outgoing = swapFile(path, incoming, tempName(path));
      } catch {
        if (round > 0) this.#discard(incoming, [after]);
        return round > 0;
      }
      if (isEqual(readOr(outgoing, expected), expected)) {
        this.#discard(outgoing, before === undefined ? [after] : [after, before]);
        return true;
      }
      // A person saved in between: the newer text belongs at the path, and what was put there is looked for next.
      [incoming, expected] = [outgoing, readOr(path, after)];
    }
    this.#discard(incoming, [after]);
    return true;
  }

  /** There was no file before, so there is none after. */
  #takeAway(): boolean {
    const { path, after } = this.#options;
    const outgoing = tempName(path);
    try {
      renameSync(path, outgoing);
    } catch (error) {
      return codeOf(error) === "ENOENT";
    }
    try {
      if (!isEqual(readOr(outgoing, after), after)) {
        placeFile(path, outgoing);
        return true;
      }
    } catch {
      // Another text lies at the path: this one is kept.
    }
    this.#discard(outgoing, [after]);
    return true;
  }

  #discard(path: string, known: readonly Uint8Array[]): void {
    const { keep, look } = this.#options;
    let file: number | undefined;
    try {
      file = openSync(path, "r");
      const found = readAll(file);
      if (!known.some((text) => isEqual(text, found))) keep(found);
      // An editor may have opened it at the path and not written yet.
      look(file, found);
    } catch {
      // It cannot be read: the next start looks again.
      if (file !== undefined) tryClose(file);
      return;
    }
    removeFile(path);
  }

  #closeFile(): void {
    if (this.#file !== undefined) tryClose(this.#file);
    this.#file = undefined;
  }
}

/** Displaced files that are looked at once more. */
export class LateLooks {
  readonly #keep: (bytes: Uint8Array) => void;
  readonly #running = new Map<Timer, () => void>();

  constructor(keep: (bytes: Uint8Array) => void) {
    this.#keep = keep;
  }

  /** Looks at an open file when an editor has had its time, again while it changes, and closes it. */
  add(file: number, before: Uint8Array): void {
    this.#wait({ file, before, last: before, looks: 0 });
  }

  /** Takes what is there now as the last look. */
  close(): void {
    for (const [timer, finish] of this.#running) {
      clearTimeout(timer);
      finish();
    }
    this.#running.clear();
  }

  #wait(look: {
    readonly file: number;
    readonly before: Uint8Array;
    readonly last: Uint8Array;
    readonly looks: number;
  }): void {
    const { file, before, last, looks } = look;
    const finish = (): void => {
      const found = tryRead(file, before);
      tryClose(file);
      if (found !== undefined && !isEqual(found, before)) this.#keep(found);
    };
    const timer = setTimeout(() => {
      this.#running.delete(timer);
      const found = tryRead(file, last);
      if (found === undefined || isEqual(found, last) || looks >= LATE_LOOKS_MAX) finish();
      else this.#wait({ file, before, last: found, looks: looks + 1 });
    }, LATE_LOOK_MS);
    timer.unref();
    this.#running.set(timer, finish);
  }
}

/** Whether this is what lies at the path; what cannot be read as a file is left to whoever says why. */
export function isFileOf(path: string, bytes: Uint8Array): boolean {
  let file: number;
  try {
    // As `readConfigBytes` does: a FIFO would wait for a writer.
    file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch {
    return false;
  }
  try {
    return holdsBytes(file, bytes);
  } catch {
    return false;
  } finally {
    closeSync(file);
  }
}

/** Temp files of a configuration that a killed run left beside it. */
export function findTempFiles(path: string): string[] {
  const prefix = tempPrefix(path);
  return readdirSync(dirname(path))
    .filter((name) => name.startsWith(prefix) && TEMP_REST.test(name.slice(prefix.length)))
    .map((name) => join(dirname(path), name));
}

/** A name that is free; those that a killed run left are in use until they are looked at. */
function tempName(path: string): string {
  for (let number = 0; ; number += 1) {
    const name = join(dirname(path), `${tempPrefix(path)}${process.pid}-${number}.mcpproxy-tmp`);
    if (!existsSync(name)) return name;
  }
}

/** Hidden, and of a length that a folder takes. */
function tempPrefix(path: string): string {
  return `.${basename(path).slice(0, NAME_SIGNS_MAX)}.`;
}

function ownershipOf(path: string): { readonly mode: number; readonly uid: number; readonly gid: number } {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) throw new Overtaken("");
  return { mode: stat.mode & PERMISSION_BITS, uid: stat.uid, gid: stat.gid };
}

function isEqual(one: Uint8Array, other: Uint8Array): boolean {
  if (one === other) return true;
  return one.length === other.length && Buffer.compare(one, other) === 0;
}

/** All bytes from the beginning, wherever the file stands. */
function readAll(file: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  for (let position = 0; ;) {
    const chunk = Buffer.allocUnsafe(256 * 1024);
    const count = readSync(file, chunk, 0, chunk.length, position);
    if (count === 0)
      return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
    chunks.push(chunk.subarray(0, count));
    position += count;
  }
}

/** Undefined when its disk is gone, and the text with it; `last` itself when that is still in it. */
function tryRead(file: number, last: Uint8Array): Uint8Array | undefined {
  try {
    return holdsBytes(file, last) ? last : readAll(file);
  } catch {
    return undefined;
  }
}

/** Nothing was written through it. */
function tryClose(file: number): void {
  try {
    closeSync(file);
  } catch {
    // The system has let go of it all the same.
  }
}

function readOr(path: string, otherwise: Uint8Array): Uint8Array {
  try {
    return readFileSync(path);
  } catch {
    return otherwise;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
