/**
 * Holds the share of covered lines in floors 0–5: `bun tests/coverage.ts`, after `bun test --coverage`.
 *
 * Owns reading `coverage/lcov.info` and the threshold. Invariant: a source file that no test loads counts
 * with all its lines uncovered, as Bun leaves it out of the report. Bun's own `coverageThreshold` was
 * rejected: it holds every file of the project to one number.
 */
import { readFileSync } from "node:fs";

const MIN_LINES_RATIO = 0.9;
const FLOORS = ["lib", "core", "state", "upstream", "catalog", "gateway"];
const ROOT = `${import.meta.dir}/..`;

interface FileCoverage {
  readonly path: string;
  readonly found: number;
  readonly hit: number;
}

/** Reads the line counts of each file of an lcov report. */
function parseLcov(text: string): readonly FileCoverage[] {
  return text.split("end_of_record").flatMap((record) => {
    const path = /^SF:(.+)$/m.exec(record)?.[1];
    if (path === undefined) return [];
    const hits = [...record.matchAll(/^DA:\d+,(\d+)/gm)].map((match) => Number(match[1]));
    return [{ path, found: hits.length, hit: hits.filter((count) => count > 0).length }];
  });
}

/** Counts a file that is in no report: nothing when only types are in it, else every line that holds code. */
function measureUnloaded(path: string): FileCoverage {
  const code = new Bun.Transpiler({ loader: "ts" }).transformSync(readFileSync(`${ROOT}/${path}`, "utf8"));
  const found = code.split("\n").filter((line) => /\w/.test(line) && line !== "export {};").length;
  return { path, found, hit: 0 };
}

function measureFloors(): readonly FileCoverage[] {
  const report = new Map(
    parseLcov(readFileSync(`${ROOT}/coverage/lcov.info`, "utf8")).map((file) => [file.path, file]),
  );
  const paths = [...new Bun.Glob(`src/{${FLOORS.join(",")}}/*.ts`).scanSync({ cwd: ROOT })].toSorted();
  return paths.map((path) => report.get(path) ?? measureUnloaded(path)).filter(({ found }) => found > 0);
}

const files = measureFloors();
const found = files.reduce((sum, file) => sum + file.found, 0);
const hit = files.reduce((sum, file) => sum + file.hit, 0);
const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} %`;

for (const file of files) {
  if (file.hit < file.found * MIN_LINES_RATIO) {
    console.log(
      `${percent(file.hit, file.found).padStart(8)}  ${file.path}${file.hit === 0 ? " (no test loads it)" : ""}`,
    );
  }
}
console.log(
  `Lines covered in floors 0–5: ${percent(hit, found)} of ${found}, at least ${100 * MIN_LINES_RATIO} % wanted`,
);
if (!(hit >= found * MIN_LINES_RATIO && found > 0)) process.exit(1);
