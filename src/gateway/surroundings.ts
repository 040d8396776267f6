/**
 * What the proxy stands on: files and their permissions, the disk, programs that servers need, the clock.
 *
 * Owns the checks that look outside of the process. Invariants: looking changes nothing and starts nothing; a check that
 * cannot be made says nothing. Running the programs to ask for their versions was rejected: some take seconds, and one of
 * them is what a stranger put into PATH.
 */
import { accessSync, constants, existsSync, readdirSync, statfsSync, statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";

import type { Finding, Server } from "../core/model.ts";
import type { Settings } from "../core/settings.ts";
import { VERSION } from "../core/version.ts";
import type { Environment } from "../state/secrets.ts";

/** What {@link lookAround} looks at. */
export interface Surroundings {
  readonly configPath: string;
  readonly settings: Pick<Settings, "dataDir" | "environment">;
  /** Those that are to be started. */
  readonly servers: readonly Server[];
  readonly env: Environment;
  /** Unix milliseconds. */
  readonly now: number;
  /** When the latest thing that is written down happened; Unix milliseconds. */
  readonly lastNotedAt: number | undefined;
}

const MIB = 1024 * 1024;
const DISK_ERROR_BYTES = 50 * MIB;
const DISK_WARNING_BYTES = 500 * MIB;
/** A clock that was set back by less is no matter. */
const CLOCK_SLACK_MS = 60_000;
const OTHERS = 0o077;
const SHOWN_SERVERS = 5;
const INSTALL_HINTS: ReadonlyMap<string, string> = new Map([
  ["uvx", "Install uv, for example with 'pip install uv'"],
  ["uv", "Install uv, for example with 'pip install uv'"],
  ["pipx", "Install pipx, for example with 'pip install pipx'"],
  ["npx", "Install Node.js with npm"],
  ["node", "Install Node.js"],
  ["bunx", "Install Bun"],
  ["docker", "Install Docker and start its daemon"],
]);

/** Looks at all of it. */
export function lookAround(around: Surroundings): readonly Finding[] {
  const { configPath, settings, now, lastNotedAt } = around;
  return [
    ...[...missingPrograms(around)].map(programFinding),
    ...permissionFindings(configPath, settings.dataDir),
    ...writabilityFindings(configPath, settings.dataDir),
    ...diskFindings(settings.dataDir),
    ...leftoverFindings(settings.dataDir),
    ...clockFindings(now, lastNotedAt),
    versionFinding(),
  ];
}

/** Names, the first of them. */
export function namesOf(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN_SERVERS).map((name) => `'${name}'`);
  const more = names.length > SHOWN_SERVERS ? ` and ${names.length - SHOWN_SERVERS} more` : "";
  return `${shown.join(", ")}${more}`;
}

/** Commands that are not there, and the servers that need them. */
export function missingPrograms({
  servers,
  settings,
  env,
}: Pick<Surroundings, "servers" | "settings" | "env">): ReadonlyMap<string, readonly string[]> {
  // The PATH of the login shell is asked for with the first start: then the failures tell.
  if (settings.environment.enhancePath) return new Map();
  const found = new Map<string, boolean>();
  const missing = new Map<string, string[]>();
  const general = settings.environment.customVars.get("PATH") ?? env["PATH"] ?? "";
  for (const { name, command, env: own, workingDir } of servers) {
    if (command === undefined) continue;
    const path = own.get("PATH")?.replaceAll("${env:PATH}", env["PATH"] ?? "") ?? general;
    const key = `${command}\n${path}\n${workingDir ?? ""}`;
    if (!found.has(key)) found.set(key, isThere(command, path, workingDir));
    if (found.get(key) === true) continue;
    const names = missing.get(command);
    if (names === undefined) missing.set(command, [name]);
    else names.push(name);
  }
  return missing;
}

/** One finding a program, however many servers need it. */
function programFinding([command, names]: readonly [string, readonly string[]]): Finding {
  const where = command.includes("/") ? "" : " in PATH";
  return {
    level: "error",
    code: "RUNTIME_MISSING",
    message: `'${command}' was not found${where}: ${namesOf(names)} cannot start`,
    hint: INSTALL_HINTS.get(command) ?? `Install '${command}', or give its full path as 'command'`,
    ...(names.length === 1 && names[0] !== undefined ? { server: names[0] } : {}),
  };
}

