/**
 * Command lines that users of the Go proxy have in scripts, with what must and must not come of them.
 *
 * Owns the two tables; they run in order, and the later lines see what the earlier ones did. Invariant: no line names a
 * place on this machine. One table for both was rejected: without a proxy the same line means something else.
 */
import { expect } from "bun:test";

/** A secret that is in the configuration and on command lines, and in no output. */
export const CANARY = "canary-0123456789abcdef";
/** A command line, and what must and must not come of it. */
export interface Line {
  readonly line: string;
  readonly code: number;
  /** On stdout; a text is contained, an expression matches. */
  readonly out?: readonly (string | RegExp)[];
  /** On stderr; empty when nothing is named. */
  readonly err?: readonly (string | RegExp)[];
  /** Neither on stdout nor on stderr. */
  readonly not?: readonly string[];
  /** Looks at stdout as data; the line asks for JSON or YAML. */
  readonly data?: (data: Data) => void;
  readonly env?: Readonly<Record<string, string>>;
}

/** What a line printed, read. */
export interface Data {
  readonly [key: string]: Data;
}

/** With a running proxy. */
export const WITH_PROXY: readonly Line[] = [
  {
    line: "upstream list",
    code: 0,
    out: [
      /^NAME +PROTOCOL +TOOLS +STATUS +ACTION\n/,
      /^github +http +4 +Connected +-$/m,
      /^off +stdio +0 +disabled +upstream enable off$/m,
      /^held .* upstream approve held$/m,
    ],
  },
  {
    line: "upstream list --output=json",
    code: 0,
    data: (list) =>
      expect(list).toMatchObject([
        { name: "a b/ü", enabled: false },
        {
          name: "github",
          enabled: true,
          protocol: "http",
          connected: true,
          tool_count: 4,
          health: { level: "healthy", admin_state: "enabled", summary: "Connected", action: "" },
        },
        { name: "held", quarantined: true, health: { admin_state: "quarantined", action: "approve" } },
        { name: "off", enabled: false, connected: false },
      ]),
  },
  { line: "-o json upstream list", code: 0, data: (list) => expect(list).toHaveLength(4) },
  { line: "--json upstream list", code: 0, data: (list) => expect(list).toHaveLength(4) },
  {
    line: "upstream -o yaml list",
    code: 0,
    out: [/^- name: a b\/ü\n/],
    data: (list) => expect(list).toHaveLength(4),
  },
  {
    line: "upstream list",
    env: { MCPPROXY_OUTPUT: "json" },
    code: 0,
    data: (list) => expect(list).toHaveLength(4),
  },
  { line: "upstream list -o table", env: { MCPPROXY_OUTPUT: "json" }, code: 0, out: [/^NAME/] },
  { line: "upstream list -o toml", code: 2, err: ["'toml'", "Usage: mcpproxy upstream list"] },
  { line: "upstream list --log-level=debug", code: 0, out: [/^NAME/] },
  { line: "-l debug upstream list", code: 0, out: [/^NAME/] },
  { line: "upstream list github", code: 2, err: ["'github'"] },
  { line: "upstream", code: 2, err: ["list|add|"] },
  { line: "upstream lst", code: 2, err: ["'upstream lst'", "list"] },
  { line: "upstream --help", code: 0, out: ["add-json", "approve", "logs"] },
  { line: "upstream add --help", code: 0, out: ["--if-not-exists", "--no-quarantine", "-- COMMAND"] },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp --header 'Authorization: Bearer canary-0123456789abcdef' --header 'X-Org: a:b'",
    code: 0,
    out: ["Added server 'notion'", "mcpproxy upstream approve notion"],
  },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp",
    code: 1,
    err: ["'notion'"],
  },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp -o json",
    code: 1,
    data: (error) =>
      expect(error).toMatchObject({
        success: false,
        code: "SERVER_EXISTS",
        error: expect.stringContaining("notion") as string,
        request_id: expect.any(String) as string,
      }),
  },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp --if-not-exists",
    code: 0,
    err: ["Skipped: server 'notion' exists already"],
  },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp --if-not-exists -o json",
    code: 0,
    err: ["Skipped"],
    data: (skip) => expect(skip).toEqual({ name: "notion", skipped: true } as never),
  },
  {
    line: "upstream add fs --env 'ROOT=/data=x' --env DEBUG= --working-dir /tmp -- npx -y @scope/server-files --json -o x /path -c y",
    code: 0,
    out: ["Added server 'fs'", "It is quarantined: approve it with 'mcpproxy upstream approve fs'"],
  },
  {
    line: "upstream add fs2 -o json --transport stdio -- uvx mcp-server-sqlite --db 'my db'",
    code: 0,
    data: (added) => expect(added).toMatchObject({ name: "fs2", added: true, quarantined: true }),
  },
  {
    line: "upstream add open https://127.0.0.1:9/mcp --no-quarantine --transport http -o json",
    code: 0,
    data: (added) => expect(added).toMatchObject({ name: "open", quarantined: false }),
  },
  { line: "upstream add nothing", code: 2, err: ["Name a URL, or a command behind '--'"] },
  { line: "upstream add nothing --", code: 2, err: ["Name the command behind '--'"] },
  { line: "upstream add", code: 2, err: ["NAME is missing"] },
  {
    line: "upstream add x https://127.0.0.1:9/mcp --header canary-0123456789abcdef",
    code: 2,
    err: ["--header", "Name: value"],
  },
  { line: "upstream add x --env canary-0123456789abcdef -- cmd", code: 2, err: ["--env", "KEY=VALUE"] },
  { line: "upstream add x https://127.0.0.1:9/mcp --transport pigeon", code: 2, err: ["'pigeon'", "sse"] },
  { line: "upstream add a:b https://127.0.0.1:9/mcp", code: 2, err: ["a:b"] },
  {
    line: `upstream add-json weather '{"url":"https://127.0.0.1:9/w","headers":{"Authorization":"Bearer canary-0123456789abcdef"}}'`,
    code: 0,
    out: ["Added server 'weather'"],
  },
  { line: "upstream add-json broken '{canary-0123456789abcdef'", code: 2, err: ["no JSON object"] },
  { line: `upstream add-json broken '{"args":[]}'`, code: 2, err: ["neither 'url' nor 'command'"] },
  {
    line: "upstream inspect github",
    code: 0,
    out: [
      /^Name: +github$/m,
      /^Status: +Connected$/m,
      /^Tools: +4$/m,
      /^list_things +call_tool_read +Lists \[2J things$/m,
      /^wipe +call_tool_destructive/m,
    ],
  },
  {
    line: "upstream inspect github --output=json",
    code: 0,
    data: (server) =>
      expect(server).toMatchObject({ name: "github", tool_count: 4, tools: expect.any(Array) as [] }),
  },
  {
    line: "upstream inspect github --tool wipe",
    code: 0,
    out: [/^Tool: +github:wipe$/m, "Wipes all", "Schema:"],
  },
  { line: "upstream inspect github --tool nope", code: 1, err: ["'nope'", "upstream inspect github"] },
  { line: "upstream inspect held", code: 0, out: [/^Quarantined: yes$/m, "mcpproxy upstream approve held"] },
  { line: "upstream inspect githup", code: 1, err: ["'githup'"] },
  { line: "upstream enable held", code: 1, err: ["'held'", "mcpproxy upstream approve held"], not: ["POST"] },
  { line: "upstream approve fs2", code: 0, out: ["Approved server 'fs2'"] },
  { line: "upstream approve fs2", code: 0, out: ["Nothing to do"] },
  { line: "upstream approve github list_things", code: 2, err: ["single tools", "as a whole"] },
  { line: "upstream approve nobody", code: 1, err: ["'nobody'"] },
  { line: "upstream disable fs2", code: 0, out: ["Disabled server 'fs2'"] },
  { line: "upstream disable --server fs2", code: 0, out: ["Nothing to do"] },
  {
    line: "upstream disable -s fs2 -o json",
    code: 0,
    data: (done) => expect(done).toMatchObject({ server: "fs2", action: "disable" }),
  },
  { line: "upstream enable fs2 --server fs", code: 2, err: ["once"] },
  { line: "upstream enable", code: 2, err: ["--all"] },
  { line: "upstream enable 'a b/ü'", code: 0, out: ["Enabled server 'a b/ü'"] },
  { line: "upstream disable 'a b/ü'", code: 0, out: ["Disabled server 'a b/ü'"] },
  { line: "upstream disable --all", code: 2, err: ["--force"] },
  { line: "upstream disable --all github --force", code: 2, err: ["not both"] },
  { line: "upstream restart github", code: 0, out: ["Restarted server 'github'"] },
  {
    line: "upstream restart github --wait",
    code: 0,
    out: ["Restarted server 'github'", "1 server connected"],
  },
  { line: "upstream restart github --timeout 5s", code: 2, err: ["--wait"] },
  { line: "upstream restart nobody", code: 1, err: ["'nobody'"] },
  { line: "upstream restart", code: 2, err: ["--all"] },
  {
    line: "upstream patch notion --header 'Authorization: Bearer canary-0123456789abcdef' --header-remove X-Org",
    code: 0,
    out: ["Changed server 'notion'"],
  },
  { line: "upstream patch notion --init-timeout 3m", code: 0, out: ["Changed server 'notion'"] },
  { line: "upstream patch notion --init-timeout 3", code: 2, err: ["'3'"] },
  { line: "upstream patch notion", code: 2, err: ["nothing to change"] },
  { line: "upstream logs github --tail=100", code: 0, out: [/^$/] },
  {
    line: "upstream logs -s github -n 5 -o json",
    code: 0,
    data: (logs) => expect(logs).toMatchObject({ server_name: "github", logs: [], count: 0 }),
  },
  { line: "upstream logs", code: 2, err: ["Name a server"] },
  { line: "upstream logs github --tail x", code: 2, err: ["--tail"] },
  { line: "upstream logs nobody", code: 1, err: ["'nobody'"] },
  { line: "upstream import theirs.json --dry-run", code: 0, out: [/^SERVER +STATUS/, /^one /m, /^two /m] },
  {
    line: "upstream import theirs.json --server two --format claude-desktop -o json",
    code: 0,
    data: (done) => expect(done).toMatchObject({ added: 1 }),
  },
  { line: "upstream inspect two", code: 0, out: [/^Quarantined: +yes$/m], not: ["Groups:"] },
  { line: "upstream import nowhere.json", code: 4, err: ["nowhere.json"] },
  { line: "upstream remove weather", code: 2, err: ["--yes"] },
  { line: "upstream remove weather --yes", code: 0, out: ["Removed server 'weather'"] },
  { line: "upstream remove weather --yes", code: 1, err: ["'weather'"] },
  {
    line: "upstream remove weather -y --if-exists",
    code: 0,
    err: ["Skipped: server 'weather' is not there"],
  },
  {
    line: "upstream remove fs --yes -o json",
    code: 0,
    data: (done) => expect(done).toEqual({ name: "fs", removed: true } as never),
  },
  {
    line: `call tool-read --tool-name=github:list_things --json_args='{"a":1}'`,
    code: 0,
    out: [/^list_things \{"a":1\} 2J\n$/],
  },
  {
    line: `call tool-read -t github:list_things -j '{}' -o json`,
    code: 0,
    data: (result) => expect(result).toMatchObject({ content: [{ type: "text" }] }),
  },
  { line: "call tool-read -t github:list_things -o pretty", code: 0, out: ["list_things {}"] },
  { line: "call tool-read --tool-name=github:make_thing", code: 1, err: ["mcpproxy call tool-write"] },
  {
    line: `call tool-write --tool-name=github:make_thing --json_args '{"b":2}' --reason 'asked for' --sensitivity=internal`,
    code: 0,
    out: ['make_thing {"b":2}'],
  },
  { line: "call tool-write --tool-name=github:wipe", code: 1, err: ["mcpproxy call tool-destructive"] },
  { line: "call tool-destructive --tool-name=github:wipe --timeout=30s", code: 0, out: ["wipe {}"] },
  { line: "call tool-read --tool-name=github:fails", code: 1, err: ["it [31m failed"] },
  {
    line: "call tool-read --tool-name=github:fails -o json",
    code: 1,
    data: (result) => expect(result).toMatchObject({ isError: true }),
  },
  {
    line: "call tool-read --tool-name=github:list_thing",
    code: 1,
    err: ["github:list_thing", "Did you mean"],
  },
  { line: "call tool-read --tool-name=off:x", code: 1, err: ["'off'"] },
  {
    line: "call tool-read --tool-name=github:list_things --json_args 'canary-0123456789abcdef'",
    code: 2,
    err: ["no JSON object"],
  },
  { line: "call tool-read --json_args '{}'", code: 2, err: ["--tool-name is missing"] },
  {
    line: `call tool --tool-name=retrieve_tools --json_args='{"query":"wipe"}'`,
    code: 0,
    out: ["github:wipe"],
  },
  { line: "call tool -t github:list_things", code: 0, out: ["list_things"] },
  { line: "call", code: 2, err: ["tool-read"] },
  {
    line: "activity list --type tool_call --limit 3",
    code: 0,
    out: [
      /^ID +SRC +TYPE +SERVER +TOOL +INTENT +STATUS +DURATION +TIME\n/,
      /tool_call +github +\w+ +\w+ +\w+ /,
      /\nShowing 3 of \d+ records\n$/,
    ],
  },
  {
    line: "activity list --server github --status error -o json",
    code: 0,
    data: (page) =>
      expect(page["activities"]).toContainEqual(
        expect.objectContaining({ server_name: "github", status: "error" }) as never,
      ),
  },
  {
    line: "activity list --tool github:wipe --intent-type destructive --since 1h -o json",
    code: 0,
    data: (page) =>
      expect(page).toMatchObject({ total: 1, activities: [{ tool_name: "wipe", status: "success" }] }),
  },
  {
    line: "activity list --since 7d --no-icons --offset 1 -n 2 -o yaml",
    code: 0,
    data: (page) => expect(page).toMatchObject({ limit: 2, offset: 1 }),
  },
  { line: "activity list --type server_change -n 100", code: 0, out: [/ server_change +one \+1 +-/] },
  { line: "activity list --status nonsense", code: 2, err: ["'nonsense'"] },
  { line: "activity list --start-time yesterday", code: 2, err: ["yesterday"] },
  { line: "activity list --limit none", code: 2, err: ["--limit"] },
  {
    line: "activity list --request-id none -o json",
    code: 0,
    data: (page) => expect(page).toMatchObject({ activities: [], total: 0 }),
  },
  { line: "activity show 999999999", code: 1, err: ["999999999"] },
  { line: "activity show", code: 2, err: ["ID is missing"] },
  {
    line: "activity summary",
    code: 0,
    out: ["Activity of the last 24h", /^Total +\d+$/m, /^github +\d+$/m, /^github:list_things +\d+$/m],
  },
  {
    line: "activity summary --period 7d --by server",
    code: 0,
    out: [/^github +\d+$/m],
    not: ["github:list_things", "Successful"],
  },
  {
    line: "activity summary --period=1h -o json",
    code: 0,
    data: (sum) => expect(sum).toMatchObject({ period: "1h", total_count: expect.any(Number) as number }),
  },
  { line: "activity summary --period never", code: 2, err: ["never"] },
  { line: "activity summary --by color", code: 2, err: ["'color'"] },
  {
    line: "activity export --format csv --type tool_call",
    code: 0,
    out: [/^id,type,source,server_name,tool_name,status,/, /,tool_call,cli,github,/],
  },
  { line: "activity export --limit 2", code: 0, out: [/^\{"id":"\d+".*\}\n\{"id":"\d+".*\}\n$/] },
  { line: "activity export --format xml", code: 2, err: ["'xml'"] },
  { line: "activity export --output no/such/folder.jsonl", code: 2, err: ["folder.jsonl"] },
  { line: "registry list", code: 0, out: [/^ID +NAME +DESCRIPTION\n/, /^local +Local/m] },
  {
    line: "registry list -o json",
    code: 0,
    data: (list) =>
      expect(list).toContainEqual(expect.objectContaining({ id: "local", name: "Local" }) as never),
  },
  {
    line: "registry search weather -r local",
    code: 0,
    out: [
      /^ID +NAME +START +DESCRIPTION\n/,
      /^weather .*Weather ?\[?2?J? of today$/m,
      "mcpproxy registry add local ID",
    ],
    not: ["docs"],
  },
  {
    line: "registry search --registry local -l 5 -o json",
    code: 0,
    data: (list) =>
      expect(list).toMatchObject([{ id: "weather" }, { id: "docs", url: "https://docs.example/mcp" }]),
  },
  { line: "registry search weather", code: 2, err: ["--registry is missing", "registry list"] },
  { line: "registry search weather -r locl", code: 1, err: ["'locl'"] },
  { line: "search-servers -r local -s docs -l 1", code: 0, out: [/^docs /m], not: ["weather"] },
  { line: "search-servers --list-registries", code: 0, out: [/^local /m] },
  {
    line: "registry add local weather --name wx --env API_KEY=canary-0123456789abcdef",
    code: 0,
    out: ["Added server 'wx'", "upstream approve wx"],
  },
  { line: "registry add local nothing", code: 1, err: ["'nothing'"] },
  { line: "registry add local", code: 2, err: ["SERVER is missing"] },
  { line: "tools list --server github", code: 0, out: [/^github:list_things /m], not: ["off:"] },
  { line: "token create --name ci --permissions read", code: 2, err: ["--servers is missing"] },
  { line: "token create --servers github --permissions read", code: 2, err: ["--name is missing"] },
  {
    line: "token create --name ci --servers github --permissions read,write --expires 30d",
    code: 0,
    out: ["Token 'ci'", /mcp_agt_[\w-]{43}/, /^Permissions: read, write$/m, "not shown again"],
  },
  { line: "token create --name ci --servers github --permissions read", code: 1, err: ["'ci'"] },
  {
    line: "token create --name all --servers '*' --permissions read -o json",
    code: 0,
    data: (token) =>
      expect(token).toMatchObject({
        name: "all",
        allowed_servers: ["*"],
        token: expect.stringMatching(/^mcp_agt_/) as string,
      }),
  },
  {
    line: "token list",
    code: 0,
    out: [
      /^NAME +PREFIX +PERMISSIONS +STATE +EXPIRES +SERVERS\n/,
      /^ci +mcp_agt_\S* +read,write +valid +\S+ +github$/m,
    ],
  },
  { line: "token list -o json", code: 0, data: (list) => expect(list).toMatchObject({ total: 2 }) },
  { line: "token show ci", code: 0, out: [/^Name: +ci$/m, /^Servers: +github$/m] },
  { line: "token show nobody", code: 1, err: ["nobody"] },
  { line: "token regenerate ci", code: 0, out: [/mcp_agt_[\w-]{43}/] },
  { line: "token revoke ci", code: 0, out: ["Token 'ci' was revoked"] },
  { line: "token show ci", code: 0, out: [/^State: +revoked$/m] },
  { line: "token delete ci", code: 0, out: ["Token 'ci' was deleted"] },
  { line: "token revoke nobody", code: 1, err: ["nobody"] },
  {
    line: "upstream disable --all --force",
    code: 0,
    out: [/^Disabled \d servers; \d as wanted before, \d refused\n/],
    err: ["held: "],
  },
  {
    line: "upstream enable --all --force -o json",
    code: 0,
    err: ["held: "],
    data: (done) => expect(done).toMatchObject({ failed_servers: expect.any(Array) as [] }),
  },
  { line: "upstream restart --all", code: 0, out: [/^Restarted \d/] },
  { line: "--url http://127.0.0.1:9 upstream list", code: 3, err: ["127.0.0.1:9"] },
  { line: "--url nonsense upstream list", code: 2, err: ["'nonsense'"] },
];

/** Over a file that no proxy serves. */
export const WITHOUT_PROXY: readonly Line[] = [
  {
    line: "upstream list",
    code: 0,
    out: [
      /^NAME +PROTOCOL +TOOLS +STATUS +ACTION\n/,
      /^github +http +0 +Proxy not running +-$/m,
      /^off .* upstream enable off$/m,
    ],
    err: ["No proxy runs", "mcp_config.json", "mcpproxy serve"],
  },
  {
    line: "upstream list -o json",
    code: 0,
    err: ["No proxy runs"],
    data: (list) =>
      expect(list).toMatchObject([
        {
          name: "github",
          enabled: true,
          protocol: "http",
          connected: false,
          tool_count: 0,
          health: { admin_state: "enabled", summary: "Proxy not running" },
        },
        { name: "off", enabled: false, health: { admin_state: "disabled", action: "enable" } },
      ]),
  },
  {
    line: "upstream list -o yaml",
    code: 0,
    err: ["No proxy runs"],
    data: (list) => expect(list).toHaveLength(2),
  },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp --header 'Authorization: Bearer canary-0123456789abcdef'",
    code: 0,
    out: ["Added server 'notion'", "quarantined"],
    err: ["No proxy runs", "was changed"],
  },
  { line: "upstream add notion https://127.0.0.1:9/mcp", code: 1, err: ["'notion'"] },
  {
    line: "upstream add notion https://127.0.0.1:9/mcp --if-not-exists -o json",
    code: 0,
    err: ["Skipped"],
    data: (skip) => expect(skip).toEqual({ name: "notion", skipped: true } as never),
  },
  {
    line: "upstream add fs --no-quarantine -o json -- npx -y server-files",
    code: 0,
    err: ["was changed"],
    data: (added) => expect(added).toMatchObject({ name: "fs", added: true, quarantined: false }),
  },
  {
    line: `upstream add-json db '{"command":"uvx","args":["db"]}'`,
    code: 0,
    out: ["quarantined"],
    err: ["was changed"],
  },
  { line: "upstream enable off", code: 0, out: ["Enabled server 'off'"], err: ["was changed"] },
  { line: "upstream enable off", code: 0, out: ["Nothing to do"] },
  { line: "upstream disable --server fs", code: 0, out: ["Disabled server 'fs'"], err: ["was changed"] },
  { line: "upstream enable db", code: 1, err: ["'db'", "mcpproxy upstream approve db"] },
  { line: "upstream approve db", code: 0, out: ["Approved server 'db'"], err: ["was changed"] },
  { line: "upstream disable --all", code: 2, err: ["--force"] },
  {
    line: "upstream disable --all --force",
    code: 0,
    out: ["Disabled 3 servers; 1 as wanted before, 1 refused"],
    err: ["was changed", "notion: "],
  },
  {
    line: "upstream patch fs --env A=1",
    code: 0,
    out: ["Changed server 'fs'", "It is quarantined"],
    err: ["was changed"],
  },
  { line: "upstream remove off", code: 2, err: ["--yes"] },
  { line: "upstream remove off --yes", code: 0, out: ["Removed server 'off'"], err: ["was changed"] },
  { line: "upstream remove off --yes --if-exists", code: 0, err: ["Skipped"] },
  { line: "upstream remove off --yes", code: 1, err: ["'off'"] },
  { line: "upstream logs github", code: 0, err: ["has no lines"] },
  { line: "upstream logs nobody", code: 1, err: ["'nobody'"] },
  { line: "upstream logs github --follow", code: 3, err: ["mcpproxy serve"] },
  { line: "upstream restart github", code: 3, err: ["Cannot reach mcpproxy", "mcpproxy serve"] },
  { line: "upstream restart --all", code: 3, err: ["mcpproxy serve"] },
  {
    line: "upstream inspect github -o json",
    code: 3,
    data: (error) => expect(error).toMatchObject({ success: false, code: "NOT_REACHABLE" }),
  },
  { line: "call tool-read -t github:list_things", code: 3, err: ["mcpproxy serve"] },
  { line: "activity list", code: 3, err: ["mcpproxy serve"] },
  {
    line: "activity summary -o json",
    code: 3,
    data: (error) => expect(error).toMatchObject({ code: "NOT_REACHABLE" }),
  },
  { line: "activity export --output activity.jsonl", code: 3, err: ["mcpproxy serve"] },
  { line: "registry list", code: 3, err: ["mcpproxy serve"] },
  { line: "registry add official x", code: 3, err: ["mcpproxy serve"] },
  { line: "token list", code: 3, err: ["mcpproxy serve"] },
  { line: "tools list", code: 3, err: ["mcpproxy serve"] },
  { line: "--url http://127.0.0.1:9 upstream add x https://127.0.0.1:9/mcp", code: 3, err: ["127.0.0.1:9"] },
];
