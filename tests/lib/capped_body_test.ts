/**
 * Bodies: counted as a whole or by event, after decompression, and left alone where they say that they fit.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { BodyTooLongError, capBody } from "../../src/lib/capped_body.ts";
import { failureOf } from "../fixtures/wait.ts";

const MAX_BYTES = 10;

function capped(type: string, ...parts: readonly string[]): Promise<string> {
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      for (const part of parts) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
  return capBody(new Response(body, { headers: { "content-type": type } }), { maxBytes: MAX_BYTES }).text();
}

test("capBody() lets a body pass that fits to the byte, and fails one that is longer", async () => {
  expect(await capped("application/json", "12345", "67890")).toBe("1234567890");
  expect(await failureOf(() => capped("application/json", "12345", "678901"))).toBeInstanceOf(
    BodyTooLongError,
  );
});

test("capBody() counts each event of a stream by itself, however its lines end and its parts are cut", async () => {
  const events = ["data: 1\n\n", "data: 2\r\n\r", "\n: c\n", "\n", "data: 3", "\n\n\n\n"];
  expect(await capped("text/event-stream; charset=utf-8", ...events)).toBe(events.join(""));
  for (const long of [["data: 1\n\ndata: 2345678"], ["data: 1", "\ndata: 2", "\n\n"], [": abc\n: def\n"]]) {
    expect((await failureOf(() => capped("text/event-stream", ...long))).message).toBe(
      "the answer is over 10 bytes",
    );
  }
});

test("capBody() leaves status and headers as they are, and a short body untouched", async () => {
  const short = new Response("12345", { headers: { "content-length": "5" } });
  expect(capBody(short, { maxBytes: MAX_BYTES })).toBe(short);
  const none = new Response(null, { status: 202 });
  expect(capBody(none, { maxBytes: MAX_BYTES })).toBe(none);
  const wrapped = capBody(new Response("12", { status: 404, statusText: "No", headers: { "x-a": "b" } }), {
    maxBytes: MAX_BYTES,
  });
  expect([wrapped.status, wrapped.statusText, wrapped.headers.get("x-a"), await wrapped.text()]).toEqual([
    404,
    "No",
    "b",
    "12",
  ]);
});

test("capBody() counts what comes out of a compressed body", async () => {
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () =>
      new Response(Bun.gzipSync(new Uint8Array(100_000)), { headers: { "content-encoding": "gzip" } }),
  });
  const response = capBody(await fetch(server.url), { maxBytes: 50_000 });
  expect(await failureOf(() => response.text())).toBeInstanceOf(BodyTooLongError);
});

test("capBody() drops unwanted events that come whole, and no byte of any other, however the stream is cut", async () => {
  const event = fc.record({
    isWanted: fc.boolean(),
    text: fc.string({ unit: "grapheme", maxLength: 20 }).map((text) => text.replaceAll(/[\r\n]/g, "")),
    end: fc.constantFrom("\n\n", "\r\n\r\n"),
  });
  const cuts = fc.array(fc.nat({ max: 400 }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 12 }), cuts, async (events, at) => {
      const written = events.map(
        ({ isWanted, text, end }) => `data: ${isWanted ? "keep" : "drop"} ${text}${end}`,
      );
      const bytes = new TextEncoder().encode(written.join(""));
      const borders = [0, ...at.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          for (const [i, from] of borders.entries()) {
            const part = bytes.slice(from, borders[i + 1]);
            if (part.length > 0) controller.enqueue(part);
          }
          controller.close();
        },
      });
      const response = new Response(body, { headers: { "content-type": "text/event-stream" } });
      const isUnwanted = (text: string): boolean => text.startsWith("data: drop");
      const out = await capBody(response, { maxBytes: 1_000, isUnwanted }).text();
      const kept = out.split(/(?<=\r?\n\r?\n)/).filter((text) => text !== "" && !isUnwanted(text));
      expect(kept).toEqual(written.filter((text) => !isUnwanted(text)));
      if (borders.length === 2) expect(out).toBe(kept.join(""));
    }),
  );
});
