/**
 * `mcpproxy scale`: the production-scale suite from a shell.
 *
 * Owns its flags and how progress and reports are printed. Invariants: progress goes to a terminal only; `--json` prints
 * the report and nothing else; exit code 1 when something is past its target.
 */
import { existsSync, writeFileSync } from "node:fs";
import { ProxyError } from "../core/errors.ts";
import { parseDuration } from "../lib/duration.ts";
import { PROFILINGS } from "../scale/profiling.ts";
import {
  cellsOf,
  headingOf,
  headOf,
  NARROW_HEADING,
  narrowRowsOf,
  sumOf,
  toMarkdown,
} from "../scale/report.ts";
import { readUserRoster } from "../scale/roster.ts";
import type { UserConfig } from "../scale/roster.ts";
import { AREAS, plotOf, runScale, runSoakReport } from "../scale/scale.ts";
import type { ScaleListener, ScaleReport } from "../scale/scale.ts";
import type { ScaleOptions } from "../scale/stage.ts";
import { readCommand, textFlag } from "./command.ts";
import type { CommandIo } from "./command.ts";
import { formatTable } from "./table.ts";

const USAGE =
  "mcpproxy scale [--servers N] [--profile healthy|production|storm[,cpu|heap|handles]] [--profile-dir DIR] [--soak 30m [--plot FILE]] [--area NAME[,NAME]] [--short] [--max-stdio N] [--seed N] [--program FILE] [--config FILE [--limit N] [--only NAMES] [--connect]] [--json] [--markdown FILE]";
const PROFILES = ["healthy", "production", "storm"] as const;
const TEXT = { type: "string" } as const;
const OPTIONS = {
  servers: TEXT,
  profile: TEXT,
  "profile-dir": TEXT,
  area: TEXT,
  short: { type: "boolean" },
  soak: TEXT,
  plot: TEXT,
  "max-stdio": TEXT,
  seed: TEXT,
  program: TEXT,
  limit: TEXT,
  only: TEXT,
  connect: { type: "boolean" },
  markdown: TEXT,
} as const;
const CLEAR_LINE = "\r\u001B[K";
const DEFAULT_PLOT = "mcpproxy-soak.svg";
const DEFAULT_PROFILE_DIR = "mcpproxy-profiles";
const DEFAULT_SERVERS = 159;
const DEFAULT_MAX_STDIO = 40;
const PRODUCTION_MAX_STDIO = 150;

type Values = Readonly<Record<string, string | boolean | undefined>>;

/** Runs the suite, or the soak. */
export async function runScaleCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const { flags, values } = readCommand(args, { usage: USAGE, maxPositionals: 0, options: OPTIONS });
  const options = optionsOf(values, flags.config);
  const areas = areasOf(values);
  const soakMs = durationOf(values);
  const listener = flags.isJson || io.columns === undefined ? {} : progressOn(io);
  let report: ScaleReport;
  if (soakMs === undefined) {
    report = await runScale(options, { ...(areas === undefined ? {} : { areas }), listener });
  } else {
    const soak = await runSoakReport(options, { durationMs: soakMs, listener });
    writeFileSync(textFlag(values["plot"]) ?? DEFAULT_PLOT, plotOf(soak));
    report = soak;
  }
  if (listener.onStep !== undefined) io.stderr(CLEAR_LINE);
  const markdown = textFlag(values["markdown"]);
  if (markdown !== undefined) writeFileSync(markdown, toMarkdown(report));
  if (flags.isJson) io.stdout(`${JSON.stringify(report, null, 2)}\n`);
  else {
    const table =
      io.columns === undefined
        ? formatTable(headingOf(), report.rows.map(cellsOf))
        : formatTable(NARROW_HEADING, narrowRowsOf(report.rows), { columns: io.columns });
    io.stdout(`${headOf(report)}\n\n${table}\n${sumOf(report)}\n`);
  }
  return report.isPassed ? 0 : 1;
}

