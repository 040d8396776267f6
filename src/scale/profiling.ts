/**
 * A look into the proxy while an area runs: where its time goes, what its memory holds, what it has open.
 *
 * Owns asking the proxy's own profile routes and the files that come of it. Invariant: without `--profile cpu`, `heap` or
 * `handles` nothing is asked. Profiles hold texts of the process: the files are for the eyes of whoever made them.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toSpeedscope } from "./flame.ts";
import type { CpuProfile } from "./flame.ts";
import type { Subject } from "./subject.ts";

/** What is looked at. */
export const PROFILINGS = ["cpu", "heap", "handles"] as const;
/** One of {@link PROFILINGS}. */
export type Profiling = (typeof PROFILINGS)[number];

const CPU_SECONDS = 10;

/** Options of {@link startProfiling}. */
export interface ProfilingOptions {
  readonly kinds: readonly Profiling[];
  /** Where the files go; made when it is missing. */
  readonly folder: string;
  /** The first part of their names. */
  readonly name: string;
}

/** Begins to look; the returned function ends it and writes the files, whose paths it gives. */
export function startProfiling(
  subject: Subject,
  options: ProfilingOptions,
): () => Promise<readonly string[]> {
  const { kinds, folder, name } = options;
  const ask = (path: string, method = "GET"): Promise<Response> =>
    fetch(`${subject.url}/api/v1/profile/${path}`, { method, headers: { "x-api-key": subject.key } });
  const cpu = kinds.includes("cpu")
    ? ask(`cpu?seconds=${CPU_SECONDS}`, "POST").then((response) => response.text())
    : undefined;
  // It is waited for at the end; until then nobody looks at how it went.
  cpu?.catch(() => {});
  return async () => {
    const files: string[] = [];
    const write = (suffix: string, text: string): void => {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      const path = join(folder, `${name}.${suffix}`);
      writeFileSync(path, text, { mode: 0o600 });
      files.push(path);
    };
    if (cpu !== undefined) {
      const text = await cpu;
      write("cpuprofile", text);
      write("speedscope.json", JSON.stringify(toSpeedscope(name, JSON.parse(text) as CpuProfile)));
    }
    if (kinds.includes("heap")) write("heapsnapshot", await (await ask("heap")).text());
    if (kinds.includes("handles")) write("handles.json", await (await ask("handles")).text());
    return files;
  };
}
