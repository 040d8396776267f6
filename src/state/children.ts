/**
 * The children that run, written down so that none outlives the proxy.
 *
 * Owns the journal of children, the variable that marks them, and the sweep that ends what a killed run
 * left. Invariants: a child is told to the guard before anything else happens, and is in the journal
 * within the store's batch delay, for which the guard stands in; the sweep ends a group only when its
 * leader began when the journal says so or a member carries the mark of that run, and leaves any other
 * alone; it takes bounded time. Ending whatever carries a mark was rejected: a daemon that a server
 * started on purpose carries it too, and a calm stop leaves that one alone as well.
 */
import type { ChildRegistry } from "../lib/child.ts";
import type { Guard } from "../lib/guard.ts";
import type { Log } from "../lib/log.ts";
import { birthOf, hasVariable, runningProcesses, signalGroup } from "../lib/process_group.ts";
import type { Store, StoredChild } from "./store.ts";

/** Names the run of the proxy that started a process. */
const MARKER = "MCPPROXY_CHILD_OF";
/** How long what is left may take to leave: after TERM, and after KILL. */
const SWEEP_GRACE_MS = 750;
const POLL_MS = 20;

/** Options of {@link Children}. */
export interface ChildrenOptions {
  readonly store: Pick<Store, "addChild" | "readChildren" | "removeChild">;
  readonly guard: Pick<Guard, "added" | "removed" | "close">;
  readonly log: Log;
}

/** The children of this run, and what earlier ones left. */
export class Children implements ChildRegistry, AsyncDisposable {
  /** Names this run. */
  readonly instance: string = crypto.randomUUID();
  readonly marker: Readonly<Record<string, string>> = { [MARKER]: this.instance };
  readonly #options: ChildrenOptions;
  readonly #running = new Set<number>();

  constructor(options: ChildrenOptions) {
    this.#options = options;
  }

  /** Processes of servers that run. */
  get size(): number {
    return this.#running.size;
  }

  added({ pid, name }: { readonly pid: number; readonly name: string }): void {
    const { guard, store } = this.#options;
    this.#running.add(pid);
    guard.added(pid);
    store.addChild({ pid, pgid: pid, born: birthOf(pid) ?? "", instance: this.instance, server: name });
  }

  removed(pid: number): void {
    const { guard, store } = this.#options;
    this.#running.delete(pid);
    guard.removed(pid);
    store.removeChild(pid);
  }

  /** Ends what earlier runs left; resolves with the servers whose processes had to be ended. */
  async sweep(): Promise<string[]> {
    const { store, log } = this.#options;
    const earlier = store.readChildren().filter(({ instance }) => instance !== this.instance);
    const found = survivors(earlier);
    const servers = found.map(({ server }) => server);
    if (found.length > 0) log.warn("Ending processes that a killed run left", { servers });
    let left = found;
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      for (const { pgid } of left) signalGroup(pgid, signal);
      left = await remaining(left);
    }
    // Whoever is left even now is tried again by the next start.
    const kept = new Set(left.map(({ pid }) => pid));
    for (const { pid } of earlier) if (!kept.has(pid)) store.removeChild(pid);
    return servers;
  }

  /** Ends the guard; all children have to be gone by then. Idempotent. */
  close(): Promise<void> {
    return this.#options.guard.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Waits until nothing of the groups is left, or the time is up; gives what is left. */
async function remaining(children: readonly StoredChild[]): Promise<readonly StoredChild[]> {
  const deadline = performance.now() + SWEEP_GRACE_MS;
  let left = children;
  while (left.length > 0) {
    left = survivors(left);
    if (left.length === 0 || performance.now() >= deadline) break;
    await Bun.sleep(POLL_MS);
  }
  return left;
}

/** Those of whom a process runs that is surely ours. */
function survivors(children: readonly StoredChild[]): readonly StoredChild[] {
  if (children.length === 0) return [];
  const members = Map.groupBy(runningProcesses(), ({ pgid }) => pgid);
  return children.filter((child) => {
    const pids = (members.get(child.pgid) ?? []).map(({ pid }) => pid);
    if (pids.length === 0 || child.pgid <= 1) return false;
    const born = birthOf(child.pid);
    // A leader, zombie or not, settles it: its number was never free, or it belongs to another one now.
    if (born !== undefined && child.born !== "") return born === child.born;
    return pids.some((pid) => hasVariable(pid, `${MARKER}=${child.instance}`));
  });
}
