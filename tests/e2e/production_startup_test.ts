/**
 * The start-up of production size: listening, what can run ready, restart, one of each operation, stop.
 *
 * Owns the two profiles: all healthy, and the production one, unscaled in time, with half of the fleet hanging or failing.
 * Only the design's targets are judged; `bun test tests/e2e/production_startup_test.ts` runs it alone.
 */
import { expect, test } from "bun:test";
import { cellsOf } from "../../src/scale/report.ts";
import { runScale } from "../../src/scale/scale.ts";
import { verifies } from "../requirements.ts";
import { SOURCE } from "./harness.ts";

const TIMEOUT_MS = 90_000;
const SERVERS = process.env["MCPPROXY_TEST_SHORT"] === "1" ? 60 : 159;

test.each(["healthy", "production"] as const)(
  "production start-up, %s: every target of the design is kept",
  async (profile) => {
    verifies("SCALE-TARGETS");
    const { rows, head } = await runScale(
      {
        command: SOURCE,
        servers: SERVERS,
        profile,
        seed: 1,
        isShort: true,
        maxStdio: profile === "healthy" ? 20 : 150,
      },
      { areas: ["startup"] },
    );
    const lines = rows.map((row) =>
      cellsOf(row)
        .filter((cell) => cell !== "")
        .join(" · "),
    );
    console.log(`${profile}, ${head.seconds} s\n${lines.join("\n")}`);
    expect(rows.filter(({ verdict }) => verdict === "over")).toEqual([]);
    const fast = rows.find(({ metric }) => metric.includes("fast servers ready"));
    expect(fast?.metric).not.toContain("the 0 fast");
  },
  TIMEOUT_MS,
);
