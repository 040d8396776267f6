/**
 * Text in lines of a width.
 *
 * Owns where lines break: at blanks, as a terminal counts columns. Invariants: no word is lost or cut, so that one longer
 * than the width makes a longer line. Cutting such a word was rejected: it is a path or an address one wants to copy.
 */

/** Breaks a text into lines of at most `width` columns; an empty text is no line. */
export function wrapText(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(" ").filter((part) => part !== "")) {
    const last = lines.at(-1);
    const isRoom = last !== undefined && Bun.stringWidth(last) + 1 + Bun.stringWidth(word) <= width;
    if (isRoom) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
