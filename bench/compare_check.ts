/**
 * How often is `compare.ts` right?
 *
 * Owns its two questions, asked as `.ci/run` asks: two equal copies of this checkout are to differ in nothing, neither
 * slower nor faster, in every run; and a copy whose calls take a fifth longer is to be found in nine of ten. What is
 * planted is worked off in the one path of a call, and sized anew by each run's own calls, for the machine is faster at
 * one hour than at another; when it is not found, the ratio that was seen is in the table. Prints it, exits 1 when too few
 * are right. `--runs N` (10): half a minute to a minute and a half each.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const ROOT = join(import.meta.dir, "..");
const SLOWER_RATIO = 0.2;
const FOUND_RATIO = 0.9;
/** Where a call's answer has come, and has not gone yet. */
const PLANT = { file: "src/gateway/caller.ts", at: "const result = await call;\n" } as const;

interface Row {
  readonly probe: string;
  readonly a: number;
  readonly ratio: number;
  readonly from: number;
  readonly to: number;
  readonly verdict: string;
}

const { values } = parseArgs({ options: { runs: { type: "string", default: "10" } } });

process.exit(await main(Number(values.runs)));

async function main(runs: number): Promise<number> {
  if (!Number.isInteger(runs) || runs < 1) {
    console.error(`Cannot run ${values.runs} times: give a whole number`);
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), "mcpproxy-compare-check-"));
  const [a, b, slow] = [join(folder, "a"), join(folder, "b"), join(folder, "slow")];
  const told: object[] = [];
  const right = { equal: 0, slow: 0 };
  try {
    for (const copy of [a, b, slow]) copyTo(copy);
    const source = readFileSync(join(slow, PLANT.file), "utf8");
    if (source.split(PLANT.at).length !== 2) throw new Error(`'${PLANT.file}' has no one place for a plant`);
    for (let run = 1; run <= runs; run += 1) {
      const equal = await compared(folder, a, b);
      const changed = equal.filter(({ verdict }) => verdict !== "no change");
      if (changed.length === 0) right.equal += 1;
      const plantedMs = SLOWER_RATIO * (equal.find(({ probe }) => probe === "call")?.a ?? Number.NaN);
      writeFileSync(join(slow, PLANT.file), source.replace(PLANT.at, PLANT.at + spinning(plantedMs)));
      const [found] = await compared(folder, a, slow, "--only", "call");
      if (found?.verdict === "slower") right.slow += 1;
      told.push({
        run,
        "two equal": changed.length === 0 ? "no change" : changed.map(shown).join("; "),
        "planted ms": plantedMs.toFixed(3),
        planted: found === undefined ? "not measured" : shown(found),
      });
      console.log(JSON.stringify(told.at(-1)));
    }
  } catch (error) {
    console.error(`Cannot check: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  console.table(told);
  console.log(
    `two equal copies: no change in ${right.equal} of ${runs} (must ${runs}); ` +
      `calls a fifth slower: found in ${right.slow} of ${runs} (must ${Math.ceil(runs * FOUND_RATIO)})`,
  );
  return right.equal === runs && right.slow >= runs * FOUND_RATIO ? 0 : 1;
}

/** What a version is made of, as it lies here. */
function copyTo(folder: string): void {
  for (const part of ["src", "drizzle", "package.json", "tsconfig.json"]) {
    cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
}

/** Work, and no wait: a wait would leave the processor to the other. */
function spinning(ms: number): string {
  return `for (const until = performance.now() + ${ms}; performance.now() < until; );\n`;
}

async function compared(folder: string, ...args: readonly string[]): Promise<readonly Row[]> {
  const file = join(folder, "compared.json");
  rmSync(file, { force: true });
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "compare.ts"), ...args, "--json", file], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "inherit",
  });
  const code = await child.exited;
  if (code > 1) throw new Error(`'compare.ts ${args.join(" ")}' ended with ${code}`);
  return (await Bun.file(file).json()) as readonly Row[];
}

function shown({ probe, ratio, from, to, verdict }: Row): string {
  return `${probe} ${verdict} × ${ratio.toFixed(3)} (${from.toFixed(3)} to ${to.toFixed(3)})`;
}
