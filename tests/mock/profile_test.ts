/**
 * The generated fleet: the same from the same seed, and shaped as SPEC §11 has it.
 *
 * Owns the counts and sizes; that the mocks behave is in the other tests.
 */
import { expect, test } from "bun:test";
import { planFleet } from "../../src/mock/plan.ts";
import { MANY_TOOLS, makeProfile } from "../../src/mock/profile.ts";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { median } from "../../src/scale/sheet.ts";
import { parseConfig } from "../../src/state/config.ts";

const SERVERS = 159;

function countBy<T>(list: readonly T[], key: (one: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const one of list) counts[key(one)] = (counts[key(one)] ?? 0) + 1;
  return counts;
}

test("a seed decides the whole profile, and another seed makes another", () => {
  const options = { servers: 60, scale: 0.01, maxStdio: 20 };
  expect(JSON.stringify(makeProfile(options))).toBe(JSON.stringify(makeProfile({ ...options, seed: 1 })));
  expect(JSON.stringify(makeProfile(options))).not.toBe(JSON.stringify(makeProfile({ ...options, seed: 2 })));
  expect(makeRealisticConfig({ seed: 5 })).toBe(makeRealisticConfig({ seed: 5 }));
});

test("planFleet() gives 159 servers the outcomes and launchers of production", () => {
  const plan = planFleet({ servers: SERVERS, seed: 1, outcomes: "production" });
  expect(countBy(plan, ({ outcome }) => outcome)).toEqual({
    fast: 25,
    medium: 30,
    slow: 10,
    garbage: 2,
    oauth: 2,
    hang: 50,
    not_found: 20,
    exit: 15,
    no_daemon: 5,
  });
  expect(countBy(plan, ({ launcher }) => launcher)).toEqual({
    npx: 112,
    uvx: 27,
    docker: 5,
    pipx: 4,
    uv: 3,
    node: 3,
    binary: 3,
    http: 2,
  });
  expect(plan.filter(({ isFirstRun }) => isFirstRun).length).toBe(10);
  expect(plan.filter(({ hasNoTools }) => hasNoTools).length).toBe(5);
  expect(plan.filter(({ hasManyTools }) => hasManyTools).length).toBe(2);
  expect(plan.filter(({ startupMode }) => startupMode === "lazy_loading").length).toBe(44);
  expect(new Set(plan.map(({ groupId }) => groupId))).toEqual(new Set([0, 1, 2, 4, 7, 10, 13, 19]));
  for (const shape of [/ /, /\./, /[A-Z]/, /_/]) expect(plan.some(({ name }) => shape.test(name))).toBe(true);
});

test.each([1, 7, 40, 159, 1_000])("planFleet() makes %i servers with names of their own", (servers) => {
  const plan = planFleet({ servers, seed: 3, outcomes: "production" });
  expect(new Set(plan.map(({ name }) => name.toLowerCase())).size).toBe(servers);
});

test("makeProfile() makes 1,200 tools with short and very long descriptions and shared bare names", () => {
  const { servers } = makeProfile({ servers: SERVERS });
  const tools = servers.flatMap((server) => server.tools);
  const lengths = tools.map(({ description = "" }) => description.length);
  expect(tools.length).toBe(1_200);
  expect(median(lengths)).toBeGreaterThan(73);
  expect(median(lengths)).toBeLessThan(93);
  expect(Math.max(...lengths)).toBe(6_500);
  expect(new Set(tools.map(({ name }) => name)).size).toBeLessThan(1_150);
  const many = servers.filter((server) => server.tools.length >= MANY_TOOLS);
  expect(many.map(({ pageSize }) => pageSize)).toEqual([50, 50]);
  for (const server of servers)
    expect(new Set(server.tools.map(({ name }) => name)).size).toBe(server.tools.length);
});

test("makeProfile() keeps the cap on stdio servers and all outcomes", () => {
  const { servers } = makeProfile({ servers: 1_000, maxStdio: 150, scale: 0.01 });
  const stdio = servers.filter(({ transport }) => transport === "stdio");
  expect(stdio.length).toBe(150);
  const kinds = countBy(servers, ({ faults = [] }) => faults[0]?.kind ?? "none");
  expect(kinds["hang"]).toBe(314);
  expect(stdio.some(({ faults }) => faults?.[0]?.kind === "hang")).toBe(true);
  expect(kinds["refuse"]).toBeGreaterThan(0);
  expect(kinds["exit"]).toBeGreaterThan(0);
});

test("makeProfile() scales times, and makes a healthy fleet with the tools asked for", () => {
  const slowest = (scale: number): number => {
    const faults = makeProfile({ servers: SERVERS, scale }).servers.flatMap(({ faults: own = [] }) => own);
    return Math.max(...faults.map((fault) => (fault.kind === "slow_start" ? fault.ms : 0)));
  };
  expect(slowest(1)).toBeGreaterThan(100_000);
  expect(slowest(0.001)).toBeLessThan(178);
  const healthy = makeProfile({
    servers: 40,
    tools: 300,
    outcomes: "healthy",
    maxStdio: 0,
    conformance: true,
  });
  expect(healthy.servers.flatMap(({ tools }) => tools).length).toBe(300);
  expect(healthy.servers.map(({ name }) => name)[0]).toBe("conformance");
  expect(countBy(healthy.servers.slice(1), ({ faults = [] }) => faults[0]?.kind ?? "none")).toEqual({
    slow_start: 40,
  });
});

test("makeRealisticConfig() comes to 139 KB and holds what real files hold, without a fault", () => {
  const text = makeRealisticConfig();
  expect(Math.abs(text.length / 139_000 - 1)).toBeLessThan(0.1);
  const { mcpServers } = JSON.parse(text) as { readonly mcpServers: readonly Record<string, unknown>[] };
  expect(mcpServers.length).toBe(SERVERS);
  expect(mcpServers.filter((entry) => entry["args"] === null).length).toBeGreaterThan(0);
  expect(mcpServers.filter((entry) => entry["protocol"] === "").length).toBeGreaterThan(0);
  expect(
    mcpServers.filter((entry) => JSON.stringify(entry["args"])?.includes("initialize")).length,
  ).toBeGreaterThan(0);
  expect(mcpServers.filter((entry) => entry["command"] === "npx").length).toBe(112);
  const config = parseConfig(text, { path: "/etc/m/c.json", home: "/home/u" });
  expect([config.faults, config.findings, config.servers.length]).toEqual([[], [], SERVERS]);
  const profile = makeProfile({ servers: SERVERS });
  expect(config.servers.map(({ name }) => name)).toEqual(profile.servers.map(({ name }) => name));
});
