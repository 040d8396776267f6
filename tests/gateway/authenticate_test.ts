/**
 * Credentials and who they stand for; and what happens to those who guess.
 */
import { expect, test } from "bun:test";

import { ADMIN, OPEN } from "../../src/core/principal.ts";
import { Access } from "../../src/gateway/access.ts";
import type { AuthenticateOptions } from "../../src/gateway/access.ts";
import { createLog } from "../../src/lib/log.ts";
import { Store } from "../../src/state/store.ts";
import { makeSettings } from "../fixtures/upstreams.ts";
import { failureOf, tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { API_KEY } from "./fixtures.ts";

const log = createLog({ level: "error", write: () => {} });
/** As many wrong keys as are free. */
const FREE = 20;

interface AccessParts {
  readonly hostname?: string;
  readonly clock?: { now: number };
  readonly told?: string[];
}

function accessOf({ hostname = "127.0.0.1", clock = { now: 0 }, told = [] }: AccessParts = {}): Access {
  const settings = makeSettings({ listen: { hostname, port: 8080 }, requireMcpAuth: true });
  return new Access({
    settings,
    apiKey: API_KEY,
    now: () => clock.now,
    onLimit: (address) => void told.push(address),
  });
}

/** Sends a key; undefined when it was right, else the code of the answer. */
async function codeOf(
  access: Access,
  key: string,
  options: Omit<AuthenticateOptions, "address"> & { readonly from?: string } = {},
): Promise<string | undefined> {
  const { from, ...rest } = options;
  const headers = new Headers(key === "" ? {} : { "x-api-key": key });
  try {
    access.authenticate(headers, { ...rest, address: () => from });
    return undefined;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

async function guess(access: Access, times: number, from: string): Promise<readonly (string | undefined)[]> {
  const codes: (string | undefined)[] = [];
  for (let at = 0; at < times; at += 1) codes.push(await codeOf(access, `guess-${at}`, { from }));
  return codes;
}

test("authenticate() gives the key's holder all, and nobody something where nothing is asked for", async () => {
  verifies("API-KEY-REQUIRED");
  const access = accessOf();
  expect(access.authenticate(new Headers({ "x-api-key": API_KEY }))).toBe(ADMIN);
  expect(access.authenticate(new Headers({ authorization: `Bearer ${API_KEY}` }))).toBe(ADMIN);
  expect(access.authenticate(new Headers(), { isOpen: true })).toBe(OPEN);
  expect(access.authenticate(new Headers({ "x-api-key": "" }), { isOpen: true })).toBe(OPEN);
  expect((await failureOf(() => access.authenticate(new Headers())))["code"]).toBe("AUTH_REQUIRED");
  for (const headers of [
    { "x-api-key": "wrong" },
    { authorization: "Bearer wrong" },
    { authorization: `Basic ${btoa(`user:${API_KEY}`)}` },
    { authorization: API_KEY },
    { "x-api-key": "wrong", authorization: `Bearer ${API_KEY}` },
  ]) {
    // A wrong one is wrong where none is asked for as well.
    const failure = await failureOf(() =>
      access.authenticate(new Headers(Object.entries(headers)), { isOpen: true, inAddress: API_KEY }),
    );
    expect([headers, failure["code"]]).toEqual([headers, "AUTH_REQUIRED"]);
  }
});

test("authenticate() takes a key in the address only when it is given one, and a header comes first", async () => {
  verifies("API-KEY-REQUIRED");
  const access = accessOf();
  expect(access.authenticate(new Headers(), { inAddress: API_KEY })).toBe(ADMIN);
  expect(access.authenticate(new Headers({ "x-api-key": API_KEY }), { inAddress: "wrong" })).toBe(ADMIN);
  expect(await codeOf(access, "", { inAddress: "wrong" })).toBe("AUTH_REQUIRED");
  expect(await codeOf(access, "", { inAddress: "" })).toBe("AUTH_REQUIRED");
});

test("authenticate() knows a token by its secret, and says what became of one that holds no more", async () => {
  verifies("TOKEN-EXPIRES", "TOKEN-SCOPE");
  using folder = tempDir();
  await using store = Store.open({ dataDir: folder.path, log });
  const settings = makeSettings();
  const access = new Access({ settings, apiKey: API_KEY, tokens: store.tokens });
  const grant = { servers: ["a"], groups: [2], permissions: ["read"], expiresAt: Date.now() + 1e6 } as const;
  const { secret } = store.tokens.create({ name: "bot", ...grant });
  const principal = access.authenticate(new Headers({ authorization: `Bearer ${secret}` }));
  expect(principal).toMatchObject({ id: "agent:bot", kind: "agent" });
  expect([...principal.permissions]).toEqual(["read"]);
  expect([[...(principal.servers ?? [])], [...(principal.groups ?? [])]]).toEqual([["a"], ["2"]]);
  expect(access.isCurrent(principal)).toBe(true);
  const all = store.tokens.create({ name: "all", ...grant, servers: ["*"] });
  const wide = access.authenticate(new Headers({ "x-api-key": all.secret }));
  expect([wide.servers, wide.groups]).toEqual([undefined, undefined]);

  const whyNot = async (sent: string): Promise<unknown> =>
    (await failureOf(() => access.authenticate(new Headers({ "x-api-key": sent }))))["message"];
  store.tokens.revoke("bot");
  expect(await whyNot(secret)).toContain("revoked");
  expect(access.isCurrent(principal)).toBe(false);
  const over = store.tokens.create({ name: "over", ...grant, expiresAt: Date.now() - 1 });
  expect(await whyNot(over.secret)).toContain("expired");
  expect(await whyNot(`${secret}0`)).toContain("token is wrong");
  expect(await whyNot(secret.slice(0, -1))).toContain("token is wrong");
  expect(access.isCurrent(ADMIN)).toBe(true);
});

test("after too many wrong keys from this machine a wrong one is 429, and the right one opens all the same", async () => {
  verifies("AUTH-FAILURES-LIMITED");
  const clock = { now: 0 };
  const told: string[] = [];
  const access = accessOf({ clock, told });
  const from = "127.0.0.1";
  const codes = await guess(access, FREE + 5, from);
  expect(codes).toEqual([
    ...Array.from({ length: FREE }, () => "AUTH_REQUIRED"),
    ...Array.from({ length: 5 }, () => "RATE_LIMITED"),
  ]);
  expect(await codeOf(access, API_KEY, { from })).toBeUndefined();
  // None was sent: that is no guess.
  expect(await codeOf(access, "", { from })).toBe("AUTH_REQUIRED");
  expect(told).toEqual([from]);
  clock.now = 59_000;
  const failure = await failureOf(() =>
    access.authenticate(new Headers({ "x-api-key": "x" }), { address: () => from }),
  );
  expect(failure).toMatchObject({ code: "RATE_LIMITED", data: { retry_after_s: 1 } });
  clock.now = 60_000;
  expect(await codeOf(access, "wrong", { from })).toBe("AUTH_REQUIRED");
});

test("an address elsewhere that guesses is refused before its guess is looked at, others are not", async () => {
  verifies("AUTH-FAILURES-LIMITED");
  const clock = { now: 0 };
  const access = accessOf({ hostname: "0.0.0.0", clock });
  await guess(access, FREE, "203.0.113.7");
  expect(await codeOf(access, API_KEY, { from: "203.0.113.7" })).toBe("RATE_LIMITED");
  expect(await codeOf(access, API_KEY, { from: "203.0.113.8" })).toBeUndefined();
  expect(await codeOf(access, "wrong", { from: "203.0.113.8" })).toBe("AUTH_REQUIRED");
  await guess(access, FREE + 1, "::ffff:127.0.0.1");
  expect(await codeOf(access, API_KEY, { from: "::ffff:127.0.0.1" })).toBeUndefined();
  clock.now = 60_000;
  expect(await codeOf(access, API_KEY, { from: "203.0.113.7" })).toBeUndefined();
});

test.each([
  ["2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::9", true],
  ["2001:db8::1", "2001:db8:0:0:9::", true],
  ["fe80::1%eth0", "fe80::2", true],
  ["::ffff:203.0.113.7", "203.0.113.7", true],
  ["2001:db8:1:2::1", "2001:db8:1:3::1", false],
  ["203.0.113.7", "203.0.113.8", false],
])("guesses from %s and %s count as one sender's: %p", async (first, second, isSame) => {
  verifies("AUTH-FAILURES-LIMITED");
  const access = accessOf({ hostname: "::" });
  await guess(access, FREE, first);
  expect(await codeOf(access, "wrong", { from: second })).toBe(isSame ? "RATE_LIMITED" : "AUTH_REQUIRED");
});

test("a token that ran out is no guess, however often it is sent", async () => {
  verifies("AUTH-FAILURES-LIMITED", "TOKEN-EXPIRES");
  using folder = tempDir();
  await using store = Store.open({ dataDir: folder.path, log });
  const access = new Access({ settings: makeSettings(), apiKey: API_KEY, tokens: store.tokens });
  const { secret } = store.tokens.create({
    name: "over",
    servers: ["*"],
    groups: [],
    permissions: ["read"],
    expiresAt: Date.now() - 1,
  });
  for (let at = 0; at < 3 * FREE; at += 1) {
    expect(await codeOf(access, secret, { from: "127.0.0.1" })).toBe("AUTH_REQUIRED");
  }
  expect(await codeOf(access, "wrong", { from: "127.0.0.1" })).toBe("AUTH_REQUIRED");
});
