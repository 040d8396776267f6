/**
 * The soak: mixed load, churn, faults and reloads for as long as one likes, and the slope of what the proxy holds.
 *
 * Owns the load, the samples and their slopes. Invariants: slopes are taken after a warm-up and on calm readings as well
 * as busy ones; the same seed plays the same load; a call may fail only for what the soak did to its server, a search
 * never. Judging by the last sample was rejected: it is one of many.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { seededRandom } from "../mock/random.ts";
import { echoing } from "./discovery.ts";
import { EventReader, faultsOf } from "./event_reader.ts";
import { ECHO_TOOL } from "./fleet.ts";
import { McpClient } from "./mcp_client.ts";
import { quantile, slopeOf } from "./sheet.ts";
import type { AreaSheet } from "./sheet.ts";
import { Troubles } from "./soak_trouble.ts";
import type { Cause } from "./soak_trouble.ts";
import { areReady, heldBy, openStage, visited } from "./stage.ts";
import type { AreaContext, Held, Stage } from "./stage.ts";
import { until } from "./subject.ts";

const SAMPLE_MS = 5_000;
const STEP_MS = 100;
const CLIENTS = 4;
const WARM_UP_RATIO = 0.25;
const MUST_MB_PER_MINUTE = 1;
const MUST_CONNECTIONS_PER_MINUTE = 1;
/**
 * Memory is a saw between two collections, connections between two crowds of probes; a line through fewer minutes of it
 * than these is uncertain by the power 1.5 of what is missing, and its bar as much wider.
 */
const CERTAIN_MINUTES = 12;
const MUST_HANDLES = 10;
/** That many may be on their way down at the first of the readings, and none at the last. */
const MUST_CHILDREN = 2;
const CALM_MS = 60_000;
const MS_PER_MINUTE = 60_000;
const FAULT_STEPS = 40;
const RELOAD_STEPS = 300;
const NETWORK_STEPS = 900;
const LOOK_MS = 500;
/** What may be added, by the minutes of the readings. */
const SLOPES: readonly Slope[] = [
  {
    key: "rssMb",
    name: "memory",
    unit: "MB/min",
    must: (minutes) => MUST_MB_PER_MINUTE * uncertainty(minutes),
  },
  { key: "handles", name: "handles", unit: "1/min", must: (minutes) => MUST_HANDLES / minutes },
  {
    key: "connections",
    name: "connections to servers",
    unit: "1/min",
    must: (minutes) => MUST_CONNECTIONS_PER_MINUTE * uncertainty(minutes),
  },
  { key: "children", name: "children", unit: "1/min", must: (minutes) => MUST_CHILDREN / minutes },
];
/** Texts of failures that are shown. */
const SHOWN = 3;

interface Slope {
  readonly key: keyof Held;
  readonly name: string;
  readonly unit: string;
  readonly must: (minutes: number) => number;
}

/** What was held and done at a moment. */
export interface SoakSample extends Held {
  readonly minute: number;
  /** Of the calls since the sample before; not a number when there was none. */
  readonly callP50Ms: number;
  readonly callP99Ms: number;
  /** Since the sample before. */
  readonly events: number;
}

/** What a soak came to. */
export interface Soak {
  readonly samples: readonly SoakSample[];
  readonly calls: number;
  /** For what was done to their servers, and for nothing. */
  readonly failedCalls: number;
}

/** Plays the load for so many milliseconds, and fills the sheet with what it came to. */
export async function runSoak(context: AreaContext, durationMs: number): Promise<Soak> {
  const { sheet, tell } = context;
  await using stage = await openStage(context, {
    healthyBecause: "the soak makes them ill itself",
    settings: {
      call_tool_timeout: "2s",
      health_check_interval: "2s",
      supervision: { backoff_base: "200ms", backoff_cap: "5s", restart_budget: 1000 },
    },
  });
  await visited(stage);
  const run = new SoakRun(context, stage);
  await using sessions = new AsyncDisposableStack();
  const clients: McpClient[] = [];
  while (clients.length < CLIENTS)
    clients.push(sessions.use(await McpClient.open(`${stage.subject.url}/mcp`)));
  using reader = await EventReader.overSocket(stage.subject.url, stage.subject.key);
  const endsAt = performance.now() + durationMs;
  let sampledAt = performance.now();
  for (let step = 0; performance.now() < endsAt; step += 1) {
    await run.step(step, clients);
    if (performance.now() - sampledAt > SAMPLE_MS) {
      sampledAt = performance.now();
      const sample = run.sample(reader);
      tell(
        `minute ${sample.minute.toFixed(1)}: ${sample.rssMb.toFixed(0)} MB, ${sample.handles} handles, p50 ${sample.callP50Ms.toFixed(1)} ms`,
      );
    }
    await sleep(STEP_MS);
  }
  await run.settle();
  run.sample(reader);
  judge(sheet, run);
  sheet.count("events: gaps, doubles and disorder", {
    measured: run.disorder + faultsOf(reader.arrivals),
    wanted: 0,
  });
  return { samples: run.samples, calls: run.calls, failedCalls: run.excused.length + run.failures.length };
}

