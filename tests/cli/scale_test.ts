/** Holds the command line of the production-scale suite: what it refuses, and the three forms of its report. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram, ROOT, SOURCE } from "../e2e/harness.ts";
import { tempDir } from "../fixtures/wait.ts";

const TIMEOUT_MS = 60_000;

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
