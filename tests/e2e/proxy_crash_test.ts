/**
 * The crash matrix attached to the running proxy: a change over the API, killed at and spoiled at each system call.
 *
 * Owns which points are tried; what must hold after each is in `crash_points.ts`. Each call is killed at, and each
 * writing one fails with one of the four errors in turn; with all four, and a restart after each, when
 * `MCPPROXY_TEST_FULL=1`. Without strace, or where it may not attach, everything here reports itself skipped.
 */
import { afterAll, expect, test } from "bun:test";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { processesWith, tempDir } from "../fixtures/wait.ts";
import { copyFolder, recordCommit, tryPoint } from "./crash_points.ts";
import type { DriverRequest } from "./commit_driver.ts";
import type { Place, Point, PointResult, Scenario } from "./crash_points.ts";
import { ROOT } from "./harness.ts";
import { disagreements, oldText, prepareProxy, readRows, startProxyProgram, THIRD } from "./proxy_process.ts";
import type { ServerRow } from "./proxy_process.ts";
import { hasStrace } from "./strace.ts";
import type { SystemCall } from "./strace.ts";

const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1";
const ERRORS = ["ENOSPC", "EIO", "EROFS", "EACCES"] as const;
/** As many at once as the machine of the tests has cores. */
const LANES = 2;
const TIMEOUT_MS = 600_000;
const WRITING = /^(?:openat|write|pwrite64|fsync|rename|renameat2|link|unlink|mkdir|fchmod|close|ftruncate)$/;

const folder = tempDir();
/** Accepts and never answers. */
const upstream = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  idleTimeout: 0,
  fetch: () => new Promise(() => {}),
});
let folders = 0;

afterAll(async () => {
  await upstream.stop(true);
  const left = processesWith(folder.path);
  for (const pid of left) process.kill(pid, "SIGKILL");
  folder[Symbol.dispose]();
  expect(left).toEqual([]);
});

function newFolder(name: string): string {
  folders += 1;
  return join(folder.path, `${name}-${folders}`);
}

/** A proxy to be tried, and the calls of its commit. */
interface Case {
  readonly scenario: Scenario;
  /** How often each call is made, up to the answer and in the late look at the displaced file. */
  readonly counts: ReadonlyMap<string, number>;
  /** Servers whose row says quarantined once the change is made. */
  readonly heldAfter: readonly string[];
}

let whole: Promise<Case> | undefined;

/** The case of this checkout, made once. */
function openCase(): Promise<Case> {
  whole ??= makeCase(ROOT);
  return whole;
}

async function makeCase(root: string): Promise<Case> {
  const text = oldText(`http://127.0.0.1:${upstream.port}`);
  const texts = new Map<string, string>();
  const rows = new Map<string, readonly ServerRow[]>();
  const start = startProxyProgram({ root, texts });
  const prepared = await prepareProxy(newFolder("prepared"), text, start);
  const change = { text: "", definitionHash: "" };
  const recording = newFolder("recording");
  const calls = await recordCommit({ start, prepared, change }, recording);
  // What belongs to the old and the new state is told by a restart on each; on copies, since reading changes the log.
  const learn = async (of: string): Promise<DriverRequest> => {
    const copy = newFolder("learned");
    copyFolder(of, copy);
    const config = join(copy, "conf", "c.json");
    const place: Place = { root: copy, config, target: config, dataDir: join(copy, "data") };
    const program = await start(place);
    const definitionHash = program.first.definitionHash ?? "";
    await program.kill();
    const found = readFileSync(config, "utf8");
    texts.set(definitionHash, found);
    rows.set(found, readRows(place).servers);
    return { text: found, definitionHash };
  };
  const states = { old: await learn(prepared.root), new: await learn(recording), third: THIRD };
  expect(states.old.text).toBe(text);
  const held = rows.get(states.new.text)?.filter(({ mode }) => mode === "quarantined") ?? [];
  return {
    heldAfter: held.map(({ name }) => name),
    scenario: {
      start,
      prepared,
      change: states.new,
      states,
      restartsAfterErrors: IS_FULL,
      check: (place, seen) => disagreements(place, { seen, rows }),
    },
    counts: countsOf(commitCalls(calls)),
  };
}

/** Without the look of the watcher at the new file, which comes when it comes. */
function commitCalls(calls: readonly SystemCall[]): SystemCall[] {
  const end = calls.findLastIndex(({ name }) => name === "unlink");
  return calls.filter(({ args }, at) => at <= end || args.includes("(deleted)"));
}

