/**
 * Configuration persistence: what was acknowledged is there, after a kill, a reload and a restart.
 *
 * Owns the rows about the two-phase commit seen from outside. Invariants: the proxy is killed the moment it answered, and
 * file and list have to agree after the next start; what a person wrote beside the entries is there to the byte.
 */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { median } from "./sheet.ts";
import { openFleet } from "./stage.ts";
import type { Area, AreaContext } from "./stage.ts";
import { modesInFile } from "./states.ts";
import { Subject, until } from "./subject.ts";

const COMMENT = "// written by hand: it stays";
const RELOAD_MS = 10_000;
const DESIGN_SAVE_MS = 1_000;
const UNKNOWN_KEY = "a_key_of_another_program";

/** The area. */
export const PERSISTENCE: Area = {
  name: "persistence",
  needs: "nothing",
  about: "configuration persistence: commit and kill, reload by hand, stop and start",
  run: runPersistence,
};

async function runPersistence(context: AreaContext): Promise<void> {
  const { options, sheet, tell } = context;
  await using fleet = await openFleet(context);
  const off = fleet.config({
    settings: { [UNKNOWN_KEY]: { kept: true } },
    entry: (entry) => ({
      ...entry,
      startup_mode: entry["startup_mode"] === "quarantined" ? "quarantined" : "disabled",
    }),
  });
  const config = off.replace("{\n", `{\n  ${COMMENT}\n`);
  const folder = mkdtempSync(join(context.folder, "kept-"));
  const start = (text?: string): Promise<Subject> =>
    Subject.start({ command: options.command, folder, ...(text === undefined ? {} : { config: text }) });
  const first = await start(config);
  const names = [...(await first.servers()).values()]
    .filter(({ startup_mode: mode }) => mode === "disabled")
    .map(({ name }) => name);
  await first.stop();
  const changed = names.slice(0, options.isShort ? 3 : 8);
  await killAfterEach(context, { start, names: changed });
  {
    await using subject = await start();
    checkFile(context, subject);
    await checkAgreement(context, subject);
    await checkReload(context, { subject, name: changed[0] ?? "" });
    const { code, left } = await subject.stop();
    sheet.count("stop: exit code", { measured: code, wanted: 0 });
    sheet.count("stop: processes left", { measured: left, wanted: 0 });
  }
  const path = join(folder, "mcp_config.json");
  const before = readFileSync(path, "utf8");
  tell("stop and start");
  await using again = await start();
  sheet.count("start again: the file is as it was", {
    measured: Number(readFileSync(path, "utf8") === before),
    wanted: 1,
  });
  await checkAgreement(context, again);
}

/** Changes one server after another; the proxy is killed the moment it has answered. */
async function killAfterEach(
  { sheet, tell }: AreaContext,
  { start, names }: { readonly start: () => Promise<Subject>; readonly names: readonly string[] },
): Promise<void> {
  const times: number[] = [];
  let kept = 0;
  let subject = await start();
  try {
    for (const [round, name] of names.entries()) {
      tell(`change and kill ${round + 1} of ${names.length}`);
      const [path, description] = [`/servers/${encodeURIComponent(name)}`, `changed in round ${round}`];
      const from = performance.now();
      const { status } = await subject.api(path, { method: "PATCH", body: { description } });
      times.push(performance.now() - from);
      await subject.kill();
      subject = await start();
      const { data } = await subject.api(path);
      const isInFile = readFileSync(subject.configPath, "utf8").includes(description);
      if (status === 200 && data["description"] === description && isInFile) kept += 1;
    }
  } finally {
    await subject.stop();
  }
  sheet.count("changes that were acknowledged, killed at once, and are there", {
    measured: kept,
    wanted: names.length,
  });
  sheet.add({ metric: "saving a change", unit: "ms", measured: median(times), target: DESIGN_SAVE_MS });
}

/** What a person wrote is there, and nothing half written lies about. */
function checkFile({ sheet }: AreaContext, subject: Subject): void {
  const text = readFileSync(subject.configPath, "utf8");
  sheet.count("comments and unknown keys kept", {
    measured: Number(text.includes(COMMENT)) + Number(text.includes(UNKNOWN_KEY)),
    wanted: 2,
  });
  const beside = readdirSync(dirname(subject.configPath)).filter((name) => /\.tmp|\.new|~$/.test(name));
  sheet.count("temporary files left beside the configuration", { measured: beside.length, wanted: 0 });
}

async function checkAgreement({ sheet }: AreaContext, subject: Subject): Promise<void> {
  const listed = await subject.servers();
  const inFile = modesInFile(subject.configPath);
  const agreeing = [...inFile].filter(([name, mode]) => listed.get(name)?.startup_mode === mode).length;
  sheet.count("servers on which file and list agree", { measured: agreeing, wanted: listed.size });
}

/** A person saves the file: it is in force without a restart. */
async function checkReload(
  { sheet }: AreaContext,
  { subject, name }: { readonly subject: Subject; readonly name: string },
): Promise<void> {
  const wanted = (await subject.servers()).size;
  const text = readFileSync(subject.configPath, "utf8");
  const edited = text.replace(/"description": "changed in round 0"/, '"description": "edited by hand"');
  writeFileSync(subject.configPath, edited);
  const isInForce = async (): Promise<boolean> => {
    const { data } = await subject.api(`/servers/${encodeURIComponent(name)}`);
    return data["description"] === "edited by hand";
  };
  const ms = await until(isInForce, "the edit is in force", RELOAD_MS).catch(() => Number.NaN);
  sheet.add({ metric: "an edit by hand in force", unit: "ms", measured: ms, target: RELOAD_MS });
  writeFileSync(subject.configPath, edited.slice(0, edited.length / 2));
  await until(
    async () => (await subject.api("/status")).status === 200 && (await isInForce()),
    "it still serves",
    RELOAD_MS,
  ).catch(() => {});
  const listed = await subject.servers();
  sheet.count("servers listed while the file is broken", {
    measured: listed.size,
    wanted,
  });
  writeFileSync(subject.configPath, edited);
  await until(
    async () => (await subject.api("/config/history")).status === 200 && (await isInForce()),
    "the mended file is in force",
    RELOAD_MS,
  );
}
