/**
 * Start-up: from the start of the process until operators list, agents search, call and switch; and the end.
 *
 * Owns the rows about starting, first and again. Invariants: times count from the start of the process; the first start
 * has no history; what does not come up is named with its reason.
 */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { echoing, queryOf } from "./discovery.ts";
import { ECHO_TOOL } from "./fleet.ts";
import type { Roster } from "./roster.ts";
import { McpClient } from "./mcp_client.ts";
import { isQuick, openFleet } from "./stage.ts";
import type { Area, AreaContext } from "./stage.ts";
import { Subject, until } from "./subject.ts";

const DESIGN_START_MS = 30_000;
/** Of a fleet of production size; of more servers it is what should be, not what must. */
const LISTEN_MS = 1_000;
const RESTART_MS = { few: 250, many: 1_000 } as const;
const MANY_SERVERS = 500;
const POLL_MS = 20;

/** Rows that a test reads by name. */
export const LISTENING = "first start: listening";
/** Its note says what each of them waits for. */
export const NOT_READY = "first start: active servers not ready then";

/** The area. */
export const STARTUP: Area = {
  name: "startup",
  needs: "servers",
  about: "start-up: listening, all that can run ready, restart, one of each operation, stop",
  run: runStartup,
};

async function runStartup(context: AreaContext): Promise<void> {
  const { options, sheet, tell } = context;
  await using fleet = await openFleet(context, { timeScale: 1 });
  const folder = mkdtempSync(join(context.folder, "start-"));
  const config = fleet.config({ settings: { logging: { level: "warn" } } });
  const fast = namesOf(fleet, options.profile === "production" ? isQuick : () => true);
  {
    await using subject = await Subject.start({ command: options.command, folder, config });
    tell("first start");
    sheet.add({
      metric: LISTENING,
      unit: "ms",
      measured: subject.listenMs,
      target: options.servers > MANY_SERVERS ? DESIGN_START_MS : LISTEN_MS,
      must: LISTEN_MS,
    });
    const ms = options.user === undefined ? await connectedMs(subject, fast) : await settledMs(subject);
    sheet.add({
      metric:
        options.user === undefined
          ? `first start: the ${fast.length} fast servers ready`
          : "first start: each server ready or tried once",
      unit: "ms",
      measured: ms,
      target: DESIGN_START_MS,
    });
    const { count, note } = await waitingFor(subject, fleet);
    sheet.add({ metric: NOT_READY, unit: "", measured: count, note });
    const { rssMb, cpuSeconds, children } = subject.holdings();
    sheet.add({ metric: "first start: resident then", unit: "MB", measured: rssMb });
    sheet.add({ metric: "first start: processor then", unit: "CPU-s", measured: cpuSeconds });
    sheet.add({ metric: "first start: child processes then", unit: "", measured: children });
    await operate(context, { subject, fleet, fast });
    await checkEnd(context, subject);
  }
  tell("restart");
  await using again = await Subject.start({ command: options.command, folder });
  const must = options.servers > MANY_SERVERS ? RESTART_MS.many : RESTART_MS.few;
  sheet.add({
    metric: "restart: listening, known tools searchable",
    unit: "ms",
    measured: again.readyMs,
    target: DESIGN_START_MS,
    must,
  });
  // Nobody knows which tools a user's own servers had.
  if (options.user === undefined) await searchKnown(context, { subject: again, fleet, fast, must });
}

/** What is said to be searchable is searched: a tool that was learned before. */
async function searchKnown(
  { sheet }: AreaContext,
  given: {
    readonly subject: Subject;
    readonly fleet: Roster;
    readonly fast: readonly string[];
    readonly must: number;
  },
): Promise<void> {
  const { subject, fleet, fast, must } = given;
  // One that was left alone meanwhile.
  const name = echoing({ fleet, active: fast }).at(-1) ?? "";
  const [tool] = fleet.servers.find((server) => server.name === name)?.tools ?? [];
  const query = tool === undefined ? "" : queryOf(name, tool);
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const { tools = [] } = (await client.callJson("retrieve_tools", { query })) as {
    readonly tools?: readonly { readonly id: string }[];
  };
  const ms = performance.now() - subject.startedAt;
  sheet.count("restart: one search finds a known tool", {
    measured: tools.filter(({ id }) => id === `${name}:${tool?.name}`).length,
    wanted: 1,
    note: `among ${tools.length} hits`,
  });
  sheet.add({
    metric: "restart: until the first search is answered",
    unit: "ms",
    measured: ms,
    target: DESIGN_START_MS,
    must,
    note: "from the start of the process, the agent's handshake included",
  });
}

