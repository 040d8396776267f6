/**
 * One file for every platform, from registry packages alone.
 *
 * Owns what a finished executable has to be: for its platform, the same at every build and from every folder, listed with
 * its checksum; the one of this platform passes an area of the production-scale suite. Without a registry that answers
 * this reports itself skipped, with `CI=1` it fails; `MCPPROXY_TEST_SHORT=1` leaves it out, `MCPPROXY_TEST_FULL=1` builds
 * all platforms twice. The first build runs while this file is read: what is skipped has to be known by then.
 */
import { afterAll, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  cpSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { runScale } from "../../src/scale/scale.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { ROOT, runProgram } from "./harness.ts";
import type { Ended } from "./harness.ts";

const TIMEOUT_MS = 400_000;
/** A dozen executables are a gigabyte and a half. */
const CLEAN_MS = 60_000;
const PLATFORMS = {
  "mcpproxy-linux-x64": "ELF x64",
  "mcpproxy-linux-x64-musl": "ELF x64",
  "mcpproxy-linux-arm64": "ELF arm64",
  "mcpproxy-linux-arm64-musl": "ELF arm64",
  "mcpproxy-darwin-x64": "Mach-O x64",
  "mcpproxy-darwin-arm64": "Mach-O arm64",
  "mcpproxy-windows-x64.exe": "PE x64",
} as const;

const isShort = process.env["MCPPROXY_TEST_SHORT"] === "1";
const IS_FULL = process.env["MCPPROXY_TEST_FULL"] === "1";
const IS_CI = /^(?:1|true)$/.test(process.env["CI"] ?? "");
/** How npm says that no registry can be reached; that one answers wrongly is no reason to look away. */
const OFFLINE = /\b(?:ENOTFOUND|ECONN[A-Z]+|ETIMEDOUT|EAI_AGAIN)\b/;
/** What a build reads. */
const SOURCES = ["src", "drizzle", "packaging", "package.json", "tsconfig.json", "bunfig.toml"];
const HERE =
  process.platform === "linux" && process.arch === "x64" && !isMusl() ? "mcpproxy-linux-x64" : undefined;
/** How the registry is reached is said by the environment. */
const ENV = Object.fromEntries(
  Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
);

async function build(args: readonly string[], cwd: string): Promise<Ended> {
  const argv = [process.execPath, join(cwd, "packaging/build.ts"), "--all", ...args];
  return runProgram(argv, { env: ENV, cwd });
}

/** Whether no registry can be reached: a build lets npm be silent about the reason. */
async function isUnreachable(): Promise<boolean> {
  const env = { ...ENV, npm_config_fetch_retries: "0" };
  const { code, stderr } = await runProgram(["npm", "view", "@oven/bun-linux-x64", "version"], { env });
  return code !== 0 && OFFLINE.test(stderr);
}

/**
 * Copies the source and the packages that are compiled in to another folder. A link to `node_modules` would not do: what
 * a stack trace needs has the paths of both.
 */
function copyTo(copy: string): string {
  for (const name of SOURCES) cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  const needed = new Set(dependenciesOf(join(ROOT, "package.json")));
  for (const name of needed) {
    const path = join("node_modules", name);
    if (!existsSync(join(ROOT, path))) continue;
    cpSync(join(ROOT, path), join(copy, path), { recursive: true });
    for (const next of dependenciesOf(join(ROOT, path, "package.json"))) needed.add(next);
  }
  return copy;
}

function dependenciesOf(file: string): readonly string[] {
  const { dependencies = {} } = JSON.parse(readFileSync(file, "utf8")) as {
    readonly dependencies?: Readonly<Record<string, string>>;
  };
  return Object.keys(dependencies);
}

const scene = tempDir();
const out = join(scene.path, "out");
/** The same source twice; a checkout that somebody works in would not stay the same. */
const [one, two] = [join(scene.path, "one"), join(scene.path, "another/place/two")];
if (!isShort) cpSync(copyTo(one), two, { recursive: true });
const built = isShort ? undefined : await build(["--out", out], one);
const isOffline = built !== undefined && (await isUnreachable());
/** What no registry is needed for may have been fetched before. */
const isUnfetched = isOffline && built.code !== 0 && built.stderr.includes("'npm pack ");
const isSkipped = isShort || (isUnfetched && !IS_CI);
if (isOffline) console.info("distribution: no registry can be reached");

afterAll(() => scene[Symbol.dispose](), CLEAN_MS);

test.skipIf(isSkipped)(
  "bun run build --all makes an executable for each platform, and their checksums",
  () => {
    verifies("DISTRIBUTION-ALL");
    expect(built).toMatchObject({ code: 0, stderr: "" });
    const files = readdirSync(out);
    expect(files.toSorted()).toEqual([...Object.keys(PLATFORMS), "SHA256SUMS"].toSorted());
    const kinds = Object.keys(PLATFORMS).map((file) => [file, kindOf(join(out, file))]);
    expect(Object.fromEntries(kinds)).toEqual(PLATFORMS);
    const sums = sumsIn(out);
    expect([...sums.keys()]).toEqual(Object.keys(PLATFORMS));
    for (const [file, sum] of sums) {
      expect(sum).toBe(new Bun.CryptoHasher("sha256").update(readFileSync(join(out, file))).digest("hex"));
    }
  },
  TIMEOUT_MS,
);

test.skipIf(isSkipped)(
  "bun run build --all makes the same bytes from the same source, whatever folder it lies in",
  async () => {
    verifies("DISTRIBUTION-SAME-BYTES");
    const again = join(scene.path, "again");
    // One with each way an executable is made of Bun's: for this platform, and for one of another format.
    const only = IS_FULL ? [] : ["--only", "linux-x64,darwin-arm64"];
    expect(await build(["--out", again, ...only], two)).toMatchObject({ code: 0, stderr: "" });
    const sums = sumsIn(again);
    expect(sums.size).toBe(IS_FULL ? Object.keys(PLATFORMS).length : 2);
    const first = sumsIn(out);
    for (const [file, sum] of sums) expect({ file, sum }).toEqual({ file, sum: first.get(file) ?? "none" });
  },
  TIMEOUT_MS,
);

test.skipIf(isSkipped || HERE === undefined)(
  "the executable of this platform plays the short production-scale suite",
  async () => {
    verifies("SCALE-TARGETS");
    const binary = join(out, HERE ?? "");
    chmodSync(binary, 0o755);
    const options = { command: [binary], servers: 40, profile: "healthy", seed: 1 } as const;
    const { rows } = await runScale({ ...options, isShort: true, maxStdio: 10 });
    expect(rows.filter(({ verdict }) => verdict === "over")).toEqual([]);
  },
  TIMEOUT_MS,
);

test.skipIf(isSkipped || (isOffline && !IS_CI))(
  "npm i -g installs what npm pack made, and it runs by its name",
  async () => {
    verifies("DISTRIBUTION-NPM");
    using prefix = tempDir();
    const { PATH = "" } = ENV;
    const env = { ...ENV, PATH: `${dirname(process.execPath)}:${prefix.path}/bin:${PATH}` };
    const npm = (...args: string[]) =>
      runProgram(["npm", ...args, "--silent", "--no-audit", "--no-fund"], { env, cwd: ROOT });
    expect(await npm("pack", "--pack-destination", prefix.path)).toMatchObject({ code: 0 });
    const tarball = readdirSync(prefix.path).find((name) => name.endsWith(".tgz")) ?? "";
    expect(
      await npm("install", "--global", "--prefix", prefix.path, join(prefix.path, tarball)),
    ).toMatchObject({ code: 0 });
    const { stdout, code } = await runProgram(["mcpproxy", "--version"], { env, cwd: prefix.path });
    const { version } = (await Bun.file(join(ROOT, "package.json")).json()) as { readonly version: string };
    expect({ stdout, code }).toEqual({ stdout: `${version}\n`, code: 0 });
    const check = await runProgram(["mcpproxy", "config", "schema"], { env, cwd: prefix.path });
    expect(check).toMatchObject({ code: 0, stdout: expect.stringContaining("mcpServers") as string });
  },
  TIMEOUT_MS,
);

test("bun run build --all names the platforms there are when one is asked for that is none", async () => {
  const { code, stderr } = await build(["--out", out, "--only", "plan9-x64"], ROOT);
  expect(code).not.toBe(0);
  expect(stderr).toContain("linux-arm64-musl");
});

/** The checksums a build wrote, by file. */
function sumsIn(path: string): ReadonlyMap<string, string> {
  const lines = readFileSync(join(path, "SHA256SUMS"), "utf8").trim().split("\n");
  return new Map(lines.map((line) => line.split("  ")).map(([sum = "", file = ""]) => [file, sum]));
}

/** By the first bytes: format and processor. */
function kindOf(path: string): string {
  const bytes = Buffer.alloc(4_096);
  const file = openSync(path, "r");
  readSync(file, bytes);
  closeSync(file);
  if (bytes.toString("latin1", 0, 4) === "\u007FELF")
    return `ELF ${{ 62: "x64", 183: "arm64" }[bytes.readUInt16LE(18)]}`;
  if (bytes.readUInt32LE(0) === 0xfe_ed_fa_cf)
    return `Mach-O ${{ 0x1000007: "x64", 0x100000c: "arm64" }[bytes.readUInt32LE(4)]}`;
  if (bytes.toString("latin1", 0, 2) !== "MZ") return "unknown";
  return `PE ${{ 0x8664: "x64", 0xaa64: "arm64" }[bytes.readUInt16LE(bytes.readUInt32LE(0x3c) + 4)]}`;
}

function isMusl(): boolean {
  return readdirSync("/lib").some((name) => name.startsWith("ld-musl-"));
}
