/**
 * Changes of the configuration while no proxy runs.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { changeOffline } from "../../src/gateway/offline.ts";
import { SILENT_LOG } from "../../src/lib/log.ts";
import type { PlanOperation } from "../../src/state/config_plan.ts";
import { LoadedConfig } from "../../src/state/loaded_config.ts";
import { Store } from "../../src/state/store.ts";
import type { AutoDisabled } from "../../src/state/store.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

function openFile(text: string) {
  const folder = tempDir();
  const path = join(folder.path, "c.json");
  const dataDir = join(folder.path, "data");
  writeFileSync(path, text);
  const load = () =>
    LoadedConfig.read({ path, env: {}, cwd: folder.path, home: folder.path, overrides: { dataDir } });
  return {
    path,
    dataDir,
    text: () => readFileSync(path, "utf8"),
    change: async (operations: readonly PlanOperation[], isLenient = false) =>
      changeOffline(await load(), { operations, isLenient, log: SILENT_LOG }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

const REMOTE = { name: "x", url: "https://127.0.0.1:9/mcp" };

test.each([
  ['"read_only_mode": true', { op: "disable", name: "a" }, "read_only_mode"],
  ['"disable_management": true', { op: "enable", name: "a" }, "disable_management"],
  ['"allow_server_add": false', { op: "add", server: REMOTE }, "allow_server_add"],
  ['"allow_server_remove": false', { op: "remove", name: "a" }, "allow_server_remove"],
] as const)("changeOffline() is refused by %s, as a proxy refuses", async (setting, operation, key) => {
  verifies("CLI-NO-DAEMON");
  const text = `{ ${setting}, "mcpServers": [{ "name": "a", "command": "/nonexistent" }] }`;
  using file = openFile(text);
  const failure = await failureOf(() => file.change([operation]));
  expect(failure).toMatchObject({
    code: "MANAGEMENT_REFUSED",
    message: expect.stringContaining(key) as string,
  });
  expect(file.text()).toBe(text);
});

test("changeOffline() does all or nothing, and with isLenient what it can", async () => {
  using file = openFile('{ "mcpServers": [{ "name": "a", "command": "/nonexistent" }] }');
  const operations: PlanOperation[] = [
    { op: "disable", name: "a" },
    { op: "disable", name: "nobody" },
  ];
  const before = file.text();
  expect(await failureOf(() => file.change(operations))).toMatchObject({ code: "SERVER_UNKNOWN" });
  expect(file.text()).toBe(before);
  const { plan, revision } = await file.change(operations, true);
  expect([plan.updated, plan.refused.map(({ server }) => server)]).toEqual([["a"], ["nobody"]]);
  expect(file.text()).not.toBe(before);
  const again = await file.change([{ op: "disable", name: "a" }]);
  expect([again.plan.isChange, again.revision]).toEqual([false, revision]);
});

test("changeOffline() takes what a person wrote into the file meanwhile, and frees nothing by it that is held", async () => {
  verifies("CLI-NO-DAEMON", "APPROVAL-GATE");
  using file = openFile('{ "mcpServers": [] }');
  await file.change([{ op: "add", server: REMOTE }]);
  await file.change([{ op: "reject", name: "x" }]);
  expect(file.text()).toMatch(/"startup_mode": "disabled"/);
  // Its definition is one nobody approved; a mode by hand is no approval.
  writeFileSync(file.path, file.text().replace('"disabled"', '"active"'));
  const failure = await failureOf(() => file.change([{ op: "disable", name: "x" }]));
  expect(failure).toMatchObject({ code: "QUARANTINED" });
  await file.change([{ op: "approve", name: "x" }]);
  const { plan } = await file.change([{ op: "disable", name: "x" }]);
  expect(plan.updated).toEqual(["x"]);
});

test("changeOffline() ends an auto-disable by enabling, though the file says active all the time", async () => {
  using file = openFile('{ "mcpServers": [{ "name": "a", "command": "/nonexistent" }] }');
  await file.change([]);
  const learn = async (autoDisabled: AutoDisabled | undefined): Promise<unknown> => {
    await using store = Store.open({ dataDir: file.dataDir, log: SILENT_LOG });
    if (autoDisabled !== undefined) store.rememberServer("a", { autoDisabled });
    return store.findServer("a")?.autoDisabled;
  };
  await learn({ reason: "it failed", at: 1, probes: 0, dueAt: 2 });
  expect(await learn(undefined)).toMatchObject({ reason: "it failed" });
  const { plan } = await file.change([{ op: "enable", name: "a" }]);
  expect(plan.updated).toEqual(["a"]);
  expect(await learn(undefined)).toBeUndefined();
});
