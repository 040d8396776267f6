/**
 * The whole configuration shown as one document, and taken back changed.
 *
 * Owns what a document that comes back means: the operations that lead from what is shown to it, and all that is wrong
 * with it at once. Invariants: what came back as it was shown is no operation, so nothing is written; a mask means
 * unchanged; a setting that is missing stays, since programs drop keys they do not know (null resets it), a server that is missing goes. Writing
 * the document in the place of the file was rejected: comments, order and references would be lost.
 */
import { ProxyError } from "../core/errors.ts";
import type { Fault, JsonObject, StartupMode } from "../core/model.ts";
import { formatPath } from "../lib/jsonc.ts";
import type { JsonPath } from "../lib/jsonc.ts";
import { isSameJson } from "../lib/json_patch.ts";
import { patchBetween, restoreMasked } from "../lib/masked_json.ts";
import { faultsOf, isSection, parseConfig, SETTING_KEYS } from "../state/config.ts";
import { isList, isRecord } from "../state/config_fault.ts";
import { SERVER_KEYS } from "../state/config_server.ts";
import { describePlan } from "../state/config_plan.ts";
import type { PlanOperation } from "../state/config_plan.ts";
import type { Change, Configuration } from "./configuration.ts";
import { documentOf, ShownDocument, viewConfig } from "./config_view.ts";
import type { ConfigView, Fields, GroupSight, ServerSight } from "./config_view.ts";

/** Something wrong in a document. */
export interface DocumentError {
  /** As in `mcpServers[3].url`. */
  readonly field: string;
  readonly message: string;
  readonly advice: string;
  readonly server?: string;
}

/** What was said of a document. */
export interface DocumentVerdict {
  readonly valid: boolean;
  readonly errors: readonly DocumentError[];
  readonly warnings: readonly string[];
}

/** Options of {@link ConfigDocument.apply}. */
export interface ApplyOptions {
  readonly revision?: number | undefined;
  /** A person's word that new and changed definitions may be started. */
  readonly isApproved?: boolean | undefined;
  readonly isDryRun?: boolean | undefined;
  readonly isByPerson: boolean;
}

/** What {@link ConfigDocument} works with. */
export interface ConfigDocumentDeps {
  readonly configuration: Configuration;
  /** The mode in force. */
  readonly modeOf: (name: string) => StartupMode | undefined;
}

interface Reading {
  readonly operations: readonly PlanOperation[];
  readonly errors: readonly DocumentError[];
  readonly warnings: readonly string[];
}

/** Keys of an entry that the Go proxy leaves out when they are empty. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  "url",
  "command",
  "args",
  "working_dir",
  "env",
  "headers",
  "oauth",
  "isolation",
]);
const WARNINGS_MAX = 50;

/** Shows the configuration, judges documents, and makes one the configuration. */
export class ConfigDocument {
  readonly #deps: ConfigDocumentDeps;
  readonly #shown = new ShownDocument();

  constructor(deps: ConfigDocumentDeps) {
    this.#deps = deps;
  }

  /** The configuration in force as JSON, with its place and number; secrets are masked. */
  async show(): Promise<{ readonly text: string; readonly revision: number }> {
    const { loaded, revision } = this.#deps.configuration;
    const config = await this.#shown.write(loaded, this.#deps.modeOf);
    const path = JSON.stringify(loaded.config.path);
    return { text: `{"config":${config},"config_path":${path},"revision":${revision}}`, revision };
  }

  /** Says all that is wrong with a document; nothing is changed. */
  validate(document: Fields): DocumentVerdict {
    const { errors, warnings } = this.#read(document, {});
    return { valid: errors.length === 0, errors, warnings };
  }

  /**
   * Makes a document the configuration, as one change.
   *
   * @throws {ProxyError} `CONFIG_INVALID` with every fault in `data.errors`, and as {@link Configuration.change} does.
   */
  async apply(document: Fields, options: ApplyOptions) {
    const { configuration } = this.#deps;
    const { operations, errors, warnings } = this.#read(document, options);
    const [first] = errors;
    if (first !== undefined) {
      const more = errors.length === 1 ? "" : ` (and ${errors.length - 1} more)`;
      throw new ProxyError(
        "CONFIG_INVALID",
        `Cannot use the configuration: '${first.field}': ${first.message}${more}`,
        {
          data: { errors },
          hint: first.advice,
        },
      );
    }
    const change = await configuration.change({
      operations,
      revision: options.revision,
      // Without an operation there is nothing to write; the revision is looked at all the same.
      isDryRun: options.isDryRun === true || operations.length === 0,
      isByPerson: options.isByPerson,
    });
    return { ...resultOf(change), warnings };
  }

