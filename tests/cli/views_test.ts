/**
 * What commands print: the API's data for programs, and nothing for people that steers their terminal.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { appendFileSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { newLines } from "../../src/cli/logs.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { waitFor } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { runLine } from "./run_line.ts";
import type { RanLine, RunLineOptions } from "./run_line.ts";

/** Clears the screen, sets the title, rings; the last two as C1 signs. */
const EVIL = "\u001b[2J\u001b]0;owned\u0007\u009b31m\u0085";
const WIDE = { columns: 120, rows: 40 };

let upstream: ToolUpstream;
let hostile: ToolUpstream;
let proxy: LiveProxy;

beforeAll(async () => {
  const readOnly = { annotations: { readOnlyHint: true } };
  upstream = serveTools(
    [makeDefinition("echo", { ...readOnly, description: `Echoes ${EVIL} what it gets` })],
    { call: () => ({ content: [{ type: "text", text: `${EVIL}said` }] }) },
  );
  hostile = serveTools([]);
  const refusing = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { id } = (await request.json()) as { id?: number };
      return Response.json({ jsonrpc: "2.0", id: id ?? null, error: { code: -32603, message: `${EVIL}no` } });
    },
  });
  refusing.unref();
  const noisy = ["-e", `process.stderr.write(${JSON.stringify(`${EVIL}last words\n`)}); process.exit(3)`];
  proxy = await openLiveProxy({
    auto_disable_threshold: 0,
    groups: [
      { id: 1, name: "Work", description: `for ${EVIL} work`, icon_emoji: EVIL },
      { id: 2, name: "Cloud", parent: 1 },
    ],
    mcpServers: [
      { name: "s", protocol: "http", url: upstream.url, groups: ["Cloud"], description: `a ${EVIL} b` },
      { name: "evil", protocol: "http", url: `http://127.0.0.1:${refusing.port}/mcp`, groups: ["Work"] },
      { name: "noisy", command: process.execPath, args: noisy },
      { name: "off", protocol: "http", url: upstream.url, startup_mode: "disabled", tags: ["a", "b"] },
    ],
  });
  await proxy.untilReady("s");
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
  await hostile[Symbol.asyncDispose]();
});

function here(line: string | readonly string[], options: RunLineOptions = {}): Promise<RanLine> {
  const words = typeof line === "string" ? line.split(" ") : line;
  const parts = { cwd: proxy.folder, home: proxy.folder, ...options };
  return runLine(["-d", join(proxy.folder, "data"), ...words], parts);
}

/** Numbers that are others with each look. */
const VOLATILE = new Set([
  "uptime_ms",
  "timestamp",
  "took",
  "took_ms",
  "next_attempt_at",
  "since",
  "attempt",
]);

function steady(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (key, item: unknown) => (VOLATILE.has(key) ? "…" : item)));
}

test.each<[string, string]>([
  ["servers list", "/servers"],
  [
    "servers list --category connected,disabled --sort -name",
    "/servers?category=connected,disabled&sort=-name",
  ],
  ["servers list --group work -q S --limit 1", "/servers?group=work&q=S&limit=1"],
  ["servers list --tag b --protocol http", "/servers?tag=b&protocol=http"],
  ["servers show off", "/servers/off"],
  ["servers tools s", "/servers/s/tools"],
  ["servers logs off", "/servers/off/logs"],
  ["logs off", "/servers/off/logs"],
  ["groups list", "/groups"],
  ["groups show cloud", "/groups/cloud"],
  ["tools list --server s", "/tools?server=s"],
  ["tools search echo --limit 3", "/index/search?q=echo&limit=3"],
  ["tools explain off:echo", "/tools/explain?id=off%3Aecho"],
  ["tools preflight s:echo off:echo", "/preflight?tools=s:echo&tools=off:echo"],
  ["config history", "/config/history"],
])("mcpproxy %s --json prints the data of %s unchanged, and -o yaml the same", async (line, path) => {
  verifies("CLI-JSON-UNCHANGED");
  const { data } = await proxy.ask(`GET ${path}`);
  expect(Object.keys(data).length).toBeGreaterThan(0);
  const json = await here(`${line} --json`);
  expect(steady(JSON.parse(json.out))).toEqual(steady(data));
  const yaml = await here(`${line} -o yaml`);
  const plain = JSON.parse(JSON.stringify(data).replaceAll(/[\u007f-\u009f]/g, "\ufffd")) as unknown;
  expect(steady(Bun.YAML.parse(yaml.out))).toEqual(steady(plain));
});

