/**
 * Asking an address that nobody vouches for: what is private is not reached, what drips ends.
 */
import { expect, test } from "bun:test";
import { fetchPublic, isPrivateAddress } from "../../src/lib/public_fetch.ts";
import type { PublicFetchOptions } from "../../src/lib/public_fetch.ts";
import { verifies } from "../requirements.ts";

const LIMITS = { maxBytes: 1_000, timeoutMs: 5_000 };

/** What asking an address fails with. */
async function refusalOf(address: string, more: Partial<PublicFetchOptions> = {}): Promise<string> {
  return fetchPublic(address, { ...LIMITS, ...more }).then(
    () => "answered",
    (error: unknown) => String(error),
  );
}

test("isPrivateAddress() knows what is not on the open network, however it is written", () => {
  for (const address of [
    "127.0.0.1",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "::1",
    "::",
    "fd00::1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b:1::7f00:1",
    "2001:0:1::80ff:fffe",
    "2002:7f00:1::",
    "fec0::1",
    "64:ff9b::7f00:1",
  ])
    expect([address, isPrivateAddress(address)]).toEqual([address, true]);
  for (const address of ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "name", ""])
    expect([address, isPrivateAddress(address)]).toEqual([address, false]);
});

test("fetchPublic() reaches a private address only when it is named or allowed", async () => {
  verifies("REGISTRY-HOSTILE");
  using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("in") });
  const resolve = async () => ["93.184.216.34", "127.0.0.1"];
  const port = `:${server.port}/`;
  expect(await fetchPublic(`http://127.0.0.1${port}`, LIMITS)).toBe("in");
  expect(await fetchPublic(`http://0x7f.1${port}`, LIMITS)).toBe("in");
  expect(await refusalOf(`http://name.test${port}`, { resolve })).toContain(
    "'name.test' is on a private network",
  );
  expect(await fetchPublic(`http://localhost${port}`, { ...LIMITS, isPrivateAllowed: true })).toBe("in");
});

test("fetchPublic() judges each hop anew", async () => {
  verifies("REGISTRY-HOSTILE");
  const asked: string[] = [];
  using inside = Bun.serve({ port: 0, hostname: "127.0.0.2", fetch: () => new Response("secret") });
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: ({ url }) => {
      asked.push(new URL(url).pathname);
      const to = new URL(url).searchParams.get("to");
      return to === null ? new Response("end") : Response.redirect(to);
    },
  });
  const from = (to: string) => `http://127.0.0.1:${server.port}/?to=${encodeURIComponent(to)}`;
  for (const to of [
    `http://127.0.0.2:${inside.port}/`,
    `http://[::ffff:127.0.0.2]:${inside.port}/`,
    "file:///etc/passwd",
    "data:text/plain,x",
    "gopher://x",
  ])
    expect(await refusalOf(from(to))).toMatch(/private network|redirect leads/);
  expect(await fetchPublic(from("/here"), LIMITS)).toBe("end");
  expect(asked).toContain("/here");
});

test("fetchPublic() ends by its deadline while bytes come, and quotes nothing of the address", async () => {
  verifies("REGISTRY-HOSTILE");
  const drip = new ReadableStream({
    pull: async (controller) => {
      await Bun.sleep(10);
      controller.enqueue(new TextEncoder().encode("."));
    },
  });
  using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(drip) });
  const address = `http://user:canary@127.0.0.1:${server.port}/canary?k=canary`;
  const error = await fetchPublic(address, { ...LIMITS, timeoutMs: 200 }).catch((caught: unknown) => caught);
  expect(error).toMatchObject({ name: "PublicFetchError", message: "no answer within 0.2 s" });
  const gone = await fetchPublic("http://user:canary@127.0.0.1:1/canary", LIMITS).catch(
    (caught: unknown) => caught,
  );
  expect(String(gone)).not.toContain("canary");
});
