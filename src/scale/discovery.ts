/**
 * Discovery and search: every tool of every server is found through MCP, soon, and can be called.
 *
 * Owns the rows about search and about calls through the meta tools. Invariants: the expected hits come from the mocks,
 * not from the proxy; a tool of a server that is off is never found. Speed alone was rejected: an empty index is fast.
 */
import { ECHO_TOOL } from "./fleet.ts";
import { McpClient } from "./mcp_client.ts";
import { quantile } from "./sheet.ts";
import { openStage } from "./stage.ts";
import type { Area, AreaContext, Stage } from "./stage.ts";
import { until } from "./subject.ts";

const DESIGN_SEARCH_MS = 2_000;
const FOUND_RATIO = 0.9;
const HITS = 15;
const QUERIES = 100;
/** Searches after which the program's own compiler has seen the path. */
const WARM_UPS = 10;
const CALLS = 50;
const SETTLE_MS = 30_000;
/** Of the numbers to hold: a p99 for few tools and one for many; between them, in proportion. */
const FEW = { tools: 1_200, mustMs: 10 };
const MANY = { tools: 10_000, mustMs: 25 };

/** The area. */
export const DISCOVERY: Area = {
  name: "discovery",
  needs: "servers",
  about: "discovery and search: each tool found and called through MCP",
  run: runDiscovery,
};

interface Wanted {
  readonly server: string;
  readonly tool: string;
  readonly query: string;
}

async function runDiscovery(context: AreaContext): Promise<void> {
  const { options, tell } = context;
  await using stage = await openStage(context);
  const { subject, fleet } = stage;
  const all = fleet.servers.length === 0 ? await ownTools(stage) : await mockTools(context, stage);
  await using client = await McpClient.open(`${subject.url}/mcp`);
  const step = Math.max(1, Math.floor(all.length / (options.isShort ? QUERIES / 4 : QUERIES)));
  const sample = all.filter((_, at) => at % step === 0);
  tell(`${sample.length} queries over ${all.length} tools`);
  await searchAll(context, { client, sample, tools: all.length });
  if (fleet.servers.length === 0) return;
  await callAll(context, { client, stage });
  await switchOff(context, { client, stage });
}

/** What is to be found, by what the mocks have. */
async function mockTools(
  { sheet }: AreaContext,
  { subject, fleet, active }: Stage,
): Promise<readonly Wanted[]> {
  const isActive = new Set(active);
  const expected = fleet.servers.filter(({ name }) => isActive.has(name));
  const tools = expected.reduce((sum, server) => sum + server.tools.length, 0);
  const known = async (): Promise<number> => {
    const servers = await subject.servers();
    return expected.reduce((sum, { name }) => sum + (servers.get(name)?.tool_count ?? 0), 0);
  };
  await until(async () => (await known()) >= tools, "all tools are known", SETTLE_MS).catch(() => {});
  sheet.count("tools of the servers that run, known", { measured: await known(), wanted: tools });
  return expected.flatMap((server) =>
    server.tools
      .filter(({ name }) => name !== ECHO_TOOL)
      .map((tool): Wanted => ({ server: server.name, tool: tool.name, query: queryOf(server.name, tool) })),
  );
}

/** What a user's own servers have, as the proxy tells it: only speed and order can be judged by it. */
async function ownTools({ subject }: Stage): Promise<readonly Wanted[]> {
  const { data } = await subject.api("/tools");
  const tools = data["tools"] as readonly {
    readonly id: string;
    readonly name: string;
    readonly description: string;
  }[];
  return tools.map((tool) => {
    const server = tool.id.slice(0, tool.id.indexOf(":"));
    return { server, tool: tool.id.slice(server.length + 1), query: queryOf(server, tool) };
  });
}

