/**
 * Builds the program as one file: for this machine, or with `--all` for every platform.
 *
 * Owns the targets, where their executables come from (the `@oven/bun-*` packages of the npm registry, and nowhere else) and
 * the checksums. Invariants: the same source gives the same bytes; nothing is fetched unless it is for another platform.
 * Letting Bun fetch the executables itself was rejected: it asks another place than the registry.
 *
 * `bun run build [--outfile FILE]`, `bun run build --all [--out DIR] [--only NAME,NAME]`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const ROOT = join(import.meta.dir, "..");
/** What is compiled in comes from the Bun that builds; the executables have to be of the same version. */
const BUN_VERSION = Bun.version;

/** A platform the program is built for. */
interface Target {
  /** As users look for it. */
  readonly name: string;
  /** The package with Bun's executable. */
  readonly package: string;
  /** As `--target` has it. */
  readonly target: string;
}

const TARGETS: readonly Target[] = [
  { name: "linux-x64", package: "@oven/bun-linux-x64", target: "bun-linux-x64" },
  { name: "linux-x64-musl", package: "@oven/bun-linux-x64-musl", target: "bun-linux-x64-musl" },
  { name: "linux-arm64", package: "@oven/bun-linux-aarch64", target: "bun-linux-arm64" },
  { name: "linux-arm64-musl", package: "@oven/bun-linux-aarch64-musl", target: "bun-linux-arm64-musl" },
  { name: "darwin-x64", package: "@oven/bun-darwin-x64", target: "bun-darwin-x64" },
  { name: "darwin-arm64", package: "@oven/bun-darwin-aarch64", target: "bun-darwin-arm64" },
  { name: "windows-x64.exe", package: "@oven/bun-windows-x64", target: "bun-windows-x64" },
];

/** The worker that reads large configurations is an entry of its own. */
const FLAGS = [
  "src/main.ts",
  "src/state/config_worker.ts",
  "--entry-naming=[name].[ext]",
  "--compile",
  "--bytecode",
  "--format=esm",
  "--minify",
  "--sourcemap",
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];

const { values } = parseArgs({
  options: {
    all: { type: "boolean" },
    only: { type: "string" },
    out: { type: "string", default: "dist" },
    outfile: { type: "string", default: "dist/mcpproxy" },
  },
});

if (values.all === true) await buildAll();
else await compile(resolve(values.outfile), []);

async function buildAll(): Promise<void> {
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const only = values.only?.split(",");
  const unknown = only?.find((name) => !TARGETS.some((target) => target.name === name));
  if (unknown !== undefined)
    throw new Error(`Cannot build for '${unknown}': there are ${TARGETS.map(({ name }) => name).join(", ")}`);
  const sums: string[] = [];
  for (const target of TARGETS.filter(({ name }) => only === undefined || only.includes(name))) {
    const file = `mcpproxy-${target.name}`;
    const executable = await executableOf(target);
    await compile(join(out, file), [`--target=${target.target}`, `--compile-executable-path=${executable}`]);
    // What a stack trace needs is in the executable.
    for (const map of [`${file}.map`, "config_worker.js.map"]) rmSync(join(out, map), { force: true });
    const bytes = readFileSync(join(out, file));
    sums.push(`${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}  ${file}`);
    process.stdout.write(`${file}: ${(bytes.length / 2 ** 20).toFixed(1)} MB\n`);
  }
  writeFileSync(join(out, "SHA256SUMS"), `${sums.join("\n")}\n`);
}

async function compile(outfile: string, more: readonly string[]): Promise<void> {
  await run([process.execPath, "build", ...FLAGS, ...more, "--outfile", outfile], ROOT);
}

/** Bun's executable for a platform, kept for the next build. */
async function executableOf({ name, package: id }: Target): Promise<string> {
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const folder = join(cache, "mcpproxy-build", `${name}-${BUN_VERSION}`);
  const executable = join(folder, "bin", name.startsWith("windows") ? "bun.exe" : "bun");
  if (existsSync(executable)) return executable;
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(fresh, { recursive: true });
  try {
    await run(["npm", "pack", `${id}@${BUN_VERSION}`, "--silent", "--pack-destination", fresh], fresh);
    const tarball = readdirSync(fresh).find((file) => file.endsWith(".tgz"));
    if (tarball === undefined) throw new Error(`Cannot build for '${name}': npm gave no package '${id}'`);
    await run(["tar", "-xzf", tarball, "--strip-components=1"], fresh);
    rmSync(join(fresh, tarball));
    rmSync(folder, { recursive: true, force: true });
    renameSync(fresh, folder);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return executable;
}

async function run(argv: readonly string[], cwd: string): Promise<void> {
  const child = Bun.spawn([...argv], { cwd, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const [stderr, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`'${argv.slice(0, 3).join(" ")}' ended with ${code}: ${stderr}`);
}
