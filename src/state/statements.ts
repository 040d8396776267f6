/**
 * The prepared statements on what was learned: servers, tools, children.
 *
 * Owns their SQL, built by Drizzle from the schema; `store.ts` runs them and decides on transactions.
 * Invariant: each is prepared once, at opening. Building them at each use was rejected: it takes longer than
 * running them.
 */
import type { Database } from "bun:sqlite";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import type { SQLiteTable } from "drizzle-orm/sqlite-core";
import { children, servers, tools } from "./schema.ts";

/** Prepares them all; they live as long as the database is open. */
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
  return {
    allServers: orm.select().from(servers).prepare(),
    allTools: orm.select().from(tools).orderBy(tools.server).prepare(),
    saveServer: orm
      .insert(servers)
      .values({ name: place("name"), firstSeenAt: place("firstSeenAt"), ...serverValues })
      .onConflictDoUpdate({ target: servers.name, set: excluded(servers, Object.keys(serverValues)) })
      .prepare(),
    dropServer: orm
      .delete(servers)
      .where(eq(servers.name, place("name")))
      .prepare(),
    ...prepareTools(orm),
    ...prepareChildren(orm),
  };
}

function prepareTools(orm: ReturnType<typeof drizzle>) {
  const place = sql.placeholder;
  return {
    dropTools: orm
      .delete(tools)
      .where(eq(tools.server, place("server")))
      .prepare(),
    // What is known under the new name already stays.
    copyTools: orm
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
export function excluded(table: SQLiteTable, keys: readonly string[]) {
  const columns = table as unknown as Record<string, { readonly name: string }>;
  return Object.fromEntries(keys.map((key) => [key, sql.raw(`excluded.${columns[key]?.name}`)]));
}
