/**
 * Holds that a soak fails when calls to well servers do.
 *
 * Owns one fault, planted in a copy of the source: every 50th call is answered with an error. `MCPPROXY_TEST_SHORT=1`
 * leaves it out.
 */
import { expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runSoakReport } from "../../src/scale/scale.ts";
import { ROOT, SOURCE } from "../e2e/harness.ts";
import { tempDir } from "../fixtures/wait.ts";

const SOAK_MS = 12_000;
const TIMEOUT_MS = 120_000;
const CALLER = "src/gateway/caller.ts";
const WAS = "      const result = await call;\n";
const IS = `      const planted = globalThis as { calls?: number };
      planted.calls = (planted.calls ?? 0) + 1;
      const said = { content: [{ type: "text", text: "planted" }], isError: true };
      const given = await call;
      const result = planted.calls % 50 === 0 ? said : given;
`;

test.skipIf(process.env["MCPPROXY_TEST_SHORT"] === "1")(
  "runSoakReport() turns red when every 50th call is answered with an error",
  async () => {
    using folder = tempDir();
    const copy = join(folder.path, "copy");
    mkdirSync(copy);
    cpSync(join(ROOT, "src"), join(copy, "src"), { recursive: true });
    for (const name of ["node_modules", "drizzle", "package.json", "tsconfig.json"])
      symlinkSync(join(ROOT, name), join(copy, name));
    const text = readFileSync(join(copy, CALLER), "utf8");
    expect(text.split(WAS)).toHaveLength(2);
    writeFileSync(
      join(copy, CALLER),
      text.replace(WAS, () => IS),
    );
    const { isPassed, rows } = await runSoakReport(
      {
        command: [process.execPath, join(copy, "src/main.ts")],
        mockCommand: SOURCE,
        servers: 20,
        profile: "healthy",
        seed: 1,
        isShort: true,
        maxStdio: 5,
      },
      { durationMs: SOAK_MS },
    );
    expect(isPassed).toBe(false);
    const row = rows.find(({ metric }) => metric.startsWith("calls to well servers"));
    expect(row).toMatchObject({ verdict: "over", note: expect.stringContaining(": planted") as string });
    expect(row?.measured).toBeGreaterThan(1);
  },
  TIMEOUT_MS,
);
