/**
 * Servers of other clients: each form read, names and references made ours, one quarantined change.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { ProxyError } from "../../src/core/errors.ts";
import { importServers } from "../../src/gateway/import.ts";
import { IMPORT_FORMATS } from "../../src/core/model.ts";
import type { ImportFormat } from "../../src/core/model.ts";
import { readForeign } from "../../src/gateway/import_forms.ts";
import { verifies } from "../requirements.ts";
import { openGateway } from "./fixtures.ts";
import { askApi } from "../api/scenario.ts";

const FORMS: readonly (readonly [
  format: ImportFormat,
  isFound: boolean,
  text: string,
  entries: Readonly<Record<string, unknown>>,
])[] = [
  [
    "claude_desktop",
    true,
    '{ /* c */ "mcpServers": { "fs": { "command": "npx", "args": ["-y", "fs", 3], "env": { "A": "1", "N": 2 }, }, } }',
    { fs: { protocol: "stdio", command: "npx", args: ["-y", "fs", "3"], env: { A: "1", N: "2" } } },
  ],
  [
    "claude_code",
    true,
    JSON.stringify({
      mcpServers: {
        web: { type: "http", url: "https://e.org", headers: { Authorization: "Bearer ${TOKEN:-none}" } },
      },
      projects: {
        "/home/u/shop": { mcpServers: { db: { type: "stdio", command: "db", args: [] } } },
        "/home/u/none": {},
      },
    }),
    {
      web: { protocol: "http", url: "https://e.org", headers: { Authorization: "Bearer ${env:TOKEN}" } },
      db: { protocol: "stdio", command: "db", args: [], working_dir: "/home/u/shop" },
    },
  ],
  [
    "cursor",
    false,
    '{"mcpServers": {"c": {"url": "https://e.org/sse", "type": "sse"}}}',
    { c: { protocol: "sse", url: "https://e.org/sse" } },
  ],
  [
    "vscode",
    true,
    '{"inputs": [{"id": "api-key", "type": "promptString", "description": "The key"}], "servers": {"v": {"type": "stdio", "command": "v", "args": ["${workspaceFolder}"], "env": {"K": "${input:api-key}"}, "envFile": ".env"}}}',
    { v: { protocol: "stdio", command: "v", args: ["${workspaceFolder}"], env: { K: "${env:API_KEY}" } } },
  ],
  [
    "windsurf",
    true,
    '{"mcpServers": {"w": {"serverUrl": "https://e.org/mcp", "disabled": true}}}',
    { w: { protocol: "auto", url: "https://e.org/mcp", enabled: false } },
  ],
  [
    "zed",
    true,
    '{"context_servers": {"old": {"source": "custom", "command": {"path": "z", "args": ["a"], "env": {"B": "c"}}}, "new": {"command": "z2", "args": []}, "ext": {"source": "extension", "settings": {}}}}',
    {
      old: { protocol: "stdio", command: "z", args: ["a"], env: { B: "c" } },
      new: { protocol: "stdio", command: "z2", args: [] },
      ext: "extension",
    },
  ],
  [
    "goose",
    true,
    "extensions:\n  developer:\n    type: builtin\n    enabled: true\n  gh:\n    type: stdio\n    cmd: npx\n    args: [-y, gh]\n    envs: { LEVEL: info }\n    env_keys: [GH_TOKEN]\n    timeout: 300\n    enabled: false\n  far:\n    type: streamable_http\n    uri: https://e.org/mcp\n",
    {
      developer: "part of the client",
      gh: {
        protocol: "stdio",
        command: "npx",
        args: ["-y", "gh"],
        env: { LEVEL: "info", GH_TOKEN: "${env:GH_TOKEN}" },
        call_timeout: "300000ms",
        enabled: false,
      },
      far: { protocol: "http", url: "https://e.org/mcp" },
    },
  ],
  [
    "codex",
    true,
    '[mcp_servers.cx]\ncommand = "cx"\nargs = ["a"]\nstartup_timeout_sec = 20\ntool_timeout_sec = 1.5\nenabled_tools = ["t"]\n[mcp_servers.cx.env]\nE = "f"\n[mcp_servers.net]\nurl = "https://e.org"\nbearer_token_env_var = "CX_TOKEN"\n',
    {
      cx: {
        protocol: "stdio",
        command: "cx",
        args: ["a"],
        env: { E: "f" },
        call_timeout: "1500ms",
        connection_timeout: "20000ms",
        enabled_tools: ["t"],
      },
      net: { protocol: "auto", url: "https://e.org", headers: { Authorization: "Bearer ${env:CX_TOKEN}" } },
    },
  ],
  [
    "gemini",
    true,
    '{"mcpServers": {"g": {"httpUrl": "https://e.org/mcp", "headers": {"K": "$KEY"}, "timeout": 5000, "includeTools": ["a"], "excludeTools": ["b"]}, "s": {"url": "https://e.org/sse"}}}',
    {
      g: {
        protocol: "http",
        url: "https://e.org/mcp",
        headers: { K: "${env:KEY}" },
        call_timeout: "5000ms",
        enabled_tools: ["a"],
        disabled_tools: ["b"],
      },
      s: { protocol: "sse", url: "https://e.org/sse" },
    },
  ],
  [
    "mcpproxy",
    true,
    '{"listen": ":8080", "mcpServers": [{"name": "m", "protocol": "http", "url": "https://e.org", "enabled": true, "quarantined": false, "created": "x", "tool_count": 4, "isolation": {"enabled": true}}]}',
    { m: { protocol: "http", url: "https://e.org", enabled: true, isolation: { enabled: true } } },
  ],
];

