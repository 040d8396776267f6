/**
 * The difference of two texts by lines, in unified form.
 *
 * Owns the search for the shortest difference and the hunks with their context. Invariants: the work is bounded;
 * past the bound everything counts as changed, which is right, only longer; nothing is masked here, as what is secret
 * only the caller knows. `diff` of the system was rejected: it is not on every machine.
 */

const CONTEXT_LINES = 3;
/** Edits up to which the shortest difference is searched. */
const EDITS_MAX = 2_000;

type Line = { readonly sign: " " | "-" | "+"; readonly text: string };

/** Gives the lines of a unified difference, without the names of files; none when the texts are equal. */
export function diffLines(before: string, after: string): string[] {
  return hunksOf(linesOf(before), linesOf(after));
}

function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** Unified hunks with their headers. */
function hunksOf(before: readonly string[], after: readonly string[]): string[] {
  const lines = linesBetween(before, after);
  const isNear = new Uint8Array(lines.length);
  lines.forEach((line, at) => {
    if (line.sign !== " ") isNear.fill(1, Math.max(0, at - CONTEXT_LINES), at + CONTEXT_LINES + 1);
  });
  const result: string[] = [];
  let [oldLine, newLine] = [1, 1];
  for (let at = 0; at < lines.length;) {
    if (isNear[at] === 0) {
      [oldLine, newLine, at] = [oldLine + 1, newLine + 1, at + 1];
      continue;
    }
    let end = at;
    while (end < lines.length && isNear[end] === 1) end += 1;
    const hunk = lines.slice(at, end);
    const olds = hunk.filter(({ sign }) => sign !== "+").length;
    const news = hunk.filter(({ sign }) => sign !== "-").length;
    result.push(
      `@@ -${oldLine},${olds} +${newLine},${news} @@`,
      ...hunk.map(({ sign, text }) => sign + text),
    );
    [oldLine, newLine, at] = [oldLine + olds, newLine + news, end];
  }
  return result;
}

/** All lines with what happened to them: Myers' greedy search (1986) between the equal head and tail. */
function linesBetween(before: readonly string[], after: readonly string[]): Line[] {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  const same = (text: string): Line => ({ sign: " ", text });
  return [
    ...before.slice(0, head).map(same),
    ...editsOf(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...before.slice(before.length - tail).map(same),
  ];
}

function editsOf(before: readonly string[], after: readonly string[]): Line[] {
  const trace: Int32Array[] = [];
  const [n, m] = [before.length, after.length];
  const limit = Math.min(n + m, EDITS_MAX);
  const reach = new Int32Array(2 * limit + 3);
  const at = (row: Int32Array, k: number, origin: number): number => row[k + origin] ?? 0;
  for (let edits = 0; edits <= limit; edits += 1) {
    // Only the middle of the row is in use so far.
    trace.push(reach.slice(limit + 1 - edits - 1, limit + 1 + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      const isDown =
        k === -edits || (k !== edits && at(reach, k - 1, limit + 1) < at(reach, k + 1, limit + 1));
      let x = isDown ? at(reach, k + 1, limit + 1) : at(reach, k - 1, limit + 1) + 1;
      while (x < n && x - k < m && before[x] === after[x - k]) x += 1;
      reach[k + limit + 1] = x;
      if (x >= n && x - k >= m) return walkBack(before, after, trace);
    }
  }
  const removed = before.map((text): Line => ({ sign: "-", text }));
  return [...removed, ...after.map((text): Line => ({ sign: "+", text }))];
}

function walkBack(before: readonly string[], after: readonly string[], trace: readonly Int32Array[]): Line[] {
  const lines: Line[] = [];
  let [x, y] = [before.length, after.length];
  for (let edits = trace.length - 1; edits >= 0; edits -= 1) {
    const row = trace[edits] ?? new Int32Array();
    const at = (diagonal: number): number => row[diagonal + edits + 1] ?? 0;
    const k = x - y;
    const isDown = k === -edits || (k !== edits && at(k - 1) < at(k + 1));
    const fromX = edits === 0 ? 0 : at(isDown ? k + 1 : k - 1);
    const fromY = edits === 0 ? 0 : fromX - (isDown ? k + 1 : k - 1);
    while (x > fromX && y > fromY) lines.push({ sign: " ", text: before[((y -= 1), (x -= 1))] ?? "" });
    if (edits === 0) break;
    if (isDown) lines.push({ sign: "+", text: after[(y -= 1)] ?? "" });
    else lines.push({ sign: "-", text: before[(x -= 1)] ?? "" });
  }
  return lines.toReversed();
}
