/**
 * The one path of a change: what is looked at only, what is refused whole, what is tried first, and what an edit by hand
 * has to do with it.
 */
import { expect, test } from "bun:test";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JsonObject } from "../../src/core/model.ts";
import { createLog } from "../../src/lib/log.ts";
import { Proxy } from "../../src/proxy.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { serveHttp } from "../fixtures/http_server.ts";
import { STDIO_SERVER } from "../fixtures/upstreams.ts";
import { failureOf, processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { API_KEY, openGateway, serveTools, settle } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

const FILE = `{
  // Kept by every change.
  "x_unknown": [1, 2],
  "tools_limit": 15,
  "mcpServers": [
    { "name": "a", "url": "http://127.0.0.1:9/a", "startup_mode": "disabled" },
    { "name": "b", "url": "http://127.0.0.1:9/b", "startup_mode": "disabled", "x_own": true },
  ],
}
`;

/** All that a change could leave behind. */
function stateOf(gateway: Gateway) {
  const { path, configuration, commit, upstreams, store } = gateway;
  const { ino, mtimeNs } = statSync(path, { bigint: true });
  return {
    text: readFileSync(path, "utf8"),
    file: [ino, mtimeNs],
    revision: configuration.revision,
    hash: commit.hash,
    modes: upstreams.list().map(({ server: { name }, mode }) => [name, mode]),
    memory: ["a", "b"].map((name) => store.findServer(name)),
    kept: gateway.history.list().length,
  };
}

const byPerson = { isByPerson: true } as const;

test("Configuration.change() as a dry run tells the difference and what restarts, and changes nothing", async () => {
  verifies("CONFIG-PLAN-DRY");
  await using gateway = await openGateway([], { file: FILE });
  const before = stateOf(gateway);
  const { plan, revision } = await gateway.configuration.change({
    ...byPerson,
    isDryRun: true,
    operations: [
      { op: "patch", name: "a", patch: { url: "http://127.0.0.1:9/other" }, approve: true },
      { op: "rename", name: "b", to: "c" },
      { op: "settings", patch: { tools_limit: 3, listen: "127.0.0.1:9999" } },
      { op: "add", server: { name: "d", command: "true" } },
    ],
  });
  expect(revision).toBe(before.revision);
  expect(plan.difference).toMatchObject({
    restarted: [{ name: "a" }],
    renamed: [{ from: "b", to: "c" }],
    added: [{ name: "d" }],
    settings: ["tools_limit", "listen"],
    restartRequired: ["listen"],
  });
  expect(stateOf(gateway)).toEqual(before);
  expect(gateway.events).toEqual([]);
  expect(gateway.configuration.settings.toolsLimit).toBe(15);
});

test("Configuration.change() touches the bytes it has to, and tells all of it under one revision, the commit last", async () => {
  await using gateway = await openGateway([], { file: FILE });
  const { revision: first } = gateway.configuration;
  const { revision } = await gateway.configuration.change({
    ...byPerson,
    operations: [
      { op: "make_lazy", name: "b" },
      { op: "settings", patch: { tools_limit: 16 } },
    ],
  });
  expect(revision).toBe(first + 1);
  const expected = FILE.replace('"disabled", "x_own"', '"lazy_loading", "x_own"').replace("15", "16");
  expect(readFileSync(gateway.path, "utf8")).toBe(expected);
  const ofCommit = gateway.events.filter((event) => event.revision === revision);
  expect(ofCommit.map(({ type }) => type)).toContain("server_state_changed");
  expect(ofCommit.at(-1)).toMatchObject({
    type: "config_committed",
    data: { changed: ["b"], settings: ["tools_limit"], restartRequired: [] },
  });
});

test("Configuration.change() for another revision is a conflict with both revisions, and changes nothing", async () => {
  verifies("CONFIG-CONFLICT");
  await using gateway = await openGateway([], { file: FILE });
  const { configuration } = gateway;
  const old = configuration.revision;
  const change = (revision: number) =>
    configuration.change({ ...byPerson, revision, operations: [{ op: "make_lazy", name: "a" }] });
  await configuration.change({ ...byPerson, operations: [{ op: "make_lazy", name: "b" }] });
  const before = stateOf(gateway);
  expect(await failureOf(() => change(old))).toMatchObject({
    code: "CONFIG_CONFLICT",
    data: { expected: old, actual: old + 1 },
  });
  expect(stateOf(gateway)).toEqual(before);
  expect((await change(old + 1)).revision).toBe(old + 2);
});

test("Configuration.change() for a revision conflicts with an edit nobody noticed yet, and the edit is in force", async () => {
  verifies("CONFIG-CONFLICT");
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path } = gateway;
  const { revision } = configuration;
  const edited = FILE.replace('"tools_limit": 15', '"tools_limit": 7');
  writeFileSync(path, edited);
  const operations = [{ op: "make_lazy", name: "a" } as const];
  const failure = await failureOf(() => configuration.change({ ...byPerson, revision, operations }));
  expect(failure).toMatchObject({
    code: "CONFIG_CONFLICT",
    data: { expected: revision, actual: revision + 1 },
  });
  expect([configuration.settings.toolsLimit, readFileSync(path, "utf8")]).toEqual([7, edited]);
});

