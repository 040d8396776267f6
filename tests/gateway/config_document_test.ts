/**
 * The whole configuration as a document: shown, sent back unchanged, sent back changed, and sent back wrong.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { JsonObject, StartupMode } from "../../src/core/model.ts";
import { ProxyError } from "../../src/core/errors.ts";
import { ConfigDocument } from "../../src/gateway/config_document.ts";
import type { ApplyOptions } from "../../src/gateway/config_document.ts";
import { documentOf, ShownDocument, viewConfig } from "../../src/gateway/config_view.ts";
import type { ChangeRequest, Configuration } from "../../src/gateway/configuration.ts";
import { preparePlan } from "../../src/state/config_plan.ts";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import { definitionHash } from "../../src/state/definition.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { verifies } from "../requirements.ts";

const OPTIONS = { path: "/etc/m/c.json", home: "/home/u" };
const SECRET = "s3cret-value";

/** A document over a text; changes are planned and not made. */
function openDocument(text: string) {
  const loaded = LoadedConfig.parse(text, OPTIONS);
  const asked: ChangeRequest[] = [];
  const known = new Map(loaded.config.servers.map((server) => [server.name, server]));
  const configuration = {
    loaded,
    config: loaded.config,
    revision: 7,
    change: async (request: ChangeRequest) => {
      asked.push(request);
      const plan = preparePlan(loaded, {
        ...request,
        isLenient: false,
        memoryOf: (name) => {
          const server = known.get(name);
          return server && { mode: server.startupMode, approvedHash: definitionHash(server) };
        },
      });
      return { revision: 7, plan };
    },
  } as unknown as Configuration;
  const modeOf = (name: string) => known.get(name)?.startupMode;
  const document = new ConfigDocument({ configuration, modeOf });
  const view = documentOf(viewConfig(loaded, modeOf), "shown");
  const shown = JSON.parse(JSON.stringify(view)) as Record<string, unknown>;
  const apply = async (changed: Readonly<Record<string, unknown>>, options: Partial<ApplyOptions> = {}) =>
    document.apply(JSON.parse(JSON.stringify(changed)) as JsonObject, { isByPerson: true, ...options });
  return { document, shown, apply, asked, loaded };
}

async function refusal(promise: Promise<unknown>): Promise<ProxyError> {
  const error = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  if (!(error instanceof ProxyError)) throw new Error("expected a ProxyError");
  return error;
}

const text = fc.string({ maxLength: 12 });
const json = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<unknown>;
const duration = fc.constantFrom("90s", "2m", "1h0m0s", "500ms", "0s", "1.5h");
const map = fc.dictionary(
  fc.constantFrom("A", "TOKEN", "__proto__", "X-Key", "plain", "n"),
  fc.constantFrom(SECRET, "${env:HOME}", "", "***", "a b"),
  { maxKeys: 4 },
);
const entry = fc.record(
  {
    command: fc.constantFrom("npx", "~/bin/x", ""),
    url: fc.constantFrom(`https://u:${SECRET}@e.org/mcp?token=${SECRET}`, "https://e.org/mcp", "no address"),
    protocol: fc.constantFrom("", "stdio", "http", "auto", "loud"),
    args: fc.oneof(
      fc.constant(null),
      fc
        .array(fc.constantFrom(["--token", SECRET], ["a"], [`--key=${SECRET}`], ["***"]), { maxLength: 5 })
        .map((parts) => parts.flat()),
    ),
    env: fc.oneof(fc.constant(null), map),
    headers: map,
    enabled: fc.boolean(),
    quarantined: fc.boolean(),
    disabled: fc.boolean(),
    start_on_boot: fc.boolean(),
    startup_mode: fc.constantFrom("", "active", "lazy_loading", "disabled", "quarantined", "auto_disabled"),
    cwd: fc.constantFrom("~", "/x"),
    working_dir: fc.constantFrom("~/y", ""),
    connection_timeout: duration,
    groups: fc.array(fc.constantFrom<string | number>("g", 3, "lost"), { maxLength: 2 }),
    group_id: fc.constantFrom(0, 3),
    tags: fc.array(text, { maxLength: 2 }),
    updated: text,
    isolation: json,
    oauth: fc.constant({ client_secret: SECRET, scopes: ["a"] }),
    x_foreign: json,
    timeout: fc.integer(),
  },
  { requiredKeys: [] },
);
const names = fc.constantFrom("a", "b", "c c", "d.d", "__proto__", "10", "bad:name", "x__y", "");
const listed = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: fc.tuple(names, entry).map(([name, one]) => ({ ...one, name })) },
    { weight: 1, arbitrary: entry },
    { weight: 1, arbitrary: json },
  ),
  { maxLength: 6 },
);
const mapped = fc.dictionary(names, entry, { maxKeys: 5 });
const top = fc.record(
  {
    listen: fc.constantFrom("127.0.0.1:1", ":9", ""),
    api_key: fc.constantFrom(SECRET, "${env:KEY}"),
    tools_limit: fc.integer({ min: 1, max: 99 }),
    call_tool_timeout: duration,
    read_only_mode: fc.constantFrom(true, null),
    supervision: fc.record(
      { first_deadline: duration, start_patience: fc.record({ http: duration }), x: json },
      { requiredKeys: [] },
    ),
    environment: fc.record({ custom_vars: map, enhance_path: fc.boolean(), x: json }, { requiredKeys: [] }),
    logging: fc.constantFrom({ level: "trace" }, { max_size: 0, level: null }),
    registries: fc.array(
      fc.constantFrom(
        { id: "official" },
        { id: "mine", servers_url: "https://r.org" },
        { id: "official", name: "N" },
      ),
      { maxLength: 2 },
    ),
    tls: json,
    groups: fc.constantFrom(
      [],
      [{ id: 3, name: "g", x: 1 }],
      [{ name: "g" }, { name: "h", parent: "g", color: "red" }],
    ),
    x_unknown: json,
    telemetry: fc.constant({ enabled: false, token: SECRET }),
  },
  { requiredKeys: [] },
);

