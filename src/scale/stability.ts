/**
 * Memory and stability: storms, and what is left when they are over.
 *
 * Owns the rows about leaks. Invariants: what is compared is calm with calm, after a warm-up storm; memory is judged by
 * its growth over the storms, handles and children by their number. One reading at the end was rejected: it cannot tell
 * a leak from a cache that is full.
 */
import { ECHO_TOOL } from "./fleet.ts";
import { echoing } from "./discovery.ts";
import { heapGrowth } from "./heap.ts";
import { McpClient } from "./mcp_client.ts";
import { slopeOf } from "./sheet.ts";
import { areReady, heldBy, openStage, visited } from "./stage.ts";
import type { Area, AreaContext, Held, Stage } from "./stage.ts";
import { until } from "./subject.ts";

const STORMS = { short: 2, usual: 5, storm: 15 } as const;
const WARM_UPS = 2;
const CALLS = 200;
/** So long that all of them are under way at once, also on a busy machine: the network is cut under them, and when they
 * end as many connections are idle as are ever kept. */
const CALL_MS = 1_000;
const DOWN_MS = 20_000;
const BACK_MS = 60_000;
/** Of each server on top: ten thousand share the processor with the servers they are. */
const BACK_MS_PER_SERVER = 20;
/** Probes a second, at most. */
const PROBES = 1_000;
const STILL_MS = 2_000;
/** A runtime that has nothing to do collects every 30 s only. */
const CALM_MS = 40_000;
const MUST_HANDLES = 10;
/** The runtime keeps up to 64 idle connections for the next call; each reading is taken after calls that leave so many, but
 * among a thousand servers all of them may just have been given up. */
const MUST_CONNECTIONS = 10 + 64;
/** Or that share of what is resident, where it is more: so much moves from one collection to the next. */
const MUST_STORM_MB = 4;
const MUST_STORM_SHARE = 0.02;
const LISTED_CLASSES = 5;
/** What the runtime calls an open timer. */
const TIMER_CLASS = "Timeout";
const MUST_TIMERS = 10;

/** The area. */
export const STABILITY: Area = {
  name: "stability",
  needs: "mocks",
  about: "memory and stability: five storms, then handles, children, memory as before",
  run: runStability,
};

async function runStability(context: AreaContext): Promise<void> {
  const { sheet, tell, options } = context;
  await using stage = await openStage(context, {
    healthyBecause:
      "processes and sockets of servers that keep failing come and go, and would pass for leaks",
    maxStdio: Math.min(options.maxStdio, 20),
    callMs: CALL_MS,
    settings: {
      // Whether a storm disables anybody is the question of another area.
      auto_disable_threshold: 0,
      health_check_interval: `${Math.ceil(options.servers / PROBES)}s`,
      supervision: { backoff_base: "100ms", backoff_cap: "1s", restart_budget: 1000 },
    },
  });
  await visited(stage);
  for (let number = 1; number <= WARM_UPS; number += 1) await storm(stage);
  const before = await calm(stage);
  const heapBefore = await heapOf(stage);
  const samples: Held[] = [];
  const storms = STORMS[options.isShort ? "short" : options.profile === "storm" ? "storm" : "usual"];
  for (let number = 1; number <= storms; number += 1) {
    tell(`storm ${number} of ${storms}`);
    await storm(stage);
    const rssMb = Math.max(before.rssMb, samples.at(-1)?.rssMb ?? 0);
    samples.push(
      await calm(stage, {
        ...before,
        rssMb: rssMb + mustStormMb(before),
        handles: before.handles + MUST_HANDLES,
        connections: before.connections + MUST_CONNECTIONS,
      }),
    );
  }
  judge(context, { before, samples });
  await judgeObjects(context, { stage, heapBefore });
  const { left, code, ms } = await stage.subject.stop();
  sheet.count("processes that outlived the proxy", { measured: left, wanted: 0 });
  sheet.count("exit code", { measured: code, wanted: 0 });
  sheet.add({ metric: "stopping", unit: "ms", measured: ms, target: 15_000 });
}

/** Calls, timers and objects that are still there. */
async function judgeObjects(
  { sheet }: AreaContext,
  { stage, heapBefore }: { readonly stage: Stage; readonly heapBefore: string },
): Promise<void> {
  const { data } = await stage.subject.api("/metrics");
  const { in_flight: inFlight } = data["calls"] as { readonly in_flight: number };
  sheet.count("calls still in flight", { measured: inFlight, wanted: 0 });
  let growth: ReturnType<typeof heapGrowth> = [];
  const timers = (): number => growth.find(({ name }) => name === TIMER_CLASS)?.objects ?? 0;
  const areFew = async (): Promise<boolean> => {
    growth = heapGrowth(heapBefore, await heapOf(stage));
    return timers() <= MUST_TIMERS;
  };
  // Each server has one until it was ready for half a minute.
  await until(areFew, "timers as before", CALM_MS).catch(() => {});
  sheet.add({ metric: "timers more than before", unit: "timers", measured: timers(), must: MUST_TIMERS });
  const grown = growth.slice(0, LISTED_CLASSES);
  sheet.add({
    metric: "heap objects more than before",
    unit: "objects",
    measured: grown.reduce((sum, { objects }) => sum + objects, 0),
    note: grown.map(({ name, objects }) => `${name} +${objects}`).join(", "),
  });
}

