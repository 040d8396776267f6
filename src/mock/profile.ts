/**
 * The production profile as mocks that run.
 *
 * Owns what each outcome of the plan means for a mock, over stdio and over HTTP, with times scaled by a factor, and the
 * cap on stdio servers: beyond it a server is served over HTTP with the same outcome. Over HTTP a command that is not found is
 * a 404, an exit a cut connection, a missing daemon a closed port. Invariant: equal options make equal profiles.
 */
import { planFleet, PRODUCTION_SERVERS, PRODUCTION_TOOLS } from "./plan.ts";
import type { PlannedServer } from "./plan.ts";
import { pick, seededRandom, share, shuffle } from "./random.ts";
import type { Random } from "./random.ts";
import { makeTools } from "./tools.ts";
import type { Fault, MockEra, MockProfile, MockServer, MockTransport } from "./server.ts";

/** Options of {@link makeProfile}. */
export interface ProfileOptions {
  readonly servers: number;
  /** @default 1 */
  readonly seed?: number;
  /** All outcomes, or all fast. @default "production" */
  readonly outcomes?: "production" | "healthy";
  /** Factor on all times; 0.01 makes 30 s into 300 ms. @default 1 */
  readonly scale?: number;
  /** @default no cap */
  readonly maxStdio?: number;
  /** Tools of all servers together, if there are servers to have them. @default 1,200 per 159 servers */
  readonly tools?: number;
  /** Adds a server `conformance`, over HTTP in both eras, with what the conformance suite asks for. @default false */
  readonly conformance?: boolean;
}

/** Least number of tools of a server with many. */
export const MANY_TOOLS = 228;
const MANY_TOOLS_PAGE = 50;
const LATENCY = { median: 5, sigma: 0.8 };
/** Share of HTTP mocks that serve the older SSE. */
const SSE_RATIO = 0.1;
const ERAS: readonly MockEra[] = ["legacy", "legacy", "legacy", "legacy", "legacy", "both", "modern"];

const CONFORMANCE: MockServer = {
  name: "conformance",
  transport: "streamable_http",
  era: "both",
  tools: [],
  conformance: true,
};

const EXITS = [
  "npm error code E404\nnpm error 404 Not Found - GET https://registry.npmjs.org/a-server - Not found\n",
  "Error: Cannot find module '/app/dist/index.js'\n    at Module._resolveFilename (node:internal/modules)\n",
  "Error: API_KEY environment variable is required\n",
  "Traceback (most recent call last):\n  File \"server.py\", line 3, in <module>\nModuleNotFoundError: No module named 'mcp'\n",
];
const NO_DAEMON =
  "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";

/** Makes a fleet of mocks; their names are those of `makeRealisticConfig` with the same seed and number. */
export function makeProfile(options: ProfileOptions): MockProfile {
  const {
    servers,
    seed = 1,
    outcomes = "production",
    scale = 1,
    maxStdio = Number.POSITIVE_INFINITY,
  } = options;
  const { tools = Math.round((PRODUCTION_TOOLS * servers) / PRODUCTION_SERVERS) } = options;
  if (!Number.isInteger(servers) || servers < 0) throw new RangeError(`Cannot make ${servers} servers`);
  const plan = planFleet({ servers, seed, outcomes });
  const random = seededRandom(seed + 1);
  const stdio = new Set(
    shuffle(
      random,
      plan.filter(({ launcher }) => launcher !== "http"),
    ).slice(0, maxStdio),
  );
  const counts = countTools(random, plan, tools);
  const extra = options.conformance === true ? [CONFORMANCE] : [];
  const longest = counts.indexOf(Math.max(...counts));
  return {
    seed,
    servers: extra.concat(
      plan.map((planned, index) => {
        const own = seededRandom(seed * 7_919 + index);
        const transport = stdio.has(planned) ? "stdio" : httpKind(own);
        return makeServer(planned, {
          random: own,
          transport,
          scale,
          tools: makeTools(own, {
            service: planned.service,
            count: counts[index] ?? 0,
            withManual: index === longest,
          }),
        });
      }),
    ),
  };
}

function httpKind(random: Random): MockTransport {
  return random() < SSE_RATIO ? "sse" : "streamable_http";
}

/** How many tools each server has: those that never answer have none. */
function countTools(random: Random, plan: readonly PlannedServer[], total: number): readonly number[] {
  const isWorking = ({ outcome, hasNoTools }: PlannedServer): boolean =>
    !hasNoTools && ["fast", "medium", "slow", "garbage"].includes(outcome);
  const working = plan.filter(isWorking);
  const many = working.filter(({ hasManyTools }) => hasManyTools);
  const few = working.length - many.length;
  const large = many.map(() => MANY_TOOLS + Math.floor(random() * 30));
  const largeTotal = large.reduce((all, count) => all + count, 0);
  const isRoom = total - largeTotal >= few;
  const shares = isRoom
    ? share(random, total - largeTotal, { parts: few, least: few === 0 ? 0 : 1 })
    : share(random, total, { parts: working.length });
  return plan.map((planned) => {
    if (!isWorking(planned)) return 0;
    return (planned.hasManyTools && isRoom ? large.shift() : shares.shift()) ?? 0;
  });
}

interface Making {
  readonly random: Random;
  readonly transport: MockTransport;
  readonly scale: number;
  readonly tools: MockServer["tools"];
}

function makeServer(planned: PlannedServer, { random, transport, scale, tools }: Making): MockServer {
  const faults = faultsOf(planned, { random, scale, isStdio: transport === "stdio" });
  return {
    name: planned.name,
    transport,
    era: transport === "sse" ? "legacy" : pick(random, ERAS),
    tools,
    latencyMs: { ...LATENCY, median: LATENCY.median * scale },
    ...(planned.hasManyTools && { pageSize: MANY_TOOLS_PAGE }),
    ...(faults.length > 0 && { faults }),
  };
}

function faultsOf(
  planned: PlannedServer,
  { random, scale, isStdio }: { random: Random; scale: number; isStdio: boolean },
): readonly Fault[] {
  const between = (fromS: number, toS: number): number =>
    Math.round((fromS + random() * (toS - fromS)) * 1_000 * scale);
  const slow = (fromS: number, toS: number): readonly Fault[] => [
    { kind: "slow_start", ms: between(fromS, toS) },
  ];
  const empty: readonly Fault[] = planned.hasNoTools ? [{ kind: "zero_tools" }] : [];
  switch (planned.outcome) {
    case "fast":
      return [...slow(0.1, 1.5), ...empty];
    case "medium":
      if (planned.isFirstRun)
        return [{ kind: "slow_start", ms: between(48, 177), firstRunOnly: true }, ...empty];
      return [...slow(5, 10), ...empty];
    case "slow":
      return slow(20, 30);
    case "garbage":
      return [{ kind: "garbage" }];
    case "oauth":
      return isStdio ? [exit("Error: not logged in\n", 0)] : [{ kind: "status", status: 401 }];
    case "hang":
      return [{ kind: "hang", at: random() < 0.5 ? "connect" : "handshake" }];
    case "not_found":
      return [{ kind: "not_found" }];
    case "no_daemon":
      return isStdio ? [exit(NO_DAEMON, between(0.1, 0.4))] : [{ kind: "refuse" }];
    case "exit":
      break;
  }
  return [exit(pick(random, EXITS), between(0.3, 2))];
}

function exit(stderr: string, afterMs: number): Fault {
  return { kind: "exit", at: "start", code: 1, stderr, afterMs };
}
