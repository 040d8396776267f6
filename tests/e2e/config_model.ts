/**
 * What operations, edits by hand and starts mean, on plain values.
 *
 * Owns a second reading of the rules (SPEC §1–§4) that shares nothing with the code under test: no text, no plan, no edits.
 * Things are known by their `x_id`, an unknown key. Invariant: a state is never changed, a step gives another one. The mode behind a
 * quarantine that only the process under test remembers is `open` here until it is seen.
 */
type Fields = Readonly<Record<string, unknown>>;
/** A startup mode, or one that is not known. */
export type Mode = "active" | "lazy_loading" | "disabled" | "quarantined" | "auto_disabled" | "open";

/** An operation as it is sent. */
export type Operation = { readonly op: string } & Readonly<Record<string, unknown>>;

/** A request as it is sent. */
export interface ModelRequest {
  readonly operations: readonly Operation[];
  readonly isLenient: boolean;
  readonly isByPerson: boolean;
}

interface ModelServer {
  readonly id: string;
  readonly name: string;
  /** Without what says the mode, the groups, the name and the time. */
  readonly rest: Fields;
  readonly mode: Mode;
  /** By their `x_id`; of one that is not there the word. */
  readonly groups: ReadonlySet<string>;
}

interface Row {
  readonly defined?: string | undefined;
  readonly approved?: string | undefined;
  readonly isHeld: boolean;
}

/** What the file says. */
export interface Meaning {
  readonly isMap: boolean;
  readonly servers: ReadonlyMap<string, ModelServer>;
  readonly groups: ReadonlyMap<
    string,
    { readonly name: string; readonly number: number; readonly rest: Fields }
  >;
  readonly top: Fields;
}

/** File, database, and the modes in force. */
export interface ModelState extends Meaning {
  readonly rows: ReadonlyMap<string, Row>;
  readonly inForce: ReadonlyMap<string, Mode>;
}

const MODE_KEYS = [
  "startup_mode",
  "enabled",
  "disabled",
  "stopped",
  "quarantined",
  "auto_disabled",
  "start_on_boot",
];
const APART = new Set([...MODE_KEYS, "name", "updated", "group_id", "groups"]);
const MOVES: Readonly<Record<Mode, readonly Mode[]>> = {
  active: ["lazy_loading", "disabled", "auto_disabled", "quarantined"],
  lazy_loading: ["active", "disabled", "auto_disabled", "quarantined"],
  disabled: ["active", "lazy_loading", "quarantined"],
  auto_disabled: ["active", "lazy_loading", "disabled", "quarantined"],
  quarantined: [],
  open: ["active", "lazy_loading", "disabled", "quarantined"],
};
const TARGETS: Readonly<Record<string, Mode>> = {
  enable: "active",
  make_lazy: "lazy_loading",
  disable: "disabled",
  quarantine: "quarantined",
  auto_disable: "auto_disabled",
};
/** Reads what a text means. */
export function readMeaning(text: string): Meaning {
  const value = Bun.JSONC.parse(text.replace(/^\ufeff/, "")) as Fields;
  const { mcpServers, groups: given = [], ...top } = value;
  const list = given as readonly (Fields & { readonly name: string; readonly id: number })[];
  const groups = new Map(
    list.map(({ name, id, ...rest }) => [String(rest["x_id"]), { name, number: id, rest }] as const),
  );
  const isMap = !Array.isArray(mcpServers);
  const entries = isMap
    ? Object.entries(mcpServers as Record<string, Fields>)
    : (mcpServers as Fields[]).map((entry) => [String(entry["name"]), entry] as const);
  const servers = entries.map(([name, entry]): [string, ModelServer] => {
    const words = [entry["group_id"], ...((entry["groups"] ?? []) as unknown[])];
    const rest = Object.fromEntries(Object.entries(entry).filter(([key]) => !APART.has(key)));
    return [
      name,
      { id: String(entry["x_id"]), name, rest, mode: modeOf(entry), groups: new Set(words.flatMap(wordOf)) },
    ];
  });
  return { isMap, servers: inGroups(new Map(servers), groups), groups, top };
}

/** A word for a group that is looked up yet. */
function wordOf(word: unknown): string[] {
  return typeof word === "string" || typeof word === "number" ? [`word ${word}`] : [];
}

