/**
 * Calls as spans: whose child each is, what it tells and what it never does, and what a sick collector costs.
 */
import { expect, test } from "bun:test";
import { openTraces, Traces } from "../../src/gateway/traces.ts";
import { createLog } from "../../src/lib/log.ts";
import type { Span } from "../../src/lib/otlp.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { openCollector } from "../fixtures/collector.ts";
import type { SeenSpan } from "../fixtures/collector.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { API_KEY, openProxy, serveTools } from "./fixtures.ts";
import type { OpenProxy } from "./fixtures.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const CANARY = "canary-otlp-0001";
const READ = { annotations: { readOnlyHint: true } };

function call(
  opened: OpenProxy,
  id: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(`${opened.url}/api/v1/tools/call`, {
    method: "POST",
    headers: { "x-api-key": API_KEY, "content-type": "application/json", ...headers },
    body: JSON.stringify({ tool_name: "call_tool_read", arguments: { name: id, args: { text: CANARY } } }),
  });
}

function attributesOf(span: SeenSpan | undefined): Record<string, unknown> {
  return Object.fromEntries((span?.attributes ?? []).map(({ key, value }) => [key, Object.values(value)[0]]));
}

function tracing(url: string) {
  return { tracing: { otlpEndpoint: url, headers: new Map([["x-token", "t"]]), sampleRatio: 1 } };
}

test("a call is a span below its caller's, the upstream is below the call, and nothing of its content is in it", async () => {
  verifies("OTLP-NO-CONTENT");
  await using collector = openCollector();
  const failing = makeDefinition("fails", READ);
  await using upstream = serveTools([makeDefinition("echo", READ), failing], {
    call: (name) =>
      name === "fails" ? { content: [{ type: "text", text: CANARY }], isError: true } : undefined,
  });
  await using opened = await openProxy([upstream.server()], tracing(collector.url));
  const traced = { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: "v=1" };
  expect((await call(opened, "s:echo", traced)).status).toBe(200);
  await call(opened, "s:fails");
  await call(opened, `s:${CANARY}`);
  await call(opened, `${CANARY}:x`);
  await opened.proxy.close();
  const [echo, fails, ...unknown] = collector.spans();
  expect(
    collector.requests.every(({ path, headers }) => path === "/v1/traces" && headers.get("x-token") === "t"),
  ).toBe(true);
  expect(echo).toMatchObject({
    traceId: TRACE,
    parentSpanId: PARENT,
    traceState: "v=1",
    name: "tools/call s:echo",
  });
  expect(attributesOf(echo)).toEqual({
    "mcp.method.name": "tools/call",
    "gen_ai.tool.name": "s:echo",
    "mcpproxy.server": "s",
    "mcpproxy.call_with": "call_tool_read",
    "mcpproxy.source": "api",
  });
  expect(BigInt(echo?.endTimeUnixNano ?? 0) > BigInt(echo?.startTimeUnixNano ?? 0)).toBe(true);
  const arrived = upstream.requests.find(({ method }) => method === "tools/call");
  expect(arrived?.params?.["_meta"]).toMatchObject({
    traceparent: `00-${TRACE}-${echo?.spanId}-01`,
    tracestate: "v=1",
  });
  expect(fails).toMatchObject({ name: "tools/call s:fails", status: { code: 2 } });
  expect(fails?.parentSpanId).toBeUndefined();
  expect(attributesOf(fails)["error.type"]).toBe("tool_error");
  expect(unknown.map((span) => [span.name, attributesOf(span)["error.type"]])).toEqual([
    ["tools/call", "TOOL_UNKNOWN"],
    ["tools/call", "SERVER_UNKNOWN"],
  ]);
  expect(collector.requests.map(({ text }) => text).join("")).not.toContain("canary");
});

test("without a collector nothing is made, and the caller's own place is passed on", async () => {
  await using upstream = serveTools([makeDefinition("echo", READ)]);
  await using opened = await openProxy([upstream.server()]);
  const traceparent = `00-${TRACE}-${PARENT}-01`;
  await call(opened, "s:echo", { traceparent });
  const arrived = upstream.requests.find(({ method }) => method === "tools/call");
  expect(arrived?.params?.["_meta"]).toMatchObject({ traceparent });
  expect((await opened.get("/metrics")).text).toContain("mcpproxy_trace_spans_sent_total 0");
});

