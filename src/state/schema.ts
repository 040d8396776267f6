/**
 * The tables of the database, as Drizzle sees them.
 *
 * Owns names and columns; the SQL that makes them is generated into `drizzle/` and embedded. Invariant:
 * everything here is observation (what was learned, when it worked) and can be learned again, so losing
 * it costs time, never a configuration. Times are Unix milliseconds. One JSON column for a whole server
 * was rejected: `tool_count` and `connected_at` decide the order of starting and are read alone.
 */
import { integer, primaryKey, sqliteTable, text } from "drizzle-orm/sqlite-core";

/** What was learned of each server. */
export const servers = sqliteTable("servers", {
  name: text().primaryKey(),
  /** `legacy` or `modern`; absent until a handshake succeeded. */
  era: text(),
  /** The upstream's discovery answer as JSON, so that a modern one needs no second probe. */
  discovery: text(),
  /** The transport an `auto` server answered on. */
  transport: text(),
  everConnected: integer("ever_connected", { mode: "boolean" }).notNull().default(false),
  connectedAt: integer("connected_at"),
  connectMs: integer("connect_ms"),
  toolCount: integer("tool_count").notNull().default(0),
  firstSeenAt: integer("first_seen_at").notNull(),
});

/** The last known tools of each server. */
export const tools = sqliteTable(
  "tools",
  {
    server: text().notNull(),
    name: text().notNull(),
    /** The definition as JSON, as the upstream gave it. */
    definition: text().notNull(),
    fingerprint: text().notNull(),
  },
  (table) => [primaryKey({ columns: [table.server, table.name] })],
);
