/**
 * Lines of comma-separated values: quoted where needed, and never a formula.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { csvLine } from "../../src/lib/csv.ts";

test.each([
  ["plain text", ["a", "b c"], "a,b c\r\n"],
  ["numbers and switches", [1.5, -3, true], "1.5,-3,true\r\n"],
  ["nothing", [undefined, null, ""], ",,\r\n"],
  ["commas, quotes and line ends", ['a,"b"', "c\nd", "e\r"], '"a,""b""","c\nd","e\r"\r\n'],
  ["data", [{ a: 1 }], '"{""a"":1}"\r\n'],
  ["a formula", ["=1+1"], '"\'=1+1"\r\n'],
  ["a call of a program", ["@SUM(1)|cmd", "+1", "-1"], '"\'@SUM(1)|cmd","\'+1","\'-1"\r\n'],
  ["a formula behind blanks", [" \t=1", "\u0000=1"], '"\' \t=1","\'\u0000=1"\r\n'],
  ["a formula in wide signs", ["\uff1d1"], '"\'\uff1d1"\r\n'],
  ["a tab in front", ["\tx"], '"\'\tx"\r\n'],
])("csvLine() writes %s", (_name, cells, line) => {
  expect(csvLine(cells)).toBe(line);
});

test("csvLine() makes no cell of a text that begins with a formula's sign", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("=", "+", "-", "@", " ", "\t", "\r", '"', ",", "a") }),
      (text) => {
        const [first = ""] = csvLine([text]).replace(/^"/, "").trimStart();
        expect("=+-@").not.toContain(first === "" ? "x" : first);
      },
    ),
    { numRuns: 1_000 },
  );
});
