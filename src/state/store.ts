/**
 * The database of one data dir: what the proxy learned of its servers and their tools.
 *
 * Owns every statement on servers, tools and children, and the transactions of all that is in it. Reads of servers come
 * from memory and are synchronous; what is learned goes through one queue and reaches the disk in batches, off
 * every reply path. Invariants: what a commit of the configuration changes is on the disk before memory says
 * so; what was queued before it is written before it. Keeping the tools in memory here as well was rejected:
 * the catalog has them.
 */
import type { Database } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { messageOf } from "../core/errors.ts";
import type { Era, StartupMode } from "../core/model.ts";
import { STARTUP_MODES } from "../core/model.ts";
import type { Log } from "../lib/log.ts";
import { Activity } from "./activity.ts";
import { Commits } from "./commits.ts";
import type { CommitEffects } from "./commits.ts";
import { asStoreError, isCorrupt, openDatabase, setAside } from "./database.ts";
import type { children, servers } from "./schema.ts";
import { prepareStatements } from "./statements.ts";
import type { RawRow } from "./statements.ts";
import { Tokens } from "./tokens.ts";

/** How long a write may wait for others to share its transaction. */
const BATCH_DELAY_MS = 25;
/** Rows of one transaction, so that a flush never holds the loop for long. */
const BATCH_ROWS = 1_000;

/** Why and since when a server is auto-disabled; times in Unix milliseconds. */
export interface AutoDisabled {
  readonly reason: string;
  readonly at: number;
  /** Probes that failed since. */
  readonly probes: number;
  /** When it is probed next. */
  readonly dueAt: number;
}

/** What was learned of a server. */
export interface ServerMemory {
  readonly name: string;
  readonly era?: Era | undefined;
  /** The upstream's discovery answer, JSON. */
  readonly discovery?: string | undefined;
  readonly transport?: "streamable_http" | "sse" | undefined;
  readonly everConnected: boolean;
  readonly connectedAt?: number | undefined;
  readonly connectMs?: number | undefined;
  readonly toolCount: number;
  /** Whether the last attempt failed. */
  readonly failedLast: boolean;
  /** `quarantined` when the database says so; of other values none is kept. */
  readonly mode?: StartupMode | undefined;
  /** The mode before it was quarantined or auto-disabled. */
  readonly formerMode?: StartupMode | undefined;
  readonly autoDisabled?: AutoDisabled | undefined;
  /** Hash over what the configuration starts, as last seen. */
  readonly definitionHash?: string | undefined;
  /** The definition hash that may be started. */
  readonly approvedHash?: string | undefined;
  readonly firstSeenAt: number;
}

/** What one look at a server taught; what is not named stays as it was known. */
export type Learned = Partial<Omit<ServerMemory, "name" | "firstSeenAt">>;

/** One row of the last known tools. */
export interface StoredTool {
  readonly server: string;
  readonly name: string;
  /** JSON. */
  readonly definition: string;
  readonly fingerprint: string;
}

/** A child that runs, or did when its proxy was killed. */
export type StoredChild = Readonly<typeof children.$inferSelect>;

/** Options of {@link Store.open}. */
export interface StoreOptions {
  readonly dataDir: string;
  readonly log: Log;
}

/** Options of {@link Store.transact}. */
export interface TransactOptions {
  /** Whether it is on the disk when the call returns, not only safe from a kill. */
  readonly isSynced: boolean;
}

type Write = { readonly rows: number; readonly run: () => void };
type Find = (name: string) => ServerMemory | undefined;

/** The open database. */
export class Store implements AsyncDisposable {
  /** The journal of configuration commits; its calls belong inside {@link Store.transact}. */
  readonly commits: Commits;
  /** The record of what was done. */
  readonly activity: Activity;
  /** The tokens of agents. */
  readonly tokens: Tokens;
  readonly #db: Database;
  readonly #log: Log;
  readonly #statements: ReturnType<typeof prepareStatements>;
  readonly #servers = new Map<string, ServerMemory>();
  #queue: Write[] = [];
  #timer: Timer | undefined;
  #isClosed = false;

