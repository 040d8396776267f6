/** What is written of auto-disables is what holds when it is written; the whole way to the file is in `configuration_test.ts`. */
import { expect, test } from "bun:test";
import { EventBus } from "../../src/core/events.ts";
import type { StartupMode } from "../../src/core/model.ts";
import { AutoDisableWriter } from "../../src/gateway/auto_disable_writer.ts";
import { SILENT_LOG } from "../../src/lib/log.ts";
import type { PlanOperation } from "../../src/state/config_plan.ts";
import type { Upstream } from "../../src/upstream/upstreams.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";

test("AutoDisableWriter says what to write when it may, not when it asks", async () => {
  verifies("PERSIST-AUTO-DISABLE");
  const modes = new Map<string, StartupMode>([
    ["off", "active"],
    ["back", "active"],
  ]);
  const bus = new EventBus();
  const asked = Promise.withResolvers<void>();
  const turn = Promise.withResolvers<void>();
  const written: (readonly PlanOperation[])[] = [];
  const writer = new AutoDisableWriter({
    bus,
    upstreams: {
      list: () => [...modes].map(([name, mode]) => ({ server: makeServer({ name }), mode }) as Upstream),
    },
    log: SILENT_LOG,
    isOn: () => true,
    write: async (operationsNow) => {
      asked.resolve();
      await turn.promise;
      written.push(operationsNow());
    },
  });
  for (const name of modes.keys()) {
    modes.set(name, "auto_disabled");
    const standing = { connection: "error", category: "disconnected" } as const;
    const [before, after] = [
      { ...standing, mode: "active" },
      { ...standing, mode: "auto_disabled" },
    ] as const;
    bus.publish("server_state_changed", { before, after, reason: "", attempt: 1, since: 0 }, name);
  }
  await asked.promise;
  modes.set("back", "active");
  turn.resolve();
  await writer.close();
  expect(written).toEqual([[{ op: "auto_disable", name: "off" }]]);
});
