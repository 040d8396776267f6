/**
 * Batches: which servers they are for, and their answers.
 *
 * Owns selecting by group, names and filter, and the words and counts of an answer.
 */
import { expect, test } from "bun:test";
import { batchAnswer, selectServers } from "../../src/catalog/batch.ts";
import { Groups } from "../../src/catalog/groups.ts";
import { failureOf } from "../fixtures/wait.ts";
import type { BatchOutcome, SelectableServer, Selection } from "../../src/catalog/batch.ts";

const DAY_MS = 86_400_000;
const NOW = Date.parse("2026-03-01T00:00:00Z");

const SERVERS: readonly (SelectableServer & { readonly groups: readonly string[] })[] = [
  { name: "chrome", category: "connected", tags: ["web"], connectedAt: NOW - 40 * DAY_MS, groups: ["2"] },
  { name: "sql", category: "sleeping", tags: ["db", "web"], connectedAt: NOW - 30 * DAY_MS, groups: ["1"] },
  { name: "curl", category: "disconnected", tags: ["web"], connectedAt: NOW - DAY_MS, groups: ["web"] },
  { name: "never", category: "quarantined", tags: [], groups: [] },
];
const VIEW = {
  groups: new Groups(
    [
      { id: 1, name: "All", description: "", enabled: true },
      { id: 2, name: "Web", description: "", enabled: true, parent: "All" },
    ],
    SERVERS,
  ),
  servers: SERVERS,
  now: NOW,
};

test.each<readonly [string, Selection, readonly string[], readonly string[]]>([
  ["a group with those below", { group: "all" }, ["chrome", "sql", "curl"], []],
  ["a group by its id", { group: 2 }, ["chrome", "curl"], []],
  [
    "names, in file order, each once, unknown ones named",
    { names: ["never", "x", "chrome", "x", "never"] },
    ["chrome", "never"],
    ["x"],
  ],
  ["no names", { names: [] }, [], []],
  ["a category", { filter: { category: "sleeping" } }, ["sql"], []],
  ["a tag", { filter: { tag: "web" } }, ["chrome", "sql", "curl"], []],
  ["not connected for 30 days", { filter: { notConnectedForDays: 30 } }, ["sql", "never"], []],
  ["not connected now", { filter: { notConnectedForDays: 0 } }, ["sql", "curl", "never"], []],
  ["all parts of a filter", { filter: { tag: "web", notConnectedForDays: 2 } }, ["sql"], []],
  ["a group and names", { group: "Web", names: ["sql", "curl", "?"] }, ["curl"], ["?"]],
  ["a group, names and a filter", { group: 1, names: ["sql", "curl"], filter: { tag: "db" } }, ["sql"], []],
  ["a group and an empty filter", { group: "Web", filter: {} }, ["chrome", "curl"], []],
])("selectServers() by %s", (_what, selection, names, unknown) => {
  expect(selectServers(selection, VIEW)).toEqual({ names, unknown });
});

test("selectServers() counts days to the present when no time is given", () => {
  const connectedAt = Date.now() - 2 * DAY_MS;
  const servers = [{ name: "a", category: "sleeping", tags: [], connectedAt }] as const;
  const view = { groups: VIEW.groups, servers };
  expect(selectServers({ filter: { notConnectedForDays: 1 } }, view).names).toEqual(["a"]);
  expect(selectServers({ filter: { notConnectedForDays: 3 } }, view).names).toEqual([]);
});

test.each<readonly [string, Selection]>([
  ["nothing", {}],
  ["an empty filter", { filter: {} }],
  ["days below 0", { filter: { notConnectedForDays: -1 } }],
  ["days that are no number", { filter: { notConnectedForDays: Number.NaN } }],
])("selectServers() refuses %s", async (_what, selection) => {
  expect(await failureOf(() => selectServers(selection, VIEW))).toMatchObject({ code: "USAGE" });
});

test("selectServers() refuses a group nobody defined and says which was meant", async () => {
  const failure = await failureOf(() => selectServers({ group: "Wep", names: ["sql"] }, VIEW));
  expect(failure).toMatchObject({ code: "GROUP_UNKNOWN", hint: "Did you mean 'Web'?" });
});

const REFUSED = [
  { server: "never", error: "Cannot enable 'never': it is quarantined", code: "QUARANTINED" },
] as const;

test.each<readonly [string, BatchOutcome, unknown]>([
  [
    "all done",
    { action: "enable", updated: ["a", "b"], unchanged: [], refused: [] },
    { success: true, message: "Enabled 2 servers", updated: 2, unchanged: 0, failed_servers: [] },
  ],
  [
    "some refused",
    { action: "disable", updated: ["a"], unchanged: ["b"], refused: REFUSED },
    {
      success: true,
      message: "Disabled 1 server, 1 unchanged, 1 refused",
      updated: 1,
      unchanged: 1,
      partial_failure: true,
      failed_servers: [...REFUSED],
    },
  ],
  [
    "all refused",
    { action: "restart", updated: [], unchanged: [], refused: REFUSED },
    {
      success: false,
      message: "Restarted 0 servers, 1 refused",
      updated: 0,
      unchanged: 0,
      failed_servers: [...REFUSED],
    },
  ],
  [
    "nothing to do",
    { action: "assign", updated: [], unchanged: [], refused: [] },
    { success: true, message: "Assigned 0 servers", updated: 0, unchanged: 0, failed_servers: [] },
  ],
  [
    "a dry run",
    { action: "quarantine", updated: ["a"], unchanged: [], refused: [], isDryRun: true },
    { success: true, message: "Would quarantine 1 server", updated: 1, unchanged: 0, failed_servers: [] },
  ],
])("batchAnswer() tells of %s", (_what, outcome, answer) => {
  expect(batchAnswer(outcome)).toStrictEqual(answer as never);
});
