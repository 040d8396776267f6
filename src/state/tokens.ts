/**
 * The tokens of agents.
 *
 * Owns the table `tokens`: what each one may reach, until when, and the hash of its secret, which is told once and
 * kept nowhere. Invariants: looking one up is synchronous and reads memory only; a token that is made, replaced or
 * revoked is so on the disk before the call returns, so that no power cut brings a revoked one back; a principal is one
 * object for as long as its token stays what it is. A keyed hash was rejected: 256 random bits cannot be guessed, and
 * the key would lie beside the database.
 */
import type { Database } from "bun:sqlite";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";

import { ProxyError } from "../core/errors.ts";
import { PERMISSIONS } from "../core/principal.ts";
import type { Permission, Principal } from "../core/principal.ts";
import { tokens } from "./schema.ts";
import { excluded, preparedLate } from "./statements.ts";

/** What every secret begins with. */
export const TOKEN_PREFIX = "mcp_agt_";
const SECRET_BYTES = 32;
const SHOWN_CHARS = 12;
/** So that whoever makes one for each run is told, and not only slowed down. */
const MAX_TOKENS = 1_000;
/** How late the disk may know of a use. */
const USE_INTERVAL_MS = 60_000;
const EVERY_SERVER = "*";

/** What a token is made of. */
export interface TokenGrant {
  readonly name: string;
  /** Names of servers; `*` means all. */
  readonly servers: readonly string[];
  /** Ids of groups. */
  readonly groups: readonly number[];
  readonly permissions: readonly Permission[];
  /** Unix milliseconds. */
  readonly expiresAt: number;
}

/** A token as it may be shown. */
export interface Token extends TokenGrant {
  /** The first signs of its secret. */
  readonly prefix: string;
  /** Times are Unix milliseconds. */
  readonly createdAt: number;
  readonly lastUsedAt?: number;
  readonly isRevoked: boolean;
}

/** A token that was made just now. */
export interface NewToken {
  readonly token: Token;
  /** Never told again. */
  readonly secret: string;
}

/** What a secret turned out to be. */
export type TokenVerdict =
  | { readonly kind: "valid"; readonly principal: Principal }
  | { readonly kind: "expired" | "revoked"; readonly name: string };

/** What {@link Tokens} works with. */
export interface TokensDeps {
  readonly db: Database;
  /** Writes at once, synced to the disk. */
  readonly writeNow: (write: () => void) => void;
  /** Writes soon, together with others. */
  readonly writeSoon: (write: () => void) => void;
  /** @default Date.now */
  readonly now?: () => number;
}

interface Known {
  token: Token;
  readonly hash: string;
  readonly principal: Principal;
  /** The servers of the principal; absent: all. */
  readonly reached: Set<string> | undefined;
  /** When the disk was told of a use. */
  noted: number;
}

/** All tokens of a data dir. */
export class Tokens {
  readonly #deps: TokensDeps;
  readonly #statements: ReturnType<typeof prepare>;
  readonly #now: () => number;
  readonly #byName = new Map<string, Known>();
  readonly #byHash = new Map<string, Known>();

