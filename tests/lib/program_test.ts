/** Holds how other programs are started and waited for. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runProgram, startProgram } from "../../src/lib/program.ts";
import { tempDir } from "../fixtures/wait.ts";

test("runProgram() gives what was printed and the exit code, and no shell reads the arguments", async () => {
  const argv = ["sh", "-c", 'printf %s "$1"; echo wrong >&2; exit 3', "sh", "$(id); a b"];
  expect(await runProgram(argv)).toEqual({ code: 3, stdout: "$(id); a b", stderr: "wrong\n" });
});

test("startProgram() tells whether it runs, kills it, and keeps what it says on stderr", async () => {
  using folder = tempDir();
  const log = join(folder.path, "log");
  const child = startProgram(["sh", "-c", "echo said >&2; echo ready; exec sleep 60"], {
    log,
    env: { PATH: "/usr/bin:/bin" },
  });
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toBe("ready\n");
  expect(child.isRunning()).toBe(true);
  child.kill("SIGKILL");
  expect(await child.ended()).toBe(-1);
  expect(child.isRunning()).toBe(false);
  expect(readFileSync(log, "utf8")).toBe("said\n");
});
