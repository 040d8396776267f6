/**
 * Exit codes: every command, and each way it can end.
 *
 * What every command shares (a wrong flag, no proxy, a broken file) is derived from the table of commands, so that a new
 * one is in it; how it ends well and fails stands below for each of our own.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/commands.ts";
import { makeDefinition } from "../catalog/fixtures.ts";
import { tempDir } from "../fixtures/wait.ts";
import { serveTools } from "../gateway/fixtures.ts";
import type { ToolUpstream } from "../gateway/fixtures.ts";
import { openLiveProxy } from "../gateway/live_proxy.ts";
import type { LiveProxy } from "../gateway/live_proxy.ts";
import { verifies } from "../requirements.ts";
import { runLine } from "./run_line.ts";
import type { RanLine, RunLineOptions } from "./run_line.ts";

const NAMES = Object.keys(COMMANDS);
/** They do without a proxy, or are one. */
const WITHOUT_PROXY =
  /^(?:serve|mock|scale|version|connect.*|import.*|secrets .*|completion .*|config .*|upstream (?!inspect|restart).*)$/;
/** They read no configuration before they know what they are asked for, or mend one that cannot be read. */
const WITHOUT_FILE =
  /^(?:mock|scale|version|completion .*|config (?!check).*|connect.*|import.*|secrets .*|upstream import)$/;

/** Words a command cannot do without. */
function wordsOf(name: string): readonly string[] {
  const words = (COMMANDS[name]?.words ?? "").replace(/\[?-- .*/, "").replace("| JSON", "");
  const needed = words.split(" ").filter((word) => word !== "" && !word.startsWith("["));
  const values: Readonly<Record<string, string>> = {
    "KEY=VALUE…": "a=b",
    "WORD…": "x",
    ENTRY: '{"url": "http://x"}',
  };
  const extra: Readonly<Record<string, readonly string[]>> = {
    "servers add": ["http://127.0.0.1:9/mcp"],
    "upstream enable": ["x"],
    "upstream disable": ["x"],
    "upstream restart": ["x"],
    "upstream logs": ["x"],
    "upstream patch": ["--env", "A=b"],
    "upstream add": ["http://127.0.0.1:9/mcp"],
    "registry search": ["-r", "x"],
    "search-servers": ["--list-registries"],
    "token create": ["--name", "x", "--servers", "*", "--permissions", "read"],
    "upstream remove": ["--yes"],
  };
  const isCall = name.startsWith("call ");
  const isSelecting =
    /^servers (?:enable|disable|restart|quarantine|approve|reject|connect|disconnect|remove)$/.test(name);
  return [
    ...needed.map((word) => values[word] ?? "x"),
    ...(extra[name] ?? []),
    ...(isCall ? ["-t", "s:x"] : []),
    ...(isSelecting ? ["x"] : []),
  ];
}

test.each(NAMES)("mcpproxy %s exits 2 on a flag there is not, with its usage", async (name) => {
  verifies("CLI-EXIT-CODES");
  const { code, out, err } = await runLine([...name.split(" "), ...wordsOf(name), "--nonsense"]);
  expect([code, out]).toEqual([2, ""]);
  expect(err).toContain("nonsense");
  expect(err).toContain(`mcpproxy ${name.split(" ")[0]}`);
});

test.each(NAMES.filter((name) => !WITHOUT_PROXY.test(name)))(
  "mcpproxy %s exits 3 where no proxy runs, and says how to start one",
  async (name) => {
    verifies("CLI-EXIT-CODES");
    using folder = tempDir();
    const parts = { cwd: folder.path, home: folder.path };
    const line = [...name.split(" "), ...wordsOf(name)];
    const plain = await runLine(line, parts);
    expect([plain.code, plain.out]).toEqual([3, ""]);
    expect(plain.err).toContain("mcpproxy serve");
    const json = await runLine([...line, "--json"], parts);
    expect([json.code, json.err]).toEqual([3, ""]);
    expect(JSON.parse(json.out)).toMatchObject({ success: false, code: "NOT_REACHABLE" });
  },
);

test.each(NAMES.filter((name) => !WITHOUT_FILE.test(name)))(
  "mcpproxy %s exits 4 on a configuration that cannot be read",
  async (name) => {
    verifies("CLI-EXIT-CODES");
    using folder = tempDir();
    const path = join(folder.path, "broken.json");
    writeFileSync(path, '{"listen": 7, "mcpServers": []}');
    const line = [...name.split(" "), ...wordsOf(name), "-c", path];
    const { code, out, err } = await runLine(line, { cwd: folder.path, home: folder.path });
    expect([name, code]).toEqual([name, 4]);
    expect(out + err).toContain("broken.json");
  },
);

let upstream: ToolUpstream;
let proxy: LiveProxy;

beforeAll(async () => {
  const readOnly = { annotations: { readOnlyHint: true } };
  upstream = serveTools([makeDefinition("echo", readOnly), makeDefinition("fails", readOnly)], {
    call: (name) =>
      name === "fails" ? { content: [{ type: "text", text: "it failed" }], isError: true } : undefined,
  });
  const entry = { protocol: "http", url: upstream.url };
  proxy = await openLiveProxy({
    groups: [{ id: 1, name: "Work" }],
    mcpServers: [
      { name: "s", ...entry, groups: ["Work"] },
      { name: "off", ...entry, startup_mode: "disabled" },
      { name: "held", ...entry, startup_mode: "quarantined", groups: ["Work"] },
      { name: "dead", protocol: "http", url: "http://127.0.0.1:9/mcp" },
    ],
  });
  await proxy.untilReady("s");
});

afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
});

