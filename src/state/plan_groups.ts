/**
 * The groups of the file on their way to become others.
 *
 * Owns adding, changing and removing a group, and the numbers they keep. Invariants: each step leaves groups that would be
 * read without a fault; an id never changes, so groups that had none in the file get theirs written as soon as another
 * one comes or goes; nothing is kept of a step that is refused. Who is in a group is written at the servers, and is not
 * owned here.
 */
import { ProxyError } from "../core/errors.ts";
import { editsBetween, mergePatch } from "../lib/json_patch.ts";
import { parseJsonc } from "../lib/jsonc.ts";
import { nearestWord } from "../lib/nearest.ts";
import { Slugs } from "../lib/slug.ts";
import { invalidConfig } from "./config.ts";
import { faultsOfIssues, isList, isRecord, withoutNulls } from "./config_fault.ts";
import { readGroups } from "./config_groups.ts";
import { settingsSchema } from "./config_schema.ts";
import type { GroupDefinition } from "../core/settings.ts";
import type { JsoncEdit } from "../lib/jsonc_text.ts";
import type { FaultSite } from "./config_fault.ts";
import type { LoadedConfig } from "./loaded_config.ts";

/** As for servers; what stands in the file already may be longer. */
const NAME_MAX_CHARS = 128;

/** A value of the file with keys. */
type Fields = Readonly<Record<string, unknown>>;

interface Item {
  /** Its place in the file; absent for a new one. */
  readonly index?: number;
  readonly value: Fields;
}

/** Collects what operations do to groups. */
export class DraftGroups {
  readonly #base: LoadedConfig;
  readonly #before: readonly Fields[];
  #items: readonly Item[];
  #definitions: readonly GroupDefinition[];
  #words: Slugs<GroupDefinition> | undefined;
  /** The highest number there was, so that none is another group's within one change. */
  #highest: number;
  #isReached = false;

  constructor(base: LoadedConfig) {
    this.#base = base;
    const raw = base.jsonc().value;
    const groups = isRecord(raw) && Object.hasOwn(raw, "groups") ? raw["groups"] : undefined;
    this.#before = isList(groups) ? groups.map((group) => (isRecord(group) ? group : {})) : [];
    this.#items = this.#before.map((value, index) => ({ index, value }));
    this.#definitions = base.config.settings.groups;
    this.#highest = highestOf(this.#definitions);
  }

  /** The groups as they are now. */
  get definitions(): readonly GroupDefinition[] {
    return this.#definitions;
  }

  /** The words groups go by now. */
  get words(): Slugs<GroupDefinition> {
    this.#words ??= new Slugs(this.#definitions);
    return this.#words;
  }

  /** Whether anything about groups changed. */
  get isChanged(): boolean {
    return this.#definitions !== this.#base.config.settings.groups;
  }

  /** Whether words came or went, so that any server may be in other groups. */
  get isReached(): boolean {
    return this.#isReached;
  }

  /** @throws {ProxyError} `GROUP_UNKNOWN` with the name that was probably meant */
  get(group: string | number): GroupDefinition {
    const found = this.words.find(group);
    if (found !== undefined) return found;
    const names = this.#definitions.map(({ name }) => name);
    const meant = nearestWord(String(group), names);
    throw new ProxyError("GROUP_UNKNOWN", `Cannot find a group named '${group}'`, {
      data: { group },
      hint: meant === undefined ? "Add it to 'groups' in the configuration" : `Did you mean '${meant}'?`,
    });
  }

  /**
   * Adds a group; without an id it gets the one after the highest.
   *
   * @throws {ProxyError} `GROUP_EXISTS`, `CONFIG_INVALID`
   */
  add(value: Fields): GroupDefinition {
    const kept = mergePatch({}, value) as Fields;
    const id = typeof kept["id"] === "number" ? kept["id"] : this.#nextId();
    this.#checkFree(kept["name"], id);
    this.#set([...this.#pinned(), { value: { ...kept, id } }]);
    this.#isReached = true;
    return this.get(id);
  }

