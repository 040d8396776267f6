/**
 * Batches: many servers as one change, who is in which group, and what is said of those that were refused.
 */
import { expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { ProxyError } from "../../src/core/errors.ts";
import type { EventType, ProxyEvent } from "../../src/core/events.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

const COUNT = 159;
const MISSING = Array.from({ length: 7 }, (_, at) => `missing-${at}`);
const HELD = Array.from({ length: 4 }, (_, at) => `held-${at}`);

interface Raw {
  readonly name: string;
  readonly url?: string;
  readonly command?: string;
  readonly startup_mode?: string;
  readonly groups?: readonly (string | number)[];
}

function fileOf(servers: readonly Raw[], groups: readonly Record<string, unknown>[] = []): string {
  const entries = servers.map((server) => ({ url: "http://127.0.0.1:9/mcp", ...server }));
  return `${JSON.stringify({ groups, mcpServers: entries }, null, 2)}\n`;
}

/** 159 servers of one group, and four that are quarantined. */
function production(mode: string): string {
  const servers = Array.from({ length: COUNT }, (_, at) => ({
    name: `s${at}`,
    startup_mode: mode,
    groups: ["All"],
  }));
  const held = HELD.map((name) => ({ name, startup_mode: "quarantined", groups: ["All"] }));
  return fileOf([...servers, ...held], [{ id: 3, name: "All" }]);
}

function typesOf(events: readonly ProxyEvent[]): Partial<Record<EventType, number>> {
  const counts: Partial<Record<EventType, number>> = {};
  for (const { type } of events) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}

/** Moves of the mode; those of the connection are counted apart. */
function modeMoves(events: readonly ProxyEvent[]) {
  return events.filter(
    (event) => event.type === "server_state_changed" && event.data.before.mode !== event.data.after.mode,
  );
}

function modesInFile({ path }: Gateway): Map<string, string> {
  const { mcpServers } = JSON.parse(readFileSync(path, "utf8")) as {
    mcpServers: { name: string; startup_mode: string }[];
  };
  return new Map(mcpServers.map(({ name, startup_mode: mode }) => [name, mode]));
}

test.each([
  ["enable", "disabled", "active"],
  ["disable", "lazy_loading", "disabled"],
] as const)(
  "Batches.run() %s of 159 servers is one revision, one write, 159 events of modes, one of the group and one of the commit",
  async (action, from, to) => {
    verifies("BATCH-ONE-CHANGE", "BATCH-NAMES-FAILED");
    await using gateway = await openGateway([], { file: production(from) });
    const { configuration, batches, events, path } = gateway;
    const { revision } = configuration;
    const { ino } = statSync(path);
    const names = [...configuration.config.servers.map(({ name }) => name), ...MISSING];
    const answer = await batches.run({ action, selection: { names } });
    expect(answer).toMatchObject({
      success: true,
      updated: COUNT,
      unchanged: 0,
      partial_failure: true,
    });
    expect(answer.failed_servers.map(({ server, code }) => [server, code])).toEqual([
      ...HELD.map((name) => [name, "QUARANTINED"]),
      ...MISSING.map((name) => [name, "SERVER_UNKNOWN"]),
    ]);
    expect(configuration.revision).toBe(revision + 1);
    expect(statSync(path).ino).not.toBe(ino);
    const modes = modesInFile(gateway);
    expect([...modes.values()].filter((mode) => mode === to)).toHaveLength(COUNT);
    expect(HELD.map((name) => modes.get(name))).toEqual(HELD.map(() => "quarantined"));

    const ofBatch = events.filter((event) => event.revision === revision + 1);
    expect(modeMoves(ofBatch)).toHaveLength(COUNT);
    const { server_state_changed: _, ...others } = typesOf(ofBatch);
    expect(others).toEqual({ server_group_updated: 1, config_committed: 1 });
    const group = ofBatch.find(({ type }) => type === "server_group_updated");
    expect(group?.data).toEqual({ action, name: "", updated: COUNT, unchanged: 0, failed: 11 });
    expect(new Set(modeMoves(events).map((event) => event.server)).size).toBe(COUNT);
    // None without the revision: the upstreams were not started, so nothing else moved.
    expect(events.filter((event) => event.revision === undefined)).toEqual([]);
  },
);

test("Batches.run() tells of connections apart from modes while 159 servers are connecting", async () => {
  verifies("BATCH-ONE-CHANGE");
  await using gateway = await openGateway([], { file: production("active") });
  const { configuration, batches, events, upstreams } = gateway;
  await settle(gateway);
  for (const { server } of upstreams.list().slice(0, 30)) upstreams.find(server.name)?.connect();
  const { revision } = configuration;
  const told = events.length;
  await batches.run({ action: "disable", selection: { group: "All" } });
  const ofBatch = events.slice(told);
  expect(modeMoves(ofBatch)).toHaveLength(COUNT);
  expect(ofBatch.length).toBeGreaterThan(COUNT + 2);
  expect(new Set(ofBatch.map((event) => event.revision))).toEqual(new Set([revision + 1]));
  expect(ofBatch.at(-1)?.type).toBe("config_committed");
  expect(upstreams.list().every(({ connection }) => connection === "disconnected")).toBe(true);
});

test("Batches.run() of a group names it in its event, and does nothing twice", async () => {
  verifies("BATCH-ONE-CHANGE");
  await using gateway = await openGateway([], { file: production("active") });
  const { configuration, batches, events } = gateway;
  const { revision } = configuration;
  const first = await batches.run({ action: "disable", selection: { group: "all" } });
  expect(first).toMatchObject({ updated: COUNT, unchanged: 0 });
  expect(first.failed_servers).toHaveLength(HELD.length);
  expect(events.filter(({ type }) => type === "server_group_updated")).toMatchObject([
    { group: 3, revision: revision + 1, data: { action: "disable", name: "All", updated: COUNT, failed: 4 } },
  ]);
  const told = events.length;
  const again = await batches.run({ action: "disable", selection: { group: 3 } });
  expect(again).toMatchObject({ success: true, updated: 0, unchanged: COUNT });
  expect(configuration.revision).toBe(revision + 1);
  expect(typesOf(events.slice(told))).toEqual({ server_group_updated: 1 });
});

test("Batches.run() as a dry run answers as if, and changes and tells nothing", async () => {
  verifies("BATCH-ONE-CHANGE", "CONFIG-PLAN-DRY");
  await using gateway = await openGateway([], { file: production("active") });
  const { configuration, batches, events, path } = gateway;
  const [text, { revision }] = [readFileSync(path, "utf8"), configuration];
  for (const action of ["disable", "quarantine", "restart", "enable"] as const) {
    const answer = await batches.run({ action, selection: { group: 3 }, isDryRun: true });
    expect(answer.message).toStartWith("Would ");
  }
  expect([readFileSync(path, "utf8"), configuration.revision, events]).toEqual([text, revision, []]);
});

test("Batches.run() enable clears an auto-disable, frees nothing from quarantine, and names what it left", async () => {
  verifies("BATCH-NAMES-FAILED", "APPROVAL-GATE");
  await using good = serveTools([makeDefinition("one")]);
  const file = JSON.stringify({
    auto_disable_threshold: 1,
    groups: [{ id: 1, name: "All" }],
    mcpServers: [
      { name: "dead", url: "http://127.0.0.1:9/mcp", groups: [1] },
      { name: "held", url: good.url, startup_mode: "quarantined", groups: [1] },
      { name: "off", url: good.url, startup_mode: "disabled", groups: [1] },
      { name: "on", url: `${good.url}?on`, groups: [1] },
    ],
  });
  await using gateway = await openGateway([], { file });
  const { batches, upstreams, store } = gateway;
  await settle(gateway);
  const modeOf = (name: string) => upstreams.find(name)?.mode;
  await waitFor("it is auto-disabled", () => modeOf("dead") === "auto_disabled");
  const answer = await batches.run({ action: "enable", selection: { group: 1 } });
  expect(answer).toMatchObject({
    updated: 2,
    unchanged: 1,
    failed_servers: [
      { server: "held", code: "QUARANTINED", error: expect.stringContaining("held") as string },
    ],
  });
  expect(store.findServer("dead")?.autoDisabled).toBeUndefined();
  expect([modeOf("held"), modeOf("off"), modeOf("on")]).toEqual(["quarantined", "active", "active"]);
  await waitFor("what was off is connected", () => upstreams.find("off")?.connection === "ready");
  expect(upstreams.find("held")?.connection).toBe("disconnected");
});

test("Batches.run() restart closes and connects what may be started, names the rest, and writes nothing", async () => {
  verifies("BATCH-NAMES-FAILED");
  await using good = serveTools([makeDefinition("one")]);
  const file = JSON.stringify({
    mcpServers: [
      { name: "on", url: good.url },
      { name: "off", url: good.url, startup_mode: "disabled" },
      { name: "held", url: good.url, startup_mode: "quarantined" },
    ],
  });
  await using gateway = await openGateway([], { file });
  const { batches, configuration, events, upstreams } = gateway;
  await settle(gateway);
  const { revision } = configuration;
  const answer = await batches.run({
    action: "restart",
    selection: { names: ["on", "off", "held", "nobody"] },
  });
  expect(answer).toMatchObject({ updated: 1, unchanged: 0, partial_failure: true });
  expect(answer.failed_servers.map(({ server, code }) => [server, code])).toEqual([
    ["off", "SERVER_OFF"],
    ["held", "QUARANTINED"],
    ["nobody", "SERVER_UNKNOWN"],
  ]);
  await waitFor("it is connected again", () => upstreams.find("on")?.connection === "ready");
  expect(good.count("initialize")).toBe(2);
  expect(configuration.revision).toBe(revision);
  expect(events.filter(({ type }) => type === "server_group_updated")).toHaveLength(1);
});

test("Batches.run() with a group or a selection that is not there changes nothing", async () => {
  verifies("BATCH-NAMES-FAILED");
  await using gateway = await openGateway([], { file: production("active") });
  const { batches, configuration, events } = gateway;
  const { revision } = configuration;
  for (const [selection, code] of [
    [{ group: "nowhere" }, "GROUP_UNKNOWN"],
    [{}, "USAGE"],
    [{ filter: {} }, "USAGE"],
  ] as const) {
    const failure = await failureOf(() => batches.run({ action: "disable", selection }));
    expect(failure).toBeInstanceOf(ProxyError);
    expect(failure["code"]).toBe(code);
  }
  const none = await batches.run({ action: "disable", selection: { names: [] } });
  expect(none).toMatchObject({ success: true, updated: 0 });
  const unknown = await batches.run({ action: "disable", selection: { names: MISSING } });
  expect(unknown).toMatchObject({ success: false, updated: 0 });
  expect(unknown.failed_servers).toHaveLength(MISSING.length);
  expect(configuration.revision).toBe(revision);
  expect(events.filter(({ type }) => type !== "server_group_updated")).toEqual([]);
});

/** 200 groups of five levels; each server in up to three of them, by id, name or slug. */
function hierarchy(random: () => number) {
  const pick = (below: number): number => Math.floor(random() * below);
  const groups = Array.from({ length: 200 }, (_, at) => ({
    id: at + 1,
    name: `Group No. ${at + 1}`,
    // Level by level, forty each.
    ...(at >= 40 ? { parent: Math.floor(at / 40) * 40 - 39 + pick(40) } : {}),
  }));
  const servers = Array.from({ length: COUNT }, (_, at) => ({
    name: `s${at}`,
    startup_mode: "disabled",
    groups: Array.from({ length: pick(4) }, () => {
      const id = 1 + pick(200);
      return [id, `Group No. ${id}`, `group-no-${id}`][pick(3)] ?? id;
    }),
  }));
  return { groups, servers };
}

test("groups of five levels hold and switch exactly what a plain walk says", async () => {
  verifies("GROUP-HIERARCHY");
  let seed = 7;
  const random = (): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed / 2_147_483_648;
  };
  const { groups, servers } = hierarchy(random);
  await using gateway = await openGateway([], { file: fileOf(servers, groups) });
  const { configuration, batches } = gateway;
  const idOf = (word: string | number): number => Number(/\d+$/.exec(String(word))?.[0]);
  const isBelow = (id: number, above: number): boolean => {
    for (let at: number | undefined = id; at !== undefined; at = groups[at - 1]?.parent)
      if (at === above) return true;
    return false;
  };
  const membersOf = (id: number): string[] =>
    servers.filter((server) => server.groups.some((word) => isBelow(idOf(word), id))).map(({ name }) => name);
  let most = 0;
  for (const { id, name } of groups) {
    const members = membersOf(id);
    most = Math.max(most, members.length);
    expect([id, configuration.groups.members(id)]).toEqual([id, members]);
    expect(configuration.groups.get(name)).toMatchObject({ id, totalCount: members.length });
  }
  expect(most).toBeGreaterThan(5);
  expect(Math.max(...configuration.groups.list().map(({ depth }) => depth))).toBe(4);

  const wanted = new Map(servers.map(({ name }) => [name, "disabled"]));
  for (const [id, action] of [
    [1, "enable"],
    [45, "enable"],
    [90, "disable"],
    [2, "disable"],
    [130, "enable"],
  ] as const) {
    const { updated, unchanged } = await batches.run({ action, selection: { group: id } });
    const members = membersOf(id);
    const mode = action === "enable" ? "active" : "disabled";
    const changed = members.filter((name) => wanted.get(name) !== mode);
    expect([updated, unchanged]).toEqual([changed.length, members.length - changed.length]);
    for (const name of members) wanted.set(name, mode);
  }
  expect(modesInFile(gateway)).toEqual(wanted);
});

