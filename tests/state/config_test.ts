/**
 * What a configuration means: precedence, defaults, both forms of `mcpServers`, the older switches.
 *
 * Owns the right files; the broken ones are in `config_faults_test.ts`. Every file here is made in a folder
 * of its own, which is gone afterwards.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { runConfigCheck, runConfigSchema } from "../../src/cli/config.ts";
import { printFailure } from "../../src/cli/command.ts";
import { ProxyError } from "../../src/core/errors.ts";
import { loadConfig, parseConfig } from "../../src/state/config.ts";
import { configJsonSchema } from "../../src/state/config_schema.ts";
import { judgeServerName } from "../../src/state/config_server.ts";
import { maskSecrets, resolveSecrets, resolveServer, secretReferences } from "../../src/state/secrets.ts";
import { verifies } from "../requirements.ts";
import type { Config } from "../../src/core/settings.ts";
import type { ParseOptions } from "../../src/state/config.ts";

let folder = "";
let count = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "mcpproxy-config-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function room(files: Readonly<Record<string, string>> = {}): string {
  const path = join(folder, String(count++));
  mkdirSync(join(path, "home"), { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

function parse(value: unknown, options: Partial<ParseOptions> = {}): Config {
  return parseConfig(typeof value === "string" ? value : JSON.stringify(value), {
    path: "/etc/m/c.json",
    home: "/home/u",
    ...options,
  });
}

function serverOf(entry: object): Config["servers"][number] {
  const [server] = parse({ mcpServers: [{ name: "a", command: "x", ...entry }] }).servers;
  if (server === undefined) throw new Error("no server");
  return server;
}

async function refusal(promise: Promise<unknown>): Promise<ProxyError> {
  const error = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!(error instanceof ProxyError)) throw new Error("expected a ProxyError");
  return error;
}

test("parseConfig() gives every setting its default", () => {
  const { settings, servers, faults, findings } = parse("{}");
  expect({ servers, faults, findings }).toEqual({ servers: [], faults: [], findings: [] });
  expect(settings).toEqual({
    listen: { hostname: "127.0.0.1", port: 8080 },
    dataDir: "/home/u/.mcpproxy",
    trustedHosts: [],
    requireMcpAuth: false,
    toolsLimit: 15,
    toolResponseLimit: 20_000,
    toolResponseMode: "compact",
    callToolTimeoutMs: 120_000,
    connectionTimeoutMs: 60_000,
    maxConcurrentConnections: 10,
    maxWaitingConnections: 64,
    enableLazyLoading: false,
    idleDisconnectMs: 600_000,
    autoDisableThreshold: 3,
    healthCheckIntervalMs: 30_000,
    toolDiscoveryIntervalMs: 300_000,
    supervision: {
      firstDeadlineMs: 20_000,
      firstRunTimeoutMs: 180_000,
      startPatience: { stdioMs: 2_000, httpMs: 250 },
      backoffBaseMs: 1_000,
      backoffCapMs: 300_000,
      recoverAfterMs: 600_000,
      cascadeWindowMs: 60_000,
      restartBudget: 5,
      stopGraceMs: 2_000,
      termGraceMs: 3_000,
    },
    concurrency: { maxConcurrentRequests: 0, queueSize: 100, queueTimeoutMs: 30_000 },
    serverConcurrency: { maxConcurrentRequests: 0, queueSize: 100 },
    unannotatedTools: "write",
    readOnlyMode: false,
    enableSocket: true,
    disableManagement: false,
    allowServerAdd: true,
    allowServerRemove: true,
    quarantineEnabled: true,
    persistAutoDisableToConfig: false,
    adminTools: "separate",
    enableWebUi: true,
    legacyTools: false,
    routingMode: "retrieve_tools",
    environment: {
      inheritSystemSafe: true,
      allowedSystemVars: [],
      customVars: new Map(),
      enhancePath: false,
    },
    logLevel: "info",
    logging: {
      level: "info",
      enableFile: true,
      enableConsole: true,
      logDir: "/home/u/.mcpproxy/logs",
      maxSizeBytes: 10 * 1024 * 1024,
      maxBackups: 5,
      maxAgeDays: 30,
      compress: true,
      jsonFormat: false,
    },
    activity: { retentionMs: 30 * 86_400_000, maxRows: 1_000_000 },
    tracing: { headers: new Map(), sampleRatio: 1 },
    groups: [],
    registries: [
      expect.objectContaining({ id: "official" }),
      expect.objectContaining({ id: "reference" }),
      expect.objectContaining({ id: "docker-mcp-catalog" }),
    ],
  });
});

test("parseConfig() reads what the supervision is told, for all servers and for one", () => {
  const { settings, faults } = parse({
    connection_timeout: "2m",
    max_waiting_connections: 3,
    idle_disconnect: "0s",
    auto_disable_threshold: 0,
    health_check_interval: "0s",
    tool_discovery_interval: "1h",
    supervision: {
      first_deadline: "1s",
      start_patience: { stdio: "10ms", http: "20ms" },
      backoff_base: "30ms",
      backoff_cap: "40ms",
      recover_after: "50ms",
      cascade_window: "60ms",
      restart_budget: 7,
      stop_grace: "70ms",
      term_grace: "80ms",
    },
    logging: { log_dir: "~/l", max_size: 0, max_backups: 0, max_age: 0, compress: false, json_format: true },
  });
  expect(faults).toEqual([]);
  expect(settings).toMatchObject({
    maxWaitingConnections: 3,
    idleDisconnectMs: 0,
    autoDisableThreshold: 0,
    healthCheckIntervalMs: 0,
    toolDiscoveryIntervalMs: 3_600_000,
    supervision: {
      firstDeadlineMs: 1_000,
      // Three times the connection timeout, three minutes at least.
      firstRunTimeoutMs: 360_000,
      startPatience: { stdioMs: 10, httpMs: 20 },
      backoffBaseMs: 30,
      backoffCapMs: 40,
      recoverAfterMs: 50,
      cascadeWindowMs: 60,
      restartBudget: 7,
      stopGraceMs: 70,
      termGraceMs: 80,
    },
    logging: {
      logDir: "/home/u/l",
      maxSizeBytes: 10 * 1024 * 1024,
      maxBackups: 0,
      maxAgeDays: 0,
      compress: false,
      jsonFormat: true,
    },
  });
  expect(parse({ supervision: { first_run_timeout: "5s" } }).settings.supervision.firstRunTimeoutMs).toBe(
    5_000,
  );
  expect(serverOf({}).autoRecover).toBe(true);
  expect(serverOf({ auto_disable_threshold: 0 }).autoDisableThreshold).toBeUndefined();
  expect(
    serverOf({
      auto_disable_threshold: -1,
      auto_recover: false,
      health_check_interval: "0s",
      tool_discovery_interval: "1m",
    }),
  ).toMatchObject({
    autoDisableThreshold: -1,
    autoRecover: false,
    healthCheckIntervalMs: 0,
    toolDiscoveryIntervalMs: 60_000,
  });
});

test("parseConfig() reads a Go proxy's file without complaint", () => {
  const config = parse({
    listen: "127.0.0.1:8080",
    data_dir: "~/.mcpproxy",
    api_key: "k",
    enable_tray: true,
    debug_search: false,
    top_k: 5,
    tools_limit: 15,
    tool_response_limit: 20000,
    call_tool_timeout: "2m0s",
    telemetry: { enabled: false },
    docker_isolation: { enabled: false },
    tls: { enabled: false },
    registries: [],
    features: { enable_web_ui: true },
    enable_socket: true,
    check_server_repo: true,
    docker_recovery: null,
    intent_declaration: {},
    code_execution_timeout_ms: 120000,
    activity_retention_days: 90,
    logging: null,
    environment: {
      inherit_system_safe: true,
      allowed_system_vars: ["PATH"],
      custom_vars: null,
      enhance_path: true,
    },
    mcpServers: [
      {
        name: "a b.ö",
        protocol: "",
        command: "npx",
        args: null,
        env: null,
        headers: null,
        url: "",
        working_dir: "",
        enabled: true,
        quarantined: false,
        isolation: null,
        oauth: { scopes: [] },
        ever_connected: true,
        tool_count: 3,
        last_successful_connection: "x",
        auto_disable_reason: "",
        created: "2025-10-31T00:00:00Z",
        updated: null,
        shared: false,
        skip_quarantine: true,
        reconnect_on_use: true,
      },
    ],
  });
  expect(config.findings).toEqual([]);
  expect(config.faults).toEqual([]);
  expect(config.servers[0]).toMatchObject({
    name: "a b.ö",
    transport: "stdio",
    protocol: "stdio",
    args: [],
    startupMode: "active",
  });
});

test("parseConfig() reads the map form, and the keys other clients write", () => {
  verifies("CONFIG-MAP-FORM");
  const { servers, findings } = parse({
    mcpServers: {
      github: { command: "npx", args: ["-y", "gh"], cwd: "~/gh", disabled: true },
      "my search": { type: "sse", url: "https://x/sse" },
      constructor: { url: "https://x/mcp" },
    },
  });
  expect(findings).toEqual([]);
  expect(
    servers.map(({ name, transport, startupMode, workingDir }) => [name, transport, startupMode, workingDir]),
  ).toEqual([
    ["github", "stdio", "disabled", "/home/u/gh"],
    ["my search", "sse", "active", undefined],
    ["constructor", "auto", "active", undefined],
  ]);
});

test.each([
  [{}, "active"],
  [{ enabled: false }, "disabled"],
  [{ stopped: true }, "disabled"],
  [{ start_on_boot: false }, "lazy_loading"],
  [{ enabled: false, start_on_boot: false }, "disabled"],
  [{ auto_disabled: true, enabled: false }, "auto_disabled"],
  [{ quarantined: true, auto_disabled: true }, "quarantined"],
  [{ startup_mode: "active", quarantined: true, enabled: false }, "active"],
  [{ startup_mode: "", enabled: false }, "disabled"],
  [{ startup_mode: "lazy_loading" }, "lazy_loading"],
] as const)("parseConfig() reads the switches %j as %s", (entry, mode) => {
  verifies("CONFIG-OLD-FIELDS");
  expect(serverOf(entry).startupMode).toBe(mode);
});

test.each([
  [{ protocol: "" }, "stdio", "stdio"],
  [{ command: "", url: "http://x/mcp" }, "auto", "auto"],
  [{ command: null, url: "http://x/mcp", protocol: "http" }, "streamable_http", "http"],
  [{ command: "", url: "http://x/mcp", protocol: "streamable-http" }, "streamable_http", "streamable-http"],
  [{ command: "", url: "http://x/sse", protocol: "sse" }, "sse", "sse"],
  [{ command: "x", url: "http://x/mcp", protocol: "http" }, "streamable_http", "http"],
  [{ command: "", url: "${env:URL}", protocol: "auto" }, "auto", "auto"],
  [{ command: "", url: "https://${env:HOST}:${env:PORT}/mcp" }, "auto", "auto"],
  [{ protocol: "auto" }, "stdio", "auto"],
] as const)("parseConfig() reads %j as %s", (entry, transport, protocol) => {
  const server = serverOf(entry);
  expect(server.faults).toEqual([]);
  expect([server.transport, server.protocol]).toEqual([transport, protocol]);
});

test("parseConfig() resolves units, home and groups of a server, and no secret", () => {
  const config = parse({
    groups: [
      { id: 0, name: "zero" },
      { id: 19, name: "far" },
      { name: "new", parent: 19 },
    ],
    mcpServers: [
      {
        name: "a",
        command: "~/bin/a",
        working_dir: "~",
        env: { K: "${env:K}", __proto__x: "1" },
        connection_timeout: "90s",
        call_timeout: "0s",
        group_id: 0,
        groups: ["far", 4],
        enabled_tools: [],
        disabled_tools: ["x"],
        tags: ["t"],
      },
    ],
  });
  expect(config.settings.groups.map(({ id, parent }) => [id, parent])).toEqual([
    [0, undefined],
    [19, undefined],
    [20, "19"],
  ]);
  const [server] = config.servers;
  expect(server).toMatchObject({
    command: "/home/u/bin/a",
    workingDir: "/home/u",
    connectionTimeoutMs: 90_000,
    groups: ["0", "far", "4"],
    disabledTools: ["x"],
    tags: ["t"],
  });
  expect(server?.callTimeoutMs).toBeUndefined();
  expect(server?.enabledTools).toBeUndefined();
  expect(server?.env.get("K")).toBe("${env:K}");
  expect(serverOf({ group_id: 0 }).groups).toEqual([]);
});

test("parseConfig() keeps __proto__ as a variable like any other", () => {
  const [server] = parse(
    '{"mcpServers": [{"name": "a", "command": "x", "env": {"__proto__": "v"}, "__proto__": {"command": "evil"}}]}',
  ).servers;
  expect([...(server?.env ?? [])]).toEqual([["__proto__", "v"]]);
  expect(server?.command).toBe("x");
});

test.each([
  ["127.0.0.1:9000", "127.0.0.1", 9000, undefined],
  [":9000", "127.0.0.1", 9000, "LISTEN_LOOPBACK"],
  ["0.0.0.0:9000", "0.0.0.0", 9000, undefined],
  ["[::1]:9000", "::1", 9000, undefined],
  ["localhost:0", "localhost", 0, undefined],
  ["", "127.0.0.1", 8080, "LISTEN_STDIO"],
  [":0", "127.0.0.1", 0, "LISTEN_STDIO"],
] as const)("parseConfig() reads listen %j", (listen, hostname, port, code) => {
  verifies("CONFIG-LISTEN-LOOPBACK");
  const { settings, findings } = parse({ listen });
  expect(settings.listen).toEqual({ hostname, port });
  expect(findings.map((finding) => finding.code)).toEqual(code === undefined ? [] : [code]);
  if (code === "LISTEN_STDIO") expect(findings[0]?.hint).toContain("serve --stdio");
});

test("parseConfig() reports near misses of keys, and no other unknown key", () => {
  const { findings, servers } = parse(
    '{\n"lisen": ":1",\n"logging": {"levle": "x"},\n"mcpServers": [{"name": "a", "comand": "y", "command": "x", "autoApprove": []}]}',
  );
  expect(findings.map(({ code, hint, server }) => [code, hint, server])).toEqual([
    ["KEY_UNKNOWN", "Did you mean 'listen'?", undefined],
    ["KEY_UNKNOWN", "Did you mean 'level'?", undefined],
    ["KEY_UNKNOWN", "Did you mean 'command'?", "a"],
  ]);
  expect(findings[0]?.message).toContain("line 2");
  expect(servers[0]?.faults).toEqual([]);
});

test("parseConfig() lets the first of two equal names win in both forms", () => {
  verifies("CONFIG-DUPLICATE-NAMES");
  for (const text of [
    '{"mcpServers": [{"name": "a", "command": "1"}, {"name": "b", "command": "2"},\n{"name": "a", "command": "3"}]}',
    '{"mcpServers": {"a": {"command": "1"}, "b": {"command": "2"},\n"a": {"command": "3"}}}',
  ]) {
    const { servers, findings, faults } = parse(text);
    expect(servers.map(({ name, command }) => [name, command])).toEqual([
      ["a", "1"],
      ["b", "2"],
    ]);
    expect(findings).toMatchObject([{ code: "SERVER_DUPLICATE", server: "a" }]);
    expect(findings[0]?.message).toContain("line 2");
    expect(faults).toEqual([]);
  }
});

test("parseConfig() lists a faulty server beside the others", () => {
  const { servers, faults } = parse({
    mcpServers: [
      { name: "a", command: 1, tags: ["t"], description: "d" },
      7,
      { name: "b", command: "x" },
      { command: "y" },
    ],
  });
  expect(servers.map(({ name, faults: own }) => [name, own.length])).toEqual([
    ["a", 1],
    ["mcpServers[1]", 1],
    ["b", 0],
    ["mcpServers[3]", 1],
  ]);
  expect(servers[0]).toMatchObject({ description: "d", tags: ["t"] });
  expect(faults.map(({ server }) => server)).toEqual(["a", "mcpServers[1]", "mcpServers[3]"]);
});

test.each([
  "a",
  "Ärger mit Umläuten",
  "../x",
  "a/b",
  "x".repeat(128),
  "🙂".repeat(128),
  "a.b_c-d",
  "constructor",
  "then",
])("judgeServerName(%j) takes it", (name) => expect(judgeServerName(name)).toBeUndefined());

test.each([
  "",
  " ",
  "a:b",
  "a__b",
  "__proto__",
  "a\u0000",
  "a\nb",
  "\u001b[31m",
  "\u0085",
  "x\u202ey",
  "x".repeat(129),
  "🙂".repeat(129),
  "\ud800",
])("judgeServerName(%j) refuses it", (name) => expect(judgeServerName(name)).toBeDefined());

test("parseConfig() lets a variable win over the file and a flag over both", () => {
  verifies("CONFIG-PRECEDENCE");
  const file = {
    listen: "127.0.0.1:1",
    tools_limit: 3,
    data_dir: "file",
    trusted_hosts: ["f"],
    logging: { level: "warn", max_age: 3 },
  };
  const env = {
    MCPPROXY_LISTEN: "127.0.0.1:2",
    MCPPROXY_TOOLS_LIMIT: "4",
    MCPPROXY_READ_ONLY_MODE: "true",
    MCPPROXY_TRUSTED_HOSTS: "a, b",
    MCPPROXY_LOG_LEVEL: "error",
    MCPPROXY_DATA_DIR: "env",
    MCPPROXY_API_KEY: "123",
  };
  expect(parse(file).settings).toMatchObject({ dataDir: "/etc/m/file", logLevel: "warn" });
  expect(parse(file, { env, cwd: "/srv" }).settings).toMatchObject({
    listen: { port: 2 },
    toolsLimit: 4,
    readOnlyMode: true,
    trustedHosts: ["a", "b"],
    logLevel: "error",
    dataDir: "/srv/env",
    apiKey: "123",
  });
  const overrides = { listen: "127.0.0.1:3", dataDir: "~/flag", logLevel: "debug", toolResponseMode: "full" };
  expect(parse(file, { env, cwd: "/srv", overrides }).settings).toMatchObject({
    listen: { port: 3 },
    dataDir: "/home/u/flag",
    logLevel: "debug",
    toolResponseMode: "full",
    toolsLimit: 4,
  });
  expect(parse(file, { dataDir: "/d" }).settings.dataDir).toBe("/d");
});

test.each([{ listen: "x" }, { logLevel: "loud" }, { toolResponseMode: "x" }])(
  "parseConfig() refuses the flag %j as a usage error",
  (overrides) => {
    expect(() => parse({}, { overrides })).toThrow(expect.objectContaining({ code: "USAGE" }));
  },
);

test("loadConfig() tries --config, MCPPROXY_CONFIG, ./mcp_config.json, ~/.mcpproxy in this order", async () => {
  const cwd = room({ "flag.json": "{}", "env.json": "{}", "mcp_config.json": "{}" });
  const home = join(cwd, "home");
  const pathOf = async (path?: string, named?: string): Promise<string> =>
    (await loadConfig({ path, env: { MCPPROXY_CONFIG: named }, cwd, home })).path;
  expect(await pathOf("flag.json", "env.json")).toBe(join(cwd, "flag.json"));
  expect(await pathOf(undefined, "env.json")).toBe(join(cwd, "env.json"));
  expect(await pathOf("~/../env.json")).toBe(join(cwd, "env.json"));
  expect(await pathOf()).toBe(join(cwd, "mcp_config.json"));
  rmSync(join(cwd, "mcp_config.json"));
  const made = join(home, ".mcpproxy/mcp_config.json");
  expect(await pathOf()).toBe(made);
  expect(statSync(made).mode & 0o777).toBe(0o600);
  const text = readFileSync(made, "utf8");
  expect(await pathOf()).toBe(made);
  expect(readFileSync(made, "utf8")).toBe(text);
});

test("loadConfig() makes no file that was named, and none for a check", async () => {
  const cwd = room();
  const home = join(cwd, "home");
  expect((await refusal(loadConfig({ path: "x.json", env: {}, cwd, home }))).code).toBe("CONFIG_UNREADABLE");
  expect((await refusal(loadConfig({ env: {}, cwd, home, create: false }))).code).toBe("CONFIG_UNREADABLE");
  expect(() => statSync(join(home, ".mcpproxy"))).toThrow();
});

test("loadConfig() has one clear answer for whatever lies at the path", async () => {
  const cwd = room({
    empty: "",
    comment: "// x",
    utf16: "",
    latin: "",
    nul: '{"a":\u0000}',
    big: "",
    secret: "{}",
    bom: '\uFEFF{"listen": ":1"}',
  });
  writeFileSync(join(cwd, "utf16"), Buffer.from("\uFEFF{}", "utf16le"));
  writeFileSync(join(cwd, "latin"), Buffer.from([0x7b, 0x22, 0xfc, 0x22, 0x7d]));
  writeFileSync(join(cwd, "big"), Buffer.alloc(50 * 1024 * 1024 + 1, 32));
  mkdirSync(join(cwd, "dir"));
  symlinkSync("nowhere", join(cwd, "dangling"));
  symlinkSync("loop", join(cwd, "loop"));
  expect(Bun.spawnSync(["mkfifo", join(cwd, "fifo")]).exitCode).toBe(0);
  const answers = [
    ["empty", "CONFIG_INVALID", "empty"],
    ["comment", "CONFIG_INVALID", "empty"],
    ["utf16", "CONFIG_UNREADABLE", "UTF-16"],
    ["latin", "CONFIG_UNREADABLE", "not UTF-8"],
    ["nul", "CONFIG_INVALID", "NUL"],
    ["big", "CONFIG_UNREADABLE", "50 MB"],
    ["dir", "CONFIG_UNREADABLE", "directory"],
    ["fifo", "CONFIG_UNREADABLE", "no regular file"],
    ["dangling", "CONFIG_UNREADABLE", "no such file"],
    ["loop", "CONFIG_UNREADABLE", "circle"],
    ["empty/x", "CONFIG_UNREADABLE", "no directory"],
    ["/dev/null", "CONFIG_UNREADABLE", "no regular file"],
  ] as const;
  for (const [path, code, words] of answers) {
    const error = await refusal(loadConfig({ path, env: {}, cwd, home: cwd }));
    expect([path, error.code]).toEqual([path, code]);
    expect(error.message).toContain(words);
    expect(error.message).toContain(path);
    expect(error.hint ?? "").not.toBe("");
  }
  expect((await loadConfig({ path: "bom", env: {}, cwd, home: cwd })).settings.listen.port).toBe(1);
});

test.skipIf(process.getuid?.() === 0)("loadConfig() says that permission is denied", async () => {
  const cwd = room({ locked: "{}" });
  chmodSync(join(cwd, "locked"), 0);
  expect((await refusal(loadConfig({ path: "locked", env: {}, cwd, home: cwd }))).message).toContain(
    "permission is denied",
  );
});

test("resolveSecrets() reads variables at use and names what is missing", () => {
  expect(resolveSecrets("Bearer ${env:A}-${env:B} $X ${foo}", { A: "1", B: "${env:A}" })).toBe(
    "Bearer 1-${env:A} $X ${foo}",
  );
  expect(secretReferences("${env:A}${keyring:B}${env:A}")).toEqual(["env:A", "keyring:B"]);
  const missing = (text: string): unknown => {
    try {
      return resolveSecrets(text, { A: "canary" }, { key: "mcpServers[0].env.K" });
    } catch (error) {
      return error;
    }
  };
  for (const text of ["${env:A}${env:NOPE}", "${env:toString}", "${keyring:NOPE}"]) {
    expect(missing(text)).toMatchObject({ code: "SECRET_MISSING" });
    expect(String(missing(text))).toContain("mcpServers[0].env.K");
    expect(String(missing(text))).not.toContain("canary");
  }
  expect(String(missing("${env:NOPE}"))).toContain("NOPE");
  expect(String(missing("${keyring:NOPE}"))).toContain("no entry of this name");
  const keys = new Map([["k", "${env:A}"]]);
  expect(resolveSecrets("x ${keyring:k}", { A: "canary" }, { keys })).toBe("x ${env:A}");
});

test("resolveServer() resolves every field, leaves the server as it is, and tells the secrets", () => {
  const server = serverOf({
    args: ["--k=${env:S}"],
    env: { K: "${env:S}" },
    headers: { H: "Bearer ${env:S}" },
    url: "http://x/${env:S}",
  });
  const resolved = resolveServer(server, { S: "canary" });
  expect(resolved).toEqual({
    url: "http://x/canary",
    args: ["--k=canary"],
    env: new Map([["K", "canary"]]),
    headers: new Map([["H", "Bearer canary"]]),
    secrets: new Set(["canary"]),
  });
  expect(JSON.stringify([server, [...server.env]])).not.toContain("canary");
});

test("maskSecrets() hides what an entry of the file and a server hold", () => {
  const entry = {
    name: "a",
    url: "https://u:canary@x/?token=canary",
    args: ["--token", "canary", "-e", "API_KEY=canary"],
    env: { HARMLESS: "canary", REF: "${env:X}" },
    headers: { Accept: "canary" },
    api_key: "canary",
    description: "plain",
  };
  const shown = JSON.stringify(maskSecrets({ mcpServers: [entry], live: serverOf(entry) }));
  expect(shown).not.toContain("canary");
  expect(shown).toContain("${env:X}");
  expect(shown).toContain("plain");
});

test("configJsonSchema() holds descriptions and defaults of every key", () => {
  const schema = configJsonSchema() as {
    properties: Record<string, { default?: unknown; description?: string }>;
  };
  expect(schema.properties["listen"]).toMatchObject({ default: "127.0.0.1:8080", type: "string" });
  expect(schema.properties["tools_limit"]).toMatchObject({ default: 15, minimum: 1 });
  expect(Object.entries(schema.properties).filter(([, { description }]) => !description)).toEqual([]);
  expect(JSON.stringify(schema.properties["mcpServers"])).toContain("startup_mode");
});

async function run(
  command: typeof runConfigCheck,
  args: readonly string[],
  cwd: string,
): Promise<{ code: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const io = {
    stdout: (text: string) => void (out += text),
    stderr: (text: string) => void (err += text),
    env: { S: "canary" },
    cwd,
    home: join(cwd, "home"),
  };
  const code = await command(args, io).catch((error: unknown) => printFailure(error, io));
  return { code, out, err };
}

test("config check answers 0, 4 and 2 and shows no secret", async () => {
  const secrets = {
    api_key: "canary",
    mcpServers: [
      {
        name: "a",
        command: 5,
        env: { K: "canary", L: 5 },
        args: ["canary", 3],
        headers: { A: "canary" },
        url: "ftp://canary",
      },
      { name: "b", url: "canary:canary" },
    ],
  };
  const cwd = room({
    "good.json": '{"lisen": 1}',
    "bad.json": '{"tools_limit": "x",\n"listen": 1}',
    "server.json": JSON.stringify(secrets),
    "syntax.json": '{"api_key": "canary" "canary"}',
  });
  const good = await run(runConfigCheck, ["good.json"], cwd);
  expect(good).toMatchObject({ code: 0, err: "" });
  expect(good.out).toContain("0 faults, 1 finding, 0 servers");
  const bad = await run(runConfigCheck, ["--config", "bad.json"], cwd);
  expect(bad.code).toBe(4);
  expect(bad.out).toStartWith(`${cwd}/bad.json:1:17 tools_limit: Expected a whole number`);
  expect(bad.out).toContain(
    `\n${cwd}/bad.json:2:11 listen: Expected a string, got a number — Write an address`,
  );
  for (const file of ["server.json", "syntax.json"]) {
    for (const args of [[file], [file, "--json"]]) {
      const result = await run(runConfigCheck, args, cwd);
      expect(result.code).toBe(4);
      expect(result.out + result.err).not.toContain("canary");
    }
  }
  const json = JSON.parse((await run(runConfigCheck, ["-c", "bad.json", "--json"], cwd)).out) as {
    faults: unknown[];
    success: boolean;
  };
  expect([json.success, json.faults.length]).toEqual([false, 2]);
  expect((await run(runConfigCheck, ["none.json"], cwd)).code).toBe(4);
  expect(JSON.parse((await run(runConfigCheck, ["none.json", "--json"], cwd)).out)).toMatchObject({
    success: false,
    code: "CONFIG_UNREADABLE",
  });
  expect((await run(runConfigCheck, ["--nope"], cwd)).code).toBe(2);
  expect((await run(runConfigCheck, ["a", "b"], cwd)).code).toBe(2);
});

test("config schema prints JSON and refuses arguments", async () => {
  const cwd = room();
  const { code, out } = await run(runConfigSchema, [], cwd);
  expect(code).toBe(0);
  expect(JSON.parse(out)).toEqual(configJsonSchema());
  expect((await run(runConfigSchema, ["x"], cwd)).code).toBe(2);
});

function throwsOnlyOurs(text: string): void {
  try {
    const config = parseConfig(text, { path: "/c.json", home: "/h" });
    expect(new Set(config.servers.map((server) => server.name)).size).toBe(config.servers.length);
    for (const { name } of config.servers) expect(judgeServerName(name)).toBeUndefined();
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error;
    expect(error.code).toBe("CONFIG_INVALID");
  }
}

test("parseConfig() throws nothing but ProxyError on any text and any JSON", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), throwsOnlyOurs));
  fc.assert(fc.property(fc.json(), throwsOnlyOurs));
});

test("parseConfig() throws nothing but ProxyError on anything under a known key", () => {
  const key = fc.constantFrom(
    "name",
    "command",
    "url",
    "args",
    "env",
    "headers",
    "protocol",
    "groups",
    "group_id",
    "startup_mode",
    "call_timeout",
    "__proto__",
    "constructor",
  );
  const entry = fc.oneof(fc.jsonValue(), fc.dictionary(key, fc.jsonValue(), { noNullPrototype: true }));
  const top = fc.constantFrom(
    "listen",
    "groups",
    "logging",
    "environment",
    "supervision",
    "tools_limit",
    "call_tool_timeout",
    "activity",
  );
  const servers = fc.oneof(fc.array(entry), fc.dictionary(fc.string(), entry, { noNullPrototype: true }));
  fc.assert(
    fc.property(
      fc.dictionary(top, fc.jsonValue(), { noNullPrototype: true }),
      servers,
      (settings, mcpServers) => {
        throwsOnlyOurs(JSON.stringify({ ...settings, mcpServers }));
        throwsOnlyOurs(JSON.stringify({ mcpServers }));
      },
    ),
    { numRuns: 300 },
  );
});
