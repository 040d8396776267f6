/**
 * Edits of the configuration file by hand, against a running proxy.
 *
 * Owns what a reload touches and what it leaves alone, the answers to files that cannot be used, and each kind of edit. The
 * servers are mocks that count who connects to them; `editor_test.ts` has the races, `large_config_test.ts` the size.
 */
import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { ProxyEvent } from "../../src/core/events.ts";
import { startMockHost } from "../../src/mock/http_host.ts";
import type { MockHost } from "../../src/mock/http_host.ts";
import { mock, tool } from "../fixtures/mocks.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openFolder, openLive } from "./live_proxy.ts";
import type { LiveProxy, Reply } from "./live_proxy.ts";

const TEST_MS = 60_000;
const QUIET = { health_check_interval: "0s", tool_discovery_interval: "0s" };

type Entry = Record<string, unknown> & { readonly name: string };

/** Servers as a file holds them, at mocks. */
function entriesOf(host: MockHost, names: readonly string[] = host.names): Entry[] {
  return names.map((name) => ({ ...host.definition(name) }));
}

function textOf(servers: readonly Entry[], top: object = {}): string {
  return `${JSON.stringify({ ...QUIET, ...top, mcpServers: servers }, null, 2)}\n`;
}

function startsOf(host: MockHost): Map<string, number> {
  return new Map(host.names.map((name) => [name, host.counters(name).starts]));
}

/** Names whose starts are more than before, with how many more. */
function startedSince(host: MockHost, before: ReadonlyMap<string, number>): Record<string, number> {
  const more = [...startsOf(host)].map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const);
  return Object.fromEntries(more.filter(([, count]) => count > 0));
}

const named = (event: ProxyEvent): string => event.server ?? "";

test(
  "a reload of 159 servers with 3 changed, 1 added and 1 removed restarts exactly those, and 20 calls go on",
  async () => {
    verifies("RELOAD-ONLY-CHANGED");
    const SERVERS = 159;
    const SLOW = 20;
    const SLOW_MS = 3_000;
    const names = Array.from({ length: SERVERS + 1 }, (_, at) => `server-${at}`);
    const isStdio = (at: number): boolean => at % 40 === 7;
    await using host = startMockHost({
      servers: names.map((name, at) =>
        mock({
          name,
          transport: isStdio(at) ? "stdio" : "streamable_http",
          tools: [tool("echo")],
          ...(at >= 100 && at < 100 + SLOW ? { latencyMs: SLOW_MS } : {}),
        }),
      ),
    });
    const before = entriesOf(host, names.slice(0, SERVERS));
    const top = { auto_disable_threshold: 0, max_concurrent_connections: 10 };
    using place = openFolder(textOf(before, top));
    await using live = await openLive(place);
    await live.ready(...names.slice(0, SERVERS));
    expect(live.of("server_state_changed").length).toBeGreaterThan(SERVERS);
    const revision = await live.revision();
    const starts = startsOf(host);
    const calls = names.slice(100, 100 + SLOW).map((name) => live.call(`${name}:echo`, { from: name }));
    const inFlight = (): number =>
      names.slice(100, 100 + SLOW).filter((name) => host.counters(name).inFlight === 1).length;
    await waitFor("all calls have arrived", () => inFlight() === SLOW);

    const after = before.map((entry) => {
      // A stdio server, one by its address, one by its headers.
      if (entry.name === "server-7") return { ...entry, env: { CHANGED: "1" } };
      if (entry.name === "server-20") return { ...entry, url: `${String(entry["url"])}?v=2` };
      if (entry.name === "server-21") return { ...entry, headers: { "x-changed": "1" } };
      return entry;
    });
    const kept = after.filter(({ name }) => name !== "server-30");
    kept.splice(50, 0, ...entriesOf(host, [`server-${SERVERS}`]));
    const mark = live.events.length;
    const savedAt = performance.now();
    const told = await live.reload(textOf(kept, top));
    const reloadMs = performance.now() - savedAt;
    expect(inFlight()).toBe(SLOW);
    const restarted = ["server-20", "server-21", "server-7"];
    await waitFor(
      "the changed ones and the new one were started",
      () => Object.keys(startedSince(host, starts)).length === 4,
    );
    await live.ready(...kept.map(({ name }) => name));

    const replies = await Promise.all(calls);
    expect(replies.map(({ status, body }) => [status, body["is_error"] ?? false])).toEqual(
      Array.from({ length: SLOW }, () => [200, false]),
    );
    expect(names.map((name) => host.counters(name).cancelled)).toEqual(names.map(() => 0));
    expect(startedSince(host, starts)).toEqual({
      [`server-${SERVERS}`]: 1,
      ...Object.fromEntries(restarted.map((name) => [name, 1])),
    });
    const added = [`server-${SERVERS}`];
    expect(told).toMatchObject({
      revision: revision + 1,
      data: { added, removed: ["server-30"], settings: [], restartRequired: [] },
    });
    expect(told.data.changed.toSorted()).toEqual(restarted);
    expect(await live.revision()).toBe(revision + 1);
    const news = live.events.slice(mark);
    const ofType = (type: string): ProxyEvent[] => news.filter((event) => event.type === type);
    expect(ofType("config_reloaded")).toHaveLength(1);
    expect(ofType("server_changed").map(named).toSorted()).toEqual(restarted);
    expect(ofType("server_added").map(named)).toEqual(added);
    expect(ofType("server_removed").map(named)).toEqual(["server-30"]);
    const effects = ["server_changed", "server_added", "server_removed"].flatMap(ofType);
    expect(effects.map((event) => event.revision)).toEqual(effects.map(() => revision + 1));
    // Whatever moved is one of the five.
    const moved = new Set(ofType("server_state_changed").map(named));
    expect([...moved].filter((name) => ![...restarted, ...added, "server-30"].includes(name))).toEqual([]);
    expect((await live.call("server-30:echo")).status).toBe(404);

    // Comments, unknown keys, another order and another indentation: a new revision in which nothing happens.
    const again = startsOf(host);
    const quiet = live.events.length;
    const commented = `// A note\n${JSON.stringify({ x_note: 1, ...QUIET, ...top, mcpServers: kept.map((it) => ({ x_kept: [1], ...it })) }, null, 4)}\n`;
    const nothing = await live.reload(commented);
    expect(nothing.data.changed).toEqual([]);
    expect([nothing.data.added, nothing.data.removed]).toEqual([[], []]);
    const types = live.events.slice(quiet).map(({ type }) => type);
    expect(types.filter((type) => /^(?:config|server|tools)_/.test(type))).toEqual(["config_reloaded"]);
    expect(startedSince(host, again)).toEqual({});
    console.info(`reload of ${SERVERS} servers: in force ${Math.round(reloadMs)} ms after the save`);
  },
  TEST_MS,
);

