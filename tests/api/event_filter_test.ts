/**
 * Which events a stream wants, by its address.
 */
import { expect, test } from "bun:test";
import { readFilter, STATE_TYPES } from "../../src/api/event_filter.ts";
import { Groups } from "../../src/catalog/groups.ts";
import { EventBus } from "../../src/core/events.ts";
import type { EventSubject, ProxyEvent } from "../../src/core/events.ts";
import { failureOf } from "../fixtures/wait.ts";

const GROUPS = [
  { id: 1, name: "All of it", description: "", enabled: true },
  { id: 2, name: "part", description: "", enabled: true, parent: "All of it" },
  { id: 3, name: "other", description: "", enabled: true },
];
const SERVERS = [
  { name: "a", groups: ["1"] },
  { name: "b", groups: ["2"] },
  { name: "c", groups: ["3"] },
  { name: "d, e", groups: [] },
];

let groups = new Groups(GROUPS, SERVERS);

function removed(subject?: EventSubject): ProxyEvent {
  const made: ProxyEvent[] = [];
  const bus = new EventBus();
  bus.subscribe((event) => made.push(event));
  bus.publish("server_removed", { reason: "r" }, subject);
  return made[0] as ProxyEvent;
}

const EVENTS: Readonly<Record<string, ProxyEvent>> = {
  a: removed("a"),
  b: removed("b"),
  c: removed("c"),
  "d, e": removed("d, e"),
  "group 1": removed(1),
  "group 2": removed(2),
  "group 3": removed(3),
  "no subject": removed(),
};

test.each<[string, readonly string[]]>([
  ["", ["a", "b", "c", "d, e", "group 1", "group 2", "group 3", "no subject"]],
  ["types=server_added", []],
  ["types=server_added,server_removed&servers=a", ["a"]],
  ["servers=a,c", ["a", "c"]],
  ["servers=a&servers=c", ["a", "c"]],
  ["servers=d%2C%20e", ["d, e"]],
  ["servers=d%2C+e,a", ["a", "d, e"]],
  ["servers=unknown", []],
  ["groups=1", ["a", "b", "group 1", "group 2"]],
  ["groups=All%20of%20it", ["a", "b", "group 1", "group 2"]],
  ["groups=part,other", ["b", "c", "group 2", "group 3"]],
  ["groups=other&servers=a", ["a", "c", "group 3"]],
  ["?since=3&groups=other&apikey=x", ["c", "group 3"]],
])("readFilter('%s') takes %p", (query, wanted) => {
  const filter = readFilter(query, { groups: () => groups });
  const taken = Object.entries(EVENTS).filter(([, event]) => filter.matches(event));
  expect(taken.map(([name]) => name)).toEqual([...wanted]);
});

test.each([
  ["types=server_remved", "USAGE", "Did you mean 'server_removed'?"],
  ["groups=oher", "GROUP_UNKNOWN", "Did you mean 'other'?"],
  ["servers=%zz", "USAGE", undefined],
])("readFilter('%s') is refused with %s", async (query, code, hint) => {
  const failure = await failureOf(() => readFilter(query, { groups: () => groups }));
  expect(failure).toMatchObject({ code, hint });
});

test("readFilter() keeps to the types of the stream, and names those", async () => {
  const among = STATE_TYPES;
  const all = readFilter("", { groups: () => groups, among });
  expect(EVENTS["a"] && all.matches(EVENTS["a"])).toBe(true);
  expect(all.matches({ ...EVENTS["a"], type: "log" } as ProxyEvent)).toBe(false);
  const failure = await failureOf(() => readFilter("types=log", { groups: () => groups, among }));
  expect(failure["code"]).toBe("USAGE");
});

test("readFilter() has one key for filters that mean the same", () => {
  const keyOf = (query: string): string => readFilter(query, { groups: () => groups }).key;
  expect(keyOf("servers=a,c&types=log")).toBe(keyOf("types=log&servers=c&servers=a,a"));
  expect(keyOf("groups=part")).toBe(keyOf("groups=2"));
  expect(new Set(["", "servers=a", "types=log", "groups=2", "servers=2"].map(keyOf)).size).toBe(5);
});

test("readFilter() follows the groups: who joins is heard, who leaves is not, a removal is", () => {
  const filter = readFilter("groups=other", { groups: () => groups });
  const moved = (name: string) => ({ ...removed(name), type: "server_changed" }) as unknown as ProxyEvent;
  expect([filter.matches(moved("a")), filter.matches(moved("c"))]).toEqual([false, true]);
  const before = groups;
  groups = new Groups(GROUPS, [{ name: "a", groups: ["3"] }]);
  try {
    expect([filter.matches(moved("a")), filter.matches(moved("c"))]).toEqual([true, false]);
    expect(filter.matches(removed("c"))).toBe(true);
  } finally {
    groups = before;
  }
});

test("readFilter() hears of a server that gets another name", () => {
  const filter = readFilter("servers=old", { groups: () => groups });
  const renamed = { ...removed("new"), type: "server_renamed", data: { from: "old" } } as ProxyEvent;
  expect(filter.matches(renamed)).toBe(true);
});
