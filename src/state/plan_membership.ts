/**
 * What operations on groups do to the entries of servers.
 *
 * Owns how membership is written: in `groups`, or in `group_id` where the file knows only that. Invariants: an entry says
 * a group once; words that mean a group follow its new name; a removed group is named by nobody. A list of members at the
 * group was rejected: the file has it at the servers, where the Go proxy looks for it.
 */
import { isList, isRecord } from "./config_fault.ts";
import type { GroupDefinition } from "../core/settings.ts";
import type { Slugs } from "../lib/slug.ts";
import type { Entry, PlanDraft } from "./plan_draft.ts";
import type { RawEntry } from "./plan_modes.ts";
import type { ServerPlanner } from "./plan_servers.ts";

/** Does operations on groups. */
export class GroupPlanner {
  readonly #draft: PlanDraft;
  readonly #servers: ServerPlanner;
  #isIdStyle: boolean | undefined;

  constructor(draft: PlanDraft, servers: ServerPlanner) {
    this.#draft = draft;
    this.#servers = servers;
  }

  /**
   * Puts a server into a group; false when its entry says so already.
   *
   * @throws {ProxyError} `SERVER_UNKNOWN`, `GROUP_UNKNOWN`
   */
  assign(name: string, group: string | number): boolean {
    const entry = this.#draft.get(name);
    const found = this.#draft.groups.get(group);
    const { words } = this.#draft.groups;
    if (entry.server.groups.some((word) => words.find(word) === found)) return false;
    return this.#rewrite(entry, this.#assigned(entry, found));
  }

  /** Takes a server out of a group; false when its entry does not name it. Throws as {@link assign}. */
  unassign(name: string, group: string | number): boolean {
    const entry = this.#draft.get(name);
    const found = this.#draft.groups.get(group);
    return this.#rewrite(entry, withoutGroup(entry.value, found, this.#draft.groups.words));
  }

  /** Changes a group; returns the servers whose entries follow its new name. */
  patch(group: string | number, patch: RawEntry): string[] {
    const { groups } = this.#draft;
    const before = groups.get(group);
    const { words } = groups;
    const after = groups.patch(group, patch);
    if (after === undefined || after.name === before.name) return [];
    return this.#rewriteAll((value) => withNewName(value, { before, after, words, now: groups.words }));
  }

  /** Removes a group; returns the servers that were in it. */
  remove(group: string | number): string[] {
    const { groups } = this.#draft;
    const { words } = groups;
    const found = groups.remove(group);
    return this.#rewriteAll((value) => withoutGroup(value, found, words));
  }

  #assigned(entry: Entry, group: GroupDefinition): RawEntry {
    const value = isRecord(entry.value) ? entry.value : {};
    const list = Object.hasOwn(value, "groups") && isList(value["groups"]) ? value["groups"] : [];
    const { words } = this.#draft.groups;
    const { group_id: id } = value;
    const isFree = id === undefined || id === null || (id === 0 && words.find(0) === undefined);
    if (list.length === 0 && isFree && this.#usesIdsOnly()) return { ...value, group_id: group.id };
    const isNumbers = list.length > 0 && list.every((word) => typeof word === "number");
    return { ...value, groups: [...list, isNumbers ? group.id : wordFor(group, words)] };
  }

  /** Whether servers of the file name groups by `group_id` and never by `groups`. */
  #usesIdsOnly(): boolean {
    if (this.#isIdStyle !== undefined) return this.#isIdStyle;
    let hasId = false;
    let hasList = false;
    for (const { value } of this.#draft.base.entries().values()) {
      if (!isRecord(value)) continue;
      hasId ||= Object.hasOwn(value, "group_id") && typeof value["group_id"] === "number";
      hasList ||= Object.hasOwn(value, "groups") && isList(value["groups"]) && value["groups"].length > 0;
    }
    this.#isIdStyle = hasId && !hasList;
    return this.#isIdStyle;
  }

  #rewrite(entry: Entry, value: unknown): boolean {
    const next = this.#servers.rewritten(entry, value);
    if (next !== undefined) this.#draft.put(next);
    return next !== undefined;
  }

  #rewriteAll(change: (value: unknown) => unknown): string[] {
    const changed = [...this.#draft.all()].map((entry) => ({ entry, value: change(entry.value) }));
    return changed.flatMap(({ entry, value }) => (this.#rewrite(entry, value) ? [entry.name] : []));
  }
}

/** An entry without any word for a group; itself when there is none. */
function withoutGroup(value: unknown, group: GroupDefinition, words: Slugs<GroupDefinition>): unknown {
  if (!isRecord(value)) return value;
  const isMeant = (word: unknown): boolean =>
    (typeof word === "string" || typeof word === "number") && words.find(word) === group;
  const entries = Object.entries(value).flatMap(([key, item]): [string, unknown][] => {
    if (key === "group_id" && isMeant(item)) return [];
    if (key === "groups" && isList(item) && item.some(isMeant))
      return [[key, item.filter((word) => !isMeant(word))]];
    return [[key, item]];
  });
  const isSame = entries.every(([key, item]) => item === value[key]);
  return isSame && entries.length === Object.keys(value).length ? value : Object.fromEntries(entries);
}

interface Renaming {
  readonly before: GroupDefinition;
  readonly after: GroupDefinition;
  /** As they were. */
  readonly words: Slugs<GroupDefinition>;
  readonly now: Slugs<GroupDefinition>;
}

/** An entry whose words for a group, but for its id, are its new name. */
function withNewName(value: unknown, { before, after, words, now }: Renaming): unknown {
  if (!isRecord(value) || !Object.hasOwn(value, "groups") || !isList(value["groups"])) return value;
  const list = value["groups"];
  const isMeant = (word: unknown): boolean =>
    typeof word === "string" && word !== String(before.id) && words.find(word) === before;
  if (!list.some(isMeant)) return value;
  return { ...value, groups: list.map((word) => (isMeant(word) ? wordFor(after, now) : word)) };
}

/** The name of a group, or its id where the name means another one. */
function wordFor(group: GroupDefinition, words: Slugs<GroupDefinition>): string | number {
  return words.find(group.name)?.id === group.id ? group.name : group.id;
}
