/**
 * Each kind of edit by hand and what it comes to: modes, names, options, settings, and edits while no proxy ran.
 *
 * Owns the meaning of an edit; that a reload touches nothing else is in `reload_test.ts`. What a person writes into the
 * file is approved, also where the API had put it in quarantine.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { startMockHost } from "../../src/mock/http_host.ts";
import type { MockHost } from "../../src/mock/http_host.ts";
import { mock, tool } from "../fixtures/mocks.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import type { Answer } from "./harness.ts";
import { openFolder, openLive } from "./live_proxy.ts";
import type { LiveProxy } from "./live_proxy.ts";

const TEST_MS = 60_000;
const NAMES = ["a", "b", "c"];

type Entry = Record<string, unknown>;

function hostNames(): MockHost {
  const servers = NAMES.map((name) => mock({ name, tools: [tool(`${name}_echo`)] }));
  return startMockHost({ servers });
}

/** The file with the mocks, each with further keys. */
function textOf(host: MockHost, extra: Readonly<Record<string, Entry>> = {}, top: Entry = {}): string {
  const entries: Readonly<Record<string, Entry>> = { a: {}, b: {}, c: {}, ...extra };
  const mcpServers = Object.entries(entries).flatMap(([name, more]) =>
    more["gone"] === true ? [] : [{ ...host.definition(NAMES.includes(name) ? name : "a"), name, ...more }],
  );
  const quiet = { health_check_interval: "0s", tool_discovery_interval: "0s" };
  return `// Mine\n${JSON.stringify({ ...quiet, ...top, mcpServers }, null, 2)}\n`;
}

async function standing(live: LiveProxy, name: string): Promise<unknown[]> {
  const { startup_mode: mode, category } = await live.server(name);
  return [mode, category];
}

async function stands(live: LiveProxy, name: string, wanted: readonly [mode: string, category: string]) {
  await waitFor(
    `${name} is ${wanted.join(", ")}`,
    async () => Bun.deepEquals(await standing(live, name), [...wanted]),
    10_000,
  );
}

async function toolsOf(live: LiveProxy, server: string): Promise<string[]> {
  const { data } = await live.api(`/tools?server=${server}`);
  return (data["tools"] as readonly Answer[]).map(({ id }) => String(id));
}

async function found(live: LiveProxy, query: string): Promise<string[]> {
  const { data } = await live.api(`/index/search?q=${query}`);
  return (data["results"] as readonly { readonly tool: Answer }[]).map((hit) => String(hit.tool["id"]));
}

test(
  "a mode written by hand is in force, whichever it is, and from whichever",
  async () => {
    await using host = hostNames();
    using place = openFolder(textOf(host));
    await using live = await openLive(place);
    await live.ready(...NAMES);
    const steps: readonly (readonly [entry: Entry, mode: string, category: string])[] = [
      [{ startup_mode: "disabled" }, "disabled", "disabled"],
      [{ startup_mode: "active" }, "active", "connected"],
      [{ startup_mode: "lazy_loading" }, "lazy_loading", "connected"],
      [{ startup_mode: "disabled" }, "disabled", "disabled"],
      [{ startup_mode: "lazy_loading" }, "lazy_loading", "sleeping"],
      [{ startup_mode: "auto_disabled" }, "auto_disabled", "auto_disabled"],
      [{ startup_mode: "active" }, "active", "connected"],
      [{ startup_mode: "quarantined" }, "quarantined", "quarantined"],
      [{ startup_mode: "active" }, "active", "connected"],
      [{ startup_mode: "quarantined" }, "quarantined", "quarantined"],
      [{ startup_mode: "disabled" }, "disabled", "disabled"],
      [{}, "active", "connected"],
      [{ enabled: false }, "disabled", "disabled"],
      [{ enabled: true, quarantined: true }, "quarantined", "quarantined"],
      [{ enabled: true, auto_disabled: true }, "auto_disabled", "auto_disabled"],
      [{ start_on_boot: false }, "lazy_loading", "sleeping"],
      [{ enabled: true }, "active", "connected"],
    ];
    const others = ["b", "c"].map((name) => host.counters(name).starts);
    for (const [at, [entry, mode, category]] of steps.entries()) {
      const told = await live.reload(textOf(host, { a: entry }));
      expect([at, told.data.changed]).toEqual([at, ["a"]]);
      await stands(live, "a", [mode, category]);
      const isOn = mode === "active" || mode === "lazy_loading";
      expect([at, (await found(live, "a_echo")).includes("a:a_echo")]).toEqual([at, isOn]);
    }
    expect(["b", "c"].map((name) => host.counters(name).starts)).toEqual(others);
    const lifts = live.of("quarantine_changed", "a").map(({ data }) => data.isQuarantined);
    expect(lifts).toEqual([true, false, true, false, true, false]);
  },
  TEST_MS,
);

