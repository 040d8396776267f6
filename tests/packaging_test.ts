/**
 * What `packaging/` holds for those who install the proxy: the image and the service.
 *
 * Owns what can be shown of both without an engine and without systemd: their linters, a build from just what the image gets,
 * and a start with the image's environment on an empty volume. Where a linter is missing its test reports itself skipped;
 * `.ci/run` installs hadolint.
 */
import { expect, test } from "bun:test";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { readDaemonNote } from "../src/state/daemon.ts";
import { openScene, ROOT, runProgram, SOURCE } from "./e2e/harness.ts";
import type { Scene } from "./e2e/harness.ts";
import { tempDir, waitFor } from "./fixtures/wait.ts";

const TIMEOUT_MS = 60_000;
/** A start on a machine that is busy with other tests. */
const START_MS = 30_000;
const DOCKERFILE = join(ROOT, "packaging/Dockerfile");
const UNIT = join(ROOT, "packaging/mcpproxy.service");
/** Where systemd keeps the units that units of users may name. */
const USER_UNITS = "/usr/lib/systemd/user";
const { PATH = "" } = process.env;

const HADOLINT = Bun.which("hadolint");
const ANALYZE = Bun.which("systemd-analyze");

/** What the last stage of the Dockerfile says of a run. */
interface Image {
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly workdir: string;
  readonly volume: string;
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly healthcheck: readonly string[];
}

function readImage(): Image {
  const text = readFileSync(DOCKERFILE, "utf8").replaceAll("\\\n", " ");
  const stage = text.slice(text.lastIndexOf("\nFROM "));
  const valueOf = (name: string): string => new RegExp(`^${name} (.*)$`, "m").exec(stage)?.[1] ?? "";
  const listOf = (name: string): readonly string[] =>
    JSON.parse(/\[.*\]$/.exec(valueOf(name))?.[0] ?? "[]") as string[];
  const pairs = [...valueOf("ENV").matchAll(/([A-Z_]+)=(\S+)/g)];
  return {
    env: Object.fromEntries(pairs.map(([, name = "", value = ""]) => [name, value])),
    user: valueOf("USER"),
    workdir: valueOf("WORKDIR"),
    volume: valueOf("VOLUME"),
    entrypoint: listOf("ENTRYPOINT"),
    cmd: listOf("CMD"),
    healthcheck: listOf("HEALTHCHECK"),
  };
}

test.skipIf(HADOLINT === null)(
  "hadolint finds nothing in the Dockerfile",
  async () => {
    const argv = [HADOLINT ?? "", "--no-color", "--failure-threshold", "style", DOCKERFILE];
    expect(await runProgram(argv, { env: { PATH } })).toEqual({ code: 0, stdout: "", stderr: "" });
  },
  TIMEOUT_MS,
);

test(
  "what .dockerignore lets through is enough to build the program",
  async () => {
    using context = tempDir();
    const lines = readFileSync(join(ROOT, ".dockerignore"), "utf8").split("\n");
    expect(lines).toContain("*");
    const kept = lines.filter((line) => line.startsWith("!")).map((line) => line.slice(1));
    for (const path of kept) cpSync(join(ROOT, path), join(context.path, path), { recursive: true });
    // In the image the packages are installed.
    symlinkSync(join(ROOT, "node_modules"), join(context.path, "node_modules"));
    const env = { PATH, HOME: context.path };
    const options = { env, cwd: context.path };
    expect(await runProgram([process.execPath, "run", "build"], options)).toMatchObject({ code: 0 });
    expect(await runProgram([join(context.path, "dist/mcpproxy"), "--version"], options)).toMatchObject({
      code: 0,
    });
  },
  TIMEOUT_MS,
);

test("the image is built with the Bun that CI and the README run", () => {
  const texts = ["packaging/Dockerfile", "README.md"].map((path) => readFileSync(join(ROOT, path), "utf8"));
  const named = texts.flatMap((text) => [...text.matchAll(/bun@([\d.]+)/g)].map(([, version]) => version));
  const inCi = /^bun_version=(.*)$/m.exec(readFileSync(join(ROOT, ".ci/run"), "utf8"))?.[1];
  expect(inCi).toBeDefined();
  expect(new Set(named)).toEqual(new Set([inCi]));
});

