/**
 * The process matrix, seen from inside: whatever a server does at its end, `disable` and `remove` leave nothing of it.
 *
 * Owns the table of behaviours × verbs; how the proxy itself ends is in `tests/e2e/process_test.ts`. The others of the
 * table stay connected meanwhile.
 */
import { describe, expect, test } from "bun:test";
import type { Server } from "../../src/core/model.ts";
import { hasVariable, runningProcesses } from "../../src/lib/process_group.ts";
import type { Upstreams } from "../../src/upstream/upstreams.ts";
import { makeServer, openUpstreams, STDIO_SERVER, stdioServer } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { modeChange, removal } from "./fleet.ts";
import { verifies } from "../requirements.ts";

const GONE_MS = 5_000;
const QUICK = { stopGraceMs: 300, termGraceMs: 300 };
const wrapped = [process.execPath, STDIO_SERVER, "--ignore-eof", "--ignore-term"];

const BEHAVIOURS: Readonly<Record<string, (parts: Partial<Server>) => Server>> = {
  "well-behaved": (parts) => stdioServer([], parts),
  "ignores EOF": (parts) => stdioServer(["--ignore-eof"], parts),
  "ignores TERM": (parts) => stdioServer(["--ignore-eof", "--ignore-term"], parts),
  "forks grandchildren": (parts) => stdioServer(["--fork"], parts),
  "sh -c wrapper": (parts) =>
    makeServer({ command: "sh", args: ["-c", '"$@"; :', "sh", ...wrapped], ...parts }),
};

const VERBS: Readonly<Record<string, (upstreams: Upstreams, name: string) => void>> = {
  disable: (upstreams, name) =>
    upstreams.reconcile(modeChange(upstreams.list(), { [name]: "disabled" }), "test"),
  remove: (upstreams, name) => upstreams.reconcile(removal(upstreams.list(), name), "test"),
  quarantine: (upstreams, name) =>
    upstreams.reconcile(modeChange(upstreams.list(), { [name]: "quarantined" }), "test"),
};

describe("process matrix", () => {
  for (const [verb, run] of Object.entries(VERBS)) {
    test(`${verb}: 0 survivors of ${Object.keys(BEHAVIOURS).join(", ")}`, async () => {
      verifies("STDIO-NO-SURVIVORS", "STOP-BOUNDED");
      const mark = `${verb}-${crypto.randomUUID()}`;
      // Descendants inherit the variable.
      const ours = (): number[] =>
        runningProcesses().flatMap(({ pid }) => (hasVariable(pid, `MATRIX=${mark}`) ? [pid] : []));
      const servers = Object.entries(BEHAVIOURS).map(([name, make]) =>
        make({ name, env: new Map([["MATRIX", mark]]) }),
      );
      const bystander = stdioServer([], { name: "bystander" });
      await using open = openUpstreams([...servers, bystander], { supervision: QUICK });
      const { upstreams } = open;
      upstreams.start();
      await waitFor("all are connected", () =>
        upstreams.list().every(({ connection }) => connection === "ready"),
      );
      expect(ours().length).toBeGreaterThanOrEqual(servers.length + 2);
      for (const { name } of servers) run(upstreams, name);
      await waitFor("none of them runs", () => ours().length === 0, GONE_MS);
      expect(upstreams.find("bystander")?.connection).toBe("ready");
    }, 20_000);
  }
});