  constructor(deps: TokensDeps) {
    this.#deps = deps;
    this.#now = deps.now ?? Date.now;
    this.#statements = prepare(deps.db);
    for (const row of this.#statements.all.all()) this.#keep(fromRow(row), row.hash);
  }

  /** All of them, revoked ones too, the oldest first. */
  list(): readonly Token[] {
    return [...this.#byName.values()]
      .map(({ token }) => token)
      .toSorted((a, b) => a.createdAt - b.createdAt || (a.name < b.name ? -1 : 1));
  }

  /** @throws {ProxyError} `TOKEN_UNKNOWN` */
  get(name: string): Token {
    return this.#get(name).token;
  }

  /**
   * Makes a token.
   *
   * @throws {ProxyError} `TOKEN_EXISTS` when the name is taken, by a revoked one too, or there are too many.
   */
  create(grant: TokenGrant): NewToken {
    if (this.#byName.has(grant.name)) {
      throw new ProxyError("TOKEN_EXISTS", `Cannot make the token '${grant.name}': the name is taken`, {
        hint: "Take another name, regenerate that one, or remove it for good",
      });
    }
    if (this.#byName.size >= MAX_TOKENS) {
      throw new ProxyError("TOKEN_EXISTS", `Cannot make a token: there are ${MAX_TOKENS} already`, {
        hint: "Remove those that are revoked or expired: DELETE /api/v1/tokens/NAME/permanent",
      });
    }
    return this.#issue({ ...grant, createdAt: this.#now() });
  }

  /**
   * Gives a token another secret, all else being as it was; the old one ends at once.
   *
   * @param expiresAt another end; that of a token that has expired needs one
   * @throws {ProxyError} `TOKEN_UNKNOWN`, `TOKEN_REVOKED`
   */
  regenerate(name: string, expiresAt?: number): NewToken {
    const { token } = this.#get(name);
    if (token.isRevoked) {
      throw new ProxyError("TOKEN_REVOKED", `Cannot regenerate the token '${name}': it is revoked`, {
        hint: "Remove it for good, and make a new one",
      });
    }
    const { prefix: _, lastUsedAt: __, isRevoked: ___, ...grant } = token;
    return this.#issue({ ...grant, expiresAt: expiresAt ?? token.expiresAt });
  }

  /**
   * Ends a token for ever; its name stays taken. Idempotent.
   *
   * @throws {ProxyError} `TOKEN_UNKNOWN`
   */
  revoke(name: string): void {
    const known = this.#get(name);
    const after = { ...known.token, isRevoked: true };
    this.#deps.writeNow(() => this.#statements.save.run(toRow(after, known.hash)));
    this.#keep(after, known.hash);
  }

  /**
   * Forgets a token, so that its name is free.
   *
   * @throws {ProxyError} `TOKEN_UNKNOWN`
   */
  remove(name: string): void {
    const { hash } = this.#get(name);
    this.#deps.writeNow(() => this.#statements.drop.run({ name }));
    this.#byName.delete(name);
    this.#byHash.delete(hash);
  }

  /** Says what a secret is by its SHA-256, in hex; undefined when it is none of ours. */
  recognize(hash: string): TokenVerdict | undefined {
    const known = this.#byHash.get(hash);
    if (known === undefined) return undefined;
    const { token, principal } = known;
    const now = this.#now();
    if (token.isRevoked) return { kind: "revoked", name: token.name };
    if (token.expiresAt <= now) return { kind: "expired", name: token.name };
    this.#noteUse(known, now);
    return { kind: "valid", principal };
  }

  /** Whether a principal of a token is still what it was when it came in. */
  isCurrent(principal: Principal): boolean {
    const known = this.#byName.get(principal.id.slice(PRINCIPAL_PREFIX.length));
    return known?.principal === principal && !known.token.isRevoked && known.token.expiresAt > this.#now();
  }

  /** Follows servers that have other names now, all at once: whoever could reach one still can. */
  renameServers(renamed: ReadonlyMap<string, string>): void {
    for (const known of this.#byName.values()) {
      const { token, hash, reached } = known;
      if (!token.servers.some((name) => renamed.has(name))) continue;
      const after = { ...token, servers: token.servers.map((name) => renamed.get(name) ?? name) };
      // In place: streams and sessions of the token go on.
      known.token = after;
      reached?.clear();
      for (const name of after.servers) reached?.add(name);
      this.#deps.writeSoon(() => this.#statements.save.run(toRow(after, hash)));
    }
  }

  /** Gives each group of a token its number now; one without a number is let go, before the disk knows of it. */
  moveGroups(numberOf: (id: number) => number | undefined): void {
    // Those that are there now: each is put in its place anew.
    const all = [...this.#byName.values()];
    for (const { token, hash } of all) {
      const groups = [...new Set(token.groups.flatMap((id) => numberOf(id) ?? []))];
      if (groups.join() === token.groups.join()) continue;
      const after = { ...token, groups };
      // Another principal: what the former one has open ends.
      this.#keep(after, hash);
      this.#deps.writeNow(() => this.#statements.save.run(toRow(after, hash)));
    }
  }

  /** Writes what is known of uses and was not written yet. */
  flush(): void {
    for (const known of this.#byName.values()) {
      if ((known.token.lastUsedAt ?? 0) > known.noted) this.#writeUse(known);
    }
  }

  #noteUse(known: Known, now: number): void {
    known.token = { ...known.token, lastUsedAt: now };
    if (now - known.noted >= USE_INTERVAL_MS) this.#writeUse(known);
  }

  #writeUse(known: Known): void {
    const { name, lastUsedAt } = known.token;
    known.noted = lastUsedAt ?? 0;
    this.#deps.writeSoon(() => this.#statements.noteUse.run({ name, lastUsedAt: known.noted }));
  }

  #get(name: string): Known {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    throw new ProxyError("TOKEN_UNKNOWN", `Cannot find a token named '${name.slice(0, 100)}'`, {
      hint: "List the tokens with GET /api/v1/tokens",
    });
  }

  #issue(grant: TokenGrant & { readonly createdAt: number }): NewToken {
    const bytes = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
    const secret = TOKEN_PREFIX + Buffer.from(bytes).toString("hex");
    const hash = hashToken(secret);
    const token = { ...grant, prefix: secret.slice(0, SHOWN_CHARS), isRevoked: false };
    const old = this.#byName.get(grant.name);
    this.#deps.writeNow(() => this.#statements.save.run(toRow(token, hash)));
    if (old !== undefined) this.#byHash.delete(old.hash);
    this.#keep(token, hash);
    return { token, secret };
  }

  #keep(token: Token, hash: string): void {
    const reached = token.servers.includes(EVERY_SERVER) ? undefined : new Set(token.servers);
    const principal = principalOf(token, reached);
    const known = { token, hash, principal, reached, noted: token.lastUsedAt ?? 0 };
    this.#byName.set(token.name, known);
    this.#byHash.set(hash, known);
  }
}

