/**
 * Curves over time as an SVG picture.
 *
 * Owns scales, axes and the text of the file. Invariants: the picture needs nothing from elsewhere and shows the numbers
 * of its axes; points that are no numbers leave a gap. A plotting library was rejected: four lines need none.
 */

/** One curve and its axis. */
export interface Curve {
  readonly name: string;
  readonly unit: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

const WIDTH = 900;
const PANEL = { height: 130, gap: 36, left: 70, right: 20, top: 40 } as const;
const COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e"] as const;

/** Draws each curve in a panel of its own, one below the other, over one axis of `xName`. */
export function toSvg(title: string, curves: readonly Curve[], xName = "minutes"): string {
  const height = PANEL.top + curves.length * (PANEL.height + PANEL.gap) + 10;
  const xs = curves.flatMap(({ points }) => points.map(({ x }) => x));
  const [from, to] = [Math.min(...xs), Math.max(...xs)];
  const panels = curves.map((curve, at) => panelOf(curve, { at, from, to }));
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${height}" fill="white"/>`,
    `<text x="${PANEL.left}" y="22" font-size="15">${escaped(title)}</text>`,
    ...panels,
    `<text x="${WIDTH - PANEL.right}" y="${height - 6}" text-anchor="end">${escaped(xName)}</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function panelOf(
  { name, unit, points }: Curve,
  place: { readonly at: number; readonly from: number; readonly to: number },
): string {
  const { at, from, to } = place;
  const top = PANEL.top + at * (PANEL.height + PANEL.gap);
  const seen = points.filter(({ y }) => Number.isFinite(y));
  const most = Math.max(1e-9, ...seen.map(({ y }) => y));
  const x = (value: number): number =>
    PANEL.left + ((value - from) / Math.max(1e-9, to - from)) * (WIDTH - PANEL.left - PANEL.right);
  const y = (value: number): number => top + PANEL.height - (value / most) * PANEL.height;
  const line = seen.map((point) => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`).join(" ");
  const colour = COLOURS[at % COLOURS.length];
  const [left, right, bottom] = [PANEL.left, WIDTH - PANEL.right, top + PANEL.height];
  return [
    `<path d="M${left} ${top}V${bottom}H${right}" fill="none" stroke="#888"/>`,
    `<text x="${left - 6}" y="${top + 10}" text-anchor="end">${most.toFixed(most < 10 ? 1 : 0)}</text>`,
    `<text x="${left - 6}" y="${bottom}" text-anchor="end">0</text>`,
    `<text x="${left - 6}" y="${bottom + 16}">${from.toFixed(1)}</text>`,
    `<text x="${right}" y="${bottom + 16}" text-anchor="end">${to.toFixed(1)}</text>`,
    `<text x="${left + 8}" y="${top + 12}" fill="${colour}">${escaped(`${name}, ${unit}`)}</text>`,
    `<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="1.3"/>`,
  ].join("\n");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
