/**
 * The prepared statements on what was learned: servers, tools, children.
 *
 * Owns their SQL, built by Drizzle from the schema; `store.ts` runs them and decides on transactions.
 * Invariant: each is prepared once, at its first use. Building them at each use was rejected: it takes longer than
 * running them; so was building all at opening: a start reads, and most of them write.
 */
import type { Database } from "bun:sqlite";
import { eq, getTableColumns, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import type { SQLiteTable } from "drizzle-orm/sqlite-core";
import { children, servers, tools } from "./schema.ts";

/** A row as SQLite gives it, by the names of the schema: what is true is 1. */
export type RawRow<T> = { readonly [Name in keyof T]: T[Name] extends boolean ? number : T[Name] };

/** What {@link preparedLate} makes of builders. */
type Prepared<T> = { readonly [Name in keyof T]: T[Name] extends () => infer Statement ? Statement : never };

/** Statements that are each built when they are first asked for, and kept. */
export function preparedLate<const T extends Readonly<Record<string, () => unknown>>>(
  builders: T,
): Prepared<T> {
  const prepared = {};
  for (const [name, build] of Object.entries(builders)) {
    const get = (): unknown => {
      const value = build();
      Object.defineProperty(prepared, name, { value });
      return value;
    };
    Object.defineProperty(prepared, name, { configurable: true, get });
  }
  return prepared as Prepared<T>;
}

/** All of them; they live as long as the database is open. */
export function prepareStatements(db: Database) {
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
    definitionHash: place("definitionHash"),
    approvedHash: place("approvedHash"),
  };
  return preparedLate({
    // These two not through Drizzle's own: for each row it takes several times as long.
    allServers: () =>
      db.prepare<RawRow<typeof servers.$inferSelect>, []>(
        orm.select(columnsOf(servers)).from(servers).toSQL().sql,
      ),
    // As they were announced; ordered by server they would be by name too, and looked up one by one.
    allTools: () =>
      db.prepare<typeof tools.$inferSelect, []>(
        orm
          .select(columnsOf(tools))
          .from(tools)
          .orderBy(sql`rowid`)
          .toSQL().sql,
      ),
    saveServer: () =>
      orm
        .insert(servers)
        .values({ name: place("name"), firstSeenAt: place("firstSeenAt"), ...serverValues })
        .onConflictDoUpdate({ target: servers.name, set: excluded(servers, Object.keys(serverValues)) })
        .prepare(),
    dropServer: () =>
      orm
        .delete(servers)
        .where(eq(servers.name, place("name")))
        .prepare(),
    ...toolStatements(orm),
    ...childStatements(orm),
  });
}

function toolStatements(orm: ReturnType<typeof drizzle>) {
  const place = sql.placeholder;
  return {
    dropTools: () =>
      orm
        .delete(tools)
        .where(eq(tools.server, place("server")))
        .prepare(),
    // What is known under the new name already stays.
    copyTools: () =>
      orm
        .insert(tools)
        .select(
          orm
            .select({
              server: sql`${place("to")}`.as("server"),
              name: tools.name,
              definition: tools.definition,
              fingerprint: tools.fingerprint,
            })
            .from(tools)
            .where(eq(tools.server, place("from"))),
        )
        .onConflictDoNothing()
        .prepare(),
    addTool: () =>
      orm
        .insert(tools)
        .values({
          server: place("server"),
          name: place("name"),
          definition: place("definition"),
          fingerprint: place("fingerprint"),
        })
        .onConflictDoNothing()
        .prepare(),
  };
}

function childStatements(orm: ReturnType<typeof drizzle>) {
  const place = sql.placeholder;
  return {
    allChildren: () => orm.select().from(children).prepare(),
    dropChild: () =>
      orm
        .delete(children)
        .where(eq(children.pid, place("pid")))
        .prepare(),
    addChild: () =>
      orm
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

/** All columns, each under its name in the schema. */
function columnsOf(table: SQLiteTable) {
  const columns = Object.entries(getTableColumns(table));
  return Object.fromEntries(columns.map(([name, column]) => [name, sql`${column}`.as(name)]));
}

/** The `SET column = excluded.column` part of an upsert. */
export function excluded(table: SQLiteTable, keys: readonly string[]) {
  const columns = table as unknown as Record<string, { readonly name: string }>;
  return Object.fromEntries(keys.map((key) => [key, sql.raw(`excluded.${columns[key]?.name}`)]));
}
