/**
 * The environment of children: an allow-list, what is configured over it, and nothing else.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { EnvironmentSettings } from "../../src/core/settings.ts";
import { childEnvironment } from "../../src/upstream/environment.ts";
import { verifies } from "../requirements.ts";

const SETTINGS: EnvironmentSettings = {
  inheritSystemSafe: true,
  allowedSystemVars: [],
  customVars: new Map(),
  enhancePath: false,
};
const NONE = new Map<string, string>();

test("childEnvironment() passes the safe variables of the system and no other", () => {
  verifies("CHILD-ENV-ALLOW-LIST");
  const own = {
    PATH: "/bin",
    HOME: "/root",
    LANG: "C",
    LC_ALL: "C",
    TMPDIR: "/tmp",
    SSL_CERT_FILE: "/c",
    AWS_SECRET_ACCESS_KEY: "a",
    GITHUB_TOKEN: "b",
    MCPPROXY_API_KEY: "c",
    path: "/other",
    LD_PRELOAD: "d",
    NODE_OPTIONS: "e",
    UNSET: undefined,
  };
  expect(childEnvironment(own, { settings: SETTINGS, configured: NONE })).toEqual({
    PATH: "/bin",
    HOME: "/root",
    LANG: "C",
    LC_ALL: "C",
    TMPDIR: "/tmp",
    SSL_CERT_FILE: "/c",
  });
});

test("childEnvironment() adds what is allowed by name, then custom variables, then the server's own", () => {
  verifies("CHILD-ENV-ALLOW-LIST");
  const own = { PATH: "/bin", ALLOWED: "system", SECRET: "no" };
  const settings = {
    ...SETTINGS,
    allowedSystemVars: ["ALLOWED", "ABSENT"],
    customVars: new Map([
      ["ALLOWED", "custom"],
      ["CUSTOM", "1"],
    ]),
  };
  expect(childEnvironment(own, { settings, configured: NONE })).toEqual({
    PATH: "/bin",
    ALLOWED: "custom",
    CUSTOM: "1",
  });
  expect(
    childEnvironment(own, {
      settings,
      configured: new Map([
        ["ALLOWED", "server"],
        ["PATH", "/mine"],
      ]),
    }),
  ).toEqual({
    PATH: "/mine",
    ALLOWED: "server",
    CUSTOM: "1",
  });
});

test("childEnvironment() passes nothing of the system when inherit_system_safe is off, but what is allowed by name", () => {
  const settings = { ...SETTINGS, inheritSystemSafe: false, allowedSystemVars: ["PATH"] };
  expect(
    childEnvironment({ PATH: "/bin", HOME: "/root", LC_ALL: "C" }, { settings, configured: NONE }),
  ).toEqual({ PATH: "/bin" });
});

test("childEnvironment() never passes a variable that nobody named, whatever it is called", () => {
  verifies("CHILD-ENV-ALLOW-LIST");
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (name) => {
      fc.pre(!name.startsWith("LC_"));
      const given = childEnvironment({ [`X_${name}`]: "canary" }, { settings: SETTINGS, configured: NONE });
      expect(Object.values(given)).toEqual([]);
    }),
  );
});