  /**
   * Changes a group and, when its name changes, the parents that go by it; undefined when nothing changed.
   *
   * @throws {ProxyError} `GROUP_UNKNOWN`, `GROUP_EXISTS`, `ARGUMENTS_INVALID` for another id, `CONFIG_INVALID`
   */
  patch(group: string | number, patch: Fields): GroupDefinition | undefined {
    const found = this.get(group);
    const { id, ...rest } = patch;
    if (id !== undefined && id !== found.id) {
      throw new ProxyError("ARGUMENTS_INVALID", `Cannot change group '${found.name}': its id is for ever`, {
        hint: "Leave 'id' out, or add another group",
      });
    }
    const at = this.#definitions.indexOf(found);
    const before = this.#items[at]?.value;
    const value = mergePatch(before, rest) as Fields;
    if (value === before) return undefined;
    const isRenamed = value["name"] !== found.name;
    if (isRenamed) this.#checkFree(value["name"], undefined);
    this.#set(
      this.#items.map((item, index) => {
        if (index === at) return { ...item, value };
        const isBelow = isRenamed && this.#isParent(item, found) && typeof item.value["parent"] === "string";
        return isBelow && item.value["parent"] !== String(found.id)
          ? { ...item, value: { ...item.value, parent: value["name"] } }
          : item;
      }),
    );
    this.#isReached ||= isRenamed;
    return this.get(found.id);
  }

  /**
   * Removes a group; the groups below it move to the one above.
   *
   * @throws {ProxyError} `GROUP_UNKNOWN`
   */
  remove(group: string | number): GroupDefinition {
    const found = this.get(group);
    const at = this.#definitions.indexOf(found);
    const { parent } = this.#items[at]?.value ?? {};
    const items = this.#pinned().flatMap((item, index): Item[] => {
      if (index === at) return [];
      if (!this.#isParent(item, found)) return [item];
      const { parent: _, ...rest } = item.value;
      return [{ ...item, value: parent === undefined || parent === null ? rest : { ...item.value, parent } }];
    });
    this.#set(items);
    this.#isReached = true;
    return found;
  }

  /** The edits of the text. */
  edits(): JsoncEdit[] {
    if (!this.isChanged) return [];
    const kept = new Map(this.#items.map((item) => [item.index, item.value]));
    const edits = this.#before.flatMap((before, index): JsoncEdit[] => {
      const path = ["groups", index];
      const value = kept.get(index);
      return value === undefined ? [{ kind: "remove", path }] : editsBetween(path, before, value);
    });
    const fresh = this.#items.filter(({ index }) => index === undefined);
    return [...edits, ...fresh.map(({ value }): JsoncEdit => ({ kind: "append", path: ["groups"], value }))];
  }

  /** The value `groups` has afterwards, where it was `before`. */
  expected(before: unknown): unknown {
    return this.isChanged ? this.#items.map(({ value }) => value) : before;
  }

  #nextId(): number {
    return Math.max(this.#highest, highestOf(this.#definitions)) + 1;
  }

  /** Writes the ids of groups that have none: by their place they would become others. */
  #pinned(): readonly Item[] {
    return this.#items.map((item, index) => {
      const id = this.#definitions[index]?.id;
      return typeof item.value["id"] === "number" ? item : { ...item, value: { ...item.value, id } };
    });
  }

  #isParent({ value: { parent } }: Item, group: GroupDefinition): boolean {
    return (typeof parent === "string" || typeof parent === "number") && this.words.find(parent) === group;
  }

  #checkFree(name: unknown, id: number | undefined): void {
    if (typeof name === "string" && (name.length > NAME_MAX_CHARS || /\p{Cc}/u.test(name))) {
      const hint = `Write a name of up to ${NAME_MAX_CHARS} characters, without control characters`;
      throw new ProxyError("ARGUMENTS_INVALID", "Cannot name a group so", { hint });
    }
    const taken = this.#definitions.find((group) => group.name === name || group.id === id);
    if (taken === undefined) return;
    const what = taken.name === name ? `is named '${taken.name}'` : `has the id ${taken.id}`;
    throw new ProxyError("GROUP_EXISTS", `Cannot write group '${String(name)}': another one ${what}`, {
      hint: "Choose another name or id",
    });
  }

  /** Takes the items when they can be read without a fault. */
  #set(items: readonly Item[]): void {
    const { path } = this.#base.config;
    const entries = items.map(({ value }) => withoutNulls(value));
    const result = settingsSchema.shape.groups.safeParse(entries);
    const read = (document: FaultSite["document"]) => {
      const site = { file: path, document };
      if (!result.success) return { groups: [], faults: faultsOfIssues(site, ["groups"], result.error) };
      return readGroups(result.data, site);
    };
    const { groups, faults } = read({ place: () => ({ line: 1, column: 1 }) });
    if (faults.length > 0) throw invalidConfig(path, read(parseJsonc(this.#base.text)).faults);
    this.#items = items;
    this.#definitions = groups;
    this.#words = undefined;
  }
}

function highestOf(groups: readonly GroupDefinition[]): number {
  return groups.reduce((highest, { id }) => Math.max(highest, id), 0);
}
