/**
 * Bytes to lines, and the last lines of a stream.
 *
 * Owns splitting at newlines across chunks with a bound on a line's length. Invariant: memory held is at
 * most one line of `maxBytes`; a longer line is reported once and skipped to its end, the next one
 * arrives whole. `node:readline` was rejected: it has no bound.
 */

/** Options of {@link LineSplitter}. */
export interface LineSplitterOptions {
  /** A line of more bytes is skipped. */
  readonly maxBytes: number;
  /** Receives each line without its line end. */
  readonly onLine: (line: string) => void;
  /** Told once for each line that was too long. */
  readonly onOverflow?: () => void;
}

const NEWLINE = 10;

/** Splits a byte stream into lines. */
export class LineSplitter {
  readonly #options: LineSplitterOptions;
  #parts: Uint8Array[] = [];
  #heldBytes = 0;
  #isSkipping = false;

  constructor(options: LineSplitterOptions) {
    this.#options = options;
  }

  /** Takes the next bytes; calls `onLine` for each line they finish. */
  push(chunk: Uint8Array): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#hold(chunk.subarray(start, end));
      this.#finish();
      start = end + 1;
    }
    // The rest is copied: the chunk's memory belongs to the stream.
    if (start < chunk.length) this.#hold(chunk.slice(start));
  }

  /** Gives the last line when the stream ended without a line end. */
  end(): void {
    if (this.#heldBytes > 0) this.#finish();
  }

  #hold(bytes: Uint8Array): void {
    if (this.#isSkipping) return;
    this.#heldBytes += bytes.length;
    if (this.#heldBytes > this.#options.maxBytes) {
      this.#isSkipping = true;
      this.#parts = [];
      this.#options.onOverflow?.();
      return;
    }
    this.#parts.push(bytes);
  }

  #finish(): void {
    const parts = this.#parts;
    const wasSkipping = this.#isSkipping;
    this.#parts = [];
    this.#heldBytes = 0;
    this.#isSkipping = false;
    if (wasSkipping) return;
    const line = Buffer.concat(parts).toString("utf8");
    this.#options.onLine(line.endsWith("\r") ? line.slice(0, -1) : line);
  }
}

/** The last `capacity` lines of a stream. */
export class LineRing {
  readonly #capacity: number;
  #lines: string[] = [];

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  push(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length >= this.#capacity * 2) this.#lines = this.#lines.slice(-this.#capacity);
  }

  /** The newest `count` lines, oldest first. */
  last(count: number = this.#capacity): string[] {
    return count < 1 ? [] : this.#lines.slice(-Math.min(count, this.#capacity));
  }
}
