/**
 * Starting with many servers: all ready and searchable soon, and known tools at once after a restart.
 *
 * Owns the counts and ratios; the figures in milliseconds are `bench/startup_bench.ts`. The servers are mocks over
 * HTTP in a process of their own, and the bare loop over the SDK's client runs on the same ones.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { openScene, ROOT, runProgram, startProxy } from "./harness.ts";
import type { Answer, RunningProxy, Scene } from "./harness.ts";

const SERVERS = 159;
const TOOLS = 1_200;
/** The design's own target for a start. */
const START_MS = 30_000;
/** The proxy does far more than the bare loop; ten times its time would be a defect on any machine. */
const MAX_RATIO = 10;

async function startMocks(scene: Scene): Promise<AsyncDisposable & { readonly config: string }> {
  const config = join(scene.path, "mocks.json");
  const sizes = [
    "--servers",
    String(SERVERS),
    "--tools",
    String(TOOLS),
    "--port",
    "0",
    "--write-config",
    config,
  ];
  const argv = [process.execPath, join(ROOT, "bench/mock_host.ts"), ...sizes];
  const host = Bun.spawn(argv, { env: { ...scene.env }, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const reader = host.stdout.getReader();
  await reader.read();
  reader.releaseLock();
  return {
    config,
    [Symbol.asyncDispose]: async () => {
      host.kill();
      await host.exited;
    },
  };
}

async function search(proxy: RunningProxy): Promise<readonly Answer[]> {
  const { data } = (await proxy.api("/index/search?q=list+files")) as {
    readonly data: { readonly results: readonly Answer[] };
  };
  return data.results;
}

test(`${SERVERS} servers are ready and searchable beside a bare loop, and known after a restart`, async () => {
  verifies("NUMBERS-FIRST-START");
  await using scene = openScene();
  await using mocks = await startMocks(scene);
  const bare = await runProgram(
    [process.execPath, join(ROOT, "bench/bare_loop.ts"), "--config", mocks.config],
    {
      env: scene.env,
    },
  );
  const { ms: bareMs, tools } = JSON.parse(bare.stdout) as { readonly ms: number; readonly tools: number };
  expect(tools).toBe(TOOLS);

  const config = readFileSync(mocks.config, "utf8");
  const startedAt = performance.now();
  await using first = await startProxy(scene, { config });
  await waitFor(
    "every first attempt has ended",
    async () => (await fetch(`${first.url}/startupz`)).ok,
    START_MS,
  );
  const readyMs = performance.now() - startedAt;
  const { data } = (await first.api("/status")) as { readonly data: { readonly upstream_stats: Answer } };
  expect(data.upstream_stats).toMatchObject({ connected_servers: SERVERS, total_tools: TOOLS });
  expect((await search(first)).length).toBeGreaterThan(0);
  expect(readyMs).toBeLessThan(START_MS);
  expect(readyMs / bareMs).toBeLessThan(MAX_RATIO);
  expect(await first.stop()).toBe(0);

  await using again = await startProxy(scene, { config });
  const found = await search(again);
  expect(found.length).toBeGreaterThan(0);
  expect(again.readyMs).toBeLessThan(START_MS);
  console.log(
    `bare loop ${Math.round(bareMs)} ms, first start ${Math.round(readyMs)} ms, restart ${Math.round(again.readyMs)} ms`,
  );
}, 120_000);
