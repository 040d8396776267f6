/**
 * Each area of the production-scale suite turns red when its subject is broken, and is green when it is not.
 *
 * Owns the faults, each planted in a copy of the source, the rows that have to find it, and a run of the same size without
 * it. A copy that no longer holds the text a fault takes the place of fails here: the fault moves with the code, it is not lost. `MCPPROXY_TEST_SHORT=1`
 * leaves them out.
 */
import { expect, test } from "bun:test";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runScale } from "../../src/scale/scale.ts";
import type { ScaleReport } from "../../src/scale/scale.ts";
import { ROOT, SOURCE } from "../e2e/harness.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const SERVERS = 40;
const TIMEOUT_MS = 240_000;

interface Planted {
  readonly fault: string;
  readonly area: string;
  readonly file: string;
  readonly was: string;
  readonly is: string;
  /** A row that has to be past its bar. */
  readonly found: RegExp;
}

const FAULTS: readonly Planted[] = [
  {
    fault: "a lost event",
    area: "events",
    file: "core/events.ts",
    was: "  #handOut(event: ProxyEvent): void {\n",
    is: '  #handOut(event: ProxyEvent): void {\n    if (event.type === "server_state_changed" && event.id % 7 === 0) return;\n',
    found: /events of 20 servers|gaps|lost/,
  },
  {
    fault: "a leaked child",
    area: "stability",
    file: "lib/child.ts",
    was: "this.#stopping ??= this.#end(options);",
    is: "this.#stopping ??= Promise.resolve(void options);",
    found: /children as before|handles/,
  },
  {
    fault: "an unsaved change",
    area: "persistence",
    file: "gateway/configuration.ts",
    was: "const { revision, warning } = commit.commit({ text: loaded.text, effects, summary, isRollback });",
    is: "const [revision, warning] = [commit.revision + Number(isRollback), undefined as string | undefined];",
    found: /acknowledged, killed at once/,
  },
  {
    fault: "a slow search",
    area: "discovery",
    file: "catalog/search.ts",
    was: "    const startMs = performance.now();\n    const most",
    // Each tenth takes just longer than the target: among the searches of a run are two of them or more.
    is: "    const startMs = performance.now();\n    const all = globalThis as { searched?: number };\n    all.searched = (all.searched ?? 0) + 1;\n    if (all.searched % 10 === 0) while (performance.now() < startMs + 2_010);\n    const most",
    found: /search over .* p99/,
  },
  {
    fault: "a stuck transition",
    area: "states",
    file: "gateway/configuration.ts",
    was: "          if (request.isDryRun === true) return { revision: this.revision, plan };\n",
    is: '          if (request.isDryRun === true || (request.operations[0]?.op === "enable" && this.revision % 3 === 0))\n            return { revision: this.revision, plan };\n',
    found: /answer, list and file agree/,
  },
  {
    fault: "a swallowed group error",
    area: "groups",
    file: "catalog/batch.ts",
    was: "failed_servers: refused.map(({ server, error, code }) => ({ server, error, code })),",
    is: "failed_servers: [],",
    found: /who could not be switched is named/,
  },
  {
    fault: "every second member skipped silently",
    area: "groups",
    file: "gateway/batches.ts",
    was: "const operations = names.map((name) =>",
    is: "const operations = names.filter((_, at) => at % 2 === 0).map((name) =>",
    found: /servers in the wanted mode, in list and file/,
  },
  {
    fault: "a duplicate name",
    area: "loading",
    file: "state/config.ts",
    was: "    if (names.has(server.name)) {\n",
    is: '    if (names.has(server.name) && server.name === "") {\n',
    found: /a name that stands twice/,
  },
  {
    fault: "a mode misread as disabled",
    area: "loading",
    file: "state/config_server.ts",
    was: "  if (entry.startup_mode) return entry.startup_mode;\n",
    is: '  if (entry.startup_mode) return entry.startup_mode === "quarantined" ? "quarantined" : "disabled";\n',
    found: /servers in the mode of the file/,
  },
];

/** Plants a fault in a copy of the source; the command line that starts it. */
function plant({ file, was, is }: Planted, folder: string): readonly string[] {
  const copy = join(folder, "copy");
  mkdirSync(copy);
  cpSync(join(ROOT, "src"), join(copy, "src"), { recursive: true });
  for (const name of ["node_modules", "drizzle", "package.json", "tsconfig.json"])
    symlinkSync(join(ROOT, name), join(copy, name));
  const path = join(copy, "src", file);
  const text = readFileSync(path, "utf8");
  expect(text.split(was)).toHaveLength(2);
  writeFileSync(
    path,
    text.replace(was, () => is),
  );
  return [process.execPath, join(copy, "src/main.ts")];
}

function run(command: readonly string[], area: string): Promise<ScaleReport> {
  const options = { command, mockCommand: SOURCE, servers: SERVERS, profile: "healthy", seed: 1 } as const;
  return runScale({ ...options, isShort: true, maxStdio: 10 }, { areas: [area] });
}

const isShort = process.env["MCPPROXY_TEST_SHORT"] === "1";

test.skipIf(isShort).each(FAULTS.map((planted) => [planted.area, planted.fault, planted] as const))(
  "the area %s turns red by %s",
  async (area, fault, planted) => {
    verifies("SCALE-FAULTS-FOUND");
    using folder = tempDir();
    const { isPassed, rows } = await run(plant(planted, folder.path), area);
    const over = rows.filter(({ verdict }) => verdict === "over");
    console.log(
      `${area}, ${fault}: ${over.map(({ metric, note }) => `${metric} (${note ?? ""})`).join("; ")}`,
    );
    expect(isPassed).toBe(false);
    expect(over.map(({ metric }) => metric)).toContainEqual(expect.stringMatching(planted.found) as string);
  },
  TIMEOUT_MS,
);

test.skipIf(isShort).each([...new Set(FAULTS.map(({ area }) => area))])(
  "the area %s is green without a fault",
  async (area) => {
    verifies("SCALE-FAULTS-FOUND");
    const { isPassed, rows } = await run(SOURCE, area);
    expect({ isPassed, over: rows.filter(({ verdict }) => verdict === "over") }).toEqual({
      isPassed: true,
      over: [],
    });
  },
  TIMEOUT_MS,
);
