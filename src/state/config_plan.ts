/**
 * A plan: operations on the configuration, validated, with the text and the configuration they lead to.
 *
 * Owns which operations there are and how a batch of them becomes one change. Invariants: pure but for the time of day —
 * nothing is written, started or told; operations count in order, each sees what those before it did; a refused one
 * changes nothing, and is either the answer or, in a lenient plan, listed while the rest goes on. One function an
 * operation, each editing the text, was rejected: fifty switches would read and write the file fifty times.
 */
import { ProxyError } from "../core/errors.ts";
import { editsBetween, mergePatch } from "../lib/json_patch.ts";
import { parseConfig, SETTING_KEYS } from "./config.ts";
import { differenceOf } from "./config_difference.ts";
import { definitionHash } from "./definition.ts";
import { PlanDraft } from "./plan_draft.ts";
import { GroupPlanner } from "./plan_membership.ts";
import { plain, ServerPlanner } from "./plan_servers.ts";
import type { ErrorCode } from "../core/errors.ts";
import type { JsonObject, StartupMode } from "../core/model.ts";
import type { Config } from "../core/settings.ts";
import type { CommitEffects } from "./commits.ts";
import type { Difference } from "./config_difference.ts";
import type { LoadedConfig } from "./loaded_config.ts";
import type { Entry, PlanMemory } from "./plan_draft.ts";
import type { ModeVerb } from "./plan_servers.ts";

/** One step of a plan. Groups go by id, name or slug. */
export type PlanOperation =
  /** An entry as in the file, with `name`. */
  | { readonly op: "add"; readonly server: JsonObject; readonly approve?: boolean | undefined }
  /** A merge patch: maps merge, arrays replace, null removes; a `name` renames. */
  | {
      readonly op: "patch";
      readonly name: string;
      readonly patch: JsonObject;
      readonly approve?: boolean | undefined;
    }
  | { readonly op: "remove"; readonly name: string }
  | { readonly op: "rename"; readonly name: string; readonly to: string }
  | { readonly op: ModeVerb | "approve" | "reject"; readonly name: string }
  | { readonly op: "assign" | "unassign"; readonly name: string; readonly group: string | number }
  | { readonly op: "add_group"; readonly group: JsonObject }
  | { readonly op: "patch_group"; readonly group: string | number; readonly patch: JsonObject }
  /** Its servers leave it; its subgroups move to the group above. */
  | { readonly op: "remove_group"; readonly group: string | number }
  /** A merge patch of the top level, without `mcpServers` and `groups`. */
  | { readonly op: "settings"; readonly patch: JsonObject };

/** An operation that was not done. */
export interface Refusal {
  /** The server it was for; of other operations the group, or `settings`. */
  readonly server: string;
  readonly error: string;
  readonly code: ErrorCode;
  /** Index of the operation. */
  readonly at?: number;
}

/** A validated change. */
export interface Plan {
  /** The next text with its configuration; the one before when nothing changes. */
  readonly loaded: LoadedConfig;
  readonly text: string;
  readonly config: Config;
  /** Whether anything changes, in the file or in the database only. */
  readonly isChange: boolean;
  readonly difference: Difference;
  /** What the database has to learn; there may be some where the text stays. */
  readonly effects: CommitEffects;
  readonly refused: readonly Refusal[];
  /** Servers that were as asked already. */
  readonly unchanged: readonly string[];
  /** Servers that change, by the name they have now. */
  readonly updated: readonly string[];
  /** Servers whose definition is new or changed. */
  readonly trials: readonly string[];
  /** Server → keys of its entry that changed, as in the file. */
  readonly keys?: ReadonlyMap<string, readonly string[]>;
}

/** Options of {@link preparePlan}. */
export interface PlanOptions {
  readonly operations: readonly PlanOperation[];
  /** List what is refused and do the rest. @default false: the first refusal is thrown */
  readonly isLenient?: boolean;
  /** What is known of a server of the file; without it nothing counts as approved. */
  readonly memoryOf: (name: string) => PlanMemory | undefined;
  /** Whether a person with the admin key asks: only then are `approve` and `reject` heard. */
  readonly isByPerson: boolean;
  /** Unix milliseconds, for `updated`. @default Date.now */
  readonly now?: () => number;
}

