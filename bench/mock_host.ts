/**
 * Hosts many mock MCP servers in one process: `bun bench/mock_host.ts --servers 159 --tools 1200`.
 *
 * Owns the generated servers, their tools and the legacy protocol (2025-06-18) over streamable HTTP at
 * `/s/<i>/mcp`; one JSON line on stdout tells that it listens. Invariant: names, texts and schemas follow
 * from `--seed` alone, and each answer is prepared before the first request, so that the host costs the
 * measured process as little of the shared processors as can be. The SDK's server was rejected for that
 * cost, and so was `mcpproxy mock`, whose faults and counters cost too.
 */
import { parseArgs } from "node:util";
import { pick, seededRandom, share } from "../src/mock/random.ts";
import { makeTools } from "../src/mock/tools.ts";
import { SERVICES } from "../src/mock/vocabulary.ts";

const PROTOCOL_VERSION = "2025-06-18";

interface MockServer {
  readonly name: string;
  /** Results as JSON text, ready to be framed. */
  readonly initialize: string;
  readonly toolsList: string;
}

function makeServers(count: number, tools: number, seed: number): readonly MockServer[] {
  const random = seededRandom(seed);
  return share(random, tools, { parts: count }).map((toolCount, index) => {
    const service = pick(random, SERVICES);
    const name = `${service}-${index}`;
    return {
      name,
      initialize: JSON.stringify({
        protocolVersion: PROTOCOL_VERSION,
        capabilities: { tools: { listChanged: true } },
        serverInfo: { name, version: "1.0.0" },
      }),
      toolsList: JSON.stringify({ tools: makeTools(random, { service, count: toolCount }) }),
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
