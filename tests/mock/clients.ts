/**
 * Real clients for mocks: the SDK's v2 and v1, over each transport.
 *
 * Owns connecting and closing. Invariant: what `await using` leaves is closed, processes included.
 */
import { Client, SSEClientTransport, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { ClientOptions } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport as SseV1 } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport as HttpV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { MockHost } from "../../src/mock/http_host.ts";
import type { Fault, MockServer } from "../../src/mock/server.ts";

const INFO = { name: "test", version: "1" };
/** No test waits longer for an answer unless it says so. */
const TIMEOUT_MS = 3_000;

/** How the v2 client finds out the era. */
export type Mode = "auto" | "legacy" | { readonly pin: "2026-07-28" };

/** A tool with this name. */
export function tool(name: string): MockServer["tools"][number] {
  return { name, description: `Does ${name}`, inputSchema: { type: "object", properties: {} } };
}

/** A mock with one tool, `echo`. */
export function mock(parts: Partial<MockServer> = {}): MockServer {
  return { name: "m", transport: "streamable_http", era: "legacy", tools: [tool("echo")], ...parts };
}

/** A mock with these faults over a transport. */
export function faulty(transport: MockServer["transport"], ...faults: readonly Fault[]): MockServer {
  return mock({ transport, faults });
}

/** A connected v2 client. */
export interface OpenClient extends AsyncDisposable {
  readonly client: Client;
  readonly call: (args?: object, name?: string) => Promise<unknown>;
}

/** Connects the v2 client to a mock. */
export async function openV2(
  host: MockHost,
  name = "m",
  options: { readonly mode?: Mode; readonly client?: ClientOptions; readonly timeoutMs?: number } = {},
): Promise<OpenClient> {
  const { mode = "legacy", timeoutMs = TIMEOUT_MS } = options;
  const client = new Client(INFO, { ...options.client, versionNegotiation: { mode } });
  const { command = "", args = [], url, protocol } = host.definition(name);
  const transport =
    url === undefined
      ? new StdioClientTransport({ command, args: [...args], stderr: "ignore" })
      : protocol === "sse"
        ? new SSEClientTransport(new URL(url))
        : new StreamableHTTPClientTransport(new URL(url), { reconnectionOptions: NO_RETRY });
  const close = async (): Promise<void> => client.close();
  try {
    // The older SSE waits for its endpoint without a limit of its own.
    const late = Bun.sleep(timeoutMs + 50).then(() => {
      throw new Error("Connecting timed out");
    });
    void late.catch(() => {});
    await Promise.race([client.connect(transport, { timeout: timeoutMs }), late]);
  } catch (error) {
    await transport.close().catch(() => {});
    await close();
    throw error;
  }
  return {
    client,
    call: async (given = {}, toolName = "echo") =>
      client.callTool({ name: toolName, arguments: { ...given } }, { timeout: timeoutMs }),
    [Symbol.asyncDispose]: close,
  };
}

const NO_RETRY = {
  maxRetries: 0,
  initialReconnectionDelay: 1,
  maxReconnectionDelay: 1,
  reconnectionDelayGrowFactor: 1,
};

/** Connects the v1 client to a mock. */
export async function openV1(
  host: MockHost,
  name = "m",
): Promise<AsyncDisposable & { readonly client: ClientV1 }> {
  const client = new ClientV1(INFO);
  const { command = "", args = [], url, protocol } = host.definition(name);
  const transport =
    url === undefined
      ? new StdioV1({ command, args: [...args], stderr: "ignore" })
      : protocol === "sse"
        ? new SseV1(new URL(url))
        : new HttpV1(new URL(url));
  await client.connect(transport, { timeout: TIMEOUT_MS });
  return { client, [Symbol.asyncDispose]: () => client.close() };
}