/**
 * Makes a plan of operations on a configuration.
 *
 * @throws {ProxyError} what the first refused operation is refused for: `SERVER_UNKNOWN`, `SERVER_EXISTS`, `GROUP_UNKNOWN`,
 * `GROUP_EXISTS`, `MODE_REFUSED`, `QUARANTINED`, `ARGUMENTS_INVALID`, `CONFIG_INVALID` with `data.faults`
 */
export function preparePlan(loaded: LoadedConfig, options: PlanOptions): Plan {
  const { operations, isLenient = false, memoryOf, isByPerson, now = Date.now } = options;
  const draft = new PlanDraft(loaded, { memoryOf });
  const planner = new Planner(draft, {
    isByPerson,
    isQuarantineOn: loaded.config.settings.quarantineEnabled,
    now: new Date(now()).toISOString(),
  });
  const refused: Refusal[] = [];
  for (const [at, operation] of operations.entries()) {
    try {
      planner.run(operation);
    } catch (error) {
      if (!isLenient || !(error instanceof ProxyError)) throw error;
      refused.push({ server: subjectOf(operation), error: error.message, code: error.code, at });
    }
  }
  const { loaded: next, keys, renames } = draft.finish();
  const { effects, trials } = effectsOf(draft);
  const { updated, unchanged } = planner;
  return {
    loaded: next,
    text: next.text,
    config: next.config,
    isChange: next !== loaded || hasRows(effects),
    difference: differenceOf(loaded.config, next.config, renames),
    effects,
    refused,
    unchanged: [...unchanged].filter((name) => !updated.has(name)),
    updated: [...updated],
    trials,
    keys,
  };
}

/** A line of what a plan would do. */
export interface PlannedChange {
  readonly server: string;
  readonly kind: "add" | "remove" | "rename" | "change" | "mode";
  /** The name before a rename. */
  readonly from?: string;
  /** Keys of the entry that change; never their values, which may be secret. */
  readonly keys?: readonly string[];
  /** The mode in the file before and after; of a new server there is none before. */
  readonly mode?: { readonly before?: StartupMode; readonly after: StartupMode };
  /** Whether its connection is closed and made anew. */
  readonly restarts: boolean;
}

/** Says what a plan would do, as plain JSON without any value of the file. */
export function describePlan({ difference, refused, unchanged, updated, keys: byServer }: Plan) {
  const {
    added,
    removed,
    restarted,
    updated: changed,
    renamed,
    modes,
    settings,
    restartRequired,
  } = difference;
  const modeOf = new Map<string, PlannedChange["mode"]>([
    ...added.map(({ name, startupMode: after }) => [name, { after }] as const),
    ...modes.map(({ name, before, after }) => [name, { before, after }] as const),
  ]);
  const isRestarted = new Set(restarted.map(({ name }) => name));
  const told = new Set<string>();
  const line = (server: string, kind: PlannedChange["kind"], from?: string): PlannedChange => {
    told.add(server);
    const mode = modeOf.get(server);
    const keys = byServer?.get(server);
    return {
      server,
      kind,
      ...(from !== undefined && { from }),
      ...(keys !== undefined && kind !== "add" && { keys }),
      ...(mode !== undefined && { mode }),
      restarts: isRestarted.has(server),
    };
  };
  const changes = [
    ...added.map(({ name }) => line(name, "add")),
    ...removed.map((name) => line(name, "remove")),
    ...renamed.map(({ to, from }) => line(to, "rename", from)),
    ...[...restarted, ...changed]
      .filter(({ name }) => !told.has(name))
      .map(({ name }) => line(name, "change")),
  ];
  const moved = modes.filter(({ name }) => !told.has(name)).map(({ name }) => line(name, "mode"));
  // Keys the proxy does not know change nothing but the file.
  const silent = [...(byServer?.keys() ?? [])].filter((name) => !told.has(name));
  return {
    changes: [...changes, ...moved, ...silent.map((name) => line(name, "change"))],
    groups: difference.groups,
    settings,
    restart_required: restartRequired,
    updated,
    unchanged,
    refused,
  };
}

/** Runs operations on a draft. */
class Planner {
  readonly updated = new Set<string>();
  readonly unchanged = new Set<string>();
  readonly #draft: PlanDraft;
  readonly #servers: ServerPlanner;
  readonly #groups: GroupPlanner;

  constructor(draft: PlanDraft, rules: ConstructorParameters<typeof ServerPlanner>[1]) {
    this.#draft = draft;
    this.#servers = new ServerPlanner(draft, rules);
    this.#groups = new GroupPlanner(draft, this.#servers);
  }

