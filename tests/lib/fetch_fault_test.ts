/** Holds what an operator reads where a request got no answer. */
import { afterAll, expect, test } from "bun:test";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { explainFetch, fetchFault } from "../../src/lib/fetch_fault.ts";
import { verifies } from "../requirements.ts";

/** What Bun says to those who write programs. */
const TO_PROGRAMMERS = /verbose|second argument|the computer|typo in the url/i;

const servers = [
  createServer((socket) => socket.once("data", () => socket.end())),
  createServer((socket) => socket.once("data", () => socket.resetAndDestroy())),
  createServer((socket) => socket.once("data", () => socket.end("hello\r\n\r\n"))),
  createServer((socket) => socket.once("data", () => cutShort(socket))),
].map((server) => server.listen(0, "127.0.0.1"));
const [closing = "", resetting = "", babbling = "", breaking = ""] = servers.map(
  (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
);
const packed = Bun.serve({
  port: 0,
  fetch: () => new Response("not packed", { headers: { "content-encoding": "gzip" } }),
});
const round = Bun.serve({ port: 0, fetch: ({ url }) => Response.redirect(url, 302) });

afterAll(async () => {
  for (const server of servers) server.close();
  await Promise.all([packed.stop(true), round.stop(true)]);
});

function cutShort(socket: Socket): void {
  socket.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc", () => socket.destroy());
}

const CAUSES: readonly (readonly [what: string, url: string, words: string | RegExp])[] = [
  ["nobody listens", "http://127.0.0.1:9/", "connection refused (ECONNREFUSED)"],
  [
    "no such host",
    "http://no-such-host.invalid/",
    /^(?:the name of the host is unknown|no name server answers) \(E/,
  ],
  ["it hangs up", closing, "the connection was closed before the answer was there (ECONNRESET)"],
  ["it resets", resetting, "the connection was closed before the answer was there (ECONNRESET)"],
  [
    "it hangs up within the answer",
    breaking,
    "the connection was closed before the answer was there (ECONNRESET)",
  ],
  ["it speaks something else", babbling, /\((?:Malformed_HTTP_Response|ECONNRESET)\)$/],
  ["it speaks no TLS", closing.replace("http:", "https:"), /\((?:EPROTO|ECONNRESET)\)$/],
  ["it cannot pack", packed.url.href, "the answer cannot be decompressed (ZlibError)"],
  ["it redirects for ever", round.url.href, "it redirects without an end (TooManyRedirects)"],
];

test.each(CAUSES)("explainFetch() says in plain words, with the code, that %s", async (_, url, words) => {
  verifies("FAULTS-IN-PLAIN-WORDS");
  const error: unknown = await fetch(url)
    .then((response) => response.text())
    .catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(Error);
  const said = explainFetch(error);
  if (typeof words === "string") expect(said).toBe(words);
  else expect(said).toMatch(words);
  expect(said).not.toMatch(TO_PROGRAMMERS);
  expect(said).not.toContain(new URL(url).host);
});

test.each<[unknown, string]>([
  [
    new Error("SSE error: ECONNREFUSED: Unable to connect. Is the computer able to access the url?"),
    "connection refused (ECONNREFUSED)",
  ],
  [
    new Error("outer", { cause: Object.assign(new Error("x"), { code: "ENETUNREACH" }) }),
    "no way to the network (ENETUNREACH)",
  ],
  [
    Object.assign(new Error("self signed certificate"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }),
    "its certificate is signed by itself (DEPTH_ZERO_SELF_SIGNED_CERT)",
  ],
  [
    new Error(
      'SomethingNew fetching "http://h/?key=canary". For more information, pass `verbose: true` in it',
    ),
    "the request failed (SomethingNew)",
  ],
  [new Error("Unable to connect. Is the computer able to access the url?"), "Unable to connect"],
  [
    new Error(
      "The socket closed. For more information, pass `verbose: true` in the second argument to fetch()",
    ),
    "The socket closed",
  ],
  ["a string", "a string"],
])(
  "explainFetch() finds the code in causes and texts, and leaves out what is said to programmers (%#)",
  (error, words) => {
    verifies("FAULTS-IN-PLAIN-WORDS");
    expect(explainFetch(error)).toBe(words);
  },
);

test("fetchFault() has nothing to say of what is no fault of the network", () => {
  const knot = new Error("round and round");
  knot.cause = knot;
  for (const error of [knot, new Error("the server said getaddrinfo ENOTFOUND db"), undefined, null, "x"])
    expect(fetchFault(error)).toBeUndefined();
});
