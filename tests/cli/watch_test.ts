/**
 * Live views: drawn in their place and at their pace, over restarts of the proxy, and the terminal is as it was.
 */
import { afterAll, afterEach, beforeAll, expect, jest, test } from "bun:test";
import fc from "fast-check";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { follow } from "../../src/cli/follow.ts";
import { ApiClient } from "../../src/cli/client.ts";
import { Screen } from "../../src/cli/screen.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { failureOf, waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { FakeTerminal } from "./fake_terminal.ts";
import { MAIN, runMain } from "./fixtures.ts";
import { runLine } from "./run_line.ts";

afterEach(() => void jest.useRealTimers());

const numbered = (count: number, text: string): readonly string[] =>
  Array.from({ length: count }, (_, at) => `${text} ${at}`);

test("Screen draws a picture over the one before, whatever their heights, and below what was there", () => {
  verifies("CLI-WATCH");
  fc.assert(
    fc.property(fc.array(fc.nat(12), { minLength: 1 }), (heights) => {
      jest.useFakeTimers();
      const terminal = new FakeTerminal(40, 8);
      terminal.write("$ command\r\n");
      const screen = new Screen({ terminal, write: terminal.write });
      for (const [at, height] of heights.entries()) {
        screen.show(() => numbered(height, `picture ${at} line`));
        jest.advanceTimersByTime(200);
      }
      screen.close();
      const last = numbered(Math.min(7, heights.at(-1) ?? 0), `picture ${heights.length - 1} line`);
      const shown = terminal.lines.filter((line) => line !== "");
      expect(shown).toEqual(["$ command", ...last]);
    }),
  );
});

test("Screen draws at most ten pictures a second, and always the last one", () => {
  verifies("CLI-WATCH");
  jest.useFakeTimers();
  const terminal = new FakeTerminal(40, 10);
  let draws = 0;
  const screen = new Screen({ terminal, write: terminal.write });
  for (let at = 0; at < 1_000; at += 1) {
    screen.show(() => {
      draws += 1;
      return [`number ${at}`];
    });
    jest.advanceTimersByTime(1);
  }
  expect(draws).toBeGreaterThan(5);
  expect(draws).toBeLessThanOrEqual(11);
  jest.advanceTimersByTime(200);
  expect(terminal.lines.at(-1)).toBe("number 999");
  screen.show(() => ["one"]);
  screen.show(() => ["two"]);
  screen.close();
  screen.close();
  expect(terminal.lines).toEqual(["two", ""]);
  screen.show(() => ["three"]);
  jest.advanceTimersByTime(500);
  expect(terminal.lines).toEqual(["two", ""]);
});

test("Screen draws below what a shell wrote while it was suspended", () => {
  verifies("CLI-WATCH");
  jest.useFakeTimers();
  const terminal = new FakeTerminal(40, 12);
  const screen = new Screen({ terminal, write: terminal.write });
  screen.show(() => ["one", "two"]);
  terminal.write("^Z\r\n$ fg\r\n");
  terminal.resume();
  jest.advanceTimersByTime(200);
  screen.close();
  expect(terminal.lines).toEqual(["one", "two^Z", "$ fg", "one", "two", ""]);
});

test.each<[string, number, number]>([
  ["narrower", 20, 12],
  ["wider", 70, 12],
  ["lower", 40, 5],
])("Screen draws anew in a terminal that became %s, and no line is wider than it", (_, columns, rows) => {
  verifies("CLI-WATCH");
  jest.useFakeTimers();
  const terminal = new FakeTerminal(40, 12);
  terminal.write("$ command\r\n");
  const screen = new Screen({ terminal, write: terminal.write });
  screen.show((size) => numbered(4, "x".repeat(size.columns - 2)));
  jest.advanceTimersByTime(200);
  terminal.resize(columns, rows);
  jest.advanceTimersByTime(200);
  const line = `${"x".repeat(columns - 3)} `;
  expect(terminal.lines.filter((text) => text.startsWith("x")).length).toBe(4);
  for (const text of terminal.lines.slice(-4)) expect(text.startsWith(line.trim().slice(0, 4))).toBe(true);
  for (const text of terminal.lines) expect(text.length).toBeLessThan(columns);
  expect(terminal.lines[0]).toBe("$ command");
  screen.close();
});

let upstream: ToolUpstream;
let proxy: LiveProxy;

