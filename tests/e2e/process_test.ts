/**
 * The process matrix, seen from outside: however the proxy ends, nothing of what it started is left.
 *
 * Owns the table of behaviours × ends. Each server carries its behaviour in a variable, which its descendants
 * inherit: that is how survivors are found and told apart from the guard and from other tests.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { STDIO_SERVER } from "../fixtures/upstreams.ts";
import { liveMembers, processesWith, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openScene, startProxy } from "./harness.ts";
import type { Answer, Entry, RunningProxy, Scene } from "./harness.ts";

const TEST_MS = 60_000;
/** How long anything may outlive the proxy. */
const OUTLIVE_MS = 5_000;
const SWEPT_MS = 2_000;
/** A child is in the journal after the store's batch delay; until then the guard alone knows of it. */
const JOURNAL_MS = 250;
const QUICK = { supervision: { stop_grace: "300ms", term_grace: "300ms" } };

const fixture = (...flags: string[]): Entry => ({
  command: process.execPath,
  args: [STDIO_SERVER, ...flags],
});
const wrapped = [process.execPath, STDIO_SERVER, "--ignore-eof", "--ignore-term"];

/** How a server takes its end; `size` is how many processes it is. */
const BEHAVIOURS: Readonly<Record<string, { readonly entry: Entry; readonly size: number }>> = {
  "well-behaved": { entry: fixture(), size: 1 },
  "ignores EOF": { entry: fixture("--ignore-eof"), size: 1 },
  "ignores TERM": { entry: fixture("--ignore-eof", "--ignore-term"), size: 1 },
  "forks grandchildren": { entry: fixture("--fork"), size: 2 },
  "sh -c wrapper": { entry: { command: "sh", args: ["-c", '"$@"; :', "sh", ...wrapped] }, size: 2 },
};

/** Who watches over whom: the servers that run, as the test was told of them. */
interface World {
  readonly scene: Scene;
  readonly proxy: RunningProxy;
  readonly config: Answer;
  /** The groups of each behaviour before the end. */
  readonly before: ReadonlyMap<string, readonly number[]>;
}

/**
 * How the proxy ends, or what it is told; each leaves none of the processes that ran `before`. `disable` and `delete` of
 * a single server join this table with the verbs of the API.
 */
const ENDS: Readonly<Record<string, (world: World) => Promise<void>>> = {
  "SIGTERM of the proxy": async ({ proxy, scene }) => {
    expect(await proxy.stop()).toBe(0);
    expect(scene.processes()).toEqual([]);
  },
  "SIGKILL of the proxy": async ({ proxy, before }) => {
    await proxy.kill();
    await vanished([...before.values()].flat(), OUTLIVE_MS);
  },
  "SIGKILL and restart": async ({ scene, proxy, config, before }) => {
    await proxy.kill();
    await using second = await startProxy(scene, { config });
    await vanished([...before.values()].flat(), SWEPT_MS);
    await second.connected(Object.keys(BEHAVIOURS));
    expect(await second.stop()).toBe(0);
  },
  "SIGKILL of guard and proxy, and restart": async ({ scene, proxy, config, before }) => {
    await killWithGuard(proxy);
    await using second = await startProxy(scene, { config });
    await vanished([...before.values()].flat(), SWEPT_MS);
    expect(await second.stop()).toBe(0);
  },
};

describe("process matrix", () => {
  for (const [end, run] of Object.entries(ENDS)) {
    test(
      `${end}: 0 survivors of ${Object.keys(BEHAVIOURS).join(", ")}`,
      async () => {
        verifies("GUARD-NO-ORPHANS", "STDIO-NO-SURVIVORS", "SWEEP-AT-START");
        await using scene = openScene();
        const entries = Object.entries(BEHAVIOURS);
        const mcpServers = entries.map(([name, { entry }]) => ({ name, ...entry, env: { BEHAVIOUR: name } }));
        const config = { ...QUICK, mcpServers };
        await using proxy = await startProxy(scene, { config });
        await proxy.connected(Object.keys(BEHAVIOURS));
        for (const [name, { size }] of entries)
          expect(membersOf(scene, name).length, name).toBeGreaterThanOrEqual(size);
        const before = new Map(entries.map(([name]) => [name, groupsOf(membersOf(scene, name))]));
        await run({ scene, proxy, config, before });
        for (const [name, groups] of before) expect([name, groups.flatMap(liveMembers)]).toEqual([name, []]);
        await waitFor("the guard is gone", () => scene.processes().length === 0);
      },
      TEST_MS,
    );
  }
});

