/** Holds what the file says of limits on calls, and of encryption, and what of it is in force. */
import { expect, test } from "bun:test";
import { parseConfig } from "../../src/state/config.ts";
import { verifies } from "../requirements.ts";

function parse(value: object): ReturnType<typeof parseConfig> {
  return parseConfig(JSON.stringify(value), { path: "/c.json", dataDir: "/d", home: "/home/u", env: {} });
}

test.each([
  [undefined, false],
  [null, false],
  [{}, false],
  [{ enabled: false, certs_dir: "c" }, false],
  [true, true],
  [{ enabled: true }, true],
  [{ cert_file: "c", key_file: "k" }, true],
])("parseConfig() says that it serves no TLS where the file wants it: tls %j", (tls, isWanted) => {
  verifies("CONFIG-TLS-TOLD");
  const { findings, faults } = parse(tls === undefined ? {} : { tls });
  expect(faults).toEqual([]);
  expect(findings.map(({ code }) => code)).toEqual(isWanted ? ["TLS_NOT_SERVED"] : []);
  if (isWanted)
    expect(findings[0]).toMatchObject({
      level: "warning",
      message: expect.stringContaining("without encryption") as unknown,
    });
});

test.each([
  [undefined, []],
  [{}, []],
  [{ enabled: false }, []],
  [{ enabled: true, memory_limit: "512m" }, ["ISOLATION_NOT_SERVED"]],
])(
  "parseConfig() says that it isolates nothing where the file wants it: docker_isolation %j",
  (given, codes) => {
    verifies("CONFIG-ISOLATION-TOLD");
    const { findings } = parse(given === undefined ? {} : { docker_isolation: given });
    expect(findings.map(({ code }) => code)).toEqual(codes);
  },
);

test("parseConfig() reads the limits on calls, of all and of each server", () => {
  verifies("CALL-LIMITS");
  const { settings, servers } = parse({
    max_concurrent_requests: 8,
    queue_size: 0,
    queue_timeout: "2s",
    server_concurrency_defaults: { max_concurrent_requests: 2, queue_size: 3 },
    mcpServers: [
      { name: "a", url: "http://a", max_concurrent_requests: 0, queue_size: 1 },
      { name: "b", url: "http://b" },
    ],
  });
  expect(settings.concurrency).toEqual({ maxConcurrentRequests: 8, queueSize: 0, queueTimeoutMs: 2_000 });
  expect(settings.serverConcurrency).toEqual({ maxConcurrentRequests: 2, queueSize: 3 });
  expect(servers[0]).toMatchObject({ maxConcurrentRequests: 0, queueSize: 1 });
  expect(servers[1]).not.toContainAnyKeys(["maxConcurrentRequests", "queueSize"]);
});
