/** What the command line says of a proxy that ends while it answers. */
import { expect, test } from "bun:test";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { ApiClient } from "../../src/cli/client.ts";
import { verifies } from "../requirements.ts";

const CUT = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ndata: {}\n\n";

const READS: readonly (readonly [what: string, read: (client: ApiClient) => Promise<unknown>])[] = [
  ["an answer", (client) => client.get("/status")],
  ["a stream", async (client) => new Response(await client.stream("/api/v1/activity/export")).text()],
  ["events", async (client) => Array.fromAsync(client.events("/events"))],
];

test.each(READS)("ApiClient tells of a proxy that ends within %s as of one that is gone", async (_, read) => {
  verifies("FAULTS-IN-PLAIN-WORDS");
  const dying = createServer((socket) =>
    socket.once("data", () => socket.write(CUT, () => setTimeout(() => socket.destroy(), 20))),
  ).listen(0, "127.0.0.1");
  const url = `http://127.0.0.1:${(dying.address() as AddressInfo).port}`;
  try {
    const failure: unknown = await read(new ApiClient({ url })).catch((error: unknown) => error);
    expect(failure).toMatchObject({
      code: "NOT_REACHABLE",
      message: `Cannot reach mcpproxy: nobody answers at ${url}: the connection was closed before the answer was there (ECONNRESET)`,
    });
  } finally {
    dying.close();
  }
});

test("ApiClient.stream() ends without a failure when whoever reads gives up, and tells him his own reason", async () => {
  using endless = Bun.serve({
    port: 0,
    idleTimeout: 0,
    fetch: () => new Response(new ReadableStream({ pull: (into) => into.enqueue(new Uint8Array(16)) })),
  });
  const client = new ApiClient({ url: `http://127.0.0.1:${endless.port}` });
  let bytes = 0;
  for await (const chunk of await client.stream("/x")) {
    bytes += chunk.length;
    if (bytes > 64) break;
  }
  expect(bytes).toBeGreaterThan(64);
  const end = new AbortController();
  const reader = (await client.stream("/x", end.signal)).getReader();
  await reader.read();
  end.abort(new Error("enough"));
  const readOn = async (): Promise<never> => {
    for (;;) await reader.read();
  };
  expect(await readOn().catch((error: unknown) => error)).toMatchObject({ message: "enough" });
});
