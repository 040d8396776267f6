/** Holds how a user's own configuration is taken: read, never written, nothing started unasked. */
import { expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { countServers, readUserRoster } from "../../src/scale/roster.ts";
import { toMarkdown } from "../../src/scale/report.ts";
import { runScale } from "../../src/scale/scale.ts";
import { SOURCE } from "../e2e/harness.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const CANARY = "canary-5e1f0a77";

function ownConfig(folder: string): string {
  const path = join(folder, "own.json");
  // What is started would leave a trace.
  const touch = { command: "touch", args: [join(folder, "started")], env: { TOKEN: CANARY } };
  const modes = [
    { startup_mode: "active" },
    { enabled: false },
    { quarantined: true },
    { start_on_boot: false },
    {},
    { startup_mode: "lazy_loading", headers: { Authorization: `Bearer ${CANARY}` } },
  ];
  const entries = modes.map((mode, at) => JSON.stringify({ name: `own ${at}`, ...touch, ...mode }));
  writeFileSync(
    path,
    `{\n  // mine\n  "api_key": "${CANARY}",\n  "mcpServers": [\n${entries.join(",\n")},\n  ],\n}\n`,
  );
  return path;
}

test("readUserRoster() knows older forms of the mode, and switches all off unless it may connect", () => {
  using folder = tempDir();
  const path = ownConfig(folder.path);
  const modesOf = (connects: boolean) =>
    readUserRoster({ path, connects }).entries.map((entry) => entry["startup_mode"]);
  expect(modesOf(true)).toEqual([
    "active",
    "disabled",
    "quarantined",
    "lazy_loading",
    "active",
    "lazy_loading",
  ]);
  expect(new Set(modesOf(false))).toEqual(new Set(["disabled", "quarantined"]));
  expect(readUserRoster({ path, connects: false, limit: 2 }).entries).toHaveLength(2);
  expect(readUserRoster({ path, connects: false, only: ["own 3"] }).entries).toHaveLength(1);
  expect([countServers(path), countServers(`${path}.none`)]).toEqual([6, 0]);
});

test("runScale() with a user's file starts none of it, leaves it alone, and tells none of its values", async () => {
  verifies("SCALE-USER-FILE-KEPT");
  using folder = tempDir();
  const path = ownConfig(folder.path);
  const before = [readFileSync(path, "utf8"), statSync(path).mtimeMs, statSync(path).ino];
  const report = await runScale({
    command: SOURCE,
    servers: 6,
    profile: "healthy",
    seed: 1,
    isShort: true,
    maxStdio: 0,
    user: { path, connects: false },
  });
  expect(report.rows.filter(({ verdict }) => verdict === "over")).toEqual([]);
  expect(report.rows.filter(({ verdict }) => verdict === "within").length).toBeGreaterThan(5);
  expect(report.rows.filter(({ note }) => note?.startsWith("not run")).map(({ area }) => area)).toContain(
    "startup",
  );
  expect([readFileSync(path, "utf8"), statSync(path).mtimeMs, statSync(path).ino]).toEqual(before);
  expect(() => statSync(join(folder.path, "started"))).toThrow();
  expect(JSON.stringify(report) + toMarkdown(report)).not.toContain(CANARY);
}, 60_000);
