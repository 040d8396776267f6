/**
 * The prepared statements on the record of what was done.
 *
 * Owns their SQL, built by Drizzle from the schema; `activity.ts` runs them. Invariant: each is prepared once, with one
 * text for all filters, since what is prepared stays until the database is closed. A statement for each combination
 * of filters was rejected: there are hundreds, and only that on the request has an index to gain.
 */
import type { Database } from "bun:sqlite";
import { and, desc, eq, gte, lt, lte, or, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { activity } from "./schema.ts";

/** A row as it is stored. */
export type StoredActivity = typeof activity.$inferSelect;

/** In the order they are written. */
export const ACTIVITY_COLUMNS = [
  "id",
  "at",
  "type",
  "source",
  "status",
  "server",
  "tool",
  "intent",
  "durationMs",
  "requestId",
  "session",
  "principal",
  "message",
  "detail",
] as const satisfies readonly (keyof StoredActivity)[];

/** Prepares them all; `prune` takes the most it looks at, once. They live as long as the database is open. */
export function prepareActivity(db: Database, pruneRows: number) {
  const orm = drizzle(db);
  const place = sql.placeholder;
  const { id, at, requestId } = activity;
  const values = Object.fromEntries(ACTIVITY_COLUMNS.map((name) => [name, place(name)]));
  const insert = orm.insert(activity).values(values as never);
  const oldest = orm.select({ id, at }).from(activity).orderBy(id).limit(pruneRows).as("oldest");
  const passed = orm
    .select({ id: oldest.id })
    .from(oldest)
    .where(or(lt(oldest.at, place("before")), lte(oldest.id, place("floor"))));
  return {
    // Not through Drizzle's own: it takes half as long again.
    add: db.prepare(insert.toSQL().sql),
    one: orm
      .select()
      .from(activity)
      .where(eq(id, place("id")))
      .prepare(),
    last: orm.select({ id }).from(activity).orderBy(desc(id)).limit(1).prepare(),
    first: orm.select({ id }).from(activity).orderBy(id).limit(1).prepare(),
    newest: orm
      .select({ at: sql<number | null>`max(${at})` })
      .from(activity)
      .where(inRange())
      .prepare(),
    prune: orm
      .delete(activity)
      .where(sql`${id} in ${passed}`)
      .returning({ id })
      .prepare(),
    any: prepareReads(orm, inRange()),
    ofRequest: prepareReads(orm, and(inRange(), eq(requestId, place("requestId")))),
  };
}

/** Statements of one text each: what is absent from a filter is null, and narrows nothing. */
function prepareReads(orm: ReturnType<typeof drizzle>, among: SQL | undefined) {
  const place = sql.placeholder;
  const { id, at, type, status, server, tool, intent, session } = activity;
  const equal = { status, server, tool, intent, session };
  const wanted = and(
    among,
    gte(at, place("from")),
    lt(at, place("to")),
    sql`(${place("types")} is null or instr(${place("types")}, ',' || ${type} || ',') > 0)`,
    ...Object.entries(equal).map(
      ([name, column]) => sql`(${place(name)} is null or ${column} = ${place(name)})`,
    ),
  );
  const count = sql<number>`count(*)`;
  return {
    rows: orm.select().from(activity).where(wanted).orderBy(desc(id)).limit(place("limit")).prepare(),
    count: orm.select({ count }).from(activity).where(wanted).prepare(),
    tally: orm
      .select({ status, server, tool, count })
      .from(activity)
      .where(wanted)
      .groupBy(status, server, tool)
      .prepare(),
  };
}

function inRange(): SQL | undefined {
  return and(gte(activity.id, sql.placeholder("low")), lt(activity.id, sql.placeholder("high")));
}
