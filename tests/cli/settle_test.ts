/**
 * Waiting for servers: what counts as come, failed, and not yet.
 */
import { expect, test } from "bun:test";
import { ApiClient } from "../../src/cli/client.ts";
import { readWords } from "../../src/cli/help.ts";
import { settle } from "../../src/cli/settle.ts";
import type { Standing } from "../../src/cli/settle.ts";
import { makeIo } from "./fixtures.ts";

const { flags } = readWords("status", []);

function standing(state: string, since: string, parts: Partial<Standing> = {}): Standing {
  const category = state === "ready" ? "connected" : "disconnected";
  return { name: "s", category, connection_state: state, since, last_error: `it is ${state}`, ...parts };
}

/** Lists one server after the other way it stands; the last one stays. */
function serveStandings(looks: readonly (Standing | undefined)[]) {
  let at = 0;
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => {
      const now = looks[Math.min(at, looks.length - 1)];
      at += 1;
      return Response.json({ success: true, data: { servers: now === undefined ? [] : [now] } });
    },
  });
  const api = new ApiClient({ url: `http://127.0.0.1:${server.port}`, key: "k" });
  return { api, looks: () => at, [Symbol.asyncDispose]: () => server.stop(true) };
}

const failed = standing("error", "1");

test.each<[string, Standing | undefined, (Standing | undefined)[], { isAnew?: boolean }, boolean, number]>([
  ["one that is connected", undefined, [standing("ready", "1")], {}, true, 1],
  ["one that connects", undefined, [standing("connecting", "1"), standing("ready", "2")], {}, true, 2],
  ["one that fails", undefined, [standing("connecting", "1"), standing("error", "2")], {}, false, 2],
  [
    "one that failed before",
    failed,
    [failed, standing("connecting", "2"), standing("ready", "3")],
    {},
    true,
    3,
  ],
  ["one that fails again", failed, [failed, standing("error", "2")], {}, false, 2],
  [
    "one that is connected anew",
    standing("ready", "1"),
    [standing("ready", "1"), standing("ready", "2")],
    { isAnew: true },
    true,
    2,
  ],
  ["one that stays connected", standing("ready", "1"), [standing("ready", "1")], {}, true, 1],
  ["one that sleeps", undefined, [standing("disconnected", "1", { category: "sleeping" })], {}, true, 1],
  ["one that is off", undefined, [standing("disconnected", "1", { category: "disabled" })], {}, true, 1],
  [
    "one that was auto-disabled",
    undefined,
    [standing("error", "1", { category: "auto_disabled" })],
    {},
    false,
    1,
  ],
])("settle() waits for %s", async (_, before, looks, { isAnew = false }, isGood, count) => {
  await using served = serveStandings(looks);
  const io = makeIo();
  const standings = new Map(before === undefined ? [] : [["s", before]]);
  const options = { api: served.api, flags, io, before: standings, isAnew, patience: { timeoutMs: 20_000 } };
  expect(await settle(["s"], options)).toBe(isGood);
  expect(served.looks()).toBe(count);
  expect(io.out()).toBe(isGood ? "1 server connected\n" : "0 servers connected, 1 failed\n");
  expect(io.err()).toBe(isGood ? "" : "s: it is error\n");
});

test("settle() ends in time, and names what is not there yet; progress is for a terminal", async () => {
  await using served = serveStandings([standing("connecting", "1")]);
  const options = { api: served.api, flags, before: new Map(), isAnew: false, patience: { timeoutMs: 1 } };
  const io = makeIo();
  expect(await settle(["s", "gone"], { ...options, io })).toBe(false);
  expect(io.err()).toBe("s: not connected in time\ngone: not connected in time\n");
  const size = { columns: 80, rows: 24 };
  const atTerminal = makeIo({ columns: 80, terminal: { size: () => size, onResize: () => {} } });
  await settle(["s"], { ...options, io: atTerminal });
  expect(atTerminal.err()).toContain("0 of 1 connected");
  expect(atTerminal.err()).toContain("\r\u001b[Ks: not connected in time\n");
});