test.each(FORMS)("readForeign() reads the form of %s", (format, isFound, text, entries) => {
  verifies("IMPORT-FORMS");
  const read = readForeign(text, isFound ? "auto" : format);
  expect(read.format).toBe(format);
  expect(read.servers.map(({ name }) => name)).toEqual(Object.keys(entries));
  for (const { name, entry, reason } of read.servers) {
    const wanted = entries[name];
    if (typeof wanted === "string") expect(reason).toContain(wanted);
    else expect(entry).toEqual(wanted as never);
  }
});

test("readForeign() tells what a person has to provide", () => {
  const [vscode] = readForeign(FORMS[3]?.[2] ?? "", "auto").servers;
  expect(vscode?.placeholders).toEqual([{ name: "API_KEY", description: "The key" }]);
  expect(vscode?.warnings).toEqual([
    expect.stringContaining("envFile"),
    expect.stringContaining("workspaceFolder"),
  ]);
});

test("readForeign() answers anything with servers or one clear error", () => {
  const bad = [
    "",
    "{",
    "[]",
    "5",
    "null",
    "just words",
    "a: [",
    "[x",
    '{"a": 1}',
    '{"mcpServers": 5}',
    "extensions: 5",
  ];
  for (const text of bad) {
    for (const format of ["auto", ...IMPORT_FORMATS] as const) {
      try {
        readForeign(text, format);
      } catch (error) {
        expect(error).toMatchObject({ code: "USAGE", hint: expect.any(String) as string });
      }
    }
  }
  const parts = fc.constantFrom(
    "mcpServers",
    "servers",
    "extensions",
    "context_servers",
    "projects",
    "command",
    "url",
    "env",
    "type",
    "__proto__",
    "args",
    "name",
  );
  const value = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { depthSize: "small" },
      fc.string(),
      fc.integer(),
      fc.constant(null),
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(parts, tie("tree"), { maxKeys: 4 }),
    ),
  })).tree;
  fc.assert(
    fc.property(value, fc.constantFrom("auto", ...IMPORT_FORMATS), (tree, format) => {
      try {
        for (const server of readForeign(JSON.stringify(tree), format).servers)
          expect(server.entry ?? server.reason).toBeDefined();
      } catch (error) {
        if (!(error instanceof ProxyError)) throw error;
      }
    }),
  );
});