  private constructor(db: Database, log: Log) {
    this.#db = db;
    this.#log = log;
    this.#statements = prepareStatements(db);
    this.commits = new Commits(db);
    this.activity = new Activity({ db, log });
    this.tokens = new Tokens({
      db,
      writeNow: (write) => this.transact(write, { isSynced: true }),
      writeSoon: (write) => this.#write(1, write),
    });
    for (const row of this.#statements.allServers.all()) this.#servers.set(row.name, fromRow(row));
  }

  /**
   * Opens, locks and migrates the database; makes it when there is none.
   *
   * @throws {ProxyError} `DATA_DIR_IN_USE` when another process holds it, `STORE_CORRUPT` when the data
   * dir cannot be written or the database comes from a newer version.
   */
  static open(options: StoreOptions): Store {
    const { dataDir, log } = options;
    const path = join(dataDir, "mcpproxy.db");
    try {
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      try {
        return Store.#load(path, log);
      } catch (error) {
        if (!isCorrupt(error)) throw error;
        const aside = setAside(path);
        log.error("The database is corrupt and was set aside; tools are learned anew", { path, aside });
        return Store.#load(path, log);
      }
    } catch (error) {
      throw asStoreError(error, path);
    }
  }

  static #load(path: string, log: Log): Store {
    const db = openDatabase(path);
    try {
      return new Store(db, log);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** What is known of a server. */
  findServer(name: string): ServerMemory | undefined {
    return this.#servers.get(name);
  }

  /** Merges what was learned of a server; durable within the batch delay. */
  rememberServer(name: string, learned: Learned): void {
    const after: ServerMemory = { ...(this.#servers.get(name) ?? newServer(name)), ...learned };
    this.#servers.set(name, after);
    this.#write(1, () => this.#statements.saveServer.run(toRow(after)));
  }

  /** Reads all known tools; each call goes to the database. */
  readTools(): StoredTool[] {
    return this.#statements.allTools.all();
  }

  /** Replaces the known tools of one server in one transaction. */
  saveTools(server: string, rows: readonly StoredTool[]): void {
    this.#write(rows.length + 1, () => {
      this.#statements.dropTools.run({ server });
      for (const row of rows) this.#statements.addTool.run({ ...row });
    });
  }

  /** Forgets a server and its tools. */
  forgetServer(name: string): void {
    this.#servers.delete(name);
    this.#write(2, () => {
      this.#statements.dropTools.run({ server: name });
      this.#statements.dropServer.run({ name });
    });
  }

  /** Moves what is known of a server, its tools too, to another name; what was known under that one is forgotten. */
  renameServer(from: string, to: string): void {
    const effects = { renamed: [[from, to]] } as const;
    const after = effectsOn(effects, (name) => this.#servers.get(name));
    this.#remember(after);
    this.#write(after.size, () => this.#writeEffects(effects, (name) => after.get(name)));
  }

  /**
   * Runs `act` in one transaction; what was queued before is written before.
   *
   * @returns what `act` returned
   * @throws the database's error, or what `act` threw; nothing was written
   */
  transact<T>(act: () => T, options: TransactOptions): T {
    this.flush();
    if (!options.isSynced) return this.#db.transaction(act)();
    // The log is synced at the end of this transaction only: learned rows may be lost, they are learned again.
    this.#db.run("PRAGMA synchronous = FULL");
    try {
      return this.#db.transaction(act)();
    } finally {
      this.#db.run("PRAGMA synchronous = NORMAL");
    }
  }

  /**
   * Makes effects true, in the database and then in memory, with what `alongside` writes in the same
   * transaction.
   *
   * @throws as {@link Store.transact}; memory is as it was
   */
  applyEffects<T>(effects: CommitEffects, options: TransactOptions & { readonly alongside: () => T }): T {
    const after = effectsOn(effects, (name) => this.#servers.get(name));
    const result = this.transact(() => {
      const written = options.alongside();
      this.#writeEffects(effects, (name) => after.get(name));
      return written;
    }, options);
    this.#remember(after);
    return result;
  }

  /** Makes effects true in memory only, when the database cannot follow; {@link Store.settleEffects} is owed then. */
  assumeEffects(effects: CommitEffects): void {
    this.#remember(effectsOn(effects, (name) => this.#servers.get(name)));
  }

  /**
   * Writes what was assumed, as memory has it by now.
   *
   * @throws as {@link Store.transact}
   */
  settleEffects(effects: CommitEffects, alongside: () => void): void {
    this.transact(
      () => {
        alongside();
        this.#writeEffects(effects, (name) => this.#servers.get(name), { isLate: true });
      },
      { isSynced: true },
    );
  }

  /** Reads the children that were not taken out; each call goes to the database. */
  readChildren(): StoredChild[] {
    return this.#statements.allChildren.all();
  }

  /** Writes a child down; durable within the batch delay. */
  addChild(child: StoredChild): void {
    this.#write(1, () => {
      this.#statements.dropChild.run({ pid: child.pid });
      this.#statements.addChild.run({ ...child });
    });
  }