  #view(): ConfigView {
    return viewConfig(this.#deps.configuration.loaded, this.#deps.modeOf);
  }

  #read(document: Fields, { isApproved }: Pick<ApplyOptions, "isApproved">): Reading {
    const view = this.#view();
    // The usual case of a page that saves what it loaded: nothing has to be read anew.
    if (isSameJson(document, documentOf(view, "shown"))) return { operations: [], errors: [], warnings: [] };
    const reader = new DocumentReader(view, isApproved);
    const plain = reader.read(document);
    const { path, home } = this.#deps.configuration.loaded.options;
    const judge = (whole: Fields): readonly Fault[] => faultsIn(whole, { path, home });
    const keyOf = ({ server = "", key, message }: Fault): string =>
      `${server} ${key.replace(/^mcpServers\[\d+\]/, "")} ${message}`;
    const faults = judge(plain);
    // What is wrong in the file already is not the fault of this document.
    const old = faults.length === 0 ? new Set() : new Set(judge(documentOf(view, "plain")).map(keyOf));
    const fresh = faults.filter((fault) => !old.has(keyOf(fault)));
    const told = fresh.map(({ key, message, advice, server }): DocumentError => ({
      field: key,
      message,
      advice,
      ...(server !== undefined && { server }),
    }));
    const { operations, warnings } = reader;
    return { operations, warnings, errors: [...reader.errors, ...told] };
  }
}

/** Reads a document against what is shown. */
class DocumentReader {
  readonly operations: PlanOperation[] = [];
  readonly errors: DocumentError[] = [];
  readonly warnings: string[] = [];
  readonly #view: ConfigView;
  /** Those without a usable one under undefined. */
  readonly #byName: ReadonlyMap<unknown, readonly ServerSight[]>;
  readonly #approval: { readonly approve?: boolean };

  constructor(view: ConfigView, isApproved: boolean | undefined) {
    this.#view = view;
    this.#byName = Map.groupBy(view.servers, ({ shown }) => nameIn(shown));
    this.#approval = isApproved === undefined ? {} : { approve: isApproved };
  }

  /** Notes operations and errors; returns the document with its secrets. */
  read(document: Fields): Fields {
    const { mcpServers, groups, ...top } = document;
    const plainTop = this.#readTop(top);
    const late: PlanOperation[] = [];
    const plainGroups = this.#readGroups(groups, late);
    const servers = this.#readServers(mcpServers);
    this.operations.push(...late);
    return { ...plainTop, groups: plainGroups, mcpServers: servers };
  }