test("ConfigDocument.apply() of what is shown is nothing to do, whatever stands in the file", async () => {
  verifies("CONFIG-DOCUMENT-ROUNDTRIP");
  let count = 0;
  await fc.assert(
    fc.asyncProperty(top, fc.oneof(listed, mapped, fc.constant(undefined)), async (settings, mcpServers) => {
      const file = JSON.stringify({ ...settings, ...(mcpServers !== undefined && { mcpServers }) }, null, 1);
      let opened: ReturnType<typeof openDocument>;
      try {
        opened = openDocument(file);
      } catch (error) {
        // Such a file is in force nowhere.
        expect(error).toBeInstanceOf(ProxyError);
        return;
      }
      const { document, shown, apply, asked } = opened;
      count += 1;
      expect(JSON.stringify(shown)).not.toContain(SECRET);
      const written = JSON.parse((await document.show()).text) as unknown;
      expect(JSON.stringify(written)).toBe(
        JSON.stringify({ config: shown, config_path: OPTIONS.path, revision: 7 }),
      );
      expect(document.validate(shown)).toEqual({ valid: true, errors: [], warnings: [] });
      expect(await apply(shown)).toMatchObject({
        success: true,
        changed_fields: [],
        requires_restart: false,
        revision: 7,
        warnings: [],
      });
      expect(asked).toMatchObject([{ operations: [], isDryRun: true }]);
    }),
    { numRuns: 150 },
  );
  expect(count).toBeGreaterThan(50);
});

test("ShownDocument.write() follows what changes, an entry, a quarantine, its place, and writes the rest once", async () => {
  const shown = new ShownDocument();
  const file = makeRealisticConfig({ servers: 12 });
  let loaded = LoadedConfig.parse(file, OPTIONS);
  const known = loaded.config.servers.map(({ name }) => name);
  const held = new Set<string>();
  const modeOf = (name: string): StartupMode => (held.has(name) ? "quarantined" : "active");
  const expectShown = async (): Promise<void> => {
    const view = JSON.stringify(documentOf(viewConfig(loaded, modeOf), "shown"));
    expect(await shown.write(loaded, modeOf)).toBe(view);
    expect(await shown.write(loaded, modeOf)).toBe(view);
  };
  await expectShown();
  held.add(known[3] ?? "");
  await expectShown();
  held.clear();
  await expectShown();
  const operations = [
    { op: "patch", name: known[5] ?? "", patch: { description: "another", headers: { A: SECRET } } },
    { op: "disable", name: known[6] ?? "" },
    { op: "remove", name: known[1] ?? "" },
  ] as const;
  for (const operation of operations) {
    const memoryOf = () => undefined;
    ({ loaded } = preparePlan(loaded, { operations: [operation], memoryOf, isByPerson: true }));
    await expectShown();
  }
});

