/**
 * A report as text: numbers with their units, and Markdown.
 *
 * Owns how a row is written. Invariant: table, JSON and Markdown hold the same rows.
 */
import type { ScaleReport } from "./scale.ts";
import type { Row, Verdict } from "./sheet.ts";

const WORDS: Readonly<Record<Verdict, string>> = { within: "ok", slow: "slow", over: "FAILED", fact: "" };
const HEADING = ["AREA", "METRIC", "TARGET", "MUST", "MEASURED", "VERDICT", "NOTE"] as const;

/** The columns of a report. */
export function headingOf(): readonly string[] {
  return HEADING;
}

/** A row's cells, in the order of the heading. */
export function cellsOf(row: Row): readonly string[] {
  const { area, metric, unit, measured, target, must, verdict, note = "" } = row;
  return [area, metric, shown(target, unit), shown(must, unit), shown(measured, unit), WORDS[verdict], note];
}

/** The columns for a terminal: the stricter bar alone, and the area where it begins. */
export const NARROW_HEADING: readonly string[] = ["AREA", "METRIC", "MEASURED", "WANTED", "", "NOTE"];

/** Rows for a terminal. */
export function narrowRowsOf(rows: readonly Row[]): readonly (readonly string[])[] {
  return rows.map((row, at) => {
    const { area, metric, unit, measured, target, must, verdict, note = "" } = row;
    const isFirst = rows[at - 1]?.area !== area;
    const wanted = shown(must ?? target, unit);
    return [isFirst ? area : "", metric, shown(measured, unit), wanted, WORDS[verdict], note];
  });
}

/** The head in a line. */
export function headOf({ head }: ScaleReport): string {
  const { file } = head;
  const size = file === undefined ? "" : ` (${file.kb} KB, read at ${file.serversPerSecond} servers/s)`;
  return `${head.servers} servers${size}, profile ${head.profile}, ${head.machine}, ${head.seconds} s`;
}

/** The verdict on the whole in a line. */
export function sumOf({ rows, isPassed }: ScaleReport): string {
  const of = (verdict: Verdict): number => rows.filter((row) => row.verdict === verdict).length;
  return `${isPassed ? "passed" : "FAILED"}: ${of("within")} within their bars, ${of("slow")} slower than they should be, ${of("over")} past a target, ${of("fact")} facts`;
}

/** The whole as Markdown. */
export function toMarkdown(report: ScaleReport): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll(/\s+/g, " ")).join(" | ")} |`;
  return [
    `# mcpproxy scale: ${headOf(report)}`,
    "",
    `Program: \`${report.head.program}\`, started ${report.head.startedAt}.`,
    "",
    line(HEADING),
    line(HEADING.map(() => "---")),
    ...report.rows.map((row) => line(cellsOf(row))),
    "",
    `${sumOf(report)}.`,
    "",
  ].join("\n");
}

function shown(value: number | undefined, unit: string): string {
  if (value === undefined) return "";
  if (!Number.isFinite(value)) return "none";
  const digits = Math.abs(value) >= 100 || Number.isInteger(value) ? 0 : Math.abs(value) >= 1 ? 1 : 3;
  return `${value.toFixed(digits)}${unit === "" ? "" : ` ${unit}`}`;
}