  run(operation: PlanOperation): void {
    const servers = this.#servers;
    const groups = this.#groups;
    switch (operation.op) {
      case "add":
        return this.#note(servers.add(operation.server, operation), true);
      case "patch": {
        const name = servers.patch(operation.name, operation.patch, operation);
        return this.#note(operation.name, name !== undefined, name);
      }
      case "remove":
        servers.remove(operation.name);
        return this.#note(operation.name, true);
      case "rename":
        return this.#note(operation.name, servers.rename(operation.name, operation.to), operation.to);
      case "approve":
      case "reject":
        return this.#note(operation.name, servers[operation.op](operation.name));
      case "assign":
      case "unassign":
        return this.#note(operation.name, groups[operation.op](operation.name, operation.group));
      case "add_group":
        this.#draft.groups.add(plain(operation.group));
        return undefined;
      case "patch_group":
        return this.#noteAll(groups.patch(operation.group, plain(operation.patch)));
      case "remove_group":
        return this.#noteAll(groups.remove(operation.group));
      case "settings":
        return this.#patchSettings(operation.patch);
      case "enable":
      case "make_lazy":
      case "disable":
      case "quarantine":
      case "auto_disable":
        return this.#note(operation.name, servers.switch(operation.name, operation.op));
    }
  }

  #note(name: string, isUpdated: boolean, now: string = name): void {
    if (!isUpdated) {
      this.unchanged.add(name);
      return;
    }
    if (now !== name) this.updated.delete(name);
    this.updated.add(now);
  }

  #noteAll(names: readonly string[]): void {
    for (const name of names) this.updated.add(name);
  }

  #patchSettings(patch: JsonObject): void {
    const draft = this.#draft;
    const given = plain(patch);
    for (const key of ["mcpServers", "groups"]) {
      if (!Object.hasOwn(given, key)) continue;
      throw new ProxyError("ARGUMENTS_INVALID", `Cannot change '${key}' as a setting`, {
        hint: "Use the operations for servers and groups",
      });
    }
    SETTING_KEYS.assertSpelt(given, { before: draft.top, action: "change the settings" });
    const top = mergePatch(draft.top, given) as Readonly<Record<string, unknown>>;
    if (top === draft.top) return;
    // The file as it would be has the places of what is wrong.
    const { options } = draft.base;
    parseConfig(draft.base.jsonc().edit(editsBetween([], draft.rawTop, top)), options);
    draft.putTop(top);
  }
}

function subjectOf(operation: PlanOperation): string {
  if ("name" in operation) return operation.name;
  if (operation.op === "add") return nameIn(operation.server);
  if (operation.op === "add_group") return nameIn(operation.group);
  return operation.op === "settings" ? operation.op : String(operation.group);
}

function nameIn(value: unknown): string {
  const name = typeof value === "object" && value !== null && "name" in value ? value.name : undefined;
  return typeof name === "string" ? name : "";
}

function hasRows({ renamed, removed, defined, approved, quarantined, cleared }: CommitEffects): boolean {
  const rows = [renamed, removed, defined, approved, quarantined, cleared];
  return rows.some((list) => list !== undefined && list.length > 0);
}

function effectsOf(draft: PlanDraft): {
  readonly effects: CommitEffects;
  readonly trials: readonly string[];
} {
  const entries = draft.touched();
  const pick = <Row>(choose: (entry: Entry) => Row | undefined): Row[] =>
    entries.map(choose).filter((row) => row !== undefined);
  const hashed = ({ name, server }: Entry): readonly (readonly [string, string])[] => [
    [name, definitionHash(server)],
  ];
  const defined = entries.filter(({ learns }) => learns.isDefined === true);
  const effects: CommitEffects = {
    renamed: draft.renamed,
    removed: draft.removed,
    defined: defined.flatMap(hashed),
    approved: entries.filter(({ learns }) => learns.isApproved === true).flatMap(hashed),
    quarantined: pick(({ name, learns: { isQuarantined, formerMode } }) => {
      if (isQuarantined === undefined) return undefined;
      const isNoted = isQuarantined && formerMode !== undefined;
      return isNoted ? ([name, true, formerMode] as const) : ([name, isQuarantined] as const);
    }),
    cleared: pick(({ name, learns }) => (learns.isCleared === true ? name : undefined)),
  };
  return { effects, trials: defined.map(({ name }) => name) };
}