function isThere(command: string, path: string, workingDir: string | undefined): boolean {
  if (!command.includes("/") && !command.includes("\\")) return Bun.which(command, { PATH: path }) !== null;
  return existsSync(isAbsolute(command) ? command : join(workingDir ?? process.cwd(), command));
}

function permissionFindings(configPath: string, dataDir: string): Finding[] {
  if (process.platform === "win32") return [];
  const checks = [
    { path: configPath, code: "CONFIG_READABLE_BY_OTHERS", what: "The configuration", mode: "600" },
    { path: dataDir, code: "DATA_DIR_OPEN_TO_OTHERS", what: "The data dir", mode: "700" },
  ];
  return checks.flatMap(({ path, code, what, mode }) => {
    const found = modeOf(path);
    if (found === undefined || (found & OTHERS) === 0) return [];
    const message = `${what} '${path}' is open to other users (mode ${(found & 0o777).toString(8)})`;
    return [{ level: "warning", code, message, hint: `Run chmod ${mode} '${path}'` } as const];
  });
}

function modeOf(path: string): number | undefined {
  try {
    return statSync(path).mode;
  } catch {
    return undefined;
  }
}

/** A commit writes beside the file and renames, so the folder counts as well. */
function writabilityFindings(configPath: string, dataDir: string): Finding[] {
  const checks = [
    { path: configPath, code: "CONFIG_READ_ONLY", what: "The configuration", level: "warning" },
    {
      path: dirname(configPath),
      code: "CONFIG_READ_ONLY",
      what: "The configuration's folder",
      level: "warning",
    },
    { path: dataDir, code: "DATA_DIR_READ_ONLY", what: "The data dir", level: "error" },
  ] as const;
  return checks.flatMap(({ path, code, what, level }) => {
    try {
      accessSync(path, constants.W_OK);
      return [];
    } catch (error) {
      const isGone = (error as { readonly code?: unknown }).code === "ENOENT";
      const message = `${what} '${path}' ${isGone ? "is gone" : "cannot be written"}: changes are refused`;
      return [{ level, code, message, hint: `Check owner and mode of '${path}'` }];
    }
  });
}

function diskFindings(dataDir: string): Finding[] {
  try {
    const { bavail, bsize } = statfsSync(dataDir);
    const free = bavail * bsize;
    if (free >= DISK_WARNING_BYTES) return [];
    const level = free < DISK_ERROR_BYTES ? "error" : "warning";
    const message = `The disk of the data dir '${dataDir}' has ${Math.floor(free / MIB)} MiB left`;
    const hint = "Free some space, or lower 'activity.max_rows' and 'logging.max_backups'";
    return [{ level, code: "DISK_LOW", message, hint }];
  } catch {
    return [];
  }
}

/** What was put aside because nobody could tell which text or database is right. */
function leftoverFindings(dataDir: string): Finding[] {
  const databases = list(dataDir).filter((name) => /\.db\.corrupt-[^/]+Z$/.test(name));
  const conflicts = list(join(dataDir, "backups")).filter((name) => name.startsWith("conflict-"));
  const findings: Finding[] = [];
  if (databases.length > 0) {
    findings.push({
      level: "warning",
      code: "STORE_SET_ASIDE",
      message: `A damaged database was set aside as ${namesOf(databases)}: approvals and history in it are lost`,
      hint: `Look whether servers wait for approval, then delete it from '${dataDir}'`,
    });
  }
  if (conflicts.length > 0) {
    findings.push({
      level: "warning",
      code: "CONFIG_CONFLICT_KEPT",
      message: `${conflicts.length === 1 ? "A text" : `${conflicts.length} texts`} of the configuration that somebody saved during a write was kept: ${namesOf(conflicts)}`,
      hint: "Compare with 'mcpproxy config history' and 'mcpproxy config diff', take over what is missing, then delete it",
    });
  }
  return findings;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function clockFindings(now: number, lastNotedAt: number | undefined): Finding[] {
  if (lastNotedAt === undefined || lastNotedAt <= now + CLOCK_SLACK_MS) return [];
  const message = `The clock says ${new Date(now).toISOString()}, but something was noted at ${new Date(lastNotedAt).toISOString()}`;
  return [{ level: "warning", code: "CLOCK_BEHIND", message, hint: "Set the clock, for example by NTP" }];
}

function versionFinding(): Finding {
  const message = `mcpproxy ${VERSION} on Bun ${Bun.version}, ${process.platform} ${process.arch}`;
  return { level: "info", code: "VERSIONS", message, hint: "Name them when you report a fault" };
}
