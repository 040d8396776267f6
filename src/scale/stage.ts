/**
 * Where an area plays: mocks, a proxy on top of them, and the folder both live in.
 *
 * Owns what an area is, what it is given, and opening and closing the stage. Invariants: every area has a stage of its
 * own, so that none stands on what another left; its servers are of the run's profile, or a row says why not. One stage
 * for all was rejected: an area that fails would fail the rest.
 */
import { mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet } from "./fleet.ts";
import type { ProfileName } from "./fleet.ts";
import { startProfiling } from "./profiling.ts";
import type { ProfilingOptions } from "./profiling.ts";
import { readUserRoster } from "./roster.ts";
import type { Entry, Roster, UserConfig } from "./roster.ts";
import type { AreaSheet } from "./sheet.ts";
import { Subject, until } from "./subject.ts";

/** What a run is about. */
export interface ScaleOptions {
  /** The proxy's program without its verb. */
  readonly command: readonly string[];
  /** The program that hosts mocks. @default the proxy's */
  readonly mockCommand?: readonly string[];
  readonly servers: number;
  readonly profile: ProfileName;
  readonly seed: number;
  /** Fewer repetitions, smaller crowds. */
  readonly isShort: boolean;
  /** Most mocks over stdio. */
  readonly maxStdio: number;
  /** What of the proxy is looked into, and where the files go. */
  readonly profiling?: Pick<ProfilingOptions, "kinds" | "folder">;
  /** The user's own servers instead of mocks. */
  readonly user?: UserConfig;
}

/** What an area is given. */
export interface AreaContext {
  readonly options: ScaleOptions;
  readonly sheet: AreaSheet;
  readonly name: string;
  /** A folder of its own. */
  readonly folder: string;
  /** Says what is going on. */
  readonly tell: (text: string) => void;
}

/** One area of the report. */
export interface Area {
  /** Whether it can do with a user's own servers: never, without starting them, or only when they may be started. */
  readonly needs: "mocks" | "nothing" | "servers";
  readonly name: string;
  /** In a line. */
  readonly about: string;
  readonly run: (context: AreaContext) => Promise<void>;
}

/** Mocks and a proxy. */
export interface Stage extends AsyncDisposable {
  readonly fleet: Roster;
  readonly subject: Subject;
  /** Names of servers that are to be ready and can be, by their mode in the configuration and by their faults. */
  readonly active: readonly string[];
}

/** What the proxy holds. */
export interface Held {
  readonly rssMb: number;
  /** Beside the connections. */
  readonly handles: number;
  /** To servers over HTTP; idle ones are kept for the next call. */
  readonly connections: number;
  readonly children: number;
}

/** Options of {@link openStage}. */
export interface StageOptions {
  /** @default that of the run */
  readonly servers?: number;
  /** Why the servers are healthy ones whatever the profile of the run; a row says so. @default they are of its profile */
  readonly healthyBecause?: string;
  readonly maxStdio?: number;
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly entry?: (entry: Entry) => Entry;
  /** Whether to wait until all active servers are ready. @default true */
  readonly waits?: boolean;
  /** Factor on the times of the mocks. @default 0.01 */
  readonly timeScale?: number;
  /** Time of each call of a mock. @default a few milliseconds, scaled as well */
  readonly callMs?: number;
}

const READY_MS = 180_000;
const QUICK_MS = 2_000;
const VISITED_MS = 60_000;
/** The port an open connection leads to. */
const PORT = /^\s*\d+: \S+ [0-9A-F]+:([0-9A-F]{4}) 0[18] /;

