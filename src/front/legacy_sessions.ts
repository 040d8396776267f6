/**
 * The sessions of legacy clients over HTTP.
 *
 * Owns the open ones: what each is bound to, how many there may be, and when an idle one ends. Invariants: a session is
 * used only at the address and by the principal that opened it, for all others it does not exist; sessions are bounded
 * in number, the one idle for longest gives way. Sessions that any key may go on with were rejected: an id is no secret
 * to whoever reads a log.
 */
import type { Server } from "@modelcontextprotocol/server";

import type { Sessions } from "../gateway/sessions.ts";
import type { LegacyTransport } from "./legacy_transport.ts";

/** Sessions kept. */
const MAX_SESSIONS = 10_000;
/** A session nobody used for this long is ended. */
const SESSION_IDLE_MS = 60 * 60 * 1_000;
const SWEEP_INTERVAL_MS = 60_000;

/** What a session may be used for. */
export interface SessionBond {
  /** Of the tools it lists. */
  readonly key: string;
  /** Id of the principal. */
  readonly principal: string;
}

/** An open session. */
export interface LegacySession extends SessionBond {
  readonly transport: LegacyTransport;
  readonly server: Server;
}

/** What became of a session. */
export interface SessionNews {
  /** The beginning of its id; the whole of it is what lets a client use the session. */
  readonly session: string;
  /** Sessions that are open now. */
  readonly open: number;
  /** Why it ended; undefined when it was opened. */
  readonly reason?: string;
}

/** Options of {@link LegacySessions}. */
export interface LegacySessionsOptions {
  /** Where sessions and their calls are noted. */
  readonly sessions?: Sessions | undefined;
  /** Told of each session once when it opens and once when it ends. */
  readonly onSession?: ((news: SessionNews) => void) | undefined;
  readonly onError: (error: unknown) => void;
}

interface Kept extends LegacySession {
  usedAt: number;
}

/** Keeps sessions. */
export class LegacySessions {
  readonly #options: LegacySessionsOptions;
  readonly #kept = new Map<string, Kept>();
  #sweeper: Timer | undefined;

  constructor(options: LegacySessionsOptions) {
    this.#options = options;
  }

  /** Open ones. */
  get size(): number {
    return this.#kept.size;
  }

  /** Finds a session and notes that it is used; undefined when it is another one's. */
  use(id: string, { key, principal }: SessionBond): LegacySession | undefined {
    const session = this.#kept.get(id);
    if (session === undefined || session.key !== key || session.principal !== principal) return undefined;
    session.usedAt = Date.now();
    this.#options.sessions?.use(shortOf(id), { isCall: false });
    return session;
  }

  /** Takes a session that was opened. */
  keep(id: string, session: LegacySession): void {
    this.#kept.set(id, { ...session, usedAt: Date.now() });
    this.#options.sessions?.open(shortOf(id), () => session.server.getClientVersion());
    this.#options.onSession?.({ session: shortOf(id), open: this.size });
    this.#sweeper ??= setInterval(() => this.#sweep(), SWEEP_INTERVAL_MS);
    if (this.size <= MAX_SESSIONS) return;
    let oldest: string | undefined;
    for (const [other, { usedAt }] of this.#kept) {
      if (other !== id && usedAt < (this.#kept.get(oldest ?? "")?.usedAt ?? Infinity)) oldest = other;
    }
    if (oldest !== undefined) this.#endLater(oldest, "too many are open");
  }

  /** Lets a session go whose client ended it. */
  drop(id: string, reason: string): LegacySession | undefined {
    const session = this.#kept.get(id);
    if (session === undefined) return undefined;
    this.#kept.delete(id);
    this.#options.sessions?.end(shortOf(id), reason);
    this.#options.onSession?.({ session: shortOf(id), open: this.size, reason });
    return session;
  }

  /** Ends the sessions of one set of tools, or all. */
  async end(reason: string, key?: string): Promise<void> {
    const ids = [...this.#kept].flatMap(([id, session]) =>
      key === undefined || session.key === key ? [id] : [],
    );
    await Promise.all(ids.map(async (id) => this.drop(id, reason)?.server.close()));
    this.#rest();
  }

  /** Tells the clients of one set of tools that their list is another one now. */
  tellListChanged(key: string): void {
    for (const session of this.#kept.values()) {
      if (session.key === key) void session.server.sendToolListChanged().catch(this.#options.onError);
    }
  }

  #sweep(): void {
    const before = Date.now() - SESSION_IDLE_MS;
    for (const [id, { usedAt }] of this.#kept) {
      if (usedAt < before) this.#endLater(id, "nobody used it");
    }
    this.#rest();
  }

  #endLater(id: string, reason: string): void {
    void this.drop(id, reason)?.server.close().catch(this.#options.onError);
  }

  #rest(): void {
    if (this.size > 0) return;
    clearInterval(this.#sweeper);
    this.#sweeper = undefined;
  }
}

/** How a session is named where others read it. */
export function shortOf(id: string): string {
  return id.slice(0, 8);
}
