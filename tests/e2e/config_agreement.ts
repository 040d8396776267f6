/**
 * Whether a file and a process are as a model says.
 *
 * Owns the comparison, and what of it is left open: the mode behind a quarantine, and whether an auto-disable, which is observed and
 * written late, outlives a kill or an edit by hand. Invariant: whatever is quarantined or not approved has to be just as meant.
 */
import { definitionOf, readMeaning } from "./config_model.ts";
import type { Meaning, Mode, ModelState } from "./config_model.ts";

/** What a process under test says of itself. */
export interface Seen {
  readonly servers: readonly {
    readonly name: string;
    readonly mode: string | undefined;
    readonly isDefined: boolean;
    readonly isApproved: boolean;
    readonly isHeld: boolean;
  }[];
}

/** What `open` may turn out to be. */
const OPEN: ReadonlySet<string | undefined> = new Set(["active", "lazy_loading", "disabled"]);
/** What an auto-disable may have come over. */
const AWAKE: ReadonlySet<string | undefined> = new Set(["active", "lazy_loading", "open"]);

/**
 * Says how a text and a process differ from a state, in the first thing that does; else the state with all that was open
 * filled in.
 */
export function agrees(state: ModelState, text: string, seen: Seen): string | ModelState {
  const found = readMeaning(text);
  const differs = differenceOf(state, found);
  if (differs !== undefined) return differs;
  const servers = found.servers;
  const inForce = new Map<string, Mode>();
  if (seen.servers.length !== servers.size) return "the servers in force are others";
  for (const { name, mode, isDefined, isApproved, isHeld } of seen.servers) {
    const [server, row] = [servers.get(name), state.rows.get(name)];
    if (server === undefined) return `'${name}' is in force and not in the file`;
    const told = `'${name}' in the database: ${JSON.stringify({ isDefined, isApproved, isHeld })}`;
    if (!isDefined) return `${told}, another definition than the file's`;
    if (isApproved !== (row?.approved === definitionOf(server))) return `${told}, the approval is wrong`;
    if (isHeld !== (row?.isHeld === true)) return `${told}, the quarantine is wrong`;
    const wanted = state.inForce.get(name) ?? "open";
    // What was observed may outlive a switch of the file, or end before it.
    const pair = [mode, wanted];
    const isObserved = pair.includes("auto_disabled") && pair.some((one) => AWAKE.has(one));
    if (mode !== wanted && !(wanted === "open" && mode === server.mode) && !isObserved)
      return `'${name}' is ${mode} in force, ${wanted} was meant`;
    inForce.set(name, mode as Mode);
  }
  return { ...state, servers, inForce };
}

function differenceOf(state: Meaning, found: Meaning): string | undefined {
  if (!isSame(state.top, found.top)) return "the settings differ";
  if (!isSame([...state.groups].toSorted(byFirst), [...found.groups].toSorted(byFirst)))
    return "the groups differ";
  for (const [name, server] of state.servers) {
    const other = found.servers.get(name);
    if (other === undefined) return `'${name}' is missing`;
    if (other.id !== server.id) return `'${name}' is another server`;
    const isMeant = server.mode === other.mode || (server.mode === "open" && OPEN.has(other.mode));
    if (!isMeant) return `'${name}' is ${other.mode} in the file, ${server.mode} was meant`;
    if (!isSame(server.rest, other.rest)) return `'${name}' says other things`;
    if (!isSame([...server.groups].toSorted(), [...other.groups].toSorted()))
      return `'${name}' is in other groups`;
  }
  const extra = [...found.servers.keys()].find((name) => !state.servers.has(name));
  return extra === undefined ? undefined : `'${extra}' is there`;
}

function byFirst([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

function isSame(a: unknown, b: unknown): boolean {
  return Bun.deepEquals(a, b, true);
}
