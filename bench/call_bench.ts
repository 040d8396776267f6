/**
 * What does a call cost on its way through the proxy?
 *
 * Owns the same tool called directly, through a bare relay (parse, fetch, answer), through the meta tool at `/mcp`, through
 * `/mcp/s/SERVER` and `/mcp/all`, in turn within one run: with one client for the delay that is added, with 16 for the
 * throughput. Upstream, relay and proxy are processes of their own. Prints a table, writes `bench/out/call.json`. It holds
 * no bar yet: the fast path has an issue of its own, and this is where it starts from.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { echoing } from "../src/scale/discovery.ts";
import { ECHO_TOOL, Fleet } from "../src/scale/fleet.ts";
import { McpClient } from "../src/scale/mcp_client.ts";
import { quantile } from "../src/scale/sheet.ts";
import { areReady } from "../src/scale/stage.ts";
import { Subject } from "../src/scale/subject.ts";

const ROOT = join(import.meta.dir, "..");
const CLIENTS = 16;
const ROUNDS = 5;
const READY_MS = 30_000;

const { values } = parseArgs({
  options: { calls: { type: "string", default: "400" }, relay: { type: "string" } },
});

/** One way to the tool. */
interface Way {
  readonly name: string;
  readonly open: () => Promise<McpClient>;
  readonly call: (client: McpClient, value: string) => Promise<unknown>;
}

if (values.relay === undefined) process.exit(await main());
else serveRelay(values.relay);

/** The least a relay does: it reads the message, passes it on, and gives the answer back. */
function serveRelay(upstream: string): void {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    idleTimeout: 0,
    fetch: async (request) => {
      if (request.method !== "POST")
        return fetch(upstream, { method: request.method, headers: request.headers });
      const message = (await request.json()) as object;
      const headers = new Headers(request.headers);
      headers.delete("host");
      headers.delete("content-length");
      const response = await fetch(upstream, { method: "POST", headers, body: JSON.stringify(message) });
      const text = await response.text();
      const kept = ["content-type", "mcp-session-id"].flatMap((name) => {
        const value = response.headers.get(name);
        return value === null ? [] : [[name, value] as const];
      });
      return new Response(text, { status: response.status, headers: Object.fromEntries(kept) });
    },
  });
  process.stdout.write(`${server.port}\n`);
}

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-call-"));
  const command = [process.execPath, join(ROOT, "src/main.ts")];
  try {
    await using fleet = await Fleet.start({
      command,
      folder,
      profile: "healthy",
      servers: 3,
      timeScale: 0,
      maxStdio: 0,
    });
    const settings = { health_check_interval: "0s", logging: { level: "warn" } };
    const config = fleet.config({ settings, entry: (entry) => ({ ...entry, startup_mode: "active" }) });
    await using subject = await Subject.start({
      command,
      folder: mkdtempSync(join(folder, "proxy-")),
      config,
    });
    await areReady(subject, fleet.entries.length, READY_MS);
    const http = fleet.servers
      .filter(({ transport }) => transport === "streamable_http")
      .map(({ name }) => name);
    const name = echoing({ fleet, active: http })[0] ?? "";
    const upstream = String(fleet.entries.find((entry) => entry.name === name)?.["url"]);
    const relay = Bun.spawn([process.execPath, import.meta.path, "--relay", upstream], { stdout: "pipe" });
    try {
      const port = new TextDecoder().decode((await relay.stdout.getReader().read()).value).trim();
      const rows = await measureAll(waysTo({ upstream, relay: `http://127.0.0.1:${port}`, subject, name }));
      console.table(rows);
      mkdirSync(join(ROOT, "bench/out"), { recursive: true });
      writeFileSync(join(ROOT, "bench/out/call.json"), `${JSON.stringify(rows, null, 2)}\n`);
    } finally {
      relay.kill();
      await relay.exited;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

function waysTo(given: {
  readonly upstream: string;
  readonly relay: string;
  readonly subject: Subject;
  readonly name: string;
}): readonly Way[] {
  const { upstream, relay, subject, name } = given;
  const direct = (client: McpClient, value: string) => client.call(ECHO_TOOL, { value });
  const outward = `${name.replaceAll(/[^A-Za-z0-9_-]/g, "_")}__${ECHO_TOOL}`;
  return [
    { name: "direct", open: () => McpClient.open(upstream), call: direct },
    { name: "bare relay", open: () => McpClient.open(relay), call: direct },
    {
      name: "/mcp, call_tool_read",
      open: () => McpClient.open(`${subject.url}/mcp`),
      call: (client, value) =>
        client.call("call_tool_read", { name: `${name}:${ECHO_TOOL}`, args: { value } }),
    },
    {
      name: "/mcp/s/SERVER",
      open: () => McpClient.open(`${subject.url}/mcp/s/${encodeURIComponent(name)}`),
      call: direct,
    },
    {
      name: "/mcp/all",
      open: () => McpClient.open(`${subject.url}/mcp/all`),
      call: (client, value) => client.call(outward, { value }),
    },
  ];
}

async function measureAll(ways: readonly Way[]) {
  const alone = new Map<string, number[]>();
  const together = new Map<string, number[]>();
  for (let round = -1; round < ROUNDS; round += 1) {
    for (const way of ways) {
      const [times, perSecond] = [await oneClient(way), await manyClients(way)];
      // The first round warms all.
      if (round < 0) continue;
      alone.set(way.name, [...(alone.get(way.name) ?? []), ...times]);
      together.set(way.name, [...(together.get(way.name) ?? []), perSecond]);
    }
  }
  const [p50, p99] = [0.5, 0.99].map((ratio) => quantile(alone.get("direct") ?? [], ratio));
  const relay = quantile(together.get("bare relay") ?? [], 0.5);
  return ways.map(({ name }) => {
    const times = alone.get(name) ?? [];
    const perSecond = quantile(together.get(name) ?? [], 0.5);
    return {
      way: name,
      "p50 ms": rounded(quantile(times, 0.5)),
      "p99 ms": rounded(quantile(times, 0.99)),
      "p50 added": rounded(quantile(times, 0.5) - (p50 ?? 0)),
      "p99 added": rounded(quantile(times, 0.99) - (p99 ?? 0)),
      "calls/s, 16 clients": Math.round(perSecond),
      "of the relay": rounded(perSecond / relay),
    };
  });
}

async function oneClient({ open, call }: Way): Promise<number[]> {
  await using client = await open();
  const times: number[] = [];
  for (let at = 0; at < Number(values.calls); at += 1) {
    const from = performance.now();
    await call(client, `${at}`);
    times.push(performance.now() - from);
  }
  return times;
}

async function manyClients({ open, call }: Way): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const clients: McpClient[] = [];
  while (clients.length < CLIENTS) clients.push(stack.use(await open()));
  const from = performance.now();
  await Promise.all(
    clients.map(async (client) => {
      for (let at = 0; at < Number(values.calls); at += 1) await call(client, `${at}`);
    }),
  );
  return (CLIENTS * Number(values.calls) * 1_000) / (performance.now() - from);
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
