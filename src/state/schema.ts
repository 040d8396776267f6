/**
 * The tables of the database, as Drizzle sees them.
 *
 * Owns names and columns; the SQL that makes them is generated into `drizzle/` and embedded. Invariant: the
 * configuration is never here, only hashes of it; what was learned can be learned again, so losing the
 * database costs time and history, never a configuration. Times are Unix milliseconds. One JSON column for a
 * whole server was rejected: `tool_count` and `connected_at` decide the order of starting and are read alone.
 */
import { index, integer, primaryKey, real, sqliteTable, text } from "drizzle-orm/sqlite-core";

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
  /** `quarantined` or absent; other values are of older versions and mean nothing. */
  mode: text(),
  /** The mode before it was quarantined or auto-disabled. */
  formerMode: text("former_mode"),
  /** Why and since when it is auto-disabled, JSON. */
  autoDisabled: text("auto_disabled"),
  /** Hash over what the configuration starts, as last seen. */
  definitionHash: text("definition_hash"),
  /** The definition hash that may be started. */
  approvedHash: text("approved_hash"),
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

/** The journal of configuration commits; its ids are the revisions. */
export const commits = sqliteTable("commits", {
  id: integer().primaryKey({ autoIncrement: true }),
  /** `start`, `external`, `change` or `rollback`. */
  kind: text().notNull(),
  /** SHA-256 of the text before, hex; empty when there was none. */
  oldHash: text("old_hash").notNull(),
  newHash: text("new_hash").notNull(),
  /** `pending`, `done` or `abandoned`. */
  state: text().notNull(),
  /** What becomes true with the commit, JSON; gone once it is done. */
  effects: text(),
  summary: text().notNull(),
  at: integer().notNull(),
});

/** What was done, by whom, and what came of it; ids are given by the writer and only grow. */
export const activity = sqliteTable(
  "activity",
  {
    id: integer().primaryKey(),
    at: integer().notNull(),
    /** As in `tool_call`. */
    type: text().notNull(),
    /** Where it came from: `mcp`, `api`, `proxy`. */
    source: text().notNull(),
    /** `success`, `error` or `blocked`. */
    status: text().notNull(),
    server: text(),
    tool: text(),
    /** What a call was meant to be: `read`, `write` or `destructive`. */
    intent: text(),
    durationMs: real("duration_ms"),
    requestId: text("request_id"),
    session: text(),
    principal: text(),
    /** What went wrong, secrets hidden. */
    message: text(),
    /** Arguments and further facts as JSON, secrets hidden. */
    detail: text(),
  },
  // No other index: each one costs a call more than its entry, and reading goes in slices.
  (table) => [index("activity_request").on(table.requestId)],
);

/** Tokens of agents; of the secret itself nothing but a hash. */
export const tokens = sqliteTable("tokens", {
  name: text().primaryKey(),
  /** SHA-256, hex. */
  hash: text().notNull().unique(),
  /** The first signs of the secret, by which a person tells it from others. */
  prefix: text().notNull(),
  /** Names of servers, or `*`, JSON. */
  servers: text().notNull(),
  /** Ids of groups, JSON. */
  groups: text().notNull(),
  /** JSON. */
  permissions: text().notNull(),
  createdAt: integer("created_at").notNull(),
  expiresAt: integer("expires_at").notNull(),
  /** To the minute. */
  lastUsedAt: integer("last_used_at"),
  isRevoked: integer("is_revoked", { mode: "boolean" }).notNull().default(false),
});
