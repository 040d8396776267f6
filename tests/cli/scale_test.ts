/** Holds the command line of the production-scale suite: what it refuses, the three forms of its report, its exit codes. */
import { expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram, ROOT, SOURCE } from "../e2e/harness.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const TIMEOUT_MS = 120_000;

async function scale(folder: string, ...args: readonly string[]) {
  const env = { PATH: process.env["PATH"] ?? "", HOME: folder, TMPDIR: folder };
  return runProgram([...SOURCE, "scale", ...args], { env, cwd: ROOT });
}

test.each([
  [["--area", "nope"], "there are loading, states"],
  [["--profile", "sunny"], "there are healthy, production, storm"],
  [["--servers", "-1"], "--servers"],
  [["--soak", "soon"], "--soak"],
  [["--config", "/nonexistent/mcp.json"], "there is no such file"],
  [["word"], "word"],
] as const)("mcpproxy scale %p is refused with exit code 2", async (args, said) => {
  using folder = tempDir();
  const { code, stderr } = await scale(folder.path, ...args);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(said) as string });
});

test(
  "mcpproxy scale prints the report as JSON and nothing else, and writes Markdown",
  async () => {
    using folder = tempDir();
    const markdown = join(folder.path, "report.md");
    const args = ["--short", "--area", "loading", "--servers", "12", "--json", "--markdown", markdown];
    const { code, stdout, stderr } = await scale(folder.path, ...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const report = JSON.parse(stdout) as {
      readonly head: object;
      readonly rows: readonly { metric: string }[];
    };
    expect(report).toMatchObject({ isPassed: true, head: { servers: 12, profile: "healthy" } });
    const text = readFileSync(markdown, "utf8");
    expect(report.rows.length).toBeGreaterThan(5);
    for (const { metric } of report.rows) expect(text).toContain(metric);
  },
  TIMEOUT_MS,
);

/** A copy of the source that takes a name twice; its entry. */
function plantDuplicate(folder: string): string {
  const copy = join(folder, "copy");
  mkdirSync(copy);
  cpSync(join(ROOT, "src"), join(copy, "src"), { recursive: true });
  for (const name of ["node_modules", "drizzle", "package.json", "tsconfig.json"])
    symlinkSync(join(ROOT, name), join(copy, name));
  const path = join(copy, "src/state/config.ts");
  const parts = readFileSync(path, "utf8").split("    if (names.has(server.name)) {\n");
  expect(parts).toHaveLength(2);
  writeFileSync(path, parts.join('    if (names.has(server.name) && server.name === "") {\n'));
  return join(copy, "src/main.ts");
}

test(
  "mcpproxy scale ends with exit code 1 when the program is past a target, and the report says which",
  async () => {
    verifies("SCALE-FAULTS-FOUND");
    using folder = tempDir();
    const markdown = join(folder.path, "report.md");
    const args = [
      "--short",
      "--area",
      "loading",
      "--servers",
      "12",
      "--program",
      plantDuplicate(folder.path),
    ];
    const { code, stdout, stderr } = await scale(folder.path, ...args, "--json", "--markdown", markdown);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
    const { isPassed, rows } = JSON.parse(stdout) as {
      readonly isPassed: boolean;
      readonly rows: readonly { readonly metric: string; readonly verdict: string }[];
    };
    const over = rows.filter(({ verdict }) => verdict === "over").map(({ metric }) => metric);
    const isTwice = "a name that stands twice";
    expect({ isPassed, over }).toEqual({
      isPassed: false,
      over: [`${isTwice}: the first is in force`, `${isTwice}: reported`],
    });
    const text = readFileSync(markdown, "utf8");
    for (const metric of over)
      expect(text.split("\n").find((line) => line.includes(metric))).toContain("| FAILED |");
    expect(text).toMatch(/^FAILED: .* 2 past a target/m);
  },
  TIMEOUT_MS,
);
