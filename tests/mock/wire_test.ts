/**
 * Mocks against real clients: both eras over each transport, subscriptions, cancellation, the conformance suite's tools.
 *
 * Owns what must hold without faults; faults are in `faults_test.ts`.
 */
import { expect, test } from "bun:test";
import { CONFORMANCE_TOOLS } from "../../src/mock/conformance.ts";
import { startMockHost } from "../../src/mock/http_host.ts";
import type { MockEra, MockTransport } from "../../src/mock/server.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { mock, openV1, openV2, tool } from "./clients.ts";
import type { Mode } from "./clients.ts";

const PIN = { pin: "2026-07-28" } as const;

const SPOKEN: readonly (readonly [MockTransport, MockEra, Mode, "legacy" | "modern" | undefined])[] = [
  ["stdio", "legacy", "auto", "legacy"],
  ["stdio", "legacy", PIN, undefined],
  ["stdio", "legacy", "legacy", "legacy"],
  ["stdio", "modern", "auto", "modern"],
  ["stdio", "modern", PIN, "modern"],
  ["stdio", "modern", "legacy", undefined],
  ["stdio", "both", "auto", "modern"],
  ["stdio", "both", "legacy", "legacy"],
  ["streamable_http", "legacy", "auto", "legacy"],
  ["streamable_http", "legacy", PIN, undefined],
  ["streamable_http", "legacy", "legacy", "legacy"],
  ["streamable_http", "modern", "auto", "modern"],
  ["streamable_http", "modern", PIN, "modern"],
  ["streamable_http", "modern", "legacy", undefined],
  ["streamable_http", "both", "auto", "modern"],
  ["streamable_http", "both", "legacy", "legacy"],
  ["sse", "legacy", "auto", "legacy"],
  ["sse", "legacy", "legacy", "legacy"],
];

test.each(SPOKEN)("a mock over %s of era %s answers a v2 client in mode %j in era %s", async (...row) => {
  const [transport, era, mode, expected] = row;
  await using host = startMockHost({ servers: [mock({ transport, era })] });
  if (expected === undefined) {
    await failureOf(() => openV2(host, "m", { mode }));
    return;
  }
  await using open = await openV2(host, "m", { mode });
  expect(open.client.getProtocolEra()).toBe(expected);
  expect((await open.client.listTools()).tools.map(({ name }) => name)).toEqual(["echo"]);
  expect(await open.call({ a: 1 })).toMatchObject({
    content: [{ type: "text", text: '{"tool":"echo","arguments":{"a":1}}' }],
  });
  await waitFor("the counters", () => host.counters("m").completed === 1);
  expect(host.counters("m")).toMatchObject({ lists: 1, calls: 1, inFlight: 0, cancelled: 0 });
  expect(host.starts().length).toBe(host.counters("m").starts);
});

test.each(["stdio", "streamable_http", "sse"] as const)("a v1 client works over %s", async (transport) => {
  await using host = startMockHost({ servers: [mock({ transport, era: "both" })] });
  await using open = await openV1(host);
  expect((await open.client.listTools()).tools.length).toBe(1);
  expect(await open.client.callTool({ name: "echo", arguments: {} })).toMatchObject({ isError: false });
  expect(host.counters("m")).toMatchObject({ starts: 1, connections: 1, initializes: 1 });
});

test.each([
  ["stdio", "legacy"],
  ["streamable_http", "legacy"],
  ["sse", "legacy"],
  ["stdio", PIN],
  ["streamable_http", PIN],
] as const)(
  "changeTools() reaches a client over %s in mode %j with list_changed",
  async (transport, mode) => {
    const era = mode === "legacy" ? "legacy" : "modern";
    await using host = startMockHost({ servers: [mock({ transport, era })] });
    const seen: string[][] = [];
    const listChanged = {
      tools: {
        debounceMs: 0,
        onChanged: (_error: Error | null, tools: readonly { readonly name: string }[] | null) => {
          seen.push((tools ?? []).map(({ name }) => name));
        },
      },
    };
    await using open = await openV2(host, "m", { mode, client: { listChanged } });
    await open.client.listTools();
    host.changeTools("m", { add: [tool("late")] });
    await waitFor("the new list", async () => {
      // A stream that opened after the change has missed it.
      if (seen.length === 0 && transport !== "stdio") host.changeTools("m", {});
      return seen.at(-1)?.includes("late");
    });
    host.changeTools("m", { remove: ["echo"], replace: [tool("late")] });
    await waitFor("the shorter list", () => seen.at(-1)?.join() === "late");
  },
);

