/**
 * Process groups, as the system tells of them.
 *
 * Owns signals to groups and what is read of them in `/proc`. Invariants: a group number that could mean
 * more than one group (0, 1, negative) is never signalled; all who look at the same time share one look,
 * and looking takes a fifth of the time at most. Asking by signal 0 alone was rejected: a group of
 * zombies still answers it.
 */
import { readdirSync, readFileSync } from "node:fs";

/** A look is shared for so long. */
const LOOK_MS = 10;
/** And longer when there are many processes: a look may cost a fifth of the time at most. */
const LOOK_COST_FACTOR = 4;

/** A process that runs. */
export interface RunningProcess {
  readonly pid: number;
  readonly parent: number;
  readonly pgid: number;
}

/** One look at all processes; `takenAt` is on the clock of `performance.now()`. */
interface Look {
  readonly takenAt: number;
  readonly costMs: number;
  readonly processes: readonly RunningProcess[];
  readonly groups: ReadonlySet<number>;
}

/** How a group stands; `seenAt` names the look that says so. */
export interface GroupStanding {
  /** `none`: no process has it; `dead`: only zombies were seen in it. */
  readonly state: "alive" | "dead" | "none";
  readonly seenAt: number;
}

let lastLook: Look | undefined;

/** Tells how a group stands, by a look that began after `since`. */
export function standingOf(pgid: number, since: number): GroupStanding {
  const now = performance.now();
  try {
    process.kill(-checked(pgid), 0);
  } catch {
    return { state: "none", seenAt: now };
  }
  // As long as the leader runs, nobody has to look at all the others.
  if (process.platform !== "linux" || leaderRuns(pgid)) return { state: "alive", seenAt: now };
  const { groups, takenAt } = look(since);
  return { state: groups.has(pgid) ? "alive" : "dead", seenAt: takenAt };
}

/** Signals a group; nothing happens when it is gone. */
export function signalGroup(pgid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-checked(pgid), signal);
  } catch {
    // Nothing of the group is left.
  }
}

/** The processes that run at this moment, zombies left out; empty where the system does not tell. */
export function runningProcesses(): readonly RunningProcess[] {
  return process.platform === "linux" ? look(performance.now()).processes : [];
}

/**
 * When a process began: the boot and the tick, which no other process with this number shares.
 * Undefined when there is no such process, or where the system does not tell.
 */
export function birthOf(pid: number): string | undefined {
  const fields = statOf(pid);
  const ticks = fields?.[START_TIME_FIELD];
  return ticks === undefined ? undefined : `${bootId()}/${ticks}`;
}

/** Whether a process was started with the variable `entry`, written `NAME=value`. */
export function hasVariable(pid: number, entry: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(entry);
  } catch {
    return false;
  }
}

/** Of the fields after the command: state, parent, group, … (proc(5); the start time is field 22 of all). */
const START_TIME_FIELD = 19;

function checked(pgid: number): number {
  if (!Number.isSafeInteger(pgid) || pgid <= 1) throw new RangeError(`Cannot signal the group ${pgid}`);
  return pgid;
}

function look(since: number): Look {
  if (lastLook !== undefined && lastLook.takenAt > since) {
    const sharedMs = Math.max(LOOK_MS, LOOK_COST_FACTOR * lastLook.costMs);
    if (performance.now() - lastLook.takenAt < sharedMs) return lastLook;
  }
  const takenAt = performance.now();
  const processes = readdirSync("/proc").flatMap((entry): RunningProcess[] => {
    if (!/^\d+$/.test(entry)) return [];
    const [state, parent, group] = statOf(Number(entry)) ?? [];
    if (state === undefined || state === "Z" || state === "X") return [];
    return [{ pid: Number(entry), parent: Number(parent), pgid: Number(group) }];
  });
  const groups = new Set(processes.map(({ pgid }) => pgid));
  lastLook = { takenAt, costMs: performance.now() - takenAt, processes, groups };
  return lastLook;
}

function leaderRuns(pgid: number): boolean {
  const [state, , group] = statOf(pgid) ?? [];
  return state !== undefined && state !== "Z" && state !== "X" && Number(group) === pgid;
}

/** The fields after the command, which stands in parentheses and may hold any character. */
function statOf(pid: number): readonly string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

let boot: string | undefined;

function bootId(): string {
  try {
    boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    boot = "";
  }
  return boot;
}
