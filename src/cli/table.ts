/**
 * Rows as an aligned table.
 *
 * Owns widths and cutting. Invariants: text is printed without control characters, and a line never is
 * wider than the terminal. Colours and frames were rejected: tables are read by `awk` as well.
 */
import { oneLine } from "../lib/log.ts";

const GAP = "  ";
const MIN_LAST_WIDTH = 12;

/** Formats rows below a heading; the last column takes what room is left and is cut to it. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  options: { readonly columns?: number | undefined } = {},
): string {
  const all = [heading, ...rows].map((row) => row.map((cell) => oneLine(cell)));
  const widths = heading.map((_, column) =>
    Math.max(...all.map((row) => Bun.stringWidth(row[column] ?? ""))),
  );
  const last = heading.length - 1;
  if (options.columns !== undefined) {
    const used = widths.slice(0, last).reduce((sum, width) => sum + width + GAP.length, 0);
    widths[last] = Math.min(widths[last] ?? 0, Math.max(MIN_LAST_WIDTH, options.columns - used));
  }
  const lines = all.map((row) =>
    row
      .map((cell, column) => fit(cell, widths[column] ?? 0))
      .join(GAP)
      .trimEnd(),
  );
  return `${lines.join("\n")}\n`;
}

function fit(cell: string, width: number): string {
  const wide = Bun.stringWidth(cell);
  if (wide <= width) return cell + " ".repeat(width - wide);
  let cut = "";
  for (const { segment } of new Intl.Segmenter().segment(cell)) {
    if (Bun.stringWidth(cut + segment) > width - 1) break;
    cut += segment;
  }
  return `${cut}…`;
}
