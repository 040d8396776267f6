/**
 * Rows as an aligned table.
 *
 * Owns widths and cutting. Invariants: text is printed without control characters, and a line is not wider than the
 * terminal unless that has no room for the narrowest columns; colours change no width. Frames were rejected: tables are
 * read by `awk` as well.
 */
import { oneLine } from "../lib/log.ts";

const GAP = "  ";
const MIN_LAST_WIDTH = 12;
/** What another column keeps when there is too little room. */
const MIN_WIDTH = 8;

/** Options of {@link formatTable}. */
export interface TableOptions {
  /** Columns of the terminal. @default as wide as it takes */
  readonly columns?: number | undefined;
  /** Colours a cell once it has its width; the heading is row -1. @default leaves it */
  readonly paint?: (cell: string, place: { readonly row: number; readonly column: number }) => string;
}

/** Formats rows below a heading; the last column takes what room is left and is cut to it, then the widest ones are. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): string {
  return tableLines(heading, { rows, ...options })
    .map((line) => `${line}\n`)
    .join("");
}

/** The lines of {@link formatTable}. */
export function tableLines(
  heading: readonly string[],
  { rows, columns, paint = (cell) => cell }: TableOptions & { readonly rows: readonly (readonly string[])[] },
): readonly string[] {
  const all = [heading, ...rows].map((row) => row.map((cell) => oneLine(cell)));
  const natural = heading.map((_, column) =>
    all.reduce((widest, row) => Math.max(widest, Bun.stringWidth(row[column] ?? "")), 0),
  );
  const widths = columns === undefined ? natural : squeeze(natural, columns);
  return all.map((cells, index) => {
    // Blanks at the end of a line are for nobody.
    const last = cells.findLastIndex((cell) => cell.trimEnd() !== "");
    const fitted = cells.slice(0, last + 1).map((cell, column) => {
      const text = fit(cell, widths[column] ?? 0);
      return paint(column === last ? text.trimEnd() : text, { row: index - 1, column });
    });
    return fitted.join(GAP);
  });
}

/** Takes room from the last column first, then from the widest one again and again. */
function squeeze(natural: readonly number[], columns: number): readonly number[] {
  const widths = [...natural];
  const last = widths.length - 1;
  let over = widths.reduce((sum, width) => sum + width + GAP.length, 0) - GAP.length - columns;
  if (over <= 0) return widths;
  const kept = Math.min(widths[last] ?? 0, Math.max(MIN_LAST_WIDTH, (widths[last] ?? 0) - over));
  over -= (widths[last] ?? 0) - kept;
  widths[last] = kept;
  while (over > 0) {
    const widest = widths.slice(0, last).reduce((at, width, i) => (width > (widths[at] ?? 0) ? i : at), 0);
    const width = widths[widest] ?? 0;
    if (last === 0 || width <= MIN_WIDTH) return widths;
    widths[widest] = width - 1;
    over -= 1;
  }
  return widths;
}

/** Cuts or fills a text to a width. */
export function fit(cell: string, width: number): string {
  const wide = Bun.stringWidth(cell);
  if (wide <= width) return cell + " ".repeat(width - wide);
  let cut = "";
  let used = 0;
  for (const { segment } of new Intl.Segmenter().segment(cell)) {
    const more = Bun.stringWidth(segment);
    if (used + more > width - 1) break;
    cut += segment;
    used += more;
  }
  return `${cut}…`;
}