beforeAll(async () => {
  upstream = serveTools([makeDefinition("echo", { annotations: { readOnlyHint: true } })]);
  const entry = { protocol: "http", url: upstream.url };
  proxy = await openLiveProxy({
    groups: [{ id: 1, name: "Work" }],
    mcpServers: [
      { name: "one", ...entry, groups: ["Work"] },
      { name: "two", ...entry },
    ],
  });
  await proxy.untilReady("one", "two");
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

function dataDir(): string {
  return join(proxy.folder, "data");
}

/** A stream that carries what it is told to, and ends. */
function serveStreams(answers: readonly (string | number)[]) {
  const asked: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      asked.push(new URL(request.url).search);
      const answer = answers[asked.length - 1] ?? "";
      if (typeof answer === "string") return new Response(answer);
      return Response.json(
        { success: false, error: "no", code: answer === 400 ? "USAGE" : "INTERNAL" },
        { status: answer },
      );
    },
  });
  const find = async (): Promise<ApiClient> =>
    new ApiClient({ url: `http://127.0.0.1:${server.port}`, key: "k" });
  return { asked, find, [Symbol.asyncDispose]: () => server.stop(true) };
}

const event = (id: number): string =>
  `id: ${id}\nevent: log\ndata: {"id":${id},"time":0,"type":"log","data":{}}\n\n`;

test("follow() goes on behind the last event it saw, and says when the proxy is away", async () => {
  verifies("CLI-WATCH");
  const status = "event: status\ndata: {}\n\n";
  await using streams = serveStreams([
    `id: 6\n${status}${event(7)}: heartbeat\n\n${event(8)}`,
    500,
    `${status}${event(9)}`,
    400,
  ]);
  const end = new AbortController();
  const seen: string[] = [];
  const reading = failureOf(async () => {
    const query = { types: "log,tool_called", servers: "a b&c" };
    for await (const news of follow({ find: streams.find, query, signal: end.signal })) {
      seen.push(news.kind === "event" ? String(news.event.id) : news.kind);
    }
  });
  // What is asked wrongly is wrong the next time as well.
  expect((await reading)["code"]).toBe("USAGE");
  expect(seen).toEqual(["open", "7", "8", "lost", "lost", "open", "9", "lost"]);
  expect(streams.asked).toEqual(
    ["", "&since=8", "&since=8", "&since=9"].map(
      (since) => `?types=log,tool_called&servers=a%20b%26c${since}`,
    ),
  );
}, 15_000);

test("follow() fails when it never reached the proxy", async () => {
  const find = async (): Promise<ApiClient> => new ApiClient({ url: "http://127.0.0.1:9", key: "k" });
  const failure = await failureOf(async () => {
    for await (const _ of follow({ find, query: {}, signal: new AbortController().signal }));
  });
  expect(failure["code"]).toBe("NOT_REACHABLE");
});

test("servers list --watch without a terminal prints a line for each change of what is asked for", async () => {
  verifies("CLI-WATCH", "CLI-JSON-UNCHANGED");
  const since = String((await proxy.ask("GET /status")).data["last_event_id"]);
  const parts = { cwd: proxy.folder, home: proxy.folder };
  const watching = ["servers", "list", "--watch", "-d", dataDir()];
  const ready = /"server":"one"[^\n]*"connection":"ready","category":"connected"\},"reason"/;
  const json = runLine([...watching, "--json", "-g", "Work"], { ...parts, until: ready });
  const words = ["-q", "ONE", "--category", "connected"];
  const lines = runLine([...watching, ...words], { ...parts, until: /→ ready/ });
  // Nobody tells when the streams stand, so it changes until both have seen it.
  const poking = setInterval(() => {
    void proxy.ask("POST /servers/two/restart", {});
    void proxy.ask("POST /servers/one/restart", {});
  }, 200);
  const [ofJson, ofLines] = await Promise.all([json, lines]).finally(() => clearInterval(poking));
  expect([ofJson.code, ofLines.code, ofJson.err, ofLines.err]).toEqual([0, 0, "", ""]);
  for (const line of ofLines.out.trim().split("\n")) {
    expect(line).toMatch(/^\d\d:\d\d:\d\d {2}server_state_changed {2}one .* (?:ready →|→ ready)/);
  }
  const seen = ofJson.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { readonly id: number });
  const first = seen[0]?.id ?? 0;
  const last = seen.at(-1)?.id ?? 0;
  const streamed: unknown[] = [];
  const key = readFileSync(join(dataDir(), "api_key"), "utf8").trim();
  const api = new ApiClient({ url: proxy.url(), key });
  const types =
    "server_added,server_removed,server_renamed,server_changed,server_state_changed,tools_changed";
  for await (const { id, data } of api.events(`/events?since=${since}&types=${types}&groups=Work`)) {
    if (id !== undefined && data !== "" && Number(id) >= first) streamed.push(JSON.parse(data));
    if (Number(id) >= last) break;
  }
  expect(seen).toEqual(streamed as typeof seen);
}, 20_000);

