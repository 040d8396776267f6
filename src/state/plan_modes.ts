/**
 * How a startup mode is written into an entry.
 *
 * Owns the two ways to write one: `startup_mode`, and the older switches of the Go proxy and its forks. Invariants: read
 * again, the entry means the wanted mode; an entry keeps its way; switches that stand beside `startup_mode` never
 * contradict it, so an older program reads the same, as far as it has the switch; the switches below a quarantine keep
 * the mode before it. Rewriting switches as `startup_mode` was rejected: the older program would start what is disabled.
 */
import { STARTUP_MODES } from "../core/model.ts";
import { startupModeOf } from "./config_server.ts";
import type { StartupMode } from "../core/model.ts";
import type { ModeKeys } from "./config_server.ts";

/** An entry as it stands in the file. */
export type RawEntry = Readonly<Record<string, unknown>>;

/** Older switches, besides `startup_mode`. */
const SWITCHES = ["enabled", "disabled", "stopped", "quarantined", "auto_disabled", "start_on_boot"] as const;
/** The keys that decide a mode. */
export const MODE_KEYS: ReadonlySet<string> = new Set(["startup_mode", ...SWITCHES]);

type Switch = (typeof SWITCHES)[number];
type Switches = { -readonly [Key in Switch]?: boolean };

/** What each switch says in a mode; what is not named holds another fact and stays. */
const SAYS: Readonly<Record<StartupMode, Readonly<Switches>>> = {
  active: {
    enabled: true,
    disabled: false,
    stopped: false,
    quarantined: false,
    auto_disabled: false,
    start_on_boot: true,
  },
  lazy_loading: {
    enabled: true,
    disabled: false,
    stopped: false,
    quarantined: false,
    auto_disabled: false,
    start_on_boot: false,
  },
  disabled: { enabled: false, disabled: true, quarantined: false, auto_disabled: false },
  quarantined: { quarantined: true },
  auto_disabled: { quarantined: false, auto_disabled: true },
};

/** The switch that makes a mode where none of those that are there can. */
const MISSING: Readonly<Record<StartupMode, Readonly<Switches>>> = {
  active: { enabled: true },
  lazy_loading: { start_on_boot: false },
  disabled: { enabled: false },
  quarantined: { quarantined: true },
  auto_disabled: { auto_disabled: true },
};

/** Moves that need no person; from quarantine there is none. */
const MOVES: Readonly<Record<StartupMode, readonly StartupMode[]>> = {
  active: ["lazy_loading", "disabled", "auto_disabled", "quarantined"],
  lazy_loading: ["active", "disabled", "auto_disabled", "quarantined"],
  disabled: ["active", "lazy_loading", "quarantined"],
  auto_disabled: ["active", "lazy_loading", "disabled", "quarantined"],
  quarantined: [],
};

/** Whether an operation may lead from one mode to another; the table of `upstream/transition.ts` without a person's verbs. */
export function mayMove(from: StartupMode, to: StartupMode): boolean {
  return MOVES[from].includes(to);
}

/** Writes a mode into an entry, in the entry's own way; the entry itself comes back when it says so already. */
export function withMode(entry: RawEntry, mode: StartupMode): RawEntry {
  const changes: Record<string, unknown> = {};
  const present = SWITCHES.filter((key) => isSet(entry, key));
  const says = SAYS[mode];
  for (const key of present) {
    const wanted = says[key];
    if (wanted !== undefined && entry[key] !== wanted) changes[key] = wanted;
  }
  if (isExplicit(entry)) {
    if (entry["startup_mode"] !== mode) changes["startup_mode"] = mode;
  } else if (modeOf({ ...entry, ...changes }) !== mode) {
    Object.assign(changes, present.length === 0 ? { startup_mode: mode } : missingSwitch(entry, mode));
  }
  return Object.keys(changes).length === 0 ? entry : { ...entry, ...changes };
}

/** The mode an entry would have without quarantine; undefined when only `startup_mode` could say so. */
export function modeBelowQuarantine(entry: RawEntry): StartupMode | undefined {
  return isExplicit(entry) ? undefined : modeOf({ ...entry, quarantined: false });
}

/**
 * Puts the mode keys of a patch into an entry that has the rest of the patch already.
 *
 * A patch may use the one way where the entry uses the other: what it says holds, and the entry keeps its way.
 */
export function patchMode(entry: RawEntry, patch: RawEntry): RawEntry {
  const merged = { ...entry };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = value;
  }
  const mode = askedMode(entry, patch);
  // What is no mode is left to the schema, which says what is wrong.
  return mode === undefined ? merged : withMode(merged, mode);
}

/** The mode a patch means for an entry; undefined when a value has the wrong type. */
function askedMode(entry: RawEntry, patch: RawEntry): StartupMode | undefined {
  const asked = patch["startup_mode"];
  if (asked !== undefined && asked !== null && asked !== "")
    return STARTUP_MODES.find((mode) => mode === asked);
  const switches = SWITCHES.filter((key) => Object.hasOwn(patch, key));
  if (switches.some((key) => patch[key] !== null && typeof patch[key] !== "boolean")) return undefined;
  const isKept = isExplicit(entry) && !Object.hasOwn(patch, "startup_mode");
  const base: Switches = isKept ? { ...SAYS[modeOf(entry)] } : switchesOf(entry);
  for (const key of switches) {
    const value = patch[key];
    if (typeof value === "boolean") base[key] = value;
    else delete base[key];
  }
  // `enabled` wins over `disabled`, but not over a `disabled` that is asked for.
  if (typeof patch["disabled"] === "boolean" && typeof patch["enabled"] !== "boolean")
    base.enabled = !patch["disabled"];
  if (patch["enabled"] === true || patch["disabled"] === false) {
    if (base.stopped === true && patch["stopped"] !== true) base.stopped = false;
    if (base.auto_disabled === true && patch["auto_disabled"] !== true) base.auto_disabled = false;
  }
  return startupModeOf(base);
}

function modeOf(entry: RawEntry): StartupMode {
  const { startup_mode: mode } = entry;
  const explicit = STARTUP_MODES.find((known) => known === mode);
  return startupModeOf({ ...switchesOf(entry), ...(explicit !== undefined && { startup_mode: explicit }) });
}

function switchesOf(entry: RawEntry): Switches {
  const switches: Switches = {};
  for (const key of SWITCHES) {
    const value = Object.hasOwn(entry, key) ? entry[key] : undefined;
    if (typeof value === "boolean") switches[key] = value;
  }
  return switches;
}

/** The switch that is not there yet and makes the entry mean `mode`. */
function missingSwitch(entry: RawEntry, mode: StartupMode): Partial<ModeKeys> {
  return mode === "disabled" && isSet(entry, "stopped") ? { stopped: true } : MISSING[mode];
}

function isExplicit(entry: RawEntry): boolean {
  return isSet(entry, "startup_mode") && entry["startup_mode"] !== "";
}

function isSet(entry: RawEntry, key: string): boolean {
  return Object.hasOwn(entry, key) && entry[key] !== null && entry[key] !== undefined;
}
