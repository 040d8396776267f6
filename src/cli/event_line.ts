/**
 * An event as one line for people.
 *
 * Owns the words. Invariants: one line, without control characters, whatever the event holds; an event of a type that is
 * not known here is shown by its data. A sentence for each type was rejected: a column of types is what one reads down.
 */
import { oneLine } from "../lib/log.ts";
import type { SeenEvent } from "./follow.ts";
import { textOf } from "./output.ts";
import type { Style } from "./style.ts";

const TYPE_WIDTH = 20;
const NAME_WIDTH = 24;

/** Options of {@link eventLine}. */
export interface EventLineOptions {
  readonly style: Style;
  /** Whether the type has a column. @default true */
  readonly hasType?: boolean;
}

/** Writes an event as a line, newline excluded. */
export function eventLine(event: SeenEvent, { style, hasType = true }: EventLineOptions): string {
  const { time, type, server, group, revision } = event;
  const subject = server ?? (group === undefined ? "" : `group ${group}`);
  const of = revision === undefined ? "" : ` (revision ${revision})`;
  const text = oneLine(`${wordsOf(event)}${of}`).trim();
  const paint = isBad(event)
    ? style.red
    : type === "server_recovered"
      ? style.green
      : (plain: string) => plain;
  return [
    style.dim(clockOf(time)),
    ...(hasType ? [style.cyan(oneLine(type).padEnd(TYPE_WIDTH))] : []),
    style.bold(oneLine(subject).padEnd(NAME_WIDTH)),
    paint(text),
  ]
    .join("  ")
    .trimEnd();
}

/** The local time of day. */
export function clockOf(time: number): string {
  const date = new Date(Number.isFinite(time) ? time : 0);
  return [date.getHours(), date.getMinutes(), date.getSeconds()]
    .map((part) => String(part).padStart(2, "0"))
    .join(":");
}

function isBad({ type, data }: SeenEvent): boolean {
  if (type === "tool_called") return data["isError"] === true || data["code"] !== undefined;
  if (type === "log") return data["level"] === "error";
  const after = data["after"] as { readonly connection?: unknown } | undefined;
  return (
    (type === "server_state_changed" && after?.connection === "error") ||
    type === "server_auto_disabled" ||
    type === "config_invalid"
  );
}

function wordsOf({ type, data }: SeenEvent): string {
  switch (type) {
    case "server_state_changed":
      return moveText(data);
    case "server_auto_disabled":
      return `after ${textOf(data["failures"])} failures: ${textOf(data["reason"])}`;
    case "proxy_state_changed":
      return `${textOf(data["before"])} → ${textOf(data["after"])}  ${textOf(data["reason"])}`;
    case "server_renamed":
      return `was '${textOf(data["from"])}'`;
    case "tools_changed":
      return (["added", "removed", "changed"] as const)
        .map((key) => [key, lengthOf(data[key])] as const)
        .filter(([, count]) => count > 0)
        .map(([key, count]) => `${count} ${key}`)
        .join(", ");
    case "tool_called": {
      const took = typeof data["durationMs"] === "number" ? `${data["durationMs"].toFixed(1)} ms` : "";
      const end = data["code"] ?? (data["isError"] === true ? "error" : "ok");
      return `${textOf(data["tool"])}  ${textOf(end)}  ${took}`;
    }
    case "log":
      return `${textOf(data["level"])}: ${textOf(data["message"])} ${dataText(data["fields"])}`;
    default:
      return dataText(data);
  }
}

interface Standing {
  readonly mode?: string;
  readonly connection?: string;
}

/** The part that moved; both when both did. */
function moveText(data: Readonly<Record<string, unknown>>): string {
  const before = (data["before"] ?? {}) as Standing;
  const after = (data["after"] ?? {}) as Standing;
  const moves = [
    ...(before.mode === after.mode ? [] : [`${before.mode} → ${after.mode}`]),
    ...(before.connection === after.connection ? [] : [`${before.connection} → ${after.connection}`]),
  ];
  const attempt = Number(data["attempt"]) > 1 ? ` (attempt ${textOf(data["attempt"])})` : "";
  return `${moves.join(", ")}${attempt}  ${textOf(data["reason"])}`;
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? value.length : 0;
}

function dataText(data: unknown): string {
  if (typeof data !== "object" || data === null) return "";
  return Object.entries(data)
    .filter(([, value]) => value !== "" && !(Array.isArray(value) && value.length === 0))
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : (JSON.stringify(value) ?? "")}`)
    .join(" ");
}
