/**
 * The sessions of legacy clients, as operators see them: the open ones and the last that ended.
 *
 * Owns what is known of each: who, since when, how much it called. Invariants: a session is named by the beginning
 * of its id, which alone opens nothing; what ended is kept in bounded number. Reading it off the transports was
 * rejected: they are gone when somebody asks what a client did.
 */

/** Ended sessions that are kept. */
const MAX_ENDED = 200;

/** What a client says of itself. */
export interface ClientInfo {
  readonly name: string;
  readonly version: string;
}

/** A session; times in Unix milliseconds. */
export interface SessionRecord {
  /** The beginning of its id. */
  readonly id: string;
  readonly client: ClientInfo | undefined;
  readonly openedAt: number;
  readonly usedAt: number;
  /** Calls of tools. */
  readonly calls: number;
  readonly endedAt: number | undefined;
  /** Why it ended. */
  readonly reason: string | undefined;
}

interface Open {
  readonly openedAt: number;
  /** Known once the handshake is done. */
  readonly client: () => ClientInfo | undefined;
  usedAt: number;
  calls: number;
}

/** Keeps track of sessions. */
export class Sessions {
  readonly #open = new Map<string, Open>();
  readonly #ended: SessionRecord[] = [];

  /** Notes that a session was opened. */
  open(id: string, client: () => ClientInfo | undefined): void {
    const now = Date.now();
    this.#open.set(id, { openedAt: now, usedAt: now, calls: 0, client });
  }

  /** Notes that a session was used, by a call of a tool or otherwise. */
  use(id: string, { isCall }: { readonly isCall: boolean }): void {
    const session = this.#open.get(id);
    if (session === undefined) return;
    if (isCall) session.calls += 1;
    else session.usedAt = Date.now();
  }

  /** Notes that a session ended; what is not open is ignored. */
  end(id: string, reason: string): void {
    const session = this.#open.get(id);
    if (session === undefined) return;
    this.#open.delete(id);
    this.#ended.push({ ...recordOf(id, session), endedAt: Date.now(), reason });
    if (this.#ended.length > MAX_ENDED) this.#ended.shift();
  }

  /** All that are known, the latest opened first. */
  list(): SessionRecord[] {
    const open = [...this.#open].map(([id, session]) => recordOf(id, session));
    return [...this.#ended, ...open].toSorted((a, b) => b.openedAt - a.openedAt);
  }

  /** A session by the beginning of its id, as the lists name it. */
  find(id: string): SessionRecord | undefined {
    const session = this.#open.get(id);
    return session ? recordOf(id, session) : this.#ended.findLast((record) => record.id === id);
  }
}

function recordOf(id: string, { client, openedAt, usedAt, calls }: Open): SessionRecord {
  return { id, client: client(), openedAt, usedAt, calls, endedAt: undefined, reason: undefined };
}
