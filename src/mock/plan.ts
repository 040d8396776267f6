/**
 * Who is in a production-like fleet: names, launchers, outcomes, startup modes, groups.
 *
 * Owns the counts of SPEC §11, per 159 servers, scaled to any number by largest remainders. The exclusive outcomes are fast 25,
 * medium (5–10 s) 30, slow (20–30 s) 10, garbage 2, oauth 2, hang 50, not_found 20, exit 15, no_daemon 5. The others overlap: the 10
 * first runs are among the medium ones, of the 5 without tools 3 are fast and 2 medium, the 2 with 228+ tools are fast.
 * Invariant: a seed and a number decide everything. The reconstructed roster was read for its facts; none of its entries is here.
 */
import { pick, seededRandom, shuffle } from "./random.ts";
import type { Random } from "./random.ts";
import { NOUNS, SERVICES } from "./vocabulary.ts";
import { capitalize } from "./tools.ts";
import type { StartupMode } from "../core/model.ts";

/** How many servers the counts are given for. */
export const PRODUCTION_SERVERS = 159;
/** Tools of so many servers. */
export const PRODUCTION_TOOLS = 1_200;

/** What becomes of an attempt to start a server. */
export type OutcomeKind =
  | "fast"
  | "medium"
  | "slow"
  | "garbage"
  | "oauth"
  | "hang"
  | "not_found"
  | "exit"
  | "no_daemon";

/** What starts a server. */
export type Launcher = "npx" | "uvx" | "docker" | "pipx" | "uv" | "node" | "binary" | "http";

/** One server of the fleet. */
export interface PlannedServer {
  readonly name: string;
  /** What it is about. */
  readonly service: string;
  readonly launcher: Launcher;
  readonly outcome: OutcomeKind;
  /** Downloads itself first, 48–177 s. */
  readonly isFirstRun: boolean;
  readonly hasNoTools: boolean;
  /** 228 tools or more, in pages. */
  readonly hasManyTools: boolean;
  readonly startupMode: StartupMode;
  readonly groupId: number;
}

/** Ids of groups, with gaps; 0 is none. */
export const GROUP_IDS = [0, 1, 2, 4, 7, 10, 13, 19] as const;

const OUTCOMES: Readonly<Record<OutcomeKind, number>> = {
  fast: 25,
  medium: 30,
  slow: 10,
  garbage: 2,
  oauth: 2,
  hang: 50,
  not_found: 20,
  exit: 15,
  no_daemon: 5,
};
const LAUNCHERS: Readonly<Record<Launcher, number>> = {
  npx: 112,
  uvx: 27,
  docker: 5,
  pipx: 4,
  uv: 3,
  node: 3,
  binary: 3,
  http: 2,
};
const MODES: Readonly<Partial<Record<StartupMode, number>>> = {
  active: 103,
  lazy_loading: 44,
  disabled: 9,
  quarantined: 3,
};
const FIRST_RUNS = 10;
const MANY_TOOLS = 2;
const NO_TOOLS_FAST = 3;
const NO_TOOLS_MEDIUM = 2;

/** Plans a fleet; `healthy` makes all of them fast. */
export function planFleet(options: {
  readonly servers: number;
  readonly seed: number;
  readonly outcomes: "production" | "healthy";
}): readonly PlannedServer[] {
  const { servers, seed } = options;
  const random = seededRandom(seed);
  const isHealthy = options.outcomes === "healthy";
  const launchers = shuffle(random, apportion(LAUNCHERS, servers));
  const outcomes = matchOutcomes(random, launchers);
  const modes = shuffle(random, apportion(MODES, servers));
  const taken = new Set<string>();
  const places = new Map<OutcomeKind, number>();
  return launchers.map((launcher, index) => {
    const service = pick(random, SERVICES);
    const outcome = isHealthy ? "fast" : (outcomes[index] ?? "fast");
    const place = places.get(outcome) ?? 0;
    places.set(outcome, place + 1);
    return {
      name: makeName(random, service, taken),
      service,
      launcher,
      outcome,
      startupMode: modes[index] ?? "active",
      groupId: pick(random, GROUP_IDS),
      ...(isHealthy ? PLAIN : traits(outcome, place, servers)),
    };
  });
}

