/**
 * A `call_tool_read` through a whole proxy in this process with N servers configured, of which one is connected; beside the
 * same call through a bare relay that fetches and hands back. Client, mock and both ways are in this process, over loopback.
 * Many are in flight at once: one alone waits for sleeping threads to wake, which takes five times as long on an idle machine.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG } from "../../src/lib/log.ts";
import { startMockHost } from "../../src/mock/http_host.ts";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { Proxy } from "../../src/proxy.ts";
import { McpClient } from "../../src/scale/mcp_client.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { mock, tool } from "../../tests/fixtures/mocks.ts";
import type { OpenPair } from "./pair.ts";

const NAME = "echoing";
const IN_FLIGHT = 16;
/** What a relay hands back. */
const KEPT_HEADERS = ["content-type", "mcp-session-id"];

export const openCall: OpenPair = async ({ size, folder }) => {
  await using stack = new AsyncDisposableStack();
  const echo = { ...tool("echo"), annotations: { readOnlyHint: true } };
  const host = stack.use(startMockHost({ servers: [mock({ name: NAME, tools: [echo] })] }));
  const path = join(folder, "mcp_config.json");
  writeFileSync(path, configText(size, host.url(NAME)));
  const overrides = { listen: "127.0.0.1:0", dataDir: join(folder, "data") };
  const loaded = await LoadedConfig.read({ path, env: {}, cwd: folder, home: folder, overrides });
  const proxy = stack.use(await Proxy.open({ loaded, env: {}, log: SILENT_LOG }));
  const relay = stack.use(startRelay(host.url(NAME)));
  const client = stack.use(await McpClient.open(`${proxy.url}/mcp`));
  const bare = stack.use(await McpClient.open(relay.url));
  const args = { value: "a few words" };
  const call = async (): Promise<void> => {
    const { isError } = await client.call("call_tool_read", { name: `${NAME}:echo`, args });
    if (isError === true) throw new Error("The call was refused");
  };
  await call();
  const opened = stack.move();
  return {
    count: IN_FLIGHT,
    ours: () => Promise.all(Array.from({ length: IN_FLIGHT }, call)),
    baseline: () => Promise.all(Array.from({ length: IN_FLIGHT }, () => bare.call("echo", args))),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
};

/** All but one are off. */
function configText(size: number, url: string): string {
  const { mcpServers } = JSON.parse(makeRealisticConfig({ servers: size - 1 })) as {
    readonly mcpServers: readonly object[];
  };
  const off = mcpServers.map((entry) => ({ ...entry, startup_mode: "disabled" }));
  const target = { name: NAME, url, protocol: "streamable-http", startup_mode: "active" };
  return JSON.stringify({ mcpServers: [...off, target] });
}

/** The least a relay does: it passes a message on and gives the answer back. */
function startRelay(upstream: string) {
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const headers = new Headers(request.headers);
      for (const name of ["host", "content-length"]) headers.delete(name);
      const { method } = request;
      const response = await fetch(upstream, { method, headers, body: await request.text() });
      const kept = KEPT_HEADERS.flatMap((name) => {
        const value = response.headers.get(name);
        return value === null ? [] : [[name, value] as const];
      });
      return new Response(await response.text(), {
        status: response.status,
        headers: Object.fromEntries(kept),
      });
    },
  });
  return { url: server.url.href, [Symbol.asyncDispose]: () => server.stop(true) };
}