/** One server `a` with the tool `echo`, and what stands in the file of it. */
async function openOne(): Promise<{
  readonly host: MockHost;
  readonly live: LiveProxy;
  readonly good: string;
  readonly [Symbol.asyncDispose]: () => Promise<void>;
}> {
  const host = startMockHost({ servers: [mock({ name: "a" }), mock({ name: "b" })] });
  const good = textOf(entriesOf(host, ["a"]));
  const place = openFolder(good);
  const live = await openLive(place);
  await live.ready("a");
  return {
    host,
    live,
    good,
    [Symbol.asyncDispose]: async () => {
      await live.stop();
      await host[Symbol.asyncDispose]();
      place[Symbol.dispose]();
    },
  };
}

function works(reply: Reply): void {
  expect([reply.status, reply.body["is_error"] ?? false]).toEqual([200, false]);
}

test(
  "an edit that cannot be used leaves the last good configuration in force, is told once, and is mended",
  async () => {
    verifies("RELOAD-INVALID-KEEPS", "CONFIG-FAULT-PLACE");
    await using one = await openOne();
    const { live, good, host } = one;
    const starts = startsOf(host);
    const edited = (change: (text: string) => string): string => change(good);
    const groups = [
      { id: 1, name: "one", parent: 2 },
      { id: 2, name: "two", parent: 1 },
    ];
    const bad: readonly (readonly [what: string, text: string, message: RegExp])[] = [
      ["a missing comma", edited((text) => text.replace(",", "")), /fault/],
      ["cut in the middle", good.slice(0, good.length / 2), /fault/],
      ["empty", "", /fault/],
      ["blanks only", "\n \n", /fault/],
      ["no object", "[]", /fault/],
      ["a wrong type", edited((text) => text.replace("{", '{"tools_limit": "many",')), /tools_limit/],
      [
        "another wrong type",
        edited((text) => text.replace("{", '{"mcpServers2": 1, "groups": 7,')),
        /groups/,
      ],
      [
        "a key twice",
        edited((text) => text.replace("{", '{"tools_limit": 1, "tools_limit": 2,')),
        /tools_limit/,
      ],
      ["a circle of groups", textOf(entriesOf(host, ["a"]), { groups }), /groups/],
      ["a NUL", edited((text) => text.replace("{", "{\u0000")), /fault/],
    ];
    const revision = await live.revision();
    for (const [what, text, message] of bad) {
      const told = await live.spoil(() => live.save(text));
      expect(`${what}: ${told.data.message}`).toMatch(message);
      expect([what, told.data.faults.length > 0]).toEqual([what, true]);
      const [fault] = told.data.faults;
      expect([what, fault?.file, (fault?.line ?? 0) > 0]).toEqual([what, live.path, true]);
      works(await live.call("a:echo"));
      // The same text once more is no news.
      const count = live.of("config_invalid").length;
      await live.looked(() => live.save(text));
      expect([what, live.of("config_invalid").length]).toEqual([what, count]);
      // A change is refused, and the person's text stays.
      const refused = await live.api("/servers/a/disable", { method: "POST" });
      expect([what, refused.status, refused.body["code"]]).toEqual([what, 400, "CONFIG_INVALID"]);
      expect([what, readFileSync(live.path, "utf8") === text]).toEqual([what, true]);
    }
    expect(await live.revision()).toBe(revision);
    expect(live.of("config_reloaded")).toEqual([]);
    // Another text with the same first fault is another text.
    await live.spoil(() => live.save("{"));
    await live.spoil(() => live.save("{ "));
    // The old text again is good news too.
    const back = await live.reload(good);
    expect(back).toMatchObject({ revision, data: { added: [], changed: [], settings: [] } });
    expect(startedSince(host, starts)).toEqual({});
    await live.spoil(() => live.save("{"));
    const mended = await live.reload(textOf(entriesOf(host)));
    expect(mended).toMatchObject({ revision: revision + 1, data: { added: ["b"] } });
    await live.ready("a", "b");
    expect(live.lines.some((line) => line.includes("The edited configuration cannot be used"))).toBe(true);
  },
  TEST_MS,
);

