/**
 * The crash matrix of the two-phase commit: each system call of a commit, killed at and made to fail.
 *
 * Owns which points are tried. All of them with `MCPPROXY_TEST_FULL=1`; else each call is killed at, and fails
 * with one of the four errors in turn. Without strace, or where it may not attach, everything here reports
 * itself skipped.
 */
import { afterEach, expect, test } from "bun:test";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../fixtures/wait.ts";
import { NEW, prepare, recordCommit, tryPoint } from "./crash_points.ts";
import type { Point, PointResult, Scenario } from "./crash_points.ts";
import { startDriver } from "./driver_process.ts";
import { ROOT } from "./harness.ts";
import { hasStrace } from "./strace.ts";
import type { SystemCall } from "./strace.ts";
import { verifies } from "../requirements.ts";

const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1";
const ERRORS = ["ENOSPC", "EIO", "EROFS", "EACCES"] as const;
/** As many at once as the machine of the tests has cores. */
const LANES = 2;
const TIMEOUT_MS = 600_000;
/** Calls that change something; reading ones are killed at too, but fail only with all points. */
const WRITING = /^(?:openat|write|pwrite64|fsync|rename|renameat2|link|unlink|mkdir|fchmod|close|ftruncate)$/;

const folders: (Disposable & { readonly path: string })[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

function makeDir(): string {
  const folder = tempDir();
  folders.push(folder);
  return folder.path;
}

/** What was tried, and each point with what did not hold. */
interface Report {
  readonly tried: number;
  readonly hits: ReadonlyMap<string, number>;
  readonly violations: readonly string[];
  readonly results: readonly (PointResult & { readonly point: Point })[];
}

async function tryAll(scenario: Scenario, points: readonly Point[]): Promise<Report> {
  const root = makeDir();
  const results: (PointResult & { readonly point: Point })[] = [];
  const waiting = points.map((point, at) => ({ point, folder: join(root, String(at)) }));
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const result = await tryPoint(scenario, next.folder, next.point);
      results.push({ ...result, point: next.point });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  const hits = new Map<string, number>();
  for (const { hit, point } of results) {
    if (hit !== undefined) hits.set(point.call, (hits.get(point.call) ?? 0) + 1);
  }
  const violations = results.flatMap((result) =>
    result.violations.map(
      (text) => `${result.point.call} #${result.point.nth} ${result.point.fault}: ${text}`,
    ),
  );
  return { tried: results.length, hits, violations, results };
}

/** How often each call is made. */
function countsOf(calls: readonly SystemCall[], which: RegExp = /./): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { name } of calls) if (which.test(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function pointsOf(counts: ReadonlyMap<string, number>, fault: (at: number) => readonly string[]): Point[] {
  let at = 0;
  return [...counts].flatMap(([call, count]) =>
    Array.from({ length: count }, (_, index) =>
      fault((at += 1)).map((one) => ({ call, nth: index + 1, fault: one })),
    ).flat(),
  );
}

async function makeScenario(options: {
  readonly isLinked?: boolean;
  readonly beside?: readonly string[];
  readonly isFilled?: boolean;
}): Promise<{ readonly scenario: Scenario; readonly calls: SystemCall[] }> {
  const { isLinked = false, beside = [], isFilled = false } = options;
  const root = makeDir();
  const prepared = await prepare(join(root, "prepared"), { start: startDriver(), isLinked });
  const scenario: Scenario = { start: startDriver({ isFilled }), prepared, beside, change: NEW };
  return { scenario, calls: await recordCommit(scenario, join(root, "recording")) };
}

/** Kills at every call of `counts`, and once past each of them, where nothing may happen. */
async function killEverywhere(scenario: Scenario, counts: ReadonlyMap<string, number>): Promise<Report> {
  const beyond = new Map([...counts].map(([call, count]) => [call, count + 1]));
  const report = await tryAll(
    scenario,
    pointsOf(beyond, () => ["SIGKILL"]),
  );
  expect(report.violations).toEqual([]);
  expect(Object.fromEntries(report.hits)).toEqual(Object.fromEntries(counts));
  return report;
}

function tell(what: string, report: Report): void {
  const hits = [...report.hits].map(([call, count]) => `${call} ${count}`).join(", ");
  console.log(`crash matrix: ${what}: ${report.tried} points (${hits})`);
}

test.skipIf(!hasStrace)(
  "ConfigCommit killed at each system call: old or new, what was answered is there, file and database agree",
  async () => {
    verifies("COMMIT-KILL");
    const { scenario, calls } = await makeScenario({});
    const counts = countsOf(calls);
    expect(counts.get("renameat2")).toBe(1);
    tell("SIGKILL", await killEverywhere(scenario, counts));
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit killed at each writing call where files cannot be exchanged, behind a link",
  async () => {
    const { scenario, calls } = await makeScenario({ isLinked: true, beside: ["renameat2:error=ENOSYS"] });
    const counts = countsOf(calls, IS_FULL ? /./ : /^(?:link|rename|unlink|fsync)$/);
    expect(counts.get("link")).toBe(1);
    tell("SIGKILL without exchange", await killEverywhere(scenario, counts));
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit killed while SQLite empties its log into the database",
  async () => {
    const { scenario, calls } = await makeScenario({ isFilled: true });
    const counts = countsOf(calls, /^(?:fsync|ftruncate)$/);
    const pages = countsOf(calls, /^pwrite64$/).get("pwrite64") ?? 0;
    expect(pages).toBeGreaterThan(100);
    const step = IS_FULL ? 5 : 50;
    const points = Array.from({ length: Math.floor(pages / step) }, (_, at) => ({
      call: "pwrite64",
      nth: (at + 1) * step,
      fault: "SIGKILL",
    }));
    console.log(`crash matrix: the checkpoint writes ${pages} pages`);
    tell("SIGKILL at a checkpoint", await killEverywhere(scenario, counts));
    const report = await tryAll(scenario, points);
    expect(report.violations).toEqual([]);
    expect(report.hits.get("pwrite64")).toBe(points.length);
    tell("SIGKILL at pages of a checkpoint", report);
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit with each call failing once: alive, an error and the old configuration, or the new one",
  async () => {
    const { scenario, calls } = await makeScenario({});
    const counts = countsOf(calls, IS_FULL ? /./ : WRITING);
    const points = pointsOf(counts, (at) => (IS_FULL ? ERRORS : [ERRORS[at % ERRORS.length] ?? "EIO"]));
    const report = await tryAll(scenario, points);
    expect(report.violations).toEqual([]);
    const perPoint = IS_FULL ? ERRORS.length : 1;
    const wanted = new Map([...counts].map(([call, count]) => [call, count * perPoint]));
    expect(Object.fromEntries(report.hits)).toEqual(Object.fromEntries(wanted));
    tell("errors", report);
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit with a call that fails for good: the old configuration, or forward with a warning until it works again",
  async () => {
    const { scenario, calls } = await makeScenario({});
    const counts = countsOf(calls, IS_FULL ? WRITING : /^(?:fsync|pwrite64|renameat2)$/);
    const report = await tryAll(
      scenario,
      pointsOf(counts, (at) =>
        IS_FULL ? ERRORS.map((one) => `${one}+`) : [at % 2 === 0 ? "EIO+" : "ENOSPC+"],
      ),
    );
    expect(report.violations).toEqual([]);
    tell("lasting errors", report);
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "ConfigCommit goes forward with a warning when neither the last steps nor the way back work, and settles later",
  async () => {
    // The first exchange works, the one back does not.
    const { scenario, calls } = await makeScenario({ beside: ["renameat2:error=EIO:when=2+"] });
    const after = calls.findIndex(({ name }) => name === "renameat2");
    const before = countsOf(calls.slice(0, after));
    const points = [...countsOf(calls, /^(?:fsync|pwrite64)$/)].flatMap(([call, count]) =>
      Array.from({ length: count - (before.get(call) ?? 0) }, (_, at) => ({
        call,
        nth: (before.get(call) ?? 0) + at + 1,
        fault: at % 2 === 0 ? "ENOSPC" : "EIO",
      })),
    );
    const report = await tryAll(scenario, points);
    expect(report.violations).toEqual([]);
    expect(points.length).toBeGreaterThan(3);
    for (const { answer } of report.results) {
      expect(answer).toMatchObject({ ok: true, isDegraded: true, text: NEW.text, definitionHash: "h-new" });
      expect(answer?.warning).toContain("It is tried again");
    }
    tell("no way back", report);
  },
  TIMEOUT_MS,
);

/** Lines of the source without which a kill must be seen. */
const MUTATIONS: readonly (readonly [name: string, file: string, from: string, to: string, call: string])[] =
  [
    [
      "recovery rolls nothing forward",
      "src/state/config_commit.ts",
      "if (pending?.newHash === this.#hash) {",
      "if (pending?.newHash === 'never') {",
      "fsync",
    ],
    [
      "recovery leaves temp files",
      "src/state/config_commit.ts",
      "const strays = findTempFiles(real);",
      "const strays: string[] = [];",
      "renameat2",
    ],
    [
      "the intent is not written down",
      "src/state/config_commit.ts",
      "return store.transact(() => store.commits.intend(entry, draft.effects), { isSynced: true });",
      "return store.transact(() => store.commits.record(entry), { isSynced: true });",
      "fsync",
    ],
  ];

for (const [name, file, from, to, call] of MUTATIONS) {
  test.skipIf(!hasStrace)(
    `the crash matrix goes red when ${name}`,
    async () => {
      const copy = makeDir();
      for (const part of ["src", "drizzle", "tests/e2e", "package.json", "tsconfig.json"]) {
        cpSync(join(ROOT, part), join(copy, part), { recursive: true });
      }
      symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
      const source = readFileSync(join(copy, file), "utf8");
      expect(source.split(from)).toHaveLength(2);
      writeFileSync(join(copy, file), source.replace(from, to));
      const prepared = await prepare(join(makeDir(), "prepared"), { start: startDriver() });
      const scenario: Scenario = { start: startDriver({ root: copy }), prepared, change: NEW };
      const counts = countsOf(
        await recordCommit(scenario, join(makeDir(), "recording")),
        new RegExp(`^${call}$`),
      );
      const report = await tryAll(
        scenario,
        pointsOf(counts, () => ["SIGKILL"]),
      );
      expect(report.violations).not.toEqual([]);
    },
    TIMEOUT_MS,
  );
}