/** A word for a group that is not there means the one that comes. */
function inGroups(
  servers: ReadonlyMap<string, ModelServer>,
  groups: Meaning["groups"],
): Map<string, ModelServer> {
  const byWord = new Map<string, string>();
  for (const [id, { name, number }] of groups) {
    byWord.set(`word ${name}`, id);
    byWord.set(`word ${number}`, id);
  }
  return new Map(
    [...servers].map(([name, server]) => [
      name,
      { ...server, groups: new Set([...server.groups].map((one) => byWord.get(one) ?? one)) },
    ]),
  );
}

function modeOf(entry: Fields): Mode {
  const explicit = entry["startup_mode"];
  if (typeof explicit === "string" && explicit !== "") return explicit as Mode;
  if (entry["quarantined"] === true) return "quarantined";
  if (entry["auto_disabled"] === true) return "auto_disabled";
  if (!(entry["enabled"] ?? entry["disabled"] !== true) || entry["stopped"] === true) return "disabled";
  return entry["start_on_boot"] === false ? "lazy_loading" : "active";
}

/** What of an entry is started. */
export function definitionOf({ rest }: ModelServer): string {
  const { command, url, args, env, headers, working_dir: folder, protocol } = rest;
  const sorted = (map: unknown): unknown =>
    Object.entries((map ?? {}) as Fields).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([command, url, args ?? [], sorted(env), sorted(headers), folder, protocol]);
}

function withModes(state: Omit<ModelState, "inForce">): ModelState {
  const inForce = new Map<string, Mode>();
  for (const [name, server] of state.servers) {
    const row = state.rows.get(name);
    // What was rejected is disabled, and starts nothing.
    const mayBe = server.mode === "disabled" || row?.approved === definitionOf(server);
    const isFree = row?.isHeld !== true && mayBe;
    inForce.set(name, isFree ? server.mode : "quarantined");
  }
  return { ...state, inForce };
}

/** A start on a text: what is new or changed is a person's work. */
export function started(text: string, before?: ModelState): ModelState {
  const meaning = readMeaning(text);
  const rows = new Map(before?.rows);
  for (const [name, server] of meaning.servers) {
    const definition = definitionOf(server);
    const row = rows.get(name);
    if (row?.defined === definition) continue;
    rows.set(name, { isHeld: false, ...row, defined: definition, approved: definition });
  }
  return withModes({ ...meaning, rows });
}

/** An edit by hand while the process runs. */
export function editedByHand(before: ModelState, text: string): ModelState {
  const meaning = readMeaning(text);
  const rows = new Map(before.rows);
  for (const name of before.servers.keys()) if (!meaning.servers.has(name)) rows.delete(name);
  for (const [name, server] of meaning.servers) {
    const old = before.servers.get(name);
    const definition = definitionOf(server);
    const row = rows.get(name) ?? { isHeld: false };
    const isReleased = old?.mode === "quarantined" && server.mode !== "quarantined";
    if (old === undefined || definitionOf(old) !== definition) {
      rows.set(name, {
        ...row,
        defined: definition,
        approved: definition,
        ...(isReleased && { isHeld: false }),
      });
    } else if (isReleased) rows.set(name, { ...row, approved: definition, isHeld: false });
  }
  return withModes({ ...meaning, rows });
}

/** Why an operation is not done. */
class Refused extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

/** What a request leads to. */
export interface Changed {
  readonly state: ModelState;
  readonly refused: readonly (readonly [at: number, code: string])[];
  /** The code of the answer, when the whole is refused. */
  readonly code?: string;
}

/** A request done. */
export function changed(before: ModelState, request: ModelRequest): Changed {
  const draft = new Draft(before, request.isByPerson);
  const refused: [number, string][] = [];
  for (const [at, operation] of request.operations.entries()) {
    try {
      draft.run(operation);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!request.isLenient) return { state: before, refused: [], code: error.code };
      refused.push([at, error.code]);
    }
  }
  return { state: draft.state(), refused };
}

/** A state on its way to another one. */
class Draft {
  readonly #before: ModelState;
  readonly #isByPerson: boolean;
  #servers: Map<string, ModelServer>;
  readonly #rows: Map<string, Row>;
  readonly #modes: Map<string, Mode>;
  readonly #groups: Map<string, { name: string; number: number; rest: Fields }>;
  readonly #givenUp = new Set<string>();
  readonly #removed = new Set<string>();
  readonly #fresh = new Set<string>();
  #top: Fields;

  constructor(before: ModelState, isByPerson: boolean) {
    this.#before = before;
    this.#isByPerson = isByPerson;
    this.#servers = new Map(before.servers);
    this.#rows = new Map(before.rows);
    this.#modes = new Map(before.inForce);
    this.#groups = new Map(before.groups);
    this.#top = before.top;
  }