/** Never answers, and stays when its stdin is closed and when it is told to leave. */
const DEAF = ["-c", "trap '' TERM; while read -r line; do :; done; while :; do sleep 1; done"];

function deafServers(count: number): Answer {
  const mcpServers = Array.from({ length: count }, (_, at) => ({
    name: `deaf-${at}`,
    command: "sh",
    args: DEAF,
    env: { BEHAVIOUR: "deaf" },
  }));
  return { max_concurrent_connections: count, mcpServers };
}

async function allRun(scene: Scene, count: number): Promise<readonly number[]> {
  await waitFor(`${count} children run`, () => membersOf(scene, "deaf").length >= count, 30_000);
  return groupsOf(membersOf(scene, "deaf"));
}

for (const [name, kill, boundMs] of [
  [
    "kill -9 of a proxy with 50 children leaves 0 orphans after 5 s, without a restart",
    killAlone,
    OUTLIVE_MS,
  ],
  ["kill -9 of a proxy with 50 children leaves 0 orphans 2 s after the restart", killAlone, SWEPT_MS],
  [
    "kill -9 of proxy and guard with 50 children leaves 0 orphans 2 s after the restart",
    killWithGuard,
    SWEPT_MS,
  ],
] as const) {
  test(
    name,
    async () => {
      verifies("GUARD-NO-ORPHANS", "SWEEP-AT-START");
      await using scene = openScene();
      const config = deafServers(50);
      await using proxy = await startProxy(scene, { config });
      const before = await allRun(scene, 50);
      const killedAt = performance.now();
      await kill(proxy);
      if (boundMs === SWEPT_MS) {
        await using second = await startProxy(scene, { config: { mcpServers: [] } });
        const restartedAt = performance.now();
        await vanished(before, boundMs);
        report(
          `0 of ${before.length} left ${ms(restartedAt)} after the restart was ready, ${ms(killedAt)} after the kill`,
        );
        expect(await second.stop()).toBe(0);
      } else {
        await vanished(before, boundMs);
        report(`0 of ${before.length} left ${ms(killedAt)} after the kill`);
      }
    },
    TEST_MS,
  );
}

test(
  "a proxy with 300 children that ignore EOF and TERM stops within 6 s",
  async () => {
    verifies("STOP-BOUNDED");
    await using scene = openScene();
    await using proxy = await startProxy(scene, { config: deafServers(300) });
    await allRun(scene, 300);
    const startedAt = performance.now();
    expect(await proxy.stop()).toBe(0);
    report(`300 stubborn children stopped in ${ms(startedAt)}`);
    expect(performance.now() - startedAt).toBeLessThan(6_000);
    expect(scene.processes()).toEqual([]);
  },
  TEST_MS,
);

test(
  "a guard that is killed alone is replaced, its children go on, and a calm stop leaves none",
  async () => {
    verifies("GUARD-NO-ORPHANS");
    await using scene = openScene();
    const mcpServers = [{ name: "calm", ...fixture("--ignore-eof"), env: { BEHAVIOUR: "calm" } }];
    await using proxy = await startProxy(scene, { config: { ...QUICK, mcpServers } });
    await proxy.connected(["calm"]);
    const [guard = 0, ...others] = guardsOf(proxy);
    expect(others).toEqual([]);
    const before = membersOf(scene, "calm");
    const groups = groupsOf(before);
    process.kill(guard, "SIGKILL");
    await waitFor("another guard runs", () => guardsOf(proxy).some((pid) => pid !== guard));
    expect(membersOf(scene, "calm")).toEqual(before);
    expect((await proxy.servers()).get("calm")?.["connection_state"]).toBe("ready");
    await proxy.kill();
    await vanished(groups, OUTLIVE_MS);
    await waitFor("the guard has left", () => guardsOf(proxy).length === 0, OUTLIVE_MS);
  },
  TEST_MS,
);