test("a circle, a missing parent and a second group of a name are refused clearly, and nothing is changed", async () => {
  verifies("GROUP-HIERARCHY");
  const groups = [
    { id: 1, name: "Top" },
    { id: 2, name: "Middle", parent: "Top" },
    { id: 3, name: "Low", parent: 2 },
  ];
  await using gateway = await openGateway([], { file: fileOf([{ name: "s", groups: ["Low"] }], groups) });
  const { configuration, batches, events, path } = gateway;
  const [text, { revision }] = [readFileSync(path, "utf8"), configuration];
  const patch = (group: number, parent: string | number) => () =>
    batches.changeGroup("update", group, [{ op: "patch_group", group, patch: { parent } }]);
  const add = (group: { name: string; parent?: string }) => () =>
    batches.changeGroup("create", group.name, [{ op: "add_group", group }]);
  for (const [act, code, message] of [
    [patch(1, "Low"), "CONFIG_INVALID", /Top → Low → Middle → Top/],
    [patch(1, "Top"), "CONFIG_INVALID", /circle.*Top → Top/],
    [patch(3, "Middel"), "CONFIG_INVALID", /'Middel'.*not defined/],
    [add({ name: "New", parent: "nowhere" }), "CONFIG_INVALID", /'nowhere'.*not defined/],
    [add({ name: "Low" }), "GROUP_EXISTS", /Low/],
  ] as const) {
    const failure = await failureOf(act);
    expect(failure["code"]).toBe(code);
    expect(JSON.stringify([failure.message, failure["data"]])).toMatch(message);
  }
  expect([readFileSync(path, "utf8"), configuration.revision, events]).toEqual([text, revision, []]);
  expect(configuration.groups.members(1)).toEqual(["s"]);
});