/** What was done to the file, and what is told; `write` is what a change of the proxy then does. */
interface Oddity {
  readonly what: string;
  readonly act: (path: string, good: string) => void;
  /** Undefined when the file is taken. */
  readonly told?: RegExp;
  /** What the API answers to a change; a status and a code, or 200. */
  readonly write: readonly [status: number, code?: string];
}

const UNREADABLE = [500, "CONFIG_UNREADABLE"] as const;
const ODDITIES: readonly Oddity[] = [
  { what: "is deleted", act: (path) => rmSync(path), told: /there is no such file/, write: [200] },
  {
    what: "is a directory",
    act: (path) => {
      rmSync(path);
      mkdirSync(path);
    },
    told: /it is a directory/,
    write: UNREADABLE,
  },
  {
    what: "is a FIFO",
    act: (path) => {
      rmSync(path);
      execFileSync("mkfifo", [path]);
    },
    told: /no regular file/,
    write: UNREADABLE,
  },
  {
    what: "is larger than 50 MB",
    act: (path) => truncateSync(path, 50 * 1024 * 1024 + 1),
    told: /larger than 50 MB/,
    write: UNREADABLE,
  },
  {
    what: "is UTF-16",
    act: (path, good) => writeFileSync(path, Buffer.from(`\ufeff${good}`, "utf16le")),
    told: /UTF-16/,
    write: UNREADABLE,
  },
  {
    what: "is not UTF-8",
    act: (path, good) =>
      writeFileSync(path, Buffer.concat([Buffer.from(good.slice(0, -2)), Buffer.from([0xc3, 0x28])])),
    told: /not UTF-8/,
    write: UNREADABLE,
  },
  {
    what: "is a dangling link",
    act: (path) => {
      rmSync(path);
      symlinkSync("nowhere.json", path);
    },
    told: /there is no such file/,
    write: [200],
  },
  {
    what: "is a link in a circle",
    act: (path) => {
      rmSync(path);
      symlinkSync(path, path);
    },
    told: /circle/,
    write: UNREADABLE,
  },
  {
    what: "has a byte order mark",
    act: (path, good) => writeFileSync(path, `\ufeff${good}`),
    write: [200],
  },
  {
    what: "has CRLF",
    act: (path, good) => writeFileSync(path, good.replaceAll("\n", "\r\n")),
    write: [200],
  },
  {
    what: "is a link to another file",
    act: (path, good) => {
      writeFileSync(`${path}.target`, `// other\n${good}`);
      rmSync(path);
      symlinkSync(`${path}.target`, path);
    },
    write: [200],
  },
  {
    what: "is for the group to read",
    act: (path, good) => {
      writeFileSync(path, `// group\n${good}`);
      chmodSync(path, 0o640);
    },
    write: [200],
  },
  {
    what: "is read-only",
    act: (path, good) => {
      writeFileSync(path, `// read-only\n${good}`);
      chmodSync(path, 0o400);
    },
    write: [200],
  },
];