test(
  "each server's stderr is in a log of its own, secrets hidden; a quiet one has none, and enable_file switches all off",
  async () => {
    verifies("LOG-ROTATED", "SECRETS-MASKED");
    await using scene = openScene();
    const mcpServers = [
      {
        name: "../loud ü",
        ...fixture("--stderr", "I was told s3cret-canary\n"),
        env: { API_TOKEN: "s3cret-canary" },
      },
      { name: "http", url: "http://127.0.0.1:1/mcp" },
    ];
    await using proxy = await startProxy(scene, { config: { mcpServers } });
    const folder = join(proxy.dataDir, "logs");
    const path = join(folder, "server-%2E%2E%2Floud%20%C3%BC.log");
    await waitFor(
      "the log is there",
      () => existsSync(path) && readFileSync(path, "utf8").includes("I was told"),
    );
    const text = readFileSync(path, "utf8");
    expect(text).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z \(process \d+ started\)\n/);
    expect(text).not.toContain("s3cret-canary");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await proxy.stop()).toBe(0);
    expect(readdirSync(folder).toSorted()).toEqual(
      ["main.log", "server-%2E%2E%2Floud%20%C3%BC.log"].toSorted(),
    );
    const main = readFileSync(join(folder, "main.log"), "utf8");
    expect(main).toContain("Listening");
    expect(main).toContain("Stopped");
    expect(main).not.toContain("s3cret-canary");

    await using silent = openScene();
    const logging = { enable_file: false, enable_console: false };
    await using second = await startProxy(silent, { config: { mcpServers, logging } });
    await second.connected(["../loud ü"]);
    expect(await second.stop()).toBe(0);
    expect(existsSync(join(second.dataDir, "logs"))).toBe(false);
    expect(second.stderr()).toBe("");
  },
  TEST_MS,
);

function killAlone(proxy: RunningProxy): Promise<void> {
  return proxy.kill();
}

/** Both at once: the proxy is halted first, so that it has no time to make another guard. */
async function killWithGuard(proxy: RunningProxy): Promise<void> {
  const calledAt = performance.now();
  await waitFor("every child is in the journal", () => performance.now() - calledAt > JOURNAL_MS);
  process.kill(proxy.pid, "SIGSTOP");
  for (const pid of guardsOf(proxy)) process.kill(pid, "SIGKILL");
  await proxy.kill();
}

function guardsOf(proxy: RunningProxy): number[] {
  const guards = new Set(processesWith("mcpproxy-guard"));
  return processesWith(proxy.dataDir).filter((pid) => guards.has(pid));
}

/** Running processes of a scene that were started for a behaviour, descendants included. */
function membersOf(scene: Scene, behaviour: string): number[] {
  return scene
    .processes()
    .filter((pid) => environmentOf(pid).includes(`BEHAVIOUR=${behaviour}`))
    .toSorted((a, b) => a - b);
}

function environmentOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
  } catch {
    return [];
  }
}

function groupsOf(pids: readonly number[]): number[] {
  const groups = pids.flatMap((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      return [Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2])];
    } catch {
      return [];
    }
  });
  return [...new Set(groups)];
}

async function vanished(groups: readonly number[], withinMs: number): Promise<void> {
  await waitFor(`${groups.length} groups are gone`, () => groups.flatMap(liveMembers).length === 0, withinMs);
}

function ms(since: number): string {
  return `${Math.round(performance.now() - since)} ms`;
}

function report(text: string): void {
  console.info(`process: ${text}`);
}
