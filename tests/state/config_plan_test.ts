/**
 * What each operation writes, refuses and leaves to the database.
 *
 * Owns texts before and after; sequences of operations are in `config_plan_property_test.ts`.
 */
import { expect, test } from "bun:test";
import { STARTUP_MODES } from "../../src/core/model.ts";
import { ProxyError } from "../../src/core/errors.ts";
import { describePlan, preparePlan } from "../../src/state/config_plan.ts";
import { definitionHash } from "../../src/state/definition.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { mayMove } from "../../src/state/plan_modes.ts";
import { moveMode } from "../../src/upstream/transition.ts";
import { makeRealisticConfig } from "../../src/mock/realistic.ts";
import type { JsonObject, StartupMode } from "../../src/core/model.ts";
import type { Plan, PlanOperation, PlanOptions } from "../../src/state/config_plan.ts";
import type { PlanMemory } from "../../src/state/plan_draft.ts";

const NOW = "2026-01-02T03:04:05.000Z";

interface Given extends Partial<PlanOptions> {
  readonly known?: Readonly<Record<string, Partial<PlanMemory>>>;
}

/** Plans on a text whose servers are all approved, unless `known` says otherwise. */
function plan(
  text: string,
  operations: readonly PlanOperation[],
  { known = {}, ...options }: Given = {},
): Plan {
  const loaded = LoadedConfig.parse(text, { path: "/etc/m/c.json", home: "/home/u" });
  return preparePlan(loaded, {
    operations,
    isByPerson: false,
    now: () => Date.parse(NOW),
    memoryOf: (name) => {
      const server = loaded.config.servers.find((it) => it.name === name);
      if (server === undefined) return undefined;
      return { mode: server.startupMode, approvedHash: definitionHash(server), ...known[name] };
    },
    ...options,
  });
}

/** The file with one server `a`, whose entry goes on with `rest`. */
function file(rest: string): string {
  return `{"mcpServers": [{"name": "a", "command": "x"${rest}}]}`;
}

