/**
 * The guard: whoever kills its owner, no group that it watches over is left.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { Child } from "../../src/lib/child.ts";
import { Guard } from "../../src/lib/guard.ts";
import { liveMembers, waitFor } from "../fixtures/wait.ts";
import { verifies } from "../requirements.ts";

const ENV = { PATH: process.env["PATH"] ?? "" };
const LIB = join(import.meta.dir, "../../src/lib");
/** From the death of the owner to the end of the last group. */
const BOUND_MS = 5_000;
/** Longer than what a test waits for, so that a red one still cleans up. */
setDefaultTimeout(20_000);

const SCRIPTS = {
  "well-behaved": "exec cat",
  "ignores EOF": "exec sleep 60",
  "ignores TERM": "trap '' TERM; while :; do sleep 1; done",
  "leaves a stubborn orphan": "(trap '' TERM HUP; sleep 60; :) & exit 0",
} as const;

/** A program that starts the scripts under a guard, says which groups they are, and waits to be killed. */
const OWNER = `
  const { Guard } = await import(${JSON.stringify(join(LIB, "guard.ts"))});
  const { Child } = await import(${JSON.stringify(join(LIB, "child.ts"))});
  const guard = new Guard();
  const registry = { marker: {}, added: ({ pid }) => guard.added(pid), removed: (pid) => guard.removed(pid) };
  const quiet = { env: process.env, onStdout: () => {}, onStderr: () => {} };
  const spawn = (script) => Child.spawn({ command: "sh", args: ["-c", script], registry, ...quiet }).pid;
  const pids = JSON.parse(process.argv.at(-1)).map(spawn);
  console.log(JSON.stringify({ guard: guard.pid, pids }));
  setInterval(() => {}, 1_000);
`;

/** A group that no {@link Child} stands for; it is gone after the test, whatever became of it. */
function stranger(argv: string[]): AsyncDisposable & { readonly pid: number } {
  const started = Bun.spawn(argv, { detached: true, stdio: ["ignore", "ignore", "ignore"] });
  return {
    pid: started.pid,
    [Symbol.asyncDispose]: async () => {
      killMembers(started.pid);
      await started.exited;
    },
  };
}

function killMembers(pgid: number): void {
  for (const pid of liveMembers(pgid)) process.kill(pid, "SIGKILL");
}

function cat(guard: Guard): { readonly child: Child; readonly said: () => string } {
  let said = "";
  const child = Child.spawn({
    command: "cat",
    args: [],
    env: ENV,
    onStdout: (chunk) => (said += new TextDecoder().decode(chunk)),
    onStderr: () => {},
    registry: { marker: {}, added: ({ pid }) => guard.added(pid), removed: (pid) => guard.removed(pid) },
  });
  return { child, said: () => said };
}

test("Guard ends every group within 5 s once its owner is killed, and then itself", async () => {
  verifies("GUARD-NO-ORPHANS");
  const scripts = JSON.stringify(Object.values(SCRIPTS));
  const owner = Bun.spawn([process.execPath, "-e", OWNER, scripts], { stdout: "pipe", stderr: "inherit" });
  const { value } = await owner.stdout.getReader().read();
  const told = JSON.parse(new TextDecoder().decode(value)) as { guard: number; pids: number[] };
  await waitFor("all run", () => told.pids.every((pid) => liveMembers(pid).length > 0));
  expect(liveMembers(told.guard)).toEqual([told.guard]);
  const startedAt = performance.now();
  owner.kill("SIGKILL");
  using _ = { [Symbol.dispose]: () => told.pids.forEach(killMembers) };
  for (const [at, name] of Object.keys(SCRIPTS).entries()) {
    const pid = told.pids[at] ?? 0;
    await waitFor(`nothing is left of the one that ${name}`, () => liveMembers(pid).length === 0, BOUND_MS);
  }
  await waitFor("the guard has left", () => liveMembers(told.guard).length === 0, BOUND_MS);
  expect(performance.now() - startedAt).toBeLessThan(BOUND_MS);
});

test("Guard starts with the first group, leaves a removed one alone, and close() leaves no guard", async () => {
  verifies("GUARD-NO-ORPHANS");
  const guard = new Guard();
  expect(guard.pid).toBeUndefined();
  await using other = stranger(["sleep", "60"]);
  const { child } = cat(guard);
  const shell = guard.pid ?? 0;
  expect(liveMembers(shell)).toEqual([shell]);
  guard.added(other.pid);
  guard.removed(other.pid);
  await child.stop();
  const startedAt = performance.now();
  await guard.close();
  expect(performance.now() - startedAt).toBeLessThan(400);
  await guard.close();
  expect(liveMembers(shell)).toEqual([]);
  expect(liveMembers(other.pid)).toEqual([other.pid]);
});

test("Guard.close() ends what was not removed", async () => {
  const guard = new Guard();
  await using stray = stranger(["sh", "-c", SCRIPTS["ignores TERM"]]);
  guard.added(stray.pid);
  await guard.close();
  await waitFor("nothing of it is left", () => liveMembers(stray.pid).length === 0);
});

test("a Guard that is killed alone costs no child, and another takes over those that run", async () => {
  verifies("GUARD-NO-ORPHANS");
  const losses: string[] = [];
  await using guard = new Guard({ onLoss: (reason) => losses.push(reason) });
  const old = cat(guard);
  const first = guard.pid ?? 0;
  process.kill(first, "SIGKILL");
  await waitFor("the loss is told", () => losses.length === 1);
  // It lived for less than a second: the next child brings the new one.
  expect(guard.pid).toBeUndefined();
  old.child.write("still here\n");
  await waitFor("the child works", () => old.said() === "still here\n");
  const { child } = cat(guard);
  const second = guard.pid ?? 0;
  expect(second).not.toBe(first);
  await guard.close();
  expect([old.child.pid, child.pid].flatMap(liveMembers)).toEqual([]);
  await Promise.all([old.child.stop(), child.stop()]);
});

test("Guard costs next to nothing for a child", async () => {
  await using guard = new Guard();
  guard.added(2_000_000_001);
  const startedAt = performance.now();
  for (let at = 0; at < 300; at += 1) guard.added(2_000_000_100 + at);
  for (let at = 0; at < 300; at += 1) guard.removed(2_000_000_100 + at);
  guard.removed(2_000_000_001);
  const perChildMs = (performance.now() - startedAt) / 300;
  console.info(`guard: ${perChildMs.toFixed(3)} ms for one child told and taken back`);
  expect(perChildMs).toBeLessThan(1);
});
