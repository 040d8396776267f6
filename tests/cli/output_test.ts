/**
 * What commands tell, for people and for programs.
 */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { cleanText, countText, dataText, formatRecord } from "../../src/cli/output.ts";
import { verifies } from "../requirements.ts";

// oxlint-disable-next-line no-control-regex -- what a terminal may obey
const STEERING = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

test("dataText() is one document that means the data, and holds nothing a terminal obeys", () => {
  verifies("CLI-JSON");
  const steered = {
    a: "\u001b[2J\u009b2J\u007f\u0085",
    "\u001bk": ["x: y", "", "on", "012", null, 1.5],
    o: {},
  };
  expect(JSON.parse(dataText(steered, "json"))).toEqual(steered);
  expect(dataText(steered, "json")).not.toMatch(STEERING);
  expect(dataText(steered, "yaml")).not.toMatch(STEERING);
  expect(dataText([], "yaml")).toBe("[]\n");
  expect(dataText(undefined, "json")).toBe("null\n");
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      for (const format of ["json", "yaml"] as const) expect(dataText(value, format)).not.toMatch(STEERING);
      expect(JSON.parse(dataText(value, "json"))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
    { numRuns: 300 },
  );
});

/** What YAML reads as more than text. */
const SIGNS = "abc:-#'\"{}[],&*!|>%@`~? \n019.yesnotrue".split("");

test("dataText() in YAML gives back the data of an answer, whatever its texts look like", () => {
  const texts = fc.string({ unit: fc.constantFrom(...SIGNS) });
  fc.assert(
    fc.property(fc.array(fc.record({ name: texts, n: fc.integer(), list: fc.array(texts) })), (data) => {
      expect(Bun.YAML.parse(dataText(data, "yaml"))).toEqual(data);
    }),
    { numRuns: 300 },
  );
});

test("formatRecord() aligns values and leaves out what has none; cleanText() keeps lines and tabs only", () => {
  expect(
    formatRecord([
      ["Name", "x\u001b[2J"],
      ["Tools", 0],
      ["Last error", ""],
      ["Groups", ["a", "b"]],
    ]),
  ).toBe("Name:   x [2J\nTools:  0\nGroups: a, b\n");
  expect(cleanText("a\tb\n\u001b[2Jc\r\n")).toBe("a\tb\n [2Jc \n");
  expect([countText(1, "server"), countText(0, "server")]).toEqual(["1 server", "0 servers"]);
});
