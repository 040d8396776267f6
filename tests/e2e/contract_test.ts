/**
 * What scripts written for the Go proxy already call, replayed against the source and the compiled binary.
 *
 * Owns running the driver of `../shared/contract`, which lies beside the checkout of those who have it; without that
 * folder the tests say that they were skipped. Invariants: the checks are read, never copied; the real server they ask
 * for comes from `node_modules`, not from the network; every check that fails is printed with its reason.
 */
import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { bin, buildBinary, openScene, ROOT, runProgram, SOURCE, startProxy } from "./harness.ts";
import type { Answer } from "./harness.ts";

const FOLDER = join(ROOT, "../shared/contract");
const DRIVER = join(FOLDER, "rest-contract.ts");
const TABLE = join(FOLDER, "rest-contract.json");
const isThere = existsSync(DRIVER) && existsSync(TABLE);
const TEST_MS = 240_000;

if (!isThere) console.info("contract: skipped, the folder 'shared/contract' is not beside this checkout");

interface CheckResult {
  readonly id: string;
  readonly ok: boolean;
  readonly why: readonly string[];
}

interface Verdict {
  /** Checks that failed, each with its reasons. */
  readonly failed: readonly string[];
  readonly passed: number;
  readonly of: number;
}

/** The configuration the checks ask for, its server taken from `node_modules`. */
function configOf(table: Answer): Answer {
  const { listen: _, data_dir: __, api_key: ___, ...config } = table["config"] as Record<string, unknown>;
  const servers = (config["mcpServers"] as readonly Answer[]).map((server) => ({
    ...server,
    command: bin("mcp-server-everything"),
    args: [],
  }));
  return { ...config, mcpServers: servers };
}

/** A port that was free a moment ago: the checks compare what the configuration says with where it listens. */
function freePort(): number {
  const taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = taken;
  taken.stop(true);
  return port;
}

/** Starts a proxy on a temp folder and replays every check against it. */
async function replay(command: readonly string[]): Promise<Verdict> {
  const table = JSON.parse(readFileSync(TABLE, "utf8")) as Answer & { readonly checks: readonly unknown[] };
  await using scene = openScene();
  const listen = `127.0.0.1:${freePort()}`;
  await using proxy = await startProxy(scene, { command, config: configOf(table), listen });
  const key = readFileSync(join(proxy.dataDir, "api_key"), "utf8").trim();
  const out = join(scene.path, "results.json");
  const flags = ["--base", proxy.url, "--key", key, "--json", TABLE, "--out", out];
  const { stderr } = await runProgram([process.execPath, DRIVER, ...flags], { env: scene.env });
  if (!existsSync(out)) throw new Error(`The driver wrote no results: ${stderr}`);
  const { results } = JSON.parse(readFileSync(out, "utf8")) as { readonly results: readonly CheckResult[] };
  const failed = results.filter(({ ok }) => !ok).map(({ id, why }) => `${id}: ${why.join("; ")}`);
  expect(results.length).toBe(table.checks.length);
  return { failed, passed: results.length - failed.length, of: results.length };
}

function report(what: string, { failed, passed, of }: Verdict): void {
  console.info(`contract, ${what}: ${passed} of ${of}${failed.map((line) => `\n  ${line}`).join("")}`);
  expect(failed.map((line) => line.split(":", 1)[0])).toEqual([]);
}

test.skipIf(!isThere)(
  "the source passes every check of the contract",
  async () => {
    verifies("CONTRACT-139");
    report("source", await replay(SOURCE));
  },
  TEST_MS,
);

test.skipIf(!isThere)(
  "the compiled binary passes every check of the contract",
  async () => {
    verifies("CONTRACT-139");
    using folder = tempDir();
    report("binary", await replay([await buildBinary(folder.path)]));
  },
  TEST_MS,
);
