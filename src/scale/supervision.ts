/**
 * Supervision: auto-disable, cascades, lazy loading and health checks, as an operator sees them.
 *
 * Owns the rows about servers that fail. Invariants: mocks fail on command and by number; a storm disables nobody and
 * writes nothing into the file.
 */
import { readFileSync } from "node:fs";
import { EventReader } from "./event_reader.ts";
import type { Arrival } from "./event_reader.ts";
import { echoing } from "./discovery.ts";
import { ECHO_TOOL } from "./fleet.ts";
import { McpClient } from "./mcp_client.ts";
import { areReady, openStage } from "./stage.ts";
import type { Area, AreaContext, Stage } from "./stage.ts";
import { until } from "./subject.ts";

const THRESHOLD = 3;
const FAIL_MS = 30_000;
const BACK_MS = 60_000;
const CALLERS = 10;
const SERVERS = 60;

/** The area. */
export const SUPERVISION: Area = {
  name: "supervision",
  needs: "mocks",
  about: "auto-disable at the threshold, cascade prevention, lazy loading, health checks",
  run: runSupervision,
};

async function runSupervision(context: AreaContext): Promise<void> {
  const { tell, options } = context;
  await using stage = await openStage(context, {
    healthyBecause:
      "they fail on command here, each by name and so often; others would be disabled beside them",
    servers: options.profile === "storm" ? options.servers : Math.min(options.servers, SERVERS),
    maxStdio: 0,
    settings: {
      auto_disable_threshold: THRESHOLD,
      health_check_interval: "500ms",
      supervision: { backoff_base: "100ms", backoff_cap: "1s", restart_budget: 1000, recover_after: "1h" },
    },
  });
  using events = await EventReader.overSocket(stage.subject.url, stage.subject.key);
  tell("a server that keeps failing");
  await autoDisable(context, { stage, events });
  tell("a server that hangs");
  await health(context, { stage });
  tell("a lazy server");
  await lazy(context, { stage });
  tell("all fail at once");
  await cascade(context, { stage, events });
}

type Played = { readonly stage: Stage; readonly events: EventReader };

async function autoDisable({ sheet }: AreaContext, { stage, events }: Played): Promise<void> {
  const { fleet, subject, active } = stage;
  const name = active.at(-1) ?? "";
  await fleet.setFault(name, { kind: "status", status: 503 });
  const told = (): Arrival | undefined =>
    events.arrivals.find(({ type, server }) => type === "server_auto_disabled" && server === name);
  await until(() => told() !== undefined, "it is auto-disabled", FAIL_MS).catch(() => {});
  sheet.count("auto-disabled after failures in a row", {
    measured: Number(told()?.data["failures"] ?? Number.NaN),
    wanted: THRESHOLD,
  });
  const listed = (await subject.servers()).get(name);
  sheet.count("listed as auto_disabled", {
    measured: Number(listed?.category === "auto_disabled"),
    wanted: 1,
  });
  await fleet.setFault(name, null);
  await subject.post(`/servers/${encodeURIComponent(name)}/enable`);
  const ms = await until(
    async () => (await subject.servers()).get(name)?.category === "connected",
    "it is back",
    FAIL_MS,
  ).catch(() => Number.NaN);
  sheet.add({ metric: "enabled by a person: back after", unit: "ms", measured: ms, target: FAIL_MS });
}

async function health({ sheet }: AreaContext, { stage }: { readonly stage: Stage }): Promise<void> {
  const { fleet, subject, active } = stage;
  const name = active.at(-2) ?? "";
  const isLost = async (): Promise<boolean> => (await subject.servers()).get(name)?.category !== "connected";
  await fleet.setFault(name, { kind: "hang", at: "connect" });
  const lostMs = await until(isLost, "the silence is noticed", FAIL_MS).catch(() => Number.NaN);
  sheet.add({
    metric: "health: a silent server noticed after",
    unit: "ms",
    measured: lostMs,
    target: FAIL_MS,
  });
  await fleet.setFault(name, null);
  const backMs = await until(async () => !(await isLost()), "it is back", BACK_MS).catch(() => Number.NaN);
  sheet.add({ metric: "health: healed, back after", unit: "ms", measured: backMs, target: BACK_MS });
}

async function lazy({ sheet }: AreaContext, { stage }: { readonly stage: Stage }): Promise<void> {
  const { fleet, subject } = stage;
  const lazyNames = fleet.entries
    .filter((entry) => entry["startup_mode"] === "lazy_loading")
    .map(({ name }) => name);
  const [name = ""] = echoing({ fleet, active: lazyNames });
  const of = async () => (await subject.servers()).get(name);
  await until(async () => ((await of())?.tool_count ?? 0) > 0, "its tools are learned", BACK_MS).catch(
    () => {},
  );
  await until(async () => (await of())?.category === "sleeping", "it sleeps", BACK_MS).catch(() => {});
  sheet.count("lazy: asleep, its tools known", {
    measured: Number((await of())?.category === "sleeping" && ((await of())?.tool_count ?? 0) > 0),
    wanted: 1,
  });
  const before = (await fleet.counters(name)).starts;
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const calls = Array.from({ length: CALLERS }, (_, at) =>
    client.call("call_tool_read", { name: `${name}:${ECHO_TOOL}`, args: { value: `call ${at}` } }),
  );
  const answers = await Promise.all(calls);
  const own = answers.filter(({ content }, at) => content[0]?.text?.includes(`call ${at}`)).length;
  sheet.count(`lazy: ${CALLERS} calls at once answered`, { measured: own, wanted: CALLERS });
  const starts = (await fleet.counters(name)).starts - before;
  sheet.count("lazy: starts for them", { measured: starts, wanted: 1 });
}

async function cascade({ sheet }: AreaContext, { stage, events }: Played): Promise<void> {
  const { fleet, subject, active } = stage;
  await areReady(subject, active.length, BACK_MS).catch(() => {});
  const text = readFileSync(subject.configPath, "utf8");
  const seen = events.arrivals.length;
  const news = (): readonly Arrival[] => events.arrivals.slice(seen);
  await fleet.network("down");
  const isSuspended = (): boolean => news().some(({ type }) => type === "auto_disable_suspended");
  await until(isSuspended, "counting is suspended", FAIL_MS).catch(() => {});
  sheet.count("storm: counting suspended", { measured: Number(isSuspended()), wanted: 1 });
  await fleet.network("up");
  const ms = await areReady(subject, active.length, BACK_MS).catch(() => Number.NaN);
  sheet.add({ metric: "storm: all back after", unit: "ms", measured: ms, target: BACK_MS });
  const disabled = [...(await subject.servers()).values()].filter(
    ({ category }) => category === "auto_disabled",
  );
  sheet.count("storm: servers auto-disabled", { measured: disabled.length, wanted: 0 });
  sheet.count("storm: the file is untouched", {
    measured: Number(readFileSync(subject.configPath, "utf8") === text),
    wanted: 1,
  });
}
