/**
 * The key `groups`: ids, parents, and what makes the whole file a fault.
 *
 * Owns the reading; operations on groups are in `config_plan_test.ts`.
 */
import { expect, test } from "bun:test";
import { faultsOf, parseConfig } from "../../src/state/config.ts";
import type { Config } from "../../src/core/settings.ts";

const OPTIONS = { path: "/etc/m/c.json", home: "/home/u" };

function parse(value: unknown): Config {
  return parseConfig(JSON.stringify(value, undefined, 2), OPTIONS);
}

function faults(groups: unknown): string[] {
  try {
    parse({ groups });
    return [];
  } catch (error) {
    return faultsOf(error).map(({ line, key, message, advice }) => `${line} ${key}: ${message} — ${advice}`);
  }
}

test("readGroups() gives a group without an id the next after the highest", () => {
  const { groups } = parse({
    groups: [{ name: "a" }, { id: 19, name: "b", parent: 0 }, { name: "c", parent: 19 }],
  }).settings;
  expect(groups.map(({ id, name, parent }) => [id, name, parent])).toEqual([
    [20, "a", undefined],
    [19, "b", "0"],
    [21, "c", "19"],
  ]);
});

test("readGroups() refuses a second group with a name or an id", () => {
  expect(
    faults([
      { id: 1, name: "a" },
      { id: 1, name: "a" },
    ]),
  ).toEqual([
    "8 groups[1].id: A second group has the id 1 — Give one of the two another id, such as 2",
    "9 groups[1].name: A second group is named 'a' — Give one of the two another name",
  ]);
});

test("readGroups() refuses a missing parent and says which one was probably meant", () => {
  expect(faults([{ name: "search" }, { name: "b", parent: "serach" }, { name: "c", parent: 9 }])).toEqual([
    "8 groups[1].parent: The parent 'serach' of the group 'b' is not defined — Write 'search'",
    "12 groups[2].parent: The parent '9' of the group 'c' is not defined — Write the name or id of another group, or remove the key",
  ]);
});

test("readGroups() tells each circle of parents once, in order", () => {
  const circle = (message: string): string =>
    `The parents go in a circle: ${message} — Remove the parent of one of them`;
  expect(
    faults([
      { name: "a", parent: "b" },
      { name: "b", parent: "a" },
    ]),
  ).toEqual([`5 groups[0].parent: ${circle("a → b → a")}`]);
  expect(faults([{ name: "self", parent: "self" }])).toEqual([
    `5 groups[0].parent: ${circle("self → self")}`,
  ]);
  const groups = [
    { id: 1, name: "x", parent: "r" },
    { id: 2, name: "p", parent: 3 },
    { id: 3, name: "q", parent: "r" },
    { id: 4, name: "r", parent: "p" },
    { id: 5, name: "fine" },
  ];
  expect(faults(groups).map((text) => text.slice(text.indexOf("groups")))).toEqual([
    `groups[1].parent: ${circle("p → q → r → p")}`,
  ]);
});

test("readGroups() takes 200 groups in 5 levels", () => {
  const groups = Array.from({ length: 200 }, (_, index) => ({
    name: `g${index}`,
    ...(index >= 40 && { parent: `g${index - 40}` }),
  }));
  expect(parse({ groups }).settings.groups).toHaveLength(200);
});

test("parseConfig() finds a server's group that is not there, which is no fault", () => {
  const servers = [
    { name: "a", command: "x", group_id: 4, groups: ["web-tools", "nope"] },
    { name: "b", command: "x", group_id: 9 },
    { name: "c", command: "x", group_id: 0 },
  ];
  const { findings, faults: none } = parse({ groups: [{ id: 4, name: "Web Tools" }], mcpServers: servers });
  expect(none).toEqual([]);
  expect(findings.map(({ code, server, message }) => [code, server, message])).toEqual([
    ["GROUP_UNKNOWN", "a", "The server 'a' names the group 'nope', which is not defined"],
    ["GROUP_UNKNOWN", "b", "The server 'b' names the group '9', which is not defined"],
  ]);
});
