/**
 * Looks into the running process: where its time goes, what its memory holds, what it has open.
 *
 * Owns the engine's profiler and its snapshots. Invariants: nothing here costs anything until it is asked for; one
 * CPU profile runs at a time; both come in the form Chrome's DevTools read. JavaScriptCore's own sampling profiler
 * was rejected: it profiles one function, not the process.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { orAborted } from "./abort.ts";

/** Kinds of open files, each with their number; on systems without `/proc` there are none. */
export interface OpenHandles {
  readonly total: number;
  readonly kinds: Readonly<Record<string, number>>;
}

let isProfiling = false;

/**
 * Samples the process for a time and returns a `.cpuprofile`.
 *
 * @returns undefined when another profile is under way
 */
export async function profileCpu(ms: number, signal?: AbortSignal): Promise<unknown> {
  if (isProfiling) return undefined;
  isProfiling = true;
  // Reading it takes 6 ms, which no start has to wait for.
  const { Session } = await import("node:inspector/promises");
  const session = new Session();
  try {
    session.connect();
    await session.post("Profiler.enable");
    await session.post("Profiler.start");
    // Whoever gives up early gets what was sampled until then.
    await (signal ? orAborted(Bun.sleep(ms), signal) : Bun.sleep(ms)).catch(() => {});
    const { profile } = (await session.post("Profiler.stop")) as { readonly profile: unknown };
    return profile;
  } finally {
    session.disconnect();
    isProfiling = false;
  }
}

/** The heap as a `.heapsnapshot`; everything stands still meanwhile, for about a second per 50 MB. */
export function snapshotHeap(): string {
  return Bun.generateHeapSnapshot("v8");
}

/** Counts open files, sockets and pipes. */
export function openHandles(): OpenHandles {
  const kinds: Record<string, number> = {};
  let total = 0;
  for (const name of openFiles()) {
    const kind = kindOf(name);
    if (kind === undefined) continue;
    kinds[kind] = (kinds[kind] ?? 0) + 1;
    total += 1;
  }
  return { total, kinds };
}

/** How many files, sockets and pipes are open; cheaper than their kinds. */
export function openHandleCount(): number {
  // The folder that is read is open meanwhile.
  return Math.max(0, openFiles().length - 1);
}

function openFiles(): string[] {
  try {
    return readdirSync("/proc/self/fd");
  } catch {
    return [];
  }
}

function kindOf(name: string): string | undefined {
  try {
    const target = readlinkSync(`/proc/self/fd/${name}`);
    return /^(\w+):/.exec(target)?.[1] ?? (target.startsWith("/dev/") ? "device" : "file");
  } catch {
    // It was the folder itself, or is closed by now.
    return undefined;
  }
}