/** Words an agent could use: what the tool does, and for whom. */
export function queryOf(
  server: string,
  tool: { readonly name: string; readonly description?: string },
): string {
  const words = tool.name.replaceAll(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ");
  const about = (tool.description ?? "").split(".")[0] ?? "";
  return `${words} ${about} ${server.replaceAll(/[^\p{L}\d]+/gu, " ")}`.slice(0, 200);
}

async function searchAll(
  { sheet }: AreaContext,
  given: { readonly client: McpClient; readonly sample: readonly Wanted[]; readonly tools: number },
): Promise<void> {
  const { client, sample, tools } = given;
  const times: number[] = [];
  let found = 0;
  const beganAt = performance.now();
  for (const [at, { query }] of sample.slice(0, WARM_UPS).entries()) {
    await client.callJson("retrieve_tools", { query, limit: HITS });
    if (at > 0) continue;
    sheet.add({ metric: "the first search", unit: "ms", measured: performance.now() - beganAt });
  }
  for (const { server, tool, query } of sample) {
    const from = performance.now();
    const reply = await client.callJson("retrieve_tools", { query, limit: HITS });
    times.push(performance.now() - from);
    const hits = reply["tools"] as readonly { readonly id: string }[];
    if (hits.some(({ id }) => id === `${server}:${tool}`)) found += 1;
  }
  sheet.add({ metric: `search over ${tools} tools, p50`, unit: "ms", measured: quantile(times, 0.5) });
  sheet.add({
    metric: `search over ${tools} tools, p99`,
    unit: "ms",
    measured: quantile(times, 0.99),
    target: DESIGN_SEARCH_MS,
    must: searchBar(tools),
  });
  sheet.add({
    metric: `the tool that was meant is among ${HITS}`,
    unit: "ratio",
    measured: found / sample.length,
    must: FOUND_RATIO,
    isFloor: true,
  });
}

async function callAll(
  { sheet }: AreaContext,
  { client, stage }: { readonly client: McpClient; readonly stage: Stage },
): Promise<void> {
  const names = echoing(stage).slice(0, CALLS);
  const times: number[] = [];
  let own = 0;
  for (const name of names) {
    const from = performance.now();
    const { content } = await client.call("call_tool_read", {
      name: `${name}:${ECHO_TOOL}`,
      args: { value: `to ${name}` },
    });
    times.push(performance.now() - from);
    if (content[0]?.text?.includes(`to ${name}`) === true) own += 1;
  }
  sheet.count("calls answered with what was sent", { measured: own, wanted: names.length });
  sheet.add({ metric: "a call through the meta tool, p50", unit: "ms", measured: quantile(times, 0.5) });
}

async function switchOff(
  { sheet }: AreaContext,
  { client, stage }: { readonly client: McpClient; readonly stage: Stage },
): Promise<void> {
  const { subject, fleet } = stage;
  const [name = ""] = echoing(stage);
  const [tool] = fleet.servers.find((server) => server.name === name)?.tools ?? [];
  const query = tool === undefined ? name : queryOf(name, tool);
  const hits = async (): Promise<number> => {
    const { tools } = (await client.callJson("retrieve_tools", { query, server: name })) as {
      readonly tools: readonly { readonly id: string }[];
    };
    return tools.filter(({ id }) => id.startsWith(`${name}:`)).length;
  };
  await subject.post(`/servers/${encodeURIComponent(name)}/disable`);
  sheet.count("tools found of a server that is off", { measured: await hits(), wanted: 0 });
  await subject.post(`/servers/${encodeURIComponent(name)}/enable`);
  const ms = await until(async () => (await hits()) > 0, "found again", SETTLE_MS).catch(() => Number.NaN);
  sheet.add({
    metric: "switched on, until its tools are found",
    unit: "ms",
    measured: ms,
    target: SETTLE_MS,
  });
}

/** Active servers that have the echo. */
export function echoing({ fleet, active }: Pick<Stage, "fleet" | "active">): readonly string[] {
  const isActive = new Set(active);
  return fleet.servers
    .filter(({ name, tools }) => isActive.has(name) && tools.some((tool) => tool.name === ECHO_TOOL))
    .map(({ name }) => name);
}

function searchBar(tools: number): number {
  const share = Math.min(1, Math.max(0, (tools - FEW.tools) / (MANY.tools - FEW.tools)));
  return FEW.mustMs + share * (MANY.mustMs - FEW.mustMs);
}
