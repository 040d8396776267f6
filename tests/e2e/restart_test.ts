/**
 * What outlives a `kill -9` of the proxy, seen from outside.
 *
 * Owns the restart: the second run is observed while its upstream is kept from starting by a gate, a file that the
 * wrapper of the server waits for, so that "before the first upstream is connected" is no question of speed.
 */
import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJournal, STDIO_SERVER } from "../fixtures/upstreams.ts";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { bin, openScene, openV2, replyOf, runProgram, SOURCE, startProxy } from "./harness.ts";
import type { Answer, Entry, Scene } from "./harness.ts";

const TEST_MS = 60_000;
const VANISH_MS = 20_000;

/** A server that starts once the file `gate` exists. */
function gated(scene: Scene, command: readonly string[]): Entry {
  const script = 'gate=$1; shift; while [ ! -e "$gate" ]; do sleep 0.05; done; exec "$@"';
  return { command: "sh", args: ["-c", script, "sh", join(scene.path, "gate"), ...command] };
}

function open(scene: Scene): void {
  writeFileSync(join(scene.path, "gate"), "");
}

test(
  "after kill -9 search answers from the store, marked stale, before an upstream is connected, and a call works",
  async () => {
    verifies("SEARCH-STALE-AFTER-RESTART", "START-NEVER-WAITS", "UPSTREAM-ERA-REMEMBERED", "HTTP-PROBES");
    await using scene = openScene();
    const journal = join(scene.path, "journal");
    const config = {
      mcpServers: {
        everything: gated(scene, [bin("mcp-server-everything")]),
        fixture: gated(scene, [process.execPath, STDIO_SERVER, "--journal", journal]),
      },
    };
    open(scene);
    await using first = await startProxy(scene, { config });
    await first.connected(["everything", "fixture"]);
    const wanted = { query: "tiny image" };
    await using before = await openV2(`${first.url}/mcp`);
    const [fresh] = replyOf(await before.call("retrieve_tools", wanted))["tools"] as readonly Answer[];
    expect(fresh).toMatchObject({ id: "everything:get-tiny-image" });
    expect(fresh).not.toHaveProperty("stale");
    const image = await before.call("call_tool_read", { name: "everything:get-tiny-image" });

    rmSync(join(scene.path, "gate"));
    await first.kill();
    // By themselves, or by the guard; process_test.ts has those that refuse.
    await waitFor(
      "the children of the killed proxy have left",
      () => scene.processes().length === 0,
      VANISH_MS,
    );
    const asked = readJournal(journal).length;

    await using second = await startProxy(scene, { config });
    await using client = await openV2(`${second.url}/mcp`);
    const reply = replyOf(await client.call("retrieve_tools", wanted));
    expect((reply["tools"] as readonly Answer[])[0]).toEqual({
      ...fresh,
      score: expect.anything() as unknown,
      stale: true,
      server_state: "disconnected",
    });
    const search = (await second.api("/index/search?q=tiny%20image"))["data"] as Answer;
    expect((search["results"] as readonly Answer[])[0]).toMatchObject({ stale: true });
    const states = [...(await second.servers()).values()].map((server) => server["connection_state"]);
    expect(states).toEqual(["connecting", "connecting"]);

    // The call is under way before its server starts, and waits for it.
    const called = client.call("call_tool_read", { name: "everything:get-tiny-image" });
    open(scene);
    expect((await called)["content"]).toEqual(image["content"]);
    await second.connected(["everything", "fixture"]);
    const [again] = replyOf(await client.call("retrieve_tools", wanted))["tools"] as readonly Answer[];
    expect(again).not.toHaveProperty("stale");
    const methods = (from: number, to?: number): unknown[] =>
      readJournal(journal)
        .slice(from, to)
        .map(({ method }) => method);
    expect(methods(0, asked)).toContain("server/discover");
    expect(methods(asked)).toContain("initialize");
    expect(methods(asked)).not.toContain("server/discover");
    expect(await second.stop()).toBe(0);
  },
  TEST_MS,
);

test(
  "a second proxy on the data dir is refused with a clear message, and taken after a kill -9 of the first",
  async () => {
    verifies("STORE-SECOND-PROCESS");
    await using scene = openScene();
    const config = { mcpServers: {} };
    await using first = await startProxy(scene, { config });
    const argv = [...SOURCE, "serve", "--config", first.configPath, "--data-dir", first.dataDir];
    const refused = await runProgram([...argv, "--listen", "127.0.0.1:0"], { env: scene.env });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(first.dataDir);
    expect(refused.stderr).toMatch(/another process|in use/i);
    expect(refused.stdout).toBe("");
    expect((await first.cli("status")).code).toBe(0);
    await first.kill();
    const { code, stderr } = await first.cli("status");
    expect(code).toBe(3);
    expect(stderr).toContain("Cannot reach mcpproxy");
    await using second = await startProxy(scene, { config });
    expect((await second.cli("status")).code).toBe(0);
    expect(await second.stop()).toBe(0);
  },
  TEST_MS,
);
