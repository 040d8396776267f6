/**
 * Tokens on the disk and in memory: what is kept of a secret, and what outlives what.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "bun:test";

import { openDatabase } from "../../src/state/database.ts";
import { Store } from "../../src/state/store.ts";
import { hashToken, Tokens } from "../../src/state/tokens.ts";
import type { TokenGrant } from "../../src/state/tokens.ts";
import { createLog } from "../../src/lib/log.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const log = createLog({ level: "error", write: () => {} });
const DAY_MS = 86_400_000;

function grant(parts: Partial<TokenGrant> = {}): TokenGrant {
  return {
    name: "bot",
    servers: ["a", "b"],
    groups: [3],
    permissions: ["read"],
    expiresAt: Date.now() + DAY_MS,
    ...parts,
  };
}

function kindOf(tokens: Tokens, secret: string): string | undefined {
  return tokens.recognize(hashToken(secret))?.kind;
}

/** All bytes of a data dir. */
function bytesOf(folder: string): string {
  return readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), "latin1"))
    .join("\n");
}

interface Clocked extends Disposable {
  readonly tokens: Tokens;
  readonly clock: { now: number };
  /** What is written soon, in order. */
  readonly writes: (() => void)[];
  /** Reads the same rows anew. */
  readonly again: () => Tokens;
}

/** Tokens over a clock that is set by hand. */
function clocked(): Clocked {
  const folder = tempDir();
  const db = openDatabase(join(folder.path, "mcpproxy.db"));
  const clock = { now: 1_000_000 };
  const writes: (() => void)[] = [];
  const open = (): Tokens =>
    new Tokens({
      db,
      writeNow: (write) => write(),
      writeSoon: (write) => void writes.push(write),
      now: () => clock.now,
    });
  return {
    tokens: open(),
    clock,
    writes,
    again: open,
    [Symbol.dispose]: () => {
      db.close();
      folder[Symbol.dispose]();
    },
  };
}

test("create() tells a secret once, and the data dir has nothing of it but a hash", async () => {
  verifies("TOKEN-HASHED");
  using folder = tempDir();
  await using store = Store.open({ dataDir: folder.path, log });
  const { secret, token } = store.tokens.create(grant());
  expect(secret).toMatch(/^mcp_agt_[0-9a-f]{64}$/);
  expect(secret.startsWith(token.prefix)).toBe(true);
  expect(token.prefix.length).toBe(12);
  store.flush();
  const bytes = bytesOf(folder.path);
  expect(bytes).toContain(hashToken(secret));
  expect(bytes).not.toContain(secret.slice(8));
  expect(bytes).not.toContain(secret.slice(20, 40));
  expect(JSON.stringify(store.tokens.list())).not.toContain(hashToken(secret));
});

test("tokens outlive the proxy; revoked and replaced ones stay what they are", async () => {
  verifies("TOKEN-EXPIRES", "TOKEN-HASHED");
  using folder = tempDir();
  const made = { kept: "", revoked: "", old: "", fresh: "", over: "" };
  {
    await using store = Store.open({ dataDir: folder.path, log });
    made.kept = store.tokens.create(grant({ name: "kept" })).secret;
    made.revoked = store.tokens.create(grant({ name: "revoked" })).secret;
    made.old = store.tokens.create(grant({ name: "replaced" })).secret;
    made.fresh = store.tokens.regenerate("replaced").secret;
    made.over = store.tokens.create(grant({ name: "over", expiresAt: Date.now() - 1 })).secret;
    store.tokens.revoke("revoked");
  }
  await using store = Store.open({ dataDir: folder.path, log });
  const { tokens } = store;
  expect(kindOf(tokens, made.kept)).toBe("valid");
  expect(kindOf(tokens, made.fresh)).toBe("valid");
  expect(kindOf(tokens, made.revoked)).toBe("revoked");
  expect(kindOf(tokens, made.over)).toBe("expired");
  expect(kindOf(tokens, made.old)).toBeUndefined();
  expect(tokens.get("kept")).toMatchObject({ servers: ["a", "b"], groups: [3], permissions: ["read"] });
  expect(
    tokens
      .list()
      .map(({ name }) => name)
      .toSorted(),
  ).toEqual(["kept", "over", "replaced", "revoked"]);
});

