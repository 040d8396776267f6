/**
 * The file `mcpproxy.db`: opened, locked, checked, brought up to date.
 *
 * Owns the lock of the data dir, how safely SQLite writes, and what is said when the file cannot be used.
 * Invariants: one process holds a data dir; a file that cannot be read is set aside, never deleted, and a
 * locked one is left alone. A lock file was rejected: it survives a killed process, SQLite's own lock does
 * not.
 */
import { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync, renameSync } from "node:fs";
import { getTableColumns, getTableName } from "drizzle-orm";
import { messageOf, ProxyError } from "../core/errors.ts";
import { migrate } from "./migrations.ts";
import { activity, children, commits, servers, tokens, tools } from "./schema.ts";

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

/** Opens, locks and migrates; makes the file, for its owner alone, when there is none. */
export function openDatabase(path: string): Database {
  if (!existsSync(path)) closeSync(openSync(path, "a", 0o600));
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
    checkColumns(db);
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

/** Told at opening, since a statement is prepared when it is first needed. */
function checkColumns(db: Database): void {
  const all =
    "SELECT tables.name || '.' || columns.name AS name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns";
  const found = new Set(
    db
      .prepare<{ name: string }, []>(all)
      .all()
      .map(({ name }) => name),
  );
  for (const table of [servers, tools, children, commits, activity, tokens]) {
    for (const column of Object.values<{ readonly name: string }>(getTableColumns(table))) {
      const name = `${getTableName(table)}.${column.name}`;
      if (!found.has(name)) throw new Error(`it has no column '${name}'`);
    }
  }
}

/** Whether SQLite says that the file is damaged. */
export function isCorrupt(error: unknown): boolean {
  const code = codeOf(error);
  return code === "SQLITE_NOTADB" || code.startsWith("SQLITE_CORRUPT");
}

/** SQLite's name of the error, or the system's; empty when it has none. */
function codeOf(error: unknown): string {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" ? code : "";
}

/** Moves a database and its companions to `….corrupt-<time>`; returns the new path. */
export function setAside(path: string): string {
  const aside = `${path}.corrupt-${new Date().toISOString().replaceAll(":", "-")}`;
  for (const suffix of ["", "-wal", "-shm"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  }
  return aside;
}

/** The error of opening, in words. */
export function asStoreError(error: unknown, path: string): ProxyError {
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
