/**
 * The soak: mixed load, churn, faults and reloads for as long as one likes, and the slope of what the proxy holds.
 *
 * Owns the load, the samples and their slopes. Invariants: slopes are taken after a warm-up and on calm readings as well
 * as busy ones; the same seed plays the same load. Judging by the last sample was rejected: it is one of many.
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
import { areReady, openStage } from "./stage.ts";
import type { AreaContext, Stage } from "./stage.ts";
import { until } from "./subject.ts";

const SAMPLE_MS = 5_000;
const STEP_MS = 100;
const CLIENTS = 4;
const WARM_UP_RATIO = 0.25;
const MUST_MB_PER_MINUTE = 1;
const MUST_HANDLES = 10;
const CALM_MS = 60_000;
const MS_PER_MINUTE = 60_000;
const FAULT_STEPS = 40;
const RELOAD_STEPS = 300;
const NETWORK_STEPS = 900;

/** What was held and done at a moment. */
export interface SoakSample {
  readonly minute: number;
  readonly rssMb: number;
  readonly handles: number;
  readonly children: number;
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
  readonly failedCalls: number;
}

/** Plays the load for so many milliseconds, and fills the sheet with what it came to. */
export async function runSoak(context: AreaContext, durationMs: number): Promise<Soak> {
  const { sheet, tell } = context;
  await using stage = await openStage(context, {
    settings: {
      call_tool_timeout: "2s",
      health_check_interval: "2s",
      supervision: { backoff_base: "200ms", backoff_cap: "5s", restart_budget: 1000 },
    },
  });
  // Lazy servers are visited once: what they take is not there later.
  await sleep(SAMPLE_MS);
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
  return { samples: run.samples, calls: run.calls, failedCalls: run.failed };
}

/** What is done, step by step. */
class SoakRun {
  readonly samples: SoakSample[] = [];
  calls = 0;
  failed = 0;
  disorder = 0;
  readonly #stage: Stage;
  readonly #random: () => number;
  readonly #startedAt = performance.now();
  readonly #first;
  #times: number[] = [];
  #lastId = 0;
  readonly #faulty = new Set<string>();

  constructor(context: AreaContext, stage: Stage) {
    this.#stage = stage;
    this.#random = seededRandom(context.options.seed);
    this.#first = stage.subject.holdings();
  }

  /** What was held before the load. */
  get first(): Readonly<{ handles: number; children: number }> {
    return this.#first;
  }

  /** A call and a search of each client always; now and then a fault, a switch, a reload, or the whole network. */
  async step(step: number, clients: readonly McpClient[]): Promise<void> {
    const { subject, fleet } = this.#stage;
    await Promise.all(clients.map((client) => this.#call(client)));
    if (step % FAULT_STEPS === FAULT_STEPS - 1) await this.#fault();
    if (step % RELOAD_STEPS === RELOAD_STEPS - 1) this.#editByHand();
    if (step % NETWORK_STEPS === NETWORK_STEPS - 1) {
      await fleet.network("down");
      await sleep(STEP_MS * 10);
      await fleet.network("up");
    }
    const name = this.#pick();
    const draw = this.#random();
    if (draw < 0.05) await subject.post(`/servers/${encodeURIComponent(name)}/restart`);
    else if (draw < 0.08) {
      await subject.post(`/servers/${encodeURIComponent(name)}/disable`);
      await subject.post(`/servers/${encodeURIComponent(name)}/enable`);
    }
  }

  /** Heals all, and waits until it is calm. */
  async settle(): Promise<void> {
    const { fleet, subject, active } = this.#stage;
    for (const name of this.#faulty) await fleet.setFault(name, null);
    await subject.post("/servers/batch", { action: "enable", names: active });
    await areReady(subject, active.length, CALM_MS).catch(() => {});
    const isCalm = (): boolean => subject.holdings().children === this.#first.children;
    await until(isCalm, "as many children as at first", CALM_MS).catch(() => {});
  }

  /** Reads what is held now. */
  sample(reader: EventReader): SoakSample {
    const { rssMb, handles, children } = this.#stage.subject.holdings();
    const sample = {
      minute: (performance.now() - this.#startedAt) / MS_PER_MINUTE,
      rssMb,
      handles,
      children,
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
    const names = echoing(this.#stage);
    const name = names[Math.floor(this.#random() * names.length)] ?? "";
    const from = performance.now();
    const value = `call ${this.calls}`;
    try {
      const { isError } = await client.call("call_tool_read", {
        name: `${name}:${ECHO_TOOL}`,
        args: { value },
      });
      if (isError === true) this.failed += 1;
      await client.callJson("retrieve_tools", { query: `list ${name}`, limit: 5 });
    } catch {
      this.failed += 1;
    }
    this.calls += 1;
    this.#times.push(performance.now() - from);
  }

  /** One more is ill, or all are healed. */
  async #fault(): Promise<void> {
    const { fleet } = this.#stage;
    if (this.#faulty.size > 3) {
      for (const name of this.#faulty) await fleet.setFault(name, null);
      this.#faulty.clear();
      return;
    }
    const name = this.#pick();
    const faults = [
      { kind: "status", status: 503 },
      { kind: "hang", at: "call" },
      { kind: "drop", at: "call" },
      { kind: "garbage" },
    ] as const;
    await fleet.setFault(name, faults[Math.floor(this.#random() * faults.length)] ?? null);
    this.#faulty.add(name);
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

function judge(sheet: AreaSheet, run: SoakRun): void {
  const { samples, first } = run;
  const warm = samples.slice(Math.floor(samples.length * WARM_UP_RATIO));
  const slope = (key: "rssMb" | "handles" | "children"): number =>
    slopeOf(warm.map((sample) => ({ x: sample.minute, y: sample[key] })));
  const last = samples.at(-1);
  sheet.add({
    metric: "memory, slope after warm-up",
    unit: "MB/min",
    measured: slope("rssMb"),
    must: MUST_MB_PER_MINUTE,
  });
  sheet.add({ metric: "handles, slope after warm-up", unit: "1/min", measured: slope("handles") });
  sheet.add({ metric: "children, slope after warm-up", unit: "1/min", measured: slope("children") });
  sheet.add({ metric: "resident at the end", unit: "MB", measured: last?.rssMb ?? Number.NaN });
  sheet.add({
    metric: "calm again: handles more than at first",
    unit: "handles",
    measured: (last?.handles ?? Number.NaN) - first.handles,
    must: MUST_HANDLES,
  });
  sheet.count("calm again: children as at first", {
    measured: last?.children ?? Number.NaN,
    wanted: first.children,
  });
  const p50 = warm.map(({ callP50Ms }) => callP50Ms).filter(Number.isFinite);
  sheet.add({ metric: "a call and a search, p50", unit: "ms", measured: quantile(p50, 0.5) });
  sheet.add({
    metric: "calls made",
    unit: "",
    measured: run.calls,
    note: `${run.failed} ended in an error, as their servers were made to`,
  });
}