test("Configuration.change() takes an edit by hand first, so that neither is lost", async () => {
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path, events } = gateway;
  writeFileSync(path, FILE.replace("// Kept", "// By hand. Kept").replace("15", "7"));
  const { revision } = await configuration.change({
    ...byPerson,
    operations: [{ op: "make_lazy", name: "a" }],
  });
  const text = readFileSync(path, "utf8");
  expect(text).toContain("// By hand. Kept");
  expect(text).toContain('"/a", "startup_mode": "lazy_loading"'.slice(5));
  expect(configuration.settings.toolsLimit).toBe(7);
  const told = events.filter(({ type }) => type.startsWith("config_"));
  expect(told.map(({ type, revision: of }) => [type, of])).toEqual([
    ["config_reloaded", revision - 1],
    ["config_committed", revision],
  ]);
});

test("Configuration.change() makes twenty changes at once one after the other, none lost", async () => {
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path } = gateway;
  const { revision: first } = configuration;
  const add = (at: number) =>
    configuration.change({
      ...byPerson,
      operations: [{ op: "add", server: { name: `n${at}`, command: "true", enabled: false } }],
    });
  const done = await Promise.all(Array.from({ length: 20 }, (_, at) => add(at)));
  expect(done.map(({ revision }) => revision)).toEqual(done.map((_, at) => first + 1 + at));
  const { servers } = LoadedConfig.parse(readFileSync(path, "utf8"), { path }).config;
  expect(servers).toHaveLength(22);
});

test("Configuration.change() is refused whole at the first refusal, and done in part only when it is lenient", async () => {
  await using gateway = await openGateway([], { file: FILE });
  const { configuration } = gateway;
  const before = stateOf(gateway);
  const operations = [
    { op: "make_lazy", name: "a" },
    { op: "remove", name: "nobody" },
    { op: "patch", name: "b", patch: { url: 5 } },
    { op: "settings", patch: { tools_limit: -5 } },
  ] as const;
  for (const [at, code] of [
    [1, "SERVER_UNKNOWN"],
    [2, "CONFIG_INVALID"],
    [3, "CONFIG_INVALID"],
  ] as const) {
    const asked = [operations[0], operations[at]];
    const failure = await failureOf(() => configuration.change({ ...byPerson, operations: asked }));
    expect(failure["code"]).toBe(code);
    if (code === "CONFIG_INVALID") {
      expect(failure["data"]).toMatchObject({ faults: [{ key: expect.any(String) as string }] });
    }
  }
  expect(stateOf(gateway)).toEqual(before);
  expect(gateway.events).toEqual([]);
  const { plan } = await configuration.change({ ...byPerson, operations, isLenient: true });
  expect(plan.updated).toEqual(["a"]);
  expect(plan.refused.map(({ server, code }) => [server, code])).toEqual([
    ["nobody", "SERVER_UNKNOWN"],
    ["b", "CONFIG_INVALID"],
    ["settings", "CONFIG_INVALID"],
  ]);
});

