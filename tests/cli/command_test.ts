/**
 * Reading a command line, and how a failure is told.
 */
import { expect, test } from "bun:test";
import { printFailure, readCommand } from "../../src/cli/command.ts";
import { ERRORS, ProxyError } from "../../src/core/errors.ts";
import type { ErrorCode } from "../../src/core/errors.ts";
import { failureOf } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { makeIo } from "./fixtures.ts";

const COMMAND = {
  usage: "mcpproxy x",
  options: { server: { type: "string", short: "s" }, all: { type: "boolean" } },
  maxPositionals: 2,
} as const;
const FLAGS = { config: undefined, dataDir: undefined, logLevel: undefined, isJson: false };

test.each<[string[], object, string[]]>([
  [[], FLAGS, []],
  [["-c", "a.json", "-d", "dir"], { ...FLAGS, config: "a.json", dataDir: "dir" }, []],
  [
    ["--config=a.json", "--data-dir=dir", "--log-level=debug"],
    { config: "a.json", dataDir: "dir", logLevel: "debug", isJson: false },
    [],
  ],
  [["one", "--json", "two"], { ...FLAGS, isJson: true }, ["one", "two"]],
  [["-o", "json"], { ...FLAGS, isJson: true }, []],
  [["-o", "table", "x"], FLAGS, ["x"]],
  [["--", "--json"], FLAGS, ["--json"]],
])("readCommand(%j) reads flags and words in any order", (args, flags, positionals) => {
  const read = readCommand(args, COMMAND);
  expect(read.flags).toEqual(flags as typeof read.flags);
  expect(read.positionals).toEqual(positionals);
});

test.each<[string[], RegExp]>([
  [["--nonsense"], /--nonsense/],
  [["-x"], /-x/],
  [["--config"], /config/],
  [["--json=1"], /json/],
  [["-o", "yaml"], /yaml/],
  [["a", "b", "c"], /'c'/],
  [["--server"], /server/],
])("readCommand(%j) refuses with the usage", async (args, message) => {
  verifies("CLI-EXIT-CODES");
  const failure = await failureOf(() => readCommand(args, COMMAND));
  expect(failure["code"]).toBe("USAGE");
  expect(failure.message).toMatch(message);
  expect(failure["hint"]).toBe("Usage: mcpproxy x");
});

test("printFailure() gives each code its exit code, on stderr or as JSON on stdout", () => {
  verifies("CLI-EXIT-CODES", "CLI-JSON");
  for (const code of Object.keys(ERRORS) as ErrorCode[]) {
    const error = new ProxyError(code, "Cannot do it\u001b[31m", {
      hint: "Do this",
      cause: new Error("raw"),
    });
    const plain = makeIo();
    expect(printFailure(error, plain)).toBe(ERRORS[code].exit);
    expect([plain.out(), plain.err()]).toEqual([
      "",
      expect.stringMatching(/^Cannot do it \[31m.*\nDo this\n$/) as string,
    ]);
    const json = makeIo();
    expect(printFailure(error, json, true)).toBe(ERRORS[code].exit);
    expect(JSON.parse(json.out())).toEqual({
      success: false,
      error: "Cannot do it\u001b[31m",
      code,
      hint: "Do this",
    });
    expect(json.err()).toBe("");
  }
});

test("printFailure() tells the cause of what is not ours, for there is no log to look into", () => {
  const io = makeIo();
  expect(printFailure(new TypeError("boom"), io)).toBe(1);
  expect(io.err()).toContain("boom");
  expect(printFailure("text", makeIo())).toBe(1);
});