/** Starts mocks and a proxy on them. */
export async function openStage(context: AreaContext, options: StageOptions = {}): Promise<Stage> {
  const fleet = await openFleet(context, options);
  try {
    const subject = await Subject.start({
      command: context.options.command,
      folder: mkdtempSync(join(context.folder, "proxy-")),
      config: fleet.config({
        settings: { ...QUIET, ...options.settings },
        ...(options.entry === undefined ? {} : { entry: options.entry }),
      }),
    });
    const never = new Set(fleet.servers.filter((server) => !isQuick(server)).map(({ name }) => name));
    const active = fleet.entries
      .map((entry) => options.entry?.(entry) ?? entry)
      .filter((entry) => entry["startup_mode"] === "active" && !never.has(entry.name))
      .map(({ name }) => name);
    // Nobody knows how many of a user's own servers can be ready.
    if (context.options.user !== undefined) await settled(subject);
    else if (options.waits !== false) await areReady(subject, active.length, READY_MS);
    const { profiling } = context.options;
    const endProfiling =
      profiling === undefined ? undefined : startProfiling(subject, { ...profiling, name: context.name });
    return {
      fleet,
      subject,
      active,
      [Symbol.asyncDispose]: async () => {
        if (subject.isRunning) await endProfiling?.();
        await subject.stop();
        await fleet[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await fleet[Symbol.asyncDispose]();
    throw error;
  }
}

/** Starts the servers of a stage alone. */
export async function openFleet(context: AreaContext, options: StageOptions = {}): Promise<Roster> {
  const { user } = context.options;
  if (user !== undefined) return readUserRoster(user);
  const { servers, healthyBecause, maxStdio, timeScale = 0.01, callMs } = options;
  const { command, mockCommand, ...run } = context.options;
  if (healthyBecause !== undefined && run.profile === "production") {
    const note = `not of the production profile: ${healthyBecause}`;
    context.sheet.add({ metric: "servers, all healthy", unit: "", measured: servers ?? run.servers, note });
  }
  return Fleet.start({
    command: mockCommand ?? command,
    folder: context.folder,
    profile: healthyBecause === undefined ? run.profile : "healthy",
    servers: servers ?? run.servers,
    seed: run.seed,
    timeScale,
    ...(callMs === undefined ? {} : { callMs }),
    maxStdio: maxStdio ?? run.maxStdio,
  });
}

/** Waits until so many servers are connected; the time it took. */
export function areReady(subject: Subject, count: number, withinMs: number): Promise<number> {
  return until(
    async () => {
      const { data } = await subject.api("/status");
      const { upstream_stats: stats } = data as {
        readonly upstream_stats: { readonly connected_servers: number };
      };
      return stats.connected_servers >= count;
    },
    `${count} servers are connected`,
    withinMs,
  );
}

/** Whether a mock is ready within two seconds, by its faults. */
export function isQuick({ faults = [] }: Pick<Roster["servers"][number], "faults">): boolean {
  return faults.every(
    (fault) => fault.kind === "zero_tools" || (fault.kind === "slow_start" && fault.ms <= QUICK_MS),
  );
}

/** Waits until each lazy server was visited for its tools: that takes a connection, or a process, and closes it. */
export async function visited({ fleet, subject }: Pick<Stage, "fleet" | "subject">): Promise<void> {
  const lazy = fleet.entries.filter((entry) => entry["startup_mode"] === "lazy_loading");
  const areAll = async (): Promise<boolean> => {
    const servers = await subject.servers();
    return lazy.every(({ name }) => {
      const { category, tool_count: tools = 0 } = servers.get(name) ?? {};
      return category === "sleeping" && tools > 0;
    });
  };
  await until(areAll, "lazy servers are asleep, their tools known", VISITED_MS).catch(() => {});
}

/** What the proxy holds now, its connections told apart by the ports they lead to. */
export function heldBy({ subject, fleet }: Pick<Stage, "fleet" | "subject">): Held {
  const { rssMb, handles, children } = subject.holdings();
  const ports = new Set(fleet.entries.map(({ url }) => (typeof url === "string" ? new URL(url).port : "")));
  const connections = readFileSync(`/proc/${subject.pid}/net/tcp`, "latin1")
    .split("\n")
    .filter((line) => ports.has(`${Number.parseInt(PORT.exec(line)?.[1] ?? "", 16)}`)).length;
  return { rssMb, handles: handles - connections, connections, children };
}

async function settled(subject: Subject): Promise<void> {
  await until(async () => (await fetch(`${subject.url}/startupz`)).ok, "all are settled", READY_MS);
}

/** What would disturb a measurement: probes and re-readings in the middle of it. */
const QUIET = {
  logging: { level: "warn", enable_console: true, enable_file: false },
  quarantine_enabled: true,
  require_mcp_auth: false,
} as const;