const PLAIN = { isFirstRun: false, hasNoTools: false, hasManyTools: false };

/** The overlapping traits, by the place of a server among those with the same outcome. */
function traits(outcome: OutcomeKind, place: number, servers: number): typeof PLAIN {
  const scaled = (count: number): number => Math.round((count * servers) / PRODUCTION_SERVERS);
  const [first, many] = [scaled(FIRST_RUNS), scaled(MANY_TOOLS)];
  const empty = scaled(outcome === "fast" ? NO_TOOLS_FAST : NO_TOOLS_MEDIUM);
  const from = outcome === "fast" ? many : first;
  const isEither = outcome === "fast" || outcome === "medium";
  return {
    isFirstRun: outcome === "medium" && place < first,
    hasManyTools: outcome === "fast" && place < many,
    hasNoTools: isEither && place >= from && place < from + empty,
  };
}

/** Scales counts to a total, the largest remainders rounded up, and lists each kind so often. */
function apportion<K extends string>(
  counts: Readonly<Partial<Record<K, number>>>,
  total: number,
): readonly K[] {
  const entries = Object.entries<number>(counts as Readonly<Record<K, number>>);
  const sum = entries.reduce((all, [, count]) => all + count, 0);
  const shares = entries.map(([kind, count]) => ({ kind: kind as K, exact: (count * total) / sum }));
  const missing = total - shares.reduce((all, { exact }) => all + Math.floor(exact), 0);
  const up = new Set(
    shares
      .toSorted((a, b) => (b.exact % 1) - (a.exact % 1))
      .slice(0, missing)
      .map(({ kind }) => kind),
  );
  return shares.flatMap(({ kind, exact }) =>
    Array.from({ length: Math.floor(exact) + (up.has(kind) ? 1 : 0) }, () => kind),
  );
}

/** Gives each launcher an outcome: docker lacks its daemon, HTTP wants a login, the rest is by chance. */
function matchOutcomes(random: Random, launchers: readonly Launcher[]): readonly OutcomeKind[] {
  const left = [...shuffle(random, apportion(OUTCOMES, launchers.length))];
  const take = (wanted: OutcomeKind): OutcomeKind | undefined => {
    const at = left.indexOf(wanted);
    return at < 0 ? undefined : left.splice(at, 1)[0];
  };
  const chosen = launchers.map((launcher) =>
    launcher === "docker" ? take("no_daemon") : launcher === "http" ? take("oauth") : undefined,
  );
  return chosen.map((outcome) => outcome ?? left.shift() ?? "fast");
}

const NAME_SHAPES: readonly ((service: string, noun: string) => string)[] = [
  (service) => `mcp-${service}`,
  (service) => `mcp-server-${service}`,
  (service) => `${service}-mcp`,
  (service) => `${service}-mcp-server`,
  (service, noun) => `${service}-${noun}`,
  (service, noun) => `mcp_${service}_${noun}`,
  (service, noun) => `cloudlabs.${service}-${noun}-mcp-server`,
  (service, noun) => `${capitalize(service)} ${capitalize(noun)}`,
  (service, noun) => `MCP-${capitalize(service)}-${noun}`,
  (service) => `MCP_${service.toUpperCase()}`,
  (service) => service,
];

function makeName(random: Random, service: string, taken: Set<string>): string {
  const noun = pick(random, NOUNS);
  const base = pick(random, NAME_SHAPES)(service, noun);
  let name = base;
  for (let number = 2; taken.has(name.toLowerCase()); number += 1) name = `${base}-${number}`;
  taken.add(name.toLowerCase());
  return name;
}
