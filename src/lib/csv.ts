/**
 * Lines of comma-separated values (RFC 4180) that a spreadsheet can open without harm.
 *
 * Owns quoting, and the sign before what a spreadsheet would compute. Invariant: no cell begins with what makes it a
 * formula, whatever it holds. Leaving that to the reader was rejected: who opens the file is not who exported it.
 */

/** Where a formula begins, blanks before it included; the wide forms count in some programs. */
const FORMULA = /^[\s\p{Cc}]*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r]/u;

/** Writes one line, its end included; what is undefined is an empty cell. */
export function csvLine(cells: readonly unknown[]): string {
  return `${cells.map(cellOf).join(",")}\r\n`;
}

function cellOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) || safe !== text ? `"${safe.replaceAll('"', '""')}"` : safe;
}
