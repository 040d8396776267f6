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
  /** Whether the last attempt failed. */
  failedLast: integer("failed_last", { mode: "boolean" }).notNull().default(false),
  /** The startup mode an operator set; wins over the file. */
  mode: text(),
  /** The mode before it was quarantined or auto-disabled. */
  formerMode: text("former_mode"),
  /** Why and since when it is auto-disabled, JSON. */
  autoDisabled: text("auto_disabled"),
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

/** Children that run, so that the next start ends what a killed run left. */
export const children = sqliteTable("children", {
  pid: integer().primaryKey(),
  pgid: integer().notNull(),
  /** When the process began, as the kernel tells it, with the boot it belongs to; empty where it cannot be told. */
  born: text().notNull(),
  /** The run of the proxy that started it. */
  instance: text().notNull(),
  server: text().notNull(),
});
