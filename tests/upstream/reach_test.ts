/** Holds what a first start without a network means, and what hosts that are down by themselves do. */
import { expect, test } from "bun:test";
import type { Server } from "../../src/core/model.ts";
import { describeFailure } from "../../src/upstream/failure.ts";
import { Reach } from "../../src/upstream/reach.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";
import { Fleet } from "./fleet.ts";
import { simServer } from "./simulation.ts";
import { failing, failureOf, healthy } from "./virtual_link.ts";
import type { Nature } from "./virtual_link.ts";

const MINUTE_MS = 60_000;
const REFUSED = failing("network", 20, { isUnreached: true });
const BUSY = failing("network", 200, { silentMs: 100 });

const HERE = ["localhost", "127.0.0.1", "[::1]", "dev.localhost", "127.0.0.2"];

const far = (at: number): Server => simServer(`far${at}`, { url: `https://host${at}.example/mcp` });
const near = (at: number): Server =>
  simServer(`near${at}`, { url: `http://${HERE[at % HERE.length]}:${9_000 + at}/mcp` });
const five = (make: (at: number) => Server): Server[] => [1, 2, 3, 4, 5].map(make);

/** What is off, and whether counting was suspended, some minutes after a first start. */
function outcome(
  servers: readonly Server[],
  natureOf: (name: string) => Nature,
): { readonly off: number; readonly isSuspended: boolean; readonly fleet: Fleet } {
  const fleet = new Fleet(servers, { nature: ({ name }) => natureOf(name) }).start();
  fleet.clock.advance(5 * MINUTE_MS);
  const off = fleet.names.filter((name) => fleet.get(name).mode === "auto_disabled").length;
  return { off, isSuspended: fleet.supervisor.isSuspended, fleet };
}

const STARTS: readonly (readonly [
  what: string,
  servers: readonly Server[],
  natureOf: (name: string) => Nature,
  off: number,
  isSuspended: boolean,
])[] = [
  ["no host elsewhere is reached", five(far), () => REFUSED, 0, true],
  [
    "… though servers on this machine are ready",
    [...five(far), ...five(near)],
    (name) => (name.startsWith("near") ? healthy(50) : REFUSED),
    0,
    true,
  ],
  ["four hosts are not reached", five(far).slice(1), () => REFUSED, 4, false],
  [
    "five servers of one host are not",
    five((at) => simServer(`one${at}`, { url: `https://one.example/${at}` })),
    () => REFUSED,
    5,
    false,
  ],
  ["five on this machine are not", five(near), () => REFUSED, 5, false],
  [
    "five hosts are not, and one is ready",
    [...five(far), far(6)],
    (name) => (name === "far6" ? healthy(300) : REFUSED),
    5,
    false,
  ],
  [
    "five hosts are not, and one answers that it is busy",
    [...five(far), far(6)],
    (name) => (name === "far6" ? BUSY : REFUSED),
    6,
    false,
  ],
  [
    "five processes leave",
    five((at) => simServer(`p${at}`, { command: "npx" })),
    () => failing("exit", 20),
    5,
    false,
  ],
];

test.each(STARTS)("Supervisor at a first start where %s", (_, servers, natureOf, off, isSuspended) => {
  verifies("SUPERVISE-CASCADE-UNREACHED");
  const seen = outcome(servers, natureOf);
  expect([seen.off, seen.isSuspended]).toEqual([off, isSuspended]);
});

test("Supervisor ends the suspension with the first that is ready, and after 30 minutes for good", () => {
  verifies("SUPERVISE-CASCADE-UNREACHED");
  const { fleet } = outcome(five(far), () => REFUSED);
  fleet.nature = () => healthy(100);
  fleet.clock.advance(10 * MINUTE_MS);
  expect(fleet.names.map((name) => fleet.get(name).connection)).toEqual(five(far).map(() => "ready"));
  expect([fleet.supervisor.isSuspended, fleet.supervisor.state]).toEqual([false, "running"]);

  const { fleet: other } = outcome(five(far), () => REFUSED);
  other.clock.advance(60 * MINUTE_MS);
  expect(other.supervisor.isSuspended).toBe(false);
  expect(other.names.filter((name) => other.get(name).mode !== "auto_disabled")).toEqual([]);
});

test("Reach names all who cannot be reached, once, and takes silence for no answer", () => {
  const holders = five(far).map((server) => ({ server }));
  const reach = new Reach<{ readonly server: Server }>();
  const unreached = failureOf("network", { isUnreached: true });
  for (const holder of holders) expect(reach.failed(holder, unreached)).toEqual([]);
  for (const holder of holders) expect(reach.failed(holder, failureOf("timeout", {}))).toEqual([]);
  for (const holder of holders.slice(1)) expect(reach.failed(holder, unreached)).toEqual([]);
  expect(reach.failed(holders[0] ?? { server: far(1) }, unreached)).toEqual(holders);
  for (const holder of holders) expect(reach.failed(holder, unreached)).toEqual([]);
});

test.each<[string, true | undefined]>([
  ["ECONNREFUSED", true],
  ["ENOTFOUND", true],
  ["ENETUNREACH", true],
  ["ECONNRESET", undefined],
  ["CERT_HAS_EXPIRED", undefined],
])("describeFailure() says of %s whether the host was reached", (code, isUnreached) => {
  const error = new Error("outer", { cause: Object.assign(new Error("x"), { code }) });
  const failure = describeFailure(error, { server: makeServer({ url: "https://h.example/" }) });
  expect([failure.class, failure.isUnreached]).toEqual(["network", isUnreached]);
});
