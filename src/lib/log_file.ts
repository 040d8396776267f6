/**
 * A log file of bounded size, written in the background.
 *
 * Owns the buffer, the rotation (`x.log` → `x.log.<time>`, then `.gz`), and the names under which things are
 * kept. Invariants: writing never throws into the caller and never waits; what waits to be written is
 * bounded, the oldest lines are dropped and counted; no file is made before the first line, and between
 * two batches no handle is open, so that a thousand quiet files cost nothing; files are 0600. Keeping a
 * handle until the file falls idle was rejected: opening costs less than the timer and the states it needs.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { appendFile, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Semaphore } from "./semaphore.ts";

/** How long a line may wait for others to be written with it. */
const BATCH_DELAY_MS = 100;
/** What may wait to be written; a disk that is slower than this loses the oldest lines. */
const MAX_WAITING_BYTES = 512 * 1024;
/** How long `close` waits for a disk that hangs. */
const CLOSE_MS = 2_000;
const DAY_MS = 86_400_000;
/** Files written at the same time, over all log files. */
const writers = new Semaphore(8);

/** How large files become and how long they are kept. */
export interface RotationOptions {
  readonly maxSizeBytes: number;
  /** Rotated files; 0 keeps none. */
  readonly maxBackups: number;
  /** 0: for ever. */
  readonly maxAgeDays: number;
  /** Whether rotated files are compressed with gzip. */
  readonly compress: boolean;
}

/** Options of {@link LogFile}. */
export interface LogFileOptions extends RotationOptions {
  readonly path: string;
  /** Told of the first failure in a row. */
  readonly onError?: (error: unknown) => void;
}

/** A file that lines are appended to. */
export class LogFile implements AsyncDisposable {
  readonly #options: LogFileOptions;
  /** Bytes in the file; undefined until it was looked at. */
  #fileBytes: number | undefined;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #lost = 0;
  #dropped = 0;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #isFailing = false;
  #isClosed = false;

  constructor(options: LogFileOptions) {
    this.#options = options;
  }

  /** Lines that were never written. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes a line, with or without its line end; it is on disk within the batch delay. */
  write(line: string): void {
    if (this.#isClosed) return;
    const text = line.endsWith("\n") ? line : `${line}\n`;
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#dropOldest();
    if (this.#writing === undefined) this.#timer ??= setTimeout(() => this.#begin(), BATCH_DELAY_MS);
  }

  /** Resolves when what was taken so far is on disk, or was given up. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined || this.#waiting.length > 0) {
      this.#begin();
      await this.#writing;
    }
  }

  /** Writes what waits, in bounded time; later lines are ignored. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, CLOSE_MS);
    await Promise.race([this.flush(), promise]);
    clearTimeout(timer);
    clearTimeout(this.#timer);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Down to half, so that dropping is not paid for by every line. */
  #dropOldest(): void {
    let count = 0;
    while (this.#waitingBytes > MAX_WAITING_BYTES / 2 && count < this.#waiting.length - 1) {
      this.#waitingBytes -= this.#waiting[count]?.length ?? 0;
      count += 1;
    }
    this.#waiting.splice(0, count);
    this.#lose(count);
  }

  #lose(lines: number): void {
    this.#lost += lines;
    this.#dropped += lines;
  }

  #begin(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined;
    });
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      const lost = this.#lost;
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#lost = 0;
      const release = await writers.acquire();
      try {
        await this.#append(`${lost > 0 ? `(${lost} lines were dropped here)\n` : ""}${lines.join("")}`);
        this.#isFailing = false;
      } catch (error) {
        this.#lost += lost;
        this.#lose(lines.length);
        this.#fileBytes = undefined;
        if (!this.#isFailing) this.#options.onError?.(error);
        this.#isFailing = true;
      } finally {
        release();
      }
    }
  }

  async #append(text: string): Promise<void> {
    const { path, maxSizeBytes } = this.#options;
    if (this.#fileBytes === undefined) await this.#look();
    const bytes = Buffer.byteLength(text);
    const size = this.#fileBytes ?? 0;
    if (size > 0 && size + bytes > maxSizeBytes) await this.#rotate();
    await appendFile(path, text, { mode: 0o600 });
    this.#fileBytes = (this.#fileBytes ?? 0) + bytes;
  }

  async #look(): Promise<void> {
    const { path } = this.#options;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const found = await stat(path).catch(() => undefined);
    this.#fileBytes = found?.size ?? 0;
    await this.#prune();
  }

  async #rotate(): Promise<void> {
    const { path, compress } = this.#options;
    const aside = `${path}.${new Date().toISOString().replaceAll(":", "-")}`;
    await rename(path, aside);
    this.#fileBytes = 0;
    if (compress) await compressFile(aside);
    await this.#prune();
  }

  /** Removes rotated files that are too many or too old, and halves of compressed ones. */
  async #prune(): Promise<void> {
    const { path, maxBackups, maxAgeDays } = this.#options;
    const prefix = `${basename(path)}.`;
    const folder = dirname(path);
    const names = await readdir(folder);
    const backups = names
      .filter((name) => name.startsWith(prefix) && BACKUP_TIME.test(name.slice(prefix.length)))
      .toSorted()
      .toReversed();
    const oldest = maxAgeDays > 0 ? Date.now() - maxAgeDays * DAY_MS : -Infinity;
    let kept = 0;
    for (const name of backups) {
      const isWhole = !name.endsWith(".tmp");
      const isKept = isWhole && kept < maxBackups && timeOf(name.slice(prefix.length)) >= oldest;
      if (isKept) kept += 1;
      else await rm(join(folder, name), { force: true });
    }
  }
}

/** The time in the name of a rotated file, and what may follow it. */
const BACKUP_TIME = /^(\d{4}-\d\d-\d\dT\d\d)-(\d\d)-(\d\d\.\d{3}Z)(?:\.gz(?:\.tmp)?)?$/;
/** The longest encoded name that still leaves room for prefix, suffix and time in 255 bytes. */
const MAX_NAME_CHARS = 150;
const HASH_CHARS = 16;

/**
 * Encodes any text as a part of a file name: one that is a word stays as it is, no two are the same, and
 * none leads out of its folder.
 */
export function fileNameOf(text: string): string {
  const encoded = Buffer.from(text)
    .toString("latin1")
    .replaceAll(/[^\w.-]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`)
    .replace(/^\.+/, (dots) => "%2E".repeat(dots.length));
  if (encoded.length <= MAX_NAME_CHARS) return encoded;
  const hash = new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, HASH_CHARS);
  return `${encoded.slice(0, MAX_NAME_CHARS - HASH_CHARS - 1)}~${hash}`;
}

function timeOf(suffix: string): number {
  const [, hour = "", minute = "", rest = ""] = BACKUP_TIME.exec(suffix) ?? [];
  return Date.parse(`${hour}:${minute}:${rest}`);
}

/** Under another name until it is whole, so that a half one is never taken for a backup. */
async function compressFile(path: string): Promise<void> {
  const temporary = `${path}.gz.tmp`;
  // Reading both takes longer than the rest of a start's log.
  const [{ pipeline }, { createGzip }] = await Promise.all([
    import("node:stream/promises"),
    import("node:zlib"),
  ]);
  const target = createWriteStream(temporary, { mode: 0o600 });
  await pipeline(createReadStream(path), createGzip(), target);
  await rename(temporary, `${path}.gz`);
  await rm(path, { force: true });
}