test("Configuration.change() to be verified: one of three fails, and neither file nor process tells of it", async () => {
  verifies("CONFIG-VERIFY");
  await using good = serveTools([makeDefinition("one")]);
  await using gateway = await openGateway([], { file: FILE });
  const journal = join(gateway.path, "../journal");
  const before = stateOf(gateway);
  const add = (server: JsonObject) => ({ op: "add", server, approve: true }) as const;
  const stdio = { command: process.execPath, args: [STDIO_SERVER, "--journal", journal] };
  const failure = await failureOf(() =>
    gateway.configuration.change({
      ...byPerson,
      verify: true,
      operations: [
        add({ name: "good", url: good.url }),
        add({ name: "process", ...stdio }),
        add({
          name: "bad",
          command: process.execPath,
          args: ["-e", "console.error('no license');process.exit(3)"],
        }),
      ],
    }),
  );
  expect(failure).toMatchObject({
    code: "VERIFY_FAILED",
    data: { server: "bad", class: "exit", stderr: ["no license"] },
  });
  expect(processesWith(journal)).toEqual([]);
  expect(stateOf(gateway)).toEqual(before);
  expect(gateway.events).toEqual([]);
  expect(gateway.upstreams.list()).toHaveLength(2);
});

test("Configuration.change() to be verified commits what connected, and then starts it", async () => {
  verifies("CONFIG-VERIFY");
  await using good = serveTools([makeDefinition("one")]);
  await using gateway = await openGateway([], { file: FILE });
  await settle(gateway);
  const { revision } = gateway.configuration;
  const operations = [
    { op: "add", server: { name: "good", url: good.url }, approve: true },
    { op: "patch", name: "a", patch: { url: `${good.url}?a` }, approve: true },
  ] as const;
  const done = await gateway.configuration.change({ ...byPerson, verify: true, operations });
  expect(done.revision).toBe(revision + 1);
  // `a` is disabled: it was tried all the same, since it was changed.
  expect(good.count("initialize")).toBe(2);
  await waitFor("it is connected", () => gateway.upstreams.find("good")?.connection === "ready");
  expect(good.count("initialize")).toBe(3);
});

test("Configuration.change() to be verified holds up no other change, and is planned anew after it", async () => {
  verifies("CONFIG-VERIFY");
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  await using slow = serveTools([makeDefinition("one")], { held });
  await using gateway = await openGateway([], { file: FILE });
  const { configuration } = gateway;
  const { revision } = configuration;
  const operations = [{ op: "add", server: { name: "slow", url: slow.url }, approve: true }] as const;
  const verified = configuration.change({ ...byPerson, verify: true, operations });
  await waitFor("the trial is under way", () => slow.count("initialize") === 1);
  const other = await configuration.change({ ...byPerson, operations: [{ op: "quarantine", name: "b" }] });
  expect(other.revision).toBe(revision + 1);
  release();
  expect((await verified).revision).toBe(revision + 2);
  expect(configuration.config.servers.map(({ name, startupMode }) => [name, startupMode])).toEqual([
    ["a", "disabled"],
    ["b", "quarantined"],
    ["slow", "active"],
  ]);
});

test("Configuration.close() ends a trial that is under way, and nothing was changed", async () => {
  verifies("CONFIG-VERIFY");
  await using slow = serveTools([], { held: new Promise(() => {}) });
  await using gateway = await openGateway([], { file: FILE });
  const before = stateOf(gateway);
  const operations = [{ op: "add", server: { name: "slow", url: slow.url }, approve: true }] as const;
  const ended = failureOf(() => gateway.configuration.change({ ...byPerson, verify: true, operations }));
  await waitFor("the trial is under way", () => slow.count("initialize") === 1);
  await gateway.configuration.close();
  expect((await ended)["code"]).toBe("CALL_CANCELLED");
  expect(stateOf(gateway)).toEqual(before);
});