test(
  "a quarantine of the API is lifted by hand, and what stands there is approved",
  async () => {
    await using host = hostNames();
    using place = openFolder(textOf(host, { b: { gone: true }, c: { gone: true } }));
    await using live = await openLive(place);
    await live.ready("a");
    const { url } = host.definition("b");
    const added = await live.api("/servers", { method: "POST", body: { name: "b", url } });
    expect(added.status).toBe(201);
    expect((await live.api("/servers/a/quarantine", { method: "POST" })).status).toBe(200);
    for (const name of ["a", "b"]) await stands(live, name, ["quarantined", "quarantined"]);
    expect(host.counters("b").starts).toBe(0);
    // No other verb than approve leads out of it.
    for (const name of ["a", "b"]) {
      const refused = await live.api(`/servers/${name}/enable`, { method: "POST" });
      expect(refused.body["code"]).toBe("QUARANTINED");
    }
    // An edit beside it lifts nothing.
    const beside = readFileSync(live.path, "utf8").replace("// Mine", "// Ours");
    await live.reload(beside.replace('"health_check_interval"', '"tools_limit": 3, "health_check_interval"'));
    for (const name of ["a", "b"]) expect(await standing(live, name)).toEqual(["quarantined", "quarantined"]);
    await live.reload(readFileSync(live.path, "utf8").replaceAll('"quarantined"', '"active"'));
    for (const name of ["a", "b"]) await stands(live, name, ["active", "connected"]);
    expect(host.counters("b").starts).toBe(1);
    await live.stop();
    await using again = await openLive(place);
    for (const name of ["a", "b"]) await stands(again, name, ["active", "connected"]);
  },
  TEST_MS,
);

test(
  "a server removed by hand is closed and its tools leave the index; one renamed by hand is another one",
  async () => {
    verifies("RELOAD-ONLY-CHANGED");
    await using host = hostNames();
    using place = openFolder(textOf(host));
    await using live = await openLive(place);
    await live.ready(...NAMES);
    expect(await toolsOf(live, "b")).toEqual(["b:b_echo"]);
    const gone = await live.reload(textOf(host, { b: { gone: true } }));
    expect(gone.data).toMatchObject({ added: [], removed: ["b"], changed: [] });
    expect(await toolsOf(live, "b")).toEqual([]);
    expect(await found(live, "b_echo")).not.toContain("b:b_echo");
    const call = await live.call("b:b_echo");
    expect([call.status, call.body["code"]]).toEqual([404, "SERVER_UNKNOWN"]);
    expect((await live.api("/servers/b")).status).toBe(404);

    const other = await live.reload(textOf(host, { b: { gone: true }, a: { gone: true }, "a two": {} }));
    expect(other.data).toMatchObject({ added: ["a two"], removed: ["a"], changed: [] });
    expect(live.of("server_renamed")).toEqual([]);
    await live.ready("a two", "c");
    expect(await toolsOf(live, "a")).toEqual([]);
    await waitFor("its tools are known", async () => (await found(live, "a_echo")).includes("a two:a_echo"));
    expect((await live.call("a two:a_echo")).status).toBe(200);
    expect(host.counters("c").starts).toBe(1);
  },
  TEST_MS,
);

test(
  "groups, tags, timeouts and filters changed by hand restart nothing and are in force",
  async () => {
    verifies("RELOAD-ONLY-CHANGED");
    await using host = hostNames();
    using place = openFolder(textOf(host));
    await using live = await openLive(place);
    await live.ready(...NAMES);
    const groups = [
      { id: 1, name: "All of it" },
      { id: 2, name: "A part", parent: 1 },
    ];
    const changed = {
      a: { groups: ["A part"], tags: ["x"], call_timeout: "7s", description: "Other" },
      b: { groups: [1], disabled_tools: ["b_echo"], auto_disable_threshold: 9 },
    };
    const mark = live.events.length;
    const told = await live.reload(textOf(host, changed, { groups }));
    expect(told.data).toMatchObject({ added: [], removed: [], changed: ["a", "b"] });
    const types = live.events.slice(mark).map(({ type }) => type);
    expect(types.filter((type) => type === "server_state_changed")).toEqual([]);
    const updates = live.of("server_changed");
    expect(updates.map(({ server, data }) => [server, data.isRestarted, data.keys.toSorted()])).toEqual([
      ["a", false, ["call_timeout", "description", "groups", "tags"]],
      ["b", false, ["auto_disable_threshold", "disabled_tools", "groups"]],
    ]);
    expect(NAMES.map((name) => host.counters(name).starts)).toEqual([1, 1, 1]);
    const members = (await live.api("/groups/all-of-it/members")).data["servers"] as readonly string[];
    expect(members.toSorted()).toEqual(["a", "b"]);
    expect(await found(live, "b_echo")).not.toContain("b:b_echo");
    expect((await live.server("a"))["description"]).toBe("Other");
    const refused = await live.call("b:b_echo");
    expect(refused.status).toBeGreaterThanOrEqual(400);
    await live.reload(textOf(host, {}, { groups }));
    expect((await live.call("b:b_echo")).status).toBe(200);
    expect(NAMES.map((name) => host.counters(name).starts)).toEqual([1, 1, 1]);
  },
  TEST_MS,
);

