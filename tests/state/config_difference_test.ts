/**
 * What counts as which change, and what is hashed.
 *
 * Owns pairs of texts; how a plan comes to one of them is in `config_plan_test.ts`.
 */
import { expect, test } from "bun:test";
import { parseConfig } from "../../src/state/config.ts";
import { changedKeys, differenceOf } from "../../src/state/config_difference.ts";
import { definitionHash } from "../../src/state/definition.ts";
import type { Server } from "../../src/core/model.ts";
import type { Config } from "../../src/core/settings.ts";

const BASE = { name: "a", command: "x", args: ["1"], env: { A: "1", B: "2" } };

function parse(value: unknown): Config {
  return parseConfig(JSON.stringify(value), { path: "/etc/m/c.json", home: "/home/u" });
}

function serverOf(entry: object): Server {
  const [server] = parse({ mcpServers: [{ ...BASE, ...entry }] }).servers;
  if (server === undefined) throw new Error("no server");
  return server;
}

const STARTED: readonly (readonly [name: string, entry: object, key: string])[] = [
  ["command", { command: "y" }, "command"],
  ["args", { args: ["1", "2"] }, "args"],
  ["env", { env: { A: "1", B: "3" } }, "env"],
  ["url", { url: "https://e.org" }, "url"],
  ["headers", { headers: { H: "v" } }, "headers"],
  ["working dir", { working_dir: "/w" }, "working_dir"],
];
const OTHER: readonly (readonly [name: string, entry: object, keys: readonly string[]])[] = [
  ["tags", { tags: ["t"] }, ["tags"]],
  ["groups", { groups: ["g"] }, ["groups"]],
  ["a timeout", { call_timeout: "5s" }, ["call_timeout"]],
  ["a filter", { disabled_tools: ["t"] }, ["disabled_tools"]],
  ["the description", { description: "d" }, ["description"]],
];

test.each(STARTED)("differenceOf() restarts a server whose %s changed", (_name, entry, key) => {
  const after = serverOf(entry);
  expect(definitionHash(after)).not.toBe(definitionHash(serverOf({})));
  const { restarted, updated, modes } = differenceOf(
    parse({ mcpServers: [BASE] }),
    parse({ mcpServers: [{ ...BASE, ...entry }] }),
  );
  expect([restarted.map(({ name }) => name), updated, modes]).toEqual([["a"], [], []]);
  expect(changedKeys(serverOf({}), after)).toContain(key);
});

test.each(OTHER)("differenceOf() does not restart a server for %s", (_name, entry, keys) => {
  expect(definitionHash(serverOf(entry))).toBe(definitionHash(serverOf({})));
  const { restarted, updated } = differenceOf(
    parse({ mcpServers: [BASE] }),
    parse({ mcpServers: [{ ...BASE, ...entry }] }),
  );
  expect([restarted, updated.map(({ name }) => name)]).toEqual([[], ["a"]]);
  expect(changedKeys(serverOf({}), serverOf(entry))).toEqual([...keys]);
});

test("definitionHash() passes over the order of variables, the name, the mode and unknown keys", () => {
  const entry = { name: "b", env: { B: "2", A: "1" }, startup_mode: "disabled", x_note: 1 };
  expect(definitionHash(serverOf(entry))).toBe(definitionHash(serverOf({})));
  const { restarted, updated } = differenceOf(
    parse({ mcpServers: [BASE] }),
    parse({ mcpServers: [{ ...BASE, env: { B: "2", A: "1" }, x_note: 1, updated: "now" }] }),
  );
  expect([restarted, updated]).toEqual([[], []]);
});

test("definitionHash() is the same in every run", () => {
  expect(definitionHash(serverOf({}))).toBe(
    "fadb76b67ef411796729f3a152cd92984f3611ffeb88d7f13a79020cfc6486c1",
  );
});

test("differenceOf() tells added, removed, renamed, moved and mended servers apart", () => {
  const before = parse({
    mcpServers: [
      BASE,
      { name: "gone", command: "x" },
      { name: "off", command: "x" },
      { name: "old", command: "x", tags: ["1"] },
      { name: "bad" },
    ],
  });
  const after = parse({
    mcpServers: [
      { name: "off", command: "x", enabled: false },
      { name: "now", command: "x", tags: ["2"] },
      { name: "old", command: "new one" },
      { name: "bad", command: "x" },
      BASE,
      { name: "fresh", command: "x" },
    ],
  });
  const difference = differenceOf(before, after, [["old", "now"]]);
  const names = (servers: readonly Server[]): string[] => servers.map(({ name }) => name);
  expect(names(difference.added)).toEqual(["old", "fresh"]);
  expect(difference.removed).toEqual(["gone"]);
  expect(names(difference.restarted)).toEqual(["bad"]);
  expect(difference.updated).toEqual([]);
  expect(difference.renamed.map(({ from, to, server }) => [from, to, server.tags])).toEqual([
    ["old", "now", ["2"]],
  ]);
  expect(difference.modes).toEqual([{ name: "off", before: "active", after: "disabled" }]);
  const byHand = differenceOf(before, after);
  expect([names(byHand.added), byHand.renamed, names(byHand.restarted)]).toEqual([
    ["now", "fresh"],
    [],
    ["old", "bad"],
  ]);
});

test("differenceOf() names settings as in the file, those that need a restart, and ids of groups", () => {
  const before = parse({
    tools_limit: 3,
    tls: { on: true },
    telemetry: null,
    groups: [
      { id: 1, name: "a" },
      { id: 2, name: "b" },
    ],
  });
  const after = parse({
    listen: ":0",
    tools_limit: 4,
    groups: [
      { id: 2, name: "c" },
      { id: 3, name: "d" },
    ],
    x_note: [1],
  });
  const { settings, restartRequired, groups } = differenceOf(before, after);
  expect(settings.toSorted()).toEqual(["listen", "tls", "tools_limit", "x_note"]);
  expect(restartRequired.toSorted()).toEqual(["listen", "tls"]);
  expect(groups).toEqual({ added: [3], removed: [1], changed: [2] });
});
