/**
 * `mcpproxy secrets`: values come by stdin, and are shown only when that is asked for.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { runSecrets } from "../../src/cli/secrets.ts";
import type { SecretsIo } from "../../src/cli/secrets.ts";
import { ProxyError } from "../../src/core/errors.ts";
import { fakeKeyring } from "../fixtures/keyring.ts";
import { tempDir } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";
import { makeIo } from "./fixtures.ts";

const keyring = fakeKeyring({ known: "canary" });

/** Runs a line, the value on stdin; gives the exit code and what was printed. */
async function run(line: string, options: { readonly stdin?: string; readonly cwd?: string } = {}) {
  const io = makeIo(options.cwd === undefined ? {} : { cwd: options.cwd, home: options.cwd });
  const whole: SecretsIo = {
    ...io,
    keyring,
    stdin: () => new Blob([options.stdin ?? ""]).stream(),
    onSignal: () => {},
    exit: () => {
      throw new Error("left");
    },
  };
  const code = await (async () => runSecrets(line.split(" "), whole))().catch((error: unknown) => {
    if (error instanceof ProxyError) return `${error.code}: ${error.message}`;
    throw error;
  });
  return { code, out: io.out() };
}

test("secrets set takes the value from stdin, without its last line end, and get shows it when asked", async () => {
  verifies("KEYRING-RESOLVED");
  expect(await run("set new-one", { stdin: "line 1\nline 2\n" })).toEqual({
    code: 0,
    out: "Set 'new-one'; write ${keyring:new-one} where the value is needed\n",
  });
  expect(keyring.values.get("new-one")).toBe("line 1\nline 2");
  expect(await run("get known")).toEqual({ code: 0, out: "'known' is set\n" });
  expect(await run("get known --show")).toEqual({ code: 0, out: "canary\n" });
  expect(await run("get known --json")).toMatchObject({
    code: 0,
    out: expect.not.stringContaining("canary") as string,
  });
  expect(await run("get none")).toEqual({ code: 1, out: "'none' is not set\n" });
  expect(await run("delete new-one")).toMatchObject({ code: 0 });
  expect(await run("delete new-one")).toMatchObject({ code: 1 });
});

test.each(["set", "set a b", "set a:b", "set {x}", "get", "lost", "set empty"])(
  "secrets %s is refused",
  async (line) => {
    expect((await run(line)).code).toMatch(/^USAGE: /);
  },
);

test("secrets list names what the configuration refers to, and who needs it", async () => {
  using folder = tempDir();
  const mcpServers = [
    { name: "a", command: "x", env: { T: "${keyring:known}" } },
    { name: "b", url: "https://e.org/${keyring:known}/${keyring:lost}" },
  ];
  writeFileSync(join(folder.path, "mcp_config.json"), JSON.stringify({ mcpServers }));
  const { code, out } = await run("list --json", { cwd: folder.path });
  expect(code).toBe(1);
  expect(JSON.parse(out)).toEqual({
    secrets: [
      { name: "known", is_set: true, used_by: ["a", "b"] },
      { name: "lost", is_set: false, used_by: ["b"] },
    ],
    total: 2,
  });
  expect((await run("list", { cwd: folder.path })).out).toMatch(/known +set +a, b\nlost +not set +b/);
});
