/**
 * Which moves a server may make.
 *
 * Owns the two tables: how the connection moves, and how the startup mode does; pure, so that every cell can
 * be tested. Invariant: what a table does not name is refused and changes nothing. One table over the
 * product of both was rejected: of its 420 cells all but one rule factor into the two (an attempt needs a
 * mode that may connect).
 *
 *   connection                                   mode
 *
 *   disconnected ◀──close── (any other)          active ◀──────▶ lazy_loading
 *        │                                          │  ▲            │  ▲
 *     attempt ◀───────────── error                  ▼  │            ▼  │     any ──quarantine──▶ quarantined
 *        ▼                     ▲                  disabled ◀──── auto_disabled             approve ▶ its former mode
 *   connecting ──fail──────────┤                    (auto_disabled: from active, lazy_loading;   reject ▶ disabled
 *     │    └─authenticate─▶ authenticating          recover ▶ its former mode)
 *     ▼                     │  │
 *   discovering ◀──discover─┘  └──fail─▶ error
 *     │ ready            └──fail─▶ error
 *     ▼
 *   ready ──fail─▶ error
 */
import type { ConnectionState, StartupMode } from "../core/model.ts";

/** What can happen to a connection. */
export type ConnectionEvent = "attempt" | "authenticate" | "discover" | "ready" | "fail" | "close";

/** What can be asked of a startup mode. */
export type ModeEvent =
  | "activate"
  | "make_lazy"
  | "disable"
  | "auto_disable"
  | "recover"
  | "quarantine"
  | "approve"
  | "reject";

/** Modes a server may be connected in; `auto_disabled` for the probe that may bring it back. */
const MAY_CONNECT: ReadonlySet<StartupMode> = new Set(["active", "lazy_loading", "auto_disabled"]);

const CONNECTION_MOVES: Readonly<Record<ConnectionState, Partial<Record<ConnectionEvent, ConnectionState>>>> =
  {
    disconnected: { attempt: "connecting" },
    connecting: {
      authenticate: "authenticating",
      discover: "discovering",
      fail: "error",
      close: "disconnected",
    },
    authenticating: { discover: "discovering", fail: "error", close: "disconnected" },
    discovering: { ready: "ready", fail: "error", close: "disconnected" },
    ready: { fail: "error", close: "disconnected" },
    error: { attempt: "connecting", close: "disconnected" },
  };

/** `former` stands for the mode the server had before it was quarantined or auto-disabled. */
const MODE_MOVES: Readonly<Record<StartupMode, Partial<Record<ModeEvent, StartupMode | "former">>>> = {
  active: {
    make_lazy: "lazy_loading",
    disable: "disabled",
    auto_disable: "auto_disabled",
    quarantine: "quarantined",
  },
  lazy_loading: {
    activate: "active",
    disable: "disabled",
    auto_disable: "auto_disabled",
    quarantine: "quarantined",
  },
  disabled: { activate: "active", make_lazy: "lazy_loading", quarantine: "quarantined" },
  auto_disabled: {
    activate: "active",
    make_lazy: "lazy_loading",
    disable: "disabled",
    recover: "former",
    quarantine: "quarantined",
  },
  quarantined: { approve: "former", reject: "disabled" },
};

/** The connection's next state; undefined when the move is refused. */
export function moveConnection(
  from: ConnectionState,
  event: ConnectionEvent,
  mode: StartupMode,
): ConnectionState | undefined {
  if (event === "attempt" && !MAY_CONNECT.has(mode)) return undefined;
  return CONNECTION_MOVES[from][event];
}

/** The next startup mode; undefined when the move is refused. */
export function moveMode(from: StartupMode, event: ModeEvent, former: StartupMode): StartupMode | undefined {
  const to = MODE_MOVES[from][event];
  return to === "former" ? former : to;
}

/** Whether a server in this mode may be called, and connected for a call. */
export function isCallable(mode: StartupMode): boolean {
  return mode === "active" || mode === "lazy_loading";
}

/**
 * The mode that holds when the file says one thing and the database another: what is held is quarantined wherever that
 * comes from, an auto-disable counts only over a mode that would connect.
 */
export function modeInForce(
  inFile: StartupMode,
  known: {
    /** Quarantined by the database, or its definition is not approved. */
    readonly isHeld: boolean;
    readonly isAutoDisabled: boolean;
  },
): StartupMode {
  if (known.isHeld) return "quarantined";
  return known.isAutoDisabled && isCallable(inFile) ? "auto_disabled" : inFile;
}
