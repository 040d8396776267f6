/**
 * What each operation on a server does to its entry.
 *
 * Owns the rules of security and of modes: what is started but not approved is quarantined; out of quarantine leads only
 * a person's word; other moves follow the table. Invariants: an operation is done wholly or refused wholly; what changes
 * nothing writes nothing, not even a time. Deciding approval at the edges was rejected: there are four of them.
 */
import { ProxyError } from "../core/errors.ts";
import { depthOf, mergePatch } from "../lib/json_patch.ts";
import { isRecord } from "./config_fault.ts";
import { judgeServerName, SERVER_KEYS } from "./config_server.ts";
import { definitionHash, isSameDefinition } from "./definition.ts";
import { mayMove, MODE_KEYS, modeBelowQuarantine, patchMode, withMode } from "./plan_modes.ts";
import type { StartupMode } from "../core/model.ts";
import type { Entry, PlanDraft } from "./plan_draft.ts";
import type { RawEntry } from "./plan_modes.ts";

/** What decides beside the entry itself. */
export interface ServerRules {
  /** Whether a person with the admin key asks. */
  readonly isByPerson: boolean;
  /** Whether what programs add or change is held. */
  readonly isQuarantineOn: boolean;
  /** ISO time written into entries that have an `updated`. */
  readonly now: string;
}

/** A server added or changed. */
export interface Approval {
  readonly approve?: boolean | undefined;
}

/** Levels of nesting of a value in an operation; the file may have 100. */
const DEPTH_MAX = 90;
/** What a switch of a mode does. */
const WANTED = {
  enable: "active",
  make_lazy: "lazy_loading",
  disable: "disabled",
  quarantine: "quarantined",
  auto_disable: "auto_disabled",
} as const satisfies Record<string, StartupMode>;

/** An operation that only switches a mode. */
export type ModeVerb = keyof typeof WANTED;

/** Does operations on servers. */
export class ServerPlanner {
  readonly #draft: PlanDraft;
  readonly #rules: ServerRules;

  constructor(draft: PlanDraft, rules: ServerRules) {
    this.#draft = draft;
    this.#rules = rules;
  }

