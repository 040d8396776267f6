/**
 * The embedded migrations and the walk that brings a database up to them.
 *
 * Owns the order of migrations and the table that records them; their SQL is generated into `drizzle/`.
 * Invariant: each migration is applied once and wholly, and a database written by a newer version is
 * refused, not guessed at. Drizzle's own migrator was rejected: it reads files at run time, which a
 * compiled binary does not have.
 */
import type { Database } from "bun:sqlite";

import init from "../../drizzle/0000_init.sql" with { type: "text" };
import supervision from "../../drizzle/0001_supervision.sql" with { type: "text" };
import children from "../../drizzle/0002_children.sql" with { type: "text" };
import commits from "../../drizzle/0003_commits.sql" with { type: "text" };
import activity from "../../drizzle/0004_activity.sql" with { type: "text" };
import tokens from "../../drizzle/0005_tokens.sql" with { type: "text" };
import { ProxyError } from "../core/errors.ts";

/** In the order they are applied; never reordered, only appended to. */
const MIGRATIONS: readonly { readonly tag: string; readonly sql: string }[] = [
  { tag: "0000_init", sql: init },
  { tag: "0001_supervision", sql: supervision },
  { tag: "0002_children", sql: children },
  { tag: "0003_commits", sql: commits },
  { tag: "0004_activity", sql: activity },
  { tag: "0005_tokens", sql: tokens },
];

/**
 * Applies what is missing, each migration in a transaction of its own.
 *
 * @throws {ProxyError} `STORE_CORRUPT` when the database comes from a newer version.
 */
export function migrate(db: Database): void {
  db.run(
    "CREATE TABLE IF NOT EXISTS migrations (tag text PRIMARY KEY NOT NULL, applied_at integer NOT NULL)",
  );
  const applied = new Set(
    db
      .prepare<{ tag: string }, []>("SELECT tag FROM migrations")
      .all()
      .map((row) => row.tag),
  );
  const unknown = [...applied].filter((tag) => !MIGRATIONS.some((migration) => migration.tag === tag));
  if (unknown.length > 0) {
    throw new ProxyError(
      "STORE_CORRUPT",
      `Cannot use the database: it has the newer migration '${unknown[0]}'`,
      {
        hint: "Start the newer mcpproxy that wrote it, put back the copy of the data dir from before the upgrade, or give another --data-dir",
      },
    );
  }
  for (const { tag, sql } of MIGRATIONS) {
    if (applied.has(tag)) continue;
    db.transaction(() => {
      for (const statement of sql.split("--> statement-breakpoint")) db.run(statement);
      db.prepare("INSERT INTO migrations (tag, applied_at) VALUES (?, ?)").run(tag, Date.now());
    })();
  }
}