test("mcpproxy status --json is the status with its servers, doctor --json the diagnosis", async () => {
  verifies("CLI-JSON-UNCHANGED");
  const [status, servers, doctor] = await Promise.all(
    ["/status", "/servers", "/doctor"].map((path) => proxy.ask(`GET ${path}`)),
  );
  const ran = JSON.parse((await here("status --json")).out) as unknown;
  const { last_event_id: _, ...expected } = status?.data ?? {};
  expect(steady(ran)).toMatchObject(steady({ ...expected, servers: servers?.data["servers"] }) as object);
  const found = JSON.parse((await here("doctor --json")).out) as { readonly total_issues: number };
  expect(found.total_issues).toBe(Number(doctor?.data["total_issues"]));
});

const LINES: readonly (readonly [line: string, options?: RunLineOptions])[] = [
  ["status"],
  ["status --watch", { until: /live/ }],
  ["servers list"],
  ["servers list --watch", { until: /live/ }],
  ["servers show s"],
  ["servers show evil"],
  ["servers show noisy"],
  ["servers tools s"],
  ["servers logs noisy"],
  ["logs noisy -f", { until: /last words/ }],
  ["groups list"],
  ["groups show work"],
  ["groups list --watch", { until: /live/ }],
  ["tools list"],
  ["tools search echoes"],
  ["tools call s:echo"],
  ["tools explain evil:x"],
  ["tools preflight evil:x noisy:x"],
  ["doctor"],
  ["events --since 0", { until: /noisy/ }],
  ["servers restart evil noisy off"],
];

