/**
 * A program nobody approved, seen from outside: it writes down each start of it, and there is none.
 *
 * Owns the spawn gate over processes; every way over HTTP upstreams is in `tests/gateway/spawn_gate_test.ts`.
 */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJournal, STDIO_SERVER } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openScene, openV2, startProxy } from "./harness.ts";
import type { RunningProxy } from "./harness.ts";

const TEST_MS = 60_000;

/** A definition whose program writes into the journal when it is started. */
function marked(journal: string) {
  return { command: process.execPath, args: [STDIO_SERVER, "--journal", journal] };
}

function starts(journal: string): number {
  return readJournal(journal).filter(({ started }) => started).length;
}

async function ask(proxy: RunningProxy, what: string, body?: unknown) {
  const [method = "GET", path = ""] = what.split(" ");
  return proxy.api(path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
}

/** What an operator, a script or an agent may try to get it started. */
async function tryAll(proxy: RunningProxy, journal: string): Promise<void> {
  const change = (...operations: readonly unknown[]) => ({ operations, lenient: true });
  await ask(proxy, "POST /servers/new/disable");
  await ask(proxy, "POST /servers/new/enable");
  await ask(proxy, "POST /groups/1/assign", { servers: ["new"] });
  await ask(proxy, "POST /groups/1/disable", {});
  await ask(proxy, "POST /groups/1/enable", {});
  await ask(proxy, "POST /servers/batch", { action: "enable", names: ["new", "known"] });
  await ask(proxy, "PATCH /servers/new", { startup_mode: "active", enabled: true, quarantined: false });
  await ask(proxy, "PATCH /servers/new", { env: { A: "1" } });
  await ask(proxy, "PATCH /servers/new", { env: null, verify: true });
  await ask(
    proxy,
    "POST /config/apply",
    change({ op: "make_lazy", name: "new" }, { op: "enable", name: "new" }),
  );
  await ask(proxy, "POST /config/plan", { ...change({ op: "approve", name: "new" }), dry_run: true });
  for (const verb of ["restart", "connect"]) await ask(proxy, `POST /servers/new/${verb}`);
  await ask(proxy, "PATCH /servers/new", { name: "newer" });
  await ask(proxy, "PATCH /servers/newer", { name: "new" });
  await ask(proxy, "DELETE /servers/new");
  await ask(proxy, "POST /servers", { name: "new", ...marked(journal), startup_mode: "lazy_loading" });
  await using agent = await openV2(`${proxy.url}/mcp`);
  const called = await agent.call("call_tool", { name: "new:echo", args: {} });
  expect(called["isError"]).toBe(true);
}

test(
  "a program added, or put in the place of another, starts 0 times before approve and once after it",
  async () => {
    verifies("APPROVAL-GATE");
    await using scene = openScene();
    const [known, strange] = [join(scene.path, "known"), join(scene.path, "strange")];
    const config = {
      groups: [{ id: 1, name: "Team" }],
      mcpServers: [{ name: "known", ...marked(known), groups: ["Team"] }],
    };
    await using first = await startProxy(scene, { config });
    await first.connected(["known"]);
    expect((await ask(first, "POST /servers", { name: "new", ...marked(strange) }))["success"]).toBe(true);
    await tryAll(first, strange);
    // The program of one that is connected is replaced.
    await ask(first, "PATCH /servers/known", { args: marked(strange).args });
    await ask(first, "POST /servers/known/enable");
    expect((await first.servers()).get("known")).toMatchObject({ category: "quarantined" });
    const { data } = (await ask(first, "GET /config/history")) as { data: { entries: { id: string }[] } };
    await ask(first, "POST /config/rollback", { id: data.entries[0]?.id });
    expect((await first.servers()).get("known")).toMatchObject({ category: "quarantined" });
    await ask(first, "POST /servers", { name: "new", ...marked(strange) });
    await first.kill();

    // Also over a kill, and a start with other words in the file around it.
    const text = readFileSync(first.configPath, "utf8");
    writeFileSync(first.configPath, `${text}\n// By hand.\n`);
    await using second = await startProxy(scene, {});
    await tryAll(second, strange);
    writeFileSync(second.configPath, readFileSync(second.configPath, "utf8").replace("// By hand.", ""));
    await ask(second, "POST /servers", { name: "last", ...marked(known), approve: true });
    await second.connected(["last"]);
    // What was approved: at the start, by its group off and on, and as the last one.
    expect([starts(strange), starts(known)]).toEqual([0, 3]);
    expect((await second.servers()).get("new")).toMatchObject({ category: "quarantined" });

    await ask(second, "POST /servers/new/approve");
    // It was added as lazy: a visit, or a call, starts it.
    await using agent = await openV2(`${second.url}/mcp`);
    await waitFor("it was started", () => starts(strange) > 0);
    await waitFor(
      "its tools are known",
      async () => Number((await second.servers()).get("new")?.["tool_count"]) > 0,
    );
    expect(starts(strange)).toBe(1);
    const found = await agent.call("describe_tool", { tool_ids: ["new:echo"] });
    expect(JSON.stringify(found)).toContain("echo");
    expect(await second.stop()).toBe(0);
  },
  TEST_MS,
);
