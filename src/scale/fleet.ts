/**
 * The upstreams of a run: mocks in a process of their own, and the configuration that reaches them.
 *
 * Owns the mock host's process and the text of the configuration, which has the keys and the size of a real one.
 * Invariant: a mock's faults and network are switched from outside, so that the proxy cannot tell them from real ones.
 * Mocks in this process were rejected: their work would be counted as the report's.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startProgram } from "../lib/program.ts";
import type { Program } from "../lib/program.ts";
import { makeProfile } from "../mock/profile.ts";
import { makeRealisticConfig } from "../mock/realistic.ts";
import type { Fault, MockCounters, MockServer } from "../mock/server.ts";
import type { ConfigOptions, Entry, Roster } from "./roster.ts";

/** A tool every server that has tools has, so that an answer can be told from another's. */
export const ECHO_TOOL = "scale_echo";
const ECHO = {
  name: ECHO_TOOL,
  description: "Answers what it was sent",
  inputSchema: { type: "object", properties: { value: { type: "string" } }, required: ["value"] },
  annotations: { readOnlyHint: true, destructiveHint: false },
} as const;

/** What becomes of the servers. */
export type ProfileName = "healthy" | "production" | "storm";

/** Options of {@link Fleet.start}. */
export interface FleetOptions {
  /** The program that hosts mocks, without its verb. */
  readonly command: readonly string[];
  readonly folder: string;
  readonly profile: ProfileName;
  readonly servers: number;
  readonly seed?: number;
  /** Factor on the times of the production profile. @default 1 */
  readonly timeScale?: number;
  readonly maxStdio?: number;
  readonly tools?: number;
  /** Time of each call. @default by the profile, a few milliseconds */
  readonly callMs?: number;
}

/** Running mocks. */
export class Fleet implements Roster {
  readonly servers: readonly MockServer[];
  /** Entries as they stand in the configuration. */
  readonly entries: readonly Entry[];
  readonly #child: Program;
  readonly #control: string;
  readonly #top: Readonly<Record<string, unknown>>;

  private constructor(
    child: Program,
    facts: Pick<Fleet, "servers" | "entries"> & {
      readonly control: string;
      readonly top: Readonly<Record<string, unknown>>;
    },
  ) {
    this.#child = child;
    this.servers = facts.servers;
    this.entries = facts.entries;
    this.#control = facts.control;
    this.#top = facts.top;
  }

  /** Starts the mocks and waits until they listen. */
  static async start(options: FleetOptions): Promise<Fleet> {
    const { command, folder, servers: count, seed = 1 } = options;
    const { servers: made } = makeProfile({
      servers: count,
      seed,
      outcomes: options.profile === "production" ? "production" : "healthy",
      ...(options.timeScale === undefined ? {} : { scale: options.timeScale }),
      ...(options.maxStdio === undefined ? {} : { maxStdio: options.maxStdio }),
      ...(options.tools === undefined ? {} : { tools: options.tools }),
    });
    const timing = options.callMs === undefined ? {} : { latencyMs: options.callMs };
    const servers = made.map((server) => ({
      ...server,
      ...timing,
      ...(server.tools.length > 0 && { tools: [...server.tools, ECHO] }),
    }));
    const [profile, config] = [join(folder, "mocks.json"), join(folder, "mocks_config.json")];
    writeFileSync(profile, JSON.stringify({ seed, servers }));
    const child = startProgram(
      [...command, "mock", "--profile", profile, "--write-config", config, "--json"],
      {
        log: join(folder, "mocks.log"),
      },
    );
    const { control } = JSON.parse(await firstLine(child.stdout)) as { control: string };
    const reached = (await Bun.file(config).json()) as { readonly mcpServers: readonly Entry[] };
    const real = JSON.parse(makeRealisticConfig({ servers: count, seed })) as Readonly<
      Record<string, unknown>
    > & {
      readonly mcpServers: readonly Entry[];
    };
    const { mcpServers, ...top } = real;
    const byName = new Map(mcpServers.map((entry) => [entry.name, entry]));
    const entries = reached.mcpServers.map((entry) => entryOf(entry, byName.get(entry.name)));
    return new Fleet(child, { servers, entries, control, top });
  }

  /** The mode each server has in the configuration. */
  get modes(): ReadonlyMap<string, string> {
    return new Map(this.entries.map((entry) => [entry.name, String(entry["startup_mode"])]));
  }

  /** The text of a configuration of all mocks. */
  config({ settings = {}, entry = (same) => same }: ConfigOptions = {}): string {
    const { listen: _listen, data_dir: _dataDir, ...top } = this.#top;
    return `${JSON.stringify({ ...top, ...settings, mcpServers: this.entries.map(entry) }, null, 2)}\n`;
  }

  /** Puts faults in place of all others; null heals. */
  async setFault(name: string, fault: Fault | readonly Fault[] | null): Promise<void> {
    await this.#order({ op: "setFault", name, fault });
  }

  /** Cuts or opens every connection over HTTP. */
  async network(state: "up" | "down"): Promise<void> {
    await this.#order({ op: "network", state });
  }

  /** What was asked of a mock. */
  async counters(name: string): Promise<MockCounters> {
    return (await (await fetch(`${this.#control}?name=${encodeURIComponent(name)}`)).json()) as MockCounters;
  }

  /** Ends the mocks. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.ended();
  }

  async #order(order: object): Promise<void> {
    const response = await fetch(this.#control, { method: "POST", body: JSON.stringify(order) });
    if (!response.ok) throw new Error(`The mocks refused: ${await response.text()}`);
  }
}

/** A real entry with the mock's address in place of its own. */
function entryOf(mock: Entry, real: Entry | undefined): Entry {
  if (real === undefined) return mock;
  const { command: _command, args: _args, url: _url, protocol: _protocol, ...rest } = real;
  // What an earlier program noted would make a first start look like a restart.
  const { ever_connected: _ever, last_successful_connection: _last, tool_count: _count, ...entry } = rest;
  return { ...entry, ...mock };
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The mocks ended before they listened");
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  return text.slice(0, text.indexOf("\n"));
}