test("regenerate() refuses a revoked token, keeps the grant, and makes an expired one good with another end", async () => {
  verifies("TOKEN-EXPIRES");
  using folder = tempDir();
  await using store = Store.open({ dataDir: folder.path, log });
  const { tokens } = store;
  const first = tokens.create(grant({ expiresAt: Date.now() - 1 }));
  expect(kindOf(tokens, first.secret)).toBe("expired");
  const second = tokens.regenerate("bot", Date.now() + DAY_MS);
  expect(kindOf(tokens, second.secret)).toBe("valid");
  expect(kindOf(tokens, first.secret)).toBeUndefined();
  expect(second.token).toMatchObject({ servers: ["a", "b"], createdAt: first.token.createdAt });
  tokens.revoke("bot");
  tokens.revoke("bot");
  expect((await failureOf(() => tokens.regenerate("bot")))["code"]).toBe("TOKEN_REVOKED");
  expect((await failureOf(() => tokens.create(grant())))["code"]).toBe("TOKEN_EXISTS");
  tokens.remove("bot");
  expect(kindOf(tokens, second.secret)).toBeUndefined();
  expect((await failureOf(() => tokens.get("bot")))["code"]).toBe("TOKEN_UNKNOWN");
  expect(kindOf(tokens, tokens.create(grant()).secret)).toBe("valid");
});

test("recognize() takes a token up to its end and not at it, and the clock decides each time", async () => {
  verifies("TOKEN-EXPIRES");
  using made = clocked();
  const { tokens, clock } = made;
  const { secret } = tokens.create(grant({ expiresAt: 1_000_100 }));
  const verdict = tokens.recognize(hashToken(secret));
  const principal = verdict?.kind === "valid" ? verdict.principal : undefined;
  expect(principal).toMatchObject({ id: "agent:bot", kind: "agent" });
  expect(principal && tokens.isCurrent(principal)).toBe(true);
  clock.now = 1_000_099;
  expect(kindOf(tokens, secret)).toBe("valid");
  clock.now = 1_000_100;
  expect(kindOf(tokens, secret)).toBe("expired");
  expect(principal && tokens.isCurrent(principal)).toBe(false);
});

test("a principal is one object as long as its token holds, and another afterwards", async () => {
  verifies("TOKEN-EXPIRES");
  using folder = tempDir();
  await using store = Store.open({ dataDir: folder.path, log });
  const { tokens } = store;
  const principalOf = (secret: string) => {
    const verdict = tokens.recognize(hashToken(secret));
    return verdict?.kind === "valid" ? verdict.principal : undefined;
  };
  const { secret } = tokens.create(grant());
  const before = principalOf(secret);
  expect(principalOf(secret)).toBe(before);
  const after = principalOf(tokens.regenerate("bot").secret);
  expect(after).not.toBe(before);
  expect(before && tokens.isCurrent(before)).toBe(false);
  expect(after && tokens.isCurrent(after)).toBe(true);
  tokens.remove("bot");
  expect(after && tokens.isCurrent(after)).toBe(false);
});

test("a server that gets another name stays in reach, here and after a restart", async () => {
  verifies("TOKEN-SCOPE");
  using folder = tempDir();
  let secret = "";
  {
    await using store = Store.open({ dataDir: folder.path, log });
    ({ secret } = store.tokens.create(grant()));
    const verdict = store.tokens.recognize(hashToken(secret));
    store.tokens.renameServers(
      new Map([
        ["b", "c"],
        ["nowhere", "d"],
      ]),
    );
    expect(verdict?.kind === "valid" && [...(verdict.principal.servers ?? [])].toSorted()).toEqual([
      "a",
      "c",
    ]);
  }
  await using store = Store.open({ dataDir: folder.path, log });
  expect(store.tokens.get("bot").servers).toEqual(["a", "c"]);
  expect(kindOf(store.tokens, secret)).toBe("valid");
});

test("a thousand uses of a token are one write a minute at most, and none of them is on the way", async () => {
  verifies("TOKEN-HASHED");
  using made = clocked();
  const { tokens, clock, writes } = made;
  const { secret } = tokens.create(grant({ expiresAt: clock.now + DAY_MS }));
  const hash = hashToken(secret);
  for (let use = 0; use < 1_000; use += 1) {
    clock.now += 100;
    tokens.recognize(hash);
  }
  // 100 s of uses, the first noted at once.
  expect(writes.length).toBe(2);
  expect(tokens.get("bot").lastUsedAt).toBe(clock.now);
  tokens.flush();
  expect(writes.length).toBe(3);
  tokens.flush();
  expect(writes.length).toBe(3);
  for (const write of writes) write();
  expect(made.again().get("bot").lastUsedAt).toBe(clock.now);
});

test("create() ends at a thousand tokens, and says how to make room", async () => {
  verifies("TOKEN-SCOPE");
  using made = clocked();
  const { tokens } = made;
  for (let at = 0; at < 1_000; at += 1) tokens.create(grant({ name: `t${at}` }));
  const failure = await failureOf(() => tokens.create(grant({ name: "more" })));
  expect(failure["code"]).toBe("TOKEN_EXISTS");
  expect(failure["hint"]).toContain("permanent");
});
