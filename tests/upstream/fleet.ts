/**
 * A supervisor over virtual servers, and the changes a configuration can bring to it.
 *
 * Owns the shortest way to a {@link Reconciliation}, and the record of what was opened, told and remembered. Invariant:
 * nothing but the virtual clock moves it. The world of the simulation was rejected here: it checks rules, and these
 * tests say what exactly happens.
 */
import { EventBus } from "../../src/core/events.ts";
import type { ProxyEvent } from "../../src/core/events.ts";
import type { Server, StartupMode } from "../../src/core/model.ts";
import type { Settings } from "../../src/core/settings.ts";
import type { Learned, ServerMemory } from "../../src/state/store.ts";
import type { Keeper } from "../../src/upstream/keeper.ts";
import { Supervisor } from "../../src/upstream/supervisor.ts";
import type { Reconciliation } from "../../src/upstream/supervisor.ts";
import type { SettingsParts } from "../fixtures/upstreams.ts";
import { simServer, simSettings } from "./simulation.ts";
import { VirtualClock } from "./virtual_clock.ts";
import { healthy, VirtualLink } from "./virtual_link.ts";
import type { Nature } from "./virtual_link.ts";

/** Options of {@link openFleet}. */
export interface FleetOptions {
  readonly settings?: SettingsParts;
  readonly memory?: Readonly<Record<string, Learned>>;
  /** Commands and URLs nobody approved. */
  readonly unapproved?: readonly string[];
  readonly nature?: (server: Server) => Nature;
}

/** What a test changes of the servers there are. */
export type ChangeParts = Partial<Omit<Reconciliation, "servers" | "modes">> & {
  readonly modes?: Readonly<Record<string, StartupMode>>;
  /** Names in the order of the file. @default as they are, and what is new behind */
  readonly order?: readonly string[];
};

/** Makes the change that turns `before` into what `parts` say. */
export function changeOf(before: readonly Server[], parts: ChangeParts): Reconciliation {
  const { added = [], removed = [], restarted = [], updated = [], renamed = [], modes = {}, order } = parts;
  const changed = new Map([...restarted, ...updated].map((server) => [server.name, server]));
  const moved = new Map(renamed.map(({ from, server }) => [from, server]));
  const kept = before.filter(({ name }) => !removed.includes(name));
  const after = [...kept.map((server) => moved.get(server.name) ?? server), ...added]
    .map((server) => changed.get(server.name) ?? server)
    .map((server) => ({ ...server, startupMode: modes[server.name] ?? server.startupMode }));
  const modeOf = (name: string): StartupMode =>
    before.find((server) => server.name === name)?.startupMode ?? "active";
  const at = (name: string): number => order?.indexOf(name) ?? 0;
  return {
    added: after.filter(({ name }) => added.some((server) => server.name === name)),
    removed,
    restarted: after.filter(({ name }) => restarted.some((server) => server.name === name)),
    updated: after.filter(({ name }) => updated.some((server) => server.name === name)),
    renamed: renamed.map((one) => ({ ...one, server: changed.get(one.to) ?? one.server })),
    modes: Object.entries(modes).map(([name, mode]) => ({ name, before: modeOf(name), after: mode })),
    reviewed: parts.reviewed ?? [],
    servers: after.toSorted((one, other) => at(one.name) - at(other.name)),
  };
}

/** A change of startup modes and of nothing else. */
export function modeChange(
  before: readonly { readonly server: Server }[],
  modes: Readonly<Record<string, StartupMode>>,
): Reconciliation {
  return changeOf(
    before.map(({ server }) => server),
    { modes },
  );
}

/** A change in which one server is gone. */
export function removal(before: readonly { readonly server: Server }[], name: string): Reconciliation {
  return changeOf(
    before.map(({ server }) => server),
    { removed: [name] },
  );
}

