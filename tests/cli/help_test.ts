/**
 * Help: every command has it, it fits, and what it names is what the commands read.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { printFailure } from "../../src/cli/command.ts";
import { COMMANDS, GLOBAL_FLAGS, NOUNS } from "../../src/cli/commands.ts";
import { helpFor, nouns, readFlag, unknownCommand, verbsOf } from "../../src/cli/help.ts";
import { COMMAND_NAMES, runProgram } from "../../src/cli/program.ts";
import type { ServeIo } from "../../src/cli/serve.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { makeIo } from "./fixtures.ts";
import type { TestIo } from "./fixtures.ts";

const MAX_COLUMNS = 80;
const NAMES = Object.keys(COMMANDS);

function serveIo(io: TestIo): ServeIo {
  return {
    ...io,
    stdin: () => new Blob([]).stream(),
    onSignal: () => {},
    exit: (code) => {
      throw new Error(`exit ${code}`);
    },
  };
}

async function run(args: readonly string[], parts: Parameters<typeof makeIo>[0] = {}) {
  const io = makeIo(parts);
  try {
    return { code: await runProgram(args, serveIo(io)), out: io.out(), err: io.err() };
  } catch (error) {
    return { code: printFailure(error, io), out: io.out(), err: io.err() };
  }
}

test("every command the program runs is in the table, with a heading, and the other way round", () => {
  verifies("CLI-HELP-ALL");
  expect(nouns().toSorted()).toEqual(COMMAND_NAMES.toSorted());
  for (const noun of nouns()) {
    const isCommand = Object.hasOwn(COMMANDS, noun);
    expect([noun, isCommand || verbsOf(noun).length > 0]).toEqual([noun, true]);
  }
  for (const name of NAMES) expect(nouns()).toContain(name.split(" ")[0] ?? "");
});

test("every verb a command knows is in the table", () => {
  verifies("CLI-HELP-ALL");
  // What is told of a verb there is not lists those of the table; the source lists those that run.
  for (const noun of ["servers", "groups", "tools", "upstream"]) {
    const source = readFileSync(join(import.meta.dir, `../../src/cli/${noun}.ts`), "utf8");
    const block =
      /(?:const VERBS[^{]*|const verbs = |verbs: )\{([\s\S]*?)\n? *\}[,;]/.exec(source)?.[1] ?? "";
    const verbs = block.split(/,\s/).map((line) => /"?([\w-]+)"?/.exec(line)?.[1] ?? "");
    const known = verbs.filter((verb) => verb !== "" && !["args", "io"].includes(verb));
    expect(known.length).toBeGreaterThan(3);
    for (const verb of known) expect([noun, ...verbsOf(noun)]).toContain(verb);
  }
});

test.each(NAMES)("mcpproxy %s --help exits 0 with usage, an example and all flags", async (name) => {
  verifies("CLI-HELP-ALL");
  const { code, out, err } = await run([...name.split(" "), "--help"]);
  expect([code, err]).toEqual([0, ""]);
  const row = COMMANDS[name];
  expect(out).toContain(`Usage: mcpproxy ${name}`);
  expect(out).toContain(`mcpproxy ${row?.examples[0] ?? "?"}`);
  for (const flag of row?.flags ?? []) expect(out).toContain(`--${readFlag(flag).name}`);
  for (const example of row?.examples ?? []) expect(example.startsWith(name)).toBe(true);
  expect(await run(["help", ...name.split(" ")])).toEqual({ code, out, err });
  // Flags of the command do not keep anybody from its help.
  expect((await run([...name.split(" "), "--nonsense", "-h"])).out).toBe(out);
});

test("no line of help is wider than 80 columns", () => {
  verifies("CLI-HELP-ALL");
  const lines = [[], ...nouns().map((noun) => [noun]), ...NAMES.map((name) => name.split(" "))];
  const texts = lines.map((words) => helpFor(words));
  // A narrower terminal gets narrower help.
  for (const line of helpFor(["servers"], 60).split("\n")) expect(line.length).toBeLessThanOrEqual(60);
  for (const line of texts.join("\n").split("\n")) {
    // An example is to be copied as it is.
    if (line.startsWith("  mcpproxy ")) continue;
    expect([line, Bun.stringWidth(line) <= MAX_COLUMNS]).toEqual([line, true]);
  }
});

test("help shows all commands under their headings, and those of a noun", async () => {
  verifies("CLI-HELP-ALL");
  for (const args of [[], ["--help"], ["help"], ["-h"]]) {
    const { code, out } = await run(args);
    expect(code).toBe(0);
    for (const noun of Object.keys(NOUNS)) expect(out).toMatch(new RegExp(`^  ${noun} +`, "m"));
    expect(out).toContain("Exit codes: 0 ok");
  }
  for (const noun of nouns()) {
    const { code, out, err } = await run([noun, "--help"]);
    expect([noun, code, err]).toEqual([noun, 0, ""]);
    for (const verb of verbsOf(noun)) expect(out).toMatch(new RegExp(`^  ${verb} +\\w`, "m"));
  }
});

test("what stands behind -- is not ours: --help there belongs to the server's command", async () => {
  using folder = tempDir();
  const parts = { cwd: folder.path, home: folder.path };
  const { code, err } = await run(["servers", "add", "x", "--", "server", "--help"], parts);
  expect(code).toBe(3);
  expect(err).toContain("Cannot reach");
});

test.each<[string[], RegExp]>([
  [["serv"], /Did you mean 'serve'/],
  [["server", "list"], /Did you mean 'servers'/],
  [["group", "list"], /Did you mean 'groups'/],
  [["servers", "lst"], /Did you mean 'servers list'/],
  [["tools", "prefligth", "x"], /Did you mean 'tools preflight'/],
  [["dance"], /See 'mcpproxy --help'/],
  [["servers", "dance"], /See 'mcpproxy servers --help'/],
  [["servers"], /Usage: mcpproxy servers list\|/],
  [["completion", "tcsh"], /completion/],
  [["servers", "--help", "dance"], /See 'mcpproxy servers --help'/],
  [["help", "dance"], /See 'mcpproxy --help'/],
  [["toString"], /no such command/],
  [["servers", "constructor"], /no such command/],
])("mcpproxy %j is a usage error that says what may have been meant", async (args, hint) => {
  verifies("CLI-EXIT-CODES");
  const { code, out, err } = await run(args);
  expect([code, out]).toEqual([2, ""]);
  expect(err).toMatch(hint);
});

test("every flag of the table is one its command takes", async () => {
  verifies("CLI-HELP-ALL");
  using folder = tempDir();
  const parts = { cwd: folder.path, home: folder.path, env: { HOME: folder.path } };
  for (const [name, row] of Object.entries(COMMANDS)) {
    if (name === "serve" || name === "mock") continue;
    // What needs no proxy would run.
    const stop = name === "scale" ? ["a-word-too-many"] : [];
    for (const { name: flag, value } of (row.flags ?? []).map(readFlag)) {
      const { err } = await run(
        [...name.split(" "), `--${flag}`, ...(value === undefined ? [] : ["1"]), ...stop],
        parts,
      );
      expect([name, flag, err]).not.toEqual([
        name,
        flag,
        expect.stringContaining("Unknown option") as string,
      ]);
    }
  }
  for (const line of GLOBAL_FLAGS) expect(readFlag(line).text).not.toBe("");
});

test("a line of the table that is no flag is refused", async () => {
  expect((await failureOf(() => readFlag("--x"))).message).toContain("no flag");
  expect((await failureOf(() => readFlag("x | y"))).message).toContain("no flag");
  expect(unknownCommand([]).code).toBe("USAGE");
});
