/**
 * What is waited for before a start: nothing, where nothing is needed; each secret of the entry; the PATH of the shell.
 */
import { expect, test } from "bun:test";
import { childEnvironment } from "../../src/upstream/environment.ts";
import { preparation } from "../../src/upstream/preparation.ts";
import { fakeKeyring } from "../fixtures/keyring.ts";
import { makeServer } from "../fixtures/upstreams.ts";
import { verifies } from "../requirements.ts";

const PLAIN = {
  inheritSystemSafe: true,
  allowedSystemVars: [],
  customVars: new Map<string, string>(),
  enhancePath: false,
};

test("preparation() has nothing to wait for where nothing is needed", () => {
  verifies("KEYRING-RESOLVED");
  const keyring = fakeKeyring({ a: "1" });
  const prepare = preparation({ keyring, loginPath: { get: () => Promise.reject(new Error("asked")) } });
  const env = new Map([["A", "${env:HOME}"]]);
  expect(prepare(makeServer({ command: "x", env }), PLAIN)).toBeUndefined();
  // A URL is started by nobody here.
  expect(prepare(makeServer({ url: "https://e.org" }), { ...PLAIN, enhancePath: true })).toBeUndefined();
  expect(keyring.asked).toEqual([]);
});

test("preparation() reads each secret of an entry once, wherever it stands, and leaves out what is not there", async () => {
  verifies("KEYRING-RESOLVED");
  const keyring = fakeKeyring({ a: "1", b: "2", c: "3" });
  const prepare = preparation({ keyring, loginPath: { get: async () => "/p" } });
  const server = makeServer({
    url: "https://e.org/${keyring:a}",
    args: ["${keyring:b}", "x${keyring:a}y"],
    env: new Map([["E", "${keyring:c} ${env:X}"]]),
    headers: new Map([["H", "${keyring:none}"]]),
  });
  const prepared = await prepare(server, PLAIN);
  expect(Object.fromEntries(prepared?.keys ?? [])).toEqual({ a: "1", b: "2", c: "3" });
  expect(keyring.asked.toSorted()).toEqual(["a", "b", "c", "none"]);
  expect(prepared?.path).toBeUndefined();
});

test("enhance_path puts the PATH of the login shell under what is configured", async () => {
  verifies("LOGIN-PATH");
  const prepare = preparation({ keyring: fakeKeyring(), loginPath: { get: async () => "/login/bin" } });
  const server = makeServer({ command: "x" });
  const path = (await prepare(server, { ...PLAIN, enhancePath: true }))?.path;
  expect(path).toBe("/login/bin");
  const pathOf = (configured: ReadonlyMap<string, string>) =>
    childEnvironment({ PATH: "/own" }, { settings: PLAIN, configured, path })["PATH"];
  expect([pathOf(new Map()), pathOf(new Map([["PATH", "/mine"]]))]).toEqual(["/login/bin", "/mine"]);
});
