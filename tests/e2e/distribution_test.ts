/**
 * One file for every platform, from registry packages alone.
 *
 * Owns what a finished executable has to be: for its platform, the same at every build, listed with its checksum; the one
 * of this platform passes an area of the production-scale suite. Without a registry that answers this reports itself
 * skipped, and `MCPPROXY_TEST_SHORT=1` leaves it out: seven executables take a minute.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, closeSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { runScale } from "../../src/scale/scale.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { ROOT, runProgram } from "./harness.ts";

const TIMEOUT_MS = 400_000;
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
const HERE =
  process.platform === "linux" && process.arch === "x64" && !isMusl() ? "mcpproxy-linux-x64" : undefined;
/** How the registry is reached is said by the environment. */
const ENV = Object.fromEntries(
  Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
);
const folder = tempDir();
let isBuilt = false;

async function build(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly stderr: string }> {
  return runProgram([process.execPath, "packaging/build.ts", "--all", ...args], { env: ENV, cwd: ROOT });
}

beforeAll(async () => {
  if (isShort) return;
  const { code, stderr } = await build("--out", folder.path);
  isBuilt = code === 0;
  // Anything else that is wrong with a build is no reason to look away.
  if (!isBuilt && !/npm error (?:code )?(?:E|network)/i.test(stderr)) throw new Error(stderr);
  if (!isBuilt) console.log("skipped: no registry answers");
}, TIMEOUT_MS);

afterAll(() => folder[Symbol.dispose]());

test("bun run build --all makes an executable for each platform, and their checksums", () => {
  verifies("DISTRIBUTION-ALL");
  if (!isBuilt) return;
  const files = readdirSync(folder.path);
  expect(files.toSorted()).toEqual([...Object.keys(PLATFORMS), "SHA256SUMS"].toSorted());
  const kinds = Object.keys(PLATFORMS).map((file) => [file, kindOf(join(folder.path, file))]);
  expect(Object.fromEntries(kinds)).toEqual(PLATFORMS);
  const sums = readFileSync(join(folder.path, "SHA256SUMS"), "utf8").trim().split("\n");
  expect(sums.map((line) => line.split("  ")[1])).toEqual(Object.keys(PLATFORMS));
  for (const line of sums) {
    const [sum = "", file = ""] = line.split("  ");
    expect(sum).toBe(
      new Bun.CryptoHasher("sha256").update(readFileSync(join(folder.path, file))).digest("hex"),
    );
  }
});

test(
  "bun run build --all makes the same bytes from the same source",
  async () => {
    verifies("DISTRIBUTION-SAME-BYTES");
    if (!isBuilt) return;
    using again = tempDir();
    expect(await build("--out", again.path, "--only", "linux-arm64")).toMatchObject({ code: 0 });
    const sumIn = (path: string): string | undefined =>
      readFileSync(join(path, "SHA256SUMS"), "utf8")
        .split("\n")
        .find((line) => line.endsWith("  mcpproxy-linux-arm64"));
    expect(sumIn(again.path)).toBe(sumIn(folder.path));
  },
  TIMEOUT_MS,
);

test(
  "the executable of this platform plays the short production-scale suite",
  async () => {
    verifies("SCALE-TARGETS");
    if (!isBuilt || HERE === undefined) return;
    const binary = join(folder.path, HERE);
    chmodSync(binary, 0o755);
    const options = { command: [binary], servers: 40, profile: "healthy", seed: 1 } as const;
    const { rows } = await runScale({ ...options, isShort: true, maxStdio: 10 });
    expect(rows.filter(({ verdict }) => verdict === "over")).toEqual([]);
  },
  TIMEOUT_MS,
);

test(
  "npm i -g installs what npm pack made, and it runs by its name",
  async () => {
    verifies("DISTRIBUTION-NPM");
    if (!isBuilt) return;
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
  const { code, stderr } = await build("--out", folder.path, "--only", "plan9-x64");
  expect(code).not.toBe(0);
  expect(stderr).toContain("linux-arm64-musl");
});

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
