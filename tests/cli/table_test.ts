/**
 * Tables: aligned whatever the width of the signs, cut to the terminal, and harmless.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatTable } from "../../src/cli/table.ts";

test("formatTable() aligns columns by what a terminal shows, wide and combining signs included", () => {
  const table = formatTable(
    ["NAME", "N"],
    [
      ["日本語", "1"],
      ["e\u0301te\u0301", "2"],
      ["\u{1f468}\u200d\u{1f469}\u200d\u{1f467}", "3"],
      ["plain", "4"],
    ],
  );
  const lines = table.trimEnd().split("\n");
  const starts = lines.map((line) => Bun.stringWidth(line.slice(0, -1)));
  expect(new Set(starts)).toEqual(new Set([8]));
  expect(table.endsWith("\n")).toBe(true);
});

test.each<[number, string]>([
  [80, "a  12345678901234567890"],
  [20, "a  1234567890123456…"],
  [16, "a  123456789012…"],
  [5, "a  12345678901…"],
])("formatTable() cuts the last column to a terminal of %d columns, to 12 at the least", (columns, line) => {
  expect(formatTable(["X", "Y"], [["a", "12345678901234567890"]], { columns }).split("\n")[1]).toBe(line);
});

test("formatTable() cuts between signs, never within one", () => {
  const line = formatTable(["X", "Y"], [["a", "日本語日本語日本語"]], { columns: 15 }).split("\n")[1] ?? "";
  expect(line).toBe("a  日本語日本…");
  expect(Bun.stringWidth(line)).toBeLessThanOrEqual(15);
});

test("formatTable() prints one line a row, without control characters, whatever the cells hold", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }))),
      fc.integer({ min: 20, max: 200 }),
      (rows, columns) => {
        const table = formatTable(["A", "B"], rows, { columns });
        expect(table.split("\n")).toHaveLength(rows.length + 2);
        // oxlint-disable-next-line no-control-regex -- that there is none is the promise
        expect(table.replaceAll("\n", "")).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      },
    ),
  );
  expect(formatTable(["A"], [["\u001b[31mred\u001b[0m\r\n\tx"]])).toBe("A\n [31mred [0m x\n");
});

test("formatTable() takes rows that are too short, and none at all", () => {
  expect(formatTable(["A", "B"], [["x"]])).toBe("A  B\nx\n");
  expect(formatTable(["A", "B"], [])).toBe("A  B\n");
});