/** What a live view moves the cursor with. */
// oxlint-disable-next-line no-control-regex -- escape sequences are what this is about
const REDRAW = /\u001b\[(?:\?2026[hl]|\d*A|[JK])|\r/g;
// oxlint-disable-next-line no-control-regex -- escape sequences are what this is about
const COLOUR = /\u001b\[(?:0|1|2|31|32|33|36)m/g;
// oxlint-disable-next-line no-control-regex -- control characters are what must not be there
const CONTROL = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;

test("nothing a server says reaches a terminal as an escape sequence, coloured or not, in any format", async () => {
  verifies("CLI-NO-ESCAPES");
  let coloured = 0;
  for (const [line, options = {}] of LINES) {
    const inColour = await here(line, { size: WIDE, ...options });
    coloured += inColour.out.match(COLOUR)?.length ?? 0;
    const isLive = line.includes("--watch");
    const rest = (isLive ? inColour.out.replaceAll(REDRAW, "") : inColour.out).replaceAll(COLOUR, "");
    expect([line, rest + inColour.err]).toEqual([line, expect.not.stringMatching(CONTROL) as string]);
    const plain = await here(line, { size: WIDE, env: { NO_COLOR: "1" }, ...options });
    expect([line, plain.out]).toEqual([line, expect.not.stringMatching(COLOUR) as string]);
    if (isLive) continue;
    for (const format of ["", " --json", " -o yaml"]) {
      const piped = await here(
        `${line}${format}`,
        options.until === undefined ? {} : { until: /evil|noisy|words/ },
      );
      expect([line, format, piped.out]).toEqual([line, format, expect.not.stringMatching(CONTROL) as string]);
    }
  }
  expect(coloured).toBeGreaterThan(50);
});

test("a terminal gets colours, one of 60 columns no wider line, and the reason in a line of its own", async () => {
  const wide = await here("servers list", { size: WIDE });
  expect(wide.out).toContain("\u001b[32mconnected");
  const narrow = await here("servers list", { size: { columns: 60, rows: 20 }, env: { NO_COLOR: "1" } });
  const table = narrow.out.split("\n\n")[0] ?? "";
  for (const line of table.split("\n")) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(60);
  expect(table).toMatch(/^noisy +disconnected +0 +\d+s\n {2}\S/m);
  const dumb = await here("servers list", { size: WIDE, env: { TERM: "dumb" } });
  expect(dumb.out).not.toContain("\u001b");
});

test("groups list counts the servers of the groups below, and those that fail", async () => {
  const { out } = await here("groups list");
  expect(out).toMatch(/^GROUP +ID +SERVERS +CONNECTED +FAILING/);
  expect(out).toMatch(/^Work .*1 +2 +1 +1/m);
  expect(out).toMatch(/^Cloud +2 +1 +1 +0 +Work/m);
});

test("a batch names who was refused, with the code, in a table and as data", async () => {
  verifies("BATCH-NAMES-FAILED");
  const plain = await here("servers disable off nobody");
  expect([plain.code, plain.err, plain.out]).toEqual([
    1,
    "",
    expect.stringMatching(
      /^Disabled 0 servers, 1 unchanged, 1 refused\n\nREFUSED +CODE +WHY\nnobody +SERVER_UNKNOWN/,
    ) as string,
  ]);
  const json = await here("servers disable off nobody --json");
  expect(JSON.parse(json.out)).toMatchObject({
    partial_failure: true,
    failed_servers: [{ server: "nobody", code: "SERVER_UNKNOWN" }],
  });
});

test("logs prints the proxy's own log from its file, also without a proxy, by level and number, and follows it", async () => {
  const folder = join(proxy.folder, "elsewhere");
  const log = join(folder, "data/logs/main.log");
  mkdirSync(join(folder, "data/logs"), { recursive: true });
  const line = (level: string, text: string): string => `2026-01-02T03:04:05.000Z ${level} ${text}\n`;
  writeFileSync(
    log,
    `${line("INFO ", "one")}${line("WARN ", "two")}  of two\n${line("ERROR", `three${EVIL}`)}half a li`,
  );
  const at = (words: string, options: RunLineOptions = {}): Promise<RanLine> =>
    runLine(["logs", "-d", join(folder, "data"), ...words.split(" ").filter(Boolean)], {
      cwd: folder,
      home: folder,
      ...options,
    });
  const all = await at("");
  expect([all.code, all.out.split("\n").length]).toEqual([0, 5]);
  expect(all.out).not.toMatch(/half/);
  expect(all.out).not.toMatch(CONTROL);
  expect((await at("--level warn")).out).toMatch(/^\S+ WARN {2}two\n {2}of two\n\S+ ERROR three/);
  expect((await at("--tail 1")).out).toMatch(/^\S+ ERROR three.*\n$/);
  expect(JSON.parse((await at("--level error --json")).out)).toMatchObject({ count: 1 });
  const followed = at("-f --level warn", {
    until: /after the new file/,
    onOut: (text) => {
      if (text.includes("three"))
        appendFileSync(log, `ne\n${line("INFO ", "quiet")}${line("WARN ", "loud")}`);
      if (text.includes("loud")) {
        renameSync(log, `${log}.1`);
        writeFileSync(log, line("WARN ", "after the new file"));
      }
    },
  });
  expect((await followed).out.match(/loud|quiet|after the new file/g)).toEqual([
    "loud",
    "after the new file",
  ]);
});

test("logs -f SERVER prints each new line once, over a ring that forgets", () => {
  expect(newLines([], ["a"])).toEqual(["a"]);
  expect(newLines(["a", "b"], ["a", "b"])).toEqual([]);
  expect(newLines(["a", "b"], ["a", "b", "b"])).toEqual(["b"]);
  expect(newLines(["a", "b", "c"], ["b", "c", "d"])).toEqual(["d"]);
  expect(newLines(["a", "b"], ["x", "y"])).toEqual(["x", "y"]);
  expect(newLines(["a"], [])).toEqual([]);
});

test.each(["from the file beside the key", "through the API of another machine"])(
  "logs -f SERVER goes on with what the server writes, %s",
  async (way) => {
    const talk = "process.stderr.write(`words of ${process.pid}\\n`); process.exit(3)";
    await using own = await openLiveProxy({
      api_key: "k".repeat(32),
      mcpServers: [{ name: "talks", command: process.execPath, args: ["-e", talk] }],
    });
    await waitFor("it failed", async () => (await own.server("talks"))["status"] === "error");
    const isRemote = way.includes("API");
    let asked: Promise<unknown> | undefined;
    const ran = await runLine(
      ["logs", "talks", "-f", ...(isRemote ? ["--url", own.url()] : ["-d", join(own.folder, "data")])],
      {
        cwd: isRemote ? "/nonexistent" : own.folder,
        home: own.folder,
        env: isRemote ? { MCPPROXY_API_KEY: "k".repeat(32) } : {},
        until: /words of (\d+)\n[\s\S]*words of (?!\1\n)/,
        onOut: () => {
          asked ??= own.ask("POST /servers/talks/restart", {});
        },
      },
    );
    await asked;
    const lines = ran.out.match(/words of \d+/g) ?? [];
    expect([ran.code, lines.length]).toEqual([0, new Set(lines).size]);
  },
);

test("without a log file logs tells the warnings and errors the proxy remembers", async () => {
  await using bare = await openLiveProxy({
    logging: { enable_file: false },
    mcpServers: [{ name: "dead", protocol: "http", url: "http://127.0.0.1:9/mcp" }],
  });
  const { code, out, err } = await runLine(["logs", "-c", bare.path, "-d", join(bare.folder, "data")], {
    cwd: bare.folder,
    home: bare.folder,
  });
  expect(code).toBe(0);
  expect(err).toContain("no log file");
  // The log of a proxy in a test publishes nothing; that all of what it remembers was read is what can be seen.
  expect(out.split("\n").filter((line) => !/WARN|ERROR|^$/.test(line))).toEqual([]);
});
