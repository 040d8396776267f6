/**
 * One crash point after another: a program is started, spoiled at one system call, asked for a change, and
 * looked at.
 *
 * Owns what must hold after each point (P1 of PROMISES.md), and nothing of the program under test: that one is
 * given as a {@link StartProgram}. Invariant: each point has a folder of its own, copied from a prepared one.
 */
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { join } from "node:path";
import { waitFor } from "../fixtures/wait.ts";
import type { DriverAnswer, DriverRequest } from "./commit_driver.ts";
import { attach } from "./strace.ts";
import type { SystemCall } from "./strace.ts";

/** Where a program works. */
export interface Place {
  readonly root: string;
  /** The configuration, perhaps a link. */
  readonly config: string;
  /** Where its text lies. */
  readonly target: string;
  readonly dataDir: string;
}

/** A running program that commits. */
export interface Program {
  readonly pid: number;
  /** What it served when it was ready. */
  readonly first: DriverAnswer;
  /** Asks for a change; undefined when the program ended instead of answering. */
  ask(request: DriverRequest): Promise<DriverAnswer | undefined>;
  /** Lets it end by itself. */
  stop(): Promise<void>;
  /** Kills it, when it lives, and waits. */
  kill(): Promise<void>;
}

/** Starts the program under test and waits until it is ready. */
export type StartProgram = (place: Place) => Promise<Program>;

/** One way to spoil one call. */
export interface Point {
  readonly call: string;
  readonly nth: number;
  /** `SIGKILL`, or the error the call answers; with `+` from this call on. */
  readonly fault: string;
}

/** What a program is asked for, and what it says of itself before and after. */
export interface States {
  readonly old: DriverRequest;
  readonly new: DriverRequest;
  /** Asked for when the fault is gone; the old or new one, asked for after it, must bring that text back. */
  readonly third: DriverRequest;
}

/** What is tried. */
export interface Scenario {
  readonly start: StartProgram;
  /** Makes the folder that each point is a copy of. */
  readonly prepared: Place;
  /** Injected beside the point. */
  readonly beside?: readonly string[];
  readonly change: DriverRequest;
  /** @default those of the driver */
  readonly states?: States;
  /** Looks once more in the end, when the program is gone; returns what does not hold. */
  readonly check?: (place: Place, seen: DriverAnswer) => readonly string[];
  /** Whether it is started once more after an error too. @default true */
  readonly restartsAfterErrors?: boolean;
}

export const OLD: DriverRequest = { text: '{\n  // old\n  "mcpServers": []\n}\n', definitionHash: "h-old" };
export const NEW: DriverRequest = {
  text: `{\n  // new\n  "mcpServers": []${" ".repeat(5_000)}\n}\n`,
  definitionHash: "h-new",
};
const THIRD: DriverRequest = { text: '{ "mcpServers": [], "x": 3 }\n', definitionHash: "h-third" };
const DRIVER_STATES: States = { old: OLD, new: NEW, third: THIRD };
const RESTART_MS = 2_000;
const LATE_LOOK_MS = 3_000;
/** What lies in a data dir for good; the driver makes only the first two. */
const DATA_NAMES = /^(?:mcpproxy\.db(?:-wal)?|backups|api_key|daemon\.json|event_ids|logs|mcpproxy\.sock)$/;

/** A folder whose configuration is the old one, with a database that knows it. */
export async function prepare(
  root: string,
  options: { readonly start: StartProgram; readonly isLinked?: boolean },
): Promise<Place> {
  const place = placeAt(root);
  for (const folder of ["conf", "data", "elsewhere"]) mkdirSync(join(root, folder), { recursive: true });
  if (options.isLinked === true) symlinkSync(join("..", "elsewhere", "c.json"), place.config);
  const linked = options.isLinked === true ? { ...place, target: join(root, "elsewhere", "c.json") } : place;
  writeFileSync(linked.target, '{ "mcpServers": [] }\n', { mode: 0o640 });
  const program = await options.start(linked);
  const answer = await program.ask(OLD);
  await program.kill();
  // So that a backup is due.
  rmSync(join(linked.dataDir, "backups"), { recursive: true, force: true });
  if (answer?.ok !== true) throw new Error(`The folder cannot be prepared: ${JSON.stringify(answer)}`);
  return linked;
}

