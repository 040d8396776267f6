/**
 * When to look at the configuration file again.
 *
 * Owns the watches on the folders that decide what lies at the path (of the file, and of every link on the
 * way to it), and the waiting until a writer is done. Invariants: only events of those names count, since the database
 * writes in the same folder all the time; a change is told within a second under constant writing, and within
 * five where the system tells nothing; a change is never missed, an idle look may come. It says "look", no more: what
 * lies there, and whether the proxy wrote it itself, is known by hash to whoever reads. Watching the file
 * itself was rejected: after a rename over it, one watches the file that is gone.
 */
import { lstatSync, readlinkSync, statSync, watch } from "node:fs";
import { basename, isAbsolute, join, parse, sep } from "node:path";
import { ProxyError } from "../core/errors.ts";
import { SYSTEM_CLOCK } from "../lib/clock.ts";
import { Timers } from "../lib/timers.ts";
import type { Clock } from "../lib/clock.ts";

/** Quiet time after which a writer is taken to be done. */
const SETTLE_MS = 100;
/** The longest a change waits for its writer to be done. */
const MAX_SETTLE_MS = 1_000;
/** How often the file is looked at without being told: folders are replaced, network disks tell nothing. */
const NET_MS = 5_000;
/** For a half-written file to become whole. */
const REREAD_MS = 250;
/** A writer that has not written for so long has paused or is done. */
const PAUSE_MS = 25;
/** Then it is read while it is written: after a second. */
const MAX_LOOKS = 40;
/** More links are a circle (Linux, path_resolution(7)). */
const MAX_LINKS = 40;
/** Arming takes long enough for something to change; whoever changes things without end is left to the net. */
const MAX_ARMINGS = 3;

/** Watches one folder; `onEvent` gets the name of the entry concerned, null when the system does not say. */
export type WatchFolder = (
  folder: string,
  listener: { readonly onEvent: (name: string | null) => void; readonly onError: (error: unknown) => void },
) => { readonly close: () => void };

/** Options of {@link watchConfig}. */
export interface ConfigWatchOptions {
  /** Absolute path of the file, which may be a link and need not be there. */
  readonly path: string;
  /** The file may have changed. */
  readonly onChange: () => void;
  /** A folder cannot be watched, or `onChange` threw; the file is still looked at every five seconds. */
  readonly onError: (error: unknown) => void;
  /** @default the machine's */
  readonly clock?: Clock;
  /** @default `fs.watch` */
  readonly watchFolder?: WatchFolder;
}

/** A running watch; its timer keeps the process alive until it is closed. */
export interface ConfigWatch extends Disposable {
  /** Stops it; nothing is told afterwards. Idempotent. */
  readonly close: () => void;
}

/** Watches the file from now on; a change made before is not told, so look once after this returns. */
export function watchConfig(options: ConfigWatchOptions): ConfigWatch {
  const running = new Watch(options);
  running.open();
  return { close: () => running.close(), [Symbol.dispose]: () => running.close() };
}

/**
 * Takes what lies at the path; when it is invalid or not there, waits 250 ms and takes it once more, since a writer
 * may be in the middle of it.
 *
 * @throws whatever the second time throws, or the first when it has nothing to do with the file; the signal's reason
 */
export async function takeSettled<T>(
  take: () => T | Promise<T>,
  options: { readonly clock?: Clock; readonly signal?: AbortSignal } = {},
): Promise<T> {
  const { clock = SYSTEM_CLOCK, signal } = options;
  try {
    return await take();
  } catch (error) {
    const isOfFile =
      error instanceof ProxyError && (error.code === "CONFIG_INVALID" || error.code === "CONFIG_UNREADABLE");
    if (!isOfFile) throw error;
  }
  await wait(REREAD_MS, { clock, signal });
  return await take();
}

/**
 * Reads what lies at the path; what was written this very moment is read again until its writer pauses, because half of a
 * new text over the rest of an old one may be sound by chance.
 *
 * @throws what `read` throws; the signal's reason
 */
