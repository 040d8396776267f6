/**
 * Any sequence of operations on any form of file: the text says what the operations mean, and keeps the rest.
 *
 * Owns a model of the operations on plain values, with the rules of the file in it and none of its text; and what of the text
 * must be found again: comments, unknown keys and their spelling, line by line.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseJsonc } from "../../src/lib/jsonc.ts";
import { parseConfig } from "../../src/state/config.ts";
import { preparePlan } from "../../src/state/config_plan.ts";
import { definitionHash } from "../../src/state/definition.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import type { Config } from "../../src/core/settings.ts";
import type { PlanOperation } from "../../src/state/config_plan.ts";

const OPTIONS = { path: "/etc/m/c.json", home: "/home/u" };

/** Odd names, comments at every place, unknown keys, numbers in their own spelling, both styles of modes and groups. */
const ARRAY_FORM = `// head
{
  "x_unknown": { "keep": 1.50, /* in */ "list": [1, 2 , 3] }, // behind unknown
  "tools_limit": 15, // behind tools_limit
  "groups": [
    { "id": 0, "name": "zero" }, // behind zero
    { "id": 7, "name": "Web Tools", "parent": 0, "x_note": 1e3 },
    // before 13
    { "id": 13, "name": "db", "parent": "Web Tools" }
  ],
  /* before servers */
  "mcpServers": [
    // before plain
    { "name": "plain", "command": "npx", "args": null, "protocol": "", "x_first": 0.10 }, // behind plain
    {
      "name": "Größe 2.0/..", // behind name
      "command": "uvx", "args": ["a", /* in args */ "b"],
      "env": { "__proto__": "p", "A": "1" /* in env */ },
      "startup_mode": "lazy_loading", "enabled": true,
      "groups": ["db", 7], // behind groups
      "updated": "2025-01-01T00:00:00Z"
    },
    /* before old */
    { "name": "old", "command": "x", "enabled": true, "quarantined": false, "start_on_boot": false, "group_id": 13 },
    { "name": "__proto__", "url": "https://e.org/mcp", "protocol": "http", "headers": {"H": "v"}, "tags": [], },
    { "name": "10", "command": "ten", "x_deep": { "a": [ { "b": null } ] } },
    // behind all servers
  ],
  "$schema": "s" // behind schema
  // at the end
}
`;
const MAP_FORM = `{
  // before servers
  "mcpServers": {
    "plain": { "command": "npx", "args": null, "x_first": 0.10 }, // behind plain
    "10": {"command":"ten","disabled":false}, "2": {"command":"two","startup_mode":"disabled"},
    /* before odd */ "odd.name with space": {
      "type": "stdio", // behind type
      "command": "y", "env": { "A": "1" },
      "groups": [3],
    },
    "web": { "url": "https://e.org/mcp", "headers": null, "updated": "u" }
    // behind all servers
  },
  "groups": [{ "id": 3, "name": "g", "x_note": 1e3 }], /* behind groups */
  "x_unknown": [1.50, "é"]
}
`;
const EMPTY_FORM = '{ "x_unknown": 1.50 /* in */ }';
const CRLF_FORM = `\ufeff${ARRAY_FORM.replaceAll("\n", "\r\n").replaceAll("  ", "\t")}`;
const FORMS = { array: ARRAY_FORM, map: MAP_FORM, empty: EMPTY_FORM, crlf: CRLF_FORM };

/** Comments whose place no operation takes away: they stand at the top level or before the first server. */
const LASTING = [
  "// head",
  "// behind unknown",
  "// before servers",
  "/* before servers */",
  "/* in */",
  "// at the end",
  "1.50",
];