/** Which calls one commit makes, by name. */
export async function recordCommit(scenario: Scenario, root: string): Promise<SystemCall[]> {
  const place = copyOf(scenario.prepared, root);
  const program = await scenario.start(place);
  const { beside: inject = [] } = scenario;
  const output = join(root, "trace");
  const tracer = await attach(program.pid, {
    output,
    trace: "%file,%desc",
    paths: pathsOf(place, program.pid),
    inject,
  });
  await program.ask(scenario.change);
  await lateCallsOf(output);
  const calls = await tracer.detach();
  await program.kill();
  return calls;
}

/** What one point came to. */
export interface PointResult {
  /** The call that was hit; undefined when there was no n-th one. */
  readonly hit: SystemCall | undefined;
  /** What did not hold. */
  readonly violations: readonly string[];
  readonly answer: DriverAnswer | undefined;
  /** What the file was in the end; neither is a violation. */
  readonly state: keyof States | undefined;
}

/** Tries one point and looks at everything afterwards. */
export async function tryPoint(scenario: Scenario, root: string, point: Point): Promise<PointResult> {
  const place = copyOf(scenario.prepared, root);
  const program = await scenario.start(place);
  const { call, nth, fault } = point;
  const isKill = fault === "SIGKILL";
  const what = isKill ? "signal=SIGKILL" : `error=${fault.replace("+", "")}`;
  const when = fault.endsWith("+") ? `${nth}+` : String(nth);
  const output = join(root, "trace");
  const tracer = await attach(program.pid, {
    output,
    trace: "%file,%desc",
    paths: pathsOf(place, program.pid),
    inject: [
      ...(scenario.beside ?? []).filter((one) => !one.startsWith(`${call}:`)),
      `${call}:${what}:when=${when}`,
    ],
  });
  const violations: string[] = [];
  const answer = await program.ask(scenario.change);
  if (answer?.ok === true && (call === "pread64" || call === "close")) await lateCallsOf(output);
  const calls = await tracer.detach();
  const hit = isKill ? killedAt(calls, point) : calls.find((one) => one.name === call && one.isInjected);
  const after = isKill ? undefined : await afterError(scenario, { place, program, answer, fault });
  violations.push(...(after?.found ?? []));
  await program.kill();
  // What could not be removed is left to the next start.
  if (after?.seen === undefined || scenario.restartsAfterErrors !== false || call === "unlink") {
    violations.push(...(await afterRestart(scenario, place, answer)));
  } else {
    violations.push(...litterOf(place), ...(scenario.check?.(place, after.seen) ?? []));
  }
  return { hit, violations, answer, state: stateOf(scenario, place) };
}

/** A killed call is the last line, without a result; the tracer writes `= ?` behind it. */
function killedAt(calls: readonly SystemCall[], { call, nth }: Point): SystemCall | undefined {
  const same = calls.filter(({ name }) => name === call);
  return same.length === nth && same.at(-1)?.result.startsWith("?") === true ? same.at(-1) : undefined;
}

async function afterError(
  scenario: Scenario,
  seen: {
    readonly place: Place;
    readonly program: Program;
    readonly answer: DriverAnswer | undefined;
    readonly fault: string;
  },
): Promise<{ readonly found: readonly string[]; readonly seen?: DriverAnswer | undefined }> {
  const { place, program, answer } = seen;
  const { states = DRIVER_STATES } = scenario;
  if (answer === undefined) return { found: ["it ended instead of answering"] };
  const wanted = answer.ok ? states.new : states.old;
  const nameOf = (text: string): string => nameIn(states, text);
  const found: string[] = [];
  const file = readFileSync(place.target, "utf8");
  if (file !== wanted.text) found.push(`answered ok=${answer.ok}, but the file is ${nameOf(file)}`);
  if (answer.text !== wanted.text) found.push(`answered ok=${answer.ok}, but serves ${nameOf(answer.text)}`);
  if (answer.definitionHash !== wanted.definitionHash) {
    found.push(`answered ok=${answer.ok}, but remembers ${answer.definitionHash}`);
  }
  if (!answer.ok && answer.code !== "CONFIG_UNWRITABLE")
    found.push(`answered ${answer.code}: ${answer.message}`);
  if (answer.isDegraded !== (answer.warning !== undefined && answer.ok))
    found.push("degraded without a warning");
  // The fault is gone: the next change must work as if nothing had been.
  const next = await program.ask(states.third);
  if (next?.ok !== true || next.isDegraded)
    found.push(`the next change: ${next?.message ?? JSON.stringify(next)}`);
  const back = await program.ask(wanted);
  if (back?.ok !== true) found.push(`the change after it: ${back?.message}`);
  return { found, seen: back };
}