test(
  "settings changed by hand are in force at once, and those that wait for a restart say so",
  async () => {
    await using host = hostNames();
    using place = openFolder(textOf(host));
    await using live = await openLive(place);
    await live.ready(...NAMES);
    const limited = await live.reload(textOf(host, {}, { tools_limit: 1, tool_response_limit: 100 }));
    expect(limited.data).toMatchObject({ changed: [], restartRequired: [] });
    expect(limited.data.settings.toSorted()).toEqual(["tool_response_limit", "tools_limit"]);
    const search = async (): Promise<number> => {
      const body = { tool_name: "retrieve_tools", arguments: { query: "echo" } };
      const reply = await live.api("/tools/call", { method: "POST", body });
      const [block] = reply.body["data"] as readonly { readonly text: string }[];
      return (JSON.parse(block?.text ?? "{}") as { readonly tools: readonly unknown[] }).tools.length;
    };
    expect(await search()).toBe(1);
    await live.reload(textOf(host));
    expect(await search()).toBe(3);
    const moved = await live.reload(textOf(host, {}, { listen: "127.0.0.1:1", data_dir: "elsewhere" }));
    expect(moved.data.restartRequired.toSorted()).toEqual(["data_dir", "listen"]);
    expect(
      live.lines.some((line) => /restart_required="?(?:listen data_dir|data_dir listen)/.test(line)),
    ).toBe(true);
    expect((await fetch(`${live.url}/livez`)).status).toBe(200);
    // A server that was off is not started by a setting, and none is started anew.
    expect(NAMES.map((name) => host.counters(name).starts)).toEqual([1, 1, 1]);
  },
  TEST_MS,
);

test(
  "what was edited while no proxy ran is loaded and approved, and nothing of before is lost",
  async () => {
    await using host = hostNames();
    using place = openFolder(textOf(host, {}, { x_kept: { any: ["thing"] } }));
    const first = await openLive(place);
    try {
      await first.ready(...NAMES);
      const apply = (operations: readonly object[]) =>
        first.api("/config/apply", { method: "POST", body: { operations } });
      const applied = await apply([
        { op: "add_group", group: { name: "Mine" } },
        { op: "assign", name: "a", group: "Mine" },
        { op: "patch", name: "b", patch: { tags: ["kept"] } },
        { op: "quarantine", name: "c" },
      ]);
      expect(applied.status).toBe(200);
    } finally {
      await first.stop();
    }
    const revision = first.of("config_committed").at(-1)?.revision ?? 0;
    const left = readFileSync(place.file, "utf8");
    const url = host.definition("a").url ?? "";
    const edited = left
      .replace("// Mine", "// Mine, edited")
      .replace(`"url": "${url}"`, `"url": "${url}?v=2"`)
      .replace(
        '"mcpServers": [',
        `"mcpServers": [\n    {"name": "new", "url": "${host.definition("b").url}"},`,
      );
    expect(edited).not.toBe(left);
    writeFileSync(place.file, edited);

    await using second = await openLive(place);
    await second.ready("a", "b", "new");
    // Nobody said anything of `c`.
    await stands(second, "c", ["quarantined", "quarantined"]);
    expect(await second.revision()).toBe(revision + 1);
    expect(readFileSync(place.file, "utf8")).toBe(edited);
    expect((await second.api("/groups/mine/members")).data["servers"]).toEqual(["a"]);
    expect(edited).toContain('"kept"');
    expect(edited).toContain('"x_kept"');
    const off = await second.api("/servers/b/disable", { method: "POST" });
    expect([off.status, off.data["revision"]]).toEqual([200, revision + 2]);
    await second.stop();
    expect(second.of("config_reloaded")).toEqual([]);

    // Which mode stood there before is not known any more: a quarantine of the API waits for a person's verb.
    const lifted = readFileSync(place.file, "utf8").replace(
      '"startup_mode": "quarantined"',
      '"startup_mode": "active"',
    );
    writeFileSync(place.file, lifted);
    await using third = await openLive(place);
    await third.ready("a", "new");
    await stands(third, "c", ["quarantined", "quarantined"]);
    expect((await third.api("/servers/c/approve", { method: "POST" })).status).toBe(200);
    await stands(third, "c", ["active", "connected"]);
    expect(readFileSync(place.file, "utf8")).toBe(lifted);
    await stands(third, "b", ["disabled", "disabled"]);
  },
  TEST_MS,
);
