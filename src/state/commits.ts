/**
 * The journal of configuration commits: what was meant, and what came of it.
 *
 * Owns the table `commits` and the numbers of the revisions. Invariants: numbers only grow; at most one row is
 * pending, the newest; a row holds hashes and names, never a document or a secret. Every call belongs inside a
 * transaction of the store, which decides how durable it is. The document in the intent was rejected: it
 * doubles the cost of a commit, and the file's hash tells as much.
 */
import type { Database } from "bun:sqlite";
import { and, desc, eq, lte, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import { commits } from "./schema.ts";
import { preparedLate } from "./statements.ts";

/** Rows that are kept. */
const ROWS_MAX = 1_000;

/** Rows that become true with the commit, in this order. */
export interface CommitEffects {
  readonly renamed?: readonly (readonly [from: string, to: string])[];
  readonly removed?: readonly string[];
  /** What is defined now, by its definition hash. */
  readonly defined?: readonly (readonly [name: string, hash: string])[];
  /** The definition hash a person approved. */
  readonly approved?: readonly (readonly [name: string, hash: string])[];
  /** The database's quarantine set or lifted; with the mode to remember where it is set. */
  readonly quarantined?: readonly (readonly [name: string, isQuarantined: boolean, formerMode?: string])[];
  /** Servers whose auto-disable is forgotten. */
  readonly cleared?: readonly string[];
}

/** Where a revision came from: first seen, edited by hand, changed through the proxy, brought back. */
export type CommitKind = "start" | "external" | "change" | "rollback";

/** What is written down of a commit. */
export interface CommitEntry {
  readonly kind: CommitKind;
  /** Empty when there was none. */
  readonly oldHash: string;
  readonly newHash: string;
  /** One line for people, without secrets. */
  readonly summary: string;
}

/** A row of the journal. */
export interface CommitRow extends CommitEntry {
  readonly id: number;
  readonly state: "pending" | "done" | "abandoned";
  /** Unix milliseconds. */
  readonly at: number;
}

/** The open journal. */
export class Commits {
  readonly #statements: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#statements = prepare(db);
  }

  /** The commit that was under way when its proxy was killed, or whose end could not be written. */
  findPending(): (CommitRow & { readonly effects: CommitEffects }) | undefined {
    const row = this.#statements.newestOf.get({ state: "pending" });
    if (row === undefined) return undefined;
    return { ...toRow(row), effects: JSON.parse(row.effects ?? "{}") as CommitEffects };
  }

  /** The newest revision. */
  findLast(): CommitRow | undefined {
    const row = this.#statements.newestOf.get({ state: "done" });
    return row && toRow(row);
  }

  /** The newest rows, newest first. */
  list(limit: number): CommitRow[] {
    return this.#statements.newest.all({ limit }).map(toRow);
  }

  /** Writes an intent down and returns its number; older ones that came to nothing are closed. */
  intend(entry: CommitEntry, effects: CommitEffects): number {
    this.#statements.abandonAll.run();
    const id = this.#add(entry, { state: "pending", effects: JSON.stringify(effects) });
    this.#statements.prune.run({ id: id - ROWS_MAX });
    return id;
  }

  /** Writes a revision down that is true already, and returns its number: the next one, or `id`. */
  record(entry: CommitEntry, id?: number): number {
    this.#statements.abandonAll.run();
    return this.#add(entry, { id, state: "done", effects: null });
  }

  /** Closes an intent that came true. */
  finish(id: number): void {
    this.#statements.close.run({ id, state: "done" });
  }

  /** Closes an intent that came to nothing. */
  abandon(id: number): void {
    this.#statements.close.run({ id, state: "abandoned" });
  }

  #add(
    entry: CommitEntry,
    rest: { readonly id?: number | undefined; readonly state: string; readonly effects: string | null },
  ): number {
    const { kind, oldHash, newHash, summary } = entry;
    const { id = null, state, effects } = rest;
    const row = this.#statements.add.get({
      id,
      kind,
      oldHash,
      newHash,
      state,
      effects,
      summary,
      at: Date.now(),
    });
    return row.id;
  }
}

function prepare(db: Database) {
  const orm = drizzle(db);
  const place = sql.placeholder;
  const closed = { effects: null };
  return preparedLate({
    newestOf: () =>
      orm
        .select()
        .from(commits)
        .where(eq(commits.state, place("state")))
        .orderBy(desc(commits.id))
        .limit(1)
        .prepare(),
    newest: () => orm.select().from(commits).orderBy(desc(commits.id)).limit(place("limit")).prepare(),
    add: () =>
      orm
        .insert(commits)
        .values({
          id: place("id"),
          kind: place("kind"),
          oldHash: place("oldHash"),
          newHash: place("newHash"),
          state: place("state"),
          effects: place("effects"),
          summary: place("summary"),
          at: place("at"),
        })
        .returning({ id: commits.id })
        .prepare(),
    close: () =>
      orm
        .update(commits)
        .set({ ...closed, state: sql`${place("state")}` })
        .where(and(eq(commits.id, place("id")), eq(commits.state, "pending")))
        .prepare(),
    abandonAll: () =>
      orm
        .update(commits)
        .set({ ...closed, state: "abandoned" })
        .where(eq(commits.state, "pending"))
        .prepare(),
    prune: () =>
      orm
        .delete(commits)
        .where(lte(commits.id, place("id")))
        .prepare(),
  });
}

function toRow(row: typeof commits.$inferSelect): CommitRow {
  const { effects: _, ...rest } = row;
  return rest as CommitRow;
}