test("ShownDocument.write() of a thousand servers lets others have their turn, and shows what was when it began", async () => {
  const loaded = LoadedConfig.parse(makeRealisticConfig({ servers: 2_000 }), OPTIONS);
  const held = new Set<string>();
  const modeOf = (name: string): StartupMode => (held.has(name) ? "quarantined" : "active");
  const before = JSON.stringify(documentOf(viewConfig(loaded, modeOf), "shown"));
  let turns = 0;
  let isWritten = false;
  const turn = (): void => {
    turns += 1;
    for (const { name } of loaded.config.servers) held.add(name);
    if (!isWritten) setImmediate(turn);
  };
  setImmediate(turn);
  const written = await new ShownDocument().write(loaded, modeOf);
  isWritten = true;
  expect(turns).toBeGreaterThan(1);
  expect(written === before).toBe(true);
});

const FILE = `{
  // kept
  "api_key": "${SECRET}-0123456789",
  "tools_limit": 15,
  "x_unknown": { "keep": [1, 2] },
  "logging": { "level": "debug", "x": 1 },
  "environment": { "custom_vars": { "A": "${SECRET}", "B": "b" } },
  "groups": [{ "id": 3, "name": "g" }, { "id": 4, "name": "h", "parent": 3 }],
  "mcpServers": [
    { "name": "a", "command": "npx", "args": ["--token", "${SECRET}-1", "--key", "${SECRET}-2", "x"],
      "env": { "KEY": "${SECRET}", "PLAIN": "p" }, "enabled": true, "groups": ["g"], "x_own": 1 },
    { "name": "b", "url": "https://u:${SECRET}@e.org/mcp", "headers": { "Authorization": "Bearer ${SECRET}" }, "startup_mode": "disabled" },
    { "name": "held", "url": "https://h.org/mcp", "enabled": true, "quarantined": true },
    { "name": "faulty", "command": 5 }
  ]
}`;

type Document = Record<string, unknown> & {
  mcpServers: Record<string, unknown>[];
  groups: Record<string, unknown>[];
};
const server = (shown: Document, name: string): Record<string, unknown> =>
  shown.mcpServers.find((one) => one["name"] === name) ?? {};

