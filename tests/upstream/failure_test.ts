/**
 * Failures: every cause has one class, a sentence, a way out, and no secret.
 */
import { SdkError, SdkErrorCode, SseError } from "@modelcontextprotocol/client";
import { expect, test } from "bun:test";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { ProxyError } from "../../src/core/errors.ts";
import type { FailureClass, Server } from "../../src/core/model.ts";
import { describeFailure } from "../../src/upstream/failure.ts";
import { isRetriable } from "../../src/upstream/link.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import { makeServer, openConnection, stdioServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";

type ErrorEventOfSdk = ConstructorParameters<typeof SseError>[2];

/** Name, server, class, sentence behind `Cannot connect 's': `, hint. */
const CAUSES: readonly (readonly [string, Server, FailureClass, RegExp, RegExp])[] = [
  [
    "a command that is not there",
    makeServer({ command: "no-such-command-here" }),
    "config",
    /^command 'no-such-command-here' was not found in PATH$/,
    /^Install 'no-such-command-here', or give its full path as 'command'$/,
  ],
  [
    "uvx that is not there",
    makeServer({ command: "uvx", env: new Map([["PATH", "/nowhere"]]) }),
    "config",
    /^command 'uvx' was not found in PATH$/,
    /pip install uv/,
  ],
  [
    "npx that is not there",
    makeServer({ command: "npx", env: new Map([["PATH", "/nowhere"]]) }),
    "config",
    /^command 'npx' was not found in PATH$/,
    /Node\.js/,
  ],
  [
    "a file that is no program",
    makeServer({ command: "/etc/passwd" }),
    "config",
    /^command '\/etc\/passwd' may not be executed$/,
    /chmod \+x \/etc\/passwd/,
  ],
  [
    "a working_dir that is not there",
    stdioServer([], { workingDir: "/no/such/folder" }),
    "config",
    /working_dir '\/no\/such\/folder' was not found$/,
    /working_dir/,
  ],
  [
    "a variable that is not set",
    stdioServer(["${env:NO_SUCH_VARIABLE_HERE}"]),
    "config",
    /NO_SUCH_VARIABLE_HERE.*not set/,
    /Set the environment variable/,
  ],
  [
    "a process that leaves with last words",
    stdioServer(["--exit-with", "3", "--stderr", "first\nfatal: no key given"]),
    "exit",
    /^the process exited with code 3; it last said: fatal: no key given$/,
    /by hand/,
  ],
  [
    "a process that leaves with success",
    stdioServer(["--exit-with", "0"]),
    "exit",
    /^the process exited with code 0$/,
    /by hand/,
  ],
  [
    "a port where nobody listens",
    makeServer({ url: "http://127.0.0.1:1/mcp?key=canary" }),
    "network",
    /^cannot reach http:\/\/127\.0\.0\.1:1: connection refused \(ECONNREFUSED\)$/,
    /'url'/,
  ],
  [
    "a host that is none",
    makeServer({ url: "http://someone:canary@no-such-host.invalid/mcp" }),
    "network",
    /^cannot reach http:\/\/no-such-host\.invalid: [a-z ]+ \((?:ENOTFOUND|EAI_AGAIN)\)$/,
    /'url'/,
  ],
];

for (const [name, server, failureClass, sentence, hint] of CAUSES) {
  test.concurrent(`Connection.connect() explains ${name}`, async () => {
    verifies("CALL-DEAD-SERVER");
    await using open = openConnection(server);
    await open.connect({ deadlineMs: 4_000 });
    const { state, failure } = open;
    expect(state).toBe("error");
    expect(failure?.class).toBe(failureClass);
    expect(failure?.message).toStartWith("Cannot connect 's': ");
    expect(failure?.message.slice("Cannot connect 's': ".length)).toMatch(sentence);
    expect(failure?.hint).toMatch(hint);
  });
}

test.concurrent("Connection.connect() says the same of a network fault whatever the transport, and nothing to programmers", async () => {
  verifies("FAULTS-IN-PLAIN-WORDS");
  const closing = createServer((socket) => socket.once("data", () => socket.end())).listen(0, "127.0.0.1");
  const { port } = closing.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  try {
    for (const transport of ["streamable_http", "sse", "auto"] as const) {
      await using open = openConnection(makeServer({ url: `${url}/mcp`, transport }));
      await open.connect({ deadlineMs: 4_000 });
      expect([transport, open.failure?.class, open.failure?.message]).toEqual([
        transport,
        "network",
        `Cannot connect 's': cannot reach ${url}: the connection was closed before the answer was there (ECONNRESET)`,
      ]);
    }
  } finally {
    closing.close();
  }
});

const STATUSES: readonly (readonly [number, FailureClass, boolean])[] = [
  [401, "auth", false],
  [403, "auth", false],
  [404, "protocol", false],
  [429, "rate_limited", true],
  [500, "network", true],
  [503, "network", true],
];

for (const [status, failureClass, retriable] of STATUSES) {
  test.concurrent(`Connection.connect() files HTTP ${status} under ${failureClass}, whatever the transport`, async () => {
    await using http = serveHttp({ kind: "status", status });
    for (const transport of ["streamable_http", "sse", "auto"] as const) {
      await using open = openConnection(makeServer({ url: http.url, transport }));
      await open.connect({ deadlineMs: 4_000 });
      const { failure } = open;
      expect(`${transport}: ${failure?.class}`).toBe(`${transport}: ${failureClass}`);
      expect(failure?.message).toContain(`HTTP ${status}`);
      expect(failure && isRetriable(failure)).toBe(retriable);
    }
  });
}