  /** Adds a server; returns its name. @throws {ProxyError} `SERVER_EXISTS`, `CONFIG_INVALID`, `ARGUMENTS_INVALID` */
  add(server: RawEntry, { approve = false }: Approval): string {
    const draft = this.#draft;
    const { name, ...rest } = plain(server);
    if (typeof name !== "string")
      throw new ProxyError("ARGUMENTS_INVALID", "Cannot add a server: it has no name", {
        hint: "Add 'name'",
      });
    checkName(name);
    SERVER_KEYS.assertSpelt(rest, { action: `add '${name}'` });
    if (draft.find(name) !== undefined) throw exists("add", name);
    if (draft.isMap && draft.isGivenUp(name)) throw givenUp("add", name);
    const value = draft.isMap ? rest : { name, ...rest };
    const read = draft.read({ name }, value);
    const isFree = this.#isApproval(approve);
    const entry: Entry = {
      name,
      before: undefined,
      value,
      ...read,
      mode: read.server.startupMode,
      ...(isFree && { approvedHash: definitionHash(read.server) }),
      // Something may be known of an earlier one that left the file while no proxy ran.
      learns: { isDefined: true, isCleared: true, ...(isFree && { isApproved: true, isQuarantined: false }) },
    };
    draft.put(isFree ? entry : this.#held(entry, entry.mode));
    return name;
  }

  /** Changes a server; returns its name now, or undefined when nothing changed. */
  patch(name: string, given: RawEntry, { approve = false }: Approval): string | undefined {
    const entry = this.#draft.get(name);
    const { name: to, ...patch } = plain(given);
    if (to !== undefined && typeof to !== "string")
      throw new ProxyError("ARGUMENTS_INVALID", `Cannot change '${name}': the new name is no text`, {
        hint: "Write the name in double quotes",
      });
    SERVER_KEYS.assertSpelt(patch, { before: entry.value, action: `change '${name}'` });
    const changed = this.#patched(entry, patch, approve);
    const next = to === undefined || to === name ? changed : this.#renamed(changed, to);
    if (next === entry) return undefined;
    if (next.name === name) this.#draft.put(next);
    else this.#draft.rename(name, next);
    return next.name;
  }

  /** Takes a server out. @throws {ProxyError} `SERVER_UNKNOWN`, `SERVER_EXISTS` when another one has its name */
  remove(name: string): void {
    const entry = this.#draft.get(name);
    this.#checkShadow("remove", entry);
    this.#draft.remove(entry);
  }

  /** Gives a server another name; false when it has it. */
  rename(name: string, to: string): boolean {
    const entry = this.#draft.get(name);
    if (to === name) return false;
    this.#draft.rename(name, this.#renamed(entry, to));
    return true;
  }

  /** Switches a mode; false when it is that one. @throws {ProxyError} `MODE_REFUSED`, `QUARANTINED` */
  switch(name: string, verb: ModeVerb): boolean {
    const entry = this.#draft.get(name);
    const next = this.#moved(entry, WANTED[verb], verb === "enable");
    if (next !== entry) this.#draft.put(next);
    return next !== entry;
  }

  /** Lets what it starts be started, and ends its quarantine; false when both is so. */
  approve(name: string): boolean {
    const entry = this.#draft.get(name);
    this.#checkPerson("approve", name);
    if (entry.mode !== "quarantined" && isApproved(entry)) return false;
    this.#draft.put(this.#released(entry));
    return true;
  }

  /** Ends a quarantine by disabling; false when it is disabled. */
  reject(name: string): boolean {
    const entry = this.#draft.get(name);
    this.#checkPerson("reject", name);
    if (entry.mode === "disabled") return false;
    if (entry.mode !== "quarantined") throw refusedMove(entry, "rejected");
    const next = this.#inMode(entry, "disabled");
    this.#draft.put({ ...next, learns: { ...next.learns, isQuarantined: false } });
    return true;
  }

  /** Puts an entry with another value in the place of the old one; undefined when it is the same. */
  rewritten(entry: Entry, value: unknown): Entry | undefined {
    if (value === entry.value) return undefined;
    const stamped = this.#stamped(value);
    const { server, findings } = this.#draft.read(entry, stamped);
    return { ...entry, value: stamped, server, findings };
  }

  #patched(entry: Entry, patch: RawEntry, approve: boolean): Entry {
    const [modes, rest] = partition(patch);
    const merged = mergePatch(entry.value, rest);
    const asksMode = Object.keys(modes).length > 0;
    const value = asksMode ? patchMode(fields(merged), modes) : merged;
    const isSame = Bun.deepEquals(value, entry.value, true);
    const changed = isSame ? entry : (this.rewritten(entry, value) ?? entry);
    const asksHold = changed.server.startupMode === "quarantined" && entry.mode !== "quarantined";
    const isReleased = this.#rules.isByPerson && approve && !asksHold;
    if (entry.mode === "quarantined" && asksMode && !isSameModes(entry.value, changed.value)) {
      throw quarantined("change the mode of", entry.name);
    }
    const isMoved = changed.server.startupMode !== entry.server.startupMode;
    const moved = asksMode && entry.mode !== "quarantined" ? this.#movedBy(entry, changed, isMoved) : changed;
    if (!isSameDefinition(entry.server, changed.server)) return this.#redefined(moved, entry, isReleased);
    const needsRelease = entry.mode === "quarantined" || !isApproved(moved);
    return isReleased && needsRelease ? this.#released(moved) : moved;
  }

