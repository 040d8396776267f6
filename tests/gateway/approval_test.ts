/**
 * What a start, an edit by hand and a rollback mean for approvals and quarantine; `spawn_gate_test.ts` sees it at work.
 */
import { expect, test } from "bun:test";
import { effectsAtStart, effectsByHand, effectsOfRollback } from "../../src/gateway/approval.ts";
import { parseConfig } from "../../src/state/config.ts";
import { differenceOf } from "../../src/state/config_difference.ts";
import { definitionHash } from "../../src/state/definition.ts";
import type { ServerMemory } from "../../src/state/store.ts";
import { verifies } from "../requirements.ts";

function configOf(servers: readonly Record<string, unknown>[]) {
  return parseConfig(JSON.stringify({ mcpServers: servers }), { path: "/etc/mcp_config.json" });
}

function serversOf(servers: readonly Record<string, unknown>[]) {
  return configOf(servers).servers;
}

test("effectsAtStart() approves what is new and what was changed, and nothing that was known and held", () => {
  verifies("APPROVAL-GATE");
  const servers = serversOf([
    { name: "fresh", command: "a" },
    { name: "same", command: "b" },
    { name: "changed", command: "c" },
  ]);
  const hashOf = (name: string): string => {
    const server = servers.find((it) => it.name === name);
    return server === undefined ? "" : definitionHash(server);
  };
  const memory = new Map([
    ["same", { definitionHash: hashOf("same") }],
    ["changed", { definitionHash: "another" }],
  ]);
  const findServer = (name: string) => memory.get(name) as ServerMemory | undefined;
  const [fresh, changed] = [hashOf("fresh"), hashOf("changed")];
  expect(effectsAtStart(servers, { findServer })).toEqual({
    defined: [
      ["fresh", fresh],
      ["changed", changed],
    ],
    approved: [
      ["fresh", fresh],
      ["changed", changed],
    ],
    cleared: ["changed"],
  });
});

test("effectsByHand() approves what a person wrote, and lifts a quarantine only where the mode was edited", () => {
  verifies("APPROVAL-GATE");
  const before = configOf([
    { name: "held", command: "a", startup_mode: "quarantined" },
    { name: "freed", command: "b", startup_mode: "quarantined" },
    { name: "off", command: "c", startup_mode: "disabled" },
    { name: "gone", command: "d" },
  ]);
  const after = configOf([
    { name: "held", command: "a", startup_mode: "quarantined", tags: ["x"] },
    { name: "freed", command: "b" },
    { name: "off", command: "c", startup_mode: "lazy_loading" },
  ]);
  const effects = effectsByHand(differenceOf(before, after), after.servers);
  expect(effects).toMatchObject({
    removed: ["gone"],
    defined: [],
    approved: [["freed", expect.any(String) as string]],
    quarantined: [["freed", false]],
    cleared: ["freed", "off"],
  });
});

test("effectsOfRollback() holds what comes back unapproved, and keeps a quarantine the old text does not know", () => {
  verifies("CONFIG-ROLLBACK", "APPROVAL-GATE");
  const before = configOf([
    { name: "changed", command: "new" },
    { name: "approved", command: "new" },
    { name: "held", command: "c", startup_mode: "quarantined" },
  ]);
  const after = configOf([
    { name: "changed", command: "old" },
    { name: "approved", command: "old" },
    { name: "held", command: "c" },
    { name: "back", command: "d" },
  ]);
  const [, approved] = after.servers;
  const known = (name: string) =>
    ({
      changed: { mode: "active", approvedHash: "of something else" },
      approved: { mode: "active", approvedHash: approved && definitionHash(approved) },
      held: { mode: "quarantined", approvedHash: "any" },
    })[name] as { mode: "active"; approvedHash: string } | undefined;
  const difference = differenceOf(before, after);
  const held = effectsOfRollback(difference, { approves: false, known });
  expect(held.approved?.map(([name]) => name)).toEqual(["approved"]);
  expect(held.quarantined).toEqual([
    ["back", true],
    ["changed", true],
    ["held", true],
  ]);
  const vouched = effectsOfRollback(difference, { approves: true, known });
  expect(vouched.approved?.map(([name]) => name)).toEqual(["back", "changed", "approved"]);
  expect(vouched.quarantined).toEqual([["held", true]]);
});