// Alone, since it measures.
test("Connection.connect() ends at its deadline when nothing answers, over stdio and HTTP", async () => {
  verifies("CALL-ENDS-IN-TIME");
  await using http = serveHttp({ kind: "hang" });
  const servers = [
    stdioServer(["--hang"]),
    makeServer({ url: http.url }),
    makeServer({ url: http.url, transport: "sse" }),
    makeServer({ url: http.url, transport: "auto" }),
  ];
  await Promise.all(
    servers.map(async (server) => {
      await using open = openConnection(server);
      const startedAt = performance.now();
      await open.connect({ deadlineMs: 500 });
      expect(performance.now() - startedAt).toBeLessThan(750);
      expect(open.failure).toMatchObject({
        class: "timeout",
        hint: expect.stringContaining("connection_timeout") as unknown as string,
      });
    }),
  );
});

test.concurrent("Connection hides secrets in stderr, in the failure and in the log", async () => {
  verifies("SECRETS-MASKED");
  const canaries = ["canary-reference-1", "canary-plain-2", "canary-flag-3", "sk-canary44444444"];
  const server = stdioServer(["--exit-with", "1", "--stderr", `using ${canaries.join(" and ")}`], {
    env: new Map([
      ["A", "${env:FROM_PARENT}"],
      ["MY_API_KEY", "canary-plain-2"],
      ["PLAIN", "using"],
    ]),
  });
  const args = [...server.args, "--", "--token", "canary-flag-3"];
  await using open = openConnection(
    { ...server, args },
    { env: { ...process.env, FROM_PARENT: "canary-reference-1" } },
  );
  await open.connect({ deadlineMs: 4_000 });
  const shown = JSON.stringify([open.failure, open.connection.stderr(10), open.lines]);
  expect(open.failure?.message).toBe(
    "Cannot connect 's': the process exited with code 1; it last said: using *** and *** and *** and ***",
  );
  for (const canary of canaries) expect(shown).not.toContain(canary);
});

const SERVER = makeServer({ url: "http://127.0.0.1:1/" });

/** Class and sentence of errors as the SDK and Bun make them. */
test.each<[unknown, string | undefined, FailureClass, string]>([
  [
    new SseError(
      undefined,
      "SSE error: ECONNREFUSED: Unable to connect. Is the computer able to access the url?",
      { type: "error" } as unknown as ErrorEventOfSdk,
    ),
    "http://127.0.0.1:1/mcp",
    "network",
    "cannot reach http://127.0.0.1:1: connection refused (ECONNREFUSED)",
  ],
  [
    Object.assign(new Error("self signed certificate"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }),
    "https://host:8443/mcp?key=canary",
    "network",
    "cannot reach https://host:8443: its certificate is signed by itself (DEPTH_ZERO_SELF_SIGNED_CERT)",
  ],
  [
    Object.assign(new Error("x"), { code: "ECONNREFUSED" }),
    "http://${env:HOST}/mcp",
    "network",
    "the connection failed: connection refused (ECONNREFUSED)",
  ],
  [
    new SdkError(SdkErrorCode.ConnectionClosed, "Connection closed"),
    undefined,
    "network",
    "the connection failed: Connection closed",
  ],
  [
    new Error(
      'probe failed: ZlibError fetching "http://h/?k=canary". For more information, pass `verbose: true` in it',
    ),
    "http://h/?k=canary",
    "protocol",
    "the answer cannot be decompressed (ZlibError)",
  ],
])("describeFailure() words a fault of the network for operators (%#)", (error, url, failureClass, words) => {
  verifies("FAULTS-IN-PLAIN-WORDS");
  const server = url === undefined ? makeServer({ command: "c" }) : makeServer({ url });
  const failure = describeFailure(error, { server });
  expect([failure.class, failure.message]).toEqual([failureClass, `Cannot connect 's': ${words}`]);
});

test.each<[unknown, FailureClass]>([
  // A refused stream of the older kind: the SDK gives no code then.
  [
    new SseError(undefined, "SSE error: fetch failed", { type: "error" } as unknown as ErrorEventOfSdk),
    "network",
  ],
  [new ProxyError("SECRET_MISSING", "Cannot resolve"), "config"],
  [new SdkError(SdkErrorCode.RequestTimeout, "slow"), "timeout"],
  [Object.assign(new Error("x"), { code: "ECONNRESET" }), "network"],
  [new Error("outer", { cause: Object.assign(new Error("x"), { code: "ECONNREFUSED" }) }), "network"],
  [Object.assign(new Error("x"), { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }), "network"],
  [Object.assign(new Error("x"), { code: 502 }), "network"],
  [Object.assign(new Error("x"), { code: 301 }), "protocol"],
  [new Error("its answer to tools/list has no list of tools"), "protocol"],
  ["a string", "protocol"],
  [undefined, "protocol"],
  [null, "protocol"],
])("describeFailure() gives every error exactly one class (%#)", (error, failureClass) => {
  const failure = describeFailure(error, { server: SERVER });
  expect(failure.class).toBe(failureClass);
  expect(failure.message).toStartWith("Cannot connect 's': ");
  expect(failure.hint).not.toBe("");
});

test("describeFailure() ends even when an error is its own cause", () => {
  const error = new Error("round and round");
  error.cause = error;
  expect(describeFailure(error, { server: SERVER }).class).toBe("protocol");
});