function namesOf(fleet: Roster, isWanted: (server: Roster["servers"][number]) => boolean): readonly string[] {
  const active = new Set(
    fleet.entries.filter((entry) => entry["startup_mode"] === "active").map(({ name }) => name),
  );
  return fleet.servers
    .filter((server) => active.has(server.name) && isWanted(server))
    .map(({ name }) => name);
}

async function connectedMs(subject: Subject, names: readonly string[]): Promise<number> {
  const left = new Set(names);
  const areAll = async (): Promise<boolean> => {
    const servers = await subject.servers();
    for (const name of left) if (servers.get(name)?.connection_state === "ready") left.delete(name);
    if (left.size > 0) await sleep(POLL_MS);
    return left.size === 0;
  };
  await until(areAll, "the fast servers are ready", DESIGN_START_MS * 2).catch(() => {});
  return left.size === 0 ? performance.now() - subject.startedAt : Number.NaN;
}

async function settledMs(subject: Subject): Promise<number> {
  await until(
    async () => (await fetch(`${subject.url}/startupz`)).ok,
    "all are settled",
    DESIGN_START_MS * 2,
  ).catch(() => {});
  return performance.now() - subject.startedAt;
}

/** Who of those that should be ready is not, and why in a few words. */
async function waitingFor(
  subject: Subject,
  { entries }: Roster,
): Promise<{ readonly count: number; readonly note: string }> {
  const reasons = new Map<string, number>();
  const servers = await subject.servers();
  for (const { name } of entries.filter((entry) => entry["startup_mode"] === "active")) {
    const { reason, connection_state: state = "unknown" } = servers.get(name) ?? {};
    if (state === "ready") continue;
    const why =
      reason === undefined ? state : reason.replace(/^Cannot connect '[^']*': /, "").replaceAll(/\d+/g, "n");
    const short = why.slice(0, 48);
    reasons.set(short, (reasons.get(short) ?? 0) + 1);
  }
  const most = [...reasons].toSorted((a, b) => b[1] - a[1]);
  return {
    count: most.reduce((sum, [, count]) => sum + count, 0),
    note: most.map(([why, count]) => `${count} × ${why}`).join("; "),
  };
}

/** One of each thing people and agents do. */
async function operate(
  { sheet }: AreaContext,
  given: { readonly subject: Subject; readonly fleet: Roster; readonly fast: readonly string[] },
): Promise<void> {
  const { subject, fleet, fast } = given;
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const [name = ""] = echoing({ fleet, active: fast });
  const steps = {
    list: async () => (await subject.servers()).size === fleet.entries.length,
    search: async () => {
      const { tools } = (await client.callJson("retrieve_tools", { query: "list", limit: 5 })) as {
        tools: unknown[];
      };
      return tools.length > 0;
    },
    call: async () => {
      const args = { name: `${name}:${ECHO_TOOL}`, args: { value: "first call" } };
      return (await client.call("call_tool_read", args)).content[0]?.text?.includes("first call") === true;
    },
    toggle: async () => {
      const path = `/servers/${encodeURIComponent(name)}`;
      const off = await subject.post(`${path}/disable`);
      const on = await subject.post(`${path}/enable`);
      return off.status === 200 && on.status === 200;
    },
  };
  for (const [step, run] of Object.entries(steps)) {
    // Nobody knows which tool of a user's own server may be called, or which server be switched.
    if (fleet.servers.length === 0 && step !== "list") continue;
    sheet.count(`one ${step}`, { measured: Number(await run().catch(() => false)), wanted: 1 });
  }
}

async function checkEnd({ sheet }: AreaContext, subject: Subject): Promise<void> {
  const { code, left, ms } = await subject.stop();
  sheet.count("stop: exit code", { measured: code, wanted: 0 });
  sheet.count("stop: processes left", { measured: left, wanted: 0 });
  sheet.add({ metric: "stop", unit: "ms", measured: ms, target: 15_000 });
}