  /** Checks the move a patch made, and notes what follows from it. */
  #movedBy(entry: Entry, changed: Entry, isMoved: boolean): Entry {
    const { startupMode: to } = changed.server;
    const isOn = to === "active" || to === "lazy_loading";
    if (!isMoved && !(isOn && entry.mode === "auto_disabled")) return changed;
    if (isMoved && entry.mode !== to && !mayMove(entry.mode, to)) throw refusedMove(entry, to);
    const isChangedToo = !isSameDefinition(entry.server, changed.server);
    const cleared = entry.mode === "auto_disabled" || isOn;
    const next = { ...changed, mode: to, learns: { ...changed.learns, ...(cleared && { isCleared: true }) } };
    if (to === "quarantined") return this.#noted(next, formerOf(entry));
    return isOn && !isChangedToo ? this.#startable(next) : next;
  }

  /** What is started changed: it is approved or held. */
  #redefined(entry: Entry, before: Entry, isReleased: boolean): Entry {
    const defined: Entry = { ...entry, learns: { ...entry.learns, isDefined: true, isApproved: false } };
    const both = [before, entry];
    const wasOff = both.every(({ mode }) => mode === "auto_disabled");
    const wasFileOff = both.every(({ server }) => server.startupMode === "auto_disabled");
    const back =
      wasFileOff && before.mode !== "quarantined" ? this.#inMode(defined, formerOf(before)) : defined;
    const freed: Entry = wasOff
      ? { ...back, mode: back.server.startupMode, learns: { ...back.learns, isCleared: true } }
      : back;
    if (isReleased) return this.#released(freed);
    if (!this.#rules.isQuarantineOn) return this.#approved(freed);
    return this.#held(freed, formerOf(freed));
  }

  #renamed(entry: Entry, to: string): Entry {
    const draft = this.#draft;
    checkName(to);
    if (draft.find(to) !== undefined) throw exists(`rename '${entry.name}' to`, to);
    // The rows of the one that goes would be taken for those of the one that comes.
    if (draft.removed.includes(to)) throw givenUp(`rename '${entry.name}' to`, to);
    this.#checkShadow("rename", entry);
    const value = fields(entry.value);
    const isInside = !draft.isMap || value["name"] === entry.name;
    const next = this.#stamped(isInside ? { ...value, name: to } : entry.value);
    const { server, findings } = draft.read({ ...entry, name: to }, next);
    return { ...entry, name: to, value: next, server, findings };
  }

  #moved(entry: Entry, to: StartupMode, isEnable: boolean): Entry {
    const { mode, server } = entry;
    if (mode === "quarantined") {
      if (to === "quarantined") return entry;
      throw quarantined(isEnable ? "enable" : "change the mode of", entry.name);
    }
    // What is in force may not be in the file yet: an auto-disable, or that it is over.
    const isInForce = mode === to;
    if (isInForce && server.startupMode === to) return entry;
    if (!isInForce && !mayMove(mode, to)) throw refusedMove(entry, to);
    if (to === "quarantined") return this.#held(entry, formerOf(entry));
    const isOn = to === "active" || to === "lazy_loading";
    // The auto-disable is observation: what was wanted before is wanted again.
    const isLazyAgain = isEnable && mode === "auto_disabled" && formerOf(entry) === "lazy_loading";
    const next = this.#inMode(entry, isLazyAgain ? "lazy_loading" : to);
    const isCleared = isOn || (mode === "auto_disabled" && !isInForce);
    const learned: Entry = { ...next, learns: { ...next.learns, ...(isCleared && { isCleared }) } };
    return isOn ? this.#startable(learned) : learned;
  }

  /** @throws {ProxyError} `QUARANTINED` when nobody approved what it starts */
  #startable(entry: Entry): Entry {
    if (isApproved(entry)) return entry;
    if (this.#rules.isQuarantineOn) throw quarantined("enable", entry.name);
    return this.#approved(entry);
  }

  #approved(entry: Entry): Entry {
    const approvedHash = definitionHash(entry.server);
    return { ...entry, approvedHash, learns: { ...entry.learns, isApproved: true } };
  }

  /** Approved, and back in the mode before its quarantine; an auto-disable before that is over. */
  #released(entry: Entry): Entry {
    const approved = this.#approved(entry);
    if (entry.mode !== "quarantined") return approved;
    const next = this.#inMode(approved, formerOf(entry));
    return { ...next, learns: { ...next.learns, isQuarantined: false } };
  }

  /** In quarantine, in file and database. */
  #held(entry: Entry, former: StartupMode): Entry {
    return this.#noted(this.#inMode(entry, "quarantined"), former);
  }

  #noted(entry: Entry, former: StartupMode): Entry {
    const formerMode = former === "quarantined" ? "active" : former;
    return { ...entry, formerMode, learns: { ...entry.learns, isQuarantined: true, formerMode } };
  }

  /** Writes a mode; cheap, since of a sound entry nothing else can change. */
  #inMode(entry: Entry, mode: StartupMode): Entry {
    const value = withMode(fields(entry.value), mode);
    if (value === entry.value) return { ...entry, mode };
    if (entry.server.faults.length > 0 || !isRecord(entry.value)) {
      return { ...(this.rewritten(entry, value) ?? entry), mode };
    }
    const stamped = this.#stamped(value);
    const isStamped = stamped !== value;
    const server = {
      ...entry.server,
      startupMode: mode,
      ...(isStamped && { updated: this.#rules.now }),
    };
    return { ...entry, value: stamped, server, mode };
  }

  #stamped(value: unknown): unknown {
    const isDated = isRecord(value) && Object.hasOwn(value, "updated");
    return isDated ? { ...value, updated: this.#rules.now } : value;
  }

  #isApproval(approve: boolean): boolean {
    return !this.#rules.isQuarantineOn || (approve && this.#rules.isByPerson);
  }

  #checkPerson(verb: string, name: string): void {
    if (!this.#rules.isByPerson) throw quarantined(verb, name);
  }

  #checkShadow(verb: string, entry: Entry): void {
    const shadow = this.#draft.shadowOf(entry);
    if (shadow === undefined) return;
    throw new ProxyError(
      "SERVER_EXISTS",
      `Cannot ${verb} '${entry.name}': a second entry with this name would take its place`,
      {
        data: { finding: shadow },
        hint: "Give the second entry another name in the file, or remove it there",
      },
    );
  }
}