const NAMES = [
  "plain",
  "Größe 2.0/..",
  "old",
  "__proto__",
  "10",
  "2",
  "odd.name with space",
  "web",
  "new",
  "n 2",
  "3",
];
const GROUPS = [0, 3, 7, 13, 14, "zero", "Web Tools", "web-tools", "db", "g", "fresh", "other"];
const name = fc.constantFrom(...NAMES);
const groupWord = fc.constantFrom<string | number>(...GROUPS);
const approve = fc.boolean();
const entry = fc.constantFrom<Readonly<Record<string, never>>>(
  ...([
    { command: "c", args: ["1"] },
    { command: "c", startup_mode: "lazy_loading", "x-n": { a: [1.5] } },
    { url: "https://n.org", protocol: "http", enabled: false, updated: "u" },
    JSON.parse('{"command":"c","env":{"__proto__":"q"}}'),
    { command: 5 },
    {},
  ] as never[]),
);
const patch = fc.constantFrom<Readonly<Record<string, never>>>(
  ...([
    { args: ["p", "q"] },
    { args: [] },
    { env: { A: "2", B: null } },
    { env: null },
    JSON.parse('{"env":{"__proto__":"r"}}'),
    { startup_mode: "disabled" },
    { enabled: false },
    { enabled: true },
    { startup_mode: null, quarantined: true },
    { tags: ["t"], x_deep: { a: null, c: { d: 1 } } },
    { groups: ["db"] },
    { name: "n 2" },
    { name: "plain", description: "d" },
    { command: null, url: null },
    { connection_timeout: 5 },
    {},
  ] as never[]),
);
const operation: fc.Arbitrary<PlanOperation> = fc.oneof(
  fc.record({
    op: fc.constant("add" as const),
    server: fc.tuple(name, entry).map(([n, e]) => ({ name: n, ...(e as object) })),
    approve,
  }),
  fc.record({ op: fc.constant("patch" as const), name, patch, approve }),
  fc.record({ op: fc.constant("patch" as const), name, patch, approve }),
  fc.record({ op: fc.constant("remove" as const), name }),
  fc.record({ op: fc.constant("rename" as const), name, to: name }),
  fc.record({
    op: fc.constantFrom("enable", "make_lazy", "disable", "quarantine", "approve", "reject", "auto_disable"),
    name,
  }),
  fc.record({ op: fc.constantFrom("assign", "unassign"), name, group: groupWord }),
  fc.record({
    op: fc.constant("add_group" as const),
    group: fc.constantFrom(
      { name: "fresh" },
      { name: "other", parent: "fresh" },
      { name: "db", id: 4 },
      { name: "self", parent: "self" },
    ),
  }),
  fc.record({
    op: fc.constant("patch_group" as const),
    group: groupWord,
    patch: fc.constantFrom(
      { name: "other" },
      { name: "Web Tools" },
      { parent: "db" },
      { parent: null },
      { enabled: false, color: "#f00" },
    ),
  }),
  fc.record({ op: fc.constant("remove_group" as const), group: groupWord }),
  fc.record({
    op: fc.constant("settings" as const),
    patch: fc.constantFrom(
      { tools_limit: 3 },
      { tools_limit: null, x_unknown2: [1] },
      { tools_limit: "no" },
      { listen: ":0" },
    ),
  }),
) as fc.Arbitrary<PlanOperation>;

/** What of a configuration must not depend on how it was made. */
function comparable(config: Config) {
  const bare = <T extends { readonly faults: readonly object[] }>(value: T) => ({
    ...value,
    faults: value.faults.map((fault) => ({ ...fault, line: 0, column: 0 })),
  });
  return {
    ...bare(config),
    servers: config.servers.map(bare),
    findings: config.findings
      .map(({ message, ...rest }) =>
        JSON.stringify({ ...rest, message: message.replaceAll(/line \d+/g, "") }),
      )
      .toSorted(),
  };
}

type Fields = Readonly<Record<string, unknown>>;
const MODES = [
  "startup_mode",
  "enabled",
  "disabled",
  "stopped",
  "quarantined",
  "auto_disabled",
  "start_on_boot",
];
/** Told apart by other checks: modes and times by their own tests, membership as ids. */
const APART = new Set([...MODES, "updated", "name", "group_id", "groups"]);

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function without(value: unknown, keys: ReadonlySet<string>): unknown {
  if (!isFields(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.has(key)));
}

