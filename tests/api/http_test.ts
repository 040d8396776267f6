/**
 * What the listener allows a request before it is all there, and after.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";

import type { App } from "../../src/http.ts";
import { API_KEY, openGateway } from "../gateway/fixtures.ts";
import type { Gateway } from "../gateway/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";

const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-11-25", capabilities: {}, clientInfo: { name: "c", version: "1" } },
};
/** At the ways in whose work may take long, a body that each takes. */
const BODIES: readonly [path: string, body: string][] = [
  ["/mcp", JSON.stringify(INITIALIZE)],
  ["/api/v1/tools/call", JSON.stringify({ tool_name: "retrieve_tools", arguments: { query: "x" } })],
];

let gateway: Gateway;
let app: App;

beforeAll(async () => {
  gateway = await openGateway([]);
  app = gateway.app();
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
});

/** A request whose body arrives as the test wants, and the idle timeouts that are set meanwhile. */
function send(path: string, headers: Record<string, string> = { "x-api-key": API_KEY }) {
  const timeouts: number[] = [];
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const init = {
    method: "POST",
    body: readable,
    duplex: "half",
    headers: {
      host: "localhost",
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      ...headers,
    },
  } as const;
  const listener = {
    timeout: (_: Request, seconds: number) => void timeouts.push(seconds),
    publish: () => 0,
    upgrade: () => false,
  };
  const answer = Promise.resolve(app.request(path, init, { listener }));
  return { answer, timeouts, writer: writable.getWriter() };
}

test.each(BODIES)("createApp() lets a request be silent at %s once its body is there", async (path, body) => {
  const { answer, timeouts, writer } = send(path);
  const bytes = new TextEncoder().encode(body);
  await writer.write(bytes.subarray(0, 9));
  // Written only when the first part was taken.
  await writer.write(bytes.subarray(9));
  expect(timeouts).toEqual([]);
  await writer.close();
  await waitFor("the body is there", () => timeouts.length > 0);
  expect(timeouts).toEqual([0]);
  expect((await answer).status).toBe(200);
});

test.each(BODIES)("createApp() ends a request at %s whose body is cut off", async (path, body) => {
  const { answer, timeouts, writer } = send(path);
  await writer.write(new TextEncoder().encode(body));
  await writer.abort(new Error("cut"));
  expect((await answer).status).toBe(408);
  expect(timeouts).toEqual([]);
});

test.each(["/mcp/admin", "/api/v1/tools/call"])(
  "createApp() waits for no body of whoever may not pass at %s",
  async (path) => {
    const { answer, timeouts, writer } = send(path, {});
    expect((await answer).status).toBe(401);
    expect(timeouts).toEqual([]);
    await writer.abort();
  },
);
