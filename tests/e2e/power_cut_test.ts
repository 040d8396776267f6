/**
 * The commit under power cuts: its calls are recorded once, and every disk they may leave is started from.
 *
 * Owns what must hold on such a disk. Each fsync is then left out of the recording, and the same checks must
 * go red.
 */
import { afterEach, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { ConfigCommit } from "../../src/state/config_commit.ts";
import { Store } from "../../src/state/store.ts";
import { tempDir } from "../fixtures/wait.ts";
import { NEW, OLD, prepare } from "./crash_points.ts";
import type { Place } from "./crash_points.ts";
import { startDriver } from "./driver_process.ts";
import { cutStates, orderFaults, stepsOf } from "./power_cut.ts";
import type { CutState, Disk, DiskStep } from "./power_cut.ts";
import { attach, hasStrace, parseCalls, traceCommand } from "./strace.ts";
import { verifies } from "../requirements.ts";

const CALLS =
  "openat,close,write,pwrite64,fsync,fdatasync,rename,renameat2,link,unlink,mkdir,ftruncate,sendto,writev";
const TIMEOUT_MS = 120_000;

const folders: (Disposable & { readonly path: string })[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) folder[Symbol.dispose]();
});

function makeDir(): string {
  const folder = tempDir();
  folders.push(folder);
  return folder.path;
}

/** One recorded commit. */
interface Recording {
  readonly place: Place;
  readonly first: Disk;
  readonly folders: readonly string[];
  readonly steps: readonly DiskStep[];
  /** The number of SQLite's log. */
  readonly log: number;
}

/** A commit that is killed before the folder is synced, and the start that finishes it. */
async function recordRecovery(): Promise<Recording> {
  const whole = await record([]);
  const syncs = whole.steps.filter(({ kind }) => kind === "sync" || kind === "sync_folder");
  const ofFolder = syncs.findIndex((step) => step.kind === "sync_folder" && step.path.endsWith("/conf"));
  const root = makeDir();
  const place = await prepare(root, { start: startDriver() });
  const program = await startDriver()(place);
  const first = snapshot(root);
  const output = join(makeDir(), "trace");
  const inject = [`fsync:signal=SIGKILL:when=${ofFolder + 1}`];
  const tracer = await attach(program.pid, { output, trace: CALLS, inject, isWhole: true });
  expect(await program.ask(NEW)).toBeUndefined();
  const before = await tracer.detach();
  const start = startDriver({ under: traceCommand({ output, trace: CALLS, isWhole: true }) });
  const restarted = await start(place);
  expect(restarted.first).toMatchObject({ text: NEW.text, definitionHash: NEW.definitionHash });
  await restarted.stop();
  const calls = [...before, ...parseCalls(readFileSync(output, "latin1"))];
  const steps = stepsOf(calls, { root, first });
  return { ...whole, place, first, steps, folders: foldersOf(root) };
}

function foldersOf(root: string): string[] {
  return ["conf", "data", "elsewhere"].map((name) => join(root, name));
}

async function record(inject: readonly string[]): Promise<Recording> {
  const root = makeDir();
  const place = await prepare(root, { start: startDriver() });
  const program = await startDriver()(place);
  try {
    const first = snapshot(root);
    const output = join(makeDir(), "trace");
    const tracer = await attach(program.pid, { output, trace: CALLS, inject, isWhole: true });
    const answer = await program.ask(NEW);
    const calls = await tracer.detach();
    expect(answer?.ok).toBe(true);
    const steps = stepsOf(calls, { root, first });
    expect(steps.filter(({ kind }) => kind === "answer")).toHaveLength(1);
    const log = [...first.keys()].indexOf(join(place.dataDir, "mcpproxy.db-wal"));
    return {
      place,
      first,
      folders: foldersOf(root),
      steps,
      log,
    };
  } finally {
    await program.kill();
  }
}

function snapshot(root: string): Disk {
  const names = readdirSync(root, { recursive: true, withFileTypes: true });
  return new Map(
    names.flatMap((entry) => {
      const path = join(entry.parentPath, entry.name);
      return entry.isFile() ? [[path, readFileSync(path)] as const] : [];
    }),
  );
}

/** Starts from each disk; stops at the first fault when only that is asked. */
async function checkAll(
  recording: Recording,
  options: { readonly isFirstOnly?: boolean } = {},
): Promise<{ readonly states: number; readonly faults: string[] }> {
  const { first, steps, folders: present, place } = recording;
  const root = makeDir();
  let states = 0;
  const faults: string[] = [];
  for (const state of cutStates(first, steps, present)) {
    states += 1;
    const found = await checkState(state, { from: place.root, to: join(root, String(states)) });
    faults.push(...found.map((fault) => `cut after step ${state.after}: ${fault}`));
    if (options.isFirstOnly === true && faults.length > 0) break;
  }
  return { states, faults };
}

