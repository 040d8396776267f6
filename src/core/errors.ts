/**
 * The one error class and the one table of codes.
 *
 * Owns which code means which HTTP status, JSON-RPC code and exit code, and whether trying again can
 * help; the edges (`api/`, `front/`, `cli/`) map from here and nowhere else. Invariant: a message is
 * fit to be shown to a client, the raw cause is for the log only. A class per error was rejected: the
 * edges need the table anyway, and `instanceof` ladders drift from it.
 */

interface ErrorRow {
  readonly http: number;
  /** JSON-RPC 2.0 error code (section 5.1; −32000 to −32099 are implementation-defined). */
  readonly rpc: number;
  readonly retriable: boolean;
  /** Process exit code: 1 failure, 2 usage, 3 not reachable, 4 configuration. */
  readonly exit: number;
  readonly doc: string;
}

/** Every code the proxy raises. */
export const ERRORS = {
  ARGUMENTS_INVALID: {
    http: 400,
    rpc: -32602,
    retriable: false,
    exit: 2,
    doc: "The arguments do not fit the schema",
  },
  AUTH_REQUIRED: {
    http: 401,
    rpc: -32001,
    retriable: false,
    exit: 1,
    doc: "No API key, or a wrong one, was sent",
  },
  CACHE_UNKNOWN: { http: 404, rpc: -32602, retriable: false, exit: 1, doc: "No cached result has this key" },
  CALL_CANCELLED: {
    http: 499,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "The caller gave up before the answer came",
  },
  CALL_FAILED: {
    http: 502,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "The upstream answered with an error",
  },
  CALL_TIMEOUT: {
    http: 504,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "The upstream did not answer in time",
  },
  CLIENT_ABSENT: {
    http: 404,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The MCP client is not installed",
  },
  CLIENT_UNKNOWN: {
    http: 404,
    rpc: -32602,
    retriable: false,
    exit: 2,
    doc: "No MCP client program has this name",
  },
  CONFIG_CONFLICT: {
    http: 409,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "The configuration was changed by somebody else meanwhile",
  },
  CONFIG_INVALID: { http: 400, rpc: -32603, retriable: false, exit: 4, doc: "The configuration has faults" },
  CONFIG_UNREADABLE: {
    http: 500,
    rpc: -32603,
    retriable: false,
    exit: 4,
    doc: "The configuration cannot be read",
  },
  CONFIG_UNWRITABLE: {
    http: 500,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "The configuration cannot be written; the old one stays",
  },
  DATA_DIR_IN_USE: {
    http: 500,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "Another process holds the data dir",
  },
  ENTRY_TAKEN: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The client has an entry of this name that leads elsewhere",
  },
  GROUP_EXISTS: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "A group has this name or id already",
  },
  GROUP_UNKNOWN: {
    http: 404,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "No group has this name or id",
  },
  HOST_FORBIDDEN: {
    http: 403,
    rpc: -32001,
    retriable: false,
    exit: 1,
    doc: "Host or Origin is not allowed here",
  },
  INTERNAL: {
    http: 500,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "The proxy failed; its log has the cause",
  },
  KEY_EXPOSED: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The key would stand where others can read it",
  },
  LISTEN_FAILED: {
    http: 500,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "The address cannot be listened on",
  },
  MANAGEMENT_REFUSED: {
    http: 403,
    rpc: -32001,
    retriable: false,
    exit: 1,
    doc: "A setting forbids changes of this kind",
  },
  MODE_REFUSED: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The server's startup mode does not allow this move",
  },
  NOT_REACHABLE: { http: 503, rpc: -32000, retriable: true, exit: 3, doc: "No running proxy answers" },
  PROFILE_BUSY: {
    http: 409,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "Another profile of the process is under way",
  },
  QUARANTINED: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The server is quarantined: a person has to approve it",
  },
  RATE_LIMITED: {
    http: 429,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "Too many wrong keys were sent",
  },
  REGISTRY_FAILED: {
    http: 502,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "A registry of servers did not answer as one",
  },
  REGISTRY_UNKNOWN: {
    http: 404,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "No registry, or no server in it, has this name",
  },
  REVISION_UNKNOWN: {
    http: 404,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "No kept revision of the configuration has this id",
  },
  ROUTE_UNKNOWN: { http: 404, rpc: -32601, retriable: false, exit: 1, doc: "No such route" },
  SCOPE_REFUSED: {
    http: 403,
    rpc: -32001,
    retriable: false,
    exit: 1,
    doc: "The token does not cover what was asked for",
  },
  SECRET_MISSING: {
    http: 400,
    rpc: -32603,
    retriable: false,
    exit: 4,
    doc: "A referenced secret is not set",
  },
  SERVER_BUSY: {
    http: 503,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "As many calls as allowed are under way, and no place became free",
  },
  SERVER_EXISTS: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "A server has this name already",
  },
  SERVER_FAULTY: { http: 409, rpc: -32602, retriable: false, exit: 4, doc: "The server's entry has faults" },
  SERVER_NOT_READY: {
    http: 503,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "The upstream is not connected",
  },
  SERVER_OFF: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The server's startup mode forbids calls",
  },
  SERVER_UNKNOWN: { http: 404, rpc: -32602, retriable: false, exit: 1, doc: "No server has this name" },
  SESSION_UNKNOWN: { http: 404, rpc: -32001, retriable: true, exit: 1, doc: "No session has this id" },
  STORE_CORRUPT: { http: 500, rpc: -32603, retriable: false, exit: 1, doc: "The database cannot be read" },
  STREAMS_REFUSED: {
    http: 503,
    rpc: -32000,
    retriable: true,
    exit: 1,
    doc: "No more streams of events are taken: too many are open, or the proxy stops",
  },
  TOKEN_EXISTS: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "A token with this name exists",
  },
  TOKEN_REVOKED: {
    http: 409,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The token was revoked, for ever",
  },
  TOKEN_UNKNOWN: {
    http: 404,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "No token has this name",
  },
  TOOL_REFUSED: {
    http: 403,
    rpc: -32602,
    retriable: false,
    exit: 1,
    doc: "The tool may not be called this way",
  },
  TOOL_UNKNOWN: { http: 404, rpc: -32602, retriable: false, exit: 1, doc: "No tool has this id" },
  UPSTREAM_AUTH: { http: 502, rpc: -32603, retriable: false, exit: 1, doc: "The upstream wants a login" },
  UPSTREAM_FAILED: {
    http: 502,
    rpc: -32603,
    retriable: true,
    exit: 1,
    doc: "The upstream could not be connected",
  },
  USAGE: { http: 400, rpc: -32602, retriable: false, exit: 2, doc: "The command or request is malformed" },
  VERIFY_FAILED: {
    http: 422,
    rpc: -32603,
    retriable: false,
    exit: 1,
    doc: "A server of the plan could not be connected on trial; nothing was changed",
  },
} as const satisfies Record<string, ErrorRow>;

/** A key of {@link ERRORS}. */
export type ErrorCode = keyof typeof ERRORS;

/** What may travel beside a {@link ProxyError}'s message. */
export interface ProxyErrorOptions {
  /** Facts for the client, such as the schema that was violated. */
  readonly data?: Readonly<Record<string, unknown>>;
  /** A command or a setting that mends it. */
  readonly hint?: string;
  /** What was caught; logged, never sent. */
  readonly cause?: unknown;
}

/** The only error the proxy throws on purpose. */
export class ProxyError extends Error {
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>> | undefined;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: ProxyErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ProxyError";
    this.code = code;
    this.data = options.data;
    this.hint = options.hint;
  }
}

/** Returns `error` as it is when it is ours, else wrapped as `INTERNAL` with the cause kept for the log. */
export function toProxyError(error: unknown): ProxyError {
  if (error instanceof ProxyError) return error;
  return new ProxyError("INTERNAL", "Cannot complete the request: an internal error occurred", {
    cause: error,
    hint: "The log of the proxy has the cause under the same request id",
  });
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
