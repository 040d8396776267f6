/**
 * The verbs of operators: who may, and whose word approves.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { ADMIN, OPEN } from "../../src/core/principal.ts";
import type { Principal } from "../../src/core/principal.ts";
import { AdminTools } from "../../src/gateway/admin_tools.ts";
import type { Operator, Steering } from "../../src/gateway/steering.ts";
import { verifies } from "../requirements.ts";
import { openGateway } from "./fixtures.ts";
import type { Gateway } from "./fixtures.ts";

const DEAD = "http://127.0.0.1:9/mcp";
const PERSON: Operator = { principal: ADMIN, isPerson: true };
const PROGRAM: Operator = { principal: ADMIN, isPerson: false };
const BOT: Principal = {
  id: "agent:bot",
  kind: "agent",
  permissions: new Set(["read"]),
  servers: new Set(["a"]),
};

let gateway: Gateway;

beforeAll(async () => {
  gateway = await openGateway([], {
    file: JSON.stringify({
      groups: [
        { id: 1, name: "G" },
        { id: 2, name: "H" },
      ],
      mcpServers: [
        { name: "a", url: DEAD, enabled: false, groups: ["G"] },
        { name: "b", url: DEAD, enabled: false, groups: ["H"] },
        { name: "held", url: DEAD, quarantined: true },
      ],
    }),
  });
});

afterAll(() => gateway[Symbol.asyncDispose]());

type Verb = readonly [name: string, act: (steering: Steering, by: Operator) => unknown];

const VERBS: readonly Verb[] = [
  ["add", (steering, by) => steering.add({ name: "n", url: DEAD }, { by })],
  ["a dry run", (steering, by) => steering.add({ name: "n", url: DEAD }, { by, isDryRun: true })],
  ["patch", (steering, by) => steering.patch("a", { patch: { description: "d" }, by })],
  ["remove", (steering, by) => steering.remove("a", by)],
  ["enable", (steering, by) => steering.switchMode("a", { verb: "enable", by })],
  ["approve", (steering, by) => steering.switchMode("held", { verb: "approve", by })],
  ["restart", (steering, by) => steering.act("a", { verb: "restart", by })],
  ["connect", (steering, by) => steering.act("a", { verb: "connect", by })],
  ["disconnect", (steering, by) => steering.act("a", { verb: "disconnect", by })],
  ["create", (steering, by) => steering.createGroup({ name: "new" }, by)],
  ["update", (steering, by) => steering.updateGroup(1, { patch: { name: "new" }, by })],
  ["delete", (steering, by) => steering.deleteGroup(1, by)],
  ["batch", (steering, by) => steering.runBatch({ action: "enable", selection: { names: ["a"] } }, by)],
];

test.each(VERBS)("%s is refused to an agent, whoever says it is a person", async (_, act) => {
  verifies("ADMIN-TOOLS-KEY");
  const before = gateway.configuration.text;
  for (const isPerson of [true, false]) {
    const done = (async () => act(gateway.steering, { principal: BOT, isPerson }))();
    expect(await done.catch((error: unknown) => error)).toMatchObject({ code: "SCOPE_REFUSED" });
  }
  expect(gateway.configuration.text).toBe(before);
});

test("a program's approval is not heard, a person's is", async () => {
  verifies("ADMIN-TOOLS-NO-APPROVAL");
  const { steering, upstreams } = gateway;
  const modeOf = (name: string) => upstreams.find(name)?.mode;
  await steering.add({ name: "by program", url: DEAD, enabled: false }, { approve: true, by: PROGRAM });
  expect(modeOf("by program")).toBe("quarantined");
  await steering.patch("by program", { patch: { url: `${DEAD}?2` }, approve: true, by: PROGRAM });
  for (const verb of ["approve", "unquarantine", "reject"] as const) {
    const refused = steering.switchMode("by program", { verb, by: PROGRAM });
    expect(await refused.catch((error: unknown) => error)).toMatchObject({ code: "QUARANTINED" });
  }
  expect(modeOf("by program")).toBe("quarantined");
  await steering.add({ name: "by person", url: DEAD, enabled: false }, { approve: true, by: PERSON });
  expect(modeOf("by person")).toBe("disabled");
  await steering.switchMode("by program", { verb: "unquarantine", by: PERSON });
  expect(modeOf("by program")).toBe("disabled");
});

test("the management tools never say that they are a person", async () => {
  verifies("ADMIN-TOOLS-NO-APPROVAL");
  const seen: Operator[] = [];
  const steering = {
    remove: async (_: string, by: Operator) => {
      seen.push(by);
      throw new Error("seen");
    },
  } as unknown as Steering;
  const tools = new AdminTools({
    steering,
    registries: { list: () => [], search: () => Promise.reject(new Error("not asked")) },
    settings: () => ({ disableManagement: false }),
  });
  for (const principal of [ADMIN, OPEN]) {
    await tools.call("upstream_servers", { operation: "remove", name: "a" }, { principal });
  }
  expect(seen).toEqual([
    { principal: ADMIN, isPerson: false },
    { principal: OPEN, isPerson: false },
  ]);
});

test("what an agent may not reach looks like what does not exist", () => {
  const { steering } = gateway;
  expect(steering.getServer("a", BOT).server.name).toBe("a");
  const hidden = (name: string) => {
    try {
      return steering.showServer(name, BOT);
    } catch (error) {
      const { code, message, hint } = error as { code: string; message: string; hint: string };
      return [code, message.replace(name, ""), hint];
    }
  };
  expect(hidden("held")).toEqual(hidden("nobody"));
  expect(() => steering.toolsOf("b", BOT)).toThrow(expect.objectContaining({ code: "SERVER_UNKNOWN" }));
  expect(steering.listGroups(BOT).map(({ name }) => name)).toEqual(["G"]);
  expect(steering.getGroup("g", BOT).id).toBe(1);
  expect(() => steering.getGroup("h", BOT)).toThrow(expect.objectContaining({ code: "GROUP_UNKNOWN" }));
  expect(steering.listGroups(ADMIN)).toHaveLength(2);
});
