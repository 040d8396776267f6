/**
 * The floor under every start: `bun bench/bare_loop.ts --config FILE` connects to all servers of a
 * configuration with the SDK's client, lists their tools and puts them into a stock Orama index.
 *
 * Owns nothing of the proxy and imports nothing of it; prints one JSON line: milliseconds from process
 * start until the last tool is searchable, CPU seconds, resident bytes. Only servers with a `url` are visited.
 */
import { parseArgs } from "node:util";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { create, insertMultiple, search } from "@orama/orama";

interface Entry {
  readonly name: string;
  readonly url?: string;
}

interface Row {
  readonly server: string;
  readonly name: string;
  readonly description: string;
}

/** Connections are kept open, as a proxy has to. */
const clients: Client[] = [];

async function listTools(name: string, url: string): Promise<readonly Row[]> {
  const client = new Client({ name: "bare-loop", version: "1.0.0" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  clients.push(client);
  const { tools } = await client.listTools();
  return tools.map((tool) => ({ server: name, name: tool.name, description: tool.description ?? "" }));
}

const { values } = parseArgs({
  options: {
    config: { type: "string", default: "mcp_config.json" },
    concurrency: { type: "string", default: "80" },
  },
});
const { mcpServers } = (await Bun.file(values.config).json()) as { readonly mcpServers: readonly Entry[] };
const index = create({ schema: { server: "string", name: "string", description: "string" } as const });
const queue = mcpServers.values();
let toolCount = 0;
let failed = 0;

async function work(): Promise<void> {
  for (const { name, url } of queue) {
    if (url === undefined) continue;
    try {
      const rows = await listTools(name, url);
      await insertMultiple(index, [...rows]);
      toolCount += rows.length;
    } catch (error) {
      failed += 1;
      console.error(`${name}: ${String(error)}`);
    }
  }
}

await Promise.all(Array.from({ length: Number(values.concurrency) }, work));
const { count } = await search(index, { term: "list" });
const ms = performance.now();
const { user, system } = process.cpuUsage();
console.log(
  JSON.stringify({
    ms: Math.round(ms * 10) / 10,
    cpuSeconds: Math.round((user + system) / 1000) / 1000,
    rssBytes: process.memoryUsage.rss(),
    servers: clients.length,
    failed,
    tools: toolCount,
    hits: count,
  }),
);
process.exit(failed === 0 ? 0 : 1);