test("Configuration.reload() keeps the last good text over one that is wrong, says so once, and takes it mended", async () => {
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path, events } = gateway;
  const { revision } = configuration;
  const broken = FILE.replace('"tools_limit": 15', '"tools_limit": "many"');
  writeFileSync(path, broken);
  await configuration.reload();
  await configuration.reload();
  const invalid = events.filter(({ type }) => type === "config_invalid");
  expect(invalid).toMatchObject([{ data: { faults: [{ key: "tools_limit", line: 4 }] } }]);
  expect([configuration.revision, configuration.settings.toolsLimit]).toEqual([revision, 15]);
  // A plan would write over what the person has yet to mend.
  const operations = [{ op: "make_lazy", name: "a" } as const];
  const failure = await failureOf(() => configuration.change({ ...byPerson, operations }));
  expect(failure["code"]).toBe("CONFIG_INVALID");
  expect(readFileSync(path, "utf8")).toBe(broken);
  writeFileSync(path, FILE.replace("15", "8"));
  await configuration.reload();
  expect([configuration.revision, configuration.settings.toolsLimit]).toEqual([revision + 1, 8]);
  await configuration.reload();
  expect(configuration.revision).toBe(revision + 1);
});

test("Configuration.change() writes a file that was deleted anew, with what was in force", async () => {
  await using gateway = await openGateway([], { file: FILE });
  rmSync(gateway.path);
  await gateway.configuration.change({ ...byPerson, operations: [{ op: "make_lazy", name: "a" }] });
  expect(readFileSync(gateway.path, "utf8")).toBe(FILE.replace("disabled", "lazy_loading"));
});

test("Configuration.rollback() takes an unnoticed edit first, keeps it, and can itself be taken back", async () => {
  verifies("CONFIG-ROLLBACK");
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path, history, events } = gateway;
  await configuration.change({ ...byPerson, operations: [{ op: "make_lazy", name: "a" }] });
  const byHand = readFileSync(path, "utf8").replace("15", "9");
  writeFileSync(path, byHand);
  const [first] = history.list();
  const back = await configuration.rollback(history.read(first?.id ?? ""), {
    summary: "back",
    approve: false,
  });
  expect(readFileSync(path, "utf8")).toBe(FILE);
  expect([configuration.settings.toolsLimit, configuration.revision]).toEqual([15, back.revision]);
  expect(events.at(-1)).toMatchObject({ type: "config_committed", revision: back.revision });
  const [newest] = history.list();
  expect(history.read(newest?.id ?? "")).toBe(byHand);
  expect(gateway.upstreams.find("a")?.mode).toBe("disabled");
});

test.each([
  ["a comma is missing", (text: string) => text.replace("15,", "15")],
  ["it is no UTF-8", () => new Uint8Array([0x7b, 0xff, 0x7d])],
])("Configuration.rollback() replaces a file that cannot be used and keeps it: %s", async (_, spoil) => {
  verifies("CONFIG-ROLLBACK");
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path, history } = gateway;
  await configuration.change({ ...byPerson, operations: [{ op: "make_lazy", name: "a" }] });
  const good = readFileSync(path, "utf8");
  const [first] = history.list();
  const back = () =>
    configuration.rollback(history.read(first?.id ?? ""), { summary: "back", approve: false });
  writeFileSync(path, good.replace("{", '{ "read_only_mode": true,'));
  await configuration.reload();
  const broken = Buffer.from(spoil(readFileSync(path, "utf8")));
  writeFileSync(path, broken);
  await configuration.reload();
  expect(configuration.trouble).toBeString();
  // What is refused displaces nothing.
  expect(await failureOf(back)).toMatchObject({ code: "MANAGEMENT_REFUSED" });
  expect(readFileSync(path)).toEqual(broken);
  writeFileSync(path, good);
  await configuration.reload();
  writeFileSync(path, broken);
  const { warning } = await back();
  expect([readFileSync(path, "utf8"), configuration.trouble]).toEqual([FILE, undefined]);
  const kept = /'(.*conflict-.*)'/.exec(warning ?? "")?.[1] ?? "";
  expect(readFileSync(kept)).toEqual(broken);
  // The text that was in force is a revision, the broken one never was.
  expect(history.read(history.list()[0]?.id ?? "")).toBe(good);
  await configuration.reload();
  expect([configuration.trouble, configuration.revision]).toEqual([undefined, gateway.commit.revision]);
});