function merge(target: unknown, given: unknown): unknown {
  if (!isFields(given)) return given;
  const result = new Map(isFields(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(given)) {
    if (value === null) result.delete(key);
    else result.set(key, merge(result.get(key), value));
  }
  return Object.fromEntries(result);
}

interface ModelGroup {
  name: string;
  parent: number | undefined;
  rest: unknown;
}

/** What a text means, each thing by its identity instead of its words. */
class Model {
  servers = new Map<string, { rest: unknown; groups: Set<number | string> }>();
  groups = new Map<number, ModelGroup>();
  top: unknown;

  #highest = 0;

  constructor(text: string) {
    const value = parseJsonc(text).value as Fields;
    this.top = without(value, new Set(["mcpServers", "groups"]));
    const groups = (value["groups"] ?? []) as readonly {
      id: number;
      name: string;
      parent?: string | number;
    }[];
    for (const { id, name: called, parent: _, ...rest } of groups) {
      this.groups.set(id, { name: called, parent: undefined, rest });
    }
    for (const { id, parent } of groups) {
      const found = this.groups.get(id);
      if (found !== undefined && parent !== undefined) found.parent = this.find(parent);
    }
    const servers = value["mcpServers"] ?? [];
    const entries = Array.isArray(servers)
      ? servers.map((it: { name: string }): [string, Fields] => [it.name, it])
      : Object.entries(servers as Record<string, Fields>);
    for (const [called, it] of entries) {
      const words = [it["group_id"], ...((it["groups"] ?? []) as string[])] as (string | number)[];
      this.servers.set(called, {
        rest: without(it, APART),
        groups: new Set(words.flatMap((word) => this.find(word) ?? word ?? [])),
      });
    }
  }

  find(word: string | number | undefined): number | undefined {
    for (const [id, { name: called }] of this.groups) {
      if (
        word === id ||
        word === String(id) ||
        word === called ||
        word === called.toLowerCase().replaceAll(" ", "-")
      )
        return id;
    }
    return undefined;
  }

  meaning(): unknown {
    return { top: this.top, servers: this.servers, groups: this.groups };
  }

  /** A change begins: a number that is another group's now is nobody's within it. */
  begin(): void {
    this.#highest = Math.max(0, ...this.groups.keys());
  }

  apply(done: PlanOperation): void {
    const server = "name" in done ? this.servers.get(done.name) : undefined;
    const id = "group" in done && typeof done.group !== "object" ? this.find(done.group) : undefined;
    const group = id === undefined ? undefined : this.groups.get(id);
    if (done.op === "add")
      this.servers.set(done.server["name"] as string, {
        rest: without(merge({}, done.server), APART),
        groups: new Set(),
      });
    else if (done.op === "remove") this.servers.delete(done.name);
    else if (done.op === "rename" && server !== undefined) this.#rename(done.name, done.to);
    else if (done.op === "patch" && server !== undefined) {
      server.rest = merge(server.rest, without(done.patch, APART));
      const words = done.patch["groups"] as string[] | undefined;
      if (words !== undefined)
        server.groups = new Set(words.flatMap((word) => this.find(word) ?? word ?? []));
      if (typeof done.patch["name"] === "string") this.#rename(done.name, done.patch["name"]);
    } else if (done.op === "assign" && id !== undefined) server?.groups.add(id);
    else if (done.op === "unassign" && id !== undefined) server?.groups.delete(id);
    else if (done.op === "settings") this.top = merge(this.top, done.patch);
    else if (done.op === "add_group") {
      const {
        name: called,
        parent,
        id: asked,
      } = done.group as { name: string; parent?: string; id?: number };
      this.groups.set(asked ?? Math.max(this.#highest, ...this.groups.keys()) + 1, {
        name: called,
        parent: this.find(parent),
        rest: {},
      });
    } else if (done.op === "patch_group" && group !== undefined) {
      const { name: called, parent, ...rest } = done.patch as { name?: string; parent?: string | null };
      if (called !== undefined) group.name = called;
      if (parent !== undefined) group.parent = parent === null ? undefined : this.find(parent);
      group.rest = merge(group.rest, rest);
    } else if (done.op === "remove_group" && id !== undefined) {
      for (const other of this.groups.values()) if (other.parent === id) other.parent = group?.parent;
      this.groups.delete(id);
      for (const each of this.servers.values()) each.groups.delete(id);
    }
    this.#resolve();
  }

  /** A word for a group that was not there means the one that is there now. */
  #resolve(): void {
    for (const server of this.servers.values())
      server.groups = new Set(
        [...server.groups].map((word) => (typeof word === "string" ? (this.find(word) ?? word) : word)),
      );
  }

  #rename(from: string, to: string): void {
    const server = this.servers.get(from);
    this.servers.delete(from);
    if (server !== undefined) this.servers.set(to, server);
  }
}

