/**
 * The proxy under test, as users start it.
 *
 * Owns its process, its folder and what is read of it from outside: its API, its memory, files and children. Invariants:
 * only public surfaces are used; what was started is ended, and its temporary folder goes with it. Opening the proxy in
 * this process was rejected: its memory and its event loop would be ours.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runningProcesses } from "../lib/process_group.ts";
import { startProgram } from "../lib/program.ts";
import type { Program } from "../lib/program.ts";

const POLL_MS = 5;
const LISTEN_MS = 60_000;
const STOP_MS = 20_000;
const TICKS_PER_SECOND = 100;

/** How a proxy is started. */
export interface SubjectOptions {
  /** The program without its verb, as in `["bun", "src/main.ts"]`. */
  readonly command: readonly string[];
  /** Gets the configuration, the data and the home of all that is started. */
  readonly folder: string;
  /** The text of the configuration; absent: what is there already. */
  readonly config?: string;
}

/** An answer of the API. */
export interface ApiAnswer {
  readonly status: number;
  readonly data: Record<string, unknown>;
  readonly body: Record<string, unknown>;
}

/** What a process holds. */
export interface Holdings {
  readonly rssMb: number;
  readonly handles: number;
  readonly children: number;
  readonly cpuSeconds: number;
}

/** A running proxy. */
export class Subject implements AsyncDisposable {
  readonly url: string;
  readonly key: string;
  readonly pid: number;
  readonly dataDir: string;
  readonly configPath: string;
  /** From the start of the process until it answered. */
  readonly listenMs: number;
  /** Until known tools were searchable. */
  readonly readyMs: number;
  /** On the monotonic clock. */
  readonly startedAt: number;
  readonly #child: Program;

  private constructor(child: Program, facts: Facts) {
    this.#child = child;
    this.pid = child.pid;
    this.url = facts.url;
    this.key = facts.key;
    this.dataDir = facts.dataDir;
    this.configPath = facts.configPath;
    this.listenMs = facts.listenMs;
    this.readyMs = facts.readyMs;
    this.startedAt = facts.startedAt;
  }

  /** Starts a proxy and waits until known tools are searchable. */
  static async start({ command, folder, config }: SubjectOptions): Promise<Subject> {
    const [dataDir, home, temp] = ["data", "home", "tmp"].map((name) => join(folder, name));
    for (const path of [dataDir, home, temp]) mkdirSync(path ?? "", { recursive: true, mode: 0o700 });
    const configPath = join(folder, "mcp_config.json");
    if (config !== undefined) writeFileSync(configPath, config, { mode: 0o600 });
    const { PATH = "" } = process.env;
    const startedAt = performance.now();
    const child = startProgram(
      [...command, "serve", "--config", configPath, "--data-dir", dataDir ?? "", "--listen", "127.0.0.1:0"],
      { env: { PATH, HOME: home ?? "", TMPDIR: temp ?? "" }, log: join(folder, "proxy.log") },
    );
    // What it prints is nobody's; unread it would stop it.
    void child.stdout.cancel().catch(() => {});
    try {
      const url = await listening(child, { dataDir: dataDir ?? "", startedAt });
      const listenMs = performance.now() - startedAt;
      await until(async () => (await fetch(`${url}/readyz`)).ok, "known tools are searchable", LISTEN_MS);
      const readyMs = performance.now() - startedAt;
      const key = readFileSync(join(dataDir ?? "", "api_key"), "utf8").trim();
      return new Subject(child, {
        url,
        key,
        dataDir: dataDir ?? "",
        configPath,
        listenMs,
        readyMs,
        startedAt,
      });
    } catch (error) {
      child.kill("SIGKILL");
      await child.ended();
      throw error;
    }
  }

  /** Whether the process runs. */
  get isRunning(): boolean {
    return this.#child.isRunning();
  }