async function afterRestart(
  scenario: Scenario,
  place: Place,
  answer: DriverAnswer | undefined,
): Promise<string[]> {
  const { states = DRIVER_STATES } = scenario;
  const nameOf = (text: string): string => nameIn(states, text);
  const found: string[] = [];
  const file = readFileSync(place.target, "utf8");
  const state = [states.old, states.new].find(({ text }) => text === file);
  if (state === undefined) return [`the file is ${nameOf(file)}`];
  if (answer?.ok === true && state !== states.new) found.push("it was acknowledged and is lost");
  const startedAt = performance.now();
  const program = await scenario.start(place);
  try {
    const tookMs = performance.now() - startedAt;
    // On a machine with more to do than it has cores, in its share of them.
    const share = Math.min(1, availableParallelism() / (loadavg()[0] ?? 0));
    if (tookMs * share > RESTART_MS) found.push(`the restart took ${Math.round(tookMs)} ms`);
    const { first } = program;
    if (first.text !== file) found.push(`the file is ${nameOf(file)}, it serves ${nameOf(first.text)}`);
    if (first.definitionHash !== state.definitionHash) {
      found.push(`the file is ${nameOf(file)}, the database has ${first.definitionHash}`);
    }
    if (first.isDegraded) found.push("it is degraded after a restart");
    found.push(...litterOf(place));
  } finally {
    await program.kill();
  }
  found.push(...(scenario.check?.(place, program.first) ?? []));
  return found;
}

/** Whatever lies around that should not. */
function litterOf(place: Place): string[] {
  const litter = (folder: string, known: RegExp): string[] =>
    (existsSync(folder) ? readdirSync(folder) : [])
      .filter((name) => !known.test(name))
      .map((name) => `'${name}' is left in ${folder}`);
  const isLink = lstatSync(place.config, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  return [
    ...(isLink === (place.config !== place.target) ? [] : ["the link is gone"]),
    ...litter(join(place.root, "conf"), /^c\.json$/),
    ...litter(join(place.root, "elsewhere"), /^c\.json$/),
    ...litter(place.dataDir, DATA_NAMES),
    ...litter(join(place.dataDir, "backups"), /^config-.*\.json$/),
  ];
}

function stateOf({ states = DRIVER_STATES }: Scenario, place: Place): keyof States | undefined {
  const file = readFileSync(place.target, "utf8");
  return (["old", "new"] as const).find((name) => states[name].text === file);
}

function nameIn(states: States, text: string): string {
  const known = Object.entries(states).find(([, one]: [string, DriverRequest]) => one.text === text);
  return known?.[0] ?? `${text.length} foreign signs`;
}

/** The late look at the displaced file, 200 ms after the commit, is its last call, told with its result; unless it is killed at. */
async function lateCallsOf(output: string): Promise<void> {
  const isLate = (): boolean =>
    /\nclose\([^\n]*\(deleted\)[^\n]*= [^\n]*\n|= \?\n$/.test(readFileSync(output, "latin1"));
  await waitFor("the late look", isLate, LATE_LOOK_MS).catch(() => {});
}

/** All paths of a commit: their names follow from the process that makes them. */
function pathsOf(place: Place, pid: number): string[] {
  const { config, target, dataDir } = place;
  const folder = join(target, "..");
  const temps = [0, 1, 2, 3].map((number) => join(folder, `.c.json.${pid}-${number}.mcpproxy-tmp`));
  const data = ["", "mcpproxy.db", "mcpproxy.db-wal", "backups", join("backups", "incoming.tmp")];
  return [config, target, folder, ...temps, ...data.map((name) => join(dataDir, name))];
}

function placeAt(root: string): Place {
  const config = join(root, "conf", "c.json");
  return { root, config, target: config, dataDir: join(root, "data") };
}

/** Copies a folder; a socket in it cannot be copied, and is nobody's once its process is gone. */
export function copyFolder(from: string, to: string): void {
  cpSync(from, to, { recursive: true, verbatimSymlinks: true, filter: (path) => !path.endsWith(".sock") });
}

function copyOf(prepared: Place, root: string): Place {
  copyFolder(prepared.root, root);
  const place = placeAt(root);
  return prepared.config === prepared.target
    ? place
    : { ...place, target: join(root, "elsewhere", "c.json") };
}
