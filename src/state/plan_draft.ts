/**
 * A configuration on its way to become another one.
 *
 * Owns the entries and groups as the operations so far left them, and turns them into edits of the text and a new
 * configuration. Invariants: nothing given is changed; only what was touched is read and validated again; the new text
 * is parsed once and says what was meant, or nothing comes out; an operation that is refused leaves no trace, since it
 * puts its results here last. Reading the whole new text each time was rejected: it is five times the time of the write.
 */
import { homedir } from "node:os";
import { ProxyError } from "../core/errors.ts";
import { editsBetween, isSameJson } from "../lib/json_patch.ts";
import { parseJsonc } from "../lib/jsonc.ts";
import { nearestWord } from "../lib/nearest.ts";
import { invalidConfig, parseConfig } from "./config.ts";
import { isList, isRecord } from "./config_fault.ts";
import { readServer } from "./config_server.ts";
import { LoadedConfig } from "./loaded_config.ts";
import { DraftGroups } from "./plan_groups.ts";
import type { Fault, Finding, Server, StartupMode } from "../core/model.ts";
import type { Config } from "../core/settings.ts";
import type { JsoncEdit, JsoncText } from "../lib/jsonc_text.ts";
import type { FaultSite } from "./config_fault.ts";
import type { RawServer, ReadServer } from "./config_server.ts";
import type { FileEntry, LoadedParts } from "./loaded_config.ts";
import type { RawEntry } from "./plan_modes.ts";

/** What the database and the running upstreams know of a server. */
export interface PlanMemory {
  /** The mode in force. */
  readonly mode: StartupMode;
  readonly definitionHash?: string | undefined;
  /** The definition a person approved. */
  readonly approvedHash?: string | undefined;
  /** The mode before quarantine or auto-disable. */
  readonly formerMode?: StartupMode | undefined;
}

/** A server as the operations so far left it. */
export interface Entry {
  readonly name: string;
  /** Its name in the file; absent for a new one. */
  readonly origin?: string;
  /** Its key or index in the file. */
  readonly step?: string | number;
  /** As it stands in the file. */
  readonly before: unknown;
  readonly value: unknown;
  readonly server: Server;
  /** Absent while those of the file hold. */
  readonly findings?: readonly Finding[];
  /** The mode in force. */
  readonly mode: StartupMode;
  readonly approvedHash?: string | undefined;
  /** The mode to go back to after a quarantine. */
  readonly formerMode?: StartupMode | undefined;
  /** What the database has to learn. */
  readonly learns: {
    readonly isDefined?: boolean;
    readonly isApproved?: boolean;
    readonly isQuarantined?: boolean;
    readonly isCleared?: boolean;
    readonly formerMode?: StartupMode;
  };
}

/** Options of {@link PlanDraft}. */
export interface DraftOptions {
  readonly memoryOf: (name: string) => PlanMemory | undefined;
}

/** What came out of a draft. */
export interface Finished {
  readonly loaded: LoadedConfig;
  /** Server → keys of its entry that changed, as in the file. */
  readonly keys: ReadonlyMap<string, readonly string[]>;
  /** Each from its name in the file to its name now. */
  readonly renames: readonly (readonly [from: string, to: string])[];
}

const FILE_SIZE_MAX_BYTES = 50 * 1024 * 1024;
const BYTES_PER_UNIT_MAX = 3;
/** Where a fault is looked up only when there is one. */
const NOWHERE = { line: 1, column: 1 };

/** Collects what operations do. */
export class PlanDraft {
  readonly base: LoadedConfig;
  readonly isMap: boolean;
  readonly groups: DraftGroups;
  /** In the order the database takes them. */
  readonly renamed: (readonly [from: string, to: string])[] = [];
  readonly removed: string[] = [];
  readonly #options: DraftOptions;
  readonly #home: string;
  /** By the name they have now. */
  readonly #entries = new Map<string, Entry>();
  /** Names of the file that belong to no untouched entry any more. */
  readonly #taken = new Set<string>();
  readonly #removedSteps = new Map<string | number, string>();
  readonly #shadowed: ReadonlyMap<string, string>;
  /** The file as it is. */
  readonly #raw: RawEntry;
  /** The top-level values of the file without servers and groups. */
  readonly rawTop: RawEntry;
  #top: RawEntry;