function meaningOf(text: string): unknown {
  return new Model(text).meaning();
}

interface Memory {
  mode: Config["servers"][number]["startupMode"];
  approvedHash?: string | undefined;
  formerMode?: never;
}

/** Members of unknown keys, as they are spelt. */
function spellings(text: string): string[] {
  return [...text.matchAll(/"x_(?:first|note)": ?[\d.e]+/g)].map(([found]) => found).toSorted();
}

let operations = 0;
let done = 0;

test.each(Object.entries(FORMS))(
  "preparePlan() keeps text, meaning and configuration in step: %s",
  (_form, text) => {
    fc.assert(
      fc.property(
        fc.array(fc.array(operation, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 8 }),
        fc.boolean(),
        (plans, isByPerson) => {
          let loaded = LoadedConfig.parse(text, OPTIONS);
          const model = new Model(text);
          const memory = new Map<string, Memory>(
            loaded.config.servers.map((server) => [
              server.name,
              { mode: server.startupMode, approvedHash: definitionHash(server) },
            ]),
          );
          for (const batch of plans) {
            const before = loaded;
            const plan = preparePlan(loaded, {
              operations: batch,
              isLenient: true,
              isByPerson,
              memoryOf: (it) => memory.get(it),
              now: () => 0,
            });
            operations += batch.length;
            done += batch.length - plan.refused.length;
            loaded = plan.loaded;
            // The text is sound, and the configuration is what it says.
            expect(parseJsonc(loaded.text).faults).toEqual([]);
            expect(comparable(loaded.config)).toEqual(comparable(parseConfig(loaded.text, OPTIONS)));
            // What stays in the file of what no operation names.
            for (const comment of LASTING.filter((it) => before.text.includes(it)))
              expect(loaded.text).toContain(comment);
            if (
              plan.difference.removed.length === 0 &&
              !batch.some(({ op }) => op === "remove" || op === "remove_group")
            )
              expect(spellings(loaded.text)).toEqual(spellings(before.text));
            expect(loaded.text.startsWith("\ufeff")).toBe(text.startsWith("\ufeff"));
            if (text.includes("\r\n")) expect(/[^\r]\n/.test(loaded.text)).toBe(false);
            if (!plan.isChange) expect(loaded).toBe(before);
            follow(memory, plan);
            // Nothing that is on has a definition nobody approved.
            for (const server of loaded.config.servers.filter(({ faults }) => faults.length === 0)) {
              const isOn = server.startupMode === "active" || server.startupMode === "lazy_loading";
              const known = memory.get(server.name);
              if (isOn && known?.mode !== "quarantined")
                expect(known?.approvedHash).toBe(definitionHash(server));
            }
            const refused = new Set(plan.refused.map(({ at }) => at));
            model.begin();
            for (const [at, one] of batch.entries()) if (!refused.has(at)) model.apply(one);
            expect(meaningOf(loaded.text)).toEqual(model.meaning());
          }
        },
      ),
      { numRuns: 120, seed: 5 },
    );
  },
);

/** What the database does with the effects of a plan. */
function follow(memory: Map<string, Memory>, { effects, config }: ReturnType<typeof preparePlan>): void {
  for (const [from, to] of effects.renamed ?? []) {
    const moved = memory.get(from);
    memory.delete(from);
    if (moved !== undefined) memory.set(to, moved);
  }
  for (const gone of effects.removed ?? []) memory.delete(gone);
  const held = new Set((effects.quarantined ?? []).flatMap(([it, isHeld]) => (isHeld ? [it] : [])));
  const hashes = new Map(effects.approved);
  for (const server of config.servers) {
    const approvedHash = hashes.get(server.name) ?? memory.get(server.name)?.approvedHash;
    memory.set(server.name, {
      mode: held.has(server.name) ? "quarantined" : server.startupMode,
      approvedHash,
    });
  }
}

test("preparePlan() was tried with enough operations, of which enough were done", () => {
  expect(operations).toBeGreaterThan(4_000);
  expect(done / operations).toBeGreaterThan(0.2);
});