/** What is held after each storm, beside what was held before them. */
function judge(
  { sheet }: AreaContext,
  held: { readonly before: Held; readonly samples: readonly Held[] },
): void {
  const { before, samples } = held;
  const last = samples.at(-1) ?? before;
  sheet.add({ metric: "resident before the storms", unit: "MB", measured: before.rssMb });
  sheet.add({ metric: "resident after the last storm", unit: "MB", measured: last.rssMb });
  sheet.add({
    metric: "memory a storm adds",
    unit: "MB/storm",
    measured: slopeOf([before, ...samples].map(({ rssMb }, x) => ({ x, y: rssMb }))),
    must: mustStormMb(before),
    note: [before, ...samples].map(({ rssMb }) => rssMb.toFixed(0)).join(" → "),
  });
  sheet.add({
    metric: "handles more than before",
    unit: "handles",
    measured: last.handles - before.handles,
    must: MUST_HANDLES,
    note: `${[before, ...samples].map(({ handles }) => handles).join(" → ")}, beside connections to servers`,
  });
  sheet.add({
    metric: "connections to servers more than before",
    unit: "handles",
    measured: last.connections - before.connections,
    must: MUST_CONNECTIONS,
    note: [before, ...samples].map(({ connections }) => connections).join(" → "),
  });
  sheet.count("children as before", { measured: last.children, wanted: before.children });
}

function mustStormMb({ rssMb }: Held): number {
  return Math.max(MUST_STORM_MB, rssMb * MUST_STORM_SHARE);
}

/** The network goes and comes back while agents call and operators restart. */
async function storm(stage: Stage): Promise<void> {
  const { fleet, subject, active } = stage;
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const calls = callAll(stage, client);
  await fleet.network("down");
  const isActive = new Set(active);
  const struck = fleet.servers.filter(
    ({ name, transport }) => isActive.has(name) && transport !== "stdio",
  ).length;
  const isDown = async (): Promise<boolean> => {
    const { data } = await subject.api("/status");
    const { connected_servers: connected } = data["upstream_stats"] as { readonly connected_servers: number };
    return connected <= active.length - struck / 2;
  };
  await until(isDown, "the storm is felt", DOWN_MS).catch(() => {});
  await fleet.network("up");
  await calls;
  await subject.post("/servers/batch", { action: "restart", names: active.slice(0, 20) });
  await areReady(subject, active.length, backMs(active));
}

/** So many calls at once, some for each server. */
async function callAll(stage: Stage, client: McpClient): Promise<void> {
  const names = echoing(stage);
  const calls = Array.from({ length: CALLS }, (_, at) =>
    client
      .call("call_tool_read", { name: `${names[at % names.length]}:${ECHO_TOOL}`, args: { value: `${at}` } })
      .catch(() => undefined),
  );
  await Promise.all(calls);
}

/** Brings the idle connections, to servers and from agents, to as many as are ever kept. */
async function fillIdle(stage: Stage): Promise<void> {
  await using client = await McpClient.open(`${stage.subject.url}/mcp`);
  await callAll(stage, client);
}

function backMs(active: readonly string[]): number {
  return BACK_MS + active.length * BACK_MS_PER_SERVER;
}

/** Waits until nothing moves any more, and no more than `most` is held, for a while at most. */
async function calm(stage: Stage, most?: Held): Promise<Held> {
  const { subject, active } = stage;
  await areReady(subject, active.length, backMs(active));
  await fillIdle(stage);
  // A snapshot collects first; its own text may stay until the runtime collects again.
  await heapOf(stage);
  let least = heldBy(stage);
  const beganAt = performance.now();
  const isCalm = (): boolean => {
    const now = heldBy(stage);
    const isLess =
      now.rssMb < least.rssMb - 0.5 || now.handles < least.handles || now.connections < least.connections;
    least = {
      rssMb: Math.min(now.rssMb, least.rssMb),
      handles: Math.min(now.handles, least.handles),
      connections: Math.min(now.connections, least.connections),
      children: now.children,
    };
    if (isLess || performance.now() - beganAt < STILL_MS) return false;
    if (most === undefined) return true;
    const isWithin = (key: "rssMb" | "handles" | "connections"): boolean => least[key] <= most[key];
    return (
      isWithin("rssMb") && isWithin("handles") && isWithin("connections") && now.children === most.children
    );
  };
  await until(isCalm, "it is calm", CALM_MS).catch(() => {});
  return least;
}

async function heapOf({ subject }: Stage): Promise<string> {
  const response = await fetch(`${subject.url}/api/v1/profile/heap`, {
    headers: { "x-api-key": subject.key },
  });
  return response.text();
}
