/**
 * Reading a command line, and how a failure is told.
 */
import { expect, test } from "bun:test";
import { printFailure, readCommand } from "../../src/cli/command.ts";
import type { OutputFormat } from "../../src/cli/output.ts";
import { defaultFlags, formatOf } from "../../src/cli/verb.ts";
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
const FLAGS = {
  config: undefined,
  dataDir: undefined,
  logLevel: undefined,
  url: undefined,
  format: "table",
  isJson: false,
};
const JSON_FLAGS = { ...FLAGS, format: "json", isJson: true };

test.each<[string[], object, string[]]>([
  [[], FLAGS, []],
  [["-c", "a.json", "-d", "dir"], { ...FLAGS, config: "a.json", dataDir: "dir" }, []],
  [
    ["--config=a.json", "--data-dir=dir", "--log-level=debug"],
    { ...FLAGS, config: "a.json", dataDir: "dir", logLevel: "debug" },
    [],
  ],
  [["one", "--json", "two"], JSON_FLAGS, ["one", "two"]],
  [["-o", "json"], JSON_FLAGS, []],
  [["-o", "yaml"], { ...JSON_FLAGS, format: "yaml" }, []],
  [["-o", "table", "x"], FLAGS, ["x"]],
  [["-o", "pretty"], FLAGS, []],
  [["-l", "debug", "--url", "http://h:1"], { ...FLAGS, logLevel: "debug", url: "http://h:1" }, []],
  [[...defaultFlags({ MCPPROXY_OUTPUT: "yaml" })], { ...JSON_FLAGS, format: "yaml" }, []],
  [[...defaultFlags({ MCPPROXY_OUTPUT: "yaml" }), "-o", "table"], FLAGS, []],
  [[...defaultFlags({ MCPPROXY_OUTPUT: "yaml" }), "--json"], JSON_FLAGS, []],
  [["--", "--json"], FLAGS, ["--json"]],
])("readCommand(%j) reads flags and words in any order", (args, flags, positionals) => {
  const read = readCommand(args, COMMAND);
  expect(read.flags).toEqual(flags as typeof read.flags);
  expect(read.positionals).toEqual(positionals);
});

test("readCommand() leaves letters and words a command takes for itself to it, and collects what is repeated", () => {
  const options = {
    listen: { type: "string", short: "l" },
    output: { type: "string", short: "o" },
    header: { type: "string", multiple: true },
  } as const;
  const read = readCommand(["-l", "x", "-o", "file.csv", "--header", "a: 1", "--header=b: 2"], {
    usage: "",
    options,
    maxPositionals: 0,
  });
  expect(read.values).toMatchObject({ listen: "x", output: "file.csv" });
  expect(read.flags).toMatchObject({ logLevel: undefined, format: "table" });
  expect(read.lists["header"]).toEqual(["a: 1", "b: 2"]);
  expect(read.lists["absent"]).toBeUndefined();
});

test.each<[string[], Record<string, string>, OutputFormat]>([
  [["upstream", "list"], {}, "table"],
  [["upstream", "list", "--json"], {}, "json"],
  [["-o", "yaml", "upstream", "--nope"], {}, "yaml"],
  [["upstream", "--output=json"], {}, "json"],
  [["upstream", "-oyaml"], {}, "yaml"],
  [["upstream"], { MCPPROXY_OUTPUT: "json" }, "json"],
  [["upstream", "-o", "table"], { MCPPROXY_OUTPUT: "json" }, "table"],
  [["upstream", "add", "x", "--", "cmd", "--json", "-o", "json"], {}, "table"],
  [["-o", "nonsense"], {}, "table"],
])("formatOf(%j, %j) is %s, for errors of a line that cannot be read", (argv, env, format) => {
  expect(formatOf(argv, env)).toBe(format);
});

test.each<[string[], RegExp]>([
  [["--nonsense"], /--nonsense/],
  [["-x"], /-x/],
  [["--config"], /config/],
  [["--json=1"], /json/],
  [["-o", "toml"], /'toml'.*'yaml'/],
  [[...defaultFlags({ MCPPROXY_OUTPUT: "toml" })], /'toml'/],
  [["a", "b", "c"], /'c'/],
  [["--server"], /server/],
  [["--log-level", "loud"], /'loud'.*'debug'/],
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

test("printFailure() shows the request id of an internal error to people, and every one to programs", () => {
  const at = (code: ErrorCode) =>
    new ProxyError(code, "Cannot do it", { data: { request_id: "r-1", faults: ["f"] } });
  const internal = makeIo();
  printFailure(at("INTERNAL"), internal);
  expect(internal.err()).toBe("Cannot do it\nRequest id: r-1\n");
  const other = makeIo();
  printFailure(at("SERVER_UNKNOWN"), other);
  expect(other.err()).toBe("Cannot do it\n");
  for (const format of ["json", "yaml"] as const) {
    const io = makeIo();
    printFailure(at("SERVER_UNKNOWN"), io, format);
    const parse = format === "json" ? JSON.parse : Bun.YAML.parse;
    expect(parse(io.out())).toEqual({
      success: false,
      error: "Cannot do it",
      code: "SERVER_UNKNOWN",
      request_id: "r-1",
      details: { faults: ["f"] },
    });
  }
});

test("printFailure() tells the cause of what is not ours, for there is no log to look into", () => {
  const io = makeIo();
  expect(printFailure(new TypeError("boom"), io)).toBe(1);
  expect(io.err()).toContain("boom");
  expect(printFailure("text", makeIo())).toBe(1);
});
