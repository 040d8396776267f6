/**
 * The start-up of production size: listening, what can run ready, restart, one of each operation, stop.
 *
 * Owns the two profiles: all healthy, and the production one, unscaled in time, with half of the fleet hanging or failing.
 * Only the design's targets are judged, the time to listening too: other tests run beside this one. The whole has to be
 * over in 90 s where others leave the machine alone; `bun test tests/e2e/production_startup_test.ts` runs it alone.
 */
import { afterAll, expect, test } from "bun:test";
import { cellsOf } from "../../src/scale/report.ts";
import { runScale } from "../../src/scale/scale.ts";
import type { Row } from "../../src/scale/sheet.ts";
import { LISTENING, NOT_READY } from "../../src/scale/startup.ts";
import { verifies } from "../requirements.ts";
import { holdTotal } from "../scale/total.ts";
import { SOURCE } from "./harness.ts";

const TIMEOUT_MS = 90_000;
const SERVERS = process.env["MCPPROXY_TEST_SHORT"] === "1" ? 60 : 159;
const DESIGN_LISTEN_MS = 30_000;
const ALL_WITHIN_S = 90;

let seconds = 0;

afterAll(() => holdTotal("start-up tests", { seconds, limit: ALL_WITHIN_S }));

/** Past its bar, whatever else runs on the machine. */
function isMissed({ verdict, metric, measured }: Row): boolean {
  return verdict === "over" && !(metric === LISTENING && measured < DESIGN_LISTEN_MS);
}

/** How many servers a note of the form `12 × why; 3 × why else` is about. */
function sumOf(note: string): number {
  return [...note.matchAll(/(?:^|; )(\d+) × /g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

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
    seconds += head.seconds;
    console.log(`${profile}, ${head.seconds} s\n${lines.join("\n")}`);
    expect(rows.filter(isMissed)).toEqual([]);
    const fast = rows.find(({ metric }) => metric.includes("fast servers ready"));
    expect(fast?.metric).not.toContain("the 0 fast");
    const { measured, note = "" } = rows.find(({ metric }) => metric === NOT_READY) ?? {};
    expect({ notReady: measured, ofWhichSaidWhy: sumOf(note) }).toEqual({
      notReady: profile === "healthy" ? 0 : (expect.any(Number) as number),
      ofWhichSaidWhy: measured ?? Number.NaN,
    });
    // Of all 159 servers 94 never become ready, about two thirds of them are active.
    if (profile === "production") expect(measured).toBeGreaterThan(SERVERS / 4);
  },
  TIMEOUT_MS,
);