export async function readSettled<T>(
  path: string,
  read: () => T,
  options: { readonly clock?: Clock; readonly signal?: AbortSignal } = {},
): Promise<T> {
  const { clock = SYSTEM_CLOCK, signal } = options;
  for (let looks = 1; ; looks += 1) {
    const found = read();
    if (found === undefined || looks >= MAX_LOOKS || !isFresh(path)) return found;
    await wait(PAUSE_MS, { clock, signal });
  }
}

/** By the machine's clock, as the file system's; a time in the future says nothing. */
function isFresh(path: string): boolean {
  const { mtimeMs } = statSync(path, { throwIfNoEntry: false }) ?? { mtimeMs: 0 };
  return Math.abs(Date.now() - mtimeMs) < PAUSE_MS;
}

async function wait(
  ms: number,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal | undefined },
): Promise<void> {
  const { promise, resolve: wake } = Promise.withResolvers<void>();
  const cancel = clock.after(ms, wake);
  const abort = (): void => wake();
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted === true) wake();
  await promise;
  cancel();
  signal?.removeEventListener("abort", abort);
  signal?.throwIfAborted();
}

interface Armed {
  readonly handle: { readonly close: () => void };
  /** Which folder it was when the watch began: another of the same name may be there now. */
  readonly identity: string;
  /** What counts in it; also the folder's own name, by which its end is told. */
  names: ReadonlySet<string>;
}

class Watch {
  readonly #options: ConfigWatchOptions;
  readonly #clock: Clock;
  readonly #timers: Timers<"net" | "settle">;
  readonly #armed = new Map<string, Armed>();
  readonly #told = new Map<string, string>();
  #trace = "";
  /** Of the earliest event that was not told yet. */
  #firstAt: number | undefined;
  #lastAt = 0;
  #isClosed = false;

  constructor(options: ConfigWatchOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#timers = new Timers(this.#clock);
  }

  open(): void {
    this.#trace = this.#arm();
    this.#awaitNet();
  }

