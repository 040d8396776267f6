/**
 * Configuration loading: a file of production size, from disk into memory and the database.
 *
 * Owns the rows about loading and about reading all servers. Invariants: every server of the file is listed, in the mode
 * it has there, each of the five modes among them; a name that stands twice is reported and does not push another out.
 * Loading in this process was rejected: the caches of the report would make it warm.
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../lib/program.ts";
import { median } from "./sheet.ts";
import { openFleet } from "./stage.ts";
import type { Area, AreaContext } from "./stage.ts";
import { Subject } from "./subject.ts";
import type { ServerFacts } from "./subject.ts";

const DESIGN_LOAD_MS = 5_000;
const DESIGN_READ_MS = 1_000;
const READS = 20;
/** The numbers to hold: of so many servers, and in proportion of more. */
const FEW = { servers: 159, loadMs: 50, coldMs: 8, warmMs: 1 };
const MANY = { servers: 10_000, loadMs: 800 };
/** Theirs of a list over REST, on top of what they say of reading in process. */
const REST = { servers: 1_132, ms: 30 };
/** No generated file has a server that the proxy switched off. */
const AUTO_DISABLED_EACH = 20;
/** Nobody listens there. */
const NOWHERE = { url: "http://127.0.0.1:9/mcp", protocol: "streamable-http" } as const;

/** Rows that the head of a report tells as well. */
export const FILE_SIZE = "size of the file";
export const FILE_READ = "read and check the file, beside an empty one";

/** The area. */
export const LOADING: Area = {
  name: "loading",
  needs: "nothing",
  about: "configuration loading: parse, check, database, list",
  run: runLoading,
};

async function runLoading(context: AreaContext): Promise<void> {
  const { options, sheet, tell } = context;
  await using fleet = await openFleet(context);
  const text = fleet.config();
  const folder = mkdtempSync(join(context.folder, "load-"));
  const [path, bare] = [join(folder, "all.json"), join(folder, "none.json")];
  writeFileSync(path, text);
  writeFileSync(bare, '{"mcpServers": []}\n');
  tell(`${options.servers} servers, ${Math.round(text.length / 1024)} KB`);

  const runs = options.isShort ? 3 : 5;
  const [full, empty] = [[] as number[], [] as number[]];
  for (let run = 0; run < runs; run += 1) {
    full.push(await checkMs(options.command, path));
    empty.push(await checkMs(options.command, bare));
  }
  const parseMs = Math.max(0.1, median(full) - median(empty));
  sheet.add({ metric: FILE_SIZE, unit: "KB", measured: text.length / 1024 });
  sheet.add({
    metric: FILE_READ,
    unit: "ms",
    measured: parseMs,
    note: `${Math.round((options.servers / parseMs) * 1_000)} servers/s`,
  });

  // Nothing is to connect: what is measured is the proxy's own work.
  const asleep = fleet.config({ entry: (entry) => ({ ...entry, startup_mode: "disabled" }) });
  const [loaded, idle] = [[] as number[], [] as number[]];
  for (let run = 0; run < runs; run += 1) {
    loaded.push(await startMs(context, asleep));
    idle.push(await startMs(context, '{"mcpServers": []}\n'));
  }
  sheet.add({
    metric: "load, database included, beside an empty start",
    unit: "ms",
    measured: Math.max(0.1, median(loaded) - median(idle)),
    target: DESIGN_LOAD_MS,
    must: loadBar(options.servers),
    note: "the whole of the start that grows with the servers",
  });
  await checkList(context, text);
  await checkModes(context, fleet.modes);
}

