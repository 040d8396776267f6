/**
 * State management: servers switched off and on, one by one and by many hands at once.
 *
 * Owns the rows about single moves. Invariants: a move counts only when the answer, the list and the file say the same;
 * the bare write beside it is measured in the same minute on the same disk.
 */
import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { writeBare } from "./bare_write.ts";
import { median, quantile } from "./sheet.ts";
import { openStage } from "./stage.ts";
import type { Area, AreaContext } from "./stage.ts";
import { until } from "./subject.ts";
import type { Subject } from "./subject.ts";

const DESIGN_MOVE_MS = 100;
const MUST_RATIO = 4;
const CLIENTS = 10;
const BACK_MS = 20_000;
/** Between two changes, so that each stands alone as an operator's does. */
const PAUSE_MS = 65;

/** The area. */
export const STATES: Area = {
  name: "states",
  needs: "servers",
  about: "state management: enable and disable, alone and from 10 clients at once",
  run: runStates,
};

async function runStates(context: AreaContext): Promise<void> {
  const { options, sheet, tell } = context;
  await using stage = await openStage(context);
  const { subject, active } = stage;
  const count = Math.min(options.isShort ? 10 : 30, active.length);
  tell(`${count} servers off and on`);

  const [moves, bare] = [[] as number[], [] as number[]];
  let stuck = 0;
  for (const name of active.slice(0, count)) {
    for (const [verb, mode] of [
      ["disable", "disabled"],
      ["enable", "active"],
    ] as const) {
      moves.push(await moveMs(subject, { name, verb }));
      if (!(await isIn(subject, { name, mode }))) stuck += 1;
      bare.push(bareWriteMs(subject.configPath));
      await sleep(PAUSE_MS);
    }
  }
  const mean = moves.reduce((sum, ms) => sum + ms, 0) / moves.length;
  sheet.add({ metric: "a move, durable, mean", unit: "ms", measured: mean, target: DESIGN_MOVE_MS });
  sheet.add({ metric: "a move, durable, p99", unit: "ms", measured: quantile(moves, 0.99) });
  sheet.add({
    metric: "a move beside a bare write, fsync, rename, fsync",
    unit: "× time",
    measured: median(moves) / median(bare),
    must: MUST_RATIO,
    note: `over HTTP, parsing and event included; bare ${median(bare).toFixed(2)} ms`,
  });
  sheet.count("moves that answer, list and file agree on", {
    measured: moves.length - stuck,
    wanted: moves.length,
  });
  const back = active.slice(0, count);
  const backMs = await until(() => areConnected(subject, back), "they are connected again", BACK_MS).catch(
    () => Number.NaN,
  );
  sheet.add({ metric: "all of them connected again", unit: "ms", measured: backMs, target: BACK_MS });
  await crowd(context, { subject, names: active.slice(0, Math.min(60, active.length)) });
}

/** Ten clients, each with servers of its own and one that all of them switch. */
async function crowd(
  { sheet, options }: AreaContext,
  { subject, names }: { readonly subject: Subject; readonly names: readonly string[] },
): Promise<void> {
  const [shared = "", ...own] = names;
  const share = Math.floor(own.length / CLIENTS);
  const rounds = options.isShort ? 1 : 3;
  let refused = 0;
  const wanted = new Map<string, string>();
  const clients = Array.from({ length: CLIENTS }, async (_, client) => {
    const mine = own.slice(client * share, (client + 1) * share);
    for (let round = 0; round < rounds; round += 1) {
      for (const [at, name] of mine.entries()) {
        const isOff = (at + round) % 2 === 0;
        const { status } = await subject.post(
          `/servers/${encodeURIComponent(name)}/${isOff ? "disable" : "enable"}`,
        );
        if (status !== 200) refused += 1;
        wanted.set(name, isOff ? "disabled" : "active");
      }
      const verb = (client + round) % 2 === 0 ? "disable" : "enable";
      const { status } = await subject.post(`/servers/${encodeURIComponent(shared)}/${verb}`);
      if (status !== 200) refused += 1;
    }
  });
  await Promise.all(clients);
  const listed = await subject.servers();
  const inFile = modesInFile(subject.configPath);
  const wrong = [...wanted].filter(
    ([name, mode]) => listed.get(name)?.startup_mode !== mode || inFile.get(name) !== mode,
  );
  const isSharedOne = listed.get(shared)?.startup_mode === inFile.get(shared);
  sheet.count("10 clients at once: changes refused", { measured: refused, wanted: 0 });
  sheet.count("10 clients at once: servers as their last change says, in list and file", {
    measured: wanted.size - wrong.length + (isSharedOne ? 1 : 0),
    wanted: wanted.size + 1,
  });
}

async function moveMs(
  subject: Subject,
  { name, verb }: { readonly name: string; readonly verb: string },
): Promise<number> {
  const from = performance.now();
  await subject.post(`/servers/${encodeURIComponent(name)}/${verb}`);
  return performance.now() - from;
}

async function isIn(
  subject: Subject,
  { name, mode }: { readonly name: string; readonly mode: string },
): Promise<boolean> {
  const { data } = await subject.api(`/servers/${encodeURIComponent(name)}`);
  return data["startup_mode"] === mode && modesInFile(subject.configPath).get(name) === mode;
}

async function areConnected(subject: Subject, names: readonly string[]): Promise<boolean> {
  const all = await subject.servers();
  return names.every((name) => all.get(name)?.category === "connected");
}

/** Startup modes as they stand in a file. */
export function modesInFile(path: string): ReadonlyMap<string, string> {
  const { mcpServers } = Bun.JSONC.parse(readFileSync(path, "utf8")) as {
    readonly mcpServers: readonly { readonly name: string; readonly startup_mode: string }[];
  };
  return new Map(mcpServers.map(({ name, startup_mode: mode }) => [name, mode]));
}

/** The least a durable change of the file can cost. */
function bareWriteMs(path: string): number {
  const text = readFileSync(path, "utf8");
  const target = join(dirname(path), "bare-write.json");
  const from = performance.now();
  writeBare(target, text);
  const ms = performance.now() - from;
  rmSync(target);
  return ms;
}