/** Makes servers `a`, `b` … that are ready after 100 ms, and their supervisor. */
export class Fleet {
  readonly clock = new VirtualClock();
  readonly supervisor: Supervisor<VirtualLink>;
  readonly links: VirtualLink[] = [];
  readonly stops: (readonly [name: string, graceMs: number])[] = [];
  readonly events: ProxyEvent[] = [];
  readonly memory = new Map<string, ServerMemory>();
  /** What may not be started, by the command or URL. */
  readonly unapproved = new Set<string>();
  settings: Settings;
  nature: (server: Server) => Nature;

  constructor(
    servers: readonly Server[],
    { settings = {}, memory = {}, unapproved = [], nature }: FleetOptions = {},
  ) {
    this.nature = nature ?? (() => healthy(100));
    this.settings = simSettings({ healthCheckIntervalMs: 0, toolDiscoveryIntervalMs: 0, ...settings });
    for (const what of unapproved) this.unapproved.add(what);
    for (const [name, learned] of Object.entries(memory)) this.learn(name, learned);
    const bus = new EventBus({ now: this.clock.wallNow });
    bus.subscribe((event) => this.events.push(event));
    this.supervisor = new Supervisor<VirtualLink>({
      servers,
      settings: this.settings,
      clock: this.clock,
      random: () => 0.5,
      bus,
      open: (server, hooks) => {
        const { stops } = this;
        const link = new VirtualLink(server, {
          nature: this.nature(server),
          hooks,
          world: {
            clock: this.clock,
            onTools: (one) => this.learn(one.server.name, { toolCount: 5 }),
            onFailure: () => {},
            onStop: () => {},
            echoMs: undefined,
          },
        });
        const stop = link.stop.bind(link);
        link.stop = (graceMs) => {
          if (link.isLive) stops.push([link.server.name, graceMs]);
          stop(graceMs);
        };
        this.links.push(link);
        return link;
      },
      recall: (name) => this.memory.get(name),
      remember: (name, learned) => this.learn(name, learned),
      mayStart: ({ command, url }) => !this.unapproved.has(command ?? url ?? ""),
    });
  }

  /** Starts all, and lets them become ready. */
  start(): this {
    this.supervisor.start();
    this.clock.advance(1_000);
    return this;
  }

  get names(): string[] {
    return this.supervisor.keepers().map(({ server }) => server.name);
  }

  get(name: string): Keeper<VirtualLink> {
    const keeper = this.supervisor.find(name);
    if (keeper === undefined) throw new RangeError(`There is no server '${name}'`);
    return keeper;
  }

  /** Names of the links opened since `run` began, in order. */
  opened(run: () => void): string[] {
    const before = this.links.length;
    run();
    return this.links.slice(before).map(({ server }) => server.name);
  }

  change(parts: ChangeParts): void {
    const servers = this.supervisor.keepers().map(({ server }) => server);
    this.supervisor.reconcile(changeOf(servers, parts), "the file changed");
  }

  /** Puts other settings in force. */
  tune(parts: SettingsParts): void {
    const { supervision, ...rest } = parts;
    this.settings = {
      ...this.settings,
      ...rest,
      supervision: { ...this.settings.supervision, ...supervision },
    };
    this.supervisor.applySettings(this.settings, "the file changed");
  }

  learn(name: string, learned: Learned): void {
    const blank = { name, everConnected: false, failedLast: false, toolCount: 0, firstSeenAt: 0 };
    this.memory.set(name, { ...blank, ...this.memory.get(name), ...learned });
  }

  /** Forgets the events so far. */
  hush(): void {
    this.events.length = 0;
  }

  /** The events as `type server`, moves as `server mode/connection`. */
  get told(): string[] {
    return this.events.map(({ type, server, data }) => {
      if (type !== "server_state_changed") return `${type} ${server}`;
      const { after } = data;
      return `${server} ${after.mode}/${after.connection}`;
    });
  }
}

/** Servers of these names. */
export function simServers(...names: readonly string[]): Server[] {
  return names.map((name) => simServer(name));
}