test(
  "each odd thing that becomes of the file while the proxy runs has its one answer",
  async () => {
    verifies("RELOAD-INVALID-KEEPS");
    await using one = await openOne();
    const { live, good } = one;
    const { path } = live;
    const seen: unknown[] = [];
    for (const { what, act, told, write } of ODDITIES) {
      const spoils = live.of("config_invalid").length;
      if (told === undefined) {
        const loads = live.of("config_reloaded").length;
        act(path, good);
        await waitFor(`${what}: it is taken`, () => live.of("config_reloaded").length > loads, 10_000);
        expect([what, live.of("config_invalid").length]).toEqual([what, spoils]);
      } else {
        const event = await live.spoil(() => act(path, good));
        expect(`${what}: ${event.data.message}`).toMatch(told);
        expect([what, event.data.message.includes(path)]).toEqual([what, true]);
      }
      works(await live.call("a:echo"));
      const mode = existsSync(path) ? statSync(path).mode : undefined;
      const wasLink = isLink(path);
      const reply = await live.api("/servers/a", { method: "PATCH", body: { description: what } });
      const [status, code] = write;
      expect([what, reply.status, reply.body["code"]]).toEqual([what, status, code]);
      expect([what, reply.status < 300 || typeof reply.body["hint"] === "string"]).toEqual([what, true]);
      works(await live.call("a:echo"));
      if (status === 200) {
        const text = readFileSync(path, "utf8");
        expect([what, text.includes(`"description": "${what}"`)]).toEqual([what, true]);
        expect([what, isLink(path)]).toEqual([what, wasLink]);
        expect([what, statSync(path).mode & 0o777]).toEqual([what, (mode ?? 0o600) & 0o777]);
        expect([what, text.startsWith("\ufeff")]).toEqual([what, what === "has a byte order mark"]);
        expect([what, /\r\n/.test(text), /[^\r]\n/.test(text)]).toEqual([
          what,
          what === "has CRLF",
          what !== "has CRLF",
        ]);
      }
      seen.push(what);
      // Mended: another text, so that it is told.
      rmSync(path, { recursive: true, force: true });
      await live.reload(`${good}// after: ${what}\n`);
    }
    expect(seen).toHaveLength(ODDITIES.length);
    expect(readdirSync(live.folder).filter((name) => name.endsWith(".mcpproxy-tmp"))).toEqual([]);
    rmSync(`${path}.target`, { force: true });
  },
  TEST_MS,
);

test(
  "a link that is turned to another file, also by a rename, is followed, and a change goes to where it points",
  async () => {
    await using one = await openOne();
    const { live, host } = one;
    const { path, folder } = live;
    const [first, second] = [join(folder, "first"), join(folder, "second")];
    for (const [at, dir] of [first, second].entries()) {
      mkdirSync(dir);
      writeFileSync(
        join(dir, "c.json"),
        textOf(entriesOf(host, ["a", "b"].slice(0, at + 1)), { tools_limit: 3 }),
      );
    }
    const turn = (target: string): void => {
      symlinkSync(target, `${path}.new`);
      renameSync(`${path}.new`, path);
    };
    const next = async (act: () => void): Promise<ProxyEvent<"config_reloaded">> => {
      const before = live.of("config_reloaded").length;
      act();
      await waitFor("it is taken", () => live.of("config_reloaded").length > before, 10_000);
      return live.of("config_reloaded")[before] as ProxyEvent<"config_reloaded">;
    };
    expect((await next(() => turn(join(first, "c.json")))).data).toMatchObject({ settings: ["tools_limit"] });
    expect((await next(() => turn(join(second, "c.json")))).data).toMatchObject({ added: ["b"] });
    // Saved at the target, in the other folder.
    const target = join(second, "c.json");
    const saved = await next(() => {
      writeFileSync(
        `${target}~`,
        readFileSync(target, "utf8").replace('"tools_limit": 3', '"tools_limit": 4'),
      );
      renameSync(`${target}~`, target);
    });
    expect(saved.data).toMatchObject({ settings: ["tools_limit"], added: [], removed: [] });
    const untouched = readFileSync(join(first, "c.json"), "utf8");
    expect((await live.api("/servers/b/disable", { method: "POST" })).status).toBe(200);
    expect(isLink(path)).toBe(true);
    expect(readFileSync(target, "utf8")).toContain('"startup_mode": "disabled"');
    expect(readFileSync(join(first, "c.json"), "utf8")).toBe(untouched);
    expect(existsSync(`${path}.new`)).toBe(false);
  },
  TEST_MS,
);

function isLink(path: string): boolean {
  try {
    execFileSync("test", ["-L", path]);
    return true;
  } catch {
    return false;
  }
}
