/**
 * What commands tell, for people and for programs.
 *
 * Owns JSON and YAML as text, and the record of one thing for people. Invariants: no control character of foreign text
 * reaches a terminal, in any format; data is the API's own, so that what one script learned from it holds for the next.
 * A format of each command's own was rejected: scripts ask for `-o json` without knowing the command.
 */
import { oneLine } from "../lib/log.ts";

/** How what a command tells is printed. */
export type OutputFormat = "table" | "json" | "yaml";

/** Data as a whole document, newline included. */
export function dataText(data: unknown, format: Exclude<OutputFormat, "table">): string {
  const json = JSON.stringify(data, null, 2) ?? "null";
  if (format === "json") return `${escapeControls(json)}\n`;
  // YAML has no way to write these outside of quotes, and Bun does not quote them.
  const plain: unknown = JSON.parse(json, (_, value: unknown) =>
    typeof value === "string" ? value.replaceAll(CONTROLS, "\ufffd") : value,
  );
  return `${Bun.YAML.stringify(plain, null, 2).trimEnd()}\n`;
}

/** Data as one line of JSON, newline included. */
export function dataLine(data: unknown): string {
  return `${escapeControls(JSON.stringify(data) ?? "null")}\n`;
}

/** What JSON and YAML leave as it is, and terminals obey: DEL and C1. */
const CONTROLS = /[\u007f-\u009f]/g;

function escapeControls(json: string): string {
  return json.replaceAll(CONTROLS, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Prints data for programs; a caller that was asked for a table prints its own. */
export function printData(
  data: unknown,
  flags: { readonly format: OutputFormat },
  io: { readonly stdout: (text: string) => void },
): void {
  io.stdout(dataText(data, flags.format === "yaml" ? "yaml" : "json"));
}

/** Foreign text of several lines, as it may stand on a terminal. */
export function cleanText(text: string): string {
  return text
    .split("\n")
    .map((line) => line.split("\t").map(oneLine).join("\t"))
    .join("\n");
}

/** Foreign text as it comes in, ends of lines and tabs kept, for where lines are not ours to count. */
export function withoutControls(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what this removes
  return text.replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, " ");
}

/** One thing as lines of `Label: value`, values in one column; what has no value has no line. */
export function formatRecord(rows: readonly (readonly [label: string, value: unknown])[]): string {
  const shown = rows.filter(([, value]) => textOf(value) !== "");
  const width = Math.max(0, ...shown.map(([label]) => label.length)) + 2;
  return shown.map(([label, value]) => `${`${label}:`.padEnd(width)}${oneLine(textOf(value))}\n`).join("");
}

/** A value in a cell. */
export function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.map(textOf).join(", ");
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : `${value as string | number}`;
}

/** `1 server`, `2 servers`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