  /** Asks the admin API. */
  async api(
    path: string,
    init: { readonly method?: string; readonly body?: unknown } = {},
  ): Promise<ApiAnswer> {
    const response = await fetch(`${this.url}/api/v1${path}`, {
      method: init.method ?? "GET",
      headers: { "x-api-key": this.key, "content-type": "application/json" },
      ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
    });
    const body = (await response.json()) as Record<string, unknown>;
    return { status: response.status, body, data: (body["data"] ?? {}) as Record<string, unknown> };
  }

  /** Posts to the admin API. */
  post(path: string, body: unknown = {}): Promise<ApiAnswer> {
    return this.api(path, { method: "POST", body });
  }

  /** All servers by name. */
  async servers(): Promise<Map<string, ServerFacts>> {
    const { data } = await this.api("/servers");
    return new Map((data["servers"] as ServerFacts[]).map((server) => [server.name, server]));
  }

  /** What the process holds now. */
  holdings(): Holdings {
    const status = readFileSync(`/proc/${this.pid}/status`, "latin1");
    const stat = readFileSync(`/proc/${this.pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return {
      rssMb: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024,
      handles: readdirSync(`/proc/${this.pid}/fd`).length,
      children: descendantsOf(this.pid).length,
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    };
  }

  /** Ends it calmly; the exit code, and how many of its children outlived it. Idempotent. */
  async stop(): Promise<{ readonly code: number; readonly left: number; readonly ms: number }> {
    const children = this.isRunning ? descendantsOf(this.pid) : [];
    const beganAt = performance.now();
    if (this.isRunning) this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    const code = await this.#child.ended();
    clearTimeout(timer);
    const ms = performance.now() - beganAt;
    const alive = new Set(runningProcesses().map(({ pid }) => pid));
    return { code, left: children.filter((pid) => alive.has(pid)).length, ms };
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.ended();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** A server as the list shows it, as far as it is looked at here. */
export interface ServerFacts {
  readonly name: string;
  readonly category: string;
  readonly startup_mode: string;
  readonly connection_state: string;
  readonly tool_count: number;
  readonly reason?: string;
  readonly attempt: number;
}

interface Facts {
  readonly url: string;
  readonly key: string;
  readonly dataDir: string;
  readonly configPath: string;
  readonly listenMs: number;
  readonly readyMs: number;
  readonly startedAt: number;
}

/**
 * Waits for something.
 *
 * @throws when it did not come within `withinMs`, naming it.
 */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  withinMs: number,
): Promise<number> {
  const beganAt = performance.now();
  for (;;) {
    if (await isSo()) return performance.now() - beganAt;
    if (performance.now() - beganAt > withinMs) throw new Error(`Waited ${withinMs} ms in vain: ${what}`);
    await sleep(POLL_MS);
  }
}

async function listening(
  child: Program,
  { dataDir, startedAt }: { readonly dataDir: string; readonly startedAt: number },
): Promise<string> {
  for (;;) {
    if (!child.isRunning()) throw new Error(`The proxy left with ${await child.ended()}; see its proxy.log`);
    const note = noteOf(dataDir);
    if (note?.pid === child.pid && (await isAnswering(note.url))) return note.url;
    if (performance.now() - startedAt > LISTEN_MS) throw new Error("The proxy does not listen");
    await sleep(POLL_MS);
  }
}

async function isAnswering(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/livez`)).ok;
  } catch {
    return false;
  }
}

function noteOf(dataDir: string): { readonly pid: number; readonly url: string } | undefined {
  try {
    return JSON.parse(readFileSync(join(dataDir, "daemon.json"), "utf8")) as { pid: number; url: string };
  } catch {
    return undefined;
  }
}

/** All processes below one, zombies left out. */
function descendantsOf(pid: number): number[] {
  const children = Map.groupBy(runningProcesses(), ({ parent }) => parent);
  const found = (children.get(pid) ?? []).map((child) => child.pid);
  for (const next of found) found.push(...(children.get(next) ?? []).map((child) => child.pid));
  return found;
}