test("a collector that hangs fails no call and delays no answer, and what is lost is counted", async () => {
  verifies("OTLP-OFF-PATH");
  const held = Promise.withResolvers<Response>();
  await using collector = openCollector({ answer: () => held.promise });
  await using upstream = serveTools([makeDefinition("echo", READ)]);
  await using opened = await openProxy([upstream.server()], tracing(collector.url));
  await call(opened, "s:echo");
  await waitFor("a request hangs", () => collector.requests.length === 1);
  const answers = await Promise.all(Array.from({ length: 20 }, () => call(opened, "s:echo")));
  expect(answers.every(({ status }) => status === 200)).toBe(true);
  await waitFor("the spans wait", async () =>
    (await opened.get("/metrics")).text.includes("mcpproxy_trace_spans_queued 21"),
  );
  held.resolve(new Response());
});

function makeTraces(sampleRatio: number) {
  const spans: Span[] = [];
  const sink = {
    counts: { queued: 0, sent: 0, dropped: 0 },
    push: (span: Span) => void spans.push(span),
    [Symbol.asyncDispose]: async () => {},
  };
  return new Traces({ sink, sampleRatio });
}

test("who asks decides whether a call is sampled; without a word of theirs the ratio does", () => {
  const [none, all] = [makeTraces(0), makeTraces(1)];
  expect(none.begin(undefined)).toBeUndefined();
  expect(all.begin(undefined)?.context.traceparent).toMatch(/^00-[\da-f]{32}-[\da-f]{16}-01$/);
  expect(none.begin({ traceparent: `00-${TRACE}-${PARENT}-01` })).toMatchObject({
    traceId: TRACE,
    parentSpanId: PARENT,
  });
  expect(all.begin({ traceparent: `00-${TRACE}-${PARENT}-00` })).toBeUndefined();
  const ids = new Set(Array.from({ length: 100 }, () => all.begin(undefined)?.spanId));
  expect(ids.size).toBe(100);
});

test.each<[string, Readonly<Record<string, string>>, string | undefined, string | undefined]>([
  ["nothing", {}, undefined, undefined],
  ["the base", { OTEL_EXPORTER_OTLP_ENDPOINT: "URL/" }, "/v1/traces", undefined],
  ["the base with a path", { OTEL_EXPORTER_OTLP_ENDPOINT: "URL/otlp" }, "/otlp/v1/traces", undefined],
  ["the whole address", { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "URL/x" }, "/x", undefined],
  [
    "headers",
    { OTEL_EXPORTER_OTLP_ENDPOINT: "URL", OTEL_EXPORTER_OTLP_HEADERS: "a=1,x-token=b%20c" },
    "/v1/traces",
    "b c",
  ],
  ["the switch", { OTEL_EXPORTER_OTLP_ENDPOINT: "URL", OTEL_SDK_DISABLED: "true" }, undefined, undefined],
])("the standard variables name the collector: %s", async (_, given, path, token) => {
  await using collector = openCollector();
  const env = Object.fromEntries(
    Object.entries(given).map(([name, text]) => [name, text.replace("URL", collector.url)]),
  );
  const traces = await openTraces({
    settings: { headers: new Map(), sampleRatio: 1 },
    env,
    log: createLog({ level: "error", write: () => {} }),
  });
  expect(traces === undefined).toBe(path === undefined);
  const span = traces?.begin(undefined);
  const request = { id: "s:t", args: {} };
  if (span) traces?.end([{ server: "s", tool: "s:t", durationMs: 1, isError: false, request, span }]);
  await traces?.[Symbol.asyncDispose]();
  expect(collector.requests.map((seen) => [seen.path, seen.headers.get("x-token") ?? undefined])).toEqual(
    path === undefined ? [] : [[path, token]],
  );
});

test.each<[string, string, Readonly<Record<string, string>>]>([
  ["an address that is none", "nowhere", {}],
  ["a header whose variable is not set", "http://127.0.0.1:9", { authorization: "${env:NOT_SET_ANYWHERE}" }],
])("%s switches traces off with a line in the log, and nothing else", async (_, otlpEndpoint, headers) => {
  const lines: string[] = [];
  const log = createLog({ level: "info", write: (line) => lines.push(line) });
  const settings = { otlpEndpoint, headers: new Map(Object.entries(headers)), sampleRatio: 1 };
  expect(await openTraces({ settings, env: {}, log })).toBeUndefined();
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("Calls are not traced");
});