test("Configuration.restartRequired compares with the start: what is taken back waits for nothing", async () => {
  await using gateway = await openGateway([], { file: FILE });
  const { configuration, path, events } = gateway;
  const moved = FILE.replace("{", '{ "listen": "127.0.0.1:1", "logging": { "level": "warn" },');
  const edit = async (text: string): Promise<unknown> => {
    writeFileSync(path, text);
    await configuration.reload();
    return events.findLast(({ type }) => type === "config_reloaded")?.data;
  };
  const both = ["listen", "logging"];
  expect(await edit(moved)).toMatchObject({ settings: both, restartRequired: both });
  expect(configuration.restartRequired).toEqual(both);
  const patch = { logging: null, tools_limit: 3 };
  const { plan } = await configuration.change({ ...byPerson, operations: [{ op: "settings", patch }] });
  expect(plan.difference).toMatchObject({ settings: ["logging", "tools_limit"], restartRequired: [] });
  expect(configuration.restartRequired).toEqual(["listen"]);
  expect(await edit(FILE)).toMatchObject({ settings: ["listen", "tools_limit"], restartRequired: [] });
  expect(configuration.restartRequired).toEqual([]);
});

test("Configuration.rollback() frees nothing from quarantine, also when the old text knew of none", async () => {
  verifies("CONFIG-ROLLBACK", "APPROVAL-GATE");
  await using upstream = serveTools([makeDefinition("one")]);
  const file = JSON.stringify({ mcpServers: [{ name: "a", url: upstream.url }] });
  await using gateway = await openGateway([], { file });
  await settle(gateway);
  await gateway.configuration.change({ ...byPerson, operations: [{ op: "quarantine", name: "a" }] });
  expect(readFileSync(gateway.path, "utf8")).not.toBe(file);
  await gateway.configuration.rollback(file, { summary: "back", approve: true });
  expect(readFileSync(gateway.path, "utf8")).toBe(file);
  expect(gateway.upstreams.find("a")).toMatchObject({ mode: "quarantined", connection: "disconnected" });
  await gateway.configuration.change({ ...byPerson, operations: [{ op: "approve", name: "a" }] });
  await waitFor("it is connected", () => gateway.upstreams.find("a")?.connection === "ready");
});

test("Configuration.rollback() keeps a quarantine that only the file knew of", async () => {
  verifies("CONFIG-ROLLBACK", "APPROVAL-GATE");
  await using upstream = serveTools([makeDefinition("one")]);
  const file = JSON.stringify({ mcpServers: [{ name: "a", url: upstream.url, enabled: true }] });
  await using gateway = await openGateway([], { file });
  await settle(gateway);
  writeFileSync(gateway.path, file.replace('"enabled":true', '"quarantined":true'));
  await gateway.configuration.reload();
  expect(gateway.upstreams.find("a")?.mode).toBe("quarantined");
  await gateway.configuration.rollback(file, { summary: "back", approve: false });
  expect(readFileSync(gateway.path, "utf8")).toBe(file);
  expect(gateway.upstreams.find("a")).toMatchObject({ mode: "quarantined", connection: "disconnected" });
  expect(upstream.count("initialize")).toBe(1);
});

/** Servers that refuse at once or a little later, and are auto-disabled by it. */
function failing(count: number, settings: Record<string, unknown>, lateUrl?: string): string {
  const mcpServers = Array.from({ length: count }, (_, at) => ({
    name: `s${at}`,
    url: at % 2 === 0 || lateUrl === undefined ? "http://127.0.0.1:9/mcp" : lateUrl,
  }));
  return JSON.stringify({ auto_disable_threshold: 1, ...settings, mcpServers });
}

async function untilAllOff(gateway: Gateway): Promise<void> {
  gateway.upstreams.start();
  const isOff = () => gateway.upstreams.list().every(({ mode }) => mode === "auto_disabled");
  await waitFor("all are auto-disabled", isOff);
}