/** What the list shows, against what the file says; a name that stands twice is among it. */
async function checkList({ options, sheet, folder }: AreaContext, text: string): Promise<void> {
  const config = JSON.parse(text) as {
    mcpServers: { name: string; startup_mode: string; command?: string }[];
  };
  const [first] = config.mcpServers;
  const entries = config.mcpServers.map((entry) => ({ ...entry, startup_mode: offMode(entry.startup_mode) }));
  const twice = { ...entries[0], command: "second-of-its-name", url: undefined, protocol: "stdio" };
  const doubled = JSON.stringify({ ...config, mcpServers: [...entries, twice] });
  await using subject = await Subject.start({
    command: options.command,
    folder: mkdtempSync(join(folder, "list-")),
    config: doubled,
  });
  const servers = await readAll({ options, sheet }, subject);
  sheet.count("servers listed", { measured: servers.size, wanted: entries.length });
  const wrong = entries.filter((entry) => servers.get(entry.name)?.startup_mode !== entry.startup_mode);
  sheet.count("servers switched off in the file, off in the list", {
    measured: entries.length - wrong.length,
    wanted: entries.length,
  });
  const { data } = await subject.api(`/servers/${encodeURIComponent(first?.name ?? "")}`);
  const { command } = data as unknown as ServerFacts & { readonly command?: string };
  sheet.count("a name that stands twice: the first is in force", {
    measured: command === "second-of-its-name" ? 0 : 1,
    wanted: 1,
  });
  const check = await output([...options.command, "config", "check", subject.configPath]);
  sheet.count("a name that stands twice: reported", {
    measured: check.includes(first?.name ?? "\u0000") && /twice|duplicate|already/i.test(check) ? 1 : 0,
    wanted: 1,
  });
}

/** Reads all servers for the first time and again. */
async function readAll(
  { options, sheet }: Pick<AreaContext, "options" | "sheet">,
  subject: Subject,
): Promise<ReadonlyMap<string, ServerFacts>> {
  const cold = performance.now();
  const servers = await subject.servers();
  const coldMs = performance.now() - cold;
  const warm: number[] = [];
  for (let run = 0; run < READS; run += 1) {
    const from = performance.now();
    await subject.servers();
    warm.push(performance.now() - from);
  }
  const [rest, times] = [restMs(options.servers), Math.max(1, options.servers / FEW.servers)];
  const read = (metric: string, measured: number, inProcessMs: number): void =>
    sheet.add({
      metric,
      unit: "ms",
      measured,
      target: DESIGN_READ_MS,
      must: inProcessMs * times + rest,
      note: `wanted ${shown(inProcessMs * times)} in process, and ${shown(rest)} for REST`,
    });
  read("read all servers, cold", coldMs, FEW.coldMs);
  read("read all servers, over REST", median(warm), FEW.warmMs);
  return servers;
}

/** Each in the mode it has, though none can be reached: a mode is what the file says, not what became of the server. */
async function checkModes(
  { options, sheet, folder }: AreaContext,
  found: ReadonlyMap<string, string>,
): Promise<void> {
  const modes = new Map(
    [...found].map(([name, mode], at) => [
      name,
      mode !== "quarantined" && at % AUTO_DISABLED_EACH === 0 ? "auto_disabled" : mode,
    ]),
  );
  const mcpServers = [...modes].map(([name, mode]) => ({ name, ...NOWHERE, startup_mode: mode }));
  await using subject = await Subject.start({
    command: options.command,
    folder: mkdtempSync(join(folder, "modes-")),
    config: JSON.stringify({ auto_disable_threshold: 0, logging: { level: "error" }, mcpServers }),
  });
  const servers = await subject.servers();
  const inMode = [...modes].filter(([name, mode]) => servers.get(name)?.startup_mode === mode);
  const kinds = Map.groupBy(modes.values(), (mode) => mode);
  sheet.count("servers in the mode of the file", {
    measured: inMode.length,
    wanted: modes.size,
    note: [...kinds].map(([mode, of]) => `${of.length} ${mode}`).join(", "),
  });
}

function loadBar(servers: number): number {
  const share = Math.max(0, (servers - FEW.servers) / (MANY.servers - FEW.servers));
  return FEW.loadMs + share * (MANY.loadMs - FEW.loadMs);
}

function restMs(servers: number): number {
  return (REST.ms * Math.max(servers, FEW.servers)) / REST.servers;
}

function shown(ms: number): string {
  return `${ms.toFixed(1)} ms`;
}

/** Modes in which nothing starts. */
function offMode(mode: string): string {
  return mode === "quarantined" ? mode : "disabled";
}

async function checkMs(command: readonly string[], path: string): Promise<number> {
  const from = performance.now();
  await output([...command, "config", "check", path]);
  return performance.now() - from;
}

async function output(argv: readonly string[]): Promise<string> {
  const { stdout, stderr } = await runProgram(argv);
  return stdout + stderr;
}

/** From the start of the process until known tools are searchable. */
async function startMs({ options, folder }: AreaContext, config: string): Promise<number> {
  await using subject = await Subject.start({
    command: options.command,
    folder: mkdtempSync(join(folder, "start-")),
    config,
  });
  return subject.readyMs;
}