const CLIENT = JSON.stringify({
  mcpServers: {
    taken: { command: "other" },
    "a:b": { command: "x" },
    "a-b": { command: "y" },
    "u__v\u0000": { url: "https://e.org" },
    empty: {},
    odd: { url: "ftp://e.org" },
    number: 5,
    me: { url: "http://localhost:8080/mcp" },
    us: { command: "/usr/bin/mcpproxy", args: ["serve", "--stdio"] },
    off: { command: "z", disabled: true },
  },
});
const FILE = '{ // kept\n  "mcpServers": [{ "name": "taken", "command": "mine", "enabled": false }]\n}';

test("importServers() adds in one quarantined change, and tells of each entry", async () => {
  verifies("IMPORT-QUARANTINED");
  await using gateway = await openGateway([], { file: FILE });
  const { configuration } = gateway;
  const dry = await importServers(configuration, { text: CLIENT, isDryRun: true, isByPerson: true });
  expect([dry.added, dry.dry_run, readFileSync(gateway.path, "utf8")]).toEqual([4, true, FILE]);
  const done = await importServers(configuration, { text: CLIENT, isByPerson: true });
  expect(done).toMatchObject({ format: "claude_desktop", added: 4, revision: 2 });
  expect(done.servers.map(({ name, status }) => [name, status])).toEqual([
    ["taken", "exists"],
    ["a-b", "added"],
    ["a-b-2", "added"],
    ["u_v", "added"],
    ["empty", "invalid"],
    ["odd", "invalid"],
    ["number", "invalid"],
    ["me", "invalid"],
    ["us", "invalid"],
    ["off", "added"],
  ]);
  expect(done.servers[1]).toMatchObject({ renamed_from: "a:b" });
  for (const { status, reason } of done.servers) expect(status === "added").toBe(reason === undefined);
  const modes = configuration.config.servers.map(({ name, startupMode }) => [name, startupMode]);
  expect(Object.fromEntries(modes)).toEqual({
    taken: "disabled",
    "a-b": "quarantined",
    "a-b-2": "quarantined",
    u_v: "quarantined",
    off: "quarantined",
  });
  expect(configuration.config.servers[0]?.command).toBe("mine");
  expect(readFileSync(gateway.path, "utf8")).toContain("// kept");
  expect(gateway.events.filter(({ type }) => type === "config_committed")).toHaveLength(1);
  // Once more changes nothing.
  const again = await importServers(configuration, { text: CLIENT, isByPerson: true });
  expect([again.added, again.revision]).toEqual([0, 2]);
});

test("importServers() tells servers of several folders apart, and takes equal ones once", async () => {
  await using gateway = await openGateway([], { file: "{}" });
  const db = { command: "db", args: ["--shop"] };
  const text = JSON.stringify({
    mcpServers: { web: { url: "https://e.org" } },
    projects: {
      "/p/shop": { mcpServers: { db, web: { url: "https://e.org" } } },
      "/p/blog": { mcpServers: { db } },
    },
  });
  const { servers } = await importServers(gateway.configuration, { text, isByPerson: true });
  expect(servers.map(({ name }) => name)).toEqual(["web", "db", "db-blog"]);
});

test("POST /import imports by name, and refuses what is no configuration", async () => {
  verifies("IMPORT-QUARANTINED");
  await using gateway = await openGateway([], { file: FILE });
  const some = await askApi(gateway, { ask: "POST /import", body: { text: CLIENT, names: ["a:b", "lost"] } });
  expect(some.json["data"]).toMatchObject({
    added: 1,
    servers: [
      { name: "a-b", status: "added" },
      { name: "lost", status: "invalid" },
    ],
  });
  for (const body of [
    {},
    { text: "" },
    { text: "nothing" },
    { text: CLIENT, format: "lost" },
    { text: CLIENT, approve: true },
  ]) {
    const { status, json } = await askApi(gateway, { ask: "POST /import", body });
    expect([status, json["code"]]).toEqual([400, "USAGE"]);
  }
});
