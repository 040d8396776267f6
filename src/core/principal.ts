/**
 * Who is calling.
 *
 * Owns the word and its three kinds: who holds the API key or speaks through the socket (`admin`), who holds an agent
 * token (`agent`), and an MCP client where no key is asked for (`open`). Invariant: a principal is a value, decided once
 * at the edge; what it may do is decided in the gateway. A name alone was rejected: each surface would look up the rest.
 */

/** What a tool does, as far as a token may forbid it. */
export const PERMISSIONS = ["read", "write", "destructive"] as const;
/** One of {@link PERMISSIONS}. */
export type Permission = (typeof PERMISSIONS)[number];

/** Who is calling. */
export interface Principal {
  /** As it is written down: `api_key`, `socket`, `open` or `agent:NAME`. */
  readonly id: string;
  readonly kind: "admin" | "agent" | "open";
  /** Which tools it may call. */
  readonly permissions: ReadonlySet<Permission>;
  /** The only servers it may reach, besides those of `groups`; absent with `groups`: all. */
  readonly servers?: ReadonlySet<string>;
  /** Names or ids of groups whose servers it may reach. */
  readonly groups?: ReadonlySet<string>;
}

const ALL: ReadonlySet<Permission> = new Set(PERMISSIONS);

/** Who holds the API key. */
export const ADMIN: Principal = { id: "api_key", kind: "admin", permissions: ALL };
/** An MCP client that was asked for no key. */
export const OPEN: Principal = { id: "open", kind: "open", permissions: ALL };
/** Whoever speaks through the Unix socket, which only the user who runs the proxy can open. */
export const SOCKET: Principal = { id: "socket", kind: "admin", permissions: ALL };
