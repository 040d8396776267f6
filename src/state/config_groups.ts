/**
 * The key `groups` of the file: which groups there are, and what is wrong with them.
 *
 * Owns the numbers of groups that name none, the parents, and what it takes for the tree to be one. Invariants: ids and
 * names are unique and parents form a forest, or the whole file is refused, since nobody could say who is in which
 * group; a server that names a missing group is a finding only. Passing over a bad parent was rejected: a group switched
 * off would leave servers on that an operator believes to be below it.
 */
import { oneLine } from "../lib/log.ts";
import { nearestWord } from "../lib/nearest.ts";
import { Slugs } from "../lib/slug.ts";
import { faultAt } from "./config_fault.ts";
import type { Fault, Finding, Server } from "../core/model.ts";
import type { GroupDefinition } from "../core/settings.ts";
import type { FaultSite } from "./config_fault.ts";
import type { SettingsEntry } from "./config_schema.ts";

/** A validated group as the file has it, and its index there. */
type GroupEntry = SettingsEntry["groups"][number];

/** The groups of a file. */
export interface ReadGroups {
  readonly groups: readonly GroupDefinition[];
  readonly faults: readonly Fault[];
}

/** Reads the validated groups; a group without an id gets the next one after the highest. */
export function readGroups(entries: readonly GroupEntry[], site: FaultSite): ReadGroups {
  let next = Math.max(0, ...entries.map((group) => group.id ?? 0));
  const groups = entries.map(
    ({ id, name, description, enabled, parent, color, icon_emoji: iconEmoji }): GroupDefinition => ({
      id: id ?? ++next,
      name,
      description,
      enabled,
      ...(parent !== undefined && parent !== "" && { parent: String(parent) }),
      ...(color && { color }),
      ...(iconEmoji && { iconEmoji }),
    }),
  );
  const doubles = doubleFaults(groups, site);
  // Which of two equal groups is meant as a parent cannot be told.
  if (doubles.length > 0) return { groups, faults: doubles };
  const parents = parentsOf(groups, site);
  return { groups, faults: [...parents.faults, ...cycleFaults(groups, parents.above, site)] };
}

/** Reports each group a server names that is not there. */
export function groupFindings(server: Server, groups: Slugs<GroupDefinition>): Finding[] {
  return server.groups
    .filter((group) => groups.find(group) === undefined)
    .map((group) => ({
      level: "warning",
      code: "GROUP_UNKNOWN",
      message: oneLine(`The server '${server.name}' names the group '${group}', which is not defined`),
      hint: "Add it to 'groups', or remove it from the server",
      server: server.name,
    }));
}

function doubleFaults(groups: readonly GroupDefinition[], site: FaultSite): Fault[] {
  const faults: Fault[] = [];
  const names = new Set<string>();
  const ids = new Set<number>();
  for (const [index, { id, name }] of groups.entries()) {
    if (names.has(name)) {
      const message = `A second group is named '${oneLine(name)}'`;
      const advice = "Give one of the two another name";
      faults.push(faultAt(site, ["groups", index, "name"], { message, advice }));
    }
    if (ids.has(id)) {
      const message = `A second group has the id ${id}`;
      const free = Math.max(...groups.map((group) => group.id)) + 1;
      const advice = `Give one of the two another id, such as ${free}`;
      faults.push(faultAt(site, ["groups", index, "id"], { message, advice }));
    }
    names.add(name);
    ids.add(id);
  }
  return faults;
}

interface Parents {
  /** Index of the group above each group. */
  readonly above: ReadonlyMap<number, number>;
  readonly faults: readonly Fault[];
}

function parentsOf(groups: readonly GroupDefinition[], site: FaultSite): Parents {
  const words = new Slugs(groups);
  const indexes = new Map(groups.map((group, index) => [group, index]));
  const above = new Map<number, number>();
  const faults: Fault[] = [];
  for (const [index, { name, parent }] of groups.entries()) {
    if (parent === undefined) continue;
    const found = words.find(parent);
    const at = found === undefined ? undefined : indexes.get(found);
    if (at !== undefined) above.set(index, at);
    // As in `group_id`, 0 means none where no group has this id.
    else if (parent !== "0") {
      const meant = nearestWord(
        parent,
        groups.map((group) => group.name),
      );
      faults.push(
        faultAt(site, ["groups", index, "parent"], {
          message: oneLine(`The parent '${parent}' of the group '${name}' is not defined`),
          advice:
            meant === undefined
              ? "Write the name or id of another group, or remove the key"
              : oneLine(`Write '${meant}'`),
        }),
      );
    }
  }
  return { above, faults };
}

/** Finds each circle once, told from its first group in the file. */
function cycleFaults(
  groups: readonly GroupDefinition[],
  above: ReadonlyMap<number, number>,
  site: FaultSite,
): Fault[] {
  const faults: Fault[] = [];
  const done = new Set<number>();
  for (const start of groups.keys()) {
    const path: number[] = [];
    let at: number | undefined = start;
    while (at !== undefined && !done.has(at)) {
      done.add(at);
      path.push(at);
      at = above.get(at);
    }
    const from = at === undefined ? -1 : path.indexOf(at);
    if (from === -1) continue;
    const circle = path.slice(from);
    const first = Math.min(...circle);
    const turn = circle.indexOf(first);
    const order = [...circle.slice(turn), ...circle.slice(0, turn), first];
    const names = order.map((index) => groups[index]?.name ?? "");
    faults.push(
      faultAt(site, ["groups", first, "parent"], {
        message: oneLine(`The parents go in a circle: ${names.join(" → ")}`),
        advice: "Remove the parent of one of them",
      }),
    );
  }
  return faults;
}