async function checkState(
  state: CutState,
  roots: { readonly from: string; readonly to: string },
): Promise<string[]> {
  const moved = (path: string): string => join(roots.to, relative(roots.from, path));
  for (const folder of state.folders) mkdirSync(moved(folder), { recursive: true });
  for (const [path, bytes] of state.disk) writeFileSync(moved(path), bytes);
  const [config, dataDir] = [join(roots.to, "conf", "c.json"), join(roots.to, "data")];
  const found: string[] = [];
  try {
    await using store = Store.open({ dataDir, log: SILENT_LOG });
    await using commit = ConfigCommit.open({ path: config, store, dataDir, log: SILENT_LOG });
    const now = [OLD, NEW].find(({ text }) => text === commit.text);
    if (now === undefined) return [`the file has ${commit.text.length} foreign signs`];
    if (state.isAnswered && now !== NEW) found.push("it was answered and is lost");
    const known = store.findServer("s")?.definitionHash;
    if (known !== now.definitionHash) found.push(`the file has ${now.definitionHash}, the database ${known}`);
    const kept = commit.history.list().map(({ id }) => commit.history.read(id));
    if (kept.some((text) => text !== OLD.text)) found.push("a backup is broken");
    if (now === NEW && kept.length === 0) found.push("there is no backup of the old text");
    if (readdirSync(dirname(config)).length > 1) found.push("temp files are left");
    if (readdirSync(dataDir).some((name) => name.includes("corrupt"))) found.push("the database is corrupt");
  } catch (error) {
    found.push(`it does not start: ${(error as Error).message}`);
  }
  return found;
}

const WAYS: readonly (readonly [name: string, inject: readonly string[]])[] = [
  ["exchanged", []],
  ["renamed where files cannot be exchanged", ["renameat2:error=ENOSYS"]],
];

for (const [name, inject] of WAYS) {
  test.skipIf(!hasStrace)(
    `ConfigCommit under power cuts, ${name}: each disk a cut may leave starts old or new; without any one fsync this goes red`,
    async () => {
      verifies("COMMIT-POWER");
      const recording = await record(inject);
      const { steps, place, log } = recording;
      const isSwap = (step: DiskStep): boolean =>
        (step.kind === "exchange" || step.kind === "rename") && step.to === place.target;
      const check = { target: place.target, log, isSwap };
      expect(orderFaults(steps, check)).toEqual([]);
      const { states, faults } = await checkAll(recording);
      expect(faults).toEqual([]);
      console.log(`power cuts, ${name}: ${steps.length} steps, ${states} disks started from`);
      const isRed = async (without: readonly DiskStep[]): Promise<boolean> =>
        orderFaults(without, check).length > 0 ||
        (await checkAll({ ...recording, steps: without }, { isFirstOnly: true })).faults.length > 0;
      // SQLite syncs the folder of its log too, so that either of the two may be missing.
      const isOfData = (step: DiskStep): boolean =>
        step.kind === "sync_folder" && step.path === place.dataDir;
      expect(await isRed(steps.filter((step) => !isOfData(step)))).toBe(true);
      const isSync = (step: DiskStep): boolean => step.kind === "sync" || step.kind === "sync_folder";
      const syncs = steps.flatMap((step, at) => (isSync(step) && !isOfData(step) ? [at] : []));
      expect(syncs).toHaveLength(6);
      const green: DiskStep[] = [];
      for (const at of syncs) {
        const [step] = steps.slice(at);
        if (step !== undefined && !(await isRed(steps.toSpliced(at, 1)))) green.push(step);
      }
      expect(green).toEqual([]);
    },
    TIMEOUT_MS,
  );
}

test.skipIf(!hasStrace)(
  "ConfigCommit.open() under power cuts, while it rolls forward: old or new; without its fsync of the folder this goes red",
  async () => {
    const recording = await recordRecovery();
    const { steps, place } = recording;
    const { states, faults } = await checkAll(recording);
    expect(faults).toEqual([]);
    console.log(`power cuts, recovery: ${steps.length} steps, ${states} disks started from`);
    const ofFolder = (step: DiskStep): boolean =>
      step.kind === "sync_folder" && step.path === dirname(place.target);
    expect(steps.filter(ofFolder)).toHaveLength(1);
    const without = { ...recording, steps: steps.filter((step) => !ofFolder(step)) };
    expect((await checkAll(without, { isFirstOnly: true })).faults).not.toEqual([]);
  },
  TIMEOUT_MS,
);
