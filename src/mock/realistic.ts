/**
 * The production profile as a configuration a user could have: commands that look real and are never run.
 *
 * Owns the entries' keys and their sizes: 159 servers come to about 139 KB. It has what real files have: `args: null`, an
 * empty protocol, JSON inside args, sparse group ids, keys the proxy only reads. Invariant: it holds no fault, so that a
 * test sees its own. A copy of the reconstructed file was rejected: it is one size only, and not ours.
 */
import { GROUP_IDS, planFleet } from "./plan.ts";
import type { PlannedServer } from "./plan.ts";
import { pick, pickSome, seededRandom } from "./random.ts";
import type { Random } from "./random.ts";
import { capitalize } from "./tools.ts";
import { NOUNS, QUALIFIERS, SENTENCES, VERBS } from "./vocabulary.ts";

/** Share of entries with `args: null`, an empty protocol, and JSON inside args. */
const ODD_RATIO = 0.02;
const FIRST_DAY = Date.UTC(2025, 5, 1);
const DAY_MS = 86_400_000;

/** Makes the text of a configuration; equal arguments make equal text. */
export function makeRealisticConfig(
  options: { readonly servers?: number; readonly seed?: number } = {},
): string {
  const { servers = 159, seed = 1 } = options;
  const plan = planFleet({ servers, seed, outcomes: "production" });
  const config = {
    listen: "127.0.0.1:8080",
    data_dir: "~/.mcpproxy",
    tools_limit: 15,
    max_concurrent_connections: 10,
    call_tool_timeout: "2m0s",
    groups: GROUP_IDS.filter((id) => id > 0).map((id, at) => ({
      id,
      name: `${capitalize(NOUNS[at * 5] ?? "all")} work`,
      description: SENTENCES[at] ?? "",
      enabled: true,
    })),
    mcpServers: plan.map((planned, index) =>
      makeEntry(planned, { random: seededRandom(seed * 104_729 + index), index }),
    ),
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

function makeEntry(planned: PlannedServer, { random, index }: { random: Random; index: number }): object {
  const { name, service, launcher, startupMode, groupId, outcome } = planned;
  const isOdd = (nth: number): boolean => index % Math.round(1 / ODD_RATIO) === nth;
  const hasConnected = ["fast", "medium", "slow"].includes(outcome);
  const created = FIRST_DAY + Math.floor(random() * 120) * DAY_MS;
  const at = (ms: number): string => new Date(ms).toISOString();
  return {
    name,
    description: makeDescription(random, service),
    ...(launcher === "http"
      ? { url: `https://mcp.${service}.example/mcp`, protocol: "streamable-http" }
      : { protocol: isOdd(3) ? "" : "stdio", ...makeCommand(random, planned), ...oddArgs(isOdd) }),
    env: makeEnv(random, service),
    startup_mode: startupMode,
    group_id: groupId,
    health_check: random() < 0.5,
    repository_url: `https://github.example/${service}-tools/${service}-mcp-server`,
    created: at(created),
    updated: at(created + 40 * DAY_MS),
    ever_connected: hasConnected,
    ...(hasConnected && { last_successful_connection: at(created + 60 * DAY_MS) }),
    tool_count: hasConnected ? Math.floor(random() * 25) : 0,
    isolation: { enabled: false, network_mode: "", extra_args: [] },
  };
}

function oddArgs(isOdd: (nth: number) => boolean): object {
  if (isOdd(7)) return { args: null };
  if (!isOdd(11)) return {};
  return { args: ["--key", '{"method":"initialize"}', "--config", '"{\\"page\\":1}"'] };
}

function makeCommand(random: Random, { launcher, service }: PlannedServer): object {
  const scoped = `@${service}-tools/${pick(random, NOUNS)}-mcp-server`;
  switch (launcher) {
    case "npx":
      return { command: "npx", args: random() < 0.8 ? ["-y", scoped] : [`${scoped}@latest`] };
    case "uvx":
      return { command: "uvx", args: [`cloudlabs.${service}-mcp-server@latest`] };
    case "docker": {
      const image = `ghcr.example/${service}/${service}-mcp-server:latest`;
      return {
        command: "docker",
        args: ["run", "-i", "--rm", "-e", `${service.toUpperCase()}_TOKEN`, image],
      };
    }
    case "pipx":
      return { command: "pipx", args: ["run", `${service}-mcp`] };
    case "uv":
      return { command: "uv", args: ["--directory", `/home/user/${service}-mcp`, "run", "server.py"] };
    case "node":
      return { command: "node", args: [`/home/user/src/${service}-mcp/dist/index.js`] };
    case "binary":
    case "http":
      break;
  }
  return { command: `/home/user/.local/bin/${service}-mcp`, args: ["serve", "--stdio"] };
}

function makeEnv(random: Random, service: string): Readonly<Record<string, string>> {
  const prefix = service.toUpperCase();
  const token = Array.from({ length: 4 }, () => Math.floor(random() * 2 ** 32).toString(16)).join("");
  const all: readonly (readonly [string, string])[] = [
    [`${prefix}_API_KEY`, `not-a-secret-${token}`],
    [`${prefix}_BASE_URL`, `https://api.${service}.example/v2`],
    ["LOG_LEVEL", "info"],
    [`${prefix}_WORKSPACE`, `team-${Math.floor(random() * 1_000)}`],
  ];
  return Object.fromEntries(pickSome(random, all, 1 + Math.floor(random() * 3)));
}

function makeDescription(random: Random, service: string): string {
  const first = `${capitalize(pick(random, VERBS))} and ${pick(random, VERBS)} ${pick(random, NOUNS)}s in ${capitalize(service)} ${pick(random, QUALIFIERS)}.`;
  return [first, ...pickSome(random, SENTENCES, Math.floor(random() * 2))].join(" ");
}