  constructor(base: LoadedConfig, options: DraftOptions) {
    this.base = base;
    this.#options = options;
    this.#home = base.options.home ?? homedir();
    this.isMap = base.isMap;
    const raw = base.jsonc().value;
    this.#raw = isRecord(raw) ? raw : {};
    const { mcpServers: _servers, groups: _groups, ...top } = this.#raw;
    this.rawTop = this.#top = top;
    this.groups = new DraftGroups(base);
    this.#shadowed = new Map(
      base.config.findings.flatMap(({ code, server, message }) =>
        code === "SERVER_DUPLICATE" && server !== undefined ? [[server, message] as const] : [],
      ),
    );
  }

  /** The top-level values without servers and groups. */
  get top(): RawEntry {
    return this.#top;
  }

  /** The entry of a server by its name now. */
  find(name: string): Entry | undefined {
    const own = this.#entries.get(name);
    if (own !== undefined || this.#taken.has(name)) return own;
    const found = this.base.entries().get(name);
    if (found === undefined) return undefined;
    const { step, value, server } = found;
    const memory = this.#options.memoryOf(name);
    return {
      name,
      origin: name,
      step,
      before: value,
      value,
      server,
      mode: memory?.mode ?? server.startupMode,
      approvedHash: memory?.approvedHash,
      formerMode: memory?.formerMode,
      learns: {},
    };
  }

  /** @throws {ProxyError} `SERVER_UNKNOWN` with the name that was probably meant */
  get(name: string): Entry {
    const entry = this.find(name);
    if (entry !== undefined) return entry;
    const meant = nearestWord(name, this.base.entries().keys());
    throw new ProxyError("SERVER_UNKNOWN", `Cannot find a server named '${name}'`, {
      hint: meant === undefined ? "Run mcpproxy status" : `Did you mean '${meant}'?`,
    });
  }

  /** All entries there are now; those of the file first. */
  *all(): Generator<Entry> {
    for (const name of this.base.entries().keys()) {
      const entry = this.#entries.get(name) ?? this.find(name);
      if (entry !== undefined) yield entry;
    }
    for (const entry of this.#entries.values()) if (entry.origin !== entry.name) yield entry;
  }

  /** The entries that operations looked into the database for or changed. */
  touched(): readonly Entry[] {
    return [...this.#entries.values()];
  }

  /** Takes an entry as it is now. */
  put(entry: Entry): void {
    this.#entries.set(entry.name, entry);
  }

  /** Gives an entry another name; `entry` has the new one already. */
  rename(from: string, entry: Entry): void {
    this.#entries.delete(from);
    this.#taken.add(from);
    this.#entries.set(entry.name, entry);
    if (entry.origin !== undefined) this.renamed.push([from, entry.name]);
  }

  /** Takes an entry out. */
  remove(entry: Entry): void {
    this.#entries.delete(entry.name);
    this.#taken.add(entry.name);
    if (entry.step === undefined || entry.origin === undefined) return;
    this.#removedSteps.set(entry.step, entry.origin);
    this.removed.push(entry.name);
  }

  /** Puts settings in the place of those of the file. */
  putTop(top: RawEntry): void {
    this.#top = top;
  }

  /** Whether a name of the file was given up by a rename. */
  isGivenUp(name: string): boolean {
    return this.renamed.some(([from]) => from === name);
  }

  /** What keeps an entry from leaving its name: another one that would come to life under it. */
  shadowOf(entry: Entry): string | undefined {
    return entry.origin === undefined ? undefined : this.#shadowed.get(entry.origin);
  }

  /**
   * Reads an entry with a new value.
   *
   * @throws {ProxyError} `CONFIG_INVALID` when it has faults it did not have before
   */
  read(entry: Pick<Entry, "step" | "name"> & { readonly server?: Server }, value: unknown): ReadServer {
    const read = this.#readAt(entry, value, { place: () => NOWHERE });
    const old = new Set(entry.server?.faults.map((fault) => `${fault.key} ${fault.message}`));
    const isNew = (fault: Fault): boolean => !old.has(`${fault.key} ${fault.message}`);
    if (!read.server.faults.some(isNew)) return read;
    const { faults } = this.#readAt(entry, value, parseJsonc(this.base.text)).server;
    throw invalidConfig(this.base.config.path, faults.filter(isNew));
  }

  /** Edits the text and reads what changed; the base itself when nothing did. */
  finish(): Finished {
    const edits = this.#edits();
    const { base } = this;
    const renames = [...this.#entries.values()].flatMap(({ origin, name }) =>
      origin === undefined || origin === name ? [] : [[origin, name] as const],
    );
    if (edits.length === 0) return { loaded: base, keys: new Map(), renames };
    const { text, next, isInPlace } = base.jsonc().edited(edits);
    checkSize(text, base.config.path);
    const expected = this.#expected();
    // What was not read again is as it was, byte for byte, and so is its value.
    const isMeant = next !== undefined && isSameJson(next.value, expected);
    const said = isMeant ? (next.value as RawEntry) : checkedValue(text, { expected, isPlain: base.isPlain });
    const isWhole = this.#needsWhole();
    const config = isWhole ? parseConfig(text, base.options) : this.#configOf(said["mcpServers"]);
    const hasPlaces = config.faults.length > 0 || config.findings.length > 0;
    const isStale = !isWhole && (base.isStale || (hasPlaces && !(isInPlace && this.#keepsFindings())));
    const parts = { config, options: base.options, isStale, ...plainAs(base) };
    const isCarried = isMeant && !isWhole && renames.length === 0;
    const carried = isCarried ? { base, jsonc: next, touched: this.touched() } : undefined;
    return {
      loaded: carried === undefined ? new LoadedConfig(text, parts) : new NextConfig(text, parts, carried),
      keys: this.#keysOf(edits),
      renames,
    };
  }

  /** Whether no entry was read without its place in the file. */
  #keepsFindings(): boolean {
    return [...this.#entries.values()].every(({ findings = [] }) => findings.length === 0);
  }

  #readAt(
    { step, name }: Pick<Entry, "step" | "name">,
    value: unknown,
    document: FaultSite["document"],
  ): ReadServer {
    const site: FaultSite = { file: this.base.config.path, document };
    const raw: RawServer = {
      value,
      index: typeof step === "number" ? step : this.base.entries().size,
      ...(this.isMap && { key: name }),
    };
    return readServer(raw, { site, home: this.#home, groups: this.groups.words });
  }

  #edits(): JsoncEdit[] {
    const entries = [...this.#entries.values()];
    const edits: JsoncEdit[] = [];
    const fresh = entries.filter(({ step }) => step === undefined);
    for (const [step, origin] of this.#removedSteps) {
      // A new entry under the key takes the place of the old one.
      const isReplaced = this.isMap && fresh.some(({ name }) => name === origin);
      if (!isReplaced) edits.push({ kind: "remove", path: ["mcpServers", step] });
    }
    for (const { step, origin, name, before, value } of entries) {
      if (step === undefined) continue;
      const path = ["mcpServers", step];
      edits.push(...editsBetween(path, before, value));
      if (this.isMap && name !== origin) edits.push({ kind: "rename", path, key: name });
    }
    for (const { name, value } of fresh) {
      if (this.isMap) edits.push({ kind: "set", path: ["mcpServers", name], value });
      else edits.push({ kind: "append", path: ["mcpServers"], value });
    }
    return [...edits, ...editsBetween([], this.rawTop, this.#top), ...this.groups.edits()];
  }

  /** The value the new text must have. */
  #expected(): RawEntry {
    const before = this.#raw;
    const expected = new Map(Object.entries(this.#top));
    const groups = this.groups.expected(Object.hasOwn(before, "groups") ? before["groups"] : undefined);
    if (groups !== undefined) expected.set("groups", groups);
    const servers = this.#expectedServers(
      Object.hasOwn(before, "mcpServers") ? before["mcpServers"] : undefined,
    );
    if (servers !== undefined) expected.set("mcpServers", servers);
    return Object.fromEntries(expected);
  }

  #expectedServers(before: unknown): unknown {
    const byStep = new Map([...this.#entries.values()].map((entry) => [entry.step, entry]));
    const fresh = [...this.#entries.values()].filter(({ step }) => step === undefined);
    if (isList(before) && this.#removedSteps.size === 0) {
      const all = [...before, ...fresh.map(({ value }) => value)];
      for (const { step, value } of this.#entries.values()) if (typeof step === "number") all[step] = value;
      return all;
    }
    if (isList(before)) {
      const kept = before.flatMap((value, index) => {
        if (this.#removedSteps.has(index)) return [];
        const own = byStep.get(index);
        return [own === undefined ? value : own.value];
      });
      return [...kept, ...fresh.map(({ value }) => value)];
    }
    if (!isRecord(before)) return fresh.length === 0 ? before : fresh.map(({ value }) => value);
    const kept = Object.entries(before).flatMap(([key, value]): [string, unknown][] => {
      const own = byStep.get(key);
      if (own !== undefined) return [[own.name, own.value]];
      const replaced = fresh.find(({ name }) => name === key);
      if (this.#removedSteps.has(key) && replaced === undefined) return [];
      return [[key, replaced === undefined ? value : replaced.value]];
    });
    return Object.fromEntries([...kept, ...fresh.map(({ name, value }) => [name, value] as const)]);
  }

  /** Whether a change reaches further than the entries it touched. */
  #needsWhole(): boolean {
    if (this.#top !== this.rawTop || this.groups.isReached) return true;
    const { config } = this.base;
    const entries = [...this.#entries.values()];
    // A key that stands twice is a fault only the text can tell.
    if (entries.some(({ origin }) => origin !== undefined && this.#faultsOf(origin) > 0)) return true;
    const isMoved = this.#removedSteps.size > 0 || entries.some(({ origin, name }) => origin !== name);
    return isMoved && (config.faults.length > 0 || this.#shadowed.size > 0);
  }

  #faultsOf(origin: string): number {
    return this.base.entries().get(origin)?.server.faults.length ?? 0;
  }

  #configOf(raw: unknown): Config {
    const { config } = this.base;
    const now = new Map([...this.#entries.values()].map((entry) => [entry.origin, entry.server]));
    const kept = config.servers
      .filter(({ name }) => now.has(name) || !this.#taken.has(name))
      .map((server) => now.get(server.name) ?? server);
    const fresh = [...this.#entries.values()].filter(({ origin }) => origin === undefined);
    const all = [...kept, ...fresh.map(({ server }) => server)];
    const servers =
      isRecord(raw) && (fresh.length > 0 || this.renamed.length > 0) ? inOrderOf(raw, all) : all;
    const read = [...this.#entries.values()].filter(({ findings }) => findings !== undefined);
    const touched = new Set([...this.#taken, ...read.map(({ origin }) => origin)]);
    const isKept = ({ server, code }: Finding): boolean =>
      server === undefined || code === "SERVER_DUPLICATE" || !touched.has(server);
    const findings = [...config.findings.filter(isKept), ...read.flatMap((entry) => entry.findings ?? [])];
    return {
      ...config,
      settings: this.groups.isChanged
        ? { ...config.settings, groups: this.groups.definitions }
        : config.settings,
      servers,
      faults: config.faults.length === 0 ? config.faults : servers.flatMap(({ faults }) => faults),
      findings,
    };
  }

  #keysOf(edits: readonly JsoncEdit[]): Map<string, string[]> {
    const names = new Map([...this.#entries.values()].map((entry) => [entry.step, entry.name]));
    const keys = new Map<string, string[]>();
    for (const { kind, path } of edits) {
      const [root, step, key] = path;
      const name = root === "mcpServers" && step !== undefined ? names.get(step) : undefined;
      if (name === undefined) continue;
      const changed = kind === "rename" ? "name" : key === undefined ? undefined : String(key);
      const known = keys.get(name) ?? [];
      if (changed !== undefined && !known.includes(changed)) keys.set(name, [...known, changed]);
    }
    return keys;
  }
}

/** What a plan knows of the text it made. */
interface Carried {
  readonly base: LoadedConfig;
  readonly jsonc: JsoncText;
  readonly touched: readonly Entry[];
}

/** A configuration of which all is known but what was touched: nothing is read again for the next change. */
class NextConfig extends LoadedConfig {
  readonly #next: JsoncText;
  /** Until the entries are made of it. */
  #carried: Carried | undefined;
  #known: ReadonlyMap<string, FileEntry> | undefined;

  constructor(text: string, parts: LoadedParts, carried: Carried) {
    super(text, parts);
    this.#next = carried.jsonc;
    this.#carried = carried;
  }

  override jsonc(): JsoncText {
    return this.#next;
  }

  override entries(): ReadonlyMap<string, FileEntry> {
    if (this.#carried !== undefined) this.#known = entriesAfter(this.#carried);
    this.#carried = undefined;
    return this.#known ?? super.entries();
  }

  override warm(): void {
    const { isStale } = this;
    super.warm();
    // Its servers were read anew.
    if (isStale) this.#known = undefined;
  }
}

/** The entries of a text in which some have another value, and all the same names. */
function entriesAfter({ base, jsonc, touched }: Carried): ReadonlyMap<string, FileEntry> {
  const { mcpServers } = jsonc.value as { readonly mcpServers: Readonly<Record<string | number, unknown>> };
  const entries = new Map(base.entries());
  for (const { name, step, server } of touched)
    if (step !== undefined) entries.set(name, { step, value: mcpServers[step], server });
  return entries;
}

/** JavaScript lists keys that are whole numbers first; so does reading the file. */
function inOrderOf(raw: RawEntry, servers: readonly Server[]): Server[] {
  const byName = new Map(servers.map((server) => [server.name, server]));
  return Object.keys(raw).flatMap((name) => byName.get(name) ?? []);
}

function checkSize(text: string, path: string): void {
  if (text.length * BYTES_PER_UNIT_MAX <= FILE_SIZE_MAX_BYTES) return;
  if (Buffer.byteLength(text) <= FILE_SIZE_MAX_BYTES) return;
  const megabytes = FILE_SIZE_MAX_BYTES / 1024 / 1024;
  throw new ProxyError(
    "CONFIG_INVALID",
    `Cannot change configuration '${path}': it would be larger than ${megabytes} MB`,
    { hint: "Remove servers, or split the change" },
  );
}

/** The net under the splice: what is about to be written says what was meant. Returns it, in the order of the text. */
function checkedValue(
  text: string,
  { expected, isPlain }: { readonly expected: RawEntry; readonly isPlain: boolean },
): RawEntry {
  const source = text.codePointAt(0) === 0xfeff ? text.slice(1) : text;
  const isMeant = (value: unknown): value is RawEntry => isSameJson(value, expected);
  try {
    const value: unknown = isPlain ? JSON.parse(source) : Bun.JSONC.parse(source);
    if (isMeant(value)) return value;
  } catch {
    // It is looked at once more by the slower reader, which takes the first of two equal keys.
  }
  const { value } = parseJsonc(source);
  if (isMeant(value)) return value;
  throw new ProxyError(
    "INTERNAL",
    "Cannot change the configuration: the edited text would not say what was asked",
    { hint: "Edit the file by hand; it is read at once" },
  );
}

/** What was plain stays so: an edit writes no comments. */
function plainAs({ isPlain }: LoadedConfig): { readonly isPlain?: true } {
  return isPlain ? { isPlain } : {};
}