function isApproved(entry: Entry): boolean {
  return entry.approvedHash === definitionHash(entry.server);
}

/** The mode to go back to from where it is. */
function formerOf({ mode, server, formerMode, value }: Entry): StartupMode {
  if (mode === "active" || mode === "lazy_loading" || mode === "disabled") return mode;
  const { startupMode } = server;
  if (startupMode === "active" || startupMode === "lazy_loading" || startupMode === "disabled")
    return startupMode;
  const below = withoutHolds(fields(value));
  const former = below ?? formerMode;
  return former === undefined || former === "quarantined" || former === "auto_disabled" ? "active" : former;
}

/** What the older switches say below quarantine and auto-disable. */
function withoutHolds(value: RawEntry): StartupMode | undefined {
  return modeBelowQuarantine(
    Object.hasOwn(value, "auto_disabled") ? { ...value, auto_disabled: false } : value,
  );
}

function isSameModes(before: unknown, after: unknown): boolean {
  const [a] = partition(fields(before));
  const [b] = partition(fields(after));
  return Bun.deepEquals(a, b, true);
}

/** The keys that decide a mode, and the others. */
function partition(value: RawEntry): readonly [modes: RawEntry, rest: RawEntry] {
  const entries = Object.entries(value);
  const isMode = ([key]: readonly [string, unknown]): boolean => MODE_KEYS.has(key);
  return [
    Object.fromEntries(entries.filter(isMode)),
    Object.fromEntries(entries.filter((entry) => !isMode(entry))),
  ];
}

function fields(value: unknown): RawEntry {
  return isRecord(value) ? value : {};
}

/** A value as it comes back from a file. @throws {ProxyError} `ARGUMENTS_INVALID` */
export function plain(value: unknown): RawEntry {
  if (!isRecord(value))
    throw new ProxyError("ARGUMENTS_INVALID", "Cannot change the configuration: expected an object", {
      hint: 'Send an object: {"name": "…"}',
    });
  if (depthOf(value, DEPTH_MAX + 1) > DEPTH_MAX)
    throw new ProxyError(
      "ARGUMENTS_INVALID",
      `Cannot change the configuration: values nest deeper than ${DEPTH_MAX} levels`,
      { hint: "Remove levels of brackets" },
    );
  return JSON.parse(JSON.stringify(value)) as RawEntry;
}

function checkName(name: string): void {
  const verdict = judgeServerName(name);
  if (verdict === undefined) return;
  throw new ProxyError("ARGUMENTS_INVALID", `Cannot name a server so: ${verdict.message}`, {
    hint: verdict.advice,
  });
}

function exists(verb: string, name: string): ProxyError {
  return new ProxyError("SERVER_EXISTS", `Cannot ${verb} '${name}': a server has this name already`, {
    hint: "Choose another name, or change the server that is there",
  });
}

function givenUp(verb: string, name: string): ProxyError {
  return new ProxyError(
    "SERVER_EXISTS",
    `Cannot ${verb} '${name}': another one has this name until the change is done`,
    {
      hint: "Send it as a second change",
    },
  );
}

function quarantined(verb: string, name: string): ProxyError {
  return new ProxyError("QUARANTINED", `Cannot ${verb} '${name}': it waits for a person's approval`, {
    hint: `Look at what it starts, then run 'mcpproxy servers approve' with its name`,
  });
}

function refusedMove({ name, mode }: Entry, to: string): ProxyError {
  return new ProxyError("MODE_REFUSED", `Cannot change '${name}' to ${to}: it is ${mode}`, {
    data: { from: mode, to },
    hint: "See the startup modes in the README",
  });
}