  /** Takes a child out. */
  removeChild(pid: number): void {
    this.#write(1, () => this.#statements.dropChild.run({ pid }));
  }

  /** Names of all servers something is known of. */
  serverNames(): string[] {
    return [...this.#servers.keys()];
  }

  /** Writes what is queued now; a failed batch is logged and dropped, since it can be learned again. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#queue.length > 0) this.#flushBatch();
  }

  /** Flushes and closes; idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.tokens.flush();
    this.flush();
    this.#isClosed = true;
    this.activity.close();
    this.#db.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #remember(after: ReadonlyMap<string, ServerMemory | undefined>): void {
    for (const [name, memory] of after) {
      if (memory === undefined) this.#servers.delete(name);
      else this.#servers.set(name, memory);
    }
  }

  /** @param find the server after the effects. When it is late, what was learned since under a new name stays. */
  #writeEffects(effects: CommitEffects, find: Find, options: { readonly isLate?: boolean } = {}): void {
    const { renamed = [], removed = [] } = effects;
    for (const [from, to] of renamed) {
      if (options.isLate !== true) this.#statements.dropTools.run({ server: to });
      this.#statements.copyTools.run({ from, to });
      this.#statements.dropTools.run({ server: from });
    }
    const drop = (name: string): void => {
      this.#statements.dropTools.run({ server: name });
      this.#statements.dropServer.run({ name });
    };
    if (options.isLate !== true) removed.forEach(drop);
    for (const name of namesOf(effects)) {
      const memory = find(name);
      if (memory === undefined) drop(name);
      else this.#statements.saveServer.run(toRow(memory));
    }
  }

  #write(rows: number, run: () => void): void {
    if (this.#isClosed) return;
    this.#queue.push({ rows, run });
    this.#timer ??= setTimeout(() => this.#flushOnTimer(), BATCH_DELAY_MS);
  }

  #flushOnTimer(): void {
    this.#timer = undefined;
    this.#flushBatch();
    if (this.#queue.length > 0) this.#timer = setTimeout(() => this.#flushOnTimer(), 0);
  }

  #flushBatch(): void {
    let rows = 0;
    let count = 0;
    for (const write of this.#queue) {
      if (count > 0 && rows + write.rows > BATCH_ROWS) break;
      rows += write.rows;
      count += 1;
    }
    const batch = this.#queue.splice(0, count);
    if (this.#commit(batch) === undefined) return;
    // One of them spoils the batch: each for itself, so that it costs nobody else.
    const error = batch.map((write) => this.#commit([write])).findLast((failure) => failure !== undefined);
    if (error !== undefined) {
      this.#log.error("Cannot write to the database: what was learned is kept in memory only", {
        cause: messageOf(error),
        hint: "Check free space and permissions of the data dir",
      });
    }
  }

  /** Writes all or none; returns what went wrong. */
  #commit(writes: readonly Write[]): unknown {
    try {
      this.#db.transaction(() => writes.forEach((write) => write.run()))();
      return undefined;
    } catch (error) {
      return error ?? new Error("the transaction failed");
    }
  }
}