test("auto-disable of 88 servers writes the file never, unless it says so", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using gateway = await openGateway([], { file: failing(88, {}) });
  const { text, file, revision } = stateOf(gateway);
  await untilAllOff(gateway);
  // So long the ones that are written wait for others.
  const startedAt = performance.now();
  await waitFor("it would have been written", () => performance.now() - startedAt > 400);
  expect(stateOf(gateway)).toMatchObject({ text, file, revision });
});

test("auto-disable with persist_auto_disable_to_config writes the file once, for all together", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using late = serveHttp({ kind: "status", status: 500, delayMs: 20 });
  const file = failing(8, { persist_auto_disable_to_config: true }, late.url);
  await using gateway = await openGateway([], { file });
  const { revision } = gateway.configuration;
  await untilAllOff(gateway);
  await waitFor("it is written", () => gateway.configuration.revision > revision);
  expect(gateway.configuration.revision).toBe(revision + 1);
  const written = JSON.parse(readFileSync(gateway.path, "utf8")) as {
    mcpServers: { startup_mode: string }[];
  };
  expect(written.mcpServers.map(({ startup_mode: mode }) => mode)).toEqual(
    Array.from({ length: 8 }, () => "auto_disabled"),
  );
  expect(gateway.events.filter(({ type }) => type === "config_committed")).toHaveLength(1);
  // What stands in the file came from the database: nothing moves again.
  expect(gateway.events.filter((event) => event.type === "server_state_changed" && event.revision)).toEqual(
    [],
  );
});

/** Two servers, one of them lazy, that were auto-disabled, and so written. */
async function openPersisted(url: string, recoverAfter = "700ms") {
  const servers = { a: { url }, l: { url, startup_mode: "lazy_loading" } };
  const supervision = { recover_after: recoverAfter };
  const settings = { auto_disable_threshold: 1, persist_auto_disable_to_config: true, supervision };
  const gateway = await openGateway([], { file: JSON.stringify({ ...settings, mcpServers: servers }) });
  await untilAllOff(gateway);
  await waitFor("both are written", () =>
    Object.values(modesInFile(gateway)).every((it) => it === "auto_disabled"),
  );
  return gateway;
}

function modesInFile({ path }: Gateway): Record<string, string> {
  const { mcpServers } = JSON.parse(readFileSync(path, "utf8")) as {
    mcpServers: Record<string, { startup_mode?: string }>;
  };
  return Object.fromEntries(Object.entries(mcpServers).map(([name, it]) => [name, it.startup_mode ?? ""]));
}

const AS_BEFORE = { a: "active", l: "lazy_loading" };

async function untilAllBack({ upstreams }: Gateway): Promise<void> {
  await waitFor("all are back", () => upstreams.list().every(({ mode }) => mode !== "auto_disabled"));
}

test("recovery with persist_auto_disable_to_config is written, lazy as lazy", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using upstream = serveHttp({ kind: "status", status: 500 });
  await using gateway = await openPersisted(upstream.url);
  upstream.become("streamable");
  await waitFor("both are as before", () => Bun.deepEquals(modesInFile(gateway), AS_BEFORE));
  expect(gateway.upstreams.list().map(({ mode }) => mode)).toEqual(["active", "lazy_loading"]);
});

test("recovery with persist_auto_disable_to_config undoes nothing that a person does in that moment", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using upstream = serveHttp({ kind: "status", status: 500 });
  await using gateway = await openPersisted(upstream.url);
  upstream.become("streamable");
  await untilAllBack(gateway);
  const { revision } = await gateway.configuration.change({
    ...byPerson,
    operations: [
      { op: "disable", name: "a" },
      { op: "rename", name: "l", to: "m" },
    ],
  });
  await waitFor("the other is written", () => modesInFile(gateway)["m"] === "lazy_loading");
  expect(modesInFile(gateway)).toEqual({ a: "disabled", m: "lazy_loading" });
  expect(gateway.configuration.revision).toBe(revision + 1);
  expect(gateway.upstreams.find("a")?.mode).toBe("disabled");
});

