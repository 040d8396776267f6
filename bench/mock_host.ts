/**
 * Hosts many mock MCP servers in one process: `bun bench/mock_host.ts --servers 159 --tools 1200`.
 *
 * Owns the generated servers, their tools and the legacy protocol (2025-06-18) over streamable HTTP at
 * `/s/<i>/mcp`; one JSON line on stdout tells that it listens. Invariant: names, texts and schemas follow
 * from `--seed` alone, and each answer is prepared before the first request, so that the host costs the
 * measured process as little of the shared processors as can be. The SDK's server was rejected for that cost.
 */
import { parseArgs } from "node:util";

const PROTOCOL_VERSION = "2025-06-18";
const MEDIAN_DESCRIPTION_CHARS = 83;
const MAX_DESCRIPTION_CHARS = 6500;
const DESCRIPTION_SIGMA = 0.9;
/** Share of tools whose description is a whole manual. */
const MANUAL_RATIO = 0.001;

const SERVICES = words(`
  github gitlab jira confluence slack discord notion linear asana trello postgres mysql sqlite redis mongo
  elastic kafka rabbit docker kubernetes terraform ansible aws azure gcp cloudflare vercel netlify stripe
  paypal shopify hubspot salesforce zendesk intercom mailgun sendgrid twilio calendar drive sheets docs
  gmail outlook teams zoom figma miro browser puppeteer filesystem git shell python jupyter pandas weather
  maps geocode news arxiv wikipedia youtube spotify reddit hackernews sentry datadog grafana prometheus
  pagerduty memory fetch time search translate pdf image audio video crypto stocks`);

const VERBS = words(`
  list get create update delete search find read write send fetch upload download move copy rename archive
  restore export import query run start stop restart validate analyze summarize convert merge split compare
  count watch lock approve reject assign label comment publish schedule cancel sync`);

const NOUNS = words(`
  file folder issue comment branch commit repository pipeline message channel thread user team project board
  card page document table row column record index collection topic queue container image pod service cluster
  bucket object function deployment domain invoice payment customer order product ticket contact campaign
  event calendar attendee meeting sheet cell range slide frame screenshot element cookie tab package module
  notebook dataset forecast location route article paper video playlist track post alert metric dashboard
  incident entity relation observation snapshot schedule template webhook token secret role policy`);

const PARAMETERS = words(`
  id name path query limit offset cursor title body content owner repo branch format language encoding
  timeout recursive force tags labels status priority assignee start_date end_date timezone latitude longitude
  width height quality url selector channel thread_id user_id include_deleted sort_by order fields filter`);

const QUALIFIERS = [
  "by its id",
  "with pagination",
  "that match a filter",
  "in the current workspace",
  "for the authenticated account",
  "and return the result as JSON",
  "including nested items",
  "between two dates",
  "from the default branch",
  "and wait until it has finished",
  "without changing anything else",
  "using the server's own permissions",
];

const SENTENCES = [
  "Results are sorted by the time of the last change unless an order is given.",
  "Large answers are cut off; use the cursor to read on.",
  "Requires the matching scope on the access token.",
  "Returns an error when the item does not exist or has been archived.",
  "Dates are ISO 8601 and interpreted in the given timezone.",
  "Prefer this tool over a plain search when the id is known.",
  "The operation is idempotent and safe to repeat.",
  "Rate limits of the remote service apply.",
];

interface MockServer {
  readonly name: string;
  /** Results as JSON text, ready to be framed. */
  readonly initialize: string;
  readonly toolsList: string;
}

/** A source of numbers in [0, 1). */
type Random = () => number;

function words(text: string): readonly string[] {
  return text.trim().split(/\s+/);
}