test("Batches.changeGroup() renames with its words at the servers, and deletes by taking servers and groups out", async () => {
  verifies("GROUP-HIERARCHY");
  const groups = [
    { id: 1, name: "Top" },
    { id: 2, name: "Middle", parent: "Top" },
    { id: 3, name: "Low", parent: "Middle" },
  ];
  const servers = [
    { name: "a", startup_mode: "disabled", groups: ["Middle", "Top"] },
    { name: "b", startup_mode: "disabled", groups: [3] },
  ];
  await using gateway = await openGateway([], { file: fileOf(servers, groups) });
  const { batches, configuration, events } = gateway;
  const renamed = await batches.changeGroup("update", 2, [
    { op: "patch_group", group: 2, patch: { name: "Centre" } },
  ]);
  expect(renamed.plan.updated).toEqual(["a"]);
  expect(configuration.groups.members("centre")).toEqual(["a", "b"]);
  await batches.changeGroup("delete", 2, [{ op: "remove_group", group: 2 }]);
  expect(configuration.config.servers.map((server) => server.groups)).toEqual([["Top"], ["3"]]);
  expect(configuration.groups.get("Low")).toMatchObject({ parentId: 1, depth: 1 });
  expect(events.filter(({ type }) => type === "server_group_updated")).toMatchObject([
    { group: 2, data: { action: "update", name: "Middle" } },
    { group: 2, data: { action: "delete", name: "Centre", updated: 1 } },
  ]);
});