/** Starts the proxy as the image does, the volume being a folder of the scene; a free port instead of the image's. */
function startImage(image: Image, scene: Scene, volume: string) {
  const inVolume = (text: string): string => text.replace(image.volume, volume);
  const env: Record<string, string> = { ...scene.env };
  for (const [name, value] of Object.entries(image.env)) env[name] = inVolume(value);
  env["MCPPROXY_LISTEN"] = env["MCPPROXY_LISTEN"]?.replace(/\d+$/, "0") ?? "";
  const options = { env, cwd: inVolume(image.workdir), stdin: "ignore", stdout: "ignore" } as const;
  const child = Bun.spawn([...SOURCE, ...image.cmd], { ...options, stderr: "pipe" });
  const health = () => runProgram([...SOURCE, ...image.healthcheck.slice(1)], options);
  return { child, health, dataDir: env["MCPPROXY_DATA_DIR"] ?? "" };
}

test(
  "the image starts on an empty volume, asks MCP clients for the key, is healthy and stops calmly",
  async () => {
    const image = readImage();
    expect(image.entrypoint.at(-1)).toBe("mcpproxy");
    expect(image.healthcheck[0]).toBe("mcpproxy");
    expect(image.user).toMatch(/^[1-9]\d*:[1-9]\d*$/);
    await using scene = openScene();
    const volume = join(scene.path, "volume");
    mkdirSync(volume, { mode: 0o700 });
    const { child, health, dataDir } = startImage(image, scene, volume);
    try {
      const note = await waitFor(
        "the proxy says where it listens",
        async () => {
          if (child.exitCode !== null) throw new Error(await child.stderr.text());
          return readDaemonNote(dataDir);
        },
        START_MS,
      );
      expect(note?.url).toMatch(/^http:\/\/0\.0\.0\.0:/);
      // As from a published port.
      const url = note?.url.replace("0.0.0.0", "localhost") ?? "";
      const initialize = async (headers: Readonly<Record<string, string>>): Promise<number> => {
        const clientInfo = { name: "test", version: "1" };
        const params = { protocolVersion: "2025-11-25", capabilities: {}, clientInfo };
        const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params });
        const accept = { "content-type": "application/json", accept: "application/json, text/event-stream" };
        const answer = await fetch(`${url}/mcp`, {
          method: "POST",
          body,
          headers: { ...accept, ...headers },
        });
        await answer.body?.cancel();
        return answer.status;
      };
      const key = readFileSync(join(dataDir, "api_key"), "utf8").trim();
      expect([await initialize({}), await initialize({ "x-api-key": key })]).toEqual([401, 200]);
      expect(await health()).toMatchObject({ code: 0, stderr: "" });
      // All that has to last is on the volume.
      for (const file of ["mcp_config.json", "mcpproxy.db"])
        expect(existsSync(join(volume, ".mcpproxy", file))).toBe(true);
    } finally {
      child.kill("SIGTERM");
      await child.exited;
    }
    expect(child.exitCode).toBe(0);
    expect((await health()).code).not.toBe(0);
  },
  TIMEOUT_MS,
);

test.skipIf(ANALYZE === null)(
  "systemd reads the unit of a user without a word",
  async () => {
    using home = tempDir();
    const program = join(home.path, ".local/bin/mcpproxy");
    mkdirSync(dirname(program), { recursive: true });
    writeFileSync(program, "#!/bin/sh\n");
    chmodSync(program, 0o755);
    const env = { PATH, HOME: home.path, XDG_RUNTIME_DIR: home.path };
    // It ends with 0 even when it ignores a line that it does not know.
    expect(await runProgram([ANALYZE ?? "", "--user", "verify", "--man=no", UNIT], { env })).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
  },
  TIMEOUT_MS,
);

test.skipIf(!existsSync(USER_UNITS))("the unit of a user names only units that users have", () => {
  const text = readFileSync(UNIT, "utf8");
  const named = [...text.matchAll(/^(?:After|Before|Wants|Requires|BindsTo|PartOf|WantedBy)=(.*)$/gm)];
  const units = named.flatMap(([, list = ""]) => list.split(/\s+/));
  expect(units).not.toEqual([]);
  expect(units.filter((unit) => !existsSync(join(USER_UNITS, unit)))).toEqual([]);
});