/** SHA-256 of a secret, in hex. */
export function hashToken(secret: string): string {
  return new Bun.CryptoHasher("sha256").update(secret).digest("hex");
}

const PRINCIPAL_PREFIX = "agent:";

function principalOf(
  { name, groups, permissions }: Token,
  servers: ReadonlySet<string> | undefined,
): Principal {
  const base = { id: PRINCIPAL_PREFIX + name, kind: "agent", permissions: new Set(permissions) } as const;
  return servers === undefined ? base : { ...base, servers, groups: new Set(groups.map(String)) };
}

function prepare(db: Database) {
  const orm = drizzle(db);
  const place = sql.placeholder;
  const values = {
    hash: place("hash"),
    prefix: place("prefix"),
    servers: place("servers"),
    groups: place("groups"),
    permissions: place("permissions"),
    createdAt: place("createdAt"),
    expiresAt: place("expiresAt"),
    lastUsedAt: place("lastUsedAt"),
    isRevoked: place("isRevoked"),
  };
  const named = eq(tokens.name, place("name"));
  return preparedLate({
    all: () => orm.select().from(tokens).prepare(),
    save: () =>
      orm
        .insert(tokens)
        .values({ name: place("name"), ...values })
        .onConflictDoUpdate({
          target: tokens.name,
          set: excluded(tokens, [
            "hash",
            "prefix",
            "servers",
            "groups",
            "expiresAt",
            "lastUsedAt",
            "isRevoked",
          ]),
        })
        .prepare(),
    noteUse: () =>
      orm
        .update(tokens)
        .set({ lastUsedAt: sql`${place("lastUsedAt")}` })
        .where(named)
        .prepare(),
    drop: () => orm.delete(tokens).where(named).prepare(),
  });
}

function toRow(token: Token, hash: string): Record<string, unknown> {
  return {
    ...token,
    hash,
    servers: JSON.stringify(token.servers),
    groups: JSON.stringify(token.groups),
    permissions: JSON.stringify(token.permissions),
    lastUsedAt: token.lastUsedAt ?? null,
  };
}

function fromRow(row: typeof tokens.$inferSelect): Token {
  const { hash: _, lastUsedAt, ...rest } = row;
  const permissions = JSON.parse(row.permissions) as readonly string[];
  return {
    ...rest,
    servers: JSON.parse(row.servers) as readonly string[],
    groups: JSON.parse(row.groups) as readonly number[],
    permissions: PERMISSIONS.filter((permission) => permissions.includes(permission)),
    ...(lastUsedAt === null ? {} : { lastUsedAt }),
  };
}
