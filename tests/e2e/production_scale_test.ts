/**
 * The production-scale suite with assertions: a proxy as users start it, beside a fleet of production size.
 *
 * Owns which sizes are played: all repetitions, five storms and the largest crowds, or with `CI=1` fewer of them, or with
 * `MCPPROXY_TEST_SHORT=1` fewer servers as well; `MCPPROXY_TEST_FULL=1` plays all in CI too. What is judged are the
 * design's own targets, counts and ratios; a time that is only slower than it should be is printed. The whole has to be
 * over in 5 minutes, short in 3, unless others keep the machine busy. One area alone: `bun test
 * tests/e2e/production_scale_test.ts -t groups`. A user's own configuration of 100 servers or more is played too, without
 * starting any of it.
 */
import { afterAll, expect, test } from "bun:test";
import { homedir } from "node:os";
import { join } from "node:path";
import { cellsOf } from "../../src/scale/report.ts";
import { countServers } from "../../src/scale/roster.ts";
import { AREAS, runScale } from "../../src/scale/scale.ts";
import type { ScaleReport } from "../../src/scale/scale.ts";
import type { ScaleOptions } from "../../src/scale/stage.ts";
import { verifies } from "../requirements.ts";
import { holdTotal } from "../scale/total.ts";
import { SOURCE } from "./harness.ts";

const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1";
const IS_SHORT = process.env["MCPPROXY_TEST_SHORT"] === "1";
const CONNECTS = process.env["MCPPROXY_TEST_CONNECT"] === "1";
const IS_BRIEF = !IS_FULL && (IS_SHORT || process.env["CI"] !== undefined);
const ALL_WITHIN_S = IS_BRIEF ? 180 : 300;
const TIMEOUT_MS = 300_000;
const OWN_AT_LEAST = 100;
/** Its own file plays the start-up. */
const HERE = AREAS.filter(({ name }) => name !== "startup");

const OPTIONS: ScaleOptions = {
  command: SOURCE,
  servers: IS_SHORT ? 60 : 159,
  profile: "healthy",
  seed: 1,
  isShort: IS_BRIEF,
  maxStdio: 20,
};

let seconds = 0;

afterAll(() => holdTotal("scale tests", { seconds, limit: ALL_WITHIN_S }));

function show({ head, rows }: ScaleReport): void {
  const lines = rows.map((row) =>
    cellsOf(row)
      .filter((cell) => cell !== "")
      .join(" · "),
  );
  console.log(`${head.servers} servers, ${head.seconds} s\n${lines.join("\n")}`);
}

test.each(HERE.map(({ name, about }) => [name, about] as const))(
  "production scale, %s: %s",
  async (area) => {
    verifies("SCALE-TARGETS");
    const report = await runScale(OPTIONS, { areas: [area] });
    seconds += report.head.seconds;
    show(report);
    expect(report.rows.filter(({ verdict }) => verdict === "over")).toEqual([]);
    expect(report.rows.some(({ verdict }) => verdict === "within")).toBe(true);
  },
  TIMEOUT_MS,
);

test(
  "production scale, a user's own configuration when there is one, else a generated one",
  async () => {
    const path = process.env["MCPPROXY_CONFIG"] ?? join(homedir(), ".mcpproxy/mcp_config.json");
    const servers = countServers(path);
    const isOwn = servers >= OWN_AT_LEAST;
    console.log(
      isOwn ? `own configuration: ${servers} servers` : "generated configuration: there is none of one's own",
    );
    const own = isOwn ? { user: { path, connects: CONNECTS } } : {};
    const report = await runScale(
      { ...OPTIONS, ...(isOwn && { servers }), ...own },
      { areas: ["loading", "persistence"] },
    );
    seconds += report.head.seconds;
    if (isOwn) show(report);
    expect(report.rows.filter(({ verdict }) => verdict === "over")).toEqual([]);
  },
  TIMEOUT_MS,
);