test("recovery with persist_auto_disable_to_config is written once a broken file is mended", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using upstream = serveHttp({ kind: "status", status: 500 });
  await using gateway = await openPersisted(upstream.url);
  const text = readFileSync(gateway.path, "utf8");
  writeFileSync(gateway.path, text.slice(0, -20));
  await gateway.configuration.reload();
  upstream.become("streamable");
  await untilAllBack(gateway);
  await waitFor("it could not be written", () => gateway.lines.some((line) => line.includes("Cannot write")));
  writeFileSync(gateway.path, text);
  await gateway.configuration.reload();
  await waitFor("both are as before", () => Bun.deepEquals(modesInFile(gateway), AS_BEFORE));
});

test("recovery with persist_auto_disable_to_config is written before the end, and only while that is set", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  for (const isSet of [true, false]) {
    await using upstream = serveHttp({ kind: "status", status: 500 });
    await using gateway = await openPersisted(upstream.url);
    upstream.become("streamable");
    await untilAllBack(gateway);
    if (!isSet) {
      const operations = [{ op: "settings", patch: { persist_auto_disable_to_config: false } } as const];
      await gateway.configuration.change({ ...byPerson, operations });
    }
    await gateway.configuration.close();
    const off = { a: "auto_disabled", l: "auto_disabled" };
    expect(modesInFile(gateway)).toEqual(isSet ? AS_BEFORE : off);
  }
});

test("an auto-disable of the file is nobody's storm: a suspension leaves it", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using upstream = serveTools([makeDefinition("one")]);
  const names = Array.from({ length: 6 }, (_, at) => `s${at}`);
  const mcpServers = Object.fromEntries(names.map((name) => [name, { url: upstream.url }]));
  const off = { url: upstream.url, startup_mode: "auto_disabled" };
  const settings = { persist_auto_disable_to_config: true, health_check_interval: "100ms" };
  const file = JSON.stringify({ ...settings, mcpServers: { ...mcpServers, off } });
  await using gateway = await openGateway([], { file });
  await settle(gateway);
  await upstream[Symbol.asyncDispose]();
  await waitFor("it is suspended", () =>
    gateway.events.some(({ type }) => type === "auto_disable_suspended"),
  );
  expect(gateway.upstreams.find("off")?.mode).toBe("auto_disabled");
});

test("an edit by hand of what an auto-disabled server starts frees it, in the file as well", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  await using upstream = serveHttp({ kind: "status", status: 500 });
  await using gateway = await openPersisted(upstream.url, "10m");
  upstream.become("streamable");
  writeFileSync(gateway.path, readFileSync(gateway.path, "utf8").replaceAll("/mcp", "/other"));
  await gateway.configuration.reload();
  await waitFor("both are as before", () => Bun.deepEquals(modesInFile(gateway), AS_BEFORE));
  expect(gateway.upstreams.list().map(({ mode }) => mode)).toEqual(["active", "lazy_loading"]);
});

test("Proxy.open() starts with the file as it is then, also when it was saved since it was read", async () => {
  await using upstream = serveTools([makeDefinition("one")]);
  using folder = tempDir();
  const path = join(folder.path, "mcp_config.json");
  const textOf = (name: string) =>
    JSON.stringify({ api_key: API_KEY, mcpServers: [{ name, url: upstream.url }] });
  writeFileSync(path, textOf("old"));
  const overrides = { listen: "127.0.0.1:0", dataDir: join(folder.path, "data") };
  const options = { path, env: {}, cwd: folder.path, home: folder.path, overrides };
  const loaded = await LoadedConfig.read(options);
  writeFileSync(path, textOf("new"));
  await using proxy = await Proxy.open({
    loaded,
    env: {},
    log: createLog({ level: "error", write: () => {} }),
  });
  await waitFor("the new one is connected", async () => {
    const response = await fetch(`${proxy.url}/api/v1/servers`, { headers: { "x-api-key": API_KEY } });
    return /"name":"new".*"status":"ready"/.test(await response.text());
  });
});