test.each([
  ["stdio", "legacy"],
  ["stdio", PIN],
  ["streamable_http", "legacy"],
  ["streamable_http", PIN],
  ["sse", "legacy"],
] as const)("a mock over %s sees that a client in mode %j gives a call up", async (transport, mode) => {
  await using host = startMockHost({
    servers: [mock({ transport, era: mode === "legacy" ? "legacy" : "modern" })],
  });
  await using open = await openV2(host, "m", { mode });
  const control = new AbortController();
  const wish = { name: "echo", arguments: { _mock: { hang: true } } };
  const call = open.client.callTool(wish, { signal: control.signal });
  await waitFor("the call", () => host.counters("m").inFlight === 1);
  control.abort();
  await failureOf(() => call);
  await waitFor("the cancellation", () => host.counters("m").cancelled === 1);
  expect(host.counters("m")).toMatchObject({ inFlight: 0, completed: 0 });
});

test("a page ends where its size says, and all pages hold every tool once", async () => {
  const tools = Array.from({ length: 25 }, (_, at) => tool(`t${at}`));
  await using host = startMockHost({ servers: [mock({ tools, pageSize: 10 })] });
  await using open = await openV2(host);
  const first = await open.client.request({ method: "tools/list", params: { cursor: "20" } });
  expect((first as { tools: unknown[]; nextCursor?: string }).tools.length).toBe(5);
  expect((await open.client.listTools()).tools.length).toBe(25);
});

const CONTENTS: readonly (readonly [string, string])[] = [
  ["test_simple_text", '[{"type":"text","text":"This is a simple text response for testing."}]'],
  ["test_image_content", "image/png"],
  ["test_audio_content", "audio/wav"],
  ["test_embedded_resource", "test://embedded-resource"],
  ["test_multiple_content_types", "test://mixed-content-resource"],
  ["test_error_handling", '"isError":true'],
  ["test_sampling", "LLM response: Paris"],
  ["test_elicitation", 'action: accept, content: {\\"username\\":\\"u\\"}'],
  ["test_elicitation_sep1034_defaults", "Elicitation completed: action=accept"],
  ["test_elicitation_sep1330_enums", "Elicitation completed: action=accept"],
];

const CLIENT = { capabilities: { sampling: {}, elicitation: { form: {} }, roots: {} } };

test.each([
  ["streamable_http", "legacy"],
  ["stdio", "legacy"],
  ["streamable_http", PIN],
  ["stdio", PIN],
] as const)("the conformance suite's tools work over %s in mode %j", async (transport, mode) => {
  const servers = [mock({ transport, era: "both", tools: [], conformance: true })];
  await using host = startMockHost({ servers });
  await using open = await openV2(host, "m", { mode, client: CLIENT });
  const { client } = open;
  expect((await client.listTools()).tools.length).toBe(CONFORMANCE_TOOLS.length);
  client.setRequestHandler("sampling/createMessage", () => ({
    role: "assistant" as const,
    model: "none",
    content: { type: "text" as const, text: "Paris" },
  }));
  client.setRequestHandler("elicitation/create", () => ({
    action: "accept" as const,
    content: { username: "u" },
  }));
  for (const [name, part] of CONTENTS) {
    const result = await open.call({ prompt: "p", message: "m" }, name);
    const { _meta, ...said } = result as Record<string, unknown>;
    expect(JSON.stringify(name === "test_simple_text" ? said["content"] : said)).toContain(part);
  }
  const steps: number[] = [];
  const progress = { name: "test_tool_with_progress", arguments: {} };
  await client.callTool(progress, { onprogress: (step) => steps.push(step.progress) });
  expect(steps).toEqual([0, 50, 100]);
  const logged: unknown[] = [];
  client.setNotificationHandler("notifications/message", ({ params }) => void logged.push(params.data));
  await open.call({}, "test_tool_with_logging");
  await waitFor("the log", () => logged.length === 3);
  expect((await client.listPrompts()).prompts.length).toBe(4);
  expect(await client.readResource({ uri: "test://template/7/data" })).toMatchObject({
    contents: [{ text: '{"id":"7","templateTest":true,"data":"Data for ID: 7"}' }],
  });
});
