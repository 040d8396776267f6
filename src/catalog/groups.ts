/**
 * Groups: named sets of servers, in a tree.
 *
 * Owns who is in which group: a server is where its entry says, and in every group above that. Invariants:
 * a group holds each server once, in file order; whatever the definitions say, the groups form a forest (a
 * parent that is missing, or would close a circle, counts as none: the configuration refuses both, this only
 * has to end); nothing changes once built. Keeping member lists up to date was rejected: a new revision
 * builds all of it anew in a few milliseconds.
 */
import { ProxyError } from "../core/errors.ts";
import { nearestWord } from "../lib/nearest.ts";
import { Slugs } from "../lib/slug.ts";
import type { GroupDefinition } from "../core/settings.ts";

/** A group and its place in the tree. */
export interface Group {
  readonly id: number;
  readonly name: string;
  /** Its name in an address; no two groups share one. */
  readonly slug: string;
  readonly description: string;
  readonly color?: string;
  readonly iconEmoji?: string;
  readonly enabled: boolean;
  /** Id of the group it is part of. */
  readonly parentId?: number;
  /** Groups above it. */
  readonly depth: number;
  /** Servers that name it themselves. */
  readonly ownCount: number;
  /** Servers that name it or a group below it, each once. */
  readonly totalCount: number;
}

/** A server as far as groups look at it. */
export interface GroupedServer {
  readonly name: string;
  /** Names or ids of groups; those that do not exist are passed over. */
  readonly groups: readonly string[];
}

/** Options of {@link Groups.members}. */
export interface MemberOptions {
  /** Whether the servers of the groups below count too. @default true */
  readonly deep?: boolean;
}

interface Node {
  readonly definition: GroupDefinition;
  readonly children: Node[];
  readonly own: number[];
  parent: Node | undefined;
  total: number;
  /** The server that was counted last, so that each counts once. */
  counted: number;
}

/** The groups of one revision of the configuration. */
export class Groups {
  readonly #names: readonly string[];
  readonly #addresses: Slugs<GroupDefinition>;
  readonly #nodes = new Map<number, Node>();
  readonly #groups = new Map<Node, Group>();
  /** Of each server, by its name. */
  readonly #homes = new Map<string, readonly Node[]>();

  /** Both in file order; of two groups with one id, or servers with one name, the first counts. */
  constructor(definitions: readonly GroupDefinition[], servers: readonly GroupedServer[]) {
    this.#names = servers.map(({ name }) => name);
    for (const definition of definitions) {
      if (this.#nodes.has(definition.id)) continue;
      const node = { definition, children: [], own: [], parent: undefined, total: 0, counted: -1 };
      this.#nodes.set(definition.id, node);
    }
    this.#addresses = new Slugs([...this.#nodes.values()].map(({ definition }) => definition));
    for (const node of this.#nodes.values()) this.#attach(node);
    for (const [index, server] of servers.entries()) this.#place(server, index);
    for (const node of this.#nodes.values()) this.#groups.set(node, this.#describe(node));
  }

  /** All groups in file order. */
  list(): readonly Group[] {
    return [...this.#groups.values()];
  }

  /** Finds a group by its id (as a number or in digits), its name or its slug, in this order. */
  find(group: string | number): Group | undefined {
    return this.#groupOf(this.#nodeOf(group));
  }

  /**
   * Finds a group as {@link Groups.find} does.
   *
   * @throws ProxyError `GROUP_UNKNOWN` with the group that was probably meant
   */
  get(group: string | number): Group {
    const found = this.find(group);
    if (found !== undefined) return found;
    const words = this.list().flatMap(({ name, slug }) => [name, slug]);
    const similar = nearestWord(String(group), words);
    throw new ProxyError("GROUP_UNKNOWN", `Cannot find a group named '${group}'`, {
      data: { group },
      hint: similar === undefined ? knownHint(this.list()) : `Did you mean '${similar}'?`,
    });
  }

  /** Groups directly below one, in file order; none when there is no such group. */
  children(group: string | number): readonly Group[] {
    return (this.#nodeOf(group)?.children ?? []).flatMap((node) => this.#groupOf(node) ?? []);
  }

  /** Names of the servers in a group, each once, in file order; none when there is no such group. */
  members(group: string | number, options: MemberOptions = {}): readonly string[] {
    const { deep = true } = options;
    const node = this.#nodeOf(group);
    if (node === undefined) return [];
    if (!deep || node.children.length === 0) return node.own.map((index) => this.#names[index] ?? "");
    const isMember = new Uint8Array(this.#names.length);
    const open = [node];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const index of next.own) isMember[index] = 1;
      open.push(...next.children);
    }
    return this.#names.filter((_, index) => isMember[index] === 1);
  }

  /** The groups a server names, in its order, each followed by those above it; each once. */
  groupsOf(server: string): readonly Group[] {
    const found = new Set<Group>();
    for (const home of this.#homes.get(server) ?? []) {
      for (let node: Node | undefined = home; node !== undefined; node = node.parent) {
        const group = this.#groupOf(node);
        if (group !== undefined) found.add(group);
      }
    }
    return [...found];
  }

  #nodeOf(group: string | number): Node | undefined {
    const definition = this.#addresses.find(group);
    return definition && this.#nodes.get(definition.id);
  }

  #groupOf(node: Node | undefined): Group | undefined {
    return node && this.#groups.get(node);
  }

  #attach(node: Node): void {
    const { parent } = node.definition;
    const above = parent === undefined ? undefined : this.#nodeOf(parent);
    if (above === undefined) return;
    // Links made so far close no circle, so this ends.
    for (let next: Node | undefined = above; next !== undefined; next = next.parent) {
      if (next === node) return;
    }
    Object.assign(node, { parent: above });
    above.children.push(node);
  }

  #place({ name, groups }: GroupedServer, index: number): void {
    if (groups.length === 0 || this.#homes.has(name)) return;
    const homes = new Set(groups.flatMap((group) => this.#nodeOf(group) ?? []));
    this.#homes.set(name, [...homes]);
    for (const home of homes) {
      home.own.push(index);
      for (let node: Node | undefined = home; node !== undefined; node = node.parent) {
        if (node.counted === index) break;
        node.counted = index;
        node.total += 1;
      }
    }
  }

  #describe(node: Node): Group {
    const { id, name, description, enabled, color, iconEmoji } = node.definition;
    let depth = 0;
    for (let above = node.parent; above !== undefined; above = above.parent) depth += 1;
    return {
      id,
      name,
      slug: this.#addresses.of(node.definition),
      description,
      ...(color !== undefined && { color }),
      ...(iconEmoji !== undefined && { iconEmoji }),
      enabled,
      ...(node.parent !== undefined && { parentId: node.parent.definition.id }),
      depth,
      ownCount: node.own.length,
      totalCount: node.total,
    };
  }
}

function knownHint(groups: readonly Group[]): string {
  const SHOWN = 5;
  if (groups.length === 0) return "No group is defined: add one to 'groups' in the configuration";
  const names = groups.slice(0, SHOWN).map(({ name }) => `'${name}'`);
  const more = groups.length > SHOWN ? ` and ${groups.length - SHOWN} more` : "";
  return `The groups are ${names.join(", ")}${more}`;
}