function optionsOf(values: Values, config: string | undefined): ScaleOptions {
  const words = (textFlag(values["profile"]) ?? "healthy").split(",");
  const unknown = words.find((word) => !isOneOf(PROFILES, word) && !isOneOf(PROFILINGS, word));
  if (unknown !== undefined)
    throw usage(`Cannot use '--profile ${unknown}': there are ${[...PROFILES, ...PROFILINGS].join(", ")}`);
  const profile = words.find((word) => isOneOf(PROFILES, word)) ?? "healthy";
  const kinds = words.filter((word) => isOneOf(PROFILINGS, word));
  const program = textFlag(values["program"]);
  const user = config === undefined ? undefined : userOf(config, values);
  const servers = user === undefined ? numberOf(values, "servers") : readUserRoster(user).entries.length;
  return {
    ...(user === undefined ? {} : { user }),
    ...(kinds.length === 0
      ? {}
      : { profiling: { kinds, folder: textFlag(values["profile-dir"]) ?? DEFAULT_PROFILE_DIR } }),
    command: program === undefined ? ownCommand() : programOf(program),
    mockCommand: ownCommand(),
    servers: servers ?? DEFAULT_SERVERS,
    profile,
    seed: numberOf(values, "seed") ?? 1,
    isShort: values["short"] === true,
    maxStdio:
      numberOf(values, "max-stdio") ?? (profile === "production" ? PRODUCTION_MAX_STDIO : DEFAULT_MAX_STDIO),
  };
}

function areasOf(values: Values): readonly string[] | undefined {
  const areas = textFlag(values["area"])?.split(",");
  const unknown = areas?.find((name) => !AREAS.some((area) => area.name === name));
  if (unknown === undefined) return areas;
  throw usage(`Cannot run the area '${unknown}': there are ${AREAS.map(({ name }) => name).join(", ")}`);
}

function durationOf(values: Values): number | undefined {
  const text = textFlag(values["soak"]);
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms !== undefined && ms > 0) return ms;
  throw usage(`Cannot read '${text}' as the value of --soak`);
}

/** The user's own servers, as far as they are asked for. */
function userOf(path: string, values: Values): UserConfig {
  const limit = numberOf(values, "limit");
  const only = textFlag(values["only"])?.split(",");
  if (!existsSync(path)) throw usage(`Cannot read '${path}': there is no such file`);
  return {
    path,
    connects: values["connect"] === true,
    ...(limit === undefined ? {} : { limit }),
    ...(only === undefined ? {} : { only }),
  };
}

/** The program that runs now, as it can be started again. */
function ownCommand(): readonly string[] {
  const [, script = ""] = process.argv;
  return import.meta.url.includes("$bunfs") ? [process.execPath] : [process.execPath, script];
}

function programOf(file: string): readonly string[] {
  return /\.[cm]?[jt]s$/.test(file) ? [process.execPath, file] : [file];
}

function progressOn(io: CommandIo): ScaleListener {
  let area = "";
  const show = (text: string): void => io.stderr(`${CLEAR_LINE}${text.slice(0, (io.columns ?? 80) - 1)}`);
  return {
    onArea: ({ name, about }) => {
      area = name;
      io.stderr(`${CLEAR_LINE}${about}\n`);
    },
    onStep: (step) => show(`  ${area}: ${step}`),
    onRow: ({ verdict, metric }) => {
      if (verdict === "over") io.stderr(`${CLEAR_LINE}  past its target: ${metric}\n`);
    },
  };
}

function numberOf(values: Values, name: string): number | undefined {
  const text = textFlag(values[name]);
  if (text === undefined) return undefined;
  const number = Number(text);
  if (text.trim() !== "" && Number.isInteger(number) && number >= 0) return number;
  throw usage(`Cannot read '${text}' as the value of --${name}`);
}

function isOneOf<const Word extends string>(words: readonly Word[], word: string): word is Word {
  return (words as readonly string[]).includes(word);
}

function usage(message: string): ProxyError {
  return new ProxyError("USAGE", message, { hint: `Usage: ${USAGE}` });
}