  state(): ModelState {
    const { isMap } = this.#before;
    return withModes({
      isMap,
      servers: this.#servers,
      groups: this.#groups,
      top: this.#top,
      rows: this.#rows,
    });
  }

  run(operation: Operation): void {
    const { op, name, group } = operation;
    if (op === "add") return this.#add(operation);
    if (op === "settings") {
      if (typeof (operation["patch"] as Fields)["tools_limit"] === "string")
        throw new Refused("CONFIG_INVALID");
      this.#top = merge(this.#top, operation["patch"]) as Fields;
      return undefined;
    }
    if (op.endsWith("_group")) return this.#group(operation);
    const server = this.#servers.get(String(name));
    if (server === undefined) throw new Refused("SERVER_UNKNOWN");
    if (op === "remove") return this.#remove(server);
    if (op === "rename") return this.#rename(server, String(operation["to"]));
    if (op === "patch")
      return this.#patch(server, operation["patch"] as Fields, operation["approve"] === true);
    if (op === "approve") return this.#approve(server);
    if (op === "reject") return this.#reject(server);
    if (op === "assign" || op === "unassign") {
      const found = this.#findGroup(group);
      const groups = new Set(server.groups);
      if (op === "assign") groups.add(found);
      else groups.delete(found);
      return this.#put({ ...server, groups });
    }
    return this.#switch(server, TARGETS[op] ?? "open", op === "enable");
  }

  #add({ server: given, approve }: Operation): void {
    const { name: called, ...entry } = given as Fields;
    const name = String(called);
    if (this.#servers.has(name) || (this.#before.isMap && this.#givenUp.has(name)))
      throw new Refused("SERVER_EXISTS");
    const rest = Object.fromEntries(Object.entries(entry).filter(([key]) => !APART.has(key)));
    const server: ModelServer = {
      id: String(entry["x_id"]),
      name,
      rest,
      mode: modeOf(entry),
      groups: new Set(),
    };
    const definition = definitionOf(server);
    this.#fresh.add(name);
    if (approve === true && this.#isByPerson) {
      this.#rows.set(name, { defined: definition, approved: definition, isHeld: false });
      this.#put(server, server.mode);
    } else {
      this.#rows.set(name, { ...this.#rows.get(name), defined: definition, isHeld: true });
      this.#put({ ...server, mode: "quarantined" }, "quarantined");
    }
  }

  #remove({ name }: ModelServer): void {
    this.#servers.delete(name);
    this.#rows.delete(name);
    this.#modes.delete(name);
    if (!this.#fresh.delete(name)) this.#removed.add(name);
  }

