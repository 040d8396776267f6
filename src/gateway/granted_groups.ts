/**
 * What the groups of tokens become when the groups of the configuration change.
 *
 * Owns following a group to its number, and letting go of one that is gone. Invariant: a token never comes to reach the
 * servers of a group it was not made for, since the numbers of groups are given out again; what is not certain is let
 * go. Looking the number up with each request was rejected: by then it may be another group's.
 */
import type { ProxyEvent } from "../core/events.ts";
import type { GroupDefinition } from "../core/settings.ts";
import type { Tokens } from "../state/tokens.ts";

/** What {@link GrantedGroups} work with. */
export interface GrantedGroupsDeps {
  /** The groups in force. */
  readonly groups: () => readonly GroupDefinition[];
  readonly tokens: Pick<Tokens, "moveGroups">;
}

/** Keeps the groups of tokens what they were. */
export class GrantedGroups {
  readonly #deps: GrantedGroupsDeps;
  #before: readonly GroupDefinition[];

  /** Lets go of what went while no proxy ran. */
  constructor(deps: GrantedGroupsDeps) {
    this.#deps = deps;
    this.#before = deps.groups();
    const ids = new Set(this.#before.map(({ id }) => id));
    deps.tokens.moveGroups((id) => (ids.has(id) ? id : undefined));
  }

  /** Takes the groups of a configuration that has just come into force. */
  note({ type }: ProxyEvent): void {
    if (type !== "config_committed" && type !== "config_reloaded") return;
    const before = this.#before;
    const after = this.#deps.groups();
    if (after === before) return;
    this.#before = after;
    const names = new Map(before.map(({ id, name }) => [id, name]));
    const known = new Set(names.values());
    // In a file groups may go by their place, so that an edit numbers them anew; a change of ours never does.
    const idOf = type === "config_reloaded" ? new Map(after.map(({ id, name }) => [name, id])) : undefined;
    const nameOf = new Map(after.map(({ id, name }) => [id, name]));
    this.#deps.tokens.moveGroups((id) => {
      const former = names.get(id);
      const moved = former === undefined ? undefined : idOf?.get(former);
      if (moved !== undefined) return moved;
      const name = nameOf.get(id);
      const isRenamed = name !== undefined && !known.has(name);
      return former !== undefined && (name === former || isRenamed) ? id : undefined;
    });
  }
}