/** What is done, step by step. */
class SoakRun {
  readonly samples: SoakSample[] = [];
  /** Why calls failed that may. */
  readonly excused: Cause[] = [];
  /** What calls and searches said that may not fail. */
  readonly failures: string[] = [];
  readonly troubles = new Troubles();
  calls = 0;
  disorder = 0;
  readonly #stage: Stage;
  readonly #random: () => number;
  readonly #startedAt = performance.now();
  readonly #first: Held;
  #times: number[] = [];
  #lastId = 0;
  #lookedAt = 0;
  readonly #echoing;
  readonly #faulty = new Set<string>();

  constructor(context: AreaContext, stage: Stage) {
    this.#stage = stage;
    this.#random = seededRandom(context.options.seed);
    this.#first = heldBy(stage);
    this.#echoing = echoing(stage);
  }

  /** What was held before the load. */
  get first(): Held {
    return this.#first;
  }

  /** Servers over HTTP that run. */
  get overHttp(): readonly string[] {
    const isActive = new Set(this.#stage.active);
    return this.#stage.fleet.servers
      .filter(({ name, transport }) => isActive.has(name) && transport !== "stdio")
      .map(({ name }) => name);
  }

  /** A call and a search of each client always; now and then a fault, a switch, a reload, or the whole network. */
  async step(step: number, clients: readonly McpClient[]): Promise<void> {
    await this.#look();
    await Promise.all(clients.map((client) => this.#call(client)));
    if (step % FAULT_STEPS === FAULT_STEPS - 1) await this.#fault();
    if (step % RELOAD_STEPS === RELOAD_STEPS - 1) this.#editByHand();
    if (step % NETWORK_STEPS === NETWORK_STEPS - 1) await this.#cutNetwork();
    const name = this.#pick();
    const draw = this.#random();
    if (draw < 0.05) await this.#switch(name, ["restart"]);
    else if (draw < 0.08) await this.#switch(name, ["disable", "enable"]);
  }

  /** Heals all, and waits until it is calm. */
  async settle(): Promise<void> {
    const { subject, active } = this.#stage;
    await this.#heal();
    await subject.post("/servers/batch", { action: "enable", names: active });
    await areReady(subject, active.length, CALM_MS).catch(() => {});
    const isCalm = (): boolean => subject.holdings().children === this.#first.children;
    await until(isCalm, "as many children as at first", CALM_MS).catch(() => {});
  }

  /** Reads what is held now. */
  sample(reader: EventReader): SoakSample {
    const sample = {
      minute: (performance.now() - this.#startedAt) / MS_PER_MINUTE,
      ...heldBy(this.#stage),
      callP50Ms: quantile(this.#times, 0.5),
      callP99Ms: quantile(this.#times, 0.99),
      events: reader.arrivals.length,
    };
    const [first] = reader.arrivals;
    if (first !== undefined && this.#lastId > 0 && first.id !== this.#lastId + 1) this.disorder += 1;
    this.disorder += faultsOf(reader.arrivals);
    this.#lastId = reader.arrivals.at(-1)?.id ?? this.#lastId;
    reader.arrivals.length = 0;
    this.#times = [];
    this.samples.push(sample);
    return sample;
  }

  async #call(client: McpClient): Promise<void> {
    const name = this.#echoing[Math.floor(this.#random() * this.#echoing.length)] ?? "";
    const from = performance.now();
    this.calls += 1;
    const failure = await echo(client, name, `call ${this.calls}`);
    if (failure !== undefined) {
      const cause = this.troubles.causeOf(name, from);
      if (cause === undefined) this.failures.push(`${name}: ${failure}`);
      else this.excused.push(cause);
    }
    const query = `list ${name}`;
    await client.callJson("retrieve_tools", { query, limit: 5 }).catch((error: unknown) => {
      this.failures.push(`search: ${String(error)}`);
    });
    this.#times.push(performance.now() - from);
  }

  /** Sees who is back; who was auto-disabled for what was done to it is switched on again, as operators do. */
  async #look(): Promise<void> {
    const at = performance.now();
    if (at - this.#lookedAt < LOOK_MS || !this.troubles.isOpen) return;
    this.#lookedAt = at;
    const { subject } = this.#stage;
    const servers = await subject.servers();
    const waitedFor = this.troubles.look((name) => servers.get(name)?.category === "connected", at);
    const names = waitedFor.filter((name) => servers.get(name)?.category === "auto_disabled");
    if (names.length > 0) await subject.post("/servers/batch", { action: "enable", names });
  }

  async #switch(name: string, verbs: readonly string[]): Promise<void> {
    this.troubles.begin(name, "switch");
    for (const verb of verbs) await this.#stage.subject.post(`/servers/${encodeURIComponent(name)}/${verb}`);
    this.troubles.lift(name, "switch", performance.now());
  }

  async #cutNetwork(): Promise<void> {
    const { fleet } = this.#stage;
    for (const name of this.overHttp) this.troubles.begin(name, "network cut");
    await fleet.network("down");
    await sleep(STEP_MS * 10);
    await fleet.network("up");
    for (const name of this.overHttp) this.troubles.lift(name, "network cut", performance.now());
  }

  /** One more is ill, or all are healed. */
  async #fault(): Promise<void> {
    const { fleet } = this.#stage;
    if (this.#faulty.size > 3) {
      await this.#heal();
      return;
    }
    const name = this.#pick();
    const faults = [
      { kind: "status", status: 503 },
      { kind: "hang", at: "call" },
      { kind: "drop", at: "call" },
      { kind: "garbage" },
    ] as const;
    this.troubles.begin(name, "fault");
    await fleet.setFault(name, faults[Math.floor(this.#random() * faults.length)] ?? null);
    this.#faulty.add(name);
  }

  async #heal(): Promise<void> {
    for (const name of this.#faulty) {
      await this.#stage.fleet.setFault(name, null);
      this.troubles.lift(name, "fault", performance.now());
    }
    this.#faulty.clear();
  }

  /** A person saves the file with another description. */
  #editByHand(): void {
    const { configPath } = this.#stage.subject;
    const text = readFileSync(configPath, "utf8");
    writeFileSync(configPath, text.replace(/"description": "[^"]*"/, `"description": "edit ${this.calls}"`));
  }

  #pick(): string {
    const { active } = this.#stage;
    return active[Math.floor(this.#random() * active.length)] ?? "";
  }
}

function uncertainty(minutes: number): number {
  return Math.max(1, CERTAIN_MINUTES / minutes) ** 1.5;
}
/** What went wrong with a call, if anything did. */
async function echo(client: McpClient, server: string, value: string): Promise<string | undefined> {
  try {
    const name = `${server}:${ECHO_TOOL}`;
    const { content, isError } = await client.call("call_tool_read", { name, args: { value } });
    const text = content[0]?.text ?? "";
    return isError !== true && text.includes(value) ? undefined : text;
  } catch (error) {
    return String(error);
  }
}

function judge(sheet: AreaSheet, run: SoakRun): void {
  const { samples, first } = run;
  const warm = samples.slice(Math.floor(samples.length * WARM_UP_RATIO));
  const minutes = Math.max((warm.at(-1)?.minute ?? 0) - (warm[0]?.minute ?? 0), SAMPLE_MS / MS_PER_MINUTE);
  for (const { key, name, unit, must } of SLOPES) {
    sheet.add({
      metric: `${name}, slope after warm-up`,
      unit,
      measured: slopeOf(warm.map((sample) => ({ x: sample.minute, y: sample[key] }))),
      must: must(minutes),
    });
  }
  const last = samples.at(-1);
  sheet.add({ metric: "resident at the end", unit: "MB", measured: last?.rssMb ?? Number.NaN });
  sheet.add({
    metric: "calm again: handles more than at first",
    unit: "handles",
    measured: (last?.handles ?? Number.NaN) - first.handles,
    must: MUST_HANDLES,
    note: "beside connections to servers",
  });
  sheet.add({
    metric: "calm again: connections more than at first",
    unit: "handles",
    measured: (last?.connections ?? Number.NaN) - first.connections,
    must: run.overHttp.length + MUST_HANDLES,
    note: "one to each server over HTTP is kept for the next call",
  });
  sheet.count("calm again: children as at first", {
    measured: last?.children ?? Number.NaN,
    wanted: first.children,
  });
  const p50 = warm.map(({ callP50Ms }) => callP50Ms).filter(Number.isFinite);
  sheet.add({ metric: "a call and a search, p50", unit: "ms", measured: quantile(p50, 0.5) });
  judgeCalls(sheet, run);
}

function judgeCalls(sheet: AreaSheet, { calls, excused, failures, troubles }: SoakRun): void {
  const causes = Map.groupBy(excused, (cause) => cause);
  const counts = [...causes].map(([cause, { length }]) => `${cause} ${length}`);
  sheet.add({
    metric: "calls made",
    unit: "",
    measured: calls,
    note: `${excused.length} failed for what was done to their servers${counts.length === 0 ? "" : `: ${counts.join(", ")}`}`,
  });
  sheet.add({
    metric: "calls to well servers, and searches, that failed",
    unit: "calls",
    measured: failures.length,
    must: 0,
    note: failures.slice(0, SHOWN).join("; "),
  });
  sheet.add({
    metric: "servers not back in time",
    unit: "servers",
    measured: troubles.late.length,
    must: 0,
    note: troubles.late.slice(0, SHOWN).join(", "),
  });
}
