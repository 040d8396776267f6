/**
 * The PATH of a login shell: asked once, noise passed over, and never waited for without end.
 */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LoginPath } from "../../src/lib/login_path.ts";
import { processesWith, tempDir, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

/** A shell that is a script; its second argument is the command. */
function shellIn(folder: string, script: string): string {
  const path = join(folder, "shell");
  writeFileSync(path, `#!/bin/sh\necho x >> '${folder}/asked'\n${script}\n`);
  chmodSync(path, 0o755);
  return path;
}

test("LoginPath.get() asks the shell once, and puts own and usual folders behind its PATH", async () => {
  verifies("LOGIN-PATH");
  using folder = tempDir();
  const home = join(folder.path, "home");
  for (const path of [".cargo/bin", ".nvm/versions/node/v9.9.9/bin", ".nvm/versions/node/v20.1.0/bin"])
    mkdirSync(join(home, path), { recursive: true });
  const SHELL = shellIn(folder.path, `echo "welcome to $SECRET"; PATH=/from/login:/own; eval "$2"; echo bye`);
  const login = new LoginPath({ env: { SHELL, HOME: home, PATH: "/own:/usr/bin:", SECRET: "s" } });
  const [path, again] = await Promise.all([login.get(), login.get()]);
  expect(path.split(":").slice(0, 5)).toEqual([
    "/from/login",
    "/own",
    "/usr/bin",
    join(home, ".cargo/bin"),
    join(home, ".nvm/versions/node/v20.1.0/bin"),
  ]);
  expect(path).not.toMatch(/v9\.9\.9|welcome|\.volta/);
  expect([again, await login.get()]).toEqual([path, path]);
  expect(readFileSync(join(folder.path, "asked"), "utf8")).toBe("x\n");
});

test.each([
  ["hangs with children", "sleep 47110815 & sleep 47110815"],
  ["fails", "exit 3"],
  ["prints no end", 'printf "%s" "__mcpproxy_path__/evil"'],
  ["floods", "yes | head -c 3000000"],
])("LoginPath.get() goes on with the own PATH when the shell %s", async (_, script) => {
  verifies("LOGIN-PATH");
  using folder = tempDir();
  const SHELL = shellIn(folder.path, script);
  const path = await new LoginPath({
    env: { SHELL, HOME: folder.path, PATH: `/own:${process.env["PATH"]}` },
    timeoutMs: 300,
  }).get();
  expect(path.split(":")[0]).toBe("/own");
  expect(path).not.toContain("/evil");
  await waitFor("nothing of it is left", () => processesWith("47110815").length === 0);
});

test.each(["/no/such/shell", "relative", ""])("LoginPath.get() needs no shell: '%s'", async (SHELL) => {
  using folder = tempDir();
  const path = await new LoginPath({ env: { SHELL, HOME: folder.path, PATH: "/own" } }).get();
  expect(path.split(":")[0]).toBe("/own");
  expect(existsSync(join(folder.path, "asked"))).toBe(false);
});