/** mulberry32: 32 bits of state are plenty for mock texts. */
function seededRandom(seed: number): Random {
  let state = Math.trunc(seed);
  return () => {
    state = Math.trunc(state + 0x6d2b79f5);
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function pick<T>(random: Random, list: readonly T[]): T {
  const chosen = list[Math.floor(random() * list.length)];
  if (chosen === undefined) throw new RangeError("Cannot pick: the list is empty");
  return chosen;
}

/** Distinct entries in random order. */
function pickSome(random: Random, list: readonly string[], count: number): readonly string[] {
  const chosen = new Set<string>();
  while (chosen.size < count) chosen.add(pick(random, list));
  return [...chosen];
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A log-normal length around the median, by Box and Muller. */
function descriptionLength(random: Random): number {
  if (random() < MANUAL_RATIO) return MAX_DESCRIPTION_CHARS;
  const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const length = Math.round(MEDIAN_DESCRIPTION_CHARS * Math.exp(DESCRIPTION_SIGMA * normal));
  return Math.min(MAX_DESCRIPTION_CHARS, Math.max(12, length));
}

function makeDescription(random: Random, verb: string, noun: string, service: string): string {
  const length = descriptionLength(random);
  let text = `${capitalize(verb)} a ${noun} in ${capitalize(service)} ${pick(random, QUALIFIERS)}.`;
  while (text.length < length) text += ` ${pick(random, SENTENCES)}`;
  return text.slice(0, length).trimEnd();
}

function makeProperty(random: Random, name: string): object {
  const description = `${capitalize(name.replaceAll("_", " "))} of the ${pick(random, NOUNS)}`;
  switch (Math.floor(random() * 7)) {
    case 0:
      return { type: "integer", description, minimum: 0, default: Math.floor(random() * 100) };
    case 1:
      return { type: "boolean", description, default: random() < 0.5 };
    case 2:
      return { type: "array", items: { type: "string" }, description };
    case 3:
      return { type: "string", enum: pickSome(random, VERBS, 3), description };
    default:
      return { type: "string", description };
  }
}

function makeSchema(random: Random): object {
  const names = pickSome(random, PARAMETERS, Math.floor(random() * 6));
  return {
    type: "object",
    properties: Object.fromEntries(names.map((name) => [name, makeProperty(random, name)])),
    ...(names.length > 0 && { required: names.slice(0, 1 + Math.floor(random() * 2)) }),
    additionalProperties: false,
    $schema: "http://json-schema.org/draft-07/schema#",
  };
}

function makeAnnotations(random: Random, verb: string): object {
  if (random() < 0.4) return {};
  const readOnlyHint = /^(?:list|get|search|find|read|fetch|query|count|compare|watch)$/.test(verb);
  return { annotations: { readOnlyHint, ...(!readOnlyHint && { destructiveHint: verb === "delete" }) } };
}

/** The same bare names stand on several servers, as in production; within one server they differ. */
function makeTools(random: Random, service: string, count: number): readonly object[] {
  const tools = new Map<string, object>();
  while (tools.size < count) {
    const [verb, noun] = [pick(random, VERBS), pick(random, NOUNS)];
    const name = random() < 0.15 ? `${verb}${capitalize(noun)}` : `${verb}_${noun}`;
    if (tools.has(name)) continue;
    const description = makeDescription(random, verb, noun, service);
    tools.set(name, { name, description, inputSchema: makeSchema(random), ...makeAnnotations(random, verb) });
  }
  return [...tools.values()];
}

/** Shares of a total, uneven and exact. */
function share(random: Random, total: number, parts: number): readonly number[] {
  const weights = Array.from({ length: parts }, () => 0.2 + random() + random());
  const sum = weights.reduce((all, weight) => all + weight, 0);
  let [weightSoFar, givenSoFar] = [0, 0];
  return weights.map((weight) => {
    weightSoFar += weight;
    const given = Math.round((total * weightSoFar) / sum) - givenSoFar;
    givenSoFar += given;
    return given;
  });
}

function makeServers(count: number, tools: number, seed: number): readonly MockServer[] {
  const random = seededRandom(seed);
  return share(random, tools, count).map((toolCount, index) => {
    const service = pick(random, SERVICES);
    const name = `${service}-${index}`;
    return {
      name,
      initialize: JSON.stringify({
        protocolVersion: PROTOCOL_VERSION,
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name, version: "1.0.0" },
      }),
      toolsList: JSON.stringify({ tools: makeTools(random, service, toolCount) }),
    };
  });
}

interface RpcRequest {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: { readonly name?: string; readonly arguments?: unknown };
}

function answer(server: MockServer, { id, method, params }: RpcRequest): Response {
  if (id === undefined) return new Response(null, { status: 202 });
  const frame = (member: string): Response =>
    new Response(`{"jsonrpc":"2.0","id":${JSON.stringify(id)},${member}}`, {
      headers: { "content-type": "application/json" },
    });
  switch (method ?? "") {
    case "initialize":
      return frame(`"result":${server.initialize}`);
    case "ping":
      return frame('"result":{}');
    case "tools/list":
      return frame(`"result":${server.toolsList}`);
    case "tools/call": {
      const text = JSON.stringify({ tool: params?.name, arguments: params?.arguments });
      return frame(`"result":${JSON.stringify({ content: [{ type: "text", text }] })}`);
    }
    default:
      return frame('"error":{"code":-32601,"message":"Method not found"}');
  }
}

function serve(servers: readonly MockServer[], port: number): Bun.Server<undefined> {
  return Bun.serve({
    hostname: "127.0.0.1",
    port,
    async fetch(request) {
      const { pathname } = new URL(request.url);
      const server = servers[Number(/^\/s\/(\d+)\/mcp$/.exec(pathname)?.[1] ?? -1)];
      if (server === undefined) return new Response(null, { status: 404 });
      if (request.method !== "POST") return new Response(null, { status: 405, headers: { allow: "POST" } });
      return answer(server, (await request.json()) as RpcRequest);
    },
  });
}

async function writeConfig(path: string, servers: readonly MockServer[], url: string): Promise<void> {
  const mcpServers = servers.map(({ name }, index) => ({
    name,
    url: `${url}s/${index}/mcp`,
    protocol: "streamable-http",
    startup_mode: "active",
  }));
  await Bun.write(path, `${JSON.stringify({ mcpServers }, null, 2)}\n`);
}

const { values } = parseArgs({
  options: {
    servers: { type: "string", default: "159" },
    tools: { type: "string", default: "1200" },
    port: { type: "string", default: "0" },
    seed: { type: "string", default: "1" },
    "write-config": { type: "string" },
  },
});
const servers = makeServers(Number(values.servers), Number(values.tools), Number(values.seed));
const listener = serve(servers, Number(values.port));
const config = values["write-config"];
if (config !== undefined) await writeConfig(config, servers, listener.url.href);
const { port, url } = listener;
console.log(
  JSON.stringify({
    pid: process.pid,
    port,
    url: url.href,
    servers: servers.length,
    tools: Number(values.tools),
    config,
  }),
);
