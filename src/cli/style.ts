/**
 * Colours of a terminal.
 *
 * Owns when text is coloured, and in which few ways. Invariants: what is no terminal gets no escape sequence, and neither
 * does a person who set NO_COLOR (no-color.org); foreign text is cleaned before it is coloured, never after. Colours by
 * the name of their meaning were rejected: five places use them.
 */
import type { CommandIo } from "./command.ts";

/** Colours a text, or leaves it as it is. */
export type Paint = (text: string) => string;

/** The ways text is shown in. */
export interface Style {
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly cyan: Paint;
}

const RESET = "\u001b[0m";

/** The style for what a command prints on stdout. */
export function styleOf({ columns, env }: Pick<CommandIo, "columns" | "env">): Style {
  const isPlain = columns === undefined || (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb";
  const paint =
    (code: number): Paint =>
    (text) =>
      isPlain || text === "" ? text : `\u001b[${code}m${text}${RESET}`;
  return {
    bold: paint(1),
    dim: paint(2),
    red: paint(31),
    green: paint(32),
    yellow: paint(33),
    cyan: paint(36),
  };
}

/** The colour of a server's category. */
export function categoryPaint(category: string, style: Style): Paint {
  switch (category) {
    case "connected":
      return style.green;
    case "disconnected":
    case "auto_disabled":
      return style.red;
    case "quarantined":
      return style.yellow;
    default:
      return style.dim;
  }
}