  close(): void {
    this.#isClosed = true;
    this.#timers.clear("net", "settle");
    for (const { handle } of this.#armed.values()) handle.close();
    this.#armed.clear();
  }

  #awaitNet(): void {
    this.#timers.set("net", NET_MS, () => {
      this.#awaitNet();
      const trace = this.#arm();
      if (trace !== this.#trace) this.#touched();
      this.#trace = trace;
    });
  }

  #heard(folder: string, name: string | null): void {
    if (this.#isClosed) return;
    if (name === null || this.#armed.get(folder)?.names.has(name) === true) this.#touched();
  }

  #touched(): void {
    this.#lastAt = this.#clock.now();
    this.#firstAt ??= this.#lastAt;
    if (!this.#timers.has("settle")) this.#timers.set("settle", SETTLE_MS, () => this.#settle());
  }

  /** One timer that is set anew when it fires too early: an event costs a look at the clock, not a timer. */
  #settle(): void {
    const now = this.#clock.now();
    const dueAt = Math.min(this.#lastAt + SETTLE_MS, (this.#firstAt ?? now) + MAX_SETTLE_MS);
    if (dueAt > now) {
      this.#timers.set("settle", dueAt - now, () => this.#settle());
      return;
    }
    this.#firstAt = undefined;
    // Before anybody reads: what changes from here on is told again.
    this.#trace = this.#arm();
    try {
      this.#options.onChange();
    } catch (error) {
      this.#options.onError(error);
    }
  }

  /** Watches what decides what lies at the path now, and nothing else; gives the trace of that. */
  #arm(): string {
    for (let round = 1; ; round += 1) {
      const { places, trace } = walk(this.#options.path);
      if (!this.#watchOnly(places) || round >= MAX_ARMINGS) return trace;
    }
  }

  /** Whether a watch began, so that something may have changed before it did. */
  #watchOnly(places: Walk["places"]): boolean {
    for (const [folder, { handle }] of this.#armed) {
      if (places.has(folder)) continue;
      handle.close();
      this.#armed.delete(folder);
      this.#told.delete(folder);
    }
    let isChanged = false;
    for (const [folder, names] of places) {
      const armed = this.#armed.get(folder);
      const identity = identityOf(folder);
      if (armed !== undefined && armed.identity === identity) {
        armed.names = names;
        continue;
      }
      // Before the new one: Bun gives a second watch of the same path the first one's folder.
      armed?.handle.close();
      this.#armed.delete(folder);
      if (identity !== undefined && this.#watch(folder, { names, identity })) isChanged = true;
    }
    return isChanged;
  }

  #watch(folder: string, { names, identity }: Omit<Armed, "handle">): boolean {
    const { watchFolder = watchByEvents, onError } = this.#options;
    const fail = (error: unknown): void => {
      if (this.#isClosed) return;
      this.#armed.get(folder)?.handle.close();
      this.#armed.delete(folder);
      // The net tries again every time; once is enough to say so. A folder that is gone is no fault.
      const code = codeOf(error);
      if (code === "ENOENT" || this.#told.get(folder) === code) return;
      this.#told.set(folder, code);
      onError(error);
    };
    try {
      const handle = watchFolder(folder, { onEvent: (name) => this.#heard(folder, name), onError: fail });
      this.#armed.set(folder, { handle, identity, names });
      return true;
    } catch (error) {
      fail(error);
      return false;
    }
  }
}

const watchByEvents: WatchFolder = (folder, { onEvent, onError }) => {
  const watcher = watch(folder, { persistent: false }, (_event, name) => onEvent(name));
  watcher.on("error", onError);
  return watcher;
};

interface Walk {
  /** Names that count, by the folder they are in; no part of the folder's path is a link. */
  readonly places: ReadonlyMap<string, ReadonlySet<string>>;
  /** Differs when another thing lies at the path. */
  readonly trace: string;
}

/** Follows a path as the system does, and keeps every link on the way; ends where there is nothing. */
function walk(path: string): Walk {
  const places = new Map<string, Set<string>>();
  const trace: string[] = [];
  const keep = (folder: string, name: string): void => {
    const names = places.get(folder) ?? new Set([basename(folder)]);
    places.set(folder, names.add(name));
  };
  const { root, steps } = partsOf(path);
  let folder = root;
  for (let links = 0; ;) {
    const name = steps.shift();
    if (name === undefined) return { places, trace: trace.join("\n") };
    // `..` too: as no folder on the way is a link, the one above it is where its path says.
    const here = join(folder, name);
    const found = look(here);
    if (found.target !== undefined && links < MAX_LINKS) {
      links += 1;
      keep(folder, name);
      trace.push(`${here} → ${found.target}`);
      const target = partsOf(found.target);
      if (isAbsolute(found.target)) folder = target.root;
      steps.unshift(...target.steps);
    } else if (found.isFolder && steps.length > 0) {
      folder = here;
    } else {
      keep(folder, name);
      trace.push(`${here} ${found.trace}`);
      return { places, trace: trace.join("\n") };
    }
  }
}

function partsOf(path: string): { readonly root: string; readonly steps: string[] } {
  const { root } = parse(path);
  const steps = path.slice(root.length).split(sep);
  return { root, steps: steps.filter((step) => step !== "" && step !== ".") };
}

interface Look {
  readonly target?: string;
  readonly isFolder: boolean;
  readonly trace: string;
}

function look(path: string): Look {
  try {
    const stat = lstatSync(path, { bigint: true });
    if (stat.isSymbolicLink()) return { target: readlinkSync(path), isFolder: false, trace: "link" };
    const { dev, ino, size, mtimeNs, ctimeNs } = stat;
    return { isFolder: stat.isDirectory(), trace: [dev, ino, size, mtimeNs, ctimeNs].join(":") };
  } catch (error) {
    return { isFolder: false, trace: codeOf(error) };
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}

function identityOf(folder: string): string | undefined {
  try {
    const { dev, ino } = statSync(folder, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}
