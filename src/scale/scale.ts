/**
 * The production-scale suite: all areas, or those that are asked for, against a proxy as users start it.
 *
 * Owns the list of areas, their order, and what a report holds. Invariants: an area that breaks is a failed row and the
 * others still run; nothing is left behind; the report says what it was measured on. Running areas side by side was
 * rejected: they would measure one another.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { CLIENTS } from "./clients.ts";
import { DISCOVERY } from "./discovery.ts";
import { EVENTS } from "./event_delivery.ts";
import { GROUPS } from "./group_switching.ts";
import { FILE_READ, FILE_SIZE, LOADING } from "./loading.ts";
import { PERSISTENCE } from "./persistence.ts";
import { Sheet } from "./sheet.ts";
import type { Row } from "./sheet.ts";
import { toSvg } from "./plot.ts";
import type { Curve } from "./plot.ts";
import { runSoak } from "./soak.ts";
import type { Soak, SoakSample } from "./soak.ts";
import { STABILITY } from "./stability.ts";
import type { Area, AreaContext, ScaleOptions } from "./stage.ts";
import { STARTUP } from "./startup.ts";
import { STATES } from "./states.ts";
import { SUPERVISION } from "./supervision.ts";

/** In the order of the design, then the wider list. */
export const AREAS: readonly Area[] = [
  LOADING,
  STATES,
  GROUPS,
  EVENTS,
  DISCOVERY,
  STABILITY,
  PERSISTENCE,
  STARTUP,
  SUPERVISION,
  CLIENTS,
];

/** What came out of a run. */
export interface ScaleReport {
  readonly head: {
    readonly servers: number;
    /** Of the configuration, where its loading was measured. */
    readonly file?: { readonly kb: number; readonly serversPerSecond: number };
    readonly profile: string;
    readonly program: string;
    readonly machine: string;
    readonly startedAt: string;
    readonly seconds: number;
  };
  readonly isPassed: boolean;
  readonly rows: readonly Row[];
}

/** Listens to a run. */
export interface ScaleListener {
  readonly onArea?: (area: Area) => void;
  readonly onStep?: (text: string) => void;
  readonly onRow?: (row: Row) => void;
}

/** Runs areas by name, or all. */
export async function runScale(
  options: ScaleOptions,
  given: { readonly areas?: readonly string[]; readonly listener?: ScaleListener } = {},
): Promise<ScaleReport> {
  const { areas: names, listener = {} } = given;
  return report(options, listener, async (sheet, root) => {
    for (const area of AREAS.filter(({ name }) => names === undefined || names.includes(name))) {
      if (!canRun(area, options)) {
        const note = `not run: it needs ${area.needs === "mocks" ? "mocks" : "--connect"}`;
        sheet.area(area.name).add({ metric: area.about, unit: "", measured: Number.NaN, note });
        continue;
      }
      listener.onArea?.(area);
      await play({ name: area.name, options, sheet, root, listener }, area.run);
    }
  });
}

/** Plays the soak instead of the areas. */
export async function runSoakReport(
  options: ScaleOptions,
  given: { readonly durationMs: number; readonly listener?: ScaleListener },
): Promise<ScaleReport & { readonly soak: Soak | undefined }> {
  const { durationMs, listener = {} } = given;
  let soak: Soak | undefined;
  const done = await report(options, listener, async (sheet, root) => {
    await play({ name: "soak", options, sheet, root, listener }, async (context) => {
      soak = await runSoak(context, durationMs);
    });
  });
  return { ...done, soak };
}

/** The curves of a soak as a picture. */
export function plotOf({ head, soak }: Awaited<ReturnType<typeof runSoakReport>>): string {
  const samples = soak?.samples ?? [];
  const curve = (name: string, unit: string, of: (sample: SoakSample) => number): Curve => ({
    name,
    unit,
    points: samples.map((sample) => ({ x: sample.minute, y: of(sample) })),
  });
  return toSvg(`mcpproxy soak: ${head.servers} servers, ${(head.seconds / 60).toFixed(1)} minutes`, [
    curve("resident memory", "MB", ({ rssMb }) => rssMb),
    curve("a call and a search, p50", "ms", ({ callP50Ms }) => callP50Ms),
    curve("a call and a search, p99", "ms", ({ callP99Ms }) => callP99Ms),
    curve("events", "each 5 s", ({ events }) => events),
    curve("open handles", "", ({ handles }) => handles),
  ]);
}

interface Play {
  readonly name: string;
  readonly options: ScaleOptions;
  readonly sheet: Sheet;
  readonly root: string;
  readonly listener: ScaleListener;
}

/** Runs one thing in a folder of its own; what it throws is a row. */
async function play(
  { name, options, sheet, root, listener }: Play,
  run: (context: AreaContext) => Promise<void>,
): Promise<void> {
  const folder = join(root, name);
  mkdirSync(folder, { mode: 0o700 });
  const own = sheet.area(name);
  try {
    await run({ options, name, sheet: own, folder, tell: (text) => listener.onStep?.(text) });
  } catch (error) {
    // What closing threw after that follows from it.
    let first: unknown = error;
    while (first instanceof SuppressedError) first = first.suppressed;
    const note = first instanceof Error ? first.message : String(first);
    own.add({ metric: "the area ended", unit: "", measured: Number.NaN, must: 0, note });
  }
  rmSync(folder, { recursive: true, force: true });
}

async function report(
  options: ScaleOptions,
  listener: ScaleListener,
  run: (sheet: Sheet, root: string) => Promise<void>,
): Promise<ScaleReport> {
  const sheet = new Sheet(listener.onRow);
  const root = mkdtempSync(join(tmpdir(), "mcpproxy-scale-"));
  const startedAt = new Date().toISOString();
  const from = performance.now();
  try {
    await run(sheet, root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
  const head = {
    servers: options.servers,
    ...fileOf(sheet, options),
    profile: options.user === undefined ? options.profile : "a configuration of one's own",
    program: options.command.join(" "),
    machine: `${cpus().length} × ${cpus()[0]?.model ?? "?"}, ${Math.round(totalmem() / 2 ** 30)} GB`,
    startedAt,
    seconds: Math.round((performance.now() - from) / 100) / 10,
  };
  return { head, isPassed: sheet.isPassed, rows: sheet.rows };
}

function fileOf({ rows }: Sheet, { servers }: ScaleOptions): Pick<ScaleReport["head"], "file"> {
  const [kb, readMs] = [FILE_SIZE, FILE_READ].map(
    (metric) => rows.find((row) => row.metric === metric)?.measured,
  );
  if (kb === undefined || readMs === undefined) return {};
  return { file: { kb: Math.round(kb), serversPerSecond: Math.round((servers / readMs) * 1_000) } };
}

function canRun({ needs }: Area, { user }: ScaleOptions): boolean {
  if (user === undefined || needs === "nothing") return true;
  return needs === "servers" && user.connects;
}
