/**
 * The exporter of spans: what is on the wire, what is repeated, what is dropped, and that nobody waits for it.
 */
import { expect, test } from "bun:test";
import { OtlpExporter } from "../../src/lib/otlp.ts";
import type { OtlpOptions, Span } from "../../src/lib/otlp.ts";
import { openCollector } from "../fixtures/collector.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

function makeSpan(parts: Partial<Span> = {}): Span {
  return {
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    name: "tools/call files:read",
    startMs: 1_700_000_000_000.25,
    durationMs: 1.5,
    attributes: { text: "x", whole: 7, part: 0.5, flag: true },
    isError: false,
    ...parts,
  };
}

function makeExporter(url: string, parts: Partial<OtlpOptions> = {}): OtlpExporter {
  const resource = { "service.name": "mcpproxy", "service.version": "1" };
  return new OtlpExporter({
    url: `${url}/v1/traces`,
    headers: {},
    resource,
    delayMs: 1,
    retryMs: 1,
    ...parts,
  });
}

const sentOf = (exporter: OtlpExporter, count: number) =>
  waitFor("the spans are sent", () => exporter.counts.sent === count);

test("spans arrive together, as OTLP writes them in JSON", async () => {
  await using collector = openCollector();
  await using exporter = makeExporter(collector.url, { headers: { "x-token": "t" } });
  exporter.push(makeSpan());
  exporter.push(
    makeSpan({ parentSpanId: "00f067aa0ba902b7", traceState: "a=1", isError: true, attributes: {} }),
  );
  await sentOf(exporter, 2);
  expect(collector.requests).toHaveLength(1);
  const [request] = collector.requests;
  expect([request?.path, request?.headers.get("x-token")]).toEqual(["/v1/traces", "t"]);
  expect(request?.headers.get("content-type")).toBe("application/json");
  const times = { startTimeUnixNano: "1700000000000250000", endTimeUnixNano: "1700000000001750000" };
  const place = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
  const common = { ...place, name: "tools/call files:read", kind: 2, ...times };
  expect(JSON.parse(request?.text ?? "")).toEqual({
    resourceSpans: [
      {
        resource: {
          attributes: [
            { key: "service.name", value: { stringValue: "mcpproxy" } },
            { key: "service.version", value: { stringValue: "1" } },
          ],
        },
        scopeSpans: [
          {
            scope: { name: "mcpproxy", version: "1" },
            spans: [
              {
                ...common,
                attributes: [
                  { key: "text", value: { stringValue: "x" } },
                  { key: "whole", value: { intValue: "7" } },
                  { key: "part", value: { doubleValue: 0.5 } },
                  { key: "flag", value: { boolValue: true } },
                ],
                status: {},
              },
              {
                ...common,
                parentSpanId: "00f067aa0ba902b7",
                traceState: "a=1",
                attributes: [],
                status: { code: 2 },
              },
            ],
          },
        ],
      },
    ],
  });
});

test("what a collector may get later is repeated, what it refuses is not, and each turn is told once", async () => {
  const statuses = [503, 429, 200, 400, 200];
  await using collector = openCollector({
    answer: (index) => new Response(null, { status: statuses[index] ?? 200 }),
  });
  const told: string[] = [];
  const onFailure = (error: unknown): void =>
    void told.push(error instanceof Error ? error.message : "again");
  await using exporter = makeExporter(collector.url, { onFailure });
  exporter.push(makeSpan({ name: "a" }));
  await sentOf(exporter, 1);
  exporter.push(makeSpan({ name: "b" }));
  await waitFor("the refused span is dropped", () => exporter.counts.dropped === 1);
  exporter.push(makeSpan({ name: "c" }));
  await sentOf(exporter, 2);
  expect(collector.spans().map(({ name }) => name)).toEqual(["a", "a", "a", "b", "c"]);
  expect(told).toEqual(["the collector answered HTTP 400", "again"]);
});

test("a collector that hangs costs its spans and nothing else: what waits is bounded, and the rest is counted", async () => {
  verifies("OTLP-OFF-PATH");
  const held = Promise.withResolvers<Response>();
  await using collector = openCollector({ answer: () => held.promise });
  const exporter = makeExporter(collector.url, { maxSpans: 10, batchSpans: 4, closeMs: 20 });
  exporter.push(makeSpan());
  await waitFor("a request is under way", () => collector.requests.length === 1);
  for (let at = 0; at < 100; at += 1) exporter.push(makeSpan());
  expect(exporter.counts).toEqual({ queued: 10, sent: 0, dropped: 91 });
  await exporter.close();
  expect(exporter.counts).toEqual({ queued: 0, sent: 0, dropped: 101 });
  exporter.push(makeSpan());
  expect(exporter.counts.dropped).toBe(102);
  held.resolve(new Response());
});

test("close() sends what waits", async () => {
  await using collector = openCollector();
  const exporter = makeExporter(collector.url, { delayMs: 60_000, batchSpans: 2 });
  for (let at = 0; at < 5; at += 1) exporter.push(makeSpan({ name: String(at) }));
  await exporter.close();
  await exporter.close();
  expect(collector.spans().map(({ name }) => name)).toEqual(["0", "1", "2", "3", "4"]);
  expect(exporter.counts).toEqual({ queued: 0, sent: 5, dropped: 0 });
});

test("a collector that is not there is tried again some times, then its spans are dropped", async () => {
  const told: unknown[] = [];
  await using exporter = makeExporter("http://127.0.0.1:9", { onFailure: (error) => void told.push(error) });
  exporter.push(makeSpan());
  await waitFor("the span is dropped", () => exporter.counts.dropped === 1);
  expect(told).toHaveLength(1);
});

test("a redirect is not followed: the headers are for the collector alone", async () => {
  await using other = openCollector();
  await using collector = openCollector({ answer: () => Response.redirect(`${other.url}/v1/traces`, 307) });
  await using exporter = makeExporter(collector.url, { headers: { authorization: "Bearer x" } });
  exporter.push(makeSpan());
  await waitFor("the span is dropped", () => exporter.counts.dropped === 1);
  expect(other.requests).toEqual([]);
});