function textOf(line: string | readonly string[]): string {
  return typeof line === "string" ? line : line.join(" ");
}

function here(line: string | readonly string[], options: RunLineOptions = {}): Promise<RanLine> {
  const words = typeof line === "string" ? line.split(" ") : line;
  return runLine(["-d", join(proxy.folder, "data"), ...words], {
    cwd: proxy.folder,
    home: proxy.folder,
    ...options,
  });
}

const WATCHED = { size: { columns: 80, rows: 20 }, until: /live/ } as const;

/** In the order in which they are run: what one adds, another one removes. */
const ENDS: readonly (readonly [
  line: string | readonly string[],
  code: number,
  told: RegExp,
  options?: RunLineOptions,
])[] = [
  ["status", 0, /running|starting/],
  ["status --watch", 0, /live/, WATCHED],
  ["doctor", 1, /error/],
  ["doctor --json", 1, /"findings"/],
  ["doctor --server s", 0, /Nothing is wrong|warning|note/],
  ["events --since 0", 0, /server_state_changed/, { until: /server_state_changed/ }],
  ["events --types nonsense", 2, /nonsense/],
  ["events --since x", 2, /'x'/],
  ["logs", 0, /no log file|^/],
  ["logs s", 0, /^/],
  ["logs nobody", 1, /nobody/],
  ["logs s --level warn", 2, /level/],
  ["logs --level loud", 2, /loud/],
  ["logs --tail 0", 2, /0/],
  ["servers list", 0, /^s +connected/m],
  [["servers", "add", "p", "--dry-run", "--", "server", "--help"], 0, /'p' added/],
  ["servers list --category nonsense", 2, /nonsense/],
  ["servers list --group nobody", 1, /nobody/],
  ["servers list --limit x", 2, /limit/],
  ["servers list --watch", 0, /live/, WATCHED],
  ["servers show s", 0, /connected/],
  ["servers show nobody", 1, /nobody/],
  ["servers show", 2, /SERVER is missing/],
  ["servers show s extra", 2, /extra/],
  ["servers tools s", 0, /s:echo/],
  ["servers tools nobody", 1, /nobody/],
  ["servers logs s", 0, /^/],
  ["servers logs nobody", 1, /nobody/],
  [
    "servers add new http://127.0.0.1:9/mcp --mode disabled --group Work --tag t --env A=b",
    0,
    /'new' added: quarantined\n.*'mcpproxy servers approve new'/,
  ],
  ["servers add new http://127.0.0.1:9/mcp", 1, /new/],
  ["servers add new http://127.0.0.1:9/mcp --if-not-exists", 0, /there already/],
  ["servers add new", 2, /neither a URL nor a command/],
  ["servers add new npx --no-install y", 2, /Put '--' before the command/],
  ["servers add new npx -y server", 2, /Put '--' before the command/],
  ["servers add new http://127.0.0.1:9/mcp --no-install", 2, /^.*\nUsage: /],
  ["upstream add new npx --no-install y", 2, /Put '--' before the command/],
  [["servers", "add", "x:y", "http://127.0.0.1:9/mcp"], 2, /x:y/],
  ["servers add other http://127.0.0.1:9/mcp --header nonsense", 2, /header/],
  ['servers patch new description=text tags=["a"]', 0, /'new' changed.*description/],
  [["servers", "patch", "new", '{"description": "other"}', "--dry-run"], 0, /Nothing was written/],
  ["servers patch new", 2, /nothing to change/],
  ["servers patch new nonsense", 2, /KEY=VALUE/],
  ["servers patch nobody a=b", 1, /nobody/],
  [["servers", "patch", "new", "{"], 2, /no JSON/],
  ["servers rename new newer", 0, /^'new' is 'newer' now\n$/],
  ["servers rename nobody x", 1, /nobody/],
  ["servers enable s dead", 0, /unchanged/],
  ["servers enable s --wait --timeout 20s", 0, /1 server connected/],
  ["servers enable held", 1, /servers approve/],
  ["servers enable s held", 1, /held +QUARANTINED/],
  ["servers enable s nobody", 1, /nobody +SERVER_UNKNOWN/],
  ["servers enable", 2, /none is named/],
  ["servers enable --group nobody", 1, /nobody/],
  ["servers enable s --timeout 5s", 2, /--wait/],
  ["servers enable s --wait --timeout soon", 2, /soon/],
  ["servers disable --not-connected-for x", 2, /'x'/],
  ["servers disable --category disconnected --dry-run", 0, /Would disable/],
  ["servers approve newer", 0, /Approved 'newer'/],
  ["servers disable --category disconnected,disabled --dry-run", 0, /Would disable 1 server, \d unchanged/],
  ["servers disable -g Work --category connected --tag t --dry-run", 0, /Would disable 0 servers/],
  ["servers disable newer", 0, /Disabled 'newer'/],
  ["servers restart s --wait --timeout 20s", 0, /1 server connected/],
  ["servers restart nobody", 1, /nobody/],
  ["servers connect s", 0, /Connecting 's'/],
  ["servers connect off", 1, /disabled/],
  ["servers connect dead --wait --timeout 20s", 1, /1 failed/],
  ["servers disconnect s nobody", 1, /1 refused/],
  ["servers disconnect s", 0, /Disconnected 's'/],
  ["servers connect s --wait", 0, /1 server connected/],
  ["servers quarantine newer", 0, /Quarantined 'newer'/],
  ["servers quarantine nobody", 1, /nobody/],
  ["servers reject newer held", 0, /Rejected 2 servers/],
  ["servers reject nobody", 1, /nobody/],
  ["servers quarantine newer held", 0, /Quarantined 2 servers/],
  ["servers approve nobody", 1, /nobody/],
  ["servers approve --all", 0, /Approved 2 servers/],
  ["servers approve --all", 0, /none to approve/],
  ["servers remove newer nobody --if-exists", 0, /Removed/],
  ["servers remove nobody", 1, /nobody/],
  ["servers remove --category disabled", 2, /^Cannot remove \d servers? without asking.*\n.*--yes/],
  ["servers remove --category disabled", 1, /^/, { ask: () => Promise.resolve("n") }],
  ["groups list", 0, /^Work +1 /m],
  ["groups list --watch", 0, /live/, WATCHED],
  ["groups show work", 0, /mcp\/g\/work/],
  ["groups show nobody", 1, /nobody/],
  ["groups create Other --parent Work --color #00aaff", 0, /Made group 'Other'/],
  ["groups create Other", 1, /Other/],
  ["groups create Third --parent nobody", 4, /nobody/],
  ["groups update Other --name More", 0, /Changed group 'More'/],
  ["groups update nobody --name x", 1, /nobody/],
  ["groups assign More s dead", 0, /Assigned 2 servers/],
  ["groups assign More nobody", 1, /SERVER_UNKNOWN/],
  ["groups assign More", 2, /SERVER is missing/],
  ["groups unassign More dead", 0, /Unassigned 1 server/],
  ["groups unassign nobody s", 1, /nobody/],
  ["groups enable More --wait --timeout 20s", 0, /1 server connected/],
  ["groups enable nobody", 1, /nobody/],
  ["groups disable More --dry-run", 0, /Would disable 1 server/],
  ["groups disable nobody", 1, /nobody/],
  ["groups restart More --wait --timeout 20s", 0, /1 server connected/],
  ["groups restart nobody", 1, /nobody/],
  ["groups quarantine More --dry-run", 0, /Would quarantine/],
  ["groups quarantine nobody", 1, /nobody/],
  ["groups delete More", 0, /Deleted group 'More'/],
  ["groups delete More", 1, /More/],
  ["tools list", 0, /s:echo/],
  ["tools list --group nobody", 1, /nobody/],
  ["tools search echo", 0, /s:echo/],
  ["tools search echo --limit x", 2, /limit/],
  ["tools call s:echo {}", 0, /echo/],
  ["tools call s:fails", 1, /it failed/],
  ["tools call nobody:x", 1, /nobody/],
  ["tools call everything", 1, /'mcpproxy tools search'/],
  [["tools", "call", "s:echo", "{bad"], 2, /no JSON object/],
  ["token create --name t --servers elsewhere --permissions read", 2, /'mcpproxy servers list'/],
  ["token delete nobody", 1, /'mcpproxy token list'/],
  ["activity show 999999", 1, /'mcpproxy activity list'/],
  ["tools preflight s:echo", 0, /ready +s:echo/],
  ["tools preflight s:echo dead:x", 10, /degraded +dead:x/],
  ["tools preflight s:echo dead:x off:echo", 11, /blocked +off:echo/],
  ["tools preflight s:echo dead:x off:echo nobody:x", 12, /unknown +nobody:x/],
  ["tools preflight", 2, /TOOL is missing/],
  ["tools explain s:echo --query echo", 0, /Can be found: +yes/],
  ["tools explain off:echo", 0, /SERVER_DISABLED/],
  ["tools explain", 2, /TOOL is missing/],
  ["config history", 0, /Revision/],
  ["config diff nonsense", 1, /nonsense/],
  ["config diff", 2, /ID is missing/],
  ["config rollback nonsense", 1, /nonsense/],
  ["config schema", 0, /mcpServers/],
  ["completion bash", 0, /complete -F/],
  ["completion zsh", 0, /#compdef/],
  ["completion fish", 0, /complete -c/],
  ["completion", 2, /bash, zsh or fish/],
  ["completion tcsh", 2, /tcsh/],
  ["completion words -- servers sh", 0, /^show/],
  ["completion words -- --nonsense", 0, /^$/],
];

test("each of our commands ends with its code, and says why", async () => {
  verifies("CLI-EXIT-CODES");
  for (const [line, code, told, options] of ENDS) {
    const ran = await here(line, options);
    const text = textOf(line);
    expect([text, ran.code, ran.out + ran.err]).toEqual([text, code, expect.stringMatching(told) as string]);
    // What went wrong is told on stderr; a batch that did some of it tells on stdout.
    if (code === 2) expect([text, ran.out]).toEqual([text, ""]);
  }
}, 120_000);

test("each of our commands is in the table of ends, with a good end and a bad one where it can fail", () => {
  const OURS = /^(?:servers|groups|tools|status|doctor|events|logs|completion)\b/;
  const lines = ENDS.map(([line, code]) => [textOf(line), code] as const);
  for (const name of NAMES.filter((each) => OURS.test(each))) {
    const codes = lines.filter(([line]) => `${line} `.startsWith(`${name} `)).map(([, code]) => code);
    const isHarmless = /^(?:status|groups list|completion \w+)$/.test(name);
    expect([name, codes.includes(0), isHarmless || codes.some((code) => code !== 0)]).toEqual([
      name,
      true,
      true,
    ]);
  }
});

test("a whole selection is removed once a person said so", async () => {
  const asked: string[] = [];
  const ask = (question: string): Promise<string> => {
    asked.push(question);
    return Promise.resolve("n");
  };
  expect(await here("servers remove --all", { ask })).toMatchObject({ code: 1, out: "" });
  expect(asked).toEqual([expect.stringMatching(/^Remove \d+ servers\? \[y\/N\] $/) as string]);
});

test("--wait looks at what was asked for, not at the failure of before", async () => {
  let isUp = false;
  await using real = serveTools([makeDefinition("echo")]);
  const gate = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      if (!isUp) return new Response(null, { status: 404 });
      return fetch(real.url, {
        method: request.method,
        headers: request.headers,
        body: await request.text(),
      });
    },
  });
  try {
    await using own = await openLiveProxy({
      mcpServers: [{ name: "late", protocol: "http", url: `http://127.0.0.1:${gate.port}/mcp` }],
    });
    const parts = { cwd: own.folder, home: own.folder };
    const line = ["-d", join(own.folder, "data"), "servers", "connect", "late", "--wait", "--timeout", "20s"];
    const failed = await runLine(line, parts);
    expect([failed.code, failed.err]).toEqual([1, expect.stringContaining("404") as string]);
    isUp = true;
    expect(await runLine(line, parts)).toMatchObject({ code: 0, err: "" });
    expect((await own.server("late"))["status"]).toBe("ready");
  } finally {
    await gate.stop(true);
  }
}, 30_000);