  #fault(path: JsonPath, message: string, advice: string): void {
    this.errors.push({ field: formatPath(path), message, advice });
  }

  #restore(
    given: unknown,
    sight: { readonly shown: unknown; readonly plain: unknown },
    path: JsonPath,
  ): unknown {
    const onMask = (at: JsonPath): void =>
      this.#fault(
        at,
        "'***' stands for a secret that is not known here",
        "Write the value, or a reference such as ${env:NAME}",
      );
    return restoreMasked(given, { ...sight, path, onMask });
  }

  #readTop(given: Fields): Fields {
    const { top, rawTop } = this.#view;
    const plain = this.#restore(given, top, []) as Fields;
    const { registries: before, ...rest } = top.plain;
    const { registries: after, ...wanted } = plain;
    // Programs drop settings they do not know; an object that is sent is meant as it is.
    const isRemoved = ([key = "", part, ...below]: JsonPath): boolean =>
      isSection(String(key))
        ? (part === "custom_vars" || part === "headers") && below.length > 0
        : part !== undefined;
    const patch = patchBetween(rest, wanted, { path: [], isRemoved }) ?? {};
    const listed =
      isList(after) && isList(before) ? registriesToWrite(after, before, rawTop["registries"]) : after;
    const isSame =
      after === undefined || isSameJson(after, before) || isSameJson(listed, rawTop["registries"] ?? []);
    const whole = isSame ? patch : { ...patch, registries: listed };
    for (const key of Object.keys(whole)) {
      const meant = Object.hasOwn(top.plain, key) ? undefined : SETTING_KEYS.nearMiss(key);
      if (meant !== undefined) this.#fault([key], "The key is unknown", `Did you mean '${meant}'?`);
    }
    if (Object.keys(whole).length > 0) this.operations.push({ op: "settings", patch: whole as JsonObject });
    const missing = Object.keys(rawTop).filter((key) => !Object.hasOwn(given, key));
    for (const key of missing.slice(0, WARNINGS_MAX))
      this.warnings.push(`'${key}' is missing and stays as it is; null resets it`);
    return { ...rest, ...wanted, registries: isSame ? (rawTop["registries"] ?? []) : listed };
  }

  #readGroups(given: unknown, late: PlanOperation[]): unknown {
    const { groups } = this.#view;
    if (given === undefined) return groups.map(({ plain }) => plain);
    if (!isList(given)) return given;
    const left = new Map(groups.map((group) => [group.id, group]));
    const added: PlanOperation[] = [];
    const moved: PlanOperation[] = [];
    for (const group of given.filter(isRecord)) {
      const known = groupOf(group, left);
      if (known === undefined) {
        added.push({ op: "add_group", group: group as JsonObject });
        continue;
      }
      left.delete(known.id);
      const patch = patchBetween(known.plain, group, { path: ["groups"], isRemoved: () => false }) ?? {};
      if (Object.keys(patch).length === 0) continue;
      // A new name is free before another group takes it; a new parent has to be there.
      const list = Object.hasOwn(patch, "parent") ? moved : this.operations;
      list.push({ op: "patch_group", group: known.id, patch: patch as JsonObject });
    }
    this.operations.push(...parentsFirst(added), ...moved);
    for (const id of left.keys()) late.push({ op: "remove_group", group: id });
    return given;
  }

  #readServers(given: unknown): unknown {
    const list = isRecord(given)
      ? Object.entries(given).map(([name, value]) => (isRecord(value) ? { ...value, name } : value))
      : given;
    if (!isList(list)) {
      this.#fault(
        ["mcpServers"],
        "The servers are missing",
        "Send the whole document; [] removes all servers",
      );
      return given;
    }
    const left = new Set(this.#view.servers);
    const changes: PlanOperation[] = [];
    const seen = new Set<string>();
    const plain = list.map((item, index) => this.#readServer(item, { index, left, seen, changes }));
    for (const { name, isReached } of left) {
      if (isReached) this.operations.push({ op: "remove", name });
      else if (seen.has(name)) this.warnings.push(`A second entry named '${name}' stays in the file`);
    }
    this.operations.push(...changes);
    return plain;
  }

  #readServer(
    item: unknown,
    parts: {
      readonly index: number;
      readonly left: Set<ServerSight>;
      readonly seen: Set<string>;
      readonly changes: PlanOperation[];
    },
  ): unknown {
    const { index, left, seen, changes } = parts;
    const path: JsonPath = ["mcpServers", index];
    const name = isRecord(item) && typeof item["name"] === "string" ? item["name"] : undefined;
    const candidates = (this.#byName.get(name) ?? []).filter((one) => left.has(one));
    const same = candidates.find(({ shown }) => isSameJson(shown, item));
    const known = same ?? (name === undefined ? undefined : candidates.find(({ isReached }) => isReached));
    if (known !== undefined) left.delete(known);
    if (name !== undefined && seen.has(name) && same === undefined)
      this.#fault(
        [...path, "name"],
        `The name '${name}' stands a second time`,
        "Give one of the two another name",
      );
    if (name !== undefined) seen.add(name);
    if (same !== undefined) return same.plain;
    if (!isRecord(item) || name === undefined) {
      if (isRecord(item)) this.#fault([...path, "name"], "The server has no name", 'Add "name": "…"');
      return item;
    }
    if (known !== undefined) return this.#patchServer(known, item, { path, changes });
    const plain = this.#restore(item, { shown: undefined, plain: undefined }, path) as JsonObject;
    this.#checkKeys(plain, {}, path);
    changes.push({ op: "add", server: plain, ...this.#approval });
    return plain;
  }

  #patchServer(
    { name, shown, plain, raw }: ServerSight,
    given: Fields,
    { path, changes }: { readonly path: JsonPath; readonly changes: PlanOperation[] },
  ): Fields {
    const before = isRecord(plain) ? plain : {};
    const wanted = this.#restore(given, { shown, plain }, path) as Fields;
    const inFile = isRecord(raw) ? raw : {};
    const isRemoved = ([, , key = "", ...below]: JsonPath): boolean =>
      below.length > 0 || (LEFT_OUT.has(String(key)) && Object.hasOwn(inFile, String(key)));
    const patch = patchBetween(before, wanted, { path, isRemoved }) ?? {};
    const isReleased =
      this.#approval.approve === true && before["quarantined"] === true && patch["quarantined"] === false;
    if (isReleased) changes.push({ op: "approve", name });
    const rest = isReleased
      ? Object.fromEntries(Object.entries(patch).filter(([key]) => key !== "quarantined"))
      : patch;
    this.#checkKeys(rest, before, path);
    if (Object.keys(rest).length > 0)
      changes.push({ op: "patch", name, patch: rest as JsonObject, ...this.#approval });
    return { ...before, ...wanted };
  }

  #checkKeys(given: Fields, before: Fields, path: JsonPath): void {
    for (const [key, value] of Object.entries(given)) {
      const meant = value === null || Object.hasOwn(before, key) ? undefined : SERVER_KEYS.nearMiss(key);
      if (meant !== undefined) this.#fault([...path, key], "The key is unknown", `Did you mean '${meant}'?`);
    }
  }
}

/** What became of a document, in the words of the Go proxy. */
function resultOf({ plan, revision, warning }: Change) {
  const { settings, restartRequired, groups } = plan.difference;
  const { changes } = describePlan(plan);
  const hasGroups = Object.values(groups).some((ids) => ids.length > 0);
  const needsRestart = restartRequired.length > 0;
  const verb = restartRequired.length === 1 ? "takes" : "take";
  return {
    success: true,
    applied_immediately: !needsRestart,
    requires_restart: needsRestart,
    ...(needsRestart && { restart_reason: `${restartRequired.join(", ")} ${verb} effect at the next start` }),
    changed_fields: [
      ...settings,
      ...(changes.length > 0 ? ["mcpServers"] : []),
      ...(hasGroups ? ["groups"] : []),
    ],
    changes,
    revision,
    ...(warning !== undefined && { warning }),
  };
}

/** Every fault of a document, those of single servers too. */
function faultsIn(
  document: Fields,
  options: { readonly path: string; readonly home?: string | undefined },
): readonly Fault[] {
  try {
    return parseConfig(JSON.stringify(document), options).faults;
  } catch (error) {
    const faults = faultsOf(error);
    if (faults.length === 0) throw error;
    return faults;
  }
}

/** The known ones stay out of the file; those of the file stay as they are written. */
function registriesToWrite(
  wanted: readonly unknown[],
  shown: readonly unknown[],
  raw: unknown,
): readonly unknown[] {
  const inFile = new Map(
    (isList(raw) ? raw : []).flatMap((one) => (isRecord(one) ? [[one["id"], one] as const] : [])),
  );
  return wanted.flatMap((registry) => {
    const isShown = shown.some((one) => isSameJson(one, registry));
    if (!isShown) return [registry];
    const own = isRecord(registry) ? inFile.get(registry["id"]) : undefined;
    return own === undefined ? [] : [own];
  });
}

function groupOf(given: Fields, left: ReadonlyMap<number, GroupSight>): GroupSight | undefined {
  const { id, name } = given;
  if (typeof id === "number") return left.get(id);
  return [...left.values()].find((group) => group.plain["name"] === name);
}

/** A new group may stand before the new one it belongs to. */
function parentsFirst(added: readonly PlanOperation[]): PlanOperation[] {
  const sorted: PlanOperation[] = [];
  const waiting = [...added];
  const wordsOf = (one: PlanOperation): unknown[] =>
    one.op === "add_group" ? [one.group["name"], one.group["id"]] : [];
  while (waiting.length > 0) {
    const at = waiting.findIndex(
      (one) =>
        one.op === "add_group" &&
        (one.group["parent"] === undefined ||
          !waiting.some((other) => other !== one && wordsOf(other).includes(one.group["parent"]))),
    );
    sorted.push(...waiting.splice(Math.max(0, at), 1));
  }
  return sorted;
}

function nameIn(value: unknown): string | undefined {
  return isRecord(value) && typeof value["name"] === "string" ? value["name"] : undefined;
}
