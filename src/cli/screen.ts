/**
 * A picture on a terminal that is drawn again in its place.
 *
 * Owns where a picture begins, how often it is drawn, and what is left behind. Invariants: at most ten pictures a second,
 * and the last one is always drawn; a picture is not higher than the terminal and a line not wider, so that going up
 * again leads to its first line; no mode of the terminal is changed, so that it is sane however the process ends. The
 * alternate screen was rejected: what was seen is gone from it afterwards. So was hiding the cursor: it stays hidden
 * after a kill, and while the process is suspended.
 */
import type { Terminal } from "./command.ts";
import { fit } from "./table.ts";

const INTERVAL_MS = 100;
/** Terminals that know it show what is between them at once (DEC mode 2026). */
const BEGIN = "\u001b[?2026h";
const END = "\u001b[?2026l";
const CLEAR_LINE = "\u001b[K";
const CLEAR_BELOW = "\u001b[J";
// oxlint-disable-next-line no-control-regex -- what colours are made of
const COLOURS = /\u001b\[[\d;]*m/g;

/** Makes the lines of a picture for a size. */
export type Picture = (size: { readonly columns: number; readonly rows: number }) => readonly string[];

/** Options of {@link Screen}. */
export interface ScreenOptions {
  readonly terminal: Terminal;
  readonly write: (text: string) => void;
  /** @default 100 */
  readonly intervalMs?: number;
}

/** Draws pictures in one place. */
export class Screen implements Disposable {
  readonly #options: ScreenOptions;
  #picture: Picture = () => [];
  /** Lines that stand on the terminal. */
  #drawn: readonly string[] = [];
  #columns = 0;
  /** Runs for a while behind each picture. */
  #rest: Timer | undefined;
  #isDue = false;
  #isClosed = false;

  constructor(options: ScreenOptions) {
    this.#options = options;
    const { onResize, onContinue } = options.terminal;
    onResize(() => this.#schedule());
    // The shell wrote below the picture meanwhile.
    onContinue?.(() => {
      this.#drawn = [];
      this.#schedule();
    });
  }

  /** Shows a picture, now or when the last one stood long enough. */
  show(picture: Picture): void {
    this.#picture = picture;
    this.#schedule();
  }

  /** Draws what is due, and gives the terminal back. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    if (this.#isDue) this.#draw();
    clearTimeout(this.#rest);
    this.#isClosed = true;
    if (this.#drawn.length > 0) this.#options.write("\r\n");
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#isDue = true;
    if (this.#rest === undefined) this.#draw();
  }

  #draw(): void {
    const { intervalMs = INTERVAL_MS } = this.#options;
    this.#isDue = false;
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      if (this.#isDue) this.#draw();
    }, intervalMs);
    const { terminal, write } = this.#options;
    const { columns, rows } = terminal.size();
    // A sign in the last column leaves the cursor in a place terminals do not agree on.
    const size = { columns: Math.max(1, columns - 1), rows: Math.max(1, rows - 1) };
    const lines = this.#picture(size)
      .slice(0, size.rows)
      .map((line) => narrow(line, size.columns));
    const up = this.#height(columns, rows) - 1;
    const isResized = columns !== this.#columns;
    const start = `\r${up > 0 ? `\u001b[${up}A` : ""}${isResized ? CLEAR_BELOW : ""}`;
    const body = lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n");
    write(`${BEGIN}${start}${body}${CLEAR_BELOW}${END}`);
    this.#drawn = lines;
    this.#columns = columns;
  }

  /** Rows the last picture takes; a terminal that became narrower wraps the lines that stand on it. */
  #height(columns: number, rows: number): number {
    const height = this.#drawn.reduce(
      (sum, line) => sum + Math.max(1, Math.ceil(Bun.stringWidth(line) / columns)),
      0,
    );
    return Math.min(height, rows);
  }
}

/** A line that would wrap loses its colours with its end. */
function narrow(line: string, columns: number): string {
  return Bun.stringWidth(line) <= columns ? line : fit(line.replaceAll(COLOURS, ""), columns);
}