const CHANGES: readonly (readonly [
  name: string,
  change: (shown: Document) => void,
  operations: readonly unknown[],
])[] = [
  ["a setting", (shown) => (shown["tools_limit"] = 3), [{ op: "settings", patch: { tools_limit: 3 } }]],
  [
    "a default",
    (shown) => (shown["tool_response_limit"] = 5),
    [{ op: "settings", patch: { tool_response_limit: 5 } }],
  ],
  [
    "a setting of a section",
    (shown) => ((shown["logging"] as JsonObject & { max_age: number }).max_age = 1),
    [{ op: "settings", patch: { logging: { max_age: 1 } } }],
  ],
  [
    "null resets",
    (shown) => (shown["tools_limit"] = null),
    [{ op: "settings", patch: { tools_limit: null } }],
  ],
  ["a missing setting stays", (shown) => delete shown["tools_limit"], []],
  [
    "a variable goes",
    (shown) =>
      delete ((shown["environment"] as Record<string, Record<string, unknown>>)["custom_vars"] ?? {})["B"],
    [{ op: "settings", patch: { environment: { custom_vars: { B: null } } } }],
  ],
  [
    "an unknown key",
    (shown) => (shown["x_unknown"] = { keep: [1] }),
    [{ op: "settings", patch: { x_unknown: { keep: [1] } } }],
  ],
  [
    "a registry more, the known ones not written",
    (shown) => (shown["registries"] as unknown[]).push({ id: "mine", servers_url: "https://r.org" }),
    [{ op: "settings", patch: { registries: [{ id: "mine", servers_url: "https://r.org" }] } }],
  ],
  [
    "a secret anew",
    (shown) => (shown["api_key"] = "another-key-0123456789"),
    [{ op: "settings", patch: { api_key: "another-key-0123456789" } }],
  ],
  [
    "a variable beside a masked one",
    (shown) => ((server(shown, "a")["env"] as Record<string, unknown>)["NEW"] = "n"),
    [{ op: "patch", name: "a", patch: { env: { NEW: "n" } } }],
  ],
  [
    "env away",
    (shown) => (server(shown, "a")["env"] = {}),
    [{ op: "patch", name: "a", patch: { env: { KEY: null, PLAIN: null } } }],
  ],
  [
    "an argument behind masked ones",
    (shown) => (server(shown, "a")["args"] as unknown[]).push("y"),
    [
      {
        op: "patch",
        name: "a",
        patch: { args: ["--token", `${SECRET}-1`, "--key", `${SECRET}-2`, "x", "y"] },
      },
    ],
  ],
  [
    "a flag with its secret away",
    (shown) => (server(shown, "a")["args"] as unknown[]).splice(0, 2),
    [{ op: "patch", name: "a", patch: { args: ["--key", `${SECRET}-2`, "x"] } }],
  ],
  [
    "a switch of the older kind",
    (shown) => (server(shown, "a")["enabled"] = false),
    [{ op: "patch", name: "a", patch: { enabled: false } }],
  ],
  [
    "headers left out, as the Go proxy does",
    (shown) => delete server(shown, "b")["headers"],
    [{ op: "patch", name: "b", patch: { headers: null } }],
  ],
  ["an unknown key of a server left out stays", (shown) => delete server(shown, "a")["x_own"], []],
  [
    "a server away",
    (shown) => (shown.mcpServers = shown.mcpServers.filter((one) => one["name"] !== "b")),
    [{ op: "remove", name: "b" }],
  ],
  [
    "a server more",
    (shown) => shown.mcpServers.push({ name: "n", command: "c" }),
    [{ op: "add", server: { name: "n", command: "c" } }],
  ],
  ["another order is nothing", (shown) => (shown.mcpServers = shown.mcpServers.toReversed()), []],
  [
    "groups added below each other, changed and removed",
    (shown) =>
      (shown.groups = [
        { name: "low", parent: "top" },
        { name: "top" },
        { ...shown.groups[0], description: "d" },
      ]),
    [
      { op: "patch_group", group: 3, patch: { description: "d" } },
      { op: "add_group", group: { name: "top" } },
      { op: "add_group", group: { name: "low", parent: "top" } },
      { op: "remove_group", group: 4 },
    ],
  ],
];

test.each(CHANGES)("ConfigDocument.apply() takes %s as what it is", async (_, change, operations) => {
  verifies("CONFIG-DOCUMENT-DIFFERENCE");
  const { shown, apply, asked, document } = openDocument(FILE);
  change(shown as Document);
  expect(document.validate(shown)).toMatchObject({ valid: true, errors: [] });
  const done = await apply(shown);
  expect(asked[0]?.operations).toEqual(operations as never);
  const fields = new Set(done.changed_fields);
  expect(fields.size > 0).toBe(operations.length > 0);
  if (operations.some((one) => (one as { op: string }).op === "settings"))
    expect(fields.has("mcpServers")).toBe(false);
});

const MASKS: readonly (readonly [name: string, change: (shown: Document) => void, field: string])[] = [
  [
    "a new server's variable",
    (shown) => shown.mcpServers.push({ name: "n", command: "c", env: { K: "***" } }),
    "mcpServers[4].env.K",
  ],
  [
    "a masked url at another host",
    (shown) => (server(shown, "b")["url"] = "https://***@evil.org/mcp"),
    "mcpServers[1].url",
  ],
  [
    "a secret behind another flag",
    (shown) => (server(shown, "a")["args"] = ["--other", "***"]),
    "mcpServers[0].args[1]",
  ],
  [
    "two secrets in the other order",
    (shown) => (server(shown, "a")["args"] = ["--key", "--token", "***", "***", "x"]),
    "mcpServers[0].args[3]",
  ],
  [
    "a variable under another name",
    (shown) => (server(shown, "a")["env"] = { OTHER: "***" }),
    "mcpServers[0].env.OTHER",
  ],
  ["a renamed server", (shown) => (server(shown, "b")["name"] = "c"), "mcpServers[1].url"],
];

test.each(MASKS)("ConfigDocument refuses a mask that stands for nothing: %s", async (_, change, field) => {
  verifies("CONFIG-MASK-STAYS");
  const { shown, apply, asked, document } = openDocument(FILE);
  change(shown as Document);
  expect(document.validate(shown).errors.map((error) => error.field)).toContain(field);
  const { code, message, data } = await refusal(apply(shown));
  expect(code).toBe("CONFIG_INVALID");
  expect(`${message} ${JSON.stringify(data)}`).not.toContain(SECRET);
  expect(asked).toEqual([]);
});