function errorOf(act: () => unknown): ProxyError {
  try {
    act();
  } catch (error) {
    if (error instanceof ProxyError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

function codeOf(text: string, operations: readonly PlanOperation[], given?: Given): string {
  return errorOf(() => plan(text, operations, given)).code;
}

/** Entries of the Go proxy and its forks: nothing but what is asked changes. */
const MODES: readonly (readonly [
  before: string,
  op: "enable" | "disable" | "make_lazy" | "quarantine",
  after: string,
])[] = [
  ["", "disable", ', "startup_mode": "disabled"'],
  [', "startup_mode": ""', "disable", ', "startup_mode": "disabled"'],
  [', "startup_mode": "active"', "make_lazy", ', "startup_mode": "lazy_loading"'],
  [', "enabled": true', "disable", ', "enabled": false'],
  [', "enabled": false', "enable", ', "enabled": true'],
  [', "enabled": true', "make_lazy", ', "enabled": true, "start_on_boot": false'],
  [', "enabled": true', "quarantine", ', "enabled": true, "quarantined": true'],
  [', "enabled": true, "quarantined": false', "quarantine", ', "enabled": true, "quarantined": true'],
  [', "disabled": true', "enable", ', "disabled": false'],
  [', "disabled": false', "disable", ', "disabled": true'],
  [', "stopped": true', "enable", ', "stopped": false'],
  [', "stopped": false', "disable", ', "stopped": true'],
  [', "start_on_boot": false', "enable", ', "start_on_boot": true'],
  [', "start_on_boot": false', "disable", ', "start_on_boot": false, "enabled": false'],
  [', "auto_disabled": true', "disable", ', "auto_disabled": false, "enabled": false'],
  [', "enabled": true, "auto_disabled": true', "enable", ', "enabled": true, "auto_disabled": false'],
  [
    ', "startup_mode": "active", "enabled": true, "start_on_boot": true',
    "disable",
    ', "startup_mode": "disabled", "enabled": false, "start_on_boot": true',
  ],
  [
    ', "args": null, "protocol": "", "group_id": 0, "enabled": true, "updated": "2025-10-03T12:00:00+02:00", "created": "c"',
    "disable",
    `, "args": null, "protocol": "", "group_id": 0, "enabled": false, "updated": "${NOW}", "created": "c"`,
  ],
];

test.each(MODES)("preparePlan() writes a mode in the way of the entry:%s · %s", (before, op, after) => {
  const { text, config, updated } = plan(file(before), [{ op, name: "a" }]);
  expect(text).toBe(file(after));
  expect(updated).toEqual(["a"]);
  const wanted = {
    enable: "active",
    disable: "disabled",
    make_lazy: "lazy_loading",
    quarantine: "quarantined",
  } as const;
  expect(config.servers[0]?.startupMode).toBe(wanted[op]);
});

const PATCHES: readonly (readonly [before: string, patch: JsonObject, after: string])[] = [
  [', "startup_mode": "active"', { enabled: false }, ', "startup_mode": "disabled", "enabled": false'],
  [', "enabled": true', { startup_mode: "disabled" }, ', "enabled": false, "startup_mode": "disabled"'],
  [', "enabled": false', { enabled: true }, ', "enabled": true'],
  [', "enabled": true', { disabled: true }, ', "enabled": false, "disabled": true'],
  [', "stopped": true', { enabled: true }, ', "stopped": false, "enabled": true'],
  [', "startup_mode": "disabled"', { startup_mode: null }, ""],
  [', "env": {"A": "1" /* a */, "B": "2"}', { env: { B: "3" } }, ', "env": {"A": "1" /* a */, "B": "3"}'],
  [', "env": {"A": "1", "B": "2"}', { env: { B: null } }, ', "env": {"A": "1"}'],
  [', "args": ["1", "2"]', { args: ["3"] }, ', "args": ["3"]'],
  [
    ', "args": null, "x-n": 1.50',
    { "x-m": { a: null, b: 1 } },
    ', "args": null, "x-n": 1.50, "x-m": {"b": 1}',
  ],
];

test.each(PATCHES)("preparePlan() merges a patch into {%s}: %j", (before, patch, after) => {
  const { text } = plan(file(before), [{ op: "patch", name: "a", patch, approve: true }], {
    isByPerson: true,
  });
  expect(text).toBe(file(after));
});

test("mayMove() agrees with the table of the upstreams, without a person's verbs", () => {
  const events = {
    active: "activate",
    lazy_loading: "make_lazy",
    disabled: "disable",
    auto_disabled: "auto_disable",
    quarantined: "quarantine",
  } as const;
  for (const from of STARTUP_MODES)
    for (const to of STARTUP_MODES)
      expect(mayMove(from, to)).toBe(moveMode(from, events[to], "active") === to);
});

test("preparePlan() leaves a server as it is that has the mode already", () => {
  const loaded = LoadedConfig.parse(file(', "updated": "u"'), { path: "/c" });
  const made = preparePlan(loaded, {
    operations: [{ op: "enable", name: "a" }],
    memoryOf: () => ({ mode: "active" }),
    isByPerson: false,
  });
  expect([made.loaded === loaded, made.isChange, made.unchanged, made.updated]).toEqual([
    true,
    false,
    ["a"],
    [],
  ]);
});

const REFUSED: readonly (readonly [
  name: string,
  text: string,
  operation: PlanOperation,
  code: string,
  known?: Partial<PlanMemory>,
])[] = [
  ["an unknown server", file(""), { op: "disable", name: "b" }, "SERVER_UNKNOWN"],
  ["a name that is taken", file(""), { op: "add", server: { name: "a", command: "y" } }, "SERVER_EXISTS"],
  [
    "a name with a colon",
    file(""),
    { op: "add", server: { name: "b:c", command: "y" } },
    "ARGUMENTS_INVALID",
  ],
  ["a faulty entry", file(""), { op: "add", server: { name: "b" } }, "CONFIG_INVALID"],
  [
    "a patch that leads to a fault",
    file(""),
    { op: "patch", name: "a", patch: { command: null } },
    "CONFIG_INVALID",
  ],
  [
    "a patch with a wrong type",
    file(""),
    { op: "patch", name: "a", patch: { enabled: "yes" } },
    "CONFIG_INVALID",
  ],
  [
    "disabled to auto_disabled",
    file(', "enabled": false'),
    { op: "auto_disable", name: "a" },
    "MODE_REFUSED",
  ],
  ["a person's verb", file(""), { op: "approve", name: "a" }, "QUARANTINED"],
  ["enabling what is quarantined", file(', "quarantined": true'), { op: "enable", name: "a" }, "QUARANTINED"],
  [
    "disabling what is quarantined",
    file(', "quarantined": true'),
    { op: "disable", name: "a" },
    "QUARANTINED",
  ],
  [
    "a way out by patch",
    file(', "quarantined": true'),
    { op: "patch", name: "a", patch: { quarantined: false } },
    "QUARANTINED",
  ],
  [
    "a way out of the database's quarantine",
    file(""),
    { op: "patch", name: "a", patch: { enabled: false } },
    "QUARANTINED",
    { mode: "quarantined" },
  ],
  [
    "enabling what nobody approved",
    file(', "enabled": false'),
    { op: "enable", name: "a" },
    "QUARANTINED",
    { approvedHash: undefined },
  ],
  [
    "patching on what nobody approved",
    file(', "enabled": false'),
    { op: "patch", name: "a", patch: { enabled: true } },
    "QUARANTINED",
    { approvedHash: "old" },
  ],
  ["a missing group", file(""), { op: "assign", name: "a", group: "g" }, "GROUP_UNKNOWN"],
  ["servers as a setting", file(""), { op: "settings", patch: { mcpServers: [] } }, "ARGUMENTS_INVALID"],
  ["a faulty setting", file(""), { op: "settings", patch: { tools_limit: 0 } }, "CONFIG_INVALID"],
  ["a cyclic value", file(""), { op: "patch", name: "a", patch: nested(120) }, "ARGUMENTS_INVALID"],
];

function nested(depth: number): JsonObject {
  return depth === 0 ? {} : { "x-n": nested(depth - 1) };
}

test.each(REFUSED)("preparePlan() refuses %s", (_name, text, operation, code, known = {}) => {
  expect(codeOf(text, [operation], { known: { a: known } })).toBe(code);
  const lenient = plan(text, [operation, { op: "add_group", group: { name: "done" } }], {
    known: { a: known },
    isLenient: true,
  });
  expect(lenient.refused.map((it) => [it.code, it.at])).toEqual([[code as "USAGE", 0]]);
  expect(lenient.config.settings.groups.map(({ name }) => name)).toEqual(["done"]);
  expect(lenient.difference.modes).toEqual([]);
});

test("preparePlan() tells the faults a patch leads to with their place, and lets one of two old ones be mended", () => {
  const { data } = errorOf(() =>
    plan(file(', "args": ["1"]'), [{ op: "patch", name: "a", patch: { args: [5] } }]),
  );
  expect(data?.["faults"]).toMatchObject([
    { line: 1, column: 56, key: "mcpServers[0].args[0]", server: "a" },
  ]);
  const two = file(', "args": "1", "tags": 2');
  const { config } = plan(two, [{ op: "patch", name: "a", patch: { tags: ["t"] } }]);
  expect(config.faults.map(({ key }) => key)).toEqual(["mcpServers[0].args"]);
});

test("preparePlan() keeps the fault of a doubled key, whatever is edited beside it", () => {
  const doubled = file(', "args": [], "args": ["2"]');
  const { config, text } = plan(doubled, [{ op: "disable", name: "a" }]);
  expect(text).toBe(file(', "args": [], "args": ["2"], "startup_mode": "disabled"'));
  expect(config.faults).toHaveLength(1);
});

test("preparePlan() holds what a program adds or changes in what is started", () => {
  const server = { name: "b", command: "y", startup_mode: "lazy_loading" };
  const added = plan(file(""), [{ op: "add", server, approve: true }]);
  const hash = definitionHash(added.config.servers[1] ?? expect.unreachable());
  expect(added.text).toContain('"startup_mode": "quarantined"');
  expect(added.effects).toMatchObject({
    defined: [["b", hash]],
    approved: [],
    quarantined: [["b", true, "lazy_loading"]],
  });
  expect(added.trials).toEqual(["b"]);
  const changed = plan(file(', "enabled": false'), [{ op: "patch", name: "a", patch: { args: ["1"] } }], {
    isByPerson: true,
  });
  expect(changed.config.servers[0]?.startupMode).toBe("quarantined");
  expect(changed.effects.quarantined).toEqual([["a", true, "disabled"]]);
  const later = [
    { op: "patch", name: "a", patch: { args: ["1"] } },
    { op: "enable", name: "a" },
  ] as const;
  expect(codeOf(file(""), later)).toBe("QUARANTINED");
  expect(
    codeOf(file(""), [
      { op: "add", server },
      { op: "enable", name: "b" },
    ]),
  ).toBe("QUARANTINED");
});

test("preparePlan() ends an auto-disable that lies below a quarantine when a person approves", () => {
  const held = file(', "enabled": true, "auto_disabled": true, "quarantined": true');
  const { text } = plan(held, [{ op: "approve", name: "a" }], {
    isByPerson: true,
    known: { a: { mode: "quarantined" } },
  });
  expect(text).toBe(file(', "enabled": true, "auto_disabled": false, "quarantined": false'));
});

test("preparePlan() approves what a person approves, and all when the quarantine is off", () => {
  const server = { name: "b", command: "y" };
  const added = plan(file(""), [{ op: "add", server, approve: true }], { isByPerson: true });
  const hash = definitionHash(added.config.servers[1] ?? expect.unreachable());
  const freed = { defined: [["b", hash]], approved: [["b", hash]], quarantined: [["b", false]] };
  expect(added.effects).toMatchObject(freed);
  const off = `{"quarantine_enabled": false, ${file("").slice(1)}`;
  expect(plan(off, [{ op: "add", server }]).effects).toMatchObject(freed);
  const patch = { op: "patch", name: "a", patch: { args: ["1"] }, approve: true } as const;
  const patched = plan(file(""), [patch], { isByPerson: true, known: { a: { mode: "auto_disabled" } } });
  expect(patched.effects).toMatchObject({ quarantined: [], cleared: ["a"] });
  expect(patched.difference.restarted.map(({ name }) => name)).toEqual(["a"]);
});

test("preparePlan() patches other fields of a quarantined server, which stays quarantined", () => {
  const quarantined = file(', "startup_mode": "quarantined"');
  const patch = { tags: ["t"], startup_mode: "quarantined" };
  const { text, effects, difference } = plan(quarantined, [{ op: "patch", name: "a", patch }]);
  expect(text).toBe(file(', "startup_mode": "quarantined", "tags": ["t"]'));
  expect([effects.quarantined, difference.modes]).toEqual([[], []]);
});

const RELEASED: readonly (readonly [
  text: string,
  former: StartupMode | undefined,
  op: "approve" | "reject",
  after: string,
])[] = [
  [', "startup_mode": "quarantined"', "lazy_loading", "approve", ', "startup_mode": "lazy_loading"'],
  [', "startup_mode": "quarantined"', undefined, "approve", ', "startup_mode": "active"'],
  [
    ', "enabled": false, "quarantined": true',
    "active",
    "approve",
    ', "enabled": false, "quarantined": false',
  ],
  [
    ', "quarantined": true, "start_on_boot": false',
    undefined,
    "approve",
    ', "quarantined": false, "start_on_boot": false',
  ],
  [', "enabled": true, "quarantined": true', undefined, "reject", ', "enabled": false, "quarantined": false'],
  ["", undefined, "approve", ""],
];

test.each(RELEASED)(
  "preparePlan() leads out of quarantine at a person's word: {%s} %s %s",
  (before, formerMode, op, after) => {
    const known = { a: { mode: "quarantined", formerMode, approvedHash: undefined } } as const;
    const { text, effects, isChange, config } = plan(file(before), [{ op, name: "a" }], {
      isByPerson: true,
      known,
    });
    expect([text, isChange]).toEqual([file(after), true]);
    const hash = definitionHash(config.servers[0] ?? expect.unreachable());
    expect(effects.quarantined).toEqual([["a", false]]);
    expect(effects.approved).toEqual(op === "approve" ? [["a", hash]] : []);
  },
);

test("preparePlan() clears an auto-disable by an explicit enable, and keeps what the file wants", () => {
  const known = { a: { mode: "auto_disabled" } } as const;
  const lazy = plan(file(', "startup_mode": "lazy_loading"'), [{ op: "enable", name: "a" }], { known });
  expect([lazy.text, lazy.effects.cleared, lazy.isChange]).toEqual([
    file(', "startup_mode": "lazy_loading"'),
    ["a"],
    true,
  ]);
  const patched = plan(file(', "enabled": true'), [{ op: "patch", name: "a", patch: { enabled: true } }], {
    known,
  });
  expect(patched.effects.cleared).toEqual(["a"]);
  const persisted = plan(file(""), [{ op: "auto_disable", name: "a" }], { known });
  expect([persisted.text, persisted.effects.cleared]).toEqual([
    file(', "startup_mode": "auto_disabled"'),
    [],
  ]);
});

test.each([
  ["active", { op: "enable", name: "a" }, "active"],
  ["lazy_loading", { op: "make_lazy", name: "a" }, "lazy_loading"],
  ["lazy_loading", { op: "patch", name: "a", patch: { args: ["1"] }, approve: true }, "lazy_loading"],
] as const)(
  "preparePlan() takes an auto-disable out of the file that is over: %s in force, then %o",
  (mode, operation, written) => {
    const known = { a: { mode } };
    const { config, isChange } = plan(file(', "startup_mode": "auto_disabled"'), [operation], {
      isByPerson: true,
      known,
    });
    expect([config.servers[0]?.startupMode, isChange]).toEqual([written, true]);
  },
);

test("preparePlan() ends a quarantine over an auto-disable by a changed definition that is approved", () => {
  const known = { a: { mode: "quarantined", formerMode: "lazy_loading" } } as const;
  const { config, effects } = plan(
    file(', "startup_mode": "auto_disabled"'),
    [{ op: "patch", name: "a", patch: { args: ["1"] }, approve: true }],
    { isByPerson: true, known },
  );
  expect(config.servers[0]?.startupMode).toBe("lazy_loading");
  expect(effects.quarantined).toEqual([["a", false]]);
});

test("preparePlan() renames in both forms, and a patch of the name does", () => {
  const list = plan(file(""), [{ op: "rename", name: "a", to: "ä 1" }]);
  expect([list.text, list.updated]).toEqual(['{"mcpServers": [{"name": "ä 1", "command": "x"}]}', ["ä 1"]]);
  expect(list.difference.renamed.map(({ from, to }) => [from, to])).toEqual([["a", "ä 1"]]);
  expect([list.difference.restarted, list.effects.renamed]).toEqual([[], [["a", "ä 1"]]]);
  const map = '{"mcpServers": {"a": {"command": "x"} /* a */, "b": {"command": "y"}}}';
  const swap = [
    { op: "rename", name: "a", to: "t" },
    { op: "rename", name: "b", to: "a" },
    { op: "patch", name: "t", patch: { name: "b" } },
  ] as const;
  const swapped = plan(map, swap);
  expect(swapped.text).toBe('{"mcpServers": {"b": {"command": "x"} /* a */, "a": {"command": "y"}}}');
  expect(swapped.difference.renamed.map(({ from, to }) => [from, to])).toEqual([
    ["a", "b"],
    ["b", "a"],
  ]);
  expect(codeOf(map, [{ op: "rename", name: "a", to: "b" }])).toBe("SERVER_EXISTS");
  expect(
    codeOf(map, [
      { op: "remove", name: "b" },
      { op: "rename", name: "a", to: "b" },
    ]),
  ).toBe("SERVER_EXISTS");
  expect(codeOf(map, [{ op: "rename", name: "a", to: "a__b" }])).toBe("ARGUMENTS_INVALID");
});

test("preparePlan() neither removes nor renames a server whose name stands a second time", () => {
  const twice = '{"mcpServers": [{"name": "a", "command": "x"}, {"name": "a", "command": "evil"}]}';
  const map = '{"mcpServers": {"a": {"command": "x"}, "a": {"command": "evil"}}}';
  for (const text of [twice, map]) {
    expect(codeOf(text, [{ op: "remove", name: "a" }])).toBe("SERVER_EXISTS");
    expect(codeOf(text, [{ op: "rename", name: "a", to: "b" }])).toBe("SERVER_EXISTS");
    const { config, text: after } = plan(text, [{ op: "disable", name: "a" }]);
    expect(after).toBe(text.replace('"x"}', '"x", "startup_mode": "disabled"}'));
    const patched = plan(text, [{ op: "patch", name: "a", patch: { tags: ["t"] } }]);
    for (const { findings } of [config, patched.config])
      expect(findings.map(({ code }) => code)).toEqual(["SERVER_DUPLICATE"]);
  }
});

test("preparePlan() adds in both forms, and to a file without servers", () => {
  const operations = [
    { op: "add", server: { name: "__", command: "y" } },
    { op: "add", server: { name: "b", url: "https://e.org" } },
  ] as const;
  const add = (text: string): string => plan(text, operations, { isLenient: true }).text;
  const entry = '"url": "https://e.org", "startup_mode": "quarantined"}';
  expect(add(file(""))).toBe(`{"mcpServers": [{"name": "a", "command": "x"}, {"name": "b", ${entry}]}`);
  expect(add('{"mcpServers": {"a": {"command": "x"}}}')).toBe(
    `{"mcpServers": {"a": {"command": "x"}, "b": {${entry}}}`,
  );
  for (const empty of ["{}", '{"mcpServers": null}', '{"mcpServers": []}'])
    expect(JSON.parse(add(empty))).toMatchObject({ mcpServers: [{ name: "b" }] });
});

const GROUPS = `{
  "groups": [
    { "id": 7, "name": "Web" }, // web
    { "name": "db", "parent": "Web" },
    { "name": "sub", "parent": 8, "color": "#fff" }
  ],
  "mcpServers": [
    { "name": "a", "command": "x", "group_id": 8, "groups": ["web", 8, "gone"] },
    { "name": "b", "command": "x", "groups": ["db" /* in */, "Web"] }
  ]
}`;

test("preparePlan() renames a group in servers and parents, and keeps its id", () => {
  const { text, difference, updated } = plan(GROUPS, [
    { op: "patch_group", group: "web", patch: { name: "Net", color: "#000" } },
  ]);
  const expected = GROUPS.replace('"name": "Web" }', '"name": "Net", "color": "#000" }')
    .replace('"parent": "Web"', '"parent": "Net"')
    .replace('["web", 8', '["Net", 8')
    .replace('"Web"]', '"Net"]');
  expect(text).toBe(expected);
  expect([difference.groups, updated]).toEqual([{ added: [], removed: [], changed: [7, 8] }, ["a", "b"]]);
});

test("preparePlan() removes a group from its servers, moves its subgroups up, and writes the ids that would move", () => {
  const { text, difference } = plan(GROUPS, [{ op: "remove_group", group: 8 }]);
  expect(text).toBe(
    `{
  "groups": [
    { "id": 7, "name": "Web" }, // web
    { "name": "sub", "parent": "Web", "color": "#fff", "id": 9 }
  ],
  "mcpServers": [
    { "name": "a", "command": "x", "groups": ["web", "gone"] },
    { "name": "b", "command": "x", "groups": [/* in */"Web"] }
  ]
}`,
  );
  expect(difference.groups).toEqual({ added: [], removed: [8], changed: [9] });
  expect(difference.updated.map(({ name }) => name)).toEqual(["a", "b"]);
});

test("preparePlan() writes the ids of groups that would become others beside a new one", () => {
  const { text, config, difference } = plan(GROUPS, [{ op: "add_group", group: { name: "top", id: 20 } }]);
  expect(config.settings.groups.map(({ id, name }) => `${id} ${name}`)).toEqual([
    "7 Web",
    "8 db",
    "9 sub",
    "20 top",
  ]);
  expect(text).toContain('{ "name": "db", "parent": "Web", "id": 8 }');
  expect(difference.groups).toEqual({ added: [20], removed: [], changed: [] });
});

test("preparePlan() sees who is in a group that has come to be", () => {
  expect(plan(GROUPS, []).config.findings.map(({ code }) => code)).toEqual(["GROUP_UNKNOWN"]);
  for (const operation of [
    { op: "add_group", group: { name: "gone" } },
    { op: "patch_group", group: "sub", patch: { name: "gone" } },
  ] as const)
    expect(plan(GROUPS, [operation]).config.findings).toEqual([]);
});

test("preparePlan() refuses groups that would be taken, in a circle, or without a parent", () => {
  const code = (operation: PlanOperation): string => codeOf(GROUPS, [operation]);
  expect(code({ op: "add_group", group: { name: "db" } })).toBe("GROUP_EXISTS");
  expect(code({ op: "add_group", group: { name: "n", id: 9 } })).toBe("GROUP_EXISTS");
  expect(code({ op: "patch_group", group: 7, patch: { name: "sub" } })).toBe("GROUP_EXISTS");
  expect(code({ op: "patch_group", group: 7, patch: { id: 3 } })).toBe("ARGUMENTS_INVALID");
  expect(code({ op: "remove_group", group: "nope" })).toBe("GROUP_UNKNOWN");
  const circle = errorOf(() => plan(GROUPS, [{ op: "patch_group", group: "Web", patch: { parent: "sub" } }]));
  expect(circle.message).toContain("The parents go in a circle: Web → sub → db → Web");
  const missing = errorOf(() => plan(GROUPS, [{ op: "add_group", group: { name: "n", parent: "wbe" } }]));
  expect(missing.code).toBe("CONFIG_INVALID");
  expect(missing.message).toContain("The parent 'wbe' of the group 'n' is not defined");
});

const ASSIGNED: readonly (readonly [
  name: string,
  before: string,
  op: "assign" | "unassign",
  after: string,
])[] = [
  ["adds to the list", ', "groups": ["h"]', "assign", ', "groups": ["h", "g"]'],
  ["adds a number to numbers", ', "groups": [5]', "assign", ', "groups": [5, 4]'],
  ["makes a list", "", "assign", ', "groups": ["g"]'],
  ["makes a list beside an id", ', "group_id": 5', "assign", ', "group_id": 5, "groups": ["g"]'],
  ["sets the id where only ids are used", ', "group_id": 0', "assign", ', "group_id": 4'],
  ["leaves who is in it", ', "group_id": 4', "assign", ', "group_id": 4'],
  [
    "takes id and words out",
    ', "group_id": 4, "groups": ["g", 4, "h", "4"]',
    "unassign",
    ', "groups": ["h"]',
  ],
  ["leaves who is not in it", ', "group_id": 5', "unassign", ', "group_id": 5'],
];

test.each(ASSIGNED)("preparePlan() %s", (_name, before, op, after) => {
  const groups = (rest: string): string =>
    `{"groups": [{"id": 4, "name": "g"}, {"id": 5, "name": "h"}], ${file(rest).slice(1)}`;
  const { text, unchanged } = plan(groups(before), [{ op, name: "a", group: "g" }]);
  expect(text).toBe(groups(after));
  expect(unchanged).toEqual(before === after ? ["a"] : []);
});

test("preparePlan() changes settings and names those that wait for a restart", () => {
  const { text, difference, config } = plan('{"listen": ":1", "x": 1.0, "tools_limit": 3}', [
    { op: "settings", patch: { listen: "127.0.0.1:2", tools_limit: null, logging: { level: "debug" } } },
  ]);
  expect(text).toBe('{"listen": "127.0.0.1:2", "x": 1.0, "logging": {"level": "debug"}}');
  expect([difference.settings.toSorted(), difference.restartRequired]).toEqual([
    ["listen", "logging", "tools_limit"],
    ["listen", "logging"],
  ]);
  expect([config.settings.listen.port, config.settings.toolsLimit, config.findings]).toEqual([2, 15, []]);
});

test("describePlan() says what would change and restart, and shows no value", () => {
  const secret = "CANARY-3f9a";
  const text = `{"api_key": "${secret}", "groups": [{"id": 1, "name": "g"}], "mcpServers": [{"name": "a", "command": "x", "env": {"T": "${secret}"}}, {"name": "b", "command": "x"}, {"name": "c", "command": "x"}, {"name": "d", "command": "x"}]}`;
  const made = plan(
    text,
    [
      { op: "patch", name: "a", patch: { env: { T: `${secret}2` }, args: [secret] }, approve: true },
      { op: "disable", name: "b" },
      { op: "remove", name: "c" },
      { op: "rename", name: "d", to: "e" },
      {
        op: "add",
        server: { name: "f", url: `https://${secret}.example`, headers: { Authorization: secret } },
      },
      { op: "settings", patch: { api_key: `${secret}3`, data_dir: "/d" } },
      { op: "enable", name: "gone" },
      { op: "assign", name: "e", group: "g" },
    ],
    { isLenient: true, isByPerson: true },
  );
  const said = describePlan(made);
  expect(JSON.stringify(said)).not.toContain(secret);
  expect(said).toEqual({
    changes: [
      { server: "f", kind: "add", mode: { after: "quarantined" }, restarts: false },
      { server: "c", kind: "remove", restarts: false },
      { server: "e", kind: "rename", from: "d", keys: ["name", "groups"], restarts: false },
      { server: "a", kind: "change", keys: ["env", "args"], restarts: true },
      {
        server: "b",
        kind: "mode",
        keys: ["startup_mode"],
        mode: { before: "active", after: "disabled" },
        restarts: false,
      },
    ],
    groups: { added: [], removed: [], changed: [] },
    settings: ["api_key", "data_dir"],
    restart_required: ["api_key", "data_dir"],
    updated: ["a", "b", "c", "e", "f"],
    unchanged: [],
    refused: [{ server: "gone", error: "Cannot find a server named 'gone'", code: "SERVER_UNKNOWN", at: 6 }],
  });
});

test("LoadedConfig.warm() puts the places of faults right that a plan moved", () => {
  const text =
    '{\n  "mcpServers": [\n    {"name": "a", "command": "x"},\n    {"name": "b", "comand": "x"}\n  ]\n}';
  const onLines = text.replace('"command": "x"}', '\n"command": "x"\n}');
  const { loaded } = plan(onLines, [{ op: "patch", name: "a", patch: { env: { A: "1" } } }]);
  const grown = plan(text, [{ op: "settings", patch: { tools_limit: 3 } }]);
  // On a line of its own an entry moves nobody else.
  const still = plan(text, [{ op: "patch", name: "a", patch: { env: { A: "1" } } }]);
  const beside = plan(text.replace("},\n", "}, "), [{ op: "patch", name: "a", patch: { env: { A: "1" } } }]);
  const all = [loaded, grown.loaded, still.loaded, beside.loaded];
  expect(all.map(({ isStale }) => isStale)).toEqual([true, false, false, true]);
  for (const one of all) {
    one.warm();
    const fresh = LoadedConfig.parse(one.text, one.options);
    expect(one.config).toEqual(fresh.config);
    expect([...one.entries()]).toEqual([...fresh.entries()]);
  }
});

test("preparePlan() carries over what it knows of the text, change after change, as if it were read anew", () => {
  let loaded = LoadedConfig.parse(makeRealisticConfig({ servers: 30 }), {
    path: "/etc/m/c.json",
    home: "/h",
  });
  const names = loaded.config.servers.map(({ name }) => name);
  for (const [at, name] of names.slice(0, 9).entries()) {
    const before = loaded.jsonc().value as { readonly mcpServers: readonly unknown[] };
    const operations: PlanOperation[] = [
      [{ op: "patch", name, patch: { description: `${at}`, tags: ["x", "y"] } } as const],
      [{ op: "quarantine", name } as const],
      [
        { op: "patch", name, patch: { env: null } } as const,
        { op: "quarantine", name: names[20] ?? "" } as const,
      ],
      [{ op: "remove", name: names[25 - at] ?? "" } as const],
      [{ op: "rename", name, to: `new-${at}` } as const],
    ][at % 5] as PlanOperation[];
    const { loaded: next } = preparePlan(loaded, { operations, memoryOf: () => undefined, isByPerson: true });
    const fresh = LoadedConfig.parse(next.text, next.options);
    expect(next.text).not.toBe(loaded.text);
    expect(next.jsonc().value).toEqual(fresh.jsonc().value);
    expect([...next.entries()]).toEqual([...fresh.entries()]);
    expect(next.config).toEqual(fresh.config);
    const isShared = (next.jsonc().value as typeof before).mcpServers[28] === before.mcpServers[28];
    expect([at, isShared]).toEqual([at, at % 5 < 3]);
    loaded = next;
  }
});

test("preparePlan() of 159 servers touches what is asked and reads nothing else again", () => {
  const text = makeRealisticConfig();
  const loaded = LoadedConfig.parse(text, { path: "/etc/m/c.json", home: "/home/u" });
  const [first, ...others] = loaded.config.servers;
  const memoryOf = () => undefined;
  const { config } = preparePlan(loaded, {
    operations: [{ op: "quarantine", name: first?.name ?? "" }],
    memoryOf,
    isByPerson: false,
  });
  expect(config.servers.slice(1).every((server, index) => server === others[index])).toBe(true);
  const operations = loaded.config.servers.map(({ name }) => ({ op: "quarantine" as const, name }));
  const made = preparePlan(loaded, { operations, memoryOf, isByPerson: false });
  expect(made.updated.length + made.unchanged.length).toBe(159);
  expect(made.config.servers.every(({ startupMode }) => startupMode === "quarantined")).toBe(true);
});
