/** Holds the form of a log line, and that foreign text cannot steer a terminal through it. */
import { afterEach, expect, setSystemTime, spyOn, test } from "bun:test";
import fc from "fast-check";
import { createLog, oneLine, SILENT_LOG } from "../../src/lib/log.ts";
import type { LogFields } from "../../src/lib/log.ts";

const NOON = new Date("2026-08-01T12:00:00.000Z");

afterEach(() => {
  setSystemTime();
});

/** What one `info` line looks like behind its time. */
function lineOf(message: string, fields?: LogFields): string {
  const lines: string[] = [];
  createLog({ write: (line) => lines.push(line) }).info(message, fields);
  expect(lines).toHaveLength(1);
  return lines[0]?.slice("2026-08-01T12:00:00.000Z ".length) ?? "";
}

test("createLog() writes time, level, message and fields as one line", () => {
  setSystemTime(NOON);
  const lines: string[] = [];
  createLog({ write: (line) => lines.push(line) }).warn("Cannot connect", { server: "github", attempt: 2 });
  expect(lines).toEqual(["2026-08-01T12:00:00.000Z WARN  Cannot connect server=github attempt=2\n"]);
});

test.each([
  ["debug", ["debug", "info", "warn", "error"]],
  ["info", ["info", "warn", "error"]],
  ["warn", ["warn", "error"]],
  ["error", ["error"]],
] as const)("createLog() at level %s writes %j", (level, expected) => {
  const written: string[] = [];
  const log = createLog({ level, write: (line) => written.push(line.trim().split(" ").at(-1) ?? "") });
  for (const at of ["debug", "info", "warn", "error"] as const) log[at](at);
  expect(written).toEqual([...expected]);
});

test.each([
  [{ a: undefined }, ""],
  [{ a: null }, " a=null"],
  [{ a: "two words" }, ' a="two words"'],
  [{ a: "x=y" }, ' a="x=y"'],
  [{ a: 'say "hi"' }, String.raw` a="say \"hi\""`],
  [{ a: { b: 1 } }, String.raw` a="{\"b\":1}"`],
  [{ a: [1, 2] }, " a=[1,2]"],
  [{ a: "line\nbreak" }, ' a="line break"'],
  [{ a: () => 1 }, ' a="() => 1"'],
] as readonly (readonly [LogFields, string])[])(
  "createLog() prints the fields %j as '%s'",
  (fields, expected) => {
    expect(lineOf("m", fields)).toBe(`INFO  m${expected}\n`);
  },
);

test("createLog() keeps every message and string field on one line without control characters", () => {
  const text = fc.string({ unit: "binary" });
  fc.assert(
    fc.property(text, text, (message, value) => {
      const line = lineOf(message, { value });
      // oxlint-disable-next-line no-control-regex -- control characters are what must be absent
      expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/);
      expect(line.endsWith("\n")).toBe(true);
    }),
  );
});

test("oneLine() takes the sting out of a terminal escape", () => {
  expect(oneLine("a\u001b[2Jb\r\nc\u009bd")).toBe("a [2Jb c d");
});

test("createLog() writes to stderr by default and survives a closed one", () => {
  const write = spyOn(process.stderr, "write").mockImplementation(() => {
    throw new Error("EPIPE");
  });
  try {
    createLog().error("last words");
    expect(write).toHaveBeenCalledTimes(1);
    expect(String(write.mock.calls[0]?.[0])).toEndWith(" ERROR last words\n");
  } finally {
    write.mockRestore();
  }
});

test("SILENT_LOG writes nothing", () => {
  const write = spyOn(process.stderr, "write").mockImplementation(() => true);
  try {
    SILENT_LOG.error("unheard");
    expect(write).not.toHaveBeenCalled();
  } finally {
    write.mockRestore();
  }
});
