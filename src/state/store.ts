/**
 * The database of one data dir: what the proxy learned of its servers and their tools.
 *
 * Owns the file `mcpproxy.db`, its lock, and every statement on it. Reads of servers come from memory and
 * are synchronous; writes go through one queue and reach the disk in batches, off every reply path.
 * Invariants: one process holds a data dir; a database that cannot be read is set aside, never deleted,
 * and a locked one is left alone. Keeping the tools in memory here as well was rejected: the catalog
 * has them.
 */
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";

import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";

import { messageOf, ProxyError } from "../core/errors.ts";
import type { Era, StartupMode } from "../core/model.ts";
import { STARTUP_MODES } from "../core/model.ts";
import type { Log } from "../lib/log.ts";
import { migrate } from "./migrations.ts";
import { children, servers, tools } from "./schema.ts";

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
  /** The startup mode an operator set; wins over the file. */
  readonly mode?: StartupMode | undefined;
  /** The mode before it was quarantined or auto-disabled. */
  readonly formerMode?: StartupMode | undefined;
  readonly autoDisabled?: AutoDisabled | undefined;
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

type Write = { readonly rows: number; readonly run: () => void };

/** The open database. */
export class Store implements AsyncDisposable {
  readonly #db: Database;
  readonly #log: Log;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #servers = new Map<string, ServerMemory>();
  #queue: Write[] = [];
  #timer: Timer | undefined;
  #isClosed = false;

  private constructor(db: Database, log: Log) {
    this.#db = db;
    this.#log = log;
    this.#statements = prepare(db);
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
    const before = this.#servers.get(name) ?? {
      name,
      everConnected: false,
      failedLast: false,
      toolCount: 0,
      firstSeenAt: Date.now(),
    };
    const after: ServerMemory = { ...before, ...learned };
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
    this.flush();
    this.#isClosed = true;
    this.#db.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
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

/** Makes `close()` let go of the file: SQLite keeps file and lock for as long as a statement lives. */
function finalizeOnClose(db: Database): Database {
  const statements: { finalize(): void }[] = [];
  const prepareText = db.prepare.bind(db);
  const close = db.close.bind(db);
  db.prepare = ((text: string) => {
    const statement = prepareText(text);
    statements.push(statement);
    return statement;
  }) as Database["prepare"];
  db.close = () => {
    for (const statement of statements) statement.finalize();
    close(true);
  };
  return db;
}

function openDatabase(path: string): Database {
  const db = finalizeOnClose(new Database(path, { create: true, readwrite: true, strict: true }));
  try {
    // Exclusive before WAL: no shared memory file, and a second process is told at once.
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("PRAGMA journal_mode = WAL");
    db.run("PRAGMA synchronous = NORMAL");
    db.run("BEGIN IMMEDIATE");
    db.run("COMMIT");
    checkIntegrity(db);
    migrate(db);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function checkIntegrity(db: Database): void {
  const statement = db.prepare<{ quick_check: string }, []>("PRAGMA quick_check(1)");
  const answer = statement.get()?.quick_check;
  if (answer !== "ok") throw Object.assign(new Error(answer), { code: "SQLITE_CORRUPT" });
}

function prepare(db: Database) {
  const orm = drizzle(db);
  const place = sql.placeholder;
  const serverValues = {
    era: place("era"),
    discovery: place("discovery"),
    transport: place("transport"),
    everConnected: place("everConnected"),
    connectedAt: place("connectedAt"),
    connectMs: place("connectMs"),
    toolCount: place("toolCount"),
    failedLast: place("failedLast"),
    mode: place("mode"),
    formerMode: place("formerMode"),
    autoDisabled: place("autoDisabled"),
  };
  return {
    allServers: orm.select().from(servers).prepare(),
    allTools: orm.select().from(tools).orderBy(tools.server).prepare(),
    saveServer: orm
      .insert(servers)
      .values({ name: place("name"), firstSeenAt: place("firstSeenAt"), ...serverValues })
      .onConflictDoUpdate({ target: servers.name, set: excluded(Object.keys(serverValues)) })
      .prepare(),
    dropServer: orm
      .delete(servers)
      .where(eq(servers.name, place("name")))
      .prepare(),
    dropTools: orm
      .delete(tools)
      .where(eq(tools.server, place("server")))
      .prepare(),
    addTool: orm
      .insert(tools)
      .values({
        server: place("server"),
        name: place("name"),
        definition: place("definition"),
        fingerprint: place("fingerprint"),
      })
      .onConflictDoNothing()
      .prepare(),
    ...prepareChildren(orm),
  };
}

function prepareChildren(orm: ReturnType<typeof drizzle>) {
  const place = sql.placeholder;
  return {
    allChildren: orm.select().from(children).prepare(),
    dropChild: orm
      .delete(children)
      .where(eq(children.pid, place("pid")))
      .prepare(),
    addChild: orm
      .insert(children)
      .values({
        pid: place("pid"),
        pgid: place("pgid"),
        born: place("born"),
        instance: place("instance"),
        server: place("server"),
      })
      .prepare(),
  };
}

/** The `SET column = excluded.column` part of an upsert. */
function excluded(keys: readonly string[]) {
  const columns = servers as unknown as Record<string, { readonly name: string }>;
  return Object.fromEntries(keys.map((key) => [key, sql.raw(`excluded.${columns[key]?.name}`)]));
}

function fromRow(row: typeof servers.$inferSelect): ServerMemory {
  const { era, transport } = row;
  return {
    ...row,
    era: era === "legacy" || era === "modern" ? era : undefined,
    discovery: row.discovery ?? undefined,
    transport: transport === "streamable_http" || transport === "sse" ? transport : undefined,
    connectedAt: row.connectedAt ?? undefined,
    connectMs: row.connectMs ?? undefined,
    mode: modeOf(row.mode),
    formerMode: modeOf(row.formerMode),
    autoDisabled: row.autoDisabled === null ? undefined : (JSON.parse(row.autoDisabled) as AutoDisabled),
  };
}

function modeOf(text: string | null): StartupMode | undefined {
  return STARTUP_MODES.find((mode) => mode === text);
}

function toRow(memory: ServerMemory): Record<string, unknown> {
  const { autoDisabled, ...rest } = memory;
  const row: Record<string, unknown> = {
    ...rest,
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
  ];
  for (const key of optional) row[key] ??= null;
  return row;
}

function isCorrupt(error: unknown): boolean {
  const code = codeOf(error);
  return code === "SQLITE_NOTADB" || code.startsWith("SQLITE_CORRUPT");
}

/** SQLite's name of the error, or the system's; empty when it has none. */
function codeOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" ? code : "";
}

/** Moves a database and its companions to `….corrupt-<time>`; returns the new path. */
function setAside(path: string): string {
  const aside = `${path}.corrupt-${new Date().toISOString().replaceAll(":", "-")}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

function asStoreError(error: unknown, path: string): ProxyError {
  if (error instanceof ProxyError) return error;
  const code = codeOf(error);
  if (code.startsWith("SQLITE_BUSY") || code.startsWith("SQLITE_LOCKED")) {
    return new ProxyError(
      "DATA_DIR_IN_USE",
      `Cannot open '${path}': another process is using this data dir`,
      {
        cause: error,
        hint: "Use 'mcpproxy status' to reach the running proxy, or give another --data-dir",
      },
    );
  }
  return new ProxyError("STORE_CORRUPT", `Cannot open '${path}': ${messageOf(error)}`, {
    cause: error,
    hint: "Check that the data dir exists, is a folder and may be written",
  });
}