function fromRow(row: RawRow<typeof servers.$inferSelect>): ServerMemory {
  const { era, transport } = row;
  return {
    ...row,
    everConnected: row.everConnected !== 0,
    failedLast: row.failedLast !== 0,
    era: era === "legacy" || era === "modern" ? era : undefined,
    discovery: row.discovery ?? undefined,
    transport: transport === "streamable_http" || transport === "sse" ? transport : undefined,
    connectedAt: row.connectedAt ?? undefined,
    connectMs: row.connectMs ?? undefined,
    mode: row.mode === "quarantined" ? row.mode : undefined,
    formerMode: modeOf(row.formerMode),
    autoDisabled: row.autoDisabled === null ? undefined : (JSON.parse(row.autoDisabled) as AutoDisabled),
    definitionHash: row.definitionHash ?? undefined,
    approvedHash: row.approvedHash ?? undefined,
  };
}

function modeOf(text: string | null): StartupMode | undefined {
  return STARTUP_MODES.find((mode) => mode === text);
}

function toRow(memory: ServerMemory): Record<string, unknown> {
  const { autoDisabled, ...rest } = memory;
  const row: Record<string, unknown> = {
    ...rest,
    mode: memory.mode === "quarantined" ? memory.mode : undefined,
    autoDisabled: autoDisabled && JSON.stringify(autoDisabled),
  };
  const optional = [
    "era",
    "discovery",
    "transport",
    "connectedAt",
    "connectMs",
    "mode",
    "formerMode",
    "autoDisabled",
    "definitionHash",
    "approvedHash",
  ];
  for (const key of optional) row[key] ??= null;
  return row;
}

function newServer(name: string): ServerMemory {
  return { name, everConnected: false, failedLast: false, toolCount: 0, firstSeenAt: Date.now() };
}

/** All servers that effects touch. */
function namesOf(effects: CommitEffects): Set<string> {
  const { renamed = [], removed = [], defined = [], approved = [], quarantined = [], cleared = [] } = effects;
  const first = (pairs: readonly (readonly [string, ...unknown[]])[]): string[] =>
    pairs.map(([name]) => name);
  return new Set([
    ...renamed.flat(),
    ...removed,
    ...first(defined),
    ...first(approved),
    ...first(quarantined),
    ...cleared,
  ]);
}

/** The touched servers as they are afterwards; undefined for one that is gone. */
function effectsOn(effects: CommitEffects, find: Find): Map<string, ServerMemory | undefined> {
  const after = new Map([...namesOf(effects)].map((name) => [name, find(name)]));
  const change = (name: string, learned: Learned): void => {
    after.set(name, { ...(after.get(name) ?? newServer(name)), ...learned });
  };
  for (const [from, to] of effects.renamed ?? []) {
    const memory = after.get(from);
    after.set(from, undefined);
    after.set(to, memory && { ...memory, name: to });
  }
  for (const name of effects.removed ?? []) after.set(name, undefined);
  for (const [name, definitionHash] of effects.defined ?? []) change(name, { definitionHash });
  for (const [name, approvedHash] of effects.approved ?? []) change(name, { approvedHash });
  for (const [name, isQuarantined, former] of effects.quarantined ?? []) {
    if (!isQuarantined) change(name, { mode: undefined, formerMode: undefined });
    else if (former === undefined) change(name, { mode: "quarantined" });
    else change(name, { mode: "quarantined", formerMode: modeOf(former) });
  }
  for (const name of effects.cleared ?? []) {
    const isQuarantined = after.get(name)?.mode === "quarantined";
    change(name, { autoDisabled: undefined, ...(isQuarantined ? {} : { formerMode: undefined }) });
  }
  return after;
}