test("a live view follows the proxy to another address, and says when it is away", async () => {
  verifies("CLI-WATCH");
  const terminal = new FakeTerminal(100, 20);
  let restarted: Promise<void> | undefined;
  const { code, out } = await runLine(["servers", "list", "--watch", "-d", dataDir()], {
    cwd: proxy.folder,
    home: proxy.folder,
    size: { columns: 100, rows: 20 },
    until: /went away[\s\S]*live, \d+ changes/,
    onOut: (text) => {
      terminal.write(text);
      restarted ??= proxy.restart();
    },
  });
  await restarted;
  expect(code).toBe(0);
  expect(out).toContain("The proxy went away");
  const shown = terminal.lines.join("\n");
  expect(shown).toMatch(/^2 servers: /);
  expect(shown.match(/^SERVER/gm)).toHaveLength(1);
  expect(shown).not.toMatch(/Ctrl-C|went away/);
  await proxy.untilReady("one", "two");
}, 20_000);

// oxlint-disable-next-line no-control-regex -- escape sequences are what this is about
const MODE_SWITCH = /\u001b\[\?\d+[hl]/g;

/** The program under a pseudo terminal. */
function openTerminal(args: readonly string[], folder = proxy.folder) {
  let text = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([process.execPath, MAIN, ...args], {
    cwd: folder,
    env: {
      PATH: process.env["PATH"],
      HOME: folder,
      TERM: "xterm-256color",
      BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0",
    },
    terminal: {
      cols: 90,
      rows: 15,
      data: (_, bytes) => {
        text += decoder.decode(bytes, { stream: true });
      },
    },
  });
  return { child, terminal: child.terminal, text: () => text };
}

test("under a real terminal a view is redrawn in place, fits when it is resized, and Ctrl-C leaves the terminal sane", async () => {
  verifies("CLI-WATCH");
  const { child, terminal, text } = openTerminal(["servers", "list", "--watch", "-d", dataDir()]);
  try {
    await waitFor("the view is drawn", () => text().includes("Ctrl-C ends"), 10_000);
    const flags = terminal?.localFlags;
    expect(text()).toContain("\u001b[32mconnected");
    // Nothing is switched that would stay so after a kill: no alternate screen, no hidden cursor, no raw mode.
    expect(new Set(text().match(MODE_SWITCH))).toEqual(new Set(["\u001b[?2026h", "\u001b[?2026l"]));
    const before = text().length;
    await proxy.ask("POST /servers/two/disconnect", {});
    await waitFor("the change is drawn", () => /two +\S*disconnected/.test(text().slice(before)), 10_000);
    // oxlint-disable-next-line no-control-regex -- escape sequences are what this is about
    expect(text().slice(before)).toMatch(/\u001b\[\d+A/);
    const wide = text().length;
    terminal?.resize(50, 10);
    await waitFor(
      "it is drawn anew",
      () => /SERVER {2,}CATEGORY {2,}TOOLS {2}SINCE\r*\n/.test(plain(text().slice(wide))),
      10_000,
    );
    terminal?.write("\u0003");
    expect(await child.exited).toBe(0);
    await waitFor("all of it arrived", () => text().endsWith("\r\n"));
    expect(terminal?.localFlags).toBe(flags as number);
    expect(text().slice(text().lastIndexOf("\u001b[?2026h"))).not.toContain("Ctrl-C");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    terminal?.close();
    await proxy.ask("POST /servers/two/connect", {});
  }
}, 30_000);

function plain(text: string): string {
  // oxlint-disable-next-line no-control-regex -- escape sequences are what this is about
  return text.replaceAll(/\u001b\[[?\d;]*[A-Za-z]/g, "");
}

test("a view that is not drawn on a terminal prints no escape sequence at all", async () => {
  verifies("CLI-NO-ESCAPES", "CLI-WATCH");
  const child = Bun.spawn([process.execPath, MAIN, "status", "--watch", "-d", dataDir()], {
    cwd: proxy.folder,
    env: { PATH: process.env["PATH"], HOME: proxy.folder, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
    stdout: "pipe",
    stderr: "pipe",
  });
  let out = "";
  const reading = (async () => {
    for await (const chunk of child.stdout) out += new TextDecoder().decode(chunk);
  })();
  const poking = setInterval(() => void proxy.ask("POST /servers/two/restart", {}), 200);
  try {
    await waitFor("a change is told", () => out.includes("→ ready"), 10_000);
  } finally {
    clearInterval(poking);
  }
  child.kill("SIGINT");
  expect(await child.exited).toBe(0);
  await reading;
  expect(out).not.toContain("\u001b");
}, 20_000);

const FLEET = 159;
const STORM_MS = 2_000;
/** Begins each picture. */
const FRAME = "\u001b[?2026h";
const FLEET_NAMES = Array.from({ length: FLEET }, (_, at) => `server-${String(at).padStart(3, "0")}`);

/** A proxy with as many servers as the design's own file, none of which is started. */
function openFleet(): Promise<LiveProxy> {
  const mcpServers = FLEET_NAMES.map((name) => ({ name, url: "http://127.0.0.1:9/mcp", enabled: false }));
  return openLiveProxy({ mcpServers });
}

/** How often each line names a server of the fleet, by its name. */
function namesIn(lines: readonly string[]): readonly string[] {
  return lines.flatMap((line) => /^server-\d{3}\b/.exec(line) ?? []);
}

test("a list of 159 servers has each once and fits a real terminal, and is whole JSON in a pipe", async () => {
  verifies("CLI-JSON");
  await using fleet = await openFleet();
  const list = ["servers", "list", "-d", join(fleet.folder, "data")];
  const { child, terminal, text } = openTerminal(list, fleet.folder);
  try {
    expect(await child.exited).toBe(0);
    await waitFor("all of it arrived", () => text().includes(`${FLEET} servers: `));
  } finally {
    terminal?.close();
  }
  const lines = plain(text()).split(/\r*\n/);
  expect(namesIn(lines)).toEqual(FLEET_NAMES);
  expect(lines.filter((line) => Bun.stringWidth(line) > 90)).toEqual([]);
  expect(text().match(MODE_SWITCH)).toBeNull();
  const piped = await runMain([...list, "--json"], { cwd: fleet.folder });
  expect({ code: piped.code, err: piped.err }).toEqual({ code: 0, err: "" });
  // More than a pipe takes at once.
  expect(piped.out.length).toBeGreaterThan(65_536);
  const page = JSON.parse(piped.out) as { readonly servers: readonly { readonly name: string }[] };
  expect(page.servers.map(({ name }) => name)).toEqual(FLEET_NAMES);
}, 30_000);

test("a view of 159 servers in a real terminal is drawn at most ten times a second while they change", async () => {
  verifies("CLI-WATCH");
  await using fleet = await openFleet();
  const args = ["servers", "list", "--watch", "-d", join(fleet.folder, "data")];
  const { child, terminal, text } = openTerminal(args, fleet.folder);
  const draws = (): number => text().split(FRAME).length - 1;
  const changes = (): number => Number([...text().matchAll(/live, (\d+) changes?/g)].at(-1)?.[1] ?? 0);
  try {
    await waitFor("the view is drawn", () => text().includes("Ctrl-C ends"), 10_000);
    const flags = terminal?.localFlags;
    let sent = 0;
    const change = async (): Promise<void> => {
      sent += 1;
      const body = { description: `change ${sent}` };
      expect(await fleet.ask(`PATCH /servers/${FLEET_NAMES[sent % FLEET]}`, body)).toMatchObject({
        status: 200,
      });
    };
    // Nobody tells when the stream stands, so it changes until one is seen.
    await waitFor("a change is seen", () => change().then(() => changes() > 0), 10_000);
    const [startedAt, before, wanted] = [performance.now(), draws(), changes() - sent];
    while (performance.now() < startedAt + STORM_MS) await change();
    await waitFor("every change is counted", () => changes() >= wanted + sent, 10_000);
    const [drawn, tenths] = [draws() - before, (performance.now() - startedAt) / 100];
    expect(drawn).toBeGreaterThan(3);
    expect(drawn).toBeLessThanOrEqual(tenths + 1);
    // Else the bound is one that the storm kept by itself.
    expect(changes()).toBeGreaterThan(drawn);
    for (const frame of text().split(FRAME).slice(1)) {
      const lines = plain(frame).split(/\r*\n/);
      expect(lines.length).toBeLessThanOrEqual(14);
      expect(Math.max(...lines.map((line) => Bun.stringWidth(line)))).toBeLessThan(90);
    }
    terminal?.write("\u0003");
    expect(await child.exited).toBe(0);
    await waitFor("all of it arrived", () => text().endsWith("\r\n"));
    expect(terminal?.localFlags).toBe(flags as number);
    expect(new Set(text().match(MODE_SWITCH))).toEqual(new Set([FRAME, "\u001b[?2026l"]));
    expect(text().split("\u001b[?2026l")).toHaveLength(draws() + 1);
    expect(text().slice(text().lastIndexOf(FRAME))).not.toContain("Ctrl-C");
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    terminal?.close();
  }
}, 60_000);