  #rename(server: ModelServer, to: string): void {
    const { name } = server;
    if (to === name) return;
    if (this.#servers.has(to) || this.#removed.has(to)) throw new Refused("SERVER_EXISTS");
    const [row, mode] = [this.#rows.get(name), this.#modes.get(name)];
    this.#rows.delete(name);
    this.#servers.delete(name);
    this.#modes.delete(name);
    if (row !== undefined) this.#rows.set(to, row);
    this.#put({ ...server, name: to }, mode);
    if (this.#fresh.delete(name)) this.#fresh.add(to);
    else this.#givenUp.add(name);
  }

  #patch(server: ModelServer, patch: Fields, approve: boolean): void {
    const next = { ...server, rest: merge(server.rest, patch) as Fields };
    const definition = definitionOf(next);
    const isFreed = approve && this.#isByPerson;
    if (definition !== definitionOf(server)) {
      const wasOff = this.#modeOf(server) === "auto_disabled";
      const isFree = server.mode === "auto_disabled" && this.#modeOf(server) !== "quarantined";
      const back: ModelServer = isFree ? { ...next, mode: "open" } : next;
      // What is approved and changed again within the request was never approved.
      const approved = this.#approvedBefore(server);
      const row = { isHeld: false, ...this.#rows.get(server.name) };
      this.#rows.set(server.name, { ...row, defined: definition, approved });
      if (isFreed) this.#release(back, wasOff ? back.mode : this.#modeOf(server));
      else this.#hold(back);
    } else if (isFreed && (this.#modeOf(server) === "quarantined" || !this.#isApproved(server))) {
      this.#release(next, this.#modeOf(server));
    } else this.#put(next);
  }

  #switch(server: ModelServer, to: Mode, isEnable: boolean): void {
    const mode = this.#modeOf(server);
    if (mode === "quarantined" && to !== "quarantined") throw new Refused("QUARANTINED");
    if (mode === to && (to === "quarantined" || server.mode === to)) return;
    if (mode !== to && !MOVES[mode].includes(to)) throw new Refused("MODE_REFUSED");
    if (to === "quarantined") return this.#hold(server);
    if ((to === "active" || to === "lazy_loading") && !this.#isApproved(server))
      throw new Refused("QUARANTINED");
    const next = isEnable && mode === "auto_disabled" ? "open" : to;
    return this.#put({ ...server, mode: next }, next);
  }

  #approve(server: ModelServer): void {
    if (!this.#isByPerson) throw new Refused("QUARANTINED");
    const mode = this.#modeOf(server);
    if (mode !== "quarantined" && this.#isApproved(server)) return;
    this.#release(server, mode);
  }

  #reject(server: ModelServer): void {
    if (!this.#isByPerson) throw new Refused("QUARANTINED");
    const mode = this.#modeOf(server);
    if (mode === "disabled") return;
    if (mode !== "quarantined") throw new Refused("MODE_REFUSED");
    this.#rows.set(server.name, { ...this.#rows.get(server.name), isHeld: false });
    this.#put({ ...server, mode: "disabled" }, "disabled");
  }

  #release(server: ModelServer, mode: Mode): void {
    const row = { isHeld: false, ...this.#rows.get(server.name), approved: definitionOf(server) };
    if (mode !== "quarantined") {
      this.#rows.set(server.name, row);
      this.#put(server, mode);
      return;
    }
    const isKnown = server.mode !== "quarantined" && server.mode !== "auto_disabled";
    const to = isKnown ? server.mode : "open";
    this.#rows.set(server.name, { ...row, isHeld: false });
    this.#put({ ...server, mode: to }, to);
  }

  #hold(server: ModelServer): void {
    this.#rows.set(server.name, { ...this.#rows.get(server.name), isHeld: true });
    this.#put({ ...server, mode: "quarantined" }, "quarantined");
  }

  #group(operation: Operation): void {
    if (operation.op === "add_group") {
      const { name, ...rest } = operation["group"] as Fields & { readonly name: string };
      // A number that was another group's before the change is nobody's within it.
      const numbers = [...this.#before.groups.values(), ...this.#groups.values()].map(({ number }) => number);
      if (this.#isTaken(name)) throw new Refused("GROUP_EXISTS");
      this.#groups.set(String(rest["x_id"]), { name, number: Math.max(0, ...numbers) + 1, rest });
      this.#servers = inGroups(this.#servers, this.#groups);
      return;
    }
    const id = this.#findGroup(operation["group"]);
    const found = this.#groups.get(id);
    if (found === undefined) return;
    if (operation.op === "remove_group") {
      this.#groups.delete(id);
      for (const server of this.#servers.values())
        this.#put({ ...server, groups: new Set([...server.groups].filter((one) => one !== id)) });
      return;
    }
    const { name = found.name, ...rest } = operation["patch"] as Fields & { readonly name?: string };
    if (name !== found.name && this.#isTaken(name)) throw new Refused("GROUP_EXISTS");
    this.#groups.set(id, { ...found, name, rest: merge(found.rest, rest) as Fields });
    this.#servers = inGroups(this.#servers, this.#groups);
  }

  #isTaken(name: string): boolean {
    return [...this.#groups.values()].some((group) => group.name === name);
  }

  #findGroup(word: unknown): string {
    for (const [id, { name, number }] of this.#groups) if (word === name || word === number) return id;
    throw new Refused("GROUP_UNKNOWN");
  }

  #modeOf({ name }: ModelServer): Mode {
    return this.#modes.get(name) ?? "open";
  }

  #isApproved(server: ModelServer): boolean {
    return this.#rows.get(server.name)?.approved === definitionOf(server);
  }

  #approvedBefore({ id }: ModelServer): string | undefined {
    const { servers, rows } = this.#before;
    const before = [...servers.values()].find((server) => server.id === id);
    return before && rows.get(before.name)?.approved;
  }

  #put(server: ModelServer, mode?: Mode): void {
    this.#servers.set(server.name, server);
    if (mode !== undefined) this.#modes.set(server.name, mode);
  }
}

function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const isMap = typeof target === "object" && target !== null && !Array.isArray(target);
  const result = new Map(isMap ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) result.delete(key);
    else result.set(key, merge(result.get(key), value));
  }
  return Object.fromEntries(result);
}
