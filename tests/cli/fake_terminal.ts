/**
 * A terminal as far as a live view uses one.
 *
 * Owns a grid of rows that scrolls, the cursor and what moves it. Invariant: a sequence it does not know fails the test,
 * so that a view cannot begin to use one unnoticed.
 */
import type { Terminal } from "../../src/cli/command.ts";

/** A terminal in memory. */
export class FakeTerminal implements Terminal {
  columns: number;
  rows: number;
  /** What scrolled out of sight, and what is on the screen below it. */
  #lines: string[] = [""];
  #row = 0;
  #column = 0;
  #onResize: () => void = () => {};
  #onContinue: () => void = () => {};

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.rows = rows;
  }

  readonly size = (): { readonly columns: number; readonly rows: number } => ({
    columns: this.columns,
    rows: this.rows,
  });

  readonly onResize = (listener: () => void): void => {
    this.#onResize = listener;
  };

  readonly onContinue = (listener: () => void): void => {
    this.#onContinue = listener;
  };

  /** The process goes on after it was suspended. */
  resume(): void {
    this.#onContinue();
  }

  /** All lines ever shown, blanks at their ends left out. */
  get lines(): readonly string[] {
    return this.#lines.map((line) => line.trimEnd());
  }

  /** Lines that wrapped are wrapped anew, as most terminals do. */
  resize(columns: number, rows: number): void {
    const cursor = this.#row;
    let row = 0;
    const wrapped = this.#lines.flatMap((line, at) => {
      const parts = line.length === 0 ? [""] : (line.match(new RegExp(`.{1,${columns}}`, "g")) ?? [""]);
      if (at < cursor) row += parts.length;
      else if (at === cursor) row += parts.length - 1;
      return parts;
    });
    this.#lines = wrapped;
    this.#row = row;
    this.#column = Math.min(this.#column, columns);
    this.columns = columns;
    this.rows = rows;
    this.#onResize();
  }

  readonly write = (text: string): void => {
    // oxlint-disable-next-line no-control-regex -- what terminals obey
    const parts = text.match(/\u001b\[[?\d;]*[A-Za-z]|\r|\n|[^\u001b\r\n]+|[\s\S]/g) ?? [];
    for (const part of parts) this.#take(part);
  };

  #take(part: string): void {
    if (part === "\r") this.#column = 0;
    else if (part === "\n") this.#down();
    else if (part.startsWith("\u001b[")) this.#obey(part.slice(2));
    else if (part.startsWith("\u001b")) throw new Error(`The terminal does not know ${JSON.stringify(part)}`);
    else this.#print(part);
  }

  #down(): void {
    this.#row += 1;
    if (this.#row === this.#lines.length) this.#lines.push("");
  }

  #obey(sequence: string): void {
    const up = /^(\d+)A$/.exec(sequence)?.[1];
    // The cursor does not leave the screen.
    const top = Math.max(0, this.#lines.length - this.rows);
    if (up !== undefined) this.#row = Math.max(top, this.#row - Number(up));
    else if (sequence === "K") this.#edit((line) => line.slice(0, this.#column));
    else if (sequence === "J") {
      this.#edit((line) => line.slice(0, this.#column));
      this.#lines.length = this.#row + 1;
    } else if (!/^(?:\?2026[hl]|[\d;]*m)$/.test(sequence))
      throw new Error(`The terminal does not know '${sequence}'`);
  }

  #print(text: string): void {
    this.#edit(
      (line) =>
        line.padEnd(this.#column).slice(0, this.#column) + text + line.slice(this.#column + text.length),
    );
    this.#column += text.length;
    if (this.#column > this.columns) throw new Error(`A line is wider than the terminal: ${text}`);
  }

  #edit(change: (line: string) => string): void {
    this.#lines[this.#row] = change(this.#lines[this.#row] ?? "");
  }
}