function countsOf(calls: readonly SystemCall[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { name } of calls) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

function only(counts: ReadonlyMap<string, number>, which: RegExp): Map<string, number> {
  return new Map([...counts].filter(([call]) => which.test(call)));
}

function pointsOf(counts: ReadonlyMap<string, number>, fault: (at: number) => readonly string[]): Point[] {
  let at = 0;
  return [...counts].flatMap(([call, count]) =>
    Array.from({ length: count }, (_, index) =>
      fault((at += 1)).map((one) => ({ call, nth: index + 1, fault: one })),
    ).flat(),
  );
}

/** A point and what came of it. */
type Tried = PointResult & { readonly point: Point };

async function tryAll(scenario: Scenario, points: readonly Point[]): Promise<Tried[]> {
  const results: Tried[] = [];
  const waiting = [...points];
  const lane = async (): Promise<void> => {
    for (let point = waiting.shift(); point !== undefined; point = waiting.shift()) {
      results.push({ ...(await tryPoint(scenario, newFolder("point"), point)), point });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return results;
}

function nameOf({ call, nth, fault }: Point): string {
  return `${call} #${nth} ${fault}`;
}

function violationsOf(results: readonly Tried[]): string[] {
  return results.flatMap(({ violations, point }) => violations.map((text) => `${nameOf(point)}: ${text}`));
}

function missedOf(results: readonly Tried[]): string[] {
  return results.filter(({ hit }) => hit === undefined).map(({ point }) => nameOf(point));
}

function tell(what: string, results: readonly Tried[], startedAt: number): void {
  const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
  const count = (state: string): number => results.filter((one) => one.state === state).length;
  console.log(
    `proxy crash matrix: ${what}: ${results.length} points, ${count("old")} old, ${count("new")} new, ${seconds} s`,
  );
}

test.skipIf(!hasStrace)(
  "the proxy killed at each system call of a change: old or new, what was answered is there, file and database agree",
  async () => {
    const startedAt = performance.now();
    const { scenario, counts, heldAfter } = await openCase();
    expect(counts.get("renameat2")).toBe(1);
    expect(heldAfter).toEqual(["charlie", "echo", "foxtrot"]);
    const results = await tryAll(
      scenario,
      pointsOf(counts, () => ["SIGKILL"]),
    );
    tell("SIGKILL", results, startedAt);
    expect(violationsOf(results)).toEqual([]);
    expect(missedOf(results)).toEqual([]);
  },
  TIMEOUT_MS,
);

test.skipIf(!hasStrace)(
  "the proxy with each writing call of a change failing once: alive, an error and the old configuration, or the new one",
  async () => {
    const startedAt = performance.now();
    const { scenario, counts } = await openCase();
    const results = await tryAll(
      scenario,
      pointsOf(only(counts, WRITING), (at) => (IS_FULL ? ERRORS : [ERRORS[at % ERRORS.length] ?? "EIO"])),
    );
    tell("errors", results, startedAt);
    expect(violationsOf(results)).toEqual([]);
    expect(missedOf(results)).toEqual([]);
  },
  TIMEOUT_MS,
);

/** Lines of the source without which a kill at the last such call must be seen. */
const MUTATIONS: readonly (readonly [name: string, from: string, to: string, call: string, seen: RegExp])[] =
  [
    [
      "the rows of a commit are not applied when it is rolled forward",
      `store.applyEffects(effects, { isSynced: true, alongside: () => store.commits.finish(id) });
    } catch (error) {
      store.assume`,
      `store.applyEffects({}, { isSynced: true, alongside: () => store.commits.finish(id) });
    } catch (error) {
      store.assume`,
      "pwrite64",
      /the database has .*"name":"foxtrot"/,
    ],
    [
      "recovery rolls nothing forward",
      "if (pending?.newHash === this.#hash) {",
      "if (pending?.newHash === 'never') {",
      "pwrite64",
      /the database has .*"name":"foxtrot"/,
    ],
    [
      "recovery leaves temp files",
      "const strays = findTempFiles(real);",
      "const strays: string[] = [];",
      "renameat2",
      /mcpproxy-tmp' is left/,
    ],
  ];

for (const [at, [name, from, to, call, seen]] of MUTATIONS.entries()) {
  test.skipIf(!hasStrace || (!IS_FULL && at > 0))(
    `the crash matrix of the proxy goes red when ${name}`,
    async () => {
      const copy = newFolder("copy");
      for (const part of ["src", "drizzle", "package.json", "tsconfig.json"]) {
        cpSync(join(ROOT, part), join(copy, part), { recursive: true });
      }
      symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
      const file = join(copy, "src/state/config_commit.ts");
      const source = readFileSync(file, "utf8");
      expect(source.split(from)).toHaveLength(2);
      writeFileSync(file, source.replace(from, to));
      const { scenario, counts } = await makeCase(copy);
      const results = await tryAll(scenario, [{ call, nth: counts.get(call) ?? 0, fault: "SIGKILL" }]);
      expect(missedOf(results)).toEqual([]);
      expect(violationsOf(results).join("\n")).toMatch(seen);
    },
    TIMEOUT_MS,
  );
}