test("ConfigDocument.validate() tells every fault at once, those that were there before left out", async () => {
  verifies("CONFIG-DOCUMENT-DIFFERENCE");
  const { shown, document, apply } = openDocument(FILE);
  const changed = shown as Document;
  changed["tools_limit"] = -5;
  changed["call_tool_timeout"] = 90;
  changed["tool_limit"] = 4;
  changed.mcpServers.push(
    { name: "n", comand: "x" },
    { name: "a", command: "y" },
    { command: "z" },
    { name: "x:y", url: "ftp://e" },
  );
  const { valid, errors } = document.validate(changed);
  expect(valid).toBe(false);
  const fields = errors.map(({ field }) => field);
  for (const field of [
    "tools_limit",
    "call_tool_timeout",
    "tool_limit",
    "mcpServers[4].comand",
    "mcpServers[5].name",
    "mcpServers[6].name",
    "mcpServers[7].name",
    "mcpServers[7].url",
  ])
    expect(fields).toContain(field);
  expect(fields.some((field) => field.startsWith("mcpServers[3]"))).toBe(false);
  expect(errors.find(({ field }) => field === "call_tool_timeout")?.advice).toContain('"90s"');
  const { message, data } = await refusal(apply(changed));
  expect(message).toMatch(/and \d+ more/);
  expect(data?.["errors"]).toHaveLength(errors.length);
});

test("ConfigDocument.apply() lets go of a quarantine at a person's word only", async () => {
  const { shown, apply, asked } = openDocument(FILE);
  server(shown as Document, "held")["quarantined"] = false;
  expect((await refusal(apply(shown))).code).toBe("QUARANTINED");
  expect(await apply(shown, { isApproved: true })).toMatchObject({ changed_fields: ["mcpServers"] });
  expect(asked.at(-1)?.operations).toEqual([{ op: "approve", name: "held" }]);
});

const edit = fc.record(
  {
    tools_limit: fc.integer({ min: 1, max: 99 }),
    read_only_mode: fc.boolean(),
    call_tool_timeout: fc.constantFrom("1m30s", "2m0s"),
    x_new: fc.constantFrom<unknown>(1, "t", [1, { a: 2 }], { b: [] }, true),
    description: fc.string({ maxLength: 5, unit: "grapheme-ascii" }),
    tags: fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 3 }),
    args: fc.array(fc.constantFrom("a", "-b", "c d"), { maxLength: 3 }),
    names: fc.subarray(["PLAIN", "KEY"]),
    isLess: fc.boolean(),
    isMore: fc.boolean(),
  },
  { requiredKeys: [] },
);

test("ConfigDocument shows what was sent, once it is in force", async () => {
  verifies("CONFIG-DOCUMENT-DIFFERENCE", "CONFIG-MASK-STAYS");
  await fc.assert(
    fc.asyncProperty(edit, async ({ description, tags, args, names: kept, isLess, isMore, ...settings }) => {
      const opened = openDocument(FILE);
      const sent = opened.shown as Document;
      Object.assign(sent, settings);
      const a = server(sent, "a");
      Object.assign(a, description !== undefined && { description }, tags && { tags }, args && { args });
      const env = a["env"] as Record<string, unknown>;
      if (kept) a["env"] = Object.fromEntries(kept.map((key) => [key, env[key]]));
      if (isLess === true) sent.mcpServers = sent.mcpServers.filter((one) => one["name"] !== "b");
      if (isMore === true) sent.mcpServers.push({ name: "n", command: "c", startup_mode: "disabled" });
      await opened.apply(sent, { isApproved: true });
      const { operations = [] } = opened.asked[0] ?? {};
      const { text: next } = preparePlan(opened.loaded, {
        operations,
        isByPerson: true,
        memoryOf: () => ({ mode: "active" }),
      });
      const { shown } = openDocument(next);
      // Bun puts the matchers into what it is given.
      expect(shown).toMatchObject(JSON.parse(JSON.stringify(sent)) as Document);
      expect((shown as Document).mcpServers).toHaveLength(sent.mcpServers.length);
      expect(next).toContain("// kept");
      expect(next).not.toContain("***");
      if (!args) expect(next).toContain(`${SECRET}-2`);
    }),
    { numRuns: 100 },
  );
});
